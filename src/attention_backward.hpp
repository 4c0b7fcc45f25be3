// Backwards: runs of keys, past each of which all panels of queries that see them go.
#pragma once

#include <ropewalk/attention.hpp>

#include "attention_scores.hpp"
#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <thread>

namespace ropewalk {

// Blocks of kBlockKeys keys in a run, at most. Their keys and values and the gradients of both are 512 KiB then, which
// the second-level cache holds beside a panel of queries.
inline constexpr std::int64_t kMostRunBlocks = 4;
// Queries of an item that forms means.
inline constexpr std::int64_t kMeanTokens = 256;

struct BackwardShape {
  std::int64_t group = 0, dim = 0, value_dim = 0, batch = 0, heads = 0, kv_heads = 0, tokens = 0;
  std::int64_t sequences = 1;
  std::int64_t most_panels = 0;  // of a key head of a row: each sequence may end within one
  std::int64_t run_blocks = 1;   // at most

  explicit BackwardShape(const Attention& a) noexcept
      : group(a.q.heads / a.k.heads),
        dim(a.q.head_dim),
        value_dim(a.v.head_dim),
        batch(a.q.batch),
        heads(a.q.heads),
        kv_heads(a.k.heads),
        tokens(a.q.tokens),
        sequences(std::max<std::int64_t>(1, static_cast<std::int64_t>(a.query_starts.size()) - 1)),
        most_panels(tokens * group / kPanelColumns + sequences),
        run_blocks(std::clamp<std::int64_t>(256 / std::max(dim, value_dim), 1, kMostRunBlocks)) {}

  static std::int64_t chunks(std::int64_t channels) noexcept { return (channels + kPanelColumns - 1) / kPanelColumns; }
  std::int64_t run_keys() const noexcept { return run_blocks * kBlockKeys; }
  static std::int64_t key_blocks(std::int64_t keys) noexcept { return (keys + kBlockKeys - 1) / kBlockKeys; }

  /// Takes what all threads share, in the order of BackwardPass.
  template <class Shared>
  void take_shared(Stretches& all, Shared& shared) const noexcept {
    shared.d_queries = all.take(batch * kv_heads * most_panels * kPanelColumns * dim);
    shared.means = all.take(batch * heads * tokens);
    shared.done = reinterpret_cast<std::int32_t*>(all.take(batch * kv_heads * most_panels));
    for (std::int64_t** each : {&shared.panel_starts, &shared.block_starts, &shared.run_starts})
      *each = reinterpret_cast<std::int64_t*>(all.take(2 * (sequences + 1)));
  }
  template <class Scratch>
  void take_scratch(Stretches& all, Scratch& scratch) const noexcept {
    scratch.keys = all.take(run_keys() * dim);
    scratch.values = all.take(run_keys() * value_dim);
    scratch.d_keys = all.take(chunks(dim) * run_keys() * kPanelColumns);
    scratch.d_values = all.take(chunks(value_dim) * run_keys() * kPanelColumns);
    scratch.queries = all.take(chunks(dim) * kPanelColumns * kPanelColumns);
    scratch.query_rows = all.take(chunks(dim) * kPanelColumns * kPanelColumns);
    scratch.d_out = all.take(chunks(value_dim) * kPanelColumns * kPanelColumns);
    scratch.d_out_rows = all.take(chunks(value_dim) * kPanelColumns * kPanelColumns);
    scratch.stage = all.take(kPanelColumns * std::max({dim, value_dim, kBlockKeys}));
    for (float** each : {&scratch.scores, &scratch.d_scores, &scratch.biases})
      *each = all.take(kBlockKeys * kPanelColumns);
    for (float** each : {&scratch.factor, &scratch.inverse, &scratch.top, &scratch.mean, &scratch.ones})
      *each = all.take(kPanelColumns);
  }

