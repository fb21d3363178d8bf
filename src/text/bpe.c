/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A text begins as a list of symbols, one for each character (or, where
 * tokenizer.json knows no such character, one for each of its bytes).  As long
 * as neighbours can merge, the two with the lowest rank do, the leftmost of
 * equals first.  Candidates wait in a heap.  One that has been overtaken, a
 * part of it having merged elsewhere, is recognised by its size when it comes
 * up, because symbols only ever grow.  That makes O(n log n).
 *
 * The kinds differ in what may merge: a tokenizer.json lists pairs of ids, a
 * SentencePiece model says that any two neighbours whose joint text is a piece
 * merge, with the rank of that piece.
 *
 * Most of the time n is small: the text is first cut wherever no piece has the
 * two characters side by side.
 */
#include "text/bpe.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define NONE         UINT32_MAX
#define SYMBOLS_MAX  (1UL << 31) /* in one part */
#define UNKNOWN_TEXT (-1)        /* the id of a symbol that is no piece */

struct weir_symbol {
    uint32_t start, n_bytes; /* 0 bytes: merged into the one before */
    uint32_t prev, next;
    int32_t id;
};

struct weir_candidate {
    uint64_t key;     /* rank << 32 | left symbol */
    uint32_t n_bytes; /* of both symbols */
    uint32_t id;      /* what they become */
};

/* Makes room for one more element of `size` bytes. */
static int grow(void **data, size_t n, size_t *capacity, size_t size,
                struct weir_err *err)
{
    size_t wanted = *capacity ? 2 * *capacity : 256;
    void *larger;

    if (n < *capacity)
        return 0;
    larger = realloc(*data, wanted * size);
    if (!larger)
        return weir_err_nomem(err, wanted * size, "encoding a text");
    *data = larger;
    *capacity = wanted;
    return 0;
}

int weir_ids_add(struct weir_ids *ids, int32_t id, struct weir_err *err)
{
    void *data = ids->data;
    int rc = grow(&data, ids->n, &ids->capacity, sizeof(*ids->data), err);

    ids->data = data;
    if (!rc)
        ids->data[ids->n++] = id;
    return rc;
}

int weir_bpe_init(struct weir_bpe *bpe, const struct weir_tokenizer *tokenizer,
                  struct weir_ids *ids, struct weir_err *err)
{
    size_t n_bytes = tokenizer->vocab.n * sizeof(*bpe->splits);

    memset(bpe, 0, sizeof(*bpe));
    bpe->tokenizer = tokenizer;
    bpe->ids = ids;
    if (!tokenizer->has_unused)
        return 0;
    bpe->splits = calloc(1, n_bytes);
    return bpe->splits ? 0 : weir_err_nomem(err, n_bytes, "encoding a text");
}

void weir_bpe_fini(struct weir_bpe *bpe)
{
    free(bpe->symbols);
    free(bpe->heap);
    free(bpe->splits);
    memset(bpe, 0, sizeof(*bpe));
}

static int heap_push(struct weir_bpe *bpe, const struct weir_candidate *added,
                     struct weir_err *err)
{
    void *heap = bpe->heap;
    size_t at = bpe->n_heap, parent;
    int rc = grow(&heap, at, &bpe->heap_capacity, sizeof(*added), err);

    bpe->heap = heap;
    if (rc)
        return rc;
    bpe->n_heap++;
    for (; at; at = parent) {
        parent = (at - 1) / 2;
        if (bpe->heap[parent].key <= added->key)
            break;
        bpe->heap[at] = bpe->heap[parent];
    }
    bpe->heap[at] = *added;
    return 0;
}

static struct weir_candidate heap_pop(struct weir_bpe *bpe)
{
    struct weir_candidate *heap = bpe->heap, top = heap[0], last;
    size_t at = 0, child, n = --bpe->n_heap;

