/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens in f32 by OpenBLAS.  How many threads it uses is one
 * setting of the whole process, which is not ours to change: it is used only
 * where it has one thread anyway.
 */
#include <cblas.h>

#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/gemm_f32.h"
#include "kernels/cpu/providers.h"

#define SLICE_ROWS 32
#define SLICE_TOK  64
#define SLICE_COLS 1024

static void round_words(const float *x, size_t cols, unsigned term,
                        uint32_t *to)
{
    (void)term;
    memcpy(to, x, cols * sizeof(*to));
}

#include "kernels/cpu/gemm_slices.h"

static int multiply_slice(const struct slice *slice)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, SLICE_ROWS, SLICE_TOK,
                (blasint)slice->cols, 1, (const float *)slice->w, SLICE_WORDS,
                (const float *)slice->x, (blasint)slice->ld_x,
                slice->first ? 0 : 1, slice->c, LD_SUMS);
    return 0;
}

GEMM_FUNCTIONS(openblas, 1)

static const struct weir_gemm gemm = SLICES_TABLE(openblas, 1);

static const char *missing(void)
{
    return openblas_get_num_threads() == 1 ? NULL : "has threads";
}

const struct weir_provider weir_openblas = {&gemm, WEIR_LEVEL_AVX2, missing};
