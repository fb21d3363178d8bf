/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every item of every round once, whoever sleeps, spins or comes late; and
 * nobody waits for a thread that the scheduler keeps away, but for the one item
 * that it may be at.
 *
 * pool --bench: one thread and two on two CPUs, of which another process burns
 * one.
 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/tap.h"

#define MAX_ITEMS 300
#define N_ROUNDS  3000

struct round {
    atomic_uint seen[MAX_ITEMS];
    atomic_uint n_inside; /* calls that have begun and not ended */
    unsigned n_threads;
    atomic_uint bad_workers;
};

static void count(void *ctx, size_t item, unsigned worker)
{
    struct round *round = ctx;

    atomic_fetch_add(&round->n_inside, 1);
    atomic_fetch_add(&round->seen[item], 1);
    if (worker >= round->n_threads)
        atomic_fetch_add(&round->bad_workers, 1);
    for (volatile unsigned i = 0; i < item % 64; i++)
        continue;
    atomic_fetch_sub(&round->n_inside, 1);
}

/* Long enough for everybody to fall asleep */
static void pause_us(long us)
{
    struct timespec t = {.tv_nsec = us * 1000};

    nanosleep(&t, NULL);
}

static int rounds_are_whole(struct weir_pool *pool)
{
    static struct round round;
    int whole = 1;

    round.n_threads = weir_pool_n_threads(pool);
    for (unsigned r = 0; r < N_ROUNDS; r++) {
        size_t n = r * 7 % (MAX_ITEMS + 1);

        weir_pool_run(pool, n, count, &round);
        whole &= !atomic_load(&round.n_inside);
        for (size_t i = 0; i < MAX_ITEMS; i++)
            whole &= atomic_exchange(&round.seen[i], 0) == (i < n);
        if (r % 100 == 0)
            pause_us(300);
    }
    return whole && !atomic_load(&round.bad_workers);
}

/* ---- threads that stand still ---- */

#define N_HELD 100 /* items */

static struct {
    unsigned who; /* is held in its first item, or in none if it is nobody */
    atomic_uint n_done[2];
    atomic_int is_held;
    pthread_t thread[2];
} held;

/* Held until all other items are done, which then the other thread did */
static void hold(void *ctx, size_t item, unsigned worker)
{
    (void)ctx;
    (void)item;
    held.thread[worker] = pthread_self();
    if (worker == held.who && !atomic_exchange(&held.is_held, 1))
        while (atomic_load(&held.n_done[!worker]) < N_HELD - 1)
            pause_us(50);
    else if (held.who < 2 && worker != held.who)
        while (!atomic_load(&held.is_held)) /* until that one has come */
            pause_us(50);
    atomic_fetch_add(&held.n_done[worker], 1);
}

static void run_held(struct weir_pool *pool, unsigned who)
{
    held.who = who;
    atomic_store(&held.is_held, 0);
    atomic_store(&held.n_done[0], 0);
    atomic_store(&held.n_done[1], 0);
    weir_pool_run(pool, N_HELD, hold, NULL);
}

static int gate[2]; /* a pipe */

/* As if the scheduler had taken the thread off its CPU */
static void stand_still(int signal)
{
    char byte;

    (void)signal;
    atomic_store(&held.is_held, 1);
    while (read(gate[0], &byte, 1) < 0)
        continue;
}

/* The worker sleeps, and then does not even wake while a round passes. */
static int round_passes_by(struct weir_pool *pool)
{
    struct sigaction action = {.sa_handler = stand_still};
    unsigned alone;

    if (pipe(gate) || sigaction(SIGUSR1, &action, NULL))
        return 0;
    run_held(pool, 1); /* so that its thread is known */
    pause_us(20000);
    atomic_store(&held.is_held, 0);
    if (pthread_kill(held.thread[1], SIGUSR1))
        return 0;
    while (!atomic_load(&held.is_held))
        pause_us(50);
    run_held(pool, 2);
    alone = atomic_load(&held.n_done[0]);
    if (write(gate[1], "", 1) != 1)
        return 0;
    run_held(pool, 1);
    return alone == N_HELD && atomic_load(&held.n_done[0]) == N_HELD - 1;
}

