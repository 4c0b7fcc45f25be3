// Where mathematics meets kernels: phases of positions on one side, heads in memory on the other.
#include <ropewalk/phase.hpp>
#include <ropewalk/rotary.hpp>

#include "cpu/dispatch.hpp"

#include <omp.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace ropewalk {
namespace {

// A tile is some tokens of one batch row, whose cosines and sines wait on the stack (in L1) while every operand passes.
constexpr std::int64_t kTilePairs = 1024;  // pairs times tokens in a tile: 8 KiB of cosines and sines
constexpr std::int64_t kTileTokens = 16;
// Where a token's heads lie apart (bhsd), so many of them are walked side by side: enough to hold the cosines in
// registers, few enough for the processor to follow each. Tried (EPYC 9005, AVX-512, float32, 64 tokens, in cache,
// share of the ceiling): one head at a time over the tile 0.36, 4 heads 0.65, 8 heads 0.62 to 0.72, all 40 heads 0.67.
// From memory 8 and 40 are alike and one is the worst again.
constexpr std::int64_t kHeadsSideBySide = 8;
// A thread is worth waking for this many elements and more.
constexpr std::int64_t kElementsPerThread = 1 << 16;

std::optional<Error> invalid(std::string path, std::string message) {
  return Error{Code::kInvalid, std::move(path), std::move(message)};
}

std::optional<Error> want(const std::string& path, std::int64_t wanted, std::int64_t got) {
  if (wanted == got) return std::nullopt;
  return invalid(path, "want " + std::to_string(wanted) + ", got " + std::to_string(got));
}

std::optional<Error> want_at_least(const std::string& path, std::int64_t least, std::int64_t got) {
  if (got >= least) return std::nullopt;
  return invalid(path, "want at least " + std::to_string(least) + ", got " + std::to_string(got));
}

/// Far above any memory, far below where counting tiles could overflow.
constexpr std::int64_t kMostTokens = std::int64_t{1} << 40;

bool has_elements(const HeadsView& x) { return x.batch > 0 && x.tokens > 0 && x.heads > 0; }

bool same_place(const HeadsView& a, const HeadsView& b) noexcept {
  return a.data == b.data && (a.batch < 2 || a.batch_stride == b.batch_stride) &&
         (a.tokens < 2 || a.token_stride == b.token_stride) && (a.heads < 2 || a.head_stride == b.head_stride);
}

std::optional<Error> check_view(const std::string& path, const HeadsView& x, int head_dim) {
  if (static_cast<unsigned>(x.dtype) > static_cast<unsigned>(DType::kFloat16))
    return invalid(path + ".dtype",
                   "want float32, bfloat16 or float16, got number " + std::to_string(static_cast<int>(x.dtype)));
  if (auto error = want(path + ".head_dim", head_dim, x.head_dim)) return error;
  if (auto error = want_at_least(path + ".batch", 0, x.batch)) return error;
  if (auto error = want_at_least(path + ".tokens", 0, x.tokens)) return error;
  if (auto error = want_at_least(path + ".heads", 0, x.heads)) return error;
  if (!has_elements(x)) return std::nullopt;
  if (x.batch > kMostTokens / x.tokens)
    return invalid(path + ".tokens", "want at most 2^40 in all rows, got " + std::to_string(x.tokens) + " in each of " +
                                         std::to_string(x.batch));
  if (x.data == nullptr) return invalid(path + ".data", "want an address, got null");
  if (reinterpret_cast<std::uintptr_t>(x.data) % size_of(x.dtype) != 0)
    return invalid(path + ".data", "want an address that " + std::to_string(size_of(x.dtype)) + " divides, as a " +
                                       std::string(name_of(x.dtype)) + " needs");
  return std::nullopt;
}

/// Elements of a written view must be apart from each other; only the plain mistake, a repeated axis, is found.
std::optional<Error> check_written(const std::string& path, const HeadsView& x) {
  const std::pair<const char*, std::pair<std::int64_t, std::int64_t>> axes[] = {
      {".batch_stride", {x.batch, x.batch_stride}},
      {".token_stride", {x.tokens, x.token_stride}},
      {".head_stride", {x.heads, x.head_stride}}};
  for (const auto& [name, axis] : axes)
    if (axis.first > 1 && axis.second == 0)
      return invalid(path + name, "want a stride other than 0 on an axis of " + std::to_string(axis.first) +
                                      " that is written, got 0");
  return std::nullopt;
}

/// One call, cut into items: a tile of tokens in one batch row each.
class Pass {
 public:
  Pass(const RotarySpec& spec, const Frequencies& frequencies, std::span<const RotaryOperand> operands,
       const PositionsView& positions, Direction direction, std::int64_t threads) noexcept
      : spec_(spec),
        frequencies_(frequencies),
        operands_(operands),
        positions_(positions),
        kernels_(*cpu::active_target().kernels),
        gain_(gain_of(direction)) {
    const HeadsView& x = operands.front().in;
    batch_ = x.batch;
    tokens_ = x.tokens;
    shared_row_ = positions.batch == 1 || positions.batch_stride == 0;
    pairs_at_once_ = std::min<std::int64_t>(spec.pairs(), kTilePairs);
    tile_tokens_ = std::clamp<std::int64_t>(kTilePairs / pairs_at_once_, 1, kTileTokens);
    tile_tokens_ = std::min(tile_tokens_, std::max<std::int64_t>(1, tokens_ * batch_ / threads));
    tiles_ = (tokens_ + tile_tokens_ - 1) / tile_tokens_;
  }

