/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many texts in step.  Each step is one pass over the model for all that are
 * under way: prompts of those that begin, whole or piece by piece, beside the
 * last token of each of the others.  When a text ends, its place is free for
 * the next one.
 *
 * A text is what it would be alone: it depends neither on the others nor on
 * the number of places nor on how prompts are cut, nor on what is kept of them.
 * One thread at a time.
 */
#ifndef WEIR_ENGINE_SCHEDULE_H
#define WEIR_ENGINE_SCHEDULE_H

#include "base/buf.h"
#include "engine/scored.h"
#include "engine/session.h"
#include "engine/tally.h"
#include "engine/texts.h"
#include "text/grammar_mask.h"
#include "text/sampler.h"
#include "text/stop.h"

struct weir_schedule;

/*
 * A text with a grammar that can only end there has ended as with EOS.  One of
 * which the vocabulary cannot write the rest is as if it were too long.
 */
enum weir_end { WEIR_END_EOS, WEIR_END_STOP, WEIR_END_LENGTH };

/* A text so far, or one that has ended.  What it points to lasts for the call.
 */
struct weir_answer {
    void *tag;        /* of the request */
    const char *text; /* UTF-8; empty when the model has no tokenizer */
    size_t n_bytes;
    const int32_t *ids; /* [n_ids], without the one that ended it */
    size_t n_ids;
    size_t n_prompt; /* tokens */
    size_t n_cached; /* of them, which were not computed */
    /* Of the tokens that belong to the text, when they were asked for */
    struct weir_scored scored;
    enum weir_end end;
};

/* A code that is not 0 ends the step, and the schedule can only be freed. */
typedef int weir_answer_fn(void *ctx, const struct weir_answer *answer,
                           struct weir_err *err);

struct weir_schedule_options {
    size_t n_places; /* texts at a time, 1 to WEIR_MAX_EVALS */
    size_t n_ctx;    /* most tokens of a prompt and its answer together */
    enum weir_kv kv;
    uint64_t other_bytes; /* of memory that the caller will use beside */
    /*
     * Most tokens of prompts in a step, so that the others need not wait for
     * the end of a long one; those that begin share them.  0: prompts go whole.
     * At least WEIR_PROMPT_TOK count.
     */
    size_t n_piece_tok;
    /*
     * Most memory for prompts that are kept, for those that begin alike
     * (texts.h); 0: none are, as on a device, whatever is said here.
     */
    uint64_t cache_bytes;
    /* NULL, or a folder for what that has no room for, and most bytes there */
    const char *cache_folder;
    uint64_t cache_file_bytes;
    /* NULL, or is told of each text that has a token more and goes on */
    weir_answer_fn *goes_on;
};

/* Places that a quarter of the memory has room for, 1 to 32 */
size_t weir_schedule_usual_places(const weir_model *model, size_t n_ctx,
                                  enum weir_kv kv, uint64_t cache_bytes);

/* The cache_bytes to take: a 16th of a budget, or of the memory that is free */
uint64_t weir_schedule_usual_cache(const weir_model *model);

/*
 * Takes memory for all texts; under a budget what they will need is set aside
 * and the weights are placed.  WEIR_ELIMIT, with the numbers, when it is too
 * much.  No other session may exist then.  *schedule is allocated; release
 * with weir_schedule_free().
 */
int weir_schedule_new(weir_model *model,
                      const struct weir_schedule_options *options,
                      weir_answer_fn *finished, void *ctx,
                      struct weir_schedule **schedule, struct weir_err *err);
void weir_schedule_free(struct weir_schedule *schedule);

/* How a text begins, goes on and ends */
struct weir_request {
    const int32_t *ids; /* [n_ids] the prompt */
    size_t n_ids;       /* > 0 */
    size_t n_tokens;    /* most in the answer, > 0 */
    struct weir_sampling sampling;
    struct weir_stop stop;     /* as weir_stop_add() left it */
    int32_t eos[WEIR_MAX_EOS]; /* ids that end it */
    uint32_t n_eos;
    struct weir_grammar *grammar; /* what it must be, or NULL */
    /* That are kept of each token, its own and those of the most probable ones:
     * at most WEIR_MAX_SCORES; 0: none */
    size_t n_scores;
    void *tag;
};

/* Most scores of an answer, those of all tokens together */
size_t weir_schedule_most_scores(size_t n_ctx);

/*
 * Gives a request a free place.  WEIR_EARG, and nothing has happened, when
 * there is none, or the request is wrong, or is longer than n_ctx or has more
 * scores than may be. WEIR_ENOTSUP for a grammar or scores without a tokenizer.
 */
int weir_schedule_add(struct weir_schedule *schedule,
                      const struct weir_request *request, struct weir_err *err);

/*
 * Ends the text with this tag, which nobody is told of, and frees its place.
 * Not from within a step.  0 when no text has it.
 */
int weir_schedule_cancel(struct weir_schedule *schedule, const void *tag);

/* Texts under way, and places that are free */
size_t weir_schedule_n_running(const struct weir_schedule *schedule);
size_t weir_schedule_n_free(const struct weir_schedule *schedule);

/*
 * One more token for each text, or a piece of its prompt; `finished` is told of
 * those that end.  After an error the schedule can only be freed.
 */
int weir_schedule_step(struct weir_schedule *schedule, struct weir_err *err);

/*
 * How many of a prompt's n_left > 0 tokens go into a pass that has room for
 * `room` of them.  Neither these nor what they leave may be so few that they
 * would no longer count as a prompt (WEIR_PROMPT_TOK), which shows in the bits;
 * so it may be more than there is room for.
 */
static inline size_t weir_schedule_cut(size_t n_left, size_t room)
{
    if (n_left <= room || n_left < 2 * WEIR_PROMPT_TOK)
        return n_left;
    if (room < WEIR_PROMPT_TOK)
        room = WEIR_PROMPT_TOK;
    return n_left - room < WEIR_PROMPT_TOK ? n_left - WEIR_PROMPT_TOK : room;
}

/* What is kept; zeros when nothing is */
void weir_schedule_get_texts(const struct weir_schedule *schedule,
                             struct weir_texts_stats *stats);

/* What all steps so far could not do without */
const struct weir_tally *weir_schedule_tally(
    const struct weir_schedule *schedule);

#endif
