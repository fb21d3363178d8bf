/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every kernel walks over the same memory, larger than any cache, tile after
 * tile from where the one before it stopped, for about as long as a clock tick
 * is worth.  What bounds it walks beside it: reading for few tokens, arithmetic
 * on registers for many.  One walk of each after the other is a round; the
 * median over the rounds is less at the mercy of a machine whose speed changes
 * than walks of one kernel in a row.
 *
 * Activations are packed before the clock runs, as they are once for all rows
 * of a matrix.
 */
#include "tools/bench_kernels.h"

#include <stdlib.h>
#include <string.h>

#include "kernels/levels.h"
#include "offload/tiling.h"
#include "tools/bench_kernels_print.h"
#include "tools/bench_probe.h"
#include "tools/progress.h"

#define MAX_FEW     16 /* tokens that matmul is measured with */
#define MAX_MANY    512
#define MAX_COLS    14336
#define STEADY_COLS 1300  /* more than a block, and no round number */
#define WALK        0.025 /* seconds of a walk */
#define MOST_ROUNDS 1000
#define FLOP_STEPS  (1u << 14) /* of an item: some 50 us */

/* The matrices of Mini, by the tiles that they are cut into */
static const struct matrix {
    const char *name;
    uint64_t rows, cols;
    enum weir_split split;
} matrices[] = {
    {"gate+up+in_proj", 14336, 4096, WEIR_SPLIT_ROWS},
    {"down", 4096, 14336, WEIR_SPLIT_COLS},
};
static const enum weir_dtype dtypes[] = {WEIR_I8, WEIR_BF16};

#define N_OF(list) (sizeof(list) / sizeof((list)[0]))

struct scratch {
    float *sums;
    void *gemm;
};

struct bench {
    const struct bench_args *args;
    enum weir_level level;
    struct weir_kernels kernels;
    struct weir_pool *pool;
    struct probe probe;
    size_t next; /* tile that the next walk begins with */
    struct contender few[MAX_CONTENDERS], many[MAX_CONTENDERS];
    unsigned n_few, n_many;
    float *x; /* [MAX_MANY][MAX_COLS] */
    void *packed[MAX_CONTENDERS];
    struct scratch *scratch; /* of each worker */
    unsigned n_scratch;
    struct bench_print print;
    struct progress progress;
    uint64_t n_done, n_all;
};

/* What the items of a walk are */
enum work { READ, FLOP, MULTIPLY };

