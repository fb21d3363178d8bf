/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A slot is filled when its unit is wanted and may be filled again when the
 * unit is done.  A unit that finds no slot waits for one in the order of
 * wanting, which is the order of use.  A few slots for experts always pass on;
 * the others are shared out between the groups (placement.h), and an expert
 * that is done is kept there, in the place of the one that was used longest ago
 * - but never of one used in the same pass.  So one token's experts follow each
 * other as in any cache, while a prompt, which wants all of a group in turn,
 * leaves some where they are instead of driving out each before its next use.
 *
 * Nothing here can be too small to work: a tile that is not in memory is read
 * by the thread that wants it.  It is read into a room of ours and copied: a
 * drive that is given up may write to where it was told long after, and that
 * must not be memory that somebody else has by then.
 */
#include "offload/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "offload/store_parts.h"
#include "offload/tiling.h"

/* ---- opening ---- */

static void lay_unit(const struct weir_store *store,
                     const struct weir_unit *unit, struct unit *out)
{
    struct weir_extent extent;

    weir_extent_find(store->file, unit, &extent);
    out->first_tile = extent.first_tile;
    out->n_tiles = extent.n_tiles;
    for (unsigned i = 0; extent.n_bytes && i < store->file->n_parts; i++) {
        uint64_t n_bytes = extent.parts[i].n_bytes;
        size_t most = store->drives.request_bytes[i];

        out->extents[i] = (struct extent){.offset = extent.parts[i].offset,
                                          .n_bytes = n_bytes,
                                          .at = out->n_bytes,
                                          .first_read = out->n_reads};
        out->n_bytes += n_bytes;
        out->n_reads += (unsigned)((n_bytes + most - 1) / most);
    }
}

static void number_tensors(struct weir_store *store, uint32_t number)
{
    const struct weir_unit *unit = &store->file->units[number];
    uint64_t at = 0;

    for (uint32_t i = unit->first_tensor;
         i < unit->first_tensor + unit->n_tensors; i++) {
        store->unit_of[i] = number;
        store->unpacked_at[i] = at;
        at += weir_page_up(weir_tiling_bytes(&store->file->tensors[i]));
    }
}

static int take_tables(struct weir_store *store, struct weir_err *err)
{
    const struct weir_file *file = store->file;

    store->units = calloc(file->n_units + 1u, sizeof(*store->units));
    store->extents = calloc((size_t)file->n_units * file->n_parts + 1u,
                            sizeof(*store->extents));
    store->unit_of = calloc(file->n_tensors + 1u, sizeof(*store->unit_of));
    store->unpacked_at =
        calloc(file->n_tensors + 1u, sizeof(*store->unpacked_at));
    if (!store->units || !store->extents || !store->unit_of ||
        !store->unpacked_at)
        return weir_err_nomem(err, file->n_units * sizeof(*store->units),
                              "the units of a model");
    for (uint32_t u = 0; u < file->n_units; u++) {
        const struct weir_unit *unit = &file->units[u];

        store->units[u].extents = store->extents + (size_t)u * file->n_parts;
        lay_unit(store, unit, &store->units[u]);
        number_tensors(store, u);
    }
    return 0;
}

static int take_rooms(struct weir_store *store, struct weir_err *err)
{
    size_t each = weir_page_up(store->file->max_tile_bytes + 1u);
    int rc = weir_region_init(&store->rooms, N_ROOMS * each, err);

    for (size_t i = 0; i < N_ROOMS && !rc; i++)
        store->free_rooms[store->n_free_rooms++] = store->rooms.base + i * each;
    return rc;
}

/* What one reader has counted goes on with the next. */
int weir_store_open_reader(struct weir_store *store, struct weir_err *err)
{
    struct weir_reader_stats before;
    struct weir_reader *reader;
    int rc = weir_reader_new(&store->reading, store->drives.files,
                             store->drives.n_files, &reader, err);

    if (rc)
        return rc;
    if (store->reader) {
        weir_reader_get_stats(store->reader, &before);
        store->read_bytes += before.n_bytes;
        store->read_ns += before.busy_ns;
        weir_reader_free(store->reader);
    }
    store->reader = reader;
    return 0;
}

int weir_store_new(const struct weir_file *file,
                   const struct weir_residency_options *options,
                   atomic_uchar *verified, struct weir_store **out,
                   struct weir_err *err)
{
    struct weir_store *store = calloc(1, sizeof(*store));
    int rc;

