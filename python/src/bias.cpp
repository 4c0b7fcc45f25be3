// What is added to scores by position: the dataclasses of bias.py as BiasSpec, and ScoreBias.
#include <ropewalk/bias.hpp>
#include <ropewalk/relative.hpp>

#include "arrays.hpp"
#include "fields.hpp"
#include "lock.hpp"
#include "numbers.hpp"
#include "rooms.hpp"

#include <algorithm>
#include <limits>
#include <span>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

constexpr Words<KerpleKind, 2> kKerpleKinds{{{"log", KerpleKind::kLog}, {"power", KerpleKind::kPower}}};

BiasSpec bias_from(nb::handle object) {
  const auto is = [&](const char* name) { return nb::isinstance(object, class_named("ropewalk.bias", name)); };
  if (is("AlibiBias")) {
    AlibiBias bias;
    const FieldReader f(object, "alibi.");
    f("heads", bias.heads);
    f("symmetric", bias.symmetric);
    f("bias_max", bias.bias_max);
    bias.slopes = numbers_of<double>(object.attr("slopes"), "alibi.slopes", {bias.heads});
    return bias;
  }
  if (is("T5Bias")) {
    T5Bias bias;
    const FieldReader f(object, "t5.");
    f("heads", bias.heads);
    f("causal", bias.causal);
    f("num_buckets", bias.num_buckets);
    f("max_distance", bias.max_distance);
    bias.table = numbers_of<float>(object.attr("table"), "t5.table", {bias.num_buckets, bias.heads});
    return bias;
  }
  if (is("KerpleBias")) {
    KerpleBias bias;
    const FieldReader f(object, "kerple.");
    f("heads", bias.heads);
    f.choice("kind", bias.kind, kKerpleKinds);
    f("symmetric", bias.symmetric);
    f("smallest", bias.smallest);
    bias.r1 = numbers_of<float>(object.attr("r1"), "kerple.r1", {bias.heads});
    bias.r2 = numbers_of<float>(object.attr("r2"), "kerple.r2", {bias.heads});
    return bias;
  }
  if (is("FireBias")) {
    FireBias bias;
    const FieldReader f(object, "fire.");
    f("heads", bias.heads);
    f("width", bias.width);
    f("c", bias.c);
    f("threshold_multiplier", bias.threshold_multiplier);
    f("threshold", bias.threshold);
    f("first_position", bias.first_position);
    f("epsilon", bias.epsilon);
    bias.w1 = numbers_of<float>(object.attr("w1"), "fire.w1", {bias.width});
    bias.b1 = numbers_of<float>(object.attr("b1"), "fire.b1", {bias.width});
    bias.w2 = numbers_of<float>(object.attr("w2"), "fire.w2", {bias.heads, bias.width});
    bias.b2 = numbers_of<float>(object.attr("b2"), "fire.b2", {bias.heads});
    return bias;
  }
  if (is("SandwichBias")) {
    SandwichBias bias;
    const FieldReader f(object, "sandwich.");
    f("heads", bias.heads);
    f("dim", bias.dim);
    f("theta", bias.theta);
    f("first_term", bias.first_term);
    f("subtrahend", bias.subtrahend);
    return bias;
  }
  if (is("WindowBias")) {
    WindowBias bias;
    const FieldReader f(object, "window.");
    f("heads", bias.heads);
    f("rows", bias.rows);
    f("columns", bias.columns);
    f("class_token", bias.class_token);
    const auto side = [](int tokens) {
      return std::int64_t{2} * std::clamp(tokens, 1, 1024) - 1;
    };  // make() refuses others
    const std::int64_t places = side(bias.rows) * side(bias.columns) + (bias.class_token ? 3 : 0);
    bias.table = numbers_of<float>(object.attr("table"), "window.table", {places, bias.heads});
    return bias;
  }
  if (is("LogCpbBias")) {
    LogCpbBias bias;
    const FieldReader f(object, "log_cpb.");
    f("heads", bias.heads);
    f("rows", bias.rows);
    f("columns", bias.columns);
    f("pretrained_rows", bias.pretrained_rows);
    f("pretrained_columns", bias.pretrained_columns);
    f("width", bias.width);
    bias.w1 = numbers_of<float>(object.attr("w1"), "log_cpb.w1", {bias.width, 2});
    bias.b1 = numbers_of<float>(object.attr("b1"), "log_cpb.b1", {bias.width});
    bias.w2 = numbers_of<float>(object.attr("w2"), "log_cpb.w2", {bias.heads, bias.width});
    return bias;
  }
  refuse("spec", "want AlibiBias, T5Bias, KerpleBias, FireBias, SandwichBias, WindowBias or LogCpbBias, got " +
                     nb::cast<std::string>(nb::str(nb::type_name(object.type()))));
}

