// ropewalk eval: how far a real model's positions carry on a real text, and which scaling carries further.

#include "cli/bench/machine.hpp"
#include "cli/eval_results.hpp"
#include "cli/eval_state.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/report.hpp"
#include "cli/sha256.hpp"
#include "cli/svg_plot.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"
#include "runner/evaluator.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/rotary.hpp>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace ropewalk::cli {
namespace {

namespace fs = std::filesystem;
using runner::Model;
using runner::ScalingChoice;
using runner::WindowRecord;
using runner::WindowTask;

struct EvalArgs {
  std::string model, text;
  std::string lengths = "2k,4k,8k";
  std::string scaling = "none,yarn";
  std::string factor = "auto";
  std::string score = "1024";
  int windows = 1;
  std::string dtype = "f32";
  std::string family;
  bool by_position = false;
  bool wants_json = false;
  std::string json, report, svg, state;
  bool fresh = false;
  int threads = 0;
};

// What stands behind the name: "4", "window=512" or "chunk=1536".
void parse_part(ScalingChoice& choice, const std::string& part, const std::string& word) {
  const std::size_t equals = part.find('=');
  if (equals == std::string::npos) {
    if (!runner::takes_factor(choice.name))
      refuse("--scaling", fmt::format("want no factor for {}, got \"{}\"", choice.name, one_line(word)));
    choice.factor = parse_number(part, "--scaling");
    return;
  }
  const std::string name = part.substr(0, equals);
  const bool chunk = name == "chunk" && choice.name == "dual-chunk";
  if (!chunk && !(name == "window" && runner::is_position_map(choice.name)))
    refuse("--scaling", fmt::format("want {} behind {}, got \"{}\"",
                                    !runner::is_position_map(choice.name) ? "a factor alone"
                                    : choice.name == "dual-chunk"         ? "chunk=TOKENS and window=TOKENS"
                                    : choice.name == "rerope"             ? "window=TOKENS"
                                                                          : "a factor and window=TOKENS",
                                    choice.name, one_line(word)));
  (chunk ? choice.chunk : choice.window) = parse_tokens(part.substr(equals + 1), "--scaling");
}

// "none", "yarn", "yarn:4", "self-extend:8:window=512" or "dual-chunk:chunk=1536:window=128".
ScalingChoice parse_choice(const std::string& word, const std::optional<double>& factor) {
  ScalingChoice choice;
  std::size_t colon = word.find(':');
  choice.name = word.substr(0, colon);
  if (choice.name != "own" && !runner::is_position_map(choice.name)) {
    const Result<Scaling> known = make_scaling(choice.name, 1.0, 1);
    if (!known)
      refuse(
          "--scaling",
          fmt::format("{} (and own: as the checkpoint says; {})", known.error().message, runner::position_map_names()),
          known.error().code);
  }
  if (runner::takes_factor(choice.name)) choice.factor = factor;
  const bool with_parts = colon != std::string::npos;
  while (colon != std::string::npos) {
    const std::size_t next = word.find(':', colon + 1);
    parse_part(choice, word.substr(colon + 1, next == std::string::npos ? next : next - colon - 1), word);
    colon = next;
  }
  if (choice.factor && *choice.factor < 1)
    refuse(with_parts ? "--scaling" : "--factor", fmt::format("want auto or a number >= 1, got {:g}", *choice.factor));
  return choice;
}

std::string label_of(const ScalingChoice& choice) {
  std::string label = choice.name;
  if (choice.factor) label += fmt::format(" x{:g}", *choice.factor);
  if (choice.chunk) label += fmt::format(" c{}", *choice.chunk);
  if (choice.window) label += fmt::format(" w{}", *choice.window);
  return label;
}

// A pipe or a device could keep its reader for ever.
void want_regular_file(const std::string& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) refuse(path, "want a file that can be read, got: " + error.message(), Code::kUnavailable);
  if (!fs::is_regular_file(status))
    refuse(path, fmt::format("want a regular file, got {}", fs::is_directory(status) ? "a folder" : "something else"));
}

std::string read_text(const std::string& path) {
  want_regular_file(path);
  std::error_code error;
  std::ifstream file(path, std::ios::binary);
  if (!file) refuse(path, std::string("want a text file, got: ") + std::strerror(errno), Code::kUnavailable);
  const std::uint64_t bytes = fs::file_size(path, error);
  if (!error && bytes > available_memory_bytes())
    refuse(path, fmt::format("want a text that fits in memory, got {}", shown_bytes(static_cast<double>(bytes))));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (text.empty()) refuse(path, "want a text, got an empty file");
  return text;
}

