/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a model are when the forward pass asks for them.
 *
 * Either the file is mapped: a raw tile is used in place, and the system keeps
 * what it likes.  Or, under a budget, tiles are read into memory of ours around
 * the page cache (store.h).  A compressed tile is decoded into the caller's
 * scratch.  A tile is verified when it is first touched after opening, and
 * whenever it was read again.
 */
#ifndef WEIR_OFFLOAD_RESIDENCY_H
#define WEIR_OFFLOAD_RESIDENCY_H

#include "base/pool.h"
#include "offload/placement.h"
#include "offload/reader.h"

struct weir_residency;

struct weir_residency_options {
    int mapped; /* what follows is of no use then */
    enum weir_io io;
    unsigned deadline_ms;              /* 0: the reader's usual */
    double most_gbps;                  /* the reader's; 0: no limit */
    const struct weir_io_calls *calls; /* NULL: the system's */
};

/*
 * `file` must outlive the residency; options NULL: mapped.  Without a map each
 * tile is read when it is asked for, until weir_residency_keep().
 */
int weir_residency_new(const struct weir_file *file,
                       const struct weir_residency_options *options,
                       struct weir_residency **residency, struct weir_err *err);
void weir_residency_free(struct weir_residency *residency);

/*
 * Gives the weights their memory, once, and reads what stays there.  `uses`
 * [n_units].  Rates that decide and are not known in `ask` are measured.  The
 * pool's threads decode what stays unpacked; a tile of it that is damaged is an
 * error here as in weir_residency_tile().  Does nothing when the file is
 * mapped.
 */
int weir_residency_keep(struct weir_residency *residency,
                        const struct weir_use *uses,
                        const struct weir_placement_ask *ask,
                        struct weir_pool *pool, struct weir_err *err);

/*
 * What follows up to weir_residency_can_hold() is called by one thread, while
 * none asks for tiles.  They never fail: what is not there when a tile is
 * wanted is read then.
 *
 * A pass over the model begins: units used in one pass do not drive each other
 * out of the cache.
 */
void weir_residency_begin_pass(struct weir_residency *residency);

/* Unit `unit` will be used soon: starts to read it ahead. */
void weir_residency_want(struct weir_residency *residency, uint32_t unit);

/* It was used, or is not wanted any more; its memory may go to another. */
void weir_residency_done(struct weir_residency *residency, uint32_t unit);

/*
 * 1 when it would pay to guess the next experts by the router in unit `router`,
 * which is in memory: guesses were right often enough (governor.h).
 */
int weir_residency_may_guess(struct weir_residency *residency, uint32_t router);

/*
 * Expert `unit` may be wanted among the next that are.  It is read if there is
 * a slot to spare and when the drive has nothing else to do; what was not begun
 * by then does not count.  When the first of those wanted is done, all guesses
 * that were not wanted were wrong.
 */
void weir_residency_guess(struct weir_residency *residency, uint32_t unit);

/* How many experts find room at a time while others are on their way, > 0 */
unsigned weir_residency_at_once(const struct weir_residency *residency);

/* How many find room that are used again and again before the next, > 0 */
unsigned weir_residency_can_hold(const struct weir_residency *residency);

/*
 * Scratch that a thread needs for weir_residency_tile(): its bytes, and how it
 * is made ready once before the first call.  It is aligned to 64.
 */
size_t weir_residency_scratch_bytes(const struct weir_residency *residency);
void weir_residency_scratch_init(const struct weir_residency *residency,
                                 void *scratch);

/*
 * Unpacked bytes of tile `tile` of tensor `tensor` (counted from its first),
 * aligned to 64: in the map or the memory for weights until their unit is done,
 * or in `scratch`, which must live as long as *data is used.  WEIR_ECORRUPT,
 * naming tensor, tile and offset, when the checksum or the frame is wrong, also
 * when read once more; WEIR_EIO when it cannot be read.  Any thread, each with
 * its own scratch.  Allocates nothing.
 */
int weir_residency_tile(struct weir_residency *residency, uint32_t tensor,
                        uint64_t tile, void *scratch, const void **data,
                        struct weir_err *err);

/*
 * The memory for weights, whole pages: what weir_residency_tile() finds in it
 * stays there until the unit is done.  n_bytes is 0 when there is none, or the
 * file is mapped.
 */
void weir_residency_memory(const struct weir_residency *residency, void **base,
                           size_t *n_bytes);

/* 1 when the tensor's tiles lie in memory as they are used, or will */
int weir_residency_is_unpacked(const struct weir_residency *residency,
                               uint32_t tensor);

/*
 * 0 as long as every byte handed out was read from the file; WEIR_EIO once a
 * mapped page was lost (the file shrank, or its drive failed), which makes
 * everything computed since the last check worthless.
 */
int weir_residency_check(const struct weir_residency *residency,
                         struct weir_err *err);

/* One line for the user when reading is slower than it could be, or NULL */
const char *weir_residency_note(const struct weir_residency *residency);

struct weir_residency_stats {
    const char *io;  /* "mmap", "io_uring" or "pread" */
    int is_direct;   /* around the page cache */
    int is_unpacked; /* what stays in memory is decoded */
    uint64_t pinned_bytes, cache_bytes, staging_bytes;
    uint64_t read_bytes, read_ns; /* from the drive, busy with it */
    uint64_t n_hits, n_misses;    /* experts wanted */
    uint64_t n_evictions;         /* experts driven out by others */
    uint64_t n_direct;            /* tiles that were read by themselves */
    uint64_t n_stalls, stall_ns;  /* of threads that waited for tiles */
    uint64_t idle_stall_ns;       /* of it, while the drive was idle */
    uint64_t idle_ns;             /* of passes, in which nothing was read */
    uint64_t n_guesses;           /* experts read before they were chosen */
    uint64_t n_guesses_right;     /* of them, those that were chosen then */
    uint64_t guess_wasted_bytes;  /* read for nothing */
};

/* All zero but io when the file is mapped */
void weir_residency_get_stats(const struct weir_residency *residency,
                              struct weir_residency_stats *stats);

#endif
