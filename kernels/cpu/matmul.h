/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = W x for few tokens at a time, with f32 activations, written once over the
 * vectors of a level: the file that includes this has included them and defined
 * MATMUL_TOK, the tokens that share what was widened of a row.
 *
 * For one token the limit is the memory that the weights come from, and a core
 * reaches it only when it walks a row of weights as one stream, with the lines
 * asked for a page ahead.  For more tokens than MATMUL_TOK the row is taken
 * again, from the first cache.
 *
 * The sum of a row is kept in 4 vectors: element c goes to lane
 * c mod (4 * LANES), c ascending, in one rounding each (FMA); the vectors are
 * added as (0+1)+(2+3), then their lanes as vec_sum() has it.  It does not
 * depend on the number of tokens.
 */
#ifndef WEIR_KERNELS_CPU_MATMUL_H
#define WEIR_KERNELS_CPU_MATMUL_H

#include "kernels/kernels.h"

#define AHEAD    4096 /* bytes that the prefetch runs ahead */
#define N_VECTOR 4
#define STEP     (N_VECTOR * LANES) /* weights of one step */

/* One row times `n` tokens, n a constant up to MATMUL_TOK */
INLINE void dot(enum weir_dtype dtype, const uint8_t *row, size_t cols,
                const float *x, size_t ld_x, unsigned n, float *y, size_t ld_y)
{
    const size_t bytes = dtype == WEIR_F32 ? 4 : dtype == WEIR_I8 ? 1 : 2;
    vec sum[MATMUL_TOK][N_VECTOR], w;
    size_t c = 0;

    UNROLL
    for (unsigned t = 0; t < n; t++)
        UNROLL
    for (unsigned v = 0; v < N_VECTOR; v++)
        sum[t][v] = vec_all(0.0f);
    for (; c + STEP <= cols; c += STEP) {
        for (unsigned at = 0; at < STEP * bytes; at += 64)
            __builtin_prefetch(row + c * bytes + at + AHEAD, 0, 3);
        UNROLL
        for (unsigned v = 0; v < N_VECTOR; v++) {
            size_t i = c + v * LANES;

            w = vec_widen(dtype, row, i, LANES);
            UNROLL
            for (unsigned t = 0; t < n; t++)
                sum[t][v] =
                    vec_fma(w, vec_load(x + t * ld_x + i, LANES), sum[t][v]);
        }
    }
    UNROLL
    for (unsigned v = 0; v < N_VECTOR; v++) {
        size_t i = c + v * LANES, some = i < cols ? lanes_of(cols, i) : 0;

        if (!some)
            break;
        w = vec_widen(dtype, row, i, some);
        UNROLL
        for (unsigned t = 0; t < n; t++)
            sum[t][v] = vec_fma(w, vec_load(x + t * ld_x + i, some), sum[t][v]);
    }
    UNROLL
    for (unsigned t = 0; t < n; t++)
        y[t * ld_y] =
            vec_sum((sum[t][0] + sum[t][1]) + (sum[t][2] + sum[t][3]));
}

INLINE void matmul_of(enum weir_dtype dtype, const struct weir_tile *w,
                      const float *x, size_t ld_x, size_t n_tok, float *y,
                      size_t ld_y)
{
    const uint8_t *row = w->data;
    size_t t;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes, y++) {
        for (t = 0; t + MATMUL_TOK <= n_tok; t += MATMUL_TOK)
            dot(dtype, row, w->cols, x + t * ld_x, ld_x, MATMUL_TOK,
                y + t * ld_y, ld_y);
        for (; t < n_tok; t++)
            dot(dtype, row, w->cols, x + t * ld_x, ld_x, 1, y + t * ld_y, ld_y);
    }
}

static void matmul(const struct weir_tile *w, const float *x, size_t ld_x,
                   size_t n_tok, float *y, size_t ld_y)
{
    switch (w->dtype) {
    case WEIR_F32:
        matmul_of(WEIR_F32, w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_BF16:
        matmul_of(WEIR_BF16, w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_F16:
        matmul_of(WEIR_F16, w, x, ld_x, n_tok, y, ld_y);
        break;
    default:
        matmul_of(WEIR_I8, w, x, ld_x, n_tok, y, ld_y);
        break;
    }
}

#endif
