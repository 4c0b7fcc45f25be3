// ropewalk compare: where two readings of positions part, from which position on, in which pairs, and by how much.

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/positions_arg.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/engines.hpp>
#include <ropewalk/frequencies.hpp>
#include <ropewalk/phase.hpp>
#include <ropewalk/table.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <bit>
#include <cmath>
#include <complex>
#include <cstdint>
#include <memory>
#include <numbers>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace ropewalk::cli {
namespace {

struct CompareArgs {
  std::string a, b;
  std::optional<std::string> as_a, as_b;  // "" was given too, and names no engine
  std::string family;
  std::string kind;
  std::string numerics = "exact";
  std::string lengths;
  std::string at;
  std::string context;
  double tolerance = 1e-3;
  bool json = false;
  bool check = false;
};

// Positions from 0 to this many are looked at one by one, those beyond it only at the last one.
constexpr std::int64_t kEvery = std::int64_t{1} << 20;

// In which arithmetic a side forms its cosines and sines.
struct Form {
  std::string name;
  Numerics numerics = Numerics::kExact;
  bool in_bf16 = false;  // rounded to bfloat16, as a cache in the model's dtype keeps them
};

Form form_of(const std::string& word, const std::string& all) {
  if (word == "exact") return {word, Numerics::kExact, false};
  if (word == "fp32") return {word, Numerics::kFp32, false};
  if (word == "bf16") return {word, Numerics::kFp32, true};
  refuse("--numerics", fmt::format("want exact, fp32, bf16 or one for each side, got \"{}\"", one_line(all)));
}

struct Side {
  std::string title;
  Form form;
  CheckpointPositions positions;
  std::vector<EngineReading> readings;  // one a kind
};

Side read_side(const CompareArgs& args, const std::string& path, const std::optional<std::string>& engine_name,
               const std::string& option, const Form& form) {
  ReadOptions options;
  options.family = args.family;
  options.numerics = form.numerics;
  Side side{path, form, value_or_refuse(read_positions(path, options)), {}};
  std::optional<Engine> engine;
  if (engine_name) {
    const Result<Engine> named = engine_named(*engine_name);
    if (!named) refuse(option, named.error().message);
    engine = *named;
    side.title += " as " + *engine_name;
  }
  EngineOptions settings;
  if (!args.context.empty()) settings.context = parse_tokens(args.context, "--context");
  for (const LayerKind& kind : side.positions.kinds)
    side.readings.push_back(engine ? read_as(*engine, side.positions, kind, settings)
                                   : EngineReading{kind.spec, {}, kind.unrotated_query_temperature});
  return side;
}

struct PairDifference {
  int pair = 0;
  std::int64_t first = -1;  // the first position where it exceeds the tolerance; -1: none
  double largest = 0.0;
  std::int64_t largest_at = 0;
};

struct StructureDifference {
  std::string what, a, b;
};

// One position of --at.
struct AtPosition {
  std::int64_t position = 0;
  std::vector<double> apart;  // [pairs]
  std::size_t furthest = 0;   // the pair
};

struct KindDifference {
  KindDifference(std::string kind, std::int64_t tokens) : name(std::move(kind)), length(tokens) {}

  std::string name;
  std::int64_t length = 0;  // tokens
  std::vector<StructureDifference> structure;
  std::vector<PairDifference> pairs;  // those that differ, in order
  std::int64_t first = -1;
  PairDifference worst;
  std::vector<AtPosition> at;  // under --at, in its order
  bool same() const { return structure.empty() && pairs.empty(); }
};

// "0-4, 6, 12-16 (11)"
std::string shown_layers(const std::vector<int>& layers) {
  std::string text;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", layers[i]);
    if (last > i) text += fmt::format("-{}", layers[last]);
    i = last + 1;
  }
  return layers.empty() ? "not said" : fmt::format("{} ({})", text, layers.size());
}

std::string shown_list(const std::vector<std::uint8_t>& list) {
  return list.empty() ? "all 0" : fmt::format("[{}]", fmt::join(list, ","));
}

