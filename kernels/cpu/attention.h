/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention, written once over the vectors of a level: the file that includes
 * this has included the level's vectors before.
 *
 * Positions are taken a tile at a time: the scores of a tile, their softmax
 * against the largest so far (Milakov and Gimelshein 2018, by tiles as in Dao
 * and others 2022), then V by these weights.  Up to four heads share what was
 * widened of K and V, so that a group of four reads its cache once
 * (attention_rows.h); tokens share a tile of one head of K and V in the nearest
 * cache.
 *
 * The rows of all heads of K and V lie side by side, and memory is fastest when
 * it is walked straight on.  So one token, which memory bounds, scores a few
 * rows for all heads before the next rows, and sums V likewise; meanwhile it
 * asks for the next rows, piece by piece in the order in which they lie.  They
 * are asked into the second cache: the first can wait for too few lines at
 * once.
 *
 * Orders of rounding: q.k in LANES lanes, one rounding each, which
 * vec_sum_each() adds.  Of f32, element c goes to lane c mod LANES, c
 * ascending; of bf16, element c to lane c / 2 mod LANES, the even element
 * first, up to the last whole 2 LANES elements of the first WOVEN, and the
 * others as of f32.  The sum of weights in LANES lanes of a tile, then tiles;
 * the sums of v by positions ascending, one rounding each, rescaled once a
 * tile.  None depends on the heads or tokens beside one, nor on whether a token
 * sees more positions.
 */
#ifndef WEIR_KERNELS_CPU_ATTENTION_H
#define WEIR_KERNELS_CPU_ATTENTION_H

#include <math.h>

#include "kernels/cpu/attention_rows.h"

/*
 * Turns n scores into weights, and moves the sum and the largest score of the
 * part on.  Returns what the sums of v are to be multiplied by.
 */
INLINE float weigh(float *score, size_t n, float *sum, float *largest)
{
    vec most = vec_all(*largest), total = vec_all(0.0f);
    float keep;

    for (size_t p = n; p % LANES; p++)
        score[p] = -INFINITY;
    for (size_t p = 0; p < n; p += LANES)
        most = vec_max(vec_load(score + p, LANES), most);
    most = vec_all(vec_largest(most));
    keep = vec_first(vec_exp(vec_all(*largest) - most));
    for (size_t p = 0; p < n; p += LANES) {
        vec weight = vec_exp(vec_load(score + p, LANES) - most);

        vec_store(score + p, weight, LANES);
        total += weight;
    }
    *sum = *sum * keep + vec_sum(total);
    *largest = vec_first(most);
    return keep;
}

/* The same of n positions, and what their sums of v are to be multiplied by */
INLINE void weigh_heads(size_t hd, size_t n_heads, size_t n, float *score,
                        float *keep, float *part)
{
    for (size_t h = 0; h < n_heads; h++, part += weir_part_size(hd))
        keep[h] = weigh(score + h * TILE, n, part + hd, part + hd + 1);
}

/* K and V from some position on, all heads */
struct cache {
    const uint8_t *k, *v;
    size_t ld_bytes, head_bytes;
};

INLINE struct rows rows_of(const struct cache *cache, const uint8_t *first,
                           size_t kv, size_t n)
{
    struct rows rows = {.first = first + kv * cache->head_bytes,
                        .n = n,
                        .ld_bytes = cache->ld_bytes};

    return rows;
}

/* Share i of n of the n_rows rows from `next` on, for which as many ask */
INLINE void share(struct rows *rows, const uint8_t *next, size_t n_rows,
                  size_t i, size_t n)
{
    rows->share_bytes = n_rows * rows->ld_bytes / n;
    rows->next = next + i * rows->share_bytes;
}