  struct Shared {
    float* d_queries;    // [batch, kv_heads, panels][channels][64], not scaled yet
    float* means;        // [batch, heads, tokens]: d_out . out, then what a head adds to d_temperature
    std::int32_t* done;  // [batch, kv_heads, panels]: blocks of keys that d_queries holds
    std::int64_t *panel_starts, *block_starts, *run_starts;  // [sequences + 1]: counted over the sequences before
  };
  // What one thread works with.
  struct Scratch {
    float *keys, *values;                         // [run_keys][channels]
    float *d_keys, *d_values;                     // [chunks][run_keys][64 channels]
    float *queries, *d_out;                       // [channels][64]
    float *query_rows, *d_out_rows;               // [chunks][64][64 channels]; queries scaled
    float* stage;                                 // [64][channels] or [64][kBlockKeys]
    float *scores, *d_scores, *biases;            // [kBlockKeys][64]
    float *factor, *inverse, *top, *mean, *ones;  // [64]
  };

  std::int64_t shared_bytes() const noexcept {
    Stretches all;
    Shared unused{};
    take_shared(all, unused);
    return all.bytes();
  }
  std::int64_t thread_bytes() const noexcept {
    Stretches all;
    Scratch unused{};
    take_scratch(all, unused);
    return all.bytes();
  }
  std::int64_t workspace(int threads) const noexcept {
    // Past any memory, and sums stay in range.
    if (static_cast<double>(batch) * static_cast<double>(heads) * static_cast<double>(tokens + kPanelColumns) *
            static_cast<double>(dim) >
        0x1p56)
      return std::int64_t{1} << 60;
    return shared_bytes() + threads * thread_bytes() + 64;
  }
  int threads_in(std::span<const std::byte> workspace_given, int most) const noexcept {
    int threads = most;
    while (threads > 1 && workspace(threads) > static_cast<std::int64_t>(workspace_given.size())) --threads;
    return threads;
  }
};

/// Five products a block, in one pass over the keys: a run of keys keeps its own gradients and adds to those of the
/// queries, whose panels wait for the runs in the order of their keys. Two passes, one for each side, need no waiting
/// and seven products.
class BackwardPass {
 public:
  BackwardPass(const Attention& attention, const AttentionGradients& gradients, const BackwardShape& shape,
               std::span<std::byte> workspace, int threads) noexcept
      : a_(attention),
        g_(gradients),
        shape_(shape),
        scores_(attention),
        kernels_(cpu::active_target().kernels->attention) {
    Stretches all(workspace.data());
    shape_.take_shared(all, shared_);
    scratch_ = reinterpret_cast<std::byte*>(all.take(0));
    std::fill_n(shared_.done, shape_.batch * shape_.kv_heads * shape_.most_panels, 0);
    shared_.panel_starts[0] = shared_.block_starts[0] = 0;
    for (std::int64_t s = 0; s < shape_.sequences; ++s) {
      const Sequence sequence = sequence_at(s);
      const std::int64_t columns = (sequence.end_query - sequence.first_query) * shape_.group;
      shared_.panel_starts[s + 1] = shared_.panel_starts[s] + (columns + kPanelColumns - 1) / kPanelColumns;
      shared_.block_starts[s + 1] = shared_.block_starts[s] + shape_.key_blocks(sequence.end_key - sequence.first_key);
    }
    // Shorter runs where there would not be items for all threads.
    run_blocks_ = shape_.run_blocks;
    count_runs();
    while (run_blocks_ > 1 && key_items() < 4 * threads) --run_blocks_, count_runs();
  }

  // Three steps; a step begins when the one before it has ended.

  std::int64_t mean_items() const noexcept { return shape_.batch * shape_.heads * mean_parts(); }

  /// The mean of d_out . v under p, which is d_out . out.
  void form_means(std::int64_t item, int thread) const noexcept {
    const std::int64_t row = item / mean_parts() / shape_.heads, head = item / mean_parts() % shape_.heads;
    const std::int64_t begin = item % mean_parts() * kMeanTokens, end = std::min(begin + kMeanTokens, shape_.tokens);
    const Scratch scratch = scratch_of(thread);
    for (std::int64_t t = begin; t < end; ++t) {
      widen(a_.out, row, t, head, 0, shape_.value_dim, scratch.d_out);
      widen(g_.d_out, row, t, head, 0, shape_.value_dim, scratch.d_out_rows);
      shared_.means[(row * shape_.heads + head) * shape_.tokens + t] =
          dot(scratch.d_out, scratch.d_out_rows, shape_.value_dim);
    }
  }

  std::int64_t key_items() const noexcept { return runs() * shape_.batch * shape_.kv_heads; }

