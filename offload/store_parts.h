/* SPDX-License-Identifier: Apache-2.0 */
/* What a store is made of, for store*.c. */
#ifndef WEIR_OFFLOAD_STORE_PARTS_H
#define WEIR_OFFLOAD_STORE_PARTS_H

#include <pthread.h>

#include "offload/drives.h"
#include "offload/governor.h"
#include "offload/store.h"

enum { POOL_TRUNK, POOL_EXPERTS, N_POOLS };

/*
 * A unit lies in its slot as in its files: what is in the first, behind it what
 * is in the next, and so on.
 */
struct extent {
    uint64_t offset, n_bytes; /* in the file, whole pages */
    uint64_t at;              /* of offset, in the slot */
    unsigned first_read;      /* of the slot's */
};

struct slot {
    uint8_t *base;
    uint32_t unit; /* that lies there, or comes */
    int in_use;    /* wanted, and not done */
    int kept;      /* for the next time, as long as its group has room */
    int guessed;   /* not wanted yet */
    int unused;    /* it came by a guess and was never wanted */
    int drains;    /* nobody's, but reads are under way still */
    uint64_t last_pass;
    struct weir_read *reads; /* of request_bytes each, but an extent's last */
    unsigned n_reads;
};

struct pool {
    struct slot *slots;
    uint32_t n_slots;
    size_t slot_bytes;
    struct slot **free; /* [n_slots], n_free of them */
    uint32_t n_free, n_draining;
    uint32_t *waiting; /* units without a slot, a ring of max_waiting */
    uint32_t first_waiting, n_waiting, max_waiting;
    struct weir_read *reads; /* of all slots */
};

struct unit {
    struct extent *extents;  /* [n_parts] of the file */
    uint64_t n_bytes;        /* of all; 0: not in one run in each file */
    uint64_t unpacked_bytes; /* 0: none of it is compressed */
    uint64_t first_tile, n_tiles;
    unsigned n_reads;
    uint8_t *pinned;   /* where it stays, or NULL */
    int is_unpacked;   /* there it is decoded */
    struct slot *slot; /* where it is, or NULL */
    int pool, is_expert;
    int is_rows;   /* read tile by tile */
    int waits;     /* for a slot */
    uint32_t turn; /* of a unit that the trunk's slots pass on: in `trunk` */
    uint32_t group;
};

struct group {
    uint32_t quota, n_kept; /* slots */
};

/* Rooms for tiles that are read by themselves */
#define N_ROOMS 8

struct weir_store {
    const struct weir_file *file;
    atomic_uchar *verified;
    struct weir_reader_options reading;
    struct weir_reader *reader;
    uint64_t read_bytes, read_ns; /* by another reader before */
    struct weir_drives drives;
    struct weir_region region;
    struct weir_region refilled;  /* the part of it that is read into often */
    struct weir_region unpacking; /* there while what stays is decoded */
    struct unit *units;
    struct extent *extents; /* of all units */
    uint32_t *unit_of;      /* [n_tensors] */
    uint64_t *unpacked_at;  /* [n_tensors]: in its unit, decoded */
    struct pool pools[N_POOLS];
    uint32_t *trunk; /* [n_trunk]: units that its slots pass on, in order */
    uint32_t n_trunk, next_turn;
    struct group *groups;
    uint32_t n_groups;
    unsigned n_at_once, n_held;
    uint64_t pass;
    int is_unpacked; /* what stays, where it is compressed */
    uint64_t pinned_bytes, cache_bytes, staging_bytes;
    uint64_t n_hits, n_misses, n_evicted;

    struct weir_governor governor;
    uint32_t n_spare; /* slots for experts that no guess takes */
    uint32_t n_open;  /* slots that are guessed */
    uint64_t n_guesses, n_guesses_right, guess_wasted_bytes;

    /* up to when the drive was watched, and how long it was busy before */
    uint64_t watched_ns, watched_busy_ns, idle_ns;

    /* taken and given back under the lock */
    struct weir_region rooms;
    pthread_mutex_t lock;
    pthread_cond_t room_free;
    uint8_t *free_rooms[N_ROOMS];
    unsigned n_free_rooms;

    atomic_uint_least64_t n_single, n_stalls, stall_ns, idle_stall_ns;
};

/* The reads of a unit, from all drives in turn.  Begins zeroed but for the
 * first two. */
struct pieces {
    const struct weir_store *store;
    const struct unit *unit;
    unsigned file;
    uint64_t round;
};

/*
 * Fills in file, offset and bytes of the next one, and its buffer in the memory
 * of the unit at `base`; *number is its place in a slot's reads.  0 at the end.
 */
int weir_store_next_piece(struct pieces *pieces, uint8_t *base,
                          struct weir_read *read, unsigned *number);

/* Opens the reader, or another one in its place; none has anything to read. */
int weir_store_open_reader(struct weir_store *store, struct weir_err *err);

/* Reads what stays decoded and decodes it. */
int weir_store_unpack(struct weir_store *store, struct weir_pool *pool,
                      struct weir_err *err);

uint64_t weir_store_now_ns(void);

/* Adds the time since the last call in which the drive had nothing to do. */
void weir_store_watch(struct weir_store *store, int in_pass);

/* Gives slots to units that wait. */
void weir_store_fill_slots(struct weir_store *store, struct pool *pool);
void weir_store_empty_slot(struct weir_store *store, struct slot *slot);

/* An expert that is done stays if its group has room, or makes room: 1 then */
int weir_store_keep_slot(struct weir_store *store, struct slot *slot);

/* What lies there, or comes, is wanted.  1 when it was worth something */
int weir_store_confirm_guess(struct weir_store *store, struct slot *slot);

/* All that were not confirmed were wrong. */
void weir_store_drop_guesses(struct weir_store *store);

/* Gives back what weir_store_keep() took; no read is under way. */
void weir_store_forget(struct weir_store *store);

#endif
