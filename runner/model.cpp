#include "runner/model.hpp"

#include <omp.h>

#include <algorithm>
#include <utility>

#include "runner/evaluator.hpp"
#include "runner/layer.hpp"
#include "runner/memory.hpp"

namespace ropewalk::runner {
namespace {

// Rows for which oneDNN chooses the packing of weights. Prompts come in chunks of about this many.
constexpr std::int64_t kUsualRows = 512;

// A matrix that several tensors, one below the other, make.
struct Part {
  Role role;
  std::int64_t rows;
};

Result<Linear> stacked(const Checkpoint& checkpoint, const std::shared_ptr<Linear::Pool>& pool, int layer,
                       std::int64_t columns, std::initializer_list<Part> parts) {
  std::int64_t rows = 0;
  for (const Part& part : parts) rows += part.rows;
  return Linear::make(pool, rows, columns, kUsualRows, [&](std::int64_t, std::int64_t, float* to) {
    for (const Part& part : parts) {
      checkpoint.read(part.role, layer, 0, part.rows, to);
      to += part.rows * columns;
    }
  });
}

// Empty: the architecture has no such norm.
std::vector<float> norm(const Checkpoint& checkpoint, Role role, int layer) {
  if (!checkpoint.architecture().has(role)) return {};
  const bool of_heads = role == Role::kQueryNorm || role == Role::kKeyNorm;
  const ModelConfig& config = checkpoint.config();
  std::vector<float> weight(static_cast<std::size_t>(of_heads ? config.head_dim : config.hidden_size));
  checkpoint.read(role, layer, 0, 1, weight.data());
  return weight;
}

}  // namespace

Result<Model> Model::load(const std::string& path, const LoadOptions& options) {
  if (options.dtype != DType::kFloat32 && options.dtype != DType::kBFloat16)
    return Error{Code::kUnsupported, "--dtype", "want float32 or bfloat16, got " + std::string(name_of(options.dtype))};
  if (options.threads < 0)
    return Error{Code::kInvalid, "--threads", "want a number >= 0, got " + std::to_string(options.threads)};
  auto checkpoint = Checkpoint::open(path, options.family);
  if (!checkpoint) return checkpoint.error();

  const ModelConfig& config = checkpoint->config();
  const std::int64_t output = config.tied_embeddings ? config.vocabulary * config.hidden_size : 0;
  const std::int64_t needed =
      (config.parameters + output) * static_cast<std::int64_t>(size_of(options.dtype)) +
      4 * std::max(config.vocabulary, 2 * config.intermediate_size) * config.hidden_size;  // one matrix in float32
  if (const std::int64_t free = memory_available(); free > 0 && needed > free)
    return Error{Code::kInvalid, path,
                 "want weights that fit the free memory of " + shown_bytes(free) + ", got " + shown_bytes(needed)};

  auto state = std::make_shared<State>(State{*checkpoint, options, {}, {}, {}});
  if (options.threads == 0) state->options.threads = omp_get_num_procs();
  const ThreadScope scope(state->options.threads);
  const auto pool = Linear::make_pool(options.dtype);
  const std::int64_t q = std::int64_t{config.heads} * config.head_dim;
  const std::int64_t kv = std::int64_t{config.kv_heads} * config.head_dim;
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  for (int i = 0; i < config.layers; ++i) {
    auto qkv = stacked(*checkpoint, pool, i, hidden, {{Role::kQuery, q}, {Role::kKey, kv}, {Role::kValue, kv}});
    if (!qkv) return qkv.error();
    auto attention_out = stacked(*checkpoint, pool, i, q, {{Role::kAttentionOut, hidden}});
    if (!attention_out) return attention_out.error();
    auto gate_up = stacked(*checkpoint, pool, i, hidden, {{Role::kGate, inner}, {Role::kUp, inner}});
    if (!gate_up) return gate_up.error();
    auto down = stacked(*checkpoint, pool, i, inner, {{Role::kDown, hidden}});
    if (!down) return down.error();
    state->layers.push_back({norm(*checkpoint, Role::kAttentionNorm, i), *std::move(qkv),
                             norm(*checkpoint, Role::kQueryNorm, i), norm(*checkpoint, Role::kKeyNorm, i),
                             *std::move(attention_out), norm(*checkpoint, Role::kPostAttentionNorm, i),
                             norm(*checkpoint, Role::kFeedNorm, i), *std::move(gate_up), *std::move(down),
                             norm(*checkpoint, Role::kPostFeedNorm, i)});
  }
  state->final_norm = norm(*checkpoint, Role::kFinalNorm, 0);
  const Role last = config.tied_embeddings ? Role::kEmbedding : Role::kOutput;
  auto out = stacked(*checkpoint, pool, 0, hidden, {{last, config.vocabulary}});
  if (!out) return out.error();
  state->output = *std::move(out);
  return Model(std::move(state));
}

const ModelConfig& Model::config() const noexcept { return state_->config(); }
const CheckpointPositions& Model::positions() const noexcept { return state_->checkpoint.positions(); }
const Tokenizer& Model::tokenizer() const noexcept { return state_->checkpoint.tokenizer(); }
const LoadOptions& Model::options() const noexcept { return state_->options; }

}  // namespace ropewalk::runner
