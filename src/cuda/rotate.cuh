// Turns the heads of q and k in one launch. The body stands in two functions, what a thread does before and behind the
// block's one barrier, so that tests can run every thread of every block on the host (tests/cuda).
//
// A block has the heads of `depth` neighbouring tokens (one, unless they have few heads). It forms the cosine and sine
// of every pair of these tokens once, a thread a pair, into shared memory; behind the barrier a thread holds those of
// its step, which is 8 pairs of 16-bit elements or 4 floats, in registers and walks down the heads of all operands with
// them. Threads along x take the steps of one head, so that 8 neighbours read 128 bytes side by side; along y they take
// heads, along z tokens. The first head is asked for before the barrier, so that one wait serves it and the position.
// Tokens go on grid.x, the only axis of a grid that reaches 2^31 - 1; where there are few, grid.y shares out the heads.
// No bit depends on how blocks and threads share the work.
#pragma once

#include "cuda/rotate.hpp"
#include "cuda/words.cuh"

namespace ropewalk::cuda {

using cpu::Gain;
#include "cpu/kernels/cos_sin_step-inl.hpp"

/// Where a thread stands: blockIdx, gridDim.y, threadIdx, blockDim.
struct Thread {
  unsigned block, part, parts;
  unsigned x, y, z, width, height, depth;
};

struct Token {
  bool exists;  // the last block may reach beyond the last token
  std::int64_t row, token;
};
ROPEWALK_INLINE Token token_of(const RotateParams& p, const Thread& me, unsigned z) {
  const std::uint64_t index = std::uint64_t{me.block} * me.depth + z;
  const auto i = static_cast<std::uint32_t>(index);
  const std::uint32_t row = p.count == p.tokens ? 0 : i / p.tokens;
  return {index < p.count, row, i - row * p.tokens};
}

ROPEWALK_INLINE std::uint64_t position_of(const RotateParams& p, std::int64_t axis, const Token& at) {
  std::uint64_t position = p.position + static_cast<std::uint64_t>(at.token) * p.position_step;
  if (p.positions == nullptr) return position;
  const std::int64_t i = axis * p.axis_stride + at.row * p.row_stride + at.token * p.token_stride;
  if (p.positions_are_int32)
    position += static_cast<std::uint64_t>(std::int64_t{static_cast<const std::int32_t*>(p.positions)[i]});
  else
    position += static_cast<std::uint64_t>(static_cast<const std::int64_t*>(p.positions)[i]);
  return position;
}

/// Cosines, then sines, of a block's tokens: [2, depth, pairs].
ROPEWALK_INLINE void form_cos_sin(const RotateParams& p, const Thread& me, float* shared) {
  const auto pairs = static_cast<unsigned>(p.pairs), all = me.depth * pairs;
  const unsigned threads = me.width * me.height * me.depth;
  for (unsigned i = (me.z * me.height + me.y) * me.width + me.x; i < all; i += threads) {
    const unsigned z = me.depth == 1 ? 0 : i / pairs, j = i - z * pairs;
    const Token at = token_of(p, me, z);
    if (!at.exists) break;
    const Turns turns = position_of(p, p.axis_of_pair[j], at) * p.turns_per_token[j];
    const TurnsVec phase{static_cast<Bits>(turns >> 32), static_cast<Bits>(turns)};
    if (p.gain.high == 1.0f && p.gain.low == 0.0f)
      cos_sin_step<false>(Whole{}, phase, p.gain, shared + i, shared + all + i);
    else
      cos_sin_step<true>(Whole{}, phase, p.gain, shared + i, shared + all + i);
  }
}

template <class T, PairLayout kLayout, bool kByPieces>
struct HeadTurner {
  static constexpr bool kHalf = kLayout == PairLayout::kHalf;
  static constexpr int kCount = kByPieces ? static_cast<int>(kPieceBytes / sizeof(T)) : 1;  // elements of a piece
  // A step is x0 and x1 of kCount pairs in two pieces, or the neighbours of kCount / 2 pairs in one.
  static constexpr int kPieces = kHalf || !kByPieces ? 2 : 1;
  static constexpr int kPairs = kPieces * kCount / 2;

