#include <ropewalk/spec.hpp>

#include <cstring>
#include <memory>
#include <type_traits>
#include <utility>

#include "capi/handles.hpp"
#include "capi/lists.hpp"
#include "capi/spec_fields.hpp"
#include "capi/structs.hpp"

namespace ropewalk::capi {
namespace {

constexpr std::size_t kMostPairs = 65536;

static_assert(std::is_same_v<std::int32_t, int>);  // lists of int are handed through
static_assert(static_cast<int>(PairLayout::kInterleaved) == RW_LAYOUT_INTERLEAVED &&
              static_cast<int>(PairLayout::kHalf) == RW_LAYOUT_HALF &&
              static_cast<int>(PairLayout::kUnset) == RW_LAYOUT_UNSET);
static_assert(static_cast<int>(Numerics::kExact) == RW_NUMERICS_EXACT &&
              static_cast<int>(Numerics::kFp32) == RW_NUMERICS_FP32);

/// A list whose length follows from three numbers, compared before it is read.
Failure take_block(const double* data, std::size_t count, std::int64_t a, std::int64_t b, std::int64_t c,
                   const Where& where, const char* field, std::vector<double>& to) {
  constexpr double kMost = 1 << 30;
  const double wanted = static_cast<double>(a) * static_cast<double>(b) * static_cast<double>(c);
  if (!(wanted >= 0.0 && wanted <= kMost) || static_cast<double>(count) != wanted)
    return refused((where + field) + "_count", "want " + std::to_string(a) + " x " + std::to_string(b) + " x " +
                                                   std::to_string(c) + ", got " + std::to_string(count));
  return take_list(data, count, count, where, field, to);
}

Failure take_given(const rw_given* pointed, int pairs, std::optional<GivenFrequencies>& to) {
  constexpr Where kWhere{"given"};
  rw_given given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  GivenFrequencies made{.heads = given.heads, .axes = given.axes};
  if (auto failure = take_block(given.inv_freq, given.inv_freq_count, given.heads, given.axes, pairs, kWhere,
                                ".inv_freq", made.inv_freq))
    return failure;
  to = std::move(made);
  return std::nullopt;
}

Failure take_second(const rw_second_angle* pointed, std::optional<SecondAngle>& to) {
  constexpr Where kWhere{"second"};
  rw_second_angle given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  SecondAngle made;
  if (auto failure = take_list(given.rung_of_pair, given.rung_of_pair_count, kMostPairs, kWhere, ".rung_of_pair",
                               made.rung_of_pair))
    return failure;
  if (auto failure = take_list(given.axis_of_pair, given.axis_of_pair_count, kMostPairs, kWhere, ".axis_of_pair",
                               made.axis_of_pair))
    return failure;
  to = std::move(made);
  return std::nullopt;
}

Failure take_xpos(const rw_xpos* pointed, std::optional<XPos>& to) {
  constexpr Where kWhere{"xpos"};
  rw_xpos given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  XPos made{.scale_base = given.scale_base, .gamma = given.gamma};
  if (auto failure = take_flag(given.centre_above, kWhere, ".centre_above", made.centre_above)) return failure;
  if (auto failure = want_reserved(given.reserved, kWhere)) return failure;
  to = made;
  return std::nullopt;
}

Failure take_fourier(const rw_fourier_mix* pointed, std::optional<FourierMix>& to) {
  constexpr Where kWhere{"fourier"};
  rw_fourier_mix given;
  if (auto failure = take_struct(pointed, kWhere, given)) return failure;
  FourierMix made{.heads = given.heads, .tones = given.tones, .outputs = given.outputs};
  if (auto failure = take_block(given.cos_mix, given.cos_mix_count, given.heads, given.tones, given.outputs, kWhere,
                                ".cos_mix", made.cos_mix))
    return failure;
  if (auto failure = take_block(given.sin_mix, given.sin_mix_count, given.heads, given.tones, given.outputs, kWhere,
                                ".sin_mix", made.sin_mix))
    return failure;
  if (auto failure = want_reserved(given.reserved, kWhere)) return failure;
  to = std::move(made);
  return std::nullopt;
}

Failure take_temperature(const rw_query_temperature* pointed, std::optional<QueryTemperature>& to) {
  rw_query_temperature given;
  if (auto failure = take_struct(pointed, Where{"query_temperature"}, given)) return failure;
  to = QueryTemperature{.beta = given.beta, .context = given.context, .offset = given.offset};
  return std::nullopt;
}

Failure take_layout(rw_layout number, const char* field, PairLayout& to) {
  if (number != RW_LAYOUT_INTERLEAVED && number != RW_LAYOUT_HALF && number != RW_LAYOUT_UNSET)
    return refused(field, "want 0 (interleaved), 1 (half) or 255 (unset), got " + std::to_string(number));
  to = static_cast<PairLayout>(number);
  return std::nullopt;
}

Failure take_lists(const rw_spec_fields& given, RotarySpec& to) {
  constexpr Where kWhere{""};
  if (auto failure =
          take_list(given.rung_of_pair, given.rung_of_pair_count, kMostPairs, kWhere, "rung_of_pair", to.rung_of_pair))
    return failure;
  if (auto failure =
          take_list(given.axis_of_pair, given.axis_of_pair_count, kMostPairs, kWhere, "axis_of_pair", to.axis_of_pair))
    return failure;
  if (auto failure = take_list(given.frequency_multipliers, given.frequency_multipliers_count, kMostPairs, kWhere,
                               "frequency_multipliers", to.frequency_multipliers))
    return failure;
  return take_list(given.pair_blocks, given.pair_blocks_count, kMostPairs, kWhere, "pair_blocks", to.pair_blocks);
}

template <class T>
const T* data_of(const std::vector<T>& list) noexcept {
  return list.empty() ? nullptr : list.data();
}

}  // namespace

Failure take_spec(const rw_spec_fields* pointed, RotarySpec& to) {
  rw_spec_fields given;
  if (auto failure = take_struct(pointed, Where{"fields"}, given)) return failure;
  to.head_dim = given.head_dim;
  to.rotary_dim = given.rotary_dim;
  to.rotary_offset = given.rotary_offset;
  to.frequency_dim = given.frequency_dim;
  to.theta = given.theta;
  to.position_scale = given.position_scale;
  to.softmax_scale_multiplier = given.softmax_scale_multiplier;
  if (auto failure = take_layout(given.layout, "layout", to.layout)) return failure;
  if (auto failure = take_layout(given.output_layout, "output_layout", to.output_layout)) return failure;
  if (auto failure = take_enum(given.numerics, Numerics::kFp32, Where{""}, "numerics", to.numerics)) return failure;
  if (auto failure = take_flag(given.clockwise, Where{""}, "clockwise", to.clockwise)) return failure;
  if (auto failure = take_lists(given, to)) return failure;
  if (auto failure = take_scaling(given, to.scaling)) return failure;
  if (given.given != nullptr)
    if (auto failure = take_given(given.given, to.pairs(), to.given)) return failure;
  if (given.second != nullptr)
    if (auto failure = take_second(given.second, to.second)) return failure;
  if (given.xpos != nullptr)
    if (auto failure = take_xpos(given.xpos, to.xpos)) return failure;
  if (given.fourier != nullptr)
    if (auto failure = take_fourier(given.fourier, to.fourier)) return failure;
  if (given.query_temperature != nullptr)
    if (auto failure = take_temperature(given.query_temperature, to.query_temperature)) return failure;
  return validate(to);
}

rw_query_temperature mirror_of(const QueryTemperature& temperature) noexcept {
  rw_query_temperature made = RW_QUERY_TEMPERATURE_INIT;
  made.beta = temperature.beta;
  made.context = temperature.context;
  made.offset = temperature.offset;
  return made;
}

}  // namespace ropewalk::capi

