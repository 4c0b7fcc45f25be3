#include "runner/layer.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "runner/kernels/kernels.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::size_t kNoKind = static_cast<std::size_t>(-1);

std::int64_t widest(const ModelConfig& config) {
  return std::max({config.hidden_size, std::int64_t{config.heads} * config.head_dim, config.intermediate_size});
}

std::int64_t qkv_width(const ModelConfig& config) {
  return (config.heads + 2 * std::int64_t{config.kv_heads}) * config.head_dim;
}

// Rows of x, normed, in the dtype that enters a product.
void norm_rows(const Model::State& model, const float* x, const std::vector<float>& weight, std::int64_t rows,
               std::byte* out) {
  const Kernels& kernels = active_kernels();
  const std::int64_t hidden = model.config().hidden_size;
  const auto epsilon = static_cast<float>(model.config().rms_norm_eps);
  const bool bf16 = model.options.dtype == DType::kBFloat16;
#pragma omp parallel for num_threads(model.options.threads) if (rows > 16)
  for (std::int64_t r = 0; r < rows; ++r) {
    if (bf16)
      kernels.rms_norm_bf16(x + r * hidden, weight.data(), epsilon, hidden,
                            reinterpret_cast<std::uint16_t*>(out) + r * hidden);
    else
      kernels.rms_norm(x + r * hidden, weight.data(), epsilon, hidden, reinterpret_cast<float*>(out) + r * hidden);
  }
}

// Every head of every token, in place; an empty weight leaves them as they are.
void norm_heads(const Model::State& model, float* heads, const std::vector<float>& weight, int count,
                std::int64_t tokens, std::int64_t token_stride) {
  if (weight.empty()) return;
  const Kernels& kernels = active_kernels();
  const std::int64_t dim = model.config().head_dim;
  const auto epsilon = static_cast<float>(model.config().rms_norm_eps);
#pragma omp parallel for num_threads(model.options.threads) if (tokens > 16)
  for (std::int64_t t = 0; t < tokens; ++t)
    for (std::int64_t h = 0; h < count; ++h) {
      float* const head = heads + t * token_stride + h * dim;
      kernels.rms_norm(head, weight.data(), epsilon, dim, head);
    }
}

// Queries and keys of tokens that stand at first, first + 1, ..., in place.
void turn(const Model::State& model, const Rotary* rotary, float* q, float* k, std::int64_t first, std::int64_t tokens,
          Workspace& workspace) {
  if (rotary == nullptr) return;
  const ModelConfig& config = model.config();
  const std::int64_t width = qkv_width(config);
  std::iota(workspace.positions.begin(), workspace.positions.begin() + tokens, first);
  const auto view = [&](float* data, int heads) {
    return HeadsView{data, DType::kFloat32, 1, tokens, heads, config.head_dim, tokens * width, width, config.head_dim};
  };
  const std::array operands = {RotaryOperand::in_place(view(q, config.heads)),
                               RotaryOperand::in_place(view(k, config.kv_heads))};
  rotary->apply(operands, PositionsView::row({workspace.positions.data(), static_cast<std::size_t>(tokens)}),
                {.threads = model.options.threads});
}

// x += in W^T, or the norm of it.
void add_branch(const Model::State& model, const Linear& linear, const std::vector<float>& weight, std::int64_t tokens,
                float* x, Workspace& workspace) {
  if (weight.empty()) return linear.apply(workspace.in.data(), tokens, x, /*accumulate=*/true);
  linear.apply(workspace.in.data(), tokens, workspace.branch.data());
  const Kernels& kernels = active_kernels();
  const std::int64_t hidden = model.config().hidden_size;
  const auto epsilon = static_cast<float>(model.config().rms_norm_eps);
#pragma omp parallel for num_threads(model.options.threads) if (tokens > 16)
  for (std::int64_t t = 0; t < tokens; ++t) {
    float* const row = workspace.branch.data() + t * hidden;
    kernels.rms_norm(row, weight.data(), epsilon, hidden, row);
    for (std::int64_t i = 0; i < hidden; ++i) x[t * hidden + i] += row[i];
  }
}

}  // namespace

