/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines of a batch, in and out.  A line is one of
 *
 *   {"custom_id":"a","method":"POST","url":"/v1/completions","body":{...}}
 *   {"id":"a","prompt":"...","max_tokens":9}   the body itself, with an id
 *   {"id":"a","messages":[...]}                the same of a chat
 *   "..."                                      a prompt alone
 *
 * and its answer is a line of OpenAI's batches.
 */
#ifndef WEIR_SERVE_BATCH_LINE_H
#define WEIR_SERVE_BATCH_LINE_H

#include "serve/openai.h"

#define WEIR_CUSTOM_ID_BYTES 512 /* most in one */

struct weir_batch_line {
    json_t *body;                             /* an object; NULL: none */
    int is_chat;                              /* it has messages */
    char custom_id[WEIR_CUSTOM_ID_BYTES + 1]; /* UTF-8; "": it has none */
};

/*
 * Parses a line.  WEIR_EARG, WEIR_EFORMAT or WEIR_ENOMEM, with the fault; also
 * then custom_id is there if it could be read.  Release with
 * weir_batch_line_fini(), also after an error.
 */
int weir_batch_line_parse(const char *text, size_t n_bytes,
                          struct weir_batch_line *line,
                          struct weir_fault *fault);
void weir_batch_line_fini(struct weir_batch_line *line);

/*
 * The answer to line `number` of the input, with a line feed: *text is
 * allocated, release it with free().  It begins with WEIR_BATCH_ID and the
 * number.  Takes over `body`; NULL is WEIR_ENOMEM.
 */
int weir_batch_line_print(uint64_t number, const char *custom_id, int status,
                          json_t *body, char **text, size_t *n_bytes,
                          struct weir_err *err);

#define WEIR_BATCH_ID "{\"id\":\"batch_req_"

/* The number of the line that such a line answers; 0: it is no whole one. */
uint64_t weir_batch_line_number(const char *text, size_t n_bytes);

#endif
