/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct worker {
    struct weir_pool *pool;
    unsigned number;
    pthread_t thread;
};

struct weir_pool {
    unsigned n_threads;
    unsigned n_started; /* threads besides the caller */
    pthread_mutex_t lock;
    pthread_cond_t wake; /* a new round, or stop */
    pthread_cond_t idle; /* n_busy has reached 0 */
    unsigned long round;
    unsigned n_busy;
    int stop;

    /* the round's work; written under lock before it starts */
    void (*fn)(void *ctx, size_t item, unsigned worker);
    void *ctx;
    size_t n_items;
    atomic_size_t next;

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
    size_t item;

    while ((item = atomic_fetch_add(&pool->next, 1)) < pool->n_items)
        pool->fn(pool->ctx, item, worker);
}

static void *worker_main(void *arg)
{
    struct worker *self = arg;
    struct weir_pool *pool = self->pool;
    unsigned long seen = 0;

    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (pool->round == seen && !pool->stop)
            pthread_cond_wait(&pool->wake, &pool->lock);
        if (pool->stop)
            break;
        seen = pool->round;
        pthread_mutex_unlock(&pool->lock);
        take_items(pool, self->number);
        pthread_mutex_lock(&pool->lock);
        if (--pool->n_busy == 0)
            pthread_cond_signal(&pool->idle);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

int weir_pool_new(unsigned n_threads, struct weir_pool **out,
                  struct weir_err *err)
{
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
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    for (unsigned i = 0; i + 1 < n_threads; i++) {
        struct worker *worker = &pool->workers[i];

        worker->pool = pool;
        worker->number = i + 1;
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
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_started; i++)
        pthread_join(pool->workers[i].thread, NULL);
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
    if (pool->n_threads == 1 || n_items < 2) {
        for (size_t i = 0; i < n_items; i++)
            fn(ctx, i, 0);
        return;
    }
    pthread_mutex_lock(&pool->lock);
    pool->fn = fn;
    pool->ctx = ctx;
    pool->n_items = n_items;
    atomic_store(&pool->next, 0);
    pool->n_busy = pool->n_threads - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);

    take_items(pool, 0);

    pthread_mutex_lock(&pool->lock);
    while (pool->n_busy)
        pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
}