Result<Rotations> Rotations::make(const ModelConfig& config, std::span<const LayerKind> kinds,
                                  std::int64_t running_length, const std::optional<PositionMap>& map) {
  if (map)
    if (auto error = check_position_map(*map)) return *std::move(error);
  Rotations rotations;
  rotations.map_ = map;
  rotations.query_scale_ = config.query_scale;
  rotations.running_length_ = running_length;
  rotations.kind_of_layer_.assign(static_cast<std::size_t>(config.layers), kNoKind);
  for (const LayerKind& kind : kinds) {
    std::vector<int> layers = kind.layers;
    if (layers.empty() && kinds.size() == 1) {
      layers.resize(static_cast<std::size_t>(config.layers));
      std::iota(layers.begin(), layers.end(), 0);
    }
    for (const int layer : layers) {
      if (layer < 0 || layer >= config.layers || rotations.kind_of_layer_[static_cast<std::size_t>(layer)] != kNoKind)
        return Error{Code::kInvalid, "kinds",
                     "want every layer once, got layer " + std::to_string(layer) + " in \"" + kind.name +
                         "\", which is another's or none of " + std::to_string(config.layers)};
      rotations.kind_of_layer_[static_cast<std::size_t>(layer)] = rotations.rotaries_.size();
    }
    rotations.sees_all_.push_back(is_local(kind.name) ? 0 : 1);
    if (!kind.spec) {
      rotations.rotaries_.emplace_back(std::nullopt);
      continue;
    }
    if (kind.spec->axes() != 1 || kind.spec->query_temperature)
      return Error{Code::kUnsupported, "kinds." + kind.name,
                   "want one stream of positions and no query temperature, got " + to_string(*kind.spec)};
    if (kind.spec->head_dim != config.head_dim)
      return Error{Code::kInvalid, "kinds." + kind.name + ".head_dim",
                   "want " + std::to_string(config.head_dim) + ", got " + std::to_string(kind.spec->head_dim)};
    auto rotary = Rotary::make(*kind.spec, running_length);
    if (!rotary) return rotary.error();
    rotations.rotaries_.emplace_back(*std::move(rotary));
  }
  const auto bare = std::find(rotations.kind_of_layer_.begin(), rotations.kind_of_layer_.end(), kNoKind);
  if (bare != rotations.kind_of_layer_.end())
    return Error{
        Code::kInvalid, "kinds",
        "want every layer once, got no kind for layer " + std::to_string(bare - rotations.kind_of_layer_.begin())};
  return rotations;
}

const Rotary* Rotations::rotary(int layer) const noexcept {
  const auto& rotary = rotaries_[kind_of_layer_[static_cast<std::size_t>(layer)]];
  return rotary ? &*rotary : nullptr;
}

const PositionMap* Rotations::map(int layer) const noexcept {
  const std::size_t kind = kind_of_layer_[static_cast<std::size_t>(layer)];
  return map_ && rotaries_[kind] && sees_all_[kind] != 0 ? &*map_ : nullptr;
}

double Rotations::softmax_scale(int layer) const noexcept {
  const Rotary* const own = rotary(layer);
  return own != nullptr ? query_scale_ * own->frequencies().softmax_scale_multiplier : query_scale_;
}

Workspace::Workspace(const Model::State& model, std::int64_t chunk_tokens, const std::optional<PositionMap>& map)
    : chunk(chunk_tokens),
      qkv(chunk * qkv_width(model.config())),
      gate_up(chunk * 2 * model.config().intermediate_size),
      branch(chunk * model.config().hidden_size),
      in(chunk * widest(model.config()) * static_cast<std::int64_t>(size_of(model.options.dtype))),
      positions(static_cast<std::size_t>(chunk)) {
  const ModelConfig& config = model.config();
  if (map) mapped.emplace(*map, chunk, config.heads, config.kv_heads, config.head_dim);
}

