#include "cuda/rotate.cuh"

#include <cuda_runtime.h>

namespace ropewalk::cuda {
namespace {

template <class T, PairLayout kLayout, bool kByPieces>
__global__ void __launch_bounds__(kMostThreads) rotate(const __grid_constant__ RotateParams p) {
  extern __shared__ __align__(16) float shared[];
  using Turner = HeadTurner<T, kLayout, kByPieces>;
  const Thread me{blockIdx.x,  blockIdx.y, gridDim.y,  threadIdx.x, threadIdx.y,
                  threadIdx.z, blockDim.x, blockDim.y, blockDim.z};
  const auto first = Turner::begin(p, me, shared);
  __syncthreads();
  Turner::finish(p, me, shared, first);
}

using Kernel = void (*)(RotateParams);

template <class T>
Kernel kernel_of(const RotateShape& shape) noexcept {
  if (shape.layout == PairLayout::kHalf)
    return shape.by_pieces ? rotate<T, PairLayout::kHalf, true> : rotate<T, PairLayout::kHalf, false>;
  return shape.by_pieces ? rotate<T, PairLayout::kInterleaved, true> : rotate<T, PairLayout::kInterleaved, false>;
}

Kernel kernel_of(const RotateShape& shape) noexcept {
  switch (shape.dtype) {
    case DType::kBFloat16: return kernel_of<BFloat16>(shape);
    case DType::kFloat16: return kernel_of<Float16>(shape);
    default: return kernel_of<float>(shape);
  }
}

}  // namespace

bool is_built() noexcept { return true; }

bool runs_here() noexcept {
  cudaFuncAttributes attributes;
  const auto* const kernel = reinterpret_cast<const void*>(rotate<float, PairLayout::kHalf, true>);
  if (cudaFuncGetAttributes(&attributes, kernel) == cudaSuccess) return true;
  static_cast<void>(cudaGetLastError());
  return false;
}

const char* launch_rotate(const RotateParams& params, const RotateShape& shape, void* stream) noexcept {
  void* arguments[] = {const_cast<RotateParams*>(&params)};
  const cudaError_t error = cudaLaunchKernel(
      reinterpret_cast<const void*>(kernel_of(shape)), dim3(shape.blocks, shape.parts),
      dim3(shape.width, shape.height, shape.depth), arguments, shape.shared_bytes, static_cast<cudaStream_t>(stream));
  if (error == cudaSuccess) return nullptr;
  static_cast<void>(cudaGetLastError());  // said here, so that nobody else finds it
  return cudaGetErrorString(error);
}

}  // namespace ropewalk::cuda
