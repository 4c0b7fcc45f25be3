// Attention: what may be asked, and how keys stream past queries.
#include <ropewalk/attention.hpp>

#include "attention_backward.hpp"
#include "attention_few.hpp"
#include "attention_panels.hpp"
#include "attention_shape.hpp"
#include "cpu/dispatch.hpp"
#include "math/text.hpp"
#include "threads.hpp"
#include "view_checks.hpp"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>

namespace ropewalk {
namespace {

std::optional<Error> check_heads(const char* name, const HeadsView& x) {
  const Path path(name);
  if (x.head_dim < 1 || x.head_dim > kMostAttentionHeadDim)
    return invalid(path + ".head_dim",
                   "want 1 to " + std::to_string(kMostAttentionHeadDim) + ", got " + std::to_string(x.head_dim));
  return check_view(path, x, static_cast<int>(x.head_dim));
}

std::optional<Error> check_shapes(const Attention& a) {
  if (auto error = check_heads("q", a.q)) return error;
  if (auto error = check_heads("k", a.k)) return error;
  if (auto error = check_heads("v", a.v)) return error;
  if (auto error = check_heads("out", a.out)) return error;
  if (auto error = want("k.batch", a.q.batch, a.k.batch)) return error;
  if (auto error = want("k.head_dim", a.q.head_dim, a.k.head_dim)) return error;
  if (a.q.heads > 0 && (a.k.heads < 1 || a.q.heads % a.k.heads != 0))
    return invalid("k.heads", "want a number that divides the " + std::to_string(a.q.heads) + " heads of q, got " +
                                  std::to_string(a.k.heads));
  if (auto error = want("v.batch", a.k.batch, a.v.batch)) return error;
  if (auto error = want("v.tokens", a.k.tokens, a.v.tokens)) return error;
  if (auto error = want("v.heads", a.k.heads, a.v.heads)) return error;
  if (a.v.dtype != a.k.dtype)
    return invalid("v.dtype",
                   "want " + std::string(name_of(a.k.dtype)) + " as k, got " + std::string(name_of(a.v.dtype)));
  if (auto error = want("out.batch", a.q.batch, a.out.batch)) return error;
  if (auto error = want("out.tokens", a.q.tokens, a.out.tokens)) return error;
  if (auto error = want("out.heads", a.q.heads, a.out.heads)) return error;
  if (auto error = want("out.head_dim", a.v.head_dim, a.out.head_dim)) return error;
  return has_elements(a.out) ? check_written("out", a.out) : std::nullopt;
}

std::optional<Error> check_starts(const char* name, std::span<const std::int64_t> starts, std::int64_t tokens) {
  if (auto error = want(Path(name, 0), 0, starts.front())) return error;
  for (std::size_t s = 1; s < starts.size(); ++s)
    if (auto error = want_at_least(Path(name, s), starts[s - 1], starts[s])) return error;
  return want(Path(name, starts.size() - 1), tokens, starts.back());
}

std::optional<Error> check_numbers(const Attention& a) {
  // A power of two far inside of float's range, so that times a temperature and a score it stays there.
  if (!(a.softmax_scale >= 0x1p-60 && a.softmax_scale <= 0x1p60))
    return invalid("softmax_scale", "want a number > 0 (2^-60 to 2^60), got " + math::shown(a.softmax_scale));
  if (!a.query_starts.empty() || !a.key_starts.empty()) {
    if (auto error = want("q.batch", 1, a.q.batch)) return error;
    if (auto error = want_at_least("query_starts.size", 2, static_cast<std::int64_t>(a.query_starts.size())))
      return error;
    if (auto error = want("key_starts.size", static_cast<std::int64_t>(a.query_starts.size()),
                          static_cast<std::int64_t>(a.key_starts.size())))
      return error;
    if (auto error = check_starts("query_starts", a.query_starts, a.q.tokens)) return error;
    if (auto error = check_starts("key_starts", a.key_starts, a.k.tokens)) return error;
  }
  if (a.temperature == nullptr) return std::nullopt;
  for (std::int64_t b = 0; b < a.q.batch; ++b)
    for (std::int64_t t = 0; t < a.q.tokens; ++t)
      if (const float factor = a.temperature[b * a.temperature_batch_stride + t];
          !(factor >= 0x1p-60f && factor <= 0x1p60f))
        return invalid("temperature[" + std::to_string(b) + ", " + std::to_string(t) + ']',
                       "want a number > 0 (2^-60 to 2^60), got " + std::to_string(factor));
  return std::nullopt;
}

std::optional<Error> check_call(const Attention& attention) {
  if (auto error = check_shapes(attention)) return error;
  return check_numbers(attention);
}

/// A gradient is of the shape of what it is a gradient of.
std::optional<Error> check_gradient(const char* name, const HeadsView& x, const HeadsView& of) {
  const Path path(name);
  if (auto error = check_heads(name, x)) return error;
  if (auto error = want(path + ".batch", of.batch, x.batch)) return error;
  if (auto error = want(path + ".tokens", of.tokens, x.tokens)) return error;
  if (auto error = want(path + ".heads", of.heads, x.heads)) return error;
  return want(path + ".head_dim", of.head_dim, x.head_dim);
}

std::optional<Error> check_written_gradient(const char* name, const HeadsView& x, const HeadsView& of) {
  if (auto error = check_gradient(name, x, of)) return error;
  return has_elements(x) ? check_written(name, x) : std::nullopt;
}

std::optional<Error> check_gradients(const Attention& a, const AttentionGradients& g) {
  if (auto error = check_gradient("d_out", g.d_out, a.out)) return error;
  if (auto error = check_written_gradient("d_q", g.d_q, a.q)) return error;
  if (auto error = check_written_gradient("d_k", g.d_k, a.k)) return error;
  if (auto error = check_written_gradient("d_v", g.d_v, a.v)) return error;
  if (has_elements(a.q) && a.log_sum_exp == nullptr) return invalid("log_sum_exp", "want an address, got null");
  return std::nullopt;
}

std::optional<Error> check_target() {
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  return std::nullopt;
}

std::optional<Error> check_workspace(std::int64_t bytes, const AttentionCall& call) {
  return want_at_least("workspace.size", bytes, static_cast<std::int64_t>(call.workspace.size()));
}

int most_threads(int wanted) noexcept { return wanted > 0 ? wanted : std::max(omp_get_max_threads(), 1); }

// A thread is worth waking for this many products of a score and more.
constexpr double kProductsPerThread = 1 << 18;

template <class Shape>
int threads_for(const Attention& a, const Shape& shape, const AttentionCall& call) noexcept {
  if (call.threads == 1 || omp_in_parallel() || (call.pool == nullptr && Forks::lost_threads())) return 1;
  const double scores = static_cast<double>(a.q.batch) * static_cast<double>(a.q.heads) *
                        static_cast<double>(a.q.tokens) * static_cast<double>(a.k.tokens);
  const double worth = scores * static_cast<double>(a.q.head_dim + a.v.head_dim) / kProductsPerThread;
  const int most = shape.threads_in(call.workspace, most_threads(call.threads));
  return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

/// Items are taken one by one, so that threads end together whatever an item takes.
template <class Run>
void share_out(std::int64_t items, int threads, const ThreadPool* pool, const Run& run) noexcept {
  struct Work {
    const Run& run;
    std::int64_t items;
    std::atomic<std::int64_t> next{0};
    void take(int thread) noexcept {
      for (std::int64_t i = next++; i < items; i = next++) run(i, thread);
    }
  } work{run, items};
  if (threads == 1) return work.take(0);
  if (pool != nullptr)
    return pool->run(
        pool->pool, threads, [](void* argument, int i) { static_cast<Work*>(argument)->take(i); }, &work);
  Forks::note_threads();
#pragma omp parallel num_threads(threads)
  work.take(omp_get_thread_num());
}

/// Has what a workspace is computed from.
bool has_shape(const Attention& a) noexcept {
  return has_elements(a.q) && a.k.heads >= 1 && a.q.heads % a.k.heads == 0 &&
         std::min(a.q.head_dim, a.v.head_dim) >= 1 && std::max(a.q.head_dim, a.v.head_dim) <= kMostAttentionHeadDim;
}

/// Of d_k and d_v where there are no queries.
void write_zeros(const HeadsView& x) noexcept {
  for (std::int64_t row = 0; row < x.batch; ++row)
    for (std::int64_t t = 0; t < x.tokens; ++t)
      for (std::int64_t h = 0; h < x.heads; ++h)
        std::memset(written_element(x, row, t, h), 0, static_cast<std::size_t>(x.head_dim) * size_of(x.dtype));
}

}  // namespace

std::int64_t attention_workspace(const Attention& attention, int threads) noexcept {
  if (!has_shape(attention)) return 0;
  return AttentionShape(attention).workspace(most_threads(threads));
}

std::optional<Error> check_attention(const Attention& attention, const AttentionCall& call) {
  if (auto error = check_target()) return error;
  if (auto error = check_call(attention)) return error;
  return check_workspace(attention_workspace(attention, call.threads), call);
}

void attend(const Attention& attention, const AttentionCall& call) noexcept {
  if (!has_elements(attention.q)) return;
  const AttentionShape shape(attention);
  const int threads = threads_for(attention, shape, call);
  if (shape.few) {
    const FewQueries pass(attention, shape, call.workspace);
    share_out(pass.items(), threads, call.pool, [&](std::int64_t i, int thread) { pass.run(i, thread); });
    pass.merge();
  } else {
    const QueryPanels pass(attention, shape, call.workspace, threads);
    share_out(pass.items(), threads, call.pool, [&](std::int64_t i, int thread) { pass.run(i, thread); });
  }
}

std::int64_t score_gradient_parts(const Attention& attention) noexcept {
  if (!has_shape(attention)) return 0;
  std::int64_t blocks = 0;
  const auto& starts = attention.key_starts;
  for (std::size_t s = 1; s < starts.size(); ++s) blocks += BackwardShape::key_blocks(starts[s] - starts[s - 1]);
  return attention.q.batch * attention.k.heads *
         (starts.empty() ? BackwardShape::key_blocks(attention.k.tokens) : blocks);
}

std::int64_t attention_backward_workspace(const Attention& attention, int threads) noexcept {
  if (!has_shape(attention)) return 0;
  return BackwardShape(attention).workspace(most_threads(threads));
}

std::optional<Error> check_attention_backward(const Attention& attention, const AttentionGradients& gradients,
                                              const AttentionCall& call) {
  if (auto error = check_target()) return error;
  if (auto error = check_call(attention)) return error;
  if (auto error = check_gradients(attention, gradients)) return error;
  return check_workspace(attention_backward_workspace(attention, call.threads), call);
}

void attend_backward(const Attention& attention, const AttentionGradients& gradients,
                     const AttentionCall& call) noexcept {
  if (!has_elements(attention.q)) {
    write_zeros(gradients.d_k);
    write_zeros(gradients.d_v);
    return;
  }
  const BackwardShape shape(attention);
  const int threads = threads_for(attention, shape, call);
  const BackwardPass pass(attention, gradients, shape, call.workspace, threads);
  const auto share = [&](std::int64_t items, auto step) {
    share_out(items, threads, call.pool, [&](std::int64_t i, int thread) { (pass.*step)(i, thread); });
  };
  share(pass.mean_items(), &BackwardPass::form_means);
  share(pass.key_items(), &BackwardPass::run_keys);
  share(pass.query_items(), &BackwardPass::give_queries);
  pass.give_temperature();
}

}  // namespace ropewalk
