/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention, written once over the vectors of a level: the file that includes
 * this has included the level's vectors before.
 *
 * Positions are taken a tile at a time: the scores of a tile, their softmax
 * against the largest so far (Milakov and Gimelshein 2018, by tiles as in Dao
 * and others 2022), then V by these weights.  Up to four heads share what was
 * widened of K and V, so that a group of four reads its cache once; tokens
 * share a tile of one head of K and V in the nearest cache.
 *
 * The rows of all heads of K and V lie side by side, and memory is fastest when
 * it is walked straight on.  So one token, which memory bounds, scores a few
 * rows for all heads before the next rows, and sums V likewise; with each row
 * it asks for a piece of the next rows, in the order in which they lie.  They
 * are asked into the second cache: the first can wait for too few lines at
 * once.
 *
 * Orders of rounding: q.k in LANES lanes (element c in lane c mod LANES, c
 * ascending, one rounding each), which vec_sum_each() adds; the sum of weights
 * in LANES lanes of a tile, then tiles; the sums of v by positions ascending,
 * one rounding each, rescaled once a tile.  None depends on the heads or tokens
 * beside one, nor on whether a token sees more positions.
 */
#ifndef WEIR_KERNELS_CPU_ATTENTION_H
#define WEIR_KERNELS_CPU_ATTENTION_H

#include <math.h>
#include <string.h>

#include "kernels/kernels.h"

#define TILE  64          /* positions; a multiple of FEW */
#define FEW   16          /* positions for all heads; a multiple of LANES */
#define MOST  64          /* heads of one token whose scores wait */
#define HEADS 4           /* that share a widened row */
#define WIDE  (LANES / 4) /* vectors of v that are summed side by side */

/* Rows of one head of K or V, and what is asked for meanwhile */
struct rows {
    const uint8_t *first;
    size_t n, ld_bytes;
    const uint8_t *next;
    size_t share_bytes; /* of next, with each row */
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

INLINE void ask_for_next(const struct rows *rows, size_t row)
{
    const uint8_t *next = rows->next + row * rows->share_bytes;

    for (size_t at = 0; at < rows->share_bytes; at += 64)
        _mm_prefetch((const char *)next + at, _MM_HINT_T1);
}

/* Elements i to i + some - 1 of q.k, for n heads and LANES / n rows of K */
INLINE void dot_some(enum weir_dtype dtype, const uint8_t *const *k,
                     const float *q, size_t head_dim, size_t i, size_t some,
                     unsigned n, vec *sum)
{
    const unsigned n_pos = LANES / n;
    vec of_q[HEADS];

    UNROLL
    for (unsigned h = 0; h < n; h++)
        of_q[h] = vec_load(q + h * head_dim + i, some);
    UNROLL
    for (unsigned p = 0; p < n_pos; p++) {
        vec of_k = vec_widen(dtype, k[p], i, some);

        UNROLL
        for (unsigned h = 0; h < n; h++)
            sum[h * n_pos + p] = vec_fma(of_k, of_q[h], sum[h * n_pos + p]);
    }
}

/*
 * Scores of n heads, a constant, at the positions from p on.  Rows past the
 * last are the last once more: what comes of them is overwritten.
 */
INLINE void score_some(enum weir_dtype dtype, const struct rows *rows,
                       const struct weir_attention *attn, const float *q,
                       size_t p, unsigned n, float *score)
{
    const unsigned n_pos = LANES / n;
    const uint8_t *k[LANES];
    float scores[LANES];
    vec sum[LANES];
    size_t i = 0;

    UNROLL
    for (unsigned j = 0; j < n_pos; j++) {
        size_t row = least(p + j, rows->n - 1);

        k[j] = rows->first + row * rows->ld_bytes;
        ask_for_next(rows, row);
    }
    UNROLL
    for (unsigned j = 0; j < LANES; j++)
        sum[j] = vec_all(0.0f);
    for (; i + LANES <= attn->head_dim; i += LANES)
        dot_some(dtype, k, q, attn->head_dim, i, LANES, n, sum);
    if (i < attn->head_dim)
        dot_some(dtype, k, q, attn->head_dim, i, attn->head_dim - i, n, sum);
    vec_store(scores, vec_sum_each(sum) * vec_all(attn->scale), LANES);
    UNROLL
    for (unsigned h = 0; h < n; h++)
        memcpy(score + h * TILE + p, scores + h * n_pos,
               n_pos * sizeof(*scores));
}

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

/* Elements i on of the sums of v: n heads, n_vec vectors, all constants but
   `some`, the lanes of the last vector */
INLINE void mix_some(enum weir_dtype dtype, const struct rows *rows,
                     const float *weight, const float *keep, size_t i,
                     unsigned n_vec, size_t some, unsigned n, float *part,
                     size_t ld)
{
    vec sum[HEADS][WIDE], of_v;

    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned j = 0; j < n_vec; j++)
        sum[h][j] =
            vec_load(part + h * ld + i + j * LANES, some) * vec_all(keep[h]);
    for (size_t p = 0; p < rows->n; p++) {
        if (i == 0)
            ask_for_next(rows, p);
        UNROLL
        for (unsigned j = 0; j < n_vec; j++) {
            of_v = vec_widen(dtype, rows->first + p * rows->ld_bytes,
                             i + j * LANES, some);
            UNROLL
            for (unsigned h = 0; h < n; h++)
                sum[h][j] =
                    vec_fma(of_v, vec_all(weight[h * TILE + p]), sum[h][j]);
        }
    }
    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned j = 0; j < n_vec; j++)
        vec_store(part + h * ld + i + j * LANES, sum[h][j], some);
}