    last = heap[n];
    while ((child = 2 * at + 1) < n) {
        if (child + 1 < n && heap[child + 1].key < heap[child].key)
            child++;
        if (last.key <= heap[child].key)
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = last;
    return top;
}

static int32_t find_piece(const struct weir_tokenizer *tokenizer,
                          const char *text, size_t n_bytes)
{
    int32_t id = weir_vocab_find(&tokenizer->vocab, text, n_bytes);

    if (id >= 0 && tokenizer->vocab.pieces[id].flags & WEIR_PIECE_SPECIAL)
        return -1;
    return id;
}

static int find_pair(const struct weir_bpe *bpe, const struct weir_symbol *left,
                     const struct weir_symbol *right, uint32_t *rank,
                     uint32_t *id)
{
    const struct weir_tokenizer *tokenizer = bpe->tokenizer;
    size_t n_bytes = (size_t)left->n_bytes + right->n_bytes;
    const struct weir_merge *merge;
    int32_t found;

    if (!tokenizer->is_sentencepiece) {
        merge = weir_merges_find(&tokenizer->merges, (uint32_t)left->id,
                                 (uint32_t)right->id);
        if (!merge)
            return 0;
        *rank = merge->rank;
        *id = merge->id;
        return 1;
    }
    if (n_bytes > tokenizer->vocab.max_indexed_bytes)
        return 0;
    found = find_piece(tokenizer, bpe->text + left->start, n_bytes);
    if (found < 0)
        return 0;
    *rank = tokenizer->ranks[found];
    *id = (uint32_t)found;
    return 1;
}

/* Queues the merge of symbol `at` with the next one, if there is such. */
static int propose(struct weir_bpe *bpe, uint32_t at, struct weir_err *err)
{
    const struct weir_symbol *left = &bpe->symbols[at], *right;
    struct weir_candidate candidate;
    uint32_t rank;

    if (left->next == NONE)
        return 0;
    right = &bpe->symbols[left->next];
    if (!find_pair(bpe, left, right, &rank, &candidate.id))
        return 0;
    if (bpe->splits)
        bpe->splits[candidate.id] = left->n_bytes;
    candidate.key = (uint64_t)rank << 32 | at;
    candidate.n_bytes = left->n_bytes + right->n_bytes;
    return heap_push(bpe, &candidate, err);
}

static int merge_one(struct weir_bpe *bpe, struct weir_err *err)
{
    struct weir_candidate top = heap_pop(bpe);
    uint32_t at = (uint32_t)top.key;
    struct weir_symbol *left = &bpe->symbols[at], *right;
    int rc = 0;

    if (left->n_bytes == 0 || left->next == NONE)
        return 0;
    right = &bpe->symbols[left->next];
    if (left->n_bytes + right->n_bytes != top.n_bytes)
        return 0;
    left->n_bytes = top.n_bytes;
    left->id = (int32_t)top.id;
    left->next = right->next;
    right->n_bytes = 0;
    if (left->next != NONE)
        bpe->symbols[left->next].prev = at;
    if (left->prev != NONE)
        rc = propose(bpe, left->prev, err);
    return rc ? rc : propose(bpe, at, err);
}

static int add_symbol(struct weir_bpe *bpe, size_t start, size_t n_bytes,
                      int32_t id, struct weir_err *err)
{
    void *symbols = bpe->symbols;
    struct weir_symbol *symbol;
    int rc;

    rc = grow(&symbols, bpe->n_symbols, &bpe->symbols_capacity,
              sizeof(*bpe->symbols), err);
    bpe->symbols = symbols;
    if (rc)
        return rc;
    symbol = &bpe->symbols[bpe->n_symbols++];
    symbol->start = (uint32_t)start;
    symbol->n_bytes = (uint32_t)n_bytes;
    symbol->prev = (uint32_t)bpe->n_symbols - 2;
    symbol->next = (uint32_t)bpe->n_symbols;
    symbol->id = id;
    if (bpe->n_symbols == 1)
        symbol->prev = NONE;
    bpe->after_unknown = 0;
    return 0;
}

/* Symbols for a character that is no piece; tokenizer.json. */
static int add_unknown(struct weir_bpe *bpe, size_t start, size_t n_bytes,
                       struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = bpe->tokenizer;
    const unsigned char *bytes = (const unsigned char *)bpe->text + start;
    int rc = 0;

    if (tokenizer->byte_fallback) {
        for (size_t i = 0; !rc && i < n_bytes; i++)
            rc = add_symbol(bpe, start + i, 1, tokenizer->byte_ids[bytes[i]],
                            err);
        return rc;
    }
    if (tokenizer->unknown < 0) /* the tokenizers library drops it */
        return 0;
    if (tokenizer->fuses_unknown && bpe->after_unknown) {
        bpe->symbols[bpe->n_symbols - 1].n_bytes += (uint32_t)n_bytes;
        return 0;
    }
    rc = add_symbol(bpe, start, n_bytes, tokenizer->unknown, err);
    bpe->after_unknown = 1;
    return rc;
}

static int make_symbols(struct weir_bpe *bpe, size_t n_bytes,
                        struct weir_err *err)
{
    size_t length;
    int32_t id;
    int rc = 0;

