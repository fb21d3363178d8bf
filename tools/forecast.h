/* SPDX-License-Identifier: Apache-2.0 */
/* A plan with what can be measured of this machine. */
#ifndef WEIR_TOOLS_FORECAST_H
#define WEIR_TOOLS_FORECAST_H

#include "base/pool.h"
#include "model/config.h"
#include "offload/plan.h"
#include "weir.h"

/* The usual values; what is 0 then can be measured. */
void forecast_init(struct weir_plan_machine *machine,
                   struct weir_plan_budget *budget);

/*
 * Measures what is 0 of memory and products with the threads of the pool, and,
 * unless both are known, decoding: who says all of that plans for another
 * machine.  Takes most_bytes of memory at most (0: a quarter of what there is),
 * and gives them back.
 */
int forecast_measure(struct weir_plan_machine *machine, struct weir_pool *pool,
                     uint64_t most_bytes, struct weir_err *err);

/* The same with threads of its own, as many as the machine has. */
int forecast_measure_alone(struct weir_plan_machine *machine,
                           uint64_t most_bytes, struct weir_err *err);

/* If that is 0: what the drive of the model gave when it was measured. */
void forecast_know_drive(struct weir_plan_machine *machine,
                         const struct weir_file *file);

/* Memory that can be had, as weir_machine_default_budget() */
void forecast_know_ram(struct weir_plan_machine *machine);

/* If those are 0: what device `choice` (weir.h) does, its memory free */
int forecast_measure_device(struct weir_plan_machine *machine,
                            enum weir_device_choice choice,
                            struct weir_err *err);

/* weir_plan_make() for the model in `file` */
int forecast_make(struct weir_plan *plan,
                  const struct weir_plan_machine *machine,
                  const struct weir_plan_budget *budget,
                  const struct weir_file *file,
                  const struct weir_config *config, enum weir_dtype kv,
                  struct weir_err *err);

#endif
