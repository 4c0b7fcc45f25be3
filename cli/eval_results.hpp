#pragma once

#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "runner/evaluator.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ropewalk::cli {

/// One window as measured. Two scalings that turn alike at a length (yarn with factor 1 and none) are run once.
struct MeasuredWindow {
  runner::WindowRecord record;
  std::string same_as;      ///< the scaling whose run this is; empty: its own
  std::string fingerprint;  ///< of the rotation at this length
  std::string spec;         ///< the same, readable
};

/// A curve over length: a scaling as the user asked for it. points[i] belongs to lengths[i]; nothing where not
/// measured.
struct Series {
  std::string label;  ///< "yarn", or "yarn x4" with a factor of its own
  std::vector<std::optional<runner::Summary>> points;
};

/// A loss by position.
struct PositionCurve {
  runner::WindowTask task;
  std::string label;
  std::vector<runner::PositionBucket> buckets;
};

/// All that an evaluation found, and what it was made with, for the table, the JSON, the report and the picture.
struct EvalResults {
  std::string model_path, model_name, model_sha256;
  std::int64_t parameters = 0;
  std::int64_t trained_context = 0;  ///< tokens; 0 if the checkpoint does not say
  std::string model_fingerprint;     ///< of its own positions
  std::string text_path, text_sha256;
  std::int64_t text_tokens = 0, text_bytes = 0;
  std::optional<std::int32_t> begin_token;  ///< what stands in place of every window's first token
  std::int64_t score = 0;
  int windows_wanted = 1;
  std::string dtype;
  int threads = 0;
  std::string processor;
  std::string date;  ///< ISO 8601, local
  std::vector<std::int64_t> lengths;
  std::vector<MeasuredWindow> windows;
  std::vector<Series> series;
  std::vector<PositionCurve> by_position;
};

/// Standard error of a summary's perplexity over its windows, to first order; 0 for one window.
double standard_error(const runner::Summary& summary);

/// "10.62", "3 790", "1.2e+07": a perplexity in at most seven characters.
std::string shown_perplexity(double perplexity);

/// What was measured, in one sentence.
std::string shown_method(const EvalResults& results);

void write_results_table(Output& out, const EvalResults& results);
void write_results_json(JsonOut& json, const EvalResults& results);

}  // namespace ropewalk::cli
