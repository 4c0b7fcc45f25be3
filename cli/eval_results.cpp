#include "cli/eval_results.hpp"

#include "cli/scaling_words.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace ropewalk::cli {

using runner::PositionBucket;
using runner::Summary;

double standard_error(const Summary& summary) {
  return summary.windows < 2 ? 0.0
                             : summary.perplexity * summary.spread / std::sqrt(static_cast<double>(summary.windows));
}

std::string shown_perplexity(double perplexity) {
  if (!std::isfinite(perplexity)) return "inf";
  if (perplexity < 99.995) return fmt::format("{:.2f}", perplexity);
  if (perplexity < 999.95) return fmt::format("{:.1f}", perplexity);
  if (perplexity < 999999.5) return grouped(std::llround(perplexity));
  return fmt::format("{:.1e}", perplexity);
}

std::string shown_method(const EvalResults& results) {
  const bool one = results.windows_wanted == 1;
  return fmt::format(
      "The same {} tokens{} of the text are scored behind contexts that reach further and further back{}.",
      grouped(results.score), one ? "" : fmt::format(" at each of {} places", results.windows_wanted),
      one ? "" : "; +- is one standard error over the places");
}

void write_results_table(Output& out, const EvalResults& results) {
  out.write(fmt::format("Perplexity of {} ({}) on {} by context length\n{}\n\n", one_line(results.model_name),
                        results.dtype, one_line(results.text_path), shown_method(results)));
  // Each column as wide as its widest cell; the factor stands beside the length where it is the same for all.
  std::vector<std::vector<std::string>> rows(1, {"context", "factor"});
  for (const Series& series : results.series) rows[0].push_back(series.label);
  for (std::size_t i = 0; i < results.lengths.size(); ++i) {
    const bool trained = results.lengths[i] == results.trained_context;
    std::optional<double> factor;
    bool mixed = false;
    for (const Series& series : results.series) {
      if (!series.points[i] || !runner::takes_factor(series.points[i]->scaling)) continue;
      mixed = mixed || (factor && *factor != series.points[i]->factor);
      factor = series.points[i]->factor;
    }
    std::vector<std::string> row{grouped(results.lengths[i]) + (trained ? " *" : "  "),
                                 mixed || !factor ? std::string("-") : fmt::format("{:.4g}", *factor)};
    for (const Series& series : results.series) {
      if (!series.points[i]) {
        row.emplace_back("-");
        continue;
      }
      const double error = standard_error(*series.points[i]);
      row.push_back(shown_perplexity(series.points[i]->perplexity) +
                    (series.points[i]->windows > 1 ? " +- " + shown_perplexity(error) : ""));
    }
    rows.push_back(std::move(row));
  }
  std::vector<std::size_t> widths(rows[0].size());
  for (const auto& row : rows)
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) line += fmt::format("  {:>{}}", row[c], widths[c]);
    out.write(line + "\n");
    if (&row == &rows[0]) out.write("  " + std::string(line.size() - 2, '-') + "\n");
  }
  if (std::find(results.lengths.begin(), results.lengths.end(), results.trained_context) != results.lengths.end())
    out.write(fmt::format("\n  * the length it was trained to: {} tokens\n", grouped(results.trained_context)));

  for (const PositionCurve& curve : results.by_position) {
    out.write(
        fmt::format("\nLoss by position, {} at {} tokens (nats a token)\n", curve.label, grouped(curve.task.length)));
    const std::size_t step = std::max<std::size_t>(1, curve.buckets.size() / 8);
    for (std::size_t i = 0; i < curve.buckets.size(); i += step) {
      const std::size_t last = std::min(i + step, curve.buckets.size()) - 1;
      double sum = 0, tokens = 0;
      for (std::size_t b = i; b <= last; ++b) {
        const auto width = static_cast<double>(curve.buckets[b].end - curve.buckets[b].first);
        sum += curve.buckets[b].mean_nll * width;
        tokens += width;
      }
      out.write(fmt::format("  {:>9} to {:>9}  {:8.4f}\n", grouped(curve.buckets[i].first),
                            grouped(curve.buckets[last].end), sum / tokens));
    }
  }
}

void write_results_json(JsonOut& json, const EvalResults& results) {
  json.begin_object();
  json.key("model").begin_object();
  json.field("path", results.model_path);
  json.field("name", results.model_name);
  json.field("sha256", results.model_sha256);
  json.field("parameters", results.parameters);
  json.field("trained_context", results.trained_context);
  json.field("fingerprint", results.model_fingerprint);
  json.end();
  json.key("text").begin_object();
  json.field("path", results.text_path);
  json.field("sha256", results.text_sha256);
  json.field("bytes", results.text_bytes);
  json.field("tokens", results.text_tokens);
  json.field("begin_token", results.begin_token);
  json.end();
  json.field("dtype", results.dtype);
  json.field("threads", results.threads);
  json.field("processor", results.processor);
  json.field("date", results.date);
  json.field("score", results.score);
  json.field("windows_wanted", results.windows_wanted);
  json.field("lengths", results.lengths);

  json.key("windows").begin_array();
  std::map<std::string, const MeasuredWindow*> specs;
  for (const MeasuredWindow& window : results.windows) {
    const runner::WindowTask& task = window.record.task;
    specs.emplace(window.fingerprint, &window);
    json.begin_object();
    json.field("length", task.length);
    json.field("scaling", task.scaling);
    json.field("factor", task.factor);
    write_position_map(json, task.map);
    json.field("window", task.window);
    json.field("first_token", task.first_token);
    json.field("tokens_seen", window.record.tokens_seen);
    json.field("scored", std::vector<std::int64_t>{task.scored_first, task.scored_end});
    json.field("nll_sum", window.record.nll_sum);
    json.field("tokens_per_second", window.record.tokens_per_second);
    json.field("fingerprint", window.fingerprint);
    json.field("same_as", window.same_as.empty() ? std::optional<std::string>() : window.same_as);
    json.end();
  }
  json.end();

  json.key("specs").begin_array();
  for (const auto& [fingerprint, window] : specs) {
    json.begin_object();
    json.field("fingerprint", fingerprint);
    json.field("spec", window->spec);
    json.end();
  }
  json.end();

  json.key("perplexity").begin_array();
  for (const Series& series : results.series) {
    for (const std::optional<Summary>& point : series.points) {
      if (!point) continue;
      json.begin_object();
      json.field("length", point->length);
      json.field("scaling", point->scaling);
      json.field("factor", point->factor);
      write_position_map(json, point->map);
      json.field("series", series.label);
      json.field("windows", point->windows);
      json.field("perplexity", point->perplexity);
      json.field("standard_error", standard_error(*point));
      json.field("mean_nll", point->mean_nll);
      json.field("nll_standard_deviation", point->spread);
      json.field("tokens_per_second", point->tokens_per_second);
      json.end();
    }
  }
  json.end();

  json.key("by_position").begin_array();
  for (const PositionCurve& curve : results.by_position) {
    json.begin_object();
    json.field("length", curve.task.length);
    json.field("scaling", curve.task.scaling);
    json.field("factor", curve.task.factor);
    write_position_map(json, curve.task.map);
    json.field("series", curve.label);
    json.field("first_token", curve.task.first_token);
    json.key("buckets").begin_array();
    for (const PositionBucket& bucket : curve.buckets) {
      json.begin_object();
      json.field("first", bucket.first);
      json.field("end", bucket.end);
      json.field("mean_nll", bucket.mean_nll);
      json.end();
    }
    json.end();
    json.end();
  }
  json.end();
  json.end();
}

}  // namespace ropewalk::cli
