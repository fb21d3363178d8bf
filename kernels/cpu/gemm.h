/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens, written once for several levels.
 *
 * The unit of everything is a word of 4 bytes: one column as f32, or two
 * neighbouring ones as bf16; a product of two words, added to an f32, is a step
 * of every level.  Packed activations are vectors of 16 tokens, a word each:
 *
 *   [group of 16 tokens][term][step][16 tokens]
 *
 * so that a word of a weight row, spread over a vector, meets 16 tokens at
 * once, and rows of weights stay as they lie.  A second term is what the first
 * lacks of an activation.  Columns go in blocks of
 * GEMM_STEPS steps: of a block, the weights of all rows are widened into a
 * panel [rows][GEMM_STEPS], from which every group of tokens takes them, and
 * the sums wait in c.  Their order does not show it.
 *
 * The file that includes this has included the level's vectors and defined
 *
 *   GEMM_ACT, GEMM_COLS   the type of activations, and columns of a word
 *   GEMM_STEPS            steps of a block, a multiple of 16
 *   GEMM_TOK              best_tok
 *   pack_words()          a step's words of a group of tokens, of a term
 *   widen_words()         words of a row of weights
 *   multiply_block()      c += panel * packed; c = for the first block
 */
#ifndef WEIR_KERNELS_CPU_GEMM_H
#define WEIR_KERNELS_CPU_GEMM_H

#include <string.h>

#include "kernels/cpu/gemm_functions.h"
#include "kernels/kernels.h"

#define GROUP WEIR_GEMM_GROUP

INLINE size_t n_groups_of(size_t n_tok)
{
    return (n_tok + GROUP - 1) / GROUP;
}

/* Steps of a row, rounded up to whole tiles of AMX */
INLINE size_t n_steps_of(size_t cols)
{
    return (cols + 16 * GEMM_COLS - 1) / (16 * GEMM_COLS) * 16;
}

/* `terms` is a constant where these are called. */
INLINE size_t packed_bytes_of(unsigned terms, size_t n_tok, size_t cols)
{
    return terms * n_groups_of(n_tok) * n_steps_of(cols) * GROUP *
           sizeof(uint32_t);
}

INLINE void pack_of(unsigned terms, const float *x, size_t ld_x, size_t n_tok,
                    size_t cols, uint32_t *to)
{
    size_t n_steps = n_steps_of(cols), n;

    for (size_t t = 0; t < n_tok; t += GROUP, x += GROUP * ld_x) {
        n = n_tok - t < GROUP ? n_tok - t : GROUP;
        for (unsigned term = 0; term < terms; term++)
            for (size_t s = 0; s < n_steps; s++, to += GROUP) {
                size_t c = s * GEMM_COLS;

                if (c < cols)
                    pack_words(x + c, ld_x, n, cols - c, term, to);
                else
                    memset(to, 0, GROUP * sizeof(*to));
            }
    }
}

static size_t scratch_bytes(size_t max_cols)
{
    (void)max_cols;
    return WEIR_GEMM_ROWS * GEMM_STEPS * sizeof(uint32_t);
}

INLINE size_t bytes_of(const struct weir_tile *w, size_t cols)
{
    return cols * (w->dtype == WEIR_I8 ? 1 : w->dtype == WEIR_F32 ? 4 : 2);
}

/*
 * Asks for n columns of every row from c on: a block of columns is too short a
 * stream for the processor to see where it goes on.
 */
INLINE void prefetch_block(const struct weir_tile *w, size_t c, size_t n)
{
    const char *row = (const char *)w->data + bytes_of(w, c);
    size_t n_bytes = c < w->cols ? bytes_of(w, n) : 0;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes)
        for (size_t i = 0; i < n_bytes; i += 64)
            __builtin_prefetch(row + i, 0, 2);
}

/* Steps s to s + n - 1 of every row, with rows of zeros up to whole groups */
INLINE void widen_panel(const struct weir_tile *w, size_t s, size_t n,
                        uint32_t *panel)
{
    const uint8_t *row = w->data;
    size_t c = s * GEMM_COLS, left = w->cols > c ? w->cols - c : 0;
    size_t cols = left < n * GEMM_COLS ? left : n * GEMM_COLS;

    for (size_t r = 0; r < w->rows; r++, row += w->row_bytes)
        widen_words(w->dtype, row, c, cols, n, panel + r * GEMM_STEPS);
    for (size_t r = w->rows; r % GROUP; r++)
        memset(panel + r * GEMM_STEPS, 0, n * sizeof(*panel));
}

INLINE void multiply_of(unsigned terms, const struct weir_tile *w,
                        const uint32_t *x, size_t n_tok, float *c, size_t ld_c,
                        void *scratch)
{
    size_t n_steps = n_steps_of(w->cols), ld_term = n_steps * GROUP, n;

    prefetch_block(w, 0, GEMM_STEPS * GEMM_COLS);
    for (size_t s = 0; s < n_steps; s += n) {
        n = n_steps - s < GEMM_STEPS ? n_steps - s : GEMM_STEPS;
        widen_panel(w, s, n, scratch);
        prefetch_block(w, (s + n) * GEMM_COLS, n * GEMM_COLS);
        for (unsigned term = 0; term < terms; term++)
            multiply_block(scratch, w->rows, x + term * ld_term + s * GROUP,
                           terms * ld_term, n, n_groups_of(n_tok), c, ld_c,
                           s == 0 && term == 0);
    }
}

#define GEMM_TABLE(function, n_terms)                                          \
    {                                                                          \
        .name = #function, .act = GEMM_ACT, .terms = n_terms,                  \
        .best_tok = GEMM_TOK / n_terms,                                        \
        .packed_bytes = function##_packed_bytes, .pack = function##_pack,      \
        .scratch_bytes = scratch_bytes, .multiply = function##_multiply,       \
    }

#endif
