// ropewalk rotate: the operator on arrays, so that any language can be checked against it.

#include "cli/npy.hpp"
#include "cli/output.hpp"
#include "cli/positions_arg.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/rotary.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace ropewalk::cli {
namespace {

struct RotateArgs {
  CheckpointArgs checkpoint;
  std::string q, k;
  std::string positions;
  std::string out;
  std::string layout = "bshd";
  std::string dtype;
  bool inverse = false;
  int threads = 0;
};

DType dtype_of(const NpyArray& array, const std::string& path, const std::string& asked) {
  std::optional<DType> held;
  if (array.type == NpyType::kFloat32 && (asked.empty() || asked == "f32")) held = DType::kFloat32;
  if (array.type == NpyType::kFloat16 && (asked.empty() || asked == "f16")) held = DType::kFloat16;
  if (array.type == NpyType::kUint16 && asked == "bf16") held = DType::kBFloat16;
  if (held) return *held;
  if (asked.empty() && array.type == NpyType::kUint16)
    refuse(path, "want float32 or float16, got uint16 (if it holds bfloat16, say --dtype bf16)");
  const std::string_view want = asked == "f32"    ? "float32 for --dtype f32"
                                : asked == "f16"  ? "float16 for --dtype f16"
                                : asked == "bf16" ? "uint16 for --dtype bf16"
                                                  : "float32 or float16, or uint16 with --dtype bf16";
  refuse(path, fmt::format("want {}, got {}", want, name_of(array.type)));
}

HeadsView view_of(NpyArray& array, const std::string& path, const std::string& layout, DType dtype) {
  const std::vector<std::int64_t>& shape = array.shape;
  const std::size_t axes = layout == "thd" ? 3 : 4;
  if (shape.size() != axes)
    refuse(path, fmt::format("want {} for --layout {}, got {}",
                             layout == "thd"    ? "[tokens, heads, head_dim]"
                             : layout == "bshd" ? "[batch, tokens, heads, head_dim]"
                             : layout == "bhsd" ? "[batch, heads, tokens, head_dim]"
                                                : "[tokens, batch, heads, head_dim]",
                             layout, shown_shape(shape)));
  void* const data = array.data.data();
  if (layout == "thd") return HeadsView::thd(data, dtype, shape[0], shape[1], shape[2]);
  if (layout == "bhsd") return HeadsView::bhsd(data, dtype, shape[0], shape[1], shape[2], shape[3]);
  if (layout == "sbhd") return HeadsView::sbhd(data, dtype, shape[0], shape[1], shape[2], shape[3]);
  return HeadsView::bshd(data, dtype, shape[0], shape[1], shape[2], shape[3]);
}

// Positions with the shape they came in: a list is one row. Whole ones, or coordinates that need not be.
struct Positions {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> values;
  std::vector<double> coordinates{};
  std::int64_t largest = -1;
};

Positions read_position_file(const std::string& path) {
  const NpyArray array = read_npy(path);
  Positions positions{.shape = array.shape, .values = {}};
  if (array.type == NpyType::kInt64) {
    positions.values.resize(array.data.size() / 8);
    if (!positions.values.empty()) std::memcpy(positions.values.data(), array.data.data(), array.data.size());
  } else if (array.type == NpyType::kInt32) {
    std::vector<std::int32_t> narrow(array.data.size() / 4);
    if (!narrow.empty()) std::memcpy(narrow.data(), array.data.data(), array.data.size());
    positions.values.assign(narrow.begin(), narrow.end());
  } else if (array.type == NpyType::kFloat64) {
    positions.coordinates = coordinates_of(array, path);
    return positions;
  } else {
    refuse(path, fmt::format("want int64, int32 or float64 positions, got {}", name_of(array.type)));
  }
  if (!positions.values.empty())
    positions.largest = *std::max_element(positions.values.begin(), positions.values.end());
  return positions;
}

Positions read_position_argument(const std::string& text, std::int64_t tokens) {
  if (text.ends_with(".npy")) return read_position_file(text);
  const PositionList list = PositionList::parse(text, "--positions");
  if (list.count() != static_cast<std::uint64_t>(tokens))
    refuse("--positions", fmt::format("want {} positions, one a token of q, got {}", tokens, list.count()));
  return {.shape = {tokens}, .values = list.slice(0, list.count()), .largest = list.largest()};
}

// [tokens] serves every row and axis; [batch, tokens] has a row each; a spec with several axes takes [axes, tokens] and
// [axes, batch, tokens] instead.
template <class View, class Value>
View view_of(const std::vector<Value>& values, const std::vector<std::int64_t>& shape, const RotarySpec& spec,
             const HeadsView& q) {
  const std::int64_t axes = spec.axes();
  const bool one_row = shape.size() == 1 && shape[0] == q.tokens;
  const bool rows = axes == 1 && shape.size() == 2 && (shape[0] == q.batch || shape[0] == 1) && shape[1] == q.tokens;
  const bool streams = axes > 1 && shape.size() == 2 && shape[0] == axes && shape[1] == q.tokens;
  const bool streams_of_rows = axes > 1 && shape.size() == 3 && shape[0] == axes &&
                               (shape[1] == q.batch || shape[1] == 1) && shape[2] == q.tokens;
  if (streams) return View::streams(values, static_cast<int>(axes));
  View view = View::row(values);
  view.axes = static_cast<int>(axes);
  if (rows || streams_of_rows) {
    view.batch = shape[shape.size() - 2];
    view.tokens = shape.back();
    view.axis_stride = rows ? 0 : view.batch * view.tokens;
    view.batch_stride = view.batch == 1 ? 0 : view.tokens;
  }
  if (one_row || rows || streams_of_rows) return view;
  const std::string want = axes == 1
                               ? fmt::format("[{}] or [{}, {}] (batch, tokens)", q.tokens, q.batch, q.tokens)
                               : fmt::format("[{}], [{}, {}] (axes, tokens) or [{}, {}, {}] (axes, batch, tokens)",
                                             q.tokens, axes, q.tokens, axes, q.batch, q.tokens);
  refuse("--positions", fmt::format("want the shape {}, got {}", want, shown_shape(shape)));
}

// The library counts operands; the user named files.
Error in_users_words(Error error, const RotateArgs& args) {
  for (const auto& [operand, file] : {std::pair{"operands[0]", args.q}, std::pair{"operands[1]", args.k}}) {
    if (!error.path.starts_with(operand)) continue;
    std::string rest = error.path.substr(std::strlen(operand));
    for (const std::string_view side : {".in", ".out"})
      if (rest.starts_with(side)) rest.erase(0, side.size());
    error.path = file + (rest.empty() ? "" : ": " + rest.substr(rest[0] == '.' ? 1 : 0));
  }
  return error;
}

int rotate(const RotateArgs& args) {
  if (args.threads < 0) refuse("--threads", fmt::format("want a number >= 0, got {}", args.threads));
  const RotarySpec spec = read_spec(args.checkpoint);

  NpyArray q = read_npy(args.q);
  std::optional<NpyArray> k;
  if (!args.k.empty()) k = read_npy(args.k);
  const HeadsView q_view = view_of(q, args.q, args.layout, dtype_of(q, args.q, args.dtype));
  std::vector<RotaryOperand> operands{RotaryOperand::in_place(q_view)};
  if (k)
    operands.push_back(RotaryOperand::in_place(view_of(*k, args.k, args.layout, dtype_of(*k, args.k, args.dtype))));

  const Positions positions = read_position_argument(args.positions, q_view.tokens);
  const bool whole = positions.coordinates.empty();
  const auto where = whole ? std::variant<PositionsView, CoordinatesView>(
                                 view_of<PositionsView>(positions.values, positions.shape, spec, q_view))
                           : view_of<CoordinatesView>(positions.coordinates, positions.shape, spec, q_view);
  const std::int64_t length = length_or(args.checkpoint, running_length_of(positions.largest));
  const Rotary rotary = value_or_refuse(Rotary::make(spec, length));
  if (const double m = rotary.frequencies().attention_factor; args.inverse && !(m >= std::numeric_limits<float>::min()))
    refuse("--inverse", fmt::format("want a factor on cos and sin that can be divided out, got {:g}", m));
  const auto check = [&](const auto& view) { return rotary.check(operands, view); };
  if (const std::optional<Error> wrong = std::visit(check, where))
    throw Refused{in_users_words(*wrong, args), kInputWrong};

  // Queries may be turned where they lie, keys too; anything else that is read stays.
  want_file_of_its_own("--out", in_folder(args.out, "q.npy"), {args.k, args.positions, args.checkpoint.path});
  if (k) want_file_of_its_own("--out", in_folder(args.out, "k.npy"), {args.q, args.positions, args.checkpoint.path});
  MadeFolders folder(args.out, "--out");
  Output q_out = Output::to_file(in_folder(args.out, "q.npy"));
  std::optional<Output> k_out;
  if (k) k_out.emplace(Output::to_file(in_folder(args.out, "k.npy")));
  RotaryCall call;
  call.direction = args.inverse ? Direction::kInverse : Direction::kForward;
  call.threads = args.threads;
  std::visit([&](const auto& view) { rotary.apply(operands, view, call); }, where);
  write_npy(q_out, q);
  if (k) write_npy(*k_out, *k);
  q_out.flush();  // what a full disk has no place for shows before either is in its own
  if (k) k_out->flush();
  q_out.finish();
  if (k) k_out->finish();
  folder.keep();
  return kDone;
}

}  // namespace

