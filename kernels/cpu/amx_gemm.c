/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens in the tiles of AMX.  Rows of weights are the left
 * operand as they lie; packed activations, with their pairs of columns, are
 * just what the right operand wants.  Two tiles of 16 rows and two groups of 16
 * tokens meet in four tiles of sums.
 */
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/tables.h"

#include "kernels/cpu/amx_tile.h"

#define GEMM_STEPS 256
#define GEMM_TOK   128 /* 1 MiB of 4096 columns: half of a second cache */
#define ROW_BYTES  (GEMM_STEPS * 4)
#define TILE_STEPS 16
#define TILE_ROWS  16

/* Sums of 16 rows and 16 tokens: tile 0 to 3, (row tile) * 2 + group */
#define LOAD_SUM(tile, c, ld_c, first)                                         \
    do {                                                                       \
        if (first)                                                             \
            _tile_zero(tile);                                                  \
        else                                                                   \
            _tile_loadd(tile, c, (ld_c) * sizeof(float));                      \
    } while (0)
#define STORE_SUM(tile, c, ld_c) _tile_stored(tile, c, (ld_c) * sizeof(float))

/* 32 rows, 2 groups */
static void multiply_four(const uint32_t *w, const uint32_t *x, size_t ld_group,
                          size_t n, float *c, size_t ld_c, int first)
{
    float *low = c + TILE_ROWS * ld_c;

    LOAD_SUM(0, c, ld_c, first);
    LOAD_SUM(1, c + WEIR_GEMM_GROUP, ld_c, first);
    LOAD_SUM(2, low, ld_c, first);
    LOAD_SUM(3, low + WEIR_GEMM_GROUP, ld_c, first);
    for (size_t s = 0; s < n; s += TILE_STEPS) {
        _tile_loadd(4, w + s, ROW_BYTES);
        _tile_loadd(6, x + s * WEIR_GEMM_GROUP, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_loadd(7, x + ld_group + s * WEIR_GEMM_GROUP, 64);
        _tile_dpbf16ps(1, 4, 7);
        _tile_loadd(5, w + TILE_ROWS * GEMM_STEPS + s, ROW_BYTES);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    STORE_SUM(0, c, ld_c);
    STORE_SUM(1, c + WEIR_GEMM_GROUP, ld_c);
    STORE_SUM(2, low, ld_c);
    STORE_SUM(3, low + WEIR_GEMM_GROUP, ld_c);
}

/* 16 rows, 1 group */
static void multiply_one(const uint32_t *w, const uint32_t *x, size_t n,
                         float *c, size_t ld_c, int first)
{
    LOAD_SUM(0, c, ld_c, first);
    for (size_t s = 0; s < n; s += TILE_STEPS) {
        _tile_loadd(4, w + s, ROW_BYTES);
        _tile_loadd(6, x + s * WEIR_GEMM_GROUP, 64);
        _tile_dpbf16ps(0, 4, 6);
    }
    STORE_SUM(0, c, ld_c);
}

/* 16 rows with all groups, or 32 */
static void multiply_rows(const uint32_t *w, size_t n_tiles, const uint32_t *x,
                          size_t ld_group, size_t n, size_t n_groups, float *c,
                          size_t ld_c, int first)
{
    size_t g = 0;

    for (; n_tiles == 2 && g + 2 <= n_groups; g += 2)
        multiply_four(w, x + g * ld_group, ld_group, n, c + g * WEIR_GEMM_GROUP,
                      ld_c, first);
    for (; g < n_groups; g++)
        for (size_t i = 0; i < n_tiles; i++)
            multiply_one(w + i * TILE_ROWS * GEMM_STEPS, x + g * ld_group, n,
                         c + i * TILE_ROWS * ld_c + g * WEIR_GEMM_GROUP, ld_c,
                         first);
}

static void multiply_block(const uint32_t *panel, size_t rows,
                           const uint32_t *x, size_t ld_group, size_t n,
                           size_t n_groups, float *c, size_t ld_c, int first)
{
    size_t n_tiles;

    configure_tiles();
    for (size_t r = 0; r < rows; r += n_tiles * TILE_ROWS) {
        n_tiles = rows - r > TILE_ROWS ? 2 : 1;
        multiply_rows(panel + r * GEMM_STEPS, n_tiles, x, ld_group, n, n_groups,
                      c + r * ld_c, ld_c, first);
    }
    _tile_release();
}

#include "kernels/cpu/gemm.h"

GEMM_FUNCTIONS(amx, 1)
GEMM_FUNCTIONS(amx_fine, 2)

static const struct weir_gemm gemm = GEMM_TABLE(amx, 1);
static const struct weir_gemm fine = GEMM_TABLE(amx_fine, 2);

const struct weir_kernels weir_amx_gemm = {.gemm = &gemm, .gemm_fine = &fine};
