#pragma once

#include <ropewalk/result.hpp>
#include <ropewalk/rotary.hpp>

#include <cstdint>
#include <optional>
#include <span>

/// The operator on heads in the memory of an NVIDIA device: one launch turns queries and keys, with the bits that
/// Rotary::apply has on the CPU. No header of CUDA is needed to call it.
namespace ropewalk::cuda {

/// Whether this build has the kernels (CMake: ROPEWALK_CUDA).
bool is_built() noexcept;

/// Whether it has them for the calling thread's current device: false for a device older than those that it was built
/// for, and where there is none. The first call for a device loads code, so it is no call to capture.
bool runs_here() noexcept;

/// Where every token stands: position(axis, row, token) = first + token * token_step + data[axis, row, token], modulo
/// 2^64, without `data` if it is null. What `data` points at is read when the kernel runs, so that a captured graph
/// follows what is written there; the numbers are kept as they were.
struct DevicePositions {
  const void* data = nullptr;  ///< on the device, [axes, batch, tokens] of int64, or of int32; or null
  bool is_int32 = false;
  int axes = 1;                   ///< streams; a spec with one axis reads stream 0
  std::int64_t batch = 1;         ///< rows; 1 serves any batch
  std::int64_t tokens = 0;        ///< as many as the operands have
  std::int64_t axis_stride = 0;   ///< elements from a stream to the next; 0: all streams are one
  std::int64_t batch_stride = 0;  ///< elements from a row to the next
  std::int64_t token_stride = 0;  ///< elements from a token to the next; 0: a number for a whole row
  std::int64_t first = 0;
  std::int64_t token_step = 0;

  /// first, first + 1, ... in every row and stream.
  static constexpr DevicePositions range(std::int64_t first, std::int64_t tokens, int axes = 1) noexcept {
    return {.axes = axes, .tokens = tokens, .first = first, .token_step = 1};
  }
  /// Row b counts from seqlen_offsets[b]: [batch] on the device.
  static constexpr DevicePositions offsets(const void* seqlen_offsets, bool is_int32, std::int64_t batch,
                                           std::int64_t tokens, int axes = 1) noexcept {
    return {.data = seqlen_offsets,
            .is_int32 = is_int32,
            .axes = axes,
            .batch = batch,
            .tokens = tokens,
            .batch_stride = 1,
            .token_step = 1};
  }
  /// Contiguous [batch, tokens] on the device.
  static constexpr DevicePositions rows(const void* positions, bool is_int32, std::int64_t batch,
                                        std::int64_t tokens) noexcept {
    return {.data = positions,
            .is_int32 = is_int32,
            .batch = batch,
            .tokens = tokens,
            .batch_stride = tokens,
            .token_stride = 1};
  }
};

/// Nothing if the kernels turn what this operator turns; else kUnsupported with the field's name: "numerics" (fp32),
/// "rotary_dim" (more than 256 pairs), "pair_blocks" (of halves), "given" (several axes summed), and "spec" for what
/// needs whole heads (another output layout, several tables, second angles, xPos, Fourier mixes). Does not ask
/// is_built().
std::optional<Error> check(const Rotary& rotary);

/// What is wrong with a call, or nothing, in the words and paths of Rotary::check; addresses are of the device and not
/// looked at. Beyond that kUnsupported for more than 4 operands ("operands"), operands of several dtypes
/// ("operands[1].in.dtype"), 2^31 tokens or heads and more ("operands[0].in.tokens"), and what check(rotary) refuses.
std::optional<Error> check(const Rotary& rotary, std::span<const RotaryOperand> operands,
                           const DevicePositions& positions);

/// Checks, and puts one kernel on a stream: Rotary::apply for heads on a device. Waits for nothing, allocates nothing,
/// uses no other stream, and can be captured into a graph. 16 bytes are read and written at once where the addresses,
/// strides and counts of channels of all operands are multiples of 16 bytes; single elements otherwise.
///
/// stream   a cudaStream_t of the current device; null is the default one
/// Errors: those of check(); kUnavailable (path "cuda") for a build without kernels and for a launch that CUDA refuses.
std::optional<Error> apply(const Rotary& rotary, std::span<const RotaryOperand> operands,
                           const DevicePositions& positions, Direction direction, void* stream);

}  // namespace ropewalk::cuda