  struct Step {
    Piece<T, kCount> piece[kPieces];
  };
  struct Head {
    const T* in;
    T* out;
    bool moves;
  };

  static ROPEWALK_INLINE Head head_of(const RotateParams& p, int head, const Token& at) {
    int i = 0, begin = 0;
    while (head >= p.operands[i].heads_end) begin = p.operands[i++].heads_end;
    const RotateOperand& x = p.operands[i];
    const std::int64_t h = head - begin;
    return {static_cast<const T*>(x.in) + (at.row * x.in_batch + at.token * x.in_token + h * x.in_head),
            static_cast<T*>(x.out) + (at.row * x.out_batch + at.token * x.out_token + h * x.out_head), x.moves};
  }

  static ROPEWALK_INLINE std::int64_t channel_of(const RotateParams& p, int step, int piece) {
    return p.first + step * (kHalf ? kCount : kPieces * kCount) + piece * p.second;
  }

  static ROPEWALK_INLINE Step load(const RotateParams& p, const T* in, int step) {
    Step x;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) x.piece[i] = load_piece<T, kCount>(in + channel_of(p, step, i));
    return x;
  }

  static ROPEWALK_INLINE void turn(const RotateParams& p, const Step& step, const float* c, const float* s, T* out,
                                   int at) {
    float x[kPieces * kCount], y[kPieces * kCount];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) unpack(step.piece[i], x + i * kCount);
#pragma unroll
    for (int j = 0; j < kPairs; ++j) {
      const int first = kHalf ? j : 2 * j, second = kHalf ? j + kCount : 2 * j + 1;
      y[first] = mul_sub(x[first], c[j], mul(x[second], s[j]));
      y[second] = mul_add(x[second], c[j], mul(x[first], s[j]));
    }
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      Piece<T, kCount> piece;
      pack(y + i * kCount, &piece);
      store_piece<T, kCount>(piece, out + channel_of(p, at, i));
    }
  }

  static ROPEWALK_INLINE void copy(const RotateParams& p, const Head& head, unsigned x, unsigned width) {
    for (auto i = static_cast<int>(x); i < p.copies; i += static_cast<int>(width)) {
      const int at = i * kCount, channel = at < p.before ? at : at + 2 * p.pairs;
      store_piece<T, kCount>(load_piece<T, kCount>(head.in + channel), head.out + channel);
    }
  }

  /// Before the barrier: asks for the thread's first step and forms its share of the cosines.
  static ROPEWALK_INLINE Step begin(const RotateParams& p, const Thread& me, float* shared) {
    Step first{};
    const Token at = token_of(p, me, me.z);
    const auto head = static_cast<int>(me.part * me.height + me.y);
    if (at.exists && head < p.heads) first = load(p, head_of(p, head, at).in, static_cast<int>(me.x));
    form_cos_sin(p, me, shared);
    return first;
  }

  /// Behind it: turns every step of the thread.
  static ROPEWALK_INLINE void finish(const RotateParams& p, const Thread& me, const float* shared, const Step& first) {
    const Token at = token_of(p, me, me.z);
    const auto begin = static_cast<int>(me.part * me.height + me.y), stride = static_cast<int>(me.parts * me.height);
    if (!at.exists || begin >= p.heads) return;
    const float* const cos = shared + me.z * static_cast<unsigned>(p.pairs);
    const float* const sin = cos + me.depth * static_cast<unsigned>(p.pairs);
    const auto width = static_cast<int>(me.width);
    for (auto step = static_cast<int>(me.x); step < p.steps; step += width) {
      const bool is_first = step == static_cast<int>(me.x);
      float c[kPairs], s[kPairs];
      load_floats<kPairs>(cos + step * kPairs, c);
      load_floats<kPairs>(sin + step * kPairs, s);
      for (int h = begin; h < p.heads; h += stride) {
        const Head head = head_of(p, h, at);
        turn(p, is_first && h == begin ? first : load(p, head.in, step), c, s, head.out, step);
        if (is_first && head.moves) copy(p, head, me.x, me.width);
      }
    }
  }
};

}  // namespace ropewalk::cuda
