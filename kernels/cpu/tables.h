/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tables of this build: one for each family of operations and level, with
 * the operations of that family and NULL for all others.  A level's list is
 * laid over those before it, in its own order.
 */
#ifndef WEIR_KERNELS_CPU_TABLES_H
#define WEIR_KERNELS_CPU_TABLES_H

#include "kernels/kernels.h"

#ifdef WEIR_HAVE_AVX2
extern const struct weir_kernels weir_avx2_attention, weir_avx2_gemm,
    weir_avx2_matmul, weir_avx2_probe, weir_avx2_rows, weir_avx2_sequence;
#define WEIR_TABLES_AVX2                                                       \
    &weir_avx2_attention, &weir_avx2_gemm, &weir_avx2_matmul,                  \
        &weir_avx2_probe, &weir_avx2_rows, &weir_avx2_sequence
#else
#define WEIR_TABLES_AVX2 NULL
#endif

#ifdef WEIR_HAVE_AVX512
extern const struct weir_kernels weir_avx512_attention, weir_avx512_gemm,
    weir_avx512_matmul, weir_avx512_probe, weir_avx512_rows,
    weir_avx512_sequence;
#define WEIR_TABLES_AVX512                                                     \
    &weir_avx512_attention, &weir_avx512_gemm, &weir_avx512_matmul,            \
        &weir_avx512_probe, &weir_avx512_rows, &weir_avx512_sequence
#else
#define WEIR_TABLES_AVX512 NULL
#endif

#ifdef WEIR_HAVE_AVX512_BF16
extern const struct weir_kernels weir_avx512_bf16_gemm, weir_avx512_bf16_probe;
#define WEIR_TABLES_AVX512_BF16 &weir_avx512_bf16_gemm, &weir_avx512_bf16_probe
#else
#define WEIR_TABLES_AVX512_BF16 NULL
#endif

#ifdef WEIR_HAVE_AMX
extern const struct weir_kernels weir_amx_gemm, weir_amx_probe;
#define WEIR_TABLES_AMX &weir_amx_gemm, &weir_amx_probe
#else
#define WEIR_TABLES_AMX NULL
#endif

#endif
