// ropewalk explore: one HTML page in which to see what positions do, with the library inside.

#include "cli/embedded.hpp"
#include "cli/explore/spec_json.hpp"
#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace ropewalk::cli {
namespace {

struct ExploreArgs {
  CheckpointArgs checkpoint;
  bool path_given = false, eval_given = false;
  std::string eval;
  std::string out = "explorer.html";
};

// What a page can draw: explorer/src/library.mjs has the same bound and words.
constexpr int kMostChannels = 1024;

// The refusals of explorer/src/evaluation.mjs, in its order.
void check_evaluation(const std::string& path, const nlohmann::json& data) {
  using Json = nlohmann::json;
  const auto points = data.is_object() ? data.find("perplexity") : data.end();
  if (points == data.end() || !points->is_array() || points->empty())
    refuse(path, "perplexity: want the measurements of ropewalk eval --json, got none");
  const auto field = [](const Json& of, const std::string& name) {
    return of.is_object() ? of.value(name, Json()) : Json();
  };
  const auto want = [&](const std::string& where, const char* what, const Json& got, bool is) {
    if (!is) refuse(path, fmt::format("{}: want {}, got {}", where, what, got.dump(-1, ' ', true).substr(0, 80)));
  };
  const auto count = [](const Json& got, double least) {
    const double number = got.is_number() ? got.get<double>() : -1;
    return number >= least && number <= 0x1p53 && number == std::floor(number);
  };
  std::set<std::pair<std::string, double>> seen;
  for (std::size_t i = 0; i < points->size(); ++i) {
    const std::string at = fmt::format("perplexity[{}].", i);
    const Json series = field((*points)[i], "series"), length = field((*points)[i], "length"),
               perplexity = field((*points)[i], "perplexity");
    want(at + "series", "a string", series, series.is_string());
    want(at + "length", "a whole number of tokens", length, count(length, 1));
    want(at + "perplexity", "a number > 0", perplexity, perplexity.is_number() && perplexity.get<double>() > 0);
    want(at + "length", "another than the series has already", length,
         seen.emplace(series.get<std::string>(), length.get<double>()).second);
  }
  const Json model = field(data, "model"), text = field(data, "text");
  const auto about = [&](const char* where, const char* what, const Json& got, auto is) {
    want(where, what, got, got.is_null() || is(got));
  };
  const auto is_object = [](const Json& got) { return got.is_object(); };
  const auto is_string = [](const Json& got) { return got.is_string(); };
  about("model", "an object", model, is_object);
  about("text", "an object", text, is_object);
  about("model.name", "a string", field(model, "name"), is_string);
  about("model.trained_context", "a whole number of tokens", field(model, "trained_context"),
        [&](const Json& got) { return count(got, 0); });
  about("text.tokens", "a whole number of tokens", field(text, "tokens"),
        [&](const Json& got) { return count(got, 1); });
  for (const char* name : {"dtype", "processor", "date"}) about(name, "a string", field(data, name), is_string);
}

// What `ropewalk eval --json` wrote, as text that may stand inside a script element. What the page draws of it is
// looked at here (explorer/src/evaluation.mjs has the same words for a file that is opened there).
std::string evaluation_in(const std::string& path) {
  constexpr std::uintmax_t kMostBytes = 16 << 20;
  std::error_code trouble;
  const std::uintmax_t bytes = std::filesystem::file_size(path, trouble);
  std::ifstream file(path, std::ios::binary);
  if (path.empty()) refuse("--eval", "want the JSON of ropewalk eval --json, got no name");
  if (trouble || !file) refuse(path, "want the JSON of ropewalk eval --json, got no readable file");
  if (bytes > kMostBytes)
    refuse(path, fmt::format("want the JSON of ropewalk eval --json, got a file of {}",
                             shown_bytes(static_cast<double>(bytes))));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const nlohmann::json data = nlohmann::json::parse(text, nullptr, false);
  if (data.is_discarded()) refuse(path, "want JSON, got something else");
  check_evaluation(path, data);
  std::string safe;  // "<" only stands in JSON's strings, where an escape means the same
  for (const char c : data.dump(-1, ' ', true)) safe += c == '<' ? std::string("\\u003c") : std::string(1, c);
  return safe;
}

// What the page begins with: the kinds of layers that rotate, and what was measured.
std::string given_in(const ExploreArgs& args) {
  std::string out;
  JsonOut json(out);
  json.begin_object();
  if (args.path_given) {
    const CheckpointPositions positions = read_checkpoint(args.checkpoint);
    const std::string shown = std::filesystem::path(args.checkpoint.path).filename().string();
    const std::string title = shown.empty() || shown == "config.json" ? positions.model_type : shown;
    json.key("kinds").begin_array();
    bool any = false;
    for (const LayerKind& kind : positions.kinds) {
      if (!kind.spec) continue;
      any = true;
      json.begin_object();
      json.field("name", kind.name);
      json.field("title", one_line(kind.name == "default" ? title : title + ", " + kind.name));
      json.field("trained", positions.trained_context > 0 ? positions.trained_context : positions.max_context);
      json.key("spec");
      write_spec(json, *kind.spec);
      json.end();
    }
    json.end();
    if (!any) refuse(positions.source, "want a checkpoint that rotates, got one whose layers do not");
    for (const LayerKind& kind : positions.kinds)
      if (kind.spec && kind.spec->head_dim > kMostChannels)
        refuse(positions.source, fmt::format("head_dim: want at most {} channels for a page, got {}", kMostChannels,
                                             kind.spec->head_dim));
  }
  json.end();
  return out;
}

int explore(const ExploreArgs& args) {
  if (kExplorerPage.empty())
    throw std::runtime_error(
        "explore: want a tool with the explorer's page inside, got one built without it: run `make build`");
  for (const auto& [option, word] :
       {std::pair{"--family", args.checkpoint.family}, std::pair{"--part", args.checkpoint.part}})
    if (!args.path_given && !word.empty()) refuse(option, "want a PATH that it is about, got none");
  if (args.out.empty()) refuse("--out", "want a file or -, got no name");
  const std::string given = given_in(args);
  const std::string evaluation = args.eval_given ? evaluation_in(args.eval) : std::string();
  want_file_of_its_own("--out", args.out,
                       {args.checkpoint.path, args.path_given ? args.checkpoint.path + "/config.json" : "", args.eval});
  Output out = Output::to(args.out);
  for (std::string_view rest = kExplorerPage; !rest.empty();) {
    constexpr std::string_view kGiven = "@GIVEN@", kEvaluation = "@EVALUATION@";
    const std::size_t at = std::min(rest.find(kGiven), rest.find(kEvaluation));
    out.write(rest.substr(0, at));
    if (at == std::string_view::npos) break;
    const bool is_given = rest.substr(at).starts_with(kGiven);
    out.write(is_given ? given : evaluation.empty() ? "null" : evaluation);
    rest.remove_prefix(at + (is_given ? kGiven : kEvaluation).size());
  }
  out.finish();
  if (args.out != "-") fmt::print("{}\n", one_line(args.out));
  return kDone;
}

}  // namespace

