#include "cli/report.hpp"

#include "cli/embedded.hpp"
#include "cli/json_out.hpp"
#include "cli/units.hpp"

#include <ropewalk/version.hpp>

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace ropewalk::cli {
namespace {

std::string html(std::string_view text) {
  std::string out;
  for (const char c : one_line(text)) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

// Thousands apart by a narrow space at which no line is broken.
std::string number(std::int64_t count) {
  std::string out;
  for (const char c : grouped(count)) out += c == ' ' ? "&#8239;" : std::string(1, c);
  return out;
}

std::string perplexity_html(double perplexity) {
  std::string out;
  for (const char c : shown_perplexity(perplexity)) out += c == ' ' ? "&#8239;" : std::string(1, c);
  return out;
}

// What the script draws. json_string writes "<" as <, so that nothing in it can end the script element.
std::string chart_data(const EvalResults& results) {
  std::string out;
  JsonOut json(out);
  json.begin_object();
  json.field("trained_context", results.trained_context);
  json.field("lengths", results.lengths);
  json.key("series").begin_array();
  for (const Series& series : results.series) {
    json.begin_object();
    json.field("label", series.label);
    json.key("points").begin_array();
    for (const auto& point : series.points) {
      if (!point) continue;
      json.begin_object();
      json.field("x", point->length);
      json.field("y", point->perplexity);
      json.end();
    }
    json.end();
    json.end();
  }
  json.end();
  json.key("by_position").begin_array();
  for (const PositionCurve& curve : results.by_position) {
    json.begin_object();
    json.field("label", curve.label);
    json.key("points").begin_array();
    for (const runner::PositionBucket& bucket : curve.buckets) {
      json.begin_object();
      json.field("x", 0.5 * static_cast<double>(bucket.first + bucket.end));
      json.field("y", bucket.mean_nll);
      json.end();
    }
    json.end();
    json.end();
  }
  json.end();
  json.end();
  return out;
}

std::string numbers_table(const EvalResults& results) {
  std::string out = fmt::format(
      "<table>\n<caption>Perplexity by context length (tokens) and scaling{}; the best of a row in "
      "bold</caption>\n<thead><tr><th scope=\"col\">context</th>",
      results.windows_wanted > 1 ? ", with one standard error over the places" : "");
  for (const Series& series : results.series) out += fmt::format("<th scope=\"col\">{}</th>", html(series.label));
  out += "</tr></thead>\n<tbody>\n";
  for (std::size_t i = 0; i < results.lengths.size(); ++i) {
    const bool trained = results.lengths[i] == results.trained_context;
    double best = std::numeric_limits<double>::infinity(), worst = 0;
    for (const Series& series : results.series) {
      if (!series.points[i]) continue;
      best = std::min(best, series.points[i]->perplexity);
      worst = std::max(worst, series.points[i]->perplexity);
    }
    out += fmt::format("<tr{}><th scope=\"row\">{}{}</th>", trained ? " class=\"trained\"" : "",
                       number(results.lengths[i]), trained ? " (trained)" : "");
    for (const Series& series : results.series) {
      if (!series.points[i]) {
        out += "<td>-</td>";
        continue;
      }
      const runner::Summary& point = *series.points[i];
      const std::string factor = point.factor == 1 ? "" : fmt::format(" <small>x{:.4g}</small>", point.factor);
      const std::string error =
          point.windows > 1 ? fmt::format(" <small>&plusmn; {}</small>", perplexity_html(standard_error(point))) : "";
      out += fmt::format("<td{}>{}{}{}</td>", point.perplexity == best && worst > best ? " class=\"best\"" : "",
                         perplexity_html(point.perplexity), error, factor);
    }
    out += "</tr>\n";
  }
  return out + "</tbody>\n</table>";
}

// The measured facts in two sentences: what happens without scaling, and what carries furthest.
std::string lead(const EvalResults& results) {
  if (results.lengths.empty() || results.series.empty()) return "";
  const std::size_t last = results.lengths.size() - 1;
  std::string out;
  if (results.trained_context > 0) out += fmt::format("Trained to {} tokens. ", number(results.trained_context));
  const Series* best = nullptr;
  for (const Series& series : results.series) {
    if (series.points[last] && (best == nullptr || series.points[last]->perplexity < best->points[last]->perplexity))
      best = &series;
    if (series.label != "none" || !series.points[0] || !series.points[last] || last == 0) continue;
    out += fmt::format("Without scaling its perplexity goes from {} at {} tokens to {} at {}. ",
                       perplexity_html(series.points[0]->perplexity), number(results.lengths[0]),
                       perplexity_html(series.points[last]->perplexity), number(results.lengths[last]));
  }
  if (best != nullptr && results.series.size() > 1)
    out += fmt::format("The lowest at {} tokens is {} with {}.", number(results.lengths[last]),
                       perplexity_html(best->points[last]->perplexity),
                       best->label == "none" ? "no scaling" : html(best->label));
  return out;
}

std::string facts(const EvalResults& results) {
  std::string out;
  const auto fact = [&](std::string_view name, const std::string& safe) {
    out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, safe);
  };
  double tokens = 0, seconds = 0;
  for (const MeasuredWindow& window : results.windows) {
    if (!window.same_as.empty() || window.record.tokens_per_second <= 0) continue;
    tokens += static_cast<double>(window.record.tokens_seen);
    seconds += static_cast<double>(window.record.tokens_seen) / window.record.tokens_per_second;
  }
  fact("Model", fmt::format("{} ({} parameters), <code>{}</code>", html(results.model_name), number(results.parameters),
                            html(results.model_path)));
  fact("Model SHA-256", "<code>" + results.model_sha256 + "</code>");
  fact("Its positions", "fingerprint <code>" + html(results.model_fingerprint) + "</code>, trained context " +
                            (results.trained_context > 0 ? number(results.trained_context) + " tokens" : "unknown"));
  fact("Text", fmt::format("<code>{}</code>, {} bytes, {} tokens", html(results.text_path), number(results.text_bytes),
                           number(results.text_tokens)));
  fact("Text SHA-256", "<code>" + results.text_sha256 + "</code>");
  fact("Scored", fmt::format("{} tokens at each of {} {}", number(results.score), results.windows_wanted,
                             results.windows_wanted == 1 ? "place" : "places"));
  fact("Arithmetic",
       fmt::format("{} weights and products; sums, norms, rotation and softmax in float32", html(results.dtype)));
  fact("Processor", fmt::format("{}, {} threads", html(results.processor), results.threads));
  if (seconds > 0)
    fact("Speed", fmt::format("{} tokens a second on average, {} in all",
                              number(std::int64_t{std::llround(tokens / seconds)}), shown_seconds(seconds)));
  fact("Date", html(results.date));
  return out;
}

}  // namespace

std::string report_html(const EvalResults& results) {
  const std::map<std::string, std::string, std::less<>> parts = {
      {"TITLE", fmt::format("How far {} carries", html(results.model_name))},
      {"LEAD", lead(results)},
      {"METHOD", html(shown_method(results))},
      {"TABLE", numbers_table(results)},
      {"FACTS", facts(results)},
      {"VERSION", ROPEWALK_VERSION},
      {"DATA", chart_data(results)},
      {"CHART_JS", std::string(kChartJs)},
  };
  // One pass over the template: what is put in is never looked at again, so that no name can stand for another part.
  std::string out;
  for (std::string_view rest = kReportTemplate; !rest.empty();) {
    const std::size_t at = rest.find('@');
    out += rest.substr(0, at);
    if (at == std::string_view::npos) break;
    const std::size_t end = rest.find('@', at + 1);
    const auto part = end == std::string_view::npos ? parts.end() : parts.find(rest.substr(at + 1, end - at - 1));
    if (part == parts.end()) {
      out += '@';
      rest.remove_prefix(at + 1);
    } else {
      out += part->second;
      rest.remove_prefix(end + 1);
    }
  }
  return out;
}

}  // namespace ropewalk::cli
