/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A forward pass is hundreds of short rounds with little between them, so a
 * thread that waits for a round, or for its end, looks for it a short while
 * before it sleeps.  Not for long: where another process wants the core, a
 * thread that spins keeps away the one that it waits for, and one that sleeps
 * lets the scheduler move that one over.  For the same reason threads are not
 * bound to cores.  A look in vain makes the next one half as long: threads that
 * share a core never see each other come.
 *
 * Where no core is idle a worker that is woken may take the caller's, which
 * gains nothing and costs the switches.  It moves to another core; if it comes
 * back even so, because others want that one as much, it rests for a while and
 * leaves the caller's core to the caller.
 *
 * The gate is one number: that of the round, whether it is open, and how many
 * workers are inside.  A worker enters an open round that it has not seen; the
 * caller, when no item is left, closes it and waits for those inside alone.  A
 * worker that the scheduler kept away in the meantime has missed the round, and
 * nobody waited for it.
 *
 * A waiter that goes to sleep first says so (n_asleep, caller_asleep) and then
 * looks once more; who ends its wait first changes the gate and then looks
 * whether anyone sleeps.  All of these are sequentially consistent, so at least
 * one of the two sees the other.
 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/trace.h"

/* How long a waiter looks at most, and how often at the clock */
#define SPIN_NS     30000
#define SPIN_CHECKS 64

/* A worker that runs so soon on the CPU of who woke it took it from there */
#define TAKEN_NS 50000

/*
 * It moves away the first time in FORGET_NS.  How long it may go on when that
 * did not help, before it rests; how long it rests; and how long it may go on
 * when the caller had not all of its core meanwhile, since others want that too
 */
#define FORGET_NS 300000000
#define SHARE_NS  10000000
#define REST_NS   300000000
#define INSIST_NS 1000000000

/* The gate: round number, open, workers inside */
#define ROUND  (UINT64_C(1) << 32)
#define OPEN   (UINT64_C(1) << 31)
#define INSIDE (OPEN - 1)

struct worker {
    struct weir_pool *pool;
    unsigned number;
    long spin_ns;      /* how long it looks next time */
    long may_share_ns; /* how long it may take the caller's core */
    long share_ns;     /* and until when it does */
    pthread_t thread;
};

struct weir_pool {
    unsigned n_threads;
    unsigned n_started; /* threads besides the caller */
    long spin_ns;       /* as a worker has it, of the caller */
    pthread_mutex_t lock;
    pthread_cond_t wake;  /* a round is open */
    pthread_cond_t idle;  /* nobody is inside */
    pthread_cond_t rest;  /* rests are over */
    long woke_ns;         /* when the caller woke workers, under the lock */
    int woke_cpu;         /* and from where */
    clockid_t woke_clock; /* of its own time */
    atomic_uint_least64_t gate;
    atomic_uint n_asleep;
    atomic_int caller_asleep;
    int stop; /* written before the last round opens */

    /* the round's work; written before it opens */
    void (*fn)(void *ctx, size_t item, unsigned worker);
    void *ctx;
    size_t n_items;
    atomic_size_t next;
    struct weir_trace_label label; /* while a trace is taken */

    struct worker workers[];
};

unsigned weir_pool_default_threads(void)
{
    cpu_set_t cpus;
    int n = 0;

    if (!sched_getaffinity(0, sizeof(cpus), &cpus))
        n = CPU_COUNT(&cpus);
    if (n < 1)
        n = 1;
    return n < WEIR_POOL_MAX_THREADS ? (unsigned)n : WEIR_POOL_MAX_THREADS;
}

