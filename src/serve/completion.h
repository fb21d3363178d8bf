/* SPDX-License-Identifier: Apache-2.0 */
/* From the body of a request to a text that can go into step. */
#ifndef WEIR_SERVE_COMPLETION_H
#define WEIR_SERVE_COMPLETION_H

#include "engine/schedule.h"
#include "serve/messages.h"

/* What holds where a body does not say otherwise */
struct weir_completion_defaults {
    size_t n_ctx;    /* most tokens of a prompt and its answer together */
    size_t n_tokens; /* most in an answer; less when less is left of n_ctx */
    struct weir_sampling sampling;
    struct weir_stop stop;
    int32_t eos[WEIR_MAX_EOS]; /* in place of the model's, if any */
    uint32_t n_eos;
    int ignore_eos;
    /* For chats; NULL: the model has no template.  Answers are as long as the
     * context allows unless n_tokens was chosen. */
    const struct weir_chat *chat;
    int n_tokens_is_chosen;
};

/* Empty, but for these defaults; weir_openai_read_completion() goes on. */
void weir_completion_init(struct weir_completion *completion,
                          const struct weir_completion_defaults *defaults);

/*
 * A completion that has been read: its prompt becomes ids, and `request`, whose
 * ids these are, all that a schedule wants but for the tag.  WEIR_EARG for what
 * the model cannot do or the context has no room for, or WEIR_ENOMEM, with the
 * fault.
 */
int weir_completion_settle(struct weir_completion *completion,
                           const struct weir_completion_defaults *defaults,
                           const weir_model *model,
                           struct weir_request *request,
                           struct weir_fault *fault);

#endif
