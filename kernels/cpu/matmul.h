/* SPDX-License-Identifier: Apache-2.0 */
/*
 * y = W x with f32 activations, written once over the vectors of a level: the
 * file that includes this has included them and defined what matmul_many.h
 * wants, and MATMUL_FEW, the tokens that go with a row as one does.
 *
 * For so few the limit is the memory that the weights come from, and a core
 * reaches it only when it walks a row of weights as one stream, with the lines
 * asked for a page ahead.  For more it is arithmetic.
 *
 * The sum of a row is kept in 4 vectors: element c goes to lane
 * c mod (4 * LANES), c ascending, in one rounding each (FMA); the vectors are
 * added as (0+1)+(2+3), then their lanes as vec_sum_each() has it.  It does not
 * depend on the number of tokens.
 */
#ifndef WEIR_KERNELS_CPU_MATMUL_H
#define WEIR_KERNELS_CPU_MATMUL_H

#include "kernels/cpu/matmul_many.h"
#include "kernels/kernels.h"

#define NOINLINE static __attribute__((noinline))
#define AHEAD    4096 /* bytes that the prefetch runs ahead */

/* One row times `n` tokens, n a constant up to MATMUL_FEW */
INLINE void dot(enum weir_dtype dtype, const uint8_t *row, size_t cols,
                const float *x, size_t ld_x, unsigned n, float *y, size_t ld_y)
{
    const size_t bytes = bytes_of(dtype);
    vec sum[MATMUL_FEW][N_VECTOR], w;
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
            vec_sum_alone((sum[t][0] + sum[t][1]) + (sum[t][2] + sum[t][3]));
}

INLINE void multiply_few(enum weir_dtype dtype, const struct weir_tile *w,
                         const float *x, size_t ld_x, unsigned n, float *y,
                         size_t ld_y)
{
    const uint8_t *row = w->data;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes)
        dot(dtype, row, w->cols, x, ld_x, n, y + r, ld_y);
}

/* Functions by themselves, so that each loop has all registers */
#define MATMUL_OF(name, dtype)                                                 \
    NOINLINE void one_##name(const struct weir_tile *w, const float *x,        \
                             size_t ld_x, float *y, size_t ld_y)               \
    {                                                                          \
        multiply_few(dtype, w, x, ld_x, 1, y, ld_y);                           \
    }                                                                          \
    NOINLINE void few_##name(const struct weir_tile *w, const float *x,        \
                             size_t ld_x, float *y, size_t ld_y)               \
    {                                                                          \
        multiply_few(dtype, w, x, ld_x, MATMUL_FEW, y, ld_y);                  \
    }                                                                          \
    static void matmul_##name(const struct weir_tile *w, const float *x,       \
                              size_t ld_x, size_t n_tok, float *y,             \
                              size_t ld_y)                                     \
    {                                                                          \
        if (n_tok == 1)                                                        \
            one_##name(w, x, ld_x, y, ld_y);                                   \
        else if (n_tok == MATMUL_FEW)                                          \
            few_##name(w, x, ld_x, y, ld_y);                                   \
        else                                                                   \
            multiply_many(dtype, w, x, ld_x, n_tok, y, ld_y);                  \
    }

MATMUL_OF(f32, WEIR_F32)
MATMUL_OF(bf16, WEIR_BF16)
MATMUL_OF(f16, WEIR_F16)
MATMUL_OF(i8, WEIR_I8)

static void matmul(const struct weir_tile *w, const float *x, size_t ld_x,
                   size_t n_tok, float *y, size_t ld_y)
{
    switch (w->dtype) {
    case WEIR_F32:
        matmul_f32(w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_BF16:
        matmul_bf16(w, x, ld_x, n_tok, y, ld_y);
        break;
    case WEIR_F16:
        matmul_f16(w, x, ld_x, n_tok, y, ld_y);
        break;
    default:
        matmul_i8(w, x, ld_x, n_tok, y, ld_y);
        break;
    }
}

#endif
