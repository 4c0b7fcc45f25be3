#include "runner/evaluator.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

#include "runner/kernels/kernels.hpp"
#include "runner/layer.hpp"
#include "runner/memory.hpp"

namespace ropewalk::runner {
namespace {

constexpr std::int64_t kChunk = 512;
constexpr std::int64_t kOutputRows = 64;
constexpr std::int64_t kLargestLength = std::int64_t{1} << 40;

constexpr std::string_view kSelfExtend = "self-extend", kReRope = "rerope", kLeakyReRope = "leaky-rerope",
                           kDualChunk = "dual-chunk";

std::string shown(double value) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "%g", value);
  return text.data();
}

// A window that leaves distances of at least `beyond` tokens to far keys.
Result<std::int64_t> resolved_window(const ScalingChoice& choice, std::int64_t trained, std::int64_t beyond) {
  const std::int64_t window = choice.window.value_or(std::max<std::int64_t>(trained / 4, 1));
  if (window >= 1 && window <= trained - beyond) return window;
  return Error{Code::kInvalid, "--scaling",
               "want a window of " + choice.name + " from 1 to " + std::to_string(trained - beyond) +
                   " for a checkpoint trained on " + std::to_string(trained) + " tokens, got " +
                   std::to_string(window)};
}

Result<ResolvedScaling> self_extend(const ScalingChoice& choice, std::int64_t trained, std::int64_t length) {
  const auto window = resolved_window(choice, trained, 1);
  if (!window) return window.error();
  constexpr double kLargestGroup = 0x1p40;
  if (choice.factor && !(*choice.factor <= kLargestGroup && std::floor(*choice.factor) == *choice.factor))
    return Error{Code::kInvalid, "--scaling",
                 "want a whole number up to 2^40 as the group of self-extend, got " + shown(*choice.factor)};
  SelfExtend map{choice.factor ? static_cast<std::int64_t>(*choice.factor) : 1, *window};
  if (!choice.factor) {
    // From a group on that is too small by at most a few.
    map.group = std::max<std::int64_t>((length - 1 - map.window) / (trained - map.window), 1);
    while (largest_mapped_distance(map, length) >= static_cast<double>(trained)) ++map.group;
  }
  return ResolvedScaling{static_cast<double>(map.group), map};
}

Result<ResolvedScaling> leaky_rerope(const ScalingChoice& choice, std::int64_t trained, std::int64_t length) {
  const auto window = resolved_window(choice, trained, 2);
  if (!window) return window.error();
  const double fitting = static_cast<double>(length - 1 - *window) / static_cast<double>(trained - 1 - *window);
  const double divisor = choice.factor.value_or(std::max(1.0, fitting));
  return ResolvedScaling{divisor, ReRope{*window, divisor}};
}

Result<ResolvedScaling> rerope(const ScalingChoice& choice, std::int64_t trained) {
  const auto window = resolved_window(choice, trained, 1);
  if (!window) return window.error();
  return ResolvedScaling{1.0, ReRope{*window}};
}

Result<ResolvedScaling> dual_chunk(const ScalingChoice& choice, std::int64_t trained) {
  DualChunk map{choice.chunk.value_or(std::max<std::int64_t>(trained * 3 / 4, 1)), 0};
  map.local_size = choice.window.value_or(map.chunk_size / 12);
  if (map.chunk_size < 1 || map.chunk_size >= trained)
    return Error{Code::kInvalid, "--scaling",
                 "want a chunk of dual-chunk from 1 to " + std::to_string(trained - 1) +
                     " for a checkpoint trained on " + std::to_string(trained) + " tokens, got " +
                     std::to_string(map.chunk_size)};
  if (auto error = check_position_map(map))
    return Error{error->code, "--scaling", "dual-chunk: window: " + error->message};
  return ResolvedScaling{1.0, map};
}

std::optional<Error> check_length(std::int64_t length, std::int64_t score, std::int64_t text_tokens) {
  if (length <= score || length > kLargestLength)
    return Error{Code::kInvalid, "--lengths",
                 "want lengths above the " + std::to_string(score) + " scored tokens, got " + std::to_string(length)};
  if (length > text_tokens)
    return Error{
        Code::kInvalid, "--lengths",
        "want at most the " + std::to_string(text_tokens) + " tokens that the text has, got " + std::to_string(length)};
  return std::nullopt;
}