void add_rotate(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand("rotate", "turn queries and keys in .npy files as the checkpoint does");
  auto args = std::make_shared<RotateArgs>();
  add_spec_options(*verb, args->checkpoint);
  verb->add_option("--q", args->q, "queries: float32 or float16, or uint16 with --dtype bf16")
      ->required()
      ->type_name("FILE.npy");
  verb->add_option("--k", args->k, "keys; may have fewer heads")->type_name("FILE.npy");
  verb->add_option(
          "--positions", args->positions,
          "one a token: 0:128 or 5,6,9 (start:stop[:step], stop left out), or a file of int64 or int32, or of float64 "
          "for coordinates that need not be whole, with shape [tokens] or [batch, tokens]; several axes (M-RoPE, "
          "images): [axes, tokens] or [axes, batch, tokens]")
      ->required()
      ->type_name("LIST|FILE.npy");
  verb->add_option("--out", args->out,
                   "folder that gets q.npy and k.npy, same dtype and shape; made if it is not there")
      ->required()
      ->type_name("DIR");
  verb->add_option(
          "--layout", args->layout,
          "bshd [batch, tokens, heads, head_dim], bhsd [batch, heads, tokens, head_dim], sbhd [tokens, batch, heads, "
          "head_dim], thd [tokens, heads, head_dim] (default bshd)")
      ->check(CLI::IsMember({"bshd", "bhsd", "sbhd", "thd"}))
      ->type_name("bshd|bhsd|sbhd|thd");
  verb->add_option("--dtype", args->dtype, "what the arrays hold (default: as the file says; bf16 is kept in uint16)")
      ->check(CLI::IsMember({"f32", "f16", "bf16"}))
      ->type_name("f32|f16|bf16");
  verb->add_flag("--inverse", args->inverse, "undo the rotation, the attention factor included");
  verb->add_option("--threads", args->threads, "most threads to use, 0 for one a core (default 0)")->type_name("N");
  verb->footer(spec_footer(
      "Examples:\n"
      "  ropewalk rotate config.json --q q.npy --k k.npy --positions 0:4096 --out turned\n"
      "  ropewalk rotate model.gguf --q q.npy --positions positions.npy --layout bhsd --dtype bf16 --out turned\n"
      "  ropewalk rotate config.json --q turned/q.npy --positions 0:4096 --inverse --out back"));
  verb->callback([args, &work] { work = [args] { return rotate(*args); }; });
}

}  // namespace ropewalk::cli
