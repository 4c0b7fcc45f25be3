// Where the operator reads and writes: in place and out of place, strides, borders, threads, sizes beyond 2^31.
#include "kernels/support.hpp"

#include <sys/mman.h>

#include <cstring>
#include <numeric>
#include <thread>

namespace {

using ropewalk::HeadsView;
using ropewalk::PositionsView;
using ropewalk::RotaryOperand;
using ropewalk::RotarySpec;
using support::DType;
using support::PairLayout;
using support::Shape;
using support::Tensor;

RotarySpec spec_of(int head_dim, int rotary_dim, int offset, PairLayout layout = PairLayout::kHalf) {
  return {.head_dim = head_dim, .rotary_dim = rotary_dim, .rotary_offset = offset, .theta = 10000.0, .layout = layout};
}

std::vector<std::int64_t> positions_from(std::int64_t first, std::int64_t n) {
  std::vector<std::int64_t> positions(static_cast<std::size_t>(n));
  std::iota(positions.begin(), positions.end(), first);
  return positions;
}

class Memory : public support::EveryTarget {};

TEST_P(Memory, OutOfPlaceEqualsInPlaceAndLeavesTheInput) {
  for (const DType dtype : support::kDTypes) {
    for (const PairLayout layout : support::kLayouts) {
      for (const char* order : {"bshd", "bhsd"}) {
        const auto rotary = support::made(spec_of(46, 30, 9, layout));
        const Shape from{.batch = 2, .tokens = 19, .heads = 9, .head_dim = 46, .order = order, .gap = 1};
        const Shape to{.batch = 2, .tokens = 19, .heads = 9, .head_dim = 46, .order = "sbhd", .gap = 3};
        Tensor in(from, dtype), untouched(from, dtype), in_place(from, dtype), out(to, dtype);
        in.fill(3), untouched.fill(3), in_place.fill(3);
        const auto positions = positions_from(70, 19);
        const RotaryOperand operands[] = {{in.view(), out.view()}};
        ASSERT_FALSE(rotary.check(operands, PositionsView::row(positions)));
        rotary.apply(operands, PositionsView::row(positions));
        support::turn(rotary, in_place.view(), PositionsView::row(positions));
        EXPECT_TRUE(in.same_elements(untouched));
        EXPECT_TRUE(out.same_elements(in_place));
        EXPECT_TRUE(out.border_untouched());
        EXPECT_TRUE(in.border_untouched());
      }
    }
  }
}

// Channels that do not turn may hold anything at all; a NaN among them keeps its payload.
TEST_P(Memory, UntouchedChannelsKeepTheirBits) {
  for (const DType dtype : support::kDTypes) {
    const auto rotary = support::made(spec_of(24, 8, 8));
    const Shape shape{.tokens = 3, .heads = 2, .head_dim = 24};
    Tensor in(shape, dtype), out(shape, dtype);
    const std::uint32_t signalling_nan = dtype == DType::kFloat32    ? 0x7f812345u
                                         : dtype == DType::kBFloat16 ? 0x7f81u
                                                                     : 0x7c01u;
    support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) { in.set_bits(b, t, h, c, signalling_nan); });
    const auto positions = positions_from(5, 3);
    const RotaryOperand operands[] = {{in.view(), out.view()}};
    rotary.apply(operands, PositionsView::row(positions));
    support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
      if (c < 8 || c >= 16) {
        EXPECT_EQ(out.bits(b, t, h, c), signalling_nan);
      }
    });
  }
}

TEST_P(Memory, QueriesAndKeysInOnePassEqualEachAlone) {
  const auto rotary = support::made(spec_of(64, 64, 0));
  const Shape queries{.batch = 2, .tokens = 21, .heads = 9, .head_dim = 64, .order = "bhsd"};
  const Shape keys{.batch = 2, .tokens = 21, .heads = 1, .head_dim = 64, .order = "sbhd", .gap = 3};
  Tensor q(queries, DType::kBFloat16), k(keys, DType::kFloat32), q_alone(queries, DType::kBFloat16),
      k_alone(keys, DType::kFloat32);
  q.fill(1), q_alone.fill(1), k.fill(2), k_alone.fill(2);
  const auto positions = positions_from(1000, 42);
  const auto view = PositionsView::rows(positions, 2);
  const RotaryOperand both[] = {RotaryOperand::in_place(q.view()), RotaryOperand::in_place(k.view())};
  ASSERT_FALSE(rotary.check(both, view));
  rotary.apply(both, view);
  support::turn(rotary, q_alone.view(), view);
  support::turn(rotary, k_alone.view(), view);
  EXPECT_TRUE(q.same_elements(q_alone));
  EXPECT_TRUE(k.same_elements(k_alone));
}

