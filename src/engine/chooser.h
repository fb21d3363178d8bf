/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who chooses the next token of a text.  Where the model is on a device, and
 * nothing but its scores says which token that is, the device does, and the
 * scores stay there; else the sampler, by the scores, on the CPU.
 */
#ifndef WEIR_ENGINE_CHOOSER_H
#define WEIR_ENGINE_CHOOSER_H

#include "engine/session.h"
#include "text/grammar_mask.h"
#include "text/sampler.h"

struct weir_chooser {
    struct weir_sampler sampler;
    struct weir_mask *mask; /* NULL: any token may come */
    float *logits;          /* [n_vocab] the scores, of whoever has it */
    int by_device;          /* the next token is not chosen by them */
    struct weir_device_draw draw;
    int32_t id; /* which it chose */
};

/*
 * What an evaluation is to leave for the next token: into eval->logits, or
 * *next.  scores: they are wanted for something else, too.
 */
void weir_chooser_want(struct weir_chooser *chooser, int scores,
                       struct weir_eval *eval, struct weir_next *next);

/* weir_session_eval() of one token, for the next one */
int weir_chooser_eval(struct weir_chooser *chooser, weir_session *session,
                      int32_t id, struct weir_err *err);

/*
 * The token that what was evaluated last leads to, as weir_mask_choose() has
 * it, which is now part of the answer.
 */
int32_t weir_chooser_next(struct weir_chooser *chooser);

#endif
