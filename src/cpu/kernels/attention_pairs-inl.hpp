// Attention's products of bf16 by AVX512_BF16. Goes with attention-inl.hpp.
// No include guard on purpose: it is read once per target.

/// As multiply_tile, two steps of k at once: a lane adds a[2 k] b[2 k] + a[2 k + 1] b[2 k + 1].
template <int kRows, int kVectors, bool kAcross>
inline void multiply_tile_of_pairs(const std::uint32_t* a, std::int64_t a_stride, const std::uint32_t* b, float* c,
                                   std::int64_t depth, const float* scale) noexcept {
  __m512 sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = scale != nullptr ? _mm512_mul_ps(_mm512_loadu_ps(c + r * kPanelColumns + v * kLanes),
                                                    _mm512_loadu_ps(scale + v * kLanes))
                                    : _mm512_setzero_ps();
  for (std::int64_t k = 0; k < depth; ++k) {
    __m512bh row[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      row[v] = reinterpret_cast<__m512bh>(_mm512_loadu_si512(b + k * kPanelColumns + v * kLanes));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const std::uint32_t pair = kAcross ? a[k * a_stride + r] : a[r * a_stride + k];
      const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(pair)));
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], factor, row[v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(c + r * kPanelColumns + v * kLanes, sums[r][v]);
}

template <int kVectors, bool kAcross>
inline void multiply_columns_of_pairs(const Product<std::uint32_t>& p, std::int64_t at) noexcept {
  const std::int64_t next = kAcross ? 1 : p.a_row, stride = kAcross ? p.a_step : p.a_row;
  const float* const scale = p.scale != nullptr ? p.scale + at : nullptr;
  std::int64_t r = 0;
  for (; r + kTileRows <= p.rows; r += kTileRows)
    multiply_tile_of_pairs<kTileRows, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at,
                                                         p.depth, scale);
  for (; r + 2 <= p.rows; r += 2)
    multiply_tile_of_pairs<2, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at,
                                                 p.depth, scale);
  if (r < p.rows)
    multiply_tile_of_pairs<1, kVectors, kAcross>(p.a + r * next, stride, p.b + at, p.c + r * kPanelColumns + at,
                                                 p.depth, scale);
}

template <bool kAcross>
inline void multiply_panel_of_pairs(const Product<std::uint32_t>& p) noexcept {
  constexpr std::int64_t kColumns = kTileVectors * kLanes;
  std::int64_t at = 0;
  for (; at + kColumns <= p.columns; at += kColumns) multiply_columns_of_pairs<kTileVectors, kAcross>(p, at);
  for (; at < p.columns; at += kLanes) multiply_columns_of_pairs<1, kAcross>(p, at);
}

void multiply_pairs(const Product<std::uint32_t>& p) noexcept {
  if (p.a_step == 1)
    multiply_panel_of_pairs<false>(p);
  else
    multiply_panel_of_pairs<true>(p);
}

/// Lanes of a below those of b, as bf16.
inline __m512i in_pairs(Vec a, Vec b) noexcept {
  const __m512i in_order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                            21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  return _mm512_permutexvar_epi16(in_order, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(b.v, a.v)));
}

template <int kVectors>
inline void softmax_columns_in_pairs(const SoftmaxPanel& panel, std::int64_t at, std::uint32_t* p) noexcept {
  SoftmaxColumns<kVectors> columns(panel, at);
  std::int64_t j = 0;
  for (; j + 2 <= panel.keys; j += 2)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vec even = columns.power(panel, j, at, v), odd = columns.power(panel, j + 1, at, v);
      _mm512_storeu_si512(p + j / 2 * kPanelColumns + at + v * kLanes, in_pairs(even, odd));
    }
  if (j < panel.keys)
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      _mm512_storeu_si512(p + j / 2 * kPanelColumns + at + v * kLanes,
                          in_pairs(columns.power(panel, j, at, v), splat(0.0f)));
  columns.finish(panel, at);
}

void softmax_pairs(const SoftmaxPanel& panel, std::uint32_t* p) noexcept {
  std::int64_t at = 0;
  for (; at + 4 * kLanes <= panel.columns; at += 4 * kLanes) softmax_columns_in_pairs<4>(panel, at, p);
  for (; at < panel.columns; at += kLanes) softmax_columns_in_pairs<1>(panel, at, p);
}

void pair_rows(const void* from, std::int64_t from_stride, std::int64_t rows, std::int64_t channels, std::uint32_t* to,
               std::int64_t to_stride) noexcept {
  for (std::int64_t r = 0; r < rows; r += 2) {
    const auto* const even = static_cast<const BFloat16*>(from) + r * from_stride;
    const auto* const odd = even + from_stride;
    std::uint32_t* const y = to + r / 2 * to_stride;
    for (std::int64_t c = 0; c < channels; c += kLanes) {
      const First part{channels - c < kLanes ? channels - c : kLanes};
      const __m512i low = _mm512_cvtepu16_epi32(load_16_bit(part, even + c));
      const __m512i high = r + 1 < rows ? _mm512_slli_epi32(_mm512_cvtepu16_epi32(load_16_bit(part, odd + c)), 16)
                                        : _mm512_setzero_si512();
      _mm512_mask_storeu_epi32(y + c, part.lanes(), _mm512_or_si512(low, high));
    }
  }
}

constexpr auto kMultiplyPairs = multiply_pairs;
constexpr auto kSoftmaxPairs = softmax_pairs;
constexpr auto kPairRows = pair_rows;
