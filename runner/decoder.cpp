#include <algorithm>
#include <utility>

#include "runner/evaluator.hpp"
#include "runner/layer.hpp"
#include "runner/memory.hpp"
#include "runner/model.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::int64_t kChunk = 512;
constexpr std::int64_t kOutputRows = 64;

}  // namespace

struct Decoder::State {
  Model model;
  Rotations rotations;
  std::int64_t capacity;
  std::vector<KvCache> caches;  // [layers]
  Workspace workspace;
  std::vector<float> last;  // [last_fed, hidden]: the last feed behind the last layer
  std::int64_t length = 0;
  std::int64_t last_fed = 0;
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
  const std::int64_t needed =
      config.layers * KvCache::bytes(dtype, config.kv_heads, config.head_dim, options.capacity) +
      Workspace::bytes(config, dtype, kChunk);
  if (const std::int64_t free = memory_available(); free > 0 && needed > free)
    return Error{Code::kInvalid, "capacity",
                 "want a cache that fits the free memory of " + shown_bytes(free) + ", got " + shown_bytes(needed)};
  const std::int64_t running = options.running_length > 0 ? options.running_length : options.capacity;
  auto rotations = Rotations::make(config, options.kinds.empty() ? model.positions().kinds : options.kinds, running);
  if (!rotations) return rotations.error();
  std::vector<KvCache> caches;
  for (int i = 0; i < config.layers; ++i)
    caches.emplace_back(dtype, config.kv_heads, config.head_dim, options.capacity);
  return Decoder(std::unique_ptr<State>(new State{model,
                                                  *std::move(rotations),
                                                  options.capacity,
                                                  std::move(caches),
                                                  Workspace(model.state(), std::min(kChunk, options.capacity)),
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
                state_->length + done, here, x, state_->workspace);
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

}  // namespace ropewalk::runner
