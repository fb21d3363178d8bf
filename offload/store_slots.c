/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slots, and what fills them early.
 *
 * The order in which the trunk is used is that of the file, again and again: as
 * soon as one of its units is done, the slot gets the next that has none, so
 * that the drive never waits for somebody to ask.
 *
 * A guess takes a free slot, and leaves free as many as a token's experts need
 * if none of it is right; its reads are begun when the drive has nothing else
 * to do.  A unit that is wanted after all has a head start.  Guesses end when
 * the first of the experts that were wanted is done: those that were wrong are
 * called off, or stay, when they have come and their group has room, as the
 * first to go.  So a guess drives nothing out and is never waited for.
 */
#include <string.h>
#include <time.h>

#include "offload/store_parts.h"

#define NO_UNIT UINT32_MAX

uint64_t weir_store_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void weir_store_watch(struct weir_store *store, int in_pass)
{
    struct weir_reader_stats reading;
    uint64_t now, busy;

    weir_reader_get_stats(store->reader, &reading);
    now = weir_store_now_ns();
    busy = reading.busy_ns - store->watched_busy_ns;
    if (in_pass && now - store->watched_ns > busy)
        store->idle_ns += now - store->watched_ns - busy;
    store->watched_ns = now;
    store->watched_busy_ns = reading.busy_ns;
}

/* ---- slots ---- */

static struct pool *pool_of(struct weir_store *store, const struct slot *slot)
{
    return &store->pools[store->units[slot->unit].pool];
}

int weir_store_next_piece(struct pieces *pieces, uint8_t *base,
                          struct weir_read *read, unsigned *number)
{
    const struct weir_store *store = pieces->store;
    unsigned n_files = store->drives.n_files, n_ended = 0;

    while (n_ended < n_files) {
        unsigned file = pieces->file++;
        const struct extent *extent;
        uint64_t most, at;

        if (file == n_files) {
            pieces->file = n_ended = 0;
            pieces->round++;
            continue;
        }
        extent = &pieces->unit->extents[file];
        most = store->drives.request_bytes[file];
        at = pieces->round * most;
        if (at >= extent->n_bytes) {
            n_ended++;
            continue;
        }
        *number = extent->first_read + (unsigned)pieces->round;
        *read = (struct weir_read){
            .file = file,
            .offset = extent->offset + at,
            .n_bytes =
                extent->n_bytes - at < most ? extent->n_bytes - at : most,
            .buffer = base + extent->at + at,
        };
        return 1;
    }
    return 0;
}

static void start_reads(struct weir_store *store, struct slot *slot,
                        enum weir_read_rank rank)
{
    const struct unit *unit = &store->units[slot->unit];
    struct pieces pieces = {.store = store, .unit = unit};
    struct weir_read read;
    unsigned number;

    memset(store->verified + unit->first_tile, 0, unit->n_tiles);
    slot->n_reads = unit->n_reads;
    while (weir_store_next_piece(&pieces, slot->base, &read, &number)) {
        read.rank = rank;
        slot->reads[number] = read;
        weir_reader_submit(store->reader, &slot->reads[number]);
    }
}

/* Puts unit `number` into a free slot. */
static struct slot *fill_slot(struct weir_store *store, uint32_t number,
                              enum weir_read_rank rank)
{
    struct unit *unit = &store->units[number];
    struct pool *pool = &store->pools[unit->pool];
    struct slot *slot = pool->free[--pool->n_free];

    slot->unit = number;
    slot->last_pass = store->pass;
    unit->slot = slot;
    start_reads(store, slot, rank);
    return slot;
}

static int is_still(const struct slot *slot)
{
    for (unsigned i = 0; i < slot->n_reads; i++)
        if (!weir_read_is_done(&slot->reads[i]))
            return 0;
    return 1;
}

static void free_slot(struct weir_store *store, struct slot *slot)
{
    struct pool *pool = pool_of(store, slot);

    for (unsigned i = 0; i < slot->n_reads && slot->unused; i++)
        if (!slot->reads[i].errnum)
            store->guess_wasted_bytes += slot->reads[i].n_bytes;
    slot->unused = 0;
    slot->drains = 0;
    pool->free[pool->n_free++] = slot;
}

