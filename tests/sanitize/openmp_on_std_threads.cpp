// OpenMP on std::thread, for builds under ThreadSanitizer alone: what g++ makes of `#pragma omp`, and what oneDNN
// calls.
//
// libgomp wakes its threads and waits for them by futexes that ThreadSanitizer does not see, so that whatever is handed
// over at the borders of a parallel region looks like a race. Here every border is one that it sees, and no order is
// added that OpenMP does not promise: turns of a dynamic loop are given out by a relaxed counter. What is not here does
// not link. The names are those of libgomp's interface (GCC's libgomp.map), its first one, so that oneDNN's calls land
// here too.
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

namespace {

/// The threads of one parallel region.
class Team {
 public:
  explicit Team(int threads) : threads_(threads) {}
  int threads() const { return threads_; }

  void wait_for_all() {
    std::unique_lock lock(mutex_);
    if (++waiting_ == threads_) {
      waiting_ = 0;
      ++met_;
      given_.store(0, std::memory_order_relaxed);  // every loop ends at a barrier, where the next one begins anew
      all_there_.notify_all();
      return;
    }
    all_there_.wait(lock, [this, before = met_] { return met_ != before; });
  }

  /// The first of the next `count` turns of the region's loop.
  long take(long count) { return given_.fetch_add(count, std::memory_order_relaxed); }

 private:
  const int threads_;
  std::mutex mutex_;
  std::condition_variable all_there_;
  int waiting_ = 0;
  long met_ = 0;
  std::atomic<long> given_{0};
};

struct Loop {
  long start, end, step, chunk;
};

int threads_at_first() {
  const char* const asked = std::getenv("OMP_NUM_THREADS");
  const int threads = asked != nullptr ? std::atoi(asked) : 0;
  return threads > 0 ? threads : omp_get_num_procs();
}

/// What OpenMP knows of the thread it is on.
struct Self {
  Team* team = nullptr;
  int number = 0;
  bool among_others = false;  ///< in a region of more than one thread, however deep
  int most_threads = threads_at_first();
  Loop loop{};
};
thread_local Self self;

void run_as(const Self& member, void (*body)(void*), void* data) {
  const Self before = self;
  self = member;
  body(data);
  self = before;
}

}  // namespace

extern "C" {

int omp_get_num_procs() noexcept { return std::max(1, static_cast<int>(std::thread::hardware_concurrency())); }
int omp_get_thread_num() noexcept { return self.number; }
int omp_get_num_threads() noexcept { return self.team != nullptr ? self.team->threads() : 1; }
int omp_get_max_threads() noexcept { return self.most_threads; }
void omp_set_num_threads(int threads) noexcept { self.most_threads = std::max(1, threads); }
int omp_in_parallel() noexcept { return self.among_others ? 1 : 0; }

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned /*flags*/) {
  // A region within a region has one thread, as under libgomp where nobody asks for more levels.
  const int count = self.among_others ? 1 : threads == 0 ? self.most_threads : static_cast<int>(threads);
  Team team(count);
  const auto member = [&](int number) {
    return Self{&team, number, self.among_others || count > 1, self.most_threads, {}};
  };
  std::vector<std::thread> others;
  for (int i = 1; i < count; ++i) others.emplace_back(run_as, member(i), body, data);
  run_as(member(0), body, data);
  for (std::thread& other : others) other.join();
}

void GOMP_barrier() {
  if (self.team != nullptr) self.team->wait_for_all();
}

bool GOMP_loop_nonmonotonic_dynamic_next(long* first, long* last) {
  const auto& [start, end, step, chunk] = self.loop;
  const long turns = step > 0 ? (end - start + step - 1) / step : (end - start + step + 1) / step;
  const long mine = self.team->take(chunk);
  if (mine >= turns) return false;
  *first = start + mine * step;
  *last = start + std::min(turns, mine + chunk) * step;
  return true;
}

bool GOMP_loop_nonmonotonic_dynamic_start(long start, long end, long step, long chunk, long* first, long* last) {
  self.loop = {start, end, step, chunk};
  return GOMP_loop_nonmonotonic_dynamic_next(first, last);
}

void GOMP_loop_end() { GOMP_barrier(); }

}  // extern "C"