static void check_held(void)
{
    struct weir_pool *pool;
    struct weir_err err;

    if (weir_pool_new(2, &pool, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    alarm(20); /* who waits for what does not come ends here */
    for (unsigned who = 0; who < 2; who++) {
        run_held(pool, who);
        tap_ok(atomic_load(&held.n_done[who]) == 1 &&
                   atomic_load(&held.n_done[!who]) == N_HELD - 1,
               "%s held in an item: the other does all others",
               who ? "a worker" : "the caller");
    }
    tap_ok(round_passes_by(pool), "a worker kept away misses a round");
    alarm(0);
    weir_pool_free(pool);
}

/* ---- threads that have one CPU ---- */

#define N_ALONE 100 /* rounds one behind the other */

static atomic_uint n_of_worker;

static void burn(void *ctx, size_t item, unsigned worker)
{
    (void)ctx;
    (void)item;
    atomic_fetch_add(&n_of_worker, worker);
    for (volatile unsigned i = 0; i < 20000; i++)
        continue;
}

/*
 * A worker that only ever takes the caller's CPU stops doing so for a while:
 * many slices of the scheduler pass in which it would have had its turn.
 */
static int worker_rests(void)
{
    struct weir_pool *pool;
    struct weir_err err;
    unsigned n_alone = 0;

    if (weir_pool_new(2, &pool, &err))
        return 0;
    alarm(60);
    while (n_alone < N_ALONE) {
        weir_pool_run(pool, 10, burn, NULL);
        n_alone = atomic_exchange(&n_of_worker, 0) ? 0 : n_alone + 1;
    }
    alarm(0);
    weir_pool_free(pool);
    return 1;
}

static void check_one_cpu(void)
{
    cpu_set_t cpus, one;
    int i = 0;

    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof(cpus), &cpus)) {
        tap_ok(0, "the CPUs of this process");
        return;
    }
    while (!CPU_ISSET(i, &cpus))
        i++;
    CPU_SET(i, &one);
    sched_setaffinity(0, sizeof(one), &one);
    tap_ok(worker_rests(), "a worker that has no CPU of its own rests");
    sched_setaffinity(0, sizeof(cpus), &cpus);
}

/* ---- the benchmark ---- */

#define N_TURNS 9

static void work(void *ctx, size_t item, unsigned worker)
{
    (void)ctx;
    (void)item;
    (void)worker;
    for (volatile unsigned i = 0; i < 30000; i++)
        continue;
}

/* Rounds as a token has them: long ones, and short ones between */
static double time_rounds(unsigned n_threads)
{
    struct timespec start, end;
    struct weir_pool *pool;
    struct weir_err err;

    if (weir_pool_new(n_threads, &pool, &err))
        exit(99);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned i = 0; i < 4000; i++)
        weir_pool_run(pool, i % 4 ? 2 : 24, work, NULL);
    clock_gettime(CLOCK_MONOTONIC, &end);
    weir_pool_free(pool);
    return (double)(end.tv_sec - start.tv_sec) +
           (double)(end.tv_nsec - start.tv_nsec) / 1e9;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* By turns, each time's own ratio, of which the median is printed */
static void bench(const char *what, const cpu_set_t *burnt)
{
    double ratio[N_TURNS], one;
    pid_t burner = -1;

    if (burnt && !(burner = fork())) {
        sched_setaffinity(0, sizeof(*burnt), burnt);
        for (;;)
            continue;
    }
    for (unsigned i = 0; i < N_TURNS; i++) {
        one = time_rounds(1);
        ratio[i] = one / time_rounds(2);
    }
    if (burner > 0) {
        kill(burner, SIGKILL);
        waitpid(burner, NULL, 0);
    }
    qsort(ratio, N_TURNS, sizeof(ratio[0]), by_value);
    printf("%-34s 2 threads %.2f x as fast as 1 (%.2f to %.2f)\n", what,
           ratio[N_TURNS / 2], ratio[0], ratio[N_TURNS - 1]);
    fflush(stdout);
}

static int bench_all(void)
{
    cpu_set_t cpus, two, one;

    CPU_ZERO(&two);
    if (sched_getaffinity(0, sizeof(cpus), &cpus))
        return 99;
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&two) < 2; i++)
        if (CPU_ISSET(i, &cpus)) {
            CPU_ZERO(&one);
            CPU_SET(i, &one);
            CPU_SET(i, &two);
        }
    if (CPU_COUNT(&two) < 2 || sched_setaffinity(0, sizeof(two), &two))
        return 99;
    bench("two CPUs", NULL);
    bench("a burner on either", &two);
    bench("a burner that stays on one", &one);
    return 0;
}

int main(int argc, char **argv)
{
    static const unsigned threads[] = {1, 2, 3, 8, 33};
    struct weir_pool *pool;
    struct weir_err err;
    unsigned n_ended = 0;

    if (argc > 1 && !strcmp(argv[1], "--bench"))
        return bench_all();
    for (unsigned i = 0; i < sizeof(threads) / sizeof(threads[0]); i++) {
        if (weir_pool_new(threads[i], &pool, &err)) {
            tap_ok(0, "%s", err.message);
            continue;
        }
        tap_ok(rounds_are_whole(pool), "%u threads: every item once",
               threads[i]);
        weir_pool_free(pool);
    }
    for (unsigned i = 0; i < 200; i++)
        if (!weir_pool_new(i % 5 + 1, &pool, &err)) {
            weir_pool_free(pool);
            n_ended++;
        }
    tap_ok(n_ended == 200, "pools that never ran end too");
    tap_ok(weir_pool_new(WEIR_POOL_MAX_THREADS + 1, &pool, &err) == WEIR_EARG,
           "too many threads: %s", err.message);
    check_held();
    check_one_cpu();
    return tap_done();
}
