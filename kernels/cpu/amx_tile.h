/* SPDX-License-Identifier: Apache-2.0 */
/* The tiles of AMX as its kernels here use them: 16 rows of 64 bytes each. */
#ifndef WEIR_KERNELS_CPU_AMX_TILE_H
#define WEIR_KERNELS_CPU_AMX_TILE_H

#include <immintrin.h>
#include <stdint.h>

#define N_TILES 8

/* Intel SDM volume 1, table 18-1 */
struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

/* To be followed by _tile_release() on the same thread */
static inline void configure_tiles(void)
{
    struct tile_config config = {.palette = 1};

    for (unsigned i = 0; i < N_TILES; i++) {
        config.row_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}

#endif
