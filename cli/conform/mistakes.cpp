#include "cli/conform/mistakes.hpp"

#include "cli/conform/misread.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

namespace ropewalk::cli {
namespace {

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

using enum Group;

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
    if (e.scaling == "linear" && e.inv_freq.size() == e.pairs()) {
      std::vector<double> multiplied = ladder(e.ladder_theta, e.ladder_dim, e.pairs());
      for (std::size_t j = 0; j < multiplied.size(); ++j) multiplied[j] *= multiplied[j] / e.inv_freq[j];
      out.push_back({"linear scaling multiplies where it should divide", kSpeed, take(std::move(multiplied))});
    }
    if (e.scaling == "none" && e.ladder_dim > 2) {
      std::vector<double> later = ladder(e.ladder_theta, e.ladder_dim, e.pairs() + 1);
      later.erase(later.begin());
      out.push_back({"rungs counted from 1: theta^(-2(i + 1)/d)", kSpeed, take(std::move(later))});
      out.push_back({fmt::format("denominators of {} instead of {}", e.ladder_dim - 2, e.ladder_dim), kSpeed,
                     take(ladder(e.ladder_theta, e.ladder_dim - 2, e.pairs()))});
    }
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
    for (const bool cosine : {true, false})
      out.push_back(
          {fmt::format("attention factor {:.6g} on the {} only", e.attention_factor, cosine ? "cosine" : "sine"), kGain,
           [cosine, factor = e.attention_factor](Turning& t) {
             (cosine ? t.sine_factor : t.cosine_factor) = 1 / factor;
             return factor != 0;
           }});
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
  std::vector<std::size_t> sections(axes, 0);
  for (const std::uint8_t axis : e.axis) ++sections[axis];
  // Round robin until a section is used up; and as Qwen3-VL's code has it: every third pair, up to 3 times the section,
  // to height and to width, what is left to time.
  std::vector<std::uint8_t> woven, thirds(e.axis.size(), 0);
  std::vector<std::size_t> left = sections;
  for (std::size_t j = 0; woven.size() < e.axis.size(); ++j)
    if (left[j % axes] > 0) --left[j % axes], woven.push_back(static_cast<std::uint8_t>(j % axes));
  for (std::size_t axis = 1; axis < axes; ++axis)
    for (std::size_t j = axis; j < std::min(axes * sections[axis], thirds.size()); j += axes)
      thirds[j] = static_cast<std::uint8_t>(axis);
  for (const auto& other : {woven, thirds})
    out.push_back({"axis sections alternate where they stand in blocks", kAxes, [other](Turning& t) {
                     const bool differ = t.axis != other;
                     t.axis = other;
                     return differ;
                   }});
}

// Positions changed one by one.
std::function<bool(Turning&)> moved(const std::function<double(double, std::size_t)>& where) {
  return [where](Turning& t) {
    bool differ = false;
    for (auto& axis : t.turned_by)
      for (std::size_t token = 0; token < axis.size(); ++token) {
        const double to = where(axis[token], token);
        differ = differ || to != axis[token];
        axis[token] = to;
      }
    return differ;
  };
}

// Lengths that a table may have: what the config says of lengths, and powers of two.
std::set<std::int64_t> table_lengths(const nlohmann::json& config) {
  std::set<std::int64_t> lengths;
  for (std::int64_t length = 256; length <= std::int64_t{1} << 21; length *= 2) lengths.insert(length);
  const nlohmann::json flat = config.flatten();
  for (const auto& [key, value] : flat.items())
    for (const std::string_view word : {"position", "seq_len", "n_ctx", "context"})
      if (value.is_number_integer() && key.find(word) != std::string::npos)
        if (const auto length = value.get<std::int64_t>(); length > 1) lengths.insert(length);
  return lengths;
}

// What a table of so many rows makes of positions that it does not hold.
void table_mistakes(const GoldenCase& asked, std::vector<Mistake>& out) {
  for (const std::int64_t rows : table_lengths(asked.config)) {
    const double n = static_cast<double>(rows);
    const auto add = [&out](std::string words, const std::function<double(double)>& where) {
      out.push_back({std::move(words), kPlace, moved([where](double p, std::size_t) { return where(p); }), true});
    };
    const std::string clamped = fmt::format("positions beyond {} taken for {} (a table of {} rows, clamped at its end",
                                            rows - 1, rows - 1, rows);
    add(clamped + ")", [n](double p) { return std::min(p, n - 1); });
    add(clamped + ", and negative ones taken for 0)", [n](double p) { return std::clamp(p, 0.0, n - 1); });
    add(fmt::format("positions modulo {} (a table of so many rows, begun again)", rows),
        [n](double p) { return p - n * std::floor(p / n); });
    add(fmt::format("positions modulo {}, negative ones with their sign", rows),
        [n](double p) { return std::fmod(p, n); });
    add(fmt::format("negative positions counted from the end of a table of {} rows", rows),
        [n](double p) { return p < 0 ? p + n : p; });
  }
  out.push_back({"positions in 16 bits: from 32 768 on they wrap around", kPlace,
                 moved([](double p, std::size_t) { return p - 65536 * std::floor((p + 32768) / 65536); }), true});
}

void place_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
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
  out.push_back(
      {"negative positions taken for 0", kPlace, moved([](double p, std::size_t) { return std::max(p, 0.0); })});
  out.push_back({"positions counted from the first token's", kPlace, [](Turning& t) {
                   bool differ = false;
                   for (auto& axis : t.turned_by) {
                     const double from = axis.empty() ? 0 : axis.front();
                     differ = differ || from != 0;
                     for (double& p : axis) p -= from;
                   }
                   return differ;
                 }});
  out.push_back({"turns the other way (by minus the angle)", kSense, [](Turning& t) {
                   t.reversed = !t.reversed;
                   return true;
                 }});
}

