/* SPDX-License-Identifier: Apache-2.0 */
/* The choice of the next token from its scores. */
#ifndef WEIR_TEXT_SAMPLER_H
#define WEIR_TEXT_SAMPLER_H

#include <stddef.h>
#include <stdint.h>

/*
 * The same seed gives the same tokens from the same scores: the random number
 * of step i is a function of seed and i alone.
 */
struct weir_sampler {
    double temperature; /* 0: always the best; of equals the lowest id */
    uint64_t seed;
    uint64_t step; /* tokens chosen so far; start with 0 */
};

/*
 * An id below n_vocab (> 0), drawn from softmax(logits / temperature); -1 when
 * a score is infinite or no number, which no sound model computes.  (Minus
 * infinity is a token that must not come.)
 */
int32_t weir_sampler_next(struct weir_sampler *sampler, const float *logits,
                          size_t n_vocab);

#endif
