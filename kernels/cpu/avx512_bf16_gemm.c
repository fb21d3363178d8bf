/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/gemm_bf16.h"
#include "kernels/cpu/tables.h"

#define GEMM_STEPS  128
#define GEMM_TOK    256
#define GEMM_ROWS   6
#define GEMM_GROUPS 4

#include "kernels/cpu/gemm_block.h"

#include "kernels/cpu/gemm.h"

GEMM_FUNCTIONS(avx512_bf16, 1)
GEMM_FUNCTIONS(avx512_bf16_fine, 2)

static const struct weir_gemm gemm = GEMM_TABLE(avx512_bf16, 1);
static const struct weir_gemm fine = GEMM_TABLE(avx512_bf16_fine, 2);

const struct weir_kernels weir_avx512_bf16_gemm = {.gemm = &gemm,
                                                   .gemm_fine = &fine};
