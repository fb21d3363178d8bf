/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a Jamba model remembers of a sequence: K and V of every token in the
 * attention layers; in the Mamba layers a state of fixed size, which is that
 * of the last token and cannot be cut back.
 */
#ifndef WEIR_MODEL_STATE_H
#define WEIR_MODEL_STATE_H

#include "base/dtype.h"
#include "model/config.h"

struct weir_state_layer {
    void *k, *v; /* attention: [n_ctx][n_kv_heads * head_dim] of kv_dtype */
    float *conv; /* Mamba: [n_inner][d_conv - 1], oldest first */
    float *scan; /* Mamba: [n_inner][n_state] */
};

struct weir_state {
    enum weir_dtype kv_dtype; /* WEIR_F32 or WEIR_BF16 */
    size_t n_ctx;             /* room for tokens */
    size_t n_tok;             /* tokens so far */
    int on_device;            /* what layers remember is there */
    uint32_t slot;            /* and where */
    int spoiled;              /* a pass ended half way: no more can follow */
    uint32_t n_layers;
    struct weir_state_layer *layers;
};

/*
 * The state before the first token, zeros, with room for n_ctx > 0 tokens; all
 * memory is taken here.  WEIR_ELIMIT when the size does not fit a size_t.
 * Release with weir_state_fini(), also after an error.
 */
int weir_state_init(struct weir_state *state, const struct weir_config *config,
                    size_t n_ctx, enum weir_dtype kv_dtype,
                    struct weir_err *err);
void weir_state_fini(struct weir_state *state);

/* The bytes that weir_state_init() takes for the same; UINT64_MAX: too many. */
uint64_t weir_state_bytes(const struct weir_config *config, size_t n_ctx,
                          enum weir_dtype kv_dtype);

#endif
