/* SPDX-License-Identifier: Apache-2.0 */
#include "text/vocab.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

/* The smallest power of two that is at least twice `n`. */
static size_t table_size(size_t n)
{
    size_t size = 16;

    while (size < 2 * n)
        size *= 2;
    return size;
}

int weir_vocab_init(struct weir_vocab *vocab, size_t n, size_t arena_bytes,
                    struct weir_err *err)
{
    memset(vocab, 0, sizeof(*vocab));
    vocab->arena.ceiling =
        arena_bytes < WEIR_ARENA_BYTES ? arena_bytes : WEIR_ARENA_BYTES;
    vocab->n = n;
    vocab->n_slots = table_size(n);
    vocab->pieces = calloc(n, sizeof(*vocab->pieces));
    vocab->slots = calloc(vocab->n_slots, sizeof(*vocab->slots));
    if (!vocab->pieces || !vocab->slots)
        return weir_err_nomem(err, n * sizeof(*vocab->pieces), "a vocabulary");
    for (size_t i = 0; i < n; i++)
        vocab->pieces[i].byte = -1;
    return 0;
}

void weir_vocab_fini(struct weir_vocab *vocab)
{
    weir_buf_fini(&vocab->arena);
    free(vocab->pieces);
    free(vocab->slots);
    memset(vocab, 0, sizeof(*vocab));
}

int weir_vocab_keep(struct weir_vocab *vocab, const void *data, size_t n_bytes,
                    struct weir_span *span, struct weir_err *err)
{
    uintptr_t at = (uintptr_t)data - (uintptr_t)vocab->arena.data;

    span->n_bytes = (uint32_t)n_bytes;
    if (at < vocab->arena.n_bytes && n_bytes <= vocab->arena.n_bytes - at) {
        span->at = (uint32_t)at;
        return 0;
    }
    span->at = (uint32_t)vocab->arena.n_bytes;
    return weir_buf_add(&vocab->arena, data, n_bytes, err);
}

static int same_text(const struct weir_vocab *vocab, uint32_t id,
                     const char *text, size_t n_bytes)
{
    struct weir_span span = vocab->pieces[id].text;

    return span.n_bytes == n_bytes &&
           !memcmp(weir_vocab_at(vocab, span), text, n_bytes);
}

/* The slot with this text, or the free one where it belongs. */
static uint32_t *find_slot(const struct weir_vocab *vocab, const char *text,
                           size_t n_bytes)
{
    size_t at = XXH3_64bits(text, n_bytes) & (vocab->n_slots - 1);

    while (vocab->slots[at] &&
           !same_text(vocab, vocab->slots[at] - 1, text, n_bytes))
        at = (at + 1) & (vocab->n_slots - 1);
    return &vocab->slots[at];
}

int32_t weir_vocab_find(const struct weir_vocab *vocab, const char *text,
                        size_t n_bytes)
{
    return (int32_t)*find_slot(vocab, text, n_bytes) - 1;
}

static int check_piece(const struct weir_vocab *vocab, size_t id,
                       const char *text, size_t n_bytes, const char *what,
                       struct weir_err *err)
{
    if (n_bytes == 0)
        return weir_err_set(err, WEIR_EFORMAT, "%s: token %zu is empty", what,
                            id);
    if (n_bytes > WEIR_PIECE_BYTES)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: token %zu has %zu bytes; %d is the most", what,
                            id, n_bytes, WEIR_PIECE_BYTES);
    if (weir_utf8_valid(text, n_bytes) < n_bytes)
        return weir_err_set(err, WEIR_EFORMAT, "%s: token %zu is not UTF-8",
                            what, id);
    if (vocab->pieces[id].flags)
        return weir_err_set(err, WEIR_EFORMAT, "%s: token %zu is there twice",
                            what, id);
    return 0;
}

static int index_piece(struct weir_vocab *vocab, size_t id, const char *what,
                       struct weir_err *err)
{
    struct weir_span span = vocab->pieces[id].text;
    const char *text = weir_vocab_at(vocab, span);
    uint32_t *slot = find_slot(vocab, text, span.n_bytes);

    if (*slot)
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: tokens %u and %zu are the same, '%.*s'", what,
                            (unsigned)*slot - 1, id,
                            (int)(span.n_bytes < 64 ? span.n_bytes : 64), text);
    *slot = (uint32_t)id + 1;
    if (span.n_bytes > vocab->max_indexed_bytes)
        vocab->max_indexed_bytes = span.n_bytes;
    return 0;
}

int weir_vocab_add(struct weir_vocab *vocab, size_t id, const char *text,
                   size_t n_bytes, unsigned flags, const char *what,
                   struct weir_err *err)
{
    struct weir_piece *piece = &vocab->pieces[id];
    int rc;

