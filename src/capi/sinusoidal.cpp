#include <ropewalk/absolute.hpp>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/structs.hpp"
#include "capi/views.hpp"

using namespace ropewalk::capi;

namespace {

using ropewalk::SinusoidExponent;
using ropewalk::SinusoidOrder;

static_assert(static_cast<int>(SinusoidOrder::kInterleaved) == RW_SINUSOID_INTERLEAVED &&
              static_cast<int>(SinusoidOrder::kConcatenated) == RW_SINUSOID_CONCATENATED &&
              static_cast<int>(SinusoidOrder::kInterleavedCosFirst) == RW_SINUSOID_INTERLEAVED_COS_FIRST &&
              static_cast<int>(SinusoidOrder::kConcatenatedCosFirst) == RW_SINUSOID_CONCATENATED_COS_FIRST);
static_assert(static_cast<int>(SinusoidExponent::kPaper) == RW_SINUSOID_EXPONENT_PAPER &&
              static_cast<int>(SinusoidExponent::kTensor2Tensor) == RW_SINUSOID_EXPONENT_TENSOR2TENSOR);

Failure take_spec(const rw_sinusoidal_fields* pointed, ropewalk::SinusoidalSpec& to) {
  rw_sinusoidal_fields given;
  bool has_zero_position = false;
  if (auto failure = take_struct(pointed, Where{"fields"}, given)) return failure;
  to.dim = given.dim;
  to.axes = given.axes;
  to.theta = given.theta;
  if (auto failure = take_enum(given.order, SinusoidOrder::kConcatenatedCosFirst, Where{"order"}, "", to.order))
    return failure;
  if (auto failure = take_enum(given.exponent, SinusoidExponent::kTensor2Tensor, Where{"exponent"}, "", to.exponent))
    return failure;
  if (auto failure =
          take_flag(given.sines_of_all_axes_first, Where{"sines_of_all_axes_first"}, "", to.sines_of_all_axes_first))
    return failure;
  if (auto failure = take_flag(given.has_zero_position, Where{"has_zero_position"}, "", has_zero_position))
    return failure;
  if (has_zero_position)
    to.zero_position = given.zero_position;
  else if (given.zero_position != 0)
    return refused("zero_position", "want 0 where has_zero_position is 0, got " + std::to_string(given.zero_position));
  to.position_offset = given.position_offset;
  to.gain = given.gain;
  return std::nullopt;
}

}  // namespace

rw_status rw_sinusoidal_create(const rw_sinusoidal_fields* fields, rw_sinusoidal** sinusoidal_out, char* error,
                               size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::SinusoidalSpec spec;
    if (auto failure = want_place(sinusoidal_out, Where{"sinusoidal_out"})) return failure;
    if (auto failure = take_spec(fields, spec)) return failure;
    auto made = ropewalk::Sinusoidal::make(spec);
    if (!made) return made.error();
    *sinusoidal_out = new rw_sinusoidal{*std::move(made)};
    return std::nullopt;
  });
}

void rw_sinusoidal_destroy(rw_sinusoidal* sinusoidal) { delete sinusoidal; }

const double* rw_sinusoidal_inv_freq(const rw_sinusoidal* sinusoidal, size_t* count_out) {
  const std::span<const double> list =
      sinusoidal != nullptr ? sinusoidal->sinusoidal.inv_freq() : std::span<const double>{};
  if (count_out != nullptr) *count_out = list.size();
  return list.empty() ? nullptr : list.data();
}

rw_status rw_sinusoidal_fill(const rw_sinusoidal* sinusoidal, const rw_positions_view* positions, float* rows,
                             size_t rows_count, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    ropewalk::PositionsView where;
    std::span<float> room;
    if (auto failure = want_address(sinusoidal, Where{"sinusoidal"})) return failure;
    if (auto failure = take_positions(positions, Where{"positions"}, where)) return failure;
    const ropewalk::Sinusoidal& rows_of = sinusoidal->sinusoidal;
    const std::int64_t dim = rows_of.spec().dim;
    if (where.batch < 0) return refused("positions.batch", "want a count, got " + std::to_string(where.batch));
    const std::int64_t most = INT64_MAX / dim / std::max<std::int64_t>(where.batch, 1);
    if (where.tokens < 0 || where.tokens > most)
      return refused("positions.tokens",
                     "want a count of at most " + std::to_string(most) + ", got " + std::to_string(where.tokens));
    if (auto failure = want_room(rows, rows_count, where.batch * where.tokens * dim, "rows", room)) return failure;
    const auto view =
        ropewalk::EmbeddingsView::contiguous(room.data(), ropewalk::DType::kFloat32, where.batch, where.tokens, dim);
    if (auto failure = rows_of.check(view, view, where)) return failure;
    rows_of.fill(view, where);
    return std::nullopt;
  });
}
