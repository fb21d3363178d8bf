/* SPDX-License-Identifier: Apache-2.0 */
/* What the recorder of timelines keeps, forgets and counts. */
#include "base/trace.h"

#include <sched.h>
#include <string.h>

#include "base/pool.h"
#include "tests/tap.h"

#define N_EVENTS 64

static void do_nothing(void *ctx, size_t item, unsigned worker)
{
    uint64_t start = weir_trace_begin();

    (void)ctx;
    (void)item;
    weir_trace_end(start, WEIR_TRACE_DECODE, "inside", 1 + worker);
}

/* Ends when each of three workers has an item, so that each has a share. */
static void meet(void *ctx, size_t item, unsigned worker)
{
    atomic_uint *n_inside = ctx;

    (void)item;
    (void)worker;
    atomic_fetch_add(n_inside, 1);
    while (atomic_load(n_inside) < 3)
        sched_yield();
}

static void check_off(void)
{
    struct weir_trace_lane lane;

    tap_ok(weir_trace_begin() == 0, "no time is taken while no trace is");
    weir_trace_end(0, WEIR_TRACE_DECODE, "nothing", 0);
    weir_trace_part("nothing", 1);
    weir_trace_name("nothing");
    tap_ok(!weir_trace_get_lane(0, &lane), "and nothing is kept");
}

static int start(unsigned n_lanes, size_t n_events)
{
    struct weir_err err;
    int rc = weir_trace_start(n_lanes, n_events, &err);

    if (rc)
        tap_diag("%s", err.message);
    return rc;
}

static void check_one_thread(void)
{
    const struct weir_trace_event *inner, *outer;
    struct weir_trace_lane lane = {0};
    struct weir_err err = {0};
    uint64_t a, b;

    tap_ok(!start(2, N_EVENTS), "a trace begins");
    tap_ok(weir_trace_start(2, N_EVENTS, &err) == WEIR_EARG && err.message[0],
           "one at a time: %s", err.message);
    weir_trace_part("mamba", 3);
    a = weir_trace_begin();
    b = weir_trace_begin();
    weir_trace_end_read(b, "inner", 4096, 512);
    weir_trace_end(a, WEIR_TRACE_CHECK, "outer", 7);
    weir_trace_stop();
    tap_ok(weir_trace_begin() == 0, "it ends");
    weir_trace_end(a, WEIR_TRACE_CHECK, "late", 7);
    tap_ok(weir_trace_get_lane(0, &lane) && !strcmp(lane.who, "thread") &&
               lane.number == 0 && lane.n_events == 3 && !lane.n_dropped &&
               !weir_trace_get_lane(1, &lane),
           "the caller is thread 0, with two spans and a part");
    inner = weir_trace_get_event(0, 0);
    outer = weir_trace_get_event(0, 1);
    tap_ok(!strcmp(inner->name, "inner") && inner->kind == WEIR_TRACE_READ &&
               inner->offset == 4096 && inner->n_bytes == 512,
           "what was said of the inner one");
    tap_ok(!strcmp(outer->name, "outer") && outer->kind == WEIR_TRACE_CHECK &&
               outer->layer == 3 && !strcmp(outer->part, "mamba"),
           "and where the outer one belongs");
    tap_ok(outer->start_ns <= inner->start_ns &&
               inner->start_ns <= inner->end_ns &&
               inner->end_ns <= outer->end_ns,
           "one lies in the other");
    outer = weir_trace_get_event(0, 2);
    tap_ok(outer->kind == WEIR_TRACE_SERIAL && !strcmp(outer->name, "mamba"),
           "the part ends with the trace");
    weir_trace_free();
    tap_ok(!weir_trace_get_lane(0, &lane), "then it is gone");
}

static void check_ring(void)
{
    static const char *const names[] = {"a", "b", "c", "d", "e"};
    struct weir_trace_lane lane = {0};
    int good = 1;

    start(1, 3);
    for (int i = 0; i < 5; i++)
        weir_trace_end(weir_trace_begin(), WEIR_TRACE_CHECK, names[i], 0);
    weir_trace_stop();
    weir_trace_get_lane(0, &lane);
    tap_ok(lane.n_events == 3 && lane.n_dropped == 2,
           "a full lane counts what it forgets");
    for (unsigned i = 0; i < 3; i++)
        good &= weir_trace_get_event(0, i)->name == names[i + 2];
    tap_ok(good, "and keeps the last");
    weir_trace_free();
}

/* Of a lane: rounds, and tiles that lie in the last one that ended then */
static void count(unsigned number, unsigned *n_rounds, unsigned *n_tiles)
{
    struct weir_trace_lane lane;

    *n_rounds = *n_tiles = 0;
    if (!weir_trace_get_lane(number, &lane))
        return;
    for (uint64_t i = 0; i < lane.n_events; i++) {
        const struct weir_trace_event *event = weir_trace_get_event(number, i);

        *n_rounds +=
            event->kind == WEIR_TRACE_COMPUTE && !strcmp(event->name, "round");
        *n_tiles += event->kind == WEIR_TRACE_DECODE && event->layer == 5 &&
                    !strcmp(event->part, "experts");
    }
}

static void run_round(struct weir_pool *pool, size_t n_items)
{
    weir_trace_part("experts", 5);
    weir_trace_name("round");
    weir_pool_run(pool, n_items, do_nothing, NULL);
}

/* Two pools, one after the other: their workers share lanes. */
static void check_pool(void)
{
    struct weir_trace_lane lane;
    unsigned n_rounds, n_tiles, sum = 0, n_lanes = 0, waits = 0;
    struct weir_pool *pool;
    struct weir_err err;
    atomic_uint n_inside;

    start(3, 4096);
    for (int i = 0; i < 2; i++) {
        if (weir_pool_new(3, &pool, &err))
            return;
        atomic_init(&n_inside, 0);
        weir_pool_run(pool, 3, meet, &n_inside);
        for (int k = 0; k < 50; k++)
            run_round(pool, 12);
        run_round(pool, 1);
        weir_pool_free(pool);
    }
    weir_trace_stop();
    for (unsigned i = 0; weir_trace_get_lane(i, &lane); i++) {
        count(i, &n_rounds, &n_tiles);
        sum += n_tiles;
        n_lanes++;
        if (lane.number == 0)
            tap_ok(n_rounds == 2 * 51, "the caller has a share of all rounds");
        for (uint64_t k = 0; k < lane.n_events; k++)
            waits += weir_trace_get_event(i, k)->kind == WEIR_TRACE_WAIT_POOL;
    }
    tap_ok(sum == 2 * (50 * 12 + 1), "tiles are of the part of the caller: %u",
           sum);
    tap_ok(n_lanes == 3 && !weir_trace_n_lost(),
           "workers of one number share a lane: %u", n_lanes);
    tap_ok(waits >= 2 * 50, "the caller waited for the others: %u", waits);
    weir_trace_free();
}

static void check_lost(void)
{
    struct weir_pool *pool;
    struct weir_err err;

    start(1, N_EVENTS);
    weir_trace_end(weir_trace_begin(), WEIR_TRACE_CHECK, "mine", 0);
    if (weir_pool_new(2, &pool, &err))
        return;
    while (!weir_trace_n_lost())
        run_round(pool, 64);
    weir_pool_free(pool);
    weir_trace_stop();
    tap_ok(weir_trace_n_lost() > 0, "spans without a lane are counted");
    weir_trace_free();
}

int main(void)
{
    check_off();
    check_one_thread();
    check_ring();
    check_pool();
    check_lost();
    return tap_done();
}
