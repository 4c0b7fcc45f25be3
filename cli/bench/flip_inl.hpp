#pragma once

#include <cstdint>

namespace ropewalk::cli::bench {

[[gnu::always_inline]] inline void flip_signs_by_vectors(std::uint64_t* words, std::int64_t count) noexcept {
#pragma GCC ivdep
#pragma GCC unroll 4
  for (std::int64_t i = 0; i < count; ++i) words[i] ^= 0x8000000080000000u;
}

// kRatio streams into one.
template <int kRatio>
[[gnu::always_inline]] inline void fold_by_vectors(const std::uint64_t* from, std::uint64_t* to,
                                                   std::int64_t written) noexcept {
#pragma GCC ivdep
#pragma GCC unroll 4
  for (std::int64_t i = 0; i < written; ++i) {
    std::uint64_t sum = from[i];
    for (int stream = 1; stream < kRatio; ++stream) sum ^= from[stream * written + i];
    to[i] = sum;
  }
}

[[gnu::always_inline]] inline void move_words_by_vectors(const std::uint64_t* from, std::int64_t read,
                                                         std::uint64_t* to, std::int64_t written) noexcept {
  if (read == 8 * written)
    fold_by_vectors<8>(from, to, written);
  else if (read == 4 * written)
    fold_by_vectors<4>(from, to, written);
  else if (read == 2 * written)
    fold_by_vectors<2>(from, to, written);
  else
    for (std::int64_t at = 0; read > 0 && at < written; at += read)
      fold_by_vectors<1>(from, to + at, read < written - at ? read : written - at);
}

}  // namespace ropewalk::cli::bench
