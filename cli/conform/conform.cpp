// ropewalk conform: the golden suite against somebody else's implementation, or against this library.

#include "cli/conform/cause.hpp"
#include "cli/conform/golden.hpp"
#include "cli/conform/process.hpp"
#include "cli/conform/self.hpp"
#include "cli/json_out.hpp"
#include "cli/output.hpp"
#include "cli/refusal.hpp"
#include "cli/units.hpp"
#include "cli/verbs.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace ropewalk::cli {
namespace {

using Json = nlohmann::json;

struct ConformArgs {
  std::string against, suite, families, out;
  std::string tolerance;
  double timeout = 120;
  bool asks_command = false;  // --against was given, whatever stands behind it
  bool self = false, json = false, requests = false;
};

// What came back for one case.
struct Outcome {
  std::string unsupported;
  Finding finding;
  std::optional<double> wrong_softmax;  // the multiplier that came, if it is not the right one
  bool right() const { return unsupported.empty() && !finding.wrong && !wrong_softmax; }
};

// ---- the protocol

[[noreturn]] void broken(const std::string& what) { refuse("--against", what, Code::kFormat); }

// Python and others write numbers that JSON does not have; they become null, and so "no number".
std::string without_bare_numbers(const std::string& line) {
  if (line.find("NaN") == std::string::npos && line.find("Infinity") == std::string::npos) return line;
  std::string out;
  bool quoted = false;
  for (std::size_t i = 0; i < line.size();) {
    if (quoted && line[i] == '\\' && i + 1 < line.size()) {
      out += line.substr(i, 2);
      i += 2;
      continue;
    }
    if (line[i] == '"') quoted = !quoted;
    bool replaced = false;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
      if (!quoted && line.compare(i, word.size(), word) == 0) {
        out += "null";
        i += word.size();
        replaced = true;
        break;
      }
    if (!replaced) out += line[i++];
  }
  return out;
}

// A line of an answer. What is out of JSON or of double is refused, and so is what is nested deeper than any answer: a
// document's copies and comparisons go as deep as it does.
Json read_line(const std::string& line) {
  if (deepest_nesting(line) > kDeepestJson)
    broken(fmt::format("want a line of JSON at most {} deep, got a deeper one: {}", kDeepestJson,
                       one_line(line.substr(0, 120))));
  try {
    return Json::parse(without_bare_numbers(line));
  } catch (const Json::out_of_range&) {
    broken(fmt::format("want numbers that a double can hold, got one out of its range: {}",
                       one_line(line.substr(0, 120))));
  } catch (const Json::exception&) {
    return Json();
  }
}

// A key that is there and not null: a null is what some languages write for none.
const Json* given(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() || found->is_null() ? nullptr : &*found;
}

Answer read_answer(const Json& y, const GoldenCase& asked) {
  const GoldenEncoding& e = *asked.encoding;
  const std::size_t heads = std::size(kHeadScales), channels = e.x.size();
  Answer out;
  for (const Json& token : y) {
    std::vector<std::vector<double>> rows;
    for (const Json& head : token) {
      std::vector<double> row;
      for (const Json& value : head) {
        if (!value.is_number() && !value.is_null()) broken(fmt::format("{}: want numbers in y", asked.id));
        row.push_back(value.is_null() ? std::numeric_limits<double>::quiet_NaN() : value.get<double>());
      }
      if (row.size() != channels)
        broken(fmt::format("{}: want y with {} channels a head, got {}", asked.id, channels, row.size()));
      rows.push_back(std::move(row));
    }
    if (rows.size() != heads)
      broken(fmt::format("{}: want y with {} heads a token, got {}", asked.id, heads, rows.size()));
    out.push_back(std::move(rows));
  }
  if (out.size() != e.tokens())
    broken(fmt::format("{}: want y with {} tokens, got {}", asked.id, e.tokens(), out.size()));
  return out;
}

Outcome judged(const GoldenCase& asked, const Answer& y, std::optional<double> softmax, Tolerance tolerance,
               const std::vector<const GoldenEncoding*>& siblings) {
  Outcome outcome;
  outcome.finding = compare(asked, y, tolerance, siblings);
  const double wanted = asked.encoding->softmax_scale_multiplier;
  const double near = tolerance == Tolerance::kExact ? 1e-12 : 1e-6;
  if (softmax && !(std::abs(*softmax - wanted) <= near * std::abs(wanted))) outcome.wrong_softmax = softmax;
  return outcome;
}

std::vector<const GoldenEncoding*> encodings_of(const GoldenFamily& family) {
  std::vector<const GoldenEncoding*> out;
  for (const GoldenCase& one : family.cases)
    if (std::find(out.begin(), out.end(), one.encoding.get()) == out.end()) out.push_back(one.encoding.get());
  return out;
}

using Outcomes = std::vector<std::vector<Outcome>>;  // [families][cases]

Outcomes ask_a_command(const ConformArgs& args, const std::vector<GoldenFamily>& families, Tolerance tolerance) {
  struct Place {
    std::size_t family, number;
  };
  Outcomes outcomes;
  std::map<std::string, Place> open;
  std::vector<std::string> order;
  std::vector<std::function<std::string()>> lines;
  std::vector<std::vector<const GoldenEncoding*>> siblings;
  for (std::size_t f = 0; f < families.size(); ++f) {
    outcomes.emplace_back(families[f].cases.size());
    siblings.push_back(encodings_of(families[f]));
    for (std::size_t n = 0; n < families[f].cases.size(); ++n) {
      const GoldenCase& asked = families[f].cases[n];
      if (!open.emplace(asked.id, Place{f, n}).second)
        refuse("--suite", fmt::format("want one case of each name, got {} twice", asked.id));
      order.push_back(asked.id);
      lines.push_back([&asked] { return request_line(asked); });
    }
  }
  const auto take = [&](const std::string& line) {
    const Json json = read_line(line);
    if (!json.is_object() || !json.contains("id") || !json["id"].is_string())
      broken(fmt::format("want a line of JSON with \"id\", got: {}", one_line(line.substr(0, 120))));
    const std::string id = json["id"].get<std::string>();
    const auto found = open.find(id);
    if (found == open.end())
      broken(fmt::format("want an id that was asked and not yet answered, got \"{}\"", one_line(id)));
    const auto [f, n] = found->second;
    open.erase(found);
    const GoldenCase& asked = families[f].cases[n];
    const Json *const y = given(json, "y"), *const why = given(json, "unsupported");
    if (y != nullptr && why != nullptr) broken(fmt::format("{}: want \"y\" or \"unsupported\", got both", id));
    if (why != nullptr) {
      outcomes[f][n].unsupported =
          why->is_string() && !why->get<std::string>().empty() ? one_line(why->get<std::string>()) : "unsupported";
      return open.empty();
    }
    if (y == nullptr || !y->is_array() || (y->empty() && asked.encoding->tokens() > 0))
      broken(fmt::format("{}: want \"y\" or \"unsupported\"", id));
    std::optional<double> softmax;
    if (const auto multiplier = json.find("softmax_scale_multiplier"); multiplier != json.end()) {
      if (!multiplier->is_number())
        broken(fmt::format("{}: want a number as softmax_scale_multiplier, or no such key, got {}", id,
                           one_line(multiplier->dump().substr(0, 40))));
      softmax = multiplier->get<double>();
    }
    outcomes[f][n] = judged(asked, read_answer(*y, asked), softmax, tolerance, siblings[f]);
    return open.empty();
  };
  const auto wanted = [&] {
    for (const std::string& id : order)
      if (open.contains(id)) return fmt::format("{} of {} cases, the first \"{}\"", open.size(), order.size(), id);
    return std::string("nothing");
  };
  exchange_lines(args.against, lines, args.timeout, take, wanted);
  return outcomes;
}

Outcomes ask_self(const std::vector<GoldenFamily>& families, Tolerance tolerance) {
  Outcomes outcomes;
  for (const GoldenFamily& family : families) {
    const auto siblings = encodings_of(family);
    auto& row = outcomes.emplace_back();
    for (const GoldenCase& asked : family.cases) {
      const SelfAnswer answer =
          answer_by_self(asked, tolerance == Tolerance::kExact ? Numerics::kExact : Numerics::kFp32);
      Outcome& outcome = row.emplace_back();
      if (!answer.unsupported.empty())
        outcome.unsupported = answer.unsupported;
      else
        outcome = judged(asked, answer.y, answer.softmax_scale_multiplier, tolerance, siblings);
    }
  }
  return outcomes;
}

// ---- what is said of it

// Cases of one encoding that went wrong in the same way.
struct Trouble {
  const GoldenEncoding* encoding;
  std::vector<std::string> configs;
  std::set<std::string> operands;
  Outcome outcome;
};

struct FamilyReport {
  std::string name, status;
  std::size_t right = 0, wrong = 0, unsupported = 0;
  std::vector<std::string> reasons;  // why something is unsupported, each once
  std::vector<Trouble> troubles;
};

bool alike(const Outcome& a, const Outcome& b) {
  return a.finding.cause == b.finding.cause && a.finding.pairs == b.finding.pairs &&
         a.finding.channels == b.finding.channels && a.finding.first_position == b.finding.first_position &&
         a.finding.last_right == b.finding.last_right && a.wrong_softmax == b.wrong_softmax;
}

FamilyReport report_of(const GoldenFamily& family, const std::vector<Outcome>& outcomes) {
  FamilyReport report;
  report.name = family.name;
  for (std::size_t n = 0; n < outcomes.size(); ++n) {
    const GoldenCase& asked = family.cases[n];
    const Outcome& outcome = outcomes[n];
    if (!outcome.unsupported.empty()) {
      ++report.unsupported;
      if (std::find(report.reasons.begin(), report.reasons.end(), outcome.unsupported) == report.reasons.end())
        report.reasons.push_back(outcome.unsupported);
      continue;
    }
    if (outcome.right()) {
      ++report.right;
      continue;
    }
    ++report.wrong;
    const std::string operand = asked.key ? "key" : "query";
    const auto same = std::find_if(report.troubles.begin(), report.troubles.end(), [&](const Trouble& t) {
      return t.encoding == asked.encoding.get() && alike(t.outcome, outcome);
    });
    if (same == report.troubles.end()) {
      report.troubles.push_back({asked.encoding.get(), {asked.config_name}, {operand}, outcome});
      continue;
    }
    same->operands.insert(operand);
    if (std::find(same->configs.begin(), same->configs.end(), asked.config_name) == same->configs.end())
      same->configs.push_back(asked.config_name);
  }
  report.status = report.wrong > 0 ? "wrong" : report.right > 0 ? "right" : "unsupported";
  return report;
}

// "0-3, 7, 9-12": what follows upon itself is a range.
std::string shown_ranges(const std::vector<int>& numbers) {
  std::string out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i;
    while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
    if (!out.empty()) out += ", ";
    out += end == i ? fmt::format("{}", numbers[i]) : fmt::format("{}-{}", numbers[i], numbers[end]);
    i = end + 1;
  }
  return out.size() <= 60 ? out : out.substr(0, out.rfind(',', 56)) + ", ...";
}

