/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How the CPU as a device chooses tokens.  All filters leave the first ones of
 * one order, higher scores before lower and of equals lower ids: so what they
 * leave together is said by the last token that stays.
 */
#include <math.h>
#include <string.h>

#include "offload/device_host.h"

#define ONE 0x1p31f /* the weight of the best token */

struct scores {
    const float *x;
    size_t n;
    float best, temperature;
};

/* What ranks higher stays, and the first n_equal of those that rank so */
struct cut {
    uint32_t rank;
    uint64_t n_equal;
};

/* Greater for a greater score, of all that are numbers; zeros are alike. */
static uint32_t rank_of(float score)
{
    uint32_t bits;

    score += 0.0f;
    memcpy(&bits, &score, sizeof(bits));
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static float score_of(uint32_t rank)
{
    uint32_t bits = rank >> 31 ? rank & 0x7fffffffu : ~rank;
    float score;

    memcpy(&score, &bits, sizeof(score));
    return score;
}

static float probability(const struct scores *s, float score)
{
    return expf((score - s->best) / s->temperature);
}

static uint64_t weight_of(const struct scores *s, float score)
{
    return (uint64_t)(probability(s, score) * ONE);
}

/* Of those that rank as high or higher: their weights, or how many there are */
static uint64_t measure(const struct scores *s, uint32_t rank, int by_weight)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->n; i++)
        if (rank_of(s->x[i]) >= rank)
            sum += by_weight ? weight_of(s, s->x[i]) : 1;
    return sum;
}

/* The fewest of the first that measure target > 0, which all of them do */
static struct cut find_cut(const struct scores *s, uint64_t target,
                           int by_weight)
{
    struct cut cut = {0, 0};
    uint64_t lacks, each;

    for (uint32_t bit = 1u << 31; bit; bit >>= 1)
        if (measure(s, cut.rank | bit, by_weight) >= target)
            cut.rank |= bit;
    lacks = target - measure(s, cut.rank + 1, by_weight);
    each = by_weight ? weight_of(s, score_of(cut.rank)) : 1;
    cut.n_equal = (lacks + each - 1) / each;
    return cut;
}

/* The weight of token i, or 0 when it does not stay; cut is the next one's. */
static uint64_t take(const struct scores *s, size_t i, struct cut *cut,
                     float min_p)
{
    uint32_t rank = rank_of(s->x[i]);

    if (rank < cut->rank || probability(s, s->x[i]) < min_p)
        return 0;
    if (rank == cut->rank && cut->n_equal == 0)
        return 0;
    cut->n_equal -= rank == cut->rank;
    return weight_of(s, s->x[i]);
}

static uint64_t sum_of(const struct scores *s, struct cut cut, float min_p)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < s->n; i++)
        sum += take(s, i, &cut, min_p);
    return sum;
}

/* What top-k and top-p leave */
static struct cut filter(const struct scores *s,
                         const struct weir_device_draw *how)
{
    struct cut cut = {0, s->n}, next;
    uint64_t target;

    if (how->top_k && how->top_k < s->n)
        cut = find_cut(s, how->top_k, 0);
    if (how->top_p >= 1)
        return cut;
    target = (uint64_t)((double)how->top_p * (double)sum_of(s, cut, 0));
    next = find_cut(s, target ? target : 1, 1);
    if (next.rank == cut.rank && next.n_equal > cut.n_equal)
        next.n_equal = cut.n_equal;
    return next;
}

static int32_t draw(const struct scores *s, const struct weir_device_draw *how)
{
    struct cut cut = filter(s, how);
    uint64_t sum = sum_of(s, cut, how->min_p), wanted, each;
    int32_t last = 0;

    wanted = (uint64_t)(how->share * (double)sum);
    for (size_t i = 0; i < s->n; i++) {
        each = take(s, i, &cut, how->min_p);
        if (each)
            last = (int32_t)i;
        if (each > wanted)
            break;
        wanted -= each;
    }
    return last;
}

static int32_t choose(const float *x, size_t n,
                      const struct weir_device_draw *how)
{
    struct scores s = {x, n, x[0], how->temperature};
    size_t best = 0;

    for (size_t i = 0; i < n; i++) {
        if (!(x[i] < INFINITY))
            return -1;
        if (x[i] > x[best])
            best = i;
    }
    s.best = x[best];
    if (s.best == -INFINITY)
        return -1;
    return how->temperature > 0 ? draw(&s, how) : (int32_t)best;
}

struct args {
    const float *x;
    size_t ld_x, n_tok, n;
    const struct weir_device_draw *draws;
    int32_t *ids;
};

static void run_choose(struct weir_device *device, const void *args)
{
    const struct args *a = args;

    (void)device;
    for (size_t t = 0; t < a->n_tok; t++)
        a->ids[t] = choose(a->x + t * a->ld_x, a->n, &a->draws[t]);
}

void weir_host_choose(struct weir_device *device, const float *x, size_t ld_x,
                      size_t n_tok, size_t n,
                      const struct weir_device_draw *draws, int32_t *ids)
{
    const struct args args = {x, ld_x, n_tok, n, draws, ids};

    SUBMIT(run_choose, &args);
}
