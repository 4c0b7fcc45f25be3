#include "runner/tokenizer.hpp"

#include "runner/tokenizer/encoding.hpp"

#include <array>
#include <utility>

namespace ropewalk::runner {

struct Tokenizer::State {
  TokenizerParts parts;
};

int next_code_point(std::string_view text, std::size_t& at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned lead = byte(at);
  if (lead < 0x80) return ++at, static_cast<int>(lead);
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || at + length > text.size()) return -1;
  unsigned value = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0u) != 0x80u) return -1;
    value = value << 6 | (byte(at + i) & 0x3fu);
  }
  constexpr std::array<unsigned, 5> kSmallest = {0, 0, 0x80, 0x800, 0x10000};
  if (value < kSmallest[length] || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return -1;
  at += length;
  return static_cast<int>(value);
}

Result<std::vector<std::int32_t>> Tokenizer::encode(std::string_view text) const {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t here = at;
    if (next_code_point(text, at) < 0)
      return Error{Code::kInvalid, "text", "want UTF-8, got other bytes at offset " + std::to_string(here)};
  }
  return state_->parts.encoding->encode(text);
}

std::string Tokenizer::decode(const std::vector<std::int32_t>& ids) const {
  std::string text;
  for (const std::int32_t id : ids)
    if (id >= 0 && id < vocabulary_size()) text += state_->parts.bytes_of_id[static_cast<std::size_t>(id)];
  return text;
}

std::int64_t Tokenizer::vocabulary_size() const noexcept {
  return static_cast<std::int64_t>(state_->parts.bytes_of_id.size());
}

const std::string& Tokenizer::pre_tokenizer() const noexcept { return state_->parts.pre_tokenizer; }

std::optional<std::int32_t> Tokenizer::begin_token() const noexcept { return state_->parts.begin_token; }

Result<GgufTokens> GgufTokens::read(const GgufFile& file) {
  GgufTokens out;
  const GgufValue* const tokens = file.find("tokenizer.ggml.tokens");
  out.tokens = tokens != nullptr ? std::get_if<std::vector<std::string>>(tokens) : nullptr;
  if (out.tokens == nullptr || out.tokens->empty() || out.tokens->size() > INT32_MAX)
    return Error{Code::kFormat, "gguf:tokenizer.ggml.tokens", "want an array of strings, got none"};
  if (const GgufValue* const value = file.find("tokenizer.ggml.token_type")) {
    if (const auto* const integers = std::get_if<std::vector<std::int64_t>>(value)) out.types = *integers;
    if (const auto* const integers = std::get_if<std::vector<std::uint64_t>>(value))
      out.types.assign(integers->begin(), integers->end());
    if (out.types.size() != out.tokens->size())
      return Error{Code::kFormat, "gguf:tokenizer.ggml.token_type",
                   "want " + std::to_string(out.tokens->size()) + " integers, got " + std::to_string(out.types.size())};
  }
  return out;
}

namespace {

// llama.cpp src/llama-vocab.cpp: without the key, a text begins with a token if the vocabulary is SentencePiece's or
// Llama 3's.
std::optional<Error> read_begin_token(const GgufFile& file, bool if_missing, TokenizerParts& parts) {
  const GgufValue* const value = file.find("tokenizer.ggml.add_bos_token");
  if (value != nullptr && !std::holds_alternative<bool>(*value))
    return Error{Code::kFormat, "gguf:tokenizer.ggml.add_bos_token", "want true or false, got something else"};
  if (!(value != nullptr ? std::get<bool>(*value) : if_missing)) return std::nullopt;
  auto id = file.integer("tokenizer.ggml.bos_token_id");
  if (!id) return id.error();
  if (!*id && value == nullptr) return std::nullopt;
  const auto count = static_cast<std::int64_t>(parts.bytes_of_id.size());
  if (!*id || **id < 0 || **id >= count)
    return Error{Code::kFormat, "gguf:tokenizer.ggml.bos_token_id",
                 "want the id of one of the " + std::to_string(count) + " tokens, got " +
                     (*id ? std::to_string(**id) : std::string("nothing"))};
  parts.begin_token = static_cast<std::int32_t>(**id);
  return std::nullopt;
}

}  // namespace

Result<Tokenizer> Tokenizer::from_gguf(const GgufFile& file) {
  auto model = file.text("tokenizer.ggml.model");
  if (!model) return model.error();
  const std::string name = model->value_or("");
  if (name != "gpt2" && name != "llama")
    return Error{Code::kUnsupported, "gguf:tokenizer.ggml.model",
                 "want \"gpt2\" (byte-level byte-pair encoding) or \"llama\" (SentencePiece), got \"" + name + "\""};
  auto parts = name == "llama" ? sentencepiece_from_gguf(file) : byte_level_bpe_from_gguf(file);
  if (!parts) return parts.error();
  if (auto error = read_begin_token(file, name == "llama" || parts->pre_tokenizer == "llama-bpe", *parts))
    return *std::move(error);
  return Tokenizer(std::make_shared<const State>(State{*std::move(parts)}));
}

Result<Tokenizer> Tokenizer::from_json_file(const std::string& path) {
  auto parts = byte_level_bpe_from_json(path);
  if (!parts) return parts.error();
  return Tokenizer(std::make_shared<const State>(State{*std::move(parts)}));
}

}  // namespace ropewalk::runner