std::optional<Error> check_scaling(const CheckpointPositions& positions, const WindowTask& task) {
  auto kinds = kinds_of(positions, task);
  if (kinds) return std::nullopt;
  return Error{kinds.error().code, "--scaling", kinds.error().message};
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Chunks in which a run's arithmetic is counted: multiplications a token, in the body and in the output matrix.
class Work {
 public:
  Work(const ModelConfig& config, std::int64_t length, std::int64_t scored, const MeasureOptions& options)
      : config_(config), length_(length), options_(options), start_(std::chrono::steady_clock::now()) {
    for (int layer = 0; layer < config.layers; ++layer) total_ += layer_cost(layer, 0, length);
    total_ += output_cost(scored);
  }

  double layer_cost(int layer, std::int64_t first, std::int64_t tokens) const {
    const double q = static_cast<double>(config_.heads) * config_.head_dim;
    const double kv = static_cast<double>(config_.kv_heads) * config_.head_dim;
    const auto hidden = static_cast<double>(config_.hidden_size);
    const double products = hidden * (2 * q + 2 * kv + 3 * static_cast<double>(config_.intermediate_size));
    const double keys = (seen_up_to(layer, first + tokens) - seen_up_to(layer, first)) / static_cast<double>(tokens);
    return static_cast<double>(tokens) * (products + 2 * q * keys);
  }
  double output_cost(std::int64_t rows) const {
    return static_cast<double>(rows) * static_cast<double>(config_.hidden_size * config_.vocabulary);
  }

  /// Counts what is done and tells the caller. False if the run is to end.
  bool advance(double cost) {
    done_ += cost;
    if (options_.progress) {
      const double fraction = std::min(1.0, done_ / total_);
      options_.progress({fraction, static_cast<std::int64_t>(fraction * static_cast<double>(length_)), seconds()});
    }
    return options_.cancel == nullptr || !options_.cancel->load(std::memory_order_relaxed);
  }
  double seconds() const { return seconds_since(start_); }

 private:
  // Keys that the first `tokens` queries of a layer see together.
  double seen_up_to(int layer, std::int64_t tokens) const {
    const auto window = static_cast<double>(config_.windows[static_cast<std::size_t>(layer)]);
    const auto n = static_cast<double>(tokens);
    return window == 0 || n <= window ? 0.5 * n * n : window * (n - 0.5 * window);
  }

  const ModelConfig& config_;
  std::int64_t length_;
  const MeasureOptions& options_;
  std::chrono::steady_clock::time_point start_;
  double total_ = 0.0;
  double done_ = 0.0;
};

std::optional<Error> check_task(const ModelConfig& config, std::span<const std::int32_t> text, const WindowTask& task) {
  const auto size = static_cast<std::int64_t>(text.size());
  if (task.length < 2 || task.first_token < 0 || task.length > size || task.first_token > size - task.length ||
      task.scored_end != task.first_token + task.length || task.scored_first <= task.first_token ||
      task.scored_first >= task.scored_end)
    return Error{Code::kInvalid, "task",
                 "want scored tokens at the end of a window inside the text's " + std::to_string(size) +
                     " tokens, got window [" + std::to_string(task.first_token) + ", +" + std::to_string(task.length) +
                     ") scored [" + std::to_string(task.scored_first) + ", " + std::to_string(task.scored_end) + ")"};
  for (std::int64_t i = task.first_token; i < task.scored_end; ++i)
    if (const std::int32_t id = text[static_cast<std::size_t>(i)]; id < 0 || id >= config.vocabulary)
      return Error{Code::kInvalid, "text",
                   "want ids in [0, " + std::to_string(config.vocabulary) + "), got " + std::to_string(id) +
                       " at token " + std::to_string(i)};
  return std::nullopt;
}

// A window whose numbers are lost is no result, and may look like one: the kernels' maxima and exponentials pass over
// NaN. Asked behind every layer, so that the weights to look at are named.
std::optional<Error> check_finite(const std::string& weights, const WindowTask& task, std::int64_t first,
                                  std::int64_t tokens, std::int64_t width, const float* rows) {
  for (std::int64_t t = 0; t < tokens; ++t) {
    bool finite = true;
    for (std::int64_t c = 0; c < width; ++c)
      finite &= std::abs(rows[t * width + c]) <= std::numeric_limits<float>::max();
    if (!finite)
      return Error{Code::kInvalid, weights,
                   "want finite numbers out of them, got NaN or infinity at token " +
                       std::to_string(task.first_token + first + t) + " of the text"};
  }
  return std::nullopt;
}

}  // namespace

