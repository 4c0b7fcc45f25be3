// ropewalk compare: where two readings of positions part, from which position on, in which pairs, and by how much.

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/engines.hpp>
#include <ropewalk/frequencies.hpp>
#include <ropewalk/phase.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
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
  std::string context;
  double tolerance = 1e-3;
  bool json = false;
  bool check = false;
};

// Positions from 0 to this many are looked at one by one, those beyond it only at the last one.
constexpr std::int64_t kEvery = std::int64_t{1} << 20;

struct Side {
  std::string title;
  CheckpointPositions positions;
  std::vector<EngineReading> readings;  // one a kind
};

Side read_side(const CompareArgs& args, const std::string& path, const std::optional<std::string>& engine_name,
               const std::string& option, const std::string& numerics) {
  ReadOptions options;
  options.family = args.family;
  options.numerics = numerics == "fp32" ? Numerics::kFp32 : Numerics::kExact;
  Side side{path, value_or_refuse(read_positions(path, options)), {}};
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

struct KindDifference {
  KindDifference(std::string kind, std::int64_t tokens) : name(std::move(kind)), length(tokens) {}

  std::string name;
  std::int64_t length = 0;  // tokens
  std::vector<StructureDifference> structure;
  std::vector<PairDifference> pairs;  // those that differ, in order
  std::int64_t first = -1;
  PairDifference worst;
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

// One pair's phases at a position, whatever the numerics. A pair that a side does not have stands still there.
Turns turns_at(const RotarySpec& spec, const Frequencies& frequencies, std::int64_t position, std::size_t pair) {
  if (pair >= frequencies.inv_freq.size()) return 0;
  const Turns turns = spec.numerics == Numerics::kExact ? phase(position, frequencies.turns_per_token[pair])
                                                        : phase_fp32(position, frequencies.inv_freq_fp32[pair]);
  return spec.clockwise ? Turns{0} - turns : turns;
}

double amplitude_of(const RotarySpec& spec, const Frequencies& frequencies, std::size_t pair) {
  return pair < static_cast<std::size_t>(spec.pairs()) ? frequencies.attention_factor : 1.0;
}

// |a e^(i alpha) - b e^(i beta)| for alpha - beta = between: how far apart the two leave a channel pair of length 1.
double distance(double a, double b, Turns between) {
  const double half = std::sin(signed_turns(between) * std::numbers::pi);
  return std::sqrt((a - b) * (a - b) + 4.0 * a * b * half * half);
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

  const PairDifference& found() const { return found_; }

 private:
  // |angle|, 2^63 for half a turn.
  static Turns width_of(Turns between) { return static_cast<std::int64_t>(between) < 0 ? Turns{0} - between : between; }

  void note(std::int64_t position, double apart) {
    if (apart > tolerance_ && found_.first < 0) found_.first = position;
    if (apart <= found_.largest) return;
    found_.largest = apart;
    found_.largest_at = position;
  }

  double a_, b_, tolerance_;
  bool seen_ = false;
  Turns widest_ = 0;
  PairDifference found_;
};

KindDifference compare_kind(const std::string& name, const RotarySpec& a, const RotarySpec& b, std::int64_t length,
                            double tolerance, ProgressLine& progress) {
  KindDifference result(name, length);
  result.structure = structure_of(a, b);
  const Frequencies fa = value_or_refuse(make_frequencies(a, length)),
                    fb = value_or_refuse(make_frequencies(b, length));
  if (fa.softmax_scale_multiplier != fb.softmax_scale_multiplier)
    result.structure.push_back({"softmax_scale_multiplier", fmt::format("{:.9g}", fa.softmax_scale_multiplier),
                                fmt::format("{:.9g}", fb.softmax_scale_multiplier)});
  const auto pairs = static_cast<std::size_t>(std::max(a.pairs(), b.pairs()));
  const bool exact = a.numerics == Numerics::kExact && b.numerics == Numerics::kExact;
  for (std::size_t j = 0; j < pairs; ++j) {
    const bool both = j < fa.inv_freq.size() && j < fb.inv_freq.size();
    const bool alike = both && a.numerics == b.numerics && fa.inv_freq[j] == fb.inv_freq[j] &&
                       a.clockwise == b.clockwise && fa.attention_factor == fb.attention_factor &&
                       (a.numerics == Numerics::kFp32 || fa.turns_per_token[j] == fb.turns_per_token[j]);
    if (alike) continue;
    progress.show(fmt::format("{}, {} tokens: pair {} of {}", one_line(name), grouped(length), j, pairs));
    Apart apart(amplitude_of(a, fa, j), amplitude_of(b, fb, j), tolerance);
    const auto between = [&](std::int64_t position) {
      return turns_at(a, fa, position, j) - turns_at(b, fb, position, j);
    };
    const std::int64_t every = std::min(length, kEvery);
    if (exact)
      apart.look_at_steps(between(1), every);  // a phase is a product with its position
    else
      for (std::int64_t position = 0; position < every; ++position) apart.look(position, between(position));
    if (length > kEvery) apart.look(length - 1, between(length - 1));
    PairDifference one = apart.found();
    one.pair = static_cast<int>(j);
    if (one.first < 0) continue;
    if (result.first < 0 || one.first < result.first) result.first = one.first;
    if (one.largest > result.worst.largest) result.worst = one;
    result.pairs.push_back(one);
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

void print_kind(Output& out, const KindDifference& kind) {
  out.write(fmt::format("\n{}, {} tokens: ", kind.name, grouped(kind.length)));
  if (kind.same()) {
    out.write("the same\n");
    return;
  }
  if (kind.pairs.empty())
    out.write("the same angles\n");
  else
    out.write(fmt::format("differ from position {} on, in {} {}\n", grouped(kind.first),
                          kind.pairs.size() == 1 ? "pair" : "pairs", shown_pairs(kind.pairs)));
  for (const StructureDifference& one : kind.structure)
    out.write(fmt::format("  {}: {} | {}\n", one.what, one.a, one.b));
  if (kind.pairs.empty()) return;
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
  json.end();
}

struct KindPair {
  std::string name;
  const LayerKind *kind_a, *kind_b;
  const EngineReading *a, *b;
};

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

int compare(const CompareArgs& args) {
  if (args.b.empty() && !args.as_a && !args.as_b)
    refuse("B", "want a second checkpoint, or --as ENGINE for another reading of the first, got neither");
  if (!(args.tolerance > 0.0 && args.tolerance < 2.0))
    refuse("--tolerance", fmt::format("want a number in (0, 2), got {}", args.tolerance));
  const std::size_t comma = args.numerics.find(',');
  const std::string numerics_a = args.numerics.substr(0, comma);
  const std::string numerics_b = comma == std::string::npos ? numerics_a : args.numerics.substr(comma + 1);
  for (const std::string& word : {numerics_a, numerics_b})
    if (word != "exact" && word != "fp32")
      refuse("--numerics", fmt::format("want exact, fp32 or one for each side, got \"{}\"", one_line(args.numerics)));

  const Side a = read_side(args, args.a, args.as_a, "--a-as", numerics_a);
  const Side b = read_side(args, args.b.empty() ? args.a : args.b, args.as_b, "--as", numerics_b);
  std::vector<std::string> unmatched;
  const std::vector<KindPair> kinds = matched(a, b, args.kind, unmatched);

  ProgressLine progress;
  std::vector<KindDifference> differences;
  for (const KindPair& kind : kinds)
    for (const std::int64_t length : lengths_of(args, a, b)) {
      const auto note_both = [&](KindDifference& one) {
        if (kind.a->query_temperature() != kind.b->query_temperature())
          one.structure.push_back({"query_temperature", shown_temperature(kind.a->query_temperature()),
                                   shown_temperature(kind.b->query_temperature())});
        if (kind.kind_a->layers != kind.kind_b->layers)
          one.structure.push_back({"layers", shown_layers(kind.kind_a->layers), shown_layers(kind.kind_b->layers)});
      };
      if (kind.a->spec && kind.b->spec) {
        differences.push_back(compare_kind(kind.name, *kind.a->spec, *kind.b->spec, length, args.tolerance, progress));
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
    out.write(fmt::format("A  {} ({})\nB  {} ({})\n", one_line(a.title), numerics_a, one_line(b.title), numerics_b));
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
  verb->add_option("b", args->b, "another one (default: A again, by the conventions of --as)")->type_name("B");
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
  verb->add_option("--tolerance", args->tolerance,
                   "how far apart two results of a pair of length 1 may be (default 0.001)")
      ->type_name("X");
  verb->add_option("--numerics", args->numerics,
                   "exact, fp32, or one for each side: exact,fp32 shows what a float32 phase costs (default exact)")
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
      "  ropewalk compare config.json --as hf --numerics exact,fp32 --lengths 1m");
  verb->callback([args, &work] { work = [args] { return compare(*args); }; });
}

}  // namespace ropewalk::cli
