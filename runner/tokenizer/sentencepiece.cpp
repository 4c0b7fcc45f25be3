#include "runner/tokenizer/encoding.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <queue>
#include <unordered_map>
#include <utility>

// SentencePiece's byte-pair encoding (src/bpe_model.cc of google/sentencepiece says what is done, as facts): the text,
// with spaces as U+2581, is cut at its user-defined tokens; between them, neighbours whose union is in the vocabulary
// are joined, the best score first, the leftmost of equals; what ends as no token is written in byte tokens.

namespace ropewalk::runner {
namespace {

constexpr std::string_view kSpace = "\xe2\x96\x81";  // U+2581

std::string escaped(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 2);
  for (const char c : text) c == ' ' ? out += kSpace : out += c;
  return out;
}

std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const bool space = text.substr(at).starts_with(kSpace);
    out += space ? ' ' : text[at];
    at += space ? kSpace.size() : 1;
  }
  return out;
}

// The byte of "<0x0A>"; -1 for another spelling.
int byte_of(std::string_view spelling) {
  if (spelling.size() != 6 || !spelling.starts_with("<0x") || spelling[5] != '>') return -1;
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const std::size_t high = kDigits.find(spelling[3]), low = kDigits.find(spelling[4]);
  return high > 15 || low > 15 ? -1 : static_cast<int>(16 * high + low);
}

std::size_t character_bytes(char lead) noexcept {
  const auto byte = static_cast<unsigned char>(lead);
  return byte < 0x80 ? 1 : byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
}

struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>{}(text); }
};

class SentencePiece final : public Encoding {
 public:
  static Result<TokenizerParts> make(const GgufTokens& tokens, const std::vector<double>& scores, bool adds_space);
  Result<std::vector<std::int32_t>> encode(std::string_view text) const override;

 private:
  struct Piece {
    std::int32_t id;
    double score;
    bool unused;  // is joined like another, and taken apart again in the end
  };
  struct UserDefined {
    std::string spelling;
    std::int32_t id;
  };
  // How long the left part of an unused piece was when it was joined.
  using Splits = std::unordered_map<std::string_view, std::size_t>;

  const Piece* find(std::string_view text) const {
    if (text.size() > longest_piece_) return nullptr;
    const auto found = pieces_.find(text);
    return found == pieces_.end() ? nullptr : &found->second;
  }
  const UserDefined* user_defined_at(std::string_view text) const;
  void encode_word(std::string_view word, std::vector<std::int32_t>& out, int& missing_byte) const;
  void emit(std::string_view text, const Splits& splits, std::vector<std::int32_t>& out, int& missing_byte) const;

  std::unordered_map<std::string, Piece, TextHash, std::equal_to<>> pieces_;
  std::size_t longest_piece_ = 0;
  std::array<std::vector<UserDefined>, 256> user_defined_;  // by first byte, the longest first
  std::array<std::int32_t, 256> id_of_byte_{};
  bool adds_space_ = false;
  bool pieces_cross_words_ = false;  // a piece has a space behind something else
};

