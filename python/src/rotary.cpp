#include "arrays.hpp"
#include "lock.hpp"
#include "rooms.hpp"
#include "spec.hpp"

#include <ropewalk/frequencies.hpp>
#include <ropewalk/rotary.hpp>

#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <array>
#include <span>
#include <string_view>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

// What a call of turn() is told beside the arrays.
struct Call {
  nb::handle position_ids, seqlen_offsets, cu_seqlens;
  const char* layout;
  int threads;
  Direction direction;
};

void check_and_apply(const Rotary& rotary, std::span<const RotaryOperand> operands, const Call& call) {
  const Positions positions(call.position_ids, call.seqlen_offsets, call.cu_seqlens, operands.front().in,
                            rotary.spec().axes());
  const RotaryCall how{.direction = call.direction, .threads = call.threads};
  const auto run = [&](const auto& view) {
    refuse_operands(rotary.check(operands, view));
    const OthersMayRun others_may_run;
    rotary.apply(operands, view, how);
  };
  if (call.threads < 0) refuse("threads", "want a number >= 0, got " + std::to_string(call.threads));
  if (positions.are_whole())
    run(positions.whole());
  else
    run(positions.coordinates());
}

constexpr std::string_view kNames[] = {"q", "k"};
constexpr Role kRoles[] = {Role::kQuery, Role::kKey};

nb::object turn_in_place(const Rotary& rotary, nb::handle q, nb::handle k, const Call& call) {
  const Order order = order_named(call.layout);
  const nb::handle objects[] = {q, k};
  const std::size_t count = k.is_none() ? 1 : 2;
  std::array<Array, 2> held;
  std::array<RotaryOperand, 2> operands;
  for (std::size_t i = 0; i < count; ++i) {
    held[i] = Array::to_write(objects[i], kNames[i]);
    operands[i] = RotaryOperand::in_place(heads_of(held[i], order, std::string(kNames[i])), kRoles[i]);
  }
  if (count == 2 && held[0].data() == held[1].data() && held[0].elements() > 0 && held[1].elements() > 0)
    refuse("k", "want memory apart from q, got the same: it would turn twice");
  check_and_apply(rotary, std::span(operands).first(count), call);
  if (count == 1) return nb::borrow(q);
  return nb::make_tuple(q, k);
}

nb::object turn_apart(const Rotary& rotary, nb::handle q, nb::handle k, const Call& call) {
  const Order order = order_named(call.layout);
  const nb::handle objects[] = {q, k};
  const std::size_t count = k.is_none() ? 1 : 2;
  std::array<Array, 2> in, out;
  std::array<nb::object, 2> results;
  std::array<RotaryOperand, 2> operands;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string name(kNames[i]);
    in[i] = Array::to_read(objects[i], name);
    operands[i].in = heads_of(in[i], order, name);
    results[i] = empty_like(objects[i]);
    out[i] = Array::to_write(results[i], name);
    operands[i].out = heads_of(out[i], order, name);
    operands[i].role = kRoles[i];
  }
  check_and_apply(rotary, std::span(operands).first(count), call);
  for (std::size_t i = 0; i < count; ++i) results[i] = finished(std::move(results[i]), objects[i]);
  if (count == 1) return results[0];
  return nb::make_tuple(results[0], results[1]);
}

constexpr const char* kTurnDoc =
    "q, k: [batch, tokens, heads, head_dim] as `layout` says (bshd, bhsd, sbhd; thd: [tokens, heads, head_dim]), "
    "float32,\n"
    "    bfloat16 or float16, any strides as long as the channels of a head lie side by side; k may be None.\n"
    "position_ids: [tokens], [batch, tokens] or [axes, batch, tokens] of int64 or int32; of float64 or float32 for\n"
    "    coordinates. Or seqlen_offsets: a number or [batch]. Or cu_seqlens: [sequences + 1] over packed tokens, with\n"
    "    seqlen_offsets if they do not begin at 0. Nothing: 0, 1, 2, ...\n"
    "threads: most to use, 0 for one a core; the bits do not depend on it.\n"
    "Arithmetic is float32; the result has the dtype of the input. Channels that do not turn keep their bits.\n"
    "Raises ropewalk.Error, by the argument's name.";

}  // namespace

