// Sinusoids and learned rows on their way into embeddings, on every target.
#include "kernels/support.hpp"
#include "oracle/encodings.hpp"

#include <cmath>
#include <numeric>

namespace {

using namespace ropewalk;
using support::Tensor;

constexpr std::int64_t kFarPositions[] = {0, 1, 511, 131071, 1048575, 10000000, (1LL << 36), -(1LL << 36), -3};

SinusoidalSpec spec_of(int dim, SinusoidOrder order, SinusoidExponent exponent) {
  SinusoidalSpec spec;
  spec.dim = dim;
  spec.order = order;
  spec.exponent = exponent;
  return spec;
}

Sinusoidal made(const SinusoidalSpec& spec) {
  auto sinusoidal = Sinusoidal::make(spec);
  EXPECT_TRUE(sinusoidal) << sinusoidal.error().line();
  return *std::move(sinusoidal);
}

EmbeddingsView view_of(const Tensor& x) {
  const HeadsView& v = x.view();
  return {v.data, v.dtype, v.batch, v.tokens, v.head_dim, v.batch_stride, v.token_stride};
}

std::vector<float> filled(const SinusoidalSpec& spec, const std::vector<std::int64_t>& positions) {
  const auto tokens = static_cast<std::int64_t>(positions.size()) / spec.axes;
  std::vector<float> rows(static_cast<std::size_t>(tokens * spec.dim), NAN);
  const auto out = EmbeddingsView::contiguous(rows.data(), DType::kFloat32, 1, tokens, spec.dim);
  const Sinusoidal sinusoidal = made(spec);
  const PositionsView where = PositionsView::streams(positions, spec.axes);
  const auto error = sinusoidal.check(out, out, where);
  EXPECT_FALSE(error) << error->line();
  sinusoidal.fill(out, where);
  return rows;
}

class Absolute : public support::EveryTarget {};

// The bound that absolute.hpp states: 4.5e-8 and |position| 2^-65 turns, which at 2^36 are 1.2e-8 radians.
TEST_P(Absolute, SinusoidsAreNearTheRealNumberAtAnyPosition) {
  const std::vector<std::int64_t> positions(std::begin(kFarPositions), std::end(kFarPositions));
  double worst = 0.0;
  for (const int dim : {2, 6, 64, 1030})
    for (const auto exponent : {SinusoidExponent::kPaper, SinusoidExponent::kTensor2Tensor}) {
      const auto rows = filled(spec_of(dim, SinusoidOrder::kConcatenated, exponent), positions);
      const int half = dim / 2;
      for (std::size_t t = 0; t < positions.size(); ++t)
        for (int k = 0; k < half; ++k) {
          const oracle::Quad phase =
              oracle::sinusoid_phase(positions[t], 10000, k, half, exponent == SinusoidExponent::kTensor2Tensor);
          const auto row = t * static_cast<std::size_t>(dim) + static_cast<std::size_t>(k);
          worst = std::max({worst, static_cast<double>(fabsq(rows[row] - sinq(phase))),
                            static_cast<double>(fabsq(rows[row + static_cast<std::size_t>(half)] - cosq(phase)))});
        }
    }
  EXPECT_LT(worst, 1.2e-7);
  EXPECT_GT(worst, 1e-9);
}

// Whole positions and the same numbers as coordinates; halves lie between.
TEST_P(Absolute, CoordinatesAreAsExactAsPositions) {
  const auto spec = spec_of(32, SinusoidOrder::kConcatenated, SinusoidExponent::kPaper);
  const Sinusoidal sinusoidal = made(spec);
  std::vector<double> where;
  for (const std::int64_t p : kFarPositions)
    where.insert(where.end(), {static_cast<double>(p), static_cast<double>(p) + 0.5});
  std::vector<float> rows(where.size() * 32);
  const auto out =
      EmbeddingsView::contiguous(rows.data(), DType::kFloat32, 1, static_cast<std::int64_t>(where.size()), 32);
  sinusoidal.fill(out, CoordinatesView::row(where));
  for (std::size_t t = 0; t < where.size(); ++t)
    for (int k = 0; k < 16; ++k) {
      const oracle::Quad phase = oracle::sinusoid_phase(where[t], 10000, k, 16, false);
      EXPECT_NEAR(rows[t * 32 + static_cast<std::size_t>(k)], static_cast<double>(sinq(phase)), 1.2e-7) << where[t];
    }
}

// The law they exist for: the product of two rows depends on the distance.
TEST_P(Absolute, ProductsOfRowsDependOnTheDistance) {
  const auto spec = spec_of(128, SinusoidOrder::kInterleaved, SinusoidExponent::kPaper);
  const auto product = [&](std::int64_t p, std::int64_t q) {
    const auto rows = filled(spec, {p, q});
    return std::inner_product(rows.begin(), rows.begin() + 128, rows.begin() + 128, 0.0);
  };
  const double near = product(17, 5);
  for (const std::int64_t shift :
       {std::int64_t{1}, std::int64_t{1} << 20, std::int64_t{1} << 40, -(std::int64_t{1} << 40)})
    EXPECT_NEAR(product(17 + shift, 5 + shift), near, 1e-5) << shift;
}

TEST_P(Absolute, OrdersArePermutationsOfEachOther) {
  for (const auto exponent : {SinusoidExponent::kPaper, SinusoidExponent::kTensor2Tensor}) {
    const int dim = 1100, half = 550;  // more pairs than are formed at once
    const std::vector<std::int64_t> positions{3, -7, 100000};
    const auto plain = filled(spec_of(dim, SinusoidOrder::kConcatenated, exponent), positions);
    const auto interleaved = filled(spec_of(dim, SinusoidOrder::kInterleaved, exponent), positions);
    const auto cos_first = filled(spec_of(dim, SinusoidOrder::kConcatenatedCosFirst, exponent), positions);
    const auto cos_between = filled(spec_of(dim, SinusoidOrder::kInterleavedCosFirst, exponent), positions);
    for (std::size_t t = 0; t < positions.size(); ++t)
      for (std::size_t k = 0; k < half; ++k) {
        const std::size_t row = t * dim;
        const float sine = plain[row + k], cosine = plain[row + half + k];
        EXPECT_EQ(interleaved[row + 2 * k], sine);
        EXPECT_EQ(interleaved[row + 2 * k + 1], cosine);
        EXPECT_EQ(cos_first[row + k], cosine);
        EXPECT_EQ(cos_first[row + half + k], sine);
        EXPECT_EQ(cos_between[row + 2 * k], cosine);
        EXPECT_EQ(cos_between[row + 2 * k + 1], sine);
      }
  }
}

// A concrete trap: at 512 channels the two exponents are a radian apart after about 700 positions.
TEST_P(Absolute, TheExponentsDiffer) {
  const Sinusoidal paper = made(spec_of(512, SinusoidOrder::kConcatenated, SinusoidExponent::kPaper));
  const Sinusoidal t2t = made(spec_of(512, SinusoidOrder::kConcatenated, SinusoidExponent::kTensor2Tensor));
  EXPECT_NEAR(paper.inv_freq().back(), 1.0366e-4, 1e-8);
  EXPECT_DOUBLE_EQ(t2t.inv_freq().back(), 1e-4);
  double apart = 0.0;
  for (std::size_t k = 0; k < 256; ++k) apart = std::max(apart, std::abs(paper.inv_freq()[k] - t2t.inv_freq()[k]));
  EXPECT_NEAR(700 * apart, 1.0, 0.05);
}

TEST_P(Absolute, AnOddWidthEndsInAZero) {
  for (const auto order : {SinusoidOrder::kConcatenated, SinusoidOrder::kInterleaved}) {
    const auto odd = filled(spec_of(7, order, SinusoidExponent::kTensor2Tensor), {12345});
    const auto even = filled(spec_of(6, order, SinusoidExponent::kTensor2Tensor), {12345});
    EXPECT_TRUE(std::equal(even.begin(), even.end(), odd.begin()));
    EXPECT_EQ(odd[6], 0.0f);
  }
  const auto one = filled(spec_of(1, SinusoidOrder::kConcatenated, SinusoidExponent::kPaper), {5});
  EXPECT_EQ(one[0], 0.0f);
}

TEST_P(Absolute, OffsetsAndPaddingAreFairseqs) {
  SinusoidalSpec spec = spec_of(8, SinusoidOrder::kConcatenated, SinusoidExponent::kTensor2Tensor);
  const auto plain = filled(spec, {2, 3, 9});
  spec.position_offset = 2;
  spec.zero_position = 3;
  const auto moved = filled(spec, {0, 1, 7});
  for (std::size_t c = 0; c < 8; ++c) {
    EXPECT_EQ(moved[c], plain[c]);
    EXPECT_EQ(moved[8 + c], 0.0f);
    EXPECT_EQ(moved[16 + c], plain[16 + c]);
  }
}

TEST_P(Absolute, TimmPutsTheSinesOfBothAxesFirst) {
  SinusoidalSpec spec = spec_of(16, SinusoidOrder::kConcatenated, SinusoidExponent::kPaper);
  spec.axes = 2;
  const std::vector<std::int64_t> positions{3, 5};  // one token at row 3, column 5
  const auto blocks = filled(spec, positions);
  spec.sines_of_all_axes_first = true;
  const auto timm = filled(spec, positions);
  for (std::size_t k = 0; k < 4; ++k) {
    EXPECT_EQ(timm[k], blocks[k]);            // sin row
    EXPECT_EQ(timm[4 + k], blocks[8 + k]);    // sin column
    EXPECT_EQ(timm[8 + k], blocks[4 + k]);    // cos row
    EXPECT_EQ(timm[12 + k], blocks[12 + k]);  // cos column
  }
}

// Every dtype, strides, batches at their own positions; nothing beside the elements is touched.
TEST_P(Absolute, AddIsTheFusedSumRoundedOnce) {
  SinusoidalSpec spec = spec_of(70, SinusoidOrder::kInterleaved, SinusoidExponent::kPaper);
  spec.gain = 0.125;
  const Sinusoidal sinusoidal = made(spec);
  const std::vector<std::int64_t> positions{4, -9, 1 << 20, 7, 0, 3};
  const auto rows = filled(spec, positions);
  for (const DType dtype : support::kDTypes)
    for (const bool shared : {false, true}) {
      const support::Shape shape{
          .batch = 2, .tokens = 3, .heads = 1, .head_dim = 70, .order = "sbhd", .gap = 3, .backwards = true};
      Tensor x(shape, dtype), y(shape, dtype);
      x.fill(1);
      y.fill(2);
      const PositionsView where =
          shared ? PositionsView::row(std::span(positions).first(3)) : PositionsView::rows(positions, 2);
      ASSERT_FALSE(sinusoidal.check(view_of(x), view_of(y), where));
      const AbsoluteCall call{.embedding_scale = 8.366600265f};
      sinusoidal.add(view_of(x), view_of(y), where, call);
      for (std::int64_t b = 0; b < 2; ++b)
        for (std::int64_t t = 0; t < 3; ++t)
          for (std::int64_t c = 0; c < 70; ++c) {
            const std::int64_t token = shared ? t : b * 3 + t;
            const float wanted = std::fma(static_cast<float>(x.get(b, t, 0, c)), call.embedding_scale,
                                          rows[static_cast<std::size_t>(token * 70 + c)]);
            EXPECT_EQ(y.get(b, t, 0, c), support::rounded(wanted, dtype));
          }
      EXPECT_TRUE(x.border_untouched() && y.border_untouched());
      sinusoidal.add(view_of(x), view_of(x), where, call);
      EXPECT_TRUE(x.same_elements(y)) << "in place";
      sinusoidal.fill(view_of(y), where);
      for (std::int64_t c = 0; c < 70; ++c)
        EXPECT_EQ(y.get(1, 2, 0, c),
                  support::rounded(rows[static_cast<std::size_t>((shared ? 2 : 5) * 70 + c)], dtype));
      EXPECT_TRUE(y.border_untouched());
    }
}

TEST_P(Absolute, ThreadsChangeNoBit) {
  const Sinusoidal sinusoidal = made(spec_of(512, SinusoidOrder::kConcatenated, SinusoidExponent::kPaper));
  std::vector<std::int64_t> positions(1024);
  std::iota(positions.begin(), positions.end(), -5);
  std::vector<float> one(1024 * 512), many(one.size());
  sinusoidal.fill(EmbeddingsView::contiguous(one.data(), DType::kFloat32, 1, 1024, 512), PositionsView::row(positions));
  sinusoidal.fill(EmbeddingsView::contiguous(many.data(), DType::kFloat32, 1, 1024, 512), PositionsView::row(positions),
                  {.threads = 3});
  EXPECT_EQ(one, many);
}

TEST_P(Absolute, TheBitsAreThoseOfEveryOtherTarget) {
  const auto rows = filled(spec_of(130, SinusoidOrder::kInterleaved, SinusoidExponent::kTensor2Tensor),
                           {std::begin(kFarPositions), std::end(kFarPositions)});
  std::vector<std::uint32_t> words;
  for (const float x : rows) words.push_back(support::bits_of(x, DType::kFloat32));
  EXPECT_EQ(support::digest(words), 14891021430273996162u);
}

TEST_P(Absolute, LearnedRowsAreAddedInEveryDtype) {
  for (const DType of_table : support::kDTypes)
    for (const DType dtype : support::kDTypes) {
      Tensor table({.batch = 1, .tokens = 12, .heads = 1, .head_dim = 600, .gap = 1}, of_table);
      table.fill(5);
      Tensor x({.batch = 2, .tokens = 2, .heads = 1, .head_dim = 600, .gap = 2}, dtype);
      x.fill(6);
      Tensor y({.batch = 2, .tokens = 2, .heads = 1, .head_dim = 600}, dtype);
      const LearnedTable rows{table.view().data, of_table, 12, 600, table.view().token_stride, 2};
      const std::vector<std::int64_t> positions{0, 9, -2, 4};
      const PositionsView where = PositionsView::rows(positions, 2);
      const auto error = check_learned(rows, view_of(x), view_of(y), where);
      ASSERT_FALSE(error) << error->line();
      add_learned(rows, view_of(x), view_of(y), where);
      for (std::int64_t i = 0; i < 4; ++i)
        for (std::int64_t c = 0; c < 600; ++c) {
          const auto row = static_cast<float>(table.get(0, positions[static_cast<std::size_t>(i)] + 2, 0, c));
          EXPECT_EQ(y.get(i / 2, i % 2, 0, c),
                    support::rounded(static_cast<float>(x.get(i / 2, i % 2, 0, c)) + row, dtype));
        }
      fill_learned(rows, view_of(y), where);
      EXPECT_EQ(y.get(1, 0, 0, 599), support::rounded(table.get(0, 0, 0, 599), dtype));
      EXPECT_TRUE(y.border_untouched() && x.border_untouched());
    }
}

// The gradient is the transpose: <d_out, gather(t)> = <scatter(d_out), t> for any table t.
TEST_P(Absolute, TheGradientOfAGatherIsItsTranspose) {
  const std::int64_t rows = 7, dim = 33;
  const std::vector<std::int64_t> positions{1, 4, 1, 5, 1, -1};
  for (const DType dtype : support::kDTypes) {
    Tensor d_out({.batch = 2, .tokens = 3, .heads = 1, .head_dim = dim}, dtype);
    d_out.fill(3);
    std::vector<float> d_table(static_cast<std::size_t>(rows * dim), 1.0f);
    const LearnedTable table{nullptr, DType::kFloat32, rows, dim, dim, 1};
    ASSERT_FALSE(
        add_learned_gradient(table, view_of(d_out), PositionsView::rows(positions, 2), d_table, {.threads = 2}));
    for (std::int64_t row = 0; row < rows; ++row)
      for (std::int64_t c = 0; c < dim; ++c) {
        double wanted = 1.0;
        for (std::int64_t i = 0; i < 6; ++i)
          if (positions[static_cast<std::size_t>(i)] + 1 == row) wanted += d_out.get(i / 3, i % 3, 0, c);
        EXPECT_NEAR(d_table[static_cast<std::size_t>(row * dim + c)], wanted, 1e-6);
      }
  }
}

ROPEWALK_ON_EVERY_TARGET(Absolute);

// ---- what is refused, by name

std::string refused(const SinusoidalSpec& spec) {
  const auto sinusoidal = Sinusoidal::make(spec);
  return sinusoidal ? "nothing" : sinusoidal.error().line();
}

TEST(AbsoluteRefuses, SpecsThatDoNotSayEnough) {
  const auto good = spec_of(8, SinusoidOrder::kInterleaved, SinusoidExponent::kPaper);
  auto spec = good;
  spec.order = SinusoidOrder::kUnset;
  EXPECT_EQ(refused(spec), "order: want interleaved or concatenated, the sine or the cosine first, got unset");
  spec = good;
  spec.exponent = SinusoidExponent::kUnset;
  EXPECT_EQ(refused(spec), "exponent: want the paper's or tensor2tensor's, got unset");
  spec = good;
  spec.dim = 0;
  EXPECT_EQ(refused(spec), "dim: want a number in [1, 2^24] that 1 divides, got 0");
  spec = good;
  spec.axes = 3;
  EXPECT_EQ(refused(spec), "dim: want a number in [1, 2^24] that 3 divides, got 8");
  spec = good;
  spec.theta = -1;
  EXPECT_EQ(refused(spec), "theta: want a number in [1e-30, 1e30], got -1");
  spec = good;
  spec.sines_of_all_axes_first = true;
  EXPECT_EQ(refused(spec), "sines_of_all_axes_first: want false with an interleaved order, got true");
  spec = good;
  spec.axes = 2;
  spec.zero_position = 1;
  EXPECT_EQ(refused(spec), "zero_position: want none with several axes, got 1");
  spec = good;
  spec.gain = NAN;
  EXPECT_EQ(refused(spec), "gain: want a number within 1e30 of 0, got nan");
}

TEST(AbsoluteRefuses, CallsThatDoNotFit) {
  const Sinusoidal sinusoidal = made(spec_of(8, SinusoidOrder::kInterleaved, SinusoidExponent::kPaper));
  std::vector<float> memory(64);
  const std::vector<std::int64_t> positions{1, 2, 3};
  const auto good = EmbeddingsView::contiguous(memory.data(), DType::kFloat32, 1, 3, 8);
  const auto line = [&](const EmbeddingsView& in, const EmbeddingsView& out, const PositionsView& where) {
    const auto error = sinusoidal.check(in, out, where);
    return error ? error->line() : "nothing";
  };
  const auto where = PositionsView::row(positions);
  EXPECT_EQ(line(good, good, where), "nothing");
  EXPECT_EQ(line(good, good, PositionsView::row(std::span(positions).first(2))), "positions.tokens: want 3, got 2");
  auto bad = good;
  bad.dim = 9;
  EXPECT_EQ(line(good, bad, where), "out.dim: want 8, got 9");
  bad = good;
  bad.data = nullptr;
  EXPECT_EQ(line(bad, good, where), "in.data: want an address, got null");
  bad = good;
  bad.token_stride = 0;
  EXPECT_EQ(line(bad, good, where),
            "out: want the view of in itself or memory apart from it, got its data in other strides");
  bad.data = memory.data() + 32;
  EXPECT_EQ(line(bad, good, where), "nothing") << "one row for every token may be read";
  EXPECT_EQ(line(good, bad, where),
            "out.token_stride: want a stride other than 0 on an axis of 3 that is written, got 0");
  bad = good;
  bad.dtype = DType::kFloat16;
  EXPECT_EQ(line(good, bad, where), "out.dtype: want float32, got float16");
  bad = good;
  bad.data = reinterpret_cast<char*>(memory.data()) + 2;
  EXPECT_EQ(line(good, bad, where), "out.data: want an address that 4 divides, as a float32 needs");
}

TEST(AbsoluteRefuses, PositionsWithoutARow) {
  std::vector<float> table(10 * 4), memory(2 * 2 * 4);
  const auto rows = LearnedTable::contiguous(table.data(), DType::kFloat32, 10, 4, 2);
  const auto x = EmbeddingsView::contiguous(memory.data(), DType::kFloat32, 2, 2, 4);
  const auto line = [&](std::vector<std::int64_t> positions) {
    const auto error = check_learned(rows, x, x, PositionsView::rows(positions, 2));
    return error ? error->line() : "nothing";
  };
  EXPECT_EQ(line({-2, 0, 5, 7}), "nothing");
  EXPECT_EQ(line({0, 0, 0, 8}), "positions[1, 1]: want a row of the table, -2 to 7, got 8");
  EXPECT_EQ(line({0, -3, 0, 0}), "positions[0, 1]: want a row of the table, -2 to 7, got -3");
  EXPECT_EQ(line({0, 0, std::numeric_limits<std::int64_t>::max(), 0}),
            "positions[1, 0]: want a row of the table, -2 to 7, got 9223372036854775807");
}

}  // namespace