void add_explore(CLI::App& app, Work& work) {
  CLI::App* verb =
      app.add_subcommand("explore", "one HTML page in which to see what positions do; it needs no network");
  auto args = std::make_shared<ExploreArgs>();
  verb->add_option(
          "path", args->checkpoint.path,
          "a config.json, a GGUF file, or a folder with config.json: what the page begins with (default: one of "
          "its own)")
      ->type_name("PATH");
  verb->add_option("--family", args->checkpoint.family,
                   "follow this model family's conventions, whatever model_type says")
      ->type_name("NAME");
  verb->add_option("--part", args->checkpoint.part,
                   "a part of a config.json of several: vision, audio, talker.text (default: the language model)")
      ->type_name("NAME");
  verb->add_option("--eval", args->eval, "the JSON of ropewalk eval --json, whose curves the page shows")
      ->type_name("FILE");
  verb->add_option("--out", args->out, "where the page goes (default explorer.html; - is stdout)")->type_name("FILE");
  verb->footer(
      "The page holds the library as WebAssembly, so that it may be sent to somebody; its address holds what it "
      "shows.\n"
      "Examples:\n"
      "  ropewalk explore\n"
      "  ropewalk explore model.gguf --eval eval.json --out model.html");
  verb->callback([args, verb, &work] {
    args->path_given = verb->count("path") > 0;
    args->eval_given = verb->count("--eval") > 0;
    work = [args] { return explore(*args); };
  });
}

}  // namespace ropewalk::cli
