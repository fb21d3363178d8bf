/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of more tokens than share a walk along the rows, for matmul.h.  The
 * file that includes this has included a level's vectors and defined
 *
 *   MATMUL_ROWS, MATMUL_TOK  rows and tokens of a block: their sums, a vector
 *                            each, are in registers; 3 rows at most, 8 tokens
 *   MATMUL_COLS              columns of a piece, whole steps
 *   MATMUL_GROUP             rows of a group
 *
 * A block widens a weight once for all its tokens and loads an activation once
 * for all its rows.  A sum has 4 vectors (see matmul.h), which registers would
 * not hold: a block goes through its columns once for each.  So that they stay
 * in the first cache for that, they are taken in pieces, with the sums of a
 * group of rows put aside between; and activations of a piece are copied to
 * where blocks find them one behind the other, since rows of x are often a
 * power of two apart and would get into each other's way there.
 *
 * While all tokens go through a group of rows, the next group is asked for.
 */
#ifndef WEIR_KERNELS_CPU_MATMUL_MANY_H
#define WEIR_KERNELS_CPU_MATMUL_MANY_H

#include "kernels/kernels.h"

#define N_VECTOR 4                          /* of a sum */
#define STEP     (N_VECTOR * LANES)         /* columns that go to all of them */
#define SUMS     (MATMUL_ROWS * MATMUL_TOK) /* of a block */

/* A group's blocks, of MATMUL_ROWS rows and, behind those, of one */
#define MAX_BLOCKS (MATMUL_GROUP / MATMUL_ROWS + MATMUL_ROWS - 1)

INLINE size_t bytes_of(enum weir_dtype dtype)
{
    return dtype == WEIR_F32 ? 4 : dtype == WEIR_I8 ? 1 : 2;
}

INLINE size_t n_steps_of(size_t cols)
{
    return (cols + STEP - 1) / STEP;
}

/* A piece of the columns of some rows, and activations of some tokens */
struct piece {
    const uint8_t *row;
    size_t row_bytes, cols;
    int first;           /* no sums were put aside before */
    const float *packed; /* [N_VECTOR][n_steps][tokens][LANES] */
    const uint8_t *next; /* what to ask for, with rows as these */
    size_t next_step;    /* and how much of a row in a step */
};

/* Zeros follow the last column, up to a whole vector. */
INLINE void pack(const float *x, size_t ld_x, size_t cols, size_t n, float *to)
{
    const size_t ld_step = n * LANES, ld_vector = n_steps_of(cols) * ld_step;
    size_t c;

    for (size_t t = 0; t < n; t++, x += ld_x, to += LANES) {
        float *step = to;

        for (c = 0; c + STEP <= cols; c += STEP, step += ld_step)
            UNROLL
        for (unsigned v = 0; v < N_VECTOR; v++)
            vec_store(step + v * ld_vector, vec_load(x + c + v * LANES, LANES),
                      LANES);
        for (; c < cols; c += LANES, step += ld_vector)
            vec_store(step, vec_load(x + c, lanes_of(cols, c)), LANES);
    }
}

/*
 * Adds to vector v of the sums of `n_rows` rows and n tokens, constants.  The
 * lines of next row v are asked for, since rows are fewer than vectors.
 */
INLINE void add_vector(enum weir_dtype dtype, const struct piece *p, unsigned v,
                       unsigned n_rows, unsigned n, vec *to)
{
    const float *x = p->packed + v * n_steps_of(p->cols) * n * LANES;
    vec sum[MATMUL_ROWS][MATMUL_TOK], w[MATMUL_ROWS], tok;
    const uint8_t *next = p->next + (v < n_rows ? v * p->row_bytes : 0);
    size_t i = v * LANES;

    UNROLL
    for (unsigned k = 0; k < n_rows * n; k++)
        sum[k / n][k % n] = vec_all(0.0f);
    if (!p->first) {
        UNROLL
        for (unsigned k = 0; k < n_rows * n; k++)
            sum[k / n][k % n] = to[k];
    }
    for (; i + LANES <= p->cols; i += STEP, x += n * LANES) {
        for (unsigned at = 0; at < STEP * bytes_of(dtype); at += 64)
            __builtin_prefetch(next + at, 0, 2);
        next += p->next_step;
        UNROLL
        for (unsigned r = 0; r < n_rows; r++)
            w[r] = vec_widen(dtype, p->row + r * p->row_bytes, i, LANES);
        UNROLL
        for (unsigned t = 0; t < n; t++) {
            tok = vec_hold(vec_load(x + t * LANES, LANES));
            UNROLL
            for (unsigned r = 0; r < n_rows; r++)
                sum[r][t] = vec_fma(w[r], tok, sum[r][t]);
        }
    }
    if (i < p->cols) {
        UNROLL
        for (unsigned r = 0; r < n_rows; r++) {
            w[r] = vec_widen(dtype, p->row + r * p->row_bytes, i, p->cols - i);
            UNROLL
            for (unsigned t = 0; t < n; t++)
                sum[r][t] =
                    vec_fma(w[r], vec_load(x + t * LANES, LANES), sum[r][t]);
        }
    }
    UNROLL
    for (unsigned k = 0; k < n_rows * n; k++)
        to[k] = sum[k / n][k % n];
}

