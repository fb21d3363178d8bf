/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a tokenizer file lists: pieces by id and by text, merges by pair, and
 * the tokens that are looked for in the text itself.  All texts lie in one
 * arena and are named by spans of it.
 */
#ifndef WEIR_TEXT_VOCAB_H
#define WEIR_TEXT_VOCAB_H

#include "base/buf.h"

#define WEIR_VOCAB_MAX   (1UL << 22) /* most ids */
#define WEIR_MERGES_MAX  (1UL << 23) /* most merges */
#define WEIR_PIECE_BYTES 4096        /* most in the text of a piece */
#define WEIR_ARENA_BYTES (1UL << 30) /* most in all texts together */

struct weir_span {
    uint32_t at, n_bytes;
};

enum weir_piece_flag {
    WEIR_PIECE_PRESENT = 1, /* the id is in use */
    WEIR_PIECE_INDEXED = 2, /* merging may give it */
    WEIR_PIECE_SPECIAL = 4, /* text becomes it on request only */
    WEIR_PIECE_UNUSED = 8,  /* merging may pass through it, never end in it */
    WEIR_PIECE_UNKNOWN = 16 /* stands for what the vocabulary lacks */
};

struct weir_piece {
    struct weir_span text;
    struct weir_span shown; /* what it decodes to */
    struct weir_span first; /* the same when it is the first of a text */
    int16_t byte;           /* the byte that it stands for, or -1 */
    uint16_t flags;
};

struct weir_vocab {
    struct weir_buf arena;
    struct weir_piece *pieces; /* [n] */
    size_t n;
    uint32_t *slots; /* [n_slots] id + 1 by hash of the text, or 0 */
    size_t n_slots;  /* a power of two */
    size_t max_indexed_bytes;
};

/*
 * Room for ids below `n` (1 to WEIR_VOCAB_MAX), all of them absent, and for
 * `arena_bytes` (or WEIR_ARENA_BYTES, if that is less) of texts.
 */
int weir_vocab_init(struct weir_vocab *vocab, size_t n, size_t arena_bytes,
                    struct weir_err *err);
void weir_vocab_fini(struct weir_vocab *vocab);

/* Copies bytes into the arena, unless they are a part of it. */
int weir_vocab_keep(struct weir_vocab *vocab, const void *data, size_t n_bytes,
                    struct weir_span *span, struct weir_err *err);

static inline const char *weir_vocab_at(const struct weir_vocab *vocab,
                                        struct weir_span span)
{
    return vocab->arena.data + span.at;
}

/*
 * Sets the piece `id` < n, and indexes it when the flags say so.  Refused: an
 * id or an indexed text that is there already, text that is empty, too long
 * or not UTF-8.  `what` names the file.
 */
int weir_vocab_add(struct weir_vocab *vocab, size_t id, const char *text,
                   size_t n_bytes, unsigned flags, const char *what,
                   struct weir_err *err);

/* The id of the indexed piece with this text, or -1. */
int32_t weir_vocab_find(const struct weir_vocab *vocab, const char *text,
                        size_t n_bytes);

/* The byte that a text such as <0x0A> stands for, or -1. */
int weir_byte_of(const char *text, size_t n_bytes);

struct weir_merge {
    uint32_t left, right; /* ids */
    uint32_t rank;        /* lowest first */
    uint32_t id;          /* what the two become */
};

struct weir_merges {
    struct weir_merge *slots; /* [n_slots] by hash of the pair */
    size_t n_slots;           /* a power of two, or 0: there are none */
};

/* Room for `n` merges, at most WEIR_MERGES_MAX. */
int weir_merges_init(struct weir_merges *merges, size_t n,
                     struct weir_err *err);
void weir_merges_fini(struct weir_merges *merges);

/* The last of several merges of one pair counts. */
void weir_merges_put(struct weir_merges *merges,
                     const struct weir_merge *merge);
const struct weir_merge *weir_merges_find(const struct weir_merges *merges,
                                          uint32_t left, uint32_t right);

/*
 * The pairs of neighbouring characters in pieces.  Two neighbours that are not
 * among them can never come into one piece: the text may be cut there, and
 * merged part by part with the same result.
 */
struct weir_joins {
    uint64_t *slots; /* [n_slots] pair + 1, or 0 */
    size_t n_slots;  /* a power of two */
    size_t n;
};

/* All pairs of the indexed pieces of `vocab`. */
int weir_joins_init(struct weir_joins *joins, const struct weir_vocab *vocab,
                    struct weir_err *err);
void weir_joins_fini(struct weir_joins *joins);
int weir_joins_has(const struct weir_joins *joins, uint32_t a, uint32_t b);

/* Tokens that are looked for in the text, the longest at each place. */
struct weir_matcher {
    struct weir_matcher_entry {
        struct weir_span text;
        uint32_t id;
    } * entries; /* [n] by text, then by id */
    size_t n, capacity;
    uint32_t first[257]; /* the entries that begin with byte b:
                            first[b] to first[b + 1] */
};

int weir_matcher_add(struct weir_matcher *matcher, struct weir_span text,
                     uint32_t id, struct weir_err *err);

/* Call once after the last addition. */
void weir_matcher_seal(struct weir_matcher *matcher,
                       const struct weir_vocab *vocab);
void weir_matcher_fini(struct weir_matcher *matcher);

/*
 * The id of the longest token that the text begins with and its length, or
 * -1.  Special ones count only with `special`.
 */
int32_t weir_matcher_find(const struct weir_matcher *matcher,
                          const struct weir_vocab *vocab, const char *text,
                          size_t n_bytes, int special, size_t *length);

/*
 * 1 when the text [n_bytes > 0] begins with a special token, or all of it is
 * the beginning of one.
 */
int weir_matcher_may_begin(const struct weir_matcher *matcher,
                           const struct weir_vocab *vocab, const char *text,
                           size_t n_bytes);

#endif
