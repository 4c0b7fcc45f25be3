#pragma once

#include <string_view>

namespace ropewalk {

/// The CPU target that this process works with: "avx512_bf16", "avx512", "avx2", "neon", "scalar", ... The best one
/// that runs on this processor, or the one that the environment variable ROPEWALK_TARGET named when it was first asked
/// for. A name that cannot be followed is refused by Rotary::make. For reports: results have the same bits on every
/// target.
std::string_view active_target_name() noexcept;

}  // namespace ropewalk
