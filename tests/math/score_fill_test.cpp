// Biases and relative encodings under attention, against a plain softmax in double.
#include <ropewalk/score_fill.hpp>

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace ropewalk {
namespace {

std::vector<float> normal(std::int64_t count, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> variate;
  std::vector<float> x(static_cast<std::size_t>(count));
  for (float& value : x) value = variate(random);
  return x;
}

struct Case {
  std::int64_t batch, tokens, keys, heads, kv_heads, dim;
  AttentionMask mask = AttentionMask::causal();
  std::vector<std::int64_t> query_starts{}, key_starts{};
};

struct Data {
  Case c;
  std::vector<float> q, k, v, out;
  Attention attention;

  explicit Data(const Case& of)
      : c(of),
        q(normal(c.batch * c.tokens * c.heads * c.dim, 1)),
        k(normal(c.batch * c.keys * c.kv_heads * c.dim, 2)),
        v(normal(c.batch * c.keys * c.kv_heads * c.dim, 3)),
        out(q.size()) {
    const auto view = [&](std::vector<float>& x, std::int64_t tokens, std::int64_t heads) {
      return HeadsView::bshd(x.data(), DType::kFloat32, c.batch, tokens, heads, c.dim);
    };
    attention.q = view(q, c.tokens, c.heads);
    attention.k = view(k, c.keys, c.kv_heads);
    attention.v = view(v, c.keys, c.kv_heads);
    attention.out = view(out, c.tokens, c.heads);
    attention.softmax_scale = 1.0 / std::sqrt(static_cast<double>(c.dim));
    attention.mask = c.mask;
    attention.query_starts = c.query_starts;
    attention.key_starts = c.key_starts;
  }

  void run(int threads) {
    std::vector<std::byte> workspace(static_cast<std::size_t>(attention_workspace(attention, threads)));
    const AttentionCall call{.threads = threads, .pool = nullptr, .workspace = workspace};
    const auto error = check_attention(attention, call);
    ASSERT_FALSE(error) << error->line();
    attend(attention, call);
  }

  /// term(row, head, query, key): of positions counted from the sequence's first key, and tokens t and j of the view.
  using Term =
      std::function<double(std::int64_t row, std::int64_t head, std::int64_t query, std::int64_t key, std::int64_t t)>;
  void expect_plain(const Term& term) const {
    const auto starts = c.query_starts.empty() ? std::vector<std::int64_t>{0, c.tokens} : c.query_starts;
    const auto key_starts = c.key_starts.empty() ? std::vector<std::int64_t>{0, c.keys} : c.key_starts;
    const std::int64_t dim = c.dim;
    for (std::int64_t b = 0; b < c.batch; ++b)
      for (std::int64_t h = 0; h < c.heads; ++h)
        for (std::size_t s = 0; s + 1 < starts.size(); ++s)
          for (std::int64_t t = starts[s]; t < starts[s + 1]; ++t) {
            const std::int64_t keys = key_starts[s + 1] - key_starts[s];
            const std::int64_t query = t - starts[s] + keys - (starts[s + 1] - starts[s]);
            const auto at = [&](const std::vector<float>& x, std::int64_t token, std::int64_t tokens,
                                std::int64_t heads, std::int64_t head, std::int64_t ch) {
              return static_cast<double>(x[static_cast<std::size_t>(((b * tokens + token) * heads + head) * dim + ch)]);
            };
            const std::int64_t g = h / (c.heads / c.kv_heads);
            std::vector<double> sums(static_cast<std::size_t>(dim));
            double total = 0.0;
            for (std::int64_t j = 0; j < keys; ++j) {
              if (c.mask.right != AttentionMask::kUnlimited && j > query + c.mask.right) continue;
              double score = 0.0;
              for (std::int64_t ch = 0; ch < dim; ++ch)
                score += at(q, t, c.tokens, c.heads, h, ch) * at(k, key_starts[s] + j, c.keys, c.kv_heads, g, ch);
              const double p = std::exp(score * attention.softmax_scale + term(b, h, query, j, t));
              total += p;
              for (std::int64_t ch = 0; ch < dim; ++ch)
                sums[static_cast<std::size_t>(ch)] += p * at(v, key_starts[s] + j, c.keys, c.kv_heads, g, ch);
            }
            for (std::int64_t ch = 0; ch < dim; ++ch)
              ASSERT_NEAR(at(out, t, c.tokens, c.heads, h, ch),
                          total == 0.0 ? 0.0 : sums[static_cast<std::size_t>(ch)] / total, 2e-5)
                  << "row " << b << " head " << h << " token " << t;
          }
  }
};

std::vector<Case> every_case() {
  return {{2, 150, 150, 6, 2, 24},
          {1, 70, 200, 6, 3, 16, AttentionMask::everything()},
          {1, 1, 300, 6, 1, 16},
          {1, 40, 40, 6, 6, 20, AttentionMask::sliding(9)}};
}

T5Bias t5() {
  T5Bias o;
  o.heads = 6;
  o.table = normal(32 * 6, 4);
  return o;
}

TEST(ScoreFill, AttentionWithAlibiOrT5IsThePlainSoftmax) {
  for (const BiasSpec& spec : {BiasSpec(AlibiBias{.heads = 6}), BiasSpec(t5())}) {
    const auto bias = *ScoreBias::make(spec);
    auto cases = every_case();
    cases.pop_back();  // the plain softmax knows no window
    cases.push_back({1, 90, 130, 6, 2, 16, AttentionMask::causal(), {0, 20, 20, 90}, {0, 30, 40, 130}});
    for (const Case& c : cases) {
      Data data(c);
      const BiasFill fill{&bias, 10'000'000};
      ASSERT_FALSE(check_fill(fill, data.attention));
      data.attention.bias = score_fill(fill);
      data.run(2);
      data.expect_plain([&](std::int64_t, std::int64_t head, std::int64_t query, std::int64_t key, std::int64_t) {
        return static_cast<double>(bias.at(static_cast<int>(head), query, key));
      });
    }
  }
}

TEST(ScoreFill, AWindowsPositionsAreItsTokens) {
  WindowBias o;
  o.heads = 6;
  o.rows = 5;
  o.columns = 8;
  o.table = normal(9 * 15 * 6, 5);
  const auto bias = *ScoreBias::make(o);
  Data data({2, 40, 40, 6, 6, 8, AttentionMask::everything()});
  BiasFill fill{&bias, 0};
  ASSERT_FALSE(check_fill(fill, data.attention));
  data.attention.bias = score_fill(fill);
  data.run(1);
  data.expect_plain([&](std::int64_t, std::int64_t head, std::int64_t query, std::int64_t key, std::int64_t) {
    return static_cast<double>(bias.at(static_cast<int>(head), query, key));
  });
  fill.first_position = 1;
  EXPECT_EQ(check_fill(fill, data.attention)->line(), "queries[39]: want a token of the window, 0 to 39, got 40");
}

std::vector<RelativeSpec> every_relative(const Case& c) {
  const auto heads = static_cast<int>(c.heads), dim = static_cast<int>(c.dim);
  ShawRelative shaw{.heads = heads, .head_dim = dim};
  shaw.key_table = normal(33 * dim, 6);
  TransformerXlRelative xl{.heads = heads, .head_dim = dim, .least_distance = -300, .most_distance = 300};
  xl.table = normal(601 * heads * dim, 7);
  xl.u = normal(heads * dim, 8);
  xl.v = normal(heads * dim, 9);
  DebertaRelative deberta{.heads = heads, .head_dim = dim, .span = 16, .max_distance = 64};
  deberta.c2p_table = normal(32 * heads * dim, 10);
  deberta.p2c_table = normal(32 * heads * dim, 11);
  CopeRelative cope{.heads = heads, .head_dim = dim};
  cope.table = normal(64 * dim, 12);
  cope.causal = c.mask.right == 0;
  return {shaw, xl, deberta, cope};
}

TEST(ScoreFill, AttentionWithEveryRelativeEncodingIsThePlainSoftmax) {
  auto cases = every_case();
  cases.pop_back();
  for (const Case& c : cases)
    for (const RelativeSpec& spec : every_relative(c)) {
      const auto score = *RelativeScore::make(spec);
      Data data(c);
      data.attention.softmax_scale = score.softmax_scale();
      const RelativeFill fill{&score, data.attention.q, data.attention.k};
      const auto error = check_fill(fill, data.attention);
      ASSERT_FALSE(error) << error->line();
      data.attention.bias = score_fill(fill);
      data.run(2);
      RelativeBlock block{.q = data.attention.q, .k = data.attention.k};
      block.queries = BiasAxis::range(c.keys - c.tokens, c.tokens);
      block.keys = BiasAxis::range(0, c.keys);
      // CoPE's entries need a walk over the row each; a block has them all.
      std::vector<float> whole(static_cast<std::size_t>(c.batch * c.heads * c.tokens * c.keys));
      for (block.row = 0; block.row < c.batch; ++block.row)
        score.fill(block,
                   BiasView::contiguous(whole.data() + block.row * c.heads * c.tokens * c.keys, c.tokens, c.keys));
      SCOPED_TRACE(std::string(name_of(spec)));
      data.expect_plain([&](std::int64_t row, std::int64_t head, std::int64_t, std::int64_t key, std::int64_t t) {
        return static_cast<double>(
            whole[static_cast<std::size_t>(((row * c.heads + head) * c.tokens + t) * c.keys + key)]);
      });
    }
}

TEST(ScoreFill, RefusesWhatDoesNotFit) {
  const auto bias = *ScoreBias::make(AlibiBias{.heads = 4});
  Data data({1, 9, 9, 6, 2, 8});
  EXPECT_EQ(check_fill(BiasFill{&bias, 0}, data.attention)->line(), "bias.heads: want 6, got 4");
  EXPECT_EQ(check_fill(BiasFill{}, data.attention)->line(), "bias: want a bias, got null");
  const auto score = *RelativeScore::make(every_relative(data.c)[0]);
  RelativeFill fill{&score, data.attention.q, data.attention.k};
  EXPECT_FALSE(check_fill(fill, data.attention));
  fill.q.tokens = 8;
  EXPECT_EQ(check_fill(fill, data.attention)->line(), "q.tokens: want 9, got 8");
  EXPECT_EQ(check_fill(RelativeFill{}, data.attention)->line(), "score: want an encoding, got null");
  Data packed({1, 9, 9, 6, 2, 8, AttentionMask::causal(), {0, 4, 9}, {0, 4, 9}});
  EXPECT_EQ(check_fill(RelativeFill{&score, packed.attention.q, packed.attention.k}, packed.attention)->line(),
            "query_starts: want no packed sequences, for blocks do not say which one they are of, got some");
}

}  // namespace
}  // namespace ropewalk
