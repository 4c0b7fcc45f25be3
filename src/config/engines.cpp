// What engines make of a checkpoint's words: one function a rule, one list an engine. The rules are the entries B-n of
// docs/divergences.md, which has their sources.

#include <ropewalk/engines.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "math/text.hpp"

namespace ropewalk {
namespace {

struct Case {
  const CheckpointPositions& positions;
  std::int64_t context;  // tokens the engine is configured for, 0 if nobody says
  RotarySpec& spec;
  std::vector<Departure>& departures;

  void departs(std::string_view id, std::string what) const { departures.push_back({id, std::move(what)}); }
  bool is_family(std::string_view begin) const { return positions.family.starts_with(begin); }
};

using Rule = void (*)(const Case&);

template <class Options>
Options* scaling_of(const Case& c) {
  return std::get_if<Options>(&c.spec.scaling);
}

bool is_latent(const RotarySpec& spec) { return spec.rotary_offset > 0; }

// ---- vLLM

void vllm_dynamic_is_static(const Case& c) {
  auto* const dynamic = scaling_of<DynamicNtkOptions>(c);
  if (dynamic == nullptr || dynamic->growth == DynamicGrowth::kFullLength) return;
  dynamic->growth = DynamicGrowth::kFullLength;
  c.departs("B-1", "one base, that of " + math::shown(dynamic->factor * static_cast<double>(dynamic->trained_context)) +
                       " tokens, for prompts of every length");
}

void vllm_longrope_by_configured_length(const Case& c) {
  auto* const longrope = scaling_of<LongRopeOptions>(c);
  if (longrope == nullptr) return;
  const bool is_long = c.context > longrope->trained_context;
  longrope->policy = is_long ? LongRopePolicy::kLong : LongRopePolicy::kShort;
  c.departs("B-2", std::string(is_long ? "the long" : "the short") + " list for prompts of every length, as " +
                       std::to_string(c.context) + " tokens are configured");
  if (longrope->attention_factor || longrope->factor * static_cast<double>(longrope->trained_context) !=
                                        static_cast<double>(c.positions.max_context)) {
    longrope->attention_factor.reset();
    if (c.positions.max_context > longrope->trained_context)
      longrope->factor = static_cast<double>(c.positions.max_context) / static_cast<double>(longrope->trained_context);
    c.departs("B-2", "the factor on cos and sin from max_position_embeddings / original alone");
  }
}

void vllm_deepseek_mscale(const Case& c) {
  auto* const yarn = scaling_of<YarnOptions>(c);
  if (yarn == nullptr || !is_latent(c.spec) || yarn->mscale_rule == MscaleRule::kNumerator) return;
  const YarnOptions before = *yarn;
  yarn->mscale_rule = MscaleRule::kNumerator;
  yarn->truncate = true;
  yarn->attention_factor.reset();
  const bool both = before.mscale != 0.0 && before.mscale_all_dim != 0.0;
  if (both && before.truncate && !before.attention_factor) return;  // the two rules agree
  c.departs("B-5", "the factor on cos and sin is gm(s, mscale or 1) / gm(s, mscale_all_dim or 0)");
}

void vllm_mrope_yarn(const Case& c) {
  auto* const yarn = scaling_of<YarnOptions>(c);
  if (yarn == nullptr || c.spec.axes() < 3) return;
  yarn->trained_context *= 4;
  c.departs("B-7", "YaRN's ramp from four times the original length (seen in one revision)");
}

void vllm_proportional_factor(const Case& c) {
  auto* const proportional = scaling_of<ProportionalOptions>(c);
  if (proportional == nullptr || proportional->factor == 1.0) return;
  proportional->factor = 1.0;
  c.departs("B-13", "no factor");
}

void keys_stay_in_place(const Case& c) {
  if (c.spec.output_layout == PairLayout::kUnset || c.spec.output_layout == c.spec.layout) return;
  c.spec.output_layout = PairLayout::kUnset;
  c.departs("B-14", "results stay in the channels they came from, so that cached keys lie in another order");
}

// ---- llama.cpp

void llama_cpp_no_dynamic(const Case& c) {
  if (scaling_of<DynamicNtkOptions>(c) == nullptr) return;
  c.spec.scaling = NoScaling{};
  c.departs("B-1", "no dynamic type: the base stays what it is");
}

void llama_cpp_longrope(const Case& c) {
  auto* const longrope = scaling_of<LongRopeOptions>(c);
  if (longrope == nullptr) return;
  const bool is_long = c.context > longrope->trained_context;
  longrope->policy = is_long ? LongRopePolicy::kLong : LongRopePolicy::kShort;
  c.departs("B-2", std::string(is_long ? "the long" : "the short") + " list for the life of a context of " +
                       std::to_string(c.context) + " tokens");
}

void llama_cpp_yarn(const Case& c) {
  auto* const yarn = scaling_of<YarnOptions>(c);
  if (yarn == nullptr) return;
  yarn->ramp_guard = RampGuard::kFloor;
  if (!yarn->truncate) {
    yarn->truncate = true;
    c.departs("B-3", "truncate = false is not there: the ramp is widened to whole pairs");
  }
  if ((yarn->beta_fast != 32.0 || yarn->beta_slow != 1.0) && !c.is_family("grok") && !c.is_family("mistral3") &&
      !c.is_family("ministral3")) {
    yarn->beta_fast = 32.0;
    yarn->beta_slow = 1.0;
    c.departs("B-4", "the betas are 32 and 1");
  }
  if (yarn->attention_factor) {
    yarn->attention_factor.reset();
    c.departs("B-5", "attention_factor is not read");
  }
  // gm(s, mu) / gm(s, lambda): lambda is mscale_all_dim, mu is 1, or lambda for DeepSeek-V2 where lambda is not 1.
  const double mu =
      is_latent(c.spec) && yarn->mscale_all_dim != 0.0 && yarn->mscale_all_dim != 1.0 ? yarn->mscale_all_dim : 1.0;
  if (yarn->mscale_all_dim != 0.0 && yarn->mscale != mu) {
    yarn->mscale = mu;
    c.departs("B-5", "mscale is not read, and taken for " + math::shown(mu));
  }
}

void llama_cpp_llama3(const Case& c) {
  constexpr std::int64_t kAssumed = 8192;
  auto* const llama3 = scaling_of<Llama3Options>(c);
  if (llama3 == nullptr || llama3->trained_context == kAssumed) return;
  // A top level that says it says the same: read_positions refuses what does not.
  const auto says_it = [](const std::vector<std::string>& keys) {
    return std::any_of(keys.begin(), keys.end(), [](const std::string& key) {
      return key == "original_max_position_embeddings" || key == "text_config.original_max_position_embeddings";
    });
  };
  if (says_it(c.positions.keys_used) || says_it(c.positions.keys_ignored)) return;
  c.departs("B-10", "the original length is taken from the top level of config.json, 8192 if it is not there, not " +
                        std::to_string(llama3->trained_context));
  llama3->trained_context = kAssumed;
}

// Where h and w have fewer pairs than their third, ggml gives the pairs that are left to its fourth stream, which is 0.
void llama_cpp_leftovers(const Case& c) {
  std::vector<std::uint8_t>& axis = c.spec.axis_of_pair;
  const bool interleaved = axis.size() > 2 && axis[0] == 0 && axis[1] == 1 && axis[2] == 2;
  if (!interleaved) return;
  const auto of = [&](std::uint8_t one) { return static_cast<std::size_t>(std::count(axis.begin(), axis.end(), one)); };
  const std::array<std::size_t, 3> ends = {3 * of(0), 3 * of(1), 3 * of(2)};
  std::string left;
  for (std::size_t j = 0; j < axis.size(); ++j) {
    if (j < ends[j % 3]) continue;
    if (c.spec.frequency_multipliers.empty()) c.spec.frequency_multipliers.assign(axis.size(), 1.0);
    c.spec.frequency_multipliers[j] = 0.0;
    left += (left.empty() ? "" : ", ") + std::to_string(j);
  }
  if (!left.empty()) c.departs("B-8", "pairs " + left + " follow a fourth stream, which is 0: they stand still");
}

// Layers that do not turn. The converter writes neither attn_scale nor floor_scale: both are constants of the code.
void llama_cpp_temperature(const CheckpointPositions& positions, EngineReading& reading) {
  const QueryTemperature constants{.beta = 0.1, .context = 8192, .offset = 1};
  if (!positions.family.starts_with("llama4") || reading.unrotated_query_temperature == constants) return;
  reading.unrotated_query_temperature = constants;
  reading.departures.push_back({"B-25",
                                "queries are multiplied by 1 + 0.1 ln(1 + floor((p + 1) / 8192)) whatever "
                                "attn_temperature_tuning, attn_scale and floor_scale say"});
}

constexpr Rule kVllmRules[] = {vllm_dynamic_is_static, vllm_longrope_by_configured_length, vllm_deepseek_mscale,
                               vllm_mrope_yarn,        vllm_proportional_factor,           keys_stay_in_place};
constexpr Rule kLlamaCppRules[] = {llama_cpp_no_dynamic, llama_cpp_longrope,  llama_cpp_yarn,
                                   llama_cpp_llama3,     llama_cpp_leftovers, keys_stay_in_place};

}  // namespace

std::string_view name_of(Engine engine) noexcept {
  switch (engine) {
    case Engine::kHf: return "hf";
    case Engine::kVllm: return "vllm";
    case Engine::kLlamaCpp: return "llama.cpp";
  }
  return "?";
}

Result<Engine> engine_named(std::string_view name) {
  for (const Engine engine : {Engine::kHf, Engine::kVllm, Engine::kLlamaCpp})
    if (name == name_of(engine)) return engine;
  return Error{Code::kUnsupported, "engine", "want hf, vllm or llama.cpp, got \"" + std::string(name) + "\""};
}

EngineReading read_as(Engine engine, const CheckpointPositions& positions, const LayerKind& kind,
                      const EngineOptions& options) {
  EngineReading reading{kind.spec, {}, kind.unrotated_query_temperature};
  if (!reading.spec) {
    if (engine == Engine::kLlamaCpp) llama_cpp_temperature(positions, reading);
    return reading;
  }
  const Case c{positions, options.context > 0 ? options.context : positions.max_context, *reading.spec,
               reading.departures};
  switch (engine) {
    case Engine::kHf: break;
    case Engine::kVllm:
      for (const Rule rule : kVllmRules) rule(c);
      break;
    case Engine::kLlamaCpp:
      for (const Rule rule : kLlamaCppRules) rule(c);
      break;
  }
  return reading;
}

}  // namespace ropewalk
