/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of slots: each is a run of tiles that is being read or waits to be
 * checked.  A worker takes the oldest, checks it, and hands it in again with
 * the next run, so that the drive always has something to do.
 */
#include "offload/verify.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/pool.h"
#include "offload/checksum.h"
#include "offload/codec.h"
#include "offload/drives.h"
#include "offload/runs.h"
#include "offload/tiling.h"

/* Memory of one thread. */
struct scratch {
    uint8_t *unpacked, *workspace;
};

struct slot {
    struct weir_read read;
    struct weir_run run;
    struct slot *next;
};

struct verifier {
    const struct weir_verify *verify;
    const struct weir_file *file;
    struct scratch *scratch; /* of each thread */
    struct weir_region region;
    struct weir_reader *reader;
    struct slot *slots;
    unsigned n_slots;

    pthread_mutex_t lock; /* of all below */
    struct slot *oldest, **newest;
    struct weir_runs runs;
    uint64_t n_bad, done, total;
    int rc; /* of a drive that fails: nothing is handed in any more */
    struct weir_err err;
};

static void report(struct verifier *v, const char *text)
{
    pthread_mutex_lock(&v->lock);
    v->n_bad++;
    if (v->verify->bad)
        v->verify->bad(v->verify->ctx, text);
    pthread_mutex_unlock(&v->lock);
}

/* The padding behind each row, which kernels may read. */
static int padding_is_zero(const struct weir_tensor *tensor,
                           const uint8_t *unpacked, uint64_t n_bytes)
{
    uint64_t row_bytes = weir_tiling_row_bytes(tensor);
    uint64_t used =
        weir_tiling_block_cols(tensor) * weir_dtype_bytes(tensor->dtype);

    for (uint64_t at = 0; at < n_bytes; at += row_bytes)
        if (!weir_is_all_zero(unpacked + at + used, row_bytes - used))
            return 0;
    return 1;
}

/* NULL, or what is wrong with the tile or with the rest of its last page. */
static const char *check_tile(const struct scratch *scratch,
                              const struct weir_tensor *tensor,
                              const struct weir_tile_record *record,
                              const uint8_t *stored, uint64_t n_bytes)
{
    uint64_t pages = weir_page_up(record->stored_bytes);

    if (weir_checksum(stored, record->stored_bytes) != record->xxh3)
        return "wrong checksum";
    if (!weir_is_all_zero(stored + record->stored_bytes,
                          pages - record->stored_bytes))
        return "bytes behind it that must be zero";
    if (weir_decode(record->codec, stored, record->stored_bytes,
                    scratch->unpacked, n_bytes, scratch->workspace))
        return "cannot be decoded";
    if (!padding_is_zero(tensor, scratch->unpacked, n_bytes))
        return "padding that must be zero";
    return NULL;
}

/* A drive that answers with errors can still have the tile. */
static int read_tile(struct verifier *v, const struct slot *slot,
                     const struct weir_tile_record *record)
{
    struct weir_read read = {
        .file = record->file,
        .offset = record->offset,
        .n_bytes = weir_page_up(record->stored_bytes),
        .buffer =
            (uint8_t *)slot->read.buffer + record->offset - slot->run.offset,
    };

    weir_reader_submit(v->reader, &read);
    return weir_reader_wait(v->reader, &read);
}

