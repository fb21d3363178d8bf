/* SPDX-License-Identifier: Apache-2.0 */
/* Products in slices by a library that always fails */
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/gemm_f32.h"
#include "tests/kernels/slices.h"

#define SLICE_ROWS 24
#define SLICE_TOK  48
#define SLICE_COLS 512

static void round_words(const float *x, size_t cols, unsigned term,
                        uint32_t *to)
{
    (void)term;
    memcpy(to, x, cols * sizeof(*to));
}

#include "kernels/cpu/gemm_slices.h"

static int multiply_slice(const struct slice *slice)
{
    (void)slice;
    return -1;
}

GEMM_FUNCTIONS(plain, 1)

const struct weir_gemm slices_avx2 = SLICES_TABLE(plain, 1);
