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

#endif
