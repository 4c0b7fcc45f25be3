#include "runner/attention.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <numbers>
#include <vector>

#include "runner/dequantize.hpp"
#include "runner/kernels/kernels.hpp"

namespace ropewalk::runner {
namespace {

// Rows of a block of queries: of every query head that shares a key head, so many tokens that a block has about this
// many rows. Its scores against kBlockKeys keys stay in the second-level cache (96 x 528 floats are 198 KiB).
constexpr std::int64_t kBlockRows = 96;
constexpr std::int64_t kBlockKeys = 512;
// Floats from a row of scores to the next: not a multiple of 4 KiB apart after a few rows, which would share cache
// sets.
constexpr std::int64_t kScoreStride = kBlockKeys + 16;
static_assert(kBlockKeys % KvCache::kPanel == 0);

}  // namespace

KvCache::KvCache(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity)
    : dtype_(dtype),
      bf16_(dtype == DType::kBFloat16 && active_kernels().multiply_bf16 != nullptr),
      kv_heads_(kv_heads),
      head_dim_(head_dim),
      panels_((capacity + kPanel - 1) / kPanel) {
  const std::int64_t size = kv_heads_ * panels_ * kPanel * padded_dim();
  if (bf16_) {
    short_keys_ = Buffer<std::uint16_t>(size);
    short_values_ = Buffer<std::uint16_t>(size);
  } else {
    keys_ = Buffer<float>(size);
    values_ = Buffer<float>(size);
  }
}

std::int64_t KvCache::bytes(DType dtype, std::int64_t kv_heads, std::int64_t head_dim, std::int64_t capacity) {
  const bool bf16 = dtype == DType::kBFloat16 && active_kernels().multiply_bf16 != nullptr;
  return 2 * kv_heads * ((capacity + kPanel - 1) / kPanel * kPanel) * ((head_dim + 15) / 16 * 16) * (bf16 ? 2 : 4);
}

// Tokens [begin, end) of one panel; the pointers are at token `begin`. The first write to a panel clears it: what lies
// behind the last token is multiplied by a weight of 0 and must not be a NaN.
void KvCache::write_panel(std::int64_t head, std::int64_t panel, std::int64_t begin, std::int64_t end,
                          const float* keys, const float* values, std::int64_t token_stride) {
  const std::int64_t dim = padded_dim();
  const std::int64_t base = at(head, panel);
  if (begin == 0) {
    const auto count = static_cast<std::size_t>(kPanel * dim);
    if (bf16_) {
      std::memset(short_keys_.data() + base, 0, count * sizeof(std::uint16_t));
      std::memset(short_values_.data() + base, 0, count * sizeof(std::uint16_t));
    } else {
      std::memset(keys_.data() + base, 0, count * sizeof(float));
      std::memset(values_.data() + base, 0, count * sizeof(float));
    }
  }
  for (std::int64_t token = begin; token < end; ++token, keys += token_stride, values += token_stride) {
    const float* const key = keys + head * head_dim_;
    const float* const value = values + head * head_dim_;
    if (bf16_) {
      std::uint16_t* const key_at = short_keys_.data() + base + 2 * token;
      std::uint16_t* const value_at = short_values_.data() + base + token / 2 * 2 * dim + token % 2;
      for (std::int64_t d = 0; d < head_dim_; ++d) {
        key_at[d / 2 * 2 * kPanel + d % 2] = bfloat16_from_float(key[d]);
        value_at[2 * d] = bfloat16_from_float(value[d]);
      }
    } else {
      float* const key_at = keys_.data() + base + token;
      float* const value_at = values_.data() + base + token * dim;
      const bool round = dtype_ == DType::kBFloat16;
      for (std::int64_t d = 0; d < head_dim_; ++d) {
        key_at[d * kPanel] = round ? float_from_bfloat16(bfloat16_from_float(key[d])) : key[d];
        value_at[d] = round ? float_from_bfloat16(bfloat16_from_float(value[d])) : value[d];
      }
    }
  }
}

void KvCache::write(std::int64_t first, std::int64_t tokens, const float* keys, const float* values,
                    std::int64_t token_stride) {
  for (std::int64_t token = first; token < first + tokens;) {
    const std::int64_t panel = token / kPanel;
    const std::int64_t end = std::min(first + tokens, (panel + 1) * kPanel);
    const std::int64_t offset = (token - first) * token_stride;
    for (std::int64_t head = 0; head < kv_heads_; ++head)
      write_panel(head, panel, token - panel * kPanel, end - panel * kPanel, keys + offset, values + offset,
                  token_stride);
    token = end;
  }
}

void KvCache::read(std::int64_t first, std::int64_t tokens, float* keys, float* values,
                   std::int64_t token_stride) const {
  const std::int64_t dim = padded_dim();
  for (std::int64_t t = 0; t < tokens; ++t, keys += token_stride, values += token_stride) {
    const std::int64_t panel = (first + t) / kPanel, token = (first + t) % kPanel;
    for (std::int64_t head = 0; head < kv_heads_; ++head) {
      const std::int64_t base = at(head, panel);
      for (std::int64_t d = 0; d < head_dim_; ++d) {
        float& key = keys[head * head_dim_ + d];
        float& value = values[head * head_dim_ + d];
        if (bf16_) {
          key = float_from_bfloat16(short_keys_.data()[base + d / 2 * 2 * kPanel + 2 * token + d % 2]);
          value = float_from_bfloat16(short_values_.data()[base + token / 2 * 2 * dim + 2 * d + token % 2]);
        } else {
          key = keys_.data()[base + d * kPanel + token];
          value = values_.data()[base + token * dim + d];
        }
      }
    }
  }
}

namespace {

// What one thread works with.
struct Scratch {
  Buffer<float> queries;                // [rows, padded_dim], scaled
  Buffer<std::uint16_t> short_queries;  // the same in bf16
  Buffer<float> scores;                 // [rows, kScoreStride], then their powers
  Buffer<std::uint16_t> short_powers;   // the same in bf16
  Buffer<float> sums;                   // [rows, padded_dim]
  std::vector<float> top;               // [rows] largest score so far
  std::vector<float> total;             // [rows] sum of powers so far