bool is_model_file(const std::string& name) {
  return name == "config.json" || name == "tokenizer.json" || name.ends_with(".safetensors") ||
         name.ends_with(".index.json");
}

// The names of a folder's files that are read.
std::vector<std::string> model_files(const std::string& folder) {
  std::error_code error;
  std::vector<std::string> names;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (const std::string name = entry->path().filename().string(); is_model_file(name)) names.push_back(name);
  if (error) refuse(folder, "want a folder that can be read, got: " + error.message(), Code::kUnavailable);
  std::sort(names.begin(), names.end());
  return names;
}

// What makes a model the same model: its bytes. Of a folder, the files that are read.
std::string model_hash(const std::string& path) {
  if (!fs::is_directory(path)) return sha256_of_file(path);
  std::string listed;
  for (const std::string& name : model_files(path)) listed += sha256_of_file(path + "/" + name) + "  " + name + "\n";
  return sha256_of(listed);
}

// A path and what it is to the run.
struct Place {
  std::string option, path;
};

// Results and state are written: never over what is read, nor over each other.
void want_files_of_their_own(const EvalArgs& args) {
  std::vector<Place> places{{"--text", args.text}};
  std::error_code error;
  const bool folder = fs::is_directory(args.model, error);
  if (!folder) places.push_back({"the model", args.model});
  for (const std::string& name : folder ? model_files(args.model) : std::vector<std::string>{}) {
    places.push_back({"the model's " + name, args.model + "/" + name});
    want_regular_file(places.back().path);
  }
  const std::string beside = !args.json.empty() ? args.json : args.report;
  const std::string state = !args.state.empty() ? args.state : beside.empty() ? "" : default_state_path(beside, "");
  for (const Place& out : {Place{"--json", args.json}, Place{"--report", args.report}, Place{"--svg", args.svg},
                           Place{"--state", state}}) {
    if (out.path.empty()) continue;
    for (const Place& other : places)
      if (same_file(out.path, other.path))
        refuse(out.option, fmt::format("want a file of its own, got the path of {}: {}", other.option, out.path));
    if (folder && is_model_file(fs::path(out.path).filename().string()) &&
        same_file(fs::absolute(out.path, error).parent_path().string(), args.model))
      refuse(out.option, fmt::format("want a name that no file of a model has, got {}", out.path));
    places.push_back(out);
  }
}

// The rotation a task asks for: what two tasks share if they turn alike.
struct Rotation {
  std::string fingerprint, spec;
};

Rotation rotation_of(const CheckpointPositions& own, const WindowTask& task) {
  CheckpointPositions scaled = own;
  scaled.kinds = value_or_refuse(runner::kinds_of(own, task));
  Rotation rotation;
  rotation.fingerprint = value_or_refuse(fingerprint(scaled, task.length));
  for (const LayerKind& kind : scaled.kinds)
    rotation.spec += fmt::format("{}{}: {}", rotation.spec.empty() ? "" : "; ", kind.name,
                                 kind.spec ? to_string(*kind.spec) : "no rotation");
  if (task.map && task.length > unmapped_tokens(*task.map)) {
    rotation.fingerprint = sha256_of(rotation.fingerprint + "\n" + to_string(*task.map));
    rotation.spec += "; " + to_string(*task.map);
  }
  return rotation;
}

// Everything of a task that can be wrong, before anything is run.
void check_rotation(const CheckpointPositions& own, const WindowTask& task) {
  for (const LayerKind& kind : value_or_refuse(runner::kinds_of(own, task)))
    if (kind.spec) value_or_refuse(Rotary::make(*kind.spec, task.length));
}

// Work of a run, in multiply-adds: every token passes the layers' weights and looks at the tokens before it (half of
// the window on average, two products, and attention reaches about half the speed of plain products); scored tokens
// pass the output matrix.
double cost_of(const runner::ModelConfig& model, const WindowTask& task) {
  const auto tokens = static_cast<double>(task.length);
  const auto output = static_cast<double>(model.vocabulary) * static_cast<double>(model.hidden_size);
  const double layers = static_cast<double>(model.parameters) - output * (model.tied_embeddings ? 1 : 2);
  double attention = 0;
  for (const std::int64_t window : model.windows)
    attention += 2.0 * model.heads * model.head_dim *
                 (window == 0 ? tokens : std::min(tokens, 2.0 * static_cast<double>(window)));
  return tokens * (layers + attention) + static_cast<double>(task.scored_end - task.scored_first) * output;
}