struct walk {
    struct bench *bench;
    enum work work;
    const struct weir_gemm *gemm; /* NULL: matmul */
    const uint8_t *packed;        /* [col_blocks] */
    struct weir_tile tile;        /* without data */
    unsigned col_blocks;
    size_t n_tok, stride, n_tiles, first;
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* As src/model/linear.c has it: slices of tokens, and in them of rows */
static void multiply_packed(const struct walk *walk,
                            const struct weir_tile *tile, unsigned block,
                            const struct scratch *scratch)
{
    const struct weir_gemm *gemm = walk->gemm;
    const uint8_t *x =
        walk->packed + block * gemm->packed_bytes(walk->n_tok, tile->cols);
    struct weir_tile slice = *tile;
    size_t n, ld;

    for (size_t t = 0; t < walk->n_tok; t += n) {
        n = walk->n_tok - t < gemm->best_tok ? walk->n_tok - t : gemm->best_tok;
        ld = round_up(n, WEIR_GEMM_GROUP);
        for (size_t r = 0; r < tile->rows; r += slice.rows) {
            slice.rows = tile->rows - r < WEIR_GEMM_ROWS ? tile->rows - r
                                                         : WEIR_GEMM_ROWS;
            slice.data = (const char *)tile->data + r * tile->row_bytes;
            gemm->multiply(&slice, x + gemm->packed_bytes(t, tile->cols), n,
                           scratch->sums + r * ld, ld, scratch->gemm);
        }
    }
}

static void walk_tile(void *ctx, size_t item, unsigned worker)
{
    const struct walk *walk = ctx;
    struct bench *bench = walk->bench;
    const struct weir_kernels *kernels = &bench->kernels;
    size_t number = walk->first + item;
    const char *data =
        bench->probe.data + number % walk->n_tiles * walk->stride;
    unsigned width, block = (unsigned)(number % walk->col_blocks);
    struct weir_tile tile = walk->tile;
    float *sums = bench->scratch[worker].sums;

    tile.data = data;
    if (walk->work == READ)
        sums[0] = (float)kernels->probe_read(data, tile.rows * tile.row_bytes);
    else if (walk->work == FLOP)
        kernels->probe_flop(FLOP_STEPS, 0.5f, 1, &width, sums);
    else if (walk->gemm)
        multiply_packed(walk, &tile, block, &bench->scratch[worker]);
    else
        kernels->matmul(&tile, bench->x + block * tile.cols, MAX_COLS,
                        walk->n_tok, sums, tile.rows);
}

static double time_walk(struct walk *walk, size_t n_items)
{
    struct bench *bench = walk->bench;
    double seconds = progress_seconds();

    walk->first = bench->next;
    weir_pool_run(bench->pool, n_items, walk_tile, walk);
    bench->next = (bench->next + n_items) % walk->n_tiles;
    return progress_seconds() - seconds;
}

/* Items of a walk that lasts WALK, and as many for each thread */
static size_t measure_items(struct walk *walk)
{
    size_t threads = weir_pool_n_threads(walk->bench->pool), n = threads;
    double seconds;

    time_walk(walk, n);
    while ((seconds = time_walk(walk, n)) < WALK / 4)
        n *= 4;
    n = (size_t)((double)n * WALK / seconds);
    return n > threads ? n / threads * threads : threads;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof(*values), by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Items in a second of each walk */
static void run_rounds(struct walk *walks, unsigned n, size_t n_rounds,
                       double *rates)
{
    static double rounds[MAX_CONTENDERS + 1][MOST_ROUNDS];
    size_t n_items[MAX_CONTENDERS + 1];

    for (unsigned i = 0; i < n; i++)
        n_items[i] = measure_items(&walks[i]);
    for (size_t round = 0; round < n_rounds; round++)
        for (unsigned i = 0; i < n; i++)
            rounds[i][round] =
                (double)n_items[i] / time_walk(&walks[i], n_items[i]);
    for (unsigned i = 0; i < n; i++)
        rates[i] = median(rounds[i], n_rounds);
}

/*
 * Whether rows and tokens that are all alike have products that are: a tile
 * whose rows lie in one place, and tokens that do.
 */
static int is_steady(struct bench *bench, const struct weir_gemm *gemm,
                     void *packed)
{
    const struct weir_tile tile = {.data = bench->probe.data,
                                   .dtype = WEIR_BF16,
                                   .rows = WEIR_GEMM_ROWS,
                                   .cols = STEADY_COLS};
    float *sums = bench->scratch[0].sums;

    gemm->pack(bench->x, 0, WEIR_GEMM_TOK, STEADY_COLS, packed);
    gemm->multiply(&tile, packed, WEIR_GEMM_TOK, sums, WEIR_GEMM_TOK,
                   bench->scratch[0].gemm);
    return !memcmp(sums, sums + 1,
                   (WEIR_GEMM_ROWS * WEIR_GEMM_TOK - 1) * sizeof(*sums));
}

static void find_steady(struct bench *bench, struct contender *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        list[i].steady = list[i].missing || !list[i].gemm ||
                         is_steady(bench, list[i].gemm, bench->packed[i]);
}

static void pack(struct bench *bench, unsigned i, const struct walk *walk)
{
    size_t cols = walk->tile.cols;
    size_t n_bytes = walk->gemm->packed_bytes(walk->n_tok, cols);

    for (unsigned block = 0; block < walk->col_blocks; block++)
        walk->gemm->pack(bench->x + block * cols, MAX_COLS, walk->n_tok, cols,
                         (char *)bench->packed[i] + block * n_bytes);
}

/* What the table would do such products with, were they a prompt's */
static unsigned serves(const struct bench *bench,
                       const struct kernels_cell *cell, unsigned i)
{
    const struct weir_gemm *gemm = cell->contenders[i].gemm;
    unsigned served = 0;

    if (cell->few)
        return gemm ? 0 : 1u << PRECISION_F32;
    for (int fine = 0; fine < 2; fine++)
        if (weir_gemm_for(&bench->kernels, cell->dtype, fine) == gemm)
            served |= 1u << (fine ? PRECISION_FINE : PRECISION_COARSE);
    return served;
}

static void cut_tiles(const struct matrix *matrix, enum weir_dtype dtype,
                      struct walk *walk)
{
    struct weir_tensor tensor = {
        .dtype = dtype, .n_dims = 2, .shape = {matrix->rows, matrix->cols}};

    weir_tiling_cut(&tensor, matrix->split, WEIR_TILE_BYTES);
    walk->tile.dtype = dtype;
    walk->tile.rows = tensor.tile_rows;
    walk->tile.cols = weir_tiling_block_cols(&tensor);
    walk->tile.row_bytes = weir_tiling_row_bytes(&tensor);
    walk->col_blocks = tensor.col_blocks;
    walk->stride = weir_page_up(walk->tile.rows * walk->tile.row_bytes);
}

/* The bound first, then the contenders */
static void measure_cell(struct bench *bench, const struct walk *like,
                         struct kernels_cell *cell)
{
    struct walk walks[MAX_CONTENDERS + 1];
    double rates[MAX_CONTENDERS + 1];
    unsigned width, n = 1, place[MAX_CONTENDERS];
    float sum;

    walks[0] = *like;
    walks[0].work = cell->few ? READ : FLOP;
    for (unsigned i = 0; i < cell->n_contenders; i++) {
        if (cell->contenders[i].missing)
            continue;
        place[i] = n;
        walks[n] = *like;
        walks[n].gemm = cell->contenders[i].gemm;
        walks[n].packed = bench->packed[i];
        if (walks[n].gemm)
            pack(bench, i, &walks[n]);
        n++;
    }
    run_rounds(walks, n, bench->args->n_repeats, rates);
    cell->bound =
        rates[0] * (cell->few ? (double)cell->tile_bytes
                              : (double)bench->kernels.probe_flop(
                                    FLOP_STEPS, 0.5f, 1, &width, &sum));
    for (unsigned i = 0; i < cell->n_contenders; i++)
        if (!cell->contenders[i].missing) {
            cell->rate[i] = rates[place[i]];
            cell->serves[i] = serves(bench, cell, i);
        }
}

static int run_cell(struct bench *bench, const struct matrix *matrix,
                    enum weir_dtype dtype, int few, size_t n_tok,
                    struct weir_err *err)
{
    struct walk walk = {.bench = bench, .work = MULTIPLY, .n_tok = n_tok};
    struct kernels_cell cell = {
        .cpu_level = weir_level_name(bench->level),
        .threads = weir_pool_n_threads(bench->pool),
        .dtype = dtype,
        .matrix = matrix->name,
        .n_tok = n_tok,
        .few = few,
        .first = dtype == dtypes[0] && matrix == matrices &&
                 n_tok == (few ? 1 : 2 * MAX_FEW),
        .contenders = few ? bench->few : bench->many,
        .n_contenders = few ? bench->n_few : bench->n_many};

    cut_tiles(matrix, dtype, &walk);
    walk.n_tiles = cell.threads * bench->probe.thread_bytes / walk.stride;
    walk.n_tiles -= walk.n_tiles % walk.col_blocks;
    cell.tile_rows = walk.tile.rows;
    cell.tile_cols = walk.tile.cols;
    cell.tile_bytes = walk.tile.rows * walk.tile.row_bytes;
    measure_cell(bench, &walk, &cell);
    progress_end(&bench->progress);
    bench->n_done++;
    return kernels_print_cell(&bench->print, &cell, err);
}

static size_t most_tok(const struct bench *bench, int few)
{
    size_t asked = few ? bench->args->n_decode : bench->args->n_prompt;
    size_t most = few ? MAX_FEW : MAX_MANY;

    return asked < most ? asked : most;
}

static int run_table(struct bench *bench, int few, struct weir_err *err)
{
    int rc = 0;

    for (unsigned d = 0; d < N_OF(dtypes); d++)
        for (unsigned m = 0; m < N_OF(matrices); m++)
            for (size_t n_tok = few ? 1 : 2 * MAX_FEW;
                 n_tok <= most_tok(bench, few) && !rc; n_tok *= 2) {
                progress_show(&bench->progress, "measuring", bench->n_done,
                              bench->n_all);
                rc = run_cell(bench, &matrices[m], dtypes[d], few, n_tok, err);
            }
    return rc;
}

static void add(struct contender *list, unsigned *n, const char *name,
                const struct weir_gemm *gemm)
{
    for (unsigned i = 0; i < *n; i++)
        if (gemm && list[i].gemm == gemm)
            return;
    list[*n].name = name;
    list[*n].gemm = gemm;
    list[*n].precision = !gemm || gemm->act == WEIR_F32 ? PRECISION_F32
                         : gemm->terms > 1              ? PRECISION_FINE
                                                        : PRECISION_COARSE;
    ++*n;
}

static void add_gemm(struct contender *list, unsigned *n,
                     const struct weir_gemm *gemm)
{
    if (gemm)
        add(list, n, gemm->name, gemm);
}

static void add_provider(struct bench *bench,
                         const struct weir_provider *provider)
{
    const char *missing = weir_provider_missing(provider, bench->level);

    if (provider->gemm->act == WEIR_F32) {
        add_gemm(bench->few, &bench->n_few, provider->gemm);
        bench->few[bench->n_few - 1].missing = missing;
    }
    add_gemm(bench->many, &bench->n_many, provider->gemm);
    bench->many[bench->n_many - 1].missing = missing;
}

/* Few tokens keep f32. */
static void find_contenders(struct bench *bench)
{
    const struct weir_kernels *kernels = &bench->kernels;
    const struct weir_provider *provider;

    add(bench->few, &bench->n_few, "matmul", NULL);
    add_gemm(bench->few, &bench->n_few, kernels->gemm_wide);
    add_gemm(bench->many, &bench->n_many, kernels->gemm);
    add_gemm(bench->many, &bench->n_many, kernels->gemm_fine);
    add_gemm(bench->many, &bench->n_many, kernels->gemm_wide);
    if (!bench->n_many)
        add(bench->many, &bench->n_many, "matmul", NULL);
    for (unsigned i = 0; (provider = weir_provider(i)); i++)
        add_provider(bench, provider);
}

static void *take(size_t n_bytes)
{
    return aligned_alloc(64, round_up(n_bytes, 64));
}

static size_t most_packed(const struct weir_gemm *gemm)
{
    size_t most = 0, n_bytes;

    for (unsigned i = 0; i < N_OF(matrices); i++) {
        struct walk walk;

        cut_tiles(&matrices[i], WEIR_I8, &walk);
        n_bytes =
            walk.col_blocks * gemm->packed_bytes(MAX_MANY, walk.tile.cols);
        most = n_bytes > most ? n_bytes : most;
    }
    return most;
}

/* Each list has its own; one is in use at a time. */
static size_t packed_bytes(const struct bench *bench, unsigned i)
{
    size_t few = i < bench->n_few && bench->few[i].gemm
                     ? most_packed(bench->few[i].gemm)
                     : 0;
    size_t many = i < bench->n_many && bench->many[i].gemm
                      ? most_packed(bench->many[i].gemm)
                      : 0;

    return few > many ? few : many;
}

static size_t scratch_bytes(const struct bench *bench)
{
    size_t most = 64, n_bytes;

    for (unsigned i = 0; i < bench->n_few + bench->n_many; i++) {
        const struct contender *of =
            i < bench->n_few ? &bench->few[i] : &bench->many[i - bench->n_few];

        n_bytes = of->gemm ? of->gemm->scratch_bytes(MAX_COLS) : 0;
        most = n_bytes > most ? n_bytes : most;
    }
    return most;
}

static int take_scratch(struct bench *bench, unsigned n, struct weir_err *err)
{
    /* rows up to those of int8 with the fewest columns, and a group more */
    size_t rows = WEIR_TILE_BYTES / 1024 + WEIR_GEMM_GROUP;
    size_t sums = rows * MAX_MANY * sizeof(float), gemm = scratch_bytes(bench);

    bench->scratch = calloc(n, sizeof(*bench->scratch));
    if (!bench->scratch)
        return weir_err_nomem(err, n * sizeof(*bench->scratch), "threads");
    for (bench->n_scratch = 0; bench->n_scratch < n; bench->n_scratch++) {
        struct scratch *scratch = &bench->scratch[bench->n_scratch];

        scratch->sums = take(sums);
        scratch->gemm = take(gemm);
        if (!scratch->sums || !scratch->gemm) {
            bench->n_scratch++;
            return weir_err_nomem(err, sums + gemm, "a thread");
        }
    }
    return 0;
}

static int take_memory(struct bench *bench, struct weir_err *err)
{
    const struct bench_args *args = bench->args;
    unsigned most = 1;
    size_t n_bytes;

    for (unsigned i = 0; i < args->n_threads; i++)
        most = args->threads[i] > most ? args->threads[i] : most;
    bench->x = take((size_t)MAX_MANY * MAX_COLS * sizeof(float));
    if (!bench->x)
        return weir_err_nomem(err, (size_t)MAX_MANY * MAX_COLS, "activations");
    for (size_t i = 0; i < (size_t)MAX_MANY * MAX_COLS; i++)
        bench->x[i] = (float)(i * 37 % 251) / 125 - 1;
    for (unsigned i = 0; i < MAX_CONTENDERS; i++) {
        n_bytes = packed_bytes(bench, i);
        if (n_bytes && !(bench->packed[i] = take(n_bytes)))
            return weir_err_nomem(err, n_bytes, "packed activations");
    }
    if (take_scratch(bench, most, err))
        return WEIR_ENOMEM;
    return probe_init(&bench->probe, most, 0, err);
}

static void release(struct bench *bench)
{
    probe_fini(&bench->probe);
    for (unsigned i = 0; i < bench->n_scratch; i++) {
        free(bench->scratch[i].sums);
        free(bench->scratch[i].gemm);
    }
    for (unsigned i = 0; i < MAX_CONTENDERS; i++)
        free(bench->packed[i]);
    free(bench->scratch);
    free(bench->x);
}

static int run_threads(struct bench *bench, unsigned n_threads,
                       struct weir_err *err)
{
    int rc = weir_pool_new(n_threads, &bench->pool, err);

    if (rc)
        return rc;
    probe_fill(&bench->probe, bench->pool);
    find_steady(bench, bench->few, bench->n_few);
    find_steady(bench, bench->many, bench->n_many);
    rc = run_table(bench, 1, err);
    if (!rc)
        rc = run_table(bench, 0, err);
    weir_pool_free(bench->pool);
    return rc;
}

static uint64_t count_cells(const struct bench *bench)
{
    uint64_t n = 0;

    for (size_t few = 1; few <= most_tok(bench, 1); few *= 2)
        n++;
    for (size_t many = 2 * MAX_FEW; many <= most_tok(bench, 0); many *= 2)
        n++;
    return n * N_OF(dtypes) * N_OF(matrices) * bench->args->n_threads;
}

int bench_kernels(const struct bench_args *args, struct weir_err *err)
{
    struct bench *bench = calloc(1, sizeof(*bench));
    int rc;

    if (!bench)
        return weir_err_nomem(err, sizeof(*bench), "a table");
    bench->args = args;
    bench->print.form = args->form;
    progress_init(&bench->progress, 0);
    bench->progress.unit = "cells";
    bench->n_all = count_cells(bench);
    rc = weir_level_choose(&bench->level, err);
    if (!rc) {
        weir_kernels_at(bench->level, &bench->kernels);
        find_contenders(bench);
        rc = take_memory(bench, err);
    }
    if (!rc)
        bench_warn(args, &bench->probe);
    for (unsigned i = 0; i < args->n_threads && !rc; i++)
        rc = run_threads(bench, args->threads[i], err);
    progress_end(&bench->progress);
    if (!rc)
        kernels_print_end(&bench->print);
    release(bench);
    free(bench);
    return rc;
}
