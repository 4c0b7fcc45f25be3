// Rounding to bf16 on an AVX-512 processor that has no instruction for it. Goes with vec/avx512.hpp.
// No include guard on purpose: a target reads it inside its own namespace.

// Tried: rounding halves up and mending ties where one test on all four vectors finds any. 1.1 times as fast (EPYC
// 9005, in L1) while ties are rare, four times as slow where a coarse table makes them common.
template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  put_two<kStream>(merged(rounded_in_place(a.even), rounded_in_place(a.odd)), at_a);
  put_two<kStream>(merged(rounded_in_place(b.even), rounded_in_place(b.odd)), at_b);
}

inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  _mm512_storeu_si512(at, upper_halves(rounded_in_place(a), rounded_in_place(b)));
}
