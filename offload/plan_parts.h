/* SPDX-License-Identifier: Apache-2.0 */
/* The parts that plan.c is made of. */
#ifndef WEIR_OFFLOAD_PLAN_PARTS_H
#define WEIR_OFFLOAD_PLAN_PARTS_H

#include "offload/plan.h"

/* Share of a unit's bytes that a pass of `n_tok` tokens is expected to touch */
double weir_plan_touched(const struct weir_plan_unit *unit, double n_tok);

uint64_t weir_plan_unpacked_bytes(const struct weir_plan_unit *unit);

/* Whether unit `number`, which has its place, stays in memory decoded */
int weir_plan_is_decoded(const struct weir_plan *plan,
                         const struct weir_plan_unit *unit, uint32_t number);

/*
 * Fills decode, prompt and what the classes read of a plan whose places, hit
 * rate and span are set.
 */
void weir_plan_predict(struct weir_plan *plan,
                       const struct weir_plan_machine *machine,
                       const struct weir_plan_model *model,
                       const struct weir_plan_budget *budget);

#endif
