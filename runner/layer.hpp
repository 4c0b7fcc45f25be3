#pragma once

#include <ropewalk/config.hpp>
#include <ropewalk/position_maps.hpp>
#include <ropewalk/rotary.hpp>

#include "runner/attention.hpp"
#include "runner/checkpoint.hpp"
#include "runner/linear.hpp"
#include "runner/mapped_attention.hpp"
#include "runner/model.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ropewalk::runner {

struct Layer {
  std::vector<float> attention_norm;       // [hidden]
  Linear qkv;                              // [(heads + 2 * kv_heads) * head_dim, hidden]: queries, keys, values
  std::vector<float> query_norm;           // [head_dim], or empty: heads turn as they are
  std::vector<float> key_norm;             // [head_dim], or empty
  Linear attention_out;                    // [hidden, heads * head_dim]
  std::vector<float> post_attention_norm;  // [hidden], or empty: added as it is
  std::vector<float> feed_norm;            // [hidden]
  Linear gate_up;                          // [2 * intermediate, hidden]
  Linear down;                             // [hidden, intermediate]
  std::vector<float> post_feed_norm;       // [hidden], or empty: added as it is
};

struct Model::State {
  Checkpoint checkpoint;
  LoadOptions options;
  std::vector<Layer> layers;
  std::vector<float> final_norm;  // [hidden]
  Linear output;                  // [vocabulary, hidden]

  const ModelConfig& config() const noexcept { return checkpoint.config(); }
};

/// How every layer turns its queries and keys, ready to use.
class Rotations {
 public:
  /// Errors: those of Rotary::make; kInvalid (path "kinds") unless every layer is in exactly one kind;
  /// kUnsupported for a spec with several axes or a query temperature, which no architecture here has; those of
  /// check_position_map.
  static Result<Rotations> make(const ModelConfig& config, std::span<const LayerKind> kinds,
                                std::int64_t running_length, const std::optional<PositionMap>& map = std::nullopt);

  const Rotary* rotary(int layer) const noexcept;  ///< nullptr: this layer does not rotate
  /// nullptr: keys stand where they are. So they do where queries see near keys only (is_local).
  const PositionMap* map(int layer) const noexcept;
  std::int64_t running_length() const noexcept { return running_length_; }
  double softmax_scale(int layer) const noexcept;

 private:
  std::vector<std::optional<Rotary>> rotaries_;  // [kinds]
  std::vector<char> sees_all_;                   // [kinds]
  std::optional<PositionMap> map_;
  std::vector<std::size_t> kind_of_layer_;
  std::int64_t running_length_ = 0;
  double query_scale_ = 1.0;
};

/// What a chunk of tokens needs on its way through a layer; reused from chunk to chunk.
struct Workspace {
  Workspace(const Model::State& model, std::int64_t chunk, const std::optional<PositionMap>& map = std::nullopt);
  static std::int64_t bytes(const ModelConfig& config, DType dtype, std::int64_t chunk,
                            const std::optional<PositionMap>& map = std::nullopt);

  std::int64_t chunk;
  Buffer<float> qkv;      // [chunk, (heads + 2 * kv_heads) * head_dim]
  Buffer<float> gate_up;  // [chunk, 2 * intermediate]
  Buffer<float> branch;   // [chunk, hidden]: what is normed before it is added
  Buffer<std::byte> in;   // [chunk, max(hidden, heads * head_dim, intermediate)] in the model's dtype: enters a product
  std::vector<std::int64_t> positions;    // [chunk]
  std::optional<MappedAttention> mapped;  // where the rotations have a map, the same one
};

/// The embeddings of `tokens` as they enter the first layer, float32 [tokens, hidden]. The ids are inside the
/// vocabulary.
void embed(const Model::State& model, std::span<const std::int32_t> tokens, float* x);

/// Takes x [tokens, hidden], tokens <= chunk, through one layer, in place. Their keys and values are written to the
/// cache as its tokens first, first + 1, ..., behind all those that they see; they stand at positions origin + first,
/// origin + first + 1, ... Under a map the origin is 0 and the cache has keys of as many turns as the map.
void run_layer(const Model::State& model, int layer, const Rotations& rotations, KvCache& cache, std::int64_t origin,
               std::int64_t first, std::int64_t tokens, float* x, Workspace& workspace);

/// The final norm and the output matrix: logits [rows, vocabulary] of x [rows, hidden], rows <= chunk.
void run_output(const Model::State& model, const float* x, std::int64_t rows, float* logits, Workspace& workspace);

}  // namespace ropewalk::runner
