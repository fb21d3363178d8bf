/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many tokens, between the code that launches them and kernels. */
#ifndef WEIR_KERNELS_CUDA_GEMM_H
#define WEIR_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda.h"

#define GEMM_STEP 64 /* columns; blocks are padded to a multiple of it */

/*
 * Activations as a product takes them: bf16, [row][ld], a row being its terms
 * one after the other, a term its column blocks, a block padded with zeros.
 * With int8 weights, 64 columns lie in the order in which kernels use them.
 */
struct gemm_shape {
    uint32_t block_cols, block_pad, n_blocks, terms, is_i8;
    size_t ld; /* elements */
};

struct gemm_matrix {
    struct weir_matrix w;
    const float *bias;
    float *y;
    size_t ld_y;
};

struct gemm {
    struct gemm_shape shape;
    uint32_t out, n_tok, n_tiles; /* n_tiles: of rows */
    const uint16_t *x;            /* packed */
    struct gemm_matrix to[2];     /* the second: GATED */
    /* GATED may go on to a product: packed for it instead of to[0].y */
    uint16_t *packed;
    struct gemm_shape next;
    /* Experts, or NULL: rows of x are choices in order, or their tokens */
    const struct weir_device_expert *expert;
    struct weir_device_routing routing;
    uint32_t n_experts, n_top, is_down;
    uint32_t from_expert, to_expert;
};

static inline struct gemm_shape gemm_shape_of(const struct weir_matrix *w,
                                              uint32_t terms)
{
    struct gemm_shape shape;

    shape.n_blocks = w->col_blocks;
    shape.block_cols = w->cols / w->col_blocks;
    shape.block_pad =
        (shape.block_cols + GEMM_STEP - 1) / GEMM_STEP * GEMM_STEP;
    shape.terms = terms;
    shape.is_i8 = w->dtype == WEIR_I8;
    shape.ld = (size_t)shape.block_pad * shape.n_blocks * terms;
    return shape;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Kernels for tiles of so many tokens; GEMM_KERNELS of them, ascending */
#define GEMM_KERNELS 3
struct gemm_kernel {
    uint32_t tok;
    const void *i8, *bf16;
    uint32_t i8_shared, bf16_shared; /* bytes */
};

/* Those of the Hopper generation, or NULL: not such a card, or not compiled */
const struct gemm_kernel *weir_cuda_hopper_gemm(
    const struct weir_device *device);

/* Packs n_tok rows of x; norm and factor as in struct weir_device_matmul */
void weir_cuda_pack(struct weir_device *device, const struct gemm_shape *shape,
                    const float *x, size_t ld_x, uint32_t n_tok,
                    const float *norm, const float *factor, float eps,
                    uint16_t *packed);

void weir_cuda_gemm(struct weir_device *device, struct gemm *gemm);

/* The sum of struct weir_device_experts; y [choice in order][rows of down] is
 * what gemm() left of the choices. */
void weir_cuda_sum_experts(struct weir_device *device, const float *y,
                           const struct weir_device_experts *experts);

#ifdef __cplusplus
}
#endif

#endif