  /// One run of keys. Runs that wait for each other are far apart among the items, in the order in which they wait.
  void run_keys(std::int64_t item, int thread) const noexcept {
    const std::int64_t places = shape_.batch * shape_.kv_heads, run = item / places;
    const Place place{item % places / shape_.kv_heads, item % shape_.kv_heads};
    const std::int64_t s = sequence_of(shared_.run_starts, run);
    const Sequence sequence = sequence_at(s);
    const std::int64_t first_block = (run - shared_.run_starts[s]) * run_blocks_;
    const std::int64_t begin = sequence.first_key + first_block * kBlockKeys;
    const std::int64_t end = std::min(begin + run_blocks_ * kBlockKeys, sequence.end_key);
    const Scratch scratch = scratch_of(thread);
    std::fill_n(scratch.ones, kPanelColumns, 1.0f);
    const auto dtype = static_cast<std::size_t>(a_.k.dtype);
    kernels_.widen[dtype](element(a_.k, place.row, begin, place.head), a_.k.token_stride, end - begin, shape_.dim,
                          scratch.keys, shape_.dim);
    kernels_.widen[dtype](element(a_.v, place.row, begin, place.head), a_.v.token_stride, end - begin, shape_.value_dim,
                          scratch.values, shape_.value_dim);
    std::fill_n(scratch.d_keys, shape_.chunks(shape_.dim) * shape_.run_keys() * kPanelColumns, 0.0f);
    std::fill_n(scratch.d_values, shape_.chunks(shape_.value_dim) * shape_.run_keys() * kPanelColumns, 0.0f);
    // From the last panel: if the mask is causal all runs see it, and each finds done what it has to wait for.
    for (std::int64_t p = panels(s) - 1; p >= 0; --p) {
      const QueryColumns columns = columns_of(sequence, p);
      const KeyRange seen = scores_.seen(sequence, columns);
      if (seen.begin >= end || seen.begin >= seen.end) continue;
      if (seen.end <= begin) break;
      take_queries(place, columns, scratch);
      const std::int64_t first_seen = (seen.begin - sequence.first_key) / kBlockKeys;
      const std::int64_t panel = panel_index(place, s, p);
      std::atomic_ref<std::int32_t> done(shared_.done[panel]);
      std::int64_t block = std::max(first_block, first_seen);
      bool waited = false;
      for (; sequence.first_key + block * kBlockKeys < std::min(end, seen.end); ++block) {
        const std::int64_t at = sequence.first_key + block * kBlockKeys;
        const Block keys{std::max(at, seen.begin), std::min(at + kBlockKeys, std::min(end, seen.end)), begin,
                         part_of(place, shared_.block_starts[s] + block)};
        form_scores(place, sequence, columns, keys, scratch);
        add_to_keys(columns, keys, scratch);
        if (!waited) {
          while (done.load(std::memory_order_acquire) != block - first_seen) std::this_thread::yield();
          waited = true;
        }
        if (g_.d_score.add != nullptr) tell(place, s, columns, keys, thread, scratch);
        add_to_queries(columns, keys, block == first_seen, panel, scratch);
      }
      done.store(static_cast<std::int32_t>(block - first_seen), std::memory_order_release);
    }
    give(g_.d_k, place, begin, end, scratch.d_keys);
    give(g_.d_v, place, begin, end, scratch.d_values);
  }

  std::int64_t query_items() const noexcept {
    return shared_.panel_starts[shape_.sequences] * shape_.batch * shape_.kv_heads;
  }

