// ropewalk cache: what cached keys are worth after the sequence was moved, cut, or carried over to another scaling.

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"
#include "runner/evaluator.hpp"
#include "runner/text_file.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace ropewalk::cli {
namespace {

using runner::CachedKeys;
using runner::Decoder;
using runner::Model;

constexpr std::int64_t kRowsAtOnce = 64;

struct CacheArgs {
  std::string model, text, family;
  std::string tokens = "2k";
  std::string score = "256";
  std::string dtype = "f32";
  bool json = false;
  int threads = 0;
};

/// What continues a text behind a cache, row by row.
struct Rows {
  std::vector<std::vector<float>> logits;  // [rows][vocabulary]
  double perplexity = 0.0;                 // of the tokens that really follow
};

/// How far logits are from those of a fresh prefill.
struct Distance {
  double largest = 0.0;     // largest difference, in units of the largest logit of the fresh ones
  double divergence = 0.0;  // mean of KL(fresh || these), nats
  double perplexity = 0.0;
};

/// One thing that may happen to a cache, and the prefill that it should be like.
struct Event {
  std::string name;    // "move"
  std::string about;   // for the table
  bool exact = false;  // the fresh prefill gives the same, but for rounding
  std::function<Decoder(std::int64_t capacity)> start, fresh;
  std::function<void(Decoder&, CachedKeys)> change;
  std::function<void(Decoder&)> finish_fresh;
};

std::vector<double> log_softmax(const std::vector<float>& logits) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float x : logits) sum += std::exp(static_cast<double>(x) - top);
  std::vector<double> out(logits.size());
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<double>(logits[i]) - top - std::log(sum);
  return out;
}

void want(std::optional<Error> error) {
  if (error) throw Refused{*std::move(error), kInputWrong};
}

class Experiment {
 public:
  Experiment(const Model& model, std::span<const std::int32_t> cached, std::span<const std::int32_t> next,
             ProgressLine& progress)
      : model_(model), cached_(cached), next_(next), progress_(progress) {}

  std::int64_t capacity() const { return static_cast<std::int64_t>(cached_.size() + next_.size()); }

  Rows behind(const Event& event, std::optional<CachedKeys> keys) {
    if (interrupted) throw Refused{Error{Code::kUnavailable, "interrupted", "nothing was written"}, kFailed};
    progress_.show(fmt::format("{}: {}", event.name,
                               !keys                          ? "a fresh prefill"
                               : *keys == CachedKeys::kTurned ? "keys turned"
                                                              : "keys left as they were"));
    Decoder decoder = keys ? event.start(capacity()) : event.fresh(capacity());
    want(decoder.feed(cached_));
    if (keys)
      event.change(decoder, *keys);
    else
      event.finish_fresh(decoder);
    want(decoder.feed(next_));
    Rows rows;
    double nll = 0.0;
    const auto count = static_cast<std::int64_t>(next_.size()), vocabulary = model_.config().vocabulary;
    for (std::int64_t first = 0; first < count; first += kRowsAtOnce) {
      const std::int64_t some = std::min(kRowsAtOnce, count - first);
      const std::vector<float> logits = value_or_refuse(decoder.logits(first, some));
      for (std::int64_t r = 0; r < some; ++r) {
        const auto begin = logits.begin() + static_cast<std::ptrdiff_t>(r * vocabulary);
        rows.logits.emplace_back(begin, begin + static_cast<std::ptrdiff_t>(vocabulary));
        if (first + r + 1 < count)
          nll -=
              log_softmax(rows.logits.back())[static_cast<std::size_t>(next_[static_cast<std::size_t>(first + r + 1)])];
      }
    }
    rows.perplexity = std::exp(nll / static_cast<double>(count - 1));
    return rows;
  }

  static Distance distance(const Rows& fresh, const Rows& other) {
    Distance out;
    double largest = 0.0;
    for (std::size_t r = 0; r < fresh.logits.size(); ++r) {
      const std::vector<double> p = log_softmax(fresh.logits[r]), q = log_softmax(other.logits[r]);
      for (std::size_t i = 0; i < p.size(); ++i) {
        largest = std::max(largest, std::abs(static_cast<double>(fresh.logits[r][i])));
        out.largest = std::max(
            out.largest, std::abs(static_cast<double>(fresh.logits[r][i]) - static_cast<double>(other.logits[r][i])));
        out.divergence += std::exp(p[i]) * (p[i] - q[i]);
      }
    }
    out.largest /= largest;
    out.divergence /= static_cast<double>(fresh.logits.size());
    out.perplexity = other.perplexity;
    return out;
  }

