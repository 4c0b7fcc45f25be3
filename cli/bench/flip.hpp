#pragma once

#include <cstdint>

namespace ropewalk::cli::bench {

/// Flips the sign of every float32, or of every second 16-bit float, in place: words[i] ^= 0x8000000080000000 in the
/// widest vectors of this processor, four at a time. What reads and writes each byte once cannot do less.
void flip_signs(std::uint64_t* words, std::int64_t count) noexcept;

/// Reads all of `from` and writes all of `to`: the least that turning one into the other moves. For reads of 1, 2, 4
/// and 8 times what is written, and of less; a written word is the sum, without carry, of those read for it.
void move_words(const std::uint64_t* from, std::int64_t read, std::uint64_t* to, std::int64_t written) noexcept;

}  // namespace ropewalk::cli::bench
