// The kinds of bias, prepared. Those that depend on the distance alone have
//
//     for_heads(n, heads, put)           put(h, value) for those heads, at distance n = query - key
//     add_gradient(n, heads, d, out)     out[p] += sum over those h of d(h) * d value(h, n) / d parameter p
//
// and the others the same for a query and a key.
#pragma once

#include <ropewalk/bias.hpp>
#include <ropewalk/phase.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "math/elementary.hpp"

namespace ropewalk::math {

/// query - key, cut off at the ends of int64.
inline std::int64_t distance(std::int64_t query, std::int64_t key) noexcept {
  constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min(),
                         kMost = std::numeric_limits<std::int64_t>::max();
  if (key < 0 && query > kMost + key) return kMost;
  if (key > 0 && query < kLeast + key) return kLeast;
  return query - key;
}

/// A distance as a kernel of it takes it: |n|, or 0 for a key behind a causal query.
inline double length_of(std::int64_t n, bool symmetric) noexcept {
  return symmetric ? std::abs(static_cast<double>(n)) : static_cast<double>(std::max<std::int64_t>(n, 0));
}

inline std::size_t index(std::int64_t i) noexcept { return static_cast<std::size_t>(i); }

/// Heads [first, end).
struct Heads {
  std::size_t first = 0, end = 0;
};

class Alibi {
 public:
  Alibi(const AlibiBias& options, std::vector<double> slopes)
      : symmetric_(options.symmetric), slopes_(std::move(slopes)) {}

  template <class Put>
  void for_heads(std::int64_t n, Heads heads, const Put& put) const noexcept {
    const double length = length_of(n, symmetric_);
    for (std::size_t h = heads.first; h < heads.end; ++h) put(h, 0.0 - slopes_[h] * length);
  }
  template <class D>
  void add_gradient(std::int64_t n, Heads heads, const D& d, std::span<double> out) const {
    const double length = length_of(n, symmetric_);
    for (std::size_t h = heads.first; h < heads.end; ++h) out[h] -= length * d(h);
  }

 private:
  bool symmetric_;
  std::vector<double> slopes_;
};

class T5 {
 public:
  T5(const T5Bias& options, std::vector<std::int64_t> starts)
      : heads_(index(options.heads)), causal_(options.causal), starts_(std::move(starts)), table_(options.table) {}

  template <class Put>
  void for_heads(std::int64_t n, Heads heads, const Put& put) const noexcept {
    const std::size_t row = bucket(n) * heads_;
    for (std::size_t h = heads.first; h < heads.end; ++h) put(h, static_cast<double>(table_[row + h]));
  }
  template <class D>
  void add_gradient(std::int64_t n, Heads heads, const D& d, std::span<double> out) const {
    const std::size_t row = bucket(n) * heads_;
    for (std::size_t h = heads.first; h < heads.end; ++h) out[row + h] += d(h);
  }

 private:
  std::size_t bucket(std::int64_t n) const noexcept {
    const bool behind = n < 0;
    std::int64_t length = n;
    if (behind) length = causal_ ? 0 : n == std::numeric_limits<std::int64_t>::min() ? -(n + 1) : -n;
    const auto next = std::upper_bound(starts_.begin(), starts_.end(), length);
    const auto of_side = static_cast<std::size_t>(next - starts_.begin()) - 1;
    return behind && !causal_ ? starts_.size() + of_side : of_side;
  }

  std::size_t heads_;
  bool causal_;
  std::vector<std::int64_t> starts_;  // of one side
  std::vector<float> table_;
};

class Kerple {
 public:
  explicit Kerple(const KerpleBias& options) : kind_(options.kind), symmetric_(options.symmetric) {
    const double most = kind_ == KerpleKind::kPower ? 2.0 : std::numeric_limits<double>::infinity();
    for (const float r : options.r1) r1_.push_back(static_cast<double>(std::max(r, options.smallest)));
    for (const float r : options.r2) r2_.push_back(std::min(static_cast<double>(std::max(r, options.smallest)), most));
  }

