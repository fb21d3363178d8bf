/* SPDX-License-Identifier: Apache-2.0 */
/* Byte pair encoding of a text without added tokens. */
#ifndef WEIR_TEXT_BPE_H
#define WEIR_TEXT_BPE_H

#include "text/tokenizer_impl.h"

struct weir_ids {
    int32_t *data; /* [n] */
    size_t n, capacity;
};

int weir_ids_add(struct weir_ids *ids, int32_t id, struct weir_err *err);

/* Memory that the encoding of one text uses again and again. */
struct weir_bpe {
    const struct weir_tokenizer *tokenizer;
    struct weir_ids *ids; /* where the result goes */
    const char *text;     /* being merged */
    struct weir_symbol *symbols;
    size_t n_symbols, symbols_capacity;
    int after_unknown; /* the last symbol stands for unknown characters */
    struct weir_candidate *heap;
    size_t n_heap, heap_capacity;
    uint32_t *splits; /* [n_vocab] bytes of the left part of a piece that is
                         unused, or 0; NULL when there are none */
};

int weir_bpe_init(struct weir_bpe *bpe, const struct weir_tokenizer *tokenizer,
                  struct weir_ids *ids, struct weir_err *err);
void weir_bpe_fini(struct weir_bpe *bpe);

/* Appends the ids of `n_bytes` of UTF-8. */
int weir_bpe_encode(struct weir_bpe *bpe, const char *text, size_t n_bytes,
                    struct weir_err *err);

#endif
