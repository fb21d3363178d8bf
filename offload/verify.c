/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/verify.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/pool.h"
#include "offload/codec.h"
#include "offload/tiling.h"

#define TILES_AT_ONCE 64

/* Memory of one thread. */
struct slot {
    uint8_t *stored, *unpacked, *workspace;
};

struct verifier {
    const struct weir_verify *verify;
    const struct weir_file *file;
    struct slot *slots;
    pthread_mutex_t lock;
    uint64_t n_bad, done, total;
};

static void report(struct verifier *v, const char *text)
{
    pthread_mutex_lock(&v->lock);
    v->n_bad++;
    if (v->verify->bad)
        v->verify->bad(v->verify->ctx, text);
    pthread_mutex_unlock(&v->lock);
}

/* The tensor that tile `tile` belongs to. */
static uint32_t tensor_of(const struct weir_file *file, uint64_t tile)
{
    uint32_t low = 0, high = file->n_tensors - 1;

    while (low < high) {
        uint32_t mid = low + (high - low + 1) / 2;

        if (file->tensors[mid].first_tile <= tile)
            low = mid;
        else
            high = mid - 1;
    }
    return low;
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
static const char *check_tile(const struct verifier *v, const struct slot *slot,
                              const struct weir_tensor *tensor,
                              const struct weir_tile_record *record,
                              uint64_t n_bytes)
{
    const struct weir_file *file = v->file;
    uint64_t pages = weir_page_up(record->stored_bytes);

    if (weir_pread_all(file->fd, slot->stored, pages, record->offset,
                       file->path, NULL))
        return "cannot be read";
    posix_fadvise(file->fd, (off_t)record->offset, (off_t)pages,
                  POSIX_FADV_DONTNEED);
    if (XXH3_64bits(slot->stored, record->stored_bytes) != record->xxh3)
        return "wrong checksum";
    if (!weir_is_all_zero(slot->stored + record->stored_bytes,
                          pages - record->stored_bytes))
        return "bytes behind it that must be zero";
    if (weir_decode(record->codec, slot->stored, record->stored_bytes,
                    slot->unpacked, n_bytes, slot->workspace))
        return "cannot be decoded";
    if (!padding_is_zero(tensor, slot->unpacked, n_bytes))
        return "padding that must be zero";
    return NULL;
}

static void verify_tile(struct verifier *v, const struct slot *slot,
                        uint64_t number)
{
    const struct weir_file *file = v->file;
    uint32_t i = tensor_of(file, number);
    const struct weir_tensor *tensor = &file->tensors[i];
    uint64_t tile = number - tensor->first_tile;
    struct weir_tile_record record;
    const char *why;
    char text[512];

    if (tensor->owner != i)
        return; /* read where it is another's */
    weir_file_tile(file, number, &record);
    why = check_tile(v, slot, tensor, &record,
                     weir_tiling_tile_bytes(tensor, tile));
    if (why) {
        snprintf(text, sizeof(text), "offset %llu: tile %llu of %s: %s",
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

static void verify_some(void *ctx, size_t item, unsigned worker)
{
    struct verifier *v = ctx;
    uint64_t from = item * TILES_AT_ONCE, to = from + TILES_AT_ONCE;

    if (to > v->file->n_tiles)
        to = v->file->n_tiles;
    for (; from < to; from++)
        verify_tile(v, &v->slots[worker], from);
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

static int alloc_slots(struct verifier *v, unsigned n, struct weir_err *err)
{
    size_t bytes = weir_page_up(v->file->max_tile_bytes);

    v->slots = calloc(n, sizeof(*v->slots));
    if (!v->slots)
        return weir_err_nomem(err, n * sizeof(*v->slots), "checking");
    for (unsigned i = 0; i < n; i++) {
        v->slots[i].stored = malloc(bytes);
        v->slots[i].unpacked = malloc(bytes);
        v->slots[i].workspace =
            aligned_alloc(64, weir_decode_workspace_bytes());
        if (!v->slots[i].stored || !v->slots[i].unpacked ||
            !v->slots[i].workspace)
            return weir_err_nomem(err, 2 * bytes, "checking");
        weir_decode_workspace_init(v->slots[i].workspace);
    }
    return 0;
}

static void free_slots(struct verifier *v, unsigned n)
{
    for (unsigned i = 0; v->slots && i < n; i++) {
        free(v->slots[i].stored);
        free(v->slots[i].unpacked);
        free(v->slots[i].workspace);
    }
    free(v->slots);
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

int weir_verify_run(const struct weir_verify *verify,
                    const struct weir_file *file, uint64_t *n_bad,
                    struct weir_err *err)
{
    struct verifier v = {.verify = verify, .file = file};
    struct weir_pool *pool;
    unsigned n;
    int rc = weir_pool_new(verify->n_threads, &pool, err);

    if (rc)
        return rc;
    n = weir_pool_n_threads(pool);
    rc = alloc_slots(&v, n, err);
    if (!rc) {
        pthread_mutex_init(&v.lock, NULL);
        v.total = stored_total(file);
        verify_blobs(&v);
        weir_pool_run(pool, (file->n_tiles + TILES_AT_ONCE - 1) / TILES_AT_ONCE,
                      verify_some, &v);
        pthread_mutex_destroy(&v.lock);
    }
    *n_bad = v.n_bad;
    free_slots(&v, n);
    weir_pool_free(pool);
    return rc;
}