/// Positions of queries or keys: a range of Python's, or whole numbers.
class Axis {
 public:
  Axis(nb::handle positions, const char* name) {
    if (PyRange_Check(positions.ptr()) != 0) {
      std::int64_t first = 0, stop = 0, step = 0;
      if (nb::try_cast(nb::object(positions.attr("start")), first) &&
          nb::try_cast(nb::object(positions.attr("stop")), stop) &&
          nb::try_cast(nb::object(positions.attr("step")), step) && step == 1) {
        axis_ = BiasAxis::range(first, nb::cast<std::int64_t>(nb::int_(nb::len(positions))));
        return;
      }
      PyErr_Clear();
    }
    numbers_ = whole_numbers(positions, name);
    const auto count = static_cast<std::int64_t>(numbers_.size());
    bool runs = true;  // a run is filled with one entry a distance
    for (std::size_t i = 1; i < numbers_.size() && runs; ++i)
      runs = numbers_[i - 1] != std::numeric_limits<std::int64_t>::max() && numbers_[i] == numbers_[i - 1] + 1;
    numbers_.reserve(1);  // an address even for no token
    if (runs && count > 0)
      axis_ = BiasAxis::range(numbers_.front(), count);
    else
      axis_ = {numbers_.data(), 0, count};
  }
  const BiasAxis& get() const noexcept { return axis_; }

 private:
  std::vector<std::int64_t> numbers_;
  BiasAxis axis_;
};

template <class Float>
BasicBiasView<Float> block_of(const Array& array, const std::string& name, int heads, const Axis& queries,
                              const Axis& keys) {
  const std::int64_t want[] = {heads, queries.get().count, keys.get().count};
  const bool fits =
      array.dims() == 3 && array.size(0) == want[0] && array.size(1) == want[1] && array.size(2) == want[2];
  if (!fits)
    refuse(name, "want [" + std::to_string(want[0]) + ", " + std::to_string(want[1]) + ", " + std::to_string(want[2]) +
                     "] (heads, queries, keys), got " + array.shape());
  if (array.element() != Element::kFloat32) refuse(name, "want float32, got " + array.dtype());
  return {static_cast<Float*>(array.data()), array.stride(0), array.stride(1), array.stride(2)};
}

void fill(const ScoreBias& self, nb::handle queries, nb::handle keys, nb::handle out) {
  const Axis rows(queries, "queries"), columns(keys, "keys");
  const Array array = Array::to_write(out, "out");
  const auto block = block_of<float>(array, "out", self.heads(), rows, columns);
  if (array.elements() == 0) return;
  refuse_if(self.check(rows.get(), columns.get(), block));
  const OthersMayRun others_may_run;
  self.fill(rows.get(), columns.get(), block);
}

void add_gradient(const ScoreBias& self, nb::handle queries, nb::handle keys, nb::handle d_bias,
                  nb::handle d_parameters) {
  const Axis rows(queries, "queries"), columns(keys, "keys");
  const Array d_block = Array::to_read(d_bias, "d_bias"), d_flat = Array::to_write(d_parameters, "d_parameters");
  const auto block = block_of<const float>(d_block, "d_bias", self.heads(), rows, columns);
  if (d_flat.element() != Element::kFloat64 || d_flat.dims() != 1 || (d_flat.size(0) > 1 && d_flat.stride(0) != 1))
    refuse("d_parameters",
           "want float64, contiguous, of one axis, got " + d_flat.dtype() + " and the shape " + d_flat.shape());
  if (d_block.elements() == 0) return;
  const std::span<double> flat(static_cast<double*>(d_flat.data()), static_cast<std::size_t>(d_flat.size(0)));
  std::optional<Error> error;
  {
    const OthersMayRun others_may_run;
    error = self.add_gradient(rows.get(), columns.get(), block, flat);
  }
  refuse_if(error);
}

}  // namespace