// Runs the tasks that are neither kept from before nor equal to another, and says how it goes.
class Evaluation {
 public:
  Evaluation(const Model& model, const std::vector<std::int32_t>& ids, EvalState& state, ProgressLine& progress)
      : model_(model), ids_(ids), state_(state), progress_(progress) {}

  void add(const WindowTask& task, bool with_losses) {
    jobs_.push_back({task, with_losses, rotation_of(model_.positions(), task), std::nullopt, ""});
  }

  // All jobs, or Refused with exit code 1 after an interruption.
  std::vector<MeasuredWindow> run() {
    for (Job& job : jobs_) take_known(job);
    std::size_t kept = 0;
    for (const Job& job : jobs_) kept += job.record ? 1 : 0;
    if (kept > 0) progress_.keep(fmt::format("{} of {} windows are known from {}", kept, jobs_.size(), state_.path()));
    for (Job& job : jobs_)
      if (!job.record && !share(job)) measure(job);
    std::vector<MeasuredWindow> out;
    for (Job& job : jobs_) out.push_back({*job.record, job.same_as, job.rotation.fingerprint, job.rotation.spec});
    return out;
  }

 private:
  struct Job {
    WindowTask task;
    bool with_losses;
    Rotation rotation;
    std::optional<WindowRecord> record;
    std::string same_as;
  };

  static bool same_tokens(const Job& a, const Job& b) {
    return a.rotation.fingerprint == b.rotation.fingerprint && a.task.length == b.task.length &&
           a.task.first_token == b.task.first_token && a.task.scored_first == b.task.scored_first &&
           a.task.scored_end == b.task.scored_end;
  }

  void take_known(Job& job) {
    const WindowRecord* known = state_.find(job.task);
    if (known == nullptr || (job.with_losses && known->nll.empty())) return;
    job.record = *known;
    job.record->task = job.task;
  }

  bool share(Job& job) {
    for (const Job& other : jobs_) {
      if (&other == &job || !other.record || !same_tokens(job, other) || (job.with_losses && other.record->nll.empty()))
        continue;
      job.record = *other.record;
      job.record->task = job.task;
      job.same_as = other.same_as.empty() ? other.task.scaling : other.same_as;
      return true;
    }
    return false;
  }

  // Cost of what is still to be run behind `from`: no run stands in it twice.
  double cost_behind(const Job& from) const {
    double cost = 0;
    std::vector<const Job*> counted{&from};
    for (const Job& job : jobs_) {
      const bool shared =
          std::any_of(counted.begin(), counted.end(), [&](const Job* other) { return same_tokens(job, *other); });
      if (job.record || shared) continue;
      counted.push_back(&job);
      cost += cost_of(model_.config(), job.task);
    }
    return cost;
  }

  [[noreturn]] void stop() {
    std::size_t kept = 0;
    for (const Job& job : jobs_) kept += job.record ? 1 : 0;
    progress_.clear();
    throw Refused{Error{Code::kUnavailable, "interrupted",
                        fmt::format("{} of {} windows kept in {}, run the same command again to resume", kept,
                                    jobs_.size(), state_.path())},
                  kFailed};
  }

