// What an answer of somebody else's implementation is wrong by, and why. A cause is found by doing the usual mistakes
// on purpose, one at a time and then two together, and seeing which of them gives the answer that came. What no mistake
// explains is read off the answer: if its pairs only turned by other angles, the size of the difference says in which
// precision the phase was formed.

#include "cli/conform/cause.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <numeric>
#include <set>

namespace ropewalk::cli {
namespace {

// 2^-24 is half a unit in the last place of 1. Exact class: cos and sin to 1.2e-7 (2 of these), two products and a sum.
constexpr double kHalfUlp = 0x1p-24;
constexpr double kExactSteps = 4;
// Fp32 class: inv_freq in float32 is off by a few half units (a power, a reciprocal, a scaling), the product by one
// more.
constexpr double kPhaseSteps = 8;

double position_at(const GoldenEncoding& e, std::size_t token) {
  double farthest = 0;
  for (const nlohmann::json& axis : e.asked_positions) {
    const double p = axis[token].get<double>();
    if (std::abs(p) > std::abs(farthest)) farthest = p;
  }
  return farthest;
}

// The angles of one encoding, or of what somebody took for it.
struct Turning {
  std::vector<int> first, second;  // [pairs]
  std::vector<std::uint8_t> axis;  // [pairs] or empty
  std::vector<double> inv_freq;    // [rates, pairs]
  int rates = 1;
  std::vector<double> second_freq;
  std::vector<std::uint8_t> second_axis;
  std::vector<std::vector<double>> turned_by;  // [axes][tokens]
  double factor = 1.0;
  bool factor_on_all = false;  // on the channels that do not turn, too
  bool reversed = false;
  std::vector<double> scale;              // [tokens]
  std::vector<std::vector<double>> gain;  // [tokens][pairs] or empty
  std::function<double(double, double)> phase = [](double p, double f) { return p * f; };
  bool deinterleaved = false;  // results in the order of halves
};

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

std::vector<double> turned(const Turning& t, const std::vector<double>& x, std::size_t token) {
  std::vector<double> y = x;
  if (t.factor_on_all)
    for (double& value : y) value *= t.factor;
  for (std::size_t j = 0; j < t.first.size(); ++j) {
    const auto a = static_cast<std::size_t>(t.first[j]), b = static_cast<std::size_t>(t.second[j]);
    const double angle = angle_of(t, token, j, false);
    const double other = t.second_freq.empty() ? angle : angle_of(t, token, j, true);
    const double factor = gain_of(t, token, j);
    y[a] = factor * (x[a] * std::cos(angle) - x[b] * std::sin(angle));
    y[b] = factor * (x[b] * std::cos(other) + x[a] * std::sin(other));
  }
  if (t.deinterleaved) {
    const std::vector<int> all = sorted_channels(t.first, t.second);
    std::vector<double> moved = y;
    for (std::size_t j = 0; 2 * j + 1 < all.size(); ++j) {
      moved[static_cast<std::size_t>(all[j])] = y[static_cast<std::size_t>(all[2 * j])];
      moved[static_cast<std::size_t>(all[all.size() / 2 + j])] = y[static_cast<std::size_t>(all[2 * j + 1])];
    }
    y = moved;
  }
  if (!t.scale.empty())
    for (double& value : y) value *= t.scale[token];
  return y;
}

// ---- the usual mistakes

// One mistake: its words, and what it does to an encoding. False if it makes no difference here.
struct Mistake {
  std::string words;
  int group;  // two mistakes of one group are not combined
  std::function<bool(Turning&)> make;
};

double rounded_to(double value, int bits) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent = 0;
  const double mantissa = std::frexp(value, &exponent);
  return std::ldexp(std::nearbyint(std::ldexp(mantissa, bits)), exponent - bits);
}

std::vector<double> ladder(double theta, int dim, std::size_t pairs) {
  std::vector<double> out(pairs);
  for (std::size_t j = 0; j < pairs; ++j) out[j] = std::pow(theta, -2.0 * static_cast<double>(j) / dim);
  return out;
}

bool differs(const std::vector<double>& a, const std::vector<double>& b) {
  if (a.size() != b.size()) return true;
  for (std::size_t j = 0; j < a.size(); ++j)
    if (std::abs(a[j] - b[j]) > 1e-9 * std::abs(b[j])) return true;
  return false;
}

enum Group { kPairing, kSpeed, kWidth, kGain, kScale, kAxes, kPlace, kSense, kPrecision };

void pairing_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
  const std::vector<int> all = sorted_channels(e.first, e.second);
  const std::size_t pairs = e.pairs();
  const auto halves = [all, pairs](Turning& t) {
    for (std::size_t j = 0; j < pairs; ++j) t.first[j] = all[j], t.second[j] = all[pairs + j];
  };
  const auto neighbours = [all, pairs](Turning& t) {
    for (std::size_t j = 0; j < pairs; ++j) t.first[j] = all[2 * j], t.second[j] = all[2 * j + 1];
  };
  const auto changed = [](const std::function<void(Turning&)>& change) {
    return [change](Turning& t) {
      const std::vector<int> first = t.first, second = t.second;
      change(t);
      return first != t.first || second != t.second;
    };
  };
  out.push_back({"pairing swapped: channels half the width apart are paired (half) instead of " +
                     (e.layout == "interleaved" ? std::string("neighbours (interleaved)") : "layout " + e.layout),
                 kPairing, changed(halves)});
  out.push_back({"pairing swapped: neighbours are paired (interleaved) instead of " +
                     (e.layout == "half" ? std::string("channels half the width apart (half)") : "layout " + e.layout),
                 kPairing, changed(neighbours)});
  out.push_back({"right, but written in de-interleaved order (scores of q and k are the same; a shared cache is not)",
                 kPairing, [layout = e.layout](Turning& t) {
                   t.deinterleaved = true;
                   return layout == "interleaved";
                 }});
  // The table of one layout under the pairs of the other: no rotation any more.
  out.push_back({"angles laid out for one pairing and channels paired by the other: no rotation", kPairing,
                 [pairs, layout = e.layout](Turning& t) {
                   if (t.rates != 1 || !t.second_freq.empty() || pairs < 2) return false;
                   std::vector<double> one(pairs), two(pairs);
                   for (std::size_t j = 0; j < pairs; ++j) {
                     one[j] = layout == "half" ? t.inv_freq[j / 2] : t.inv_freq[2 * j % pairs];
                     two[j] = layout == "half" ? t.inv_freq[(j + pairs) / 2] : t.inv_freq[(2 * j + 1) % pairs];
                   }
                   t.inv_freq = one;
                   t.second_freq = two;
                   t.second_axis = t.axis;
                   return layout == "half" || layout == "interleaved";
                 }});
}

