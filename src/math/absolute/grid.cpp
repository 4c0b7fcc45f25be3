// Where patches stand for sinusoids of two axes, and which family says so.
#include <ropewalk/absolute.hpp>

#include "math/text.hpp"

#include <array>
#include <cmath>
#include <cstddef>
#include <numbers>
#include <string>

namespace ropewalk {
namespace {

constexpr SinusoidalSpec of_two_axes(SinusoidOrder order, bool sines_of_all_axes_first = false) {
  SinusoidalSpec spec;
  spec.axes = 2;
  spec.order = order;
  spec.exponent = SinusoidExponent::kPaper;
  spec.sines_of_all_axes_first = sines_of_all_axes_first;
  return spec;
}

constexpr SinusoidGridOptions kFromOneToTwoPi{
    .column_first = false, .first = 1.0, .normalized_to = 2.0 * std::numbers::pi, .epsilon = 1e-6};

constexpr SinusoidGridOptions kFromHalf{
    .column_first = false, .first = 1.0, .normalized_to = 2.0 * std::numbers::pi, .epsilon = 1e-6, .shift = -0.5};

// transformers 5 puts the row first where MAE's own code puts the column; checkpoints carry the table, so that only a
// model that is made anew differs. timm's `reverse_coord` is no row of its own: on a square grid it changes nothing, on
// any other it walks the patches column by column.
constexpr std::array<SinusoidGridFamily, 7> kFamilies{{
    {"detr", of_two_axes(SinusoidOrder::kInterleaved), kFromOneToTwoPi,
     "transformers modeling_detr.py: DetrSinePositionEmbedding(normalize=True)"},
    {"sam2", of_two_axes(SinusoidOrder::kInterleaved), kFromOneToTwoPi,
     "transformers modeling_sam2.py: Sam2SinePositionEmbedding(normalize=True)"},
    {"deformable_detr", of_two_axes(SinusoidOrder::kInterleaved), kFromHalf,
     "transformers modeling_deformable_detr.py: DeformableDetrSinePositionEmbedding(normalize=True)"},
    {"mae",
     of_two_axes(SinusoidOrder::kConcatenated),
     {.column_first = true, .first = 0.0, .normalized_to = {}},
     "facebookresearch/mae util/pos_embed.py: get_2d_sincos_pos_embed"},
    {"vit_mae",
     of_two_axes(SinusoidOrder::kConcatenated),
     {},
     "transformers 5.23 modeling_vit_mae.py: build_2d_sinusoidal_position_embedding"},
    {"timm",
     of_two_axes(SinusoidOrder::kConcatenated, true),
     {},
     "timm 1.0 layers/pos_embed_sincos.py: build_sincos2d_pos_embed"},
    {"timm_interleaved",
     of_two_axes(SinusoidOrder::kConcatenated),
     {},
     "timm 1.0 layers/pos_embed_sincos.py: build_sincos2d_pos_embed(interleave_sin_cos=True)"},
}};

}  // namespace

Result<std::vector<double>> sinusoid_grid(std::int64_t rows, std::int64_t columns, const SinusoidGridOptions& options) {
  const auto invalid = [](const char* path, std::string message) {
    return Error{Code::kInvalid, path, std::move(message)};
  };
  constexpr std::int64_t kMost = std::int64_t{1} << 31;
  if (rows < 1) return invalid("rows", "want at least 1, got " + std::to_string(rows));
  if (columns < 1 || columns > kMost / rows)
    return invalid("columns", "want at least 1 and at most 2^31 patches in all, got " + std::to_string(columns));
  if (!std::isfinite(options.first)) return invalid("first", "want a number, got " + math::shown(options.first));
  if (!std::isfinite(options.shift)) return invalid("shift", "want a number, got " + math::shown(options.shift));
  if (options.normalized_to && !std::isfinite(*options.normalized_to))
    return invalid("normalized_to", "want a number, got " + math::shown(*options.normalized_to));
  const auto last = [&](std::int64_t side) { return options.first + static_cast<double>(side - 1) + options.epsilon; };
  if (options.normalized_to && !(last(1) > 0.0 && std::isfinite(options.epsilon)))
    return invalid("epsilon", "want first + epsilon > 0, got " + math::shown(last(1)));

  const auto coordinate = [&](std::int64_t k, std::int64_t side) {
    const double plain = options.first + static_cast<double>(k);
    const double shifted = plain + options.shift;
    return options.normalized_to ? shifted / last(side) * *options.normalized_to : shifted;
  };
  const auto patches = static_cast<std::size_t>(rows * columns);
  std::vector<double> out(2 * patches);
  const std::size_t row_axis = options.column_first ? patches : 0, column_axis = patches - row_axis;
  for (std::int64_t r = 0, token = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < columns; ++c, ++token) {
      out[row_axis + static_cast<std::size_t>(token)] = coordinate(r, rows);
      out[column_axis + static_cast<std::size_t>(token)] = coordinate(c, columns);
    }
  return out;
}

std::span<const SinusoidGridFamily> sinusoid_grid_families() noexcept { return kFamilies; }

const SinusoidGridFamily* find_sinusoid_grid_family(std::string_view name) noexcept {
  for (const SinusoidGridFamily& family : kFamilies)
    if (family.name == name) return &family;
  return nullptr;
}

}  // namespace ropewalk
