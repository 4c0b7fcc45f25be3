// An operator new that fails when a test says so.
#pragma once

#include <atomic>

extern std::atomic<long> starved_after;  ///< allocations to go before all fail; below 0: none fails
extern std::atomic<long> starved_above;  ///< bytes above which one allocation fails; below 0: none fails
extern std::atomic<long> blocks_alive;
