/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A lane is written by the one thread that holds it, and read when nobody
 * writes any more: whoever ends a trace waits for the spans that are just being
 * written.  A writer says that it writes and then looks whether a trace is
 * taken; who ends it says so and then looks whether somebody writes; so one of
 * them sees the other.  A thread takes its lane with the first span that it
 * records; a thread of the same name takes that of one that has ended, so that
 * the worker of a pool goes on where the same worker of the pool before ended.
 */
#include "base/trace.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct lane {
    const char *who; /* NULL: nobody has had it */
    unsigned number;
    int taken;
    atomic_int writing;
    uint64_t n; /* spans that were written, the last of which are there */
    struct weir_trace_event *events;
};

static struct {
    pthread_mutex_t lock; /* of taking lanes and giving them back */
    struct lane *lanes;
    struct weir_trace_event *events;
    unsigned n_lanes;
    size_t n_events;
    uint64_t start_ns;
    atomic_uint generation; /* changes with every trace */
    atomic_uint_least64_t n_lost;
} trace = {.lock = PTHREAD_MUTEX_INITIALIZER};

atomic_int weir_trace_is_on;

/* What the calling thread knows of itself */
static _Thread_local struct {
    const char *who; /* NULL: "thread" */
    unsigned number;
    unsigned generation; /* that `lane` is of */
    struct lane *lane;   /* NULL: none was free */
    struct weir_trace_label label;
    uint64_t part_start;
} me = {.label.layer = -1};

uint64_t weir_trace_clock(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int weir_trace_start(unsigned n_lanes, size_t n_events, struct weir_err *err)
{
    size_t n_bytes = n_lanes * n_events * sizeof(*trace.events);

    if (trace.lanes)
        return weir_err_set(err, WEIR_EARG, "a trace is being taken already");
    trace.lanes = calloc(n_lanes, sizeof(*trace.lanes));
    trace.events = malloc(n_bytes);
    if (!trace.lanes || !trace.events) {
        weir_trace_free();
        return weir_err_nomem(err, n_bytes, "a trace");
    }
    memset(trace.events, 1, n_bytes);
    for (unsigned i = 0; i < n_lanes; i++)
        trace.lanes[i].events = trace.events + i * n_events;
    trace.n_lanes = n_lanes;
    trace.n_events = n_events;
    atomic_store(&trace.n_lost, 0);
    atomic_fetch_add(&trace.generation, 1);
    trace.start_ns = weir_trace_clock();
    atomic_store(&weir_trace_is_on, 1);
    return 0;
}

void weir_trace_stop(void)
{
    weir_trace_part(NULL, -1);
    pthread_mutex_lock(&trace.lock);
    atomic_store(&weir_trace_is_on, 0);
    pthread_mutex_unlock(&trace.lock);
    for (unsigned i = 0; i < trace.n_lanes; i++)
        while (atomic_load(&trace.lanes[i].writing))
            sched_yield();
}

void weir_trace_free(void)
{
    atomic_store(&weir_trace_is_on, 0);
    atomic_fetch_add(&trace.generation, 1);
    free(trace.lanes);
    free(trace.events);
    trace.lanes = NULL;
    trace.events = NULL;
    trace.n_lanes = 0;
}

/* ---- lanes ---- */

static struct lane *find_lane(const char *who, unsigned number)
{
    struct lane *unused = NULL;

    for (unsigned i = 0; i < trace.n_lanes; i++) {
        struct lane *lane = &trace.lanes[i];

        if (!lane->who && !unused)
            unused = lane;
        if (lane->who && !lane->taken && lane->number == number &&
            !strcmp(lane->who, who))
            return lane;
    }
    return unused;
}

static void take_lane(void)
{
    const char *who = me.who ? me.who : "thread";
    struct lane *lane;

    pthread_mutex_lock(&trace.lock);
    lane = WEIR_TRACE_ON ? find_lane(who, me.number) : NULL;
    if (lane) {
        lane->who = who;
        lane->number = me.number;
        lane->taken = 1;
    }
    pthread_mutex_unlock(&trace.lock);
    me.lane = lane;
    me.generation = atomic_load(&trace.generation);
}

/* Whether the thread's lane is one of the trace that is being taken */
static int is_current(void)
{
    return me.generation &&
           me.generation ==
               atomic_load_explicit(&trace.generation, memory_order_relaxed);
}

void weir_trace_call_thread(const char *who, unsigned number)
{
    weir_trace_leave_thread();
    me.who = who;
    me.number = number;
}

void weir_trace_leave_thread(void)
{
    if (!is_current() || !me.lane)
        return;
    pthread_mutex_lock(&trace.lock);
    me.lane->taken = 0;
    pthread_mutex_unlock(&trace.lock);
    me.lane = NULL;
    me.generation = 0;
}

/* ---- spans ---- */

void weir_trace_add(uint64_t start, enum weir_trace_kind kind, const char *name,
                    uint64_t offset, size_t n_bytes)
{
    uint64_t end = weir_trace_clock(), zero = trace.start_ns;
    struct lane *lane;

    if (!WEIR_TRACE_ON || start < zero)
        return;
    if (!is_current())
        take_lane();
    lane = me.lane;
    if (!lane) {
        atomic_fetch_add(&trace.n_lost, 1);
        return;
    }
    atomic_store(&lane->writing, 1);
    if (atomic_load(&weir_trace_is_on))
        lane->events[lane->n++ % trace.n_events] = (struct weir_trace_event){
            .start_ns = start - zero,
            .end_ns = end - zero,
            .name = name,
            .part = me.label.part,
            .offset = offset,
            .n_bytes = n_bytes < UINT32_MAX ? (uint32_t)n_bytes : UINT32_MAX,
            .layer = (int16_t)me.label.layer,
            .kind = (uint8_t)kind,
        };
    atomic_store(&lane->writing, 0);
}

void weir_trace_add_round(uint64_t start)
{
    weir_trace_add(start, WEIR_TRACE_COMPUTE,
                   me.label.name ? me.label.name : "other", 0, 0);
}

void weir_trace_begin_part(const char *part, int layer)
{
    if (me.label.part && me.part_start)
        weir_trace_add(me.part_start, WEIR_TRACE_SERIAL, me.label.part, 0, 0);
    me.label = (struct weir_trace_label){.part = part, .layer = layer};
    me.part_start = weir_trace_clock();
}

struct weir_trace_label *weir_trace_own_label(void)
{
    return &me.label;
}

/* ---- reading ---- */

int weir_trace_get_lane(unsigned number, struct weir_trace_lane *out)
{
    const struct lane *lane = trace.lanes + number;
    uint64_t n = trace.n_events;

    if (number >= trace.n_lanes || !lane->who)
        return 0;
    *out = (struct weir_trace_lane){
        .who = lane->who,
        .number = lane->number,
        .n_events = lane->n < n ? lane->n : n,
        .n_dropped = lane->n < n ? 0 : lane->n - n,
    };
    return 1;
}

const struct weir_trace_event *weir_trace_get_event(unsigned number, uint64_t i)
{
    const struct lane *lane = &trace.lanes[number];
    uint64_t n = trace.n_events;

    return &lane->events[(lane->n < n ? i : lane->n + i) % n];
}

uint64_t weir_trace_n_lost(void)
{
    return atomic_load(&trace.n_lost);
}
