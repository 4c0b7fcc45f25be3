// Whatever is handed in: a status, a line that says where, and nothing written, printed or thrown.
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "capi/status.hpp"
#include "support.hpp"

namespace {

using namespace abi_test;

/// One of everything, and right.
struct World {
  World() {
    EXPECT_EQ(
        rw_checkpoint_from_json(json.data(), json.size(), nullptr, nullptr, &checkpoint, error.data(), error.size()),
        RW_OK)
        << error.str();
    EXPECT_EQ(rw_checkpoint_hazards(checkpoint, 0, &hazards, error.data(), error.size()), RW_OK) << error.str();
    EXPECT_EQ(rw_rerotation_create(spec.get(), 0, spec.get(), 0, &rerotation, error.data(), error.size()), RW_OK);
    EXPECT_EQ(rw_dynamic_length_create(4096, RW_RESET_NEVER, &length, error.data(), error.size()), RW_OK);
    sinusoidal_fields.dim = 16;
    sinusoidal_fields.order = RW_SINUSOID_INTERLEAVED;
    sinusoidal_fields.exponent = RW_SINUSOID_EXPONENT_PAPER;
    EXPECT_EQ(rw_sinusoidal_create(&sinusoidal_fields, &sinusoidal, error.data(), error.size()), RW_OK) << error.str();
    alibi.heads = 4;
    EXPECT_EQ(rw_bias_create_alibi(&alibi, &bias, error.data(), error.size()), RW_OK) << error.str();
    t5.heads = 1;
    t5.table = floats.data();
    t5.table_count = 32;
    table.cos = table.sin = floats.data();
    table.rows = 4;
    table.row_stride = 8;
    append.keys = &heads;
    append.key_cache = &cache;
    append.slots = positions;
    append.slots_count = 2;
    relayout.from = RW_LAYOUT_HALF;
    relayout.to = RW_LAYOUT_INTERLEAVED;
    relayout.head_dim = relayout.rotary_dim = 16;
  }
  ~World() {
    rw_checkpoint_destroy(checkpoint);
    rw_hazards_destroy(hazards);
    rw_rerotation_destroy(rerotation);
    rw_dynamic_length_destroy(length);
    rw_sinusoidal_destroy(sinusoidal);
    rw_bias_destroy(bias);
  }

