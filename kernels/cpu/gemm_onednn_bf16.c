/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens in bf16 by oneDNN, which takes AVX-512 BF16 or AMX as
 * it finds them.
 */
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/providers.h"

#define SLICE_ROWS 32
#define SLICE_TOK  64
#define SLICE_COLS 2048

/* Whole groups of 16, of zeros beyond the last */
static void round_words(const float *x, size_t cols, unsigned term,
                        uint32_t *to)
{
    __m256i rounded;
    __m512 v;

    for (size_t c = 0; c < cols; c += 16, to += 8) {
        v = _mm512_maskz_loadu_ps((__mmask16)below(cols, c), x + c);
        rounded = (__m256i)_mm512_cvtneps_pbh(v);
        if (term) {
            v -= _mm512_castsi512_ps(
                _mm512_slli_epi32(_mm512_cvtepu16_epi32(rounded), 16));
            rounded = (__m256i)_mm512_cvtneps_pbh(v);
        }
        _mm256_storeu_si256((__m256i *)to, rounded);
    }
}

#include "kernels/cpu/gemm_slices.h"

static int multiply_slice(const struct slice *slice)
{
    int n_threads = omp_get_max_threads();
    dnnl_status_t status;

    omp_set_num_threads(1);
    status = dnnl_gemm_bf16bf16f32(
        'N', 'T', SLICE_ROWS, SLICE_TOK, (dnnl_dim_t)slice->cols, 1,
        (const uint16_t *)slice->w, SLICE_COLS, (const uint16_t *)slice->x,
        (dnnl_dim_t)slice->ld_x * GEMM_COLS, slice->first ? 0 : 1, slice->c,
        LD_SUMS);
    omp_set_num_threads(n_threads);
    return status != dnnl_success;
}

GEMM_FUNCTIONS(onednn, 1)
GEMM_FUNCTIONS(onednn_fine, 2)

static const struct weir_gemm gemm = SLICES_TABLE(onednn, 1);
static const struct weir_gemm fine = SLICES_TABLE(onednn_fine, 2);

static const char *missing(void)
{
    uint16_t one = 0x3f80;
    float sum;

    return dnnl_gemm_bf16bf16f32('N', 'T', 1, 1, 1, 1, &one, 1, &one, 1, 0,
                                 &sum, 1)
               ? "not on this CPU"
               : NULL;
}

const struct weir_provider weir_onednn = {&gemm, WEIR_LEVEL_AVX512_BF16,
                                          missing};
const struct weir_provider weir_onednn_fine = {&fine, WEIR_LEVEL_AVX512_BF16,
                                               missing};