void arithmetic_mistakes(const GoldenEncoding& e, std::vector<Mistake>& out) {
  if (e.pairs() == 0) return;
  out.push_back({"the second channel of a pair made of the first one's result (written over before it was read)",
                 kArithmetic, [](Turning& t) {
                   t.in_place = true;
                   return true;
                 }});
  out.push_back({"cosine and sine exchanged", kArithmetic, [](Turning& t) {
                   t.exchanged = true;
                   return true;
                 }});
  out.push_back({"angles taken for degrees", kArithmetic, [](Turning& t) {
                   t.phase = [](double p, double f) { return p * f * (M_PI / 180); };
                   return true;
                 }});
  for (const auto& [name, format] : {std::pair{"bfloat16", &kBfloat16}, {"float16", &kFloat16}}) {
    const Format* const f = format;
    const auto in = [](double value, const Format* which) { return rounded_to(value, *which); };
    out.push_back(
        {fmt::format("positions in {}", name), kPrecision, moved([f, in](double p, std::size_t) { return in(p, f); })});
    out.push_back({fmt::format("frequencies in {}", name), kPrecision, [f, in](Turning& t) {
                     for (double& speed : t.inv_freq) speed = in(speed, f);
                     for (double& speed : t.second_freq) speed = in(speed, f);
                     return true;
                   }});
    out.push_back(
        {fmt::format("phase in {}: the error grows with the position", name), kPrecision, [f, in](Turning& t) {
           t.phase = [f, in](double p, double speed) { return in(in(p, f) * in(speed, f), f); };
           return true;
         }});
    out.push_back(
        {fmt::format("only the product of position and frequency in {}: the error grows with the position", name),
         kPrecision, [f, in](Turning& t) {
           t.phase = [f, in](double p, double speed) { return in(p * speed, f); };
           return true;
         }});
    const auto round = [&out, n = name](std::string_view words, const Format* table, const Format* product,
                                        const Format* result, bool factor_after = false) {
      out.push_back({fmt::format(fmt::runtime(words), n), kRounding, [=](Turning& t) {
                       t.table = table;
                       t.product = product;
                       t.result = result;
                       t.factor_after = factor_after;
                       return !factor_after || t.factor != 1.0;
                     }});
    };
    round("cosine and sine rounded to {}", f, nullptr, nullptr);
    round("cosine and sine rounded to {} before the attention factor multiplies them", f, nullptr, nullptr, true);
    round("results rounded to {}", nullptr, nullptr, f);
    round("cosine and sine, and results, rounded to {}", f, nullptr, f);
    round("cosine and sine, products and results in {}", f, f, f);
  }
}

void key_mistakes(const GoldenCase& asked, std::vector<Mistake>& out) {
  for (const Misread& other : misread_configs(asked))
    out.push_back({other.words, kSpeed, [other](Turning& t) {
                     t.first = other.first;
                     t.second = other.second;
                     t.axis = other.axis;
                     t.inv_freq = other.inv_freq;
                     t.factor = other.attention_factor;
                     return true;
                   }});
}

}  // namespace

std::vector<Mistake> usual_mistakes(const GoldenCase& asked, const std::vector<const GoldenEncoding*>& siblings) {
  const GoldenEncoding& e = *asked.encoding;
  std::vector<Mistake> out;
  speed_mistakes(e, siblings, out);
  pairing_mistakes(e, out);
  gain_mistakes(e, asked.key, out);
  width_mistakes(e, out);
  axis_mistakes(e, out);
  place_mistakes(e, out);
  arithmetic_mistakes(e, out);
  key_mistakes(asked, out);
  table_mistakes(asked, out);
  return out;
}

}  // namespace ropewalk::cli