// ml-explore/mlx#3494 and others: with one token a row, rows after the first went wrong.
TEST_P(Memory, ARowOfABatchEqualsThatRowAlone) {
  for (const std::int64_t batch : {1, 2, 7, 40})
    for (const std::int64_t tokens : {1, 2, 17, 33})
      for (const char* order : {"bshd", "bhsd", "sbhd"})
        for (const bool shared : {false, true})
          for (const int threads : {1, 4}) {
            const auto rotary = support::made(spec_of(32, 32, 0, PairLayout::kInterleaved));
            const Shape shape{.batch = batch, .tokens = tokens, .heads = 3, .head_dim = 32, .order = order};
            Tensor x(shape, DType::kFloat32), before(shape, DType::kFloat32);
            before.fill(29);
            auto positions = positions_from(0, shared ? tokens : batch * tokens);
            for (auto& p : positions) p = p * p - 300;
            support::turn(rotary, x.fill(29).view(),
                          shared ? PositionsView::row(positions) : PositionsView::rows(positions, batch),
                          {.threads = threads});
            for (std::int64_t b = 0; b < batch; ++b) {
              const Shape alone{.tokens = tokens, .heads = 3, .head_dim = 32};
              Tensor row(alone, DType::kFloat32);
              support::for_each_element(
                  alone, [&](auto, auto t, auto h, auto c) { row.set_bits(0, t, h, c, before.bits(b, t, h, c)); });
              const std::span<const std::int64_t> all(positions);
              support::turn(rotary, row.view(),
                            PositionsView::row(shared ? all
                                                      : all.subspan(static_cast<std::size_t>(b * tokens),
                                                                    static_cast<std::size_t>(tokens))));
              support::for_each_element(alone, [&](auto, auto t, auto h, auto c) {
                ASSERT_EQ(x.bits(b, t, h, c), row.bits(0, t, h, c)) << order << ' ' << batch << ' ' << tokens;
              });
            }
          }
}

TEST_P(Memory, ThreadsDoNotChangeABit) {
  const auto rotary = support::made(spec_of(128, 128, 0));
  for (const char* order : {"bshd", "bhsd"}) {
    const Shape shape{.batch = 2, .tokens = 331, .heads = 5, .head_dim = 128, .order = order};
    const auto positions = positions_from(-100, 331);
    Tensor one(shape, DType::kFloat32);
    support::turn(rotary, one.fill(31).view(), PositionsView::row(positions), {.threads = 1});
    for (const int threads : {0, 2, 4, 7}) {
      Tensor many(shape, DType::kFloat32);
      support::turn(rotary, many.fill(31).view(), PositionsView::row(positions), {.threads = threads});
      EXPECT_TRUE(one.same_elements(many)) << threads;
    }
  }
}

// A pool that is slow, works backwards and on other threads than OpenMP's.
TEST_P(Memory, ACallersThreadsAreUsed) {
  struct Pool {
    int calls = 0, parts = 0;
  } pool;
  const ropewalk::ThreadPool hook{[](void* self, int parts, void (*part)(void*, int), void* argument) {
                                    ++static_cast<Pool*>(self)->calls;
                                    static_cast<Pool*>(self)->parts += parts;
                                    std::vector<std::thread> threads;
                                    for (int i = parts - 1; i >= 0; --i) threads.emplace_back(part, argument, i);
                                    for (auto& thread : threads) thread.join();
                                  },
                                  &pool};
  const auto rotary = support::made(spec_of(128, 128, 0));
  const Shape shape{.batch = 2, .tokens = 331, .heads = 5, .head_dim = 128};
  const auto positions = positions_from(-100, 331);
  Tensor one(shape, DType::kFloat32), many(shape, DType::kFloat32);
  support::turn(rotary, one.fill(31).view(), PositionsView::row(positions), {.threads = 1, .pool = &hook});
  EXPECT_EQ(pool.calls, 0);
  support::turn(rotary, many.fill(31).view(), PositionsView::row(positions), {.threads = 3, .pool = &hook});
  EXPECT_EQ(pool.calls, 1);
  EXPECT_EQ(pool.parts, 3);
  EXPECT_TRUE(one.same_elements(many));
  // One token is not worth waking anybody for.
  Tensor little({.heads = 5, .head_dim = 128}, DType::kFloat32);
  support::turn(rotary, little.view(), PositionsView::row(std::span(positions).first(1)),
                {.threads = 3, .pool = &hook});
  EXPECT_EQ(pool.calls, 1);
}

