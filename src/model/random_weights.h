/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Random weights with the statistics of real ones, for benchmarks: activations
 * keep their size over all layers and every expert is chosen about as often as
 * any other.
 */
#ifndef WEIR_MODEL_RANDOM_WEIGHTS_H
#define WEIR_MODEL_RANDOM_WEIGHTS_H

#include "model/layout.h"

struct weir_random_weights;

/*
 * Weights for the tensors of `layout`, which is of `config` and without a
 * checkpoint, and stays the caller's.  Those that it wants as int8 are made so,
 * and it is told.  Release with weir_random_weights_free().
 */
int weir_random_weights_new(struct weir_layout *layout,
                            const struct weir_config *config, uint64_t seed,
                            struct weir_random_weights **weights,
                            struct weir_err *err);
void weir_random_weights_free(struct weir_random_weights *weights);

/*
 * Elements [first, first + n) of tensor `tensor` of the layout, whole rows of
 * its last dimension, in its src_dtype: bf16 or int8.  They depend on its name,
 * its shape, the shape of the model and the seed alone.  Any thread.
 */
void weir_random_weights_get(const struct weir_random_weights *weights,
                             uint32_t tensor, uint64_t first, size_t n,
                             void *out);

#endif
