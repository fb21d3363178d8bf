/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timeline of what threads do: spans of time, each written by the thread that
 * spent it into a ring of its own.  While no trace is taken a span costs a load
 * and a branch.  One trace at a time in a process.
 *
 * Whoever does something says so:
 *
 *     uint64_t start = weir_trace_begin();
 *     ...
 *     weir_trace_end(start, WEIR_TRACE_DECODE, "planes", n_bytes);
 *
 * Spans of a thread lie in each other or apart, which follows from calls that
 * return.  Names are constants, or outlive the trace.
 */
#ifndef WEIR_BASE_TRACE_H
#define WEIR_BASE_TRACE_H

#include <stdatomic.h>

#include "base/err.h"

enum weir_trace_kind {
    WEIR_TRACE_COMPUTE,   /* a thread's share of a round of the pool */
    WEIR_TRACE_DECODE,    /* a tile is decoded */
    WEIR_TRACE_CHECK,     /* the checksum of a tile */
    WEIR_TRACE_SERIAL,    /* a part of a pass; what is in none of the others */
    WEIR_TRACE_WAIT_TILE, /* for a tile that is being read */
    WEIR_TRACE_WAIT_POOL, /* for a round to begin, or for others to end it */
    WEIR_TRACE_READ,      /* a request, from being handed in to its end */
    WEIR_TRACE_N_KINDS
};

struct weir_trace_event {
    uint64_t start_ns, end_ns; /* since weir_trace_start() */
    const char *name;
    const char *part; /* of a pass, or NULL */
    uint64_t offset;  /* of a request */
    uint32_t n_bytes; /* 0: does not say */
    int16_t layer;    /* -1: none */
    uint8_t kind;
};

/* What a thread is doing all of: goes into each of its spans */
struct weir_trace_label {
    const char *part, *name; /* or NULL */
    int layer;               /* -1: none */
};

/* 1 while a trace is taken */
extern atomic_int weir_trace_is_on;

#define WEIR_TRACE_ON                                                          \
    __builtin_expect(                                                          \
        atomic_load_explicit(&weir_trace_is_on, memory_order_relaxed), 0)

/*
 * Takes memory, which is touched at once, for n_lanes threads and n_events of
 * each, of which the last are kept, and begins.  WEIR_EARG while another trace
 * is taken.
 */
int weir_trace_start(unsigned n_lanes, size_t n_events, struct weir_err *err);

/*
 * Ends it; what was recorded stays until weir_trace_free().  Any thread may
 * call it, while others record.
 */
void weir_trace_stop(void);

/* The threads that recorded something have ended, or are the caller. */
void weir_trace_free(void);

/* ---- what was recorded, after weir_trace_stop() ---- */

struct weir_trace_lane {
    const char *who; /* "thread" or "drive" */
    unsigned number;
    uint64_t n_events;  /* that are there */
    uint64_t n_dropped; /* that were there before them */
};

/* 0 when there is no lane `lane`; they count from 0. */
int weir_trace_get_lane(unsigned lane, struct weir_trace_lane *out);
/* Event `i` of a lane, in the order of their ends */
const struct weir_trace_event *weir_trace_get_event(unsigned lane, uint64_t i);
/* Spans of threads that found no lane */
uint64_t weir_trace_n_lost(void);

/* ---- recording ---- */

/* The calling thread is this one from now on; else it is "thread" 0. */
void weir_trace_call_thread(const char *who, unsigned number);
/* It ends, and another may take its name and its lane. */
void weir_trace_leave_thread(void);

uint64_t weir_trace_clock(void);
void weir_trace_add(uint64_t start, enum weir_trace_kind kind, const char *name,
                    uint64_t offset, size_t n_bytes);
void weir_trace_add_round(uint64_t start);
void weir_trace_begin_part(const char *part, int layer);
struct weir_trace_label *weir_trace_own_label(void);

/* Now, or 0 when no trace is taken */
static inline uint64_t weir_trace_begin(void)
{
    return WEIR_TRACE_ON ? weir_trace_clock() : 0;
}

/* The span from `start` on ends; nothing happens where that is 0. */
static inline void weir_trace_end(uint64_t start, enum weir_trace_kind kind,
                                  const char *name, size_t n_bytes)
{
    if (__builtin_expect(start != 0, 0))
        weir_trace_add(start, kind, name, 0, n_bytes);
}

/* A request of a reader has ended. */
static inline void weir_trace_end_read(uint64_t start, const char *name,
                                       uint64_t offset, size_t n_bytes)
{
    if (__builtin_expect(start != 0, 0))
        weir_trace_add(start, WEIR_TRACE_READ, name, offset, n_bytes);
}

/* The thread's share of a round ends, under the name of the round. */
static inline void weir_trace_end_round(uint64_t start)
{
    if (__builtin_expect(start != 0, 0))
        weir_trace_add_round(start);
}

/*
 * The calling thread goes on to another part of its work, as a layer's mixer;
 * NULL: to none.  Spans from now on are of that part.
 */
static inline void weir_trace_part(const char *part, int layer)
{
    if (WEIR_TRACE_ON)
        weir_trace_begin_part(part, layer);
}

/* What the next round of the pool computes */
static inline void weir_trace_name(const char *name)
{
    if (WEIR_TRACE_ON)
        weir_trace_own_label()->name = name;
}

#endif
