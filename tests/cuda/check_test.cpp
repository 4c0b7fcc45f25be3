// What a call for a device refuses, which grid it gets, and that a build without kernels says so.
#include "cuda/rotate.hpp"
#include "kernels/support.hpp"
#include "rotary_cuda.hpp"

#include <limits>

namespace {

using ropewalk::Code;
using ropewalk::Direction;
using ropewalk::Error;
using ropewalk::HeadsView;
using ropewalk::Rotary;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using ropewalk::cuda::Call;
using ropewalk::cuda::DevicePositions;
using support::DType;
using support::PairLayout;

RotarySpec plain(int head_dim = 128, PairLayout layout = PairLayout::kHalf) {
  return {.head_dim = head_dim, .rotary_dim = head_dim, .theta = 10000.0, .layout = layout};
}

alignas(16) char memory[64];  // an address; nothing is read

HeadsView heads(std::int64_t tokens, std::int64_t count, std::int64_t head_dim = 128, DType dtype = DType::kBFloat16,
                std::int64_t batch = 1) {
  return HeadsView::bshd(memory, dtype, batch, tokens, count, head_dim);
}

void expect_refused(const std::optional<Error>& error, Code code, const std::string& path) {
  ASSERT_TRUE(error) << path;
  EXPECT_EQ(error->path, path) << error->message;
  EXPECT_EQ(error->code, code) << error->line();
  EXPECT_EQ(error->message.rfind("want ", 0), 0u) << error->message;
}

TEST(CudaCheck, LeavesToOthersWhatTheKernelDoesNotTurn) {
  const auto refused = [](const RotarySpec& spec, const char* path) {
    expect_refused(ropewalk::cuda::check(support::made(spec)), Code::kUnsupported, path);
  };
  EXPECT_EQ(ropewalk::cuda::check(support::made(plain())), std::nullopt);
  EXPECT_EQ(ropewalk::cuda::check(support::made(plain(512))), std::nullopt);
  refused(plain(514), "rotary_dim");
  RotarySpec spec = plain();
  spec.numerics = ropewalk::Numerics::kFp32;
  refused(spec, "numerics");
  spec = plain();
  spec.pair_blocks = {16, 48};
  refused(spec, "pair_blocks");
  spec = plain(4);
  spec.theta = 0;
  spec.given = ropewalk::GivenFrequencies{.axes = 2, .inv_freq = {1.0, 0.5, 0.25, 0.125}};
  refused(spec, "given");
  spec.given = ropewalk::GivenFrequencies{.heads = 2, .inv_freq = {1.0, 0.5, 0.25, 0.125}};
  refused(spec, "spec");
  spec = plain();
  spec.xpos = ropewalk::XPos{};
  refused(spec, "spec");
  spec = plain(128, PairLayout::kInterleaved);
  spec.output_layout = PairLayout::kHalf;
  refused(spec, "spec");
  spec = plain(4);
  spec.second = ropewalk::SecondAngle{.rung_of_pair = {1, 0}};
  refused(spec, "spec");
  spec = plain(4);
  spec.fourier = ropewalk::FourierMix{.tones = 2, .outputs = 2, .cos_mix = {1, 0, 0, 1}, .sin_mix = {1, 0, 0, 1}};
  refused(spec, "spec");
}

TEST(CudaCheck, RefusesWhatTheOperatorRefuses) {
  const Rotary rotary = support::made(plain());
  const auto check = [&](const RotaryOperand& operand, const DevicePositions& positions) {
    return ropewalk::cuda::check(rotary, std::span(&operand, 1), positions);
  };
  const HeadsView x = heads(7, 4);
  const auto in_place = RotaryOperand::in_place(x);
  EXPECT_EQ(check(in_place, DevicePositions::range(0, 7)), std::nullopt);
  expect_refused(check(RotaryOperand::in_place(heads(7, 4, 64)), DevicePositions::range(0, 7)), Code::kInvalid,
                 "operands[0].in.head_dim");
  expect_refused(check({x, heads(7, 3)}, DevicePositions::range(0, 7)), Code::kInvalid, "operands[0].out.heads");
  expect_refused(check(in_place, DevicePositions::range(0, 6)), Code::kInvalid, "positions.tokens");
  expect_refused(check(in_place, DevicePositions::rows(memory, false, 2, 7)), Code::kInvalid, "positions.batch");
  expect_refused(check(in_place, DevicePositions::rows(memory + 4, false, 1, 7)), Code::kInvalid, "positions.data");
  EXPECT_EQ(check(in_place, DevicePositions::rows(memory + 4, true, 1, 7)), std::nullopt);
  const std::int64_t last = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(check(in_place, DevicePositions::range(last - 6, 7)), std::nullopt);
  expect_refused(check(in_place, DevicePositions::range(last - 5, 7)), Code::kInvalid, "positions.first");
  RotarySpec axes = plain();
  axes.axis_of_pair.assign(64, 2);
  expect_refused(
      ropewalk::cuda::check(support::made(axes), std::span(&in_place, 1), DevicePositions::rows(memory, false, 1, 7)),
      Code::kInvalid, "positions.axes");
}

TEST(CudaCheck, RefusesWhatOneLaunchDoesNotHold) {
  const Rotary rotary = support::made(plain());
  const std::vector<RotaryOperand> five(5, RotaryOperand::in_place(heads(1, 1)));
  expect_refused(ropewalk::cuda::check(rotary, five, DevicePositions::range(0, 1)), Code::kUnsupported, "operands");
  EXPECT_EQ(ropewalk::cuda::check(rotary, std::span(five).first(4), DevicePositions::range(0, 1)), std::nullopt);
  const RotaryOperand two[] = {RotaryOperand::in_place(heads(1, 1)),
                               RotaryOperand::in_place(heads(1, 1, 128, DType::kFloat32))};
  expect_refused(ropewalk::cuda::check(rotary, two, DevicePositions::range(0, 1)), Code::kUnsupported,
                 "operands[1].in.dtype");
  const std::int64_t many = std::int64_t{1} << 31;
  const RotaryOperand long_ones[] = {RotaryOperand::in_place(heads(many / 2, 1, 128, DType::kBFloat16, 2))};
  expect_refused(ropewalk::cuda::check(rotary, long_ones, DevicePositions::range(0, many / 2)), Code::kUnsupported,
                 "operands[0].in.tokens");
  const RotaryOperand wide[] = {RotaryOperand::in_place(heads(1, many - 1)), RotaryOperand::in_place(heads(1, 1))};
  expect_refused(ropewalk::cuda::check(rotary, wide, DevicePositions::range(0, 1)), Code::kUnsupported,
                 "operands[1].in.heads");
}

TEST(CudaCheck, SaysInABuildWithoutKernelsThatItHasNone) {
  if (ropewalk::cuda::is_built()) GTEST_SKIP() << "this build has them";
  const Rotary rotary = support::made(plain(4));
  support::Tensor x({.tokens = 2, .heads = 1, .head_dim = 4}, DType::kFloat32);
  support::Tensor twin({.tokens = 2, .heads = 1, .head_dim = 4}, DType::kFloat32);
  x.fill(1), twin.fill(1);
  const RotaryOperand operands[] = {RotaryOperand::in_place(x.view())};
  const auto refused =
      ropewalk::cuda::apply(rotary, operands, DevicePositions::range(0, 2), Direction::kForward, nullptr);
  expect_refused(refused, Code::kUnavailable, "cuda");
  EXPECT_TRUE(x.same_elements(twin));
  EXPECT_STRNE(ropewalk::cuda::launch_rotate({}, {}, nullptr), nullptr);
}

/// Every step of every head of every token has one thread, and no limit of a device is passed.
void expect_whole(const Call& call, std::int64_t tokens, std::int64_t all_heads) {
  const auto& [params, shape] = call;
  EXPECT_LE(shape.width * shape.height * shape.depth, ropewalk::cuda::kMostThreads);
  EXPECT_LE(shape.depth, 64u);
  EXPECT_GE(std::int64_t{shape.blocks} * shape.depth, tokens);
  EXPECT_LT((std::int64_t{shape.blocks} - 1) * shape.depth, tokens);
  EXPECT_LE(shape.blocks, 0x7fffffffu);
  EXPECT_LE(shape.parts, 65535u);
  EXPECT_LT((std::int64_t{shape.parts} - 1) * shape.height, all_heads);
  EXPECT_LE(shape.width, static_cast<unsigned>(params.steps));
  EXPECT_EQ(shape.shared_bytes, 8u * shape.depth * static_cast<unsigned>(params.pairs));
  EXPECT_LE(shape.shared_bytes, 48u << 10);
}

TEST(CudaCall, HasAGridThatADeviceTakes) {
  for (const int head_dim : {2, 6, 64, 80, 128, 256, 512})
    for (const PairLayout layout : support::kLayouts)
      for (const DType dtype : support::kDTypes)
        for (const std::int64_t tokens :
             {std::int64_t{1}, std::int64_t{7}, std::int64_t{8192}, (std::int64_t{1} << 31) - 1})
          for (const std::int64_t q_heads : {1, 5, 32, 64, 1000, 1'000'000}) {
            const RotaryOperand operands[] = {RotaryOperand::in_place(heads(tokens, q_heads, head_dim, dtype)),
                                              RotaryOperand::in_place(heads(tokens, 8, head_dim, dtype))};
            const Rotary rotary = support::made(plain(head_dim, layout));
            expect_whole(
                ropewalk::cuda::call_of(rotary, operands, DevicePositions::range(0, tokens), Direction::kForward),
                tokens, q_heads + 8);
          }
}

Call call_at(const HeadsView& in, const HeadsView& out, const RotarySpec& spec) {
  const RotaryOperand operands[] = {{in, out}};
  return ropewalk::cuda::call_of(support::made(spec), operands, DevicePositions::range(0, in.tokens),
                                 Direction::kForward);
}

TEST(CudaCall, GoesByPiecesWhereEverythingIsAligned) {
  const HeadsView x = heads(4, 40);
  EXPECT_TRUE(call_at(x, x, plain()).shape.by_pieces);
  HeadsView off = x;
  off.data = memory + 2;
  EXPECT_FALSE(call_at(off, off, plain()).shape.by_pieces);
  EXPECT_FALSE(call_at(x, off, plain()).shape.by_pieces);
  off = x;
  off.head_stride = 132;
  EXPECT_FALSE(call_at(off, off, plain()).shape.by_pieces);
  off.heads = 1;  // a stride that nobody takes
  EXPECT_TRUE(call_at(off, off, plain()).shape.by_pieces);
  RotarySpec spec = plain();
  spec.rotary_dim = 40;  // 20 pairs: the second half of a head is 8 bytes off
  EXPECT_FALSE(call_at(x, x, spec).shape.by_pieces);
  spec.layout = PairLayout::kInterleaved;
  EXPECT_TRUE(call_at(x, x, spec).shape.by_pieces);
  spec.rotary_offset = 4;
  EXPECT_FALSE(call_at(x, x, spec).shape.by_pieces);
  off = x;
  off.data = memory + 8;  // what turns is aligned, what is copied is not
  EXPECT_TRUE(call_at(off, off, spec).shape.by_pieces);
  HeadsView apart = off;
  apart.data = memory + 8 + 32;
  EXPECT_FALSE(call_at(off, apart, spec).shape.by_pieces);
}

// One launch, and a block of a common shape has a thread for every step, so that nothing waits for a second round.
TEST(CudaCall, FillsABlockWithTheHeadsOfAToken) {
  const RotaryOperand operands[] = {RotaryOperand::in_place(heads(8192, 32)), RotaryOperand::in_place(heads(8192, 8))};
  const auto [params, shape] =
      ropewalk::cuda::call_of(support::made(plain()), operands, DevicePositions::range(0, 8192), Direction::kForward);
  EXPECT_EQ(shape.blocks, 8192u);
  EXPECT_EQ(shape.parts, 1u);
  EXPECT_EQ(shape.width, 8u);
  EXPECT_EQ(shape.height, 40u);
  EXPECT_EQ(shape.depth, 1u);
}

}  // namespace
