/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx512_vec.h"
#include "kernels/cpu/tables.h"

#define MATMUL_FEW   2
#define MATMUL_ROWS  2
#define MATMUL_TOK   8
#define MATMUL_COLS  1024
#define MATMUL_GROUP 24

#include "kernels/cpu/matmul.h"

const struct weir_kernels weir_avx512_matmul = {.matmul = matmul};
