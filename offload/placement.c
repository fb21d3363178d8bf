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
 * What is compressed passes through slots as it is stored.  What stays can be
 * decoded once: that takes more memory, and less of the cores at each use.  So
 * many bytes fewer stay then, and are read instead: whichever takes less, when
 * drive and cores work side by side,
 *
 *     max(bytes to read / drive rate, unpacked bytes to decode / their rate)
 *
 * is done, and what stays is decoded unless that takes longer by more than the
 * overlap ever falls short (BENCHMARKS.md).  Decoded experts are
 * pinned and not in a cache: an expert that comes is computed with as it comes,
 * and would have to be decoded into its place besides.
 */
#include "offload/placement.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "offload/tiling.h"

#define TRUNK_SLOTS 3
#define PAYS        0.9
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

void weir_placement_describe(const struct weir_file *file,
                             const struct weir_unit *unit,
                             struct weir_placement_unit *out)
{
    struct weir_tile_record record;
    struct weir_extent extent;
    uint64_t n_bytes = 0;
    int is_packed = 0;

    weir_extent_find(file, unit, &extent);
    out->n_bytes = extent.n_bytes;
    memset(out->decoded, 0, sizeof(out->decoded));
    for (uint32_t i = 0; i < unit->n_tensors; i++) {
        const struct weir_tensor *tensor =
            &file->tensors[unit->first_tensor + i];
        uint64_t n_tiles = weir_tiling_n_tiles(tensor);

        for (uint64_t k = 0; k < n_tiles; k++) {
            weir_file_tile(file, tensor->first_tile + k, &record);
            is_packed |= record.codec != WEIR_CODEC_RAW;
            out->decoded[record.codec] += weir_tiling_tile_bytes(tensor, k);
        }
        n_bytes += weir_page_up(weir_tiling_bytes(tensor));
    }
    out->unpacked_bytes = is_packed ? n_bytes : 0;
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
    uint64_t largest, expert_bytes; /* of the trunk, of experts: as stored */
    uint64_t kept_bytes;            /* of experts, where they stay */
    int all_pinned;                 /* of the trunk */
    uint64_t n_left;
};

/* What a unit takes where it stays */
static uint64_t kept_bytes(const struct placer *placer, uint32_t unit)
{
    const struct weir_placement_unit *of = &placer->units[unit];

    return placer->placement->unpacked && of->n_bytes && of->unpacked_bytes
               ? of->unpacked_bytes
               : of->n_bytes;
}

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

        placement->places[u] = unit->use.kind == WEIR_USE_ELSEWHERE
                                   ? WEIR_ON_DEVICE
                                   : WEIR_STREAMED;
        if (unit->use.kind == WEIR_USE_EXPERT) {
            placer->experts[placement->n_experts++].unit = u;
            placer->expert_bytes = greater(placer->expert_bytes, unit->n_bytes);
            placer->kept_bytes =
                greater(placer->kept_bytes, kept_bytes(placer, u));
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
        pinned += kept_bytes(placer, placer->trunk[m].unit);
        if (placer->trunk[m].size == 0 && pinned <= n_left)
            least = m + 1;
    }
    for (m = placer->n_trunk;; m--) {
        slots = slots_behind(placer, m);
        if (pinned + slots.n * slots.n_bytes <= n_left || m == least)
            break;
        pinned -= kept_bytes(placer, placer->trunk[m - 1].unit);
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
        placement->pinned_bytes += kept_bytes(placer, unit);
        placer->n_left -= kept_bytes(placer, unit);
    }
}

/* Each group gets its share; quotas are their sizes before. */
static void cache_experts(struct placer *placer, uint32_t n)
{
    struct weir_placement *placement = placer->placement;
    uint64_t before = 0;

    for (uint32_t i = 0; i < placement->n_experts; i++)
        if (placer->units[placer->experts[i].unit].n_bytes)
            placement->places[placer->experts[i].unit] = WEIR_CACHED;
    for (uint32_t g = 0; g < placement->n_groups; g++) {
        uint64_t behind = before + placement->quotas[g];

        placement->quotas[g] = (uint32_t)(n * behind / placement->n_experts -
                                          n * before / placement->n_experts);
        before = behind;
    }
    placement->n_cached = n;
    placement->cache_bytes = n * placer->expert_bytes;
    placer->n_left -= placement->cache_bytes;
}

/* How many experts of n_bytes each find room, at most that many */
static uint32_t room_for(const struct placer *placer, uint64_t n_bytes,
                         uint32_t most)
{
    return n_bytes ? at_most(placer->n_left / n_bytes, most) : 0;
}

/* How many stay, and how many slots those that do not pass through */
static void share_room(struct placer *placer, uint32_t *n_pass)
{
    struct weir_placement *placement = placer->placement;
    uint32_t all = placement->n_experts;

    placement->n_here = 0;
    if (placer->all_pinned)
        placement->n_here = room_for(placer, placer->kept_bytes, all);
    *n_pass = 0;
    if (placer->all_pinned && placement->n_here == all)
        return;
    *n_pass = room_for(placer, placer->expert_bytes, passing(placer));
    placer->n_left -= *n_pass * placer->expert_bytes;
    if (placer->all_pinned)
        placement->n_here = room_for(placer, placer->kept_bytes, all - *n_pass);
}