  std::int64_t items() const noexcept { return tiles_ * batch_; }

  /// Items [first, last). Neighbouring items share their phases where all batch rows stand at the same positions.
  void run(std::int64_t first, std::int64_t last) const noexcept {
    alignas(64) std::array<float, kTilePairs> cos;
    alignas(64) std::array<float, kTilePairs> sin;
    for (std::int64_t pair = 0; pair < spec_.pairs(); pair += pairs_at_once_) {
      const std::int64_t pairs = std::min(pairs_at_once_, spec_.pairs() - pair);
      std::int64_t filled_tile = -1;
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t tile = shared_row_ ? i / batch_ : i % tiles_;
        const std::int64_t row = shared_row_ ? i % batch_ : i / tiles_;
        const std::int64_t token = tile * tile_tokens_;
        const std::int64_t tokens = std::min(tile_tokens_, tokens_ - token);
        if (!shared_row_ || tile != filled_tile)
          for (std::int64_t t = 0; t < tokens; ++t)
            fill_cos_sin(row, token + t, pair, pairs, cos.data() + t * pairs, sin.data() + t * pairs);
        filled_tile = tile;
        for (const RotaryOperand& operand : operands_)
          rotate_tile(operand, row, token, tokens, pair, pairs, cos.data(), sin.data());
      }
    }
  }

 private:
  cpu::Gain gain_of(Direction direction) const noexcept {
    const double factor = frequencies_.attention_factor;
    const bool back = direction == Direction::kInverse || direction == Direction::kTranspose;
    const double gain = direction == Direction::kInverse ? 1.0 / factor : direction == Direction::kShift ? 1.0 : factor;
    return cpu::Gain::of(gain, back != spec_.clockwise);
  }

  std::int64_t position(std::int64_t row, std::int64_t token, std::size_t pair) const noexcept {
    const std::int64_t axis = spec_.axis_of_pair.empty() ? 0 : spec_.axis_of_pair[pair];
    return positions_.data[axis * positions_.axis_stride + (shared_row_ ? 0 : row * positions_.batch_stride) +
                           token * positions_.token_stride];
  }

