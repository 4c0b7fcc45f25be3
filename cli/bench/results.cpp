#include "cli/bench/results.hpp"

#include "cli/json_out.hpp"
#include "cli/units.hpp"

#include <ropewalk/version.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace ropewalk::cli::bench {
namespace {

void write_spread(JsonOut& json, std::string_view name, const Spread& spread) {
  json.key(name).begin_object();
  json.field("median", spread.median);
  json.field("min", spread.min);
  json.field("max", spread.max);
  json.end();
}

std::optional<std::string> known(const std::string& text) { return text.empty() ? std::nullopt : std::optional(text); }

std::string error_text(const std::optional<double>& error) { return error ? fmt::format("{:.1e}", *error) : ""; }

}  // namespace

std::string three_digits(double figure) {
  return figure >= 99.95   ? fmt::format("{:.0f}", figure)
         : figure >= 9.995 ? fmt::format("{:.1f}", figure)
                           : fmt::format("{:.2f}", figure);
}

Spread spread_of(std::vector<double> figures) {
  if (figures.empty()) return {};
  std::sort(figures.begin(), figures.end());
  const std::size_t middle = figures.size() / 2;
  const double median = figures.size() % 2 == 1 ? figures[middle] : (figures[middle - 1] + figures[middle]) / 2;
  return {median, figures.front(), figures.back()};
}

Spread CaseResult::gigabytes_per_second(const Entry& entry) const {
  std::vector<double> figures;
  for (const double seconds : entry.seconds) figures.push_back(static_cast<double>(bytes) / seconds / 1e9);
  return spread_of(std::move(figures));
}

Spread CaseResult::speed_ratio(const Entry& entry, const Entry& other) {
  std::vector<double> figures;
  for (std::size_t round = 0; round < std::min(entry.seconds.size(), other.seconds.size()); ++round)
    figures.push_back(other.seconds[round] / entry.seconds[round]);
  return spread_of(std::move(figures));
}

void write_json(Output& out, const BenchResults& results) {
  JsonOut json(out);
  json.begin_object();
  json.field("format", 1);
  json.field("ropewalk", ROPEWALK_VERSION);
  json.field("when", results.when);
  json.field("extent", results.extent);
  json.field("seconds", results.seconds);
  json.key("machine").begin_object();
  const Machine& machine = results.machine;
  json.field("processor", machine.processor);
  json.field("cores", machine.cores);
  json.key("caches").begin_object();
  for (const Cache& cache : machine.caches) json.field(cache.name, cache.bytes);
  json.end();
  json.field("memory_bytes", machine.memory_bytes);
  json.field("huge_pages", known(machine.huge_pages));
  json.field("system", machine.system);
  json.field("target", machine.target);
  json.field("build", machine.build);
  json.field("load_at_start", results.load_at_start);
  json.field("load_at_end", results.load_at_end);
  json.field("busy", results.busy());
  json.end();
  json.key("method").begin_object();
  json.field("sample_seconds", results.sample_seconds);
  json.field("theta", kTheta);
  json.field("first_position", kFirstPosition);
  json.field("seed", static_cast<std::int64_t>(kSeed));
  json.end();
  json.key("opponents").begin_array();
  for (const OpponentState& opponent : results.opponents) {
    json.begin_object();
    json.field("name", opponent.shown);
    json.field("version", known(opponent.version));
    json.field("unavailable", known(opponent.unavailable));
    json.end();
  }
  json.end();
  json.key("cases").begin_array();
  for (const CaseResult& one : results.cases) {
    const Case& asked = one.asked;
    json.begin_object();
    json.field("id", asked.id());
    json.field("operation", asked.operation);
    json.field("dtype", name_of(asked.dtype));
    json.field("layout", name_of(asked.layout));
    json.field("order", asked.order);
    json.field("tokens", asked.tokens);
    json.field("query_heads", asked.query_heads);
    json.field("key_heads", asked.key_heads);
    json.field("head_dim", asked.head_dim);
    json.field("threads", asked.threads);
    json.field("bytes", one.bytes);
    json.field("ceiling_threads", one.ceiling_threads);
    json.key("contestants").begin_array();
    for (const Entry& entry : one.entries) {
      json.begin_object();
      json.field("name", entry.name);
      json.field("cannot", known(entry.cannot));
      if (entry.cannot.empty()) {
        write_spread(json, "gigabytes_per_second", one.gigabytes_per_second(entry));
        write_spread(json, "of_ceiling", CaseResult::speed_ratio(entry, one.entries[0]));
        write_spread(json, "ropewalk_is_faster_by", CaseResult::speed_ratio(one.entries[1], entry));
        json.field("max_abs_error", entry.max_abs_error);
        json.field("calls_a_sample", entry.calls);
        json.field("cores", spread_of(entry.cores).median);
        json.field("seconds", entry.seconds);
      }
      json.end();
    }
    json.end();
    json.end();
  }
  json.end();
  json.end();
}