  /// One panel of d_q.
  void give_queries(std::int64_t item, int thread) const noexcept {
    const std::int64_t places = shape_.batch * shape_.kv_heads, p = item / places, dim = shape_.dim;
    const Place place{item % places / shape_.kv_heads, item % shape_.kv_heads};
    const std::int64_t s = sequence_of(shared_.panel_starts, p), in_sequence = p - shared_.panel_starts[s];
    const QueryColumns columns = columns_of(sequence_at(s), in_sequence);
    const Scratch scratch = scratch_of(thread);
    const std::int64_t panel = panel_index(place, s, in_sequence);
    if (shared_.done[panel] == 0)
      std::fill_n(scratch.stage, columns.count() * dim, 0.0f);
    else
      kernels_.transpose(shared_.d_queries + panel * kPanelColumns * dim, kPanelColumns, dim, columns.padded(),
                         scratch.stage, dim);
    for (std::int64_t c = 0; c < columns.count(); ++c) {
      const std::int64_t token = scores_.token_of(columns.begin + c), head = scores_.head_of(place, columns.begin + c);
      float* const row = scratch.stage + c * dim;
      if (g_.d_temperature != nullptr) {
        widen(a_.q, place.row, token, head, 0, dim, scratch.queries);
        shared_.means[(place.row * shape_.heads + head) * shape_.tokens + token] = dot(row, scratch.queries, dim);
      }
      const auto scale = static_cast<float>(scale_of(a_, place.row, token));
      for (std::int64_t d = 0; d < dim; ++d) row[d] *= scale;
      kernels_.narrow[static_cast<std::size_t>(g_.d_q.dtype)](row, dim,
                                                              written_element(g_.d_q, place.row, token, head));
    }
  }

  /// The sum over heads, by the caller's thread.
  void give_temperature() const noexcept {
    if (g_.d_temperature == nullptr) return;
    for (std::int64_t row = 0; row < shape_.batch; ++row)
      for (std::int64_t t = 0; t < shape_.tokens; ++t) {
        double sum = 0.0;
        for (std::int64_t h = 0; h < shape_.heads; ++h)
          sum += static_cast<double>(shared_.means[(row * shape_.heads + h) * shape_.tokens + t]);
        g_.d_temperature[row * shape_.tokens + t] = static_cast<float>(a_.softmax_scale * sum);
      }
  }

 private:
  using Scratch = BackwardShape::Scratch;

  /// Keys [first, last) of the run that begins at key `run`.
  struct Block {
    std::int64_t first, last, run, part;
    std::int64_t keys() const noexcept { return last - first; }
    std::int64_t in_run() const noexcept { return first - run; }
  };

  std::int64_t mean_parts() const noexcept { return (shape_.tokens + kMeanTokens - 1) / kMeanTokens; }
  std::int64_t runs() const noexcept { return shared_.run_starts[shape_.sequences]; }
  void count_runs() noexcept {
    shared_.run_starts[0] = 0;
    for (std::int64_t s = 0; s < shape_.sequences; ++s) {
      const std::int64_t blocks = shared_.block_starts[s + 1] - shared_.block_starts[s];
      shared_.run_starts[s + 1] = shared_.run_starts[s] + (blocks + run_blocks_ - 1) / run_blocks_;
    }
  }
  Sequence sequence_at(std::int64_t s) const noexcept {
    if (a_.query_starts.empty()) return {0, a_.q.tokens, 0, a_.k.tokens};
    const auto i = static_cast<std::size_t>(s);
    return {a_.query_starts[i], a_.query_starts[i + 1], a_.key_starts[i], a_.key_starts[i + 1]};
  }
  /// Whose the item is that so many were counted before.
  std::int64_t sequence_of(const std::int64_t* starts, std::int64_t item) const noexcept {
    return std::upper_bound(starts, starts + shape_.sequences + 1, item) - starts - 1;
  }
  std::int64_t panels(std::int64_t s) const noexcept { return shared_.panel_starts[s + 1] - shared_.panel_starts[s]; }
  std::int64_t panel_index(Place place, std::int64_t s, std::int64_t p) const noexcept {
    return (place.row * shape_.kv_heads + place.head) * shape_.most_panels + shared_.panel_starts[s] + p;
  }
  std::int64_t part_of(Place place, std::int64_t block) const noexcept {
    return (place.row * shape_.kv_heads + place.head) * shared_.block_starts[shape_.sequences] + block;
  }
  QueryColumns columns_of(const Sequence& sequence, std::int64_t p) const noexcept {
    const std::int64_t begin = sequence.first_query * shape_.group + p * kPanelColumns;
    return {begin, std::min(begin + kPanelColumns, sequence.end_query * shape_.group)};
  }
  Scratch scratch_of(int thread) const noexcept {
    Stretches all(scratch_ + thread * shape_.thread_bytes());
    Scratch scratch{};
    shape_.take_scratch(all, scratch);
    return scratch;
  }
  void widen(const HeadsView& x, std::int64_t row, std::int64_t token, std::int64_t head, std::int64_t channel,
             std::int64_t channels, float* to) const noexcept {
    kernels_.widen[static_cast<std::size_t>(x.dtype)](
        element(x, row, token, head) + channel * static_cast<std::int64_t>(size_of(x.dtype)), 0, 1, channels, to, 0);
  }