void bind_rotary(nb::module_& m) {
  nb::class_<Rotary> rotary(m, "Rotary",
                            "The prepared operator of one RotarySpec. Immutable; any number of threads may use one.");
  rotary.def(
      "__init__",
      [](Rotary* self, nb::handle spec, std::int64_t running_length) {
        new (self) Rotary(value_or_refuse(Rotary::make(spec_from(spec), running_length)));
      },
      "spec"_a, "running_length"_a = 0,
      "running_length: tokens the sequence reaches, for scalings that depend on it; 0: the trained ones.");
  rotary.def_prop_ro(
      "spec", [](const Rotary& self) { return spec_to_python(self.spec()); },
      nb::sig("def spec(self) -> ropewalk.spec.RotarySpec"));
  rotary.def_prop_ro(
      "inv_freq",
      [](const Rotary& self) {
        const Frequencies& f = self.frequencies();
        std::vector<std::size_t> shape = {f.inv_freq.size()};
        if (const auto& given = self.spec().given)
          shape = {static_cast<std::size_t>(given->heads), static_cast<std::size_t>(given->axes),
                   static_cast<std::size_t>(self.spec().pairs())};
        return as_numpy(f.inv_freq, std::move(shape));
      },
      "Radians per unit of position, float64: [pairs], or [heads, axes, pairs] for given frequencies.");
  rotary.def_prop_ro(
      "attention_factor", [](const Rotary& self) { return self.frequencies().attention_factor; },
      "On cos and sin, hence on q.k by its square; apply() has it in it.");
  rotary.def_prop_ro(
      "softmax_scale_multiplier", [](const Rotary& self) { return self.frequencies().softmax_scale_multiplier; },
      "On 1/sqrt(head_dim): the caller's to multiply.");

  struct Verb {
    const char* name;
    const char* first_line;
    Direction direction;
    bool in_place;
  };
  static constexpr Verb kVerbs[] = {
      {"apply", "Turns queries and keys, and gives new arrays.", Direction::kForward, false},
      {"apply_", "Turns queries and keys in place, and gives them back.", Direction::kForward, true},
      {"inverse", "Undoes apply: y = R(-p) x / attention_factor.", Direction::kInverse, false},
      {"inverse_", "Undoes apply in place.", Direction::kInverse, true},
      {"transpose", "The gradient of apply: y = attention_factor R(-p) x.", Direction::kTranspose, false},
      {"transpose_", "The gradient of apply, in place.", Direction::kTranspose, true},
      {"shift",
       "Moves keys that are turned already by `position_ids`: y = R(p) x, the attention factor not counted again.",
       Direction::kShift, false},
      {"shift_", "Moves keys that are turned already, in place.", Direction::kShift, true},
  };
  for (const Verb& verb : kVerbs) {
    const std::string doc = std::string(verb.first_line) + "\n\n" + kTurnDoc;
    rotary.def(
        verb.name,
        [direction = verb.direction, in_place = verb.in_place](const Rotary& self, nb::handle q, nb::handle k,
                                                               nb::handle position_ids, nb::handle seqlen_offsets,
                                                               nb::handle cu_seqlens, const char* layout, int threads) {
          const Call call{position_ids, seqlen_offsets, cu_seqlens, layout, threads, direction};
          return in_place ? turn_in_place(self, q, k, call) : turn_apart(self, q, k, call);
        },
        "q"_a, "k"_a = nb::none(), nb::kw_only(), "position_ids"_a = nb::none(), "seqlen_offsets"_a = nb::none(),
        "cu_seqlens"_a = nb::none(), "layout"_a = "bshd", "threads"_a = 0, doc.c_str());
  }

  rotary.def(
      "cos_sin",
      [](const Rotary& self, nb::handle position_ids) {
        const HeadsView nobody{};
        const Positions positions(position_ids, nb::none(), nb::none(), nobody, self.spec().axes());
        if (!positions.are_whole()) refuse("position_ids", "want whole numbers, got floats", Code::kUnsupported);
        const PositionsView& view = positions.whole();
        const auto rows = static_cast<std::size_t>(view.batch * view.tokens),
                   pairs = static_cast<std::size_t>(self.spec().pairs());
        std::vector<float> cos(rows * pairs), sin(rows * pairs);
        refuse_if(self.fill_table(view, cos, sin));
        std::vector<std::size_t> shape = {static_cast<std::size_t>(view.tokens), pairs};
        if (view.batch > 1) shape.insert(shape.begin(), static_cast<std::size_t>(view.batch));
        return nb::make_tuple(as_numpy(std::move(cos), shape), as_numpy(std::move(sin), shape));
      },
      "position_ids"_a, nb::sig("def cos_sin(self, position_ids: object) -> tuple[typing.Any, typing.Any]"),
      "The cosines and sines that apply forms at these positions, bit for bit, attention factor included: two float32\n"
      "arrays [tokens, pairs] ([batch, tokens, pairs] for more than one row).");
}

}  // namespace ropewalk::python
