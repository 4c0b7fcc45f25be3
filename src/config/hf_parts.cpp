// The parts of a config of several: a language model, a tower for images, an encoder for sound.

#include "config/hf_reader.hpp"

#include <algorithm>
#include <utility>

namespace ropewalk::config {
namespace {

constexpr std::string_view kSuffix = "_config";
constexpr int kDeepestPart = 4;
constexpr std::size_t kMostListed = 16;

// Objects about something else than a model.
constexpr std::string_view kNoPart[] = {"quantization_config", "compression_config", "per_layer_config",
                                        "generation_config",   "attn_config",        "ffn_config"};

// A name that can be asked for: what stands between its dots is plain.
bool is_plain(const std::string& key) {
  return !key.empty() && key.size() <= 60 && key != kSuffix &&
         key.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == std::string::npos;
}

bool is_part(const std::string& key, const Json& value) {
  if (!value.is_object() || !is_plain(key) ||
      std::find(std::begin(kNoPart), std::end(kNoPart), key) != std::end(kNoPart))
    return false;
  return key.ends_with(kSuffix) || value.contains("model_type") || value.contains("num_attention_heads");
}

void collect(const Json& object, const std::string& prefix, int depth, std::vector<std::string>& names) {
  for (const auto& [key, value] : object.items()) {
    if (!is_part(key, value)) continue;
    const std::string name = prefix + part_name(key);
    names.push_back(name);
    if (depth < kDeepestPart) collect(value, name + ".", depth + 1, names);
  }
}

}  // namespace

std::string listed_parts(const std::vector<std::string>& names) {
  std::string all;
  for (std::size_t i = 0; i < names.size() && i <= kMostListed; ++i)
    all += (i == 0 ? "" : ", ") + (i < kMostListed ? names[i] : "and " + std::to_string(names.size() - i) + " more");
  return all;
}

std::string part_name(std::string_view key) {
  return std::string(key.ends_with(kSuffix) ? key.substr(0, key.size() - kSuffix.size()) : key);
}

void ConfigReader::list_parts() {
  collect(root_.object(), "", 1, out_.parts);
  for (const Part* part : parts_of(out_.model_type))
    if (part->key.empty()) out_.parts.emplace_back(part->name);
}

// Goes into the object that options_.part names, and says what the config's own class takes it for if that is known.
std::optional<Part> ConfigReader::enter_part() {
  const std::string& wanted = options_.part;
  out_.part = wanted;
  if (const Part* const own = find_part(out_.model_type, wanted); own != nullptr && own->key.empty()) return *own;
  if (std::find(out_.parts.begin(), out_.parts.end(), wanted) == out_.parts.end())
    refuse(Code::kInvalid, "part",
           "want " + (out_.parts.empty() ? "no part, as this config has none" : "one of " + listed_parts(out_.parts)) +
               ", got " + shown(Json(wanted)));
  std::optional<Part> found;
  std::string owner = out_.model_type;
  for (std::string_view rest = wanted; !rest.empty();) {
    const std::size_t dot = std::min(rest.find('.'), rest.size());
    const std::string name(rest.substr(0, dot));
    const std::string key = config_.peek(name + std::string(kSuffix)) != nullptr ? name + std::string(kSuffix) : name;
    found.reset();
    if (const Part* const part = find_part(owner, name); part != nullptr) found = *part;
    if (const Composite* const whole = find_composite(owner); whole != nullptr && whole->key == key)
      found = Part{.owner = whole->name, .family = whole->text, .key = whole->key, .own = whole->own};
    enter(key);
    const std::string said = config_.text("model_type").value_or("");
    owner = said.empty() && found ? std::string(found->family) : said;
    rest.remove_prefix(std::min(dot + 1, rest.size()));
  }
  return found;
}

}  // namespace ropewalk::config