  template <class Put>
  void for_heads(std::int64_t n, Heads heads, const Put& put) const noexcept {
    const double length = length_of(n, symmetric_);
    const bool is_log = kind_ == KerpleKind::kLog;
    const double log = is_log || length == 0.0 ? 0.0 : fast_log(length);
    for (std::size_t h = heads.first; h < heads.end; ++h)
      put(h, length == 0.0 ? 0.0 : -r1_[h] * (is_log ? fast_log1p(r2_[h] * length) : fast_exp(r2_[h] * log)));
  }
  template <class D>
  void add_gradient(std::int64_t n, Heads heads, const D& d, std::span<double> out) const {
    const double length = length_of(n, symmetric_);
    if (length == 0.0) return;
    const double log = fast_log(length);
    for (std::size_t h = heads.first; h < heads.end; ++h) {
      const double of_head = d(h);
      if (kind_ == KerpleKind::kLog) {
        out[h] -= fast_log1p(r2_[h] * length) * of_head;
        out[r1_.size() + h] -= r1_[h] * length / (1.0 + r2_[h] * length) * of_head;
      } else {
        const double power = fast_exp(r2_[h] * log);
        out[h] -= power * of_head;
        out[r1_.size() + h] -= r1_[h] * power * log * of_head;
      }
    }
  }

 private:
  KerpleKind kind_;
  bool symmetric_;
  std::vector<double> r1_, r2_;
};

class Sandwich {
 public:
  explicit Sandwich(const SandwichBias& options);

  template <class Put>
  void for_heads(std::int64_t n, Heads heads, const Put& put) const noexcept {
    const double sum = sum_of_cosines(n) - subtrahend_;
    for (std::size_t h = heads.first; h < heads.end; ++h) put(h, sum / (8.0 * static_cast<double>(h + 1) / heads_));
  }
  template <class D>
  void add_gradient(std::int64_t, Heads, const D&, std::span<double>) const {}

 private:
  double sum_of_cosines(std::int64_t n) const noexcept;

  int heads_;
  double subtrahend_;
  std::vector<Turns> turns_per_token_;
};

/// relu makes f a chain of straight pieces: between two knots the same hidden units are at work, and every head is a
/// line of its own.
class Fire {
 public:
  explicit Fire(const FireBias& options);

  /// True if the rows of queries up to this one share their denominator.
  bool is_below_threshold(std::int64_t query) const noexcept {
    return static_cast<double>(distance(query, first_position_)) <= threshold_;
  }
  /// What a row divides by.
  double denominator(std::int64_t query) const noexcept {
    return fast_log1p(c_ * std::max(static_cast<double>(distance(query, first_position_)), threshold_)) + epsilon_;
  }

  template <class Put>
  void for_heads(std::int64_t n, double denominator, Heads heads, const Put& put) const noexcept {
    const double x = fast_log1p(c_ * length_of(n, false)) / denominator;
    const double* const line = lines_.data() + piece_of(x) * 2 * heads_;
    for (std::size_t h = heads.first; h < heads.end; ++h) put(h, line[2 * h] * x + line[2 * h + 1]);
  }
  template <class Put>
  void for_heads(std::int64_t n, Heads heads, const Put& put) const noexcept {
    for_heads(n, shortest_denominator_, heads, put);
  }

  /// What the entries of a block say about each piece, gathered before anything is propagated.
  struct Sums {
    std::vector<double> of_d, of_dx;  // [pieces, heads]
    std::vector<double> at_knots;     // as the parameters: of entries at a knot, whose units have no slope there
    double d_c = 0.0, d_threshold = 0.0;
  };
  Sums no_sums() const;
  template <class D>
  void gather(std::int64_t query, std::int64_t key, Heads heads, const D& d, Sums& sums) const {
    const double length = length_of(distance(query, key), false);
    const double row = static_cast<double>(distance(query, first_position_));
    const double longest = std::max(row, threshold_);
    const double bottom = denominator(query), x = fast_log1p(c_ * length) / bottom;
    const std::size_t piece = piece_of(x);
    double d_x = 0.0;
    if (piece < knots_.size() && knots_[piece] == x) {
      d_x = at_knot(x, heads, d, sums.at_knots);
    } else {
      for (std::size_t h = heads.first; h < heads.end; ++h) {
        const std::size_t place = piece * heads_ + h;
        sums.of_d[place] += d(h);
        sums.of_dx[place] += d(h) * x;
        d_x += d(h) * lines_[2 * place];
      }
    }
    sums.d_c += d_x * (length / (1.0 + c_ * length) - x * longest / (1.0 + c_ * longest)) / bottom;
    // Half where both are the larger one, as torch's max has it.
    const double of_threshold = row < threshold_ ? 1.0 : row == threshold_ ? 0.5 : 0.0;
    sums.d_threshold -= of_threshold * d_x * x * c_ / (1.0 + c_ * threshold_) / bottom;
  }
  void propagate(const Sums& sums, std::span<double> out) const;

