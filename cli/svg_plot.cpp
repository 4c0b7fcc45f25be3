#include "cli/svg_plot.hpp"

#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace ropewalk::cli {
namespace {

constexpr double kWidth = 820, kHeight = 440, kLeft = 74, kRight = 130, kTop = 44, kBottom = 58;
// Okabe and Ito's palette; each colour with its dash, so that none is needed to tell curves apart.
constexpr std::string_view kColours[] = {"#0072b2", "#d55e00", "#009e73", "#b0528c",
                                         "#a37800", "#3a8fc0", "#777777", "#7b5cc4"};
constexpr std::string_view kDashes[] = {"none", "8 4", "2 3", "10 3 2 3", "5 5", "14 4", "2 6", "6 2 2 2"};

// A logarithmic axis: values between low and high fall between the two ends.
struct LogAxis {
  double low, high, first, last;
  double operator()(double value) const {
    return first + (last - first) * std::log(value / low) / std::log(high / low);
  }
};

std::string xml(std::string_view text) {
  std::string out;
  for (const char c : one_line(text))
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

std::string text_at(double x, double y, std::string_view anchor, std::string_view kind, const std::string& safe) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y, anchor, kind,
                     safe);
}

std::string line_from(double x1, double y1, double x2, double y2, std::string_view kind) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2,
                     kind);
}

}  // namespace

std::string results_svg(const EvalResults& results) {
  double low = HUGE_VAL, high = 0;
  for (const Series& series : results.series)
    for (const auto& point : series.points)
      if (point && std::isfinite(point->perplexity))
        low = std::min(low, point->perplexity), high = std::max(high, point->perplexity);
  if (!(low <= high)) low = high = 1;
  const double pad = results.lengths.size() > 1 ? 1.06 : 2.0;
  const LogAxis x{static_cast<double>(results.lengths.front()) / pad, static_cast<double>(results.lengths.back()) * pad,
                  kLeft, kWidth - kRight};
  const LogAxis y{low / 1.25, high * 1.25, kHeight - kBottom, kTop};

  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\">\n"
      "<title>Perplexity of {} against context length</title>\n"
      "<style>text {{ font: 13px system-ui, sans-serif; fill: #444b55; }} .title {{ font-weight: 600; font-size: 15px; "
      "}}\n"
      ".grid {{ stroke: #e1e4e8; }} .mark {{ stroke: #a14c00; stroke-dasharray: 4 4; }} text.mark {{ fill: #a14c00; "
      "stroke: none; }}\n"
      "@media (prefers-color-scheme: dark) {{ text {{ fill: #b6bdc8; }} .grid {{ stroke: #343a45; }} .mark {{ stroke: "
      "#ffb05c; }}\n"
      "text.mark {{ fill: #ffb05c; }} }}</style>\n",
      kWidth, kHeight, xml(results.model_name));
  out +=
      text_at(kLeft, 22, "start", "title", fmt::format("Perplexity of {} by context length", xml(results.model_name)));

  const bool wide = y.high / y.low > 1e3;
  for (int decade = static_cast<int>(std::floor(std::log10(y.low))); decade <= std::ceil(std::log10(y.high));
       ++decade) {
    for (const int step : {1, 2, 5}) {
      const double value = step * std::pow(10.0, decade);
      if (value < y.low || value > y.high || (wide && step != 1)) continue;
      out += line_from(kLeft, y(value), kWidth - kRight, y(value), "grid");
      out += text_at(kLeft - 9, y(value) + 4.5, "end", "",
                     value >= 1000 && value < 1e6 ? grouped(std::llround(value))
                     : value < 1e6                ? fmt::format("{:g}", value)
                                                  : fmt::format("{:.0e}", value));
    }
  }
  for (const std::int64_t length : results.lengths) {
    const double at = x(static_cast<double>(length));
    out += line_from(at, kTop, at, kHeight - kBottom, "grid");
    out += text_at(at, kHeight - kBottom + 20, "middle", "", short_tokens(length));
  }
  out += text_at((kLeft + kWidth - kRight) / 2, kHeight - 14, "middle", "", "context, tokens");
  const auto trained = static_cast<double>(results.trained_context);
  if (trained >= x.low && trained <= x.high) {
    const bool right_half = x(trained) > (x.first + x.last) / 2;
    out += line_from(x(trained), kTop, x(trained), kHeight - kBottom, "mark");
    out += text_at(x(trained) + (right_half ? -7 : 7), kTop + 12, right_half ? "end" : "start", "mark",
                   fmt::format("trained to {}", grouped(results.trained_context)));
  }

  // Curves, and their names at their ends, pushed apart where they would cover each other.
  struct Name {
    double y;
    std::size_t series;
  };
  std::vector<Name> names;
  for (std::size_t s = 0; s < results.series.size(); ++s) {
    const std::string_view colour = kColours[s % std::size(kColours)];
    std::string path, dots;
    for (const auto& point : results.series[s].points) {
      if (!point || !std::isfinite(point->perplexity)) continue;
      const double at_x = x(static_cast<double>(point->length)), at_y = y(point->perplexity);
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", at_x, at_y);
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.6\" fill=\"{}\"/>\n", at_x, at_y, colour);
      if (names.empty() || names.back().series != s) names.push_back({at_y, s});
      names.back().y = at_y;
    }
    out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.4\" stroke-dasharray=\"{}\"/>\n{}",
                       path, colour, kDashes[s % std::size(kDashes)], dots);
  }
  std::sort(names.begin(), names.end(), [](const Name& a, const Name& b) { return a.y < b.y; });
  for (std::size_t i = 1; i < names.size(); ++i) names[i].y = std::max(names[i].y, names[i - 1].y + 16);
  const double over = names.empty() ? 0 : std::max(0.0, names.back().y - (kHeight - kBottom));
  for (const Name& name : names)
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" style=\"fill: {}; font-weight: 600\">{}</text>\n",
                       kWidth - kRight + 10, name.y - over + 4.5, kColours[name.series % std::size(kColours)],
                       xml(results.series[name.series].label));
  return out + "</svg>\n";
}

}  // namespace ropewalk::cli