std::vector<StructureDifference> structure_of(const RotarySpec& a, const RotarySpec& b) {
  std::vector<StructureDifference> found;
  const auto differ = [&](std::string what, std::string in_a, std::string in_b) {
    if (in_a != in_b) found.push_back({std::move(what), std::move(in_a), std::move(in_b)});
  };
  const auto layout = [](const RotarySpec& s) {
    const PairLayout out = s.output_layout == PairLayout::kUnset ? s.layout : s.output_layout;
    return std::string(name_of(s.layout)) + (out == s.layout ? "" : fmt::format(", results {}", name_of(out)));
  };
  differ("head_dim", std::to_string(a.head_dim), std::to_string(b.head_dim));
  differ("rotary_dim", std::to_string(a.rotary_dim), std::to_string(b.rotary_dim));
  differ("rotary_offset", std::to_string(a.rotary_offset), std::to_string(b.rotary_offset));
  differ("pair_layout", layout(a), layout(b));
  differ("pair_blocks", fmt::format("[{}]", fmt::join(a.pair_blocks, ",")),
         fmt::format("[{}]", fmt::join(b.pair_blocks, ",")));
  differ("clockwise", a.clockwise ? "true" : "false", b.clockwise ? "true" : "false");
  differ("axis_of_pair", shown_list(a.axis_of_pair), shown_list(b.axis_of_pair));
  differ("rotation", a.is_rotation() ? "true" : "false", b.is_rotation() ? "true" : "false");
  return found;
}

std::string shown_temperature(const std::optional<QueryTemperature>& t) {
  return t ? fmt::format("1 + {:g} ln(1 + floor((p + {}) / {}))", t->beta, t->offset, t->context) : "none";
}

// The nearest bfloat16, ties to even.
float in_bf16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return std::bit_cast<float>((bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000);
}

// What one side does to the pairs of one kind of layer.
class Turning {
 public:
  Turning(const RotarySpec& spec, const Form& form, std::int64_t running_length)
      : spec_(spec), in_bf16_(form.in_bf16), frequencies_(value_or_refuse(make_frequencies(spec, running_length))) {}

  const Frequencies& frequencies() const { return frequencies_; }
  bool by_phases() const { return !in_bf16_; }
  bool by_steps() const { return !in_bf16_ && spec_.numerics == Numerics::kExact; }  // a phase is a product there

  // A pair that a side does not have stands still there.
  Turns turns(std::int64_t position, std::size_t pair) const {
    if (pair >= frequencies_.inv_freq.size()) return 0;
    const Turns turns = spec_.numerics == Numerics::kExact ? phase(position, frequencies_.turns_per_token[pair])
                                                           : phase_fp32(position, frequencies_.inv_freq_fp32[pair]);
    return spec_.clockwise ? Turns{0} - turns : turns;
  }

  double amplitude(std::size_t pair) const {
    return pair < static_cast<std::size_t>(spec_.pairs()) ? frequencies_.attention_factor : 1.0;
  }

  // Where the channel pair (1, 0) comes to lie.
  std::complex<double> point(std::int64_t position, std::size_t pair) const {
    const Turns at = turns(position, pair);
    double cosine = 0.0, sine = 0.0;
    fill_cos_sin({&at, 1}, amplitude(pair), &cosine, &sine);
    if (!in_bf16_) return {cosine, sine};
    return {in_bf16(static_cast<float>(cosine)), in_bf16(static_cast<float>(sine))};
  }

  bool same_pair(const Turning& other, std::size_t j) const {
    const Frequencies &a = frequencies_, &b = other.frequencies_;
    return j < a.inv_freq.size() && j < b.inv_freq.size() && spec_.numerics == other.spec_.numerics &&
           in_bf16_ == other.in_bf16_ && a.inv_freq[j] == b.inv_freq[j] && spec_.clockwise == other.spec_.clockwise &&
           a.attention_factor == b.attention_factor &&
           (spec_.numerics == Numerics::kFp32 || a.turns_per_token[j] == b.turns_per_token[j]);
  }

 private:
  const RotarySpec& spec_;
  bool in_bf16_;
  Frequencies frequencies_;
};

