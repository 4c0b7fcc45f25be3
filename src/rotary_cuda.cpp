// Where mathematics meets the kernels of CUDA.
#include "rotary_cuda.hpp"

#include "rotary_call.hpp"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

namespace ropewalk::cuda {
namespace {

// Blocks that a launch should have before the heads of a token go to one block: some for each of the 132
// multiprocessors of an H100.
constexpr std::int64_t kFewBlocks = 264;
// Threads that a block should have before it takes the heads of more than one token.
constexpr std::int64_t kFewThreads = 128;
constexpr std::int64_t kMostDepth = 64;  // of a block along z

std::optional<Error> unsupported(std::string path, std::string message) {
  return Error{Code::kUnsupported, std::move(path), std::move(message)};
}

std::optional<Error> check_positions(int axes, const HeadsView& model, const DevicePositions& positions) {
  if (auto error = check_extents(axes, model, positions)) return error;
  if (positions.data == nullptr && positions.token_step == 1 && model.tokens > 0 &&
      positions.first > std::numeric_limits<std::int64_t>::max() - (model.tokens - 1))
    return invalid("positions.first", "want positions of 64 bits, got " + std::to_string(model.tokens) + " from " +
                                          std::to_string(positions.first) + " on");
  const std::uintptr_t size = positions.is_int32 ? 4 : 8;
  if (reinterpret_cast<std::uintptr_t>(positions.data) % size != 0)
    return invalid("positions.data", "want an address that " + std::to_string(size) + " divides");
  return std::nullopt;
}

bool is_multiple(std::int64_t x, std::int64_t of) noexcept { return x % of == 0; }

// Whether all that is read and written can be in whole pieces.
bool goes_by_pieces(const RotarySpec& spec, std::span<const RotaryOperand> operands) noexcept {
  const std::int64_t size = static_cast<std::int64_t>(size_of(operands.front().in.dtype));
  const std::int64_t count = static_cast<std::int64_t>(kPieceBytes) / size;
  const std::int64_t turning = spec.layout == PairLayout::kHalf ? spec.pairs() : spec.rotary_dim;
  if (!is_multiple(turning, count)) return false;
  const auto is_aligned = [&](const HeadsView& x, std::int64_t channel) {
    return is_multiple(
               static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(x.data) % kPieceBytes) + channel * size,
               static_cast<std::int64_t>(kPieceBytes)) &&
           (x.batch < 2 || is_multiple(x.batch_stride, count)) &&
           (x.tokens < 2 || is_multiple(x.token_stride, count)) && (x.heads < 2 || is_multiple(x.head_stride, count));
  };
  return std::all_of(operands.begin(), operands.end(), [&](const RotaryOperand& operand) {
    if (!is_aligned(operand.in, spec.rotary_offset) || !is_aligned(operand.out, spec.rotary_offset)) return false;
    return same_place(operand.in, operand.out) ||
           (is_multiple(spec.rotary_offset, count) && is_multiple(spec.head_dim, count));
  });
}

// Along x the steps of a head, along y as many heads as fit in as few rounds, along z tokens where that leaves a block
// nearly empty.
RotateShape shape_of(const RotateParams& p, DType dtype, PairLayout layout, bool by_pieces) noexcept {
  const std::int64_t width = std::min<std::int64_t>(p.steps, kMostThreads);
  const std::int64_t most_height = kMostThreads / width;
  const std::int64_t rounds = (p.heads + most_height - 1) / most_height;
  const std::int64_t height = (p.heads + rounds - 1) / rounds;
  const std::int64_t depth =
      std::clamp<std::int64_t>(std::min({kFewThreads / (width * height), kMostRowFloats / (std::int64_t{2} * p.pairs),
                                         kMostDepth, std::int64_t{p.count}}),
                               1, kMostDepth);
  const std::int64_t blocks = (p.count + depth - 1) / depth;
  const std::int64_t parts = std::min(rounds, (kFewBlocks + blocks - 1) / blocks);
  return {.dtype = dtype,
          .layout = layout,
          .by_pieces = by_pieces,
          .blocks = static_cast<unsigned>(blocks),
          .parts = static_cast<unsigned>(parts),
          .width = static_cast<unsigned>(width),
          .height = static_cast<unsigned>(height),
          .depth = static_cast<unsigned>(depth),
          .shared_bytes = static_cast<unsigned>(2 * depth * p.pairs * std::int64_t{sizeof(float)})};
}

}  // namespace

std::optional<Error> check(const Rotary& rotary) {
  const RotarySpec& spec = rotary.spec();
  if (needs_whole_heads(spec))
    return unsupported("spec", "want a rotation of the same pairs in every head, got " + to_string(spec));
  if (spec.numerics != Numerics::kExact)
    return unsupported("numerics", "want exact on a device, got " + std::string(name_of(spec.numerics)));
  if (spec.pairs() > kMostPairs)
    return unsupported("rotary_dim", "want at most " + std::to_string(2 * kMostPairs) + " on a device, got " +
                                         std::to_string(spec.rotary_dim));
  if (spec.layout == PairLayout::kHalf && spec.pair_blocks.size() > 1)  // interleaved, blocks change nothing
    return unsupported("pair_blocks",
                       "want one block of halves on a device, got " + std::to_string(spec.pair_blocks.size()));
  if (spec.given && spec.given->axes > 1)
    return unsupported("given", "want one axis for each pair on a device, got " + std::to_string(spec.given->axes));
  return std::nullopt;
}

