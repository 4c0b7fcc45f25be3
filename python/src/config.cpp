#include "errors.hpp"
#include "lock.hpp"
#include "rooms.hpp"
#include "spec.hpp"

#include <ropewalk/config.hpp>

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

namespace ropewalk::python {
namespace nb = nanobind;
using namespace nb::literals;
namespace {

ReadOptions options_of(const std::string& family, const std::string& part, const std::string& numerics) {
  return {.family = family, .part = part, .numerics = numerics_named(numerics)};
}

}  // namespace

void bind_config(nb::module_& m) {
  nb::class_<LayerKind>(m, "LayerKind", "All layers that turn (or do not turn) their queries and keys alike.")
      .def_ro("name", &LayerKind::name, "the layer type of a nested config, or \"default\"")
      .def_ro("layers", &LayerKind::layers,
              "their indices, rising; empty if the config does not say how many there are")
      .def_ro("head_dim", &LayerKind::head_dim)
      .def_ro("streams", &LayerKind::streams, "what each stream of positions counts; empty for one stream")
      .def_prop_ro(
          "spec", [](const LayerKind& kind) { return kind.spec ? spec_to_python(*kind.spec) : nb::none(); },
          nb::sig("def spec(self) -> ropewalk.spec.RotarySpec | None"),
          "a RotarySpec, or None: this kind does not rotate")
      .def_prop_ro(
          "query_temperature",
          [](const LayerKind& kind) {
            return kind.query_temperature() ? to_python(*kind.query_temperature()) : nb::none();
          },
          nb::sig("def query_temperature(self) -> ropewalk.spec.QueryTemperature | None"),
          "what its queries are multiplied by beside, or None");
  nb::class_<Provenance>(m, "Provenance", "Where a number of the answer came from.")
      .def_ro("what", &Provenance::what)
      .def_ro("value", &Provenance::value)
      .def_ro("source", &Provenance::from);
  nb::class_<Hazard>(m, "Hazard", "A danger that a spec carries at a length.")
      .def_ro("kind", &Hazard::kind, "the layer kind, or \"\" for all")
      .def_ro("message", &Hazard::message);
  nb::class_<CheckpointPositions>(m, "CheckpointPositions", "What a checkpoint's positions do, by its own words.")
      .def_ro("source", &CheckpointPositions::source)
      .def_ro("model_type", &CheckpointPositions::model_type)
      .def_ro("family", &CheckpointPositions::family)
      .def_ro("part", &CheckpointPositions::part)
      .def_ro("parts", &CheckpointPositions::parts)
      .def_ro("trained_context", &CheckpointPositions::trained_context, "tokens; 0 if unknown")
      .def_ro("max_context", &CheckpointPositions::max_context, "tokens; 0 if unknown")
      .def_ro("layer_count", &CheckpointPositions::layer_count, "0 if unknown")
      .def_ro("kinds", &CheckpointPositions::kinds)
      .def_ro("provenance", &CheckpointPositions::provenance)
      .def_ro("keys_used", &CheckpointPositions::keys_used)
      .def_ro("keys_ignored", &CheckpointPositions::keys_ignored)
      .def_ro("notes", &CheckpointPositions::notes)
      .def(
          "hazards", [](const CheckpointPositions& self, std::int64_t length) { return hazards_of(self, length); },
          "length"_a = 0, "What may go wrong at `length` tokens (0: max_context).")
      .def(
          "with_scaling",
          [](const CheckpointPositions& self, nb::handle scaling) {
            CheckpointPositions scaled = self;
            for (LayerKind& kind : scaled.kinds)
              if (kind.spec && kind.name != "sliding_attention" && kind.name != "chunked_attention")
                kind.spec->scaling = scaling_from(scaling);
            return scaled;
          },
          "scaling"_a,
          "The same under another scaling of every kind that sees the whole context, as `ropewalk eval` takes it: "
          "kinds of "
          "near keys only keep theirs.")
      .def(
          "fingerprint",
          [](const CheckpointPositions& self, std::int64_t running_length) {
            return value_or_refuse(fingerprint(self, running_length));
          },
          "running_length"_a = 0, "One hash over all kinds, in order.");
  m.def(
      "read_positions",
      [](const std::string& path, const std::string& family, const std::string& part, const std::string& numerics) {
        const ReadOptions options = options_of(family, part, numerics);
        const OthersMayRun others_may_run;
        return value_or_refuse(read_positions(path, options));
      },
      "path"_a, nb::kw_only(), "family"_a = "", "part"_a = "", "numerics"_a = "exact",
      "A config.json, a GGUF file, or a folder that holds config.json.");
  m.def(
      "read_config_json",
      [](const std::string& text, const std::string& source, const std::string& family, const std::string& part,
         const std::string& numerics) {
        return value_or_refuse(read_config_json(text, source, options_of(family, part, numerics)));
      },
      "text"_a, "source"_a = "config.json", nb::kw_only(), "family"_a = "", "part"_a = "", "numerics"_a = "exact",
      "The same from the text of a config.json.");
  m.def(
      "known_families",
      [] {
        nb::list names;
        for (const Family& family : known_families()) names.append(nb::str(family.name.data(), family.name.size()));
        return names;
      },
      nb::sig("def known_families() -> list[str]"), "Every model family that this version knows, by name.");
}

}  // namespace ropewalk::python
