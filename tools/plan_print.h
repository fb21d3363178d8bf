/* SPDX-License-Identifier: Apache-2.0 */
/* A plan for a person and as JSON; weir-plan(1) has the keys. */
#ifndef WEIR_TOOLS_PLAN_PRINT_H
#define WEIR_TOOLS_PLAN_PRINT_H

#include "offload/plan.h"

struct plan_print {
    const struct weir_file *file;
    const struct weir_plan *plan;
    const struct weir_plan_machine *machine;
    const struct weir_plan_budget *budget;
    const char *kv; /* type of the cache */
};

void plan_print_text(const struct plan_print *print);
int plan_print_json(const struct plan_print *print, struct weir_err *err);

#endif
