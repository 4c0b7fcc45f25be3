#include "cli/bench/cases.hpp"

#include <fmt/format.h>

namespace ropewalk::cli::bench {
namespace {

constexpr DType kFloat32[] = {DType::kFloat32};
constexpr DType kBFloat16[] = {DType::kBFloat16};
constexpr DType kTwo[] = {DType::kFloat32, DType::kBFloat16};
constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};

// A family of cases: every dtype at every count of tokens.
struct Row {
  const char* operation;
  PairLayout layout;
  const char* order;
  std::span<const DType> dtypes;
  std::vector<std::int64_t> usual_tokens, full_tokens;
  bool every_thread_count = true;  // else with the most threads alone
  std::int64_t query_heads = 32, key_heads = 8;
  bool with_opponents = true;
};

const std::vector<Row>& rows() {
  static const std::vector<std::int64_t> all = {1, 64, 512, 1024, 4096, 8192, 16384};
  static const std::vector<Row> list = {
      {"in place", PairLayout::kHalf, "bshd", kDTypes, {1, 64, 1024, 8192}, all},
      {"in place", PairLayout::kInterleaved, "bshd", kDTypes, {1, 1024}, all, false},
      {"in place", PairLayout::kHalf, "bhsd", kDTypes, {1024}, {64, 1024, 8192}, false},
      {"in place", PairLayout::kInterleaved, "bhsd", kDTypes, {}, {1024}, false},
      {"out of place", PairLayout::kHalf, "bshd", kTwo, {1024, 8192}, all, false},
      // The fewest heads at which no table may lose to a table.
      {"in place", PairLayout::kHalf, "bshd", kFloat32, {1, 64, 1024}, {1, 64, 1024, 8192}, true, 6, 2, false},
      // No opponent has these on the CPU in one pass.
      {"append to bfloat16", PairLayout::kHalf, "bshd", kBFloat16, {}, {1, 64, 4096}, true, 32, 8, false},
      {"norm and append to bfloat16",
       PairLayout::kHalf,
       "bshd",
       kBFloat16,
       {1, 4096},
       {1, 64, 4096},
       true,
       32,
       8,
       false},
      {"norm and append to float8_e4m3", PairLayout::kHalf, "bshd", kBFloat16, {}, {1, 64, 4096}, true, 32, 8, false},
      {"norm and append to int8", PairLayout::kHalf, "bshd", kBFloat16, {1, 4096}, {1, 64, 4096}, true, 32, 8, false},
      {"norm and append to int4", PairLayout::kHalf, "bshd", kBFloat16, {}, {1, 64, 4096}, true, 32, 8, false},
      {"shift in bfloat16", PairLayout::kHalf, "bshd", kBFloat16, {8192}, {1024, 8192}, true, 0, 8, false},
      {"shift in int8", PairLayout::kHalf, "bshd", kBFloat16, {8192}, {1024, 8192}, true, 0, 8, false},
      {"rescale in bfloat16", PairLayout::kHalf, "bshd", kBFloat16, {8192}, {1024, 8192}, true, 0, 8, false},
      {"rescale in int8", PairLayout::kHalf, "bshd", kBFloat16, {}, {1024, 8192}, true, 0, 8, false},
  };
  return list;
}

}  // namespace

std::string Case::group() const {
  return fmt::format("{}/{}/{}/{}/{}+{}x{}/{} {}", operation, name_of(dtype), name_of(layout), order, query_heads,
                     key_heads, head_dim, threads, threads == 1 ? "thread" : "threads");
}

std::string Case::id() const {
  return fmt::format("{}/{}/{}/{}/{}+{}x{}/{}/{} {}", operation, name_of(dtype), name_of(layout), order, query_heads,
                     key_heads, head_dim, tokens, threads, threads == 1 ? "thread" : "threads");
}

std::vector<Case> listed_cases(Extent extent, std::span<const int> threads, std::span<const std::int64_t> tokens) {
  std::vector<Case> out;
  for (const int count : threads) {
    for (const Row& row : rows()) {
      const bool first = &row == &rows().front();
      if (extent == Extent::kQuick && !first) continue;
      if (extent != Extent::kFull && !row.every_thread_count && count != threads.back()) continue;
      std::vector<std::int64_t> counts = extent == Extent::kQuick   ? std::vector<std::int64_t>{1, 1024}
                                         : extent == Extent::kUsual ? row.usual_tokens
                                                                    : row.full_tokens;
      if (!tokens.empty() && !counts.empty()) counts.assign(tokens.begin(), tokens.end());
      for (const DType dtype : row.dtypes)
        for (const std::int64_t tokens_here : counts)
          out.push_back({.operation = row.operation,
                         .dtype = dtype,
                         .layout = row.layout,
                         .order = row.order,
                         .tokens = tokens_here,
                         .query_heads = row.query_heads,
                         .key_heads = row.key_heads,
                         .threads = count,
                         .with_opponents = row.with_opponents});
    }
  }
  return out;
}

}  // namespace ropewalk::cli::bench
