/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each pass over the memory is cut into pieces that the threads take as they
 * come: with one piece a thread a pass would last as long as the slowest
 * thread, and a bound that is too low flatters.
 */
#include "tools/bench_probe.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "offload/machine.h"
#include "tools/progress.h"

#define HUGE_BYTES  (2UL << 20)
#define PIECE_BYTES (8UL << 20)
#define N_PASSES    5
#define STEPS       (1u << 18) /* of a piece of arithmetic: about 1 ms */
#define FLOP_PIECES 8          /* for each thread */

int probe_init(struct probe *probe, unsigned n_threads, uint64_t most_bytes,
               struct weir_err *err)
{
    struct weir_machine_ram ram;
    size_t most;

    weir_machine_read_ram("", &ram);
    most = ram.available / 4;
    if (most_bytes && most_bytes < most)
        most = most_bytes;
    most /= n_threads;
    memset(probe, 0, sizeof(*probe));
    if (most > PROBE_THREAD_BYTES)
        most = PROBE_THREAD_BYTES;
    probe->thread_bytes = most / PIECE_BYTES * PIECE_BYTES;
    if (!probe->thread_bytes)
        probe->thread_bytes = PIECE_BYTES;
    probe->map_bytes = n_threads * probe->thread_bytes + HUGE_BYTES;
    probe->map = mmap(NULL, probe->map_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe->map == MAP_FAILED) {
        probe->map = NULL;
        return weir_err_errno(err, errno, "take", "memory to read");
    }
    probe->data = (char *)(((uintptr_t)probe->map + HUGE_BYTES - 1) /
                           HUGE_BYTES * HUGE_BYTES);
    madvise(probe->data, probe->map_bytes - HUGE_BYTES, MADV_HUGEPAGE);
    return 0;
}

void probe_fini(struct probe *probe)
{
    if (probe->map)
        munmap(probe->map, probe->map_bytes);
}

struct pass {
    const struct weir_kernels *kernels;
    char *data;
    atomic_uint_least64_t result; /* so that nobody can leave the work away */
};

static void fill_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;

    (void)worker;
    memset(pass->data + item * PIECE_BYTES, (int)(item % 255) + 1, PIECE_BYTES);
}

static void read_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;

    (void)worker;
    pass->result ^=
        pass->kernels->probe_read(pass->data + item * PIECE_BYTES, PIECE_BYTES);
}

static void flop_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;
    unsigned width;
    float sum;

    (void)item;
    (void)worker;
    pass->result += pass->kernels->probe_flop(STEPS, 0.5f, 1, &width, &sum);
}

/* Seconds of the fastest pass */
static double best_time(struct weir_pool *pool, struct pass *pass,
                        size_t n_items,
                        void (*fn)(void *ctx, size_t item, unsigned worker))
{
    double best = 0, seconds;

    for (unsigned i = 0; i < N_PASSES; i++) {
        pass->result = 0;
        seconds = progress_seconds();
        weir_pool_run(pool, n_items, fn, pass);
        seconds = progress_seconds() - seconds;
        if (i == 0 || seconds < best)
            best = seconds;
    }
    return best;
}

double probe_read(struct probe *probe, struct weir_pool *pool,
                  const struct weir_kernels *kernels)
{
    size_t n_bytes = weir_pool_n_threads(pool) * probe->thread_bytes;
    struct pass pass = {kernels, probe->data + probe->n_filled, 0};

    if (n_bytes > probe->n_filled) {
        weir_pool_run(pool, (n_bytes - probe->n_filled) / PIECE_BYTES,
                      fill_piece, &pass);
        probe->n_filled = n_bytes;
    }
    pass.data = probe->data;
    return (double)n_bytes /
           best_time(pool, &pass, n_bytes / PIECE_BYTES, read_piece);
}

double probe_flop(struct weir_pool *pool, const struct weir_kernels *kernels)
{
    struct pass pass = {.kernels = kernels};
    size_t n_items = (size_t)FLOP_PIECES * weir_pool_n_threads(pool);
    double seconds = best_time(pool, &pass, n_items, flop_piece);

    return (double)pass.result / seconds;
}
