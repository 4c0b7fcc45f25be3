#include "cli/bench/flip.hpp"
#include "cli/bench/flip_inl.hpp"

// Chosen by hand: target_clones chooses before main, where ThreadSanitizer is not up yet and crashes.

namespace ropewalk::cli::bench {
namespace {

struct Loops {
  void (*flip)(std::uint64_t* words, std::int64_t count) noexcept;
  void (*move)(const std::uint64_t* from, std::int64_t read, std::uint64_t* to, std::int64_t written) noexcept;
};

__attribute__((target("avx512f"))) void flip_avx512(std::uint64_t* words, std::int64_t count) noexcept {
  flip_signs_by_vectors(words, count);
}
__attribute__((target("avx2"))) void flip_avx2(std::uint64_t* words, std::int64_t count) noexcept {
  flip_signs_by_vectors(words, count);
}
void flip_sse2(std::uint64_t* words, std::int64_t count) noexcept { flip_signs_by_vectors(words, count); }

__attribute__((target("avx512f"))) void move_avx512(const std::uint64_t* from, std::int64_t read, std::uint64_t* to,
                                                    std::int64_t written) noexcept {
  move_words_by_vectors(from, read, to, written);
}
__attribute__((target("avx2"))) void move_avx2(const std::uint64_t* from, std::int64_t read, std::uint64_t* to,
                                               std::int64_t written) noexcept {
  move_words_by_vectors(from, read, to, written);
}
void move_sse2(const std::uint64_t* from, std::int64_t read, std::uint64_t* to, std::int64_t written) noexcept {
  move_words_by_vectors(from, read, to, written);
}

const Loops& loops() noexcept {
  static const Loops chosen = __builtin_cpu_supports("avx512f") ? Loops{flip_avx512, move_avx512}
                              : __builtin_cpu_supports("avx2")  ? Loops{flip_avx2, move_avx2}
                                                                : Loops{flip_sse2, move_sse2};
  return chosen;
}

}  // namespace

void flip_signs(std::uint64_t* words, std::int64_t count) noexcept { loops().flip(words, count); }

void move_words(const std::uint64_t* from, std::int64_t read, std::uint64_t* to, std::int64_t written) noexcept {
  loops().move(from, read, to, written);
}

}  // namespace ropewalk::cli::bench