void speed_mistakes(const GoldenEncoding& e, const std::vector<const GoldenEncoding*>& siblings,
                    std::vector<Mistake>& out) {
  const auto take = [](std::vector<double> list) {
    return [list = std::move(list)](Turning& t) {
      if (list.size() != t.inv_freq.size() || !differs(list, t.inv_freq)) return false;
      t.inv_freq = list;
      return true;
    };
  };
  if (e.ladder_dim > 0) {
    out.push_back(
        {"scaling ignored (" + e.scaling + ")", kSpeed, take(ladder(e.ladder_theta, e.ladder_dim, e.pairs()))});
    if (e.ladder_theta != 10000.0)
      out.push_back({fmt::format("theta 10000 (the default) instead of {:.10g}{}", e.ladder_theta,
                                 e.scaling == "none" ? "" : ", and scaling ignored"),
                     kSpeed, take(ladder(10000.0, e.ladder_dim, e.pairs()))});
    if (e.ladder_dim != e.head_dim)
      out.push_back({fmt::format("partial width with denominators over the whole head: theta^(-2i/{}) instead of {}",
                                 e.head_dim, e.ladder_dim),
                     kSpeed, take(ladder(e.ladder_theta, e.head_dim, e.pairs()))});
    if (e.scaling == "proportional") {
      // The rotated part as if it were an ordinary partial width.
      const auto live = static_cast<std::size_t>(
          std::count_if(e.inv_freq.begin(), e.inv_freq.end(), [](double f) { return f != 0; }));
      out.push_back(
          {fmt::format("proportional read as a partial width: the first {} channels turn, on a ladder over {}",
                       2 * live, 2 * live),
           kSpeed, [e_theta = e.ladder_theta, live](Turning& t) {
             t.inv_freq = ladder(e_theta, static_cast<int>(2 * live), live);
             t.first.resize(live);
             t.second.resize(live);
             for (std::size_t j = 0; j < live; ++j)
               t.first[j] = static_cast<int>(j), t.second[j] = static_cast<int>(live + j);
             return true;
           }});
    }
  }
  std::set<std::string> told;
  for (const GoldenEncoding* other : siblings)
    if (other != &e && other->rates == 1 && other->pairs() == e.pairs() && told.insert(other->name).second)
      out.push_back({"frequencies of \"" + other->name + "\"", kSpeed, take(other->inv_freq)});
}

