/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer must do once its file has been taken. */
#ifndef WEIR_TESTS_FUZZ_TOKENIZER_H
#define WEIR_TESTS_FUZZ_TOKENIZER_H

#include "text/tokenizer_impl.h"

struct fuzz_tokenizer {
    /*
     * The first of these bytes in the input, which has no other use in such a
     * file, stands for all 256 byte tokens: mutations would seldom leave them
     * whole.
     */
    char mark;

    /* Appends the token for `byte`, with the id `byte` in a JSON. */
    void (*add_byte)(struct weir_buf *out, unsigned byte);

    /* Whether text that is encoded must come back as it was. */
    int (*is_exact)(const struct weir_tokenizer *tokenizer);
};

/*
 * Parses the file and, if it is taken, encodes some text with and without
 * special tokens and decodes it again, at once and id by id.
 */
void fuzz_tokenizer(const struct fuzz_tokenizer *kind, const char *data,
                    size_t n_bytes);

#endif