  /// cos and sin, [pairs] each, of the pairs from `first` on.
  void fill_cos_sin(std::int64_t row, std::int64_t token, std::int64_t first, std::int64_t pairs, float* cos,
                    float* sin) const noexcept {
    const bool exact = spec_.numerics == Numerics::kExact;
    if (exact && spec_.axis_of_pair.empty()) {
      kernels_.cos_sin_at(position(row, token, 0), frequencies_.turns_per_token.data() + first, pairs, gain_, cos, sin);
      return;
    }
    constexpr std::int64_t kSome = 64;
    std::array<Turns, kSome> turns;
    for (std::int64_t at = 0; at < pairs; at += kSome) {
      const std::int64_t some = std::min(kSome, pairs - at);
      for (std::int64_t i = 0; i < some; ++i) {
        const auto j = static_cast<std::size_t>(first + at + i);
        const std::int64_t p = position(row, token, j);
        turns[static_cast<std::size_t>(i)] =
            exact ? phase(p, frequencies_.turns_per_token[j]) : phase_fp32(p, frequencies_.inv_freq_fp32[j]);
      }
      kernels_.cos_sin_of(turns.data(), some, gain_, cos + at, sin + at);
    }
  }

  void rotate_tile(const RotaryOperand& operand, std::int64_t row, std::int64_t first_token, std::int64_t tokens,
                   std::int64_t first_pair, std::int64_t pairs, const float* cos, const float* sin) const noexcept {
    const HeadsView &in = operand.in, &out = operand.out;
    const auto size = static_cast<std::int64_t>(size_of(in.dtype));
    const auto element = [&](const HeadsView& x, std::int64_t token, std::int64_t head) {
      return static_cast<char*>(x.data) + size * (row * x.batch_stride + token * x.token_stride + head * x.head_stride);
    };
    const cpu::KernelTable::Rotate rotate = kernels_.rotate(in.dtype, spec_.layout);
    const std::int64_t channel =
        spec_.rotary_offset + channels_of(spec_.layout, static_cast<int>(first_pair), spec_.pairs()).first;
    const bool moves = first_pair == 0 && !same_place(in, out);
    const bool heads_apart = std::abs(out.head_stride) > std::abs(out.token_stride);
    const std::int64_t group = heads_apart && tokens > 1 ? kHeadsSideBySide : in.heads;

    for (std::int64_t head = 0; head < in.heads; head += group) {
      const std::int64_t heads = std::min(group, in.heads - head);
      for (std::int64_t t = 0; t < tokens; ++t) {
        const char* from = element(in, first_token + t, head);
        char* to = element(out, first_token + t, head);
        if (moves) copy_untouched(from, to, size, heads, in.head_stride, out.head_stride);
        rotate({.in = from + size * channel,
                .out = to + size * channel,
                .in_stride = in.head_stride,
                .out_stride = out.head_stride,
                .heads = heads,
                .second = spec_.pairs(),
                .cos = cos + t * pairs,
                .sin = sin + t * pairs,
                .pairs = pairs});
      }
    }
  }

  void copy_untouched(const char* from, char* to, std::int64_t size, std::int64_t heads, std::int64_t in_stride,
                      std::int64_t out_stride) const noexcept {
    const std::int64_t before = spec_.rotary_offset, turned_end = before + spec_.rotary_dim;
    const std::int64_t after = spec_.head_dim - turned_end;
    if (before == 0 && after == 0) return;
    for (std::int64_t head = 0; head < heads; ++head, from += size * in_stride, to += size * out_stride) {
      std::memcpy(to, from, static_cast<std::size_t>(size * before));
      std::memcpy(to + size * turned_end, from + size * turned_end, static_cast<std::size_t>(size * after));
    }
  }

  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  std::span<const RotaryOperand> operands_;
  const PositionsView& positions_;
  const cpu::KernelTable& kernels_;
  cpu::Gain gain_;
  std::int64_t batch_ = 0, tokens_ = 0;
  bool shared_row_ = false;         // every batch row stands at the same positions
  std::int64_t pairs_at_once_ = 1;  // a wider spec takes several passes
  std::int64_t tile_tokens_ = 1, tiles_ = 0;
};

