#include <ropewalk/scaling.hpp>

#include <string>

#include "capi/handles.hpp"
#include "capi/status.hpp"

using namespace ropewalk::capi;

static_assert(static_cast<int>(ropewalk::DynamicReset::kBelowTrained) == RW_RESET_BELOW_TRAINED &&
              static_cast<int>(ropewalk::DynamicReset::kNever) == RW_RESET_NEVER);

rw_status rw_dynamic_length_create(int64_t trained_context, rw_dynamic_reset reset, rw_dynamic_length** length_out,
                                   char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::DynamicReset when{};
    if (auto failure = want_place(length_out, Where{"length_out"})) return failure;
    if (trained_context < 1)
      return refused("trained_context", "want a number of tokens >= 1, got " + std::to_string(trained_context));
    if (auto failure = take_enum(reset, ropewalk::DynamicReset::kNever, Where{"reset"}, "", when)) return failure;
    *length_out = new rw_dynamic_length{ropewalk::DynamicLength(trained_context, when)};
    return std::nullopt;
  });
}

void rw_dynamic_length_destroy(rw_dynamic_length* length) { delete length; }

rw_status rw_dynamic_length_observe(rw_dynamic_length* length, int64_t running_length, int64_t* length_out, char* error,
                                    size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(length, Where{"length"})) return failure;
    if (auto failure = want_address(length_out, Where{"length_out"})) return failure;
    if (running_length < 0)
      return refused("running_length", "want a number of tokens >= 0, got " + std::to_string(running_length));
    *length_out = length->length.observe(running_length);
    return std::nullopt;
  });
}

int64_t rw_dynamic_length_current(const rw_dynamic_length* length) {
  return length == nullptr ? 0 : length->length.length();
}

uint64_t rw_dynamic_length_epoch(const rw_dynamic_length* length) {
  return length == nullptr ? 0 : length->length.epoch();
}