using namespace ropewalk::capi;

rw_spec::rw_spec(ropewalk::RotarySpec made)
    : spec(std::move(made)),
      text(to_string(spec)),
      fields(RW_SPEC_FIELDS_INIT),
      given_(RW_GIVEN_INIT),
      second_(RW_SECOND_ANGLE_INIT),
      xpos_(RW_XPOS_INIT),
      fourier_(RW_FOURIER_MIX_INIT),
      query_temperature_(RW_QUERY_TEMPERATURE_INIT) {
  fields.head_dim = spec.head_dim;
  fields.rotary_dim = spec.rotary_dim;
  fields.rotary_offset = spec.rotary_offset;
  fields.frequency_dim = spec.frequency_dim;
  fields.layout = static_cast<rw_layout>(spec.layout);
  fields.output_layout = static_cast<rw_layout>(spec.output_layout);
  fields.numerics = static_cast<rw_numerics>(spec.numerics);
  fields.clockwise = spec.clockwise;
  fields.theta = spec.theta;
  fields.position_scale = spec.position_scale;
  fields.softmax_scale_multiplier = spec.softmax_scale_multiplier;
  fields.rung_of_pair = data_of(spec.rung_of_pair);
  fields.rung_of_pair_count = spec.rung_of_pair.size();
  fields.axis_of_pair = data_of(spec.axis_of_pair);
  fields.axis_of_pair_count = spec.axis_of_pair.size();
  fields.frequency_multipliers = data_of(spec.frequency_multipliers);
  fields.frequency_multipliers_count = spec.frequency_multipliers.size();
  fields.pair_blocks = data_of(spec.pair_blocks);
  fields.pair_blocks_count = spec.pair_blocks.size();
  mirror_scaling();
  if (spec.given) {
    given_.heads = spec.given->heads;
    given_.axes = spec.given->axes;
    given_.inv_freq = data_of(spec.given->inv_freq);
    given_.inv_freq_count = spec.given->inv_freq.size();
    fields.given = &given_;
  }
  if (spec.second) {
    second_.rung_of_pair = data_of(spec.second->rung_of_pair);
    second_.rung_of_pair_count = spec.second->rung_of_pair.size();
    second_.axis_of_pair = data_of(spec.second->axis_of_pair);
    second_.axis_of_pair_count = spec.second->axis_of_pair.size();
    fields.second = &second_;
  }
  if (spec.xpos) {
    xpos_.scale_base = spec.xpos->scale_base;
    xpos_.gamma = spec.xpos->gamma;
    xpos_.centre_above = spec.xpos->centre_above;
    fields.xpos = &xpos_;
  }
  if (spec.fourier) {
    fourier_.heads = spec.fourier->heads;
    fourier_.tones = spec.fourier->tones;
    fourier_.outputs = spec.fourier->outputs;
    fourier_.cos_mix = data_of(spec.fourier->cos_mix);
    fourier_.cos_mix_count = spec.fourier->cos_mix.size();
    fourier_.sin_mix = data_of(spec.fourier->sin_mix);
    fourier_.sin_mix_count = spec.fourier->sin_mix.size();
    fields.fourier = &fourier_;
  }
  if (spec.query_temperature) {
    query_temperature_ = mirror_of(*spec.query_temperature);
    fields.query_temperature = &query_temperature_;
  }
}

