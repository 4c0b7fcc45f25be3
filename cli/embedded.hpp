#pragma once

#include <string_view>

namespace ropewalk::cli {

// Files whose bytes the build puts into the program (cli/embed.cmake).
extern const std::string_view kChartJs;         ///< Chart.js, from the installed package
extern const std::string_view kReportTemplate;  ///< report_template.html

}  // namespace ropewalk::cli
