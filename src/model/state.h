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

/* The Mamba layers as they were behind n_tok tokens */
struct weir_snapshot {
    size_t n_tok;
    float *mamba; /* [n_mamba], as in the state */
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
    size_t n_mamba;
    float *mamba; /* [n_mamba]: conv and scan of the Mamba layers, in order */
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

/* Bytes of K and V of a token in an attention layer, of each of them */
size_t weir_state_kv_bytes(const struct weir_config *config,
                           enum weir_dtype kv_dtype);

/* Keeps what cannot be cut back, as it is now. */
void weir_state_keep(const struct weir_state *state,
                     struct weir_snapshot *snapshot);

/*
 * Goes back to a snapshot of this timeline, or with NULL to its start; a state
 * that is spoiled is of use again.  K and V of the tokens before are as they
 * were.
 */
void weir_state_go_back(struct weir_state *state,
                        const struct weir_snapshot *snapshot);

/* Floats of a snapshot */
size_t weir_state_mamba_floats(const struct weir_config *config);

/* The bytes that weir_state_init() takes for the same; UINT64_MAX: too many. */
uint64_t weir_state_bytes(const struct weir_config *config, size_t n_ctx,
                          enum weir_dtype kv_dtype);

#endif
