// A file of its own: where a compiler sees both sides it takes free() for the wrong end of new.
#include "starved_memory.hpp"

#include <cstddef>
#include <cstdlib>
#include <new>

std::atomic<long> starved_after = -1;
std::atomic<long> starved_above = -1;
std::atomic<long> blocks_alive = 0;

namespace {

void* allocate(std::size_t size) noexcept {
  const long left = starved_after, most = starved_above;
  if (left == 0 || (most >= 0 && size > static_cast<std::size_t>(most))) return nullptr;
  if (left > 0) starved_after = left - 1;
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory != nullptr) ++blocks_alive;
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  --blocks_alive;
  std::free(memory);
}

}  // namespace

void* operator new(std::size_t size) {
  void* memory = allocate(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { release(memory); }