  /// In sixteen sums, which a compiler may put into vectors of any width.
  static float dot(const float* x, const float* y, std::int64_t n) noexcept {
    float sums[16] = {};
    std::int64_t i = 0;
    for (; i + 16 <= n; i += 16)
      for (std::int64_t lane = 0; lane < 16; ++lane) sums[lane] += x[i + lane] * y[i + lane];
    for (; i < n; ++i) sums[i % 16] += x[i] * y[i];
    for (int half = 8; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) sums[lane] += sums[lane + half];
    return sums[0];
  }

  /// Rows of q or d_out as they lie, in chunks of channels, and across; what is up to the next 16 is 0.
  void take_rows(const HeadsView& x, Place place, QueryColumns columns, float* rows, float* across) const noexcept {
    for (std::int64_t at = 0; at < x.head_dim; at += kPanelColumns) {
      const std::int64_t channels = std::min(kPanelColumns, x.head_dim - at);
      float* const chunk = rows + at * kPanelColumns;
      for (std::int64_t c = 0; c < columns.padded(); ++c) {
        float* const row = chunk + c * kPanelColumns;
        const std::int64_t column = columns.begin + c;
        if (c < columns.count())
          widen(x, place.row, scores_.token_of(column), scores_.head_of(place, column), at, channels, row);
        std::fill(row + (c < columns.count() ? channels : 0), row + kPanelColumns, 0.0f);
      }
      kernels_.transpose(chunk, kPanelColumns, columns.padded(), channels, across + at * kPanelColumns, kPanelColumns);
    }
  }

  void take_queries(Place place, QueryColumns columns, const Scratch& scratch) const noexcept {
    take_rows(a_.q, place, columns, scratch.query_rows, scratch.queries);
    take_rows(g_.d_out, place, columns, scratch.d_out_rows, scratch.d_out);
    constexpr float kAbove = std::numeric_limits<float>::infinity();
    for (std::int64_t c = 0; c < columns.padded(); ++c) {
      // Columns up to the next 16 are computed and come to nothing.
      scratch.factor[c] = scratch.inverse[c] = 1.0f;
      scratch.top[c] = kAbove;
      scratch.mean[c] = 0.0f;
      if (c >= columns.count()) continue;
      const std::int64_t token = scores_.token_of(columns.begin + c), head = scores_.head_of(place, columns.begin + c);
      const std::int64_t at = (place.row * shape_.heads + head) * shape_.tokens + token;
      const double scale = scale_of(a_, place.row, token), log_sum = static_cast<double>(a_.log_sum_exp[at]);
      scratch.factor[c] = factor_of(scale);
      scratch.inverse[c] = static_cast<float>(1.0 / scale);
      if (log_sum != -std::numeric_limits<double>::infinity()) scratch.top[c] = static_cast<float>(log_sum / scale);
      scratch.mean[c] = shared_.means[at];
      const auto factor = static_cast<float>(scale);
      for (std::int64_t chunk = 0; chunk < shape_.chunks(shape_.dim); ++chunk) {
        float* const row = scratch.query_rows + (chunk * kPanelColumns + c) * kPanelColumns;
        for (std::int64_t d = 0; d < kPanelColumns; ++d) row[d] *= factor;
      }
    }
  }