bool is_position_map(std::string_view scaling) noexcept {
  return scaling == kSelfExtend || scaling == kReRope || scaling == kLeakyReRope || scaling == kDualChunk;
}

bool takes_factor(std::string_view scaling) noexcept {
  return scaling != "none" && scaling != "own" && scaling != kReRope && scaling != kDualChunk;
}

std::string_view position_map_names() noexcept { return "self-extend, rerope, leaky-rerope, dual-chunk"; }

Result<ResolvedScaling> resolve(const CheckpointPositions& positions, const ScalingChoice& choice,
                                std::int64_t length) {
  if (choice.name == "none" || choice.name == "own") return ResolvedScaling{};
  const std::int64_t trained = positions.trained_context;
  if (trained < 1)
    return Error{Code::kInvalid, "--scaling",
                 "want a checkpoint that says how many tokens it was trained for, got one that does not (" +
                     choice.name + " starts from that length)"};
  if (choice.factor && !(*choice.factor >= 1.0 && std::isfinite(*choice.factor)))
    return Error{Code::kInvalid, "--factor", "want a number >= 1, got " + shown(*choice.factor)};
  if (choice.name == kSelfExtend) return self_extend(choice, trained, length);
  if (choice.name == kReRope) return rerope(choice, trained);
  if (choice.name == kLeakyReRope) return leaky_rerope(choice, trained, length);
  if (choice.name == kDualChunk) return dual_chunk(choice, trained);
  return ResolvedScaling{
      choice.factor.value_or(std::max(1.0, static_cast<double>(length) / static_cast<double>(trained)))};
}

Result<std::vector<LayerKind>> kinds_of(const CheckpointPositions& positions, const WindowTask& task) {
  return scaled_kinds(positions, task.map ? "own" : std::string_view(task.scaling), task.factor);
}

Result<std::vector<WindowTask>> plan_windows(const CheckpointPositions& positions, std::int64_t text_tokens,
                                             const PlanOptions& options) {
  if (options.score < 1)
    return Error{Code::kInvalid, "--score", "want a number >= 1, got " + std::to_string(options.score)};
  if (options.lengths.empty()) return Error{Code::kInvalid, "--lengths", "want at least one length, got none"};
  if (options.scalings.empty()) return Error{Code::kInvalid, "--scaling", "want at least one scaling, got none"};
  for (const std::int64_t length : options.lengths)
    if (auto error = check_length(length, options.score, text_tokens)) return *std::move(error);
  const std::int64_t longest = *std::max_element(options.lengths.begin(), options.lengths.end());
  const std::int64_t spare = text_tokens - longest;
  // Every window scores tokens of its own: the middles of the strips lie at least `score` apart.
  const std::int64_t places = 1 + spare / options.score;
  if (options.windows < 1 || options.windows > places)
    return Error{Code::kInvalid, "--windows",
                 "want 1 to " + std::to_string(places) + " behind contexts of " + std::to_string(longest) +
                     " in a text of " + std::to_string(text_tokens) + " tokens, got " +
                     std::to_string(options.windows)};

  std::vector<std::int64_t> lengths = options.lengths;
  std::sort(lengths.begin(), lengths.end());
  std::vector<WindowTask> tasks;
  std::set<std::tuple<std::int64_t, std::string, double, std::string, int>> planned;
  for (const std::int64_t length : lengths)
    for (const ScalingChoice& choice : options.scalings) {
      auto resolved = resolve(positions, choice, length);
      if (!resolved) return resolved.error();
      const auto& [factor, map] = *resolved;
      if (auto error = check_scaling(positions, {length, choice.name, factor, 0, 0, 0, 0, map}))
        return *std::move(error);
      const std::string mapped = map ? to_string(*map) : "";
      for (int w = 0; w < options.windows; ++w) {
        if (!planned.emplace(length, choice.name, factor, mapped, w).second) continue;
        const std::int64_t parts = 2 * std::int64_t{options.windows};
        // spare * (2w + 1) / (2W) without leaving 64 bits
        const std::int64_t odd = 2 * std::int64_t{w} + 1;
        const std::int64_t end = longest + spare / parts * odd + spare % parts * odd / parts;
        tasks.push_back({length, choice.name, factor, w, end - length, end - options.score, end, map});
      }
    }
  return tasks;
}

