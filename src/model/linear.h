/* SPDX-License-Identifier: Apache-2.0 */
/* Products of activations with the matrices of the file. */
#ifndef WEIR_MODEL_LINEAR_H
#define WEIR_MODEL_LINEAR_H

#include "model/jamba.h"

/*
 * y[t][r] = (sum over c of W[r][c] * x[t][c]) * scale[r] + bias[r] for n_tok <=
 * WEIR_CHUNK_TOK tokens, with x [n_tok][ld_x] and y [n_tok][ld_y] apart from
 * each other.  Sums over column blocks are the tree of block_fold(); scale and
 * bias come after.
 */
struct weir_product {
    const struct weir_linear *linear;
    const float *x;
    size_t ld_x, n_tok;
    float *y;
    size_t ld_y;
    size_t first_item; /* set and used within weir_linear_run() */
};

/*
 * Computes n products that do not need each other, side by side.  Every thread
 * of the model's pool takes part; the result does not depend on how many they
 * are.  Allocates nothing.  The error, if tiles are bad, is that of the first
 * of them.
 */
int weir_linear_run(struct weir_jamba *jamba, struct weir_product *products,
                    size_t n, struct weir_err *err);

/* One product. */
int weir_linear_apply(struct weir_jamba *jamba,
                      const struct weir_linear *linear, const float *x,
                      size_t ld_x, size_t n_tok, float *y, size_t ld_y,
                      struct weir_err *err);

/*
 * Widens row `row` of the matrix `tensor` into y [cols]: an embedding.  Uses
 * the scratch of worker 0.
 */
int weir_linear_row(struct weir_jamba *jamba, uint32_t tensor, uint64_t row,
                    float *y, struct weir_err *err);

#endif
