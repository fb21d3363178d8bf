/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/kernels.h"

const struct weir_kernels *weir_kernels_select(void)
{
    return &weir_kernels_ref;
}
