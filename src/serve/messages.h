/* SPDX-License-Identifier: Apache-2.0 */
/* The messages of a chat, as clients send them. */
#ifndef WEIR_SERVE_MESSAGES_H
#define WEIR_SERVE_MESSAGES_H

#include "base/buf.h"
#include "serve/openai.h"
#include "text/chat.h"

#define WEIR_MAX_MESSAGES 65536

/*
 * An array of objects with a role, whose contents are strings, null, or arrays
 * of parts with texts, which become one string each with line feeds between
 * them.  *messages is a new reference.  WEIR_EARG, or WEIR_ENOMEM.
 */
int weir_messages_read(const json_t *value, json_t **messages,
                       struct weir_fault *fault);

/*
 * Appends what a model reads for the messages that were read.  With a tokenizer
 * special tokens in what users wrote are guarded, for WEIR_SPECIAL_GUARDED.
 * WEIR_ENOTSUP when `chat` is NULL; WEIR_EARG, with what the template says.
 */
int weir_messages_render(const struct weir_completion *completion,
                         const struct weir_chat *chat,
                         const struct weir_tokenizer *tokenizer,
                         struct weir_buf *out, struct weir_fault *fault);

#endif
