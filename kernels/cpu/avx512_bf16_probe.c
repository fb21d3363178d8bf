/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/cpu/tables.h"

#define LANES  16
#define CHAINS 16 /* twice what hides 6 cycles, or more than that */
#define WIDTH  2

static uint64_t probe_flop(uint64_t n_steps, float a, float b, unsigned *width,
                           float *sum)
{
    const __m512 left = _mm512_set1_ps(a), right = _mm512_set1_ps(b);
    const __m512bh pairs = _mm512_cvtne2ps_pbh(left, left);
    const __m512bh others = _mm512_cvtne2ps_pbh(right, right);
    const __m512 lanes =
        _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 chain[CHAINS];

    *width = WIDTH;
#pragma GCC unroll 16
    for (unsigned i = 0; i < CHAINS; i++)
        chain[i] = _mm512_add_ps(lanes, _mm512_set1_ps(i * LANES));
    for (uint64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (unsigned i = 0; i < CHAINS; i++)
            chain[i] = _mm512_dpbf16_ps(chain[i], pairs, others);
#pragma GCC unroll 16
    for (unsigned i = 1; i < CHAINS; i++)
        chain[0] = _mm512_add_ps(chain[0], chain[i]);
    *sum = _mm512_reduce_add_ps(chain[0]);
    return 2ull * WIDTH * LANES * CHAINS * n_steps;
}

const struct weir_kernels weir_avx512_bf16_probe = {.probe_flop = probe_flop};
