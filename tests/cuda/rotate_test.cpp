// The kernel against Rotary::apply on the CPU, bit for bit, wherever it can be run (machines.hpp).
#include "cuda/machines.hpp"

#include "kernels/support.hpp"
#include "rotary_cuda.hpp"

#include <cmath>
#include <cstring>
#include <limits>
#include <memory>

namespace {

using machines::Job;
using machines::Machine;
using ropewalk::Direction;
using ropewalk::HeadsView;
using ropewalk::PositionsView;
using ropewalk::Rotary;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using ropewalk::cuda::DevicePositions;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;
using Edge = support::Pages::Edge;

constexpr Direction kDirections[] = {Direction::kForward, Direction::kInverse, Direction::kTranspose,
                                     Direction::kShift};

class Cuda : public testing::TestWithParam<Machine> {
 protected:
  void SetUp() override {
    if (const std::string absence = GetParam().absence(); !absence.empty()) GTEST_SKIP() << absence;
  }
  void run(const Job& job) const { ASSERT_EQ(GetParam().run(job), ""); }
};
INSTANTIATE_TEST_SUITE_P(, Cuda, testing::ValuesIn(machines::all()),
                         [](const auto& tested) { return tested.param.name; });

/// Where tokens stand, for the CPU and for the kernel: [axes, batch, tokens].
struct Positions {
  std::vector<std::int64_t> numbers;
  int axes;
  std::int64_t batch, tokens;

  PositionsView cpu() const { return {numbers.data(), axes, batch, tokens, batch * tokens, batch > 1 ? tokens : 0, 1}; }
  DevicePositions device() const {
    return {.data = numbers.data(),
            .axes = axes,
            .batch = batch,
            .tokens = tokens,
            .axis_stride = batch * tokens,
            .batch_stride = tokens,
            .token_stride = 1};
  }
};

Positions hard_positions(std::int64_t batch, std::int64_t tokens, int axes = 1) {
  constexpr std::int64_t kHard[] = {10'000'000,
                                    0,
                                    -1,
                                    std::int64_t{1} << 36,
                                    1,
                                    -(std::int64_t{1} << 36) - 7,
                                    std::numeric_limits<std::int64_t>::max(),
                                    std::numeric_limits<std::int64_t>::min(),
                                    131'071,
                                    -777,
                                    (std::int64_t{1} << 53) + 1};
  Positions positions{{}, axes, batch, tokens};
  for (std::int64_t i = 0; i < axes * batch * tokens; ++i)
    positions.numbers.push_back(static_cast<std::int64_t>(  // modulo 2^64
        static_cast<std::uint64_t>(kHard[i % std::ssize(kHard)]) +
        static_cast<std::uint64_t>(17 * (i / std::ssize(kHard)))));
  return positions;
}

/// x and its twin; `moved` results go to memory of another order, else they stay in place.
struct Case {
  Tensor x, y, twin, twin_out;

