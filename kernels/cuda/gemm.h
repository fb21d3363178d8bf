/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many tokens, between the code that launches them and kernels. */
#ifndef WEIR_KERNELS_CUDA_GEMM_H
#define WEIR_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/cuda.h"

#define GEMM_STEP 64 /* columns; blocks are padded to a multiple of it */

/*
 * Activations as a product takes them: bf16, [chunk][n_rows][64], as they are
 * to lie in shared memory.  A chunk is one term of 64 columns; chunks are those
 * of the first 64 columns, term by term, then those of the next; column blocks
 * are padded with zeros.  Of the eight 16-byte pieces of a row, i lies in the
 * place of i exclusive or the row's number; with int8 weights columns are in
 * the order in which kernels use them besides.
 */
struct gemm_shape {
    uint32_t block_cols, block_pad, n_blocks, terms, is_i8;
    uint32_t n_rows; /* a multiple of 8 */
};

struct gemm_matrix {
    struct weir_matrix w;
    const float *bias;
    float *y;
    size_t ld_y;
};

struct gemm {
    struct gemm_shape shape;
    uint32_t out, n_tok;
    uint32_t n_tiles, tile_tok; /* tiles of rows; the most tokens of one */
    const uint16_t *x;          /* packed */
    struct gemm_matrix to[2];   /* the second: GATED */
    /* GATED may go on to a product: packed for it instead of to[0].y */
    uint16_t *packed;
    struct gemm_shape next;
    /* Experts, or NULL: rows of x are choices, as gemm_row() has them */
    const struct weir_device_expert *expert;
    struct weir_device_routing routing;
    uint32_t n_experts, is_down;
    uint32_t from_expert, to_expert;
};

static inline struct gemm_shape gemm_shape_of(const struct weir_matrix *w,
                                              uint32_t terms, uint64_t n_rows)
{
    struct gemm_shape shape;

    shape.n_blocks = w->col_blocks;
    shape.block_cols = w->cols / w->col_blocks;
    shape.block_pad =
        (shape.block_cols + GEMM_STEP - 1) / GEMM_STEP * GEMM_STEP;
    shape.terms = terms;
    shape.is_i8 = w->dtype == WEIR_I8;
    shape.n_rows = (uint32_t)((n_rows + 7) / 8 * 8);
    return shape;
}

static inline uint64_t gemm_packed_bytes(const struct gemm_shape *shape)
{
    return (uint64_t)shape->block_pad * shape->n_blocks * shape->terms *
           shape->n_rows * sizeof(uint16_t);
}

/* Rows for choices: those of an expert begin at a multiple of 8 */
static inline uint64_t gemm_choice_rows(uint64_t n_choices, uint64_t n_experts)
{
    return n_choices + 8 * n_experts;
}

/* What is packed: rows of x, or, where there are experts, of their choices */
struct gemm_pack {
    struct gemm_shape shape;
    uint32_t n; /* rows, or choices */
    const float *x;
    size_t ld_x;
    const float *norm, *factor; /* factor NULL: it is found, of short rows */
    float eps;
    uint16_t *packed;
    const struct weir_device_expert *expert;
    struct weir_device_routing routing;
    uint32_t n_top, from_expert, to_expert;
};

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Kernels for tiles of at most so many tokens, which take the time of the next
 * multiple of `step`; GEMM_KERNELS of them
 */
#define GEMM_KERNELS 4
struct gemm_kernel {
    uint32_t tok, step, threads;
    const void *i8, *bf16;
    uint32_t i8_shared, bf16_shared; /* bytes */
};

/* Those of the Hopper generation, or NULL: not such a card, or not compiled */
const struct gemm_kernel *weir_cuda_hopper_gemm(
    const struct weir_device *device);

void weir_cuda_pack(struct weir_device *device, const struct gemm_pack *pack);

void weir_cuda_gemm(struct weir_device *device, struct gemm *gemm);

/* The sum of struct weir_device_experts; y [choice in order][rows of down] is
 * what gemm() left of the choices. */
void weir_cuda_sum_experts(struct weir_device *device, const float *y,
                           const struct weir_device_experts *experts);

#ifdef __cplusplus
}
#endif

#endif
