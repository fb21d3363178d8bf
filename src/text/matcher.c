/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entries are sorted, so those that begin with what was read so far are
 * one run of them; each further byte of the text narrows it from both ends.
 * An entry that ends where the text has been read to stands at its front.
 */
#include "text/vocab.h"

#include <stdlib.h>
#include <string.h>

int weir_matcher_add(struct weir_matcher *matcher, struct weir_span text,
                     uint32_t id, struct weir_err *err)
{
    size_t capacity = matcher->capacity ? 2 * matcher->capacity : 64;
    void *entries;

    if (matcher->n == matcher->capacity) {
        entries =
            realloc(matcher->entries, capacity * sizeof(*matcher->entries));
        if (!entries)
            return weir_err_nomem(err, capacity * sizeof(*matcher->entries),
                                  "added tokens");
        matcher->entries = entries;
        matcher->capacity = capacity;
    }
    matcher->entries[matcher->n].text = text;
    matcher->entries[matcher->n++].id = id;
    return 0;
}

static int compare_entries(const void *a, const void *b, void *vocab)
{
    const struct weir_matcher_entry *x = a, *y = b;
    size_t n =
        x->text.n_bytes < y->text.n_bytes ? x->text.n_bytes : y->text.n_bytes;
    int order =
        memcmp(weir_vocab_at(vocab, x->text), weir_vocab_at(vocab, y->text), n);

    if (order)
        return order;
    if (x->text.n_bytes != y->text.n_bytes)
        return x->text.n_bytes < y->text.n_bytes ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Byte `depth` of an entry, or -1 when it is shorter. */
static int entry_byte(const struct weir_matcher *matcher,
                      const struct weir_vocab *vocab, size_t i, size_t depth)
{
    struct weir_span text = matcher->entries[i].text;

    if (depth >= text.n_bytes)
        return -1;
    return (unsigned char)weir_vocab_at(vocab, text)[depth];
}

/* The first of the entries [low, high) whose byte `depth` is at least `c`. */
static size_t lower_bound(const struct weir_matcher *matcher,
                          const struct weir_vocab *vocab, size_t low,
                          size_t high, size_t depth, int c)
{
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (entry_byte(matcher, vocab, middle, depth) < c)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void weir_matcher_seal(struct weir_matcher *matcher,
                       const struct weir_vocab *vocab)
{
    if (matcher->n)
        qsort_r(matcher->entries, matcher->n, sizeof(*matcher->entries),
                compare_entries, (void *)vocab);
    for (int c = 0; c <= 256; c++)
        matcher->first[c] =
            (uint32_t)lower_bound(matcher, vocab, 0, matcher->n, 0, c);
}

void weir_matcher_fini(struct weir_matcher *matcher)
{
    free(matcher->entries);
    memset(matcher, 0, sizeof(*matcher));
}

static int is_wanted(const struct weir_vocab *vocab, uint32_t id, int special)
{
    return special || !(vocab->pieces[id].flags & WEIR_PIECE_SPECIAL);
}

int32_t weir_matcher_find(const struct weir_matcher *matcher,
                          const struct weir_vocab *vocab, const char *text,
                          size_t n_bytes, int special, size_t *length)
{
    unsigned char c = (unsigned char)text[0];
    size_t low = matcher->first[c], high = matcher->first[c + 1];
    const struct weir_matcher_entry *entry;
    int32_t found = -1;

    *length = 0;
    for (size_t depth = 1; low < high; depth++) {
        for (; low < high; low++) {
            entry = &matcher->entries[low];
            if (entry->text.n_bytes != depth)
                break;
            if (*length < depth && is_wanted(vocab, entry->id, special)) {
                found = (int32_t)entry->id;
                *length = depth;
            }
        }
        if (depth == n_bytes)
            break;
        c = (unsigned char)text[depth];
        low = lower_bound(matcher, vocab, low, high, depth, c);
        high = lower_bound(matcher, vocab, low, high, depth, c + 1);
    }
    return found;
}

int weir_matcher_may_begin(const struct weir_matcher *matcher,
                           const struct weir_vocab *vocab, const char *text,
                           size_t n_bytes)
{
    unsigned char c = (unsigned char)text[0];

    for (size_t i = matcher->first[c]; i < matcher->first[c + 1]; i++) {
        const struct weir_matcher_entry *entry = &matcher->entries[i];
        size_t n =
            entry->text.n_bytes < n_bytes ? entry->text.n_bytes : n_bytes;

        if (vocab->pieces[entry->id].flags & WEIR_PIECE_SPECIAL &&
            !memcmp(weir_vocab_at(vocab, entry->text), text, n))
            return 1;
    }
    return 0;
}
