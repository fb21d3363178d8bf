/* SPDX-License-Identifier: Apache-2.0 */
/* A chat on the terminal: messages, answers, and what one can do with them. */
#ifndef WEIR_TOOLS_CHAT_H
#define WEIR_TOOLS_CHAT_H

#include "engine/session.h"
#include "tools/answer_form.h"
#include "tools/chat_prompt.h"
#include "tools/chat_show.h"
#include "tools/chat_text.h"
#include "tools/cli.h"
#include "tools/progress.h"
#include "tools/sampling.h"

/* What the last answer took */
struct chat_took {
    size_t n_prompt, n_kept; /* tokens, and those that were there */
    size_t n_answer, n_steps;
    double prompt_s, answer_s;
};

struct chat {
    /* the caller's */
    const struct cli *cli;
    weir_model *model;
    weir_session *session;
    const struct chat_prompt *prompt;
    const struct sampling *sampling;
    const struct answer_form *form; /* that is open */
    struct progress *progress;      /* of prompts, which is ended here */
    float *logits;                  /* [n_vocab], to work with */
    size_t n_ctx;                   /* room in the session */
    size_t n_tokens; /* most in an answer; 0: what there is room for */
    int stats;       /* after each answer */
    /* its own, 0 at first */
    struct chat_text text;
    struct chat_show show;
    struct chat_took took;
    uint64_t n_answers; /* each begins with random numbers of its own */
    int is_over;
};

/*
 * Until the user ends it, who is told of what goes wrong with a message.  An
 * error is what goes wrong before the first one.
 */
int chat_run(struct chat *chat, struct weir_err *err);

/*
 * The message that stands last is answered, and the answer behind it; one that
 * was stopped is as long as it is.  After an error there is no answer;
 * WEIR_ESTOPPED: it was stopped while the message was read.
 */
int chat_answer(struct chat *chat, struct weir_err *err);

/* What "/stats" says */
void chat_print_stats(const struct chat *chat);

/* A line that begins with '/'.  Tells the user what is wrong with it. */
void chat_command(struct chat *chat, const char *line);

/* Takes a message that may be unanswered, and shows the answer. */
void chat_say(struct chat *chat);

#endif
