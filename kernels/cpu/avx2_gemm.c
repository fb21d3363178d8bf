/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/gemm_f32.h"
#include "kernels/cpu/tables.h"

#define GEMM_STEPS  256
#define GEMM_TOK    256
#define GEMM_ROWS   6
#define GEMM_GROUPS 1

#include "kernels/cpu/gemm_block.h"

#include "kernels/cpu/gemm.h"

GEMM_FUNCTIONS(avx2, 1)

static const struct weir_gemm gemm = GEMM_TABLE(avx2, 1);

const struct weir_kernels weir_avx2_gemm = {
    .gemm = &gemm, .gemm_fine = &gemm, .gemm_wide = &gemm};
