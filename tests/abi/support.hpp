#pragma once

#include <ropewalk/ropewalk.h>
#include <ropewalk/ropewalk.hpp>

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

namespace abi_test {

/// A buffer for errors that knows where it ends.
struct ErrorText {
  std::array<char, 512> text{};
  char* data() { return text.data(); }
  std::size_t size() const { return text.size(); }
  std::string str() const { return text.data(); }
};

template <auto kDestroy>
struct Destroyer {
  template <class T>
  void operator()(T* handle) const {
    kDestroy(handle);
  }
};
using Spec = std::unique_ptr<rw_spec, Destroyer<rw_spec_destroy>>;
using FrequenciesHandle = std::unique_ptr<rw_frequencies, Destroyer<rw_frequencies_destroy>>;
using RotaryHandle = std::unique_ptr<rw_rotary, Destroyer<rw_rotary_destroy>>;
using RerotationHandle = std::unique_ptr<rw_rerotation, Destroyer<rw_rerotation_destroy>>;
using Checkpoint = std::unique_ptr<rw_checkpoint, Destroyer<rw_checkpoint_destroy>>;
using Hazards = std::unique_ptr<rw_hazards, Destroyer<rw_hazards_destroy>>;
using SinusoidalHandle = std::unique_ptr<rw_sinusoidal, Destroyer<rw_sinusoidal_destroy>>;
using BiasHandle = std::unique_ptr<rw_bias, Destroyer<rw_bias_destroy>>;
using LengthHandle = std::unique_ptr<rw_dynamic_length, Destroyer<rw_dynamic_length_destroy>>;

inline Spec spec_of(const rw_spec_fields& fields) {
  ErrorText error;
  rw_spec* spec = nullptr;
  EXPECT_EQ(rw_spec_create(&fields, &spec, error.data(), error.size()), RW_OK) << error.str();
  return Spec(spec);
}

inline RotaryHandle rotary_of(const rw_spec* spec, std::int64_t running_length = 0) {
  ErrorText error;
  rw_rotary* rotary = nullptr;
  EXPECT_EQ(rw_rotary_create(spec, running_length, &rotary, error.data(), error.size()), RW_OK) << error.str();
  return RotaryHandle(rotary);
}

/// Llama's.
inline rw_spec_fields plain_fields(std::int32_t head_dim = 16) {
  rw_spec_fields fields = RW_SPEC_FIELDS_INIT;
  fields.head_dim = head_dim;
  fields.rotary_dim = head_dim;
  fields.theta = 10000.0;
  fields.layout = RW_LAYOUT_HALF;
  return fields;
}

/// Numbers of no pattern, the same in every run.
inline std::vector<float> numbers(std::size_t count, std::uint32_t seed = 1) {
  std::vector<float> made(count);
  for (float& number : made) {
    seed = seed * 1664525u + 1013904223u;
    number = static_cast<float>(static_cast<std::int32_t>(seed)) * 0x1p-31f;
  }
  return made;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace abi_test
