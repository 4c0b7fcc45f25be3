// Attentions to test: their data in guarded memory, what each query sees, and a pool of threads.
#pragma once

#include <ropewalk/attention.hpp>

#include "support.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <thread>
#include <vector>

namespace support::attention {

using namespace ropewalk;

inline constexpr double kNone = -std::numeric_limits<double>::infinity();

struct Case {
  std::int64_t batch = 1, tokens = 1, keys = 1, heads = 1, kv_heads = 1, dim = 16, value_dim = 0;
  AttentionMask mask{};
  std::vector<std::int64_t> query_starts{}, key_starts{};
  bool temperature = false, bias = false;
  std::string order = "bshd";
  std::int64_t gap = 0;
  double scale = 0.0;

  std::int64_t values() const { return value_dim > 0 ? value_dim : dim; }
  double softmax_scale() const { return scale > 0.0 ? scale : 0.7 / std::sqrt(static_cast<double>(dim)); }
};

// Any function of row, head, query and key; some entries hide a key.
inline double bias_at(std::int64_t row, std::int64_t head, std::int64_t query, std::int64_t key) {
  if ((query * 7 + key * 3 + head) % 11 == 0) return kNone;
  return static_cast<double>(0.25f * static_cast<float>((query - key) % 9 + head - row));
}

inline void fill_bias(void*, std::int64_t row, std::int64_t head, std::int64_t first_query, std::int64_t queries,
                      std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
  for (std::int64_t i = 0; i < queries; ++i)
    for (std::int64_t j = 0; j < keys; ++j)
      out[i * stride + j] = static_cast<float>(bias_at(row, head, first_query + i, first_key + j));
}

struct Data {
  Tensor q, k, v, out;
  std::vector<float> temperature, log_sum_exp;
  Attention attention;

  Data(const Case& c, DType q_dtype, DType k_dtype, DType out_dtype)
      : q({c.batch, c.tokens, c.heads, c.dim, c.order, c.gap}, q_dtype),
        k({c.batch, c.keys, c.kv_heads, c.dim, c.order, c.gap}, k_dtype),
        v({c.batch, c.keys, c.kv_heads, c.values(), c.order, c.gap}, k_dtype),
        out({c.batch, c.tokens, c.heads, c.values(), c.order, c.gap}, out_dtype),
        log_sum_exp(static_cast<std::size_t>(c.batch * c.heads * c.tokens), -7.0f) {
    q.fill(1), k.fill(2), v.fill(3);
    attention = {.q = q.view(),
                 .k = k.view(),
                 .v = v.view(),
                 .out = out.view(),
                 .softmax_scale = c.softmax_scale(),
                 .mask = c.mask,
                 .query_starts = c.query_starts,
                 .key_starts = c.key_starts,
                 .log_sum_exp = log_sum_exp.data()};
    if (c.temperature) {
      for (std::int64_t i = 0; i < c.batch * c.tokens; ++i)
        temperature.push_back(0.5f + 0.125f * static_cast<float>(i % 7));
      attention.temperature = temperature.data();
      attention.temperature_batch_stride = c.tokens;
    }
    if (c.bias) attention.bias.fill = fill_bias;
  }

  double scale(const Case& c, std::int64_t b, std::int64_t t) const {
    return c.softmax_scale() *
           (c.temperature ? static_cast<double>(temperature[static_cast<std::size_t>(b * c.tokens + t)]) : 1.0);
  }
};

/// The keys [begin, end) of its sequence that query t sees by the mask, and the key that it stands at.
struct Seen {
  std::int64_t first_key = 0, place = 0, begin = 0, end = 0;
};

inline Seen seen_by(const Case& c, std::int64_t t) {
  std::int64_t query0 = 0, query1 = c.tokens, key0 = 0, key1 = c.keys;
  if (!c.query_starts.empty()) {
    std::size_t s = 0;
    while (c.query_starts[s + 1] <= t) ++s;
    query0 = c.query_starts[s], query1 = c.query_starts[s + 1], key0 = c.key_starts[s], key1 = c.key_starts[s + 1];
  }
  const std::int64_t p = (t - query0) + (key1 - key0) - (query1 - query0);
  Seen seen{key0, p, 0, key1 - key0};
  if (c.mask.left != AttentionMask::kUnlimited) seen.begin = std::max(seen.begin, p - c.mask.left);
  if (c.mask.right != AttentionMask::kUnlimited) seen.end = std::min(seen.end, p + c.mask.right + 1);
  return seen;
}

/// A ThreadPool of threads of its own; says how many parts it was asked for.
inline void run_with_threads(void* count, int parts, void (*part)(void*, int), void* argument) {
  *static_cast<int*>(count) = parts;
  std::vector<std::thread> threads;
  for (int i = 0; i < parts; ++i) threads.emplace_back(part, argument, i);
  for (auto& thread : threads) thread.join();
}

}  // namespace support::attention
