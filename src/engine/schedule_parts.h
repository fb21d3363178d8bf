/* SPDX-License-Identifier: Apache-2.0 */
/* What a schedule is made of, for the files that make it. */
#ifndef WEIR_ENGINE_SCHEDULE_PARTS_H
#define WEIR_ENGINE_SCHEDULE_PARTS_H

#include "engine/chooser.h"
#include "engine/schedule.h"

struct place {
    weir_session *session;
    struct weir_chooser chooser; /* its logits stay with the place */
    struct weir_stop stop;
    int32_t eos[WEIR_MAX_EOS];
    uint32_t n_eos;
    void *tag;
    int32_t *prompt; /* until the last pass over it */
    size_t n_prompt, n_tokens;
    size_t n_seen, n_piece; /* of the prompt: before this pass; in it */
    int is_new;             /* it has not yet been taken from the cache */
    size_t n_cached;        /* of the prompt, which was there */
    size_t n_branch;        /* of it, where another prompt differs; or 0 */
    int32_t id;             /* the last token; or why there is none */
    struct weir_buf ids, text;
    struct weir_scoring scoring;
    int ended;
    enum weir_end end;
};

struct weir_schedule {
    weir_model *model;
    struct weir_schedule_options options;
    weir_answer_fn *finished;
    void *ctx;
    uint64_t other_bytes; /* taken from the budget, beside sessions */
    struct weir_tally tally;
    struct weir_texts *texts; /* NULL: no prompts are kept */
    float *logits;
    struct place *places; /* [n_places] */
    size_t n_running;
    struct weir_token_tree *tree; /* once a request had a grammar, else NULL */
    size_t next_prompt;           /* the place whose prompt comes first */
    struct weir_eval evals[WEIR_MAX_EVALS]; /* of a pass */
    struct weir_next next[WEIR_MAX_EVALS];
};

/* For places in the text of a session to go back to */
uint64_t weir_schedule_snapshots(const weir_model *model, size_t n_ctx,
                                 uint64_t cache_bytes);

/* Takes memory for all texts, and for prompts that are kept. */
int weir_schedule_reserve(struct weir_schedule *schedule, struct weir_err *err);

/*
 * Texts that are new take what is kept of their prompts, or wait for another
 * one's; each prompt that is under way gets its piece of the next pass.
 */
void weir_schedule_cut_prompts(struct weir_schedule *schedule);

/* Whether the piece ends a turn: where it ends can then be gone back to. */
int weir_schedule_ends_turn(const struct weir_schedule *schedule,
                            const struct place *place);

/* The pass over the piece is over. */
void weir_schedule_see_piece(const struct weir_schedule *schedule,
                             struct place *place);

#endif
