#include "cuda/machines.hpp"

namespace machines {

std::vector<Machine> devices() { return {}; }

}  // namespace machines
