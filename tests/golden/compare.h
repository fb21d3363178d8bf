/* SPDX-License-Identifier: Apache-2.0 */
/* Comparing safetensors files, and cutting one in two. */
#ifndef WEIR_TESTS_GOLDEN_COMPARE_H
#define WEIR_TESTS_GOLDEN_COMPARE_H

#include "offload/safetensors.h"

/* The values of a tensor of 4 bytes an element; NULL when there is none. */
void *values_of(const struct weir_checkpoint *from, const char *name,
                size_t *n);

/*
 * 2-norm of (tensor `name` of a - tensor `golden` of b) over that of the
 * latter; HUGE_VAL when one is missing or another size, or not finite.
 */
double tensor_distance(const struct weir_checkpoint *a, const char *name,
                       const struct weir_checkpoint *b, const char *golden);

/* 1 when both are there and have the same bytes. */
int same_tensor(const struct weir_checkpoint *a,
                const struct weir_checkpoint *b, const char *name);
int same_files(const char *a, const char *b);

/*
 * Writes the tensors of folder `from` to `to` in two shards with an index, and
 * copies the configurations.  0 or -1.
 */
int split_checkpoint(const char *from, const char *to);

/* Copies FROM/NAME to TO/NAME.  0 or -1. */
int copy_file(const char *from, const char *to, const char *name);

#endif
