#pragma once

#include <string_view>

namespace ropewalk::cli {

// Files whose bytes the build puts into the program (cli/embed.cmake).
extern const std::string_view kChartJs;         ///< Chart.js, from the installed package
extern const std::string_view kReportTemplate;  ///< report_template.html
extern const std::string_view kExplorerPage;    ///< explorer/, put together; empty in a build without it
extern const std::string_view kProbeText;       ///< probe_text.txt: plain English prose of our own

}  // namespace ropewalk::cli
