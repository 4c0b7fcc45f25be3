#include "cli/conform/turning.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

namespace ropewalk::cli {
namespace {

Span widened(Span s, double by) { return {s.low - by, s.high + by}; }

Span rounded(Span s, const Format* format) {
  return format == nullptr ? s : Span{rounded_to(s.low, *format), rounded_to(s.high, *format)};
}

// std::min and std::max pass over what is no number; here nothing may.
Span product(Span a, Span b) {
  const double ends[] = {a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high};
  for (const double end : ends)
    if (std::isnan(end)) return {end, end};
  return {*std::min_element(ends, ends + 4), *std::max_element(ends, ends + 4)};
}

Span sum(Span a, Span b) { return {a.low + b.low, a.high + b.high}; }
Span minus(Span a) { return {-a.high, -a.low}; }

}  // namespace

double rounded_to(double value, const Format& format) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent = 0;
  std::frexp(value, &exponent);
  const int step = std::max(exponent - format.bits, format.least_exponent);
  const double near = std::ldexp(std::nearbyint(std::ldexp(value, -step)), step);
  return std::abs(near) <= format.largest ? near : std::copysign(INFINITY, value);
}

Turning turning_of(const GoldenEncoding& e, bool key) {
  Turning t;
  t.first = e.first;
  t.second = e.second;
  t.axis = e.axis;
  t.inv_freq = e.inv_freq;
  t.rates = e.rates;
  t.second_freq = e.second_freq;
  t.second_axis = e.second_axis;
  t.turned_by = e.turned_by;
  t.factor = e.attention_factor;
  t.reversed = e.clockwise;
  if (!key) t.scale = e.query_scale;
  t.gain = key ? e.key_gain : e.query_gain;
  return t;
}

double angle_of(const Turning& t, std::size_t token, std::size_t pair, bool second) {
  const std::size_t pairs = t.first.size();
  double sum = 0;
  if (second && !t.second_freq.empty()) {
    sum = t.phase(t.turned_by[t.second_axis.empty() ? 0 : t.second_axis[pair]][token], t.second_freq[pair]);
  } else if (t.rates > 1) {
    for (std::size_t axis = 0; axis < static_cast<std::size_t>(t.rates); ++axis)
      sum += t.phase(t.turned_by[axis][token], t.inv_freq[axis * pairs + pair]);
  } else {
    sum = t.phase(t.turned_by[t.axis.empty() ? 0 : t.axis[pair]][token], t.inv_freq[pair]);
  }
  return t.reversed ? -sum : sum;
}

std::vector<int> sorted_channels(const std::vector<int>& first, const std::vector<int>& second) {
  std::vector<int> all = first;
  all.insert(all.end(), second.begin(), second.end());
  std::sort(all.begin(), all.end());
  return all;
}

double gain_of(const Turning& t, std::size_t token, std::size_t pair) {
  return t.gain.empty() || pair >= t.gain[token].size() ? t.factor : t.factor * t.gain[token][pair];
}

std::vector<Span> turned(const Turning& t, const std::vector<double>& x, std::size_t token) {
  const bool coarse = t.table != nullptr || t.product != nullptr || t.result != nullptr;
  const double most = std::max(1.0, std::abs(t.factor));
  std::vector<Span> y;
  for (const double value : x)
    y.push_back({t.factor_on_all ? value * t.factor : value, t.factor_on_all ? value * t.factor : value});
  const auto turn = [&](std::size_t pair, bool second) {
    const double angle = angle_of(t, token, pair, second), factor = gain_of(t, token, pair);
    const double off = std::min(2.0, kPhaseSteps * kHalfUlp * std::abs(angle)) + (coarse ? 2e-7 : 1e-5);
    const auto entry = [&](double value, double more) {
      const double first = t.factor_after ? 1.0 : factor, then = t.factor_after ? factor : 1.0;
      const double at = value * first * more;
      return product(rounded(widened({at, at}, off * std::max(1.0, std::abs(first))), t.table), {then, then});
    };
    std::pair both{entry(std::cos(angle), t.cosine_factor), entry(std::sin(angle), t.sine_factor)};
    if (t.exchanged) std::swap(both.first, both.second);
    return both;
  };
  const auto times = [&](Span a, Span b) { return rounded(product(a, b), t.product); };
  for (std::size_t j = 0; j < t.first.size(); ++j) {
    const auto a = static_cast<std::size_t>(t.first[j]), b = static_cast<std::size_t>(t.second[j]);
    const Span x0{x[a], x[a]}, x1{x[b], x[b]};
    const auto [cosine, sine] = turn(j, false);
    const auto [cosine2, sine2] = t.second_freq.empty() ? std::pair{cosine, sine} : turn(j, true);
    y[a] = sum(times(x0, cosine), minus(times(x1, sine)));
    y[b] = sum(times(x1, cosine2), times(t.in_place ? y[a] : x0, sine2));
  }
  if (t.deinterleaved) {
    const std::vector<int> all = sorted_channels(t.first, t.second);
    std::vector<Span> moved = y;
    for (std::size_t j = 0; 2 * j + 1 < all.size(); ++j) {
      moved[static_cast<std::size_t>(all[j])] = y[static_cast<std::size_t>(all[2 * j])];
      moved[static_cast<std::size_t>(all[all.size() / 2 + j])] = y[static_cast<std::size_t>(all[2 * j + 1])];
    }
    y = moved;
  }
  const double scale = t.scale.empty() ? 1.0 : t.scale[token];
  for (Span& value : y) {
    value = product(value, {scale, scale});
    if (!coarse) {
      value = widened(value, 1.2e-5 * most * std::abs(scale));
      continue;
    }
    // In float32 the sum is off by a little before it is rounded to fewer bits; what is not, is off by that.
    const double off = 3e-7 * most * std::abs(scale);
    value = t.result != nullptr ? widened(rounded(widened(value, t.product != nullptr ? 0 : off), t.result), 1e-9)
                                : widened(value, 2 * off);
  }
  return y;
}

}  // namespace ropewalk::cli
