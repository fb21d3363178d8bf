/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of one head of K and V for the heads that share it: scores, and sums of
 * v.  The loops that attention.h is made of.
 *
 * With four heads a byte of bf16 takes two multiplications, and little else may
 * stand beside them.  So a vector of bf16 is widened whole, into what stands at
 * even and at odd places: a shift and an and for two vectors of f32, where each
 * in the order of the row takes a load, a shuffle and a shift.  q is put into
 * the same order before, and the sums of v are put back after.
 *
 * Four heads score LANES / 4 rows at once, so that LANES sums go through
 * vec_sum_each() together; and their sums of v stay in registers for WIDE
 * vectors of a row while the rows pass.
 */
#ifndef WEIR_KERNELS_CPU_ATTENTION_ROWS_H
#define WEIR_KERNELS_CPU_ATTENTION_ROWS_H

#include <string.h>

#include "kernels/kernels.h"

#define TILE   64          /* positions; a multiple of FEW */
#define FEW    16          /* positions for all heads; a multiple of LANES */
#define MOST   64          /* heads of one token whose scores wait */
#define HEADS  4           /* that share a widened row */
#define WIDE   (LANES / 4) /* vectors of v that are summed side by side */
#define TWO    (2 * LANES)
#define STRIDE 4   /* rows of v between which is asked for the next */
#define WOVEN  256 /* elements of a head that may be widened by twos */

/* Rows of one head of K or V, and what is asked for meanwhile */
struct rows {
    const uint8_t *first;
    size_t n, ld_bytes;
    const uint8_t *next; /* or NULL */
    size_t share_bytes;  /* of next, with all rows */
};

/* A head's q as it multiplies: its first elements woven */
struct query {
    float woven[WOVEN];
};

/* What a loop asks for, a piece with each step */
struct ask {
    const uint8_t *next;
    size_t step_bytes;
};

INLINE size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Elements of a head that are widened by twos */
INLINE size_t woven_of(enum weir_dtype dtype, size_t head_dim)
{
    return dtype == WEIR_BF16 ? least(head_dim, WOVEN) / TWO * TWO : 0;
}

INLINE void ask_on(struct ask *ask)
{
    _mm_prefetch((const char *)ask->next, _MM_HINT_T1);
    for (size_t at = 64; at < ask->step_bytes; at += 64)
        _mm_prefetch((const char *)ask->next + at, _MM_HINT_T1);
    ask->next += ask->step_bytes;
}

