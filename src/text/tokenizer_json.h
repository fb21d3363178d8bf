/* SPDX-License-Identifier: Apache-2.0 */
/* The two halves of the reader of tokenizer.json. */
#ifndef WEIR_TEXT_TOKENIZER_JSON_H
#define WEIR_TEXT_TOKENIZER_JSON_H

#include "base/json.h"
#include "text/tokenizer_impl.h"

struct weir_json_reader {
    struct weir_tokenizer *tokenizer;
    const char *what; /* the file, for messages */
    size_t n_bytes;   /* of the file */
    struct weir_err *err;
    /* Decoders in the order of the file; only so much of it is supported. */
    struct weir_text_ops decoders;
    int has_byte_fallback, has_fuse, has_strip;
};

/*
 * Applies `ops` to the text of a token and keeps the result as *span.  `part`
 * of the file is what they stand in; WEIR_ELIMIT when they make too much of it.
 */
int weir_json_apply(struct weir_json_reader *reader,
                    const struct weir_text_ops *ops,
                    struct weir_scratch *scratch, int first,
                    struct weir_span from, const char *part,
                    struct weir_span *span);

/* "normalizer", "pre_tokenizer", "post_processor", "decoder" of `root`. */
int weir_json_read_normalizer(struct weir_json_reader *reader,
                              const json_t *root);
int weir_json_read_pre_tokenizer(struct weir_json_reader *reader,
                                 const json_t *root);
int weir_json_read_post_processor(struct weir_json_reader *reader,
                                  const json_t *root);
int weir_json_read_decoder(struct weir_json_reader *reader, const json_t *root);

#endif