  void measure(Job& job) {
    if (interrupted) stop();
    const auto number = static_cast<std::size_t>(&job - jobs_.data()) + 1;
    const std::string name = fmt::format(
        "[{}/{}] {} tokens, {}{}, place {}", number, jobs_.size(), grouped(job.task.length), job.task.scaling,
        job.task.factor == 1 ? "" : fmt::format(" x{:.4g}", job.task.factor), job.task.window + 1);
    const double cost = cost_of(model_.config(), job.task), behind = cost_behind(job);
    runner::MeasureOptions options;
    options.cancel = &interrupted;
    options.progress = [&](const runner::Progress& now) {
      const double done = seconds_ > 0 || now.fraction > 0 ? cost_done_ + cost * now.fraction : 0;
      const double left = done > 0 ? (seconds_ + now.seconds) / done * (cost * (1 - now.fraction) + behind) : 0;
      const double speed = now.seconds > 0 ? static_cast<double>(now.tokens_done) / now.seconds : 0;
      progress_.show(fmt::format("{}: {:3.0f} %, {} tokens/s; all: {}", name, 100 * now.fraction,
                                 grouped(std::llround(speed)), done > 0 ? shown_seconds(left) + " left" : "..."));
    };
    const auto start = std::chrono::steady_clock::now();
    Result<WindowRecord> record = runner::measure(model_, ids_, job.task, options);
    if (!record && interrupted) stop();
    job.record = value_or_refuse(std::move(record));
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    cost_done_ += cost;
    state_.add(*job.record, job.with_losses);
    const double left = seconds_ / cost_done_ * behind;
    progress_.keep(fmt::format("{}: perplexity {}, {} tokens/s{}", name, shown_perplexity(job.record->perplexity()),
                               grouped(std::llround(job.record->tokens_per_second)),
                               behind > 0 ? "; all: " + shown_seconds(left) + " left" : ""));
  }

  const Model& model_;
  const std::vector<std::int32_t>& ids_;
  EvalState& state_;
  ProgressLine& progress_;
  std::vector<Job> jobs_;
  double seconds_ = 0, cost_done_ = 0;
};

constexpr int kPositionBuckets = 64;

std::vector<Series> series_of(const EvalResults& results, const CheckpointPositions& positions,
                              const std::vector<ScalingChoice>& choices) {
  std::vector<WindowRecord> records;
  for (const MeasuredWindow& window : results.windows) records.push_back(window.record);
  const std::vector<runner::Summary> summaries = runner::summarize(records);
  std::vector<Series> out;
  for (const ScalingChoice& choice : choices) {
    Series series{label_of(choice), {}};
    for (const std::int64_t length : results.lengths) {
      const runner::ResolvedScaling wanted = value_or_refuse(runner::resolve(positions, choice, length));
      const auto found = std::find_if(summaries.begin(), summaries.end(), [&](const runner::Summary& summary) {
        return summary.length == length && summary.scaling == choice.name && summary.factor == wanted.factor &&
               summary.map == wanted.map;
      });
      series.points.push_back(found == summaries.end() ? std::nullopt : std::optional(*found));
    }
    out.push_back(std::move(series));
  }
  return out;
}

