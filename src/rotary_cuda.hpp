// A call for a device as numbers: what the kernel is told and its grid. Apart from the launch, so that it can be looked
// at where there is no device.
#pragma once

#include "cuda/rotate.hpp"

#include <ropewalk/cuda.hpp>

namespace ropewalk::cuda {

struct Call {
  RotateParams params;
  RotateShape shape;
};

/// Requires check() to have nothing to say and something to turn.
Call call_of(const Rotary& rotary, std::span<const RotaryOperand> operands, const DevicePositions& positions,
             Direction direction) noexcept;

}  // namespace ropewalk::cuda