/* What is under way there must end before the slot is filled again. */
void weir_store_empty_slot(struct weir_store *store, struct slot *slot)
{
    for (unsigned i = 0; i < slot->n_reads; i++)
        if (!weir_read_is_done(&slot->reads[i]))
            weir_reader_cancel(store->reader, &slot->reads[i]);
    store->units[slot->unit].slot = NULL;
    slot->kept = slot->in_use = slot->guessed = 0;
    if (is_still(slot)) {
        free_slot(store, slot);
        return;
    }
    slot->drains = 1;
    pool_of(store, slot)->n_draining++;
}

/* Frees what has come to an end; waits for one if none has. */
static void drain(struct weir_store *store, struct pool *pool, int wait)
{
    for (uint32_t i = 0; i < pool->n_slots && pool->n_draining; i++) {
        struct slot *slot = &pool->slots[i];

        if (!slot->drains || (!is_still(slot) && (!wait || pool->n_free)))
            continue;
        for (unsigned k = 0; k < slot->n_reads; k++)
            weir_reader_wait(store->reader, &slot->reads[k]);
        pool->n_draining--;
        free_slot(store, slot);
    }
}

/* How far behind unit `from` the trunk wants what is in the slot */
static uint32_t distance(const struct weir_store *store, uint32_t from,
                         const struct slot *slot)
{
    uint32_t turn = store->units[slot->unit].turn;

    return (turn + store->n_trunk - store->units[from].turn) % store->n_trunk;
}

/* A slot that nobody wanted yet: a guess, or what is used last of the trunk */
static struct slot *find_spare(const struct weir_store *store,
                               const struct pool *pool, uint32_t wanted)
{
    struct slot *spare = NULL;

    for (uint32_t i = 0; i < pool->n_slots; i++) {
        struct slot *slot = &pool->slots[i];

        if (slot->guessed)
            return slot;
        if (store->units[wanted].is_expert || slot->in_use)
            continue;
        if (!spare ||
            distance(store, wanted, slot) > distance(store, wanted, spare))
            spare = slot;
    }
    return spare;
}

/* What is wanted goes before what is guessed or read ahead. */
static int make_free(struct weir_store *store, struct pool *pool,
                     uint32_t wanted)
{
    struct slot *spare;

    drain(store, pool, 0);
    if (!pool->n_free && !pool->n_draining) {
        spare = find_spare(store, pool, wanted);
        if (spare) {
            store->n_open -= spare->guessed != 0;
            weir_store_empty_slot(store, spare);
        }
    }
    if (!pool->n_free)
        drain(store, pool, 1);
    return pool->n_free > 0;
}

/* What waits first, NO_UNIT if nothing does */
static uint32_t first_waiting(const struct weir_store *store, struct pool *pool)
{
    while (pool->n_waiting) {
        uint32_t unit = pool->waiting[pool->first_waiting];

        if (store->units[unit].waits)
            return unit;
        /* it was done without */
        pool->first_waiting = (pool->first_waiting + 1) % pool->max_waiting;
        pool->n_waiting--;
    }
    return NO_UNIT;
}

/* Slots of the trunk that nobody waits for are filled in the order of use. */
static void read_ahead(struct weir_store *store, struct pool *pool)
{
    uint32_t unit;

    drain(store, pool, 0);
    while (pool->n_free) {
        unit = store->trunk[store->next_turn];
        if (store->units[unit].slot)
            return; /* once around */
        fill_slot(store, unit, WEIR_READ_AHEAD);
        store->next_turn = (store->next_turn + 1) % store->n_trunk;
    }
}

void weir_store_fill_slots(struct weir_store *store, struct pool *pool)
{
    uint32_t unit;

    while ((unit = first_waiting(store, pool)) != NO_UNIT &&
           make_free(store, pool, unit)) {
        struct unit *wanted = &store->units[unit];

        wanted->waits = 0;
        fill_slot(store, unit,
                  wanted->is_expert ? WEIR_READ_NOW : WEIR_READ_AHEAD)
            ->in_use = 1;
        if (!wanted->is_expert)
            store->next_turn = (wanted->turn + 1) % store->n_trunk;
    }
    if (pool == &store->pools[POOL_TRUNK] && unit == NO_UNIT)
        read_ahead(store, pool);
}

