/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "offload/plan_parts.h"

#define DENSITIES 16 /* steps in which payoffs are told apart */

/* Where a unit stands in the order. */
struct rank {
    uint32_t unit;
    unsigned kind; /* trunk and head, experts, rows */
    unsigned payoff;
    uint64_t tie;
};

static uint32_t reverse_bits(uint32_t n)
{
    uint32_t out = 0;

    for (int i = 0; i < 32; i++)
        out |= (n >> i & 1) << (31 - i);
    return out;
}

/* Drive bytes that a token saves for each byte held, in steps */
static unsigned payoff_of(const struct weir_plan_unit *unit)
{
    double held = (double)weir_plan_unpacked(unit);
    double saved = weir_plan_touched(unit, 1) * (double)unit->stored_bytes;

    if (saved >= held)
        return DENSITIES;
    return (unsigned)(saved / held * DENSITIES + 0.5);
}

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;

    if (x->kind != y->kind)
        return x->kind < y->kind ? -1 : 1;
    if (x->payoff != y->payoff)
        return x->payoff > y->payoff ? -1 : 1;
    if (x->tie != y->tie)
        return x->tie < y->tie ? -1 : 1;
    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/*
 * Of the experts the first of each group, then the second, and so on: each
 * group has as many of its own in RAM as the others.
 */
static void rank_units(const struct weir_plan_model *model, struct rank *ranks)
{
    static const unsigned kinds[] = {[WEIR_PLAN_TRUNK] = 0,
                                     [WEIR_PLAN_HEAD] = 0,
                                     [WEIR_PLAN_EXPERT] = 1,
                                     [WEIR_PLAN_ROWS] = 2};
    uint32_t n_alike[DENSITIES + 1] = {0}, nth = 0;
    const struct weir_plan_unit *unit, *before = NULL;

    for (uint32_t i = 0; i < model->n_units; i++) {
        unit = &model->units[i];
        ranks[i].unit = i;
        ranks[i].kind = kinds[unit->kind];
        if (unit->kind == WEIR_PLAN_EXPERT) {
            nth = before && before->group == unit->group ? nth + 1 : 0;
            before = unit;
            ranks[i].tie = (uint64_t)nth << 32 | reverse_bits(unit->group);
        } else {
            ranks[i].payoff = payoff_of(unit);
            ranks[i].tie = reverse_bits(n_alike[ranks[i].payoff]++);
        }
    }
}

int weir_plan_order(const struct weir_plan_model *model, uint32_t *order,
                    struct weir_err *err)
{
    size_t n = model->n_units + (size_t)1;
    struct rank *ranks = calloc(n, sizeof(*ranks));

    if (!ranks)
        return weir_err_nomem(err, n * sizeof(*ranks), "a plan");
    rank_units(model, ranks);
    qsort(ranks, model->n_units, sizeof(*ranks), compare_ranks);
    for (uint32_t i = 0; i < model->n_units; i++)
        order[i] = ranks[i].unit;
    free(ranks);
    return 0;
}
