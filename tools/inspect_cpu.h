/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir inspect --cpu` prints. */
#ifndef WEIR_TOOLS_INSPECT_CPU_H
#define WEIR_TOOLS_INSPECT_CPU_H

#include "base/err.h"

/*
 * Prints the level of kernels that this machine offers, those that are built,
 * the one that is chosen, and which level serves each operation; as one JSON
 * object with `json`.  WEIR_EARG when WEIR_CPU names no level.
 */
int inspect_cpu(int json, struct weir_err *err);

#endif
