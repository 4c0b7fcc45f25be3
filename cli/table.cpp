// ropewalk table: cosines, sines, phases or frequencies of a checkpoint, for anybody's own use.

#include "cli/json_out.hpp"
#include "cli/npy.hpp"
#include "cli/output.hpp"
#include "cli/positions_arg.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/frequencies.hpp>
#include <ropewalk/table.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace ropewalk::cli {
namespace {

struct TableArgs {
  CheckpointArgs checkpoint;
  std::string what;
  std::string positions;
  std::string format = "json";
  std::string out;
  bool no_attention_factor = false;
};

// What --positions says: a list of whole ones, kept as ranges, or the coordinates of a file.
class TablePositions {
 public:
  static TablePositions read(const std::string& text) {
    TablePositions positions;
    if (!text.ends_with(".npy")) {
      positions.list_ = PositionList::parse(text, "--positions");
      return positions;
    }
    const NpyArray array = read_npy(text);
    if (array.type != NpyType::kFloat64 || array.shape.size() != 1)
      refuse(text, fmt::format("want float64 of shape [positions], got {} {}", name_of(array.type),
                               shown_shape(array.shape)));
    positions.coordinates_ = coordinates_of(array, text);
    if (positions.coordinates_.empty()) refuse(text, "want at least one coordinate, got none");
    return positions;
  }

  std::uint64_t count() const { return list_ ? list_->count() : coordinates_.size(); }
  std::int64_t running_length() const { return list_ ? running_length_of(list_->largest()) : 0; }

  /// Calls use(view, shown) for stretches of them, first to last.
  template <class Use>
  void for_each_stretch(int axes, Use use) const {
    constexpr std::uint64_t kAtOnce = 256;
    for (std::uint64_t first = 0; first < count(); first += kAtOnce) {
      const std::uint64_t some = std::min(kAtOnce, count() - first);
      std::vector<std::string> shown;
      if (list_) {
        const std::vector<std::int64_t> whole = list_->slice(first, some);
        for (const std::int64_t position : whole) shown.push_back(std::to_string(position));
        PositionsView view = PositionsView::row(whole);
        view.axes = axes;
        use(view, shown);
      } else {
        const std::span<const double> part = std::span(coordinates_).subspan(first, some);
        for (const double coordinate : part) shown.push_back(json_number(coordinate));
        CoordinatesView view = CoordinatesView::row(part);
        view.axes = axes;
        use(view, shown);
      }
    }
  }

 private:
  std::optional<PositionList> list_;
  std::vector<double> coordinates_;
};

// Rows of the table, made a few at a time.
class Rows {
 public:
  Rows(const RotarySpec& spec, const Frequencies& frequencies, double amplitude)
      : spec_(spec), frequencies_(frequencies), amplitude_(amplitude), pairs_(static_cast<std::size_t>(spec.pairs())) {}

  std::size_t pairs() const noexcept { return pairs_; }
  const std::vector<Turns>& turns() const noexcept { return turns_; }  // [positions, pairs] of the last fill
  const std::vector<float>& cosines() const noexcept { return cos_; }
  const std::vector<float>& sines() const noexcept { return sin_; }

  /// Every stream of a spec with several axes stands at the same position, as it does for text.
  template <class View>
  void fill(const View& positions) {
    turns_.resize(static_cast<std::size_t>(positions.tokens) * pairs_);
    cos_.resize(turns_.size());
    sin_.resize(turns_.size());
    fill_turns(spec_, frequencies_, positions, turns_.data());
    fill_cos_sin(turns_, amplitude_, cos_.data(), sin_.data());
  }
  int axes() const noexcept { return spec_.axes(); }

