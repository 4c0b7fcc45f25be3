// The methods by name.

#include <ropewalk/scaling.hpp>

#include <array>
#include <cmath>

#include "math/text.hpp"

namespace ropewalk {
namespace {

constexpr std::array<std::string_view, 9> kNames = {"none",     "linear", "ntk",          "dynamic", "yarn",
                                                    "longrope", "llama3", "proportional", "divisors"};
static_assert(kNames.size() == std::variant_size_v<Scaling>);

}  // namespace

std::string_view name_of(const Scaling& scaling) noexcept {
  return scaling.valueless_by_exception() ? "?" : kNames[scaling.index()];
}

bool depends_on_length(const Scaling& scaling) noexcept {
  if (const auto* dynamic = std::get_if<DynamicNtkOptions>(&scaling))
    return dynamic->growth == DynamicGrowth::kRunningLength;
  if (const auto* longrope = std::get_if<LongRopeOptions>(&scaling))
    return longrope->policy == LongRopePolicy::kByLength;
  return false;
}

Result<Scaling> make_scaling(std::string_view name, double factor, std::int64_t trained_context) {
  if (!(factor >= 1.0) || !std::isfinite(factor))
    return Error{Code::kInvalid, "factor", "want a number >= 1, got " + math::shown(factor)};
  if (trained_context < 1)
    return Error{Code::kInvalid, "trained_context",
                 "want a number of tokens >= 1, got " + std::to_string(trained_context)};

  if (name == "none") return Scaling{NoScaling{}};
  if (name == "linear") return Scaling{LinearOptions{.factor = factor}};
  if (name == "ntk") return Scaling{NtkOptions{.factor = factor}};
  if (name == "dynamic") return Scaling{DynamicNtkOptions{.factor = factor, .trained_context = trained_context}};
  if (name == "yarn") return Scaling{YarnOptions{.factor = factor, .trained_context = trained_context}};
  return Error{Code::kUnsupported, "scaling",
               "want one of none, linear, ntk, dynamic, yarn, got \"" + std::string(name) + "\""};
}

}  // namespace ropewalk