/* Of the group's kept slots the one used longest ago, in a pass before */
static struct slot *find_victim(const struct weir_store *store, uint32_t group)
{
    const struct pool *pool = &store->pools[POOL_EXPERTS];
    struct slot *victim = NULL;

    for (uint32_t i = 0; i < pool->n_slots; i++) {
        struct slot *slot = &pool->slots[i];

        if (slot->kept && !slot->in_use && slot->last_pass < store->pass &&
            store->units[slot->unit].group == group &&
            (!victim || slot->last_pass < victim->last_pass))
            victim = slot;
    }
    return victim;
}

/* Every read of it came well, so that it can be used again. */
static int is_whole(const struct slot *slot)
{
    for (unsigned i = 0; i < slot->n_reads; i++)
        if (!weir_read_is_done(&slot->reads[i]) || slot->reads[i].errnum)
            return 0;
    return 1;
}

static int has_room(const struct weir_store *store, const struct slot *slot)
{
    const struct group *group = &store->groups[store->units[slot->unit].group];

    return group->n_kept < group->quota;
}

int weir_store_keep_slot(struct weir_store *store, struct slot *slot)
{
    uint32_t group = store->units[slot->unit].group;
    struct slot *victim;

    if (slot->kept)
        return 1;
    if (!is_whole(slot))
        return 0;
    if (has_room(store, slot)) {
        store->groups[group].n_kept++;
    } else {
        victim = find_victim(store, group);
        if (!victim)
            return 0;
        weir_store_empty_slot(store, victim);
        store->n_evicted++;
    }
    slot->kept = 1;
    return 1;
}

/* ---- guesses ---- */

static int has_begun(const struct slot *slot)
{
    for (unsigned i = 0; i < slot->n_reads; i++)
        if (weir_read_has_begun(&slot->reads[i]))
            return 1;
    return 0;
}

/* What no drive was ever asked for was no guess. */
static int take_note(struct weir_store *store, struct slot *slot, int is_right)
{
    slot->guessed = 0;
    store->n_open--;
    if (!has_begun(slot))
        return 0;
    store->n_guesses++;
    store->n_guesses_right += is_right != 0;
    weir_governor_note(&store->governor, is_right);
    return 1;
}

int weir_store_confirm_guess(struct weir_store *store, struct slot *slot)
{
    int is_right = take_note(store, slot, 1);

    for (unsigned i = 0; i < slot->n_reads; i++)
        weir_reader_raise(store->reader, &slot->reads[i]);
    return is_right;
}

static void drop_guess(struct weir_store *store, struct slot *slot)
{
    take_note(store, slot, 0);
    if (!is_whole(slot) || !has_room(store, slot)) {
        weir_store_empty_slot(store, slot);
        return;
    }
    slot->kept = 1;
    slot->last_pass = 0;
    store->groups[store->units[slot->unit].group].n_kept++;
}

void weir_store_drop_guesses(struct weir_store *store)
{
    struct pool *pool = &store->pools[POOL_EXPERTS];

    for (uint32_t i = 0; i < pool->n_slots && store->n_open; i++)
        if (pool->slots[i].guessed)
            drop_guess(store, &pool->slots[i]);
}

int weir_store_may_guess(struct weir_store *store, uint32_t router)
{
    return store->pools[POOL_EXPERTS].n_slots && store->units[router].pinned &&
           weir_governor_allows(&store->governor);
}

void weir_store_guess(struct weir_store *store, uint32_t number)
{
    struct unit *unit = &store->units[number];
    struct pool *pool = &store->pools[POOL_EXPERTS];
    struct slot *slot;

    if (unit->pinned || unit->is_rows || unit->waits || unit->slot)
        return;
    drain(store, pool, 0);
    if (pool->n_free <= store->n_spare)
        return;
    slot = fill_slot(store, number, WEIR_READ_GUESS);
    slot->guessed = slot->unused = 1;
    store->n_open++;
}
