/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/tables.h"

#define MATMUL_TOK 2

#include "kernels/cpu/matmul.h"

const struct weir_kernels weir_avx2_matmul = {.matmul = matmul};