/* A tile of n positions for one token, a few rows of all heads at a time */
INLINE void attend_one(enum weir_dtype dtype, const struct weir_attention *attn,
                       const struct query *query, const struct cache *at,
                       size_t n)
{
    const size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;
    const size_t ld = at->ld_bytes, n_kv = attn->n_kv;
    float score[MOST * TILE], keep[MOST];

    for (size_t p = 0, next = FEW; p < n; p += FEW, next += FEW)
        for (size_t kv = 0, h = 0; kv < n_kv; kv++, h += group) {
            struct rows k = rows_of(at, at->k + p * ld, kv, least(FEW, n - p));

            share(&k, next < n ? at->k + next * ld : at->v + (next - n) * ld,
                  FEW, kv, n_kv);
            score_heads(dtype, attn, &k, attn->q + h * hd, query + h, group,
                        score + h * TILE + p);
        }
    weigh_heads(hd, attn->n_heads, n, score, keep, attn->part);
    for (size_t p = 0, next = FEW; p < n; p += FEW, next += FEW)
        for (size_t kv = 0, h = 0; kv < n_kv; kv++, h += group) {
            struct rows v = rows_of(at, at->v + p * ld, kv, least(FEW, n - p));

            share(&v, (next < n ? at->v : at->k) + next * ld, FEW, kv, n_kv);
            mix_heads(dtype, &v, hd, group, score + h * TILE + p, keep + h,
                      attn->part + h * weir_part_size(hd));
            for (size_t i = h; i < h + group; i++)
                keep[i] = 1;
        }
}

INLINE void weave_queries(enum weir_dtype dtype, size_t head_dim,
                          const float *q, size_t n_heads, struct query *query)
{
    vec two[2], woven[2];

    for (size_t h = 0; h < n_heads; h++, q += head_dim)
        for (size_t i = 0; i < woven_of(dtype, head_dim); i += TWO) {
            two[0] = vec_load(q + i, LANES);
            two[1] = vec_load(q + i + LANES, LANES);
            vec_weave(two, woven);
            vec_store(query[h].woven + i, woven[0], LANES);
            vec_store(query[h].woven + i + LANES, woven[1], LANES);
        }
}

/* The sums of v of n heads from their order as they were summed to their own */
INLINE void unweave_parts(enum weir_dtype dtype, size_t head_dim, float *part,
                          size_t n_heads)
{
    vec two[2], woven[2];

    for (size_t h = 0; h < n_heads; h++, part += weir_part_size(head_dim))
        for (size_t i = 0; i < woven_of(dtype, head_dim); i += TWO) {
            woven[0] = vec_load(part + i, LANES);
            woven[1] = vec_load(part + i + LANES, LANES);
            vec_unweave(woven, two);
            vec_store(part + i, two[0], LANES);
            vec_store(part + i + LANES, two[1], LANES);
        }
}

/* A tile of n positions for one token and the heads that share one of K and V,
   with room for the scores of a few heads */
INLINE void attend_group(enum weir_dtype dtype,
                         const struct weir_attention *attn,
                         const struct rows *k, const struct rows *v,
                         const float *q, float *part)
{
    const size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;
    float score[HEADS * TILE], keep[HEADS];
    struct query query[HEADS];

    for (size_t h = 0; h < group; h += HEADS) {
        size_t n_heads = least(HEADS, group - h);

        weave_queries(dtype, hd, q + h * hd, n_heads, query);
        score_heads(dtype, attn, k, q + h * hd, query, n_heads, score);
        weigh_heads(hd, n_heads, k->n, score, keep,
                    part + h * weir_part_size(hd));
        mix_heads(dtype, v, hd, n_heads, score, keep,
                  part + h * weir_part_size(hd));
    }
}

/* A tile from position p on for all tokens, head of K and V by head */
INLINE void attend_tokens(enum weir_dtype dtype,
                          const struct weir_attention *attn,
                          const struct cache *at, size_t p)
{
    const size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;
    const size_t end = attn->first + attn->n_pos, ld = at->ld_bytes;

    for (size_t kv = 0, h = 0; kv < attn->n_kv; kv++, h += group)
        for (size_t t = 0; t < attn->n_tok; t++) {
            size_t n_seen = least(attn->n_past + t + 1, end);
            struct rows k, v;

            if (n_seen <= p)
                continue;
            k = rows_of(at, at->k, kv, least(n_seen - p, TILE));
            v = rows_of(at, at->v, kv, k.n);
            if (p + TILE < end) {
                size_t i = kv * attn->n_tok + t, n = attn->n_kv * attn->n_tok;

                share(&k, at->k + TILE * ld, TILE, i, n);
                share(&v, at->v + TILE * ld, TILE, i, n);
            }
            attend_group(dtype, attn, &k, &v, attn->q + t * attn->ld_q + h * hd,
                         attn->part + t * attn->ld_part +
                             h * weir_part_size(hd));
        }
}

