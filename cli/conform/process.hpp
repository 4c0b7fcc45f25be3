#pragma once

#include <nlohmann/json.hpp>

#include <functional>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// Runs `command` by /bin/sh once, writes every line to its stdin and hands every line of its stdout to `take`, while
/// both go on. Its stderr is kept back: the last line of it stands in the refusal if something goes wrong.
///
/// seconds  the longest silence that is borne; then the command and its children are ended and the tool refuses
/// A line of blanks is no line, and no sign of life. SIGHUP, SIGINT and SIGTERM end the command and its children and
/// then this verb: exit code 1, nothing written.
///
/// take     returns true when nothing more is awaited
/// Refuses with the path "--against": a command that cannot be run, that ends or falls silent before `take` is content.
void exchange_lines(const std::string& command, const std::vector<std::function<std::string()>>& lines, double seconds,
                    const std::function<bool(const std::string&)>& take,
                    const std::function<std::string()>& still_wanted);

}  // namespace ropewalk::cli
