#include "cli/bench/flip.hpp"
#include "cli/bench/flip_inl.hpp"

namespace ropewalk::cli::bench {

void flip_signs(std::uint64_t* words, std::int64_t count) noexcept { flip_signs_by_vectors(words, count); }

void move_words(const std::uint64_t* from, std::int64_t read, std::uint64_t* to, std::int64_t written) noexcept {
  move_words_by_vectors(from, read, to, written);
}

}  // namespace ropewalk::cli::bench
