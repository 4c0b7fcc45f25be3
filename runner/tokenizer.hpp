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

/// From text to ids and back, by the vocabulary that a checkpoint carries: byte-level byte-pair encoding, or
/// SentencePiece's byte-pair encoding with byte fallback. Immutable; copies are cheap and share one table.
class Tokenizer {
 public:
  /// Reads `tokenizer.ggml.*`. Errors: kUnsupported for a tokenizer model other than "gpt2" (byte-level) and "llama"
  /// (SentencePiece) or an unknown `tokenizer.ggml.pre` (its name is in the message), kFormat for a vocabulary that
  /// does not hold together.
  static Result<Tokenizer> from_gguf(const GgufFile& file);

  /// Reads a tokenizer.json that is byte-level. Errors: kUnavailable (no such file), kFormat (not JSON, ids missing),
  /// kUnsupported (model other than BPE, a normalizer, a pre-tokenizer or an option this version does not know; each by
  /// name).
  static Result<Tokenizer> from_json_file(const std::string& path);

  /// The ids of a text in UTF-8. No token is added before or behind, and what looks like a special token in the text
  /// ("<|im_start|>") is text like any other. (Tokens that SentencePiece calls user-defined are not special.)
  /// Errors: kInvalid (path "text") for bytes that are not UTF-8, with their offset; for a byte the vocabulary lacks.
  Result<std::vector<std::int32_t>> encode(std::string_view text) const;

  /// The token that the checkpoint wants before every text, if any: as `tokenizer.ggml.add_bos_token` or the
  /// post-processor of tokenizer.json say. encode does not add it.
  std::optional<std::int32_t> begin_token() const noexcept;

  /// The bytes the ids stand for; an id outside the vocabulary stands for nothing, a special token for its own name.
  std::string decode(const std::vector<std::int32_t>& ids) const;

  /// 1 + the largest id.
  std::int64_t vocabulary_size() const noexcept;
  /// What splits the text into words: "gpt-2", "smollm", "llama-bpe", "qwen2", "bytes" (nothing does); or
  /// "sentencepiece", which goes by its vocabulary alone.
  const std::string& pre_tokenizer() const noexcept;

 private:
  struct State;
  explicit Tokenizer(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

}  // namespace ropewalk::runner
