#include <ropewalk/bias.hpp>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/structs.hpp"

using namespace ropewalk::capi;

namespace {

constexpr std::size_t kMostHeads = 65536, kMostBuckets = 4096;

Failure make_bias(const ropewalk::BiasSpec& spec, rw_bias** bias_out) {
  auto made = ropewalk::ScoreBias::make(spec);
  if (!made) return made.error();
  *bias_out = new rw_bias{*std::move(made)};
  return std::nullopt;
}

}  // namespace

rw_status rw_alibi_slopes(int32_t heads, double bias_max, double* slopes, size_t slopes_count, char* error,
                          size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<double> room;
    const auto made = ropewalk::alibi_slopes(heads, bias_max);
    if (!made) return made.error();
    if (auto failure = want_room(slopes, slopes_count, heads, "slopes", room)) return failure;
    std::copy(made->begin(), made->end(), room.begin());
    return std::nullopt;
  });
}

rw_status rw_t5_buckets(int32_t num_buckets, int64_t max_distance, int32_t causal, const int64_t* distances,
                        size_t count, int32_t* buckets, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    bool is_causal = false;
    std::span<const int64_t> from;
    std::span<int32_t> to;
    if (auto failure = take_flag(causal, Where{"causal"}, "", is_causal)) return failure;
    if (auto failure = take_span(distances, count, Where{"distances"}, "", from)) return failure;
    if (auto failure = take_span(buckets, count, Where{"buckets"}, "", to)) return failure;
    const auto starts = ropewalk::t5_bucket_starts(num_buckets, max_distance, is_causal);
    if (!starts) return starts.error();
    std::transform(from.begin(), from.end(), to.begin(), [&](int64_t n) {
      const bool behind = n < 0;
      if (behind && is_causal) return 0;
      const int64_t length = n == INT64_MIN ? INT64_MAX : std::abs(n);
      const auto next = std::upper_bound(starts->begin(), starts->end(), length);
      return static_cast<int32_t>(next - starts->begin()) - 1 + (behind ? static_cast<int32_t>(starts->size()) : 0);
    });
    return std::nullopt;
  });
}

rw_status rw_bias_create_alibi(const rw_alibi* alibi, rw_bias** bias_out, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    rw_alibi given;
    ropewalk::AlibiBias options;
    if (auto failure = want_place(bias_out, Where{"bias_out"})) return failure;
    if (auto failure = take_struct(alibi, Where{"alibi"}, given)) return failure;
    options.heads = given.heads;
    if (auto failure = take_flag(given.symmetric, Where{"alibi"}, ".symmetric", options.symmetric)) return failure;
    options.bias_max = given.bias_max;
    if (auto failure =
            take_list(given.slopes, given.slopes_count, kMostHeads, Where{"alibi"}, ".slopes", options.slopes))
      return failure;
    return make_bias(std::move(options), bias_out);
  });
}

rw_status rw_bias_create_t5(const rw_t5* t5, rw_bias** bias_out, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    rw_t5 given;
    ropewalk::T5Bias options;
    if (auto failure = want_place(bias_out, Where{"bias_out"})) return failure;
    if (auto failure = take_struct(t5, Where{"t5"}, given)) return failure;
    if (auto failure = want_reserved(given.reserved, Where{"t5"})) return failure;
    options.heads = given.heads;
    if (auto failure = take_flag(given.causal, Where{"t5"}, ".causal", options.causal)) return failure;
    options.num_buckets = given.num_buckets;
    options.max_distance = given.max_distance;
    if (auto failure =
            take_list(given.table, given.table_count, kMostHeads * kMostBuckets, Where{"t5"}, ".table", options.table))
      return failure;
    return make_bias(std::move(options), bias_out);
  });
}

void rw_bias_destroy(rw_bias* bias) { delete bias; }

int32_t rw_bias_heads(const rw_bias* bias) { return bias != nullptr ? bias->bias.heads() : 0; }

rw_status rw_bias_fill(const rw_bias* bias, const int64_t* queries, size_t queries_count, const int64_t* keys,
                       size_t keys_count, float* out, size_t out_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    std::span<const int64_t> query_positions, key_positions;
    std::span<float> room;
    if (auto failure = want_address(bias, Where{"bias"})) return failure;
    if (auto failure = take_span(queries, queries_count, Where{"queries"}, "", query_positions)) return failure;
    if (auto failure = take_span(keys, keys_count, Where{"keys"}, "", key_positions)) return failure;
    // Addresses bound the counts: two of their products fit, three would not.
    const auto rows = static_cast<std::uint64_t>(bias->bias.heads()) * query_positions.size();
    const bool fits = key_positions.empty() || rows <= static_cast<std::uint64_t>(INT64_MAX) / key_positions.size();
    if (!fits) return refused("out_count", "want heads * queries_count * keys_count, which is no count");
    if (auto failure = want_room(out, out_count, static_cast<std::int64_t>(rows * key_positions.size()), "out", room))
      return failure;
    if (room.empty()) return std::nullopt;
    const auto view = ropewalk::BiasView::contiguous(room.data(), static_cast<std::int64_t>(query_positions.size()),
                                                     static_cast<std::int64_t>(key_positions.size()));
    const auto q = ropewalk::BiasAxis::of(query_positions), k = ropewalk::BiasAxis::of(key_positions);
    if (auto failure = bias->bias.check(q, k, view)) return failure;
    bias->bias.fill(q, k, view);
    return std::nullopt;
  });
}
