/* SPDX-License-Identifier: Apache-2.0 */
/* Every item of every round once, whoever sleeps, spins or comes late. */
#include "base/pool.h"

#include <stdatomic.h>
#include <time.h>

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

int main(void)
{
    static const unsigned threads[] = {1, 2, 3, 8, 33};
    struct weir_pool *pool;
    struct weir_err err;
    unsigned n_ended = 0;

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
    return tap_done();
}
