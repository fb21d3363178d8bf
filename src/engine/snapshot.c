/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When there are more places than slots, the one goes that costs least to do
 * without: places within prompts and answers before the ends of turns, to which
 * people go back; of either the one with the fewest tokens between its
 * neighbours, which is what may have to be computed again; of equals the first.
 * The last end of a turn stays, and the start of the timeline needs no slot.
 * It depends on nothing but the calls, so that it repeats.
 */
#include "engine/snapshot.h"

#include <stdlib.h>
#include <string.h>

#define NO_SLOT UINT32_MAX

uint64_t weir_snapshot_bytes(size_t n_mamba, size_t n_vocab)
{
    return ((uint64_t)n_mamba + n_vocab) * sizeof(float);
}

static size_t count_slots(size_t n_mamba, size_t n_vocab, size_t n_ctx,
                          uint64_t n_bytes)
{
    uint64_t n = n_bytes / weir_snapshot_bytes(n_mamba, n_vocab);

    if (n > WEIR_MAX_SNAPSHOTS)
        n = WEIR_MAX_SNAPSHOTS;
    return n < n_ctx ? (size_t)n : n_ctx;
}

/* Most places while a call makes some */
static size_t find_room(size_t n_slots, size_t n_ctx)
{
    return n_slots ? n_slots + n_ctx / WEIR_SNAPSHOT_TOK + 3 : 0;
}

uint64_t weir_snapshots_bytes(size_t n_mamba, size_t n_vocab, size_t n_ctx,
                              uint64_t n_bytes)
{
    size_t n = count_slots(n_mamba, n_vocab, n_ctx, n_bytes);

    return n * (weir_snapshot_bytes(n_mamba, n_vocab) + 1) +
           find_room(n, n_ctx) *
               (sizeof(struct weir_kept) + sizeof(struct weir_snapshot));
}

int weir_snapshots_init(struct weir_snapshots *snapshots, size_t n_mamba,
                        size_t n_vocab, size_t n_ctx, uint64_t n_bytes,
                        struct weir_err *err)
{
    size_t n = count_slots(n_mamba, n_vocab, n_ctx, n_bytes);
    size_t each = (size_t)weir_snapshot_bytes(n_mamba, n_vocab);

    memset(snapshots, 0, sizeof(*snapshots));
    if (!n)
        return 0;
    snapshots->n_mamba = n_mamba;
    snapshots->n_vocab = n_vocab;
    snapshots->n_slots = n;
    snapshots->room = find_room(n, n_ctx);
    snapshots->slots = malloc(n * each);
    snapshots->used = calloc(n, 1);
    snapshots->kept = calloc(snapshots->room, sizeof(*snapshots->kept));
    snapshots->wanted = calloc(snapshots->room, sizeof(*snapshots->wanted));
    if (snapshots->slots && snapshots->used && snapshots->kept &&
        snapshots->wanted)
        return 0;
    return weir_err_nomem(err, n * each, "the snapshots of a session");
}

void weir_snapshots_fini(struct weir_snapshots *snapshots)
{
    free(snapshots->slots);
    free(snapshots->used);
    free(snapshots->kept);
    free(snapshots->wanted);
    memset(snapshots, 0, sizeof(*snapshots));
}

/* ---- places ---- */

/* Marks the place behind n_tok tokens, of which there may be one already. */
static void mark(struct weir_snapshots *snapshots, size_t n_tok, int turn)
{
    size_t i = snapshots->n_kept;
    struct weir_kept *at;

    while (i > 0 && snapshots->kept[i - 1].n_tok > n_tok)
        i--;
    at = &snapshots->kept[i];
    if (i > 0 && at[-1].n_tok == n_tok) {
        at[-1].turn |= (uint8_t)turn;
        return;
    }
    memmove(at + 1, at, (snapshots->n_kept - i) * sizeof(*at));
    *at = (struct weir_kept){n_tok, NO_SLOT, (uint8_t)turn, 0};
    snapshots->n_kept++;
}

static void mark_call(struct weir_snapshots *snapshots, size_t from, size_t to,
                      int turn)
{
    size_t last = (to - 1) / WEIR_SNAPSHOT_LAST_TOK * WEIR_SNAPSHOT_LAST_TOK;
    size_t step = WEIR_SNAPSHOT_TOK;

    if (turn && from > 0)
        mark(snapshots, from, 1);
    for (size_t i = (from / step + 1) * step; i <= to; i += step)
        mark(snapshots, i, 0);
    if (!turn)
        return;
    if (last > from)
        mark(snapshots, last, 0);
    mark(snapshots, to, 1);
}

