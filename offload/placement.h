/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which weights stay in memory under a budget, which share a cache and which
 * pass through it: one pure function for those who plan and those who run.
 */
#ifndef WEIR_OFFLOAD_PLACEMENT_H
#define WEIR_OFFLOAD_PLACEMENT_H

#include "offload/file.h"

/* When a pass uses a unit */
struct weir_use {
    enum weir_use_kind {
        WEIR_USE_TRUNK,     /* always, in the order of the file */
        WEIR_USE_EXPERT,    /* some of each group, one group after the other */
        WEIR_USE_ROWS,      /* a few tiles */
        WEIR_USE_ELSEWHERE, /* none: it lies on a device */
    } kind;
    uint32_t group; /* of experts, counted from 0 */
};

/* Where a unit is when a pass wants it. */
enum weir_place {
    WEIR_PINNED,   /* in RAM, always */
    WEIR_CACHED,   /* in RAM, when the cache of its group has kept it */
    WEIR_STREAMED, /* on the drive, read at each use */
    WEIR_ON_DEVICE,
    WEIR_N_PLACES
};

/* Where the tiles of a unit lie: what memory and drives move of it. */
struct weir_extent {
    uint64_t first_tile, n_tiles;
    uint64_t n_bytes; /* of all parts; 0: not in one run in each of them */
    struct weir_extent_part {
        uint64_t offset, n_bytes; /* whole pages */
    } parts[WEIR_FILES_MAX];      /* as those of the file */
};

void weir_extent_find(const struct weir_file *file,
                      const struct weir_unit *unit, struct weir_extent *extent);

struct weir_placement_unit {
    struct weir_use use;
    uint64_t n_bytes; /* in memory, as stored; 0: cannot be there as a whole */
    /* the same when its tiles are decoded; 0: none is compressed */
    uint64_t unpacked_bytes;
    uint64_t decoded[WEIR_N_CODECS]; /* unpacked, of tiles of each codec */
};

/* Fills all in but `use`. */
void weir_placement_describe(const struct weir_file *file,
                             const struct weir_unit *unit,
                             struct weir_placement_unit *out);

/* What decides between memory that holds more and cores that decode less */
struct weir_placement_rates {
    double disk_gbps; /* of all drives together; 0: not known */
    double decode_gbps[WEIR_N_CODECS]; /* unpacked, of all threads together */
};

struct weir_placement_ask {
    uint64_t n_bytes; /* for weights */
    unsigned n_top;   /* experts of a group that one token uses side by side */
    unsigned n_tok;   /* that a step decodes, > 0 */
    enum weir_cache cache;
    struct weir_placement_rates rates; /* for WEIR_CACHE_AUTO */
};

struct weir_slots {
    uint32_t n;
    uint64_t n_bytes; /* of each */
};

struct weir_placement {
    uint32_t n_units, n_groups;
    uint8_t *places;   /* [n_units]: enum weir_place */
    uint32_t *quotas;  /* [n_groups]: experts that the cache keeps of each */
    uint32_t n_cached; /* their sum */
    struct weir_slots trunk;   /* that units of the trunk pass through */
    struct weir_slots experts; /* and experts: n_cached of them keep theirs */
    unsigned n_at_once;        /* experts that are used while others arrive */
    unsigned n_held;           /* or that all stay, while none does */
    uint64_t pinned_bytes, cache_bytes, staging_bytes; /* their sum fits */
    uint32_t n_experts, n_here; /* all, and those pinned or in the cache */
    int unpacked;               /* what is pinned is decoded */
};

/*
 * Places units [n_units].  With more bytes nothing is lost that was there with
 * less, but for experts that make room for what every token uses, and where
 * WEIR_CACHE_AUTO begins to unpack.  Release with weir_placement_fini(), also
 * after an error, which is WEIR_ENOMEM.
 */
int weir_placement_make(struct weir_placement *placement,
                        const struct weir_placement_unit *units,
                        uint32_t n_units, const struct weir_placement_ask *ask,
                        struct weir_err *err);
void weir_placement_fini(struct weir_placement *placement);

/* 1 when nothing is read from the drive twice */
int weir_placement_is_whole(const struct weir_placement *placement);

#endif
