// ropewalk bench: this machine's ceiling, every operation of the library against it, and against what else is
// installed, in turns in one run.

#include "cli/bench/cases.hpp"
#include "cli/bench/machine.hpp"
#include "cli/bench/operations.hpp"
#include "cli/bench/opponents.hpp"
#include "cli/bench/picture.hpp"
#include "cli/bench/results.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <ropewalk/rotary.hpp>

#include <omp.h>
#include <time.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <regex>
#include <string>
#include <thread>
#include <vector>

namespace ropewalk::cli {
namespace {

using namespace bench;
using Clock = std::chrono::steady_clock;

constexpr double kSampleSeconds = 2e-3;
constexpr std::size_t kFewestRounds = 5, kMostRounds = 51;
// For the threads of the contestant before, which some libraries let spin when their work is done.
constexpr auto kPause = std::chrono::milliseconds(3);
// Data, results and what eager frameworks put between them, in units of the case's data; and so many processes hold it.
constexpr double kMemoryOfOpponent = 8;

struct BenchArgs {
  bool quick = false, full = false, json = false, list = false;
  std::string only, tokens, threads, opponents = "auto", python, script, out;
  double seconds = 0, timeout = 120;
};

double seconds_between(Clock::time_point a, Clock::time_point b) {
  return std::chrono::duration<double>(b - a).count();
}

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Something of ours that is called again and again. A sample is as many calls as take kSampleSeconds.
class Timed {
 public:
  explicit Timed(std::function<void()> run) : run_(std::move(run)) { seconds_ = calls(1).seconds; }

  Sample sample() {
    if (seconds_ < kSampleSeconds) seconds_ = calls(enough()).seconds;  // wakes the threads, warms the caches
    const Sample out = calls(enough());
    seconds_ = out.seconds;
    return out;
  }

 private:
  std::int64_t enough() const {
    return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::ceil(kSampleSeconds / std::max(seconds_, 1e-9))), 1,
                                    1 << 20);
  }
  Sample calls(std::int64_t count) const {
    const double processor = processor_seconds();
    const auto begin = Clock::now();
    for (std::int64_t i = 0; i < count; ++i) run_();
    const double wall = std::max(seconds_between(begin, Clock::now()), 1e-9);
    return {wall / static_cast<double>(count), count, (processor_seconds() - processor) / wall};
  }

  std::function<void()> run_;
  double seconds_;
};

std::function<void()> ceiling_of(const PreparedCase& prepared, int threads) {
  const auto& ceiling = prepared.ceiling;
  if (threads == 1) return [&ceiling] { ceiling(0, 1); };
  return [&ceiling, threads] {
#pragma omp parallel for num_threads(threads)
    for (int part = 0; part < threads; ++part) ceiling(part, threads);
  };
}

// One in a case: how it is measured, and what came of it.
struct Contestant {
  Entry entry;
  std::optional<Timed> own;
  Opponent* other = nullptr;

  void round() {
    if (!entry.cannot.empty()) return;
    std::optional<Sample> got;
    if (own) {
      got = own->sample();
    } else {
      got = other->sample(kSampleSeconds, entry.cannot);
      std::this_thread::sleep_for(kPause);
    }
    if (!got) {
      entry.seconds.clear();
      entry.cores.clear();
      return;
    }
    entry.seconds.push_back(got->seconds);
    entry.cores.push_back(got->cores);
    entry.calls = got->calls;
  }
};

class Run {
 public:
  Run(const BenchArgs& args, std::vector<Case> cases, std::vector<OpponentKind> kinds)
      : args_(args), cases_(std::move(cases)) {
    for (const OpponentKind& kind : kinds)
      results_.opponents.push_back({std::string(kind.name), std::string(kind.shown), "", ""});
    if (kinds.empty()) return;
    if (!args.python.empty()) {
      setup_.emplace(args.python, args.script, args.timeout);
      return;
    }
    try {
      setup_.emplace("python3", args.script, args.timeout);
    } catch (const Refused& refused) {
      if (!args.script.empty()) throw;
      for (OpponentState& state : results_.opponents) state.unavailable = refused.error.line();
    }
  }