int threads_for(std::span<const RotaryOperand> operands, int wanted) noexcept {
  if (wanted == 1 || omp_in_parallel()) return 1;
  double elements = 0;  // a product of four int64 need not fit one
  for (const RotaryOperand& operand : operands)
    elements += static_cast<double>(operand.in.batch) * static_cast<double>(operand.in.tokens) *
                static_cast<double>(operand.in.heads) * static_cast<double>(operand.in.head_dim);
  const double worth = elements / static_cast<double>(kElementsPerThread);
  const int most = wanted > 0 ? wanted : omp_get_max_threads();
  return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

}  // namespace

Result<Rotary> Rotary::make(const RotarySpec& spec, std::int64_t running_length) {
  if (auto error = validate(spec)) return *std::move(error);
  auto frequencies = make_frequencies(spec, running_length);
  if (!frequencies) return frequencies.error();
  if (std::string refused = cpu::target_error(); !refused.empty())
    return Error{Code::kUnavailable, "ROPEWALK_TARGET", std::move(refused)};
  Rotary rotary;
  rotary.spec_ = spec;
  rotary.frequencies_ = *std::move(frequencies);
  return rotary;
}

std::optional<Error> Rotary::check(std::span<const RotaryOperand> operands, const PositionsView& positions) const {
  if (operands.empty()) return std::nullopt;
  const HeadsView& model = operands.front().in;
  for (std::size_t i = 0; i < operands.size(); ++i) {
    const std::string path = "operands[" + std::to_string(i) + ']';
    const auto& [in, out] = operands[i];
    if (auto error = check_view(path + ".in", in, spec_.head_dim)) return error;
    if (auto error = check_view(path + ".out", out, spec_.head_dim)) return error;
    if (out.dtype != in.dtype)
      return invalid(path + ".out.dtype",
                     "want " + std::string(name_of(in.dtype)) + ", got " + std::string(name_of(out.dtype)));
    if (auto error = want(path + ".in.batch", model.batch, in.batch)) return error;
    if (auto error = want(path + ".in.tokens", model.tokens, in.tokens)) return error;
    if (auto error = want(path + ".out.batch", in.batch, out.batch)) return error;
    if (auto error = want(path + ".out.tokens", in.tokens, out.tokens)) return error;
    if (auto error = want(path + ".out.heads", in.heads, out.heads)) return error;
    if (!has_elements(in)) continue;
    if (auto error = check_written(path + ".out", out)) return error;
    if (in.data == out.data && !same_place(in, out))
      return invalid(path + ".out",
                     "want the view of in itself or memory apart from it, got its data in other strides");
  }
  if (auto error = want_at_least("positions.axes", spec_.axes(), positions.axes)) return error;
  if (positions.batch != 1)
    if (auto error = want("positions.batch", model.batch, positions.batch)) return error;
  if (auto error = want("positions.tokens", model.tokens, positions.tokens)) return error;
  if (model.tokens > 0 && positions.data == nullptr) return invalid("positions.data", "want an address, got null");
  return std::nullopt;
}

void Rotary::apply(std::span<const RotaryOperand> operands, const PositionsView& positions,
                   const RotaryCall& call) const noexcept {
  if (std::none_of(operands.begin(), operands.end(), [](const auto& x) { return has_elements(x.in); })) return;
  const int threads = threads_for(operands, call.threads);
  const Pass pass(spec_, frequencies_, operands, positions, call.direction, threads);
  const std::int64_t items = pass.items();
  if (threads == 1) {
    pass.run(0, items);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t team = omp_get_num_threads(), me = omp_get_thread_num();
    const std::int64_t each = items / team, longer = items % team;
    const std::int64_t first = me * each + std::min(me, longer);
    pass.run(first, first + each + (me < longer ? 1 : 0));
  }
}

}  // namespace ropewalk
