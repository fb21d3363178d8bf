/* SPDX-License-Identifier: Apache-2.0 */
/* What of a budget becomes of a store: who stays, and how many slots. */
#include <stdlib.h>
#include <string.h>

#include "offload/store_parts.h"

/* Slots that units pass through while one is in use: that one and two more */
#define TRUNK_SLOTS 3

/* How many of each, and how large */
struct shares {
    uint32_t *trunk; /* [n_trunk], the largest first */
    uint32_t n_trunk;
    uint32_t n_pinned; /* of these */
    uint32_t n_experts, n_groups;
    size_t expert_bytes; /* the largest */
    uint64_t n_left;     /* bytes */
};

static size_t bytes_of(const struct weir_store *store, uint32_t unit)
{
    return store->units[unit].n_bytes;
}

static int compare_bytes(const void *a, const void *b, void *ctx)
{
    const struct weir_store *store = ctx;
    uint32_t first = *(const uint32_t *)a, second = *(const uint32_t *)b;
    size_t one = bytes_of(store, first), other = bytes_of(store, second);

    if (one != other)
        return one < other ? 1 : -1;
    return first < second ? -1 : first > second;
}

static void sort_units(struct weir_store *store, const struct weir_use *uses,
                       struct shares *shares)
{
    for (uint32_t u = 0; u < store->file->n_units; u++) {
        struct unit *unit = &store->units[u];

        unit->pool = POOL_TRUNK;
        unit->is_rows = !unit->n_bytes || uses[u].kind == WEIR_USE_ROWS;
        if (unit->is_rows)
            continue;
        if (uses[u].kind == WEIR_USE_TRUNK) {
            shares->trunk[shares->n_trunk++] = u;
            continue;
        }
        unit->pool = POOL_EXPERTS;
        unit->group = uses[u].group;
        shares->n_experts++;
        if (uses[u].group >= shares->n_groups)
            shares->n_groups = uses[u].group + 1;
        if (unit->n_bytes > shares->expert_bytes)
            shares->expert_bytes = unit->n_bytes;
    }
    qsort_r(shares->trunk, shares->n_trunk, sizeof(*shares->trunk),
            compare_bytes, store);
}

static uint32_t at_most(uint64_t n, uint64_t most)
{
    return (uint32_t)(n < most ? n : most);
}

/* Slots for experts that only pass through: twice those used at once */
static uint32_t passing(const struct shares *shares, unsigned n_at_once)
{
    return at_most(2ull * n_at_once, shares->n_experts);
}

/*
 * Pins as much of the trunk as leaves the rest its slots, and experts theirs if
 * that takes no more than half.  Returns the bytes of one trunk slot.
 */
static size_t share_trunk(struct weir_store *store, struct shares *shares,
                          unsigned n_at_once, uint32_t *n_slots)
{
    uint64_t reserve = passing(shares, n_at_once) * shares->expert_bytes;
    uint64_t pinned = 0, n_left = shares->n_left;
    size_t next = 0;
    uint32_t m;

    n_left -= reserve < n_left / 2 ? reserve : n_left / 2;
    for (m = 0; m < shares->n_trunk; m++)
        pinned += bytes_of(store, shares->trunk[m]);
    for (m = shares->n_trunk;; m--) {
        next = m < shares->n_trunk ? bytes_of(store, shares->trunk[m]) : 0;
        *n_slots = at_most(shares->n_trunk - m, TRUNK_SLOTS);
        if (pinned + *n_slots * next <= n_left || m == 0)
            break;
        pinned -= bytes_of(store, shares->trunk[m - 1]);
    }
    while (*n_slots && pinned + *n_slots * next > n_left)
        --*n_slots;
    shares->n_pinned = m;
    shares->n_left -= pinned + *n_slots * next;
    store->pinned_bytes = pinned;
    store->staging_bytes = *n_slots * next;
    return next;
}

