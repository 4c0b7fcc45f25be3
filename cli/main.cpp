// ropewalk: what a checkpoint's positions do (explain), the rotation itself (rotate, table), and how far a model
// carries (eval). One file a verb; this one turns every outcome into an exit code and at most one line on stderr.

#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/version.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

namespace ropewalk::cli {
namespace {

// By C's own function, which does not throw: a closed or full stderr must not change the exit code.
void complain(const std::string& message) { std::fputs(("ropewalk: " + one_line(message) + '\n').c_str(), stderr); }

int run(int argc, char** argv) {
  CLI::App app("Rotary position embeddings of real checkpoints: explained, applied and measured.", "ropewalk");
  app.set_version_flag("--version", "ropewalk " ROPEWALK_VERSION);
  app.require_subcommand(1);
  app.footer(
      "Exit codes: 0 done; 2 the input is wrong (one line on stderr: where, want, got); 1 anything else.\n"
      "`ropewalk VERB --help` has the options, their defaults and units, and examples.");
  Work work;
  add_explain(app, work);
  add_rotate(app, work);
  add_table(app, work);
  add_eval(app, work);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    fmt::print("{}", app.get_subcommands().empty() ? app.help() : app.get_subcommands().front()->help("ropewalk"));
    return std::fflush(stdout) == 0 ? kDone : kFailed;
  } catch (const CLI::CallForVersion& version) {
    fmt::print("{}\n", version.what());
    return std::fflush(stdout) == 0 ? kDone : kFailed;
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty()) {
      const std::string given = argc > 1 ? fmt::format("\"{}\"", argv[1]) : "nothing";
      complain(fmt::format("want explain, rotate, table or eval, got {} (see ropewalk --help)", given));
      return kInputWrong;
    }
    complain(fmt::format("{} (see ropewalk --help)", error.what()));
    return kInputWrong;
  }
  return work();
}

}  // namespace
}  // namespace ropewalk::cli

int main(int argc, char** argv) {
  using namespace ropewalk::cli;
  std::signal(SIGPIPE, SIG_IGN);  // a reader that leaves is an error of write(2), not a death
  try {
    return run(argc, argv);
  } catch (const Refused& refused) {
    if (!refused.error.message.empty()) complain(refused.error.line());
    return refused.exit_code;
  } catch (const std::bad_alloc&) {
    complain("memory: want enough of it for this input, got too little");
    return kInputWrong;
  } catch (const std::exception& error) {
    complain(error.what());
    return kFailed;
  }
}