/* Tokens between the neighbours of place i */
static size_t find_gap(const struct weir_snapshots *snapshots, size_t i)
{
    const struct weir_kept *kept = snapshots->kept;
    size_t next = i + 1 < snapshots->n_kept ? i + 1 : i;

    return kept[next].n_tok - (i > 0 ? kept[i - 1].n_tok : 0);
}

/* The one to do without among those that end turns, or do not; or n_kept */
static size_t find_least(const struct weir_snapshots *snapshots, int turn)
{
    size_t n = snapshots->n_kept, least = n, end = n;

    while (turn && end > 0 && !snapshots->kept[--end].turn)
        ;
    for (size_t i = 0; i < end; i++)
        if (snapshots->kept[i].turn == turn &&
            (least == n || find_gap(snapshots, i) < find_gap(snapshots, least)))
            least = i;
    return least;
}

static void forget(struct weir_snapshots *snapshots, size_t i)
{
    struct weir_kept *at = &snapshots->kept[i];

    if (at->slot != NO_SLOT)
        snapshots->used[at->slot] = 0;
    snapshots->n_kept--;
    memmove(at, at + 1, (snapshots->n_kept - i) * sizeof(*at));
}

static void thin(struct weir_snapshots *snapshots)
{
    size_t i;

    while (snapshots->n_kept > snapshots->n_slots) {
        i = find_least(snapshots, 0);
        forget(snapshots, i < snapshots->n_kept ? i : find_least(snapshots, 1));
    }
}

/* There is one. */
static uint32_t take_slot(struct weir_snapshots *snapshots)
{
    uint32_t slot = 0;

    while (snapshots->used[slot])
        slot++;
    snapshots->used[slot] = 1;
    return slot;
}

void weir_snapshots_take(struct weir_snapshots *snapshots)
{
    snapshots->n_wanted = 0;
    for (size_t i = 0; i < snapshots->n_kept; i++) {
        struct weir_kept *kept = &snapshots->kept[i];

        if (kept->slot != NO_SLOT)
            continue;
        kept->slot = take_slot(snapshots);
        snapshots->wanted[snapshots->n_wanted++] =
            weir_snapshots_get(snapshots, kept);
    }
}

struct weir_kept *weir_snapshots_plan(struct weir_snapshots *snapshots,
                                      size_t from, size_t to, int turn)
{
    snapshots->n_wanted = 0;
    if (!snapshots->n_slots)
        return NULL;
    mark_call(snapshots, from, to, turn);
    thin(snapshots);
    weir_snapshots_take(snapshots);
    if (!snapshots->n_wanted || snapshots->wanted[0].n_tok > from)
        return NULL;
    snapshots->n_wanted--;
    memmove(snapshots->wanted, snapshots->wanted + 1,
            snapshots->n_wanted * sizeof(*snapshots->wanted));
    return weir_snapshots_at(snapshots, from);
}

void weir_snapshots_add(struct weir_snapshots *snapshots, size_t n_tok,
                        int turn)
{
    if (!snapshots->n_slots)
        return;
    mark(snapshots, n_tok, turn);
    thin(snapshots);
}

struct weir_kept *weir_snapshots_at(const struct weir_snapshots *snapshots,
                                    size_t n_tok)
{
    for (size_t i = 0; i < snapshots->n_kept; i++)
        if (snapshots->kept[i].n_tok == n_tok)
            return &snapshots->kept[i];
    return NULL;
}

void weir_snapshots_drop(struct weir_snapshots *snapshots, size_t n_tok)
{
    while (snapshots->n_kept &&
           snapshots->kept[snapshots->n_kept - 1].n_tok > n_tok)
        forget(snapshots, snapshots->n_kept - 1);
}

struct weir_kept *weir_snapshots_find(const struct weir_snapshots *snapshots,
                                      size_t n_tok, size_t n_text)
{
    struct weir_kept *kept;

    for (size_t i = snapshots->n_kept; i > 0; i--) {
        kept = &snapshots->kept[i - 1];
        if (kept->n_tok <= n_tok && (kept->n_tok < n_text || kept->scored))
            return kept;
    }
    return NULL;
}

struct weir_snapshot weir_snapshots_get(const struct weir_snapshots *snapshots,
                                        const struct weir_kept *kept)
{
    size_t each = snapshots->n_mamba + snapshots->n_vocab;

    return (struct weir_snapshot){kept->n_tok,
                                  snapshots->slots + kept->slot * each};
}

float *weir_snapshots_scores(const struct weir_snapshots *snapshots,
                             const struct weir_kept *kept)
{
    return weir_snapshots_get(snapshots, kept).mamba + snapshots->n_mamba;
}
