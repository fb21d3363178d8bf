/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of a chat, and the tokens that a model reads of them. */
#ifndef WEIR_TOOLS_CHAT_TEXT_H
#define WEIR_TOOLS_CHAT_TEXT_H

#include "base/json.h"
#include "tools/chat_prompt.h"

#define CHAT_TEXT_BYTES (64UL << 20) /* most in a chat, and in its file */

struct chat_text {
    const weir_model *model;
    struct weir_chat *template; /* NULL: messages follow each other bare */
    json_t *messages;           /* objects with the strings role and content */
};

/*
 * No messages but the system's, if `prompt` has one.  A model without a
 * template is an error only where a chat was asked for.  Release with
 * chat_text_close(), also after an error.
 */
int chat_text_open(struct chat_text *text, const weir_model *model,
                   const struct chat_prompt *prompt, struct weir_err *err);
void chat_text_close(struct chat_text *text);

/* Appends a message; WEIR_EFORMAT unless it is UTF-8. */
int chat_text_add(struct chat_text *text, const char *role, const char *content,
                  size_t n_bytes, struct weir_err *err);

/* Whether the last message is that of `role` */
int chat_text_ends_with(const struct chat_text *text, const char *role);

/* Takes the last message away, of which there must be one. */
void chat_text_drop(struct chat_text *text);

/* How many messages there are beside the system's */
size_t chat_text_count(const struct chat_text *text);

/* The content of the system message, or NULL; "" takes it away. */
const char *chat_text_system(const struct chat_text *text);
int chat_text_set_system(struct chat_text *text, const char *content,
                         struct weir_err *err);

/* Takes all messages away but the system's. */
void chat_text_clear(struct chat_text *text);

/*
 * The tokens up to where an answer begins; *ids is allocated.  *thinking: the
 * template has begun a thought.
 */
int chat_text_encode(const struct chat_text *text, int32_t **ids, size_t *n_ids,
                     int *thinking, struct weir_err *err);

/*
 * The messages as JSON, as weir template reads them.  What is wrong with a file
 * is an error, and the messages stay as they are.
 */
int chat_text_save(const struct chat_text *text, const char *path,
                   struct weir_err *err);
int chat_text_load(struct chat_text *text, const char *path,
                   struct weir_err *err);

#endif