static void take_items(struct weir_pool *pool, unsigned worker)
{
    uint64_t start = weir_trace_begin();
    size_t item;

    while ((item = atomic_fetch_add(&pool->next, 1)) < pool->n_items)
        pool->fn(pool->ctx, item, worker);
    weir_trace_end_round(start);
}

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static long clock_ns(clockid_t clock)
{
    struct timespec t;

    if (clock_gettime(clock, &t))
        return 0;
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static long now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

/* Enters the open round if it is not round `seen`, which it then is. */
static int enter(struct weir_pool *pool, uint64_t *seen)
{
    uint64_t gate = atomic_load(&pool->gate);

    while (gate & OPEN && gate / ROUND != *seen)
        if (atomic_compare_exchange_weak(&pool->gate, &gate, gate + 1)) {
            *seen = gate / ROUND;
            return 1;
        }
    return 0;
}

static void leave(struct weir_pool *pool)
{
    uint64_t left = atomic_fetch_sub(&pool->gate, 1) - 1;

    if (left & (OPEN | INSIDE) || !atomic_load(&pool->caller_asleep))
        return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_signal(&pool->idle);
    pthread_mutex_unlock(&pool->lock);
}

/* Whether a round was entered while looking */
static int look_and_enter(struct worker *self, uint64_t *seen)
{
    long end = now_ns() + self->spin_ns;

    do {
        for (int i = 0; i < SPIN_CHECKS; i++) {
            if (enter(self->pool, seen)) {
                if (self->spin_ns != SPIN_NS)
                    self->spin_ns = SPIN_NS;
                return 1;
            }
            relax();
        }
    } while (now_ns() < end);
    self->spin_ns /= 2;
    return 0;
}

/* To another CPU, if this thread may use one */
static void move_from(int cpu)
{
    cpu_set_t all, others;

    if (sched_getaffinity(0, sizeof(all), &all))
        return;
    others = all;
    CPU_CLR((size_t)cpu, &others);
    if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof(others), &others))
        sched_setaffinity(0, sizeof(all), &all);
}

/* Whether a worker that has woken had better not have */
static int is_to_rest(struct worker *self)
{
    const struct weir_pool *pool = self->pool;
    long now = now_ns();

    if (pool->stop || sched_getcpu() != pool->woke_cpu ||
        now - pool->woke_ns > TAKEN_NS)
        return 0;
    if (now - self->share_ns > FORGET_NS) {
        self->share_ns = now + self->may_share_ns;
        move_from(pool->woke_cpu);
    }
    return now > self->share_ns;
}

/* Sleeps until there is a round; 0 if it should not have part in it. */
static int sleep_and_enter(struct worker *self, uint64_t *seen)
{
    struct weir_pool *pool = self->pool;
    int rests;

    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->n_asleep, 1);
    while (!enter(pool, seen))
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->n_asleep, 1);
    rests = is_to_rest(self);
    pthread_mutex_unlock(&pool->lock);
    return !rests;
}

static void rest(struct worker *self)
{
    struct weir_pool *pool = self->pool;
    long start = now_ns(), end = start + REST_NS, used;
    struct timespec t = {.tv_sec = end / 1000000000L,
                         .tv_nsec = end % 1000000000L};
    clockid_t caller;

    pthread_mutex_lock(&pool->lock);
    caller = pool->woke_clock;
    used = clock_ns(caller);
    while (!pool->stop && !pthread_cond_timedwait(&pool->rest, &pool->lock, &t))
        continue;
    pthread_mutex_unlock(&pool->lock);
    used = clock_ns(caller) - used;
    end = now_ns();
    self->may_share_ns = used > (end - start) / 10 * 9 ? SHARE_NS : INSIST_NS;
    self->share_ns = end - FORGET_NS; /* now it is the first time */
}

static void wait_and_enter(struct worker *self, uint64_t *seen)
{
    while (!look_and_enter(self, seen) && !sleep_and_enter(self, seen)) {
        leave(self->pool);
        *seen = 0; /* that round may still want it later */
        rest(self);
    }
}