 private:
  std::size_t piece_of(double x) const noexcept {
    return static_cast<std::size_t>(std::lower_bound(knots_.begin(), knots_.end(), x) - knots_.begin());
  }
  /// The plain way through the network; returns the derivative of sum over h of d(h) f_h.
  template <class D>
  double at_knot(double x, Heads heads, const D& d, std::vector<double>& out) const {
    double d_x = 0.0;
    for (std::size_t unit = 0; unit < width_; ++unit) {
      const double hidden = w1_[unit] * x + b1_[unit];
      if (!(hidden > 0.0) || knot_of(unit) == x) continue;
      double d_hidden = 0.0;
      for (std::size_t h = heads.first; h < heads.end; ++h) {
        out[kW1 + 2 * width_ + h * width_ + unit] += d(h) * hidden;
        d_hidden += d(h) * w2_[h * width_ + unit];
      }
      out[kW1 + unit] += d_hidden * x;
      out[kW1 + width_ + unit] += d_hidden;
      d_x += d_hidden * w1_[unit];
    }
    for (std::size_t h = heads.first; h < heads.end; ++h) out[kW1 + (2 + heads_) * width_ + h] += d(h);
    return d_x;
  }
  double knot_of(std::size_t unit) const noexcept { return -b1_[unit] / w1_[unit]; }
  bool is_at_work(std::size_t unit, std::size_t piece) const noexcept {
    if (w1_[unit] == 0.0) return b1_[unit] > 0.0;
    return (w1_[unit] > 0.0) == (piece > place_of_knot_[unit]);
  }

  static constexpr std::size_t kW1 = 2;  // behind c and the multiplier: w1, b1, w2, b2

  std::size_t heads_, width_;
  std::int64_t first_position_;
  double c_, c_sign_, threshold_, threshold_per_multiplier_, epsilon_, shortest_denominator_ = 1.0;
  std::vector<double> w1_, b1_, w2_, b2_;
  std::vector<double> knots_;               // rising
  std::vector<std::size_t> place_of_knot_;  // [width], of each unit's in knots_
  std::vector<double> lines_;               // [knots + 1, heads, 2]: slope and value at 0
};

/// Both windows: a table of displacements, given or made by a network.
class Window {
 public:
  explicit Window(const WindowBias& options);
  explicit Window(const LogCpbBias& options);

  std::int64_t tokens() const noexcept { return rows_ * columns_ + (class_token_ ? 1 : 0); }

  template <class Put>
  void for_heads(std::int64_t query, std::int64_t key, Heads heads, const Put& put) const noexcept {
    const std::size_t row = row_of(query, key) * heads_;
    for (std::size_t h = heads.first; h < heads.end; ++h) put(h, static_cast<double>(table_[row + h]));
  }
  template <class D>
  void gather(std::int64_t query, std::int64_t key, Heads heads, const D& d, std::span<double> d_table) const {
    const std::size_t row = row_of(query, key) * heads_;
    for (std::size_t h = heads.first; h < heads.end; ++h) d_table[row + h] += d(h);
  }
  std::size_t table_size() const noexcept { return table_.size(); }
  /// From the table to what made it.
  void propagate(std::span<const double> d_table, std::span<double> out) const;

 private:
  std::size_t row_of(std::int64_t query, std::int64_t key) const noexcept {
    const std::int64_t displacements = (2 * rows_ - 1) * (2 * columns_ - 1);
    if (class_token_) {
      if (query == 0) return index(displacements + (key == 0 ? 2 : 0));
      if (key == 0) return index(displacements + 1);
      --query, --key;
    }
    const std::int64_t down = query / columns_ - key / columns_, right = query % columns_ - key % columns_;
    return index((down + rows_ - 1) * (2 * columns_ - 1) + right + columns_ - 1);
  }

  struct Network {
    std::size_t width;
    std::vector<double> w1, b1, w2;
    std::vector<double> inputs;  // [displacements, 2]
  };

  std::size_t heads_;
  std::int64_t rows_, columns_;
  bool class_token_ = false;
  std::vector<float> table_;
  std::optional<Network> network_;
};

}  // namespace ropewalk::math
