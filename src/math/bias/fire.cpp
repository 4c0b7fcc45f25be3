// FIRE: the lines between the knots of its network, and the way back through it.
#include "math/bias/kinds.hpp"

#include <numeric>

namespace ropewalk::math {

Fire::Fire(const FireBias& options)
    : heads_(index(options.heads)),
      width_(index(options.width)),
      first_position_(options.first_position),
      c_(std::abs(static_cast<double>(options.c))),
      c_sign_(options.c > 0.0f   ? 1.0
              : options.c < 0.0f ? -1.0
                                 : 0.0),
      threshold_(std::abs(static_cast<double>(options.threshold_multiplier) * options.threshold)),
      threshold_per_multiplier_(options.threshold_multiplier > 0.0f   ? options.threshold
                                : options.threshold_multiplier < 0.0f ? -options.threshold
                                                                      : 0.0),
      epsilon_(options.epsilon),
      w1_(options.w1.begin(), options.w1.end()),
      b1_(options.b1.begin(), options.b1.end()),
      w2_(options.w2.begin(), options.w2.end()),
      b2_(options.b2.begin(), options.b2.end()),
      place_of_knot_(width_) {
  shortest_denominator_ = fast_log1p(c_ * threshold_) + epsilon_;
  std::vector<std::size_t> units;
  for (std::size_t unit = 0; unit < width_; ++unit)
    if (w1_[unit] != 0.0) units.push_back(unit);
  std::sort(units.begin(), units.end(), [&](std::size_t a, std::size_t b) { return knot_of(a) < knot_of(b); });
  for (const std::size_t unit : units) {
    place_of_knot_[unit] = knots_.size();
    knots_.push_back(knot_of(unit));
  }

  const std::size_t pieces = knots_.size() + 1;
  lines_.resize(2 * pieces * heads_);
  const auto add = [&](std::size_t piece, std::size_t unit, double sign) {
    for (std::size_t h = 0; h < heads_; ++h) {
      const double weight = sign * w2_[h * width_ + unit];
      lines_[2 * (piece * heads_ + h)] += weight * w1_[unit];
      lines_[2 * (piece * heads_ + h) + 1] += weight * b1_[unit];
    }
  };
  for (std::size_t h = 0; h < heads_; ++h) lines_[2 * h + 1] = b2_[h];
  for (std::size_t unit = 0; unit < width_; ++unit)
    if (is_at_work(unit, 0)) add(0, unit, 1.0);
  const auto of_piece = static_cast<std::ptrdiff_t>(2 * heads_);
  for (std::size_t piece = 1; piece < pieces; ++piece) {
    const auto before = lines_.begin() + static_cast<std::ptrdiff_t>(piece - 1) * of_piece;
    std::copy(before, before + of_piece, before + of_piece);
    const std::size_t unit = units[piece - 1];
    add(piece, unit, w1_[unit] > 0.0 ? 1.0 : -1.0);
  }
}

Fire::Sums Fire::no_sums() const {
  return {.of_d = std::vector<double>(lines_.size() / 2),
          .of_dx = std::vector<double>(lines_.size() / 2),
          .at_knots = std::vector<double>(kW1 + (2 + heads_) * width_ + heads_)};
}

void Fire::propagate(const Sums& sums, std::span<double> out) const {
  for (std::size_t p = 0; p < out.size(); ++p) out[p] += sums.at_knots[p];
  out[0] += c_sign_ * sums.d_c;
  out[1] += threshold_per_multiplier_ * sums.d_threshold;
  const std::span<double> d_w1 = out.subspan(kW1, width_), d_b1 = out.subspan(kW1 + width_, width_),
                          d_w2 = out.subspan(kW1 + 2 * width_, heads_ * width_),
                          d_b2 = out.subspan(kW1 + (2 + heads_) * width_, heads_);
  for (std::size_t piece = 0; piece <= knots_.size(); ++piece)
    for (std::size_t h = 0; h < heads_; ++h) {
      const double of_d = sums.of_d[piece * heads_ + h], of_dx = sums.of_dx[piece * heads_ + h];
      if (of_d == 0.0 && of_dx == 0.0) continue;
      d_b2[h] += of_d;
      for (std::size_t unit = 0; unit < width_; ++unit) {
        if (!is_at_work(unit, piece)) continue;
        d_w2[h * width_ + unit] += w1_[unit] * of_dx + b1_[unit] * of_d;
        d_w1[unit] += w2_[h * width_ + unit] * of_dx;
        d_b1[unit] += w2_[h * width_ + unit] * of_d;
      }
    }
}

}  // namespace ropewalk::math
