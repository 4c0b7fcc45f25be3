// Turns the pairs of every head of a token by a 2 x 2 matrix each, from any channels to any others. No include guard on
// purpose: it is read once per target.
//
//     y0 = x0 m00 + x1 m01        y1 = x1 m11 + x0 m10
//
// With (m00, m01, m10, m11) = (cos, -sin, sin, cos) these are the bits of rotate-inl.hpp. A head is computed whole
// before any of it is written, so that results may go to channels that are still to be read.

template <class Part, class T>
inline void turn_step(Part part, std::int64_t n, const ScatteredRows& rows, const T* in, std::int64_t j, T* y0,
                      T* y1) noexcept {
  T from0[kLanes], from1[kLanes];
  for (std::int64_t i = 0; i < n; ++i) {
    from0[i] = in[rows.in_first[j + i]];
    from1[i] = in[rows.in_second[j + i]];
  }
  const Vec x0 = load(part, from0), x1 = load(part, from1);
  store(part, mul_add(x0, load(part, rows.m00 + j), mul(x1, load(part, rows.m01 + j))), y0);
  store(part, mul_add(x1, load(part, rows.m11 + j), mul(x0, load(part, rows.m10 + j))), y1);
}

template <class T>
void turn_scattered(const ScatteredRows& rows) noexcept {
  T y0[kMostScatteredPairs], y1[kMostScatteredPairs];
  const T* in = static_cast<const T*>(rows.in);
  T* out = static_cast<T*>(rows.out);
  for (std::int64_t head = 0; head < rows.heads; ++head, in += rows.in_stride, out += rows.out_stride) {
    std::int64_t j = 0;
    for (; j + kLanes <= rows.pairs; j += kLanes) turn_step(Whole{}, kLanes, rows, in, j, y0 + j, y1 + j);
    if (const First rest{rows.pairs - j}; rest.n > 0) turn_step(rest, rest.n, rows, in, j, y0 + j, y1 + j);
    for (j = 0; j < rows.pairs; ++j) {
      out[rows.out_first[j]] = y0[j];
      out[rows.out_second[j]] = y1[j];
    }
  }
}
