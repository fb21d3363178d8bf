/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every tensor of a Jamba model, in the order in which a forward pass uses
 * them, and where in a checkpoint each comes from.
 */
#ifndef WEIR_MODEL_LAYOUT_H
#define WEIR_MODEL_LAYOUT_H

#include "model/config.h"
#include "offload/pack.h"
#include "offload/safetensors.h"

struct weir_quant {
    int experts_int8;
    int dense_mlp_int8; /* with experts_int8 only */
};

struct weir_layout {
    struct weir_pack_tensor *tensors;
    struct weir_pack_unit *units;
    uint32_t n_tensors, n_units;
    uint32_t tensors_room, units_room;
};

/*
 * Lays out the model of `config` from `checkpoint`.  A tensor that is missing,
 * has another shape, an unsupported dtype or an unexpected name is refused by
 * name.  Experts may be one tensor each or fused as transformers 5 has them in
 * memory.  Without a checkpoint (NULL) every tensor is bf16, as published ones
 * are, and `source` is its own number.  Release with weir_layout_fini().
 */
int weir_layout_init(struct weir_layout *layout,
                     const struct weir_config *config,
                     const struct weir_quant *quant,
                     const struct weir_checkpoint *checkpoint,
                     struct weir_err *err);
void weir_layout_fini(struct weir_layout *layout);

#endif