  ErrorText error;
  std::string json = R"({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "rope_theta": 10000.0,)"
                     R"( "num_hidden_layers": 2, "max_position_embeddings": 2048})";
  rw_spec_fields fields = plain_fields();
  Spec spec = spec_of(fields);
  RotaryHandle rotary = rotary_of(spec.get());
  rw_checkpoint* checkpoint = nullptr;
  rw_hazards* hazards = nullptr;
  rw_rerotation* rerotation = nullptr;
  rw_dynamic_length* length = nullptr;
  rw_sinusoidal_fields sinusoidal_fields = RW_SINUSOIDAL_FIELDS_INIT;
  rw_sinusoidal* sinusoidal = nullptr;
  rw_alibi alibi = RW_ALIBI_INIT;
  rw_t5 t5 = RW_T5_INIT;
  rw_bias* bias = nullptr;
  std::uint64_t turns[16] = {};
  std::vector<float> x = numbers(2 * 3 * 16), stored = std::vector<float>(4 * 3 * 16),
                     floats = std::vector<float>(4 * 8);
  std::int64_t positions[2] = {0, 3};
  double coordinate_values[2] = {0.5, 1.5};
  std::int64_t room[4] = {};
  std::uint8_t mask[4] = {1, 1, 0, 1};
  std::int32_t order[16] = {};
  char fingerprint[RW_FINGERPRINT_SIZE] = {};
  rw_heads_view heads = rw_heads_thd(x.data(), RW_FLOAT32, 2, 3, 16);
  rw_cache_view cache = rw_cache_by_token(stored.data(), RW_CACHE_FLOAT32, 1, 4, 3, 16, nullptr);
  rw_operand operand = rw_in_place(&heads);
  rw_positions_view at = rw_positions_row(positions, 2);
  rw_coordinates_view coordinates = rw_coordinates_streams(coordinate_values, 1, 2);
  rw_cos_sin_table table = RW_COS_SIN_TABLE_INIT;
  rw_append append = RW_APPEND_INIT;
  rw_relayout relayout = RW_RELAYOUT_INIT;
};

struct Refusal {
  const char* path;  ///< what the error has to begin with
  std::function<rw_status(World&, char*, std::size_t)> call;
};

/// Every function that can fail, with each of its pointers null in turn.
std::vector<Refusal> with_null() {
  static rw_spec* spec = nullptr;
  static rw_frequencies* frequencies = nullptr;
  static rw_rotary* rotary = nullptr;
  static rw_checkpoint* checkpoint = nullptr;
  static rw_hazards* hazards = nullptr;
  static rw_rerotation* rerotation = nullptr;
  static rw_sinusoidal* sinusoidal = nullptr;
  static rw_bias* bias = nullptr;
#define REFUSAL(path, ...)                                    \
  {                                                           \
    path, [](World& w, char* e, std::size_t n) -> rw_status { \
      (void)w;                                                \
      return __VA_ARGS__;                                     \
    }                                                         \
  }
  return {
      REFUSAL("fields", rw_spec_create(nullptr, &spec, e, n)),
      REFUSAL("spec_out", rw_spec_create(&w.fields, nullptr, e, n)),
      REFUSAL("spec", rw_spec_get(nullptr, &w.fields, e, n)),
      REFUSAL("fields_out", rw_spec_get(w.spec.get(), nullptr, e, n)),
      REFUSAL("spec", rw_spec_channels(nullptr, 0, w.order, e, n)),
      REFUSAL("channels_out", rw_spec_channels(w.spec.get(), 0, nullptr, e, n)),
      REFUSAL("spec", rw_spec_fingerprint(nullptr, 0, w.fingerprint, e, n)),
      REFUSAL("fingerprint_out", rw_spec_fingerprint(w.spec.get(), 0, nullptr, e, n)),
      REFUSAL("spec", rw_frequencies_create(nullptr, 0, &frequencies, e, n)),
      REFUSAL("frequencies_out", rw_frequencies_create(w.spec.get(), 0, nullptr, e, n)),
      REFUSAL("frequencies", rw_frequencies_get(nullptr, nullptr, e, n)),
      REFUSAL("fields_out", rw_frequencies_get(rw_rotary_frequencies(w.rotary.get()), nullptr, e, n)),
      REFUSAL("positions", rw_positions_from_range(0, 4, nullptr, 4, e, n)),
      REFUSAL("seqlen_offsets", rw_positions_from_offsets(nullptr, 1, 2, 2, w.room, 4, e, n)),
      REFUSAL("positions", rw_positions_from_offsets(w.positions, 1, 2, 2, nullptr, 4, e, n)),
      REFUSAL("cu_seqlens", rw_positions_from_cu_seqlens(nullptr, 2, nullptr, 0, w.room, 3, e, n)),
      REFUSAL("seqlen_offsets", rw_positions_from_cu_seqlens(w.positions, 2, nullptr, 1, w.room, 3, e, n)),
      REFUSAL("positions", rw_positions_from_cu_seqlens(w.positions, 2, nullptr, 0, nullptr, 3, e, n)),
      REFUSAL("mask", rw_positions_from_mask(nullptr, 4, 1, 0, w.room, 4, e, n)),
      REFUSAL("positions", rw_positions_from_mask(w.mask, 4, 1, 0, nullptr, 4, e, n)),
      REFUSAL("positions", rw_positions_for_rank(8, 2, 0, RW_SHARD_ZIGZAG, 0, nullptr, 4, e, n)),
      REFUSAL("spec", rw_rotary_create(nullptr, 0, &rotary, e, n)),
      REFUSAL("rotary_out", rw_rotary_create(w.spec.get(), 0, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_check(nullptr, &w.operand, 1, &w.at, e, n)),
      REFUSAL("operands", rw_rotary_check(w.rotary.get(), nullptr, 1, &w.at, e, n)),
      REFUSAL("positions", rw_rotary_check(w.rotary.get(), &w.operand, 1, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_check_coordinates(nullptr, &w.operand, 1, &w.coordinates, e, n)),
      REFUSAL("operands", rw_rotary_check_coordinates(w.rotary.get(), nullptr, 1, &w.coordinates, e, n)),
      REFUSAL("positions", rw_rotary_check_coordinates(w.rotary.get(), &w.operand, 1, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_check_table(nullptr, &w.operand, 1, &w.table, &w.at, RW_FORWARD, e, n)),
      REFUSAL("operands", rw_rotary_check_table(w.rotary.get(), nullptr, 1, &w.table, &w.at, RW_FORWARD, e, n)),
      REFUSAL("table", rw_rotary_check_table(w.rotary.get(), &w.operand, 1, nullptr, &w.at, RW_FORWARD, e, n)),
      REFUSAL("positions", rw_rotary_check_table(w.rotary.get(), &w.operand, 1, &w.table, nullptr, RW_FORWARD, e, n)),
      REFUSAL("rotary", rw_rotary_apply(nullptr, &w.operand, 1, &w.at, nullptr, e, n)),
      REFUSAL("operands", rw_rotary_apply(w.rotary.get(), nullptr, 1, &w.at, nullptr, e, n)),
      REFUSAL("positions", rw_rotary_apply(w.rotary.get(), &w.operand, 1, nullptr, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_apply_coordinates(nullptr, &w.operand, 1, &w.coordinates, nullptr, e, n)),
      REFUSAL("positions", rw_rotary_apply_coordinates(w.rotary.get(), &w.operand, 1, nullptr, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_apply_table(nullptr, &w.operand, 1, &w.table, &w.at, nullptr, e, n)),
      REFUSAL("table", rw_rotary_apply_table(w.rotary.get(), &w.operand, 1, nullptr, &w.at, nullptr, e, n)),
      REFUSAL("positions", rw_rotary_apply_table(w.rotary.get(), &w.operand, 1, &w.table, nullptr, nullptr, e, n)),
      REFUSAL("rotary", rw_rotary_fill_table(nullptr, &w.at, w.floats.data(), 16, w.floats.data(), 16, e, n)),
      REFUSAL("positions",
              rw_rotary_fill_table(w.rotary.get(), nullptr, w.floats.data(), 16, w.floats.data(), 16, e, n)),
      REFUSAL("cos", rw_rotary_fill_table(w.rotary.get(), &w.at, nullptr, 16, w.floats.data(), 16, e, n)),
      REFUSAL("sin", rw_rotary_fill_table(w.rotary.get(), &w.at, w.floats.data(), 16, nullptr, 16, e, n)),
      REFUSAL("rotary", rw_rotary_fill_turns(nullptr, &w.at, w.turns, 16, e, n)),
      REFUSAL("positions", rw_rotary_fill_turns(w.rotary.get(), nullptr, w.turns, 16, e, n)),
      REFUSAL("turns", rw_rotary_fill_turns(w.rotary.get(), &w.at, nullptr, 16, e, n)),
      REFUSAL("full", rw_halve_table(nullptr, 8, 2, RW_LAYOUT_HALF, w.floats.data(), 4, e, n)),
      REFUSAL("half", rw_halve_table(w.floats.data(), 8, 2, RW_LAYOUT_HALF, nullptr, 4, e, n)),
      REFUSAL("block_table", rw_slots_of_pages(nullptr, 1, 16, 0, 4, w.room, 4, e, n)),
      REFUSAL("slots", rw_slots_of_pages(w.positions, 1, 16, 0, 4, nullptr, 4, e, n)),
      REFUSAL("rotary", rw_cache_check_append(nullptr, &w.append, &w.at, e, n)),
      REFUSAL("append", rw_cache_check_append(w.rotary.get(), nullptr, &w.at, e, n)),
      REFUSAL("positions", rw_cache_check_append(w.rotary.get(), &w.append, nullptr, e, n)),
      REFUSAL("rotary", rw_cache_append(nullptr, &w.append, &w.at, nullptr, e, n)),
      REFUSAL("append", rw_cache_append(w.rotary.get(), nullptr, &w.at, nullptr, e, n)),
      REFUSAL("positions", rw_cache_append(w.rotary.get(), &w.append, nullptr, nullptr, e, n)),
      REFUSAL("rotary", rw_cache_check_shift(nullptr, &w.cache, w.positions, 2, &w.at, e, n)),
      REFUSAL("keys", rw_cache_check_shift(w.rotary.get(), nullptr, w.positions, 2, &w.at, e, n)),
      REFUSAL("slots", rw_cache_check_shift(w.rotary.get(), &w.cache, nullptr, 2, &w.at, e, n)),
      REFUSAL("deltas", rw_cache_check_shift(w.rotary.get(), &w.cache, w.positions, 2, nullptr, e, n)),
      REFUSAL("rotary", rw_cache_shift(nullptr, &w.cache, w.positions, 2, &w.at, nullptr, e, n)),
      REFUSAL("keys", rw_cache_shift(w.rotary.get(), nullptr, w.positions, 2, &w.at, nullptr, e, n)),
      REFUSAL("slots", rw_cache_shift(w.rotary.get(), &w.cache, nullptr, 2, &w.at, nullptr, e, n)),
      REFUSAL("deltas", rw_cache_shift(w.rotary.get(), &w.cache, w.positions, 2, nullptr, nullptr, e, n)),
      REFUSAL("from", rw_rerotation_create(nullptr, 0, w.spec.get(), 0, &rerotation, e, n)),
      REFUSAL("to", rw_rerotation_create(w.spec.get(), 0, nullptr, 0, &rerotation, e, n)),
      REFUSAL("rerotation_out", rw_rerotation_create(w.spec.get(), 0, w.spec.get(), 0, nullptr, e, n)),
      REFUSAL("rerotation", rw_rerotation_check(nullptr, &w.cache, w.positions, 2, &w.at, e, n)),
      REFUSAL("keys", rw_rerotation_check(w.rerotation, nullptr, w.positions, 2, &w.at, e, n)),
      REFUSAL("slots", rw_rerotation_check(w.rerotation, &w.cache, nullptr, 2, &w.at, e, n)),
      REFUSAL("positions", rw_rerotation_check(w.rerotation, &w.cache, w.positions, 2, nullptr, e, n)),
      REFUSAL("rerotation", rw_rerotation_apply(nullptr, &w.cache, w.positions, 2, &w.at, nullptr, e, n)),
      REFUSAL("keys", rw_rerotation_apply(w.rerotation, nullptr, w.positions, 2, &w.at, nullptr, e, n)),
      REFUSAL("slots", rw_rerotation_apply(w.rerotation, &w.cache, nullptr, 2, &w.at, nullptr, e, n)),
      REFUSAL("positions", rw_rerotation_apply(w.rerotation, &w.cache, w.positions, 2, nullptr, nullptr, e, n)),
      REFUSAL("rerotation", rw_rerotation_check_heads(nullptr, &w.heads, &w.at, e, n)),
      REFUSAL("keys", rw_rerotation_check_heads(w.rerotation, nullptr, &w.at, e, n)),
      REFUSAL("positions", rw_rerotation_check_heads(w.rerotation, &w.heads, nullptr, e, n)),
      REFUSAL("rerotation", rw_rerotation_apply_heads(nullptr, &w.heads, &w.at, nullptr, e, n)),
      REFUSAL("keys", rw_rerotation_apply_heads(w.rerotation, nullptr, &w.at, nullptr, e, n)),
      REFUSAL("positions", rw_rerotation_apply_heads(w.rerotation, &w.heads, nullptr, nullptr, e, n)),
      REFUSAL("path", rw_checkpoint_from_path(nullptr, nullptr, &checkpoint, e, n)),
      REFUSAL("checkpoint_out", rw_checkpoint_from_path("config.json", nullptr, nullptr, e, n)),
      REFUSAL("text", rw_checkpoint_from_json(nullptr, 4, nullptr, nullptr, &checkpoint, e, n)),
      REFUSAL("checkpoint_out", rw_checkpoint_from_json("{}", 2, nullptr, nullptr, nullptr, e, n)),
      REFUSAL("checkpoint", rw_checkpoint_get(nullptr, nullptr, e, n)),
      REFUSAL("fields_out", rw_checkpoint_get(w.checkpoint, nullptr, e, n)),
      REFUSAL("checkpoint", rw_checkpoint_kind(nullptr, 0, nullptr, e, n)),
      REFUSAL("kind_out", rw_checkpoint_kind(w.checkpoint, 0, nullptr, e, n)),
      REFUSAL("checkpoint", rw_checkpoint_provenance(nullptr, 0, nullptr, e, n)),
      REFUSAL("provenance_out", rw_checkpoint_provenance(w.checkpoint, 0, nullptr, e, n)),
      REFUSAL("checkpoint", rw_checkpoint_fingerprint(nullptr, 0, w.fingerprint, e, n)),
      REFUSAL("fingerprint_out", rw_checkpoint_fingerprint(w.checkpoint, 0, nullptr, e, n)),
      REFUSAL("checkpoint", rw_checkpoint_hazards(nullptr, 0, &hazards, e, n)),
      REFUSAL("hazards_out", rw_checkpoint_hazards(w.checkpoint, 0, nullptr, e, n)),
      REFUSAL("hazards", rw_hazards_get(nullptr, 0, nullptr, e, n)),
      REFUSAL("hazard_out", rw_hazards_get(w.hazards, 0, nullptr, e, n)),
      REFUSAL("relayout", rw_channel_order(nullptr, w.order, 16, e, n)),
      REFUSAL("order", rw_channel_order(&w.relayout, nullptr, 16, e, n)),
      REFUSAL("relayout", rw_permute_rows(nullptr, 1, 4, w.x.data(), 64, w.floats.data(), 64, e, n)),
      REFUSAL("from_rows", rw_permute_rows(&w.relayout, 1, 4, nullptr, 64, w.floats.data(), 64, e, n)),
      REFUSAL("to_rows", rw_permute_rows(&w.relayout, 1, 4, w.x.data(), 64, nullptr, 64, e, n)),
      REFUSAL("length_out", rw_dynamic_length_create(1, RW_RESET_NEVER, nullptr, e, n)),
      REFUSAL("length", rw_dynamic_length_observe(nullptr, 1, w.room, e, n)),
      REFUSAL("length_out", rw_dynamic_length_observe(w.length, 1, nullptr, e, n)),
      REFUSAL("fields", rw_sinusoidal_create(nullptr, &sinusoidal, e, n)),
      REFUSAL("sinusoidal_out", rw_sinusoidal_create(&w.sinusoidal_fields, nullptr, e, n)),
      REFUSAL("sinusoidal", rw_sinusoidal_fill(nullptr, &w.at, w.floats.data(), 32, e, n)),
      REFUSAL("positions", rw_sinusoidal_fill(w.sinusoidal, nullptr, w.floats.data(), 32, e, n)),
      REFUSAL("rows", rw_sinusoidal_fill(w.sinusoidal, &w.at, nullptr, 32, e, n)),
      REFUSAL("slopes", rw_alibi_slopes(4, 8.0, nullptr, 4, e, n)),
      REFUSAL("distances", rw_t5_buckets(32, 128, 1, nullptr, 2, w.order, e, n)),
      REFUSAL("buckets", rw_t5_buckets(32, 128, 1, w.positions, 2, nullptr, e, n)),
      REFUSAL("alibi", rw_bias_create_alibi(nullptr, &bias, e, n)),
      REFUSAL("bias_out", rw_bias_create_alibi(&w.alibi, nullptr, e, n)),
      REFUSAL("t5", rw_bias_create_t5(nullptr, &bias, e, n)),
      REFUSAL("bias_out", rw_bias_create_t5(&w.t5, nullptr, e, n)),
      REFUSAL("bias", rw_bias_fill(nullptr, w.positions, 2, w.positions, 2, w.floats.data(), 16, e, n)),
      REFUSAL("queries", rw_bias_fill(w.bias, nullptr, 2, w.positions, 2, w.floats.data(), 16, e, n)),
      REFUSAL("keys", rw_bias_fill(w.bias, w.positions, 2, nullptr, 2, w.floats.data(), 16, e, n)),
      REFUSAL("out", rw_bias_fill(w.bias, w.positions, 2, w.positions, 2, nullptr, 16, e, n)),
      REFUSAL("operands[0].in",
              [&] {
                const rw_operand none = RW_OPERAND_INIT;
                return rw_rotary_apply(w.rotary.get(), &none, 1, &w.at, nullptr, e, n);
              }()),
      REFUSAL("operands[0].in.data",
              [&] {
                w.heads.data = nullptr;
                return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);
              }()),
      REFUSAL("keys",
              [&] {
                w.append.keys = nullptr;
                return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);
              }()),
      REFUSAL("key_cache",
              [&] {
                w.append.key_cache = nullptr;
                return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);
              }()),
      REFUSAL("value_cache",
              [&] {
                w.append.values = &w.heads;
                return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);
              }()),
      REFUSAL("slots",
              [&] {
                w.append.slots = nullptr;
                return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);
              }()),
      REFUSAL("axis_of_pair",
              [&] {
                w.fields.axis_of_pair_count = 8;
                return rw_spec_create(&w.fields, &spec, e, n);
              }()),
  };
}

TEST(Errors, ANullArgumentIsRefusedByItsName) {
  for (const Refusal& refusal : with_null()) {
    World world;
    const std::vector<float> x = world.x, stored = world.stored;
    EXPECT_EQ(refusal.call(world, world.error.data(), world.error.size()), RW_INVALID) << refusal.path;
    EXPECT_EQ(world.error.str(), std::string(refusal.path) + ": want an address, got null");
    EXPECT_TRUE(same_bits(x, world.x) && same_bits(stored, world.stored)) << refusal.path;
  }
}

TEST(Errors, WhatIsWrongIsSaidWhereItIs) {
  static rw_spec* spec = nullptr;
  static rw_checkpoint* checkpoint = nullptr;
  static rw_hazards* hazards = nullptr;
  static rw_dynamic_length* length = nullptr;
  static rw_sinusoidal* sinusoidal = nullptr;
  static rw_bias* bias = nullptr;
  constexpr std::int64_t kHuge = std::int64_t{1} << 50;
#define WITH(path, ...)                                       \
  {                                                           \
    path, [](World& w, char* e, std::size_t n) -> rw_status { \
      (void)w;                                                \
      __VA_ARGS__                                             \
    }                                                         \
  }
  const Refusal refusals[] = {
    WITH("layout: want half or interleaved, got unset", w.fields.layout = RW_LAYOUT_UNSET;
         return rw_spec_create(&w.fields, &spec, e, n);),
    // 256 and 257 would be 0 and 1 in the byte that the library keeps.
    WITH("layout: want 0 (interleaved), 1 (half) or 255 (unset), got 257", w.fields.layout = 257;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("output_layout: want 0 ", w.fields.output_layout = -1; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("numerics: want a number from 0 to 1, got 256", w.fields.numerics = 256;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("clockwise: want 0 or 1, got 2", w.fields.clockwise = 2; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("theta: want a number > 1", w.fields.theta = std::nan(""); return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("rotary_dim: want an even number", w.fields.rotary_dim = INT32_MIN;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("axis_of_pair_count: want at most 65536", w.fields.axis_of_pair = w.mask;
         w.fields.axis_of_pair_count = SIZE_MAX; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("axis_of_pair: want 8 entries", w.fields.axis_of_pair = w.mask; w.fields.axis_of_pair_count = 4;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("frequency_multipliers: want an address that 8 divides",
         w.fields.frequency_multipliers =
             reinterpret_cast<const double*>(reinterpret_cast<const char*>(w.coordinate_values) + 1);
         w.fields.frequency_multipliers_count = 1; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling: want at most one method, got 2", const rw_linear linear = RW_LINEAR_INIT;
         const rw_ntk ntk = RW_NTK_INIT; w.fields.linear = &linear; w.fields.ntk = &ntk;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling.factor: want a number >= 1, got 0.25", rw_linear linear = RW_LINEAR_INIT; linear.factor = 0.25;
         w.fields.linear = &linear; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling.reserved: want 0, got 1", rw_ntk ntk = RW_NTK_INIT; ntk.reserved = 1; w.fields.ntk = &ntk;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling.form: want a number from 0 to 2, got 3", rw_ntk ntk = RW_NTK_INIT; ntk.form = 3; w.fields.ntk = &ntk;
         return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling.has_attention_factor: want 1 where attention_factor is not 0, got 0", rw_yarn yarn = RW_YARN_INIT;
         yarn.attention_factor = 1.5; w.fields.yarn = &yarn; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("scaling.short_factor_count: want at most 65536", rw_longrope longrope = RW_LONGROPE_INIT;
         longrope.short_factor = w.coordinate_values; longrope.short_factor_count = SIZE_MAX / 8;
         w.fields.longrope = &longrope; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("given.inv_freq_count: want 65536 x 65536 x 8, got 2", rw_given given = RW_GIVEN_INIT;
         given.heads = given.axes = 65536; given.inv_freq = w.coordinate_values; given.inv_freq_count = 2;
         w.fields.theta = 0.0; w.fields.given = &given; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("fourier.cos_mix_count: want -1 x 1 x 1, got 0", rw_fourier_mix mix = RW_FOURIER_MIX_INIT; mix.heads = -1;
         mix.tones = mix.outputs = 1; w.fields.fourier = &mix; return rw_spec_create(&w.fields, &spec, e, n);),
    WITH("pair: want a number from 0 to 7, got 8", return rw_spec_channels(w.spec.get(), 8, w.order, e, n);),
    WITH("pair: want a number from 0 to 7, got -1", return rw_spec_channels(w.spec.get(), -1, w.order, e, n);),
    WITH("running_length: want", return rw_spec_fingerprint(w.spec.get(), -1, w.fingerprint, e, n);),
    WITH("tokens: want a number >= 0, got -1", return rw_positions_from_range(0, -1, w.room, 4, e, n);),
    WITH("first: want a last position below 2^63", return rw_positions_from_range(INT64_MAX - 2, 4, w.room, 4, e, n);),
    // A count that the caller has no room for is refused before its memory is asked for.
    WITH("positions_count: want 1125899906842624, got 4", return rw_positions_from_range(0, kHuge, w.room, 4, e, n);),
    WITH("positions_count: want 2251799813685248, got 4",
         return rw_positions_from_offsets(w.positions, 2, 2, kHuge, w.room, 4, e, n);),
    WITH("tokens: want positions that fit in memory",
         return rw_positions_from_offsets(w.positions, 1, INT64_MAX, INT64_MAX, w.room, 4, e, n);),
    WITH("positions_count: want 1125899906842624, got 4", w.positions[1] = kHuge;
         return rw_positions_from_cu_seqlens(w.positions, 2, nullptr, 0, w.room, 4, e, n);),
    WITH("cu_seqlens: want at least the entry 0, got none",
         return rw_positions_from_cu_seqlens(nullptr, 0, nullptr, 0, w.room, 4, e, n);),
    WITH("cu_seqlens[1]: want a number >= 0, got -5", w.positions[1] = -5;
         return rw_positions_from_cu_seqlens(w.positions, 2, nullptr, 0, w.room, 4, e, n);),
    WITH("cu_seqlens_count: want at most",
         return rw_positions_from_cu_seqlens(w.positions, SIZE_MAX, nullptr, 0, w.room, 4, e, n);),
    WITH("mask_count: want at most", return rw_positions_from_mask(w.mask, SIZE_MAX, 1, 0, w.room, 4, e, n);),
    WITH("batch: want a number >= 1, got 0", return rw_positions_from_mask(w.mask, 4, 0, 0, w.room, 4, e, n);),
    WITH("scheme: want a number from 0 to 1, got 7", return rw_positions_for_rank(8, 2, 0, 7, 0, w.room, 4, e, n);),
    WITH("ranks: want a number >= 1, got 0",
         return rw_positions_for_rank(8, 0, 0, RW_SHARD_ZIGZAG, 0, w.room, 4, e, n);),
    WITH("positions: want an address that 8 divides",
         auto* odd = reinterpret_cast<std::int64_t*>(reinterpret_cast<char*>(w.room) + 4);
         return rw_positions_from_range(0, 1, odd, 1, e, n);),
    WITH("operands[0].in.dtype: want a number from 0 to 2, got 256", w.heads.dtype = 256;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operands[0].in.head_dim: want 16, got 15", w.heads.head_dim = 15;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operands[0].out.heads: want 3, got 2", rw_heads_view out = w.heads; out.heads = 2; w.operand.out = &out;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operands[0].out.struct_size: want", rw_heads_view out = w.heads; out.struct_size = 3; w.operand.out = &out;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operands[0].role: want a number from 0 to 2, got 3", w.operand.role = 3;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operands[0].in.reserved: want 0, got 1", w.heads.reserved = 1;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("operand_count: want at most 4096",
         return rw_rotary_apply(w.rotary.get(), &w.operand, SIZE_MAX, &w.at, nullptr, e, n);),
    WITH("positions.tokens: want 2, got 1", w.at.tokens = 1;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("positions.data: want an address, got null", w.at.data = nullptr;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("positions.data: want an address that 8 divides",
         w.at.data = reinterpret_cast<const std::int64_t*>(reinterpret_cast<const char*>(w.positions) + 4);
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, nullptr, e, n);),
    WITH("call.direction: want a number from 0 to 3, got 4", rw_call call = RW_CALL_INIT; call.direction = 4;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, &call, e, n);),
    WITH("call.threads: want a number >= 0, got -1", rw_call call = RW_CALL_INIT; call.threads = -1;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, &call, e, n);),
    WITH("call.checked: want 0 or 1, got 3", rw_call call = RW_CALL_INIT; call.checked = 3;
         return rw_rotary_apply(w.rotary.get(), &w.operand, 1, &w.at, &call, e, n);),
    WITH("positions[0, 1]: want a row of the table, 0 to 3, got 99", w.positions[1] = 99;
         return rw_rotary_apply_table(w.rotary.get(), &w.operand, 1, &w.table, &w.at, nullptr, e, n);),
    WITH("direction: want a number from 0 to 3, got -1",
         return rw_rotary_check_table(w.rotary.get(), &w.operand, 1, &w.table, &w.at, -1, e, n);),
    WITH("table.sin: want an address that 4 divides",
         w.table.sin = reinterpret_cast<const float*>(reinterpret_cast<const char*>(w.table.sin) + 2);
         return rw_rotary_apply_table(w.rotary.get(), &w.operand, 1, &w.table, &w.at, nullptr, e, n);),
    WITH("cos.size: want 16, got 15",
         return rw_rotary_fill_table(w.rotary.get(), &w.at, w.floats.data(), 15, w.floats.data(), 16, e, n);),
    WITH("duplicate: want a number from 0 to 1, got 255",
         return rw_halve_table(w.floats.data(), 8, 2, RW_LAYOUT_UNSET, w.floats.data(), 4, e, n);),
    WITH("block_table[1]: want a page", w.positions[1] = -1;
         return rw_slots_of_pages(w.positions, 2, 2, 0, 4, w.room, 4, e, n);),
    WITH("slots_count: want 1125899906842624, got 4",
         return rw_slots_of_pages(w.positions, 2, INT64_MAX, 0, kHuge, w.room, 4, e, n);),
    WITH("key_cache.format: want a number from 0 to 5, got 6", w.cache.format = 6;
         return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);),
    WITH("slots[1]: want below 4, got 4", w.positions[1] = 4;
         return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);),
    WITH("key_norm.place: want a number from 0 to 2, got 3", rw_head_norm norm = RW_HEAD_NORM_INIT; norm.place = 3;
         w.append.key_norm = &norm; return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);),
    WITH("query_norm.weight_plus_one: want 0 or 1, got 2", rw_head_norm norm = RW_HEAD_NORM_INIT;
         norm.weight_plus_one = 2; w.append.query_norm = &norm;
         return rw_cache_append(w.rotary.get(), &w.append, &w.at, nullptr, e, n);),
    WITH("call.direction: want 0 or 3, got 1", rw_call call = RW_CALL_INIT; call.direction = RW_INVERSE;
         return rw_cache_shift(w.rotary.get(), &w.cache, w.positions, 2, &w.at, &call, e, n);),
    WITH("call.direction: want 0, got 2", rw_call call = RW_CALL_INIT; call.direction = RW_TRANSPOSE;
         return rw_rerotation_apply_heads(w.rerotation, &w.heads, &w.at, &call, e, n);),
    WITH("deltas.tokens: want 2, got 1", w.at.tokens = 1;
         return rw_cache_shift(w.rotary.get(), &w.cache, w.positions, 2, &w.at, nullptr, e, n);),
    WITH("index: want a number below 1, got 1", rw_layer_kind kind = RW_LAYER_KIND_INIT;
         return rw_checkpoint_kind(w.checkpoint, 1, &kind, e, n);),
    WITH("index: want a number below", rw_provenance from = RW_PROVENANCE_INIT;
         return rw_checkpoint_provenance(w.checkpoint, SIZE_MAX, &from, e, n);),
    WITH("index: want a number below", rw_hazard hazard = RW_HAZARD_INIT;
         return rw_hazards_get(w.hazards, rw_hazards_count(w.hazards), &hazard, e, n);),
    WITH("length: want a number of tokens >= 0, got -1",
         return rw_checkpoint_hazards(w.checkpoint, -1, &hazards, e, n);),
    WITH("options.numerics: want a number from 0 to 1, got 2", rw_read_options options = RW_READ_OPTIONS_INIT;
         options.numerics = 2;
         return rw_checkpoint_from_json(w.json.data(), w.json.size(), nullptr, &options, &checkpoint, e, n);),
    WITH("text_count: want at most",
         return rw_checkpoint_from_json("{}", SIZE_MAX, nullptr, nullptr, &checkpoint, e, n);),
    WITH("relayout.from: want a number from 0 to 1, got 255", w.relayout.from = RW_LAYOUT_UNSET;
         return rw_channel_order(&w.relayout, w.order, 16, e, n);),
    WITH("order_count: want 16, got 15", return rw_channel_order(&w.relayout, w.order, 15, e, n);),
    WITH("from_rows: want heads * head_dim * row_bytes bytes",
         return rw_permute_rows(&w.relayout, INT64_MAX, INT64_MAX, w.x.data(), 64, w.floats.data(), 64, e, n);),
    WITH("trained_context: want a number of tokens >= 1, got 0",
         return rw_dynamic_length_create(0, RW_RESET_NEVER, &length, e, n);),
    WITH("turns_count: want 16, got 15", return rw_rotary_fill_turns(w.rotary.get(), &w.at, w.turns, 15, e, n);),
    WITH("positions.batch: want 1, got 2", w.at.batch = 2;
         return rw_rotary_fill_turns(w.rotary.get(), &w.at, w.turns, 16, e, n);),
    WITH("positions.tokens: want", w.at.tokens = INT64_MAX;
         return rw_rotary_fill_turns(w.rotary.get(), &w.at, w.turns, 16, e, n);),
    WITH("order: want", w.sinusoidal_fields.order = RW_SINUSOID_UNSET;
         return rw_sinusoidal_create(&w.sinusoidal_fields, &sinusoidal, e, n);),
    WITH("order: want a number from 0 to 4, got 5", w.sinusoidal_fields.order = 5;
         return rw_sinusoidal_create(&w.sinusoidal_fields, &sinusoidal, e, n);),
    WITH("zero_position: want 0 where has_zero_position is 0, got 1", w.sinusoidal_fields.zero_position = 1;
         return rw_sinusoidal_create(&w.sinusoidal_fields, &sinusoidal, e, n);),
    WITH("rows_count: want 32, got 31", return rw_sinusoidal_fill(w.sinusoidal, &w.at, w.floats.data(), 31, e, n);),
    WITH("positions.tokens: want a count of at most", w.at.tokens = INT64_MAX;
         return rw_sinusoidal_fill(w.sinusoidal, &w.at, w.floats.data(), 32, e, n);),
    WITH("slopes_count: want 4, got 3", return rw_alibi_slopes(4, 8.0, w.coordinate_values, 3, e, n);),
    WITH("heads: want", return rw_alibi_slopes(0, 8.0, w.coordinate_values, 0, e, n);),
    WITH("num_buckets: want", return rw_t5_buckets(1, 128, 1, w.positions, 2, w.order, e, n);),
    WITH("causal: want 0 or 1, got 2", return rw_t5_buckets(32, 128, 2, w.positions, 2, w.order, e, n);),
    WITH("alibi.symmetric: want 0 or 1, got 7", w.alibi.symmetric = 7;
         return rw_bias_create_alibi(&w.alibi, &bias, e, n);),
    WITH("t5.table", w.t5.table_count = 1; return rw_bias_create_t5(&w.t5, &bias, e, n);),
    WITH("t5.reserved: want 0, got 1", w.t5.reserved = 1; return rw_bias_create_t5(&w.t5, &bias, e, n);),
    WITH("out_count: want 16, got 15",
         return rw_bias_fill(w.bias, w.positions, 2, w.positions, 2, w.floats.data(), 15, e, n);),
    WITH("reset: want a number from 0 to 1, got 2", return rw_dynamic_length_create(1, 2, &length, e, n);),
    WITH("running_length: want a number of tokens >= 0, got -1",
         return rw_dynamic_length_observe(w.length, -1, w.room, e, n);),
  };
  for (const Refusal& refusal : refusals) {
    World world;
    const std::vector<float> x = world.x, stored = world.stored;
    const rw_status status = refusal.call(world, world.error.data(), world.error.size());
    EXPECT_EQ(status, RW_INVALID) << refusal.path;
    EXPECT_EQ(world.error.str().substr(0, std::strlen(refusal.path)), refusal.path);
    EXPECT_TRUE(same_bits(x, world.x) && same_bits(stored, world.stored)) << refusal.path;
    EXPECT_EQ(spec, nullptr);
  }
}

TEST(Errors, FilesAndTextsKeepTheirKindsOfErrors) {
  ErrorText error;
  rw_checkpoint* made = nullptr;
  const auto read = [&](const std::string& text) {
    const rw_status status =
        rw_checkpoint_from_json(text.data(), text.size(), nullptr, nullptr, &made, error.data(), error.size());
    EXPECT_EQ(made, nullptr);
    return status;
  };
  EXPECT_EQ(read(""), RW_FORMAT);
  EXPECT_EQ(read("{"), RW_FORMAT);
  EXPECT_EQ(read(std::string(100000, '[')), RW_FORMAT);
  EXPECT_EQ(read(std::string("\0\xff\xfe", 3)), RW_FORMAT);
  EXPECT_EQ(read(R"({"model_type": "no_such_model"})"), RW_UNSUPPORTED);
  EXPECT_EQ(rw_checkpoint_from_path("/no/such/config.json", nullptr, &made, error.data(), error.size()),
            RW_UNAVAILABLE);
}

TEST(Errors, ALineIsCutToEverySizeOfBufferAndAlwaysEnds) {
  rw_spec_fields fields = plain_fields();
  fields.rotary_dim = 7;
  rw_spec* spec = nullptr;
  ErrorText whole;
  ASSERT_EQ(rw_spec_create(&fields, &spec, whole.data(), whole.size()), RW_INVALID);
  const std::string line = whole.str();
  ASSERT_EQ(line, "rotary_dim: want an even number in [2, 16], got 7");
  for (std::size_t size = 0; size <= line.size() + 8; ++size) {
    std::string buffer(line.size() + 16, '#');
    EXPECT_EQ(rw_spec_create(&fields, &spec, buffer.data(), size), RW_INVALID);
    if (size == 0) {
      EXPECT_EQ(buffer, std::string(buffer.size(), '#'));
      continue;
    }
    EXPECT_EQ(std::string(buffer.c_str()), line.substr(0, size - 1));
    EXPECT_EQ(buffer.substr(size), std::string(buffer.size() - size, '#')) << "written behind the end";
  }
  EXPECT_EQ(rw_spec_create(&fields, &spec, nullptr, 100), RW_INVALID);
}

// The readers escape what is not ASCII, so that only the border itself can be asked.
TEST(Errors, ACutDoesNotPartTheBytesOfACharacter) {
  const std::string line = "m\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80";  // m, then characters of 2, 3 and 4 bytes
  const std::size_t kept[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
  for (std::size_t size = 1; size <= line.size() + 2; ++size) {
    std::string buffer(line.size() + 2, '#');
    ropewalk::capi::write_line(line, buffer.data(), size);
    EXPECT_EQ(std::string(buffer.c_str()), line.substr(0, kept[size - 1])) << size;
    EXPECT_EQ(buffer.substr(size), std::string(buffer.size() - size, '#')) << size;
  }
}

TEST(Errors, ACallThatSucceedsEmptiesTheBuffer) {
  World world;
  std::strcpy(world.error.data(), "of an earlier call");
  EXPECT_EQ(rw_rotary_check(world.rotary.get(), &world.operand, 1, &world.at, world.error.data(), world.error.size()),
            RW_OK);
  EXPECT_EQ(world.error.str(), "");
  EXPECT_EQ(rw_rotary_check(world.rotary.get(), &world.operand, 1, &world.at, nullptr, 0), RW_OK);
}

TEST(Errors, NothingToDoIsNoError) {
  World world;
  EXPECT_EQ(rw_rotary_apply(world.rotary.get(), nullptr, 0, &world.at, nullptr, nullptr, 0), RW_OK);
  world.heads.tokens = world.at.tokens = 0;
  world.heads.data = nullptr;
  world.at.data = nullptr;
  EXPECT_EQ(rw_rotary_apply(world.rotary.get(), &world.operand, 1, &world.at, nullptr, nullptr, 0), RW_OK);
  EXPECT_EQ(rw_positions_from_range(5, 0, nullptr, 0, nullptr, 0), RW_OK);
}

TEST(Errors, NullIsDestroyedAndAskedWithoutHarm) {
  rw_spec_destroy(nullptr);
  rw_frequencies_destroy(nullptr);
  rw_rotary_destroy(nullptr);
  rw_rerotation_destroy(nullptr);
  rw_checkpoint_destroy(nullptr);
  rw_hazards_destroy(nullptr);
  rw_dynamic_length_destroy(nullptr);
  rw_sinusoidal_destroy(nullptr);
  rw_bias_destroy(nullptr);
  EXPECT_EQ(rw_sinusoidal_inv_freq(nullptr, nullptr), nullptr);
  EXPECT_EQ(rw_bias_heads(nullptr), 0);
  EXPECT_STREQ(rw_spec_text(nullptr), "");
  EXPECT_EQ(rw_spec_pairs(nullptr) + rw_spec_axes(nullptr) + rw_spec_is_rotation(nullptr) +
                rw_spec_depends_on_length(nullptr),
            0);
  EXPECT_EQ(rw_rotary_spec(nullptr), nullptr);
  EXPECT_EQ(rw_rotary_frequencies(nullptr), nullptr);
  EXPECT_EQ(rw_rerotation_gain(nullptr), 0.0);
  EXPECT_EQ(rw_hazards_count(nullptr), 0u);
  EXPECT_EQ(rw_dynamic_length_current(nullptr), 0);
  EXPECT_EQ(rw_dynamic_length_epoch(nullptr), 0u);
}

TEST(Errors, NumbersOutsideOfTheirListsHaveAnAnswer) {
  EXPECT_STREQ(rw_status_name(RW_NO_MEMORY), "no memory");
  EXPECT_STREQ(rw_status_name(-1), "?");
  EXPECT_EQ(rw_cache_row_bytes(RW_CACHE_INT4, 5), 3);
  EXPECT_EQ(rw_cache_row_bytes(6, 5), 0);
  EXPECT_EQ(rw_cache_row_bytes(-1, 5), 0);
  EXPECT_EQ(rw_cache_row_bytes(RW_CACHE_FLOAT32, -1), 0);
  EXPECT_EQ(rw_cache_row_bytes(RW_CACHE_FLOAT32, INT64_MAX), 0);
}

}  // namespace
