/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the tokenizer share. */
#ifndef WEIR_TESTS_TOKENIZER_CHECK_H
#define WEIR_TESTS_TOKENIZER_CHECK_H

#include "base/buf.h"
#include "text/tokenizer.h"

/* The same numbers at every run, below `n`. */
uint32_t tok_random(uint32_t n);

/* The file at DIR/NAME; the program ends without it. */
struct weir_buf tok_load(const char *dir, const char *name);

/* NULL, and a comment, when it is refused. */
struct weir_tokenizer *tok_parse(const char *data, size_t n_bytes);

/* Id by id the same text comes out as at once, in whole characters, and each
 * byte of it is of the token that it is said to be of. */
int tok_streams(const struct weir_tokenizer *tokenizer, const int32_t *ids,
                size_t n_ids, int shown);

int tok_encodes(const struct weir_tokenizer *tokenizer, const char *text,
                int special, int bos, const int32_t *wanted, size_t n);
int tok_decodes(const struct weir_tokenizer *tokenizer, const int32_t *ids,
                size_t n_ids, int shown, const char *wanted);

#define ENCODES(tokenizer, text, special, bos, ...)                            \
    tok_encodes(tokenizer, text, special, bos, (const int32_t[]){__VA_ARGS__}, \
                sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))
#define DECODES(tokenizer, shown, wanted, ...)                                 \
    tok_decodes(tokenizer, (const int32_t[]){__VA_ARGS__},                     \
                sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t),      \
                shown, wanted)

/* Whether some id of the text lies in [low, high). */
int tok_finds(const struct weir_tokenizer *tokenizer, const char *text,
              int special, int32_t low, int32_t high);

/* Checks with results of their own. */
void tok_check_rows(const struct weir_tokenizer *tokenizer, const char *dir,
                    const char *name);
void tok_check_streaming(const struct weir_tokenizer *tokenizer,
                         const char *name, int32_t first_byte);
void tok_check_long_run(const struct weir_tokenizer *tokenizer,
                        int32_t first_byte);
void tok_check_bad_text(const struct weir_tokenizer *tokenizer);
void tok_check_bad_ids(const struct weir_tokenizer *tokenizer);
void tok_check_damage(const struct weir_buf *file, const char *name,
                      size_t n_rounds, size_t step);

#endif
