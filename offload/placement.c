/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A byte of RAM that holds what every token touches saves a byte of the drive
 * a token, one that holds an expert k/E of one: so the trunk comes first, unit
 * by unit, then experts, then tables of which a token wants a row.
 *
 * Of the trunk small units come before others: a router of 100 KB would cost
 * the drive's latency and a slot each time.  Then the largest, so that the
 * slots that the others pass through are small.  Among those alike the order is
 * that of van der Corput (the bits of the ordinal reversed): those that stream
 * lie evenly between those that do not, and the drive has something to do all
 * the time.
 *
 * Units pass through slots: of the trunk one in use and two on their way, of
 * experts as many as a token uses at once and as many on their way.  What is
 * left keeps experts.  A cache below what one step wants of all groups has
 * thrown away each expert before its turn comes again: then some are pinned, as
 * many of each group as of the others.  Above it each group has its share of
 * the slots, and a cache follows the text.
 *
 * Everything is kept as it is stored: what is compressed stays so.
 */
#include "offload/placement.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "offload/tiling.h"

#define TRUNK_SLOTS 3
#define SIZES       16 /* steps in which sizes are told apart */

void weir_extent_find(const struct weir_file *file,
                      const struct weir_unit *unit, struct weir_extent *extent)
{
    const struct weir_tensor *tensor = &file->tensors[unit->first_tensor];
    struct weir_tile_record record;
    uint64_t n_bytes = 0;

    *extent = (struct weir_extent){.first_tile = tensor->first_tile};
    for (uint32_t i = 0; i < unit->n_tensors; i++)
        extent->n_tiles += weir_tiling_n_tiles(&tensor[i]);
    for (uint64_t k = 0; k < extent->n_tiles; k++) {
        struct weir_extent_part *part;

        weir_file_tile(file, extent->first_tile + k, &record);
        part = &extent->parts[record.file];
        if (!part->n_bytes)
            part->offset = record.offset;
        else if (record.offset != part->offset + part->n_bytes)
            return;
        part->n_bytes += weir_page_up(record.stored_bytes);
        n_bytes += weir_page_up(record.stored_bytes);
    }
    extent->n_bytes = n_bytes;
}

/* ---- the order ---- */

struct rank {
    uint32_t unit;
    uint32_t size; /* of the trunk: 0 for those that come first */
    uint64_t tie;
};

/* What is placed, kind by kind */
struct placer {
    struct weir_placement *placement;
    const struct weir_placement_unit *units;
    const struct weir_placement_ask *ask;
    struct rank *trunk, *experts; /* [n_units] */
    uint32_t n_trunk;
    uint64_t largest, expert_bytes; /* of the trunk, of experts */
    int all_pinned;                 /* of the trunk */
    uint64_t n_left;
};

static uint32_t reverse_bits(uint32_t n)
{
    uint32_t out = 0;

    for (int i = 0; i < 32; i++)
        out |= (n >> i & 1) << (31 - i);
    return out;
}

static int compare_ranks(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;

    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    if (x->tie != y->tie)
        return x->tie < y->tie ? -1 : 1;
    return x->unit < y->unit ? -1 : x->unit > y->unit;
}

/* 0 for what is small, then from the largest down */
static uint32_t size_of(uint64_t n_bytes, uint64_t largest)
{
    uint32_t step = (uint32_t)ceil((double)n_bytes * SIZES / (double)largest);

    return step <= 1 ? 0 : SIZES + 1 - step;
}

static void rank_trunk(struct placer *placer)
{
    uint32_t n_alike[SIZES] = {0};

    for (uint32_t i = 0; i < placer->n_trunk; i++) {
        struct rank *rank = &placer->trunk[i];

        rank->size =
            size_of(placer->units[rank->unit].n_bytes, placer->largest);
        rank->tie = reverse_bits(n_alike[rank->size]++);
    }
    qsort(placer->trunk, placer->n_trunk, sizeof(*placer->trunk),
          compare_ranks);
}

/* The first of each group, then the second, and so on */
static void rank_experts(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;

    for (uint32_t i = 0; i < placement->n_experts; i++) {
        struct rank *rank = &placer->experts[i];
        uint32_t group = placer->units[rank->unit].use.group;

        rank->tie = (uint64_t)placement->quotas[group]++ << 32;
        rank->tie |= reverse_bits(group);
    }
    qsort(placer->experts, placement->n_experts, sizeof(*placer->experts),
          compare_ranks);
}

