/* SPDX-License-Identifier: Apache-2.0 */
/* What offload/plan.h wants to know of a Jamba model. */
#ifndef WEIR_MODEL_PLAN_MODEL_H
#define WEIR_MODEL_PLAN_MODEL_H

#include "model/config.h"
#include "offload/plan.h"

/* Classes of units, in the order in which they are shown. */
enum weir_plan_part {
    WEIR_PART_EMBEDDING,
    WEIR_PART_MAMBA,
    WEIR_PART_ATTENTION,
    WEIR_PART_MLP,
    WEIR_PART_ROUTER,
    WEIR_PART_EXPERTS,
    WEIR_PART_HEAD,
    WEIR_N_PARTS
};

/* "embedding" and so on; never NULL. */
const char *weir_plan_part_name(enum weir_plan_part part);

/*
 * Describes the model `config` in `file`, from the index alone, as `n_threads`
 * threads run it with a KV cache of `kv_dtype`.  Tiles that layers share count
 * for each of them.  WEIR_EFORMAT when a unit is missing.  Release with
 * weir_plan_model_fini(), also after an error.
 */
int weir_plan_model_init(struct weir_plan_model *model,
                         const struct weir_file *file,
                         const struct weir_config *config,
                         enum weir_dtype kv_dtype, unsigned n_threads,
                         struct weir_err *err);
void weir_plan_model_fini(struct weir_plan_model *model);

#endif
