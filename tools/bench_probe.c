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

#include "offload/file.h"
#include "offload/machine.h"
#include "tools/progress.h"

#define HUGE_BYTES  (2UL << 20)
#define PIECE_BYTES (8UL << 20)
#define N_PASSES    5
#define ENOUGH      0.2        /* seconds */
#define STEPS       (1u << 18) /* of a piece of arithmetic: about 1 ms */
#define FLOP_PIECES 8          /* for each thread */

/* Products of WEIR_GEMM_TOK tokens with a matrix [PRODUCT_ROWS][PROBE_COLS],
 * so often for each thread */
#define PRODUCT_ROWS  256
#define PRODUCT_TIMES 2
#define PRODUCT_BYTES ((size_t)PRODUCT_ROWS * PROBE_COLS)

static void fill_token(float *x)
{
    for (unsigned i = 0; i < PROBE_COLS; i++)
        x[i] = (float)(i * 37 % 64) / 32 - 1;
}

int probe_init(struct probe *probe, unsigned n_threads, uint64_t most_bytes,
               struct weir_err *err)
{
    struct weir_machine_ram ram;
    size_t most;

    memset(probe, 0, sizeof(*probe));
    probe->x = malloc(PROBE_COLS * sizeof(*probe->x));
    if (!probe->x)
        return weir_err_nomem(err, PROBE_COLS * sizeof(*probe->x), "a token");
    fill_token(probe->x);
    weir_machine_read_ram("", &ram);
    most = ram.available / 4;
    if (most_bytes && most_bytes < most)
        most = most_bytes;
    most /= n_threads;
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
    free(probe->x);
}

struct pass {
    const struct weir_kernels *kernels;
    char *data;
    atomic_uint_least64_t result; /* so that nobody can leave the work away */
    const float *x;
    enum weir_dtype dtype;
    const struct products *products;
};

/* What products of many tokens work in; gemm NULL: matmul */
struct products {
    const struct weir_gemm *gemm;
    size_t n_tok;               /* of an item */
    char *weights, *packed, *c; /* c: [worker][c_bytes], then scratch */
    size_t c_bytes, scratch_bytes;
    size_t map_bytes; /* of all, from the weights on */
};

/*
 * Any int8; as bf16, magnitudes from 2^-7 to 0.03 and any sign.  The words are
 * those of splitmix (Steele 2014).
 */
static void fill_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;
    uint64_t *word = (uint64_t *)(pass->data + item * PIECE_BYTES), z;

    (void)worker;
    for (size_t i = 0; i < PIECE_BYTES / sizeof(*word); i++) {
        z = (item * (PIECE_BYTES / sizeof(*word)) + i + 1) * 0x9e3779b97f4a7c15;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
        z = (z ^ z >> 27) * 0x94d049bb133111eb;
        word[i] = ((z ^ z >> 31) & 0x80ff80ff80ff80ff) | 0x3c003c003c003c00;
    }
}

static void read_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;

    (void)worker;
    pass->result ^=
        pass->kernels->probe_read(pass->data + item * PIECE_BYTES, PIECE_BYTES);
}

