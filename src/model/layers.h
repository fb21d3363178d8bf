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

/* Whose the tokens of a chunk are, and which layer they pass */
struct weir_tokens {
    const struct weir_run *runs; /* [n_runs] */
    size_t n_runs, n_tok;
    uint32_t layer;
};

/* Appends K and V of each run to its state. */
int weir_layer_attention(struct weir_jamba *jamba,
                         const struct weir_bind_attention *layer,
                         const struct weir_tokens *tokens, const float *x,
                         float *y, struct weir_err *err);

/* Moves the state of conv and scan of each run on by its tokens. */
int weir_layer_mamba(struct weir_jamba *jamba,
                     const struct weir_bind_mamba *layer,
                     const struct weir_tokens *tokens, const float *x, float *y,
                     struct weir_err *err);

/* down(silu(gate x) * (up x)) of some tokens: a dense MLP, or one expert */
struct weir_mlp_job {
    const struct weir_bind_mlp *mlp;
    const float *x; /* [n_tok][n_hidden] */
    size_t n_tok;   /* <= WEIR_CHUNK_TOK */
    float *y;       /* [n_tok][n_hidden] */
    int prompt;     /* they are part of one: activations may be rounded */
};

/*
 * n_jobs <= work.n_jobs such, side by side; together they have at most
 * work.ff_tok tokens.
 */
int weir_layer_mlps(struct weir_jamba *jamba, const struct weir_mlp_job *jobs,
                    size_t n_jobs, struct weir_err *err);

/*
 * Which experts the tokens at x go to; they are tokens row to row + n_tok - 1
 * of the span, and whether they are part of a prompt is in work.prompt.  The
 * logits [n_tok][n_experts] are left in work.router.
 */
int weir_layer_route(struct weir_jamba *jamba,
                     const struct weir_bind_layer *layer, const float *x,
                     size_t row, size_t n_tok, struct weir_err *err);

/*
 * Experts `from` to `to` - 1 of a layer, for the n_tok tokens of a span that
 * are in memory, its tokens `row` on.  All are routed.
 */
struct weir_expert_share {
    uint32_t from, to;
    size_t row, n_tok;
    int is_last; /* these experts are not wanted for other tokens any more */
};

/* Asks for those of the experts that any of a span's n_tok tokens has chosen */
void weir_layer_want_experts(struct weir_jamba *jamba,
                             const struct weir_bind_layer *layer, uint32_t from,
                             uint32_t to, size_t n_tok);

/*
 * Adds to work.sum, which the first experts clear, what the experts make of the
 * norm of the residual stream; the last ones add the sum to that.
 */
int weir_layer_experts(struct weir_jamba *jamba,
                       const struct weir_bind_layer *layer,
                       const struct weir_expert_share *share,
                       struct weir_err *err);

#endif