  /// p and d_score of a block.
  void form_scores(Place place, const Sequence& sequence, QueryColumns columns, const Block& block,
                   const Scratch& scratch) const noexcept {
    const auto multiply = [&](const float* rows, std::int64_t channels, const float* across, float* to) {
      kernels_.multiply({.a = rows + block.in_run() * channels,
                         .a_row = channels,
                         .a_step = 1,
                         .b = across,
                         .c = to,
                         .rows = block.keys(),
                         .depth = channels,
                         .columns = columns.padded()});
    };
    multiply(scratch.keys, shape_.dim, scratch.queries, scratch.scores);
    multiply(scratch.values, shape_.value_dim, scratch.d_out, scratch.d_scores);
    if (a_.bias.fill != nullptr)
      scores_.add_bias(place, sequence, columns, block.first, block.last, scratch.inverse, scratch.stage,
                       scratch.biases, scratch.scores);
    scores_.hide(sequence, columns, block.first, block.last, scratch.scores);
    kernels_.softmax_gradient({.scores = scratch.scores,
                               .gradients = scratch.d_scores,
                               .keys = block.keys(),
                               .columns = columns.padded(),
                               .factor = scratch.factor,
                               .top = scratch.top,
                               .mean = scratch.mean});
  }

  void tell(Place place, std::int64_t s, QueryColumns columns, const Block& block, int thread,
            const Scratch& scratch) const noexcept {
    const Sequence sequence = sequence_at(s);
    kernels_.transpose(scratch.d_scores, kPanelColumns, block.keys(), columns.padded(), scratch.stage, kBlockKeys);
    scores_.for_each_head(place, columns,
                          [&](std::int64_t head, std::int64_t token, std::int64_t end, std::int64_t column) {
                            g_.d_score.add(g_.d_score.state, {.row = place.row,
                                                              .head = head,
                                                              .sequence = s,
                                                              .first_query = sequence.place(token) - sequence.first_key,
                                                              .queries = end - token,
                                                              .first_key = block.first - sequence.first_key,
                                                              .keys = block.keys(),
                                                              .d_score = scratch.stage + column * kBlockKeys,
                                                              .stride = shape_.group * kBlockKeys,
                                                              .part = block.part,
                                                              .thread = thread});
                          });
  }

  void add_to_keys(QueryColumns columns, const Block& block, const Scratch& scratch) const noexcept {
    const auto add = [&](const float* weights, const float* rows, std::int64_t channels, float* sums) {
      for (std::int64_t at = 0; at < channels; at += kPanelColumns)
        kernels_.multiply({.a = weights,
                           .a_row = kPanelColumns,
                           .a_step = 1,
                           .b = rows + at * kPanelColumns,
                           .c = sums + at * shape_.run_keys() + block.in_run() * kPanelColumns,
                           .rows = block.keys(),
                           .depth = columns.count(),
                           .columns = (std::min(kPanelColumns, channels - at) + 15) / 16 * 16,
                           .scale = scratch.ones});
    };
    add(scratch.scores, scratch.d_out_rows, shape_.value_dim, scratch.d_values);
    add(scratch.d_scores, scratch.query_rows, shape_.dim, scratch.d_keys);
  }

  void add_to_queries(QueryColumns columns, const Block& block, bool first, std::int64_t panel,
                      const Scratch& scratch) const noexcept {
    kernels_.multiply({.a = scratch.keys + block.in_run() * shape_.dim,
                       .a_row = 1,
                       .a_step = shape_.dim,
                       .b = scratch.d_scores,
                       .c = shared_.d_queries + panel * kPanelColumns * shape_.dim,
                       .rows = shape_.dim,
                       .depth = block.keys(),
                       .columns = columns.padded(),
                       .scale = first ? nullptr : scratch.ones});
  }

  /// Keys [begin, end) of d_k or d_v.
  void give(const HeadsView& out, Place place, std::int64_t begin, std::int64_t end, const float* sums) const noexcept {
    for (std::int64_t j = begin; j < end; ++j) {
      std::byte* const to = written_element(out, place.row, j, place.head);
      for (std::int64_t at = 0; at < out.head_dim; at += kPanelColumns)
        kernels_.narrow[static_cast<std::size_t>(out.dtype)](
            sums + at * shape_.run_keys() + (j - begin) * kPanelColumns, std::min(kPanelColumns, out.head_dim - at),
            to + at * static_cast<std::int64_t>(size_of(out.dtype)));
    }
  }

  const Attention& a_;
  const AttentionGradients& g_;
  const BackwardShape& shape_;
  const ScoreBlocks scores_;
  const cpu::AttentionKernels& kernels_;
  BackwardShape::Shared shared_{};
  std::byte* scratch_ = nullptr;
  std::int64_t run_blocks_ = 1;
};

}  // namespace ropewalk