    rc = check_piece(vocab, id, text, n_bytes, what, err);
    if (!rc)
        rc = weir_vocab_keep(vocab, text, n_bytes, &piece->text, err);
    if (rc)
        return rc;
    piece->flags = (uint16_t)(flags | WEIR_PIECE_PRESENT);
    return flags & WEIR_PIECE_INDEXED ? index_piece(vocab, id, what, err) : 0;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int weir_byte_of(const char *text, size_t n_bytes)
{
    int high, low;

    if (n_bytes != 6 || memcmp(text, "<0x", 3) || text[5] != '>')
        return -1;
    high = hex_digit(text[3]);
    low = hex_digit(text[4]);
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

static uint64_t mix(uint64_t key)
{
    key ^= key >> 32;
    key *= 0x9e3779b97f4a7c15u;
    return key ^ key >> 29;
}

static uint64_t pair_key(uint32_t left, uint32_t right)
{
    return (uint64_t)left << 32 | right;
}

int weir_merges_init(struct weir_merges *merges, size_t n, struct weir_err *err)
{
    size_t n_slots = table_size(n);

    merges->slots = malloc(n_slots * sizeof(*merges->slots));
    if (!merges->slots)
        return weir_err_nomem(err, n_slots * sizeof(*merges->slots), "merges");
    merges->n_slots = n_slots;
    for (size_t i = 0; i < n_slots; i++)
        merges->slots[i].left = UINT32_MAX;
    return 0;
}

void weir_merges_fini(struct weir_merges *merges)
{
    free(merges->slots);
    memset(merges, 0, sizeof(*merges));
}

static struct weir_merge *merge_slot(const struct weir_merges *merges,
                                     uint32_t left, uint32_t right)
{
    size_t at = mix(pair_key(left, right)) & (merges->n_slots - 1);
    struct weir_merge *slot = &merges->slots[at];

    while (slot->left != UINT32_MAX &&
           (slot->left != left || slot->right != right)) {
        at = (at + 1) & (merges->n_slots - 1);
        slot = &merges->slots[at];
    }
    return slot;
}

void weir_merges_put(struct weir_merges *merges, const struct weir_merge *merge)
{
    *merge_slot(merges, merge->left, merge->right) = *merge;
}

const struct weir_merge *weir_merges_find(const struct weir_merges *merges,
                                          uint32_t left, uint32_t right)
{
    const struct weir_merge *slot = merge_slot(merges, left, right);

    return slot->left == UINT32_MAX ? NULL : slot;
}

static uint64_t *join_slot(const struct weir_joins *joins, uint64_t key)
{
    size_t at = mix(key) & (joins->n_slots - 1);

    while (joins->slots[at] && joins->slots[at] != key + 1)
        at = (at + 1) & (joins->n_slots - 1);
    return &joins->slots[at];
}

int weir_joins_has(const struct weir_joins *joins, uint32_t a, uint32_t b)
{
    return *join_slot(joins, pair_key(a, b)) != 0;
}

static int joins_grow(struct weir_joins *joins, struct weir_err *err)
{
    struct weir_joins larger = {.n_slots = table_size(joins->n_slots),
                                .n = joins->n};

    larger.slots = calloc(larger.n_slots, sizeof(*larger.slots));
    if (!larger.slots)
        return weir_err_nomem(err, larger.n_slots * sizeof(*larger.slots),
                              "pairs of characters");
    for (size_t i = 0; i < joins->n_slots; i++)
        if (joins->slots[i])
            *join_slot(&larger, joins->slots[i] - 1) = joins->slots[i];
    free(joins->slots);
    *joins = larger;
    return 0;
}

static int joins_add(struct weir_joins *joins, uint64_t key,
                     struct weir_err *err)
{
    uint64_t *slot;
    int rc;

    if (2 * joins->n >= joins->n_slots) {
        rc = joins_grow(joins, err);
        if (rc)
            return rc;
    }
    slot = join_slot(joins, key);
    joins->n += *slot == 0;
    *slot = key + 1;
    return 0;
}

static int joins_add_text(struct weir_joins *joins, const char *text,
                          size_t n_bytes, struct weir_err *err)
{
    size_t at = weir_utf8_length((unsigned char)text[0]), length;
    uint32_t before = weir_utf8_decode(text, at), c;
    int rc;

    for (; at < n_bytes; at += length) {
        length = weir_utf8_length((unsigned char)text[at]);
        c = weir_utf8_decode(text + at, length);
        rc = joins_add(joins, pair_key(before, c), err);
        if (rc)
            return rc;
        before = c;
    }
    return 0;
}

int weir_joins_init(struct weir_joins *joins, const struct weir_vocab *vocab,
                    struct weir_err *err)
{
    const struct weir_piece *piece;
    int rc = joins_grow(joins, err);

    for (size_t i = 0; !rc && i < vocab->n; i++) {
        piece = &vocab->pieces[i];
        if (piece->flags & WEIR_PIECE_INDEXED)
            rc = joins_add_text(joins, weir_vocab_at(vocab, piece->text),
                                piece->text.n_bytes, err);
    }
    return rc;
}

void weir_joins_fini(struct weir_joins *joins)
{
    free(joins->slots);
    memset(joins, 0, sizeof(*joins));
}