// |a e^(i alpha) - b e^(i beta)| for alpha - beta = between: how far apart the two leave a channel pair of length 1.
double distance(double a, double b, Turns between) {
  const double half = std::sin(signed_turns(between) * std::numbers::pi);
  return std::sqrt((a - b) * (a - b) + 4.0 * a * b * half * half);
}

// How far apart two sides leave a channel pair of length 1.
double distance(const Turning& a, const Turning& b, std::int64_t position, std::size_t pair) {
  if (a.by_phases() && b.by_phases())
    return distance(a.amplitude(pair), b.amplitude(pair), a.turns(position, pair) - b.turns(position, pair));
  return std::abs(a.point(position, pair) - b.point(position, pair));
}

// How far apart a pair's two results come over positions. Their distance grows with the angle between them, so that
// sines are needed only where that angle has not been as wide before.
class Apart {
 public:
  Apart(double a, double b, double tolerance) : a_(a), b_(b), tolerance_(tolerance) {}

  void look(std::int64_t position, Turns between) {
    const Turns width = width_of(between);
    if (seen_ && width <= widest_) return;
    seen_ = true;
    widest_ = width;
    note(position, distance(a_, b_, between));
  }

  /// All positions below `end` of two phases that part by `step` a position.
  void look_at_steps(Turns step, std::int64_t end) {
    if (end <= 0) return;
    // Up to half a turn the angle only grows: the first position at which a distance is reached is found by halving.
    constexpr Turns kHalfTurn = Turns{1} << 63;
    const Turns width = width_of(step);
    const std::int64_t last =
        width == 0 ? end - 1
                   : static_cast<std::int64_t>(std::min((kHalfTurn - 1) / width, static_cast<Turns>(end - 1)));
    const auto at = [&](std::int64_t position) { return distance(a_, b_, static_cast<Turns>(position) * width); };
    const auto first_where = [&](auto reached) {
      std::int64_t low = 0, high = last;
      while (low < high) {
        const std::int64_t middle = low + (high - low) / 2;
        if (reached(at(middle)))
          high = middle;
        else
          low = middle + 1;
      }
      return low;
    };
    const double most = at(last);
    if (most > tolerance_) note(first_where([&](double apart) { return apart > tolerance_; }), most);
    found_.largest = most;
    found_.largest_at = first_where([&](double apart) { return apart >= most; });
    seen_ = true;
    widest_ = static_cast<Turns>(last) * width;
    for (std::int64_t position = last + 1; position < end; ++position)
      look(position, static_cast<Turns>(position) * step);
  }

  /// What is known of one position.
  void note(std::int64_t position, double apart) {
    if (apart > tolerance_ && found_.first < 0) found_.first = position;
    if (apart <= found_.largest) return;
    found_.largest = apart;
    found_.largest_at = position;
  }

  const PairDifference& found() const { return found_; }

 private:
  // |angle|, 2^63 for half a turn.
  static Turns width_of(Turns between) { return static_cast<std::int64_t>(between) < 0 ? Turns{0} - between : between; }

  double a_, b_, tolerance_;
  bool seen_ = false;
  Turns widest_ = 0;
  PairDifference found_;
};

// Two kinds of layers that belong together.
struct KindPair {
  std::string name;
  const LayerKind *kind_a, *kind_b;
  const EngineReading *a, *b;
};

// What no position is needed for.
void note_structure(const KindPair& kind, const Turning& in_a, const Turning& in_b, KindDifference& result) {
  result.structure = structure_of(*kind.a->spec, *kind.b->spec);
  const double multiplier_a = in_a.frequencies().softmax_scale_multiplier,
               multiplier_b = in_b.frequencies().softmax_scale_multiplier;
  if (multiplier_a != multiplier_b)
    result.structure.push_back(
        {"softmax_scale_multiplier", fmt::format("{:.9g}", multiplier_a), fmt::format("{:.9g}", multiplier_b)});
}

void note_pair(const Apart& apart, std::size_t pair, KindDifference& result) {
  PairDifference one = apart.found();
  one.pair = static_cast<int>(pair);
  if (one.first < 0) return;
  if (result.first < 0 || one.first < result.first) result.first = one.first;
  if (one.largest > result.worst.largest) result.worst = one;
  result.pairs.push_back(one);
}

