/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The places of a token timeline that a session can go back to: behind some of
 * its tokens the Mamba layers are kept as they were, and sometimes the scores
 * of the token that follows.  K and V need no copy.
 */
#ifndef WEIR_ENGINE_SNAPSHOT_H
#define WEIR_ENGINE_SNAPSHOT_H

#include "model/state.h"

/* From place to place in long texts, and the step of the last one in a prompt
 */
#define WEIR_SNAPSHOT_TOK      4096
#define WEIR_SNAPSHOT_LAST_TOK 64

#define WEIR_MAX_SNAPSHOTS 1024 /* of a session */

struct weir_kept {
    size_t n_tok;  /* > 0, the tokens before the place */
    uint32_t slot; /* whose memory it has */
    uint8_t turn;  /* a prompt begins or ends there */
    uint8_t scored;
};

struct weir_snapshots {
    size_t n_mamba, n_vocab;
    float *slots; /* [n_slots][n_mamba + n_vocab] */
    size_t n_slots;
    uint8_t *used; /* [n_slots] */
    /* by n_tok; with room for those that a call adds before others go */
    struct weir_kept *kept;
    size_t n_kept, room;
    /* what the next pass is to fill */
    struct weir_snapshot *wanted;
    size_t n_wanted;
};

/*
 * As many slots as n_bytes have room for, and a timeline of up to n_ctx tokens.
 * Their memory is touched when they are used.  Release with
 * weir_snapshots_fini(), also after an error.
 */
int weir_snapshots_init(struct weir_snapshots *snapshots, size_t n_mamba,
                        size_t n_vocab, size_t n_ctx, uint64_t n_bytes,
                        struct weir_err *err);
void weir_snapshots_fini(struct weir_snapshots *snapshots);

/* The bytes that weir_snapshots_init() takes for the same, about n_bytes */
uint64_t weir_snapshots_bytes(size_t n_mamba, size_t n_vocab, size_t n_ctx,
                              uint64_t n_bytes);

/* Bytes of a slot */
uint64_t weir_snapshot_bytes(size_t n_mamba, size_t n_vocab);

/*
 * Makes places for tokens `from` + 1 to `to`, which follow: behind each
 * WEIR_SNAPSHOT_TOK of the timeline; for a turn also before the first, behind
 * the last, and behind the last but at most WEIR_SNAPSHOT_LAST_TOK.  Others go
 * where there are not enough slots: see snapshot.c.  Leaves in `wanted` those
 * that the pass is to fill.  Returns the one at `from` if it is new and is to
 * be filled by the caller, or NULL.  Allocates nothing.
 */
struct weir_kept *weir_snapshots_plan(struct weir_snapshots *snapshots,
                                      size_t from, size_t to, int turn);

/*
 * Makes a place behind n_tok tokens, likewise; weir_snapshots_take() then gives
 * slots to all that were made, and leaves them in `wanted`.
 */
void weir_snapshots_add(struct weir_snapshots *snapshots, size_t n_tok,
                        int turn);
void weir_snapshots_take(struct weir_snapshots *snapshots);

/* The place behind n_tok tokens, or NULL */
struct weir_kept *weir_snapshots_at(const struct weir_snapshots *snapshots,
                                    size_t n_tok);

/* Forgets the places behind more than n_tok tokens. */
void weir_snapshots_drop(struct weir_snapshots *snapshots, size_t n_tok);

/*
 * The last place behind at most n_tok tokens, and one with scores if it is
 * behind n_text; NULL: the start.
 */
struct weir_kept *weir_snapshots_find(const struct weir_snapshots *snapshots,
                                      size_t n_tok, size_t n_text);

/* Its memory: [n_mamba] as in weir_state, and [n_vocab] if it is scored */
struct weir_snapshot weir_snapshots_get(const struct weir_snapshots *snapshots,
                                        const struct weir_kept *kept);
float *weir_snapshots_scores(const struct weir_snapshots *snapshots,
                             const struct weir_kept *kept);

#endif