std::string shown_position(double position) {
  return position == std::floor(position) && std::abs(position) < 1e15 ? grouped(static_cast<std::int64_t>(position))
                                                                       : fmt::format("{:g}", position);
}

std::string shown_operands(const std::set<std::string>& operands) {
  return operands.size() == 2 ? "queries and keys" : operands.contains("key") ? "keys only" : "queries only";
}

void print_trouble(Output& out, const Trouble& trouble) {
  const GoldenEncoding& e = *trouble.encoding;
  const Finding& finding = trouble.outcome.finding;
  out.write(fmt::format("  {} ({}; {})\n", e.name, shown_operands(trouble.operands), fmt::join(trouble.configs, "; ")));
  if (finding.wrong) {
    const std::string right =
        finding.last_right ? fmt::format("right up to {}, ", shown_position(*finding.last_right)) : std::string();
    out.write(fmt::format("    {}wrong from position {} on ({} of {} tokens), by up to {:.2g} at {}\n", right,
                          shown_position(finding.first_position), finding.tokens_wrong, e.tokens(),
                          finding.largest_error, shown_position(finding.largest_error_position)));
    if (!finding.pairs.empty())
      out.write(fmt::format("    pairs {} of {}; channels {} of {}\n", shown_ranges(finding.pairs), e.pairs(),
                            shown_ranges(finding.channels), e.head_dim));
    else
      out.write(fmt::format("    channels {} of {}\n", shown_ranges(finding.channels), e.head_dim));
    out.write(fmt::format("    {}\n",
                          finding.cause.empty() ? "no usual mistake explains it" : "looks like: " + finding.cause));
  }
  if (trouble.outcome.wrong_softmax)
    out.write(fmt::format("    softmax scale's multiplier: want {:.9g}, got {:.9g}\n", e.softmax_scale_multiplier,
                          *trouble.outcome.wrong_softmax));
}

