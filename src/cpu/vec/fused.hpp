// Sums that are made together, for targets whose mul_add is all there is to them. vec/wasm128.hpp, which has to look
// whether a sum is rounded as it should be, looks once for all of them.
// No include guard on purpose: a target reads it inside its own namespace.

/// What makes sums: mul_add(sums, a, b, c), mul_sub(sums, a, b, c) and sub_mul(sums, c, a, b) have the bits of mul_add
/// and its kin.
struct Fused {};
/// The same for a sum that may be made in double: rounded to 53 bits and then to 24 it is what it is rounded once.
/// Every sum that 53 bits hold is one.
struct ByDouble {};

template <class Sums>
ROPEWALK_INLINE Vec mul_add(const Sums&, Vec a, Vec b, Vec c) {
  return mul_add(a, b, c);
}
template <class Sums>
ROPEWALK_INLINE Vec mul_sub(const Sums&, Vec a, Vec b, Vec c) {
  return mul_sub(a, b, c);
}
template <class Sums>
ROPEWALK_INLINE Vec sub_mul(const Sums&, Vec c, Vec a, Vec b) {
  return sub_mul(c, a, b);
}

/// What body(sums) returns. It may be called twice, and so writes nothing. Unless kIsEverSmall no sum is rounded below
/// 2^-126, where a float has fewer than 24 bits.
template <bool kIsEverSmall, class Body>
ROPEWALK_INLINE auto together(const Body& body) {
  const Fused sums;
  return body(sums);
}