/* A tile of tensor `i` that lies in the slot */
static void verify_tile(struct verifier *v, const struct scratch *scratch,
                        const struct slot *slot, uint32_t i, uint64_t number)
{
    const struct weir_tensor *tensor = &v->file->tensors[i];
    uint64_t tile = number - tensor->first_tile;
    struct weir_tile_record record;
    const char *why;
    char text[WEIR_PATH_BYTES + 512];

    weir_file_tile(v->file, number, &record);
    if (slot->read.errnum && read_tile(v, slot, &record))
        why = "cannot be read";
    else
        why = check_tile(scratch, tensor, &record,
                         (const uint8_t *)slot->read.buffer + record.offset -
                             slot->run.offset,
                         weir_tiling_tile_bytes(tensor, tile));
    if (why && !weir_reader_has_failed(v->reader)) {
        snprintf(text, sizeof(text), "%s: offset %llu: tile %llu of %s: %s",
                 v->file->parts[record.file].path,
                 (unsigned long long)record.offset, (unsigned long long)tile,
                 tensor->name, why);
        report(v, text);
    }
    pthread_mutex_lock(&v->lock);
    v->done += record.stored_bytes;
    if (v->verify->progress)
        v->verify->progress(v->verify->ctx, v->done, v->total);
    pthread_mutex_unlock(&v->lock);
}

static void verify_run(struct verifier *v, const struct scratch *scratch,
                       const struct slot *slot)
{
    const struct weir_run *run = &slot->run;
    uint32_t i = run->tensor;

    for (uint32_t k = 0; k < run->n_tiles; k++) {
        uint64_t number = run->first_tile + k;

        while (number - v->file->tensors[i].first_tile >=
               weir_tiling_n_tiles(&v->file->tensors[i]))
            i++;
        verify_tile(v, scratch, slot, i, number);
    }
    if (!weir_reader_is_direct(v->reader))
        posix_fadvise(v->file->parts[run->file].fd, (off_t)run->offset,
                      (off_t)run->n_bytes, POSIX_FADV_DONTNEED);
}

/* Hands the slot in with the next run, if there is one.  Under the lock. */
static void refill(struct verifier *v, struct slot *slot)
{
    if (v->rc || !weir_runs_next(&v->runs, &slot->run))
        return;
    slot->read.file = slot->run.file;
    slot->read.offset = slot->run.offset;
    slot->read.n_bytes = slot->run.n_bytes;
    weir_reader_submit(v->reader, &slot->read);
    slot->next = NULL;
    *v->newest = slot;
    v->newest = &slot->next;
}

/* The slot that was handed in first, or NULL: nothing is left */
static struct slot *take_oldest(struct verifier *v)
{
    struct slot *slot;

    pthread_mutex_lock(&v->lock);
    slot = v->oldest;
    if (slot)
        v->oldest = slot->next;
    if (!v->oldest)
        v->newest = &v->oldest;
    pthread_mutex_unlock(&v->lock);
    return slot;
}

static void verify_some(void *ctx, size_t item, unsigned worker)
{
    struct verifier *v = ctx;
    struct slot *slot;

    (void)item;
    while ((slot = take_oldest(v))) {
        weir_reader_wait(v->reader, &slot->read);
        if (!weir_reader_has_failed(v->reader))
            verify_run(v, &v->scratch[worker], slot);
        pthread_mutex_lock(&v->lock);
        if (slot->read.errnum && weir_reader_has_failed(v->reader) && !v->rc)
            v->rc = weir_reader_explain(v->reader, &slot->read, &v->err);
        refill(v, slot);
        pthread_mutex_unlock(&v->lock);
    }
}

static void verify_blobs(struct verifier *v)
{
    char text[640];
    struct weir_err why;
    char *data;
    size_t n;

    for (uint32_t i = 0; i < v->file->n_blobs; i++) {
        if (weir_file_read_blob(v->file, v->file->blobs[i].name, &data, &n,
                                &why)) {
            snprintf(text, sizeof(text), "%s", why.message);
            report(v, text);
        }
        free(data);
    }
}

static int alloc_scratch(struct verifier *v, unsigned n, struct weir_err *err)
{
    size_t bytes = v->file->max_tile_bytes + 1u;

    v->scratch = calloc(n, sizeof(*v->scratch));
    if (!v->scratch)
        return weir_err_nomem(err, n * sizeof(*v->scratch), "checking");
    for (unsigned i = 0; i < n; i++) {
        v->scratch[i].unpacked = malloc(bytes);
        v->scratch[i].workspace =
            aligned_alloc(64, weir_decode_workspace_bytes());
        if (!v->scratch[i].unpacked || !v->scratch[i].workspace)
            return weir_err_nomem(err, bytes, "checking");
        weir_decode_workspace_init(v->scratch[i].workspace);
    }
    return 0;
}

