/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/ref.h"

#define WORDS 8 /* of a line */

uint64_t weir_ref_probe_read(const void *data, size_t n_bytes)
{
    const uint64_t *word = data, *end = word + n_bytes / sizeof(*word);
    uint64_t all[WORDS] = {0};

    for (; word < end; word += WORDS)
#pragma GCC unroll 16
        for (unsigned i = 0; i < WORDS; i++)
            all[i] ^= word[i];
#pragma GCC unroll 16
    for (unsigned i = 1; i < WORDS; i++)
        all[0] ^= all[i];
    return all[0];
}

/*
 * Vectors of four are what a compiler makes of ref_dot() for the least CPU of
 * this kind, and with their two operands these are what its registers hold.
 */
#define LANES  4
#define CHAINS 12

/* What is in v may have changed, so that a product with it is done again. */
#if defined(__x86_64__)
#define HIDE(v) __asm__("" : "+x"(v))
#elif defined(__aarch64__)
#define HIDE(v) __asm__("" : "+w"(v))
#else
#define HIDE(v) __asm__("" : "+m"(v))
#endif

uint64_t weir_ref_probe_flop(uint64_t n_steps, float a, float b,
                             unsigned *width, float *sum)
{
    typedef float lanes __attribute__((vector_size(LANES * sizeof(float))));
    lanes chain[CHAINS], left = (lanes){0} + a;

    *width = 1;
#pragma GCC unroll 16
    for (unsigned i = 0; i < CHAINS; i++)
        for (unsigned k = 0; k < LANES; k++)
            chain[i][k] = (float)(i * LANES + k);
    for (uint64_t step = 0; step < n_steps; step++)
#pragma GCC unroll 16
        for (unsigned i = 0; i < CHAINS; i++) {
            HIDE(left);
            chain[i] += left * b;
        }
    *sum = 0;
#pragma GCC unroll 16
    for (unsigned i = 0; i < CHAINS; i++)
        for (unsigned k = 0; k < LANES; k++)
            *sum += chain[i][k];
    return 2ull * LANES * CHAINS * n_steps;
}
