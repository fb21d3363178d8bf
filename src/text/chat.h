/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From messages to the text that a model reads: its chat templates, and the
 * special tokens that they are given.  A template is rendered as the
 * transformers library's apply_chat_template() does it.
 *
 * Of the folder's files chat_template.jinja goes before the key chat_template
 * of tokenizer_config.json, which is a template, or a list of them with names:
 * "default", and "tool_use" for when there are tools.  A template is given
 * messages, tools, documents, add_generation_prompt, the special tokens
 * (bos_token and so on) and what the caller adds.
 *
 * The rendered text may hold special tokens written out, so it is encoded with
 * them parsed (weir_model_encode() with `special`).  That goes for the content
 * of messages too: who must not let strangers write special tokens checks it
 * before.  When the text begins with the id that begins a text, encoding adds
 * none.
 */
#ifndef WEIR_TEXT_CHAT_H
#define WEIR_TEXT_CHAT_H

#include "text/jinja.h"

struct weir_file;
struct weir_chat;

/*
 * The templates and tokens that a packed model carries.  *chat is NULL, without
 * an error, when it has no template.  A template that can not be parsed is an
 * error.  Release with weir_chat_free(); constant, may be shared by threads.
 */
int weir_chat_from_file(const struct weir_file *file, struct weir_chat **chat,
                        struct weir_err *err);

/*
 * The same with the template `text` of `n_bytes`, named `what` in messages, in
 * place of the model's; `file` NULL: without special tokens.
 */
int weir_chat_from_text(const char *text, size_t n_bytes, const char *what,
                        const struct weir_file *file, struct weir_chat **chat,
                        struct weir_err *err);

/*
 * Whether the template can be parsed that the folder of a model has, of whose
 * files these two are the content; each may be NULL.
 */
int weir_chat_check(const struct weir_buf *chat_template,
                    const struct weir_buf *tokenizer_config,
                    struct weir_err *err);

void weir_chat_free(struct weir_chat *chat);

struct weir_chat_input {
    const json_t *messages;    /* NULL: the template gets none */
    const json_t *tools;       /* or NULL */
    const json_t *documents;   /* or NULL */
    int add_generation_prompt; /* 1, 0, or -1: the template is not told */
    const json_t *extra;       /* an object of more variables, or NULL */
    int64_t now;               /* for strftime_now(); 0: the present */
};

/*
 * Appends the text to `out`, whose ceiling bounds it.  Errors as those of
 * weir_jinja_render(); what raise_exception() says is one.
 */
int weir_chat_render(const struct weir_chat *chat,
                     const struct weir_chat_input *input, struct weir_buf *out,
                     struct weir_err *err);

#endif
