/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens by a library that has them of any size.
 *
 * A library chooses its way by the size of a product, and so does the order of
 * its sums depend on it.  Ours must not: a row and a token have the same sum
 * whatever stands beside them.  So the library is only asked for products of
 * SLICE_ROWS rows, SLICE_TOK tokens and SLICE_COLS columns, the last of a row
 * fewer; what is missing of a slice is zeros.  Even so a row or token at the
 * end of a slice may be summed in another way than one in its middle: this is
 * to be tried out, on each CPU.  It is asked by one thread at a time for one
 * slice, and must not use threads of its own.
 *
 * Weights are widened into a panel [SLICE_ROWS][SLICE_COLS], from which all
 * tokens of a call take them, as in gemm.h.  Packed activations are rows, a
 * term after the other: [token][term][words of its columns].
 *
 * The file that includes this has included gemm_f32.h or gemm_bf16.h, the
 * vectors they want, and defined
 *
 *   round_words()         a term of a row of activations
 *   multiply_slice()      c [SLICE_ROWS][ld_c] += panel * x, or c = for the
 *                         first block of columns; 0 when it is done
 */
#ifndef WEIR_KERNELS_CPU_GEMM_SLICES_H
#define WEIR_KERNELS_CPU_GEMM_SLICES_H

#include <string.h>

#include "kernels/cpu/gemm_functions.h"
#include "kernels/kernels.h"

#define SLICE_WORDS (SLICE_COLS / GEMM_COLS)
/* Tokens of whole slices */
#define LD_SUMS ((WEIR_GEMM_TOK + SLICE_TOK - 1) / SLICE_TOK * SLICE_TOK)

/* What multiply() has of the caller's scratch */
struct slices {
    _Alignas(64) uint32_t panel[SLICE_ROWS * SLICE_WORDS];
    uint32_t x[SLICE_TOK * SLICE_WORDS]; /* of a slice that is not full */
    float sums[SLICE_ROWS * LD_SUMS];
};

/* One block of columns of a slice */
struct slice {
    const uint32_t *w; /* [SLICE_ROWS][SLICE_WORDS] */
    const uint32_t *x; /* [SLICE_TOK][ld_x] */
    size_t ld_x, cols;
    float *c; /* [SLICE_ROWS][LD_SUMS] */
    int first;
};

static int multiply_slice(const struct slice *slice);

/* Words of a row, up to whole lines of the cache */
INLINE size_t n_words_of(size_t cols)
{
    return (cols + 16 * GEMM_COLS - 1) / (16 * GEMM_COLS) * 16;
}

/* `terms` is a constant where these are called. */
INLINE size_t packed_bytes_of(unsigned terms, size_t n_tok, size_t cols)
{
    return (n_tok + WEIR_GEMM_GROUP - 1) / WEIR_GEMM_GROUP * WEIR_GEMM_GROUP *
           terms * n_words_of(cols) * sizeof(uint32_t);
}

INLINE void pack_of(unsigned terms, const float *x, size_t ld_x, size_t n_tok,
                    size_t cols, uint32_t *to)
{
    size_t n_words = n_words_of(cols);

    for (size_t t = 0; t < n_tok; t++, x += ld_x)
        for (unsigned term = 0; term < terms; term++, to += n_words)
            round_words(x, cols, term, to);
}

static size_t scratch_bytes(size_t max_cols)
{
    (void)max_cols;
    return sizeof(struct slices);
}

static float value(const uint32_t *words, size_t c)
{
    uint16_t half;
    float whole;

    if (GEMM_COLS == 1) {
        memcpy(&whole, words + c, sizeof(whole));
        return whole;
    }
    memcpy(&half, (const uint16_t *)words + c, sizeof(half));
    return weir_bf16_to_f32(half);
}

/* For want of the library, which may lack memory: slow, and as right */
static void multiply_plainly(const struct slice *slice)
{
    for (size_t r = 0; r < SLICE_ROWS; r++)
        for (size_t t = 0; t < SLICE_TOK; t++) {
            float *c = slice->c + r * LD_SUMS + t;
            float sum = slice->first ? 0 : *c;

            for (size_t i = 0; i < slice->cols; i++)
                sum += value(slice->w + r * SLICE_WORDS, i) *
                       value(slice->x + t * slice->ld_x, i);
            *c = sum;
        }
}

/* n_tok < SLICE_TOK tokens of a block, and zeros */
static const uint32_t *fill_slice(const uint32_t *x, size_t ld_x, size_t n_tok,
                                  size_t n_words, uint32_t *to)
{
    for (size_t t = 0; t < SLICE_TOK; t++)
        if (t < n_tok)
            memcpy(to + t * SLICE_WORDS, x + t * ld_x, n_words * sizeof(*to));
        else
            memset(to + t * SLICE_WORDS, 0, n_words * sizeof(*to));
    return to;
}

/* All tokens with a panel; x is the first token's first term of the block. */
INLINE void multiply_panel(unsigned terms, const uint32_t *x, size_t ld_term,
                           size_t n_tok, size_t cols, int first,
                           struct slices *slices)
{
    struct slice slice = {.w = slices->panel, .cols = cols};
    size_t n_words = (cols + GEMM_COLS - 1) / GEMM_COLS, ld_x = terms * ld_term;

    for (size_t t = 0; t < n_tok; t += SLICE_TOK)
        for (unsigned term = 0; term < terms; term++) {
            slice.x = x + t * ld_x + term * ld_term;
            slice.ld_x = ld_x;
            if (n_tok - t < SLICE_TOK) {
                slice.x =
                    fill_slice(slice.x, ld_x, n_tok - t, n_words, slices->x);
                slice.ld_x = SLICE_WORDS;
            }
            slice.c = slices->sums + t;
            slice.first = first && term == 0;
            if (multiply_slice(&slice))
                multiply_plainly(&slice);
        }
}

INLINE void widen_panel(const struct weir_tile *w, size_t row, size_t c,
                        size_t cols, uint32_t *panel)
{
    size_t n_words = n_words_of(cols);

    for (size_t r = 0; r < SLICE_ROWS; r++, panel += SLICE_WORDS)
        if (row + r < w->rows)
            widen_words(w->dtype,
                        (const uint8_t *)w->data + (row + r) * w->row_bytes, c,
                        cols, n_words, panel);
        else
            memset(panel, 0, n_words * sizeof(*panel));
}

INLINE void multiply_of(unsigned terms, const struct weir_tile *w,
                        const uint32_t *x, size_t n_tok, float *c, size_t ld_c,
                        struct slices *slices)
{
    size_t ld_term = n_words_of(w->cols), n;

    for (size_t row = 0; row < w->rows; row += SLICE_ROWS) {
        for (size_t col = 0; col < w->cols; col += n) {
            n = w->cols - col < SLICE_COLS ? w->cols - col : SLICE_COLS;
            widen_panel(w, row, col, n, slices->panel);
            multiply_panel(terms, x + col / GEMM_COLS, ld_term, n_tok, n,
                           col == 0, slices);
        }
        for (size_t r = row; r < w->rows && r < row + SLICE_ROWS; r++)
            memcpy(c + r * ld_c, slices->sums + (r - row) * LD_SUMS,
                   n_tok * sizeof(*c));
    }
}

#define SLICES_TABLE(function, n_terms)                                        \
    {                                                                          \
        .name = #function, .act = GEMM_ACT, .terms = n_terms,                  \
        .best_tok = WEIR_GEMM_TOK, .packed_bytes = function##_packed_bytes,    \
        .pack = function##_pack, .scratch_bytes = scratch_bytes,               \
        .multiply = function##_multiply,                                       \
    }

#endif
