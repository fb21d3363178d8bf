/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The levels of the CPU that kernels are written for.  Each takes for granted
 * what those before it do.
 */
#ifndef WEIR_BASE_CPU_H
#define WEIR_BASE_CPU_H

#include "weir.h"

enum weir_level {
    WEIR_LEVEL_REF,         /* plain C */
    WEIR_LEVEL_AVX2,        /* AVX2, FMA, F16C */
    WEIR_LEVEL_AVX512,      /* AVX-512 F, BW, DQ, VL, VNNI */
    WEIR_LEVEL_AVX512_BF16, /* AVX-512 BF16, VBMI */
    WEIR_LEVEL_AMX,         /* AMX tiles of int8 and bf16 */
    WEIR_N_LEVELS
};

/* "ref", "avx2", "avx512", "avx512_bf16", "amx" */
const char *weir_level_name(enum weir_level level);

/*
 * The highest level that this CPU and its operating system offer.  Asks Linux
 * to let the process use AMX where there is AMX.
 */
enum weir_level weir_level_detected(void);

/*
 * The highest level to be used: the one detected, or a lower one that the
 * environment variable WEIR_CPU names.  WEIR_EARG when it names none.
 */
int weir_level_choose(enum weir_level *level, struct weir_err *err);

#endif