static uint64_t greater(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void sort_units(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;

    for (uint32_t u = 0; u < placement->n_units; u++) {
        const struct weir_placement_unit *unit = &placer->units[u];

        placement->places[u] = WEIR_STREAMED;
        if (unit->use.kind == WEIR_USE_EXPERT) {
            placer->experts[placement->n_experts++].unit = u;
            placer->expert_bytes = greater(placer->expert_bytes, unit->n_bytes);
        } else if (unit->use.kind == WEIR_USE_TRUNK && unit->n_bytes) {
            placer->trunk[placer->n_trunk++].unit = u;
            placer->largest = greater(placer->largest, unit->n_bytes);
        }
    }
    rank_trunk(placer);
    rank_experts(placer);
}

/* ---- the trunk ---- */

static uint32_t at_most(uint64_t n, uint64_t most)
{
    return (uint32_t)(n < most ? n : most);
}

static uint64_t trunk_bytes(const struct placer *placer, uint32_t i)
{
    return placer->units[placer->trunk[i].unit].n_bytes;
}

/* Slots for experts that only pass through: twice those used at once */
static uint32_t passing(const struct placer *placer)
{
    return at_most(2ull * placer->ask->n_top, placer->placement->n_experts);
}

/* What the rest of the trunk passes through when m units are pinned */
static struct weir_slots slots_behind(const struct placer *placer, uint32_t m)
{
    struct weir_slots slots = {.n = at_most(placer->n_trunk - m, TRUNK_SLOTS)};

    for (uint32_t i = m; i < placer->n_trunk; i++)
        slots.n_bytes = greater(slots.n_bytes, trunk_bytes(placer, i));
    return slots;
}

/*
 * Pins as much of the trunk as leaves the rest its slots, but all that is
 * small, and leaves experts their slots if that takes no more than half.
 */
static void place_trunk(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;
    uint64_t reserve = passing(placer) * placer->expert_bytes;
    uint64_t pinned = 0, n_left = placer->n_left;
    struct weir_slots slots = {0};
    uint32_t m, least = 0;

    n_left -= reserve < n_left / 2 ? reserve : n_left / 2;
    for (m = 0; m < placer->n_trunk; m++) {
        pinned += trunk_bytes(placer, m);
        if (placer->trunk[m].size == 0 && pinned <= n_left)
            least = m + 1;
    }
    for (m = placer->n_trunk;; m--) {
        slots = slots_behind(placer, m);
        if (pinned + slots.n * slots.n_bytes <= n_left || m == least)
            break;
        pinned -= trunk_bytes(placer, m - 1);
    }
    while (slots.n && pinned + slots.n * slots.n_bytes > n_left)
        slots.n--;
    for (uint32_t i = 0; i < m; i++)
        placement->places[placer->trunk[i].unit] = WEIR_PINNED;
    placer->all_pinned = m == placer->n_trunk;
    placement->trunk = slots;
    placement->pinned_bytes = pinned;
    placement->staging_bytes = slots.n * slots.n_bytes;
    placer->n_left -= pinned + placement->staging_bytes;
}

/* ---- experts ---- */

/* Experts that a step is expected to want, of all groups */
static double wanted_experts(const struct placer *placer)
{
    const struct weir_placement *placement = placer->placement;
    double n = 0, share;

    for (uint32_t g = 0; g < placement->n_groups; g++) {
        if (!placement->quotas[g])
            continue;
        share = (double)placer->ask->n_top / placement->quotas[g];
        n += placement->quotas[g] *
             (share < 1 ? 1 - pow(1 - share, placer->ask->n_tok) : 1);
    }
    return n;
}

static void pin_experts(struct placer *placer, uint32_t n)
{
    struct weir_placement *placement = placer->placement;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t unit = placer->experts[i].unit;

        if (!placer->units[unit].n_bytes)
            continue;
        placement->places[unit] = WEIR_PINNED;
        placement->pinned_bytes += placer->units[unit].n_bytes;
        placer->n_left -= placer->units[unit].n_bytes;
    }
}

