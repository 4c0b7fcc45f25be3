/// Every function of the interface, called from C99. What the results are is equality_test.cpp's to say; here laws hold
/// that a C program can see for itself.
#include <ropewalk/ropewalk.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char error[256];

static void check(int holds, const char* what, int line) {
  if (holds) return;
  fprintf(stderr, "line %d: %s (%s)\n", line, what, error);
  exit(1);
}
#define CHECK(condition) check(condition, #condition, __LINE__)
#define OK(call) check((call) == RW_OK, #call, __LINE__)

enum { TOKENS = 4, HEADS = 2, HEAD_DIM = 8, PAIRS = HEAD_DIM / 2, ELEMENTS = TOKENS * HEADS * HEAD_DIM };

static void fill(float* x) {
  int i;
  for (i = 0; i < ELEMENTS; ++i) x[i] = (float)(i % 13) - 6.0f;
}

static int near(const float* a, const float* b, float tolerance) {
  int i;
  for (i = 0; i < ELEMENTS; ++i)
    if (!(fabsf(a[i] - b[i]) <= tolerance)) return 0;
  return 1;
}

static rw_spec* make_spec(const rw_yarn* yarn) {
  rw_spec* spec = NULL;
  rw_spec_fields fields = RW_SPEC_FIELDS_INIT;
  fields.head_dim = fields.rotary_dim = HEAD_DIM;
  fields.theta = 10000.0;
  fields.layout = RW_LAYOUT_HALF;
  fields.yarn = yarn;
  OK(rw_spec_create(&fields, &spec, error, sizeof error));
  return spec;
}

static void versions(void) {
  CHECK(strcmp(rw_version(), RW_VERSION) == 0);
  CHECK(rw_version_number() == RW_VERSION_NUMBER);
  CHECK(rw_target_name()[0] != '\0');
  CHECK(strcmp(rw_status_name(RW_INVALID), "invalid") == 0);
}

static void specs(const rw_spec* spec) {
  rw_spec_fields fields = RW_SPEC_FIELDS_INIT;
  char fingerprint[RW_FINGERPRINT_SIZE];
  int32_t channels[4];
  rw_spec* refused = NULL;
  OK(rw_spec_get(spec, &fields, error, sizeof error));
  CHECK(fields.head_dim == HEAD_DIM && fields.yarn == NULL);
  CHECK(strstr(rw_spec_text(spec), "rope_theta=10000") != NULL);
  CHECK(rw_spec_pairs(spec) == PAIRS && rw_spec_axes(spec) == 1);
  CHECK(rw_spec_is_rotation(spec) == 1 && rw_spec_depends_on_length(spec) == 0);
  OK(rw_spec_channels(spec, 1, channels, error, sizeof error));
  CHECK(channels[0] == 1 && channels[1] == 1 + PAIRS && channels[2] == 1 && channels[3] == 1 + PAIRS);
  OK(rw_spec_fingerprint(spec, 0, fingerprint, error, sizeof error));
  CHECK(strlen(fingerprint) == RW_FINGERPRINT_SIZE - 1);
  fields.theta = 0.5;
  CHECK(rw_spec_create(&fields, &refused, error, sizeof error) == RW_INVALID && refused == NULL);
  CHECK(strcmp(error, "theta: want a number > 1, got 0.5") == 0);
}

static void frequencies(const rw_spec* spec) {
  rw_frequencies* made = NULL;
  rw_frequencies_fields fields = RW_FREQUENCIES_FIELDS_INIT;
  OK(rw_frequencies_create(spec, 0, &made, error, sizeof error));
  OK(rw_frequencies_get(made, &fields, error, sizeof error));
  CHECK(fields.count == PAIRS && fields.inv_freq[0] == 1.0 && fabs(fields.inv_freq[2] - 0.01) < 1e-15);
  CHECK(fields.inv_freq_fp32 == NULL && fields.attention_factor == 1.0);
  rw_frequencies_destroy(made);
}