void width_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
  const std::vector<int> all = sorted_channels(e.first, e.second);
  if (e.pairs() == 0 || e.rates != 1) return;
  if (static_cast<int>(all.size()) < e.head_dim && e.head_dim % 2 == 0 && e.axis.empty()) {
    out.push_back({fmt::format("the whole head of {} channels turns instead of {}", e.head_dim, all.size()), kWidth,
                   [&e](Turning& t) {
                     const auto pairs = static_cast<std::size_t>(e.head_dim / 2);
                     t.first.resize(pairs);
                     t.second.resize(pairs);
                     const bool half = e.layout != "interleaved";
                     for (std::size_t j = 0; j < pairs; ++j) {
                       const int at = static_cast<int>(j);
                       t.first[j] = half ? at : 2 * at;
                       t.second[j] = half ? at + e.head_dim / 2 : 2 * at + 1;
                     }
                     t.inv_freq = ladder(e.ladder_theta, e.head_dim, pairs);
                     t.second_freq.clear();
                     return e.ladder_dim > 0;
                   }});
    for (const bool leading : {true, false}) {
      const int shift = leading ? -all.front() : e.head_dim - 1 - all.back();
      if (shift != 0)
        out.push_back(
            {fmt::format("the {} channels turn instead of {}-{}", leading ? "first" : "last", all.front(), all.back()),
             kWidth, [shift](Turning& t) {
               for (int& channel : t.first) channel += shift;
               for (int& channel : t.second) channel += shift;
               return true;
             }});
    }
  }
  out.push_back({"nothing turns", kWidth, [](Turning& t) {
                   t.first.clear();
                   t.second.clear();
                   return true;
                 }});
}

void gain_mistakes(const GoldenEncoding& e, bool key, std::vector<Mistake>& out) {
  if (e.attention_factor != 1.0) {
    const auto with = [](double factor) {
      return [factor](Turning& t) {
        t.factor = factor;
        return true;
      };
    };
    out.push_back({fmt::format("attention factor {:.6g} missing", e.attention_factor), kGain, with(1.0)});
    out.push_back({fmt::format("attention factor {:.6g} squared", e.attention_factor), kGain,
                   with(e.attention_factor * e.attention_factor)});
    out.push_back(
        {"attention factor on the channels that do not turn, too", kGain,
         [partial = sorted_channels(e.first, e.second).size() < static_cast<std::size_t>(e.head_dim)](Turning& t) {
           t.factor_on_all = true;
           return partial;
         }});
  }
  // An amplitude where there is none: what generic YaRN would have put there.
  if (e.softmax_scale_multiplier != 1.0)
    out.push_back({fmt::format("the softmax scale's multiplier {:.6g} on q or k", e.softmax_scale_multiplier), kGain,
                   [m = e.softmax_scale_multiplier](Turning& t) {
                     t.factor *= m;
                     t.factor_on_all = true;
                     return true;
                   }});
  if (!e.query_scale.empty())
    out.push_back({key ? "query temperature on the key" : "query temperature missing", kScale,
                   [scale = key ? e.query_scale : std::vector<double>{}](Turning& t) {
                     t.scale = scale;
                     return true;
                   }});
}

