// What crosses from the host to the kernel that turns heads, and how it is launched.
#pragma once

#include "cpu/gain.hpp"

#include <ropewalk/dtype.hpp>
#include <ropewalk/layout.hpp>
#include <ropewalk/phase.hpp>

#include <cstdint>

namespace ropewalk::cuda {

constexpr int kMostOperands = 4;
constexpr int kMostPairs = 256;
constexpr unsigned kMostThreads = 512;      // in a block
constexpr unsigned kMostRowFloats = 4096;   // cosines and sines of a block: 16 KiB of shared memory
constexpr std::uintptr_t kPieceBytes = 16;  // what a thread reads and writes at once where everything is aligned to it

/// Heads to be turned; addresses are of the device, strides in elements.
struct RotateOperand {
  const void* in;  // [batch, tokens, heads, head_dim]
  void* out;       // the same; may equal `in`
  std::int64_t in_batch, in_token, in_head;
  std::int64_t out_batch, out_token, out_head;
  std::int32_t heads_end;  // heads of this operand and of those before it
  bool moves;              // `out` is elsewhere: the channels that do not turn are copied
};

/// A launch's parameters, by value: a captured graph holds all of it but what the addresses point at.
struct RotateParams {
  RotateOperand operands[kMostOperands];
  std::int32_t heads;  // of all operands

  std::uint32_t tokens, count;  // in a row; in all rows
  std::int32_t pairs, steps;    // that turn; pieces that a head's pairs are cut into
  std::int32_t first, second;   // channel of pair 0's x0; channels from x0 to x1
  std::int32_t before, copies;  // channels before those that turn; pieces of all that do not turn

  // position(axis, row, token) = position + token * position_step + positions[axis, row, token], modulo 2^64
  const void* positions;  // [axes, batch, tokens] of int64 or int32 on the device, or null: none is added
  std::int64_t axis_stride, row_stride, token_stride;
  std::uint64_t position, position_step;
  bool positions_are_int32;

  cpu::Gain gain;
  std::uint8_t axis_of_pair[kMostPairs];  // [pairs]
  Turns turns_per_token[kMostPairs];      // [pairs]
};
static_assert(sizeof(RotateParams) <= 4096, "what every device takes as parameters of a kernel");

/// Which kernel, and its grid.
struct RotateShape {
  DType dtype;
  PairLayout layout;
  bool by_pieces;  // all that is read or written at once is kPieceBytes long and aligned to it; else one element
  unsigned blocks, parts;         // grid.x, grid.y
  unsigned width, height, depth;  // of a block: steps, heads, tokens
  unsigned shared_bytes;
};

/// Whether this build has the kernels, and whether it has them for the current device.
bool is_built() noexcept;
bool runs_here() noexcept;

/// Puts the kernel on a stream (a cudaStream_t) of the current device, and returns. Null, or why it could not.
const char* launch_rotate(const RotateParams& params, const RotateShape& shape, void* stream) noexcept;

}  // namespace ropewalk::cuda
