/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each token is in the text that it helps to make: its own bytes, which
 * may be less than a character, and where they stand.
 */
#ifndef WEIR_TEXT_TOKEN_TEXT_H
#define WEIR_TEXT_TOKEN_TEXT_H

#include "text/tokenizer.h"

/* What came before a token, as far as it changes what the token decodes to */
struct weir_token_front {
    uint32_t n_strip;     /* of the tokenizer's strip, still to be removed */
    uint8_t is_first;     /* nothing came before it */
    uint8_t strips_piece; /* SentencePiece: it may lose its space */
};

/* What comes before the next token that the detokenizer gets */
struct weir_token_front weir_detokenizer_front(
    const struct weir_detokenizer *detokenizer);

/*
 * Appends the bytes that a token adds to a text behind such a front, of special
 * ones only when they are shown.  Together those of all tokens are the text,
 * but for bytes that could not become a character.  An id that is no token has
 * none.
 */
int weir_token_text(const struct weir_tokenizer *tokenizer, int32_t id,
                    struct weir_token_front front, int special_shown,
                    struct weir_buf *out, struct weir_err *err);

int weir_token_is_special(const struct weir_tokenizer *tokenizer, int32_t id);

/* Where a token stands */
struct weir_token_place {
    int32_t id;
    uint32_t from, to; /* bytes of the text; the same when it shows none */
    uint32_t n_before; /* characters of the text that end before it */
    struct weir_token_front front;
};

/*
 * A detokenizer has got the last of n tokens, or was finished, and gave n_out
 * bytes, which begin at `at` in the text: says where the tokens from `from` on
 * stand (but for n_before).  Returns the first whose text is still held back,
 * or n.
 */
size_t weir_token_settle(const struct weir_detokenizer *detokenizer,
                         struct weir_token_place *places, size_t from, size_t n,
                         size_t at, size_t n_out);

#endif
