#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/dtype.hpp>
#include <ropewalk/position_maps.hpp>
#include <ropewalk/result.hpp>

#include "runner/architecture.hpp"
#include "runner/tokenizer.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ropewalk::runner {

/// The sizes of a model: what config.json and GGUF metadata say, every one held against the tensors.
struct ModelConfig {
  std::string name;                    ///< general.name, or the folder's name
  std::int64_t vocabulary = 0;         ///< rows of the embedding
  std::int64_t hidden_size = 0;        ///< channels of the residual stream
  std::int64_t intermediate_size = 0;  ///< channels inside the feed-forward part
  int layers = 0;
  int heads = 0;     ///< query heads; a multiple of kv_heads
  int kv_heads = 0;  ///< key and value heads
  int head_dim = 0;
  double rms_norm_eps = 0.0;
  bool tied_embeddings = false;  ///< the output matrix is the embedding
  std::int64_t parameters = 0;   ///< scalars in all tensors that are used
  Activation activation = Activation::kSilu;
  float embedding_scale = 1.0f;         ///< what embeddings are multiplied by on their way into the first layer
  double query_scale = 0.0;             ///< what a query's products with keys are multiplied by, before any scaling's
                                        ///< own factor: 1 / sqrt(head_dim), or of the number that the checkpoint says
  std::vector<std::int64_t> windows{};  ///< [layers] keys that a query sees, the last of them its own; 0: all up to it
};

struct LoadOptions {
  DType dtype = DType::kFloat32;  ///< of weights, of what enters a product, and of cached keys and values:
                                  ///< kFloat32 or kBFloat16. Sums, norms, rotation and softmax are float32 always
  int threads = 0;                ///< 0: one a core
  std::string family{};           ///< as in ReadOptions: whose conventions to follow for the positions
};

/// A checkpoint ready to run: its weights dequantised and packed for oneDNN. Immutable; copies share the weights.
class Model {
 public:
  /// `path` is a GGUF file, or a folder with config.json, tokenizer.json and model.safetensors (or its shards and
  /// model.safetensors.index.json).
  ///
  /// Errors: those of read_positions, GgufFile, SafetensorsFile and Tokenizer; kUnsupported for another architecture, a
  /// tensor type this version cannot read (by name), kInvalid for a size that does not fit a tensor's shape ("config:
  /// num_attention_heads: ..."), a missing tensor, or weights larger than the memory that is free; kUnavailable for
  /// bf16 on a processor on which oneDNN cannot multiply it.
  static Result<Model> load(const std::string& path, const LoadOptions& options = {});

  const ModelConfig& config() const noexcept;
  const CheckpointPositions& positions() const noexcept;
  const Tokenizer& tokenizer() const noexcept;
  const LoadOptions& options() const noexcept;  ///< with threads resolved

  struct State;
  const State& state() const noexcept { return *state_; }

 private:
  explicit Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;
};

struct DecoderOptions {
  std::int64_t capacity = 0;         ///< tokens the cache can hold, > 0
  std::vector<LayerKind> kinds{};    ///< how each layer rotates; empty: as the checkpoint says
  std::int64_t running_length = 0;   ///< the length behind scalings that depend on it; 0: `capacity`. It stays until
                                     ///< rescale() changes it, so that no cached key has to be turned again meanwhile
  std::int64_t origin = 0;           ///< where the first token stands
  std::optional<PositionMap> map{};  ///< how far keys seem to stand, in layers that rotate and see the whole context
};

/// What happens to cached keys as their positions change.
enum class CachedKeys : std::uint8_t {
  kTurned,  ///< they are turned to where they now stand
  kLeft,    ///< they stay as they are, and wrong: what is often done, for comparison
};

/// Runs a model over a growing sequence, with cached keys and values of every layer. Not for two threads at once.
class Decoder {
 public:
  /// Errors: those of Rotary::make; kInvalid for kinds that do not cover every layer once, for a capacity below 1, or
  /// one whose cache does not fit the memory that is free (path "capacity"), for a map and an origin other than 0;
  /// those of check_position_map.
  static Result<Decoder> make(const Model& model, const DecoderOptions& options);
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;
  ~Decoder();

  /// Appends tokens (a whole prompt, or one) and computes their states.
  /// Errors: kInvalid for more tokens than the capacity has left, or an id outside the vocabulary; nothing is appended.
  std::optional<Error> feed(std::span<const std::int32_t> tokens);

  std::int64_t length() const noexcept;    ///< tokens fed so far
  std::int64_t last_fed() const noexcept;  ///< tokens of the last feed

  /// Logits of rows [first, first + rows) of the last feed, [rows, vocabulary]: what follows each of these tokens.
  /// Errors: kInvalid for rows outside the last feed.
  Result<std::vector<float>> logits(std::int64_t first, std::int64_t rows) const;

  /// Forgets all tokens behind the first `length`; 0 starts anew. Errors: kInvalid for a length beyond the present one.
  std::optional<Error> rewind(std::int64_t length);

  /// Position of the first token; those behind it follow one by one.
  std::int64_t origin() const noexcept;

  // A map counts from the first token: none of the three below goes under one (kUnsupported, path "map").

  /// Forgets the first `tokens` tokens. The others stay where they stand, so origin() grows and length() shrinks.
  /// Errors: kInvalid for more than there are.
  std::optional<Error> forget_first(std::int64_t tokens);

  /// Moves all tokens by `delta` positions; the next ones follow behind them. Only the cached keys know, and an
  /// attention that depends on distances alone gives what it gave before. With forget_first it makes room for more
  /// tokens than the model was trained for. Keys that are kept in bf16 are rounded once more. Errors: kInvalid for
  /// positions beyond +-2^36.
  std::optional<Error> move(std::int64_t delta, CachedKeys keys = CachedKeys::kTurned);

  /// Goes on under another scaling (or the same at another length): cached keys are turned from what they were turned
  /// by to what they would have been, their attention factor counted once. Errors: those of make; those of
  /// Rerotation::make ("kinds.full: to.layout: ...") where two layers cannot be carried over, kUnsupported where one
  /// turns and the other does not. Nothing is changed then.
  std::optional<Error> rescale(std::vector<LayerKind> kinds, std::int64_t running_length,
                               CachedKeys keys = CachedKeys::kTurned);

 private:
  struct State;
  explicit Decoder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ropewalk::runner