static void place_experts(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;
    int unpacks = placer->kept_bytes > placer->expert_bytes;
    int has_all, is_small;
    uint32_t n_pass;

    share_room(placer, &n_pass);
    has_all = placer->all_pinned && placement->n_here == placement->n_experts;
    is_small = !has_all && placement->n_here + 1e-6 < wanted_experts(placer);
    placement->n_at_once = has_all ? UINT_MAX : n_pass / 2 ? n_pass / 2 : 1;
    placement->n_held = has_all ? UINT_MAX : n_pass ? n_pass : 1;
    if (is_small || unpacks) {
        pin_experts(placer, placement->n_here);
        memset(placement->quotas, 0,
               placement->n_groups * sizeof(*placement->quotas));
    } else if (placement->n_experts) {
        cache_experts(placer, placement->n_here);
    }
    placement->experts.n = n_pass + placement->n_cached;
    placement->experts.n_bytes = placer->expert_bytes;
    placement->staging_bytes += n_pass * placer->expert_bytes;
}

/* Rows of which a token wants few are worth less than all else. */
static void place_rows(struct placer *placer)
{
    struct weir_placement *placement = placer->placement;

    if (placement->n_here < placement->n_experts || !placer->all_pinned)
        return;
    for (uint32_t u = 0; u < placement->n_units; u++) {
        const struct weir_placement_unit *unit = &placer->units[u];
        uint64_t n_bytes = kept_bytes(placer, u);

        if (unit->use.kind != WEIR_USE_ROWS || !n_bytes ||
            n_bytes > placer->n_left)
            continue;
        placement->places[u] = WEIR_PINNED;
        placement->pinned_bytes += n_bytes;
        placer->n_left -= n_bytes;
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

static int make(struct weir_placement *placement,
                const struct weir_placement_unit *units, uint32_t n_units,
                const struct weir_placement_ask *ask, int unpacked,
                struct weir_err *err)
{
    struct placer placer = {.placement = placement,
                            .units = units,
                            .ask = ask,
                            .n_left = ask->n_bytes};
    int rc;

    memset(placement, 0, sizeof(*placement));
    placement->n_units = n_units;
    placement->unpacked = unpacked;
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

/* ---- decoded or not ---- */

/* How often a step wants the unit */
static double wanted(const struct weir_placement *placement,
                     const struct weir_placement_unit *unit,
                     const struct weir_placement_ask *ask)
{
    double n_group;

    if (unit->use.kind == WEIR_USE_ROWS || unit->use.kind == WEIR_USE_ELSEWHERE)
        return 0;
    if (unit->use.kind == WEIR_USE_TRUNK)
        return 1;
    n_group = (double)placement->n_experts / placement->n_groups;
    return ask->n_top < n_group ? 1 - pow(1 - ask->n_top / n_group, ask->n_tok)
                                : 1;
}

/* Of its uses those that read it */
static double missed(const struct weir_placement *placement, uint32_t unit)
{
    enum weir_place place = placement->places[unit];

    return place == WEIR_PINNED ? 0
           : place == WEIR_CACHED
               ? 1 - (double)placement->n_here / placement->n_experts
               : 1;
}

/* Seconds of a step: the essay above */
static double cost_of(const struct weir_placement *placement,
                      const struct weir_placement_unit *units,
                      const struct weir_placement_ask *ask)
{
    const struct weir_placement_rates *rates = &ask->rates;
    double read = 0, decode = 0;

    for (uint32_t u = 0; u < placement->n_units; u++) {
        const struct weir_placement_unit *unit = &units[u];
        double times = wanted(placement, unit, ask);
        int is_decoded =
            placement->unpacked && placement->places[u] == WEIR_PINNED;

        read += times * missed(placement, u) * (double)unit->n_bytes;
        for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
            if (!is_decoded && unit->decoded[i])
                decode +=
                    times * (double)unit->decoded[i] / rates->decode_gbps[i];
    }
    return fmax(read / rates->disk_gbps, decode);
}

static int are_known(const struct weir_placement_rates *rates)
{
    int known = rates->disk_gbps > 0;

    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS; i++)
        known &= rates->decode_gbps[i] > 0;
    return known;
}

int weir_placement_make(struct weir_placement *placement,
                        const struct weir_placement_unit *units,
                        uint32_t n_units, const struct weir_placement_ask *ask,
                        struct weir_err *err)
{
    struct weir_placement stored;
    int rc = make(placement, units, n_units, ask,
                  ask->cache != WEIR_CACHE_STORED, err);

    if (rc || ask->cache != WEIR_CACHE_AUTO || !are_known(&ask->rates) ||
        weir_placement_is_whole(placement))
        return rc;
    rc = make(&stored, units, n_units, ask, 0, err);
    if (!rc &&
        cost_of(&stored, units, ask) < PAYS * cost_of(placement, units, ask)) {
        weir_placement_fini(placement);
        *placement = stored;
        return 0;
    }
    weir_placement_fini(&stored);
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