/* Rows of which a token wants few are worth less than experts. */
static void share_rows(struct weir_store *store, const struct weir_use *uses,
                       struct shares *shares)
{
    for (uint32_t u = 0; u < store->file->n_units; u++) {
        struct unit *unit = &store->units[u];

        if (uses[u].kind != WEIR_USE_ROWS || unit->n_bytes > shares->n_left)
            continue;
        if (!unit->n_bytes)
            continue;
        unit->is_rows = 0;
        unit->pool = POOL_TRUNK;
        shares->trunk[shares->n_trunk++] = shares->trunk[shares->n_pinned];
        shares->trunk[shares->n_pinned++] = u;
        shares->n_left -= unit->n_bytes;
        store->pinned_bytes += unit->n_bytes;
    }
}

/* Of a unit that fits into a slot */
static size_t most_reads(const struct weir_store *store, size_t slot_bytes)
{
    size_t most = 0;

    for (uint32_t u = 0; u < store->file->n_units; u++) {
        const struct unit *unit = &store->units[u];

        if (unit->n_bytes <= slot_bytes && unit->n_reads > most)
            most = unit->n_reads;
    }
    return most;
}

static int make_pool(struct weir_store *store, struct pool *pool,
                     uint32_t n_slots, size_t slot_bytes, struct weir_err *err)
{
    size_t n_reads = most_reads(store, slot_bytes);

    pool->n_slots = pool->n_free = n_slots;
    pool->slot_bytes = slot_bytes;
    pool->max_waiting = n_slots ? 4 * store->file->n_units : 0;
    pool->slots = calloc(n_slots + 1u, sizeof(*pool->slots));
    pool->free = calloc(n_slots + 1u, sizeof(*pool->free));
    pool->waiting = calloc(pool->max_waiting + 1u, sizeof(*pool->waiting));
    pool->reads = calloc(n_slots * n_reads + 1, sizeof(*pool->reads));
    if (!pool->slots || !pool->free || !pool->waiting || !pool->reads)
        return weir_err_nomem(err, n_slots * n_reads * sizeof(*pool->reads),
                              "the slots of a model");
    for (uint32_t i = 0; i < n_slots; i++) {
        pool->slots[i].reads = pool->reads + i * n_reads;
        pool->free[i] = &pool->slots[i];
    }
    return 0;
}

static uint8_t *place_slots(struct pool *pool, uint8_t *at)
{
    for (uint32_t i = 0; i < pool->n_slots; i++, at += pool->slot_bytes)
        pool->slots[i].base = at;
    return at;
}

/* Slots for experts: a few to pass through, the rest in equal parts. */
static int share_experts(struct weir_store *store, struct shares *shares,
                         unsigned n_at_once, struct weir_err *err)
{
    uint64_t fit =
        shares->expert_bytes ? shares->n_left / shares->expert_bytes : 0;
    uint32_t n_slots = at_most(fit, shares->n_experts), n_kept;
    uint32_t n_pass = at_most(passing(shares, n_at_once), n_slots);

    n_kept = n_slots < shares->n_experts ? n_slots - n_pass : n_slots;
    store->n_groups = shares->n_groups;
    store->groups = calloc(shares->n_groups + 1u, sizeof(*store->groups));
    if (!store->groups)
        return weir_err_nomem(err, shares->n_groups * sizeof(*store->groups),
                              "groups of experts");
    for (uint32_t g = 0; g < shares->n_groups; g++)
        store->groups[g].quota =
            (uint32_t)((uint64_t)n_kept * (g + 1) / shares->n_groups -
                       (uint64_t)n_kept * g / shares->n_groups);
    store->n_at_once = n_pass / 2 ? n_pass / 2 : 1;
    store->cache_bytes = n_kept * shares->expert_bytes;
    store->staging_bytes += (n_slots - n_kept) * shares->expert_bytes;
    shares->n_left -= n_slots * shares->expert_bytes;
    return make_pool(store, &store->pools[POOL_EXPERTS], n_slots,
                     shares->expert_bytes, err);
}

static int make_room(struct weir_store *store, const struct shares *shares,
                     struct weir_err *err)
{
    uint64_t n_bytes = store->pinned_bytes;
    uint8_t *at;
    int rc;