// The positions of --at alone, every pair of them.
KindDifference compare_at(const KindPair& kind, const Form& form_a, const Form& form_b, const PositionList& positions,
                          double tolerance) {
  KindDifference result(kind.name, running_length_of(positions.largest()));
  const Turning a(*kind.a->spec, form_a, result.length), b(*kind.b->spec, form_b, result.length);
  note_structure(kind, a, b, result);
  const auto pairs = static_cast<std::size_t>(std::max(kind.a->spec->pairs(), kind.b->spec->pairs()));
  for (const std::int64_t position : positions.slice(0, positions.count())) {
    AtPosition& one = result.at.emplace_back(AtPosition{position, std::vector<double>(pairs), 0});
    for (std::size_t j = 0; j < pairs; ++j) one.apart[j] = distance(a, b, position, j);
    one.furthest = static_cast<std::size_t>(std::max_element(one.apart.begin(), one.apart.end()) - one.apart.begin());
  }
  for (std::size_t j = 0; j < pairs; ++j) {
    Apart apart(a.amplitude(j), b.amplitude(j), tolerance);
    for (const AtPosition& one : result.at) apart.note(one.position, one.apart[j]);
    note_pair(apart, j, result);
  }
  return result;
}

KindDifference compare_kind(const KindPair& kind, const Form& form_a, const Form& form_b, std::int64_t length,
                            double tolerance, ProgressLine& progress) {
  KindDifference result(kind.name, length);
  const Turning a(*kind.a->spec, form_a, length), b(*kind.b->spec, form_b, length);
  note_structure(kind, a, b, result);
  const auto pairs = static_cast<std::size_t>(std::max(kind.a->spec->pairs(), kind.b->spec->pairs()));
  for (std::size_t j = 0; j < pairs; ++j) {
    if (a.same_pair(b, j)) continue;
    progress.show(fmt::format("{}, {} tokens: pair {} of {}", one_line(kind.name), grouped(length), j, pairs));
    Apart apart(a.amplitude(j), b.amplitude(j), tolerance);
    const auto between = [&](std::int64_t position) { return a.turns(position, j) - b.turns(position, j); };
    const auto look = [&](std::int64_t position) {
      if (a.by_phases() && b.by_phases())
        apart.look(position, between(position));
      else
        apart.note(position, distance(a, b, position, j));
    };
    const std::int64_t every = std::min(length, kEvery);
    if (a.by_steps() && b.by_steps())
      apart.look_at_steps(between(1), every);
    else
      for (std::int64_t position = 0; position < every; ++position) look(position);
    if (length > kEvery) look(length - 1);
    note_pair(apart, j, result);
  }
  return result;
}

