/* SPDX-License-Identifier: Apache-2.0 */
/* y = W x over the rows of a tile, and the sum over column blocks. */
#include "kernels/cpu/ref.h"

/*
 * Tokens run inside rows: a row of weights is read from memory once and then
 * stays in the first cache.  One copy of the loop for each type of weight.
 */
static inline __attribute__((always_inline)) void matmul_of(
    enum weir_dtype dtype, const struct weir_tile *w, const float *x,
    size_t ld_x, size_t n_tok, float *y, size_t ld_y)
{
    const uint8_t *row = w->data;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes)
        for (size_t t = 0; t < n_tok; t++)
            y[t * ld_y + r] = ref_dot(dtype, row, x + t * ld_x, w->cols);
}

void weir_ref_matmul(const struct weir_tile *w, const float *x, size_t ld_x,
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

/*
 * A binary counter: the ones of `block` are the sums that wait for it, and
 * each trailing one is a pair that it completes.
 */
void weir_ref_block_fold(float *partial, size_t ld, size_t n, unsigned block)
{
    float *sum = partial + weir_partial_of(block) * ld;

    for (; block & 1; block >>= 1, sum -= ld)
        for (size_t i = 0; i < n; i++)
            (sum - ld)[i] += sum[i];
}
