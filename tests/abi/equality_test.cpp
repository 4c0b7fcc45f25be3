// What C asks for and what C++ asks for is one and the same: texts, fingerprints, frequencies, and every bit of a
// result.
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <numbers>
#include <optional>
#include <vector>

#include "support.hpp"

// tests/abi/first_version.c asks the same of C.
#define RW_STRUCT(type, size) static_assert(sizeof(type) >= (size));
#define RW_FIELD(type, field, offset) static_assert(offsetof(type, field) == (offset));
#define RW_LAST(type, field)
#include "first_version.inc"
#undef RW_STRUCT
#undef RW_FIELD
#undef RW_LAST

namespace {

using namespace abi_test;
using namespace ropewalk;

constexpr std::int64_t kTokens = 5;
constexpr std::int64_t kLengths[] = {0, 1, 9000, 100000};

/// Positions that float products lose: [axes, kTokens].
std::vector<std::int64_t> positions_of(int axes) {
  const std::int64_t stands[kTokens] = {0, 1, -3, (std::int64_t{1} << 36) + 17, 1048575};
  std::vector<std::int64_t> made;
  for (int axis = 0; axis < axes; ++axis)
    for (int t = 0; t < kTokens; ++t) made.push_back(stands[(t + axis) % kTokens] + axis);
  return made;
}

int heads_of(const RotarySpec& spec) {
  return 2 * std::max(spec.given ? spec.given->heads : 1, spec.fourier ? spec.fourier->heads : 1);
}

/// One way and the other, on queries and keys of one dtype.
void expect_same_rotation(const RotarySpec& spec, const rw_spec* handle, std::int64_t length, DType dtype,
                          Direction direction) {
  const auto wanted = Rotary::make(spec, length);
  const RotaryHandle got = rotary_of(handle, length);
  ASSERT_TRUE(wanted);
  ASSERT_TRUE(got);
  const int axes = std::max(spec.axes(), spec.given ? spec.given->axes : 1), heads = heads_of(spec);
  const auto positions = positions_of(axes);
  const std::size_t count = static_cast<std::size_t>(kTokens * heads * spec.head_dim);
  std::vector<std::byte> one(count * size_of(dtype)), other;
  const auto noise = numbers(count);
  if (dtype == DType::kFloat32)
    std::memcpy(one.data(), noise.data(), one.size());
  else
    for (std::size_t i = 0; i < count; ++i) std::memcpy(&one[2 * i], &reinterpret_cast<const char*>(&noise[i])[2], 2);
  other = one;

  const RotaryOperand operand =
      RotaryOperand::in_place(HeadsView::thd(one.data(), dtype, kTokens, heads, spec.head_dim), Role::kQuery);
  const auto where = PositionsView::streams(positions, axes);
  ASSERT_FALSE(wanted->check({&operand, 1}, where));
  wanted->apply({&operand, 1}, where, {.direction = direction});

  ErrorText error;
  const rw_heads_view view = rw_heads_thd(other.data(), static_cast<rw_dtype>(dtype), kTokens, heads, spec.head_dim);
  rw_operand given = rw_in_place(&view);
  given.role = RW_ROLE_QUERY;
  const rw_positions_view at = rw_positions_streams(positions.data(), axes, kTokens);
  rw_call call = RW_CALL_INIT;
  call.direction = static_cast<rw_direction>(direction);
  ASSERT_EQ(rw_rotary_apply(got.get(), &given, 1, &at, &call, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_TRUE(same_bits(one, other)) << to_string(spec);
}

void expect_same_frequencies(const RotarySpec& spec, const rw_spec* handle, std::int64_t length) {
  const auto wanted = make_frequencies(spec, length);
  ASSERT_TRUE(wanted);
  ErrorText error;
  rw_frequencies* made = nullptr;
  ASSERT_EQ(rw_frequencies_create(handle, length, &made, error.data(), error.size()), RW_OK) << error.str();
  const FrequenciesHandle owned(made);
  rw_frequencies_fields got = RW_FREQUENCIES_FIELDS_INIT;
  ASSERT_EQ(rw_frequencies_get(made, &got, error.data(), error.size()), RW_OK) << error.str();
  const auto expect_list = [&](const auto& list, const auto* data, std::size_t count) {
    ASSERT_EQ(list.empty(), data == nullptr);
    if (data == nullptr) return;
    ASSERT_EQ(count, list.size());
    EXPECT_EQ(std::memcmp(data, list.data(), count * sizeof list[0]), 0);
  };
  expect_list(wanted->inv_freq, got.inv_freq, got.count);
  expect_list(wanted->turns_per_token, got.turns_per_token, got.count);
  expect_list(wanted->inv_freq_fp32, got.inv_freq_fp32, got.count);
  expect_list(wanted->second_inv_freq, got.second_inv_freq, got.count);
  expect_list(wanted->second_turns_per_token, got.second_turns_per_token, got.count);
  expect_list(wanted->second_inv_freq_fp32, got.second_inv_freq_fp32, got.count);
  EXPECT_EQ(wanted->attention_factor, got.attention_factor);
  EXPECT_EQ(wanted->softmax_scale_multiplier, got.softmax_scale_multiplier);
  EXPECT_EQ(wanted->centre, got.centre);
}

void expect_same(const RotarySpec& spec, const rw_spec* handle) {
  ErrorText error;
  EXPECT_EQ(to_string(spec), rw_spec_text(handle));
  EXPECT_EQ(spec.pairs(), rw_spec_pairs(handle));
  EXPECT_EQ(spec.axes(), rw_spec_axes(handle));
  EXPECT_EQ(spec.is_rotation(), rw_spec_is_rotation(handle) == 1);
  EXPECT_EQ(depends_on_length(spec.scaling), rw_spec_depends_on_length(handle) == 1);
  for (int pair = 0; pair < spec.pairs(); ++pair) {
    std::int32_t channels[4];
    ASSERT_EQ(rw_spec_channels(handle, pair, channels, error.data(), error.size()), RW_OK) << error.str();
    EXPECT_EQ(spec.channels(pair).first, channels[0]);
    EXPECT_EQ(spec.channels(pair).second, channels[1]);
    EXPECT_EQ(spec.output_channels(pair).first, channels[2]);
    EXPECT_EQ(spec.output_channels(pair).second, channels[3]);
  }
  for (const std::int64_t length : kLengths) {
    char text[RW_FINGERPRINT_SIZE];
    ASSERT_EQ(rw_spec_fingerprint(handle, length, text, error.data(), error.size()), RW_OK) << error.str();
    EXPECT_EQ(*fingerprint(spec, length), text);
    expect_same_frequencies(spec, handle, length);
  }
  expect_same_rotation(spec, handle, 0, DType::kFloat32, Direction::kForward);
  expect_same_rotation(spec, handle, 9000, DType::kBFloat16, Direction::kInverse);
  expect_same_rotation(spec, handle, 9000, DType::kFloat16, Direction::kTranspose);
  if (spec.is_rotation()) expect_same_rotation(spec, handle, 0, DType::kFloat32, Direction::kShift);
}

// ---- Specs by hand --------------------------------------------------------------------------------------------------

constexpr int kHeadDim = 16, kPairs = 8;

RotarySpec plain() {
  return {.head_dim = kHeadDim, .rotary_dim = kHeadDim, .theta = 10000.0, .layout = PairLayout::kHalf};
}

struct Case {
  std::string name;
  RotarySpec spec;
  std::function<void(rw_spec_fields&)> change;  ///< the same change to plain_fields()
};

/// Each member of what `change` points to is set to something that is no default, so that none can be swapped or lost.
std::vector<Case> cases() {
  static const std::vector<double> rising = {1.0, 1.5, 2.0, 3.0, 4.0, 8.0, 16.0, 32.0},
                                   doubled = {2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0, 64.0};
  static const std::vector<std::uint8_t> axes = {0, 0, 0, 1, 1, 1, 2, 2};
  static const std::vector<std::int32_t> rungs = {0, 1, 2, 3, 0, 1, 2, 3}, blocks = {5, 3};
  std::vector<Case> all;
  const auto add = [&](const char* name, auto&& in_cpp, auto&& in_c) {
    RotarySpec spec = plain();
    in_cpp(spec);
    all.push_back({name, spec, in_c});
  };
  const auto add_scaling = [&](const char* name, Scaling scaling, auto&& in_c) {
    add(
        name, [&](RotarySpec& spec) { spec.scaling = scaling; }, in_c);
  };

  add(
      "plain", [](RotarySpec&) {}, [](rw_spec_fields&) {});
  add(
      "partial, behind the head's first, interleaved, clockwise, fp32",
      [](RotarySpec& spec) {
        spec.rotary_dim = 8;
        spec.rotary_offset = 6;
        spec.frequency_dim = 12;
        spec.layout = PairLayout::kInterleaved;
        spec.clockwise = true;
        spec.numerics = Numerics::kFp32;
        spec.theta = 500000.0;
        spec.softmax_scale_multiplier = 1.25;
      },
      [](rw_spec_fields& fields) {
        fields.rotary_dim = 8;
        fields.rotary_offset = 6;
        fields.frequency_dim = 12;
        fields.layout = RW_LAYOUT_INTERLEAVED;
        fields.clockwise = 1;
        fields.numerics = RW_NUMERICS_FP32;
        fields.theta = 500000.0;
        fields.softmax_scale_multiplier = 1.25;
      });
  add(
      "M-RoPE: axes, rungs, multipliers, query temperature",
      [](RotarySpec& spec) {
        spec.axis_of_pair = axes;
        spec.rung_of_pair = rungs;
        spec.frequency_multipliers = rising;
        spec.query_temperature = QueryTemperature{.beta = 0.1, .context = 8192, .offset = 1};
      },
      [](rw_spec_fields& fields) {
        static const rw_query_temperature kTemperature = {sizeof(rw_query_temperature), 0.1, 8192, 1};
        fields.axis_of_pair = axes.data();
        fields.axis_of_pair_count = axes.size();
        fields.rung_of_pair = rungs.data();
        fields.rung_of_pair_count = rungs.size();
        fields.frequency_multipliers = rising.data();
        fields.frequency_multipliers_count = rising.size();
        fields.query_temperature = &kTemperature;
      });
  add(
      "blocks, another scale of positions",
      [](RotarySpec& spec) {
        spec.pair_blocks = blocks;
        spec.position_scale = 2.0 * std::numbers::pi;
      },
      [](rw_spec_fields& fields) {
        fields.pair_blocks = blocks.data();
        fields.pair_blocks_count = blocks.size();
        fields.position_scale = 2.0 * std::numbers::pi;
      });
  add(
      "DeepSeek's order",
      [](RotarySpec& spec) {
        spec.layout = PairLayout::kInterleaved;
        spec.output_layout = PairLayout::kHalf;
      },
      [](rw_spec_fields& fields) {
        fields.layout = RW_LAYOUT_INTERLEAVED;
        fields.output_layout = RW_LAYOUT_HALF;
      });
  add_scaling("linear", LinearOptions{.factor = 3.0}, [](rw_spec_fields& fields) {
    static const rw_linear kLinear = {sizeof(rw_linear), 3.0};
    fields.linear = &kLinear;
  });
  add_scaling("ntk", NtkOptions{.factor = 5.0, .form = NtkForm::kMixed, .mixed_b = 0.5}, [](rw_spec_fields& fields) {
    static const rw_ntk kNtk = {sizeof(rw_ntk), 5.0, RW_NTK_MIXED, 0, 0.5};
    fields.ntk = &kNtk;
  });
  add_scaling("ntk, fixed", NtkOptions{.factor = 5.0, .form = NtkForm::kFixed}, [](rw_spec_fields& fields) {
    static const rw_ntk kNtk = {sizeof(rw_ntk), 5.0, RW_NTK_FIXED, 0, 0.625};
    fields.ntk = &kNtk;
  });
  add_scaling("dynamic ntk", DynamicNtkOptions{.factor = 2.0, .trained_context = 4096}, [](rw_spec_fields& fields) {
    static const rw_dynamic_ntk kDynamic = {sizeof(rw_dynamic_ntk), 2.0, 4096, RW_GROWTH_RUNNING_LENGTH, 0};
    fields.dynamic_ntk = &kDynamic;
  });
  add_scaling("dynamic ntk, vLLM's",
              DynamicNtkOptions{.factor = 2.0, .trained_context = 4096, .growth = DynamicGrowth::kFullLength},
              [](rw_spec_fields& fields) {
                static const rw_dynamic_ntk kDynamic = {sizeof(rw_dynamic_ntk), 2.0, 4096, RW_GROWTH_FULL_LENGTH, 0};
                fields.dynamic_ntk = &kDynamic;
              });
  add_scaling("yarn", YarnOptions{.factor = 4.0, .trained_context = 2048}, [](rw_spec_fields& fields) {
    static rw_yarn yarn = RW_YARN_INIT;
    yarn.factor = 4.0;
    yarn.trained_context = 2048;
    fields.yarn = &yarn;
  });
  add_scaling("yarn, every field",
              YarnOptions{.factor = 40.0,
                          .trained_context = 4096,
                          .beta_fast = 16.0,
                          .beta_slow = 2.0,
                          .truncate = false,
                          .attention_factor = 1.375,
                          .mscale = 0.75,
                          .mscale_all_dim = 0.5,
                          .mscale_rule = MscaleRule::kNumerator,
                          .mscale_coefficient = 0.07,
                          .extrapolation_factor = 0.875,
                          .ramp_guard = RampGuard::kFloor,
                          .scale_softmax = true},
              [](rw_spec_fields& fields) {
                static const rw_yarn kYarn = {
                    sizeof(rw_yarn),     40.0,          4096, 16.0,  2.0, 0, 1, 1.375, 0.75, 0.5,
                    RW_MSCALE_NUMERATOR, RW_RAMP_FLOOR, 0.07, 0.875, 1,   0};
                fields.yarn = &kYarn;
              });
  add_scaling("longrope",
              LongRopeOptions{.short_factor = rising,
                              .long_factor = doubled,
                              .trained_context = 4096,
                              .factor = 32.0,
                              .short_mscale = 1.125,
                              .long_mscale = 1.25},
              [](rw_spec_fields& fields) {
                static rw_longrope longrope = RW_LONGROPE_INIT;
                longrope.short_factor = rising.data();
                longrope.short_factor_count = rising.size();
                longrope.long_factor = doubled.data();
                longrope.long_factor_count = doubled.size();
                longrope.trained_context = 4096;
                longrope.factor = 32.0;
                longrope.has_short_mscale = longrope.has_long_mscale = 1;
                longrope.short_mscale = 1.125;
                longrope.long_mscale = 1.25;
                fields.longrope = &longrope;
              });
  add_scaling("longrope, one list",
              LongRopeOptions{.short_factor = rising,
                              .long_factor = doubled,
                              .trained_context = 4096,
                              .attention_factor = 1.5,
                              .policy = LongRopePolicy::kLong},
              [](rw_spec_fields& fields) {
                static rw_longrope longrope = RW_LONGROPE_INIT;
                longrope.short_factor = rising.data();
                longrope.short_factor_count = rising.size();
                longrope.long_factor = doubled.data();
                longrope.long_factor_count = doubled.size();
                longrope.trained_context = 4096;
                longrope.has_attention_factor = 1;
                longrope.attention_factor = 1.5;
                longrope.policy = RW_LONGROPE_LONG;
                fields.longrope = &longrope;
              });
  add_scaling("llama3",
              Llama3Options{.factor = 16.0, .low_freq_factor = 1.5, .high_freq_factor = 3.0, .trained_context = 8192},
              [](rw_spec_fields& fields) {
                static const rw_llama3 kLlama3 = {sizeof(rw_llama3), 16.0, 1.5, 3.0, 8192};
                fields.llama3 = &kLlama3;
              });
  add_scaling("proportional", ProportionalOptions{.fraction = 0.25, .factor = 8.0}, [](rw_spec_fields& fields) {
    static const rw_proportional kProportional = {sizeof(rw_proportional), 0.25, 8.0};
    fields.proportional = &kProportional;
  });
  add_scaling("divisors", DivisorOptions{.divisors = doubled, .factor = 2.0, .attention_factor = 1.0625},
              [](rw_spec_fields& fields) {
                static rw_divisors divisors = RW_DIVISORS_INIT;
                divisors.divisors = doubled.data();
                divisors.divisors_count = doubled.size();
                divisors.factor = 2.0;
                divisors.attention_factor = 1.0625;
                fields.divisors = &divisors;
              });
  static const std::vector<double> learned = [] {
    std::vector<double> made;
    for (const float number : numbers(2 * 3 * kPairs)) made.push_back(number);
    return made;
  }();
  add(
      "given",
      [](RotarySpec& spec) {
        spec.theta = 0.0;
        spec.given = GivenFrequencies{.heads = 2, .axes = 3, .inv_freq = learned};
      },
      [](rw_spec_fields& fields) {
        static rw_given given = RW_GIVEN_INIT;
        given.heads = 2;
        given.axes = 3;
        given.inv_freq = learned.data();
        given.inv_freq_count = learned.size();
        fields.theta = 0.0;
        fields.given = &given;
      });
  add(
      "second", [](RotarySpec& spec) { spec.second = SecondAngle{.rung_of_pair = rungs, .axis_of_pair = axes}; },
      [](rw_spec_fields& fields) {
        static const rw_second_angle kSecond = {sizeof(rw_second_angle), rungs.data(), rungs.size(), axes.data(),
                                                axes.size()};
        fields.second = &kSecond;
      });
  add(
      "xpos", [](RotarySpec& spec) { spec.xpos = XPos{.scale_base = 256.0, .gamma = 0.5, .centre_above = true}; },
      [](rw_spec_fields& fields) {
        static const rw_xpos kXpos = {sizeof(rw_xpos), 256.0, 0.5, 1, 0};
        fields.xpos = &kXpos;
      });
  static const std::vector<double> cos_mix(learned.begin(), learned.begin() + 2 * 4 * 3),
      sin_mix(learned.begin() + 5, learned.begin() + 5 + 2 * 4 * 3);
  add(
      "fourier",
      [](RotarySpec& spec) {
        spec.fourier = FourierMix{.heads = 2, .tones = 4, .outputs = 3, .cos_mix = cos_mix, .sin_mix = sin_mix};
      },
      [](rw_spec_fields& fields) {
        static rw_fourier_mix mix = RW_FOURIER_MIX_INIT;
        mix.heads = 2;
        mix.tones = 4;
        mix.outputs = 3;
        mix.cos_mix = cos_mix.data();
        mix.cos_mix_count = cos_mix.size();
        mix.sin_mix = sin_mix.data();
        mix.sin_mix_count = sin_mix.size();
        fields.fourier = &mix;
      });
  return all;
}

TEST(Equality, EveryScalingAndEveryFieldOfASpecMeansWhatItMeansInCpp) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    rw_spec_fields fields = plain_fields(kHeadDim);
    one.change(fields);
    const Spec spec = spec_of(fields);
    ASSERT_TRUE(spec);
    expect_same(one.spec, spec.get());
  }
}

TEST(Equality, ASpecThatIsMadeFromItsOwnFieldsIsTheSame) {
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.name);
    ErrorText error;
    rw_spec_fields fields = plain_fields(kHeadDim), back = RW_SPEC_FIELDS_INIT;
    one.change(fields);
    const Spec spec = spec_of(fields);
    ASSERT_EQ(rw_spec_get(spec.get(), &back, error.data(), error.size()), RW_OK) << error.str();
    const Spec again = spec_of(back);
    ASSERT_TRUE(again);
    expect_same(one.spec, again.get());
  }
}