  BenchResults all() {
    results_.machine = this_machine();
    results_.when = now_text();
    results_.load_at_start = load_average();
    results_.sample_seconds = kSampleSeconds;
    results_.extent = args_.quick ? "quick" : args_.full ? "full" : "usual";
    if (results_.busy())
      progress_.keep(fmt::format("bench: the load average is {:.2f}: other work will be measured along with this",
                                 results_.load_at_start));
    const auto begin = Clock::now();
    for (std::size_t n = 0; n < cases_.size(); ++n) {
      const Case& one = cases_[n];
      if (n == 0 || one.threads != cases_[n - 1].threads) start_opponents(one.threads);
      const std::string name = fmt::format("[{}/{}] {}", n + 1, cases_.size(), one.id());
      progress_.show(name);
      if (measure(one, name)) {
        const CaseResult& done = results_.cases.back();
        progress_.keep(fmt::format("{}: {} GB/s, {:.2f} of the ceiling", name,
                                   three_digits(done.gigabytes_per_second(done.entries[1]).median),
                                   CaseResult::speed_ratio(done.entries[1], done.entries[0]).median));
      }
    }
    opponents_.clear();
    progress_.clear();
    results_.seconds = seconds_between(begin, Clock::now());
    results_.load_at_end = load_average();
    return std::move(results_);
  }

 private:
  static std::string now_text() {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
  }

  void stop_if_interrupted() {
    if (!interrupted) return;
    progress_.clear();
    throw Refused{Error{Code::kUnavailable, "interrupted", "nothing is kept"}, kFailed};
  }

  void start_opponents(int threads) {
    opponents_.clear();
    const bool wanted = std::any_of(cases_.begin(), cases_.end(),
                                    [&](const Case& one) { return one.threads == threads && one.with_opponents; });
    if (!wanted || !setup_) return;
    for (const OpponentState& state : results_.opponents) {
      if (!state.unavailable.empty()) continue;
      const auto kind = std::find_if(opponent_kinds().begin(), opponent_kinds().end(),
                                     [&](const OpponentKind& k) { return k.name == state.name; });
      opponents_.push_back(std::make_unique<Opponent>(*setup_, *kind, threads));
    }
    for (const auto& opponent : opponents_) {
      progress_.show(fmt::format("waits for {}", opponent->kind().shown));
      opponent->greet();
      for (OpponentState& state : results_.opponents) {
        if (state.name != opponent->kind().name) continue;
        if (!opponent->version().empty()) state.version = opponent->version();
        state.unavailable = opponent->unavailable();
        if (!state.unavailable.empty()) progress_.keep(fmt::format("bench: no {}: {}", state.shown, state.unavailable));
      }
    }
  }

  bool measure(const Case& one, const std::string& name) {
    const double data = static_cast<double>(one.elements()) * static_cast<double>(size_of(one.dtype));
    if (const auto available = static_cast<double>(available_memory_bytes()); 3 * data > available) {
      progress_.keep(fmt::format("{}: left out, {} of memory are wanted and {} are there", name, shown_bytes(3 * data),
                                 shown_bytes(available)));
      return false;
    }
    PreparedCase prepared = operation_of(one).prepare(one);
    CaseResult result;
    result.asked = one;
    result.bytes = prepared.bytes;

    std::vector<Contestant> contestants;
    result.ceiling_threads = fastest_ceiling(prepared, one.threads);
    contestants.push_back({{.name = "ceiling"}, Timed(ceiling_of(prepared, result.ceiling_threads))});
    for (OwnWay& way : prepared.ways)
      contestants.push_back({{.name = way.name, .max_abs_error = way.max_abs_error}, Timed(way.run)});
    if (one.with_opponents)
      for (const auto& opponent : opponents_) contestants.push_back(made_ready(*opponent, one, data));

    const double budget = args_.seconds > 0 ? args_.seconds : args_.quick ? 1.0 : args_.full ? 4.0 : 1.5;
    const auto begin = Clock::now();
    for (std::size_t round = 0; round < kMostRounds; ++round) {
      if (round >= kFewestRounds && seconds_between(begin, Clock::now()) > budget) break;
      for (Contestant& contestant : contestants) {
        stop_if_interrupted();
        contestant.round();
      }
      progress_.show(fmt::format("{}: round {}", name, round + 1));
    }
    for (Contestant& contestant : contestants) {
      if (contestant.other != nullptr) contestant.other->release();
      result.entries.push_back(std::move(contestant.entry));
    }
    results_.cases.push_back(std::move(result));
    return true;
  }

  // Small work is done sooner by one thread than handed out.
  static int fastest_ceiling(const PreparedCase& prepared, int threads) {
    if (threads == 1) return 1;
    Timed alone(ceiling_of(prepared, 1)), together(ceiling_of(prepared, threads));
    double best_alone = HUGE_VAL, best_together = HUGE_VAL;
    for (int turn = 0; turn < 3; ++turn) {
      best_alone = std::min(best_alone, alone.sample().seconds);
      best_together = std::min(best_together, together.sample().seconds);
    }
    return best_alone < best_together ? 1 : threads;
  }