  Scratch(std::int64_t rows, std::int64_t dim, bool bf16)
      : queries(bf16 ? 0 : rows * dim),
        short_queries(bf16 ? rows * dim : 0),
        scores(rows * kScoreStride),
        short_powers(bf16 ? rows * kScoreStride : 0),
        sums(rows * dim),
        top(static_cast<std::size_t>(rows)),
        total(static_cast<std::size_t>(rows)) {}
};

struct Call {
  const KvCache& cache;
  const float* q;
  std::int64_t q_stride;
  std::int64_t heads;
  std::int64_t first;
  std::int64_t window;  // 0: all keys
  float scale;          // softmax_scale * log2(e): scores come out in units of log 2
  void* out;
  DType out_dtype;
};

// Queries [begin, end) of the heads that share key head `g`. Row r is token begin + r / group, head g * group + r %
// group.
void attend_block(const Call& call, std::int64_t g, std::int64_t begin, std::int64_t end, Scratch& scratch) {
  const Kernels& kernels = active_kernels();
  const KvCache& cache = call.cache;
  const std::int64_t group = call.heads / cache.kv_heads();
  const std::int64_t dim = cache.head_dim();
  const std::int64_t padded = cache.padded_dim();
  const std::int64_t rows = (end - begin) * group;
  const bool bf16 = cache.in_bf16();

  for (std::int64_t r = 0; r < rows; ++r) {
    const float* const from = call.q + (begin + r / group) * call.q_stride + (g * group + r % group) * dim;
    if (bf16) {
      std::uint16_t* const to = scratch.short_queries.data() + r * padded;
      kernels.scale_bf16(from, dim, call.scale, to);
      std::fill(to + dim, to + padded, std::uint16_t{0});
    } else {
      float* const to = scratch.queries.data() + r * padded;
      kernels.scale(from, dim, call.scale, to);
      std::fill(to + dim, to + padded, 0.0f);
    }
  }
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  std::fill_n(scratch.top.begin(), rows, kNone);
  std::fill_n(scratch.total.begin(), rows, 0.0f);

  const std::int64_t keys = call.first + end;  // the last query sees itself
  // The first query's window begins before every other's.
  const std::int64_t oldest = call.window > 0 ? std::max<std::int64_t>(call.first + begin + 1 - call.window, 0) : 0;
  const std::int64_t start = oldest / KvCache::kPanel * KvCache::kPanel;
  for (std::int64_t block = start; block < keys; block += kBlockKeys) {
    const std::int64_t panel = block / KvCache::kPanel;
    const std::int64_t panels = (std::min(kBlockKeys, keys - block) + KvCache::kPanel - 1) / KvCache::kPanel;
    const std::int64_t width = panels * KvCache::kPanel;
    for (std::int64_t i = 0; i < panels; ++i) {
      float* const scores = scratch.scores.data() + i * KvCache::kPanel;
      if (bf16)
        kernels.multiply_bf16(scratch.short_queries.data(), padded, cache.key_panel_bf16(g, panel + i), KvCache::kPanel,
                              scores, kScoreStride, rows, padded, KvCache::kPanel, false);
      else
        kernels.multiply(scratch.queries.data(), padded, cache.key_panel(g, panel + i), KvCache::kPanel, scores,
                         kScoreStride, rows, padded, KvCache::kPanel, false);
    }
    for (std::int64_t r = 0; r < rows; ++r) {
      float* const scores = scratch.scores.data() + r * kScoreStride;
      const std::int64_t end_seen = call.first + begin + r / group + 1 - block;
      const std::int64_t seen = std::clamp(end_seen, std::int64_t{0}, width);
      const std::int64_t hidden = call.window > 0 ? std::clamp(end_seen - call.window, std::int64_t{0}, width) : 0;
      // Nothing is seen here, and perhaps nothing has been before: a softmax of nothing is none.
      if (hidden >= seen) {
        if (bf16)
          std::fill_n(scratch.short_powers.data() + r * kScoreStride, width, std::uint16_t{0});
        else
          std::fill_n(scores, width, 0.0f);
        continue;
      }
      std::fill(scores, scores + hidden, kNone);
      std::fill(scores + seen, scores + width, kNone);
      const auto row = static_cast<std::size_t>(r);
      const float correction =
          bf16 ? kernels.softmax_step_bf16(scores, width, scratch.short_powers.data() + r * kScoreStride,
                                           &scratch.top[row], &scratch.total[row])
               : kernels.softmax_step(scores, width, scores, &scratch.top[row], &scratch.total[row]);
      float* const sums = scratch.sums.data() + r * padded;
      if (block > start && correction != 1.0f) kernels.scale(sums, padded, correction, sums);
    }
    if (bf16)
      kernels.multiply_bf16(scratch.short_powers.data(), kScoreStride, cache.value_panel_bf16(g, panel), padded,
                            scratch.sums.data(), padded, rows, width, padded, block > start);
    else
      kernels.multiply(scratch.scores.data(), kScoreStride, cache.value_panel(g, panel), padded, scratch.sums.data(),
                       padded, rows, width, padded, block > start);
  }

  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t at = ((begin + r / group) * call.heads + g * group + r % group) * dim;
    const float* const sums = scratch.sums.data() + r * padded;
    const float factor = 1.0f / scratch.total[static_cast<std::size_t>(r)];
    if (call.out_dtype == DType::kBFloat16)
      kernels.scale_bf16(sums, dim, factor, static_cast<std::uint16_t*>(call.out) + at);
    else
      kernels.scale(sums, dim, factor, static_cast<float*>(call.out) + at);
  }
}

}  // namespace

void attend(const KvCache& cache, const float* q, std::int64_t q_stride, std::int64_t heads, std::int64_t first,
            std::int64_t tokens, std::int64_t window, double softmax_scale, void* out, DType out_dtype, int threads) {
  const std::int64_t group = heads / cache.kv_heads();
  const std::int64_t block = std::clamp<std::int64_t>(kBlockRows / group, 1, std::max<std::int64_t>(tokens, 1));
  const std::int64_t blocks = (tokens + block - 1) / block;
  const std::int64_t items = blocks * cache.kv_heads();
  const Call call{
      cache, q,        q_stride, heads, first, window, static_cast<float>(softmax_scale * std::numbers::log2e),
      out,   out_dtype};
  // Later queries see more keys: the longest work goes first, so that the threads end together.
#pragma omp parallel num_threads(threads) if (items > 1)
  {
    Scratch scratch(block * group, cache.padded_dim(), cache.in_bf16());
#pragma omp for schedule(dynamic)
    for (std::int64_t item = items - 1; item >= 0; --item) {
      const std::int64_t begin = item / cache.kv_heads() * block;
      attend_block(call, item % cache.kv_heads(), begin, std::min(begin + block, tokens), scratch);
    }
  }
}

}  // namespace ropewalk::runner
