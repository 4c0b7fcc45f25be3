#include "cli/svg_words.hpp"

#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace ropewalk::cli {
namespace {

// Okabe and Ito's palette.
constexpr std::string_view kColours[] = {"#0072b2", "#d55e00", "#009e73", "#b0528c",
                                         "#a37800", "#3a8fc0", "#777777", "#7b5cc4"};
constexpr std::string_view kDashes[] = {"none", "8 4", "2 3", "10 3 2 3", "5 5", "14 4", "2 6", "6 2 2 2"};

}  // namespace

const std::string_view kSvgStyle =
    "<style>text { font: 13px system-ui, sans-serif; fill: #444b55; } .title { font-weight: 600; font-size: 15px; }\n"
    ".grid { stroke: #e1e4e8; }\n"
    "@media (prefers-color-scheme: dark) { text { fill: #b6bdc8; } .grid { stroke: #343a45; } }\n";

std::string_view svg_colour(std::size_t n) { return kColours[n % std::size(kColours)]; }
std::string_view svg_dash(std::size_t n) { return kDashes[n % std::size(kDashes)]; }

std::string svg_escaped(std::string_view text) {
  std::string out;
  for (const char c : one_line(text))
    out += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return out;
}

std::string svg_text(double x, double y, std::string_view anchor, std::string_view kind, const std::string& safe) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" class=\"{}\">{}</text>\n", x, y, anchor, kind,
                     safe);
}

std::string svg_line(double x1, double y1, double x2, double y2, std::string_view kind) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2,
                     kind);
}

std::string svg_names(std::vector<SvgName> names, double x, double lowest) {
  std::sort(names.begin(), names.end(), [](const SvgName& a, const SvgName& b) { return a.y < b.y; });
  for (std::size_t i = 1; i < names.size(); ++i) names[i].y = std::max(names[i].y, names[i - 1].y + 16);
  const double over = names.empty() ? 0 : std::max(0.0, names.back().y - lowest);
  std::string out;
  for (const SvgName& name : names)
    out += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" style=\"fill: {}; font-weight: 600\">{}</text>\n", x,
                       name.y - over + 4.5, svg_colour(name.series), svg_escaped(name.text));
  return out;
}

}  // namespace ropewalk::cli
