// Where the kernel is run: every thread of every block on the host, in an order of chance, or on a device.
#pragma once

#include <ropewalk/cuda.hpp>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace machines {

/// A call with all of its addresses in the memory of the host.
struct Job {
  const ropewalk::Rotary& rotary;
  std::span<const ropewalk::RotaryOperand> operands;
  ropewalk::cuda::DevicePositions positions;
  ropewalk::Direction direction = ropewalk::Direction::kForward;
};

struct Machine {
  std::string name;
  std::string (*absence)();            ///< why it cannot be used, or nothing
  std::string (*run)(const Job& job);  ///< results where the operands say; what went wrong, or nothing
};

/// The bodies of the kernel, before the barrier and behind it.
extern const Machine host;
/// cuda::apply between copies there and back; not in builds without CUDA.
std::vector<Machine> devices();

/// All that this build has.
inline std::vector<Machine> all() {
  std::vector<Machine> every = devices();
  every.insert(every.begin(), host);
  return every;
}

}  // namespace machines
