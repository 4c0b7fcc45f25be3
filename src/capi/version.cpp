#include <ropewalk/version.hpp>

#include <ropewalk/ropewalk.h>
#include <ropewalk/target.hpp>

#include <array>
#include <string_view>

#include "capi/status.hpp"

// The version stands in version.hpp; the header for C, which cannot include that, follows it.
static_assert(ROPEWALK_VERSION_MAJOR == RW_VERSION_MAJOR && ROPEWALK_VERSION_MINOR == RW_VERSION_MINOR &&
              ROPEWALK_VERSION_PATCH == RW_VERSION_PATCH);
static_assert(std::string_view(ROPEWALK_VERSION) == RW_VERSION);

const char* rw_version(void) { return ROPEWALK_VERSION; }

int32_t rw_version_number(void) { return RW_VERSION_NUMBER; }

const char* rw_target_name(void) {
  static const std::array<char, 32> kName = [] {
    std::array<char, 32> name{};
    ropewalk::capi::write_line(ropewalk::active_target_name(), name.data(), name.size());
    return name;
  }();
  return kName.data();
}
