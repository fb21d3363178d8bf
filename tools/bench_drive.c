/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each read that ends hands itself in again, on the reader's thread, so that
 * nobody else is needed to keep the drive busy and the threads of the pool are
 * free for the work that a drive is measured beside.
 */
#include "tools/bench_drive.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offload/drives.h"
#include "tools/progress.h"

#define N_WINDOWS   3
#define WINDOW_S    0.1
#define PIECE_BYTES ((size_t)1 << 20) /* of an item of work */

/* A tile as large as those of models */
#define TILE_ROWS 64
#define TILE_COLS 4096

struct load {
    const struct weir_kernels *kernels;
    const char *data;
};

static void submit(struct drive_probe *probe, struct weir_read *read)
{
    uint64_t n_places = probe->file_bytes / probe->request_bytes;
    uint64_t *random = &probe->random[read - probe->reads];

    *random = *random * 6364136223846793005u + 1442695040888963407u;
    read->offset = (*random >> 33) % n_places * probe->request_bytes;
    weir_reader_submit(probe->reader, read);
}

static void on_done(struct weir_read *read)
{
    struct drive_probe *probe = read->ctx;

    if (read->errnum)
        atomic_store(&probe->errnum, read->errnum);
    else
        atomic_fetch_add(&probe->n_bytes, read->n_bytes);
    if (read->errnum || atomic_load(&probe->stop))
        atomic_fetch_sub(&probe->n_active, 1);
    else
        submit(probe, read);
}

int drive_probe_init(struct drive_probe *probe, const struct weir_file *file,
                     enum weir_io io, double most_gbps, struct weir_err *err)
{
    struct weir_reader_options options = {
        .io = io, .most_gbps = most_gbps, .region = &probe->region};
    struct weir_drives drives;
    int rc;

    memset(probe, 0, sizeof(*probe));
    weir_drives_get(file, &drives);
    probe->depth =
        drives.depth < WEIR_READ_DEPTH_MAX ? drives.depth : WEIR_READ_DEPTH_MAX;
    probe->request_bytes = drives.max_request;
    probe->file_bytes = file->parts[0].n_bytes;
    for (unsigned i = 1; i < file->n_parts; i++)
        if (file->parts[i].n_bytes < probe->file_bytes)
            probe->file_bytes = file->parts[i].n_bytes;
    if (probe->request_bytes > probe->file_bytes)
        probe->request_bytes = WEIR_READ_ALIGN;
    rc = weir_region_init(&probe->region, probe->depth * probe->request_bytes,
                          err);
    if (rc)
        return rc;
    memset(probe->region.base, 1, probe->depth * probe->request_bytes);
    rc = weir_reader_new(&options, drives.files, drives.n_files, &probe->reader,
                         err);
    for (unsigned i = 0; i < probe->depth; i++) {
        probe->random[i] = i;
        probe->reads[i] = (struct weir_read){.file = i % drives.n_files,
                                             .n_bytes = probe->request_bytes,
                                             .buffer = probe->region.base +
                                                       i * probe->request_bytes,
                                             .done = on_done,
                                             .ctx = probe};
    }
    return rc;
}

void drive_probe_fini(struct drive_probe *probe)
{
    /* the reader first: it may write to the region until it is gone */
    weir_reader_free(probe->reader);
    weir_region_fini(&probe->region);
    memset(probe, 0, sizeof(*probe));
}

static void begin(struct drive_probe *probe)
{
    uint64_t n_places = probe->file_bytes / probe->request_bytes;
    unsigned n = probe->depth;

    atomic_store(&probe->stop, 0);
    atomic_store(&probe->errnum, 0);
    atomic_store(&probe->n_active, n);
    for (unsigned i = 0; i < n; i++) {
        probe->reads[i].offset = i % n_places * probe->request_bytes;
        weir_reader_submit(probe->reader, &probe->reads[i]);
    }
}

static int end(struct drive_probe *probe, struct weir_err *err)
{
    struct weir_read *read = NULL;

    atomic_store(&probe->stop, 1);
    while (atomic_load(&probe->n_active))
        usleep(100);
    for (unsigned i = 0; i < probe->depth && !read; i++)
        if (probe->reads[i].errnum)
            read = &probe->reads[i];
    return read ? weir_reader_explain(probe->reader, read, err) : 0;
}

static void multiply_piece(void *ctx, size_t item, unsigned worker)
{
    static const float x[TILE_COLS];
    const struct load *load = ctx;
    float y[TILE_ROWS];
    struct weir_tile tile = {.data = load->data + item * PIECE_BYTES,
                             .dtype = WEIR_I8,
                             .rows = TILE_ROWS,
                             .cols = TILE_COLS,
                             .row_bytes = TILE_COLS};

    (void)worker;
    for (size_t at = 0; at < PIECE_BYTES; at += TILE_ROWS * TILE_COLS) {
        load->kernels->matmul(&tile, x, TILE_COLS, 1, y, TILE_ROWS);
        tile.data = (const char *)tile.data + TILE_ROWS * TILE_COLS;
    }
}

/* Keeps the threads busy for a window, or waits for its end. */
static double work(struct weir_pool *pool, struct load *load, size_t n_items)
{
    double start = progress_seconds(), now = start;

    while (now - start < WINDOW_S) {
        if (pool)
            weir_pool_run(pool, n_items, multiply_piece, load);
        else
            usleep(1000);
        now = progress_seconds();
    }
    return now - start;
}

static int measure(struct drive_probe *probe, struct weir_pool *pool,
                   struct load *load, size_t n_items, double *rate,
                   struct weir_err *err)
{
    uint64_t n_bytes;
    double seconds, is;

    *rate = 0;
    begin(probe);
    for (int i = 0; i < N_WINDOWS && !atomic_load(&probe->errnum); i++) {
        n_bytes = atomic_load(&probe->n_bytes);
        seconds = work(pool, load, n_items);
        is = (double)(atomic_load(&probe->n_bytes) - n_bytes) / seconds;
        if (is > *rate)
            *rate = is;
    }
    return end(probe, err);
}

int drive_probe_idle(struct drive_probe *probe, double *rate,
                     struct weir_err *err)
{
    return measure(probe, NULL, NULL, 0, rate, err);
}

int drive_probe_loaded(struct drive_probe *probe, struct weir_pool *pool,
                       const struct weir_kernels *kernels, const void *data,
                       size_t n_bytes, double *rate, struct weir_err *err)
{
    struct load load = {kernels, data};

    return measure(probe, pool, &load, n_bytes / PIECE_BYTES, rate, err);
}
