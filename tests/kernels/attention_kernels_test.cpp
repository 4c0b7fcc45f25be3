// The parts of attention, each against its formula in double, on every target.
#include "cpu/dispatch.hpp"
#include "support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace {

using namespace ropewalk;
using cpu::kPanelColumns;

constexpr float kInf = std::numeric_limits<float>::infinity();

class AttentionKernelsOnTarget : public support::EveryTarget {
 protected:
  const cpu::AttentionKernels& kernels() const { return GetParam()->kernels->attention; }
};
ROPEWALK_ON_EVERY_TARGET(AttentionKernelsOnTarget);

std::vector<float> gaussian(std::int64_t n, float width, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, width);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& x : out) x = normal(random);
  return out;
}

double in_bf16(float x) { return support::rounded(static_cast<double>(x), DType::kBFloat16); }
std::uint32_t pair_of(float low, float high) {
  return support::bits_of(in_bf16(low), DType::kBFloat16) | support::bits_of(in_bf16(high), DType::kBFloat16) << 16;
}

TEST_P(AttentionKernelsOnTarget, AProductIsTheSumOfProductsForEveryTileBorder) {
  for (const std::int64_t rows : {1, 2, 3, 5, 6, 7, 12, 17})
    for (const std::int64_t depth : {1, 2, 16, 51})
      for (const std::int64_t columns : {16, 32, 48, 64})
        for (const bool across : {false, true})
          for (const bool scaled : {false, true}) {
            const auto a = gaussian(rows * depth, 1, 1), b = gaussian(depth * kPanelColumns, 1, 2);
            const auto before = gaussian(rows * kPanelColumns, 1, 3), scale = gaussian(columns, 1, 4);
            auto c = before;
            kernels().multiply({.a = a.data(),
                                .a_row = across ? 1 : depth,
                                .a_step = across ? rows : 1,
                                .b = b.data(),
                                .c = c.data(),
                                .rows = rows,
                                .depth = depth,
                                .columns = columns,
                                .scale = scaled ? scale.data() : nullptr});
            for (std::int64_t i = 0; i < rows; ++i)
              for (std::int64_t j = 0; j < kPanelColumns; ++j) {
                const auto at = static_cast<std::size_t>(i * kPanelColumns + j);
                if (j >= columns) {
                  ASSERT_EQ(c[at], before[at]) << "wrote beyond the columns";
                  continue;
                }
                double want = scaled ? double{before[at]} * double{scale[static_cast<std::size_t>(j)]} : 0.0;
                for (std::int64_t k = 0; k < depth; ++k)
                  want += double{a[static_cast<std::size_t>(across ? k * rows + i : i * depth + k)]} *
                          double{b[static_cast<std::size_t>(k * kPanelColumns + j)]};
                ASSERT_NEAR(c[at], want, 2e-5) << rows << " x " << depth << " x " << columns;
              }
          }
}

TEST_P(AttentionKernelsOnTarget, AProductOfPairsIsTheSumOfBoth) {
  if (kernels().multiply_pairs == nullptr) GTEST_SKIP() << "no product of bf16";
  for (const std::int64_t rows : {1, 5, 6, 17})
    for (const std::int64_t depth : {1, 9, 32})
      for (const std::int64_t columns : {16, 48, 64})
        for (const bool across : {false, true}) {
          const auto a = gaussian(rows * depth * 2, 1, 1), b = gaussian(depth * kPanelColumns * 2, 1, 2);
          std::vector<std::uint32_t> a_pairs, b_pairs;
          for (std::size_t i = 0; i < a.size(); i += 2) a_pairs.push_back(pair_of(a[i], a[i + 1]));
          for (std::size_t i = 0; i < b.size(); i += 2) b_pairs.push_back(pair_of(b[i], b[i + 1]));
          std::vector<float> c(static_cast<std::size_t>(rows * kPanelColumns));
          kernels().multiply_pairs({.a = a_pairs.data(),
                                    .a_row = across ? 1 : depth,
                                    .a_step = across ? rows : 1,
                                    .b = b_pairs.data(),
                                    .c = c.data(),
                                    .rows = rows,
                                    .depth = depth,
                                    .columns = columns});
          for (std::int64_t i = 0; i < rows; ++i)
            for (std::int64_t j = 0; j < columns; ++j) {
              double want = 0.0;
              for (std::int64_t k = 0; k < depth; ++k)
                for (std::size_t half = 0; half < 2; ++half)
                  want += in_bf16(a[static_cast<std::size_t>(2 * (across ? k * rows + i : i * depth + k)) + half]) *
                          in_bf16(b[static_cast<std::size_t>(2 * (k * kPanelColumns + j)) + half]);
              ASSERT_NEAR(c[static_cast<std::size_t>(i * kPanelColumns + j)], want, 2e-5);
            }
        }
}

