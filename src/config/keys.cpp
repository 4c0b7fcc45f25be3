#include "config/keys.hpp"

#include "config/printable.hpp"

#include <charconv>
#include <cmath>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr int kDeepest = 64;

// Looks for what a tree of values would hide (a key given twice) or suffer from (depth).
class Inspector final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    seen_.emplace_back();
    return deeper();
  }
  bool key(string_t& key) override {
    if (seen_.back().insert(key).second) return true;
    problem = "want every key once, got \"" + printable(key, 40) + "\" twice in one object";
    return false;
  }
  bool end_object() override {
    seen_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    problem = error.id == 406 ? "want numbers within the range of double, got one beyond it, before byte "
                              : "want JSON, got something else at byte ";
    problem += std::to_string(position);
    return false;
  }

  std::string problem;

 private:
  bool deeper() {
    if (++depth_ <= kDeepest) return true;
    problem = "want at most " + std::to_string(kDeepest) + " levels of nesting, got more";
    return false;
  }

  std::vector<std::set<std::string>> seen_;
  int depth_ = 0;
};

bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_'; }

// Python's json module writes NaN, Infinity and -Infinity bare (Mamba's time_step_limit is the usual place).
std::string quote_bare_words(std::string_view text) {
  std::string out;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      out += c;
      if (c == '\\' && i + 1 < text.size()) out += text[++i];
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    std::string_view word;
    if (i == 0 || !is_word(text[i - 1])) {
      for (const std::string_view candidate : {"NaN", "-Infinity", "Infinity"}) {
        const std::size_t end = i + candidate.size();
        if (text.substr(i, candidate.size()) == candidate && (end >= text.size() || !is_word(text[end])))
          word = candidate;
      }
    }
    if (word.empty()) {
      out += c;
    } else {
      out += '"';
      out += word;
      out += '"';
      i += word.size() - 1;
    }
  }
  return out;
}

std::string_view type_of(const Json& value) {
  return value.is_object() ? "an object" : value.is_array() ? "an array" : value.is_string() ? "a string" : "a value";
}

}  // namespace

void refuse(Code code, std::string path, std::string message) {
  throw Refusal{Error{code, std::move(path), std::move(message)}};
}

Result<Json> parse_config(std::string_view text, const std::string& source) {
  const auto problem = [&](std::string message) { return Error{Code::kFormat, source, std::move(message)}; };
  if (text.size() > kMostBytes)
    return problem("want a config of at most 64 MiB, got " + std::to_string(text.size()) + " bytes");
  if (text.empty()) return problem("want a JSON object, got an empty file");

  std::string quoted;
  if (text.find("NaN") != std::string_view::npos || text.find("Infinity") != std::string_view::npos) {
    quoted = quote_bare_words(text);
    text = quoted;
  }
  Inspector inspector;
  if (!Json::sax_parse(text.begin(), text.end(), &inspector)) return problem(std::move(inspector.problem));
  Json root = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!root.is_object()) return problem("want a JSON object, got " + std::string(type_of(root)));
  return root;
}

std::string shown(const Json& value) {
  return printable(value.dump(-1, ' ', true, Json::error_handler_t::replace), 60);
}

std::string shown(double value) {
  char text[32];
  // 500000 rather than 5e+05: that is how configs have it.
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  return {text, whole ? std::to_chars(text, text + sizeof text, value, std::chars_format::fixed).ptr
                      : std::to_chars(text, text + sizeof text, value).ptr};
}

std::string Keys::where(std::string_view key) const {
  const std::string name = printable(key, 60);
  return path_.empty() ? name : path_ + "." + name;
}

const Json* Keys::peek(std::string_view key) const {
  const auto found = object_->find(key);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

bool Keys::is_null(std::string_view key) const {
  const auto found = object_->find(key);
  return found != object_->end() && found->is_null();
}

const Json* Keys::find(std::string_view key) {
  const Json* const value = peek(key);
  if (value != nullptr) use(key);
  return value;
}

std::optional<double> Keys::number(std::string_view key, double least, std::string_view want) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() || !(value->get<double>() >= least))
    refuse(Code::kInvalid, where(key), "want " + std::string(want) + ", got " + shown(*value));
  return value->get<double>();
}

std::optional<double> Keys::number_above(std::string_view key, double floor, std::string_view want) {
  return number(key, std::nextafter(floor, HUGE_VAL), want);
}

std::optional<std::int64_t> Keys::integer(std::string_view key, std::int64_t least, std::int64_t most) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  // 8192.0 is what some converters write for 8192.
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) || number != std::floor(number))
    refuse(Code::kInvalid, where(key),
           "want an integer from " + std::to_string(least) + " to " + std::to_string(most) + ", got " + shown(*value));
  return static_cast<std::int64_t>(number);
}

std::optional<bool> Keys::flag(std::string_view key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number_integer() && (*value == 0 || *value == 1)) return *value == 1;
  if (!value->is_boolean()) refuse(Code::kInvalid, where(key), "want true or false, got " + shown(*value));
  return value->get<bool>();
}

std::optional<std::string> Keys::text(std::string_view key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(Code::kInvalid, where(key), "want a string, got " + shown(*value));
  return value->get<std::string>();
}

std::optional<std::vector<double>> Keys::numbers(std::string_view key, double above, std::string_view want) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) refuse(Code::kInvalid, where(key), "want a list of numbers, got " + shown(*value));
  std::vector<double> all;
  for (const Json& one : *value) {
    if (!one.is_number() || !(one.get<double>() > above))
      refuse(Code::kInvalid, where(key) + "[" + std::to_string(all.size()) + "]",
             "want " + std::string(want) + ", got " + shown(one));
    all.push_back(one.get<double>());
  }
  return all;
}

std::optional<std::vector<std::int64_t>> Keys::integers(std::string_view key, std::int64_t least, std::int64_t most) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) refuse(Code::kInvalid, where(key), "want a list of integers, got " + shown(*value));
  std::vector<std::int64_t> all;
  for (const Json& one : *value) {
    const double number = one.is_number()    ? one.get<double>()
                          : one.is_boolean() ? (one.get<bool>() ? 1 : 0)
                                             : std::nan("");
    if (!(number >= static_cast<double>(least) && number <= static_cast<double>(most)) || number != std::floor(number))
      refuse(Code::kInvalid, where(key) + "[" + std::to_string(all.size()) + "]",
             "want an integer from " + std::to_string(least) + " to " + std::to_string(most) + ", got " + shown(one));
    all.push_back(static_cast<std::int64_t>(number));
  }
  return all;
}

std::optional<std::vector<std::string>> Keys::texts(std::string_view key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_array()) refuse(Code::kInvalid, where(key), "want a list of strings, got " + shown(*value));
  std::vector<std::string> all;
  for (const Json& one : *value) {
    if (!one.is_string())
      refuse(Code::kInvalid, where(key) + "[" + std::to_string(all.size()) + "]", "want a string, got " + shown(one));
    all.push_back(one.get<std::string>());
  }
  return all;
}

std::optional<Keys> Keys::keys(std::string_view key) {
  const Json* const value = find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_object()) refuse(Code::kInvalid, where(key), "want an object, got " + shown(*value));
  return Keys(*value, where(key), *used_);
}

}  // namespace ropewalk::config
