/* SPDX-License-Identifier: Apache-2.0 */
/* What memory and cores can do, measured with the kernels that weir runs. */
#ifndef WEIR_TOOLS_BENCH_PROBE_H
#define WEIR_TOOLS_BENCH_PROBE_H

#include "base/pool.h"
#include "kernels/kernels.h"

#define PROBE_THREAD_BYTES (512UL << 20) /* for each thread, if there is */
#define PROBE_COLS         4096          /* of the tiles that are multiplied */

/*
 * The memory that is read holds weights that look random, as int8 and as bf16
 * of a like size.
 */
struct probe {
    void *map;
    size_t map_bytes;
    char *data; /* in huge pages where there are any */
    size_t thread_bytes;
    size_t n_filled; /* bytes that have been touched */
    float *x;        /* [PROBE_COLS] */
};

/*
 * Takes memory for up to `n_threads` threads: PROBE_THREAD_BYTES each, or less
 * where all of it would be over most_bytes (0: a quarter of what is available).
 */
int probe_init(struct probe *probe, unsigned n_threads, uint64_t most_bytes,
               struct weir_err *err);
void probe_fini(struct probe *probe);

/* The memory for all threads of the pool has weights from here on. */
void probe_fill(struct probe *probe, struct weir_pool *pool);

/* Bytes in a second that the threads of the pool read, the best of some. */
double probe_read(struct probe *probe, struct weir_pool *pool,
                  const struct weir_kernels *kernels);

/*
 * Bytes of weights in a second that they multiply with one token, by matmul()
 * of tiles [rows][PROBE_COLS] of 256 KiB: the best of some, and the better of
 * int8 and bf16.
 */
double probe_matvec(struct probe *probe, struct weir_pool *pool,
                    const struct weir_kernels *kernels);

/* Floating-point operations in a second that they do, the best of some. */
double probe_flop(struct weir_pool *pool, const struct weir_kernels *kernels);

/*
 * The same of products of a prompt's tokens with int8 weights, which come from
 * caches, in one precision: less, for these wait for more than arithmetic, and
 * not the best but the mean of some, for it is no bound but what a plan
 * expects. Takes a few MB and gives them back.
 */
int probe_products(struct weir_pool *pool, const struct weir_kernels *kernels,
                   double *rate, struct weir_err *err);

#endif