static int open_reader(struct verifier *v, unsigned n_threads,
                       struct weir_err *err)
{
    const struct weir_verify *verify = v->verify;
    struct weir_drives drives;
    struct weir_reader_options options = {
        .io = verify->io, .calls = verify->calls, .region = &v->region};
    size_t slot_bytes = weir_page_up(v->file->max_tile_bytes);
    int rc;

    weir_drives_get(v->file, &drives);
    if (slot_bytes < drives.max_request)
        slot_bytes = drives.max_request;
    v->runs.most = slot_bytes;
    v->n_slots = drives.depth + n_threads;
    v->slots = calloc(v->n_slots, sizeof(*v->slots));
    if (!v->slots)
        return weir_err_nomem(err, v->n_slots * sizeof(*v->slots), "reading");
    rc = weir_region_init(&v->region, v->n_slots * slot_bytes, err);
    for (unsigned i = 0; i < v->n_slots; i++)
        v->slots[i].read.buffer = v->region.base + i * slot_bytes;
    if (!rc)
        rc = weir_reader_new(&options, drives.files, drives.n_files, &v->reader,
                             err);
    if (!rc && verify->note && weir_reader_note(v->reader))
        verify->note(verify->ctx, weir_reader_note(v->reader));
    return rc;
}

/* The reader first: it may write to the region until it is gone. */
static void release(struct verifier *v, unsigned n_threads)
{
    weir_reader_free(v->reader);
    weir_region_fini(&v->region);
    free(v->slots);
    for (unsigned i = 0; v->scratch && i < n_threads; i++) {
        free(v->scratch[i].unpacked);
        free(v->scratch[i].workspace);
    }
    free(v->scratch);
    pthread_mutex_destroy(&v->lock);
}

static uint64_t stored_total(const struct weir_file *file)
{
    struct weir_tile_record record;
    uint64_t total = 0;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];
        uint64_t n = tensor->owner == i ? weir_tiling_n_tiles(tensor) : 0;

        for (uint64_t k = 0; k < n; k++) {
            weir_file_tile(file, tensor->first_tile + k, &record);
            total += record.stored_bytes;
        }
    }
    return total;
}

static int verify_all(struct verifier *v, struct weir_pool *pool,
                      struct weir_err *err)
{
    unsigned n = weir_pool_n_threads(pool);
    int rc = alloc_scratch(v, n, err);

    if (!rc)
        rc = open_reader(v, n, err);
    if (rc)
        return rc;
    v->total = stored_total(v->file);
    verify_blobs(v);
    pthread_mutex_lock(&v->lock);
    for (unsigned i = 0; i < v->n_slots; i++)
        refill(v, &v->slots[i]);
    pthread_mutex_unlock(&v->lock);
    weir_pool_run(pool, n, verify_some, v);
    if (v->rc && err)
        *err = v->err;
    return v->rc;
}

int weir_verify_run(const struct weir_verify *verify,
                    const struct weir_file *file, uint64_t *n_bad,
                    struct weir_err *err)
{
    struct verifier v = {.verify = verify, .file = file, .runs.file = file};
    struct weir_pool *pool;
    unsigned n;
    int rc = weir_pool_new(verify->n_threads, &pool, err);

    *n_bad = 0;
    if (rc)
        return rc;
    n = weir_pool_n_threads(pool);
    v.newest = &v.oldest;
    pthread_mutex_init(&v.lock, NULL);
    rc = verify_all(&v, pool, err);
    *n_bad = v.n_bad;
    release(&v, n);
    weir_pool_free(pool);
    return rc;
}
