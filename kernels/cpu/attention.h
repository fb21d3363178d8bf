/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention, written once over the vectors of a level: the file that includes
 * this has included the level's vectors before.
 *
 * Positions are taken a tile at a time: the scores of a tile, their softmax
 * against the largest so far (Milakov and Gimelshein 2018, by tiles as in Dao
 * and others 2022), then V by these weights.  Up to four heads share what was
 * widened of K and V, so that a group of four reads its cache once; tokens
 * share a tile of one head of K and V in the first cache.
 *
 * The rows of all heads of K and V lie side by side, and memory is fastest when
 * it is walked straight on.  So all heads do a tile before the next, and while
 * they do, they ask for the next tile's rows in the order in which these lie:
 * a piece of K with each position that they score, a piece of V with each that
 * they sum.
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

#define TILE  32          /* positions; a multiple of LANES */
#define HEADS 4           /* that share a widened row */
#define WIDE  (LANES / 4) /* vectors of v that are summed side by side */

/* Where a walk along rows of K or V stands, a head a step */
struct walk {
    const uint8_t *row;
    size_t head;
};

/* What one token sees of one head of a tile of K and V */
struct view {
    const uint8_t *k, *v; /* first row */
    size_t ld_bytes, head_bytes, n_kv;
    size_t n;                   /* positions, 1 to TILE */
    int ask;                    /* 1: for the next tile */
    struct walk next_k, next_v; /* of the next tile */
};

INLINE void ask_for_next(const struct view *view, struct walk *walk)
{
    const uint8_t *piece = walk->row + walk->head * view->head_bytes;

    if (!view->ask)
        return;
    for (size_t at = 0; at < view->head_bytes; at += 64)
        _mm_prefetch((const char *)piece + at, _MM_HINT_T1);
    if (++walk->head == view->n_kv) {
        walk->head = 0;
        walk->row += view->ld_bytes;
    }
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
INLINE void score_some(enum weir_dtype dtype, struct view *view,
                       const struct weir_attention *attn, const float *q,
                       size_t p, unsigned n, float score[][TILE])
{
    const unsigned n_pos = LANES / n;
    const uint8_t *k[LANES];
    float scores[LANES];
    vec sum[LANES];
    size_t i = 0;

    UNROLL
    for (unsigned j = 0; j < n_pos; j++) {
        size_t row = p + j < view->n ? p + j : view->n - 1;

        k[j] = view->k + row * view->ld_bytes;
        ask_for_next(view, &view->next_k);
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
        memcpy(score[h] + p, scores + h * n_pos, n_pos * sizeof(*scores));
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
INLINE void mix_some(enum weir_dtype dtype, struct view *view,
                     float weight[][TILE], const float *keep, size_t i,
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
    for (size_t p = 0; p < view->n; p++) {
        if (i == 0)
            ask_for_next(view, &view->next_v);
        UNROLL
        for (unsigned j = 0; j < n_vec; j++) {
            of_v = vec_widen(dtype, view->v + p * view->ld_bytes, i + j * LANES,
                             some);
            UNROLL
            for (unsigned h = 0; h < n; h++)
                sum[h][j] = vec_fma(of_v, vec_all(weight[h][p]), sum[h][j]);
        }
    }
    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned j = 0; j < n_vec; j++)
        vec_store(part + h * ld + i + j * LANES, sum[h][j], some);
}

/* One tile for n heads, a constant, of one token */
INLINE void attend_tile(enum weir_dtype dtype,
                        const struct weir_attention *attn, struct view *view,
                        const float *q, float *part, unsigned n)
{
    const size_t hd = attn->head_dim, ld = weir_part_size(hd);
    float score[HEADS][TILE], keep[HEADS];
    size_t i = 0;

    for (size_t p = 0; p < view->n; p += LANES / n)
        score_some(dtype, view, attn, q, p, n, score);
    for (unsigned h = 0; h < n; h++)
        keep[h] = weigh(score[h], view->n, part + h * ld + hd,
                        part + h * ld + hd + 1);
    for (; i + WIDE * LANES <= hd; i += WIDE * LANES)
        mix_some(dtype, view, score, keep, i, WIDE, LANES, n, part, ld);
    for (; i + LANES <= hd; i += LANES)
        mix_some(dtype, view, score, keep, i, 1, LANES, n, part, ld);
    if (i < hd)
        mix_some(dtype, view, score, keep, i, 1, hd - i, n, part, ld);
}

/* One tile for the heads of one token that share a head of K and V */
INLINE void attend_heads(enum weir_dtype dtype,
                         const struct weir_attention *attn, struct view *view,
                         const float *q, float *part)
{
    const size_t hd = attn->head_dim, ld = weir_part_size(hd);
    size_t h = 0, n_heads = attn->n_heads / attn->n_kv;

    for (; h + 4 <= n_heads; h += 4, view->ask = 0)
        attend_tile(dtype, attn, view, q + h * hd, part + h * ld, 4);
    for (; h + 2 <= n_heads; h += 2, view->ask = 0)
        attend_tile(dtype, attn, view, q + h * hd, part + h * ld, 2);
    for (; h < n_heads; h++, view->ask = 0)
        attend_tile(dtype, attn, view, q + h * hd, part + h * ld, 1);
}

/* One tile, from position p on, for all tokens and one head of K and V */
INLINE void attend_tokens(enum weir_dtype dtype,
                          const struct weir_attention *attn, size_t p,
                          size_t kv, struct view *view)
{
    const size_t end = attn->first + attn->n_pos;
    const size_t head = kv * (attn->n_heads / attn->n_kv);
    const size_t hd = attn->head_dim;

    for (size_t t = 0; t < attn->n_tok; t++) {
        size_t n_seen = attn->n_past + t + 1;

        n_seen = n_seen < end ? n_seen : end;
        if (n_seen <= p)
            continue;
        view->n = n_seen - p < TILE ? n_seen - p : TILE;
        attend_heads(dtype, attn, view, attn->q + t * attn->ld_q + head * hd,
                     attn->part + t * attn->ld_part +
                         head * weir_part_size(hd));
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
    const size_t ld_bytes = attn->ld_kv * size;
    struct view view = {.ld_bytes = ld_bytes,
                        .head_bytes = attn->head_dim * size,
                        .n_kv = attn->n_kv};

    clear_parts(attn);
    for (size_t p = attn->first; p < end; p += TILE) {
        view.next_k.row = (const uint8_t *)attn->k + (p + TILE) * ld_bytes;
        view.next_v.row = (const uint8_t *)attn->v + (p + TILE) * ld_bytes;
        view.next_k.head = view.next_v.head = 0;
        for (size_t kv = 0; kv < attn->n_kv; kv++) {
            size_t at = p * ld_bytes + kv * view.head_bytes;

            view.k = (const uint8_t *)attn->k + at;
            view.v = (const uint8_t *)attn->v + at;
            view.ask = p + TILE < end;
            attend_tokens(dtype, attn, p, kv, &view);
        }
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
