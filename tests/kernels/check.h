/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of kernels share: operands and distances. */
#ifndef WEIR_TESTS_KERNELS_CHECK_H
#define WEIR_TESTS_KERNELS_CHECK_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/kernels.h"

#define MAX_TOK 9

static uint64_t seed = 1;

/* Xorshift of Marsaglia 2003; [-1, 1) */
static inline float any(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (float)((double)(seed >> 11) * 0x1p-52 - 1.0);
}

/* Mostly tame, now and then large, tiny or zero of either sign */
static inline void fill(float *x, size_t n)
{
    static const float odd[] = {0.0f, -0.0f, 1e-30f, -3e4f, 2e-6f, 1.0f};

    for (size_t i = 0; i < n; i++)
        x[i] = any() < 0.9f ? any() : odd[(seed >> 20) % 6];
}

/* 2-norm of a - b over that of b; not finite counts as far away */
static inline double distance(const float *a, const double *b, size_t n)
{
    double far = 0, norm = 0;

    for (size_t i = 0; i < n; i++) {
        far += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    if (!isfinite(far) || !isfinite(norm))
        return INFINITY;
    return norm > 0 ? sqrt(far / norm) : sqrt(far);
}

/* The same of what is in f32 on both sides */
static inline double apart(const float *y, const float *want, size_t n)
{
    double *exact = malloc(n * sizeof(*exact)), d;

    for (size_t i = 0; i < n && exact; i++)
        exact[i] = want[i];
    d = exact ? distance(y, exact, n) : INFINITY;
    free(exact);
    return d;
}

static inline double worst_of(double a, double b)
{
    return a > b ? a : b;
}

static inline double silu(double v)
{
    return v / (1 + exp(-v));
}

#endif