 private:
  const RotarySpec& spec_;
  const Frequencies& frequencies_;
  double amplitude_;
  std::size_t pairs_;
  std::vector<Turns> turns_;
  std::vector<float> cos_, sin_;
};

// One cell: JSON carries the float's value as a double to the last bit, CSV the 9 digits that give the float back.
std::string shown_cell(const std::string& what, const Rows& rows, std::size_t cell, bool json) {
  if (what == "turns") return json_number(signed_turns(rows.turns()[cell]));
  const float value = what == "cos" ? rows.cosines()[cell] : rows.sines()[cell];
  return json ? json_number(static_cast<double>(value)) : fmt::format("{:.9g}", value);
}

void write_json_table(Output& out, const std::string& what, const TablePositions& positions, Rows& rows) {
  out.write("{\"positions\": [");
  bool first = true;
  positions.for_each_stretch(rows.axes(), [&](const auto&, const std::vector<std::string>& shown) {
    out.write(fmt::format("{}{}", first ? "" : ", ", fmt::join(shown, ", ")));
    first = false;
  });
  out.write("],\n \"" + what + "\": [");
  first = true;
  positions.for_each_stretch(rows.axes(), [&](const auto& view, const std::vector<std::string>& shown) {
    rows.fill(view);
    for (std::size_t row = 0; row < shown.size(); ++row) {
      out.write(first ? "\n  [" : ",\n  [");
      first = false;
      for (std::size_t j = 0; j < rows.pairs(); ++j) {
        if (j > 0) out.write(", ");
        out.write(shown_cell(what, rows, row * rows.pairs() + j, true));
      }
      out.write("]");
    }
  });
  out.write("]}\n");
}

void write_csv_table(Output& out, const std::string& what, const TablePositions& positions, Rows& rows) {
  out.write("position");
  for (std::size_t j = 0; j < rows.pairs(); ++j) out.write(fmt::format(",{}[{}]", what, j));
  out.write("\n");
  positions.for_each_stretch(rows.axes(), [&](const auto& view, const std::vector<std::string>& shown) {
    rows.fill(view);
    for (std::size_t row = 0; row < shown.size(); ++row) {
      out.write(shown[row]);
      for (std::size_t j = 0; j < rows.pairs(); ++j)
        out.write("," + shown_cell(what, rows, row * rows.pairs() + j, false));
      out.write("\n");
    }
  });
}

void write_npy_table(Output& out, const std::string& what, const TablePositions& positions, Rows& rows) {
  const NpyType type = what == "turns" ? NpyType::kUint64 : NpyType::kFloat32;
  out.write(npy_header(type, {static_cast<std::int64_t>(positions.count()), static_cast<std::int64_t>(rows.pairs())}));
  positions.for_each_stretch(rows.axes(), [&](const auto& view, const std::vector<std::string>&) {
    rows.fill(view);
    const void* const cells = what == "turns" ? static_cast<const void*>(rows.turns().data())
                              : what == "cos" ? static_cast<const void*>(rows.cosines().data())
                                              : static_cast<const void*>(rows.sines().data());
    out.write(cells, rows.turns().size() * size_of(type));
  });
}

void write_frequencies(Output& out, const std::string& format, const std::optional<TablePositions>& positions,
                       const std::vector<double>& inv_freq) {
  if (format == "npy") {
    out.write(npy_header(NpyType::kFloat64, {static_cast<std::int64_t>(inv_freq.size())}));
    out.write(inv_freq.data(), inv_freq.size() * sizeof(double));
  } else if (format == "csv") {
    out.write("pair,inv_freq\n");
    for (std::size_t j = 0; j < inv_freq.size(); ++j) out.write(fmt::format("{},{:.17g}\n", j, inv_freq[j]));
  } else {
    JsonOut json(out);
    json.begin_object();
    json.key("positions").begin_row();
    if (positions)
      positions->for_each_stretch(1, [&](const auto& view, const std::vector<std::string>&) {
        for (std::int64_t i = 0; i < view.tokens; ++i) json.value(view.data[i]);
      });
    json.end();
    json.field("inv_freq", inv_freq);
    json.end();
  }
}

int table(const TableArgs& args) {
  std::optional<TablePositions> positions;
  if (!args.positions.empty()) positions = TablePositions::read(args.positions);
  if (!positions && args.what != "inv_freq")
    refuse("--positions", "want positions such as 0,5,-3 or 0:4096:64, got none");
  const std::int64_t length = length_or(args.checkpoint, positions ? positions->running_length() : 0);
  const RotarySpec spec = read_spec(args.checkpoint);
  const Frequencies frequencies = value_or_refuse(make_frequencies(spec, length));

  // Rows are made as they are written, but whoever reads the table has to hold it.
  const double cells = positions ? static_cast<double>(positions->count()) * spec.pairs() : 0;
  const double bytes = cells * (args.what == "turns" ? 8 : 4),
               free_bytes = static_cast<double>(available_memory_bytes());
  if (bytes > free_bytes)
    refuse("--positions", fmt::format("want a table that fits in memory ({} free), got {} positions x {} pairs = {}",
                                      shown_bytes(free_bytes), positions->count(), spec.pairs(), shown_bytes(bytes)));

  want_file_of_its_own("--out", args.out, {args.checkpoint.path, args.checkpoint.path + "/config.json"});
  Output out = Output::to(args.out);
  if (args.format == "npy" && out.is_terminal()) refuse("--out", "want a file for npy, got a terminal");
  if (args.what == "inv_freq") {
    write_frequencies(out, args.format, positions, frequencies.inv_freq);
  } else {
    Rows rows(spec, frequencies, args.no_attention_factor ? 1.0 : frequencies.attention_factor);
    if (args.format == "npy")
      write_npy_table(out, args.what, *positions, rows);
    else if (args.format == "csv")
      write_csv_table(out, args.what, *positions, rows);
    else
      write_json_table(out, args.what, *positions, rows);
  }
  out.finish();
  return kDone;
}

}  // namespace