Result<TokenizerParts> SentencePiece::make(const GgufTokens& read, const std::vector<double>& scores, bool adds_space) {
  auto out = std::make_unique<SentencePiece>();
  out->adds_space_ = adds_space;
  out->id_of_byte_.fill(-1);
  out->pieces_.reserve(read.tokens->size());
  std::vector<std::string> bytes_of_id;
  bytes_of_id.reserve(read.tokens->size());
  const auto malformed = [](const char* key, std::size_t id, const std::string& message) {
    return Error{Code::kFormat, std::string("gguf:tokenizer.ggml.") + key,
                 "token " + std::to_string(id) + ": " + message};
  };
  for (std::size_t i = 0; i < read.tokens->size(); ++i) {
    const std::string& spelling = (*read.tokens)[i];
    const auto id = static_cast<std::int32_t>(i);
    bytes_of_id.push_back(spelling);
    switch (read.types[i]) {
      case GgufTokens::kNormal:
      case GgufTokens::kUnused: {
        if (std::isnan(scores[i])) return malformed("scores", i, "want a number, got none");
        if (!out->pieces_.emplace(spelling, Piece{id, scores[i], read.types[i] == GgufTokens::kUnused}).second)
          return malformed("tokens", i, "want each token once, got \"" + spelling + "\" twice");
        out->longest_piece_ = std::max(out->longest_piece_, spelling.size());
        for (std::size_t at = spelling.find(kSpace, 1); at != std::string::npos; at = spelling.find(kSpace, at + 1))
          out->pieces_cross_words_ |= !std::string_view(spelling).substr(0, at).ends_with(kSpace);
        bytes_of_id.back() = unescaped(spelling);
        break;
      }
      case GgufTokens::kUserDefined: {
        if (spelling.empty()) return malformed("tokens", i, "want a user-defined token of at least one byte, got none");
        std::string written = escaped(spelling);
        bytes_of_id.back() = unescaped(written);
        auto& list = out->user_defined_[static_cast<unsigned char>(written.front())];
        list.push_back({std::move(written), id});
        break;
      }
      case GgufTokens::kByte: {
        const int byte = byte_of(spelling);
        if (byte < 0) return malformed("tokens", i, "want a byte token like <0x0A>, got \"" + spelling + "\"");
        bytes_of_id.back() = std::string(1, static_cast<char>(byte));
        out->id_of_byte_[static_cast<std::size_t>(byte)] = id;
        break;
      }
      case GgufTokens::kUnknown:
      case GgufTokens::kControl: break;
      default: return malformed("token_type", i, "want 1 to 6, got " + std::to_string(read.types[i]));
    }
  }
  for (auto& list : out->user_defined_)
    std::stable_sort(list.begin(), list.end(),
                     [](const UserDefined& a, const UserDefined& b) { return a.spelling.size() > b.spelling.size(); });
  return TokenizerParts{std::move(out), std::move(bytes_of_id), "sentencepiece"};
}

const SentencePiece::UserDefined* SentencePiece::user_defined_at(std::string_view text) const {
  for (const UserDefined& token : user_defined_[static_cast<unsigned char>(text.front())])
    if (text.starts_with(token.spelling)) return &token;
  return nullptr;
}

void SentencePiece::emit(std::string_view text, const Splits& splits, std::vector<std::int32_t>& out,
                         int& missing_byte) const {
  const Piece* const piece = find(text);
  if (piece == nullptr) {
    for (const char c : text) {
      const std::int32_t id = id_of_byte_[static_cast<unsigned char>(c)];
      if (id < 0) missing_byte = static_cast<unsigned char>(c);
      out.push_back(id);
    }
    return;
  }
  const auto split = piece->unused ? splits.find(text) : splits.end();
  if (split == splits.end()) return out.push_back(piece->id);
  emit(text.substr(0, split->second), splits, out, missing_byte);
  emit(text.substr(split->second), splits, out, missing_byte);
}

void SentencePiece::encode_word(std::string_view word, std::vector<std::int32_t>& out, int& missing_byte) const {
  struct Symbol {
    std::size_t first, bytes;  // bytes 0: it has become part of its left neighbour
    std::int64_t previous, next;
  };
  struct Candidate {
    double score;
    std::int64_t left, right;
    std::size_t bytes;
    bool operator<(const Candidate& other) const noexcept {
      return score != other.score ? score < other.score : left > other.left;
    }
  };
  std::vector<Symbol> symbols;
  for (std::size_t first = 0; first < word.size();) {
    const std::size_t bytes = character_bytes(word[first]);
    const auto here = static_cast<std::int64_t>(symbols.size());
    symbols.push_back({first, bytes, here - 1, first + bytes < word.size() ? here + 1 : -1});
    first += bytes;
  }
  const auto at = [&](std::int64_t i) -> Symbol& { return symbols[static_cast<std::size_t>(i)]; };
  Splits splits;
  std::priority_queue<Candidate> queue;
  const auto offer = [&](std::int64_t left, std::int64_t right) {
    if (left < 0 || right < 0) return;
    const std::string_view both = word.substr(at(left).first, at(left).bytes + at(right).bytes);
    const Piece* const piece = find(both);
    if (piece == nullptr) return;
    queue.push({piece->score, left, right, both.size()});
    if (piece->unused) splits[both] = at(left).bytes;
  };
  for (std::int64_t i = 0; i + 1 < static_cast<std::int64_t>(symbols.size()); ++i) offer(i, i + 1);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& left = at(best.left);
    Symbol& right = at(best.right);
    if (left.bytes == 0 || right.bytes == 0 || left.bytes + right.bytes != best.bytes) continue;  // stale
    left.bytes = best.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0) at(left.next).previous = best.left;
    offer(left.previous, best.left);
    offer(best.left, left.next);
  }
  for (std::int64_t i = 0; i >= 0; i = at(i).next)
    emit(word.substr(at(i).first, at(i).bytes), splits, out, missing_byte);
}

