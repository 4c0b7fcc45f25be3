// ropewalk: what a checkpoint's positions do (explain), the rotation itself (rotate, table), and how far a model
// carries (eval). One file a verb; this one turns every outcome into an exit code and at most one line on stderr.

#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <ropewalk/version.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <vector>

namespace ropewalk::cli {
namespace {

// By C's own function, which does not throw: a closed or full stderr must not change the exit code.
void complain(const std::string& message) { std::fputs(("ropewalk: " + one_line(message) + '\n').c_str(), stderr); }

// Help and version, which somebody may have asked to go where nothing can be written.
int print(const std::string& text) {
  if (std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0) return kDone;
  complain(std::string("stdout: want it written whole, got: ") + std::strerror(errno));
  return kFailed;
}

// CLI11 says which option is missing before it says which one it does not know; the second explains the first.
std::string usage_error(const CLI::App& verb, const std::string& otherwise) {
  for (const std::string& word : verb.remaining())
    return fmt::format("{}: want an option or argument of {}, got \"{}\" (see ropewalk {} --help)",
                       word.starts_with('-') ? word : verb.get_name(), verb.get_name(), word, verb.get_name());
  return fmt::format("{} (see ropewalk {} --help)", otherwise, verb.get_name());
}

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
  add_compare(app, work);
  add_conform(app, work);
  add_convert(app, work);
  add_cache(app, work);
  add_bench(app, work);
  add_explore(app, work);
  for (CLI::App* verb : app.get_subcommands({})) verb->allow_extras();
  try {
    app.parse(argc, argv);
    if (const CLI::App& verb = *app.get_subcommands().front(); verb.remaining_size() > 0) {
      complain(usage_error(verb, ""));
      return kInputWrong;
    }
  } catch (const CLI::CallForHelp&) {
    return print(app.get_subcommands().empty() ? app.help() : app.get_subcommands().front()->help("ropewalk"));
  } catch (const CLI::CallForVersion& version) {
    return print(version.what() + std::string("\n"));
  } catch (const CLI::ParseError& error) {
    if (app.get_subcommands().empty()) {
      const std::string given = argc > 1 ? fmt::format("\"{}\"", argv[1]) : "nothing";
      std::vector<std::string> verbs;
      for (const CLI::App* verb : app.get_subcommands({})) verbs.push_back(verb->get_name());
      complain(fmt::format("want one of {}, got {} (see ropewalk --help)", fmt::join(verbs, ", "), given));
      return kInputWrong;
    }
    complain(usage_error(*app.get_subcommands().front(), error.what()));
    return kInputWrong;
  }
  return work();
}

}  // namespace
}  // namespace ropewalk::cli

int main(int argc, char** argv) {
  using namespace ropewalk::cli;
  std::signal(SIGPIPE, SIG_IGN);  // a reader that leaves is an error of write(2), not a death
  std::signal(SIGXFSZ, SIG_IGN);  // and so is a file that grows beyond its limit
  drop_temporaries_on_signals();
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