// Down the columns of a panel in two steps, and along a row.
TEST_P(AttentionKernelsOnTarget, ARunningSoftmaxIsTheWholeSoftmax) {
  for (const std::int64_t keys : {1, 2, 7, 33, 128}) {
    const std::int64_t columns = 48;
    auto scores = gaussian(2 * keys * kPanelColumns, 30, static_cast<unsigned>(keys));
    if (keys > 2) scores[1] = scores[static_cast<std::size_t>(keys * kPanelColumns + 2)] = -kInf;
    const std::vector<float> factor(64, 0.75f);
    std::vector<float> top(64, -3e38f), total(64, 0.0f), correction(64), p = scores, row_p;
    const auto panel = [&](std::int64_t first) {
      return cpu::SoftmaxPanel{.scores = p.data() + first * kPanelColumns,
                               .keys = keys,
                               .columns = columns,
                               .factor = factor.data(),
                               .top = top.data(),
                               .total = total.data(),
                               .correction = correction.data()};
    };
    kernels().softmax(panel(0));
    kernels().softmax(panel(keys));
    for (std::int64_t c = 0; c < columns; ++c) {
      const auto at = [&](std::int64_t j) { return static_cast<std::size_t>(j * kPanelColumns + c); };
      double best = -INFINITY, sum = 0.0;
      for (std::int64_t j = 0; j < 2 * keys; ++j) best = std::max(best, double{scores[at(j)]});
      for (std::int64_t j = 0; j < 2 * keys; ++j) sum += std::exp2((double{scores[at(j)]} - best) * 0.75);
      const auto i = static_cast<std::size_t>(c);
      EXPECT_EQ(top[i], static_cast<float>(best));
      EXPECT_NEAR(total[i] / sum, 1.0, 1e-6);
      for (std::int64_t j = 0; j < 2 * keys; ++j) {
        const double x = (double{scores[at(j)]} - best) * 0.75, want = std::exp2(x);
        if (want == 0.0) {
          EXPECT_EQ(p[at(j)], 0.0f);
          continue;
        }
        const double got = double{p[at(j)]} * (j < keys ? double{correction[i]} : 1.0);
        EXPECT_NEAR(got, want, (4e-7 + std::abs(x) * 0x1p-22) * want + 1e-37) << "score " << x;
      }
      row_p.clear();
      for (std::int64_t j = 0; j < 2 * keys; ++j) row_p.push_back(scores[at(j)]);
      float row_top = -3e38f, row_total = 0.0f;
      kernels().softmax_row(row_p.data(), 2 * keys, 0.75f, &row_top, &row_total);
      EXPECT_EQ(row_top, top[i]);
      EXPECT_NEAR(row_total / sum, 1.0, 1e-6);
    }
  }
}

TEST_P(AttentionKernelsOnTarget, NothingIsSeenIsWeightedNothing) {
  std::vector<float> scores(40, -kInf);
  float top = 3.0f, total = 2.0f;
  EXPECT_EQ(kernels().softmax_row(scores.data(), 40, 0.5f, &top, &total), 1.0f);
  EXPECT_EQ(top, 3.0f);
  EXPECT_EQ(total, 2.0f);
  for (const float x : scores) EXPECT_EQ(x, 0.0f);
  std::vector<float> panel(3 * kPanelColumns, -kInf), factor(64, 1.0f), tops(64, -3e38f), totals(64), correction(64);
  kernels().softmax({.scores = panel.data(),
                     .keys = 3,
                     .columns = 16,
                     .factor = factor.data(),
                     .top = tops.data(),
                     .total = totals.data(),
                     .correction = correction.data()});
  EXPECT_EQ(totals[5], 0.0f);
  EXPECT_EQ(panel[2 * kPanelColumns + 5], 0.0f);
}

TEST_P(AttentionKernelsOnTarget, GoesBackThroughSoftmax) {
  for (const std::int64_t keys : {1, 7, 128})
    for (const std::int64_t columns : {16, 48, 64}) {
      auto scores = gaussian(keys * kPanelColumns, 30, 1), gradients = gaussian(keys * kPanelColumns, 3, 2);
      auto factor = gaussian(64, 1, 3), top = gaussian(64, 1, 4);
      const auto mean = gaussian(64, 1, 5);
      for (float& x : factor) x = std::abs(x) + 0.1f;
      for (float& x : top) x = 90.0f + x;
      top[1] = kInf;
      scores[2] = -kInf;
      auto p = scores, d = gradients;
      kernels().softmax_gradient({.scores = p.data(),
                                  .gradients = d.data(),
                                  .keys = keys,
                                  .columns = columns,
                                  .factor = factor.data(),
                                  .top = top.data(),
                                  .mean = mean.data()});
      for (std::int64_t j = 0; j < keys; ++j)
        for (std::int64_t c = 0; c < kPanelColumns; ++c) {
          const auto at = static_cast<std::size_t>(j * kPanelColumns + c), i = static_cast<std::size_t>(c);
          if (c >= columns) {
            ASSERT_EQ(p[at], scores[at]) << "wrote beyond the columns";
            ASSERT_EQ(d[at], gradients[at]) << "wrote beyond the columns";
            continue;
          }
          const double x = (double{scores[at]} - double{top[i]}) * double{factor[i]}, want = std::exp2(x);
          if (want == 0.0) {
            ASSERT_EQ(p[at], 0.0f);
            ASSERT_EQ(d[at], 0.0f);
            continue;
          }
          ASSERT_NEAR(p[at], want, (4e-7 + std::abs(x) * 0x1p-22) * want + 1e-37);
          ASSERT_NEAR(d[at], double{p[at]} * (double{gradients[at]} - double{mean[i]}), 1e-6 * want + 1e-36);
        }
    }
}

TEST_P(AttentionKernelsOnTarget, TransposesEveryShape) {
  for (const std::int64_t rows : {1, 4, 15, 16, 17, 64})
    for (const std::int64_t columns : {1, 8, 16, 31, 80}) {
      const auto from = gaussian(rows * (columns + 3), 1, 7);
      std::vector<float> to(static_cast<std::size_t>(columns * (rows + 5)), -1.0f);
      kernels().transpose(from.data(), columns + 3, rows, columns, to.data(), rows + 5);
      for (std::int64_t r = 0; r < rows + 5; ++r)
        for (std::int64_t c = 0; c < columns; ++c)
          ASSERT_EQ(to[static_cast<std::size_t>(c * (rows + 5) + r)],
                    r < rows ? from[static_cast<std::size_t>(r * (columns + 3) + c)] : -1.0f);
    }
}

}  // namespace
