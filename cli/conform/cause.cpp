// What an answer of somebody else's implementation is wrong by, and why. A cause is found by doing the usual mistakes
// on purpose, one at a time and then two together, and seeing which of them gives the answer that came. What no mistake
// explains is read off the answer: if its pairs only turned by other angles, the size of the difference says in which
// precision the phase was formed.

#include "cli/conform/cause.hpp"

#include "cli/conform/mistakes.hpp"
#include "cli/conform/turning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk::cli {
namespace {

// Exact class: cos and sin to 1.2e-7 (2 half units), two products and a sum.
constexpr double kExactSteps = 4;

double position_at(const GoldenEncoding& e, std::size_t token) {
  double farthest = 0;
  for (const nlohmann::json& axis : e.asked_positions) {
    const double p = axis[token].get<double>();
    if (std::abs(p) > std::abs(farthest)) farthest = p;
  }
  return farthest;
}

// ---- what explains an answer

bool explains(const Turning& t, const GoldenEncoding& e, const Answer& answer) {
  for (std::size_t token = 0; token < e.tokens(); ++token) {
    const std::vector<Span> y = turned(t, e.x, token);
    for (std::size_t c = 0; c < y.size(); ++c) {
      const double came = answer[token][0][c];
      const bool none = !std::isfinite(y[c].low) || !std::isfinite(y[c].high);
      if (none ? std::isfinite(came) : !(came >= y[c].low && came <= y[c].high)) return false;
    }
  }
  return true;
}

// How far one pair stands from where it should, of all that were asked.
struct Gap {
  double angle, gap;  // radians: the phase, at least 0, and what it is off by
};

// What a phase of so many bits is off by at most, as a part of the phase: a frequency, a position and their product
// rounded, and a few half units more where the frequency is worked out in it. Below it, the format is another.
struct Precision {
  const char* words;
  double least, most;
};
constexpr Precision kPrecisions[] = {
    {"float32", 0x1p-26, 0x1p-20}, {"float16 or TF32", 0x1p-13, 0x1p-10}, {"bfloat16", 0x1p-10, 0x1p-6}};

// If every pair kept its length and only turned by another angle, as a phase of fewer bits does: off by a part of the
// angle that differs from pair to pair and from position to position, and goes on growing beyond the first turn.
std::string precision_of(const GoldenCase& asked, const Answer& answer) {
  const GoldenEncoding& e = *asked.encoding;
  if (e.pairs() == 0 || !e.second_freq.empty() || e.rates != 1) return {};
  const Turning t = turning_of(e, asked.key);
  std::vector<Gap> gaps;
  // Of each pair and of each token, the least and the greatest part that it is off by: one wrong frequency, and one
  // wrong position, are always off by the same.
  struct Parts {
    double least = INFINITY, most = -INFINITY;
    int seen = 0;
    void see(double part) {
      least = std::min(least, part);
      most = std::max(most, part);
      ++seen;
    }
    bool alike() const { return seen >= 2 && most - least <= 0.02 * std::max(std::abs(least), std::abs(most)); }
  };
  std::vector<Parts> of_pair(e.pairs()), of_token(e.tokens());
  constexpr double kSeen = 1e-6;  // what the rounding of the result itself shows as an angle is no matter of the phase
  double largest = 0;
  for (std::size_t token = 0; token < e.tokens(); ++token)
    for (std::size_t j = 0; j < e.pairs(); ++j) {
      const double scale = gain_of(t, token, j) * (t.scale.empty() ? 1.0 : t.scale[token]);
      const auto a = static_cast<std::size_t>(e.first[j]), b = static_cast<std::size_t>(e.second[j]);
      const double y0 = answer[token][0][a], y1 = answer[token][0][b];
      const double wanted = std::abs(scale) * std::hypot(e.x[a], e.x[b]);
      if (!(std::abs(std::hypot(y0, y1) - wanted) <= 1e-5 * wanted)) return {};
      const double angle = angle_of(t, token, j, false);
      const double gap = std::remainder(std::atan2(y1, y0) - std::atan2(e.x[b], e.x[a]) - angle, 2 * M_PI);
      if (angle == 0 && std::abs(gap) > kSeen) return {};
      if (angle == 0 || std::abs(gap) <= kSeen) {
        gaps.push_back({std::abs(angle), 0});
        continue;
      }
      gaps.push_back({std::abs(angle), std::abs(gap)});
      largest = std::max(largest, (std::abs(gap) - kSeen) / std::abs(angle));
      if (std::abs(gap) > 8 * kSeen && std::abs(gap) < 1) {
        of_pair[j].see(gap / angle);
        of_token[token].see(gap / angle);
      }
    }
  for (const auto* const all : {&of_pair, &of_token}) {
    int alike = 0, measured = 0;
    for (const Parts& parts : *all) measured += parts.seen >= 2, alike += parts.alike();
    if (measured > 0 && 2 * alike > measured) return {};
  }
  const auto precision = std::find_if(std::begin(kPrecisions), std::end(kPrecisions),
                                      [&](const Precision& one) { return largest >= one.least && largest < one.most; });
  if (precision == std::end(kPrecisions)) return {};
  // Growth: at the largest angles that are not off by a turn yet, the part is still within a few bits of the largest.
  double farthest = 0, part_there = 0;
  for (const Gap& one : gaps)
    if (one.angle * largest < 1) farthest = std::max(farthest, one.angle);
  for (const Gap& one : gaps)
    if (one.angle > farthest / 8 && one.angle <= farthest) part_there = std::max(part_there, one.gap / one.angle);
  if (farthest < 32 || part_there < largest / 16) return {};
  return fmt::format("phase in {}: the error grows with the position (up to {:.1g} of the angle)", precision->words,
                     largest);
}

// A mistake that explains the answer, with those of its sort that give the same here: few positions tell two formats
// apart.
std::string named(const Mistake& one, const std::vector<Mistake>& mistakes, const Turning& right,
                  const GoldenEncoding& e, const Answer& answer) {
  std::string words = one.words;
  if (one.group != Group::kPrecision && one.group != Group::kRounding) return words;
  for (const Mistake& other : mistakes) {
    Turning t = right;
    if (&other > &one && other.group == one.group && other.make(t) && explains(t, e, answer))
      words += ", or " + other.words;
  }
  return words;
}

std::string cause_of(const GoldenCase& asked, const Answer& answer,
                     const std::vector<const GoldenEncoding*>& siblings) {
  const GoldenEncoding& e = *asked.encoding;
  bool finite = true, heads_alike = true, heads_scaled = true, second_still = true;
  for (const auto& token : answer)
    for (std::size_t c = 0; c < token[0].size(); ++c) {
      finite = finite && std::isfinite(token[0][c]);
      heads_alike = heads_alike && std::abs(token[1][c] - token[0][c]) < 1e-6;
      heads_scaled = heads_scaled && std::abs(token[1][c] - kHeadScales[1] * token[0][c]) < 1e-3;
      second_still = second_still && token[1][c] == kHeadScales[1] * e.x[c];
    }
  if (finite && heads_alike) return "every head was given the first head's result";
  if (finite && !heads_scaled)
    return second_still ? "only the first head turns" : "heads of one token turn differently (heads taken for tokens?)";
  if (!e.has_pairs) return finite ? "" : "not every number is finite";

  const std::vector<Mistake> mistakes = usual_mistakes(asked, siblings);
  const Turning right = turning_of(e, asked.key);
  if (explains(right, e, answer)) return precision_of(asked, answer);
  std::vector<std::pair<const Mistake*, Turning>> made;
  for (const Mistake& one : mistakes) {
    Turning t = right;
    if (!one.make(t)) continue;
    if (explains(t, e, answer))
      return named(one, mistakes, right, e, answer) + (finite ? "" : "; where they overflow, no number");
    if (!one.alone) made.emplace_back(&one, std::move(t));
  }
  if (!finite) return "not every number is finite";
  if (std::string precision = precision_of(asked, answer); !precision.empty()) return precision;
  for (const auto& [one, changed] : made)
    for (const Mistake& two : mistakes) {
      if (two.group <= one->group || two.alone) continue;
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
  std::vector<double> right;
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
    const double position = position_at(e, token);
    if (!wrong) {
      right.push_back(position);
      continue;
    }
    ++finding.tokens_wrong;
    if (std::abs(position) < std::abs(finding.first_position)) finding.first_position = position;
  }
  finding.wrong = finding.tokens_wrong > 0;
  if (!finding.wrong) return finding;
  for (const double position : right)
    if (std::abs(position) < std::abs(finding.first_position) &&
        std::abs(position) >= std::abs(finding.last_right.value_or(0)))
      finding.last_right = position;
  finding.channels.assign(channels.begin(), channels.end());
  for (std::size_t j = 0; j < e.pairs(); ++j)
    if (channels.contains(e.first[j]) || channels.contains(e.second[j])) finding.pairs.push_back(static_cast<int>(j));
  finding.cause = cause_of(asked, answer, siblings);
  return finding;
}

}  // namespace ropewalk::cli
