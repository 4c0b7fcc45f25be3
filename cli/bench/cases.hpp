#pragma once

#include <ropewalk/dtype.hpp>
#include <ropewalk/layout.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace ropewalk::cli::bench {

// What every case turns by. Far enough from 0 that a phase formed in float32 shows.
constexpr double kTheta = 500000.0;
constexpr std::int64_t kFirstPosition = 100000;
constexpr std::uint32_t kSeed = 1;

/// One thing to measure.
struct Case {
  std::string operation;  ///< of operations()
  DType dtype = DType::kFloat32;
  PairLayout layout = PairLayout::kHalf;
  std::string order = "bshd";  ///< bshd or bhsd
  std::int64_t tokens = 1;
  std::int64_t query_heads = 32, key_heads = 8, head_dim = 128;
  int threads = 1;
  bool with_opponents = true;

  std::int64_t elements() const { return tokens * (query_heads + key_heads) * head_dim; }
  /// "in place/float32/half/bshd/32+8x128/1024/2 threads": what --only is matched with.
  std::string id() const;
  /// The same without the tokens.
  std::string group() const;
};

enum class Extent : std::uint8_t { kQuick, kUsual, kFull };

/// The cases of an extent, ordered by threads, then as they are to be read. `tokens` replaces the counts of the extent
/// where it is not empty.
std::vector<Case> listed_cases(Extent extent, std::span<const int> threads, std::span<const std::int64_t> tokens);

}  // namespace ropewalk::cli::bench
