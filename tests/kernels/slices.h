/* SPDX-License-Identifier: Apache-2.0 */
/* kernels/cpu/gemm_slices.h without a library */
#ifndef WEIR_TESTS_KERNELS_SLICES_H
#define WEIR_TESTS_KERNELS_SLICES_H

#include "kernels/kernels.h"

extern const struct weir_gemm slices_avx2;

#endif