// ---- Every family of the golden suite -------------------------------------------------------------------------------

std::map<std::string, std::string> golden_configs() {
  std::map<std::string, std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(GOLDEN_FOLDER)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream file(entry.path());
    const auto family = nlohmann::json::parse(file);
    for (const auto& [name, config] : family.at("configs").items())
      found[entry.path().stem().string() + ": " + name] = config.at("config").dump();
  }
  return found;
}

void expect_strings(const std::vector<std::string>& wanted, const char* const* got, std::size_t count) {
  ASSERT_EQ(wanted.size(), count);
  for (std::size_t i = 0; i < count; ++i) EXPECT_EQ(wanted[i], got[i]);
}

void expect_same_kind(const LayerKind& wanted, const rw_layer_kind& got) {
  EXPECT_EQ(wanted.name, got.name);
  EXPECT_EQ(wanted.layers, std::vector<int>(got.layers, got.layers + got.layers_count));
  EXPECT_EQ(wanted.head_dim, got.head_dim);
  expect_strings(wanted.streams, got.streams, got.streams_count);
  ASSERT_EQ(wanted.query_temperature().has_value(), got.query_temperature != nullptr);
  if (got.query_temperature != nullptr) {
    EXPECT_EQ(wanted.query_temperature()->beta, got.query_temperature->beta);
    EXPECT_EQ(wanted.query_temperature()->context, got.query_temperature->context);
    EXPECT_EQ(wanted.query_temperature()->offset, got.query_temperature->offset);
  }
  ASSERT_EQ(wanted.spec.has_value(), got.spec != nullptr);
  if (got.spec == nullptr) return;
  ErrorText error;
  EXPECT_EQ(to_string(*wanted.spec), rw_spec_text(got.spec));
  rw_spec_fields fields = RW_SPEC_FIELDS_INIT;
  ASSERT_EQ(rw_spec_get(got.spec, &fields, error.data(), error.size()), RW_OK) << error.str();
  const Spec again = spec_of(fields);
  ASSERT_TRUE(again);
  char text[RW_FINGERPRINT_SIZE];
  ASSERT_EQ(rw_spec_fingerprint(again.get(), 0, text, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(*fingerprint(*wanted.spec, 0), text);
  EXPECT_EQ(to_string(*wanted.spec), rw_spec_text(again.get()));
}

void expect_same_hazards(const CheckpointPositions& wanted, const rw_checkpoint* got, std::int64_t length) {
  ErrorText error;
  rw_hazards* made = nullptr;
  ASSERT_EQ(rw_checkpoint_hazards(got, length, &made, error.data(), error.size()), RW_OK) << error.str();
  const Hazards owned(made);
  const auto hazards = hazards_of(wanted, length);
  ASSERT_EQ(hazards.size(), rw_hazards_count(made));
  for (std::size_t i = 0; i < hazards.size(); ++i) {
    rw_hazard hazard = RW_HAZARD_INIT;
    ASSERT_EQ(rw_hazards_get(made, i, &hazard, error.data(), error.size()), RW_OK) << error.str();
    EXPECT_EQ(hazards[i].kind, hazard.kind);
    EXPECT_EQ(hazards[i].message, hazard.message);
  }
}

void expect_same_checkpoint(const CheckpointPositions& wanted, const rw_checkpoint* got) {
  ErrorText error;
  rw_checkpoint_fields fields = RW_CHECKPOINT_FIELDS_INIT;
  ASSERT_EQ(rw_checkpoint_get(got, &fields, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(wanted.source, fields.source);
  EXPECT_EQ(wanted.model_type, fields.model_type);
  EXPECT_EQ(wanted.family, fields.family);
  EXPECT_EQ(wanted.part, fields.part);
  expect_strings(wanted.parts, fields.parts, fields.parts_count);
  EXPECT_EQ(wanted.trained_context, fields.trained_context);
  EXPECT_EQ(wanted.max_context, fields.max_context);
  EXPECT_EQ(wanted.layer_count, fields.layer_count);
  expect_strings(wanted.keys_used, fields.keys_used, fields.keys_used_count);
  expect_strings(wanted.keys_ignored, fields.keys_ignored, fields.keys_ignored_count);
  expect_strings(wanted.notes, fields.notes, fields.notes_count);
  ASSERT_EQ(wanted.provenance.size(), fields.provenance_count);
  for (std::size_t i = 0; i < fields.provenance_count; ++i) {
    rw_provenance from = RW_PROVENANCE_INIT;
    ASSERT_EQ(rw_checkpoint_provenance(got, i, &from, error.data(), error.size()), RW_OK) << error.str();
    EXPECT_EQ(wanted.provenance[i].what, from.what);
    EXPECT_EQ(wanted.provenance[i].value, from.value);
    EXPECT_EQ(wanted.provenance[i].from, from.from);
  }
  ASSERT_EQ(wanted.kinds.size(), fields.kinds_count);
  for (std::size_t i = 0; i < fields.kinds_count; ++i) {
    rw_layer_kind kind = RW_LAYER_KIND_INIT;
    ASSERT_EQ(rw_checkpoint_kind(got, i, &kind, error.data(), error.size()), RW_OK) << error.str();
    expect_same_kind(wanted.kinds[i], kind);
  }
  char text[RW_FINGERPRINT_SIZE];
  ASSERT_EQ(rw_checkpoint_fingerprint(got, 9000, text, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(*fingerprint(wanted, 9000), text);
  expect_same_hazards(wanted, got, 0);
  expect_same_hazards(wanted, got, 1 << 20);
}

TEST(Equality, EveryConfigOfTheGoldenSuiteReadsAsItDoesInCpp) {
  const auto configs = golden_configs();
  ASSERT_GE(configs.size(), 44u);
  int answered = 0;
  for (const auto& [name, text] : configs)
    for (const Numerics numerics : {Numerics::kExact, Numerics::kFp32}) {
      SCOPED_TRACE(name);
      ErrorText error;
      rw_read_options options = RW_READ_OPTIONS_INIT;
      options.numerics = static_cast<rw_numerics>(numerics);
      rw_checkpoint* made = nullptr;
      const rw_status status =
          rw_checkpoint_from_json(text.data(), text.size(), "a config", &options, &made, error.data(), error.size());
      const Checkpoint owned(made);
      const auto wanted = read_config_json(text, "a config", {.numerics = numerics});
      if (!wanted) {
        EXPECT_EQ(static_cast<int>(wanted.error().code), status);
        EXPECT_EQ(wanted.error().line().substr(0, error.size() - 1), error.str());
        EXPECT_EQ(made, nullptr);
        continue;
      }
      ASSERT_EQ(status, RW_OK) << error.str();
      expect_same_checkpoint(*wanted, made);
      ++answered;
    }
  EXPECT_GE(answered, 88);
}

TEST(Equality, ACheckpointIsReadFromItsPathByPartAndByFamily) {
  const auto folder = std::filesystem::temp_directory_path() / ("ropewalk_abi_" + std::to_string(::getpid()));
  std::filesystem::create_directory(folder);
  std::ofstream(folder / "config.json")
      << R"({"model_type": "no_such_model", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 10000.0,)"
      << R"( "max_position_embeddings": 2048})";
  ErrorText error;
  rw_read_options options = RW_READ_OPTIONS_INIT;
  rw_checkpoint* made = nullptr;
  const std::string path = folder.string();
  EXPECT_EQ(rw_checkpoint_from_path(path.c_str(), nullptr, &made, error.data(), error.size()), RW_UNSUPPORTED);
  EXPECT_EQ(made, nullptr);
  options.family = "llama";
  ASSERT_EQ(rw_checkpoint_from_path(path.c_str(), &options, &made, error.data(), error.size()), RW_OK) << error.str();
  const Checkpoint owned(made);
  expect_same_checkpoint(*read_positions(path, {.family = "llama"}), made);
  options.part = "vision";
  EXPECT_NE(rw_checkpoint_from_path(path.c_str(), &options, &made, error.data(), error.size()), RW_OK);
  EXPECT_EQ(made, nullptr);
  std::filesystem::remove_all(folder);
  EXPECT_EQ(rw_checkpoint_from_path(path.c_str(), nullptr, &made, error.data(), error.size()), RW_UNAVAILABLE);
}

// ---- Tables, coordinates, threads -----------------------------------------------------------------------------------

TEST(Equality, CoordinatesTurnAsInCpp) {
  RotarySpec spec = plain();
  spec.axis_of_pair = {0, 0, 0, 0, 1, 1, 1, 1};
  rw_spec_fields fields = plain_fields(kHeadDim);
  fields.axis_of_pair = spec.axis_of_pair.data();
  fields.axis_of_pair_count = spec.axis_of_pair.size();
  const Spec handle = spec_of(fields);
  const RotaryHandle got = rotary_of(handle.get());
  const auto wanted = Rotary::make(spec);
  const std::vector<double> coordinates = {0.5, -1.25, 1e6 / 3.0, 0.1, 0.2, -0.3};
  auto one = numbers(3 * 2 * kHeadDim), other = one;
  const auto operand = RotaryOperand::in_place(HeadsView::thd(one.data(), DType::kFloat32, 3, 2, kHeadDim));
  wanted->apply({&operand, 1}, CoordinatesView::streams(coordinates, 2));
  ErrorText error;
  const rw_heads_view view = rw_heads_thd(other.data(), RW_FLOAT32, 3, 2, kHeadDim);
  const rw_operand given = rw_in_place(&view);
  const rw_coordinates_view at = rw_coordinates_streams(coordinates.data(), 2, 3);
  ASSERT_EQ(rw_rotary_check_coordinates(got.get(), &given, 1, &at, error.data(), error.size()), RW_OK) << error.str();
  ASSERT_EQ(rw_rotary_apply_coordinates(got.get(), &given, 1, &at, nullptr, error.data(), error.size()), RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(one, other));
}

TEST(Equality, ATableThatIsFilledTurnsLikeTheOperatorItself) {
  const Spec handle = spec_of(plain_fields(kHeadDim));
  const RotaryHandle rotary = rotary_of(handle.get());
  ErrorText error;
  std::int64_t rows[8], positions[kTokens] = {3, 0, 7, 7, 1};
  ASSERT_EQ(rw_positions_from_range(0, 8, rows, 8, error.data(), error.size()), RW_OK) << error.str();
  std::vector<float> cos(8 * kPairs), sin(8 * kPairs), full(8 * 2 * kPairs), half(8 * kPairs);
  const rw_positions_view all = rw_positions_row(rows, 8), at = rw_positions_row(positions, kTokens);
  ASSERT_EQ(rw_rotary_fill_table(rotary.get(), &all, cos.data(), cos.size(), sin.data(), sin.size(), error.data(),
                                 error.size()),
            RW_OK)
      << error.str();
  for (std::size_t i = 0; i < full.size(); ++i) full[i] = cos[i / (2 * kPairs) * kPairs + i % kPairs];
  ASSERT_EQ(
      rw_halve_table(full.data(), full.size(), 8, RW_LAYOUT_HALF, half.data(), half.size(), error.data(), error.size()),
      RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(half, cos));

  rw_cos_sin_table table = RW_COS_SIN_TABLE_INIT;
  table.cos = cos.data();
  table.sin = sin.data();
  table.rows = 8;
  table.row_stride = kPairs;
  auto one = numbers(kTokens * 2 * kHeadDim), other = one;
  const rw_heads_view first = rw_heads_thd(one.data(), RW_FLOAT32, kTokens, 2, kHeadDim),
                      second = rw_heads_thd(other.data(), RW_FLOAT32, kTokens, 2, kHeadDim);
  const rw_operand by_phase = rw_in_place(&first), by_table = rw_in_place(&second);
  ASSERT_EQ(rw_rotary_check_table(rotary.get(), &by_table, 1, &table, &at, RW_FORWARD, error.data(), error.size()),
            RW_OK)
      << error.str();
  ASSERT_EQ(rw_rotary_apply(rotary.get(), &by_phase, 1, &at, nullptr, error.data(), error.size()), RW_OK);
  ASSERT_EQ(rw_rotary_apply_table(rotary.get(), &by_table, 1, &table, &at, nullptr, error.data(), error.size()), RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(one, other));
}

TEST(Equality, ACallersOwnThreadsGetEveryPartOnce) {
  const Spec handle = spec_of(plain_fields(128));
  const RotaryHandle rotary = rotary_of(handle.get());
  constexpr std::int64_t kMany = 600;
  std::vector<std::int64_t> positions(kMany);
  ErrorText error;
  ASSERT_EQ(rw_positions_from_range(-300, kMany, positions.data(), kMany, error.data(), error.size()), RW_OK);
  auto q = numbers(kMany * 8 * 128), k = numbers(kMany * 2 * 128, 7), q_alone = q, k_alone = k;
  const rw_positions_view at = rw_positions_row(positions.data(), kMany);
  const auto turn = [&](std::vector<float>& queries, std::vector<float>& keys, const rw_call* call) {
    const rw_heads_view q_view = rw_heads_bshd(queries.data(), RW_FLOAT32, 1, kMany, 8, 128),
                        k_view = rw_heads_bshd(keys.data(), RW_FLOAT32, 1, kMany, 2, 128);
    const rw_operand operands[] = {rw_in_place(&q_view), rw_in_place(&k_view)};
    ASSERT_EQ(rw_rotary_apply(rotary.get(), operands, 2, &at, call, error.data(), error.size()), RW_OK) << error.str();
  };
  turn(q_alone, k_alone, nullptr);
  int parts_seen = 0;
  rw_call call = RW_CALL_INIT;
  call.threads = 4;
  call.checked = 1;
  call.pool = &parts_seen;
  call.run = [](void* pool, int parts, void (*part)(void*, int), void* argument) {
    for (int i = parts - 1; i >= 0; --i) part(argument, i);
    *static_cast<int*>(pool) += parts;
  };
  turn(q, k, &call);
  EXPECT_EQ(parts_seen, 4);
  EXPECT_TRUE(same_bits(q, q_alone));
  EXPECT_TRUE(same_bits(k, k_alone));
  call.run = nullptr;
  call.threads = 0;
  auto q_openmp = numbers(kMany * 8 * 128), k_openmp = numbers(kMany * 2 * 128, 7);
  turn(q_openmp, k_openmp, &call);
  EXPECT_TRUE(same_bits(q_openmp, q_alone));
}

// ---- Caches ---------------------------------------------------------------------------------------------------------

struct Int8Cache {
  static constexpr std::int64_t kPages = 3, kPageTokens = 4, kHeads = 2;
  std::vector<std::int8_t> keys = std::vector<std::int8_t>(kPages * kPageTokens * kHeads * kHeadDim);
  std::vector<std::uint8_t> values = std::vector<std::uint8_t>(kPages * kPageTokens * kHeads * kHeadDim);
  std::vector<float> scales = std::vector<float>(kPages * kPageTokens * kHeads);

  bool operator==(const Int8Cache& other) const {
    return keys == other.keys && values == other.values && same_bits(scales, other.scales);
  }
};

TEST(Equality, AnInt8CacheIsAppendedShiftedAndReRotatedAsInCpp) {
  YarnOptions yarn{.factor = 4.0, .trained_context = 2048};
  RotarySpec spec = plain();
  spec.scaling = yarn;
  rw_yarn yarn_in_c = RW_YARN_INIT;
  yarn_in_c.factor = 4.0;
  yarn_in_c.trained_context = 2048;
  rw_spec_fields fields = plain_fields(kHeadDim);
  const Spec plain_handle = spec_of(fields);
  fields.yarn = &yarn_in_c;
  const Spec handle = spec_of(fields);
  const auto wanted = Rotary::make(spec);
  const RotaryHandle got = rotary_of(handle.get());

  constexpr std::int64_t kHeads = Int8Cache::kHeads;
  const std::vector<std::int64_t> blocks = {2, 0}, positions = positions_of(1), deltas = {1, -2, 0, 5, 1 << 20};
  const auto keys = numbers(kTokens * kHeads * kHeadDim), values = numbers(kTokens * kHeads * kHeadDim, 3);
  const auto weight = numbers(kHeadDim, 5);
  auto queries = numbers(kTokens * 4 * kHeadDim, 9), queries_in_c = queries;
  Int8Cache one, other;
  ErrorText error;

  // C++.
  const auto slots = *slots_of_pages(blocks, Int8Cache::kPageTokens, 1, kTokens);
  const auto view = [](const std::vector<float>& x, std::int64_t heads) {
    return HeadsView::thd(const_cast<float*>(x.data()), DType::kFloat32, kTokens, heads, kHeadDim);
  };
  const auto cache = CacheView::paged_by_token(one.keys.data(), CacheFormat::kInt8, Int8Cache::kPages,
                                               Int8Cache::kPageTokens, kHeads, kHeadDim, one.scales.data());
  const CacheAppend append_in_cpp{
      .keys = view(keys, kHeads),
      .key_cache = cache,
      .values = view(values, kHeads),
      .value_cache = CacheView::paged_by_head(one.values.data(), CacheFormat::kFloat8E4M3, Int8Cache::kPages,
                                              Int8Cache::kPageTokens, kHeads, kHeadDim),
      .queries = RotaryOperand::in_place(view(queries, 4)),
      .slots = slots,
      .query_norm = {.place = NormPlace::kAfterRotation, .epsilon = 1e-5f},
      .key_norm = {.place = NormPlace::kBeforeRotation, .weight = weight.data(), .weight_plus_one = true}};
  const auto where = PositionsView::row(positions);
  ASSERT_FALSE(check_append(*wanted, append_in_cpp, where));
  append(*wanted, append_in_cpp, where);
  shift(*wanted, cache, slots, PositionsView::row(deltas));
  const auto rerotation = Rerotation::make(spec, 0, plain(), 0);
  rerotation->apply(cache, slots, where);

  // C.
  std::vector<std::int64_t> slots_in_c(kTokens);
  ASSERT_EQ(rw_slots_of_pages(blocks.data(), blocks.size(), Int8Cache::kPageTokens, 1, kTokens, slots_in_c.data(),
                              slots_in_c.size(), error.data(), error.size()),
            RW_OK)
      << error.str();
  EXPECT_EQ(slots, slots_in_c);
  const rw_heads_view key_view = rw_heads_thd(const_cast<float*>(keys.data()), RW_FLOAT32, kTokens, kHeads, kHeadDim),
                      value_view =
                          rw_heads_thd(const_cast<float*>(values.data()), RW_FLOAT32, kTokens, kHeads, kHeadDim),
                      query_view = rw_heads_thd(queries_in_c.data(), RW_FLOAT32, kTokens, 4, kHeadDim);
  const rw_cache_view key_cache = rw_cache_by_token(other.keys.data(), RW_CACHE_INT8, Int8Cache::kPages,
                                                    Int8Cache::kPageTokens, kHeads, kHeadDim, other.scales.data()),
                      value_cache = rw_cache_by_head(other.values.data(), RW_CACHE_FLOAT8_E4M3, Int8Cache::kPages,
                                                     Int8Cache::kPageTokens, kHeads, kHeadDim, nullptr);
  const rw_operand query = rw_in_place(&query_view);
  rw_head_norm query_norm = RW_HEAD_NORM_INIT, key_norm = RW_HEAD_NORM_INIT;
  query_norm.place = RW_NORM_AFTER_ROTATION;
  query_norm.epsilon = 1e-5f;
  key_norm.place = RW_NORM_BEFORE_ROTATION;
  key_norm.weight = weight.data();
  key_norm.weight_plus_one = 1;
  rw_append given = RW_APPEND_INIT;
  given.keys = &key_view;
  given.key_cache = &key_cache;
  given.values = &value_view;
  given.value_cache = &value_cache;
  given.queries = &query;
  given.slots = slots_in_c.data();
  given.slots_count = slots_in_c.size();
  given.query_norm = &query_norm;
  given.key_norm = &key_norm;
  const rw_positions_view at = rw_positions_row(positions.data(), kTokens),
                          by = rw_positions_row(deltas.data(), kTokens);
  ASSERT_EQ(rw_cache_check_append(got.get(), &given, &at, error.data(), error.size()), RW_OK) << error.str();
  ASSERT_EQ(rw_cache_append(got.get(), &given, &at, nullptr, error.data(), error.size()), RW_OK) << error.str();
  ASSERT_EQ(rw_cache_check_shift(got.get(), &key_cache, slots_in_c.data(), kTokens, &by, error.data(), error.size()),
            RW_OK)
      << error.str();
  rw_call call = RW_CALL_INIT;
  call.direction = RW_SHIFT;
  ASSERT_EQ(rw_cache_shift(got.get(), &key_cache, slots_in_c.data(), kTokens, &by, &call, error.data(), error.size()),
            RW_OK)
      << error.str();
  rw_rerotation* made = nullptr;
  ASSERT_EQ(rw_rerotation_create(handle.get(), 0, plain_handle.get(), 0, &made, error.data(), error.size()), RW_OK)
      << error.str();
  const RerotationHandle owned(made);
  EXPECT_EQ(rw_rerotation_gain(made), rerotation->gain());
  ASSERT_EQ(rw_rerotation_check(made, &key_cache, slots_in_c.data(), kTokens, &at, error.data(), error.size()), RW_OK);
  ASSERT_EQ(rw_rerotation_apply(made, &key_cache, slots_in_c.data(), kTokens, &at, nullptr, error.data(), error.size()),
            RW_OK)
      << error.str();
  EXPECT_TRUE(one == other);
  EXPECT_FALSE(one == Int8Cache{}) << "nothing was stored";
  EXPECT_TRUE(same_bits(queries, queries_in_c));

  // And on keys that are no cache's.
  rerotation->apply(view(queries, 4), where);
  ASSERT_EQ(rw_rerotation_check_heads(made, &query_view, &at, error.data(), error.size()), RW_OK) << error.str();
  ASSERT_EQ(rw_rerotation_apply_heads(made, &query_view, &at, nullptr, error.data(), error.size()), RW_OK);
  EXPECT_TRUE(same_bits(queries, queries_in_c));
}

// ---- What is left ---------------------------------------------------------------------------------------------------

TEST(Equality, BuildersOfPositionsGiveWhatTheyGiveInCpp) {
  ErrorText error;
  const auto expect = [&](const Result<std::vector<std::int64_t>>& wanted, auto&& build) {
    ASSERT_TRUE(wanted);
    std::vector<std::int64_t> got(wanted->size(), -77);
    ASSERT_EQ(build(got.data(), got.size()), RW_OK) << error.str();
    EXPECT_EQ(*wanted, got);
    got.push_back(-77);
    EXPECT_EQ(build(got.data(), got.size()), RW_INVALID);
    EXPECT_EQ(error.str(),
              "positions_count: want " + std::to_string(wanted->size()) + ", got " + std::to_string(got.size()));
    EXPECT_EQ(got.back(), -77);
  };
  expect(positions_from_range(-2, 5), [&](std::int64_t* to, std::size_t count) {
    return rw_positions_from_range(-2, 5, to, count, error.data(), error.size());
  });
  const std::int64_t offsets[] = {3, 10}, ends[] = {0, 3, 8};
  expect(positions_from_offsets(offsets, 2, 3), [&](std::int64_t* to, std::size_t count) {
    return rw_positions_from_offsets(offsets, 2, 2, 3, to, count, error.data(), error.size());
  });
  expect(positions_from_cu_seqlens(ends), [&](std::int64_t* to, std::size_t count) {
    return rw_positions_from_cu_seqlens(ends, 3, nullptr, 0, to, count, error.data(), error.size());
  });
  expect(positions_from_cu_seqlens(ends, offsets), [&](std::int64_t* to, std::size_t count) {
    return rw_positions_from_cu_seqlens(ends, 3, offsets, 2, to, count, error.data(), error.size());
  });
  const std::uint8_t mask[] = {0, 0, 1, 1, 1, 1, 0, 1};
  expect(positions_from_mask(mask, 2, -1), [&](std::int64_t* to, std::size_t count) {
    return rw_positions_from_mask(mask, 8, 2, -1, to, count, error.data(), error.size());
  });
  for (const ShardScheme scheme : {ShardScheme::kContiguous, ShardScheme::kZigzag})
    expect(positions_for_rank(16, 2, 1, scheme, 100), [&](std::int64_t* to, std::size_t count) {
      return rw_positions_for_rank(16, 2, 1, static_cast<rw_shard_scheme>(scheme), 100, to, count, error.data(),
                                   error.size());
    });
}

TEST(Equality, RowsOfWeightsArePermutedAsInCpp) {
  rw_relayout relayout = RW_RELAYOUT_INIT;
  relayout.from = RW_LAYOUT_HALF;
  relayout.to = RW_LAYOUT_INTERLEAVED;
  relayout.head_dim = 10;
  relayout.rotary_dim = 8;
  relayout.rotary_offset = 1;
  const HeadChannels head{10, 8, 1};
  ErrorText error;
  std::vector<std::int32_t> order(10);
  ASSERT_EQ(rw_channel_order(&relayout, order.data(), order.size(), error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(*channel_order(PairLayout::kHalf, PairLayout::kInterleaved, head), order);
  const auto weights = numbers(3 * 10 * 2);
  std::vector<float> one(weights.size()), other(weights.size());
  ASSERT_FALSE(permute_rows(PairLayout::kHalf, PairLayout::kInterleaved, head, 3, 8, std::as_bytes(std::span(weights)),
                            std::as_writable_bytes(std::span(one))));
  ASSERT_EQ(rw_permute_rows(&relayout, 3, 8, weights.data(), weights.size() * 4, other.data(), other.size() * 4,
                            error.data(), error.size()),
            RW_OK)
      << error.str();
  EXPECT_TRUE(same_bits(one, other));
}

TEST(Equality, TheLengthBehindADynamicBaseMovesAsInCpp) {
  for (const DynamicReset reset : {DynamicReset::kBelowTrained, DynamicReset::kNever}) {
    DynamicLength wanted(4096, reset);
    ErrorText error;
    rw_dynamic_length* got = nullptr;
    ASSERT_EQ(rw_dynamic_length_create(4096, static_cast<rw_dynamic_reset>(reset), &got, error.data(), error.size()),
              RW_OK)
        << error.str();
    const LengthHandle owned(got);
    for (const std::int64_t running : {100, 10000, 6000, 4096, 4095, 5000, 0}) {
      std::int64_t length = 0;
      ASSERT_EQ(rw_dynamic_length_observe(got, running, &length, error.data(), error.size()), RW_OK) << error.str();
      EXPECT_EQ(wanted.observe(running), length);
      EXPECT_EQ(wanted.length(), rw_dynamic_length_current(got));
      EXPECT_EQ(wanted.epoch(), rw_dynamic_length_epoch(got));
    }
  }
}

TEST(Equality, PhasesAreThoseOfCppAtAnyPosition) {
  const std::vector<std::int64_t> positions{0, 1, -7, std::int64_t{1} << 62, INT64_MIN};
  const rw_positions_view view = rw_positions_row(positions.data(), static_cast<std::int64_t>(positions.size()));
  for (const rw_numerics numerics : {RW_NUMERICS_EXACT, RW_NUMERICS_FP32}) {
    rw_spec_fields fields = plain_fields(kHeadDim);
    fields.numerics = numerics;
    const Spec spec = spec_of(fields);
    const RotaryHandle rotary = rotary_of(spec.get());
    RotarySpec same = plain();
    same.numerics = static_cast<Numerics>(numerics);
    std::vector<Turns> wanted(positions.size() * static_cast<std::size_t>(same.pairs())), got(wanted.size());
    fill_turns(same, *make_frequencies(same), PositionsView::row(positions), wanted.data());
    ErrorText error;
    ASSERT_EQ(rw_rotary_fill_turns(rotary.get(), &view, got.data(), got.size(), error.data(), error.size()), RW_OK)
        << error.str();
    EXPECT_EQ(wanted, got);
  }
}

TEST(Equality, SinusoidsAreThoseOfCpp) {
  const std::vector<std::int64_t> positions{0, 1, 5, 1 << 20};
  const rw_positions_view view = rw_positions_row(positions.data(), 4);
  for (const SinusoidOrder order : {SinusoidOrder::kInterleaved, SinusoidOrder::kConcatenated,
                                    SinusoidOrder::kInterleavedCosFirst, SinusoidOrder::kConcatenatedCosFirst})
    for (const SinusoidExponent exponent : {SinusoidExponent::kPaper, SinusoidExponent::kTensor2Tensor}) {
      SinusoidalSpec spec{.dim = 10, .theta = 500.0, .order = order, .exponent = exponent};
      spec.position_offset = 2;
      spec.zero_position = 3;
      spec.gain = 0.5;
      rw_sinusoidal_fields fields = RW_SINUSOIDAL_FIELDS_INIT;
      fields.dim = 10;
      fields.theta = 500.0;
      fields.order = static_cast<rw_sinusoid_order>(order);
      fields.exponent = static_cast<rw_sinusoid_exponent>(exponent);
      fields.position_offset = 2;
      fields.has_zero_position = 1;
      fields.zero_position = 3;
      fields.gain = 0.5;
      ErrorText error;
      rw_sinusoidal* made = nullptr;
      ASSERT_EQ(rw_sinusoidal_create(&fields, &made, error.data(), error.size()), RW_OK) << error.str();
      const SinusoidalHandle owned(made);
      const Sinusoidal wanted = *Sinusoidal::make(spec);
      std::size_t count = 0;
      const double* const inv_freq = rw_sinusoidal_inv_freq(made, &count);
      EXPECT_EQ(std::vector<double>(wanted.inv_freq().begin(), wanted.inv_freq().end()),
                std::vector<double>(inv_freq, inv_freq + count));
      std::vector<float> one(40), other(40, 9.0f);
      wanted.fill(EmbeddingsView::contiguous(one.data(), DType::kFloat32, 1, 4, 10), PositionsView::row(positions));
      ASSERT_EQ(rw_sinusoidal_fill(made, &view, other.data(), 40, error.data(), error.size()), RW_OK) << error.str();
      EXPECT_TRUE(same_bits(one, other));
      EXPECT_EQ(other[10], 0.0f);  // position 1 with its offset is the zero one
      EXPECT_EQ(other[11], 0.0f);
    }
}

TEST(Equality, BiasesAreThoseOfCpp) {
  const std::vector<std::int64_t> queries{0, 5, 1000, INT64_MAX}, keys{7, 0, 3};
  ErrorText error;
  const auto expect = [&](const BiasSpec& spec, rw_status status, rw_bias* made) {
    ASSERT_EQ(status, RW_OK) << error.str();
    const BiasHandle owned(made);
    const ScoreBias wanted = *ScoreBias::make(spec);
    ASSERT_EQ(rw_bias_heads(made), wanted.heads());
    std::vector<float> one(static_cast<std::size_t>(wanted.heads()) * 12), other(one.size());
    wanted.fill(BiasAxis::of(queries), BiasAxis::of(keys), BiasView::contiguous(one.data(), 4, 3));
    ASSERT_EQ(
        rw_bias_fill(made, queries.data(), 4, keys.data(), 3, other.data(), other.size(), error.data(), error.size()),
        RW_OK)
        << error.str();
    EXPECT_TRUE(same_bits(one, other));
    EXPECT_EQ(rw_bias_fill(made, nullptr, 0, keys.data(), 3, nullptr, 0, error.data(), error.size()), RW_OK);
  };
  for (const bool symmetric : {false, true}) {
    rw_alibi alibi = RW_ALIBI_INIT;
    alibi.heads = 6;
    alibi.symmetric = symmetric;
    rw_bias* made = nullptr;
    rw_status status = rw_bias_create_alibi(&alibi, &made, error.data(), error.size());
    expect(AlibiBias{.heads = 6, .symmetric = symmetric}, status, made);
    const std::vector<double> slopes{1, 0.5, 0, 2, 3, 4};
    alibi.slopes = slopes.data();
    alibi.slopes_count = slopes.size();
    status = rw_bias_create_alibi(&alibi, &made, error.data(), error.size());
    expect(AlibiBias{.heads = 6, .symmetric = symmetric, .slopes = slopes}, status, made);
  }
  std::vector<double> slopes(6);
  ASSERT_EQ(rw_alibi_slopes(6, 4.0, slopes.data(), 6, error.data(), error.size()), RW_OK) << error.str();
  EXPECT_EQ(slopes, *alibi_slopes(6, 4.0));
  for (const bool causal : {false, true}) {
    const std::vector<float> table = numbers(16 * 2);
    rw_t5 t5 = RW_T5_INIT;
    t5.heads = 2;
    t5.causal = causal;
    t5.num_buckets = 16;
    t5.max_distance = 100;
    t5.table = table.data();
    t5.table_count = table.size();
    rw_bias* made = nullptr;
    const rw_status status = rw_bias_create_t5(&t5, &made, error.data(), error.size());
    const T5Bias spec{.heads = 2, .causal = causal, .num_buckets = 16, .max_distance = 100, .table = table};
    expect(spec, status, made);

    // A bucket is the row of the table from which a distance takes its bias.
    std::vector<std::int64_t> distances{INT64_MIN, INT64_MAX};
    for (std::int64_t n = -200; n <= 200; ++n) distances.push_back(n);
    std::vector<std::int32_t> buckets(distances.size());
    ASSERT_EQ(
        rw_t5_buckets(16, 100, causal, distances.data(), distances.size(), buckets.data(), error.data(), error.size()),
        RW_OK)
        << error.str();
    const ScoreBias bias = *ScoreBias::make(spec);
    for (std::size_t i = 0; i < distances.size(); ++i)
      ASSERT_EQ(bias.at(1, distances[i], 0), table[static_cast<std::size_t>(buckets[i]) * 2 + 1]) << distances[i];
  }
}

TEST(Equality, TheHeaderAndTheLibraryAgreeOnTheVersionAndTheTarget) {
  EXPECT_STREQ(rw_version(), RW_VERSION);
  EXPECT_STREQ(rw_version(), ROPEWALK_VERSION);
  EXPECT_EQ(rw_version_number(), RW_VERSION_NUMBER);
  EXPECT_EQ(active_target_name(), rw_target_name());
}

TEST(Equality, WhatARotaryHandsOutIsWhatItWasMadeFrom) {
  RotaryHandle rotary;
  {
    const Spec spec = spec_of(plain_fields(kHeadDim));
    rotary = rotary_of(spec.get());
  }  // the spec is gone
  EXPECT_EQ(to_string(plain()), rw_spec_text(rw_rotary_spec(rotary.get())));
  ErrorText error;
  rw_frequencies_fields fields = RW_FREQUENCIES_FIELDS_INIT;
  ASSERT_EQ(rw_frequencies_get(rw_rotary_frequencies(rotary.get()), &fields, error.data(), error.size()), RW_OK);
  EXPECT_EQ(make_frequencies(plain())->inv_freq, std::vector<double>(fields.inv_freq, fields.inv_freq + fields.count));
}

}  // namespace
