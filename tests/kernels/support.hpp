// What the tests of this room share: every target in turn, memory with borders, and the plainest rotation there is.
#pragma once

#include <ropewalk/ropewalk.hpp>

#include "cpu/dispatch.hpp"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace support {

using ropewalk::DType;
using ropewalk::HeadsView;
using ropewalk::PairLayout;

/// Runs the body once for each target that this processor has, with the whole library following it.
class EveryTarget : public testing::TestWithParam<const ropewalk::cpu::Target*> {
 protected:
  void SetUp() override { ropewalk::cpu::override_target(GetParam()); }
  void TearDown() override { ropewalk::cpu::override_target(nullptr); }
};
std::vector<const ropewalk::cpu::Target*> targets_that_run_here();

#define ROPEWALK_ON_EVERY_TARGET(Suite)                                                  \
  INSTANTIATE_TEST_SUITE_P(, Suite, testing::ValuesIn(support::targets_that_run_here()), \
                           [](const auto& tested) { return std::string(tested.param->name); })

constexpr DType kDTypes[] = {DType::kFloat32, DType::kBFloat16, DType::kFloat16};
constexpr PairLayout kLayouts[] = {PairLayout::kHalf, PairLayout::kInterleaved};

// ---- numbers

/// The nearest value of a dtype, ties to even, by the definition of the format and no trick of bits.
double rounded(double x, DType dtype);
/// Bits of a value that the dtype holds exactly (from `rounded`), and back.
std::uint32_t bits_of(double x, DType dtype);
double value_of(std::uint32_t bits, DType dtype);

// ---- memory

/// Bytes between two pages that may not be touched, as near to the one behind (or before) as the size allows.
class Pages {
 public:
  enum class Edge { kEnd, kBegin };
  explicit Pages(std::size_t bytes, Edge edge = Edge::kEnd);
  ~Pages();
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return bytes_; }

 private:
  std::size_t bytes_, mapped_;
  std::byte* mapping_;
  std::byte* data_;
};

/// Order of the axes in memory; `gap` elements more between the heads and twice as many between tokens.
struct Shape {
  std::int64_t batch = 1, tokens = 1, heads = 1, head_dim = 0;
  std::string order = "bshd";
  std::int64_t gap = 0;
  bool backwards = false;  ///< tokens lie from the last to the first
};

/// A tensor in guarded memory, every byte outside of its elements filled with a pattern.
class Tensor {
 public:
  Tensor(const Shape& shape, DType dtype, Pages::Edge edge = Pages::Edge::kEnd);
  const HeadsView& view() const noexcept { return view_; }
  const Shape& shape() const noexcept { return shape_; }
  double get(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const;
  void set(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c, double value);
  std::uint32_t bits(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const;
  void set_bits(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c, std::uint32_t bits);
  /// Normal variates from a seed; element (b, t, h, c) is the same whatever the order in memory.
  Tensor& fill(std::uint64_t seed);
  bool border_untouched() const;
  /// Bit for bit, element by element.
  bool same_elements(const Tensor& other) const;

 private:
  std::size_t at(std::int64_t b, std::int64_t t, std::int64_t h, std::int64_t c) const;
  Shape shape_;
  HeadsView view_;
  std::size_t size_of_element_;
  Pages pages_;
};

void for_each_element(const Shape& shape,
                      const std::function<void(std::int64_t, std::int64_t, std::int64_t, std::int64_t)>& body);

// ---- the operator

/// make, or a failed test.
ropewalk::Rotary made(const ropewalk::RotarySpec& spec);

/// FNV-1a over the bytes of some words, in little-endian order.
std::uint64_t digest(std::span<const std::uint32_t> words);

/// check, then apply in place on one tensor.
void turn(const ropewalk::Rotary& rotary, const HeadsView& x, const ropewalk::PositionsView& positions,
          const ropewalk::RotaryCall& call = {});

/// The operator as the formula reads, in double: element (b, t, h, c) of `x` after the rotation.
/// position_of(b, t, axis) says where a token stands.
double plainly_turned(const ropewalk::RotarySpec& spec, double gain, double direction, const Tensor& x, std::int64_t b,
                      std::int64_t t, std::int64_t h, std::int64_t c,
                      const std::function<std::int64_t(std::int64_t, std::int64_t, int)>& position_of);

}  // namespace support