static void positions(void) {
  int64_t made[8];
  const int64_t offsets[2] = {5, 9}, ends[3] = {0, 1, 3};
  const uint8_t mask[4] = {0, 1, 1, 1};
  OK(rw_positions_from_range(-1, 3, made, 3, error, sizeof error));
  CHECK(made[0] == -1 && made[2] == 1);
  OK(rw_positions_from_offsets(offsets, 2, 2, 2, made, 4, error, sizeof error));
  CHECK(made[0] == 5 && made[3] == 10);
  OK(rw_positions_from_cu_seqlens(ends, 3, offsets, 2, made, 3, error, sizeof error));
  CHECK(made[0] == 5 && made[1] == 9 && made[2] == 10);
  OK(rw_positions_from_mask(mask, 4, 1, 77, made, 4, error, sizeof error));
  CHECK(made[0] == 77 && made[1] == 0 && made[3] == 2);
  OK(rw_positions_for_rank(16, 2, 1, RW_SHARD_ZIGZAG, 0, made, 8, error, sizeof error));
  CHECK(made[0] == 4 && made[7] == 11);
}

static void run_here(void* pool, int parts, void (*part)(void* argument, int i), void* argument) {
  int i;
  for (i = 0; i < parts; ++i) part(argument, i);
  *(int*)pool += parts;
}

static void turning(const rw_rotary* rotary) {
  uint64_t turns[TOKENS * PAIRS];
  float x[ELEMENTS], once[ELEMENTS], back[ELEMENTS], cos_rows[TOKENS * PAIRS], sin_rows[TOKENS * PAIRS];
  float doubled[2 * TOKENS * PAIRS], halved[TOKENS * PAIRS];
  const int64_t stands[TOKENS] = {0, 1, 1000000, -7};
  const int64_t rows[TOKENS] = {0, 1, 2, 3};
  const double coordinates[TOKENS] = {0.0, 1.0, 1000000.0, -7.0};
  const rw_positions_view at = rw_positions_row(stands, TOKENS), of_rows = rw_positions_row(rows, TOKENS);
  const rw_positions_view batched = rw_positions_rows(stands, 2, 2), streams = rw_positions_streams(stands, 2, 2);
  const rw_coordinates_view points = rw_coordinates_streams(coordinates, 1, TOKENS);
  const rw_heads_view in = rw_heads_bshd(x, RW_FLOAT32, 1, TOKENS, HEADS, HEAD_DIM);
  const rw_heads_view out = rw_heads_thd(once, RW_FLOAT32, TOKENS, HEADS, HEAD_DIM);
  const rw_heads_view undone = rw_heads_thd(back, RW_FLOAT32, TOKENS, HEADS, HEAD_DIM);
  const rw_heads_view by_head = rw_heads_bhsd(back, RW_FLOAT32, 1, HEADS, TOKENS, HEAD_DIM);
  const rw_heads_view by_token = rw_heads_sbhd(back, RW_FLOAT32, TOKENS, 1, HEADS, HEAD_DIM);
  rw_operand operand = rw_in_place(&in);
  rw_cos_sin_table table = RW_COS_SIN_TABLE_INIT;
  rw_call call = RW_CALL_INIT;
  int i, parts = 0;
  CHECK(by_head.head_stride == TOKENS * HEAD_DIM && by_token.token_stride == HEADS * HEAD_DIM);
  CHECK(batched.batch_stride == 2 && streams.axis_stride == 2 && streams.axes == 2);
  CHECK(rw_spec_pairs(rw_rotary_spec(rotary)) == PAIRS && rw_rotary_frequencies(rotary) != NULL);

  fill(x);
  operand.out = &out;
  OK(rw_rotary_check(rotary, &operand, 1, &at, error, sizeof error));
  OK(rw_rotary_apply(rotary, &operand, 1, &at, NULL, error, sizeof error));
  CHECK(memcmp(once, x, HEADS * HEAD_DIM * sizeof(float)) == 0); /* nothing turns at position 0 */
  CHECK(!near(once, x, 0.5f));
  operand.in = &out;
  operand.out = &undone;
  call.direction = RW_INVERSE;
  call.threads = 2;
  call.run = run_here;
  call.pool = &parts;
  OK(rw_rotary_apply(rotary, &operand, 1, &at, &call, error, sizeof error));
  CHECK(near(back, x, 1e-5f));

  operand.in = &in;
  OK(rw_rotary_check_coordinates(rotary, &operand, 1, &points, error, sizeof error));
  OK(rw_rotary_apply_coordinates(rotary, &operand, 1, &points, NULL, error, sizeof error));
  CHECK(near(back, once, 1e-5f));

  OK(rw_rotary_fill_turns(rotary, &at, turns, TOKENS * PAIRS, error, sizeof error));
  CHECK(turns[0] == 0 && turns[PAIRS] != 0);
  OK(rw_rotary_fill_table(rotary, &at, cos_rows, TOKENS * PAIRS, sin_rows, TOKENS * PAIRS, error, sizeof error));
  for (i = 0; i < 2 * TOKENS * PAIRS; ++i) doubled[i] = cos_rows[i / 2];
  OK(rw_halve_table(doubled, 2 * TOKENS * PAIRS, TOKENS, RW_LAYOUT_INTERLEAVED, halved, TOKENS * PAIRS, error,
                    sizeof error));
  table.cos = halved;
  table.sin = sin_rows;
  table.rows = TOKENS;
  table.row_stride = PAIRS;
  OK(rw_rotary_check_table(rotary, &operand, 1, &table, &of_rows, RW_FORWARD, error, sizeof error));
  OK(rw_rotary_apply_table(rotary, &operand, 1, &table, &of_rows, NULL, error, sizeof error));
  CHECK(memcmp(back, once, sizeof once) == 0);
}