Result<WindowTask> plan_by_position(const CheckpointPositions& positions, std::int64_t text_tokens, std::int64_t length,
                                    const ScalingChoice& scaling, std::int64_t first_token) {
  if (first_token < 0 || first_token > text_tokens)
    return Error{Code::kInvalid, "first_token", "want a token of the text, got " + std::to_string(first_token)};
  if (auto error = check_length(length, 1, text_tokens - first_token)) return *std::move(error);
  auto resolved = resolve(positions, scaling, length);
  if (!resolved) return resolved.error();
  WindowTask task{length,      scaling.name,    resolved->factor,     0,
                  first_token, first_token + 1, first_token + length, resolved->map};
  if (auto error = check_scaling(positions, task)) return *std::move(error);
  return task;
}

Result<std::vector<LayerKind>> scaled_kinds(const CheckpointPositions& positions, std::string_view scaling,
                                            double factor) {
  std::vector<LayerKind> kinds = positions.kinds;
  if (scaling == "own") return kinds;
  if (scaling != "none" && positions.trained_context < 1)
    return Error{Code::kUnsupported, "--scaling",
                 "want a checkpoint that says how many tokens it was trained for, got one that does not"};
  auto made = make_scaling(scaling, factor, std::max<std::int64_t>(positions.trained_context, 1));
  if (!made) return made.error();
  for (LayerKind& kind : kinds)
    if (kind.spec && !is_local(kind.name)) kind.spec->scaling = *made;
  return kinds;
}

std::int64_t memory_needed(const Model& model, std::int64_t length, const std::optional<PositionMap>& map) {
  const ModelConfig& config = model.config();
  const DType dtype = model.options().dtype;
  const std::int64_t chunk = std::min(kChunk, length);
  return length * config.hidden_size * 4 +
         KvCache::bytes(dtype, config.kv_heads, config.head_dim, length, map ? map_key_turns(*map) : 1) +
         Workspace::bytes(config, dtype, chunk, map) + std::min(kOutputRows, chunk) * config.vocabulary * 4;
}

Result<WindowRecord> measure(const Model& model, std::span<const std::int32_t> text, const WindowTask& task,
                             const MeasureOptions& options) {
  const Model::State& state = model.state();
  const ModelConfig& config = model.config();
  if (auto error = check_task(config, text, task)) return *std::move(error);
  auto kinds = kinds_of(model.positions(), task);
  if (!kinds) return kinds.error();
  auto rotations = Rotations::make(config, *kinds, task.length, task.map);
  if (!rotations) return rotations.error();
  const std::int64_t needed = memory_needed(model, task.length, task.map);
  if (const std::int64_t free = memory_available(); free > 0 && needed > free)
    return Error{Code::kInvalid, "--lengths",
                 "want a context that fits the free memory of " + shown_bytes(free) + ", got " +
                     std::to_string(task.length) + " tokens, which take " + shown_bytes(needed)};

  const ThreadScope scope(model.options().threads);
  const Error interrupted{Code::kUnavailable, "eval", "interrupted"};
  const std::int64_t scored = task.scored_end - task.scored_first;
  const std::int64_t chunk = std::min(options.chunk > 0 ? options.chunk : kChunk, task.length);
  Work work(config, task.length, scored, options);

  const auto window = text.subspan(static_cast<std::size_t>(task.first_token), static_cast<std::size_t>(task.length));
  Buffer<float> x(task.length * config.hidden_size);
  embed(state, window, x.data());
  if (const auto begin = model.tokenizer().begin_token()) embed(state, {&*begin, 1}, x.data());
  if (auto error = check_finite("token embeddings", task, 0, task.length, config.hidden_size, x.data()))
    return *std::move(error);
  Workspace workspace(state, chunk, task.map);
  KvCache cache(model.options().dtype, config.kv_heads, config.head_dim, task.length,
                task.map ? map_key_turns(*task.map) : 1);
  for (int layer = 0; layer < config.layers; ++layer)
    for (std::int64_t first = 0; first < task.length; first += chunk) {
      const std::int64_t tokens = std::min(chunk, task.length - first);
      float* const rows = x.data() + first * config.hidden_size;
      run_layer(state, layer, *rotations, cache, 0, first, tokens, rows, workspace);
      if (auto error =
              check_finite("weights of layer " + std::to_string(layer), task, first, tokens, config.hidden_size, rows))
        return *std::move(error);
      if (!work.advance(work.layer_cost(layer, first, tokens))) return interrupted;
    }
  WindowRecord record{.task = task, .tokens_seen = task.length};
  record.body_seconds = work.seconds();

  record.nll.resize(static_cast<std::size_t>(scored));
  const std::int64_t step = std::min(kOutputRows, chunk);
  Buffer<float> logits(step * config.vocabulary);
  std::vector<double> nll(static_cast<std::size_t>(scored));
  const Kernels& kernels = active_kernels();
  for (std::int64_t done = 0; done < scored; done += step) {
    const std::int64_t rows = std::min(step, scored - done);
    const std::int64_t row = task.scored_first - 1 - task.first_token + done;
    run_output(state, x.data() + row * config.hidden_size, rows, logits.data(), workspace);
    if (auto error = check_finite("weights of the output", task, row, rows, config.vocabulary, logits.data()))
      return *std::move(error);
#pragma omp parallel for num_threads(model.options().threads)
    for (std::int64_t r = 0; r < rows; ++r) {
      const float* const own = logits.data() + r * config.vocabulary;
      nll[static_cast<std::size_t>(done + r)] =
          kernels.log_sum_exp(own, config.vocabulary) - own[window[static_cast<std::size_t>(row + 1 + r)]];
    }
    if (!work.advance(work.output_cost(rows)) && done + rows < scored) return interrupted;
  }
  for (std::size_t i = 0; i < nll.size(); ++i) {
    record.nll_sum += nll[i];
    record.nll[i] = static_cast<float>(nll[i]);
  }
  record.tokens_per_second = static_cast<double>(task.length) / std::max(work.seconds(), 1e-9);
  return record;
}

