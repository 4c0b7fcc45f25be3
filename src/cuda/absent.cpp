// The symbols of the kernels in a build without them.
#include "cuda/rotate.hpp"

namespace ropewalk::cuda {

bool is_built() noexcept { return false; }
bool runs_here() noexcept { return false; }

const char* launch_rotate(const RotateParams&, const RotateShape&, void*) noexcept { return "a build without CUDA"; }

}  // namespace ropewalk::cuda
