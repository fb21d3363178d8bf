/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/tiling.h"

#include <stdio.h>

#define N_EIGHTHS 8

static uint64_t round_up(uint64_t n, uint64_t step)
{
    return (n + step - 1) / step * step;
}

static uint32_t min_u32(uint64_t a, uint64_t b)
{
    return (uint32_t)(a < b ? a : b);
}

/* Parts of `rows` that tiles must not cross, `n` if it divides, else `less`. */
static uint32_t parts_of(uint64_t rows, uint32_t n, uint32_t less)
{
    return rows % n == 0 ? n : less;
}

static uint32_t row_parts_of(uint64_t rows, enum weir_split split)
{
    switch (split) {
    case WEIR_SPLIT_ROWS:
        return parts_of(rows, N_EIGHTHS, 1);
    case WEIR_SPLIT_HALVES:
        return parts_of(rows, 2 * N_EIGHTHS, parts_of(rows, 2, 1));
    default:
        return 1;
    }
}

void weir_tiling_cut(struct weir_tensor *tensor, enum weir_split split,
                     uint32_t ceiling)
{
    uint64_t n = 1, tile_rows;

    for (unsigned i = 0; i < tensor->n_dims; i++)
        n *= tensor->shape[i];
    tensor->rows = split == WEIR_SPLIT_VECTOR ? 1 : tensor->shape[0];
    tensor->cols = n / tensor->rows;
    tensor->row_parts = row_parts_of(tensor->rows, split);
    tensor->col_blocks =
        split == WEIR_SPLIT_COLS ? parts_of(tensor->cols, N_EIGHTHS, 1) : 1;
    tile_rows = ceiling / weir_tiling_row_bytes(tensor);
    if (tile_rows == 0)
        tile_rows = 1;
    tensor->tile_rows = min_u32(tile_rows, tensor->rows / tensor->row_parts);
}

uint64_t weir_tiling_block_cols(const struct weir_tensor *tensor)
{
    return tensor->cols / tensor->col_blocks;
}

uint64_t weir_tiling_row_bytes(const struct weir_tensor *tensor)
{
    return round_up(weir_tiling_block_cols(tensor) *
                        weir_dtype_bytes(tensor->dtype),
                    WEIR_ROW_ALIGN);
}

static uint64_t part_rows(const struct weir_tensor *tensor)
{
    return tensor->rows / tensor->row_parts;
}

static uint64_t part_groups(const struct weir_tensor *tensor)
{
    return round_up(part_rows(tensor), tensor->tile_rows) / tensor->tile_rows;
}

uint64_t weir_tiling_n_groups(const struct weir_tensor *tensor)
{
    return part_groups(tensor) * tensor->row_parts;
}

uint64_t weir_tiling_n_tiles(const struct weir_tensor *tensor)
{
    return weir_tiling_n_groups(tensor) * tensor->col_blocks;
}

void weir_tiling_group(const struct weir_tensor *tensor, uint64_t group,
                       uint64_t *row, uint32_t *rows)
{
    uint64_t part = group / part_groups(tensor);
    uint64_t in_part = group % part_groups(tensor) * tensor->tile_rows;

    *row = part * part_rows(tensor) + in_part;
    *rows = min_u32(tensor->tile_rows, part_rows(tensor) - in_part);
}

void weir_tiling_span(const struct weir_tensor *tensor, uint64_t tile,
                      struct weir_tile_span *span)
{
    uint64_t cols = weir_tiling_block_cols(tensor);

    weir_tiling_group(tensor, tile / tensor->col_blocks, &span->row,
                      &span->rows);
    span->block = (uint32_t)(tile % tensor->col_blocks);
    span->col = span->block * cols;
    span->cols = (uint32_t)cols;
}

uint64_t weir_tiling_tile_bytes(const struct weir_tensor *tensor, uint64_t tile)
{
    struct weir_tile_span span;

    weir_tiling_span(tensor, tile, &span);
    return span.rows * weir_tiling_row_bytes(tensor);
}

void weir_tiling_print_shape(const uint64_t *shape, unsigned n_dims, char *text,
                             size_t size)
{
    size_t n = 0;

    for (unsigned i = 0; i < n_dims && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%llu", i ? ", " : "[",
                              (unsigned long long)shape[i]);
    if (n < size)
        snprintf(text + n, size - n, n_dims ? "]" : "[]");
}

uint64_t weir_tiling_tile_at(const struct weir_tensor *tensor, uint64_t tile)
{
    uint64_t row_bytes = weir_tiling_row_bytes(tensor);
    struct weir_tile_span span;

    weir_tiling_span(tensor, tile, &span);
    return (span.row * tensor->col_blocks + (uint64_t)span.rows * span.block) *
           row_bytes;
}

uint64_t weir_tiling_bytes(const struct weir_tensor *tensor)
{
    return tensor->rows * tensor->col_blocks * weir_tiling_row_bytes(tensor);
}