Result<std::vector<std::int32_t>> SentencePiece::encode(std::string_view text) const {
  const std::string written = (adds_space_ && !text.empty() ? std::string(kSpace) : std::string()) + escaped(text);
  const std::string_view whole = written;
  std::vector<std::int32_t> out;
  out.reserve(text.size() / 3);
  int missing_byte = -1;

  // Words come again and again; views into the text serve as keys. Long ones are rare and not worth the memory.
  constexpr std::size_t kCachedWord = 48;
  struct Span {
    std::size_t first;
    std::size_t count;
  };
  std::unordered_map<std::string_view, Span> cache;
  const auto encode_stretch = [&](std::string_view word) {
    if (word.empty()) return;
    if (word.size() > kCachedWord) return encode_word(word, out, missing_byte);
    const auto [slot, is_new] = cache.try_emplace(word, Span{out.size(), 0});
    if (is_new) {
      encode_word(word, out, missing_byte);
      slot->second.count = out.size() - slot->second.first;
      return;
    }
    const Span span = slot->second;
    for (std::size_t i = 0; i < span.count; ++i) out.push_back(out[span.first + i]);
  };

  // Where no piece has a space behind something else, nothing is ever joined across such a place.
  std::size_t first = 0;
  bool behind_space = true;
  for (std::size_t at = 0; at < whole.size();) {
    if (const UserDefined* const token = user_defined_at(whole.substr(at))) {
      encode_stretch(whole.substr(first, at - first));
      out.push_back(token->id);
      first = at += token->spelling.size();
      behind_space = true;
      continue;
    }
    const bool space = whole.substr(at).starts_with(kSpace);
    if (space && !behind_space && !pieces_cross_words_) {
      encode_stretch(whole.substr(first, at - first));
      first = at;
    }
    behind_space = space;
    at += character_bytes(whole[at]);
  }
  encode_stretch(whole.substr(first));
  if (missing_byte >= 0)
    return Error{
        Code::kInvalid, "text",
        "want bytes that the vocabulary has, got byte " + std::to_string(missing_byte) + ", for which it has no token"};
  return out;
}

}  // namespace

Result<TokenizerParts> sentencepiece_from_gguf(const GgufFile& file) {
  auto tokens = GgufTokens::read(file);
  if (!tokens) return tokens.error();
  if (tokens->types.empty())
    return Error{Code::kFormat, "gguf:tokenizer.ggml.token_type", "want an integer a token, got none"};
  const GgufValue* const value = file.find("tokenizer.ggml.scores");
  const auto* const scores = value != nullptr ? std::get_if<std::vector<double>>(value) : nullptr;
  if (scores == nullptr || scores->size() != tokens->tokens->size())
    return Error{Code::kFormat, "gguf:tokenizer.ggml.scores",
                 "want " + std::to_string(tokens->tokens->size()) + " numbers, got " +
                     (scores != nullptr ? std::to_string(scores->size()) : std::string("none"))};
  if (file.find("tokenizer.ggml.precompiled_charsmap") != nullptr)
    return Error{Code::kUnsupported, "gguf:tokenizer.ggml.precompiled_charsmap", "want no such key"};
  // The default is llama.cpp's (src/llama-vocab.cpp).
  bool adds_space = true;
  bool removes_spaces = false;
  for (const auto& [key, flag] : {std::pair{"tokenizer.ggml.add_space_prefix", &adds_space},
                                  std::pair{"tokenizer.ggml.remove_extra_whitespaces", &removes_spaces}}) {
    const GgufValue* const word = file.find(key);
    if (word == nullptr) continue;
    if (!std::holds_alternative<bool>(*word))
      return Error{Code::kFormat, std::string("gguf:") + key, "want true or false, got something else"};
    *flag = std::get<bool>(*word);
  }
  if (removes_spaces)
    return Error{Code::kUnsupported, "gguf:tokenizer.ggml.remove_extra_whitespaces", "want false, got true"};
  return SentencePiece::make(*tokens, *scores, adds_space);
}

}  // namespace ropewalk::runner