/* Two vectors of each row of K times those of q, in every head */
INLINE void dot_two(const uint8_t *const *k, const struct query *query,
                    size_t i, unsigned n, vec *sum)
{
    const unsigned n_pos = LANES / n;
    vec of_k[LANES][2];

    UNROLL
    for (unsigned p = 0; p < n_pos; p++)
        vec_widen_two((const uint16_t *)k[p] + i, of_k[p]);
    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned v = 0; v < 2; v++) {
        vec of_q = vec_hold(vec_load(query[h].woven + i + v * LANES, LANES));

        UNROLL
        for (unsigned p = 0; p < n_pos; p++)
            sum[h * n_pos + p] = vec_fma(of_k[p][v], of_q, sum[h * n_pos + p]);
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
INLINE void score_some(enum weir_dtype dtype, const struct rows *rows,
                       const struct weir_attention *attn, const float *q,
                       const struct query *query, size_t p, unsigned n,
                       struct ask *ask, float *score)
{
    const size_t hd = attn->head_dim, woven = woven_of(dtype, hd);
    const unsigned n_pos = LANES / n;
    const uint8_t *k[LANES];
    float scores[LANES];
    vec sum[LANES];
    size_t i = 0;

    UNROLL
    for (unsigned j = 0; j < n_pos; j++)
        k[j] = rows->first + least(p + j, rows->n - 1) * rows->ld_bytes;
    UNROLL
    for (unsigned j = 0; j < LANES; j++)
        sum[j] = vec_all(0.0f);
    for (; i < woven; i += TWO) {
        ask_on(ask);
        dot_two(k, query, i, n, sum);
    }
    for (; i + LANES <= hd; i += LANES) {
        ask_on(ask);
        dot_some(dtype, k, q, hd, i, LANES, n, sum);
    }
    if (i < hd)
        dot_some(dtype, k, q, hd, i, hd - i, n, sum);
    vec_store(scores, vec_sum_each(sum) * vec_all(attn->scale), LANES);
    UNROLL
    for (unsigned h = 0; h < n; h++)
        memcpy(score + h * TILE + p, scores + h * n_pos,
               n_pos * sizeof(*scores));
}

/* Row p of v times its weights: see mix_some() */
INLINE void mix_row(enum weir_dtype dtype, int woven, const uint8_t *row,
                    const float *weight, size_t i, unsigned n_vec, size_t some,
                    unsigned n, vec (*sum)[WIDE])
{
    vec of_v[WIDE];

    UNROLL
    for (unsigned j = 0; j < n_vec; j += woven ? 2 : 1)
        if (woven)
            vec_widen_two((const uint16_t *)row + i + j * LANES, of_v + j);
        else
            of_v[j] = vec_widen(dtype, row, i + j * LANES, some);
    UNROLL
    for (unsigned h = 0; h < n; h++) {
        vec of_p = vec_all(weight[h * TILE]);

        UNROLL
        for (unsigned j = 0; j < n_vec; j++)
            sum[h][j] = vec_fma(of_v[j], of_p, sum[h][j]);
    }
}

/*
 * Elements i on of the sums of v: n heads, n_vec vectors, all constants but
 * `some`, the lanes of the last vector.  Woven, vectors come by twos.
 */
INLINE void mix_some(enum weir_dtype dtype, int woven, const struct rows *rows,
                     const float *weight, const float *keep, size_t i,
                     unsigned n_vec, size_t some, unsigned n, struct ask *ask,
                     float *part, size_t ld)
{
    const uint8_t *row = rows->first;
    const size_t n_pos = rows->n, ld_bytes = rows->ld_bytes;
    struct ask own = *ask;
    vec sum[HEADS][WIDE];
    size_t p = 0;

    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned j = 0; j < n_vec; j++)
        sum[h][j] =
            vec_load(part + h * ld + i + j * LANES, some) * vec_all(keep[h]);
    for (; p + STRIDE <= n_pos; p += STRIDE) {
        ask_on(&own);
        UNROLL
        for (unsigned j = 0; j < STRIDE; j++, row += ld_bytes)
            mix_row(dtype, woven, row, weight + p + j, i, n_vec, some, n, sum);
    }
    for (; p < n_pos; p++, row += ld_bytes)
        mix_row(dtype, woven, row, weight + p, i, n_vec, some, n, sum);
    UNROLL
    for (unsigned h = 0; h < n; h++)
        UNROLL
    for (unsigned j = 0; j < n_vec; j++)
        vec_store(part + h * ld + i + j * LANES, sum[h][j], some);
    *ask = own;
}

/* For n_steps steps that ask for the share of the rows together */
INLINE struct ask ask_by(const struct rows *rows, size_t n_steps)
{
    struct ask ask = {rows->next ? rows->next : rows->first,
                      n_steps ? rows->share_bytes / n_steps : 0};

    return ask;
}

/* Scores of n heads at all rows */
INLINE void score_rows(enum weir_dtype dtype, const struct rows *rows,
                       const struct weir_attention *attn, const float *q,
                       const struct query *query, unsigned n, struct ask *ask,
                       float *score)
{
    struct ask own = *ask;

    for (size_t p = 0; p < rows->n; p += LANES / n)
        score_some(dtype, rows, attn, q, query, p, n, &own, score);
    *ask = own;
}

/* All elements of the sums of v of n heads, a constant */
INLINE void mix_rows(enum weir_dtype dtype, const struct rows *rows, size_t hd,
                     const float *weight, const float *keep, unsigned n,
                     struct ask *ask, float *part)
{
    const size_t ld = weir_part_size(hd), woven = woven_of(dtype, hd);
    size_t i = 0;

