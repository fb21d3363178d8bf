/* SPDX-License-Identifier: Apache-2.0 */
/* What a chat says of the form of its answer: response_format, tools,
 * tool_choice and parallel_tool_calls. */
#ifndef WEIR_SERVE_TOOLS_H
#define WEIR_SERVE_TOOLS_H

#include "serve/openai.h"
#include "text/chat.h"

#define WEIR_MAX_TOOLS 128

int weir_tools_take_format(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault);
int weir_tools_take(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault);
int weir_tools_take_choice(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault);

/*
 * Once all is read: the grammar of the completion, and the style of the calls
 * that the model's template knows.  WEIR_EARG when the template knows none, or
 * the choice is none of the tools; or what weir_grammar_new() returns.
 */
int weir_tools_settle(struct weir_completion *completion,
                      const struct weir_chat *chat, struct weir_fault *fault);

#endif