void axis_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
  const std::size_t axes = e.turned_by.size();
  if (axes < 2) return;
  constexpr std::string_view kNames = "0123456789";
  std::vector<std::size_t> order(axes);
  std::iota(order.begin(), order.end(), std::size_t{0});
  if (axes <= 4)
    while (std::next_permutation(order.begin(), order.end())) {
      std::string shown;
      for (const std::size_t axis : order) shown += kNames[axis];
      out.push_back({"axis order: positions taken in the order " + shown, kAxes, [order](Turning& t) {
                       const std::vector<std::vector<double>> before = t.turned_by;
                       for (std::size_t axis = 0; axis < order.size(); ++axis) t.turned_by[axis] = before[order[axis]];
                       return true;
                     }});
    }
  for (std::size_t one = 0; one < axes; ++one)
    out.push_back({fmt::format("every pair follows axis {}", one), kAxes, [one](Turning& t) {
                     for (auto& axis : t.turned_by) axis = t.turned_by[one];
                     return true;
                   }});
  if (e.axis.empty()) return;
  std::vector<std::uint8_t> blocked = e.axis;
  std::sort(blocked.begin(), blocked.end());
  out.push_back({"axis sections in blocks where they alternate", kAxes, [blocked](Turning& t) {
                   const bool other = t.axis != blocked;
                   t.axis = blocked;
                   return other;
                 }});
  std::vector<std::size_t> left(axes, 0);
  for (const std::uint8_t axis : e.axis) ++left[axis];
  std::vector<std::uint8_t> woven;
  for (std::size_t j = 0; woven.size() < e.axis.size(); ++j)
    if (left[j % axes] > 0) --left[j % axes], woven.push_back(static_cast<std::uint8_t>(j % axes));
  out.push_back({"axis sections alternate where they stand in blocks", kAxes, [woven](Turning& t) {
                   const bool other = t.axis != woven;
                   t.axis = woven;
                   return other;
                 }});
}

void place_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
  const auto moved = [](const std::function<double(double, std::size_t)>& where) {
    return [where](Turning& t) {
      for (auto& axis : t.turned_by)
        for (std::size_t token = 0; token < axis.size(); ++token) axis[token] = where(axis[token], token);
      return true;
    };
  };
  const auto asked = e.asked_positions.get<std::vector<std::vector<double>>>();
  if (asked.size() == e.turned_by.size() && asked != e.turned_by)
    out.push_back({"positions taken as they are, not as what they stand for", kPlace, [asked](Turning& t) {
                     t.turned_by = asked;
                     return true;
                   }});
  if (e.turned_by.size() == 1)
    out.push_back({"positions ignored: tokens counted 0, 1, 2, ...", kPlace,
                   moved([](double, std::size_t token) { return static_cast<double>(token); })});
  out.push_back({"every position one too large", kPlace, moved([](double p, std::size_t) { return p + 1; })});
  out.push_back({"every position one too small", kPlace, moved([](double p, std::size_t) { return p - 1; })});
  out.push_back(
      {"the sign of negative positions lost", kPlace, moved([](double p, std::size_t) { return std::abs(p); })});
  out.push_back({"turns the other way (by minus the angle)", kSense, [](Turning& t) {
                   t.reversed = !t.reversed;
                   return true;
                 }});
  for (const auto& [name, bits] : {std::pair{"bfloat16", 8}, {"float16", 11}}) {
    const int b = bits;
    out.push_back({fmt::format("positions in {}", name), kPrecision,
                   moved([b](double p, std::size_t) { return rounded_to(p, b); })});
    out.push_back({fmt::format("frequencies in {}", name), kPrecision, [b](Turning& t) {
                     for (double& f : t.inv_freq) f = rounded_to(f, b);
                     for (double& f : t.second_freq) f = rounded_to(f, b);
                     return true;
                   }});
    out.push_back({fmt::format("phase in {}: the error grows with the position", name), kPrecision, [b](Turning& t) {
                     t.phase = [b](double p, double f) { return rounded_to(rounded_to(p, b) * rounded_to(f, b), b); };
                     return true;
                   }});
  }
}

// ---- what explains an answer