  Contestant made_ready(Opponent& opponent, const Case& one, double data) {
    stop_if_interrupted();
    Contestant out;
    out.entry.name = opponent.kind().shown;
    out.other = &opponent;
    if (const double wanted = kMemoryOfOpponent * data; wanted > static_cast<double>(available_memory_bytes())) {
      out.entry.cannot = fmt::format("{} of memory are wanted", shown_bytes(wanted));
      return out;
    }
    progress_.show(fmt::format("{} makes ready", opponent.kind().shown));
    double error = 0;
    if (auto why = opponent.prepare(one, operation_of(one).in_place, error))
      out.entry.cannot = std::move(*why);
    else
      out.entry.max_abs_error = error;
    return out;
  }

  const BenchArgs& args_;
  std::vector<Case> cases_;
  BenchResults results_;
  std::optional<OpponentSetup> setup_;
  std::vector<std::unique_ptr<Opponent>> opponents_;
  ProgressLine progress_;
};

std::vector<int> wanted_threads(const std::string& text) {
  if (text.empty()) return omp_get_num_procs() > 1 ? std::vector<int>{1, omp_get_num_procs()} : std::vector<int>{1};
  std::vector<int> out;
  for (const std::string& word : parse_words(text, "--threads")) {
    int count = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), count);
    if (error != std::errc{} || end != word.data() + word.size() || count < 1 || count > 1024)
      refuse("--threads", fmt::format("want numbers from 1 to 1024 with commas between, got \"{}\"", one_line(word)));
    if (std::find(out.begin(), out.end(), count) == out.end()) out.push_back(count);
  }
  std::sort(out.begin(), out.end());
  return out;
}

std::vector<OpponentKind> wanted_opponents(const std::string& text) {
  const auto all = opponent_kinds();
  if (text == "auto") return {all.begin(), all.end()};
  if (text == "none") return {};
  std::vector<OpponentKind> out;
  for (const std::string& word : parse_words(text, "--opponents")) {
    const std::size_t before = out.size();
    bool known = false;
    for (const OpponentKind& kind : all) {
      if (kind.name != word && !(word == "torch" && kind.name.starts_with("torch-"))) continue;
      known = true;
      if (std::none_of(out.begin(), out.end(), [&](const OpponentKind& k) { return k.name == kind.name; }))
        out.push_back(kind);
    }
    if (!known && out.size() == before) {
      std::vector<std::string_view> names;
      for (const OpponentKind& kind : all) names.push_back(kind.name);
      refuse("--opponents",
             fmt::format("want auto, none or some of {}, got \"{}\"", fmt::join(names, ", "), one_line(word)));
    }
  }
  return out;
}

std::vector<Case> wanted_cases(const BenchArgs& args) {
  const Extent extent = args.quick ? Extent::kQuick : args.full ? Extent::kFull : Extent::kUsual;
  const std::vector<std::int64_t> tokens =
      args.tokens.empty() ? std::vector<std::int64_t>{} : parse_token_list(args.tokens, "--tokens");
  for (const std::int64_t count : tokens)
    if (count > 1 << 20) refuse("--tokens", fmt::format("want at most 1m tokens, got {}", count));
  std::vector<Case> cases = listed_cases(extent, wanted_threads(args.threads), tokens);
  if (args.only.empty()) return cases;
  try {
    const std::regex only(args.only, std::regex::ECMAScript);
    std::erase_if(cases, [&](const Case& one) { return !std::regex_search(one.id(), only); });
  } catch (const std::regex_error& error) {
    refuse("--only",
           fmt::format("want a regular expression, got \"{}\" ({})", one_line(args.only), one_line(error.what())));
  }
  if (cases.empty())
    refuse("--only",
           fmt::format("want one that some case matches (--list shows them), got \"{}\"", one_line(args.only)));
  return cases;
}

// The files of --out, in their places when all is measured: <date>-<processor>.json, and a picture for each number of
// threads.
class ResultFiles {
 public:
  ResultFiles(const std::string& folder, const std::vector<Case>& cases) : folders_(folder, "--out") {
    const std::time_t now = std::time(nullptr);
    std::tm utc{};
    ::gmtime_r(&now, &utc);
    char date[16];
    std::strftime(date, sizeof date, "%Y-%m-%d", &utc);
    const std::string base = in_folder(folder, fmt::format("{}-{}", date, this_machine().slug()));
    std::string stem = base;
    for (int n = 2; std::filesystem::exists(stem + ".json"); ++n) stem = fmt::format("{}-{}", base, n);
    json_.emplace(Output::to_file(stem + ".json"));
    for (const Case& one : cases)
      if (pictures_.empty() || pictures_.back().threads != one.threads)
        pictures_.push_back({one.threads, Output::to_file(fmt::format("{}-threads{}.svg", stem, one.threads))});
  }

