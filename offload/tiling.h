/* SPDX-License-Identifier: Apache-2.0 */
/* How a tensor is cut into tiles: arithmetic on struct weir_tensor. */
#ifndef WEIR_OFFLOAD_TILING_H
#define WEIR_OFFLOAD_TILING_H

#include "offload/file.h"

/* Which way devices share a tensor. */
enum weir_split {
    WEIR_SPLIT_VECTOR, /* small: kept as one row, one tile */
    WEIR_SPLIT_NONE,   /* a matrix that every device has whole */
    WEIR_SPLIT_ROWS,   /* no tile crosses an eighth of the rows */
    WEIR_SPLIT_HALVES, /* the same for each half of the rows by itself */
    WEIR_SPLIT_COLS,   /* 8 column blocks */
};

/* A tile's place in its tensor. */
struct weir_tile_span {
    uint64_t row, col; /* of its first element */
    uint32_t rows, cols;
    uint32_t block; /* its column block */
};

/*
 * Fills rows, cols, row_parts, col_blocks and tile_rows of `tensor` from its
 * shape and dtype, for tiles of at most `ceiling` bytes.
 */
void weir_tiling_cut(struct weir_tensor *tensor, enum weir_split split,
                     uint32_t ceiling);

uint64_t weir_tiling_block_cols(const struct weir_tensor *tensor);

/* Bytes of a row of a tile, padding included. */
uint64_t weir_tiling_row_bytes(const struct weir_tensor *tensor);

/* Row groups and tiles of the whole tensor. */
uint64_t weir_tiling_n_groups(const struct weir_tensor *tensor);
uint64_t weir_tiling_n_tiles(const struct weir_tensor *tensor);

/* First row and number of rows of row group `group`. */
void weir_tiling_group(const struct weir_tensor *tensor, uint64_t group,
                       uint64_t *row, uint32_t *rows);

/* Place of tile `tile`, counted from the tensor's first. */
void weir_tiling_span(const struct weir_tensor *tensor, uint64_t tile,
                      struct weir_tile_span *span);

/* Writes a shape as "[16384, 4096]", cut to `size`. */
void weir_tiling_print_shape(const uint64_t *shape, unsigned n_dims, char *text,
                             size_t size);

/* Unpacked bytes of tile `tile`, counted from the tensor's first. */
uint64_t weir_tiling_tile_bytes(const struct weir_tensor *tensor,
                                uint64_t tile);

/* Where it begins when all tiles of the tensor lie unpacked one behind the
 * other, and what they take. */
uint64_t weir_tiling_tile_at(const struct weir_tensor *tensor, uint64_t tile);
uint64_t weir_tiling_bytes(const struct weir_tensor *tensor);

#endif
