/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a forward pass cannot do without: the bytes that it must read and
 * write once, and its arithmetic.  A machine's bandwidth and peak divided by
 * these bound its speed, however good the code.
 */
#ifndef WEIR_MODEL_COST_H
#define WEIR_MODEL_COST_H

#include "model/jamba.h"

struct weir_cost {
    /* stored bytes of the tiles that the pass touches; of those that layers
     * share, for each layer again */
    uint64_t weight_bytes;
    /* conv and scan state of the Mamba layers, read and written */
    uint64_t state_bytes;
    /* K and V of all positions up to the last token, read, and of its own
     * tokens, written */
    uint64_t kv_bytes;
    /*
     * 2 for each element of a matrix and token that meets it; in attention 4 *
     * head_dim * n_heads for each token and position that it sees; in Mamba
     * n_inner * (7 * n_state + 2 * d_conv) for each token
     */
    uint64_t flop;
    uint64_t n_experts; /* that were chosen, each counted once a layer */
};

/*
 * n_tok tokens behind n_past others, with logits of the last, in each of
 * n_sequences
 */
struct weir_cost_pass {
    const int32_t *ids; /* [n_sequences * n_tok] in any order */
    size_t n_sequences, n_tok, n_past;
    enum weir_dtype kv_dtype;
    const uint8_t *chosen; /* [n_layers][n_experts]: 0 where no token went */
};

/* Adds what one pass costs.  Reads the index of the file, not its tiles. */
void weir_cost_add(struct weir_cost *cost, const struct weir_jamba *jamba,
                   const struct weir_cost_pass *pass);

#endif