std::optional<Error> check(const Rotary& rotary, std::span<const RotaryOperand> operands,
                           const DevicePositions& positions) {
  if (auto error = check(rotary)) return error;
  if (operands.empty()) return std::nullopt;
  if (operands.size() > kMostOperands)
    return unsupported("operands", "want at most " + std::to_string(kMostOperands) + " in one launch, got " +
                                       std::to_string(operands.size()));
  const RotarySpec& spec = rotary.spec();
  if (auto error = check_operands(spec, operands)) return error;
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  std::int64_t heads = 0;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const HeadsView& x = operands[i].in;
    const Path path = Path("operands", i) + ".in";
    if (x.dtype != operands.front().in.dtype)
      return unsupported((path + ".dtype").text(), "want one dtype in a launch, got " +
                                                       std::string(name_of(operands.front().in.dtype)) + " and " +
                                                       std::string(name_of(x.dtype)));
    if (x.heads > kMost - heads)
      return unsupported((path + ".heads").text(), "want at most 2^31 - 1 in a launch, got " + std::to_string(x.heads));
    heads += x.heads;
    if (x.tokens > 0 && x.batch > kMost / x.tokens)
      return unsupported((path + ".tokens").text(), "want at most 2^31 - 1 in all rows, got " +
                                                        std::to_string(x.tokens) + " in each of " +
                                                        std::to_string(x.batch));
  }
  return check_positions(spec.axes(), operands.front().in, positions);
}

Call call_of(const Rotary& rotary, std::span<const RotaryOperand> operands, const DevicePositions& positions,
             Direction direction) noexcept {
  const RotarySpec& spec = rotary.spec();
  const HeadsView& model = operands.front().in;
  const auto size = static_cast<std::int64_t>(size_of(model.dtype));
  const bool by_pieces = goes_by_pieces(spec, operands);
  const std::int64_t count = by_pieces ? static_cast<std::int64_t>(kPieceBytes) / size : 1;
  const bool two_pieces = spec.layout == PairLayout::kHalf || !by_pieces;
  const std::int64_t pairs_of_step = two_pieces ? count : count / 2;

  Call call{};
  RotateParams& p = call.params;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const HeadsView &in = operands[i].in, &out = operands[i].out;
    p.heads += static_cast<std::int32_t>(in.heads);
    p.operands[i] = {.in = in.data,
                     .out = out.data,
                     .in_batch = in.batch_stride,
                     .in_token = in.token_stride,
                     .in_head = in.head_stride,
                     .out_batch = out.batch_stride,
                     .out_token = out.token_stride,
                     .out_head = out.head_stride,
                     .heads_end = p.heads,
                     .moves = !same_place(in, out)};
  }
  p.tokens = static_cast<std::uint32_t>(model.tokens);
  p.count = static_cast<std::uint32_t>(model.tokens * model.batch);
  p.pairs = spec.pairs();
  p.steps = static_cast<std::int32_t>(spec.pairs() / pairs_of_step);
  const ChannelPair first = spec.channels(0);
  p.first = first.first;
  p.second = first.second - first.first;
  p.before = spec.rotary_offset;
  p.copies = static_cast<std::int32_t>((spec.head_dim - spec.rotary_dim) / count);

  p.positions = positions.data;
  p.positions_are_int32 = positions.is_int32;
  p.axis_stride = positions.axis_stride;
  p.row_stride = positions.batch == 1 ? 0 : positions.batch_stride;
  p.token_stride = positions.token_stride;
  p.position = static_cast<std::uint64_t>(positions.first);
  p.position_step = static_cast<std::uint64_t>(positions.token_step);

  p.gain = gain_of(spec, rotary.frequencies(), direction);
  std::copy(spec.axis_of_pair.begin(), spec.axis_of_pair.end(), p.axis_of_pair);
  std::copy_n(rotary.frequencies().turns_per_token.begin(), spec.pairs(), p.turns_per_token);
  call.shape = shape_of(p, model.dtype, spec.layout, by_pieces);
  return call;
}

std::optional<Error> apply(const Rotary& rotary, std::span<const RotaryOperand> operands,
                           const DevicePositions& positions, Direction direction, void* stream) {
  if (auto error = check(rotary, operands, positions)) return error;
  if (!is_built()) return Error{Code::kUnavailable, "cuda", "want a library built with ROPEWALK_CUDA, got one without"};
  if (nothing_to_do(operands)) return std::nullopt;
  const Call call = call_of(rotary, operands, positions, direction);
  if (const char* const refused = launch_rotate(call.params, call.shape, stream); refused != nullptr)
    return Error{Code::kUnavailable, "cuda", "want the kernel launched, got " + std::string(refused)};
  return std::nullopt;
}

}  // namespace ropewalk::cuda
