/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens in f32 by oneDNN.  Its kernels have 6 rows and 16
 * tokens with AVX2, 8 and 48 with AVX-512; slices that are multiples of both
 * keep every row and token in kernels of one kind.
 */
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/gemm_f32.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/providers.h"

#define SLICE_ROWS 24
#define SLICE_TOK  48
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
    int n_threads = omp_get_max_threads();
    dnnl_status_t status;

    omp_set_num_threads(1);
    status = dnnl_sgemm(
        'N', 'T', SLICE_ROWS, SLICE_TOK, (dnnl_dim_t)slice->cols, 1,
        (const float *)slice->w, SLICE_WORDS, (const float *)slice->x,
        (dnnl_dim_t)slice->ld_x, slice->first ? 0 : 1, slice->c, LD_SUMS);
    omp_set_num_threads(n_threads);
    return status != dnnl_success;
}

GEMM_FUNCTIONS(onednn_f32, 1)

static const struct weir_gemm gemm = SLICES_TABLE(onednn_f32, 1);

static const char *missing(void)
{
    float one = 1, sum;

    return dnnl_sgemm('N', 'T', 1, 1, 1, 1, &one, 1, &one, 1, 0, &sum, 1)
               ? "not on this CPU"
               : NULL;
}

const struct weir_provider weir_onednn_f32 = {&gemm, WEIR_LEVEL_AVX2, missing};
