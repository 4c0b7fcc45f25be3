#include "cli/verbs.hpp"

#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <vector>

namespace ropewalk::cli {

void add_checkpoint_options(CLI::App& verb, CheckpointArgs& args, const std::string& length_help, bool with_kind) {
  verb.add_option("path", args.path, "a config.json, a GGUF file, or a folder with config.json")
      ->required()
      ->type_name("PATH");
  verb.add_option("--family", args.family, "follow this model family's conventions, whatever model_type says")
      ->type_name("NAME");
  verb.add_option(
          "--part", args.part,
          "a part of a config.json of several: vision, audio, talker.text (default: the language model; explain "
          "lists them)")
      ->type_name("NAME");
  verb.add_option("--numerics", args.numerics,
                  "exact: the real-number formula; fp32: the float32 chain of transformers, for parity (default exact)")
      ->check(CLI::IsMember({"exact", "fp32"}))
      ->type_name("exact|fp32");
  verb.add_option("--length", args.length, length_help)->type_name("TOKENS");
  if (with_kind)
    verb.add_option("--kind", args.kind, "the layer kind, where a checkpoint has several (explain lists them)")
        ->type_name("NAME");
}

void add_spec_options(CLI::App& verb, CheckpointArgs& args) {
  add_checkpoint_options(
      verb, args,
      "running length for scalings that depend on it: 5000, 32k (default: the largest position + 1, as "
      "transformers takes it)",
      true);
}

std::string spec_footer(const std::string& more) {
  return "cos and sin are right to 1.2e-7 at positions to +-2^36; beyond, |position| 2^-65 turns come on top "
         "(docs/precision.md).\n" +
         more;
}

CheckpointPositions read_checkpoint(const CheckpointArgs& args) {
  if (args.path.empty()) refuse("PATH", "want a config.json, a GGUF file or a folder with config.json, got no name");
  ReadOptions options;
  options.family = args.family;
  options.part = args.part;
  options.numerics = args.numerics == "fp32" ? Numerics::kFp32 : Numerics::kExact;
  return value_or_refuse(read_positions(args.path, options));
}

std::int64_t length_or(const CheckpointArgs& args, std::int64_t otherwise) {
  return args.length.empty() ? otherwise : parse_tokens(args.length, "--length");
}

RotarySpec read_spec(const CheckpointArgs& args) {
  const CheckpointPositions positions = read_checkpoint(args);
  const std::string& kind = args.kind;
  std::vector<std::string> names;
  const LayerKind* found = nullptr;
  for (const LayerKind& candidate : positions.kinds) {
    const bool matches = kind.empty() ? candidate.spec.has_value() : candidate.name == kind;
    if (kind.empty() && !candidate.spec) continue;
    names.push_back(candidate.name);
    if (matches) found = &candidate;
  }
  const std::string listed = fmt::format("{}", fmt::join(names, ", "));
  if (!kind.empty() && found == nullptr)
    refuse("--kind", fmt::format("want one of {}, got \"{}\"", listed, one_line(kind)));
  if (kind.empty() && names.empty())
    refuse(positions.source, "want a checkpoint that rotates, got one whose layers do not");
  if (kind.empty() && names.size() > 1) refuse("--kind", fmt::format("want one of {}, got none", listed));
  if (!found->spec) refuse("--kind", fmt::format("want a kind that rotates, got {}, which does not", found->name));
  return *found->spec;
}

}  // namespace ropewalk::cli
