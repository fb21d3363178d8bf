/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention in one pass over the positions.  The softmax is kept relative to
 * the largest score so far; when a larger one comes, what has been summed is
 * scaled down to it (Milakov and Gimelshein 2018, algorithm 3, with V summed
 * along).  Memory does not grow with the context, and a token's result does
 * not depend on the tokens beside it.
 */
#include "kernels/cpu/ref.h"

/* y = y * keep + v * weight */
static inline __attribute__((always_inline)) void mix(enum weir_dtype dtype,
                                                      float *y, float keep,
                                                      const void *v,
                                                      float weight, size_t n)
{
    for (size_t i = 0; i < n; i++)
        y[i] = y[i] * keep + ref_widen_one(dtype, v, i) * weight;
}

/* One token that sees positions [0, n_seen) */
static inline __attribute__((always_inline)) void attend(
    enum weir_dtype dtype, const struct weir_attention *attn, const float *q,
    size_t n_seen, float *y)
{
    size_t ld_bytes = attn->ld_kv * weir_dtype_bytes(dtype);
    const uint8_t *k = attn->k, *v = attn->v;
    float largest = -INFINITY, sum = 0.0f;

    memset(y, 0, attn->head_dim * sizeof(*y));
    for (size_t p = 0; p < n_seen; p++, k += ld_bytes, v += ld_bytes) {
        float score = ref_dot(dtype, k, q, attn->head_dim) * attn->scale;
        float keep = 1.0f, weight = 1.0f;

        if (score > largest) {
            keep = expf(largest - score);
            largest = score;
        } else {
            weight = expf(score - largest);
        }
        sum = sum * keep + weight;
        mix(dtype, y, keep, v, weight, attn->head_dim);
    }
    for (size_t i = 0; i < attn->head_dim; i++)
        y[i] /= sum;
}

void weir_ref_attention(const struct weir_attention *attn)
{
    for (size_t t = 0; t < attn->n_tok; t++) {
        const float *q = attn->q + t * attn->ld_q;
        float *y = attn->y + t * attn->ld_y;

        if (attn->kv_dtype == WEIR_BF16)
            attend(WEIR_BF16, attn, q, attn->n_past + t + 1, y);
        else
            attend(WEIR_F32, attn, q, attn->n_past + t + 1, y);
    }
}
