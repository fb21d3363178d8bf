/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of scores, ways to choose by them, and what the sampler of
 * src/text/sampler.h chooses, which computes in double precision: a device may
 * differ where a draw falls next to the border of two tokens.
 */
#ifndef WEIR_TESTS_KERNELS_DRAWS_H
#define WEIR_TESTS_KERNELS_DRAWS_H

#include "kernels/device.h"
#include "tests/kernels/check.h"
#include "text/sampler.h"

#define N_DRAWS 2000

/* What rows begin with, and what the others have */
enum { NOT_A_NUMBER, INFINITE, NOTHING, EQUALS, N_SPECIAL };

static inline void draws_fill(float *x, size_t n, unsigned row)
{
    for (size_t i = 0; i < n; i++)
        x[i] = row == NOTHING  ? -INFINITY
               : row == EQUALS ? (float)(i % 3)
                               : 8 * any() * any();
    if (row == NOT_A_NUMBER)
        x[n / 2] = NAN;
    if (row == INFINITE)
        x[n - 1] = INFINITY;
    for (size_t i = 0; i < n && row > EQUALS; i += 7)
        x[i] = row % 2 ? -INFINITY : x[n / 2];
    if (row > EQUALS)
        x[n / 3] = row % 5 ? -0.0f : 9;
}

static inline struct weir_sampling draws_sampling(unsigned row, size_t n)
{
    static const double top_p[] = {1, 0.9, 0.5, 1e-4, 0.999, 1},
                        min_p[] = {0, 0, 0, 0.05, 0, 0.9, 1},
                        temperature[] = {1, 0.7, 0, 100, 0.05, 1.5, 1e-3};
    const double top_k[] = {0, 50, 1, 3, (double)n, 0, 0, 2, (double)n / 2};
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;

    sampling.temperature = temperature[row % 7];
    sampling.top_p = top_p[row / 7 % 6];
    sampling.min_p = min_p[row / 11 % 7];
    sampling.top_k = floor(top_k[row / 3 % 9]);
    sampling.top_k = sampling.top_k > (double)n ? 0 : sampling.top_k;
    sampling.seed = row;
    return sampling;
}

/* x [n], how to choose by it, and the id; 0: it could not be told */
static inline int draws_make(float *x, size_t n, unsigned row,
                             struct weir_device_draw *draw, int32_t *want)
{
    const struct weir_sampling sampling = draws_sampling(row, n);
    struct weir_sampler sampler;
    struct weir_err err;
    int told;

    draws_fill(x, n, row);
    if (weir_sampler_init(&sampler, &sampling, n, &err))
        return 0;
    told = weir_sampler_tell_draw(&sampler, draw);
    *want = weir_sampler_next(&sampler, x);
    weir_sampler_fini(&sampler);
    return told;
}

#endif