    *out = NULL;
    if (!store)
        return weir_err_nomem(err, sizeof(*store), "a model");
    store->file = file;
    store->verified = verified;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->room_free, NULL);
    store->reading =
        (struct weir_reader_options){.io = options->io,
                                     .deadline_ms = options->deadline_ms,
                                     .most_gbps = options->most_gbps,
                                     .calls = options->calls};
    weir_drives_get(file, &store->drives);
    rc = take_tables(store, err);
    if (!rc)
        rc = take_rooms(store, err);
    if (!rc)
        rc = weir_store_open_reader(store, err);
    if (rc)
        weir_store_free(store);
    else
        *out = store;
    return rc;
}

void weir_store_free(struct weir_store *store)
{
    if (!store)
        return;
    /* the reader first: it may write to the region until it is gone */
    weir_reader_free(store->reader);
    weir_store_forget(store);
    weir_region_fini(&store->unpacking);
    weir_region_fini(&store->rooms);
    pthread_cond_destroy(&store->room_free);
    pthread_mutex_destroy(&store->lock);
    free(store->units);
    free(store->extents);
    free(store->unit_of);
    free(store->unpacked_at);
    free(store);
}

/* ---- what the forward pass says ---- */

void weir_store_begin_pass(struct weir_store *store)
{
    store->pass++;
    weir_store_drop_guesses(store);
    weir_store_watch(store, 0);
}

/* It is there, or comes: a guess was right. */
static void use_slot(struct weir_store *store, struct slot *slot)
{
    int is_new = store->units[slot->unit].is_expert && !slot->in_use;
    int is_hit = !slot->guessed || weir_store_confirm_guess(store, slot);

    store->n_hits += is_new && is_hit;
    store->n_misses += is_new && !is_hit;
    slot->unused = 0;
    slot->in_use = 1;
    slot->last_pass = store->pass;
}

void weir_store_want(struct weir_store *store, uint32_t number)
{
    struct unit *unit = &store->units[number];
    struct pool *pool = &store->pools[unit->pool];

    weir_store_watch(store, 1);
    if (unit->pinned)
        store->n_hits += unit->is_expert;
    if (unit->pinned || unit->is_rows || unit->waits)
        return;
    if (unit->slot) {
        use_slot(store, unit->slot);
        return;
    }
    store->n_misses += unit->is_expert;
    if (pool->n_waiting == pool->max_waiting)
        return;
    unit->waits = 1;
    pool->waiting[(pool->first_waiting + pool->n_waiting++) %
                  pool->max_waiting] = number;
    weir_store_fill_slots(store, pool);
}

void weir_store_done(struct weir_store *store, uint32_t number)
{
    struct unit *unit = &store->units[number];
    struct pool *pool = &store->pools[unit->pool];

    weir_store_watch(store, 1);
    unit->waits = 0;
    if (unit->is_expert)
        weir_store_drop_guesses(store);
    if (!unit->slot || (!unit->is_expert && !unit->slot->in_use))
        return;
    unit->slot->in_use = 0;
    if (unit->pool != POOL_EXPERTS || !weir_store_keep_slot(store, unit->slot))
        weir_store_empty_slot(store, unit->slot);
    weir_store_fill_slots(store, pool);
}

unsigned weir_store_at_once(const struct weir_store *store)
{
    return store->n_at_once ? store->n_at_once : 1;
}

unsigned weir_store_can_hold(const struct weir_store *store)
{
    return store->n_held ? store->n_held : 1;
}

void weir_store_memory(const struct weir_store *store, void **base,
                       size_t *n_bytes)
{
    *base = store->region.base;
    *n_bytes = store->region.n_bytes;
}

const char *weir_store_note(const struct weir_store *store)
{
    return weir_reader_note(store->reader);
}

void weir_store_get_stats(struct weir_store *store,
                          struct weir_residency_stats *stats)
{
    struct weir_reader_stats reading;