void bind_bias(nb::module_& m) {
  nb::class_<ScoreBias>(m, "ScoreBias",
                        "The prepared bias of one dataclass of ropewalk.bias. Immutable; any number of threads may use "
                        "one.")
      .def(
          "__init__",
          [](ScoreBias* self, nb::handle spec) {
            new (self) ScoreBias(value_or_refuse(ScoreBias::make(bias_from(spec))));
          },
          "spec"_a)
      .def_prop_ro("heads", &ScoreBias::heads)
      .def_prop_ro(
          "parameter_count", [](const ScoreBias& self) { return self.parameter_count(); }, "Learned numbers in all.")
      .def_prop_ro(
          "parameters",
          [](const ScoreBias& self) {
            nb::list parts;
            for (const BiasParameter& part : self.parameters())
              parts.append(nb::make_tuple(nb::str(part.name.data(), part.name.size()), part.offset, part.size));
            return nb::tuple(parts);
          },
          nb::sig("def parameters(self) -> tuple[tuple[str, int, int], ...]"),
          "(name, offset, size) of each learned array in the flat order of add_gradient.")
      .def(
          "depends_on_distance_only",
          [](const ScoreBias& self, std::optional<std::int64_t> last_query) {
            return self.depends_on_distance_only(last_query.value_or(std::numeric_limits<std::int64_t>::max()));
          },
          "last_query"_a = nb::none(),
          "True if the entries of queries up to last_query (None: all) depend on the distance alone.")
      .def(
          "toeplitz",
          [](const ScoreBias& self, std::int64_t first_distance, std::int64_t distances) {
            if (distances < 0 || distances > (std::int64_t{1} << 40) / self.heads())
              refuse("distances", "want 0 to 2^40 numbers in all, got " + std::to_string(distances) + " for " +
                                      std::to_string(self.heads()) + " heads");
            std::vector<float> out(static_cast<std::size_t>(self.heads() * distances));
            if (distances > 0) {
              std::optional<Error> error;
              {
                const OthersMayRun others_may_run;
                error = self.toeplitz(first_distance, out);
              }
              refuse_if(error);
            }
            return as_numpy(std::move(out),
                            {static_cast<std::size_t>(self.heads()), static_cast<std::size_t>(distances)});
          },
          "first_distance"_a, "distances"_a,
          nb::sig("def toeplitz(self, first_distance: int, distances: int) -> typing.Any"),
          "float32 [heads, distances]: the bias at query - key = first_distance, first_distance + 1, ...")
      .def(
          "at",
          [](const ScoreBias& self, int head, std::int64_t query, std::int64_t key) {
            if (head < 0 || head >= self.heads())
              refuse("head", "want 0 to " + std::to_string(self.heads() - 1) + ", got " + std::to_string(head));
            float entry = 0.0f;
            const auto rows = BiasAxis::range(query, 1), columns = BiasAxis::range(key, 1);
            std::vector<float> every(static_cast<std::size_t>(self.heads()));
            refuse_if(self.check(rows, columns, BiasView::contiguous(every.data(), 1, 1)));
            entry = self.at(head, query, key);
            return entry;
          },
          "head"_a, "query"_a, "key"_a, "One entry, the same bits as fill's.")
      .def("fill_into", fill, "queries"_a, "keys"_a, "out"_a,
           "Writes out[h, i, j], float32 [heads, queries, keys] in any strides.")
      .def("add_gradient", add_gradient, "queries"_a, "keys"_a, "d_bias"_a, "d_parameters"_a,
           "Adds to d_parameters (float64 [parameter_count]) what d_bias (float32 [heads, queries, keys]) says of what "
           "was\nlearned.");
  m.def(
      "alibi_slopes",
      [](int heads, double bias_max) { return as_numpy(value_or_refuse(alibi_slopes(heads, bias_max))); }, "heads"_a,
      "bias_max"_a = 8.0, nb::sig("def alibi_slopes(heads: int, bias_max: float = 8.0) -> typing.Any"),
      "float64 [heads]: ALiBi's slopes for any number of heads (arXiv 2108.12409), correctly rounded.");
  m.def(
      "t5_bucket_starts",
      [](int num_buckets, std::int64_t max_distance, bool causal) {
        return as_numpy(value_or_refuse(t5_bucket_starts(num_buckets, max_distance, causal)));
      },
      "num_buckets"_a = 32, "max_distance"_a = 128, "causal"_a = false,
      nb::sig(
          "def t5_bucket_starts(num_buckets: int = 32, max_distance: int = 128, causal: bool = False) -> typing.Any"),
      "int64: the distance at which each of T5's buckets of one side begins (arXiv 1910.10683), exact.");
  m.def(
      "deberta_bucket_starts",
      [](std::int64_t span, std::int64_t max_distance) {
        return as_numpy(value_or_refuse(deberta_bucket_starts(span, max_distance)));
      },
      "span"_a, "max_distance"_a, nb::sig("def deberta_bucket_starts(span: int, max_distance: int) -> typing.Any"),
      "int64: the distance at which each of DeBERTa's buckets of one side begins (arXiv 2006.03654), exact.");
}

}  // namespace ropewalk::python
