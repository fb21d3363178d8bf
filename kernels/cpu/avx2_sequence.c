/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/cpu/avx2_vec.h"
#include "kernels/cpu/conv.h"
#include "kernels/cpu/scan.h"
#include "kernels/cpu/tables.h"

const struct weir_kernels weir_avx2_sequence = {.conv = conv, .scan = scan};
