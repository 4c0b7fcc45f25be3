#include "cli/eval_state.hpp"

#include "cli/output.hpp"
#include "cli/refusal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

namespace ropewalk::cli {
namespace {

using nlohmann::json;

json map_line(const PositionMap& map) {
  if (const auto* const m = std::get_if<SelfExtend>(&map)) return {{"group", m->group}, {"window", m->window}};
  if (const auto* const m = std::get_if<DualChunk>(&map))
    return {{"chunk_size", m->chunk_size}, {"local_size", m->local_size}};
  const auto& m = std::get<ReRope>(map);
  if (std::isinf(m.divisor)) return {{"window", m.window}};
  return {{"divisor", m.divisor}, {"window", m.window}};
}

PositionMap map_of(const json& line) {
  const auto number = [&](const char* name) { return line.at(name).get<std::int64_t>(); };
  if (line.contains("group")) return SelfExtend{number("group"), number("window")};
  if (line.contains("chunk_size")) return DualChunk{number("chunk_size"), number("local_size")};
  if (line.contains("divisor")) return ReRope{number("window"), line.at("divisor").get<double>()};
  return ReRope{number("window")};
}

// A line of the file. Written by line_of, read by record_of: together they are the format.
std::string line_of(const std::string& key, const runner::WindowRecord& record, bool with_losses) {
  const runner::WindowTask& task = record.task;
  json line = {{"run", key},
               {"length", task.length},
               {"scaling", task.scaling},
               {"factor", task.factor},
               {"first_token", task.first_token},
               {"scored", {task.scored_first, task.scored_end}},
               {"tokens_seen", record.tokens_seen},
               {"nll_sum", fmt::format("{:.17g}", record.nll_sum)},
               {"tokens_per_second", record.tokens_per_second},
               {"body_seconds", record.body_seconds}};
  if (task.map) line["map"] = map_line(*task.map);
  if (with_losses) line["nll"] = record.nll;
  return line.dump() + "\n";
}

std::optional<runner::WindowRecord> record_of(const json& line) {
  try {
    runner::WindowRecord record;
    record.task = {.length = line.at("length").get<std::int64_t>(),
                   .scaling = line.at("scaling").get<std::string>(),
                   .factor = line.at("factor").get<double>(),
                   .window = 0,
                   .first_token = line.at("first_token").get<std::int64_t>(),
                   .scored_first = line.at("scored").at(0).get<std::int64_t>(),
                   .scored_end = line.at("scored").at(1).get<std::int64_t>()};
    if (line.contains("map")) record.task.map = map_of(line.at("map"));
    record.tokens_seen = line.at("tokens_seen").get<std::int64_t>();
    const std::string nll_sum = line.at("nll_sum").get<std::string>();
    char* end = nullptr;
    record.nll_sum = std::strtod(nll_sum.c_str(), &end);
    if (nll_sum.empty() || *end != '\0' || !std::isfinite(record.nll_sum)) return std::nullopt;
    record.tokens_per_second = line.at("tokens_per_second").get<double>();
    record.body_seconds = line.at("body_seconds").get<double>();
    const std::int64_t scored = record.task.scored_end - record.task.scored_first;
    if (scored < 1 || scored > record.task.length) return std::nullopt;
    if (line.contains("nll")) {
      record.nll = line.at("nll").get<std::vector<float>>();
      if (static_cast<std::int64_t>(record.nll.size()) != scored) return std::nullopt;
    }
    return record;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

// How line_of begins: the keys of a JSON object are written in their order.
constexpr std::string_view kLineStart = R"({"body_seconds":)";

// Told by the first line, so that no other file is taken for a state and written to. A run that was killed leaves a
// beginning of a line, and the next run goes on below it.
void want_state(const std::string& path) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) refuse(path, "want a state file, got a folder");
  if (!std::filesystem::exists(status)) return;
  if (!std::filesystem::is_regular_file(status)) refuse(path, "want a regular file for the state, got something else");
  std::ifstream file(path, std::ios::binary);
  if (!file)
    refuse(path, std::string("want a state file that can be read, got: ") + std::strerror(errno), Code::kUnavailable);
  for (std::string text; std::getline(file, text);) {
    if (kLineStart.starts_with(text)) continue;  // empty lines, too
    if (text.starts_with(kLineStart)) return;
    const json line = json::parse(text, nullptr, false);
    if (line.is_object() && line.contains("run") && line["run"].is_string() && record_of(line)) return;
    refuse(path, "want a state file of ropewalk eval, or a name that is free, got another kind of file");
  }
}

// The same run of the model, wherever it stood in the plan.
bool same_run(runner::WindowTask a, const runner::WindowTask& b) {
  a.window = b.window;
  return a == b;
}

}  // namespace

EvalState EvalState::open(const std::string& path, const std::string& key, bool fresh) {
  EvalState state(path, key);
  want_state(path);
  std::string others;
  {
    std::ifstream file(path, std::ios::binary);
    std::string text;
    while (std::getline(file, text)) {
      state.ends_in_newline_ = !file.eof();
      const json line = json::parse(text, nullptr, false);
      const bool is_line = line.is_object() && line.contains("run") && line["run"].is_string();
      const bool ours = is_line && line["run"] == key;
      if (!ours) others += text + "\n";
      const std::optional<runner::WindowRecord> record = is_line ? record_of(line) : std::nullopt;
      if (!record) ++state.ignored_lines_;
      if (ours && record && !fresh) state.records_.push_back(*record);
    }
  }
  if (fresh && std::filesystem::exists(path)) {
    Output out = Output::to_file(path);
    out.write(others);
    out.finish();
    state.ends_in_newline_ = true;
  }
  std::optional<MadeFolders> folders;
  if (const auto parent = std::filesystem::path(path).parent_path();
      !parent.empty() && !std::filesystem::exists(parent))
    folders.emplace(parent.string(), path);
  const int fd = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) refuse(path, std::string("want a state file that can be written, got: ") + std::strerror(errno));
  ::close(fd);
  if (folders) folders->keep();
  return state;
}

const runner::WindowRecord* EvalState::find(const runner::WindowTask& task) const {
  for (const runner::WindowRecord& record : records_)
    if (same_run(record.task, task)) return &record;
  return nullptr;
}

void EvalState::add(const runner::WindowRecord& record, bool with_losses) {
  records_.push_back(record);
  const std::string line = (ends_in_newline_ ? "" : "\n") + line_of(key_, record, with_losses);
  ends_in_newline_ = true;
  const int fd = ::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) not_written_whole(path_, errno);
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) {
      const int reason = errno;
      ::close(fd);
      not_written_whole(path_, reason);
    }
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  if (::close(fd) != 0) not_written_whole(path_, errno);
}

std::string default_state_path(const std::string& result_file, const std::string& key) {
  if (!result_file.empty()) return result_file + ".state";
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  const char* const home = std::getenv("HOME");
  const std::filesystem::path folder = cache != nullptr && *cache != '\0' ? std::filesystem::path(cache)
                                       : home != nullptr && *home != '\0' ? std::filesystem::path(home) / ".cache"
                                                                          : std::filesystem::temp_directory_path();
  return (folder / "ropewalk" / ("eval-" + key.substr(0, 16) + ".state")).string();
}

}  // namespace ropewalk::cli