static void matvec_piece(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;
    struct weir_tile tile = {.dtype = pass->dtype, .cols = PROBE_COLS};
    const char *piece = pass->data + item * PIECE_BYTES;
    float y[WEIR_TILE_BYTES / PROBE_COLS];

    (void)worker;
    tile.row_bytes = PROBE_COLS * weir_dtype_bytes(tile.dtype);
    tile.rows = WEIR_TILE_BYTES / tile.row_bytes;
    for (size_t at = 0; at < PIECE_BYTES; at += WEIR_TILE_BYTES) {
        tile.data = piece + at;
        pass->kernels->matmul(&tile, pass->x, PROBE_COLS, 1, y, tile.rows);
    }
    pass->result += y[0] > 0;
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

/* Rows of an item and tokens, as src/model/linear.c cuts a product */
static void product_item(void *ctx, size_t item, unsigned worker)
{
    struct pass *pass = ctx;
    const struct products *p = pass->products;
    size_t n_slices = WEIR_GEMM_TOK / p->n_tok;
    size_t tok = item % n_slices * p->n_tok;
    size_t row = item / n_slices * WEIR_GEMM_ROWS % PRODUCT_ROWS;
    const struct weir_tile tile = {.data = p->weights + row * PROBE_COLS,
                                   .dtype = WEIR_I8,
                                   .rows = WEIR_GEMM_ROWS,
                                   .cols = PROBE_COLS,
                                   .row_bytes = PROBE_COLS};
    char *c = p->c + worker * (p->c_bytes + p->scratch_bytes);

    if (p->gemm)
        p->gemm->multiply(
            &tile, p->packed + p->gemm->packed_bytes(tok, PROBE_COLS), p->n_tok,
            (float *)(void *)c, p->n_tok, c + p->c_bytes);
    else
        pass->kernels->matmul(&tile, (float *)(void *)p->packed, 0, p->n_tok,
                              (float *)(void *)c, WEIR_GEMM_ROWS);
    pass->result += c[0] > 0;
}

/* Seconds of the fastest pass, of as many as N_PASSES or begin in ENOUGH */
static double best_time(struct weir_pool *pool, struct pass *pass,
                        size_t n_items,
                        void (*fn)(void *ctx, size_t item, unsigned worker))
{
    double best = 0, seconds, begun = progress_seconds();

    for (unsigned i = 0; i < N_PASSES; i++) {
        if (i && progress_seconds() - begun > ENOUGH)
            break;
        pass->result = 0;
        seconds = progress_seconds();
        weir_pool_run(pool, n_items, fn, pass);
        seconds = progress_seconds() - seconds;
        if (i == 0 || seconds < best)
            best = seconds;
    }
    return best;
}

void probe_fill(struct probe *probe, struct weir_pool *pool)
{
    size_t n_bytes = weir_pool_n_threads(pool) * probe->thread_bytes;
    struct pass pass = {.data = probe->data + probe->n_filled};

    if (n_bytes <= probe->n_filled)
        return;
    weir_pool_run(pool, (n_bytes - probe->n_filled) / PIECE_BYTES, fill_piece,
                  &pass);
    probe->n_filled = n_bytes;
}

double probe_read(struct probe *probe, struct weir_pool *pool,
                  const struct weir_kernels *kernels)
{
    size_t n_bytes = weir_pool_n_threads(pool) * probe->thread_bytes;
    struct pass pass = {.kernels = kernels, .data = probe->data};

    probe_fill(probe, pool);
    return (double)n_bytes /
           best_time(pool, &pass, n_bytes / PIECE_BYTES, read_piece);
}

double probe_matvec(struct probe *probe, struct weir_pool *pool,
                    const struct weir_kernels *kernels)
{
    static const enum weir_dtype dtypes[] = {WEIR_I8, WEIR_BF16};
    size_t n_bytes = weir_pool_n_threads(pool) * probe->thread_bytes;
    struct pass pass = {.kernels = kernels, .data = probe->data, .x = probe->x};
    double best = 0, rate;

    probe_fill(probe, pool);
    for (unsigned i = 0; i < 2; i++) {
        pass.dtype = dtypes[i];
        rate = (double)n_bytes /
               best_time(pool, &pass, n_bytes / PIECE_BYTES, matvec_piece);
        best = rate > best ? rate : best;
    }
    return best;
}

double probe_flop(struct weir_pool *pool, const struct weir_kernels *kernels)
{
    struct pass pass = {.kernels = kernels};
    size_t n_items = (size_t)FLOP_PIECES * weir_pool_n_threads(pool);
    double seconds = best_time(pool, &pass, n_items, flop_piece);

    return (double)pass.result / seconds;
}

/*
 * All in one piece, in which each part begins a line of the caches.  Not of the
 * heap, which might keep it when it is given back.
 */
static int take_products(struct products *p, unsigned n_threads,
                         struct weir_err *err)
{
    const struct weir_gemm *gemm = p->gemm;
    size_t packed_bytes = gemm ? gemm->packed_bytes(WEIR_GEMM_TOK, PROBE_COLS)
                               : PROBE_COLS * sizeof(float);

    p->n_tok =
        gemm && gemm->best_tok < WEIR_GEMM_TOK ? gemm->best_tok : WEIR_GEMM_TOK;
    p->c_bytes = WEIR_GEMM_ROWS * p->n_tok * sizeof(float);
    p->scratch_bytes = gemm ? gemm->scratch_bytes(PROBE_COLS) : 0;
    p->scratch_bytes = (p->scratch_bytes + 63) / 64 * 64;
    p->map_bytes = PRODUCT_BYTES + packed_bytes +
                   n_threads * (p->c_bytes + p->scratch_bytes);
    p->weights = mmap(NULL, p->map_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p->weights == MAP_FAILED)
        return weir_err_errno(err, errno, "take", "memory for products");
    p->packed = p->weights + PRODUCT_BYTES;
    p->c = p->packed + packed_bytes;
    return 0;
}

/* Weights of any value; all tokens are alike. */
static void fill_products(struct products *p)
{
    float x[PROBE_COLS];

    for (size_t i = 0; i < PRODUCT_BYTES; i++)
        p->weights[i] = (char)(i * 151 % 255 - 127);
    fill_token(x);
    if (p->gemm)
        p->gemm->pack(x, 0, WEIR_GEMM_TOK, PROBE_COLS, p->packed);
    else
        memcpy(p->packed, x, sizeof(x));
}

int probe_products(struct weir_pool *pool, const struct weir_kernels *kernels,
                   double *rate, struct weir_err *err)
{
    struct products products = {.gemm = weir_gemm_for(kernels, WEIR_I8, 0)};
    struct pass pass = {.kernels = kernels, .products = &products};
    unsigned n_threads = weir_pool_n_threads(pool);
    size_t n_items, n_done = 0;
    double begun, seconds;
    int rc = take_products(&products, n_threads, err);

    if (rc)
        return rc;
    fill_products(&products);
    n_items = (size_t)PRODUCT_TIMES * n_threads *
              (PRODUCT_ROWS / WEIR_GEMM_ROWS) *
              (WEIR_GEMM_TOK / products.n_tok);
    weir_pool_run(pool, n_items, product_item, &pass);
    begun = progress_seconds();
    do {
        weir_pool_run(pool, n_items, product_item, &pass);
        n_done += n_items;
        seconds = progress_seconds() - begun;
    } while (seconds < ENOUGH);
    *rate = 2.0 * WEIR_GEMM_ROWS * PROBE_COLS * (double)products.n_tok *
            (double)n_done / seconds;
    munmap(products.weights, products.map_bytes);
    return 0;
}
