// ropewalk explain: what a checkpoint's positions really do.

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/scaling_words.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace ropewalk::cli {
namespace {

struct ExplainArgs {
  CheckpointArgs checkpoint;
  bool json = false;
  bool all_pairs = false;
};

// A kind with all that is said of it. `unscaled` is the same spec without its scaling, to show what scaling did.
struct ExplainedKind {
  const LayerKind* kind;
  Frequencies frequencies, unscaled;
};

ExplainedKind explained(const LayerKind& kind, std::int64_t length) {
  ExplainedKind out{&kind, {}, {}};
  if (!kind.spec) return out;
  out.frequencies = value_or_refuse(make_frequencies(*kind.spec, length));
  RotarySpec plain = *kind.spec;
  plain.scaling = NoScaling{};
  out.unscaled = value_or_refuse(make_frequencies(plain));
  return out;
}

// ---- JSON
// ------------------------------------------------------------------------------------------------------------

void write_kind(JsonOut& json, const ExplainedKind& explained) {
  const LayerKind& kind = *explained.kind;
  const Frequencies& frequencies = explained.frequencies;
  json.begin_object();
  json.field("name", kind.name);
  json.field("rotates", kind.spec.has_value());
  json.field("layers", kind.layers);
  json.field("head_dim", kind.head_dim);
  const RotarySpec spec = kind.spec.value_or(RotarySpec{});
  json.field("rotary_dim", spec.rotary_dim);
  json.field("rotary_offset", spec.rotary_offset);
  if (kind.spec) {
    json.field("pair_layout", name_of(spec.layout));
    json.field("theta", spec.theta);
  } else {
    json.key("pair_layout").null();
    json.key("theta").null();
  }
  json.key("scaling");
  write_scaling(json, spec.scaling);
  json.field("inv_freq", frequencies.inv_freq);
  json.field("attention_factor", frequencies.attention_factor);
  json.field("softmax_scale_multiplier", frequencies.softmax_scale_multiplier);
  json.key("query_temperature");
  if (const auto& temperature = kind.query_temperature()) {
    json.begin_object();
    json.field("beta", temperature->beta);
    json.field("context", temperature->context);
    json.field("offset", temperature->offset);
    json.end();
  } else {
    json.null();
  }
  if (kind.spec) {
    json.field("numerics", name_of(spec.numerics));
    json.field("clockwise", spec.clockwise);
    json.key("axis_of_pair").begin_row();
    for (const std::uint8_t axis : spec.axis_of_pair) json.value(int{axis});
    json.end();
    json.field("axes", spec.axes());
    json.key("streams").begin_row();
    for (const std::string& stream : kind.streams) json.value(stream);
    json.end();
    json.field("position_scale", spec.position_scale);
    json.field("output_layout", name_of(spec.output_layout == PairLayout::kUnset ? spec.layout : spec.output_layout));
    json.field("is_rotation", spec.is_rotation());
    json.key("channels").begin_row();  // of every pair, in the head: first, second, first, ...
    for (int pair = 0; pair < spec.pairs(); ++pair)
      for (const ChannelPair both = spec.channels(pair); const int channel : {both.first, both.second})
        json.value(channel);
    json.end();
    if (spec.second) {
      json.field("second_inv_freq", frequencies.second_inv_freq);
      json.key("second_axis_of_pair").begin_row();
      for (const std::uint8_t axis : spec.second->axis_of_pair.empty() ? spec.axis_of_pair : spec.second->axis_of_pair)
        json.value(int{axis});
      json.end();
    }
    json.key("turns_per_token").begin_row();  // in hexadecimal, 2^64 to a turn: JSON's numbers hold 53 bits
    for (const std::uint64_t turns : frequencies.turns_per_token) json.value(fmt::format("{:016x}", turns));
    json.end();
  }
  json.end();
}

void write_json(Output& out, const CheckpointPositions& positions, const std::vector<ExplainedKind>& kinds,
                const std::vector<Hazard>& hazards, std::int64_t length) {
  JsonOut json(out);
  json.begin_object();
  json.field("model_type", positions.model_type);
  json.field("family", positions.family);
  json.field("part", positions.part);
  json.key("parts").begin_row();
  for (const std::string& part : positions.parts) json.value(part);
  json.end();
  json.field("source", positions.source);
  json.field("fingerprint", value_or_refuse(fingerprint(positions, length)));
  json.field("trained_context", positions.trained_context);
  json.field("max_context", positions.max_context);
  json.field("layer_count", positions.layer_count);
  json.field("running_length", length);
  json.key("kinds").begin_array();
  for (const ExplainedKind& kind : kinds) write_kind(json, kind);
  json.end();
  json.key("keys").begin_object();
  json.field("used", positions.keys_used);
  json.field("ignored", positions.keys_ignored);
  json.end();
  json.key("provenance").begin_array();
  for (const Provenance& entry : positions.provenance) {
    json.begin_object();
    json.field("what", entry.what);
    json.field("value", entry.value);
    json.field("from", entry.from);
    json.end();
  }
  json.end();
  json.key("notes").begin_array();
  for (const std::string& note : positions.notes) json.value(note);
  json.end();
  json.key("hazards").begin_array();
  for (const Hazard& hazard : hazards) {
    json.begin_object();
    json.field("kind", hazard.kind);
    json.field("message", hazard.message);
    json.end();
  }
  json.end();
  json.end();
}

// ---- for people
// ------------------------------------------------------------------------------------------------------

constexpr std::size_t kColumns = 100;
constexpr std::size_t kValueColumns = 28;

// Emphasis where a person looks at a terminal, nothing where a program reads.
class Page {
 public:
  explicit Page(Output& out) : out_(out), styled_(out.is_terminal() && std::getenv("NO_COLOR") == nullptr) {}

  std::string bold(const std::string& text) const { return styled_ ? "\x1b[1m" + text + "\x1b[0m" : text; }
  std::string dim(const std::string& text) const { return styled_ ? "\x1b[2m" + text + "\x1b[0m" : text; }
  std::string warm(const std::string& text) const { return styled_ ? "\x1b[33m" + text + "\x1b[0m" : text; }
  void line(const std::string& text = "") { out_.write(text + "\n"); }
  void title(const std::string& text) {
    line();
    line(bold(text));
  }
  /// `label` at column 2, `text` from column `indent` on, broken at words, and inside a word that is wider than the
  /// page.
  void wrapped(const std::string& label, const std::string& text, std::size_t indent) {
    std::string current = "  " + label;
    current.resize(std::max(current.size(), indent), ' ');
    bool empty = true;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t space = std::min(text.find(' ', at), text.size());
      std::size_t end = space;
      const std::size_t room = kColumns - indent;
      if (end - at > room) {
        const std::size_t comma = text.rfind(',', at + room - 1);
        end = comma != std::string::npos && comma > at ? comma + 1 : at + room;
      }
      if (current.size() + (empty ? 0 : 1) + (end - at) > kColumns) {
        line(current);
        current = std::string(indent, ' ');
        empty = true;
      }
      current += (empty ? "" : " ") + text.substr(at, end - at);
      empty = false;
      at = end == space ? space + 1 : end;
    }
    line(current);
  }

 private:
  Output& out_;
  bool styled_;
};

// "0-3, 5, 8-29"
std::string shown_layers(const std::vector<int>& layers) {
  std::string out;
  for (std::size_t i = 0; i < layers.size();) {
    std::size_t last = i;
    while (last + 1 < layers.size() && layers[last + 1] == layers[last] + 1) ++last;
    out += out.empty() ? "" : ", ";
    out += last == i ? std::to_string(layers[i]) : fmt::format("{}-{}", layers[i], layers[last]);
    i = last + 1;
  }
  return out;
}

// The step of "0, 6, 12, ..." where layers come in even steps, 0 otherwise.
int even_step(const std::vector<int>& layers) {
  if (layers.size() < 4) return 0;
  const int step = layers[1] - layers[0];
  for (std::size_t i = 2; i < layers.size(); ++i)
    if (layers[i] - layers[i - 1] != step) return 0;
  return step > 1 ? step : 0;
}

std::string shown_factor(double factor) { return fmt::format("{:.7g}", factor); }

enum class Fate { kKept, kBlended, kDivided, kStill };

// What scaling did to a pair. Divided: by as much as the slowest one that still turns.
Fate fate_of(double ratio, double smallest) {
  if (ratio == 0) return Fate::kStill;
  if (std::abs(ratio - 1) < 1e-9) return Fate::kKept;
  return std::abs(ratio / smallest - 1) < 1e-6 ? Fate::kDivided : Fate::kBlended;
}

std::string shown_fate(Fate fate, double ratio) {
  switch (fate) {
    case Fate::kKept: return "as it was";
    case Fate::kStill: return "stands still";
    case Fate::kDivided: return fmt::format("/ {:.5g}", 1 / ratio);
    case Fate::kBlended: return fmt::format("/ {:.5g} (between)", 1 / ratio);
  }
  return "";
}

std::string shown_count(double count) {
  if (!std::isfinite(count)) return "never";
  if (count < 100) return fmt::format("{:.3g}", count);
  if (count < 1e12) return grouped(std::llround(count));
  return fmt::format("{:.3e}", count);
}

void write_pairs(Page& page, const ExplainedKind& explained, std::int64_t context, bool all_pairs) {
  const RotarySpec& spec = *explained.kind->spec;
  const std::vector<double>& inv_freq = explained.frequencies.inv_freq;
  const auto pairs = static_cast<int>(inv_freq.size());
  const auto at = [](const std::vector<double>& list, int j) { return list[static_cast<std::size_t>(j)]; };
  std::vector<double> ratios;
  double smallest = 1;
  for (int j = 0; j < pairs; ++j) {
    const double plain = at(explained.unscaled.inv_freq, j);
    ratios.push_back(plain == 0 ? 1 : at(inv_freq, j) / plain);
    if (ratios.back() > 0) smallest = std::min(smallest, ratios.back());
  }
  const auto fate = [&](int j) { return fate_of(at(ratios, j), smallest); };
  const auto turns = [&](int j) { return static_cast<double>(context) / wavelength_tokens(at(inv_freq, j)); };

  // A readable selection: an even walk, both ends, and every place where something changes.
  std::vector<bool> shown(static_cast<std::size_t>(pairs), all_pairs || pairs <= 16);
  const auto show = [&](int j) {
    if (j >= 0 && j < pairs) shown[static_cast<std::size_t>(j)] = true;
  };
  for (int j = 0; j < pairs; j += std::max(1, pairs / 8)) show(j);
  show(pairs - 1);
  for (int j = 1; j < pairs; ++j) {
    const bool finishes = context > 0 && (turns(j) < 1) != (turns(j - 1) < 1);
    if (fate(j) != fate(j - 1) || finishes) show(j - 1), show(j);
  }

  const bool several_axes = spec.axes() > 1;
  const std::string over = context > 0 ? fmt::format("turns in {}", short_tokens(context)) : "";
  page.line();
  page.line(
      page.dim(fmt::format("  {:>5}  {:>11}  {}{:>13}  {:>18}  {:>13}  {}", "pair", "channels",
                           several_axes ? "axis  " : "", "rad / token", "tokens in a turn", over, "scaling made it")));
  int skipped = 0;
  for (int j = 0; j < pairs; ++j) {
    if (!shown[static_cast<std::size_t>(j)]) {
      ++skipped;
      continue;
    }
    if (skipped > 0) page.line(page.dim(fmt::format("  {:>5}", "...")));
    skipped = 0;
    const ChannelPair channels = spec.channels(j);
    const std::string axis = !several_axes ? std::string()
                             : spec.axis_of_pair.empty()
                                 ? fmt::format("{:>4}  ", "all")
                                 : fmt::format("{:>4}  ", int{spec.axis_of_pair[static_cast<std::size_t>(j)]});
    const std::string row = fmt::format("  {:>5}  {:>11}  {}{:>13.6e}  {:>18}  {:>13}  {}", j,
                                        fmt::format("{}, {}", channels.first, channels.second), axis, at(inv_freq, j),
                                        shown_count(wavelength_tokens(at(inv_freq, j))),
                                        context > 0 ? shown_count(turns(j)) : "", shown_fate(fate(j), at(ratios, j)));
    const bool unfinished = context > 0 && turns(j) < 1;
    page.line(unfinished ? page.warm(row) : row);
  }
}

void write_kind(Page& page, const ExplainedKind& explained, const CheckpointPositions& positions, std::int64_t context,
                bool all_pairs) {
  const LayerKind& kind = *explained.kind;
  std::string where;
  if (!kind.layers.empty()) {
    const int step = even_step(kind.layers);
    const std::string list =
        step > 0 ? fmt::format("{}, {}, ... {} (every {}th)", kind.layers[0], kind.layers[1], kind.layers.back(), step)
                 : shown_layers(kind.layers);
    where = fmt::format(": {} of {} layers, {}", kind.layers.size(), positions.layer_count, list);
    if (where.size() > kColumns - 20)
      where = fmt::format(": {} of {} layers", kind.layers.size(), positions.layer_count);
  }
  page.title(kind.name + where);
  const auto& warmth = kind.query_temperature();
  const std::string warmed =
      warmth ? fmt::format("query x 1 + {:g} ln(1 + floor((p{}) / {})) at position p", warmth->beta,
                           warmth->offset == 0 ? "" : fmt::format(" + {}", warmth->offset), grouped(warmth->context))
             : "";
  if (!kind.spec) {
    page.line(fmt::format("  no rotation: queries and keys of {} channels pass as they are{}", kind.head_dim,
                          warmth ? ", but for" : ""));
    if (warmth) page.wrapped("factors", warmed, 12);
    return;
  }
  page.wrapped("spec", to_string(*kind.spec), 12);
  const Frequencies& frequencies = explained.frequencies;
  const double factor = frequencies.attention_factor;
  page.wrapped("factors",
               factor == 1 ? std::string("cos and sin x 1")
                           : fmt::format("cos and sin x {}, so q.k x {} on the channels that turn",
                                         shown_factor(factor), shown_factor(factor * factor)),
               12);
  page.wrapped("", fmt::format("softmax scale x {}", shown_factor(frequencies.softmax_scale_multiplier)), 12);
  if (warmth) page.wrapped("", warmed, 12);
  std::int64_t turning = 0, unfinished = 0;
  for (const double inv_freq : frequencies.inv_freq) {
    turning += inv_freq != 0 ? 1 : 0;
    unfinished += inv_freq != 0 && static_cast<double>(context) < wavelength_tokens(std::abs(inv_freq)) ? 1 : 0;
  }
  page.wrapped(
      "pairs",
      fmt::format("{} of {} turn{}", turning, frequencies.inv_freq.size(),
                  context > 0 ? fmt::format("; {} of them never finish a turn in the {} tokens of training{}",
                                            unfinished, grouped(context),
                                            frequencies.inv_freq == explained.unscaled.inv_freq ? "" : ", as scaled")
                              : ""),
      12);
  write_pairs(page, explained, context, all_pairs);
}

/// A checkpoint's words may hold what moves a terminal's cursor; a page shows them without.
void make_printable(CheckpointPositions& positions) {
  for (std::string* text : {&positions.source, &positions.model_type, &positions.family, &positions.part})
    *text = one_line(*text);
  for (LayerKind& kind : positions.kinds) kind.name = one_line(kind.name);
  for (Provenance& row : positions.provenance)
    for (std::string* text : {&row.what, &row.value, &row.from}) *text = one_line(*text);
  for (std::vector<std::string>* list :
       {&positions.keys_used, &positions.keys_ignored, &positions.notes, &positions.parts})
    for (std::string& text : *list) text = one_line(text);
}

void write_page(Output& out, const CheckpointPositions& positions, const std::vector<ExplainedKind>& kinds,
                std::vector<Hazard> hazards, std::int64_t length, bool all_pairs) {
  for (Hazard& hazard : hazards) hazard = {one_line(hazard.kind), one_line(hazard.message)};
  Page page(out);
  const auto tokens = [](std::int64_t count) {
    return count > 0 ? fmt::format("{} tokens", grouped(count)) : std::string("unknown");
  };
  page.line(page.bold(positions.source));
  page.line(fmt::format("  model_type  {:<34}  trained context  {}", positions.model_type,
                        tokens(positions.trained_context)));
  page.line(fmt::format("  family      {:<34}  claimed context  {}", positions.family, tokens(positions.max_context)));
  if (!positions.part.empty()) page.line(fmt::format("  part        {}", positions.part));
  page.line(fmt::format("  fingerprint {:<34}  running length   {}", value_or_refuse(fingerprint(positions, length)),
                        length > 0 ? tokens(length) : "the trained one"));
  const std::int64_t context = positions.trained_context > 0 ? positions.trained_context : positions.max_context;
  for (const ExplainedKind& kind : kinds) write_kind(page, kind, positions, context, all_pairs);

  page.title("Where the numbers come from");
  std::size_t what = 0, value = 0;
  for (const Provenance& entry : positions.provenance) {
    what = std::max(what, entry.what.size());
    value = std::max(value, std::min(entry.value.size(), kValueColumns));
  }
  for (const Provenance& entry : positions.provenance) {
    const std::string shown =
        entry.value.size() > kValueColumns ? entry.value.substr(0, kValueColumns - 3) + "..." : entry.value;
    const std::string label = fmt::format("{:<{}}  {:<{}}", entry.what, what, shown, value);
    page.wrapped(label, entry.from, what + value + 6);
  }
  page.title("Keys");
  const auto listed = [](const std::vector<std::string>& keys) {
    return keys.empty() ? std::string("none") : fmt::format("{}", fmt::join(keys, ", "));
  };
  page.wrapped("used", listed(positions.keys_used), 12);
  page.wrapped("ignored", listed(positions.keys_ignored), 12);
  if (!positions.notes.empty()) page.title("Notes");
  for (const std::string& note : positions.notes) page.wrapped("-", note, 4);
  const std::int64_t at = length > 0 ? length : positions.max_context;
  page.title(at > 0 ? fmt::format("Hazards at {} tokens", grouped(at)) : std::string("Hazards"));
  if (hazards.empty()) page.line("  none known");
  for (const Hazard& hazard : hazards)
    page.wrapped("-", (hazard.kind.empty() || kinds.size() == 1 ? "" : hazard.kind + ": ") + hazard.message, 4);
}

int explain(const ExplainArgs& args) {
  const std::int64_t length = length_or(args.checkpoint, 0);
  CheckpointPositions positions = read_checkpoint(args.checkpoint);
  std::vector<ExplainedKind> kinds;
  for (const LayerKind& kind : positions.kinds) kinds.push_back(explained(kind, length));
  const std::vector<Hazard> hazards = hazards_of(positions, length);
  Output out = Output::to_stdout();
  if (args.json) {
    write_json(out, positions, kinds, hazards, length);
  } else {
    make_printable(positions);
    write_page(out, positions, kinds, hazards, length, args.all_pairs);
  }
  out.finish();
  return kDone;
}

}  // namespace

void add_explain(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand("explain", "what a checkpoint's positions really do, pair by pair");
  auto args = std::make_shared<ExplainArgs>();
  add_checkpoint_options(*verb, args->checkpoint,
                         "running length for scalings that depend on it, and where hazards are judged: 5000, 32k "
                         "(default: the trained context; hazards at the claimed one)",
                         false);
  verb->add_flag("--json", args->json, "JSON instead of a page; inv_freq in radians per token, 17 significant digits");
  verb->add_flag("--all-pairs", args->all_pairs, "every pair in the page, not a selection");
  verb->footer(
      "Examples:\n"
      "  ropewalk explain config.json\n"
      "  ropewalk explain model.gguf --length 32k\n"
      "  ropewalk explain qwen2-vl/ --part vision\n"
      "  ropewalk explain my-model/ --json | python3 -m json.tool\n"
      "  ropewalk explain config.json --family llama     (a model_type that is not known, of known conventions)");
  verb->callback([args, &work] { work = [args] { return explain(*args); }; });
}

}  // namespace ropewalk::cli
