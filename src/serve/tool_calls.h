/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From what a model writes to text and calls of tools, while it is being
 * written.  What may be the beginning of a call, and white space before
 * anything else, is held back until it is known what it is.
 */
#ifndef WEIR_SERVE_TOOL_CALLS_H
#define WEIR_SERVE_TOOL_CALLS_H

#include "serve/openai.h"
#include "text/grammar.h"

#define WEIR_TOOL_NAME_BYTES 64

enum weir_call_part {
    WEIR_CALL_TEXT, /* outside calls */
    WEIR_CALL_NAME, /* a call begins */
    WEIR_CALL_ARGUMENTS,
};

/* A part of the answer; a code that is not 0 ends weir_tool_parser_push(). */
typedef int weir_call_part_fn(void *ctx, enum weir_call_part kind,
                              const char *text, size_t n_bytes);

struct weir_tool_parser {
    const struct weir_tool_style *style; /* NULL: all is text */
    int state;
    size_t n_matched; /* of style->begin */
    char space[32];   /* before anything else */
    size_t n_space;
    int has_begun; /* something other than white space was there */
    char key[WEIR_TOOL_NAME_BYTES + 1];
    size_t n_key;
    unsigned depth; /* in a value */
    int in_string, is_escaped;
    size_t n_calls; /* so far */
};

void weir_tool_parser_init(struct weir_tool_parser *parser,
                           const struct weir_tool_style *style);

/* The text goes on; however it is cut, the parts of a kind add up to the same.
 * Allocates nothing. */
int weir_tool_parser_push(struct weir_tool_parser *parser, const char *text,
                          size_t n_bytes, weir_call_part_fn *fn, void *ctx);

/* The text ends: what is held back is text. */
int weir_tool_parser_finish(struct weir_tool_parser *parser,
                            weir_call_part_fn *fn, void *ctx);

/*
 * The choice of a chat whose whole text this is, with its calls, of which `id`
 * begins the ids.  NULL: no memory.
 */
json_t *weir_tool_message(const struct weir_choice *choice,
                          const struct weir_tool_style *style, const char *id);

/* tool_calls of a part of a stream: the beginning of call i, and more of its
 * arguments.  NULL: no memory. */
json_t *weir_tool_begin(size_t i, const char *id, const char *name, size_t n);
json_t *weir_tool_more(size_t i, const char *text, size_t n_bytes);

#endif