    weir_reader_get_stats(store->reader, &reading);
    *stats = (struct weir_residency_stats){
        .io = weir_reader_name(store->reader),
        .is_direct = weir_reader_is_direct(store->reader),
        .is_unpacked = store->is_unpacked,
        .pinned_bytes = store->pinned_bytes,
        .cache_bytes = store->cache_bytes,
        .staging_bytes = store->staging_bytes,
        .read_bytes = store->read_bytes + reading.n_bytes,
        .read_ns = store->read_ns + reading.busy_ns,
        .n_hits = store->n_hits,
        .n_misses = store->n_misses,
        .n_evictions = store->n_evicted,
        .n_direct = atomic_load(&store->n_single),
        .n_stalls = atomic_load(&store->n_stalls),
        .stall_ns = atomic_load(&store->stall_ns),
        .idle_stall_ns = atomic_load(&store->idle_stall_ns),
        .idle_ns = store->idle_ns,
        .n_guesses = store->n_guesses,
        .n_guesses_right = store->n_guesses_right,
        .guess_wasted_bytes = store->guess_wasted_bytes,
    };
}

/* ---- tiles ---- */

static uint64_t busy_ns(struct weir_store *store)
{
    struct weir_reader_stats stats;

    weir_reader_get_stats(store->reader, &stats);
    return stats.busy_ns;
}

static int wait_for(struct weir_store *store, struct weir_read *read)
{
    uint64_t start, waited, busy;
    int errnum;

    if (weir_read_is_done(read))
        return read->errnum;
    start = weir_store_now_ns();
    busy = busy_ns(store);
    errnum = weir_reader_wait(store->reader, read);
    if (WEIR_TRACE_ON)
        weir_trace_end(start, WEIR_TRACE_WAIT_TILE, "for a tile", 0);
    busy = busy_ns(store) - busy;
    waited = weir_store_now_ns() - start;
    atomic_fetch_add(&store->stall_ns, waited);
    atomic_fetch_add(&store->idle_stall_ns,
                     waited - (busy < waited ? busy : waited));
    atomic_fetch_add(&store->n_stalls, 1);
    return errnum;
}

const uint8_t *weir_store_find(struct weir_store *store, uint32_t tensor,
                               const struct weir_tile_record *record)
{
    const struct unit *unit = &store->units[store->unit_of[tensor]];
    const struct extent *extent = &unit->extents[record->file];
    uint64_t most = store->drives.request_bytes[record->file];
    uint64_t at = record->offset - extent->offset;
    uint64_t last = at + weir_page_up(record->stored_bytes) - 1;
    const struct slot *slot = unit->slot;

    if (unit->pinned)
        return unit->pinned + extent->at + at;
    if (!slot)
        return NULL;
    for (uint64_t k = at / most; k <= last / most; k++)
        if (wait_for(store, &slot->reads[extent->first_read + k]))
            return NULL;
    return slot->base + extent->at + at;
}

const uint8_t *weir_store_unpacked(const struct weir_store *store,
                                   uint32_t tensor, uint64_t tile)
{
    const struct unit *unit = &store->units[store->unit_of[tensor]];

    if (!unit->is_unpacked)
        return NULL;
    return unit->pinned + store->unpacked_at[tensor] +
           weir_tiling_tile_at(&store->file->tensors[tensor], tile);
}

static uint8_t *take_room(struct weir_store *store)
{
    uint64_t start = weir_trace_begin();
    uint8_t *room;

    pthread_mutex_lock(&store->lock);
    while (!store->n_free_rooms)
        pthread_cond_wait(&store->room_free, &store->lock);
    room = store->free_rooms[--store->n_free_rooms];
    pthread_mutex_unlock(&store->lock);
    weir_trace_end(start, WEIR_TRACE_WAIT_TILE, "for a buffer", 0);
    return room;
}

static void give_room(struct weir_store *store, uint8_t *room)
{
    pthread_mutex_lock(&store->lock);
    store->free_rooms[store->n_free_rooms++] = room;
    pthread_cond_signal(&store->room_free);
    pthread_mutex_unlock(&store->lock);
}

int weir_store_read(struct weir_store *store,
                    const struct weir_tile_record *record, void *stored,
                    struct weir_err *err)
{
    struct weir_read read = {.file = record->file,
                             .offset = record->offset,
                             .n_bytes = weir_page_up(record->stored_bytes),
                             .buffer = take_room(store),
                             .first = 1};
    int rc = 0;

    weir_reader_submit(store->reader, &read);
    atomic_fetch_add(&store->n_single, 1);
    if (wait_for(store, &read))
        rc = weir_reader_explain(store->reader, &read, err);
    else
        memcpy(stored, read.buffer, record->stored_bytes);
    give_room(store, read.buffer);
    return rc;
}
