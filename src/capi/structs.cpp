#include "capi/structs.hpp"

#include <string>

namespace ropewalk::capi {

Failure check_struct(const void* given, std::size_t known, const Where& where) {
  // A size that no struct of ours will ever have: it was not set, and bytes so far off are not looked at.
  constexpr std::size_t kMost = 4096;
  const std::size_t size = struct_size_of(given);
  // Whole words, so that no pointer is taken in half.
  if (size < sizeof(std::size_t) || size > kMost || size % alignof(std::size_t) != 0)
    return refused(where + ".struct_size",
                   "want " + std::to_string(known) + " as its INIT sets it, got " + std::to_string(size));
  const auto* bytes = static_cast<const unsigned char*>(given);
  for (std::size_t i = known; i < size; ++i)
    if (bytes[i] != 0)
      return Error{Code::kUnsupported, where + ".struct_size",
                   "want zeros behind the " + std::to_string(known) + " bytes that this version knows, got " +
                       std::to_string(bytes[i]) + " in byte " + std::to_string(i)};
  return std::nullopt;
}

}  // namespace ropewalk::capi