// "23-40, 47"
std::string shown_pairs(const std::vector<PairDifference>& pairs) {
  std::string text;
  for (std::size_t i = 0; i < pairs.size();) {
    std::size_t last = i;
    while (last + 1 < pairs.size() && pairs[last + 1].pair == pairs[last].pair + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", pairs[i].pair);
    if (last > i) text += fmt::format("-{}", pairs[last].pair);
    i = last + 1;
  }
  return text;
}

void print_positions(Output& out, const KindDifference& kind) {
  out.write("            position   at most  in pair\n");
  for (const AtPosition& one : kind.at)
    out.write(fmt::format("  {:>18}  {:>8.3g}  {:>7}\n", grouped(one.position), one.apart[one.furthest],
                          one.apart[one.furthest] > 0.0 ? std::to_string(one.furthest) : "-"));
}

void print_kind(Output& out, const KindDifference& kind) {
  out.write(fmt::format("\n{}, {} tokens: ", kind.name, grouped(kind.length)));
  if (kind.same()) {
    out.write("the same\n");
    if (!kind.at.empty()) print_positions(out, kind);
    return;
  }
  if (kind.pairs.empty())
    out.write("the same angles\n");
  else
    out.write(fmt::format("differ from position {} on, in {} {}\n", grouped(kind.first),
                          kind.pairs.size() == 1 ? "pair" : "pairs", shown_pairs(kind.pairs)));
  for (const StructureDifference& one : kind.structure)
    out.write(fmt::format("  {}: {} | {}\n", one.what, one.a, one.b));
  if (!kind.at.empty()) print_positions(out, kind);
  if (kind.pairs.empty() || !kind.at.empty()) return;
  out.write(fmt::format("  by at most {:.3g} of a pair's length, at position {} in pair {}\n", kind.worst.largest,
                        grouped(kind.worst.largest_at), kind.worst.pair));
  // The pairs that part first, some of them between, and the one that parts most.
  constexpr std::size_t kShown = 8;
  out.write("      pair  from position   at most  at position\n");
  const std::size_t step = (kind.pairs.size() + kShown - 1) / kShown;
  for (std::size_t i = 0; i < kind.pairs.size(); i += step) {
    const PairDifference& one = kind.pairs[i];
    out.write(fmt::format("  {:>8}  {:>13}  {:>8.3g}  {:>11}\n", one.pair, grouped(one.first), one.largest,
                          grouped(one.largest_at)));
  }
}

void write_side(JsonOut& json, const Side& side) {
  json.begin_object();
  json.field("reading", side.title);
  json.field("model_type", side.positions.model_type);
  json.key("departures").begin_array();
  for (std::size_t i = 0; i < side.readings.size(); ++i)
    for (const Departure& departure : side.readings[i].departures) {
      json.begin_object();
      json.field("kind", side.positions.kinds[i].name);
      json.field("id", departure.id);
      json.field("what", departure.what);
      json.end();
    }
  json.end();
  json.end();
}

void write_kind(JsonOut& json, const KindDifference& kind) {
  json.begin_object();
  json.field("name", kind.name);
  json.field("length", kind.length);
  json.field("same", kind.same());
  json.key("structure").begin_array();
  for (const StructureDifference& one : kind.structure) {
    json.begin_object();
    json.field("what", one.what);
    json.field("a", one.a);
    json.field("b", one.b);
    json.end();
  }
  json.end();
  json.key("first_position");
  if (kind.first >= 0)
    json.value(kind.first);
  else
    json.null();
  json.field("largest", kind.worst.largest);
  json.key("pairs").begin_array();
  for (const PairDifference& one : kind.pairs) {
    json.begin_object();
    json.field("pair", one.pair);
    json.field("first_position", one.first);
    json.field("largest", one.largest);
    json.field("largest_at", one.largest_at);
    json.end();
  }
  json.end();
  if (!kind.at.empty()) {
    json.key("at").begin_array();
    for (const AtPosition& one : kind.at) {
      json.begin_object();
      json.field("position", one.position);
      json.field("largest", one.apart[one.furthest]);
      json.field("pair", static_cast<int>(one.furthest));
      json.field("apart", one.apart);
      json.end();
    }
    json.end();
  }
  json.end();
}

// Kinds of one name belong together; a single kind on each side does so whatever its name.
std::vector<KindPair> matched(const Side& a, const Side& b, const std::string& only,
                              std::vector<std::string>& unmatched) {
  std::vector<KindPair> found;
  const auto& kinds_a = a.positions.kinds;
  const auto& kinds_b = b.positions.kinds;
  if (kinds_a.size() == 1 && kinds_b.size() == 1 && only.empty())
    return {{kinds_a[0].name, &kinds_a[0], &kinds_b[0], &a.readings[0], &b.readings[0]}};
  for (std::size_t i = 0; i < kinds_a.size(); ++i) {
    if (!only.empty() && kinds_a[i].name != only) continue;
    const auto other = std::find_if(kinds_b.begin(), kinds_b.end(),
                                    [&](const LayerKind& kind) { return kind.name == kinds_a[i].name; });
    if (other == kinds_b.end())
      unmatched.push_back(kinds_a[i].name + " only in " + a.title);
    else
      found.push_back({kinds_a[i].name, &kinds_a[i], &*other, &a.readings[i],
                       &b.readings[static_cast<std::size_t>(other - kinds_b.begin())]});
  }
  for (const LayerKind& kind : kinds_b)
    if ((only.empty() || kind.name == only) &&
        std::none_of(kinds_a.begin(), kinds_a.end(), [&](const LayerKind& one) { return one.name == kind.name; }))
      unmatched.push_back(kind.name + " only in " + b.title);
  if (!only.empty() && found.empty())
    refuse("--kind", fmt::format("want a kind that both have, got \"{}\"", one_line(only)));
  return found;
}

std::vector<std::int64_t> lengths_of(const CompareArgs& args, const Side& a, const Side& b) {
  if (!args.lengths.empty()) return parse_token_list(args.lengths, "--lengths");
  std::vector<std::int64_t> lengths;
  for (const Side* side : {&a, &b})
    for (const std::int64_t length : {side->positions.trained_context, side->positions.max_context})
      if (length > 0) lengths.push_back(length);
  if (lengths.empty()) lengths.push_back(131072);
  std::sort(lengths.begin(), lengths.end());
  lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  return lengths;
}

// Each of them gives a line of all pairs.
PositionList positions_of(const std::string& text) {
  constexpr std::uint64_t kMost = 65536;
  PositionList positions = PositionList::parse(text, "--at");
  if (positions.count() > kMost)
    refuse("--at", fmt::format("want at most {} positions, got {}", kMost, positions.count()));
  return positions;
}

int compare(const CompareArgs& args) {
  if (!(args.tolerance > 0.0 && args.tolerance < 2.0))
    refuse("--tolerance", fmt::format("want a number in (0, 2), got {}", args.tolerance));
  if (!args.at.empty() && !args.lengths.empty()) refuse("--at", "want positions or --lengths, got both");
  const std::optional<PositionList> at = args.at.empty() ? std::nullopt : std::optional(positions_of(args.at));
  const std::size_t comma = args.numerics.find(',');
  const Form form_a = form_of(args.numerics.substr(0, comma), args.numerics);
  const Form form_b = comma == std::string::npos ? form_a : form_of(args.numerics.substr(comma + 1), args.numerics);
  if (args.b.empty() && !args.as_a && !args.as_b && form_a.name == form_b.name)
    refuse("B", "want a second checkpoint, --as ENGINE or --numerics A,B for another reading of the first, got none");

  const Side a = read_side(args, args.a, args.as_a, "--a-as", form_a);
  const Side b = read_side(args, args.b.empty() ? args.a : args.b, args.as_b, "--as", form_b);
  std::vector<std::string> unmatched;
  const std::vector<KindPair> kinds = matched(a, b, args.kind, unmatched);

  ProgressLine progress;
  std::vector<KindDifference> differences;
  const std::vector<std::int64_t> lengths = at ? std::vector{running_length_of(at->largest())} : lengths_of(args, a, b);
  for (const KindPair& kind : kinds)
    for (const std::int64_t length : lengths) {
      const auto note_both = [&](KindDifference& one) {
        if (kind.a->query_temperature() != kind.b->query_temperature())
          one.structure.push_back({"query_temperature", shown_temperature(kind.a->query_temperature()),
                                   shown_temperature(kind.b->query_temperature())});
        if (kind.kind_a->layers != kind.kind_b->layers)
          one.structure.push_back({"layers", shown_layers(kind.kind_a->layers), shown_layers(kind.kind_b->layers)});
      };
      if (kind.a->spec && kind.b->spec) {
        differences.push_back(at ? compare_at(kind, a.form, b.form, *at, args.tolerance)
                                 : compare_kind(kind, a.form, b.form, length, args.tolerance, progress));
        note_both(differences.back());
        continue;
      }
      KindDifference& one = differences.emplace_back(kind.name, length);
      if (kind.a->spec.has_value() != kind.b->spec.has_value())
        one.structure = {{"rotates", kind.a->spec ? "true" : "false", kind.b->spec ? "true" : "false"}};
      note_both(one);
    }
  progress.clear();
  const bool same = unmatched.empty() && std::all_of(differences.begin(), differences.end(),
                                                     [](const KindDifference& one) { return one.same(); });
  Output out = Output::to_stdout();
  if (args.json) {
    JsonOut json(out);
    json.begin_object();
    json.key("a");
    write_side(json, a);
    json.key("b");
    write_side(json, b);
    json.field("tolerance", args.tolerance);
    json.field("same", same);
    json.field("unmatched", unmatched);
    json.key("kinds").begin_array();
    for (const KindDifference& one : differences) write_kind(json, one);
    json.end();
    json.end();
  } else {
    out.write(fmt::format("A  {} ({})\nB  {} ({})\n", one_line(a.title), a.form.name, one_line(b.title), b.form.name));
    for (const Side* side : {&a, &b})
      for (std::size_t i = 0; i < side->readings.size(); ++i)
        for (const Departure& departure : side->readings[i].departures)
          out.write(fmt::format("   {} {}: {}\n", departure.id, side->positions.kinds[i].name, departure.what));
    for (const std::string& one : unmatched) out.write(fmt::format("\n{}\n", one_line(one)));
    for (const KindDifference& one : differences) print_kind(out, one);
  }
  out.finish();
  return args.check && !same ? kFailed : kDone;
}

}  // namespace

