// convert --detect: the same weights under both pair layouts, on a text. The wrong one keeps norms and distances and
// fits no weight: on a trained model its loss is far higher.

#include "cli/convert.hpp"
#include "cli/embedded.hpp"
#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"

#include "runner/model.hpp"
#include "runner/text_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string_view>
#include <thread>
#include <utility>

namespace ropewalk::cli {
namespace {

constexpr std::int64_t kMostTokens = 1024;
constexpr std::int64_t kFewestTokens = 64;
constexpr std::int64_t kRowsAtOnce = 64;
// Below this ratio of perplexities there is no verdict. SmolLM2 stands at 9.8 on the built-in text and the small model
// of lab/0001 at 5.6; one whose layers hardly look at positions, or that has learnt nothing, is near 1.
// Real models stand at 5 to 20; weights that fit neither layout have been seen at 1.23.
constexpr double kClearRatio = 2.0;

double nll_of(const std::vector<float>& logits, std::int64_t row, std::int64_t vocabulary, std::int32_t target) {
  const float* const own = logits.data() + row * vocabulary;
  const float top = *std::max_element(own, own + vocabulary);
  double sum = 0;
  for (std::int64_t i = 0; i < vocabulary; ++i) sum += std::exp(static_cast<double>(own[i] - top));
  return std::log(sum) + static_cast<double>(top) - static_cast<double>(own[target]);
}

// Over every token but the first, in one pass.
double perplexity(const runner::Model& model, std::span<const std::int32_t> ids, PairLayout layout) {
  std::vector<LayerKind> kinds = model.positions().kinds;
  for (LayerKind& kind : kinds)
    if (kind.spec) {
      kind.spec->layout = layout;
      kind.spec->output_layout = PairLayout::kUnset;
    }
  const auto tokens = static_cast<std::int64_t>(ids.size());
  runner::Decoder decoder =
      value_or_refuse(runner::Decoder::make(model, {.capacity = tokens, .kinds = std::move(kinds)}));
  if (auto error = decoder.feed(ids)) throw Refused{*std::move(error), kInputWrong};
  const std::int64_t vocabulary = model.config().vocabulary;
  double sum = 0;
  for (std::int64_t first = 0; first < tokens - 1; first += kRowsAtOnce) {
    const std::int64_t rows = std::min(kRowsAtOnce, tokens - 1 - first);
    const std::vector<float> logits = value_or_refuse(decoder.logits(first, rows));
    for (std::int64_t r = 0; r < rows; ++r)
      sum += nll_of(logits, r, vocabulary, ids[static_cast<std::size_t>(first + r + 1)]);
  }
  if (std::isnan(sum))
    refuse(model.config().name,
           fmt::format("want weights out of which finite numbers come, got NaN with layout {}", name_of(layout)));
  return std::exp(sum / static_cast<double>(tokens - 1));
}

// A pair of one plane looks the same in both layouts, and so does a head that does not turn.
void want_two_answers(const CheckpointPositions& positions) {
  for (const LayerKind& kind : positions.kinds)
    if (kind.spec && kind.spec->rotary_dim > 2) return;
  refuse(positions.source, "want a model in which the layouts differ, got one whose layers turn one pair or none");
}

// What the checkpoint leads its reader to believe; unset if its layers differ.
PairLayout declared_layout(const CheckpointPositions& positions) {
  PairLayout layout = PairLayout::kUnset;
  for (const LayerKind& kind : positions.kinds) {
    if (!kind.spec) continue;
    if (layout != PairLayout::kUnset && layout != kind.spec->layout) return PairLayout::kUnset;
    layout = kind.spec->layout;
  }
  return layout;
}

}  // namespace

int detect_layout(const ConvertArgs& args) {
  const int most_threads = 4 * std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  if (args.threads < 0 || args.threads > most_threads)
    refuse("--threads", fmt::format("want a number from 0 to {}, got {}", most_threads, args.threads));
  std::string own_text;
  if (!args.text.empty()) own_text = value_or_refuse(runner::read_text_file(args.text));
  const std::string_view text = args.text.empty() ? kProbeText : std::string_view(own_text);
  const std::string text_name = args.text.empty() ? "the built-in text" : args.text;

  ProgressLine progress;
  progress.show("reading " + one_line(args.path));
  const runner::Model model =
      value_or_refuse(runner::Model::load(args.path, {.threads = args.threads, .family = args.family}));
  const CheckpointPositions& positions = model.positions();
  want_two_answers(positions);
  const PairLayout declared = declared_layout(positions);

  auto encoded = model.tokenizer().encode(text);
  if (!encoded) refuse(text_name, encoded.error().message, encoded.error().code);
  const std::int64_t most =
      positions.trained_context > 0 ? std::min(kMostTokens, positions.trained_context) : kMostTokens;
  const std::int64_t tokens = std::min(most, static_cast<std::int64_t>(encoded->size()));
  if (tokens < std::min(kFewestTokens, most))
    refuse(text_name, fmt::format("want at least {} tokens, got {}", std::min(kFewestTokens, most), tokens));
  // As the evaluator does: what the checkpoint wants before a text takes the place of the token that is not scored.
  if (const auto begin = model.tokenizer().begin_token()) encoded->front() = *begin;
  const std::span<const std::int32_t> ids(encoded->data(), static_cast<std::size_t>(tokens));

  progress.show(fmt::format("{} tokens in layout half", tokens));
  const double half = perplexity(model, ids, PairLayout::kHalf);
  progress.show(fmt::format("{} tokens in layout interleaved", tokens));
  const double interleaved = perplexity(model, ids, PairLayout::kInterleaved);
  progress.clear();

  const double ratio = std::max(half, interleaved) / std::min(half, interleaved);
  std::optional<std::string> verdict;  // two that are infinite decide nothing
  if (ratio >= kClearRatio) verdict = name_of(half < interleaved ? PairLayout::kHalf : PairLayout::kInterleaved);
  const std::optional<std::string> claim =
      declared == PairLayout::kUnset ? std::nullopt : std::optional<std::string>(name_of(declared));

  Output out = Output::to_stdout();
  if (args.json) {
    JsonOut json(out);
    json.begin_object();
    json.field("pair_layout", verdict);
    json.field("declared", claim);
    json.key("perplexity");
    json.begin_object();
    json.field("half", half);
    json.field("interleaved", interleaved);
    json.end();
    json.field("tokens", tokens);
    json.end();
  } else {
    out.write(
        fmt::format("{}: perplexity of {} tokens of {}\n", one_line(args.path), grouped(tokens), one_line(text_name)));
    out.write(fmt::format("  half         {:.4g}\n  interleaved  {:.4g}\n", half, interleaved));
    if (verdict)
      out.write(fmt::format("trained with {}: the other one's perplexity is {:.3g} times as high\n", *verdict, ratio));
    else
      out.write(fmt::format("undecided: a ratio of {:.3g}, where {} and more would be clear\n", ratio, kClearRatio));
    out.write(fmt::format("declared     {}{}\n", claim.value_or("not one for all layers"),
                          verdict && claim && *claim != *verdict ? ", which these weights are not" : ""));
  }
  out.finish();
  return kDone;
}

}  // namespace ropewalk::cli