    for (int i = 0; i < N_POOLS; i++)
        n_bytes += store->pools[i].n_slots * store->pools[i].slot_bytes;
    if (!n_bytes)
        return 0;
    rc = weir_region_init(&store->region, n_bytes, err);
    if (rc)
        return rc;
    at = store->region.base;
    for (uint32_t i = 0; i < shares->n_pinned; i++) {
        struct unit *unit = &store->units[shares->trunk[i]];

        unit->pinned = at;
        at += unit->n_bytes;
    }
    for (int i = 0; i < N_POOLS; i++)
        at = place_slots(&store->pools[i], at);
    return 0;
}

/* Hands in the next piece of what is pinned; 0 when there is none. */
struct filler {
    struct weir_store *store;
    const struct shares *shares;
    uint32_t next; /* unit to begin */
    struct pieces pieces;
};

static int next_read(struct filler *filler, struct weir_read *read)
{
    struct weir_store *store = filler->store;
    struct pieces *pieces = &filler->pieces;
    unsigned number;

    while (!pieces->unit || !weir_store_next_piece(pieces, pieces->unit->pinned,
                                                   read, &number)) {
        if (filler->next == filler->shares->n_pinned)
            return 0;
        *pieces = (struct pieces){
            .store = store,
            .unit = &store->units[filler->shares->trunk[filler->next++]]};
    }
    weir_reader_submit(store->reader, read);
    return 1;
}

static int fill_pinned(struct weir_store *store, const struct shares *shares,
                       struct weir_err *err)
{
    struct weir_read reads[WEIR_READ_DEPTH_MAX];
    struct filler filler = {.store = store, .shares = shares};
    size_t n_in = 0, n_out = 0;
    int rc = 0;

    for (;;) {
        while (!rc && n_in - n_out < WEIR_READ_DEPTH_MAX &&
               next_read(&filler, &reads[n_in % WEIR_READ_DEPTH_MAX]))
            n_in++;
        if (n_in == n_out)
            return rc;
        if (weir_reader_wait(store->reader,
                             &reads[n_out % WEIR_READ_DEPTH_MAX]) &&
            !rc)
            rc = weir_reader_explain(store->reader,
                                     &reads[n_out % WEIR_READ_DEPTH_MAX], err);
        n_out++;
    }
}

void weir_store_forget(struct weir_store *store)
{
    weir_region_fini(&store->region);
    for (int i = 0; i < N_POOLS; i++) {
        free(store->pools[i].slots);
        free(store->pools[i].free);
        free(store->pools[i].waiting);
        free(store->pools[i].reads);
        memset(&store->pools[i], 0, sizeof(store->pools[i]));
    }
    free(store->groups);
    store->groups = NULL;
    for (uint32_t u = 0; store->units && u < store->file->n_units; u++)
        store->units[u].pinned = NULL;
}

int weir_store_keep(struct weir_store *store, const struct weir_use *uses,
                    unsigned n_at_once, uint64_t n_bytes, struct weir_err *err)
{
    struct shares shares = {.n_left = n_bytes};
    uint32_t n_slots = 0;
    size_t slot_bytes;
    int rc;

    shares.trunk =
        calloc(2u * store->file->n_units + 1u, sizeof(*shares.trunk));
    if (!shares.trunk)
        return weir_err_nomem(err, store->file->n_units, "a plan");
    sort_units(store, uses, &shares);
    slot_bytes = share_trunk(store, &shares, n_at_once, &n_slots);
    rc = make_pool(store, &store->pools[POOL_TRUNK], n_slots, slot_bytes, err);
    if (!rc)
        rc = share_experts(store, &shares, n_at_once, err);
    if (!rc)
        share_rows(store, uses, &shares);
    if (!rc)
        rc = make_room(store, &shares, err);
    if (!rc)
        rc = fill_pinned(store, &shares, err);
    if (rc)
        weir_store_forget(store);
    free(shares.trunk);
    return rc;
}