std::int64_t Workspace::bytes(const ModelConfig& config, DType dtype, std::int64_t chunk,
                              const std::optional<PositionMap>& map) {
  return chunk * (4 * (qkv_width(config) + config.hidden_size) + 8 * config.intermediate_size +
                  widest(config) * static_cast<std::int64_t>(size_of(dtype)) + 8) +
         (map ? MappedAttention::bytes(*map, chunk, config.heads, config.kv_heads, config.head_dim) : 0);
}

void embed(const Model::State& model, std::span<const std::int32_t> tokens, float* x) {
  const std::int64_t hidden = model.config().hidden_size;
  for (std::size_t t = 0; t < tokens.size(); ++t)
    model.checkpoint.read(Role::kEmbedding, 0, tokens[t], 1, x + static_cast<std::int64_t>(t) * hidden);
  if (const float scale = model.config().embedding_scale; scale != 1.0f)
    active_kernels().scale(x, static_cast<std::int64_t>(tokens.size()) * hidden, scale, x);
}

void run_layer(const Model::State& model, int index, const Rotations& rotations, KvCache& cache, std::int64_t origin,
               std::int64_t first, std::int64_t tokens, float* x, Workspace& workspace) {
  const ModelConfig& config = model.config();
  const Layer& layer = model.layers[static_cast<std::size_t>(index)];
  const Kernels& kernels = active_kernels();
  const DType dtype = model.options.dtype;
  const int threads = model.options.threads;
  const std::int64_t width = qkv_width(config);
  const std::int64_t inner = config.intermediate_size;

  norm_rows(model, x, layer.attention_norm, tokens, workspace.in.data());
  layer.qkv.apply(workspace.in.data(), tokens, workspace.qkv.data());

  float* const q = workspace.qkv.data();
  float* const k = q + std::int64_t{config.heads} * config.head_dim;
  const float* const v = k + std::int64_t{config.kv_heads} * config.head_dim;
  norm_heads(model, q, layer.query_norm, config.heads, tokens, width);
  norm_heads(model, k, layer.key_norm, config.kv_heads, tokens, width);
  if (rotations.map(index) != nullptr) {
    workspace.mapped->run(*rotations.rotary(index), cache, q, k, v, width, first, tokens,
                          rotations.softmax_scale(index), workspace.in.data(), dtype, threads);
  } else {
    turn(model, rotations.rotary(index), q, k, origin + first, tokens, workspace);
    cache.write(first, tokens, k, v, width);
    attend(cache, q, width, config.heads, first, tokens, config.windows[static_cast<std::size_t>(index)],
           rotations.softmax_scale(index), workspace.in.data(), dtype, threads);
  }
  add_branch(model, layer.attention_out, layer.post_attention_norm, tokens, x, workspace);

  norm_rows(model, x, layer.feed_norm, tokens, workspace.in.data());
  layer.gate_up.apply(workspace.in.data(), tokens, workspace.gate_up.data());
  const bool silu = config.activation == Activation::kSilu;
  const auto gate = silu ? kernels.swiglu : kernels.geglu;
  const auto gate_bf16 = silu ? kernels.swiglu_bf16 : kernels.geglu_bf16;
#pragma omp parallel for num_threads(threads) if (tokens > 4)
  for (std::int64_t t = 0; t < tokens; ++t) {
    const float* const from = workspace.gate_up.data() + t * 2 * inner;
    if (dtype == DType::kBFloat16)
      gate_bf16(from, from + inner, inner, reinterpret_cast<std::uint16_t*>(workspace.in.data()) + t * inner);
    else
      gate(from, from + inner, inner, reinterpret_cast<float*>(workspace.in.data()) + t * inner);
  }
  add_branch(model, layer.down, layer.post_feed_norm, tokens, x, workspace);
}

void run_output(const Model::State& model, const float* x, std::int64_t rows, float* logits, Workspace& workspace) {
  norm_rows(model, x, model.final_norm, rows, workspace.in.data());
  model.output.apply(workspace.in.data(), rows, logits);
}

}  // namespace ropewalk::runner
