// One softmax out of several over keys of their own.
#include <ropewalk/attention.hpp>

#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"
#include "threads.hpp"
#include "view_checks.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace ropewalk {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// Items are the queries of all heads and rows, in the order of log_sum_exp.
class MergePass {
 public:
  explicit MergePass(const AttentionMerge& merge) noexcept
      : m_(merge), kernels_(cpu::active_target().kernels->attention) {}

  std::int64_t items() const noexcept { return m_.out.batch * m_.out.heads * m_.out.tokens; }

  void run(std::int64_t first, std::int64_t end) const noexcept {
    for (std::int64_t i = first; i < end; ++i) {
      const std::int64_t token = i % m_.out.tokens, at = i / m_.out.tokens;
      merge_row(i, at / m_.out.heads, token, at % m_.out.heads);
    }
  }

 private:
  void merge_row(std::int64_t item, std::int64_t row, std::int64_t token, std::int64_t head) const noexcept {
    const std::int64_t dim = m_.out.head_dim;
    double top = kNone, total = 0.0;
    for (const AttentionPart& part : m_.parts) {
      const auto log = static_cast<double>(part.log_sum_exp[item]);
      if (log > top || std::isnan(log)) top = log;
    }
    // A NaN stays one; where all is -infinity nothing is added up.
    for (const AttentionPart& part : m_.parts)
      if (const auto log = static_cast<double>(part.log_sum_exp[item]); log != kNone) total += std::exp(log - top);
    alignas(64) float sums[kMostAttentionHeadDim], more[kMostAttentionHeadDim];
    std::fill_n(sums, dim, 0.0f);
    for (const AttentionPart& part : m_.parts) {
      const auto log = static_cast<double>(part.log_sum_exp[item]);
      if (log == kNone) continue;
      const auto weight = static_cast<float>(std::exp(log - top) / total);
      kernels_.widen[static_cast<std::size_t>(part.out.dtype)](element(part.out, row, token, head), 0, 1, dim, more, 0);
      for (std::int64_t d = 0; d < dim; ++d) sums[d] += weight * more[d];
    }
    kernels_.narrow[static_cast<std::size_t>(m_.out.dtype)](sums, dim, written_element(m_.out, row, token, head));
    if (m_.log_sum_exp != nullptr)
      m_.log_sum_exp[item] = static_cast<float>(top == kNone ? kNone : top + std::log(total));
  }

  const AttentionMerge& m_;
  const cpu::AttentionKernels& kernels_;
};

std::optional<Error> check_part(std::size_t i, const AttentionPart& part, const HeadsView& out) {
  const Path path("parts", i);
  if (auto error = check_dtype(path, part.out.dtype)) return error;
  if (auto error = want(path + ".batch", out.batch, part.out.batch)) return error;
  if (auto error = want(path + ".tokens", out.tokens, part.out.tokens)) return error;
  if (auto error = want(path + ".heads", out.heads, part.out.heads)) return error;
  if (auto error = want(path + ".head_dim", out.head_dim, part.out.head_dim)) return error;
  if (!has_elements(out)) return std::nullopt;
  if (part.log_sum_exp == nullptr) return invalid(path + ".log_sum_exp", "want an address, got null");
  return check_storage(path, part.out);
}

}  // namespace

std::optional<Error> check_attention_merge(const AttentionMerge& merge) {
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  if (merge.out.head_dim < 1 || merge.out.head_dim > kMostAttentionHeadDim)
    return invalid("out.head_dim", "want 1 to " + std::to_string(kMostAttentionHeadDim) + ", got " +
                                       std::to_string(merge.out.head_dim));
  if (auto error = check_view("out", merge.out, static_cast<int>(merge.out.head_dim))) return error;
  if (has_elements(merge.out))
    if (auto error = check_written("out", merge.out)) return error;
  for (std::size_t i = 0; i < merge.parts.size(); ++i)
    if (auto error = check_part(i, merge.parts[i], merge.out)) return error;
  return std::nullopt;
}

void merge_attention(const AttentionMerge& merge) noexcept {
  if (!has_elements(merge.out)) return;
  const MergePass pass(merge);
  const double elements = static_cast<double>(pass.items()) * static_cast<double>(merge.out.head_dim) *
                          static_cast<double>(merge.parts.size() + 1);
  run_on(pass, threads_for_elements(elements, merge.threads, merge.pool), merge.pool);
}

}  // namespace ropewalk
