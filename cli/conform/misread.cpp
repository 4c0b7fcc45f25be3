#include "cli/conform/misread.hpp"

#include "cli/conform/self.hpp"

#include <ropewalk/config.hpp>
#include <ropewalk/frequencies.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

namespace ropewalk::cli {
namespace {

using Json = nlohmann::json;

struct Reading {
  Misread encoding;
  std::vector<std::string> keys;  // dotted paths
};

std::optional<Reading> read(const Json& config, const GoldenCase& asked) {
  const auto positions = read_config_json(config.dump(), asked.config_name);
  if (!positions) return std::nullopt;
  const LayerKind* const kind = kind_of(*positions, asked);
  if (kind == nullptr || !kind->spec || kind->spec->second || kind->spec->head_dim != asked.encoding->head_dim)
    return std::nullopt;
  const auto frequencies = make_frequencies(*kind->spec, asked.encoding->running_length.value_or(0));
  if (!frequencies) return std::nullopt;
  Reading out{{}, positions->keys_used};
  for (int pair = 0; pair < kind->spec->pairs(); ++pair) {
    const ChannelPair both = kind->spec->channels(pair);
    out.encoding.first.push_back(both.first);
    out.encoding.second.push_back(both.second);
  }
  out.encoding.axis = kind->spec->axis_of_pair;
  out.encoding.inv_freq = frequencies->inv_freq;
  out.encoding.attention_factor = frequencies->attention_factor;
  if (out.encoding.inv_freq.size() != out.encoding.first.size()) return std::nullopt;  // every axis turns every pair
  return out;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::abs(b); }

template <class A, class B>
bool same(const A& a, const B& b) {
  return a.first == b.first && a.second == b.second && a.axis == b.axis &&
         near(a.attention_factor, b.attention_factor) &&
         std::equal(a.inv_freq.begin(), a.inv_freq.end(), b.inv_freq.begin(), b.inv_freq.end(), near);
}

// The object that holds the key of a dotted path, and the key's own name.
std::pair<Json*, std::string> holder_of(Json& config, const std::string& path) {
  Json* at = &config;
  std::string rest = path;
  for (std::size_t dot; (dot = rest.find('.')) != std::string::npos; rest.erase(0, dot + 1)) {
    const auto inner = at->find(rest.substr(0, dot));
    if (inner == at->end() || !inner->is_object()) return {nullptr, {}};
    at = &*inner;
  }
  return at->contains(rest) ? std::pair{at, rest} : std::pair{nullptr, std::string()};
}

}  // namespace

std::vector<Misread> misread_configs(const GoldenCase& asked) {
  std::vector<Misread> out;
  if (asked.config.contains("gguf")) return out;
  const std::optional<Reading> right = read(asked.config, asked);
  if (!right || !same(right->encoding, *asked.encoding)) return out;
  const auto try_one = [&](const Json& config, std::string words) {
    std::optional<Reading> other = read(config, asked);
    if (!other || same(other->encoding, right->encoding)) return;
    other->encoding.words = std::move(words);
    out.push_back(std::move(other->encoding));
  };
  for (const std::string& path : right->keys) {
    Json config = asked.config;
    const auto [holder, name] = holder_of(config, path);
    if (holder == nullptr || name == "model_type") continue;
    if (name.find("theta") != std::string::npos || name == "rotary_emb_base") {
      const Json& theta = (*holder)[name];
      const std::string said = theta.is_number() ? fmt::format("{:.10g}", theta.get<double>()) : "another";
      (*holder)[name] = 10000.0;
      try_one(config, "theta 10000 (the default) instead of " + said);
    }
    if ((name == "rope_type" || name == "type") && (*holder)[name] == "yarn") {
      const bool whole = !holder->contains("truncate") || (*holder)["truncate"] == true;
      Json other = asked.config;
      (*holder_of(other, path).first)["truncate"] = !whole;
      try_one(other, whole ? "YaRN's ramp between broken pairs where it is widened to whole ones (truncate)"
                           : "YaRN's ramp widened to whole pairs where it is not to be (truncate)");
    }
    holder->erase(name);
    try_one(config, "as if the config had no " + name);
  }
  return out;
}

}  // namespace ropewalk::cli