static void cache_experts(struct placer *placer, uint32_t n)
{
    struct weir_placement *placement = placer->placement;

    for (uint32_t i = 0; i < placement->n_experts; i++)
        if (placer->units[placer->experts[i].unit].n_bytes)
            placement->places[placer->experts[i].unit] = WEIR_CACHED;
    for (uint64_t g = 0; g < placement->n_groups; g++)
        placement->quotas[g] = (uint32_t)(n * (g + 1) / placement->n_groups -
                                          n * g / placement->n_groups);
    placement->n_cached = n;
    placement->cache_bytes = n * placer->expert_bytes;
    placer->n_left -= placement->cache_bytes;
}

static void place_experts(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;
    uint32_t all = placement->n_experts, n_pass = passing(placer);
    uint64_t fit =
        placer->expert_bytes ? placer->n_left / placer->expert_bytes : 0;
    uint32_t n_slots = at_most(fit, placer->all_pinned ? all : n_pass);
    int has_all = placer->all_pinned && n_slots == all, is_small;

    n_pass = has_all ? 0 : at_most(n_pass, n_slots);
    is_small = !has_all && n_slots - n_pass + 1e-6 < wanted_experts(placer);
    placement->n_here = n_slots - n_pass;
    placement->n_at_once = has_all ? UINT_MAX : n_pass / 2 ? n_pass / 2 : 1;
    placement->n_held = has_all ? UINT_MAX : n_pass ? n_pass : 1;
    if (is_small)
        pin_experts(placer, placement->n_here);
    memset(placement->quotas, 0,
           placement->n_groups * sizeof(*placement->quotas));
    if (!is_small)
        cache_experts(placer, placement->n_here);
    placement->experts.n = n_pass + placement->n_cached;
    placement->experts.n_bytes = placer->expert_bytes;
    placement->staging_bytes += n_pass * placer->expert_bytes;
    placer->n_left -= n_pass * placer->expert_bytes;
}

/* Rows of which a token wants few are worth less than all else. */
static void place_rows(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;

    if (placement->n_here < placement->n_experts || !placer->all_pinned)
        return;
    for (uint32_t u = 0; u < placement->n_units; u++) {
        const struct weir_placement_unit *unit = &placer->units[u];

        if (unit->use.kind != WEIR_USE_ROWS || !unit->n_bytes ||
            unit->n_bytes > placer->n_left)
            continue;
        placement->places[u] = WEIR_PINNED;
        placement->pinned_bytes += unit->n_bytes;
        placer->n_left -= unit->n_bytes;
    }
}

/* ---- all of it ---- */

static int take_memory(struct placer *placer, struct weir_err *err)
{
    struct weir_placement *placement = placer->placement;
    size_t n = placement->n_units + (size_t)1;

    for (uint32_t u = 0; u < placement->n_units; u++)
        if (placer->units[u].use.kind == WEIR_USE_EXPERT &&
            placer->units[u].use.group >= placement->n_groups)
            placement->n_groups = placer->units[u].use.group + 1;
    placement->places = calloc(n, sizeof(*placement->places));
    placement->quotas =
        calloc(placement->n_groups + (size_t)1, sizeof(*placement->quotas));
    placer->trunk = calloc(n, sizeof(*placer->trunk));
    placer->experts = calloc(n, sizeof(*placer->experts));
    if (placement->places && placement->quotas && placer->trunk &&
        placer->experts)
        return 0;
    return weir_err_nomem(err, n * sizeof(*placer->trunk), "a plan");
}

int weir_placement_make(struct weir_placement *placement,
                        const struct weir_placement_unit *units,
                        uint32_t n_units, const struct weir_placement_ask *ask,
                        struct weir_err *err)
{
    struct placer placer = {.placement = placement,
                            .units = units,
                            .ask = ask,
                            .n_left = ask->n_bytes};
    int rc;

    memset(placement, 0, sizeof(*placement));
    placement->n_units = n_units;
    rc = take_memory(&placer, err);
    if (!rc) {
        sort_units(&placer);
        place_trunk(&placer);
        place_experts(&placer);
        place_rows(&placer);
    }
    free(placer.trunk);
    free(placer.experts);
    return rc;
}

int weir_placement_is_whole(const struct weir_placement *placement)
{
    for (uint32_t u = 0; u < placement->n_units; u++)
        if (placement->places[u] == WEIR_STREAMED)
            return 0;
    return placement->n_here == placement->n_experts;
}

void weir_placement_fini(struct weir_placement *placement)
{
    free(placement->places);
    free(placement->quotas);
    memset(placement, 0, sizeof(*placement));
}
