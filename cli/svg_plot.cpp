#include "cli/svg_plot.hpp"

#include "cli/svg_words.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace ropewalk::cli {
namespace {

constexpr double kWidth = 820, kHeight = 440, kLeft = 74, kRight = 130, kTop = 44, kBottom = 58;

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
      "{}"
      ".mark {{ stroke: #a14c00; stroke-dasharray: 4 4; }} text.mark {{ fill: #a14c00; stroke: none; }}\n"
      "@media (prefers-color-scheme: dark) {{ .mark {{ stroke: #ffb05c; }} text.mark {{ fill: #ffb05c; }} }}</style>\n",
      kWidth, kHeight, svg_escaped(results.model_name), kSvgStyle);
  out += svg_text(kLeft, 22, "start", "title",
                  fmt::format("Perplexity of {} by context length", svg_escaped(results.model_name)));

  const bool wide = y.high / y.low > 1e3;
  for (int decade = static_cast<int>(std::floor(std::log10(y.low))); decade <= std::ceil(std::log10(y.high));
       ++decade) {
    for (const int step : {1, 2, 5}) {
      const double value = step * std::pow(10.0, decade);
      if (value < y.low || value > y.high || (wide && step != 1)) continue;
      out += svg_line(kLeft, y(value), kWidth - kRight, y(value), "grid");
      out += svg_text(kLeft - 9, y(value) + 4.5, "end", "",
                      value >= 1000 && value < 1e6 ? grouped(std::llround(value))
                      : value < 1e6                ? fmt::format("{:g}", value)
                                                   : fmt::format("{:.0e}", value));
    }
  }
  for (const std::int64_t length : results.lengths) {
    const double at = x(static_cast<double>(length));
    out += svg_line(at, kTop, at, kHeight - kBottom, "grid");
    out += svg_text(at, kHeight - kBottom + 20, "middle", "", short_tokens(length));
  }
  out += svg_text((kLeft + kWidth - kRight) / 2, kHeight - 14, "middle", "", "context, tokens");
  const auto trained = static_cast<double>(results.trained_context);
  if (trained >= x.low && trained <= x.high) {
    const bool right_half = x(trained) > (x.first + x.last) / 2;
    out += svg_line(x(trained), kTop, x(trained), kHeight - kBottom, "mark");
    out += svg_text(x(trained) + (right_half ? -7 : 7), kTop + 12, right_half ? "end" : "start", "mark",
                    fmt::format("trained to {}", grouped(results.trained_context)));
  }

  // Curves, and their names at their ends, pushed apart where they would cover each other.
  std::vector<SvgName> names;
  for (std::size_t s = 0; s < results.series.size(); ++s) {
    const std::string_view colour = svg_colour(s);
    std::string path, dots;
    for (const auto& point : results.series[s].points) {
      if (!point || !std::isfinite(point->perplexity)) continue;
      const double at_x = x(static_cast<double>(point->length)), at_y = y(point->perplexity);
      path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", at_x, at_y);
      dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.6\" fill=\"{}\"/>\n", at_x, at_y, colour);
      if (names.empty() || names.back().series != s) names.push_back({at_y, s, results.series[s].label});
      names.back().y = at_y;
    }
    out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.4\" stroke-dasharray=\"{}\"/>\n{}",
                       path, colour, svg_dash(s), dots);
  }
  out += svg_names(std::move(names), kWidth - kRight + 10, kHeight - kBottom);
  return out + "</svg>\n";
}

}  // namespace ropewalk::cli
