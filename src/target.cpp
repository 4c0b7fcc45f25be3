#include <ropewalk/target.hpp>

#include "cpu/dispatch.hpp"

namespace ropewalk {

std::string_view active_target_name() noexcept { return cpu::active_target().name; }

}  // namespace ropewalk
