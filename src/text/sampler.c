/* SPDX-License-Identifier: Apache-2.0 */
#include "text/sampler.h"

#include <math.h>

#include "kernels/kernels.h"

/* [0, 1): output `step` of SplitMix64 (Steele, Lea and Flood 2014) */
static double uniform(uint64_t seed, uint64_t step)
{
    uint64_t z = seed + (step + 1) * 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static double weight_of(const struct weir_sampler *sampler, float logit,
                        float best)
{
    return exp(((double)logit - best) / sampler->temperature);
}

/*
 * The weights are computed twice rather than kept: their sum, then the id at
 * which the running sum passes the drawn share of it.
 */
static size_t draw(const struct weir_sampler *sampler, const float *logits,
                   size_t n, size_t best)
{
    double sum = 0, at = 0, share = uniform(sampler->seed, sampler->step);

    for (size_t i = 0; i < n; i++)
        sum += weight_of(sampler, logits[i], logits[best]);
    for (size_t i = 0; i < n; i++) {
        at += weight_of(sampler, logits[i], logits[best]);
        if (at > share * sum)
            return i;
    }
    return best;
}

int32_t weir_sampler_next(struct weir_sampler *sampler, const float *logits,
                          size_t n_vocab)
{
    size_t id = weir_kernels_select()->argmax(logits, n_vocab);

    for (size_t i = 0; i < n_vocab; i++)
        if (!(logits[i] < INFINITY))
            return -1;
    if (logits[id] == -INFINITY)
        return -1;
    if (sampler->temperature > 0)
        id = draw(sampler, logits, n_vocab, id);
    sampler->step++;
    return (int32_t)id;
}