  Case(const Shape& shape, DType dtype, Edge edge, const Shape& out_shape, std::uint64_t seed)
      : x(shape, dtype, edge), y(out_shape, dtype, edge), twin(shape, dtype, edge), twin_out(out_shape, dtype, edge) {
    x.fill(seed);
    twin.fill(seed);
  }
  RotaryOperand on_cpu(bool moves) const {
    return moves ? RotaryOperand{twin.view(), twin_out.view()} : RotaryOperand::in_place(twin.view());
  }
  RotaryOperand by_kernel(bool moves) const {
    return moves ? RotaryOperand{x.view(), y.view()} : RotaryOperand::in_place(x.view());
  }
  void expect_same(bool moves) const {
    EXPECT_TRUE(x.same_elements(twin));
    EXPECT_TRUE(x.border_untouched());
    if (!moves) return;
    EXPECT_TRUE(y.same_elements(twin_out));
    EXPECT_TRUE(y.border_untouched());
  }
};

void expect_the_bits_of_the_cpu(const Machine& machine, const RotarySpec& spec, const Shape& shape, DType dtype,
                                bool moves, Direction direction, Edge edge = Edge::kBegin) {
  SCOPED_TRACE(to_string(spec) + " " + shape.order + " gap " + std::to_string(shape.gap) + " " +
               std::to_string(shape.heads) + " heads " + std::string(name_of(dtype)) + (moves ? " moves" : ""));
  const Rotary rotary = support::made(spec);
  const Positions positions = hard_positions(shape.batch, shape.tokens, spec.axes());
  Shape out = shape;
  out.gap = shape.gap == 0 ? 16 : 0;
  const Case both(shape, dtype, edge, out, 5);
  const RotaryOperand on_cpu[] = {both.on_cpu(moves)}, by_kernel[] = {both.by_kernel(moves)};
  ASSERT_EQ(rotary.check(on_cpu, positions.cpu()), std::nullopt);
  rotary.apply(on_cpu, positions.cpu(), {.direction = direction});
  ASSERT_EQ(machine.run({rotary, by_kernel, positions.device(), direction}), "");
  both.expect_same(moves);
}

struct Width {
  int head_dim, rotary_dim, rotary_offset;
};
constexpr Width kWidths[] = {{2, 2, 0},      {6, 6, 0},      {20, 20, 0},   {64, 64, 0},   {80, 80, 0},  {96, 96, 0},
                             {128, 128, 0},  {192, 192, 0},  {256, 256, 0}, {512, 512, 0}, {256, 64, 0}, {80, 20, 0},
                             {96, 80, 16},   {192, 64, 128}, {13, 6, 5},    {127, 96, 31}, {67, 2, 65},  {10, 8, 1},
                             {576, 64, 512}, {700, 510, 30}, {136, 64, 36}};

RotarySpec spec_of(const Width& width, PairLayout layout) {
  return {.head_dim = width.head_dim,
          .rotary_dim = width.rotary_dim,
          .rotary_offset = width.rotary_offset,
          .theta = 10000.0,
          .layout = layout};
}

TEST_P(Cuda, HasTheBitsOfTheCpuAtEveryWidth) {
  for (const Width& width : kWidths)
    for (const PairLayout layout : support::kLayouts)
      for (const DType dtype : support::kDTypes)
        for (const bool moves : {false, true})
          for (const Edge edge : {Edge::kBegin, Edge::kEnd})
            expect_the_bits_of_the_cpu(GetParam(), spec_of(width, layout),
                                       {.batch = 2, .tokens = 3, .heads = 2, .head_dim = width.head_dim}, dtype, moves,
                                       Direction::kForward, edge);
}

TEST_P(Cuda, HasTheBitsOfTheCpuInEveryOrderOfMemory) {
  for (const char* order : {"bshd", "bhsd", "sbhd", "hbsd"})
    for (const std::int64_t gap : {0, 1, 8})
      for (const bool backwards : {false, true})
        for (const std::int64_t heads : {1, 3, 40})
          for (const DType dtype : support::kDTypes)
            expect_the_bits_of_the_cpu(GetParam(),
                                       spec_of({32, 32, 0}, heads == 3 ? PairLayout::kInterleaved : PairLayout::kHalf),
                                       {.batch = 3,
                                        .tokens = heads == 40 ? 3 : 37,
                                        .heads = heads,
                                        .head_dim = 32,
                                        .order = order,
                                        .gap = gap,
                                        .backwards = backwards},
                                       dtype, gap == 8, Direction::kForward);
}

TEST_P(Cuda, TurnsOneTokenOfManyRows) {  // decoding: each row stands elsewhere
  for (const DType dtype : support::kDTypes)
    for (const std::int64_t batch : {1, 2, 33})
      expect_the_bits_of_the_cpu(GetParam(), spec_of({128, 128, 0}, PairLayout::kHalf),
                                 {.batch = batch, .tokens = 1, .heads = 8, .head_dim = 128}, dtype, false,
                                 Direction::kForward);
}

TEST_P(Cuda, SharesManyHeadsOutAmongBlocksAndAmongRounds) {
  for (const auto& [tokens, heads] : {std::pair{2, 200}, {300, 70}, {1, 513}})
    for (const PairLayout layout : support::kLayouts)
      expect_the_bits_of_the_cpu(GetParam(), spec_of({80, 64, 16}, layout),
                                 {.tokens = tokens, .heads = heads, .head_dim = 80}, DType::kFloat32, true,
                                 Direction::kForward);
}

TEST_P(Cuda, KnowsEveryDirectionAndItsGain) {
  RotarySpec plain = spec_of({64, 48, 8}, PairLayout::kHalf);
  RotarySpec yarn = plain, clockwise = plain, shrinks = plain;
  yarn.scaling = ropewalk::YarnOptions{.factor = 40, .trained_context = 4096};
  clockwise.clockwise = true;
  shrinks.scaling = ropewalk::YarnOptions{.factor = 4, .trained_context = 4096, .attention_factor = 0.3};
  shrinks.layout = PairLayout::kInterleaved;
  RotarySpec doubles = shrinks;  // a factor that a float holds
  doubles.scaling = ropewalk::YarnOptions{.factor = 4, .trained_context = 4096, .attention_factor = 2.0};
  for (const RotarySpec& spec : {plain, yarn, clockwise, shrinks, doubles})
    for (const Direction direction : kDirections)
      for (const DType dtype : support::kDTypes)
        expect_the_bits_of_the_cpu(GetParam(), spec, {.tokens = 11, .heads = 3, .head_dim = 64}, dtype, true,
                                   direction);
}

TEST_P(Cuda, FollowsEachPairsAxis) {
  RotarySpec spec = spec_of({128, 96, 32}, PairLayout::kHalf);
  for (int j = 0; j < spec.pairs(); ++j) spec.axis_of_pair.push_back(static_cast<std::uint8_t>(j % 3 + j / 30));
  ASSERT_EQ(spec.axes(), 4);
  for (const PairLayout layout : support::kLayouts) {
    spec.layout = layout;
    expect_the_bits_of_the_cpu(GetParam(), spec, {.batch = 2, .tokens = 7, .heads = 3, .head_dim = 128},
                               DType::kBFloat16, true, Direction::kForward);
  }
}

TEST_P(Cuda, TurnsGivenFrequenciesAndInterleavedBlocks) {
  RotarySpec given = spec_of({20, 12, 0}, PairLayout::kHalf);
  given.theta = 0;
  given.given = ropewalk::GivenFrequencies{.inv_freq = {1.0, -0.5, 0.25, 3.0, 0.0, 1e-9}};
  RotarySpec blocks = spec_of({20, 12, 4}, PairLayout::kInterleaved);
  blocks.pair_blocks = {2, 4};
  for (const RotarySpec& spec : {given, blocks})
    expect_the_bits_of_the_cpu(GetParam(), spec, {.tokens = 9, .heads = 3, .head_dim = 20}, DType::kFloat32, true,
                               Direction::kForward);
}

// q in place and k moved, with heads, orders in memory and alignments of their own: one launch.
TEST_P(Cuda, TurnsSeveralOperandsAtOnce) {
  const Rotary rotary = support::made(spec_of({96, 64, 16}, PairLayout::kHalf));
  const Positions positions = hard_positions(2, 5);
  for (const DType dtype : support::kDTypes)
    for (const std::int64_t gap : {0, 3}) {
      const Shape q_shape{.batch = 2, .tokens = 5, .heads = 7, .head_dim = 96};
      const Shape k_shape{.batch = 2, .tokens = 5, .heads = 2, .head_dim = 96, .order = "bhsd", .gap = gap};
      const Shape v_shape{.batch = 2, .tokens = 5, .heads = 0, .head_dim = 96};
      const Case q(q_shape, dtype, Edge::kBegin, q_shape, 1), k(k_shape, dtype, Edge::kBegin, q_shape, 2),
          none(v_shape, dtype, Edge::kBegin, v_shape, 3);
      Shape k_out_shape = k_shape;
      k_out_shape.order = "sbhd";
      const Case k_case(k_shape, dtype, Edge::kBegin, k_out_shape, 2);
      const RotaryOperand on_cpu[] = {q.on_cpu(false), none.on_cpu(false), k_case.on_cpu(true)};
      const RotaryOperand by_kernel[] = {q.by_kernel(false), none.by_kernel(false), k_case.by_kernel(true)};
      ASSERT_EQ(rotary.check(on_cpu, positions.cpu()), std::nullopt);
      rotary.apply(on_cpu, positions.cpu());
      run({rotary, by_kernel, positions.device()});
      q.expect_same(false);
      k_case.expect_same(true);
    }
}

// int32, strides, one row for all, offsets of rows, a range: whatever way positions are said, the same bits.
TEST_P(Cuda, TakesPositionsHoweverTheyAreSaid) {
  const Rotary rotary = support::made(spec_of({64, 64, 0}, PairLayout::kHalf));
  constexpr std::int64_t kBatch = 3, kTokens = 5;
  const Shape shape{.batch = kBatch, .tokens = kTokens, .heads = 2, .head_dim = 64};
  const std::int64_t offsets[] = {1'000'000, -3, (std::int64_t{1} << 40)};
  const std::int32_t short_offsets[] = {-2'147'483'647, 77, 2'147'483'600};
  std::vector<std::int32_t> narrow;  // [tokens, batch], every other one
  std::vector<std::int64_t> by_offsets, by_short_offsets, by_narrow(kBatch * kTokens), by_range;
  for (std::int64_t b = 0; b < kBatch; ++b)
    for (std::int64_t t = 0; t < kTokens; ++t) {
      by_offsets.push_back(offsets[b] + t);
      by_short_offsets.push_back(short_offsets[b] + t);
      by_range.push_back(-4 + t);
    }
  for (std::int64_t t = 0; t < kTokens; ++t)
    for (std::int64_t b = 0; b < kBatch; ++b) {
      narrow.push_back(static_cast<std::int32_t>((t * 1'000'003 - b * 99'999'999) * (b % 2 == 0 ? 1 : -1)));
      narrow.push_back(-1);
      by_narrow[static_cast<std::size_t>(b * kTokens + t)] = narrow[narrow.size() - 2];
    }
  const std::vector<std::int64_t> row(by_offsets.begin(), by_offsets.begin() + kTokens);
  std::vector<std::int64_t> by_row;
  for (std::int64_t b = 0; b < kBatch; ++b) by_row.insert(by_row.end(), row.begin(), row.end());

  const struct {
    const char* name;
    DevicePositions said;
    const std::vector<std::int64_t>& meant;
  } kWays[] = {
      {"offsets", DevicePositions::offsets(offsets, false, kBatch, kTokens), by_offsets},
      {"int32 offsets", DevicePositions::offsets(short_offsets, true, kBatch, kTokens), by_short_offsets},
      {"int32 with strides",
       {.data = narrow.data(),
        .is_int32 = true,
        .batch = kBatch,
        .tokens = kTokens,
        .batch_stride = 2,
        .token_stride = 2 * kBatch},
       by_narrow},
      {"rows", DevicePositions::rows(by_offsets.data(), false, kBatch, kTokens), by_offsets},
      {"one row", DevicePositions::rows(row.data(), false, 1, kTokens), by_row},
      {"range", DevicePositions::range(-4, kTokens), by_range},
      {"more streams than are asked for", DevicePositions::range(-4, kTokens, 3), by_range},
  };
  for (const auto& [name, said, meant] : kWays) {
    SCOPED_TRACE(name);
    const Case both(shape, DType::kFloat32, Edge::kBegin, shape, 5);
    const RotaryOperand on_cpu[] = {both.on_cpu(false)}, by_kernel[] = {both.by_kernel(false)};
    rotary.apply(on_cpu, PositionsView::rows(meant, kBatch));
    run({rotary, by_kernel, said});
    both.expect_same(false);
  }
}

// Every bit pattern of 16 bits, and floats of all exponents: what does not turn keeps its bits, what turns has those of
// the CPU, and a NaN stays one.
TEST_P(Cuda, TurnsEveryBitPattern) {
  const Rotary rotary = support::made(spec_of({128, 64, 32}, PairLayout::kInterleaved));
  const Positions positions = hard_positions(1, 64);
  for (const DType dtype : support::kDTypes)
    for (const Edge edge : {Edge::kBegin, Edge::kEnd}) {
      const Shape shape{.tokens = 64, .heads = 8, .head_dim = 128};
      Case both(shape, dtype, edge, shape, 1);
      std::mt19937 random(3);
      support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
        const auto element = static_cast<std::uint32_t>((t * 8 + h) * 128 + c);
        const auto bits = dtype == DType::kFloat32 ? static_cast<std::uint32_t>(random()) : element & 0xffffu;
        both.x.set_bits(b, t, h, c, bits);
        both.twin.set_bits(b, t, h, c, bits);
      });
      const RotaryOperand on_cpu[] = {both.on_cpu(true)}, by_kernel[] = {both.by_kernel(true)};
      rotary.apply(on_cpu, positions.cpu());
      run({rotary, by_kernel, positions.device()});
      support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
        const bool turns = c >= 32 && c < 96;
        if (turns && std::isnan(both.twin_out.get(b, t, h, c)))
          ASSERT_TRUE(std::isnan(both.y.get(b, t, h, c))) << t << ' ' << h << ' ' << c;
        else
          ASSERT_EQ(both.y.bits(b, t, h, c), both.twin_out.bits(b, t, h, c)) << t << ' ' << h << ' ' << c;
      });
      EXPECT_TRUE(both.y.border_untouched());
    }
}

