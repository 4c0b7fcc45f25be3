// Attention backwards: one slope of ALiBi is learned from what an attention with another slope gives.
#include <ropewalk/attention.hpp>

#include <cmath>
#include <cstdio>
#include <numeric>
#include <vector>

namespace {

constexpr std::int64_t kTokens = 300, kHeads = 4, kKvHeads = 2, kDim = 32;

// region slope
struct Alibi {
  float slope = 0.0f;
  std::vector<double> d_slope{};  // of each part

  static void fill(void* state, std::int64_t, std::int64_t, std::int64_t first_query, std::int64_t queries,
                   std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
    const float slope = static_cast<const Alibi*>(state)->slope;
    for (std::int64_t i = 0; i < queries; ++i)
      for (std::int64_t j = 0; j < keys; ++j)
        out[i * stride + j] = -slope * static_cast<float>(first_query + i - first_key - j);
  }
  static void add(void* state, const ropewalk::ScoreGradientBlock& block) {
    double& sum = static_cast<Alibi*>(state)->d_slope[static_cast<std::size_t>(block.part)];
    for (std::int64_t i = 0; i < block.queries; ++i)
      for (std::int64_t j = 0; j < block.keys; ++j)
        sum -= static_cast<double>(block.d_score[i * block.stride + j]) *
               static_cast<double>(block.first_query + i - block.first_key - j);
  }
};
// endregion

std::vector<float> some_numbers(std::size_t count, float step) {
  std::vector<float> out(count);
  for (std::size_t i = 0; i < count; ++i) out[i] = std::sin(step * static_cast<float>(i * i % 9973));
  return out;
}

}  // namespace

int main() {
  using ropewalk::DType, ropewalk::HeadsView;
  auto q = some_numbers(kTokens * kHeads * kDim, 0.7f), k = some_numbers(kTokens * kKvHeads * kDim, 1.3f),
       v = some_numbers(kTokens * kKvHeads * kDim, 2.9f);
  std::vector<float> out(q.size()), d_out(q.size()), d_q(q.size()), d_k(k.size()), d_v(v.size());
  std::vector<float> log_sum_exp(kHeads * kTokens);
  const auto queries = [](std::vector<float>& x) {
    return HeadsView::bshd(x.data(), DType::kFloat32, 1, kTokens, kHeads, kDim);
  };
  const auto keys = [](std::vector<float>& x) {
    return HeadsView::bshd(x.data(), DType::kFloat32, 1, kTokens, kKvHeads, kDim);
  };
  Alibi alibi{.slope = 0.3f};
  const ropewalk::Attention attention{.q = queries(q),
                                      .k = keys(k),
                                      .v = keys(v),
                                      .out = queries(out),
                                      .softmax_scale = 1.0 / std::sqrt(32.0),
                                      .mask = ropewalk::AttentionMask::causal(),
                                      .bias = {&alibi, Alibi::fill},
                                      .log_sum_exp = log_sum_exp.data()};
  std::vector<std::byte> forward_workspace(static_cast<std::size_t>(attention_workspace(attention, 2)));
  attend(attention, {.threads = 2, .workspace = forward_workspace});
  const std::vector<float> target = out;

  // region backward
  const ropewalk::AttentionGradients gradients{.d_out = queries(d_out),
                                               .d_q = queries(d_q),
                                               .d_k = keys(d_k),
                                               .d_v = keys(d_v),
                                               .d_score = {&alibi, Alibi::add}};
  std::vector<std::byte> workspace(static_cast<std::size_t>(attention_backward_workspace(attention, 2)));
  const ropewalk::AttentionCall call{.threads = 2, .workspace = workspace};
  if (const auto error = check_attention_backward(attention, gradients, call)) {
    std::fprintf(stderr, "%s\n", error->line().c_str());
    return 1;
  }
  alibi.slope = 0.05f;
  for (int step = 0; step < 40; ++step) {
    attend(attention, {.threads = 2, .workspace = forward_workspace});
    for (std::size_t i = 0; i < out.size(); ++i) d_out[i] = (out[i] - target[i]) / kTokens;
    alibi.d_slope.assign(static_cast<std::size_t>(score_gradient_parts(attention)), 0.0);
    attend_backward(attention, gradients, call);
    alibi.slope -= 0.01f * static_cast<float>(std::accumulate(alibi.d_slope.begin(), alibi.d_slope.end(), 0.0));
  }
  // endregion

  std::printf("the slope is %.4f, and was 0.3\n", static_cast<double>(alibi.slope));
  return std::abs(alibi.slope - 0.3f) < 0.01f ? 0 : 1;
}
