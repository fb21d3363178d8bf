/* SPDX-License-Identifier: Apache-2.0 */
/* --chat: the prompt is a user's message in a model's chat template. */
#ifndef WEIR_TOOLS_CHAT_PROMPT_H
#define WEIR_TOOLS_CHAT_PROMPT_H

#include "base/json.h"
#include "engine/session.h"
#include "tools/cli.h"

struct weir_chat;

struct chat_prompt {
    int on;               /* --chat */
    const char *system;   /* --system, or NULL */
    const char *template; /* --chat-template, or NULL: the model's */
};

/* What is given must go together; exits. */
void chat_prompt_check(const struct chat_prompt *chat, const struct cli *cli);

/*
 * The template of the file that was named, or the model's; WEIR_ENOTSUP, and
 * *chat is NULL, when there is none.  Release it with weir_chat_free().
 */
int chat_prompt_template(const struct chat_prompt *prompt,
                         const weir_model *model, struct weir_chat **chat,
                         struct weir_err *err);

/* Appends a message; WEIR_EFORMAT unless it is UTF-8. */
int chat_prompt_add(json_t *messages, const char *role, const char *text,
                    size_t n_bytes, struct weir_err *err);

/*
 * Appends to `out` what the model reads before its answer to `text`, for
 * encoding with WEIR_SPECIAL_GUARDED.
 */
int chat_prompt_render(const struct chat_prompt *chat, const weir_model *model,
                       const char *text, size_t n_bytes, struct weir_buf *out,
                       struct weir_err *err);

/*
 * The model's template for those who take prompts too: one that cannot be used
 * is warned of, and *chat is NULL as without one.  WEIR_ENOMEM.
 */
int chat_prompt_open(const weir_model *model, const struct cli *cli,
                     struct weir_chat **chat, struct weir_err *err);

#endif
