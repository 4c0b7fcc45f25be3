#pragma once

#include <ropewalk/config.hpp>

#include <cstdint>
#include <functional>
#include <string>

namespace CLI {
class App;
}

namespace ropewalk::cli {

/// What a verb leaves behind once its options are read: the work itself, returning the exit code.
using Work = std::function<int()>;

// Each adds its verb to the app, with options, help and examples, and sets `work` when the verb is chosen.
void add_explain(CLI::App& app, Work& work);
void add_rotate(CLI::App& app, Work& work);
void add_table(CLI::App& app, Work& work);
void add_eval(CLI::App& app, Work& work);
void add_compare(CLI::App& app, Work& work);
void add_conform(CLI::App& app, Work& work);
void add_convert(CLI::App& app, Work& work);
void add_cache(CLI::App& app, Work& work);
void add_bench(CLI::App& app, Work& work);
void add_explore(CLI::App& app, Work& work);

/// The options that every verb about a checkpoint's positions shares.
struct CheckpointArgs {
  std::string path;
  std::string family;
  std::string part;
  std::string numerics = "exact";
  std::string length;  ///< as written; empty: the verb's own default
  std::string kind;    ///< empty: the only one
};

/// Adds PATH, --family, --part, --numerics and --length; --kind too where the verb works on one kind.
void add_checkpoint_options(CLI::App& verb, CheckpointArgs& args, const std::string& length_help, bool with_kind);

/// The same for a verb that works on one kind at given positions.
void add_spec_options(CLI::App& verb, CheckpointArgs& args);

/// How the help of such a verb ends: the bound on its results, then `more` with the examples.
std::string spec_footer(const std::string& more);

/// Reads the checkpoint, or refuses.
CheckpointPositions read_checkpoint(const CheckpointArgs& args);

/// --length as a number; `otherwise` if it was not given.
std::int64_t length_or(const CheckpointArgs& args, std::int64_t otherwise);

/// Reads the checkpoint: the spec of the kind named by --kind, or of the only one that rotates. Refuses besides a name
/// that is not there, several kinds without a name, and a kind that does not rotate.
RotarySpec read_spec(const CheckpointArgs& args);

}  // namespace ropewalk::cli
