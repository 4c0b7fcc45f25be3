// A row of positions added to a row of embeddings, and the way back. No include guard on purpose: it is read once per
// target.
//
//     y = fma(x, scale, row)            add_row; without x: y = row
//     sums = fma(x, scale, sums)        accumulate_row

template <class T>
inline void add_row(const void* in, float scale, const float* row, std::int64_t channels, void* out) noexcept {
  const T* const x = static_cast<const T*>(in);
  T* const y = static_cast<T*>(out);
  if (x == nullptr)
    return for_each_vector(channels, [&](auto part, std::int64_t j) { store(part, load(part, row + j), y + j); });
  for_each_vector(channels, [&](auto part, std::int64_t j) {
    store(part, mul_add(load(part, x + j), splat(scale), load(part, row + j)), y + j);
  });
}

template <class T>
inline void accumulate_row(const void* in, float scale, std::int64_t channels, float* sums) noexcept {
  const T* const x = static_cast<const T*>(in);
  for_each_vector(channels, [&](auto part, std::int64_t j) {
    store(part, mul_add(load(part, x + j), splat(scale), load(part, sums + j)), sums + j);
  });
}