int eval(const EvalArgs& args) {
  runner::PlanOptions plan;
  plan.lengths = parse_token_list(args.lengths, "--lengths");
  std::sort(plan.lengths.begin(), plan.lengths.end());
  plan.lengths.erase(std::unique(plan.lengths.begin(), plan.lengths.end()), plan.lengths.end());
  plan.score = parse_tokens(args.score, "--score");
  plan.windows = args.windows;
  const std::optional<double> factor =
      args.factor == "auto" ? std::nullopt : std::optional(parse_number(args.factor, "--factor"));
  for (const std::string& word : parse_words(args.scaling, "--scaling")) {
    const ScalingChoice choice = parse_choice(word, factor);
    if (std::find(plan.scalings.begin(), plan.scalings.end(), choice) == plan.scalings.end())
      plan.scalings.push_back(choice);
  }
  // Far more threads than the machine has end in a crash of the OpenMP library.
  const int most_threads = 4 * std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (args.threads < 0 || args.threads > most_threads)
    refuse("--threads", fmt::format("want a number from 0 to {}, got {}", most_threads, args.threads));
  want_files_of_their_own(args);

  // Every place that will be written is opened before anything long begins.
  std::optional<Output> json_out, report_out, svg_out;
  if (!args.json.empty()) json_out.emplace(Output::to_file(args.json));
  if (!args.report.empty()) report_out.emplace(Output::to_file(args.report));
  if (!args.svg.empty()) svg_out.emplace(Output::to_file(args.svg));
  note_signals();

  ProgressLine progress;
  progress.show("reading " + args.model);
  const std::string text = read_text(args.text);
  const Model model =
      value_or_refuse(Model::load(args.model, {.dtype = args.dtype == "bf16" ? DType::kBFloat16 : DType::kFloat32,
                                               .threads = args.threads,
                                               .family = args.family}));
  const Result<std::vector<std::int32_t>> encoded = model.tokenizer().encode(text);
  if (!encoded) refuse(args.text, encoded.error().message, encoded.error().code);
  const std::vector<std::int32_t>& ids = *encoded;
  const auto text_tokens = static_cast<std::int64_t>(ids.size());
  if (plan.lengths.back() > text_tokens)
    refuse("--lengths",
           fmt::format("want at most the {} tokens that the text has, got {}", text_tokens, plan.lengths.back()));
  const std::vector<WindowTask> tasks = value_or_refuse(runner::plan_windows(model.positions(), text_tokens, plan));
  std::vector<WindowTask> by_position;
  if (args.by_position)
    for (const ScalingChoice& choice : plan.scalings)
      by_position.push_back(
          value_or_refuse(runner::plan_by_position(model.positions(), text_tokens, plan.lengths.back(), choice)));
  for (const WindowTask& task : tasks) check_rotation(model.positions(), task);
  for (const WindowTask& task : by_position) check_rotation(model.positions(), task);
  std::int64_t needed = 0;
  for (const WindowTask& task : tasks) needed = std::max(needed, runner::memory_needed(model, task.length, task.map));
  const std::int64_t free_bytes = runner::memory_available();
  if (free_bytes > 0 && needed > free_bytes)
    refuse("--lengths",
           fmt::format("want lengths whose keys and values fit in memory ({} free), got {} tokens, which take {}",
                       shown_bytes(static_cast<double>(free_bytes)), grouped(plan.lengths.back()),
                       shown_bytes(static_cast<double>(needed))));

  EvalResults results;
  results.model_path = args.model;
  results.model_name = model.config().name;
  results.model_sha256 = model_hash(args.model);
  results.parameters = model.config().parameters;
  results.trained_context = model.positions().trained_context;
  results.model_fingerprint = value_or_refuse(fingerprint(model.positions()));
  results.text_path = args.text;
  results.text_sha256 = sha256_of(text);
  results.text_tokens = text_tokens;
  results.text_bytes = static_cast<std::int64_t>(text.size());
  results.begin_token = model.tokenizer().begin_token();
  results.score = plan.score;
  results.windows_wanted = plan.windows;
  results.dtype = args.dtype;
  results.threads = model.options().threads;
  results.processor = bench::processor_name();
  results.date = fmt::format("{:%Y-%m-%d %H:%M %z}", fmt::localtime(std::time(nullptr)));
  results.lengths = plan.lengths;

  const std::string key = sha256_of(fmt::format("ropewalk eval 2\n{}\n{}\n{}\n{}\n", results.model_sha256,
                                                results.text_sha256, results.dtype, model.positions().family));
  const std::string beside = !args.json.empty() ? args.json : args.report;
  EvalState state = EvalState::open(args.state.empty() ? default_state_path(beside, key) : args.state, key, args.fresh);
  Evaluation evaluation(model, ids, state, progress);
  for (const WindowTask& task : tasks) evaluation.add(task, false);
  for (const WindowTask& task : by_position) evaluation.add(task, true);
  if (state.ignored_lines() > 0)
    progress.keep(fmt::format("{}: ignored {} lines that are no windows", state.path(), state.ignored_lines()));
  progress.keep(fmt::format("{} ({} parameters, {}), {} tokens of text, {} windows", one_line(results.model_name),
                            grouped(results.parameters), args.dtype, grouped(text_tokens), tasks.size()));
  results.windows = evaluation.run();
  while (results.windows.size() > tasks.size()) {
    const std::size_t at = tasks.size();
    const WindowRecord& record = results.windows[at].record;
    results.by_position.push_back({record.task, label_of(plan.scalings[results.by_position.size()]),
                                   runner::bucket_by_position(record, kPositionBuckets)});
    results.windows.erase(results.windows.begin() + static_cast<std::ptrdiff_t>(at));
  }
  results.series = series_of(results, model.positions(), plan.scalings);
  progress.clear();

  if (json_out) {
    JsonOut json(*json_out);
    write_results_json(json, results);
    json_out->finish();
  }
  if (report_out) {
    report_out->write(report_html(results));
    report_out->finish();
  }
  if (svg_out) {
    svg_out->write(results_svg(results));
    svg_out->finish();
  }
  Output out = Output::to_stdout();
  if (args.wants_json && args.json.empty()) {
    JsonOut json(out);
    write_results_json(json, results);
  } else {
    write_results_table(out, results);
  }
  out.finish();
  return kDone;
}

}  // namespace

