/* SPDX-License-Identifier: Apache-2.0 */
/* Writes down which experts the tokens of a forward pass go to. */
#ifndef WEIR_TOOLS_ROUTING_RECORD_H
#define WEIR_TOOLS_ROUTING_RECORD_H

#include "engine/session.h"
#include "model/routing.h"

struct routing_record {
    const struct weir_jamba *jamba;
    struct weir_routing file;
    uint32_t place[WEIR_MAX_LAYERS]; /* of a layer among those with experts */
    uint16_t *experts;               /* [max_tok][n_moe][n_top] */
    size_t max_tok;
    size_t n_seen[WEIR_MAX_LAYERS]; /* tokens of this pass */
};

/*
 * Begins the file at `path`, for passes of at most max_tok tokens.  Release
 * with routing_record_fini(), also after an error; what was not committed is
 * removed then.
 */
int routing_record_init(struct routing_record *record,
                        const struct weir_jamba *jamba, const char *path,
                        size_t max_tok, struct weir_err *err);

/* Takes router logits: to be called for WEIR_VIEW_ROUTER by an observer. */
void routing_record_see(struct routing_record *record, uint32_t layer,
                        const float *values, size_t n_tok, size_t width);

/*
 * The pass is over: writes its n_tok tokens.  `follows`: its first token came
 * behind the last one of the pass before.
 */
int routing_record_end_pass(struct routing_record *record, size_t n_tok,
                            int follows, struct weir_err *err);

int routing_record_commit(struct routing_record *record, struct weir_err *err);
void routing_record_fini(struct routing_record *record);

#endif
