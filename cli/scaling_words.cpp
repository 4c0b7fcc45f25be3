#include "cli/scaling_words.hpp"

#include <cmath>

namespace ropewalk::cli {
namespace {

void fields(JsonOut&, const NoScaling&) {}

void fields(JsonOut& json, const LinearOptions& options) { json.field("factor", options.factor); }

void fields(JsonOut& json, const NtkOptions& options) {
  json.field("factor", options.factor);
  json.field("form", options.form == NtkForm::kBase ? "base" : options.form == NtkForm::kFixed ? "fixed" : "mixed");
  json.field("mixed_b", options.mixed_b);
}

void fields(JsonOut& json, const DynamicNtkOptions& options) {
  json.field("factor", options.factor);
  json.field("max_position_embeddings", options.trained_context);
  json.field("growth", options.growth == DynamicGrowth::kRunningLength ? "running_length" : "full_length");
}

void fields(JsonOut& json, const YarnOptions& options) {
  json.field("factor", options.factor);
  json.field("original_max_position_embeddings", options.trained_context);
  json.field("beta_fast", options.beta_fast);
  json.field("beta_slow", options.beta_slow);
  json.field("truncate", options.truncate);
  json.field("attention_factor", options.attention_factor);
  json.field("mscale", options.mscale);
  json.field("mscale_all_dim", options.mscale_all_dim);
  json.field("mscale_rule", options.mscale_rule == MscaleRule::kBoth ? "both" : "numerator");
  json.field("mscale_coefficient", options.mscale_coefficient);
  json.field("extrapolation_factor", options.extrapolation_factor);
  json.field("ramp_guard", options.ramp_guard == RampGuard::kNudge ? "nudge" : "floor");
  json.field("scale_softmax", options.scale_softmax);
}

void fields(JsonOut& json, const LongRopeOptions& options) {
  json.field("factor", options.factor);
  json.field("original_max_position_embeddings", options.trained_context);
  json.field("attention_factor", options.attention_factor);
  json.field("short_factor", options.short_factor);
  json.field("long_factor", options.long_factor);
  json.field("short_mscale", options.short_mscale);
  json.field("long_mscale", options.long_mscale);
  json.field("policy", options.policy == LongRopePolicy::kByLength ? "by_length"
                       : options.policy == LongRopePolicy::kShort  ? "short"
                                                                   : "long");
}

void fields(JsonOut& json, const Llama3Options& options) {
  json.field("factor", options.factor);
  json.field("low_freq_factor", options.low_freq_factor);
  json.field("high_freq_factor", options.high_freq_factor);
  json.field("original_max_position_embeddings", options.trained_context);
}

void fields(JsonOut& json, const ProportionalOptions& options) {
  json.field("factor", options.factor);
  json.field("partial_rotary_factor", options.fraction);
}

void fields(JsonOut& json, const SelfExtend& map) {
  json.field("type", "self-extend");
  json.field("group", map.group);
  json.field("window", map.window);
}

void fields(JsonOut& json, const ReRope& map) {
  const bool leaky = std::isfinite(map.divisor);
  json.field("type", leaky ? "leaky-rerope" : "rerope");
  if (leaky) json.field("divisor", map.divisor);
  json.field("window", map.window);
}

void fields(JsonOut& json, const DualChunk& map) {
  json.field("type", "dual-chunk");
  json.field("chunk_size", map.chunk_size);
  json.field("local_size", map.local_size);
}

void fields(JsonOut& json, const DivisorOptions& options) {
  json.field("factor", options.factor);
  json.field("rope_freqs", options.divisors);
  json.field("attention_factor", options.attention_factor);
}

}  // namespace

void write_scaling(JsonOut& json, const Scaling& scaling) {
  json.begin_object();
  json.field("type", name_of(scaling));
  std::visit([&](const auto& options) { fields(json, options); }, scaling);
  json.end();
}

void write_position_map(JsonOut& json, const std::optional<PositionMap>& map) {
  if (!map) return;
  json.key("map").begin_object();
  std::visit([&](const auto& each) { fields(json, each); }, *map);
  json.end();
}

}  // namespace ropewalk::cli
