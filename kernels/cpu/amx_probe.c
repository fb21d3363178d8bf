/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/amx_tile.h"

#include "base/dtype.h"
#include "kernels/cpu/tables.h"

#define N_SUMS 4
#define CELLS  256 /* of a tile of sums */
#define PAIRS  512 /* of bf16 in a tile, as many numbers */
#define WIDTH  32

static void load_sums(const float *cells)
{
    _tile_loadd(0, cells, 64);
    _tile_loadd(1, cells + CELLS, 64);
    _tile_loadd(2, cells + 2 * CELLS, 64);
    _tile_loadd(3, cells + 3 * CELLS, 64);
}

static void store_sums(float *cells)
{
    _tile_stored(0, cells, 64);
    _tile_stored(1, cells + CELLS, 64);
    _tile_stored(2, cells + 2 * CELLS, 64);
    _tile_stored(3, cells + 3 * CELLS, 64);
}

static uint64_t probe_flop(uint64_t n_steps, float a, float b, unsigned *width,
                           float *sum)
{
    _Alignas(64) float cells[N_SUMS * CELLS];
    _Alignas(64) uint16_t left[PAIRS], right[PAIRS];

    *width = WIDTH;
    for (unsigned i = 0; i < N_SUMS * CELLS; i++)
        cells[i] = (float)i;
    for (unsigned i = 0; i < PAIRS; i++) {
        left[i] = weir_f32_to_bf16(a);
        right[i] = weir_f32_to_bf16(b);
    }
    configure_tiles();
    load_sums(cells);
    _tile_loadd(4, left, 64);
    _tile_loadd(5, right, 64);
    for (uint64_t step = 0; step < n_steps; step++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    store_sums(cells);
    _tile_release();
    *sum = 0;
    for (unsigned i = 0; i < N_SUMS * CELLS; i++)
        *sum += cells[i];
    return 2ull * WIDTH * N_SUMS * CELLS * n_steps;
}

const struct weir_kernels weir_amx_probe = {.probe_flop = probe_flop};