/* Scores of n_heads heads that share these rows of K, by as many as can be */
INLINE void score_heads(enum weir_dtype dtype,
                        const struct weir_attention *attn,
                        const struct rows *rows, const float *q, size_t n_heads,
                        float *score)
{
    const size_t hd = attn->head_dim;
    size_t h = 0;

    for (; h + 4 <= n_heads; h += 4)
        for (size_t p = 0; p < rows->n; p += LANES / 4)
            score_some(dtype, rows, attn, q + h * hd, p, 4, score + h * TILE);
    for (; h + 2 <= n_heads; h += 2)
        for (size_t p = 0; p < rows->n; p += LANES / 2)
            score_some(dtype, rows, attn, q + h * hd, p, 2, score + h * TILE);
    for (; h < n_heads; h++)
        for (size_t p = 0; p < rows->n; p += LANES)
            score_some(dtype, rows, attn, q + h * hd, p, 1, score + h * TILE);
}

/* The same of n positions, and what their sums of v are to be multiplied by */
INLINE void weigh_heads(size_t hd, size_t n_heads, size_t n, float *score,
                        float *keep, float *part)
{
    for (size_t h = 0; h < n_heads; h++, part += weir_part_size(hd))
        keep[h] = weigh(score + h * TILE, n, part + hd, part + hd + 1);
}

/* All elements of the sums of v of n heads, a constant */
INLINE void mix_all(enum weir_dtype dtype, const struct rows *rows, size_t hd,
                    const float *weight, const float *keep, unsigned n,
                    float *part)
{
    const size_t ld = weir_part_size(hd);
    size_t i = 0;

    for (; i + WIDE * LANES <= hd; i += WIDE * LANES)
        mix_some(dtype, rows, weight, keep, i, WIDE, LANES, n, part, ld);
    for (; i + LANES <= hd; i += LANES)
        mix_some(dtype, rows, weight, keep, i, 1, LANES, n, part, ld);
    if (i < hd)
        mix_some(dtype, rows, weight, keep, i, 1, hd - i, n, part, ld);
}

/* The sums of n_heads heads that share these rows of V */
INLINE void mix_heads(enum weir_dtype dtype, const struct rows *rows, size_t hd,
                      size_t n_heads, const float *weight, const float *keep,
                      float *part)
{
    const size_t ld = weir_part_size(hd);
    size_t h = 0;

    for (; h + 4 <= n_heads; h += 4)
        mix_all(dtype, rows, hd, weight + h * TILE, keep + h, 4, part + h * ld);
    for (; h + 2 <= n_heads; h += 2)
        mix_all(dtype, rows, hd, weight + h * TILE, keep + h, 2, part + h * ld);
    for (; h < n_heads; h++)
        mix_all(dtype, rows, hd, weight + h * TILE, keep + h, 1, part + h * ld);
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

/* Share i of n of the rows from `next` on, for which as many shares ask */
INLINE void share(struct rows *rows, const uint8_t *next, size_t n_rows,
                  size_t i, size_t n)
{
    rows->share_bytes = rows->ld_bytes / n;
    rows->next = next + i * n_rows * rows->share_bytes;
}

/* A tile of n positions for one token, a few rows of all heads at a time */
INLINE void attend_one(enum weir_dtype dtype, const struct weir_attention *attn,
                       const struct cache *at, size_t n)
{
    const size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;
    const size_t ld = at->ld_bytes, n_kv = attn->n_kv;
    float score[MOST * TILE], keep[MOST];

    for (size_t p = 0, next = FEW; p < n; p += FEW, next += FEW)
        for (size_t kv = 0; kv < n_kv; kv++) {
            struct rows k = rows_of(at, at->k + p * ld, kv, least(FEW, n - p));

            share(&k, next < n ? at->k + next * ld : at->v + (next - n) * ld,
                  FEW, kv, n_kv);
            score_heads(dtype, attn, &k, attn->q + kv * group * hd, group,
                        score + kv * group * TILE + p);
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

/* A tile of n positions for one token and the heads that share one of K and V,
   with room for the scores of a few heads */
INLINE void attend_group(enum weir_dtype dtype,
                         const struct weir_attention *attn,
                         const struct rows *k, const struct rows *v,
                         const float *q, float *part)
{
    const size_t hd = attn->head_dim, group = attn->n_heads / attn->n_kv;
    float score[HEADS * TILE], keep[HEADS];

    for (size_t h = 0; h < group; h += HEADS) {
        size_t n_heads = least(HEADS, group - h);

        score_heads(dtype, attn, k, q + h * hd, n_heads, score);
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
    const size_t size = dtype == WEIR_BF16 ? 2 : 4;
    const size_t end = attn->first + attn->n_pos;
    struct cache at = {.ld_bytes = attn->ld_kv * size,
                       .head_bytes = attn->head_dim * size};

    clear_parts(attn);
    for (size_t p = attn->first; p < end; p += TILE) {
        at.k = (const uint8_t *)attn->k + p * at.ld_bytes;
        at.v = (const uint8_t *)attn->v + p * at.ld_bytes;
        if (attn->n_tok > 1 || attn->n_heads > MOST)
            attend_tokens(dtype, attn, &at, p);
        else if (p <= attn->n_past)
            attend_one(dtype, attn, &at,
                       least(least(end, attn->n_past + 1) - p, TILE));
    }
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
