/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of the next token from its scores.  In this order, each step in
 * double precision:
 *
 * - logit bias: added to the score of its token.
 * - repetition penalty r, for every token that stands in the prompt or in the
 *   answer: a positive score is divided by r, another multiplied by it (Keskar
 *   et al. 2019, CTRL, section 4.1, as transformers does it).
 * - presence penalty a and frequency penalty b, for every token that stands
 *   c > 0 times in the answer: the score loses a + b * c (OpenAI's API; the
 *   prompt does not count).
 * - temperature 0: the highest score is taken, of equals the lowest id, and
 *   that is all.  Else the scores are divided by the temperature.
 * - top-k: the k highest scores stay.
 * - top-p (Holtzman et al. 2020): of what is left, renormalised, the smallest
 *   set of most probable tokens stays whose probability reaches p.  The token
 *   that reaches it is in the set.
 * - min-p (Nguyen et al. 2024): of what is left, tokens less probable than
 *   min_p times the most probable one go.
 * - the draw: u is uniform in [0, 1), from the seed and the number of tokens
 *   drawn before alone.  Of what is left, in the order of ids, the first token
 *   is taken at which the sum of probabilities passes u.
 *
 * The order of the filters is that of transformers.  Where they must choose
 * between equals, lower ids stay.
 */
#ifndef WEIR_TEXT_SAMPLER_H
#define WEIR_TEXT_SAMPLER_H

#include "kernels/device.h"
#include "text/sampling.h"

/* How often a token was seen */
struct weir_token_uses {
    uint32_t prompt, answer;
};

struct weir_sampler {
    struct weir_sampling sampling;
    size_t n_vocab;
    uint64_t step;                /* tokens chosen so far */
    struct weir_token_uses *uses; /* [n_vocab] */
    int32_t *ids;                 /* [n_vocab] tokens that may come */
    double *values;               /* [n_vocab] their scores, then weights */
    double *above, *below;        /* [n_vocab] each, for the filters */
};

/*
 * Takes all memory that choosing among n_vocab > 0 tokens needs, and a copy of
 * `sampling`.  WEIR_EARG when weir_sampling_check() refuses that.
 */
int weir_sampler_init(struct weir_sampler *sampler,
                      const struct weir_sampling *sampling, size_t n_vocab,
                      struct weir_err *err);
void weir_sampler_fini(struct weir_sampler *sampler);

/*
 * Tells of the tokens of the prompt, and of each token of the answer.  Ids
 * that the model does not have are passed over.
 */
void weir_sampler_see_prompt(struct weir_sampler *sampler, const int32_t *ids,
                             size_t n_ids);
void weir_sampler_see_answer(struct weir_sampler *sampler, int32_t id);

/*
 * The id chosen by `logits` [n_vocab]; -1 when one of them is NaN or plus
 * infinity, or all are minus infinity, which no sound model computes.  (Minus
 * infinity is a token that must not come.)  Does not allocate.  The id counts
 * for the penalties once weir_sampler_see_answer() has told of it.
 */
int32_t weir_sampler_next(struct weir_sampler *sampler, const float *logits);

/*
 * The same among the tokens of which bit id % 64 of mask[id / 64] is set, as if
 * the scores of the others were minus infinity: before all else, so that no
 * bias and no penalty brings one of them back.
 */
int32_t weir_sampler_next_of(struct weir_sampler *sampler, const float *logits,
                             const uint64_t *mask);

/*
 * 1, and how a device is to choose the next token, if it can: without penalties
 * and biases.  It does so in single precision (kernels/device.h).  Then
 * weir_sampler_take_drawn() is told which one it was.
 */
int weir_sampler_tell_draw(const struct weir_sampler *sampler,
                           struct weir_device_draw *draw);
void weir_sampler_take_drawn(struct weir_sampler *sampler, int32_t id);

#endif
