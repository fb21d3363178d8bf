/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of a Jamba model: what stands between two norms of the residual
 * stream.  x [n_tok][n_hidden] is normalised, y [n_tok][n_hidden] is what the
 * layer adds to the stream and must not be x; n_tok <= WEIR_CHUNK_TOK.  They
 * run on the model's pool in its work, which the caller holds, and allocate
 * nothing.
 */
#ifndef WEIR_MODEL_LAYERS_H
#define WEIR_MODEL_LAYERS_H

#include "model/jamba.h"

/* Tokens n_past to n_past + n_tok - 1 of the sequence; appends their K and V */
int weir_layer_attention(struct weir_jamba *jamba,
                         const struct weir_bind_attention *layer,
                         enum weir_dtype kv_dtype,
                         struct weir_state_layer *state, size_t n_past,
                         const float *x, size_t n_tok, float *y,
                         struct weir_err *err);

/* Moves the state of conv and scan on by n_tok tokens */
int weir_layer_mamba(struct weir_jamba *jamba,
                     const struct weir_bind_mamba *layer,
                     struct weir_state_layer *state, const float *x,
                     size_t n_tok, float *y, struct weir_err *err);

/* down(silu(gate x) * (up x)) of some tokens: a dense MLP, or one expert */
struct weir_mlp_job {
    const struct weir_bind_mlp *mlp;
    const float *x; /* [n_tok][n_hidden] */
    size_t n_tok;   /* <= WEIR_CHUNK_TOK */
    float *y;       /* [n_tok][n_hidden] */
};

/*
 * n_jobs <= max(n_experts, 1) such, side by side; together they have at most
 * work.ff_tok tokens.
 */
int weir_layer_mlps(struct weir_jamba *jamba, const struct weir_mlp_job *jobs,
                    size_t n_jobs, struct weir_err *err);

/*
 * Mixture of experts.  The router's logits [n_tok][n_experts] are left in
 * jamba->work.router.
 */
int weir_layer_moe(struct weir_jamba *jamba,
                   const struct weir_bind_layer *layer, const float *x,
                   size_t n_tok, float *y, struct weir_err *err);

#endif