static void caches(const rw_rotary* rotary, const rw_spec* spec, const rw_spec* stretched) {
  float x[ELEMENTS], kept[ELEMENTS], turned[ELEMENTS], scales[TOKENS * HEADS];
  int8_t codes[ELEMENTS];
  const int64_t stands[TOKENS] = {3, 4, 5, 6}, deltas[TOKENS] = {2, 2, 2, 2}, moved[TOKENS] = {5, 6, 7, 8};
  const int64_t blocks[2] = {1, 0};
  int64_t slots[TOKENS];
  const rw_positions_view at = rw_positions_row(stands, TOKENS), by = rw_positions_row(deltas, TOKENS);
  const rw_positions_view then = rw_positions_row(moved, TOKENS);
  const rw_heads_view keys = rw_heads_thd(x, RW_FLOAT32, TOKENS, HEADS, HEAD_DIM);
  const rw_heads_view result = rw_heads_thd(turned, RW_FLOAT32, TOKENS, HEADS, HEAD_DIM);
  const rw_cache_view cache = rw_cache_by_token(kept, RW_CACHE_FLOAT32, 2, 2, HEADS, HEAD_DIM, NULL);
  const rw_cache_view int8 = rw_cache_by_head(codes, RW_CACHE_INT8, 2, 2, HEADS, HEAD_DIM, scales);
  rw_append append = RW_APPEND_INIT;
  rw_head_norm norm = RW_HEAD_NORM_INIT;
  rw_operand operand = rw_in_place(&keys);
  rw_rerotation *there = NULL, *back = NULL;

  CHECK(rw_cache_row_bytes(RW_CACHE_INT8, HEAD_DIM) == HEAD_DIM);
  OK(rw_slots_of_pages(blocks, 2, 2, 0, TOKENS, slots, TOKENS, error, sizeof error));
  CHECK(slots[0] == 2 && slots[3] == 1);

  /* A key that is stored at p and shifted by d is the key at p + d. */
  fill(x);
  append.keys = &keys;
  append.key_cache = &cache;
  append.values = &keys;
  append.value_cache = &int8;
  append.key_norm = &norm;
  append.slots = slots;
  append.slots_count = TOKENS;
  OK(rw_cache_check_append(rotary, &append, &at, error, sizeof error));
  OK(rw_cache_append(rotary, &append, &at, NULL, error, sizeof error));
  OK(rw_cache_check_shift(rotary, &cache, slots, TOKENS, &by, error, sizeof error));
  OK(rw_cache_shift(rotary, &cache, slots, TOKENS, &by, NULL, error, sizeof error));
  operand.out = &result;
  OK(rw_rotary_apply(rotary, &operand, 1, &then, NULL, error, sizeof error));
  /* Slots 2, 3, 0, 1: the halves of the cache are exchanged. */
  memcpy(x, kept + ELEMENTS / 2, sizeof x / 2);
  memcpy(x + ELEMENTS / 2, kept, sizeof x / 2);
  CHECK(near(x, turned, 1e-5f));

  /* To another scaling and back. */
  OK(rw_rerotation_create(spec, 0, stretched, 0, &there, error, sizeof error));
  OK(rw_rerotation_create(stretched, 0, spec, 0, &back, error, sizeof error));
  CHECK(rw_rerotation_gain(there) > 1.0 && fabs(rw_rerotation_gain(there) * rw_rerotation_gain(back) - 1.0) < 1e-12);
  OK(rw_rerotation_check(there, &cache, slots, TOKENS, &then, error, sizeof error));
  OK(rw_rerotation_apply(there, &cache, slots, TOKENS, &then, NULL, error, sizeof error));
  memcpy(turned, kept + ELEMENTS / 2, sizeof x / 2);
  memcpy(turned + ELEMENTS / 2, kept, sizeof x / 2);
  CHECK(!near(x, turned, 1e-3f));
  OK(rw_rerotation_check_heads(back, &result, &then, error, sizeof error));
  OK(rw_rerotation_apply_heads(back, &result, &then, NULL, error, sizeof error));
  CHECK(near(x, turned, 1e-5f));
  rw_rerotation_destroy(there);
  rw_rerotation_destroy(back);
}

