// Attention of a chunk of new tokens over all that came before: causal, grouped, with ALiBi as a bias.
#include <ropewalk/attention.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

namespace {

constexpr std::int64_t kKeys = 100, kTokens = 20, kHeads = 8, kKvHeads = 2, kDim = 64;

// region fill
/// Head h of n gets -2^(-8 (h + 1) / n) for each token that a key lies back.
void alibi(void*, std::int64_t, std::int64_t head, std::int64_t first_query, std::int64_t queries,
           std::int64_t first_key, std::int64_t keys, float* out, std::int64_t stride) {
  const float slope = std::exp2(-8.0f * static_cast<float>(head + 1) / static_cast<float>(kHeads));
  for (std::int64_t i = 0; i < queries; ++i)
    for (std::int64_t j = 0; j < keys; ++j)
      out[i * stride + j] = -slope * static_cast<float>(first_query + i - first_key - j);
}
// endregion

}  // namespace

int main() {
  std::vector<float> q(kTokens * kHeads * kDim, 0.5f), k(kKeys * kKvHeads * kDim, 0.25f), v(k.size());
  std::vector<float> out(q.size());
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / (kKvHeads * kDim));  // the key's number

  // region attend
  using ropewalk::DType, ropewalk::HeadsView;
  const ropewalk::Attention attention{
      .q = HeadsView::bshd(q.data(), DType::kFloat32, 1, kTokens, kHeads, kDim),  // the last 20 tokens
      .k = HeadsView::bshd(k.data(), DType::kFloat32, 1, kKeys, kKvHeads, kDim),  // of 100
      .v = HeadsView::bshd(v.data(), DType::kFloat32, 1, kKeys, kKvHeads, kDim),
      .out = HeadsView::bshd(out.data(), DType::kFloat32, 1, kTokens, kHeads, kDim),
      .softmax_scale = 1.0 / std::sqrt(64.0),
      .mask = ropewalk::AttentionMask::causal(),
      .bias = {.fill = alibi}};
  std::vector<std::byte> workspace(static_cast<std::size_t>(attention_workspace(attention, 2)));
  const ropewalk::AttentionCall call{.threads = 2, .workspace = workspace};
  if (const auto error = check_attention(attention, call)) {
    std::fprintf(stderr, "%s\n", error->line().c_str());
    return 1;
  }
  attend(attention, call);
  // endregion

  // All scores are alike but for ALiBi: the steeper a head's slope, the nearer its answer is to the query's own key.
  const float* const last = out.data() + (kTokens - 1) * kHeads * kDim;
  std::printf("the last query looks at key %.2f in head 0, at key %.2f in head 7\n", static_cast<double>(last[0]),
              static_cast<double>(last[7 * kDim]));
  return last[0] > 96.0f && last[0] < 99.0f && last[7 * kDim] < last[0] ? 0 : 1;
}
