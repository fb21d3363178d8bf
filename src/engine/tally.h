/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What passes of several sequences could not do without: the stored bytes of
 * the weights that any of them touched, once a pass; state, K and V of each;
 * their arithmetic.  A machine's speeds divided by these bound theirs.
 *
 * A device is not asked which experts those were, since it would have to wait
 * at each router: as many count as its tokens would choose on average.
 */
#ifndef WEIR_ENGINE_TALLY_H
#define WEIR_ENGINE_TALLY_H

#include "engine/session.h"
#include "model/plan_model.h"

/* Where a weight lies, or is brought to, before it is used */
enum weir_tally_place { WEIR_IN_MEMORY, WEIR_IN_DEVICE, WEIR_TALLY_PLACES };

struct weir_tally {
    const struct weir_jamba *jamba;
    struct weir_plan_model model;
    double trunk_bytes, trunk_flop; /* of a pass; of a token */
    double head_bytes, head_flop;   /* of a pass; of a row of scores */
    double row_bytes;               /* of the embedding, of a token */
    double expert_flop;             /* of all that a token chooses */
    uint8_t *chosen;                /* [n_layers][n_experts] by this pass */
    size_t n_pass;                  /* sequences in this pass */
    double n_tok;                   /* their tokens */
    /* the sums over all passes */
    double bytes, flop;
    double used_bytes[WEIR_TALLY_PLACES]; /* of weights, but for rows */
    uint64_t n_passes;
};

/* Release with weir_tally_fini(), also after an error. */
int weir_tally_init(struct weir_tally *tally, const struct weir_jamba *jamba,
                    enum weir_dtype kv_dtype, struct weir_err *err);
void weir_tally_fini(struct weir_tally *tally);

/* What the pass is to be shown to, which `tally` must outlive */
struct weir_observer weir_tally_observer(struct weir_tally *tally);

/* A sequence of the next pass: n_tok tokens behind n_past, with one score. */
void weir_tally_add(struct weir_tally *tally, size_t n_past, size_t n_tok);

/* The pass is over, and its observer has seen what it chose. */
void weir_tally_end_pass(struct weir_tally *tally);

#endif