 private:
  const Model& model_;
  std::span<const std::int32_t> cached_, next_;
  ProgressLine& progress_;
};

std::vector<Event> events_of(const Model& model, std::int64_t tokens) {
  const auto decoder = [&model](std::int64_t origin, std::vector<LayerKind> kinds = {}, std::int64_t running = 0) {
    return [&model, origin, kinds = std::move(kinds), running](std::int64_t capacity) {
      return value_or_refuse(
          Decoder::make(model, {.capacity = capacity, .kinds = kinds, .running_length = running, .origin = origin}));
    };
  };
  const auto nothing = [](Decoder&) {};
  const std::int64_t half = tokens / 2, trained = model.positions().trained_context;
  std::vector<Event> events;
  events.push_back({"move", fmt::format("all keys {} positions on", grouped(half)), true, decoder(0), decoder(half),
                    [half](Decoder& d, CachedKeys keys) { want(d.move(half, keys)); }, nothing});
  events.push_back({"shift", fmt::format("first {} forgotten, the rest moved to the front", grouped(half)), true,
                    decoder(0), decoder(-half),
                    [half](Decoder& d, CachedKeys keys) {
                      want(d.forget_first(half));
                      want(d.move(-half, keys));
                    },
                    [half](Decoder& d) { want(d.forget_first(half)); }});
  if (trained <= 0) return events;
  const auto rescaled = [&](const char* name, std::string about, std::vector<LayerKind> from, std::int64_t from_length,
                            std::vector<LayerKind> to, std::int64_t to_length) {
    events.push_back({name, std::move(about), false, decoder(0, std::move(from), from_length),
                      decoder(0, to, to_length),
                      [to, to_length](Decoder& d, CachedKeys keys) { want(d.rescale(to, to_length, keys)); }, nothing});
  };
  const auto scaled = [&](std::string_view name, double factor) {
    return value_or_refuse(runner::scaled_kinds(model.positions(), name, factor));
  };
  rescaled("dynamic", fmt::format("dynamic NTK x2 grows from {} tokens to {}", grouped(trained), grouped(2 * trained)),
           scaled("dynamic", 2), trained, scaled("dynamic", 2), 2 * trained);
  rescaled("yarn", "YaRN x4 switched on", scaled("none", 1), trained, scaled("yarn", 4), 4 * trained);
  return events;
}