// True if every token that was computed comes within what float32 phases, and a little more, allow.
bool explains(const Turning& t, const GoldenEncoding& e, const Answer& answer) {
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    const std::vector<double> y = turned(t, e.x, token);
    const double scale = t.scale.empty() ? 1.0 : t.scale[token];
    std::vector<double> allowed(y.size(), 3e-6 * std::max(1.0, std::abs(t.factor)) * scale * 4);
    for (std::size_t j = 0; j < t.first.size(); ++j) {
      const auto a = static_cast<std::size_t>(t.first[j]), b = static_cast<std::size_t>(t.second[j]);
      const double phase = std::min(2.0, kPhaseSteps * kHalfUlp * std::abs(angle_of(t, token, j, false)));
      const double gain = std::max(1.0, std::abs(gain_of(t, token, j)));
      const double more = gain * scale * (phase + 1e-5) * std::hypot(e.x[a], e.x[b]);
      allowed[a] += more;
      allowed[b] += more;
    }
    if (t.deinterleaved) std::fill(allowed.begin(), allowed.end(), *std::max_element(allowed.begin(), allowed.end()));
    for (std::size_t c = 0; c < y.size(); ++c)
      if (!(std::abs(answer[token][0][c] - y[c]) <= allowed[c])) return false;
  }
  return true;
}

// If every pair kept its length and only turned by another angle: how large the difference is against the angle.
std::string precision_of(const GoldenCase& asked, const Answer& answer) {
  const GoldenEncoding& e = *asked.encoding;
  if (e.pairs() == 0 || !e.second_freq.empty()) return {};
  const Turning t = turning_of(e, asked.key);
  double largest = 0;
  bool small_are_right = true;
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    for (std::size_t j = 0; j < e.pairs(); ++j) {
      const double scale = gain_of(t, token, j) * (t.scale.empty() ? 1.0 : t.scale[token]);
      const auto a = static_cast<std::size_t>(e.first[j]), b = static_cast<std::size_t>(e.second[j]);
      const double y0 = answer[token][0][a], y1 = answer[token][0][b];
      const double length = std::hypot(y0, y1), wanted = std::abs(scale) * std::hypot(e.x[a], e.x[b]);
      if (!(std::abs(length - wanted) <= 0.02 * wanted)) return {};
      const double angle = angle_of(t, token, j, false);
      double gap = std::atan2(y1, y0) - std::atan2(e.x[b], e.x[a]) - angle;
      gap = std::abs(std::remainder(gap, 2 * M_PI));
      if (std::abs(angle) < 1e-3) {
        small_are_right = small_are_right && gap < 1e-4;
        continue;
      }
      // What the rounding of the result itself shows as an angle is no matter of the phase.
      largest = std::max(largest, std::max(0.0, gap - 1e-6) / std::abs(angle));
    }
  }
  if (!small_are_right || largest == 0) return {};
  if (largest < 0x1p-20)
    return fmt::format("phase in float32: the error grows with the position (up to {:.1g} of the angle)", largest);
  if (largest < 0x1p-10)
    return fmt::format("phase in float16 or TF32: the error grows with the position (up to {:.1g} of the angle)",
                       largest);
  if (largest < 0x1p-6)
    return fmt::format("phase in bfloat16: the error grows with the position (up to {:.1g} of the angle)", largest);
  return {};
}

std::string cause_of(const GoldenCase& asked, const Answer& answer,
                     const std::vector<const GoldenEncoding*>& siblings) {
  const GoldenEncoding& e = *asked.encoding;
  for (const auto& token : answer)
    for (const double value : token[0])
      if (!std::isfinite(value)) return "not every number is finite";
  bool heads_alike = true, heads_scaled = true;
  for (const auto& token : answer)
    for (std::size_t c = 0; c < token[0].size(); ++c) {
      heads_alike = heads_alike && std::abs(token[1][c] - token[0][c]) < 1e-6;
      heads_scaled = heads_scaled && std::abs(token[1][c] - kHeadScales[1] * token[0][c]) < 1e-3;
    }
  if (heads_alike) return "every head was given the first head's result";
  if (!heads_scaled) return "heads of one token turn differently (heads taken for tokens?)";
  if (!e.has_pairs) return {};

  std::vector<Mistake> mistakes;
  speed_mistakes(e, siblings, mistakes);
  pairing_mistakes(e, mistakes);
  gain_mistakes(e, asked.key, mistakes);
  width_mistakes(e, mistakes);
  axis_mistakes(e, mistakes);
  place_mistakes(e, mistakes);
  const Turning right = turning_of(e, asked.key);
  if (explains(right, e, answer)) return precision_of(asked, answer);
  std::vector<std::pair<const Mistake*, Turning>> made;
  for (const Mistake& one : mistakes) {
    Turning t = right;
    if (!one.make(t)) continue;
    if (explains(t, e, answer)) return one.words;
    made.emplace_back(&one, std::move(t));
  }
  if (std::string precision = precision_of(asked, answer); !precision.empty()) return precision;
  for (const auto& [one, changed] : made)
    for (const Mistake& two : mistakes) {
      if (two.group <= one->group) continue;
      Turning t = changed;
      if (two.make(t) && explains(t, e, answer)) return one->words + "; and " + two.words;
    }
  return {};
}

}  // namespace

