/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tokens stay in the order of ids from the first step to the draw.  A filter
 * finds the value at which it cuts by quickselect on copies of the values, and
 * then drops the tokens below: no step sorts the vocabulary, and each takes
 * time linear in it.  The inner loops have no branch that depends on a value,
 * because the processor would guess it wrong every other time.
 */
#include "text/sampler.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Memory for each token of the vocabulary */
#define TOKEN_BYTES                                                            \
    (sizeof(struct weir_token_uses) + sizeof(int32_t) + 3 * sizeof(double))

int weir_sampler_init(struct weir_sampler *s,
                      const struct weir_sampling *sampling, size_t n_vocab,
                      struct weir_err *err)
{
    int rc = weir_sampling_check(sampling, n_vocab, err);

    memset(s, 0, sizeof(*s));
    if (rc)
        return rc;
    s->sampling = *sampling;
    s->n_vocab = n_vocab;
    s->uses = calloc(n_vocab, sizeof(*s->uses));
    s->ids = calloc(n_vocab, sizeof(*s->ids));
    s->values = calloc(n_vocab, sizeof(*s->values));
    s->above = calloc(n_vocab, sizeof(*s->above));
    s->below = calloc(n_vocab, sizeof(*s->below));
    if (s->uses && s->ids && s->values && s->above && s->below)
        return 0;
    weir_sampler_fini(s);
    return weir_err_nomem(err, n_vocab * TOKEN_BYTES, "sampling");
}

void weir_sampler_fini(struct weir_sampler *s)
{
    free(s->uses);
    free(s->ids);
    free(s->values);
    free(s->above);
    free(s->below);
    memset(s, 0, sizeof(*s));
}

static int is_token(const struct weir_sampler *s, int32_t id)
{
    return id >= 0 && (size_t)id < s->n_vocab;
}

void weir_sampler_see_prompt(struct weir_sampler *s, const int32_t *ids,
                             size_t n_ids)
{
    for (size_t i = 0; i < n_ids; i++)
        if (is_token(s, ids[i]))
            s->uses[ids[i]].prompt++;
}

void weir_sampler_see_answer(struct weir_sampler *s, int32_t id)
{
    if (is_token(s, id))
        s->uses[id].answer++;
}

