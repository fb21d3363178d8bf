/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/cpu/tables.h"

#define AHEAD  4096 /* as in avx512_matmul.c */
#define LANES  16
#define CHAINS 16 /* twice what hides an FMA of 4 cycles, two a cycle */

static uint64_t probe_read(const void *data, size_t n_bytes)
{
    const char *at = data, *end = at + n_bytes;
    __m512i even = _mm512_setzero_si512(), odd = even;
    uint64_t words[8];

    for (; end - at >= 128; at += 128) {
        _mm_prefetch(at + AHEAD, _MM_HINT_T0);
        _mm_prefetch(at + AHEAD + 64, _MM_HINT_T0);
        even = _mm512_xor_si512(even, _mm512_load_si512(at));
        odd = _mm512_xor_si512(odd, _mm512_load_si512(at + 64));
    }
    if (at < end)
        even = _mm512_xor_si512(even, _mm512_load_si512(at));
    _mm512_storeu_si512(words, _mm512_xor_si512(even, odd));
    for (unsigned i = 1; i < 8; i++)
        words[0] ^= words[i];
    return words[0];
}

static uint64_t probe_flop(uint64_t n_steps, float a, float b, unsigned *width,
                           float *sum)
{
    const __m512 left = _mm512_set1_ps(a), right = _mm512_set1_ps(b);
    const __m512 lanes =
        _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m512 chain[CHAINS];

    *width = 1;
#pragma GCC unroll 16
    for (unsigned i = 0; i < CHAINS; i++)
        chain[i] = _mm512_add_ps(lanes, _mm512_set1_ps(i * LANES));
    for (uint64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (unsigned i = 0; i < CHAINS; i++)
            chain[i] = _mm512_fmadd_ps(left, right, chain[i]);
#pragma GCC unroll 16
    for (unsigned i = 1; i < CHAINS; i++)
        chain[0] = _mm512_add_ps(chain[0], chain[i]);
    *sum = _mm512_reduce_add_ps(chain[0]);
    return 2ull * LANES * CHAINS * n_steps;
}

const struct weir_kernels weir_avx512_probe = {.probe_read = probe_read,
                                               .probe_flop = probe_flop};
