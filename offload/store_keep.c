/* SPDX-License-Identifier: Apache-2.0 */
/* A store takes the places that placement.h gives to its units. */
#include <stdlib.h>
#include <string.h>

#include "offload/decode_rate.h"
#include "offload/store_parts.h"

/* As fast as the drives were when they were measured, or may be */
static double drive_rate(const struct weir_store *store)
{
    double most = store->reading.most_gbps, gbps = store->drives.gbps;

    return most > 0 && gbps > most ? most : gbps;
}

/* What the choice hangs on, if it is to be made and not given */
static int know_rates(const struct weir_store *store, struct weir_pool *pool,
                      struct weir_placement_ask *ask, struct weir_err *err)
{
    struct weir_placement_rates *rates = &ask->rates;
    double rate;
    int rc = 0;

    if (!rates->disk_gbps)
        rates->disk_gbps = drive_rate(store);
    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS && !rc; i++) {
        if (rates->decode_gbps[i] || !rates->disk_gbps)
            continue;
        rc = weir_decode_rate(pool, i, &rate, err);
        rates->decode_gbps[i] = rate * weir_pool_n_threads(pool) * 1e-9;
    }
    return rc;
}

/* Rates need not be known where all of it finds room. */
static int choose(const struct weir_store *store, struct weir_pool *pool,
                  const struct weir_placement_unit *units,
                  const struct weir_placement_ask *ask,
                  struct weir_placement *placement, struct weir_err *err)
{
    uint32_t n_units = store->file->n_units;
    struct weir_placement_ask asked = *ask;
    int rc;

    if (ask->cache == WEIR_CACHE_AUTO)
        asked.cache = WEIR_CACHE_UNPACKED;
    rc = weir_placement_make(placement, units, n_units, &asked, err);
    if (rc || ask->cache != WEIR_CACHE_AUTO ||
        weir_placement_is_whole(placement))
        return rc;
    weir_placement_fini(placement);
    asked.cache = WEIR_CACHE_AUTO;
    rc = know_rates(store, pool, &asked, err);
    return rc ? rc
              : weir_placement_make(placement, units, n_units, &asked, err);
}

static int plan(const struct weir_store *store, const struct weir_use *uses,
                const struct weir_placement_ask *ask, struct weir_pool *pool,
                struct weir_placement *placement, struct weir_err *err)
{
    const struct weir_file *file = store->file;
    struct weir_placement_unit *units =
        calloc(file->n_units + 1u, sizeof(*units));
    int rc;

    if (!units)
        return weir_err_nomem(err, file->n_units * sizeof(*units), "a plan");
    for (uint32_t u = 0; u < file->n_units; u++) {
        units[u].use = uses[u];
        weir_placement_describe(file, &file->units[u], &units[u]);
        store->units[u].unpacked_bytes = units[u].unpacked_bytes;
    }
    rc = choose(store, pool, units, ask, placement, err);
    free(units);
    return rc;
}