double WindowRecord::perplexity() const {
  return std::exp(nll_sum / static_cast<double>(task.scored_end - task.scored_first));
}

std::vector<PositionBucket> bucket_by_position(const WindowRecord& record, int buckets) {
  std::vector<PositionBucket> out;
  const auto count = static_cast<std::int64_t>(record.nll.size());
  const std::int64_t width = (count + std::max(buckets, 1) - 1) / std::max(buckets, 1);
  const std::int64_t first = record.task.scored_first - record.task.first_token;
  for (std::int64_t at = 0; at < count; at += width) {
    const std::int64_t end = std::min(at + width, count);
    double sum = 0.0;
    for (std::int64_t i = at; i < end; ++i) sum += static_cast<double>(record.nll[static_cast<std::size_t>(i)]);
    out.push_back({first + at, first + end, sum / static_cast<double>(end - at)});
  }
  return out;
}

std::vector<Summary> summarize(std::span<const WindowRecord> records) {
  std::vector<Summary> out;
  std::vector<char> taken(records.size(), 0);
  for (std::size_t i = 0; i < records.size(); ++i) {
    if (taken[i] != 0) continue;
    Summary summary{.length = records[i].task.length,
                    .scaling = records[i].task.scaling,
                    .factor = records[i].task.factor,
                    .map = records[i].task.map};
    std::vector<double> means;
    double nll = 0.0;
    double scored = 0.0;
    double tokens = 0.0;
    double seconds = 0.0;
    for (std::size_t j = i; j < records.size(); ++j) {
      const WindowRecord& each = records[j];
      if (each.task.length != summary.length || each.task.scaling != summary.scaling ||
          each.task.factor != summary.factor || each.task.map != summary.map)
        continue;
      taken[j] = 1;
      const auto count = static_cast<double>(each.task.scored_end - each.task.scored_first);
      means.push_back(each.nll_sum / count);
      nll += each.nll_sum;
      scored += count;
      tokens += static_cast<double>(each.tokens_seen);
      if (each.tokens_per_second > 0) seconds += static_cast<double>(each.tokens_seen) / each.tokens_per_second;
    }
    summary.windows = static_cast<int>(means.size());
    summary.mean_nll = nll / scored;
    summary.perplexity = std::exp(summary.mean_nll);
    if (means.size() > 1) {
      double middle = 0.0;
      for (const double mean : means) middle += mean / static_cast<double>(means.size());
      double squares = 0.0;
      for (const double mean : means) squares += (mean - middle) * (mean - middle);
      summary.spread = std::sqrt(squares / static_cast<double>(means.size() - 1));
    }
    if (seconds > 0) summary.tokens_per_second = tokens / seconds;
    out.push_back(std::move(summary));
  }
  return out;
}

}  // namespace ropewalk::runner