// As when more is moved than the caches hold. Rows that are aligned for it and rows that are not.
TEST_P(Memory, WritingPastTheCachesChangesNoBit) {
  for (const DType dtype : support::kDTypes)
    for (const PairLayout layout : support::kLayouts)
      for (const std::int64_t gap : {0, 1}) {
        const auto rotary = support::made(spec_of(192, 128, 32, layout));
        const Shape shape{.batch = 2, .tokens = 19, .heads = 8, .head_dim = 192, .gap = gap};
        Tensor in(shape, dtype), near(shape, dtype), far(shape, dtype);
        in.fill(9);
        const auto positions = positions_from(70, 19);
        const RotaryOperand to_near[] = {{in.view(), near.view()}}, to_far[] = {{in.view(), far.view()}};
        rotary.apply(to_near, PositionsView::row(positions));
        ropewalk::cpu::override_cache_bytes(0);
        rotary.apply(to_far, PositionsView::row(positions), {.threads = 2});
        ropewalk::cpu::override_cache_bytes(-1);
        EXPECT_TRUE(near.same_elements(far));
        EXPECT_TRUE(far.border_untouched());
      }
}

// Tokens for calls that stay on their thread, and for calls that take a second one each.
TEST_P(Memory, ManyThreadsShareOneOperator) {
  for (const auto& [tokens, rounds] : {std::pair{65, 4}, {700, 1}}) {
    const auto rotary = support::made(spec_of(64, 64, 0));
    const Shape shape{.tokens = tokens, .heads = 3, .head_dim = 64};
    const auto positions = positions_from(12345, tokens);
    Tensor want(shape, DType::kFloat32);
    support::turn(rotary, want.fill(37).view(), PositionsView::row(positions), {.threads = 1});
    std::vector<std::thread> threads;
    std::vector<char> same(64, 0);
    for (std::size_t i = 0; i < same.size(); ++i)
      threads.emplace_back([&, i, rounds = rounds] {
        bool all = true;
        for (int round = 0; round < rounds; ++round) {
          Tensor x(shape, DType::kFloat32);
          const RotaryOperand operands[] = {RotaryOperand::in_place(x.fill(37).view())};
          rotary.apply(operands, PositionsView::row(positions), {.threads = 2});
          all = all && x.same_elements(want);
        }
        same[i] = all ? 1 : 0;
      });
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(std::accumulate(same.begin(), same.end(), 0), 64) << tokens;
  }
}

TEST_P(Memory, NothingIsDoneToNothing) {
  const auto rotary = support::made(spec_of(64, 64, 0));
  const HeadsView nothing[] = {HeadsView::bshd(nullptr, DType::kFloat32, 3, 0, 4, 64),
                               HeadsView::bshd(nullptr, DType::kFloat32, 0, 2, 4, 64),
                               HeadsView::bshd(nullptr, DType::kFloat32, 1, 2, 0, 64)};
  const std::int64_t positions[] = {1, 2};
  for (const HeadsView& view : nothing) {
    const RotaryOperand operands[] = {RotaryOperand::in_place(view)};
    const auto row = PositionsView::row(std::span(positions).first(static_cast<std::size_t>(view.tokens)));
    EXPECT_FALSE(rotary.check(operands, row));
    rotary.apply(operands, row, {.threads = 4});
  }
  rotary.apply({}, ropewalk::PositionsView{});
}

// Offsets beyond 2^31 elements, in memory that exists only where it is touched.
TEST_P(Memory, OffsetsAreSixtyFourBitsWide) {
  const std::int64_t token_stride = (std::int64_t{1} << 31) + 24, head_stride = std::int64_t{1} << 30;
  const std::size_t bytes = static_cast<std::size_t>(2 * token_stride + head_stride + 64) * sizeof(float);
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) GTEST_SKIP() << "no address space for " << bytes << " bytes";
  const auto rotary = support::made(spec_of(64, 64, 0));
  auto* const data = static_cast<float*>(mapped);
  const HeadsView far{data, DType::kFloat32, 1, 3, 2, 64, 0, token_stride, head_stride};
  const Shape shape{.tokens = 3, .heads = 2, .head_dim = 64};
  Tensor near(shape, DType::kFloat32);
  near.fill(41);
  const auto element = [&](auto t, auto h, auto c) -> float& { return data[t * token_stride + h * head_stride + c]; };
  support::for_each_element(
      shape, [&](auto b, auto t, auto h, auto c) { element(t, h, c) = static_cast<float>(near.get(b, t, h, c)); });
  const auto positions = positions_from(9, 3);
  support::turn(rotary, far, PositionsView::row(positions));
  support::turn(rotary, near.view(), PositionsView::row(positions));
  support::for_each_element(shape, [&](auto b, auto t, auto h, auto c) {
    ASSERT_EQ(element(t, h, c), static_cast<float>(near.get(b, t, h, c)));
  });
  munmap(mapped, bytes);
}

ROPEWALK_ON_EVERY_TARGET(Memory);

}  // namespace
