#pragma once

#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ropewalk::cli {

// What the pictures of curves share.

/// The colour and the dash of curve n: none is needed alone to tell curves apart.
std::string_view svg_colour(std::size_t n);
std::string_view svg_dash(std::size_t n);

/// A logarithmic axis: values between low and high fall between the two ends.
struct LogAxis {
  double low, high, first, last;
  double operator()(double value) const {
    return first + (last - first) * std::log(value / low) / std::log(high / low);
  }
};

/// Opens a <style> with the text, .title and .grid of light and dark pages; "</style>" is still to come.
extern const std::string_view kSvgStyle;

/// Text that is safe between tags.
std::string svg_escaped(std::string_view text);

/// anchor: start, middle or end; kind: the class, which may be empty; safe: escaped already.
std::string svg_text(double x, double y, std::string_view anchor, std::string_view kind, const std::string& safe);
std::string svg_line(double x1, double y1, double x2, double y2, std::string_view kind);

/// A curve's name at its end.
struct SvgName {
  double y;
  std::size_t series;
  std::string text;  ///< not escaped
};

/// The names at x, pushed apart where they would cover each other, none below `lowest`.
std::string svg_names(std::vector<SvgName> names, double x, double lowest);

}  // namespace ropewalk::cli
