// Attention with encodings that are added to its scores: a bias by position, and one that takes the queries. Returns
// other than 0 if what it shows is not so.
#include <ropewalk/ropewalk.hpp>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <vector>

namespace {

constexpr int kHeads = 8, kDim = 16;
constexpr std::int64_t kTokens = 100;

int refused(const ropewalk::Error& error) {
  std::fprintf(stderr, "%s\n", error.line().c_str());
  return 1;
}

int attend(ropewalk::Attention& attention) {
  std::vector<std::byte> workspace(static_cast<std::size_t>(attention_workspace(attention, 1)));
  const ropewalk::AttentionCall call{.threads = 1, .workspace = workspace};
  if (const auto error = check_attention(attention, call)) return refused(*error);
  attend(attention, call);
  return 0;
}

int with_alibi(ropewalk::Attention attention) {
  // region bias
  const auto alibi = ropewalk::ScoreBias::make(ropewalk::AlibiBias{.heads = kHeads});
  if (!alibi) return refused(alibi.error());
  const ropewalk::BiasFill fill{.bias = &*alibi};  // stays here while attention runs
  if (const auto error = check_fill(fill, attention)) return refused(*error);
  attention.bias = score_fill(fill);
  // endregion
  if (const int code = attend(attention)) return code;
  const float* const last = static_cast<float*>(attention.out.data) + (kTokens - 1) * kHeads * kDim;
  std::printf("ALiBi: the last query looks at key %.2f in head 0, at key %.2f in head 7\n",
              static_cast<double>(last[0]), static_cast<double>(last[7 * kDim]));
  return last[0] > 97.0f && last[7 * kDim] < last[0] ? 0 : 1;
}

int with_shaw(ropewalk::Attention attention) {
  // region relative
  ropewalk::ShawRelative options{.heads = kHeads, .head_dim = kDim, .left = 16, .right = 0};
  options.key_table.assign(17 * kDim, 0.0f);  // [left + right + 1, head_dim]; row 16 - n is of the key n tokens back
  for (int c = 0; c < kDim; ++c) options.key_table[static_cast<std::size_t>((16 - 3) * kDim + c)] = 8.0f;
  const auto shaw = ropewalk::RelativeScore::make(options);
  if (!shaw) return refused(shaw.error());
  attention.softmax_scale = shaw->softmax_scale();
  const ropewalk::RelativeFill fill{.score = &*shaw, .q = attention.q, .k = attention.k};
  if (const auto error = check_fill(fill, attention)) return refused(*error);
  attention.bias = score_fill(fill);
  // endregion
  if (const int code = attend(attention)) return code;
  const float* const last = static_cast<float*>(attention.out.data) + (kTokens - 1) * kHeads * kDim;
  std::printf("Shaw, taught to look 3 tokens back: the last query looks at key %.2f\n", static_cast<double>(last[0]));
  return std::abs(last[0] - 96.0f) < 0.1f ? 0 : 1;
}

}  // namespace

int main() {
  std::vector<float> q(kTokens * kHeads * kDim, 0.5f), k(q.size(), 0.25f), v(q.size()), out(q.size());
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = static_cast<float>(i / (kHeads * kDim));  // the key's number
  const auto view = [](std::vector<float>& x) {
    return ropewalk::HeadsView::bshd(x.data(), ropewalk::DType::kFloat32, 1, kTokens, kHeads, kDim);
  };
  const ropewalk::Attention attention{.q = view(q),
                                      .k = view(k),
                                      .v = view(v),
                                      .out = view(out),
                                      .softmax_scale = 0.25,
                                      .mask = ropewalk::AttentionMask::causal()};
  if (const int code = with_alibi(attention)) return code;
  return with_shaw(attention);
}
