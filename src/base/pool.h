/* SPDX-License-Identifier: Apache-2.0 */
/* A fixed set of threads that share loops with the caller. */
#ifndef WEIR_BASE_POOL_H
#define WEIR_BASE_POOL_H

#include "base/err.h"

struct weir_pool;

#define WEIR_POOL_MAX_THREADS 512

/* Threads that this process may run at once (its affinity mask), >= 1. */
unsigned weir_pool_default_threads(void);

/*
 * A pool of `n_threads` (0: the default), of which the calling thread is one.
 * Workers are numbered 0 (the caller) to n_threads - 1.
 */
int weir_pool_new(unsigned n_threads, struct weir_pool **pool,
                  struct weir_err *err);
void weir_pool_free(struct weir_pool *pool);
unsigned weir_pool_n_threads(const struct weir_pool *pool);

/*
 * Calls fn(ctx, item, worker) once for every item below n_items, in any order
 * and on any worker, and returns when all are done.  No allocation.  Results
 * must not depend on `worker` but for scratch memory.  Not reentrant; one
 * caller at a time.
 */
void weir_pool_run(struct weir_pool *pool, size_t n_items,
                   void (*fn)(void *ctx, size_t item, unsigned worker),
                   void *ctx);

#endif