rw_status rw_spec_create(const rw_spec_fields* fields, rw_spec** spec_out, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_place(spec_out, Where{"spec_out"})) return failure;
    ropewalk::RotarySpec made;
    if (auto failure = take_spec(fields, made)) return failure;
    *spec_out = std::make_unique<rw_spec>(std::move(made)).release();
    return std::nullopt;
  });
}

void rw_spec_destroy(rw_spec* spec) { delete spec; }

rw_status rw_spec_get(const rw_spec* spec, rw_spec_fields* fields_out, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(spec, Where{"spec"})) return failure;
    return give_struct(spec->fields, fields_out, Where{"fields_out"});
  });
}

const char* rw_spec_text(const rw_spec* spec) { return spec == nullptr ? "" : spec->text.c_str(); }
int32_t rw_spec_pairs(const rw_spec* spec) { return spec == nullptr ? 0 : spec->spec.pairs(); }
int32_t rw_spec_axes(const rw_spec* spec) { return spec == nullptr ? 0 : spec->spec.axes(); }
int32_t rw_spec_is_rotation(const rw_spec* spec) { return spec != nullptr && spec->spec.is_rotation(); }
int32_t rw_spec_depends_on_length(const rw_spec* spec) {
  return spec != nullptr && depends_on_length(spec->spec.scaling);
}

rw_status rw_spec_channels(const rw_spec* spec, int32_t pair, int32_t* channels_out, char* error, size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(spec, Where{"spec"})) return failure;
    if (auto failure = want_address(channels_out, Where{"channels_out"})) return failure;
    if (pair < 0 || pair >= spec->spec.pairs())
      return refused("pair", "want a number from 0 to " + std::to_string(spec->spec.pairs() - 1) + ", got " +
                                 std::to_string(pair));
    const ropewalk::ChannelPair read = spec->spec.channels(pair), written = spec->spec.output_channels(pair);
    channels_out[0] = read.first;
    channels_out[1] = read.second;
    channels_out[2] = written.first;
    channels_out[3] = written.second;
    return std::nullopt;
  });
}

rw_status rw_spec_fingerprint(const rw_spec* spec, int64_t running_length, char* fingerprint_out, char* error,
                              size_t error_size) {
  return guarded(error, error_size, [&]() -> Failure {
    if (auto failure = want_address(spec, Where{"spec"})) return failure;
    if (auto failure = want_address(fingerprint_out, Where{"fingerprint_out"})) return failure;
    const auto made = fingerprint(spec->spec, running_length);
    if (!made) return made.error();
    write_line(*made, fingerprint_out, RW_FINGERPRINT_SIZE);
    return std::nullopt;
  });
}
