#pragma once

#include <ropewalk/gguf.hpp>
#include <ropewalk/result.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::runner {

/// Cuts a text into ids: one class a kind of vocabulary. Immutable.
class Encoding {
 public:
  virtual ~Encoding() = default;
  /// `text` is UTF-8. Errors: those of Tokenizer::encode about the vocabulary.
  virtual Result<std::vector<std::int32_t>> encode(std::string_view text) const = 0;
};

/// What a checkpoint's tokenizer comes down to.
struct TokenizerParts {
  std::unique_ptr<const Encoding> encoding;
  std::vector<std::string> bytes_of_id;
  std::string pre_tokenizer;
  std::optional<std::int32_t> begin_token{};
};

/// The tokens, and their types as the file has them (empty: it has none). Errors: kFormat.
struct GgufTokens {
  static constexpr std::int64_t kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4, kUnused = 5, kByte = 6;
  const std::vector<std::string>* tokens = nullptr;
  std::vector<std::int64_t> types{};

  static Result<GgufTokens> read(const GgufFile& file);
};

Result<TokenizerParts> byte_level_bpe_from_gguf(const GgufFile& file);
Result<TokenizerParts> byte_level_bpe_from_json(const std::string& path);
Result<TokenizerParts> sentencepiece_from_gguf(const GgufFile& file);

/// The next code point of `text` from `at` on, which moves behind it; -1 if the bytes are not UTF-8 (overlong forms,
/// surrogates and numbers above U+10FFFF are not).
int next_code_point(std::string_view text, std::size_t& at) noexcept;

}  // namespace ropewalk::runner
