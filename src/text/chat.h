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
 * The rendered text holds special tokens written out, so that it is encoded
 * with them parsed, and with a begin-of-text id, of which encoding adds none
 * where the text begins with it.  What is written in messages would be parsed
 * too: weir_chat_render_guarded() is for text that a model is to read.
 */
#ifndef WEIR_TEXT_CHAT_H
#define WEIR_TEXT_CHAT_H

#include "text/jinja.h"

struct weir_file;
struct weir_tokenizer;
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

/* Whether this text stands in the template that is used with tools. */
int weir_chat_has(const struct weir_chat *chat, const char *text);

struct weir_chat_input {
    const json_t *messages;    /* NULL: None */
    const json_t *tools;       /* or NULL */
    const json_t *documents;   /* or NULL */
    int add_generation_prompt; /* 1, 0, or -1: the template is not told */
    const json_t *extra;       /* an object of more variables, or NULL; the
                                  others go before them */
    int64_t now;               /* for strftime_now(); 0: the present */
};

/*
 * Appends the text to `out`, whose ceiling bounds it.  Errors as those of
 * weir_jinja_render(); what raise_exception() says is one.
 */
int weir_chat_render(const struct weir_chat *chat,
                     const struct weir_chat_input *input, struct weir_buf *out,
                     struct weir_err *err);

/*
 * The same for encoding with WEIR_SPECIAL_GUARDED: special tokens of the
 * tokenizer that stand in the content or name of a message, in a document or a
 * tool get guards, and so do not become ids.  The messages of an assistant are
 * left as they are: what a model has said may have special tokens in it.
 */
int weir_chat_render_guarded(const struct weir_chat *chat,
                             const struct weir_tokenizer *tokenizer,
                             const struct weir_chat_input *input,
                             struct weir_buf *out, struct weir_err *err);

#endif