// Offsets of elements do not fit 32 bits: heads 2^31 elements apart, the third 8 GiB behind the first. Pages that
// nobody touches take no memory.
TEST(CudaOnTheHost, ReachesElementsBeyond32Bits) {
  constexpr std::int64_t kApart = std::int64_t{1} << 31;
  const Rotary rotary = support::made(spec_of({16, 16, 0}, PairLayout::kHalf));
  const auto far = [](const support::Pages& pages, int axis) {
    HeadsView x{pages.data(), DType::kBFloat16, 1, 1, 1, 16, 16, 16, 16};
    (axis == 0 ? x.batch : axis == 1 ? x.tokens : x.heads) = 3;
    (axis == 0 ? x.batch_stride : axis == 1 ? x.token_stride : x.head_stride) = kApart;
    return x;
  };
  for (int axis = 0; axis < 3; ++axis) {
    const support::Pages pages(2 * (2 * kApart + 16)), twin(2 * (2 * kApart + 16));
    for (const auto& one : {std::ref(pages), std::ref(twin)})
      for (std::int64_t i = 0; i < 3; ++i)
        for (int c = 0; c < 16; ++c) {
          const std::uint16_t bits = static_cast<std::uint16_t>(0x3f80 + 16 * i + c);
          std::memcpy(one.get().data() + 2 * (i * kApart + c), &bits, 2);
        }
    const RotaryOperand on_cpu[] = {RotaryOperand::in_place(far(twin, axis))};
    const RotaryOperand by_kernel[] = {RotaryOperand::in_place(far(pages, axis))};
    const std::int64_t tokens = on_cpu[0].in.tokens;
    const std::int64_t batch = on_cpu[0].in.batch;
    const support::Pages far_positions(4 * (2 * kApart + 1));
    std::vector<std::int64_t> positions;
    for (std::int64_t i = 0; i < batch * tokens; ++i) {
      const auto position = static_cast<std::int32_t>(1'000'000 - 7 * i);
      std::memcpy(far_positions.data() + 4 * i * kApart, &position, 4);
      positions.push_back(position);
    }
    rotary.apply(on_cpu, PositionsView::rows(positions, batch));
    ASSERT_EQ(machines::host.run({rotary,
                                  by_kernel,
                                  {.data = far_positions.data(),
                                   .is_int32 = true,
                                   .batch = batch,
                                   .tokens = tokens,
                                   .batch_stride = kApart,
                                   .token_stride = kApart}}),
              "");
    for (std::int64_t i = 0; i < 3; ++i)
      EXPECT_EQ(std::memcmp(pages.data() + 2 * i * kApart, twin.data() + 2 * i * kApart, 32), 0) << axis << ' ' << i;
  }
}

}  // namespace
