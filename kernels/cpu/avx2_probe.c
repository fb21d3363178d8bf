/* SPDX-License-Identifier: Apache-2.0 */
#include <immintrin.h>

#include "kernels/cpu/tables.h"

#define AHEAD  4096 /* as in avx2_matmul.c */
#define LANES  8
#define CHAINS 12 /* with their two operands, what 16 registers hold */

static uint64_t probe_read(const void *data, size_t n_bytes)
{
    const __m256i *at = data, *end = at + n_bytes / sizeof(*at);
    __m256i even = _mm256_setzero_si256(), odd = even;
    uint64_t words[4];

    for (; at < end; at += 2) {
        _mm_prefetch((const char *)at + AHEAD, _MM_HINT_T0);
        even = _mm256_xor_si256(even, _mm256_load_si256(at));
        odd = _mm256_xor_si256(odd, _mm256_load_si256(at + 1));
    }
    _mm256_storeu_si256((__m256i *)words, _mm256_xor_si256(even, odd));
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}

static uint64_t probe_flop(uint64_t n_steps, float a, float b, unsigned *width,
                           float *sum)
{
    const __m256 left = _mm256_set1_ps(a), right = _mm256_set1_ps(b);
    __m256 lanes = _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7), chain[CHAINS];
    float lane[LANES];

    *width = 1;
#pragma GCC unroll 16
    for (unsigned i = 0; i < CHAINS; i++)
        chain[i] = _mm256_add_ps(lanes, _mm256_set1_ps(i * LANES));
    for (uint64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (unsigned i = 0; i < CHAINS; i++)
            chain[i] = _mm256_fmadd_ps(left, right, chain[i]);
#pragma GCC unroll 16
    for (unsigned i = 1; i < CHAINS; i++)
        chain[0] = _mm256_add_ps(chain[0], chain[i]);
    _mm256_storeu_ps(lane, chain[0]);
    *sum = 0;
    for (unsigned i = 0; i < LANES; i++)
        *sum += lane[i];
    return 2ull * LANES * CHAINS * n_steps;
}

const struct weir_kernels weir_avx2_probe = {.probe_read = probe_read,
                                             .probe_flop = probe_flop};
