/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels/cpu/LEVEL_exp.h has, as functions over arrays: each level's is
 * compiled from exps_LEVEL.c with the flags of that level.
 */
#ifndef WEIR_TESTS_KERNELS_EXPS_H
#define WEIR_TESTS_KERNELS_EXPS_H

#include <stddef.h>

#include "base/cpu.h"

struct exps {
    /* y[i] = f(x[i]); n is a multiple of 16. */
    void (*exp2)(const float *x, float *y, size_t n);
    void (*exp)(const float *x, float *y, size_t n);
    void (*silu)(const float *x, float *y, size_t n);
    void (*softplus)(const float *x, float *y, size_t n);
    /* n powers, from registers to registers: the bound of a scan's speed */
    void (*bare)(size_t n);
};

extern const struct exps exps_avx2, exps_avx512;

/* The functions of that very level; NULL when it has none. */
const struct exps *exps_of(enum weir_level level);

#endif