void print_reports(Output& out, const std::vector<FamilyReport>& reports, const std::string& who,
                   const std::string& tolerance) {
  std::size_t widest = 6, right = 0, wrong = 0, unsupported = 0;
  for (const FamilyReport& report : reports) {
    widest = std::max(widest, report.name.size());
    right += report.status == "right";
    wrong += report.status == "wrong";
    unsupported += report.status == "unsupported";
  }
  out.write(fmt::format("{}, tolerance {}: {} families right, {} wrong, {} unsupported\n\n", who, tolerance, right,
                        wrong, unsupported));
  out.write(
      fmt::format("{:<{}}  {:<11}  {:>5}  {:>5}  {:>11}\n", "family", widest, "", "right", "wrong", "unsupported"));
  for (const FamilyReport& report : reports)
    out.write(fmt::format("{:<{}}  {:<11}  {:>5}  {:>5}  {:>11}\n", report.name, widest, report.status, report.right,
                          report.wrong, report.unsupported));
  for (const FamilyReport& report : reports) {
    if (report.troubles.empty()) continue;
    out.write(fmt::format("\n{}\n", report.name));
    for (const Trouble& trouble : report.troubles) print_trouble(out, trouble);
  }
  bool first = true;
  for (const FamilyReport& report : reports)
    for (const std::string& reason : report.reasons) {
      if (first) out.write("\nunsupported\n");
      first = false;
      out.write(fmt::format("  {}: {}\n", report.name, reason));
    }
}