static void checkpoints(void) {
  static const char kConfig[] =
      "{\"model_type\": \"llama\", \"hidden_size\": 64, \"num_attention_heads\": 4, \"num_hidden_layers\": 2,"
      " \"rope_theta\": 10000.0, \"max_position_embeddings\": 2048}";
  rw_checkpoint* checkpoint = NULL;
  rw_hazards* hazards = NULL;
  rw_read_options options = RW_READ_OPTIONS_INIT;
  rw_checkpoint_fields fields = RW_CHECKPOINT_FIELDS_INIT;
  rw_layer_kind kind = RW_LAYER_KIND_INIT;
  rw_provenance from = RW_PROVENANCE_INIT;
  rw_hazard hazard = RW_HAZARD_INIT;
  char fingerprint[RW_FINGERPRINT_SIZE];
  options.family = "llama";
  CHECK(rw_checkpoint_from_path("/no/such/file", &options, &checkpoint, error, sizeof error) == RW_UNAVAILABLE);
  OK(rw_checkpoint_from_json(kConfig, sizeof kConfig - 1, NULL, &options, &checkpoint, error, sizeof error));
  OK(rw_checkpoint_get(checkpoint, &fields, error, sizeof error));
  CHECK(strcmp(fields.model_type, "llama") == 0 && fields.layer_count == 2 && fields.kinds_count == 1);
  CHECK(fields.keys_used_count > 0 && fields.keys_used[0][0] != '\0');
  OK(rw_checkpoint_kind(checkpoint, 0, &kind, error, sizeof error));
  CHECK(kind.head_dim == 16 && rw_spec_pairs(kind.spec) == 8 && kind.layers_count == 2 && kind.layers[1] == 1);
  OK(rw_checkpoint_provenance(checkpoint, 0, &from, error, sizeof error));
  CHECK(from.what[0] != '\0' && from.from[0] != '\0');
  OK(rw_checkpoint_fingerprint(checkpoint, 0, fingerprint, error, sizeof error));
  OK(rw_checkpoint_hazards(checkpoint, 100000, &hazards, error, sizeof error));
  CHECK(rw_hazards_count(hazards) > 0);
  OK(rw_hazards_get(hazards, 0, &hazard, error, sizeof error));
  CHECK(hazard.message[0] != '\0');
  rw_hazards_destroy(hazards);
  rw_checkpoint_destroy(checkpoint);
}

