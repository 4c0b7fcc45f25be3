#include <ropewalk/kv_cache.hpp>

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "runner/evaluator.hpp"
#include "runner/layer.hpp"
#include "runner/memory.hpp"
#include "runner/model.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::int64_t kChunk = 512;
constexpr std::int64_t kOutputRows = 64;
constexpr std::int64_t kFarthest = std::int64_t{1} << 36;

std::optional<Error> check_place(const char* path, std::int64_t first, std::int64_t tokens) {
  if (first >= -kFarthest && first <= kFarthest - tokens) return std::nullopt;
  return Error{Code::kInvalid, path, "want positions within +-2^36, got " + std::to_string(first)};
}

std::optional<Error> check_unmapped(const std::optional<PositionMap>& map) {
  if (!map) return std::nullopt;
  return Error{Code::kUnsupported, "map", "want cached keys that stand where they are, got " + to_string(*map)};
}

/// Rows of a cache on their way from one place of it to another, [kMost, kv_heads, head_dim] each.
struct Rows {
  static constexpr std::int64_t kMost = 256;
  explicit Rows(const ModelConfig& config)
      : width(std::int64_t{config.kv_heads} * config.head_dim), keys(kMost * width), values(kMost * width) {}
  HeadsView view(const ModelConfig& config, std::int64_t tokens) {
    return HeadsView::bshd(keys.data(), DType::kFloat32, 1, tokens, config.kv_heads, config.head_dim);
  }
  std::int64_t width;
  Buffer<float> keys, values;
};

}  // namespace

struct Decoder::State {
  Model model;
  Rotations rotations;
  std::optional<PositionMap> map;
  std::int64_t capacity;
  std::int64_t origin;
  std::vector<KvCache> caches;  // [layers]
  Workspace workspace;
  std::vector<float> last;  // [last_fed, hidden]: the last feed behind the last layer
  std::int64_t length = 0;
  std::int64_t last_fed = 0;

  /// Rewrites tokens [from, length) of every layer as tokens 0, 1, ...; between the two, edit(layer, keys, token of the
  /// first of them) may change the keys.
  void rewrite(std::int64_t from,
               const std::function<void(int layer, const HeadsView& keys, std::int64_t first)>& edit) {
    const ModelConfig& config = model.config();
    const ThreadScope scope(model.options().threads);
    Rows rows(config);
    for (int layer = 0; layer < config.layers; ++layer) {
      KvCache& cache = caches[static_cast<std::size_t>(layer)];
      for (std::int64_t first = from; first < length; first += Rows::kMost) {
        const std::int64_t tokens = std::min(Rows::kMost, length - first);
        cache.read(first, tokens, rows.keys.data(), rows.values.data(), rows.width);
        edit(layer, rows.view(config, tokens), first);
        cache.write(first - from, tokens, rows.keys.data(), rows.values.data(), rows.width);
      }
    }
    last_fed = 0;
  }
};

Decoder::Decoder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;
Decoder::~Decoder() = default;

Result<Decoder> Decoder::make(const Model& model, const DecoderOptions& options) {
  const ModelConfig& config = model.config();
  const DType dtype = model.options().dtype;
  if (options.capacity < 1 || options.capacity > std::int64_t{1} << 40)
    return Error{Code::kInvalid, "capacity", "want a number from 1 to 2^40, got " + std::to_string(options.capacity)};
  if (options.map)
    if (auto error = check_position_map(*options.map)) return *std::move(error);
  if (options.map && options.origin != 0)
    return Error{Code::kInvalid, "origin", "want 0 under a map, got " + std::to_string(options.origin)};
  const int key_turns = options.map ? map_key_turns(*options.map) : 1;
  const std::int64_t needed =
      config.layers * KvCache::bytes(dtype, config.kv_heads, config.head_dim, options.capacity, key_turns) +
      Workspace::bytes(config, dtype, kChunk, options.map);
  if (const std::int64_t free = memory_available(); free > 0 && needed > free)
    return Error{Code::kInvalid, "capacity",
                 "want a cache that fits the free memory of " + shown_bytes(free) + ", got " + shown_bytes(needed)};
  if (auto error = check_place("origin", options.origin, options.capacity)) return *std::move(error);
  const std::int64_t running = options.running_length > 0 ? options.running_length : options.capacity;
  auto rotations =
      Rotations::make(config, options.kinds.empty() ? model.positions().kinds : options.kinds, running, options.map);
  if (!rotations) return rotations.error();
  std::vector<KvCache> caches;
  for (int i = 0; i < config.layers; ++i)
    caches.emplace_back(dtype, config.kv_heads, config.head_dim, options.capacity, key_turns);
  return Decoder(
      std::unique_ptr<State>(new State{model,
                                       *std::move(rotations),
                                       options.map,
                                       options.capacity,
                                       options.origin,
                                       std::move(caches),
                                       Workspace(model.state(), std::min(kChunk, options.capacity), options.map),
                                       {}}));
}

std::optional<Error> Decoder::feed(std::span<const std::int32_t> tokens) {
  const ModelConfig& config = state_->model.config();
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (count > state_->capacity - state_->length)
    return Error{Code::kInvalid, "tokens",
                 "want at most " + std::to_string(state_->capacity - state_->length) +
                     " more, as the cache has room, got " + std::to_string(count)};
  for (const std::int32_t id : tokens)
    if (id < 0 || id >= config.vocabulary)
      return Error{Code::kInvalid, "tokens",
                   "want ids in [0, " + std::to_string(config.vocabulary) + "), got " + std::to_string(id)};
  const ThreadScope scope(state_->model.options().threads);
  state_->last.resize(static_cast<std::size_t>(count * config.hidden_size));
  for (std::int64_t done = 0; done < count; done += state_->workspace.chunk) {
    const std::int64_t here = std::min(state_->workspace.chunk, count - done);
    float* const x = state_->last.data() + done * config.hidden_size;
    embed(state_->model.state(), tokens.subspan(static_cast<std::size_t>(done), static_cast<std::size_t>(here)), x);
    for (int layer = 0; layer < config.layers; ++layer)
      run_layer(state_->model.state(), layer, state_->rotations, state_->caches[static_cast<std::size_t>(layer)],
                state_->origin, state_->length + done, here, x, state_->workspace);
  }
  state_->length += count;
  state_->last_fed = count;
  return std::nullopt;
}