/* The gate is closed with nobody inside, so that it is the caller's alone. */
static void open_round(struct weir_pool *pool)
{
    atomic_store(&pool->gate, (atomic_load(&pool->gate) + ROUND) | OPEN);
    if (!atomic_load(&pool->n_asleep))
        return;
    pthread_mutex_lock(&pool->lock);
    pool->woke_ns = now_ns();
    pool->woke_cpu = sched_getcpu();
    pthread_getcpuclockid(pthread_self(), &pool->woke_clock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

static void close_round(struct weir_pool *pool)
{
    long end;

    if (!(atomic_fetch_and(&pool->gate, ~OPEN) & INSIDE))
        return;
    end = now_ns() + pool->spin_ns;
    do {
        for (int i = 0; i < SPIN_CHECKS; i++) {
            if (!(atomic_load(&pool->gate) & INSIDE)) {
                if (pool->spin_ns != SPIN_NS)
                    pool->spin_ns = SPIN_NS;
                return;
            }
            relax();
        }
    } while (now_ns() < end);
    pool->spin_ns /= 2;
    pthread_mutex_lock(&pool->lock);
    atomic_store(&pool->caller_asleep, 1);
    while (atomic_load(&pool->gate) & INSIDE)
        pthread_cond_wait(&pool->idle, &pool->lock);
    atomic_store(&pool->caller_asleep, 0);
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct weir_pool *pool = self->pool;
    uint64_t seen = 0, start;

    weir_trace_call_thread("thread", self->number);
    for (;;) {
        start = weir_trace_begin();
        wait_and_enter(self, &seen);
        if (pool->stop)
            break;
        if (WEIR_TRACE_ON)
            *weir_trace_own_label() = pool->label;
        weir_trace_end(start, WEIR_TRACE_WAIT_POOL, "for a round", 0);
        take_items(pool, self->number);
        leave(pool);
    }
    leave(pool);
    weir_trace_leave_thread();
    return NULL;
}

int weir_pool_new(unsigned n_threads, struct weir_pool **out,
                  struct weir_err *err)
{
    pthread_condattr_t monotonic;
    struct weir_pool *pool;
    size_t n_bytes;
    int rc;

    *out = NULL;
    if (n_threads == 0)
        n_threads = weir_pool_default_threads();
    if (n_threads > WEIR_POOL_MAX_THREADS)
        return weir_err_set(err, WEIR_EARG, "%u threads; at most %d are useful",
                            n_threads, WEIR_POOL_MAX_THREADS);
    n_bytes = sizeof(*pool) + n_threads * sizeof(pool->workers[0]);
    pool = calloc(1, n_bytes);
    if (!pool)
        return weir_err_nomem(err, n_bytes, "a thread pool");
    pool->n_threads = n_threads;
    pool->spin_ns = SPIN_NS;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->rest, &monotonic);
    pthread_condattr_destroy(&monotonic);
    for (unsigned i = 0; i + 1 < n_threads; i++) {
        struct worker *worker = &pool->workers[i];

        worker->pool = pool;
        worker->number = i + 1;
        worker->spin_ns = SPIN_NS;
        worker->may_share_ns = SHARE_NS;
        worker->share_ns = -FORGET_NS;
        rc = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (rc) {
            weir_pool_free(pool);
            return weir_err_errno(err, rc, "start", "a thread");
        }
        pool->n_started++;
    }
    *out = pool;
    return 0;
}

void weir_pool_free(struct weir_pool *pool)
{
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = 1;
    pthread_cond_broadcast(&pool->rest);
    pthread_mutex_unlock(&pool->lock);
    open_round(pool);
    for (unsigned i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->rest);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    free(pool);
}

unsigned weir_pool_n_threads(const struct weir_pool *pool)
{
    return pool->n_threads;
}

void weir_pool_run(struct weir_pool *pool, size_t n_items,
                   void (*fn)(void *ctx, size_t item, unsigned worker),
                   void *ctx)
{
    uint64_t start = weir_trace_begin();

    if (pool->n_threads == 1 || n_items < 2) {
        for (size_t i = 0; i < n_items; i++)
            fn(ctx, i, 0);
        weir_trace_end_round(start);
        weir_trace_name(NULL);
        return;
    }
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n_items = n_items;
    if (WEIR_TRACE_ON)
        pool->label = *weir_trace_own_label();
    atomic_store(&pool->next, 0);
    open_round(pool);
    take_items(pool, 0);
    start = weir_trace_begin();
    close_round(pool);
    weir_trace_end(start, WEIR_TRACE_WAIT_POOL, "for other threads", 0);
    weir_trace_name(NULL);
}