void print_head(Output& out, const BenchResults& results) {
  const Machine& machine = results.machine;
  std::string caches;
  for (const Cache& cache : machine.caches)
    caches += fmt::format(", {} {}", cache.name, shown_bytes(static_cast<double>(cache.bytes)));
  out.write(fmt::format("{}, {} core{}{}; {}\n", machine.processor, machine.cores, machine.cores == 1 ? "" : "s",
                        caches, machine.system));
  out.write(fmt::format("ropewalk " ROPEWALK_VERSION ", target {}, {}; load average {:.2f}{}\n", machine.target,
                        machine.build, results.load_at_start,
                        results.busy() ? ": other work ran at the same time" : ""));
  for (const OpponentState& opponent : results.opponents)
    out.write(fmt::format("  {:<14} {}\n", opponent.shown,
                          opponent.unavailable.empty() ? opponent.version : "-  " + opponent.unavailable));
}

void print_table(Output& out, const BenchResults& results) {
  std::string group;
  for (const CaseResult& one : results.cases) {
    const Case& asked = one.asked;
    if (asked.group() != group) {
      group = asked.group();
      out.write(fmt::format("\n{}, {}, {}, {}, {}+{} heads x {}, {} thread{}\n", asked.operation, name_of(asked.dtype),
                            name_of(asked.layout), asked.order, asked.query_heads, asked.key_heads, asked.head_dim,
                            asked.threads, asked.threads == 1 ? "" : "s"));
      out.write(fmt::format("{:>8}  {:<23}  {:>6}  {:<13}  {:>10}  {:>11}  {:>7}\n", "tokens", "", "GB/s", "(min-max)",
                            "of ceiling", "ropewalk is", "error"));
    }
    for (const Entry& entry : one.entries) {
      const std::string tokens = &entry == &one.entries[0] ? grouped(asked.tokens) : "";
      if (!entry.cannot.empty()) {
        out.write(fmt::format("{:>8}  {:<23}  {:>6}  {}\n", tokens, entry.name, "-", entry.cannot));
        continue;
      }
      const Spread speed = one.gigabytes_per_second(entry);
      const bool own = &entry <= &one.entries[1];
      out.write(fmt::format("{:>8}  {:<23}  {:>6}  {:<13}  {:>10.2f}  {:>11}  {:>7}\n", tokens, entry.name,
                            three_digits(speed.median),
                            fmt::format("({}-{})", three_digits(speed.min), three_digits(speed.max)),
                            CaseResult::speed_ratio(entry, one.entries[0]).median,
                            own ? "" : three_digits(CaseResult::speed_ratio(one.entries[1], entry).median) + "x",
                            error_text(entry.max_abs_error)));
    }
  }

  // Each opponent over all cases that it did.
  std::vector<std::string> names;
  std::map<std::string, std::vector<double>> ratios;
  for (const CaseResult& one : results.cases)
    for (std::size_t i = 2; i < one.entries.size(); ++i) {
      const Entry& entry = one.entries[i];
      if (!entry.cannot.empty()) continue;
      if (!ratios.contains(entry.name)) names.push_back(entry.name);
      ratios[entry.name].push_back(CaseResult::speed_ratio(one.entries[1], entry).median);
    }
  if (names.empty()) return;
  out.write(fmt::format("\n{:<28}  {:>5}  {:>7}  {:>7}  {:>7}\n", "ropewalk's speed is that of", "cases", "least",
                        "median", "most"));
  for (const std::string& name : names) {
    const Spread spread = spread_of(ratios[name]);
    out.write(fmt::format("{:<28}  {:>5}  {:>6}x  {:>6}x  {:>6}x\n", name, ratios[name].size(),
                          three_digits(spread.min), three_digits(spread.median), three_digits(spread.max)));
  }
}

}  // namespace ropewalk::cli::bench