void add_table(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand("table", "cos, sin, phases or frequencies at any positions, as npy, csv or json");
  auto args = std::make_shared<TableArgs>();
  add_spec_options(*verb, args->checkpoint);
  verb->add_option(
          "--what", args->what,
          "cos, sin: [positions, pairs] float32, the attention factor included; inv_freq: [pairs] float64, radians "
          "per token; turns: [positions, pairs], the phase modulo a turn, in npy as uint64 (2^64 to a turn), in csv "
          "and json as a fraction of a turn in [-0.5, 0.5)")
      ->required()
      ->check(CLI::IsMember({"cos", "sin", "inv_freq", "turns"}))
      ->type_name("cos|sin|inv_freq|turns");
  verb->add_option(
          "--positions", args->positions,
          "64-bit integers and ranges start:stop[:step] (stop left out), with commas: 0,5,-3,0:4096:64; or a file of "
          "float64 with shape [positions] for coordinates that need not be whole. Not needed for inv_freq")
      ->type_name("LIST|FILE.npy");
  verb->add_option("--format", args->format, "npy, csv or json (default json)")
      ->check(CLI::IsMember({"npy", "csv", "json"}))
      ->type_name("npy|csv|json");
  verb->add_option("--out", args->out, "file to write (default: stdout)")->type_name("FILE");
  verb->add_flag("--no-attention-factor", args->no_attention_factor, "plain cos and sin, without the attention factor");
  verb->footer(spec_footer(
      "A spec with several axes (M-RoPE, images) is read with every axis at the same position. The table does not hold "
      "the "
      "direction:\n"
      "where explain says clockwise, the pairs turn by minus these phases. Where the second channels have angles of\n"
      "their own, these are the first ones'.\n"
      "Examples:\n"
      "  ropewalk table config.json --what cos --positions 0,5,1048575,-3,1099511627776\n"
      "  ropewalk table config.json --what sin --positions 0:131072 --format npy --out sin.npy\n"
      "  ropewalk table model.gguf --what inv_freq --length 32k --format csv"));
  verb->callback([args, &work] { work = [args] { return table(*args); }; });
}

}  // namespace ropewalk::cli
