// How an operator shares its work out.
#pragma once

#include <ropewalk/rotary.hpp>

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace ropewalk {

// A thread is worth waking for this many elements and more.
inline constexpr std::int64_t kElementsPerThread = 1 << 16;

// What fork() makes has libgomp's list of threads and none of the threads, and would wait for them without end. A
// process that has used threads therefore leaves word for its children, who work on the caller's alone.
class Forks {
 public:
  static bool lost_threads() noexcept { return lost_.load(std::memory_order_relaxed); }
  static void note_threads() noexcept {
    if (noted_.load(std::memory_order_relaxed) || noted_.exchange(true)) return;
    static_cast<void>(pthread_atfork(nullptr, nullptr, [] { lost_ = true; }));
  }

 private:
  static inline std::atomic<bool> noted_ = false, lost_ = false;
};

/// `wanted` as in RotaryCall::threads.
inline int threads_for_elements(double elements, int wanted, const ThreadPool* pool) noexcept {
  if (wanted == 1 || omp_in_parallel() || (pool == nullptr && Forks::lost_threads())) return 1;
  const double worth = elements / static_cast<double>(kElementsPerThread);
  const int most = wanted > 0 ? wanted : omp_get_max_threads();
  return worth >= most ? most : std::max(1, static_cast<int>(worth));
}

/// Runs part `i` of `parts` of a pass: its share of the items, side by side.
template <class Pass>
void run_part(const Pass& pass, std::int64_t i, std::int64_t parts) noexcept {
  const std::int64_t each = pass.items() / parts, longer = pass.items() % parts;
  const std::int64_t first = i * each + std::min(i, longer);
  pass.run(first, first + each + (i < longer ? 1 : 0));
}

template <class Pass>
void run_on(const Pass& pass, int threads, const ThreadPool* pool) noexcept {
  if (threads == 1) return pass.run(0, pass.items());
  if (pool != nullptr) {
    struct Work {
      const Pass& pass;
      int parts;
    } work{pass, threads};
    return pool->run(
        pool->pool, threads,
        [](void* argument, int i) {
          const Work& mine = *static_cast<const Work*>(argument);
          run_part(mine.pass, i, mine.parts);
        },
        &work);
  }
  Forks::note_threads();
#pragma omp parallel num_threads(threads)
  run_part(pass, omp_get_thread_num(), omp_get_num_threads());
}

}  // namespace ropewalk