std::int64_t Decoder::length() const noexcept { return state_->length; }
std::int64_t Decoder::last_fed() const noexcept { return state_->last_fed; }

Result<std::vector<float>> Decoder::logits(std::int64_t first, std::int64_t rows) const {
  if (first < 0 || rows < 0 || first > state_->last_fed || rows > state_->last_fed - first)
    return Error{Code::kInvalid, "rows",
                 "want rows of the last " + std::to_string(state_->last_fed) + ", got [" + std::to_string(first) +
                     ", " + std::to_string(first) + " + " + std::to_string(rows) + ")"};
  const ModelConfig& config = state_->model.config();
  const ThreadScope scope(state_->model.options().threads);
  std::vector<float> out(static_cast<std::size_t>(rows * config.vocabulary));
  const std::int64_t step = std::min(kOutputRows, state_->workspace.chunk);
  for (std::int64_t done = 0; done < rows; done += step)
    run_output(state_->model.state(), state_->last.data() + (first + done) * config.hidden_size,
               std::min(step, rows - done), out.data() + done * config.vocabulary, state_->workspace);
  return out;
}

std::optional<Error> Decoder::rewind(std::int64_t length) {
  if (length < 0 || length > state_->length)
    return Error{Code::kInvalid, "length",
                 "want a number from 0 to " + std::to_string(state_->length) + ", got " + std::to_string(length)};
  state_->length = length;
  state_->last_fed = 0;
  return std::nullopt;
}

std::int64_t Decoder::origin() const noexcept { return state_->origin; }

std::optional<Error> Decoder::forget_first(std::int64_t tokens) {
  if (auto error = check_unmapped(state_->map)) return error;
  if (tokens < 0 || tokens > state_->length)
    return Error{Code::kInvalid, "tokens",
                 "want a number from 0 to " + std::to_string(state_->length) + ", got " + std::to_string(tokens)};
  if (tokens > 0) state_->rewrite(tokens, [](int, const HeadsView&, std::int64_t) {});
  state_->length -= tokens;
  state_->origin += tokens;
  return std::nullopt;
}

std::optional<Error> Decoder::move(std::int64_t delta, CachedKeys keys) {
  State& state = *state_;
  if (auto error = check_unmapped(state.map)) return error;
  if (delta < -2 * kFarthest || delta > 2 * kFarthest)
    return Error{Code::kInvalid, "delta", "want a number within +-2^37, got " + std::to_string(delta)};
  if (auto error = check_place("delta", state.origin + delta, state.capacity)) return error;
  const std::vector<std::int64_t> deltas(static_cast<std::size_t>(Rows::kMost), delta);
  if (keys == CachedKeys::kTurned && delta != 0)
    state.rewrite(0, [&](int layer, const HeadsView& rows, std::int64_t) {
      const Rotary* const rotary = state.rotations.rotary(layer);
      if (rotary == nullptr) return;
      const RotaryOperand operands[] = {RotaryOperand::in_place(rows, ropewalk::Role::kKey)};
      rotary->apply(operands, PositionsView::row(std::span(deltas).first(static_cast<std::size_t>(rows.tokens))),
                    {.direction = Direction::kShift, .threads = state.model.options().threads});
    });
  state.origin += delta;
  return std::nullopt;
}

std::optional<Error> Decoder::rescale(std::vector<LayerKind> kinds, std::int64_t running_length, CachedKeys keys) {
  State& state = *state_;
  if (auto error = check_unmapped(state.map)) return error;
  const ModelConfig& config = state.model.config();
  auto rotations = Rotations::make(config, kinds, running_length);
  if (!rotations) return rotations.error();
  std::vector<std::optional<Rerotation>> rerotations;  // [layers]
  for (int layer = 0; layer < config.layers; ++layer) {
    const Rotary *const before = state.rotations.rotary(layer), *const after = rotations->rotary(layer);
    rerotations.emplace_back(std::nullopt);
    if (before == nullptr && after == nullptr) continue;
    const std::string path = "kinds: layer " + std::to_string(layer);
    if (before == nullptr || after == nullptr)
      return Error{Code::kUnsupported, path, "want it to turn before and after, or not at all"};
    auto made = Rerotation::make(before->spec(), state.rotations.running_length(), after->spec(), running_length);
    if (!made) return Error{made.error().code, path + ": " + made.error().path, made.error().message};
    rerotations.back() = *std::move(made);
  }
  if (keys == CachedKeys::kTurned)
    state.rewrite(0, [&](int layer, const HeadsView& rows, std::int64_t first) {
      const auto& rerotation = rerotations[static_cast<std::size_t>(layer)];
      if (!rerotation) return;
      std::vector<std::int64_t> positions(static_cast<std::size_t>(rows.tokens));
      std::iota(positions.begin(), positions.end(), state.origin + first);
      rerotation->apply(rows, PositionsView::row(positions), {.threads = state.model.options().threads});
    });
  state.rotations = *std::move(rotations);
  return std::nullopt;
}

}  // namespace ropewalk::runner