  void write(const BenchResults& results) {
    for (Picture& picture : pictures_) {
      const std::string svg = speed_svg(results, picture.threads);
      if (svg.empty()) continue;
      picture.file.write(svg);
      picture.file.finish();
    }
    write_json(*json_, results);
    json_->finish();
    folders_.keep();
  }

 private:
  struct Picture {
    int threads;
    Output file;
  };
  MadeFolders folders_;
  std::optional<Output> json_;
  std::vector<Picture> pictures_;
};

int run_bench(const BenchArgs& args) {
  if (args.quick && args.full) refuse("--quick", "want either --quick or --full, got both");
  if (!(args.seconds >= 0) || args.seconds > 3600)
    refuse("--seconds", fmt::format("want seconds from 0 to 3600, got {:g}", args.seconds));
  if (!(args.timeout > 0)) refuse("--timeout", fmt::format("want seconds > 0, got {:g}", args.timeout));
  const std::vector<Case> cases = wanted_cases(args);
  const std::vector<OpponentKind> kinds = wanted_opponents(args.opponents);
  // A target that cannot be followed is refused here, before anything is measured.
  value_or_refuse(Rotary::make({.head_dim = 2, .rotary_dim = 2, .theta = kTheta, .layout = PairLayout::kHalf}));
  Output out = Output::to_stdout();
  if (args.list) {
    for (const Case& one : cases) out.write(one.id() + '\n');
    out.finish();
    return kDone;
  }
  std::optional<ResultFiles> files;
  if (!args.out.empty()) files.emplace(args.out, cases);
  note_signals();
  Run run(args, cases, kinds);
  const BenchResults results = run.all();
  if (files) files->write(results);
  if (args.json) {
    write_json(out, results);
  } else {
    print_head(out, results);
    print_table(out, results);
  }
  out.finish();
  return kDone;
}

}  // namespace

void add_bench(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand(
      "bench", "this machine's ceiling, the library against it and against what else is installed: speed and error");
  auto args = std::make_shared<BenchArgs>();
  verb->add_flag("--quick", args->quick, "in place, halves, 1 and 1024 tokens: two minutes with every opponent");
  verb->add_flag("--full", args->full, "every case, up to 16384 tokens: half an hour and 6 GB with every opponent");
  verb->add_option("--only", args->only, "the cases whose name this regular expression finds (--list shows names)")
      ->type_name("REGEX");
  verb->add_option("--tokens", args->tokens, "these counts of tokens instead: 1,64,8k")->type_name("LIST");
  verb->add_option("--threads", args->threads, "numbers of threads (default: 1 and all cores)")->type_name("LIST");
  verb->add_option("--seconds", args->seconds,
                   "for the rounds of a case, all contestants together; five rounds are taken at least (default 1.5; "
                   "--quick 1, --full 4)")
      ->type_name("SECONDS");
  verb->add_option("--opponents", args->opponents,
                   "auto: those found; none; or some of torch-eager, torch-compile, onnxruntime, jax, ggml; torch for "
                   "both (default auto)")
      ->type_name("LIST");
  verb->add_option("--python", args->python, "the interpreter whose packages are the opponents (default: python3)")
      ->type_name("PATH");
  verb->add_option("--script", args->script, "what starts an opponent (default: opponents.py of this installation)")
      ->type_name("FILE");
  verb->add_option("--timeout", args->timeout, "longest silence of an opponent, in seconds (default 120)")
      ->type_name("SECONDS");
  verb->add_flag("--json", args->json, "the results as JSON");
  verb->add_option("--out", args->out,
                   "folder for the results: <date>-<processor>.json, and a picture for each number of threads")
      ->type_name("DIR");
  verb->add_flag("--list", args->list, "the names of the cases, measure nothing");
  verb->footer(
      "The ceiling is a sign flip of the same bytes in place: what this machine's memory allows. Error: the largest "
      "difference\nfrom float64 at positions from 100 000 on. docs/bench.md has the method and the keys of the JSON.\n"
      "Examples:\n"
      "  ropewalk bench --quick\n"
      "  ropewalk bench --python .venv/bin/python --out bench/results\n"
      "  ropewalk bench --only 'in place/float32/half' --tokens 1,1k --threads 1 --opponents none --json");
  verb->callback([args, &work] { work = [args] { return run_bench(*args); }; });
}

}  // namespace ropewalk::cli
