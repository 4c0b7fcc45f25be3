// Question:  how near does turning q and k in place, phases included, come to merely touching their bytes?
// Opponent:  "ceiling", a sign flip of the same buffers in place: the same reads and writes, one operation a vector, in
//            the widest vectors that the processor has.
// Expected:  float32 at least 0.9 of its GB/s in cache (1 to 64 tokens), 0.95 from memory (4096 and more); bf16 and f16
//            0.6 and 0.95. Not there yet in cache (EPYC 9005, AVX-512, bshd, half): float32 0.7 at 1 token and 0.8 at
//            64, bf16 0.16, whose rounding is eight integer operations a vector. Slower than a lower target would
//            surprise.
#include <ropewalk/ropewalk.hpp>

#include "cpu/dispatch.hpp"

#include <benchmark/benchmark.h>
#include <omp.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

namespace {

using ropewalk::DType;
using ropewalk::HeadsView;
using ropewalk::PairLayout;
using ropewalk::RotaryOperand;

constexpr std::int64_t kQueryHeads = 32, kKeyHeads = 8, kHeadDim = 128;
constexpr std::int64_t kElementsPerToken = (kQueryHeads + kKeyHeads) * kHeadDim;

struct Free {
  void operator()(void* p) const noexcept { std::free(p); }
};
using Buffer = std::unique_ptr<void, Free>;

/// Every element 0.5, from the first byte of a page on.
Buffer filled(std::int64_t elements, DType dtype) {
  const std::size_t bytes = static_cast<std::size_t>(elements) * size_of(dtype);
  Buffer buffer(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096));
  if (dtype == DType::kFloat32) {
    std::fill_n(static_cast<float*>(buffer.get()), elements, 0.5f);
  } else {
    const std::uint16_t half = dtype == DType::kBFloat16 ? 0x3f00 : 0x3800;
    std::fill_n(static_cast<std::uint16_t*>(buffer.get()), elements, half);
  }
  return buffer;
}

void count(benchmark::State& state, std::int64_t bytes) {
  state.SetBytesProcessed(state.iterations() * bytes * 2);  // read and written
}

__attribute__((target_clones("avx512f", "avx2", "default"))) void flip_signs(std::uint64_t* words, std::int64_t count,
                                                                             std::uint64_t signs) {
#pragma GCC ivdep
  for (std::int64_t i = 0; i < count; ++i) words[i] ^= signs;
}

void ceiling(benchmark::State& state, DType dtype, int threads) {
  const std::int64_t elements = state.range(0) * kElementsPerToken;
  const std::int64_t words = elements * static_cast<std::int64_t>(size_of(dtype)) / 8;
  const Buffer buffer = filled(elements, dtype);
  auto* const data = static_cast<std::uint64_t*>(buffer.get());
  for (auto _ : state) {
    if (threads == 1) {
      flip_signs(data, words, 0x8000000080000000u);
    } else {
#pragma omp parallel for num_threads(threads)
      for (int part = 0; part < threads; ++part) {
        const std::int64_t first = words * part / threads, last = words * (part + 1) / threads;
        flip_signs(data + first, last - first, 0x8000000080000000u);
      }
    }
    benchmark::ClobberMemory();
  }
  count(state, words * 8);
}

void rotate(benchmark::State& state, const ropewalk::cpu::Target* target, DType dtype, PairLayout layout,
            const std::string& order, int threads) {
  const std::int64_t tokens = state.range(0);
  const auto rotary =
      ropewalk::Rotary::make({.head_dim = kHeadDim, .rotary_dim = kHeadDim, .theta = 500000.0, .layout = layout});
  if (!rotary) {
    state.SkipWithError(rotary.error().line().c_str());
    return;
  }
  // One buffer, as the ceiling has: queries, then keys.
  const Buffer buffer = filled(tokens * kElementsPerToken, dtype);
  char* const keys =
      static_cast<char*>(buffer.get()) + static_cast<std::size_t>(tokens * kQueryHeads * kHeadDim) * size_of(dtype);
  const auto view = [&](void* data, std::int64_t heads) {
    return order == "bshd" ? HeadsView::bshd(data, dtype, 1, tokens, heads, kHeadDim)
                           : HeadsView::bhsd(data, dtype, 1, heads, tokens, kHeadDim);
  };
  const RotaryOperand operands[] = {RotaryOperand::in_place(view(buffer.get(), kQueryHeads)),
                                    RotaryOperand::in_place(view(keys, kKeyHeads))};
  std::vector<std::int64_t> positions(static_cast<std::size_t>(tokens));
  std::iota(positions.begin(), positions.end(), 100000);
  ropewalk::cpu::override_target(target);
  for (auto _ : state) {
    rotary->apply(operands, ropewalk::PositionsView::row(positions), {.threads = threads});
    benchmark::ClobberMemory();
  }
  ropewalk::cpu::override_target(nullptr);
  count(state, tokens * kElementsPerToken * static_cast<std::int64_t>(size_of(dtype)));
  state.SetLabel(std::string(target->needs));
}

[[maybe_unused]] const bool kRegistered = [] {
  const auto shaped = [](benchmark::internal::Benchmark* b) {
    for (const std::int64_t tokens : {1, 64, 512, 4096, 16384}) b->Arg(tokens);
    b->UseRealTime();
  };
  for (const int threads : {1, 2}) {
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
      const std::string tail = '/' + std::string(name_of(dtype)) + "/threads:" + std::to_string(threads);
      benchmark::RegisterBenchmark(("ceiling" + tail).c_str(), ceiling, dtype, threads)->Apply(shaped);
      for (const auto& target : ropewalk::cpu::targets()) {
        if (!target.runs_here()) continue;
        for (const PairLayout layout : {PairLayout::kHalf, PairLayout::kInterleaved})
          for (const char* order : {"bshd", "bhsd"})
            benchmark::RegisterBenchmark(
                ("rotate/" + std::string(target.name) + '/' + std::string(name_of(layout)) + '/' + order + tail)
                    .c_str(),
                rotate, &target, dtype, layout, order, threads)
                ->Apply(shaped);
      }
    }
  }
  return true;
}();

}  // namespace
