/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of the reader of tokenizer.json. */
#ifndef WEIR_TEXT_TOKENIZER_JSON_H
#define WEIR_TEXT_TOKENIZER_JSON_H

#include "base/json.h"
#include "text/tokenizer_impl.h"

struct weir_json_reader {
    struct weir_tokenizer *tokenizer;
    const char *what; /* the file, for messages */
    struct weir_err *err;
    /* Decoders in the order of the file; only so much of it is supported. */
    struct weir_text_ops decoders;
    int has_byte_fallback, has_fuse, has_strip;
};

/* "normalizer", "pre_tokenizer", "post_processor", "decoder" of `root`. */
int weir_json_read_normalizer(struct weir_json_reader *reader,
                              const json_t *root);
int weir_json_read_pre_tokenizer(struct weir_json_reader *reader,
                                 const json_t *root);
int weir_json_read_post_processor(struct weir_json_reader *reader,
                                  const json_t *root);
int weir_json_read_decoder(struct weir_json_reader *reader, const json_t *root);

#endif