/* What is neither pinned nor passes through slots is read tile by tile. */
static void take_places(struct weir_store *store, const struct weir_use *uses,
                        const struct weir_placement *placement)
{
    for (uint32_t u = 0; u < store->file->n_units; u++) {
        struct unit *unit = &store->units[u];

        unit->is_expert = uses[u].kind == WEIR_USE_EXPERT;
        unit->pool = unit->is_expert ? POOL_EXPERTS : POOL_TRUNK;
        unit->group = uses[u].group;
        unit->is_unpacked = placement->unpacked && unit->unpacked_bytes &&
                            placement->places[u] == WEIR_PINNED;
        unit->is_rows = placement->places[u] != WEIR_PINNED &&
                        (!unit->n_bytes || uses[u].kind == WEIR_USE_ROWS ||
                         uses[u].kind == WEIR_USE_ELSEWHERE);
    }
    store->n_at_once = placement->n_at_once;
    store->n_held = placement->n_held;
    store->n_spare = (placement->experts.n - placement->n_cached) / 2;
    store->is_unpacked = placement->unpacked;
    store->pinned_bytes = placement->pinned_bytes;
    store->cache_bytes = placement->cache_bytes;
    store->staging_bytes = placement->staging_bytes;
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
                     const struct weir_slots *slots, struct weir_err *err)
{
    uint32_t n_slots = slots->n;
    size_t slot_bytes = slots->n_bytes;
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

static int make_groups(struct weir_store *store,
                       const struct weir_placement *placement,
                       struct weir_err *err)
{
    uint32_t n = placement->n_groups;

    store->n_groups = n;
    store->groups = calloc(n + 1u, sizeof(*store->groups));
    if (!store->groups)
        return weir_err_nomem(err, n * sizeof(*store->groups),
                              "groups of experts");
    for (uint32_t g = 0; g < n; g++)
        store->groups[g].quota = placement->quotas[g];
    return 0;
}

static int make_turns(struct weir_store *store, struct weir_err *err)
{
    uint32_t n_units = store->file->n_units;

    store->trunk = calloc(n_units + 1u, sizeof(*store->trunk));
    if (!store->trunk)
        return weir_err_nomem(err, n_units * sizeof(*store->trunk),
                              "the trunk of a model");
    for (uint32_t u = 0; u < n_units; u++) {
        struct unit *unit = &store->units[u];

        if (unit->pool != POOL_TRUNK || unit->is_rows || unit->pinned)
            continue;
        unit->turn = store->n_trunk;
        store->trunk[store->n_trunk++] = u;
    }
    return 0;
}

static int make_room(struct weir_store *store,
                     const struct weir_placement *placement,
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
    for (uint32_t u = 0; u < placement->n_units; u++) {
        if (placement->places[u] != WEIR_PINNED)
            continue;
        store->units[u].pinned = at;
        at += store->units[u].is_unpacked ? store->units[u].unpacked_bytes
                                          : store->units[u].n_bytes;
    }
    for (int i = 0; i < N_POOLS; i++)
        at = place_slots(&store->pools[i], at);
    return 0;
}

/*
 * Slots that are filled again and again are registered with the system, so that
 * it need not look their pages up at each read.  That takes the memory at once:
 * what is filled once, as the pinned part and slots for all experts are, is not
 * worth it.
 */
static int register_slots(struct weir_store *store, struct weir_err *err)
{
    const struct pool *experts = &store->pools[POOL_EXPERTS];
    const struct pool *trunk = &store->pools[POOL_TRUNK];
    size_t n_bytes = trunk->n_slots * trunk->slot_bytes;

    if (store->staging_bytes > n_bytes)
        n_bytes += experts->n_slots * experts->slot_bytes;
    if (!n_bytes)
        return 0;
    store->refilled = (struct weir_region){
        .base = store->region.base + store->pinned_bytes, .n_bytes = n_bytes};
    store->reading.region = &store->refilled;
    return weir_store_open_reader(store, err);
}

/* Hands in the next piece of what is pinned; 0 when there is none. */
struct filler {
    struct weir_store *store;
    uint32_t next; /* unit to look at */
    struct pieces pieces;
};

static int next_read(struct filler *filler, struct weir_read *read)
{
    struct weir_store *store = filler->store;
    struct pieces *pieces = &filler->pieces;
    unsigned number;

    while (!pieces->unit || !weir_store_next_piece(pieces, pieces->unit->pinned,
                                                   read, &number)) {
        while (filler->next < store->file->n_units &&
               (!store->units[filler->next].pinned ||
                store->units[filler->next].is_unpacked))
            filler->next++;
        if (filler->next == store->file->n_units)
            return 0;
        *pieces = (struct pieces){.store = store,
                                  .unit = &store->units[filler->next++]};
    }
    weir_reader_submit(store->reader, read);
    return 1;
}

static int fill_pinned(struct weir_store *store, struct weir_err *err)
{
    struct weir_read reads[WEIR_READ_DEPTH_MAX];
    struct filler filler = {.store = store};
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
    free(store->trunk);
    store->groups = NULL;
    store->trunk = NULL;
    store->n_trunk = store->next_turn = 0;
    for (uint32_t u = 0; store->units && u < store->file->n_units; u++) {
        store->units[u].pinned = NULL;
        store->units[u].is_unpacked = 0;
    }
}

static int fill(struct weir_store *store,
                const struct weir_placement *placement, struct weir_pool *pool,
                struct weir_err *err)
{
    int rc =
        make_pool(store, &store->pools[POOL_TRUNK], &placement->trunk, err);

    if (!rc)
        rc = make_pool(store, &store->pools[POOL_EXPERTS], &placement->experts,
                       err);
    if (!rc)
        rc = make_groups(store, placement, err);
    if (!rc)
        rc = make_room(store, placement, err);
    if (!rc)
        rc = make_turns(store, err);
    if (!rc)
        rc = register_slots(store, err);
    if (!rc)
        rc = fill_pinned(store, err);
    if (!rc)
        rc = weir_store_unpack(store, pool, err);
    if (rc)
        weir_store_forget(store);
    return rc;
}

int weir_store_keep(struct weir_store *store, const struct weir_use *uses,
                    const struct weir_placement_ask *ask,
                    struct weir_pool *pool, struct weir_err *err)
{
    struct weir_placement placement = {0};
    int rc = plan(store, uses, ask, pool, &placement, err);

    if (!rc) {
        take_places(store, uses, &placement);
        rc = fill(store, &placement, pool, err);
    }
    weir_placement_fini(&placement);
    return rc;
}
