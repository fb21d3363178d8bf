/* SPDX-License-Identifier: Apache-2.0 */
/*
 * multiply_block() of gemm.h with vectors: up to GEMM_ROWS rows and GEMM_GROUPS
 * groups of tokens have their sums in registers.  The file that includes this
 * has defined both, and step().
 */
#ifndef WEIR_KERNELS_CPU_GEMM_BLOCK_H
#define WEIR_KERNELS_CPU_GEMM_BLOCK_H

#include "kernels/kernels.h"

#define VECTORS (WEIR_GEMM_GROUP / LANES) /* of a group */

struct block {
    const uint32_t *w; /* [rows][GEMM_STEPS] */
    const uint32_t *x; /* [group][ld_group], of it [n][16] */
    size_t ld_group, n;
    float *c; /* [rows][ld_c] */
    size_t ld_c;
    int first;
};

/* `rows` and `groups` are constants where this is called. */
INLINE void multiply_registers(const struct block *b, unsigned rows,
                               unsigned groups)
{
    const unsigned n_vec = groups * VECTORS;
    const float *w = (const float *)b->w, *x[GEMM_GROUPS];
    vec sum[GEMM_ROWS][GEMM_GROUPS * VECTORS];

    UNROLL
    for (unsigned g = 0; g < groups; g++)
        x[g] = (const float *)b->x + g * b->ld_group;
    UNROLL
    for (unsigned r = 0; r < rows; r++)
        UNROLL
    for (unsigned v = 0; v < n_vec; v++)
        sum[r][v] = b->first ? vec_all(0.0f)
                             : vec_load(b->c + r * b->ld_c + v * LANES, LANES);
    for (size_t s = 0; s < b->n; s++) {
        vec tok[GEMM_GROUPS * VECTORS];

        UNROLL
        for (unsigned v = 0; v < n_vec; v++)
            tok[v] = vec_load(x[v / VECTORS] + s * WEIR_GEMM_GROUP +
                                  v % VECTORS * LANES,
                              LANES);
        UNROLL
        for (unsigned r = 0; r < rows; r++) {
            vec spread = vec_all(w[r * GEMM_STEPS + s]);

            UNROLL
            for (unsigned v = 0; v < n_vec; v++)
                sum[r][v] = step(sum[r][v], spread, tok[v]);
        }
    }
    UNROLL
    for (unsigned r = 0; r < rows; r++)
        UNROLL
    for (unsigned v = 0; v < n_vec; v++)
        vec_store(b->c + r * b->ld_c + v * LANES, sum[r][v], LANES);
}

/* As many of the rows left as registers hold with `groups`; how many */
INLINE size_t multiply_rows(const struct block *b, size_t left, unsigned groups)
{
    if (left >= GEMM_ROWS) {
        multiply_registers(b, GEMM_ROWS, groups);
        return GEMM_ROWS;
    }
    if (left >= 4) {
        multiply_registers(b, 4, groups);
        return 4;
    }
    if (left >= 2) {
        multiply_registers(b, 2, groups);
        return 2;
    }
    multiply_registers(b, 1, groups);
    return 1;
}

static size_t multiply_some(const struct block *b, size_t left, size_t groups)
{
    if (groups >= 4 && GEMM_GROUPS >= 4)
        return multiply_rows(b, left, GEMM_GROUPS >= 4 ? 4 : 1);
    if (groups >= 2 && GEMM_GROUPS >= 2)
        return multiply_rows(b, left, GEMM_GROUPS >= 2 ? 2 : 1);
    return multiply_rows(b, left, 1);
}

static void multiply_block(const uint32_t *panel, size_t rows,
                           const uint32_t *x, size_t ld_group, size_t n,
                           size_t n_groups, float *c, size_t ld_c, int first)
{
    size_t groups;

    for (size_t g = 0; g < n_groups; g += groups) {
        groups = n_groups - g;
        groups = groups >= GEMM_GROUPS ? GEMM_GROUPS : groups >= 2 ? 2 : 1;
        for (size_t r = 0; r < rows;) {
            const struct block b = {
                .w = panel + r * GEMM_STEPS,
                .x = x + g * ld_group,
                .ld_group = ld_group,
                .n = n,
                .c = c + r * ld_c + g * WEIR_GEMM_GROUP,
                .ld_c = ld_c,
                .first = first,
            };

            r += multiply_some(&b, rows - r, groups);
        }
    }
}

#endif
