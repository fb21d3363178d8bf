/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How probable tokens are by a model's own logits: log softmax, in double
 * precision, before whatever sampling does to them.
 */
#ifndef WEIR_TEXT_SCORES_H
#define WEIR_TEXT_SCORES_H

#include <stddef.h>
#include <stdint.h>

#define WEIR_MAX_BEST   20 /* most probable tokens that can be asked for */
#define WEIR_MAX_SCORES (1 + WEIR_MAX_BEST)

struct weir_score {
    int32_t id; /* -1: the model has not that many */
    float logprob;
};

/*
 * log(sum(exp(logits))) of n > 0 of them, summed in the order of ids; not
 * finite when a logit is NaN or plus infinity.
 */
double weir_log_sum_exp(const float *logits, size_t n);

/*
 * scores[0] becomes that of `id` >= 0, and the n_scores - 1 others, at most
 * WEIR_MAX_BEST, those of the most probable tokens, the best first, of equals
 * the lowest id.  `logits` [n_vocab].
 */
void weir_scores_take(const float *logits, size_t n_vocab, int32_t id,
                      struct weir_score *scores, size_t n_scores);

#endif
