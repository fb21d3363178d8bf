/* SPDX-License-Identifier: Apache-2.0 */
/* What a tokenizer must do once its file has been taken. */
#ifndef WEIR_TESTS_FUZZ_TOKENIZER_H
#define WEIR_TESTS_FUZZ_TOKENIZER_H

#include "text/tokenizer_impl.h"

/*
 * Parses the file and, if it is taken, encodes some text with and without
 * special tokens and decodes it again, at once and id by id.  `is_exact` says
 * of a tokenizer whether text that it encodes must come back as it was.
 */
void fuzz_tokenizer(const char *data, size_t n_bytes,
                    int (*is_exact)(const struct weir_tokenizer *tokenizer));

#endif