void write_reports(Output& out, const std::vector<FamilyReport>& reports, const std::string& who,
                   const std::string& tolerance, const std::string& suite) {
  JsonOut json(out);
  json.begin_object();
  json.field("against", who);
  json.field("tolerance", tolerance);
  json.field("suite", suite);
  json.key("families").begin_array();
  for (const FamilyReport& report : reports) {
    json.begin_object();
    json.field("name", report.name);
    json.field("status", report.status);
    json.field("right", static_cast<std::int64_t>(report.right));
    json.field("wrong", static_cast<std::int64_t>(report.wrong));
    json.field("unsupported", static_cast<std::int64_t>(report.unsupported));
    json.field("reasons", report.reasons);
    json.key("findings").begin_array();
    for (const Trouble& trouble : report.troubles) {
      const Finding& finding = trouble.outcome.finding;
      json.begin_object();
      json.field("encoding", trouble.encoding->name);
      json.field("configs", trouble.configs);
      json.field("operands", std::vector<std::string>(trouble.operands.begin(), trouble.operands.end()));
      json.field("tokens_wrong", static_cast<std::int64_t>(finding.tokens_wrong));
      json.field("last_right_position", finding.last_right);
      json.field("first_position", finding.wrong ? std::optional(finding.first_position) : std::nullopt);
      json.field("pairs", finding.pairs);
      json.field("channels", finding.channels);
      json.field("largest_error", finding.largest_error);
      json.field("largest_error_position",
                 finding.wrong ? std::optional(finding.largest_error_position) : std::nullopt);
      json.field("cause", finding.cause);
      json.field("softmax_scale_multiplier", trouble.outcome.wrong_softmax);
      json.end();
    }
    json.end();
    json.end();
  }
  json.end();
  json.end();
}

