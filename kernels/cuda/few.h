/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of few tokens, between the code that launches them and the kernel.
 */
#ifndef WEIR_KERNELS_CUDA_FEW_H
#define WEIR_KERNELS_CUDA_FEW_H

#include "kernels/cuda/cuda.h"

#define FEW_TOK   16  /* of a group */
#define FEW_ROWS  128 /* of a tile: 16 for each of 8 warps */
#define FEW_SPLIT 8   /* more tokens are split before */

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
    uint32_t n_sub, n_parts;       /* of a column block, and of a row */
    uint32_t part_bytes, n_places; /* n_places: for columns, 1 or 2 */
    const float *x;
    size_t ld_x;
    const float *norm, *factor; /* factor NULL: it is found, of short rows */
    const float *squared;       /* or of squares that are there, or NULL */
    float *squares;             /* where those of the result go, or NULL */
    float eps;
    struct few_matrix to[WEIR_DEVICE_MATRICES];
    uint8_t *split;  /* room for activations, or NULL: each block splits them */
    float *partial;  /* [tile][n_parts][n_rows][FEW_ROWS] */
    uint32_t n_rows; /* tokens, or choices */
    uint32_t *counter; /* [n_tiles][n_groups]; of FEW_DOWNS [n_tiles] more */
    /* Experts */
    uint32_t n_top;
    uint32_t from_expert, to_expert;
    const struct weir_device_expert *expert;
    struct weir_device_routing routing;
    float *sum; /* FEW_DOWNS: [n_tok][ld_sum] += */
    size_t ld_sum;
    uint32_t in_order; /* what is summed up begins with it */
};

#define FEW_PARTS  32   /* of a row, at most */
#define FEW_PART   1024 /* bytes of one, at least */
#define FEW_BLOCKS 200  /* of threads, that are enough for a card */

/* Rows of each matrix that a tile has */
static inline uint32_t few_tile_rows(uint32_t out)
{
    return out == WEIR_OUT_GATED ? FEW_ROWS / 2 : FEW_ROWS;
}

/*
 * Into how many parts a row of a column block is cut, a power of two, of all
 * matrices of a product as of the first, of which a tile has tile_rows.  The
 * sums of all parts are joined as a tree: the order is that of whole matrices
 * on one card.
 */
static inline uint32_t few_n_sub(const struct weir_matrix *w,
                                 uint32_t tile_rows)
{
    uint32_t n = 1, n_tiles = weir_cuda_parts(w->rows, tile_rows);

    while (2 * n * w->col_blocks <= FEW_PARTS &&
           w->row_bytes >= 2 * n * FEW_PART &&
           n_tiles * w->col_blocks * n < FEW_BLOCKS)
        n *= 2;
    return n;
}

/* The parts of all tiles of a product; each has FEW_ROWS sums of a token. */
static inline uint64_t few_n_parts(const struct weir_matrix *w,
                                   uint32_t tile_rows, uint32_t n_tiles)
{
    return (uint64_t)n_tiles * w->col_blocks * few_n_sub(w, tile_rows);
}

/*
 * The same at most, of a product of matrices of which none has more rows than
 * the first, and all together at most twice as many as said
 */
static inline uint64_t few_most_parts(uint64_t rows)
{
    uint64_t n_tiles = 2 * (rows / FEW_ROWS + 1) + WEIR_DEVICE_MATRICES;
    uint64_t cut = WEIR_DEVICE_MATRICES * (2 * FEW_BLOCKS + FEW_PARTS);

    cut = cut < n_tiles * FEW_PARTS ? cut : n_tiles * FEW_PARTS;
    return cut > n_tiles * 8 ? cut : n_tiles * 8;
}

#ifdef __cplusplus
extern "C" {
#endif

/* Tiles of all matrices; sets which is the first of each. */
uint32_t weir_cuda_few_tiles(struct few *few);

/* What tokens of at most so many columns take up when they are split */
uint64_t weir_cuda_few_split_bytes(uint64_t cols, uint64_t n_groups);

/* All but the operands of an operation are set here. */
void weir_cuda_few(struct weir_device *device, struct few *few);

/* Weights of f32 and f16, any number of tokens; factor: as in struct few */
void weir_cuda_plain(struct weir_device *device,
                     const struct weir_device_matmul *matmul,
                     const float *factor);

#ifdef __cplusplus
}
#endif

#endif