int cache(const CacheArgs& args) {
  const std::int64_t tokens = parse_tokens(args.tokens, "--tokens"), score = parse_tokens(args.score, "--score");
  if (tokens < 2) refuse("--tokens", fmt::format("want at least 2, got {}", tokens));
  if (score < 2) refuse("--score", fmt::format("want at least 2, got {}", score));
  const int most_threads = 4 * std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (args.threads < 0 || args.threads > most_threads)
    refuse("--threads", fmt::format("want a number from 0 to {}, got {}", most_threads, args.threads));
  note_signals();
  ProgressLine progress;
  progress.show("reading " + one_line(args.model));
  const std::string text = value_or_refuse(runner::read_text_file(args.text));
  const Model model =
      value_or_refuse(Model::load(args.model, {.dtype = args.dtype == "bf16" ? DType::kBFloat16 : DType::kFloat32,
                                               .threads = args.threads,
                                               .family = args.family}));
  auto encoded = model.tokenizer().encode(text);
  if (!encoded) refuse(args.text, encoded.error().message, encoded.error().code);
  if (static_cast<std::int64_t>(encoded->size()) < tokens + score)
    refuse("--tokens",
           fmt::format("want at most the {} tokens that the text has, less {} that are scored, got {}",
                       grouped(static_cast<std::int64_t>(encoded->size())), grouped(score), grouped(tokens)));
  if (const auto begin = model.tokenizer().begin_token()) encoded->front() = *begin;
  const std::span<const std::int32_t> ids(*encoded);
  Experiment experiment(model, ids.first(static_cast<std::size_t>(tokens)),
                        ids.subspan(static_cast<std::size_t>(tokens), static_cast<std::size_t>(score)), progress);

  struct Line {
    Event event;
    double fresh;
    Distance turned, left;
  };
  std::vector<Line> lines;
  for (Event& event : events_of(model, tokens)) {
    const Rows fresh = experiment.behind(event, std::nullopt);
    const Distance turned = Experiment::distance(fresh, experiment.behind(event, CachedKeys::kTurned));
    const Distance left = Experiment::distance(fresh, experiment.behind(event, CachedKeys::kLeft));
    lines.push_back({std::move(event), fresh.perplexity, turned, left});
  }
  progress.clear();

  Output out = Output::to_stdout();
  if (args.json) {
    JsonOut json(out);
    json.begin_object();
    json.field("model", model.config().name);
    json.field("dtype", args.dtype);
    json.field("cached_tokens", tokens);
    json.field("scored_tokens", score);
    json.key("events");
    json.begin_array();
    for (const Line& line : lines) {
      json.begin_object();
      json.field("name", line.event.name);
      json.field("about", line.event.about);
      json.field("equal_but_for_rounding", line.event.exact);
      json.field("fresh_perplexity", line.fresh);
      for (const auto& [name, distance] : {std::pair{"turned", line.turned}, std::pair{"left", line.left}}) {
        json.key(name);
        json.begin_object();
        json.field("largest_difference", distance.largest);
        json.field("divergence", distance.divergence);
        json.field("perplexity", distance.perplexity);
        json.end();
      }
      json.end();
    }
    json.end();
    json.end();
  } else {
    out.write(fmt::format("{}, {}: {} tokens cached, {} scored behind them\n", one_line(model.config().name),
                          args.dtype, grouped(tokens), grouped(score)));
    out.write(
        "what the next logits are, against a fresh prefill: largest difference / largest logit, divergence in "
        "nats, perplexity\n\n");
    out.write(fmt::format("{:<58} {:>9}   {:^29}   {:^29}\n", "", "fresh", "keys turned", "keys left as they were"));
    for (const Line& line : lines)
      out.write(fmt::format("{:<58} {:>9.2f}   {:>9.1e} {:>9.1e} {:>9.2f}   {:>9.1e} {:>9.1e} {:>9.2f}\n",
                            line.event.about + (line.event.exact ? "" : " *"), line.fresh, line.turned.largest,
                            line.turned.divergence, line.turned.perplexity, line.left.largest, line.left.divergence,
                            line.left.perplexity));
    if (std::any_of(lines.begin(), lines.end(), [](const Line& line) { return !line.event.exact; }))
      out.write(
          "* keys stand where a fresh prefill has them, but what they were made from in the deeper layers has seen "
          "the old scaling\n");
  }
  out.finish();
  return kDone;
}

}  // namespace

void add_cache(CLI::App& app, Work& work) {
  CLI::App* verb = app.add_subcommand(
      "cache", "what cached keys are worth after they were moved, cut or carried over to another scaling");
  auto args = std::make_shared<CacheArgs>();
  verb->add_option("model", args->model, "a GGUF file, or a folder with config.json, tokenizer.json and safetensors")
      ->required()
      ->type_name("MODEL");
  verb->add_option("--text", args->text, "text in UTF-8, longer than --tokens and --score together")
      ->required()
      ->type_name("FILE");
  verb->add_option("--tokens", args->tokens, "tokens in the cache: 500, 8k (default 2k)")->type_name("TOKENS");
  verb->add_option("--score", args->score, "tokens behind them whose logits are looked at (default 256)")
      ->type_name("TOKENS");
  verb->add_option("--dtype", args->dtype, "f32 or bf16, of weights, products and cache (default f32)")
      ->check(CLI::IsMember({"f32", "bf16"}))
      ->type_name("f32|bf16");
  verb->add_option("--family", args->family, "follow this model family's conventions")->type_name("NAME");
  verb->add_flag("--json", args->json, "the results as JSON");
  verb->add_option("--threads", args->threads, "most threads to use, 0 for one a core (default 0)")->type_name("N");
  verb->footer(
      "A cache may be moved by half its length, cut in half and moved to the front (a context shift), or carried over\n"
      "to another scaling. Each is done twice, with the cached keys turned to where they now stand and with the keys\n"
      "left as they were, and held against a prefill that had the tokens there from the start (docs/kv_cache.md).\n"
      "  ropewalk cache model.gguf --text book.txt --tokens 8k");
  verb->callback([args, &work] { work = [args] { return cache(*args); }; });
}

}  // namespace ropewalk::cli
