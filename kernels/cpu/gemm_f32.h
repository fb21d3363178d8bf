/* SPDX-License-Identifier: Apache-2.0 */
/* Words of gemm.h that are one column in f32. */
#ifndef WEIR_KERNELS_CPU_GEMM_F32_H
#define WEIR_KERNELS_CPU_GEMM_F32_H

#include "kernels/kernels.h"

#define GEMM_ACT  WEIR_F32
#define GEMM_COLS 1

/* All of an activation is its first term. */
INLINE void pack_words(const float *x, size_t ld_x, size_t n_tok, size_t left,
                       unsigned term, uint32_t *to)
{
    (void)left;
    (void)term;
    for (size_t t = 0; t < WEIR_GEMM_GROUP; t += LANES) {
        size_t n = t < n_tok ? lanes_of(n_tok, t) : 0;

        vec_store((float *)to + t, vec_gather(x + t * ld_x, ld_x, n), LANES);
    }
}

INLINE void widen_words_of(enum weir_dtype dtype, const uint8_t *row, size_t c,
                           size_t cols, size_t n, float *to)
{
    size_t i = 0;

    for (; i < cols; i += LANES)
        vec_store(to + i, vec_widen(dtype, row, c + i, lanes_of(cols, i)),
                  LANES);
    for (; i < n; i += LANES)
        vec_store(to + i, vec_all(0.0f), LANES);
}

static void widen_words(enum weir_dtype dtype, const uint8_t *row, size_t c,
                        size_t cols, size_t n, uint32_t *to)
{
    switch (dtype) {
    case WEIR_F32:
        widen_words_of(WEIR_F32, row, c, cols, n, (float *)to);
        break;
    case WEIR_BF16:
        widen_words_of(WEIR_BF16, row, c, cols, n, (float *)to);
        break;
    case WEIR_F16:
        widen_words_of(WEIR_F16, row, c, cols, n, (float *)to);
        break;
    default:
        widen_words_of(WEIR_I8, row, c, cols, n, (float *)to);
        break;
    }
}

/* sum + w * x, one rounding */
INLINE vec step(vec sum, vec w, vec x)
{
    return vec_fma(w, x, sum);
}

#endif