    bpe->n_symbols = 0;
    bpe->after_unknown = 0;
    for (size_t at = 0; !rc && at < n_bytes; at += length) {
        length = weir_utf8_length((unsigned char)bpe->text[at]);
        id = find_piece(bpe->tokenizer, bpe->text + at, length);
        if (id >= 0 || bpe->tokenizer->is_sentencepiece)
            rc = add_symbol(bpe, at, length, id, err);
        else
            rc = add_unknown(bpe, at, length, err);
    }
    if (bpe->n_symbols)
        bpe->symbols[bpe->n_symbols - 1].next = NONE;
    return rc;
}

/* The ids of text that became no piece: SentencePiece. */
static int emit_unknown(struct weir_bpe *bpe, const char *text, size_t n_bytes,
                        struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = bpe->tokenizer;
    const unsigned char *bytes = (const unsigned char *)text;
    int rc = 0;

    if (!tokenizer->byte_fallback)
        return weir_ids_add(bpe->ids, tokenizer->unknown, err);
    for (size_t i = 0; !rc && i < n_bytes; i++)
        rc = weir_ids_add(bpe->ids, tokenizer->byte_ids[bytes[i]], err);
    return rc;
}

/*
 * Emits a SentencePiece symbol.  A piece that is unused comes apart again into
 * the two that it was merged from.
 */
static int emit_split(struct weir_bpe *bpe, const char *text, size_t n_bytes,
                      struct weir_err *err)
{
    const struct weir_tokenizer *tokenizer = bpe->tokenizer;
    int32_t id = find_piece(tokenizer, text, n_bytes);
    uint32_t left;
    int rc;

    if (id < 0)
        return emit_unknown(bpe, text, n_bytes, err);
    left = bpe->splits[id];
    if (!(tokenizer->vocab.pieces[id].flags & WEIR_PIECE_UNUSED) || !left)
        return weir_ids_add(bpe->ids, id, err);
    rc = emit_split(bpe, text, left, err);
    return rc ? rc : emit_split(bpe, text + left, n_bytes - left, err);
}

static int emit_symbols(struct weir_bpe *bpe, struct weir_err *err)
{
    const struct weir_symbol *symbol;
    uint32_t at = bpe->n_symbols ? 0 : NONE;
    int unknown = 0, rc = 0;

    for (; !rc && at != NONE; at = symbol->next) {
        const char *text;

        symbol = &bpe->symbols[at];
        text = bpe->text + symbol->start;
        if (symbol->id == UNKNOWN_TEXT) {
            if (!unknown || bpe->tokenizer->byte_fallback)
                rc = emit_unknown(bpe, text, symbol->n_bytes, err);
        } else if (bpe->splits) {
            rc = emit_split(bpe, text, symbol->n_bytes, err);
        } else {
            rc = weir_ids_add(bpe->ids, symbol->id, err);
        }
        unknown = symbol->id == UNKNOWN_TEXT;
    }
    return rc;
}

static int encode_part(struct weir_bpe *bpe, const char *text, size_t n_bytes,
                       struct weir_err *err)
{
    int rc;

    if (n_bytes > SYMBOLS_MAX)
        return weir_err_set(err, WEIR_ELIMIT,
                            "text of %zu bytes without a place to cut it; %lu "
                            "is the most",
                            n_bytes, SYMBOLS_MAX);
    bpe->text = text;
    rc = make_symbols(bpe, n_bytes, err);
    bpe->n_heap = 0;
    for (size_t at = 0; !rc && at < bpe->n_symbols; at++)
        rc = propose(bpe, (uint32_t)at, err);
    while (!rc && bpe->n_heap)
        rc = merge_one(bpe, err);
    return rc ? rc : emit_symbols(bpe, err);
}

/* The length of what can be merged by itself at the front of the text. */
static size_t part_length(const struct weir_tokenizer *tokenizer,
                          const char *text, size_t n_bytes)
{
    size_t at = weir_utf8_length((unsigned char)text[0]), length;
    uint32_t before = weir_utf8_decode(text, at), c;

    if (!tokenizer->cuts)
        return n_bytes;
    for (; at < n_bytes; at += length) {
        length = weir_utf8_length((unsigned char)text[at]);
        c = weir_utf8_decode(text + at, length);
        if (!weir_joins_has(&tokenizer->joins, before, c))
            break;
        before = c;
    }
    return at;
}

int weir_bpe_encode(struct weir_bpe *bpe, const char *text, size_t n_bytes,
                    struct weir_err *err)
{
    size_t n_part;
    int32_t id;
    int rc = 0;

    if (bpe->tokenizer->ignores_merges) {
        id = find_piece(bpe->tokenizer, text, n_bytes);
        if (id >= 0)
            return weir_ids_add(bpe->ids, id, err);
    }
    for (; !rc && n_bytes; text += n_part, n_bytes -= n_part) {
        n_part = part_length(bpe->tokenizer, text, n_bytes);
        rc = encode_part(bpe, text, n_part, err);
    }
    return rc;
}