/* Number `step` of SplitMix64 (Steele, Lea and Flood 2014) */
static uint64_t mix(uint64_t seed, uint64_t step)
{
    uint64_t z = seed + (step + 1) * 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

/* 0 when no sound model computes such scores */
static int take_scores(struct weir_sampler *s, const float *logits)
{
    for (size_t i = 0; i < s->n_vocab; i++) {
        if (!(logits[i] < INFINITY))
            return 0;
        s->ids[i] = (int32_t)i;
        s->values[i] = logits[i];
    }
    return 1;
}

static void keep_allowed(struct weir_sampler *s, const uint64_t *mask)
{
    for (size_t i = 0; i < s->n_vocab; i++)
        if (!(mask[i / 64] >> i % 64 & 1))
            s->values[i] = -INFINITY;
}

static void add_biases(struct weir_sampler *s)
{
    const struct weir_logit_bias *biases = s->sampling.biases;

    for (size_t i = 0; i < s->sampling.n_biases; i++)
        s->values[biases[i].id] += biases[i].bias;
}

static double penalised(const struct weir_sampling *sampling,
                        struct weir_token_uses uses, double score)
{
    if (score > 0)
        score /= sampling->repetition_penalty;
    else
        score *= sampling->repetition_penalty;
    if (uses.answer)
        score -= sampling->presence_penalty +
                 sampling->frequency_penalty * uses.answer;
    return score;
}

static void penalise(struct weir_sampler *s)
{
    for (size_t i = 0; i < s->n_vocab; i++)
        if (s->uses[i].prompt || s->uses[i].answer)
            s->values[i] = penalised(&s->sampling, s->uses[i], s->values[i]);
}

static size_t best_of(const struct weir_sampler *s)
{
    size_t best = 0;

    for (size_t i = 1; i < s->n_vocab; i++)
        if (s->values[i] > s->values[best])
            best = i;
    return best;
}

/* What a filter keeps: the values above `value`, and the first equal ones */
struct cut {
    double value;
    size_t n_equal;
};

/* How much of a target n values are: by their weight, or each of them 1 */
static double measure(const double *values, size_t n, int by_weight)
{
    double sum = 0;

    if (!by_weight)
        return (double)n;
    for (size_t i = 0; i < n; i++)
        sum += values[i];
    return sum;
}

/*
 * Copies the values above the pivot to `above`, which may be `from` itself,
 * and those below it to `below`.
 */
static void split(const double *from, size_t n, double pivot, double *above,
                  size_t *n_above, double *below, size_t *n_below)
{
    size_t a = 0, b = 0;

    for (size_t i = 0; i < n; i++) {
        double value = from[i];

        above[a] = value;
        below[b] = value;
        a += value > pivot;
        b += value < pivot;
    }
    *n_above = a;
    *n_below = b;
}

/*
 * Where the best of the n values measure `target` > 0 for the first time, or
 * the end of them when rounding keeps them from it.  Pivots are pseudo-random,
 * so that no order of the values makes this slow.
 */
static struct cut find_cut(struct weir_sampler *s, size_t n, double target,
                           int by_weight)
{
    double *from = s->values, *above = s->above, *below = s->below;
    double reached = 0, share;
    struct cut cut = {0, 0};
    size_t n_above, n_below;

    while (n) {
        cut.value = from[mix(0, n) % n];
        split(from, n, cut.value, above, &n_above, below, &n_below);
        share = measure(above, n_above, by_weight);
        if (reached + share >= target) {
            from = above;
            n = n_above;
            continue;
        }
        reached += share;
        n -= n_above + n_below;
        for (cut.n_equal = 0; cut.n_equal < n && reached < target;
             cut.n_equal++)
            reached += measure(&cut.value, 1, by_weight);
        if (reached >= target)
            return cut;
        from = below;
        below = above;
        above = from;
        n = n_below;
    }
    return cut;
}

/* Keeps the fewest of the best that measure `target`; returns how many. */
static size_t keep_best(struct weir_sampler *s, size_t n, double target,
                        int by_weight)
{
    struct cut cut = find_cut(s, n, target, by_weight);
    size_t n_kept = 0;

    for (size_t i = 0; i < n; i++) {
        double value = s->values[i];
        unsigned equal = (value == cut.value) & (cut.n_equal > 0);

        s->values[n_kept] = value;
        s->ids[n_kept] = s->ids[i];
        n_kept += (value > cut.value) | equal;
        cut.n_equal -= equal;
    }
    return n_kept;
}

/* Keeps what is not below `least`; returns how many. */
static size_t keep_above(struct weir_sampler *s, size_t n, double least)
{
    size_t n_kept = 0;

    for (size_t i = 0; i < n; i++) {
        double value = s->values[i];

        s->values[n_kept] = value;
        s->ids[n_kept] = s->ids[i];
        n_kept += value >= least;
    }
    return n_kept;
}

/* Scores become weights: probabilities, but for a factor.  The best's is 1. */
static void weigh(struct weir_sampler *s, size_t n, double best)
{
    for (size_t i = 0; i < n; i++)
        s->values[i] = exp((s->values[i] - best) / s->sampling.temperature);
}

/* Filters and weighs; returns how many tokens are left. */
static size_t filter(struct weir_sampler *s, double best)
{
    const struct weir_sampling *sampling = &s->sampling;
    size_t n = s->n_vocab;

    if (sampling->top_k > 0 && sampling->top_k < (double)n)
        n = keep_best(s, n, sampling->top_k, 0);
    weigh(s, n, best);
    if (sampling->top_p < 1)
        n = keep_best(s, n, sampling->top_p * measure(s->values, n, 1), 1);
    if (sampling->min_p > 0)
        n = keep_above(s, n, sampling->min_p);
    return n;
}

/* u of the next token */
static double share_of(const struct weir_sampler *s)
{
    return (double)(mix(s->sampling.seed, s->step) >> 11) * 0x1p-53;
}

static int32_t draw(const struct weir_sampler *s, size_t n)
{
    double sum = 0, wanted = share_of(s) * measure(s->values, n, 1);
    size_t i = 0;

    for (; i + 1 < n; i++) {
        sum += s->values[i];
        if (sum > wanted)
            break;
    }
    return s->ids[i];
}

int32_t weir_sampler_next(struct weir_sampler *s, const float *logits)
{
    return weir_sampler_next_of(s, logits, NULL);
}

int32_t weir_sampler_next_of(struct weir_sampler *s, const float *logits,
                             const uint64_t *mask)
{
    int32_t id;
    size_t best;

    if (!take_scores(s, logits))
        return -1;
    if (mask)
        keep_allowed(s, mask);
    add_biases(s);
    penalise(s);
    best = best_of(s);
    if (s->values[best] == -INFINITY)
        return -1;
    id = (int32_t)best;
    if (s->sampling.temperature > 0)
        id = draw(s, filter(s, s->values[best]));
    s->step++;
    return id;
}

int weir_sampler_tell_draw(const struct weir_sampler *s,
                           struct weir_device_draw *draw)
{
    const struct weir_sampling *sampling = &s->sampling;

    *draw =
        (struct weir_device_draw){.temperature = (float)sampling->temperature,
                                  .top_p = (float)sampling->top_p,
                                  .min_p = (float)sampling->min_p,
                                  .top_k = sampling->top_k < (double)s->n_vocab
                                               ? (uint32_t)sampling->top_k
                                               : 0,
                                  .share = share_of(s)};
    return sampling->n_biases == 0 && sampling->repetition_penalty == 1 &&
           sampling->presence_penalty == 0 &&
           sampling->frequency_penalty == 0 &&
           (sampling->temperature == 0 || draw->temperature >= FLT_MIN);
}

void weir_sampler_take_drawn(struct weir_sampler *s, int32_t id)
{
    s->step += id >= 0;
}
