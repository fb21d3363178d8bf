/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention in one pass over the positions.  The softmax is kept relative to
 * the largest score so far; when a larger one comes, what has been summed is
 * scaled down to it (Milakov and Gimelshein 2018, algorithm 3, with V summed
 * along).  Memory does not grow with the context, and a token's result does
 * not depend on the tokens beside it.  Spans of positions are joined in the
 * same way, as by a position that weighs as much as a whole span.
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

/* One token and head, over positions [attn->first, end) of K and V */
static inline __attribute__((always_inline)) void attend(
    enum weir_dtype dtype, const struct weir_attention *attn, const float *q,
    size_t kv, size_t end, float *part)
{
    size_t hd = attn->head_dim, size = weir_dtype_bytes(dtype);
    size_t at = (attn->first * attn->ld_kv + kv * hd) * size;
    const uint8_t *k = (const uint8_t *)attn->k + at;
    const uint8_t *v = (const uint8_t *)attn->v + at;
    float largest = -INFINITY, sum = 0.0f;

    memset(part, 0, hd * sizeof(*part));
    for (size_t p = attn->first; p < end; p++) {
        float score = ref_dot(dtype, k, q, hd) * attn->scale;
        float keep = 1.0f, weight = 1.0f;

        if (score > largest) {
            keep = expf(largest - score);
            largest = score;
        } else {
            weight = expf(score - largest);
        }
        sum = sum * keep + weight;
        mix(dtype, part, keep, v, weight, hd);
        k += attn->ld_kv * size;
        v += attn->ld_kv * size;
    }
    part[hd] = sum;
    part[hd + 1] = largest;
}

void weir_ref_attention(const struct weir_attention *attn)
{
    size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;

    for (size_t t = 0; t < attn->n_tok; t++)
        for (size_t h = 0; h < attn->n_heads; h++) {
            size_t n_seen = attn->n_past + t + 1;
            size_t end = attn->first + attn->n_pos;
            const float *q = attn->q + t * attn->ld_q + h * hd;
            float *part =
                attn->part + t * attn->ld_part + h * weir_part_size(hd);

            end = n_seen < end ? n_seen : end;
            if (attn->kv_dtype == WEIR_BF16)
                attend(WEIR_BF16, attn, q, h / group, end, part);
            else
                attend(WEIR_F32, attn, q, h / group, end, part);
        }
}

/* The part of no position has no say: not even a zero's sign is changed. */
static void join(float *part, const float *next, size_t head_dim)
{
    float *sum = part + head_dim, *largest = sum + 1, keep, weight, most;

    if (next[head_dim] == 0.0f)
        return;
    most = next[head_dim + 1] > *largest ? next[head_dim + 1] : *largest;
    keep = expf(*largest - most);
    weight = expf(next[head_dim + 1] - most);
    *largest = most;
    mix(WEIR_F32, part, keep, next, weight, head_dim);
    *sum = *sum * keep + next[head_dim] * weight;
}

void weir_ref_attention_join(float *part, size_t ld_part, size_t n_parts,
                             size_t n_heads, size_t head_dim, float *y)
{
    for (size_t h = 0; h < n_heads; h++, part += weir_part_size(head_dim)) {
        for (size_t i = 1; i < n_parts; i++)
            join(part, part + i * ld_part, head_dim);
        for (size_t i = 0; i < head_dim && y; i++)
            y[h * head_dim + i] = part[i] / part[head_dim];
    }
}
