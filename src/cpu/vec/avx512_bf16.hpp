// Rounding to bf16 by AVX512_BF16. Goes with vec/avx512.hpp.
// No include guard on purpose: a target reads it inside its own namespace.

// vcvtne2ps2bf16 rounds to nearest even but makes zero of a subnormal, so where a result is zero all is rounded again
// by integers. Such data are rare, apart from whole heads of zeros. Tried instead (EPYC 9005, in L1, time of the
// kernel): looking for subnormals among the four vectors of floats 1.17, a branch for each result 1.1, none at all
// 0.83.
inline __m512i by_instruction(const Two& x) noexcept {
  const __m512i in_order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                            21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(in_order, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x.odd.v, x.even.v)));
}
inline __m512i by_integers(const Two& x) noexcept { return merged(rounded_in_place(x.even), rounded_in_place(x.odd)); }

template <bool kStream>
inline void store_twos(const Two& a, BFloat16* at_a, const Two& b, BFloat16* at_b) noexcept {
  __m512i y = by_instruction(a), z = by_instruction(b);
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  if (__builtin_expect(
          !_kortestz_mask32_u8(_mm512_testn_epi16_mask(y, magnitude), _mm512_testn_epi16_mask(z, magnitude)), 0)) {
    y = by_integers(a), z = by_integers(b);
  }
  put_two<kStream>(y, at_a);
  put_two<kStream>(z, at_b);
}

inline void store_both(Vec a, Vec b, BFloat16* at) noexcept {
  __m512i y = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v));
  if (__builtin_expect(_mm512_testn_epi16_mask(y, _mm512_set1_epi16(0x7fff)) != 0, 0))
    y = upper_halves(rounded_in_place(a), rounded_in_place(b));
  _mm512_storeu_si512(at, y);
}