    for (; i + WIDE * LANES <= woven; i += WIDE * LANES)
        mix_some(dtype, 1, rows, weight, keep, i, WIDE, LANES, n, ask, part,
                 ld);
    for (; i < woven; i += TWO)
        mix_some(dtype, 1, rows, weight, keep, i, 2, LANES, n, ask, part, ld);
    for (; i + WIDE * LANES <= hd; i += WIDE * LANES)
        mix_some(dtype, 0, rows, weight, keep, i, WIDE, LANES, n, ask, part,
                 ld);
    for (; i + LANES <= hd; i += LANES)
        mix_some(dtype, 0, rows, weight, keep, i, 1, LANES, n, ask, part, ld);
    if (i < hd)
        mix_some(dtype, 0, rows, weight, keep, i, 1, hd - i, n, ask, part, ld);
}

/*
 * A loop that takes nearly all registers is a function of its own: among others
 * a compiler would spill what it runs on.
 */
#define ALONE static __attribute__((noinline)) void

#define FOR_HEADS(name, dtype, heads)                                          \
    ALONE score_##name##_##heads(const struct rows *rows,                      \
                                 const struct weir_attention *attn,            \
                                 const float *q, const struct query *query,    \
                                 struct ask *ask, float *score)                \
    {                                                                          \
        score_rows(dtype, rows, attn, q, query, heads, ask, score);            \
    }                                                                          \
    ALONE mix_##name##_##heads(const struct rows *rows, size_t hd,             \
                               const float *weight, const float *keep,         \
                               struct ask *ask, float *part)                   \
    {                                                                          \
        mix_rows(dtype, rows, hd, weight, keep, heads, ask, part);             \
    }

FOR_HEADS(bf16, WEIR_BF16, 1)
FOR_HEADS(bf16, WEIR_BF16, 2)
FOR_HEADS(bf16, WEIR_BF16, 4)
FOR_HEADS(f32, WEIR_F32, 1)
FOR_HEADS(f32, WEIR_F32, 2)
FOR_HEADS(f32, WEIR_F32, 4)

/* Scores of n_heads heads that share these rows of K, by as many as can be */
INLINE void score_heads(enum weir_dtype dtype,
                        const struct weir_attention *attn,
                        const struct rows *rows, const float *q,
                        const struct query *query, size_t n_heads, float *score)
{
    const size_t hd = attn->head_dim, woven = woven_of(dtype, hd);
    struct ask ask = ask_by(rows, n_heads * rows->n / LANES *
                                      ((hd - woven) / LANES + woven / TWO));
    size_t h = 0, n;

    for (; h < n_heads; h += n, q += n * hd, query += n, score += n * TILE) {
        n = n_heads - h < 2 ? 1 : n_heads - h < 4 ? 2 : 4;
        (dtype == WEIR_BF16 ? n == 4   ? score_bf16_4
                              : n == 2 ? score_bf16_2
                                       : score_bf16_1
         : n == 4           ? score_f32_4
         : n == 2           ? score_f32_2
                            : score_f32_1)(rows, attn, q, query, &ask, score);
    }
}

/* The sums of n_heads heads that share these rows of V */
INLINE void mix_heads(enum weir_dtype dtype, const struct rows *rows, size_t hd,
                      size_t n_heads, const float *weight, const float *keep,
                      float *part)
{
    const size_t ld = weir_part_size(hd), slice = WIDE * LANES;
    struct ask ask =
        ask_by(rows, (n_heads + HEADS - 1) / HEADS * (rows->n / STRIDE) *
                         ((hd + slice - 1) / slice));
    size_t h = 0, n;

    for (; h < n_heads; h += n, weight += n * TILE, keep += n, part += n * ld) {
        n = n_heads - h < 2 ? 1 : n_heads - h < 4 ? 2 : 4;
        (dtype == WEIR_BF16 ? n == 4   ? mix_bf16_4
                              : n == 2 ? mix_bf16_2
                                       : mix_bf16_1
         : n == 4           ? mix_f32_4
         : n == 2           ? mix_f32_2
                            : mix_f32_1)(rows, hd, weight, keep, &ask, part);
    }
}

#endif
