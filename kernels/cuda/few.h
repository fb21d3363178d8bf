/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of few tokens, between the code that launches them and the kernel.
 */
#ifndef WEIR_KERNELS_CUDA_FEW_H
#define WEIR_KERNELS_CUDA_FEW_H

#include "kernels/cuda/cuda.h"

#define FEW_TOK  16  /* of a group */
#define FEW_ROWS 128 /* of a tile: 16 for each of 8 warps */

enum few_kind {
    FEW_DENSE,
    FEW_GATES, /* of experts: groups of choices, x of their tokens */
    FEW_DOWNS  /* the same, x of the choices, and their sum for each token */
};

struct few_matrix {
    struct weir_matrix w;
    const float *bias;
    float *y;
    size_t ld_y;
    uint32_t first_tile;
};

struct few {
    uint32_t kind, out;
    uint32_t n_tok, n_mat, n_tiles, n_groups;
    uint32_t n_parts, part_bytes; /* of a row */
    const float *x;
    size_t ld_x;
    const float *norm, *factor;
    float eps;
    struct few_matrix to[WEIR_DEVICE_MATRICES];
    float *partial; /* [item / n_parts][n_parts][token][FEW_ROWS] */
    uint32_t
        *counter; /* [item / n_parts], behind them [n_tiles] of FEW_DOWNS */
    /* Experts */
    uint32_t n_top, n_experts;
    uint32_t from_expert, to_expert;
    const struct weir_device_expert *expert;
    struct weir_device_routing routing;
    float *sum; /* FEW_DOWNS: [n_tok][ld_sum] += */
    size_t ld_sum;
    uint32_t in_order; /* what is summed up begins with it */
};

/* Into how many parts a row is cut, whose sums are joined as a tree */
static inline uint32_t few_n_parts(const struct weir_matrix *w)
{
    if (w->col_blocks > 1)
        return w->col_blocks;
    return w->row_bytes >= 8192   ? 8
           : w->row_bytes >= 4096 ? 4
           : w->row_bytes >= 2048 ? 2
                                  : 1;
}

#ifdef __cplusplus
extern "C" {
#endif

/* All but the operands of an operation are set here. */
void weir_cuda_few(struct weir_device *device, struct few *few);

/* Weights of f32 and f16, any number of tokens */
void weir_cuda_plain(struct weir_device *device,
                     const struct weir_device_matmul *matmul);

#ifdef __cplusplus
}
#endif

#endif