std::vector<std::vector<double>> bounds_of(const GoldenCase& asked, Tolerance tolerance) {
  const GoldenEncoding& e = *asked.encoding;
  std::vector<std::vector<double>> out(e.tokens(), std::vector<double>(e.x.size()));
  const Turning t = turning_of(e, asked.key);
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    const double scale = t.scale.empty() ? 1.0 : t.scale[token];
    for (std::size_t c = 0; c < e.x.size(); ++c) out[token][c] = kExactSteps * kHalfUlp * scale * std::abs(e.x[c]);
    if (!e.has_pairs) {  // results alone: every channel may have taken part in every other
      const double all = std::sqrt(std::inner_product(e.x.begin(), e.x.end(), e.x.begin(), 0.0));
      std::fill(out[token].begin(), out[token].end(), kExactSteps * kHalfUlp * std::max(1.0, e.attention_factor) * all);
    }
    for (std::size_t j = 0; j < e.pairs(); ++j) {
      const auto a = static_cast<std::size_t>(e.first[j]), b = static_cast<std::size_t>(e.second[j]);
      const double gain = std::max(1.0, std::abs(gain_of(t, token, j)));
      double bound = kExactSteps * kHalfUlp * gain * (std::abs(e.x[a]) + std::abs(e.x[b]));
      if (tolerance == Tolerance::kFp32) {
        const double angle = std::max(std::abs(angle_of(t, token, j, false)), std::abs(angle_of(t, token, j, true)));
        double steps = angle;
        if (!t.gain.empty()) steps += std::abs(std::log(std::abs(t.gain[token][j]))) + 1;  // a power in float32
        bound += gain * std::hypot(e.x[a], e.x[b]) * std::min(2.0, kPhaseSteps * kHalfUlp * steps);
      }
      out[token][a] = out[token][b] = scale * bound;
    }
  }
  return out;
}

Finding compare(const GoldenCase& asked, const Answer& answer, Tolerance tolerance,
                const std::vector<const GoldenEncoding*>& siblings) {
  const GoldenEncoding& e = *asked.encoding;
  const std::vector<std::vector<double>> bounds = bounds_of(asked, tolerance);
  Finding finding;
  finding.first_position = std::numeric_limits<double>::infinity();
  std::set<int> channels;
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    bool wrong = false;
    for (std::size_t head = 0; head < std::size(kHeadScales); ++head)
      for (std::size_t c = 0; c < e.x.size(); ++c) {
        const double scale = kHeadScales[head];
        double error = std::abs(answer[token][head][c] - scale * asked.expected()[token][c]);
        if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
        if (error <= std::abs(scale) * bounds[token][c]) continue;
        wrong = true;
        channels.insert(static_cast<int>(c));
        if (error / std::abs(scale) > finding.largest_error) {
          finding.largest_error = error / std::abs(scale);
          finding.largest_error_position = position_at(e, token);
        }
      }
    if (!wrong) continue;
    ++finding.tokens_wrong;
    const double position = position_at(e, token);
    if (std::abs(position) < std::abs(finding.first_position)) finding.first_position = position;
  }
  finding.wrong = finding.tokens_wrong > 0;
  if (!finding.wrong) return finding;
  finding.channels.assign(channels.begin(), channels.end());
  for (std::size_t j = 0; j < e.pairs(); ++j)
    if (channels.contains(e.first[j]) || channels.contains(e.second[j])) finding.pairs.push_back(static_cast<int>(j));
  finding.cause = cause_of(asked, answer, siblings);
  return finding;
}

}  // namespace ropewalk::cli