int conform(const ConformArgs& args) {
  if (args.self && args.asks_command) refuse("--self", "want either --self or --against, got both");
  if (args.asks_command && args.against.find_first_not_of(" \t\r\n") == std::string::npos)
    refuse("--against", fmt::format("want a command, got \"{}\"", one_line(args.against)));
  if (args.requests && (args.self || args.asks_command || args.json))
    refuse("--requests", fmt::format("want the questions alone, got {} beside it", args.self           ? "--self"
                                                                                   : args.asks_command ? "--against"
                                                                                                       : "--json"));
  if (!(args.timeout > 0)) refuse("--timeout", fmt::format("want seconds > 0, got {:g}", args.timeout));
  const bool self = !args.asks_command;
  const std::string tolerance_name = !args.tolerance.empty() ? args.tolerance : self ? "exact" : "fp32";
  const Tolerance tolerance = tolerance_name == "exact" ? Tolerance::kExact : Tolerance::kFp32;
  const std::string folder = golden_folder(args.suite);
  const std::vector<std::string> names =
      args.families.empty() ? std::vector<std::string>{} : parse_words(args.families, "--families");
  const std::vector<GoldenFamily> families = read_golden(folder, names);
  Output out = Output::to(args.out);
  if (args.requests) {
    for (const GoldenFamily& family : families)
      for (const GoldenCase& asked : family.cases) out.write(request_line(asked) + '\n');
    out.finish();
    return kDone;
  }
  const Outcomes outcomes = self ? ask_self(families, tolerance) : ask_a_command(args, families, tolerance);
  std::vector<FamilyReport> reports;
  std::size_t right = 0, wrong = 0;
  for (std::size_t f = 0; f < families.size(); ++f) {
    reports.push_back(report_of(families[f], outcomes[f]));
    right += reports.back().right;
    wrong += reports.back().wrong;
  }
  const std::string who = self ? "this library" : args.against;
  if (args.json)
    write_reports(out, reports, who, tolerance_name, folder);
  else
    print_reports(out, reports, one_line(who), tolerance_name);
  out.finish();
  return wrong == 0 && right > 0 ? kDone : kFailed;
}

}  // namespace

void add_conform(CLI::App& app, Work& work) {
  CLI::App* verb =
      app.add_subcommand("conform", "the golden suite against any implementation: who is wrong, where and why");
  auto args = std::make_shared<ConformArgs>();
  const CLI::Option* const against =
      verb->add_option(
              "--against", args->against,
              "the implementation: a shell command that reads questions from stdin and writes answers to stdout, one "
              "line of JSON each (docs/conform.md)")
          ->type_name("COMMAND");
  verb->add_flag("--self", args->self, "this library (the default without --against)");
  verb->add_option("--suite", args->suite,
                   "folder of the golden suite (default: tests/golden beside the program or here)")
      ->type_name("DIR");
  verb->add_option("--families", args->families, "only these, with commas between (default: all)")->type_name("LIST");
  verb->add_option(
          "--tolerance", args->tolerance,
          "exact: what the real-number formula and float32 results allow; fp32: phases formed in float32, too, "
          "whose error grows with the position (default: fp32 with --against, exact without)")
      ->check(CLI::IsMember({"exact", "fp32"}))
      ->type_name("exact|fp32");
  verb->add_option("--timeout", args->timeout, "longest silence of the command, in seconds (default 120)")
      ->type_name("SECONDS");
  verb->add_flag("--json", args->json, "the findings as JSON");
  verb->add_flag("--requests", args->requests, "write the questions, ask nobody");
  verb->add_option("--out", args->out, "file to write (default: stdout)")->type_name("FILE");
  verb->footer(
      "Exit codes: 0 everything that was answered is right; 1 something is wrong, or nothing was answered; 2 the input "
      "is "
      "wrong\n(a command that cannot be run, falls silent or breaks the protocol).\n"
      "Examples:\n"
      "  ropewalk conform\n"
      "  ropewalk conform --against 'python examples/conform/transformers_adapter.py'\n"
      "  ropewalk conform --against ./my_engine --families llama3,yarn --tolerance exact --json");
  verb->callback([args, against, &work] {
    args->asks_command = against->count() > 0;
    work = [args] { return conform(*args); };
  });
}

}  // namespace ropewalk::cli