INLINE void add_piece(enum weir_dtype dtype, const struct piece *p,
                      unsigned n_rows, unsigned n, vec sum[N_VECTOR][SUMS])
{
    for (unsigned v = 0; v < N_VECTOR; v++)
        add_vector(dtype, p, v, n_rows, n, sum[v]);
}

INLINE void add_rows(enum weir_dtype dtype, const struct piece *p,
                     unsigned n_rows, size_t n, vec sum[N_VECTOR][SUMS])
{
    switch (n) {
    case 1:
        add_piece(dtype, p, n_rows, 1, sum);
        break;
    case 2:
        add_piece(dtype, p, n_rows, 2, sum);
        break;
    case 3:
        add_piece(dtype, p, n_rows, 3, sum);
        break;
    case 4:
        add_piece(dtype, p, n_rows, 4, sum);
        break;
#if MATMUL_TOK > 4
    case 5:
        add_piece(dtype, p, n_rows, 5, sum);
        break;
    case 6:
        add_piece(dtype, p, n_rows, 6, sum);
        break;
    case 7:
        add_piece(dtype, p, n_rows, 7, sum);
        break;
    case 8:
        add_piece(dtype, p, n_rows, 8, sum);
        break;
#endif
    }
}

/* y [tokens][ld_y] of a block's sums */
INLINE void finish_block(vec sum[N_VECTOR][SUMS], size_t n_rows, size_t n,
                         float *y, size_t ld_y)
{
    float total[LANES];
    vec some[LANES];

    for (size_t k = 0; k < n_rows * n; k += LANES) {
        size_t left = lanes_of(n_rows * n, k);

        for (size_t j = 0; j < LANES; j++) {
            some[j] = vec_all(0.0f);
            if (j < left)
                some[j] = (sum[0][k + j] + sum[1][k + j]) +
                          (sum[2][k + j] + sum[3][k + j]);
        }
        vec_store(total, vec_sum_each(some), LANES);
        for (size_t j = 0; j < left; j++)
            y[(k + j) % n * ld_y + (k + j) / n] = total[j];
    }
}

/*
 * The rows of w, a group, times n tokens, which are part k of n_parts that will
 * go through it
 */
INLINE void multiply_group(enum weir_dtype dtype, const struct weir_tile *w,
                           const float *x, size_t ld_x, size_t n, size_t k,
                           size_t n_parts, float *y, size_t ld_y)
{
    float packed[MATMUL_TOK * MATMUL_COLS] __attribute__((aligned(64)));
    vec sums[MAX_BLOCKS][N_VECTOR][SUMS];
    struct piece p = {.row_bytes = w->row_bytes,
                      .packed = packed,
                      .next_step = STEP * bytes_of(dtype) / n_parts};
    size_t n_whole = w->rows / MATMUL_ROWS;
    size_t n_blocks = n_whole + w->rows % MATMUL_ROWS;

    for (size_t c = 0; c < w->cols; c += MATMUL_COLS) {
        p.first = c == 0;
        p.cols = w->cols - c < MATMUL_COLS ? w->cols - c : MATMUL_COLS;
        p.row = (const uint8_t *)w->data + c * bytes_of(dtype);
        p.next = (const uint8_t *)w->data + w->rows * w->row_bytes +
                 (k * n_steps_of(w->cols) + c / STEP) * p.next_step;
        pack(x + c, ld_x, p.cols, n, packed);
        for (size_t b = 0; b < n_blocks; b++) {
            size_t n_rows = b < n_whole ? MATMUL_ROWS : 1;

            if (b < n_whole)
                add_rows(dtype, &p, MATMUL_ROWS, n, sums[b]);
            else
                add_rows(dtype, &p, 1, n, sums[b]);
            p.row += n_rows * w->row_bytes;
            p.next += n_rows * w->row_bytes;
        }
    }
    for (size_t b = 0; b < n_blocks; b++) {
        size_t n_rows = b < n_whole ? MATMUL_ROWS : 1;

        finish_block(sums[b], n_rows, n, y, ld_y);
        y += n_rows;
    }
}

INLINE void multiply_many(enum weir_dtype dtype, const struct weir_tile *w,
                          const float *x, size_t ld_x, size_t n_tok, float *y,
                          size_t ld_y)
{
    size_t n_parts = (n_tok + MATMUL_TOK - 1) / MATMUL_TOK, n, t;
    struct weir_tile group = *w;

    for (size_t r = 0; r < w->rows; r += group.rows) {
        group.data = (const uint8_t *)w->data + r * w->row_bytes;
        group.rows = w->rows - r < MATMUL_GROUP ? w->rows - r : MATMUL_GROUP;
        t = 0;
        for (size_t k = 0; k < n_parts; k++, t += n) {
            n = (n_tok - t + n_parts - k - 1) / (n_parts - k);
            multiply_group(dtype, &group, x + t * ld_x, ld_x, n, k, n_parts,
                           y + t * ld_y + r, ld_y);
        }
    }
}

#endif
