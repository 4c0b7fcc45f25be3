#include "cli/bench/picture.hpp"

#include "cli/svg_words.hpp"
#include "cli/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace ropewalk::cli::bench {
namespace {

constexpr double kWidth = 820, kLeft = 66, kRight = 150, kHead = 52, kPanel = 290, kPanelTop = 30, kPanelBottom = 30,
                 kFoot = 34;

struct Panel {
  DType dtype;
  std::vector<const CaseResult*> cases;
};

std::vector<Panel> panels_of(const BenchResults& results, int threads) {
  std::vector<Panel> out;
  for (const CaseResult& one : results.cases) {
    const Case& asked = one.asked;
    if (asked.threads != threads || asked.operation != "in place" || asked.layout != PairLayout::kHalf ||
        asked.order != "bshd" || asked.query_heads != 32)
      continue;
    auto panel = std::find_if(out.begin(), out.end(), [&](const Panel& p) { return p.dtype == asked.dtype; });
    if (panel == out.end()) panel = out.insert(out.end(), Panel{asked.dtype, {}});
    panel->cases.push_back(&one);
  }
  for (Panel& panel : out)
    std::sort(panel.cases.begin(), panel.cases.end(),
              [](const CaseResult* a, const CaseResult* b) { return a->asked.tokens < b->asked.tokens; });
  return out;
}

// The number of a contestant's colour, the same in every panel.
std::vector<std::string> names_of(const std::vector<Panel>& panels) {
  std::vector<std::string> names;
  for (const Panel& panel : panels)
    for (const CaseResult* one : panel.cases)
      for (const Entry& entry : one->entries)
        if (std::find(names.begin(), names.end(), entry.name) == names.end() &&
            entry.name.find(',') == std::string::npos)
          names.push_back(entry.name);
  return names;
}

std::string panel_svg(const Panel& panel, const std::vector<std::string>& names, double top, double low, double high,
                      double fewest, double most) {
  const double pad = fewest < most ? 1.15 : 2.0;
  const LogAxis x{fewest / pad, most * pad, kLeft, kWidth - kRight};
  const LogAxis y{low / 1.25, high * 1.25, top + kPanel - kPanelBottom, top + kPanelTop};
  std::string out = svg_text(kLeft, top + kPanelTop - 9, "start", "title", svg_escaped(name_of(panel.dtype)));
  for (int decade = -4; decade <= 6; ++decade)
    for (const int step : {1, 2, 5}) {
      const double value = step * std::pow(10.0, decade);
      if (value < y.low || value > y.high || (y.high / y.low > 300 && step != 1)) continue;
      out += svg_line(kLeft, y(value), kWidth - kRight, y(value), "grid");
      out += svg_text(kLeft - 9, y(value) + 4.5, "end", "", fmt::format("{:g}", value));
    }
  for (const CaseResult* one : panel.cases) {
    const double at = x(static_cast<double>(one->asked.tokens));
    out += svg_line(at, y.first, at, y.last, "grid");
    out += svg_text(at, y.first + 19, "middle", "", short_tokens(one->asked.tokens));
  }
  std::vector<SvgName> ends;
  for (std::size_t n = 0; n < names.size(); ++n) {
    std::string path, dots;
    double last_y = 0;
    for (const CaseResult* one : panel.cases)
      for (const Entry& entry : one->entries) {
        if (entry.name != names[n] || !entry.cannot.empty()) continue;
        const double at_x = x(static_cast<double>(one->asked.tokens)),
                     at_y = y(one->gigabytes_per_second(entry).median);
        path += fmt::format("{}{:.1f} {:.1f}", path.empty() ? "M" : " L", at_x, at_y);
        dots += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.6\" fill=\"{}\"/>\n", at_x, at_y, svg_colour(n));
        last_y = at_y;
      }
    if (path.empty()) continue;
    out += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2.4\" stroke-dasharray=\"{}\"/>\n{}",
                       path, svg_colour(n), svg_dash(n), dots);
    ends.push_back({last_y, n, names[n]});
  }
  return out + svg_names(std::move(ends), kWidth - kRight + 10, y.first);
}

}  // namespace

std::string speed_svg(const BenchResults& results, int threads) {
  const std::vector<Panel> panels = panels_of(results, threads);
  if (panels.empty()) return {};
  const std::vector<std::string> names = names_of(panels);
  double low = HUGE_VAL, high = 0, fewest = HUGE_VAL, most = 0;
  for (const Panel& panel : panels)
    for (const CaseResult* one : panel.cases) {
      fewest = std::min(fewest, static_cast<double>(one->asked.tokens));
      most = std::max(most, static_cast<double>(one->asked.tokens));
      for (const Entry& entry : one->entries) {
        if (!entry.cannot.empty()) continue;
        const double speed = one->gigabytes_per_second(entry).median;
        low = std::min(low, speed), high = std::max(high, speed);
      }
    }
  const double height = kHead + kPanel * static_cast<double>(panels.size()) + kFoot;
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\">\n"
      "<title>Speed of rotating q and k against tokens</title>\n{}</style>\n",
      kWidth, height, kSvgStyle);
  out += svg_text(
      kLeft, 22, "start", "title",
      fmt::format("GB/s of q and k, read and written once, by tokens: {} thread{}", threads, threads == 1 ? "" : "s"));
  out += svg_text(kLeft, 42, "start", "",
                  svg_escaped(fmt::format("{}, {}; in place, half, 32+8 heads x 128", results.machine.processor,
                                          results.machine.target)));
  for (std::size_t n = 0; n < panels.size(); ++n)
    out += panel_svg(panels[n], names, kHead + kPanel * static_cast<double>(n), low, high, fewest, most);
  out += svg_text((kLeft + kWidth - kRight) / 2, height - 12, "middle", "", "tokens");
  return out + "</svg>\n";
}

}  // namespace ropewalk::cli::bench