void add_eval(CLI::App& app, Work& work) {
  CLI::App* verb =
      app.add_subcommand("eval", "perplexity of a real model on a real text, by context length and scaling");
  auto args = std::make_shared<EvalArgs>();
  auto* model = verb->add_option("model", args->model,
                                 "a GGUF file, or a folder with config.json, tokenizer.json and safetensors")
                    ->type_name("MODEL");
  verb->add_option("--text", args->text, "text in UTF-8, longer than the longest length")
      ->required()
      ->type_name("FILE");
  verb->add_option("--lengths", args->lengths, "tokens of context, with commas: 2k is 2048 (default 2k,4k,8k)")
      ->type_name("LIST");
  verb->add_option(
          "--scaling", args->scaling,
          "none, linear, ntk, dynamic, yarn, or own (as the checkpoint says), with commas; name:F gives one a factor "
          "of its own; or a position map: self-extend, rerope, leaky-rerope, dual-chunk; layers that see only a "
          "sliding "
          "window keep what the checkpoint says (default none,yarn)")
      ->type_name("LIST");
  verb->add_option(
          "--factor", args->factor,
          "auto: length / trained context and at least 1, for every length its own; or one number >= 1 for all "
          "(default auto)")
      ->type_name("F|auto");
  verb->add_option("--score", args->score, "tokens scored at the end of every context (default 1024)")
      ->type_name("TOKENS");
  verb->add_option("--windows", args->windows, "places of the text, spread evenly over it (default 1)")->type_name("N");
  verb->add_option("--dtype", args->dtype, "f32 or bf16, of weights and products (default f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("f32|bf16");
  verb->add_option("--family", args->family, "follow this model family's conventions")->type_name("NAME");
  verb->add_flag("--by-position", args->by_position, "also the loss by position, in one pass over the longest length");
  auto* json = verb->add_option("--json", args->json, "all results as JSON, to the file or instead of the table")
                   ->expected(0, 1)
                   ->type_name("[FILE]");
  verb->add_option("--report", args->report, "one self-contained HTML page with curves and numbers")
      ->type_name("FILE.html");
  verb->add_option("--svg", args->svg, "the curves as a picture")->type_name("FILE.svg");
  verb->add_option("--threads", args->threads, "most threads to use, 0 for one a core (default 0)")->type_name("N");
  verb->add_option(
          "--state", args->state,
          "where finished windows are kept, to go on after an interruption (default: beside --json or --report, "
          "else in the user's cache folder)")
      ->type_name("FILE");
  verb->add_flag("--fresh", args->fresh, "measure everything again, whatever the state file holds");
  verb->footer(
      "The same last tokens are scored behind contexts that reach further and further back, so that the text drops out "
      "of the\n"
      "comparison. Interrupt it (Ctrl-C) and run the same command again: finished windows are kept. Windows that turn "
      "alike\n"
      "(yarn with factor 1 and none) are run once.\n"
      "Position maps leave the frequencies as the checkpoint has them and say how far keys seem to stand: near ones "
      "where "
      "they are,\n"
      "far ones nearer. self-extend[:GROUP][:window=TOKENS], leaky-rerope[:DIVISOR][:window=TOKENS], "
      "rerope[:window=TOKENS],\n"
      "dual-chunk[:chunk=TOKENS][:window=TOKENS]. Left out: the window is a quarter of the trained length, group and "
      "divisor\n"
      "(--factor) the least that fit the length into it; chunks are three quarters of it, their window a sixteenth.\n"
      "Examples:\n"
      "  ropewalk eval model.gguf --text book.txt --lengths 2k,4k,8k,16k --scaling none,dynamic,yarn --report "
      "report.html\n"
      "  ropewalk eval model.gguf --text book.txt --lengths 8k,32k --scaling yarn,self-extend,dual-chunk:window=256\n"
      "  ropewalk eval my-model/ --text book.txt --lengths 8k,32k --scaling yarn:2,yarn:4 --windows 3 --dtype bf16 "
      "--json r.json");
  verb->callback([args, model, json, &work] {
    args->wants_json = json->count() > 0;
    // `eval --json MODEL`: the one word there is the model, since there has to be one.
    if (model->count() == 0) std::swap(args->model, args->json);
    if (args->model.empty()) throw CLI::RequiredError("model");
    if (args->json == "-") args->json.clear();
    work = [args] { return eval(*args); };
  });
}

}  // namespace ropewalk::cli
