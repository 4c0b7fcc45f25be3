/* Reads what a checkpoint says about its positions, and rotates queries and keys of one layer in place.
 *
 *     rotate_a_checkpoint config.json
 */
#include <ropewalk/ropewalk.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TOKENS = 16, Q_HEADS = 32, K_HEADS = 8 };

int main(int count, char** arguments) {
  char error[256] = "want the path of a config.json or a GGUF";
  rw_checkpoint* checkpoint = NULL;
  rw_layer_kind kind = RW_LAYER_KIND_INIT;
  rw_rotary* rotary = NULL;
  float *q = NULL, *k = NULL;
  int64_t positions[TOKENS];
  int result = 1, refused = 1;

  /* What the checkpoint asks for; the first of its kinds of layers. */
  if (count != 2) goto end;
  if (rw_checkpoint_from_path(arguments[1], NULL, &checkpoint, error, sizeof error) != RW_OK) goto end;
  if (rw_checkpoint_kind(checkpoint, 0, &kind, error, sizeof error) != RW_OK) goto end;
  printf("%s: %s\n", kind.name, kind.spec != NULL ? rw_spec_text(kind.spec) : "does not rotate");
  /* Made once a model, shared by any number of threads. */
  if (rw_rotary_create(kind.spec, 0, &rotary, error, sizeof error) != RW_OK) goto end;

  /* [1, TOKENS, heads, head_dim], contiguous: 16 tokens behind a cache of 1 000 000. */
  q = malloc(sizeof *q * TOKENS * Q_HEADS * (size_t)kind.head_dim);
  k = malloc(sizeof *k * TOKENS * K_HEADS * (size_t)kind.head_dim);
  if (q == NULL || k == NULL) goto end;
  for (int64_t i = 0; i < (int64_t)TOKENS * Q_HEADS * kind.head_dim; ++i) q[i] = 1.0f;
  for (int64_t i = 0; i < (int64_t)TOKENS * K_HEADS * kind.head_dim; ++i) k[i] = 1.0f;
  if (rw_positions_from_range(1000000, TOKENS, positions, TOKENS, error, sizeof error) != RW_OK) goto end;

  {
    // region rotate
    const rw_heads_view q_view = rw_heads_bshd(q, RW_FLOAT32, 1, TOKENS, Q_HEADS, kind.head_dim);
    const rw_heads_view k_view = rw_heads_bshd(k, RW_FLOAT32, 1, TOKENS, K_HEADS, kind.head_dim);
    const rw_operand operands[] = {rw_in_place(&q_view), rw_in_place(&k_view)};
    const rw_positions_view where = rw_positions_row(positions, TOKENS);
    if (rw_rotary_apply(rotary, operands, 2, &where, NULL, error, sizeof error) != RW_OK) goto end;
    // endregion
  }
  printf("q[0, 0, 0] = %.6f   (cos - sin of 1000000 radians: 1.286746)\n", q[0]);
  refused = 0;
  result = fabs(q[0] - 1.286746) < 1e-6 ? 0 : 1;

end:
  if (refused) fprintf(stderr, "%s\n", error);
  free(q);
  free(k);
  rw_rotary_destroy(rotary);
  rw_checkpoint_destroy(checkpoint);
  return result;
}
