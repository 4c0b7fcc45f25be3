#define PCRE2_CODE_UNIT_WIDTH 8
#include "runner/text_file.hpp"
#include "runner/tokenizer/encoding.hpp"

#include <pcre2.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <queue>
#include <span>
#include <unordered_map>
#include <utility>

namespace ropewalk::runner {
namespace {

using nlohmann::json;

// \s as Unicode's White_Space has it, spelled out: PCRE2's own \s adds U+180E, which the tokenizers' regex engines do
// not.
#define ROPEWALK_SPACE \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"

// The published patterns, \s and \S replaced by the class above.
constexpr const char* kGpt2Pattern =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" ROPEWALK_SPACE "\\p{L}\\p{N}]+|[" ROPEWALK_SPACE
    "]+(?![^" ROPEWALK_SPACE "])|[" ROPEWALK_SPACE "]+";
constexpr const char* kDigitPattern = "\\p{N}";
#define ROPEWALK_LLAMA3_LIKE(digits)                                                                 \
  "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" ROPEWALK_SPACE        \
  "\\p{L}\\p{N}]+[\\r\\n]*|[" ROPEWALK_SPACE "]*[\\r\\n]+|[" ROPEWALK_SPACE "]+(?![^" ROPEWALK_SPACE \
  "])|[" ROPEWALK_SPACE "]+"
constexpr const char* kLlama3Pattern = ROPEWALK_LLAMA3_LIKE("\\p{N}{1,3}");
constexpr const char* kQwen2Pattern = ROPEWALK_LLAMA3_LIKE("\\p{N}");
#undef ROPEWALK_LLAMA3_LIKE
#undef ROPEWALK_SPACE

// The same patterns as tokenizer.json files spell them, to be recognised there.
constexpr std::string_view kLlama3Spelling =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Spelling =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

// Patterns are applied one after the other, each to the pieces that the one before left.
struct PreTokenizer {
  std::string_view name;
  std::array<const char*, 2> patterns;  // nullptr: none
};
constexpr std::array kPreTokenizers = {
    PreTokenizer{"gpt-2", {kGpt2Pattern, nullptr}},
    PreTokenizer{"smollm", {kDigitPattern, kGpt2Pattern}},
    PreTokenizer{"llama-bpe", {kLlama3Pattern, nullptr}},
    PreTokenizer{"qwen2", {kQwen2Pattern, nullptr}},
    PreTokenizer{"bytes", {nullptr, nullptr}},
};

// A compiled pattern. Matching needs scratch of its own, so that threads may share the code.
class Regex {
 public:
  explicit Regex(const char* pattern) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                              &error, &offset, nullptr));
    if (code_) pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // without a JIT it matches all the same, slower
  }
  const pcre2_code* code() const noexcept { return code_.get(); }

 private:
  struct Free {
    void operator()(pcre2_code* code) const noexcept { pcre2_code_free(code); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
};

class Matcher {
 public:
  explicit Matcher(const Regex& regex)
      : code_(regex.code()), data_(pcre2_match_data_create_from_pattern(regex.code(), nullptr)) {}

  /// Calls `piece` for every match and every stretch between matches, in order. The subject is valid UTF-8. False if
  /// the engine gave up (it has run out of its stack or its match limit).
  template <class Piece>
  bool split(std::string_view subject, const Piece& piece) const {
    PCRE2_SIZE at = 0;
    while (at < subject.size()) {
      const int found = pcre2_match(code_, reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(), at,
                                    PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, data_.get(), nullptr);
      if (found == PCRE2_ERROR_NOMATCH) break;
      if (found < 0) return false;
      const PCRE2_SIZE* const ends = pcre2_get_ovector_pointer(data_.get());
      if (ends[0] > at && !piece(subject.substr(at, ends[0] - at))) return false;
      if (!piece(subject.substr(ends[0], ends[1] - ends[0]))) return false;
      at = ends[1];
    }
    return at >= subject.size() || piece(subject.substr(at));
  }

 private:
  struct Free {
    void operator()(pcre2_match_data* data) const noexcept { pcre2_match_data_free(data); }
  };
  const pcre2_code* code_;
  std::unique_ptr<pcre2_match_data, Free> data_;
};

// GPT-2's alphabet writes every byte as a printable character: itself if it is one in Latin-1, else 256 + n for the
// n-th of the others.
std::array<int, 256> code_point_of_byte() {
  std::array<int, 256> table{};
  int others = 0;
  for (int b = 0; b < 256; ++b) {
    const bool printable = (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    table[static_cast<std::size_t>(b)] = printable ? b : 256 + others++;
  }
  return table;
}

// The bytes a token of the vocabulary spells; nothing if a character is outside the alphabet.
std::optional<std::string> bytes_of(std::string_view token) {
  static const std::array<int, 324> kByteOf = [] {
    std::array<int, 324> table{};
    table.fill(-1);
    const auto forward = code_point_of_byte();
    for (std::size_t b = 0; b < 256; ++b) table[static_cast<std::size_t>(forward[b])] = static_cast<int>(b);
    return table;
  }();
  std::string bytes;
  for (std::size_t at = 0; at < token.size();) {
    const int point = next_code_point(token, at);
    if (point < 0 || point >= 324 || kByteOf[static_cast<std::size_t>(point)] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(kByteOf[static_cast<std::size_t>(point)]));
  }
  return bytes;
}

std::uint64_t pair_key(std::int32_t left, std::int32_t right) noexcept {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 | static_cast<std::uint32_t>(right);
}

struct Merge {
  std::int32_t rank = 0;
  std::int32_t id = 0;
};

// Keys are spread well enough by one multiplication; the default hash is the identity and would cluster.
struct SpreadHash {
  std::size_t operator()(std::uint64_t key) const noexcept {
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 32;
  }
};

// What both kinds of file boil down to.
struct Vocabulary {
  struct Token {
    std::int32_t id = 0;
    std::string spelling;
    bool special = false;  // stands for itself, not for bytes, and never comes out of plain text
  };
  std::vector<Token> tokens;
  std::vector<std::pair<std::string, std::string>> merges;  // in order of rank
  std::string pre_tokenizer;
  bool whole_words_first = false;  // a word that is a token is taken as it is, whatever the merges would give
};

class ByteLevelBpe final : public Encoding {
 public:
  static Result<TokenizerParts> make(const Vocabulary& vocabulary, const std::string& source);
  Result<std::vector<std::int32_t>> encode(std::string_view text) const override;

 private:
  void encode_word(std::string_view word, std::vector<std::int32_t>& out) const;

  std::vector<Regex> regexes_;
  bool whole_words_first_ = false;
  std::array<std::int32_t, 256> id_of_byte_{};
  std::unordered_map<std::string, std::int32_t> id_of_bytes_;
  std::unordered_map<std::uint64_t, Merge, SpreadHash> merges_;
};

Result<TokenizerParts> ByteLevelBpe::make(const Vocabulary& vocabulary, const std::string& source) {
  auto bpe = std::make_unique<ByteLevelBpe>();
  std::vector<std::string> bytes_of_id;
  bpe->whole_words_first_ = vocabulary.whole_words_first;
  const auto known = std::find_if(kPreTokenizers.begin(), kPreTokenizers.end(),
                                  [&](const PreTokenizer& each) { return each.name == vocabulary.pre_tokenizer; });
  if (known == kPreTokenizers.end())
    return Error{
        Code::kUnsupported, source,
        "want a pre-tokenizer named gpt-2, smollm, llama-bpe or qwen2, got \"" + vocabulary.pre_tokenizer + "\""};
  for (const char* pattern : known->patterns) {
    if (pattern == nullptr) continue;
    bpe->regexes_.emplace_back(pattern);
    if (bpe->regexes_.back().code() == nullptr)
      return Error{Code::kUnavailable, source, "this PCRE2 has no Unicode classes"};
  }

  std::int32_t largest = -1;
  for (const Vocabulary::Token& token : vocabulary.tokens) largest = std::max(largest, token.id);
  bytes_of_id.resize(static_cast<std::size_t>(largest) + 1);
  bpe->id_of_byte_.fill(-1);
  for (const Vocabulary::Token& token : vocabulary.tokens) {
    auto bytes = token.special ? std::nullopt : bytes_of(token.spelling);
    bytes_of_id[static_cast<std::size_t>(token.id)] = bytes ? *bytes : token.spelling;
    if (!bytes || bytes->empty()) continue;
    if (bytes->size() == 1) bpe->id_of_byte_[static_cast<unsigned char>(bytes->front())] = token.id;
    if (!bpe->id_of_bytes_.emplace(*std::move(bytes), token.id).second)
      return Error{Code::kFormat, source, "want each token once, got \"" + token.spelling + "\" twice"};
  }

  const auto id_of = [&](std::string_view spelling) -> std::int32_t {
    const auto bytes = bytes_of(spelling);
    if (!bytes) return -1;
    const auto found = bpe->id_of_bytes_.find(*bytes);
    return found == bpe->id_of_bytes_.end() ? -1 : found->second;
  };
  bpe->merges_.reserve(vocabulary.merges.size() * 2);
  for (std::size_t rank = 0; rank < vocabulary.merges.size(); ++rank) {
    const auto& [left, right] = vocabulary.merges[rank];
    const std::int32_t left_id = id_of(left);
    const std::int32_t right_id = id_of(right);
    const std::int32_t id = id_of(left + right);
    if (left_id < 0 || right_id < 0 || id < 0)
      return Error{Code::kFormat, source,
                   "merge " + std::to_string(rank) + " (\"" + left + "\" with \"" + right +
                       "\"): want both and their union in the vocabulary"};
    bpe->merges_.emplace(pair_key(left_id, right_id), Merge{static_cast<std::int32_t>(rank), id});
  }
  return TokenizerParts{std::move(bpe), std::move(bytes_of_id), vocabulary.pre_tokenizer};
}

// Lowest rank first, leftmost first among equals. Short words scan; long ones keep the candidates in a heap, so that a
// text without any word border costs n log n and not n^2.
void ByteLevelBpe::encode_word(std::string_view word, std::vector<std::int32_t>& out) const {
  if (whole_words_first_)
    if (const auto whole = id_of_bytes_.find(std::string(word)); whole != id_of_bytes_.end()) {
      out.push_back(whole->second);
      return;
    }
  const std::size_t first = out.size();
  for (const char c : word) out.push_back(id_of_byte_[static_cast<unsigned char>(c)]);
  if (merges_.empty()) return;

  constexpr std::size_t kScanned = 32;
  if (word.size() <= kScanned) {
    while (out.size() - first > 1) {
      Merge best{INT32_MAX, 0};
      std::size_t best_at = 0;
      for (std::size_t i = first; i + 1 < out.size(); ++i)
        if (const auto found = merges_.find(pair_key(out[i], out[i + 1]));
            found != merges_.end() && found->second.rank < best.rank) {
          best = found->second;
          best_at = i;
        }
      if (best.rank == INT32_MAX) return;
      out[best_at] = best.id;
      out.erase(out.begin() + static_cast<std::ptrdiff_t>(best_at) + 1);
    }
    return;
  }

  struct Symbol {
    std::int32_t id;
    std::int64_t previous;
    std::int64_t next;
  };
  struct Candidate {
    std::int32_t rank;
    std::int64_t left;
    std::int32_t left_id, right_id, id;
    bool operator>(const Candidate& other) const noexcept {
      return rank != other.rank ? rank > other.rank : left > other.left;
    }
  };
  const auto count = static_cast<std::int64_t>(word.size());
  std::vector<Symbol> symbols(word.size());
  for (std::int64_t i = 0; i < count; ++i)
    symbols[static_cast<std::size_t>(i)] = {out[first + static_cast<std::size_t>(i)], i - 1,
                                            i + 1 < count ? i + 1 : -1};
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto at = [&](std::int64_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  const auto offer = [&](std::int64_t left) {
    if (left < 0 || at(left).next < 0) return;
    const std::int32_t left_id = at(left).id;
    const std::int32_t right_id = at(at(left).next).id;
    if (const auto found = merges_.find(pair_key(left_id, right_id)); found != merges_.end())
      queue.push({found->second.rank, left, left_id, right_id, found->second.id});
  };
  for (std::int64_t i = 0; i + 1 < count; ++i) offer(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = at(best.left);
    if (left.id != best.left_id || left.next < 0 || at(left.next).id != best.right_id) continue;  // stale
    Symbol& right = at(left.next);
    left.id = best.id;
    right.id = -1;
    left.next = right.next;
    if (left.next >= 0) at(left.next).previous = best.left;
    offer(left.previous);
    offer(best.left);
  }
  out.resize(first);
  for (std::int64_t i = 0; i >= 0; i = at(i).next) out.push_back(at(i).id);
}

Result<std::vector<std::int32_t>> ByteLevelBpe::encode(std::string_view text) const {
  std::array<bool, 256> seen{};
  for (const char c : text) seen[static_cast<unsigned char>(c)] = true;
  for (std::size_t b = 0; b < 256; ++b)
    if (seen[b] && id_of_byte_[b] < 0)
      return Error{Code::kInvalid, "text",
                   "want bytes that the vocabulary has, got byte " + std::to_string(b) + ", for which it has no token"};

  std::vector<std::int32_t> out;
  out.reserve(text.size() / 3);
  // Words come again and again; views into the text serve as keys. Long ones are rare and not worth the memory.
  constexpr std::size_t kCachedWord = 48;
  struct Span {
    std::size_t first;
    std::size_t count;
  };
  std::unordered_map<std::string_view, Span> cache;
  const auto encode_piece = [&](std::string_view piece) -> bool {
    if (piece.size() > kCachedWord) return encode_word(piece, out), true;
    const auto [slot, is_new] = cache.try_emplace(piece, Span{out.size(), 0});
    if (is_new) {
      encode_word(piece, out);
      slot->second.count = out.size() - slot->second.first;
      return true;
    }
    const Span span = slot->second;
    for (std::size_t i = 0; i < span.count; ++i) out.push_back(out[span.first + i]);
    return true;
  };

  bool finished = true;
  if (regexes_.empty()) {
    if (!text.empty()) encode_word(text, out);
  } else if (regexes_.size() == 1) {
    finished = Matcher(regexes_[0]).split(text, encode_piece);
  } else {
    const Matcher outer(regexes_[0]);
    const Matcher inner(regexes_[1]);
    finished = outer.split(text, [&](std::string_view piece) { return inner.split(piece, encode_piece); });
  }
  if (!finished) return Error{Code::kInvalid, "text", "want words that PCRE2 can match within its limits"};
  return out;
}

}  // namespace

Result<TokenizerParts> byte_level_bpe_from_gguf(const GgufFile& file) {
  auto word = file.text("tokenizer.ggml.pre");
  if (!word) return word.error();
  const std::string pre = word->value_or("");

  Vocabulary vocabulary;
  vocabulary.pre_tokenizer = pre == "llama3" || pre == "llama-v3" ? "llama-bpe" : pre;
  if (pre == "bytes") vocabulary.pre_tokenizer = "bytes, which no GGUF names";
  vocabulary.whole_words_first = vocabulary.pre_tokenizer == "llama-bpe";

  auto read = GgufTokens::read(file);
  if (!read) return read.error();
  for (std::size_t id = 0; id < read->tokens->size(); ++id)
    vocabulary.tokens.push_back({static_cast<std::int32_t>(id), (*read->tokens)[id],
                                 !read->types.empty() && read->types[id] != GgufTokens::kNormal});
  const GgufValue* const value = file.find("tokenizer.ggml.merges");
  const auto* const merges = value != nullptr ? std::get_if<std::vector<std::string>>(value) : nullptr;
  if (merges == nullptr)
    return Error{Code::kFormat, "gguf:tokenizer.ggml.merges", "want an array of strings, got none"};
  for (const std::string& merge : *merges) {
    const std::size_t space = merge.find(' ', 1);
    if (merge.empty() || space == std::string::npos)
      return Error{Code::kFormat, "gguf:tokenizer.ggml.merges",
                   "want two tokens with a space between, got \"" + merge + "\""};
    vocabulary.merges.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return ByteLevelBpe::make(vocabulary, "gguf:tokenizer.ggml.pre");
}

namespace {

bool flag(const json& object, const char* key, bool missing) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() ? found->get<bool>() : missing;
}

std::string word(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// The name of what a pre_tokenizer object does, or nothing if this version does not know it.
std::optional<std::string> recognise(const json& pre) {
  const auto byte_level = [](const json& step, bool regex) {
    return word(step, "type") == "ByteLevel" && !flag(step, "add_prefix_space", true) &&
           flag(step, "use_regex", true) == regex;
  };
  if (!pre.is_object()) return std::nullopt;
  if (byte_level(pre, true)) return "gpt-2";
  if (byte_level(pre, false)) return "bytes";
  const auto steps = pre.find("pretokenizers");
  if (word(pre, "type") != "Sequence" || steps == pre.end() || !steps->is_array()) return std::nullopt;
  if (steps->size() == 1) return recognise(steps->front());
  if (steps->size() != 2 || !(*steps)[0].is_object() || !(*steps)[1].is_object()) return std::nullopt;
  const json& first = (*steps)[0];
  if (word(first, "type") == "Digits" && flag(first, "individual_digits", false) && byte_level((*steps)[1], true))
    return "smollm";
  if (word(first, "type") == "Split" && word(first, "behavior") == "Isolated" && !flag(first, "invert", false) &&
      first.contains("pattern") && first["pattern"].is_object() && byte_level((*steps)[1], false)) {
    const std::string pattern = word(first["pattern"], "Regex");
    if (pattern == kLlama3Spelling) return "llama-bpe";
    if (pattern == kQwen2Spelling) return "qwen2";
  }
  return std::nullopt;
}

// The special token with which a post-processor's template begins, if there is one.
std::optional<std::int32_t> begin_token_of(const json& whole, std::int64_t vocabulary_size) {
  json steps = json::array({whole.value("post_processor", json())});
  if (steps[0].is_object() && word(steps[0], "type") == "Sequence") steps = steps[0].value("processors", json::array());
  for (const json& step : steps) {
    if (!step.is_object() || word(step, "type") != "TemplateProcessing") continue;
    const json::json_pointer first("/single/0/SpecialToken/id");
    if (!step.contains(first) || !step[first].is_string()) continue;
    const auto ids = json::json_pointer("/special_tokens") / step[first].get<std::string>() / "ids" / std::size_t{0};
    if (step.contains(ids) && step[ids].is_number_integer() && step[ids] >= 0 && step[ids] < vocabulary_size)
      return step[ids].get<std::int32_t>();
  }
  return std::nullopt;
}

std::string shortened(std::string text) {
  if (text.size() > 160) text = text.substr(0, 160) + "...";
  return text;
}

}  // namespace

Result<TokenizerParts> byte_level_bpe_from_json(const std::string& path) {
  const auto text = read_text_file(path);
  if (!text) return text.error();
  const json whole = json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!whole.is_object() || !whole.contains("model") || !whole["model"].is_object())
    return Error{Code::kFormat, path, "want a JSON object with a model, got something else"};
  const json& model = whole["model"];
  const auto refuse = [&](const char* key, const std::string& message) {
    return Error{Code::kUnsupported, path + ": " + key, message};
  };
  if (word(model, "type") != "BPE") return refuse("model.type", "want \"BPE\", got \"" + word(model, "type") + "\"");
  if (const auto normalizer = whole.find("normalizer"); normalizer != whole.end() && !normalizer->is_null())
    return refuse("normalizer", "want none, got " + shortened(normalizer->dump()));
  if (flag(model, "byte_fallback", false)) return refuse("model.byte_fallback", "want false, got true");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (!word(model, affix).empty()) return refuse(affix, "want none, got \"" + word(model, affix) + "\"");
  const json pre = whole.value("pre_tokenizer", json());
  const auto name = recognise(pre);
  if (!name)
    return refuse("pre_tokenizer", "want one that splits as gpt-2, smollm, llama-bpe, qwen2 or plain bytes do, got " +
                                       shortened(pre.dump()));

  Vocabulary vocabulary;
  vocabulary.pre_tokenizer = *name;
  vocabulary.whole_words_first = flag(model, "ignore_merges", false);
  const auto malformed = [&](const char* key, const std::string& message) {
    return Error{Code::kFormat, path + ": " + key, message};
  };
  const auto valid_id = [](const json& id) {
    return id.is_number_integer() && id >= 0 && id < (std::int64_t{1} << 28);
  };
  std::unordered_map<std::int32_t, bool> taken;
  if (const auto added = whole.find("added_tokens"); added != whole.end() && added->is_array())
    for (const json& token : *added) {
      if (!token.is_object() || !token.contains("id") || !valid_id(token["id"]))
        return malformed("added_tokens", "want an id each, got " + shortened(token.dump()));
      const auto id = token["id"].get<std::int32_t>();
      if (taken.emplace(id, true).second) vocabulary.tokens.push_back({id, word(token, "content"), true});
    }
  const auto vocab = model.find("vocab");
  if (vocab == model.end() || !vocab->is_object()) return malformed("model.vocab", "want an object, got none");
  for (const auto& [spelling, id] : vocab->items()) {
    if (!valid_id(id)) return malformed("model.vocab", "want whole numbers, got " + shortened(id.dump()));
    const auto number = id.get<std::int32_t>();
    const auto [slot, is_new] = taken.emplace(number, false);
    if (is_new) {
      vocabulary.tokens.push_back({number, spelling, false});
    } else if (!slot->second) {
      return malformed("model.vocab", "want each id once, got " + std::to_string(number) + " twice");
    }
  }
  const auto merges = model.find("merges");
  if (merges == model.end() || !merges->is_array()) return malformed("model.merges", "want an array, got none");
  for (const json& merge : *merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      vocabulary.merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string both = merge.is_string() ? merge.get<std::string>() : std::string();
    const std::size_t space = both.find(' ', 1);
    if (both.empty() || space == std::string::npos)
      return malformed("model.merges", "want two tokens, got " + shortened(merge.dump()));
    vocabulary.merges.emplace_back(both.substr(0, space), both.substr(space + 1));
  }
  auto parts = ByteLevelBpe::make(vocabulary, path + ": pre_tokenizer");
  if (parts) parts->begin_token = begin_token_of(whole, static_cast<std::int64_t>(parts->bytes_of_id.size()));
  return parts;
}

}  // namespace ropewalk::runner