void add_compare(CLI::App& app, Work& work) {
  CLI::App* verb =
      app.add_subcommand("compare", "from which position on, and in which pairs, two readings of positions differ");
  auto args = std::make_shared<CompareArgs>();
  verb->add_option("a", args->a, "a config.json, a GGUF file, or a folder with config.json")
      ->required()
      ->type_name("A");
  verb->add_option("b", args->b,
                   "another one (default: A again, by the conventions of --as or in the other --numerics)")
      ->type_name("B");
  verb->add_option_function<std::string>(
          "--as", [args](const std::string& name) { args->as_b = name; },
          "read B by an engine's conventions (docs/divergences.md): hf, vllm or llama.cpp (default: by the "
          "checkpoint's own words)")
      ->type_name("ENGINE");
  verb->add_option_function<std::string>(
          "--a-as", [args](const std::string& name) { args->as_a = name; }, "the same for A")
      ->type_name("ENGINE");
  verb->add_option("--context", args->context,
                   "tokens the engines are configured for: max_model_len, n_ctx (default: what the checkpoint claims)")
      ->type_name("TOKENS");
  verb->add_option("--lengths", args->lengths,
                   "running lengths to compare at, each over all positions below it: 4k,128k (default: the trained and "
                   "the claimed ones)")
      ->type_name("LIST");
  verb->add_option("--at", args->at,
                   "these positions alone, with every pair in --json: 0,1000000,0:4096:64 (instead of --lengths)")
      ->type_name("LIST");
  verb->add_option("--tolerance", args->tolerance,
                   "how far apart two results of a pair of length 1 may be (default 0.001)")
      ->type_name("X");
  verb->add_option("--numerics", args->numerics,
                   "exact; fp32, a float32 phase; bf16, its cosines and sines rounded to bfloat16 as in a cache of the "
                   "model's dtype; or one for each side (default exact)")
      ->type_name("A[,B]");
  verb->add_option("--family", args->family, "follow this model family's conventions, whatever model_type says")
      ->type_name("NAME");
  verb->add_option("--kind", args->kind, "this layer kind alone")->type_name("NAME");
  verb->add_flag("--check", args->check, "exit with 1 if they differ");
  verb->add_flag("--json", args->json, "as JSON");
  verb->footer(
      "Positions from 0 to 1 048 576 are looked at one by one; of a longer length the last one besides.\n"
      "Examples:\n"
      "  ropewalk compare config.json --as vllm\n"
      "  ropewalk compare old/config.json new/config.json --check\n"
      "  ropewalk compare model.gguf config.json --lengths 8k,128k\n"
      "  ropewalk compare config.json --as hf --numerics exact,fp32 --lengths 1m\n"
      "  ropewalk compare config.json --numerics exact,bf16 --at 1000,1000000,1000000000");
  verb->callback([args, &work] { work = [args] { return compare(*args); }; });
}

}  // namespace ropewalk::cli