static void clear_parts(const struct weir_attention *attn)
{
    const size_t hd = attn->head_dim, ld = weir_part_size(hd);

    for (size_t t = 0; t < attn->n_tok; t++) {
        float *part = attn->part + t * attn->ld_part;

        memset(part, 0, attn->n_heads * ld * sizeof(*part));
        for (size_t h = 0; h < attn->n_heads; h++)
            part[h * ld + hd + 1] = -INFINITY;
    }
}

INLINE void attend(enum weir_dtype dtype, const struct weir_attention *attn)
{
    const size_t size = dtype == WEIR_BF16 ? 2 : 4, hd = attn->head_dim;
    const size_t end = attn->first + attn->n_pos;
    const int one = attn->n_tok == 1 && attn->n_heads <= MOST;
    struct cache at = {.ld_bytes = attn->ld_kv * size, .head_bytes = hd * size};
    struct query query[MOST];

    clear_parts(attn);
    if (one)
        weave_queries(dtype, hd, attn->q, attn->n_heads, query);
    for (size_t p = attn->first; p < end; p += TILE) {
        at.k = (const uint8_t *)attn->k + p * at.ld_bytes;
        at.v = (const uint8_t *)attn->v + p * at.ld_bytes;
        if (!one)
            attend_tokens(dtype, attn, &at, p);
        else if (p <= attn->n_past)
            attend_one(dtype, attn, query, &at,
                       least(least(end, attn->n_past + 1) - p, TILE));
    }
    for (size_t t = 0; t < attn->n_tok; t++)
        unweave_parts(dtype, hd, attn->part + t * attn->ld_part, attn->n_heads);
}

static void attention(const struct weir_attention *attn)
{
    if (attn->kv_dtype == WEIR_BF16)
        attend(WEIR_BF16, attn);
    else
        attend(WEIR_F32, attn);
}

/* As in the reference, a part of no position leaves every bit. */
INLINE void join(float *part, const float *next, size_t head_dim)
{
    float *sum = part + head_dim, *largest = sum + 1, of_next = next[head_dim];
    float most = next[head_dim + 1] > *largest ? next[head_dim + 1] : *largest;
    vec keep = vec_exp(vec_all(*largest - most));
    vec weight = vec_exp(vec_all(next[head_dim + 1] - most));

    if (of_next == 0.0f)
        return;
    *sum = *sum * vec_first(keep) + of_next * vec_first(weight);
    *largest = most;
    for (size_t i = 0; i < head_dim; i += LANES) {
        size_t some = head_dim - i < LANES ? head_dim - i : LANES;
        vec kept = vec_load(part + i, some) * keep;

        vec_store(part + i, vec_fma(vec_load(next + i, some), weight, kept),
                  some);
    }
}

static void attention_join(float *part, size_t ld_part, size_t n_parts,
                           size_t n_heads, size_t head_dim, float *y)
{
    for (size_t h = 0; h < n_heads; h++, part += weir_part_size(head_dim)) {
        for (size_t i = 1; i < n_parts; i++)
            join(part, part + i * ld_part, head_dim);
        for (size_t i = 0; i < head_dim && y; i += LANES) {
            size_t some = head_dim - i < LANES ? head_dim - i : LANES;

            vec_store(y + h * head_dim + i,
                      vec_load(part + i, some) / vec_all(part[head_dim]), some);
        }
    }
}

#define ATTENTION_TABLE                                                        \
    {                                                                          \
        .attention = attention, .attention_join = attention_join,              \
    }

#endif
