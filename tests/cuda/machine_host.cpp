#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/host/intrinsics.hpp"
#include "cuda/machines.hpp"

#include "cuda/rotate.cuh"
#include "rotary_cuda.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <random>

namespace machines {
namespace {

using ropewalk::DType;
using ropewalk::PairLayout;
using ropewalk::cuda::RotateParams;
using ropewalk::cuda::RotateShape;
using ropewalk::cuda::Thread;

struct alignas(16) Aligned {
  float floats[4];
};

/// As a device has it: nothing in shared memory at first, no order among blocks, none among the threads of a block on
/// either side of the barrier.
template <class T, PairLayout kLayout, bool kByPieces>
void run_blocks(const RotateParams& params, const RotateShape& shape) {
  using Turner = ropewalk::cuda::HeadTurner<T, kLayout, kByPieces>;
  static std::mt19937 chance(7);
  const auto bytes_of_not_a_number = static_cast<unsigned char>(0xff);
  std::vector<Thread> threads;
  for (unsigned z = 0; z < shape.depth; ++z)
    for (unsigned y = 0; y < shape.height; ++y)
      for (unsigned x = 0; x < shape.width; ++x)
        threads.push_back({0, 0, shape.parts, x, y, z, shape.width, shape.height, shape.depth});
  std::vector<unsigned> order(threads.size()), blocks(std::size_t{shape.blocks} * shape.parts);
  for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
  for (unsigned i = 0; i < blocks.size(); ++i) blocks[i] = i;
  std::shuffle(blocks.begin(), blocks.end(), chance);
  std::vector<typename Turner::Step> held(threads.size());
  for (const unsigned block : blocks) {
    // Of this size and no larger, so that a sanitizer sees who reaches beyond.
    const std::size_t count = (shape.shared_bytes + sizeof(Aligned) - 1) / sizeof(Aligned);
    const auto memory = std::make_unique<Aligned[]>(count);
    std::memset(static_cast<void*>(memory.get()), bytes_of_not_a_number, count * sizeof(Aligned));
    float* const shared = memory[0].floats;
    const auto placed = [&](unsigned i) {
      Thread me = threads[i];
      me.block = block % shape.blocks;
      me.part = block / shape.blocks;
      return me;
    };
    std::shuffle(order.begin(), order.end(), chance);
    for (const unsigned i : order) held[i] = Turner::begin(params, placed(i), shared);
    std::shuffle(order.begin(), order.end(), chance);
    for (const unsigned i : order) Turner::finish(params, placed(i), shared, held[i]);
  }
}

template <class T>
void run_as(const RotateParams& params, const RotateShape& shape) {
  if (shape.layout == PairLayout::kHalf)
    shape.by_pieces ? run_blocks<T, PairLayout::kHalf, true>(params, shape)
                    : run_blocks<T, PairLayout::kHalf, false>(params, shape);
  else
    shape.by_pieces ? run_blocks<T, PairLayout::kInterleaved, true>(params, shape)
                    : run_blocks<T, PairLayout::kInterleaved, false>(params, shape);
}

std::string run(const Job& job) {
  if (const auto error = ropewalk::cuda::check(job.rotary, job.operands, job.positions)) return error->line();
  const auto [params, shape] = ropewalk::cuda::call_of(job.rotary, job.operands, job.positions, job.direction);
  switch (shape.dtype) {
    case DType::kFloat32: run_as<float>(params, shape); break;
    case DType::kBFloat16: run_as<ropewalk::cuda::BFloat16>(params, shape); break;
    case DType::kFloat16: run_as<ropewalk::cuda::Float16>(params, shape); break;
  }
  return "";
}

}  // namespace

const Machine host{"host", [] { return std::string(); }, run};

}  // namespace machines
