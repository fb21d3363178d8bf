/* SPDX-License-Identifier: Apache-2.0 */
/* What a session is made of, for the files that make it. */
#ifndef WEIR_ENGINE_SESSION_PARTS_H
#define WEIR_ENGINE_SESSION_PARTS_H

#include "engine/session.h"
#include "engine/snapshot.h"

struct weir_session {
    struct weir_model *model;
    struct weir_state state;
    int32_t *ids; /* [n_ctx], of the tokens in the state */
    struct weir_snapshots snapshots;
    float *scores;        /* [n_vocab] of the next token; NULL: no snapshots */
    int scored;           /* they are there */
    uint64_t taken_bytes; /* of the model's budget */
    struct weir_detokenizer detokenizer; /* when the model has a tokenizer */
    struct weir_observer observer;       /* sees progress only */
};

/* How many tokens two texts have in common before they differ */
static inline size_t weir_common_ids(const int32_t *a, size_t n_a,
                                     const int32_t *b, size_t n_b)
{
    size_t n = n_a < n_b ? n_a : n_b, i;

    for (i = 0; i < n && a[i] == b[i]; i++)
        ;
    return i;
}

#endif