static void weights_and_lengths(void) {
  rw_relayout relayout = RW_RELAYOUT_INIT;
  const int32_t rows[4] = {10, 11, 12, 13};
  int32_t order[4], permuted[4];
  rw_dynamic_length* length = NULL;
  int64_t now = 0;
  relayout.from = RW_LAYOUT_HALF;
  relayout.to = RW_LAYOUT_INTERLEAVED;
  relayout.head_dim = relayout.rotary_dim = 4;
  OK(rw_channel_order(&relayout, order, 4, error, sizeof error));
  CHECK(order[0] == 0 && order[1] == 2 && order[2] == 1 && order[3] == 3);
  OK(rw_permute_rows(&relayout, 1, sizeof rows[0], rows, sizeof rows, permuted, sizeof permuted, error, sizeof error));
  CHECK(permuted[1] == 12 && permuted[2] == 11);

  OK(rw_dynamic_length_create(4096, RW_RESET_BELOW_TRAINED, &length, error, sizeof error));
  OK(rw_dynamic_length_observe(length, 10000, &now, error, sizeof error));
  CHECK(now == 10000 && rw_dynamic_length_current(length) == 10000 && rw_dynamic_length_epoch(length) == 1);
  rw_dynamic_length_destroy(length);
}

static void beside_rotation(void) {
  rw_sinusoidal_fields fields = RW_SINUSOIDAL_FIELDS_INIT;
  rw_alibi alibi = RW_ALIBI_INIT;
  rw_t5 t5 = RW_T5_INIT;
  rw_sinusoidal* sinusoidal = NULL;
  rw_bias* bias = NULL;
  const int64_t where[2] = {0, 1}, apart[3] = {-1, 0, 1000};
  const rw_positions_view view = rw_positions_row(where, 2);
  float rows[8], block[8], table[8] = {0, 1, 2, 3, 4, 5, 6, 7};
  double slopes[2];
  int32_t buckets[3];
  size_t count = 0;
  fields.dim = 4;
  fields.order = RW_SINUSOID_INTERLEAVED;
  fields.exponent = RW_SINUSOID_EXPONENT_PAPER;
  OK(rw_sinusoidal_create(&fields, &sinusoidal, error, sizeof error));
  CHECK(rw_sinusoidal_inv_freq(sinusoidal, &count)[0] == 1.0 && count == 2);
  OK(rw_sinusoidal_fill(sinusoidal, &view, rows, 8, error, sizeof error));
  CHECK(rows[0] == 0.0f && rows[1] == 1.0f && rows[4] > 0.84f && rows[4] < 0.85f);
  rw_sinusoidal_destroy(sinusoidal);

  alibi.heads = 2;
  OK(rw_alibi_slopes(2, 8.0, slopes, 2, error, sizeof error));
  CHECK(slopes[0] == 0.0625 && slopes[1] == 0.00390625);
  OK(rw_bias_create_alibi(&alibi, &bias, error, sizeof error));
  CHECK(rw_bias_heads(bias) == 2);
  OK(rw_bias_fill(bias, where, 2, where, 2, block, 8, error, sizeof error));
  CHECK(block[0] == 0.0f && block[2] == -0.0625f && block[6] == -0.00390625f);
  rw_bias_destroy(bias);

  t5.heads = 1;
  t5.num_buckets = 8;
  t5.table = table;
  t5.table_count = 8;
  OK(rw_t5_buckets(8, 128, 0, apart, 3, buckets, error, sizeof error));
  CHECK(buckets[0] == 5 && buckets[1] == 0 && buckets[2] == 3);
  OK(rw_bias_create_t5(&t5, &bias, error, sizeof error));
  OK(rw_bias_fill(bias, where, 1, where, 2, block, 2, error, sizeof error));
  CHECK(block[0] == 0.0f && block[1] == 5.0f);
  rw_bias_destroy(bias);
}

int main(void) {
  rw_yarn yarn = RW_YARN_INIT;
  rw_spec *spec, *stretched;
  rw_rotary* rotary = NULL;
  yarn.factor = 4.0;
  yarn.trained_context = 2048;
  spec = make_spec(NULL);
  stretched = make_spec(&yarn);
  OK(rw_rotary_create(spec, 0, &rotary, error, sizeof error));
  versions();
  specs(spec);
  frequencies(spec);
  positions();
  turning(rotary);
  caches(rotary, spec, stretched);
  checkpoints();
  weights_and_lengths();
  beside_rotation();
  rw_rotary_destroy(rotary);
  rw_spec_destroy(spec);
  rw_spec_destroy(stretched);
  puts("every function of ropewalk.h");
  return 0;
}
