/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/tables.h"

#define MATMUL_TOK 4

#include "kernels/cpu/matmul.h"

const struct weir_kernels weir_avx512_matmul = {.matmul = matmul};
