/* The smallest program in C that uses the installed library: one head, one quarter turn. */
#include <ropewalk/ropewalk.h>

#include <math.h>
#include <stdio.h>

int main(void) {
  char error[256];
  float q[2] = {1.0f, 0.0f};
  const int64_t position = 1;
  const rw_heads_view heads = rw_heads_thd(q, RW_FLOAT32, 1, 1, 2);
  const rw_operand operand = rw_in_place(&heads);
  const rw_positions_view where = rw_positions_row(&position, 1);
  rw_spec_fields fields = RW_SPEC_FIELDS_INIT;
  rw_spec* spec = NULL;
  rw_rotary* rotary = NULL;
  rw_status status;
  fields.head_dim = fields.rotary_dim = 2;
  fields.theta = 10000.0;
  fields.layout = RW_LAYOUT_INTERLEAVED;
  status = rw_spec_create(&fields, &spec, error, sizeof error);
  if (status == RW_OK) status = rw_rotary_create(spec, 0, &rotary, error, sizeof error);
  if (status == RW_OK) status = rw_rotary_apply(rotary, &operand, 1, &where, NULL, error, sizeof error);
  rw_rotary_destroy(rotary);
  rw_spec_destroy(spec);
  if (status != RW_OK) return fprintf(stderr, "%s\n", error), 1;
  printf("%.6f %.6f\n", q[0], q[1]);
  return fabsf(q[0] - cosf(1.0f)) < 1e-6f && fabsf(q[1] - sinf(1.0f)) < 1e-6f ? 0 : 1;
}
