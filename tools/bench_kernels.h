/* SPDX-License-Identifier: Apache-2.0 */
/*
 * weir bench --kernels: the matrix products of a level, side by side, over
 * tiles as those of Mini lie in a file, without a model.
 */
#ifndef WEIR_TOOLS_BENCH_KERNELS_H
#define WEIR_TOOLS_BENCH_KERNELS_H

#include "tools/bench_args.h"

/* Prints as it goes.  The error is one of memory, or of WEIR_CPU. */
int bench_kernels(const struct bench_args *args, struct weir_err *err);

#endif
