/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stays decoded is read tile after tile, as many in one read as the drive
 * likes, into buffers that are there only meanwhile.  What has come is decoded
 * by all threads, while the drive goes on with the next buffers.
 */
#include <stdlib.h>
#include <string.h>

#include "offload/codec.h"
#include "offload/store_parts.h"
#include "offload/tile.h"
#include "offload/tiling.h"

#define MAX_BUFFERS 16
#define MAX_TILES   256 /* of one read */

/* A tile on its way; the one to be read next */
struct piece {
    uint32_t tensor;
    uint64_t tile; /* counted from the tensor's first */
    struct weir_tile_record record;
    const uint8_t *stored;
};

struct buffer {
    struct weir_read read;
    struct piece pieces[MAX_TILES];
    unsigned n_pieces;
};

struct unpacker {
    struct weir_store *store;
    struct piece next; /* `tensor` is n_tensors at the end */
    struct buffer *buffers;
    unsigned n_buffers, n_in, n_out;
    struct piece *ready[MAX_BUFFERS * MAX_TILES];
    uint8_t *workspaces; /* of each worker */
    size_t workspace_bytes;

    pthread_mutex_t lock;
    size_t failed_item; /* the first that failed */
    int rc;
    struct weir_err err;
};

/* ---- reading ---- */

/* Moves on to a tile that is wanted; 0 when there is none. */
static int find_next(struct unpacker *unpacker)
{
    const struct weir_store *store = unpacker->store;
    const struct weir_file *file = store->file;
    struct piece *next = &unpacker->next;

    for (; next->tensor < file->n_tensors; next->tensor++, next->tile = 0) {
        const struct weir_tensor *tensor = &file->tensors[next->tensor];

        if (!store->units[store->unit_of[next->tensor]].is_unpacked ||
            next->tile == weir_tiling_n_tiles(tensor))
            continue;
        weir_file_tile(file, tensor->first_tile + next->tile, &next->record);
        return 1;
    }
    return 0;
}

/* Whether the next tile comes with those that the read has */
static int belongs(const struct unpacker *unpacker, const struct buffer *buffer)
{
    const struct weir_tile_record *record = &unpacker->next.record;
    const struct weir_read *read = &buffer->read;
    size_t most = unpacker->store->drives.request_bytes[record->file];

    return buffer->n_pieces == 0 ||
           (buffer->n_pieces < MAX_TILES && record->file == read->file &&
            record->offset == read->offset + read->n_bytes &&
            read->n_bytes + weir_page_up(record->stored_bytes) <= most);
}

static void add_next(struct unpacker *unpacker, struct buffer *buffer)
{
    struct piece *piece = &buffer->pieces[buffer->n_pieces++];
    struct weir_read *read = &buffer->read;

    *piece = unpacker->next;
    piece->stored = (uint8_t *)read->buffer + read->n_bytes;
    if (buffer->n_pieces == 1) {
        read->file = piece->record.file;
        read->offset = piece->record.offset;
    }
    read->n_bytes += weir_page_up(piece->record.stored_bytes);
    unpacker->next.tile++;
}

static struct buffer *buffer_at(struct unpacker *unpacker, unsigned n)
{
    return &unpacker->buffers[n % unpacker->n_buffers];
}

/* Hands in the next read; 0 when there is none. */
static int start_read(struct unpacker *unpacker)
{
    struct buffer *buffer = buffer_at(unpacker, unpacker->n_in);

    buffer->read = (struct weir_read){.buffer = buffer->read.buffer};
    buffer->n_pieces = 0;
    while (find_next(unpacker) && belongs(unpacker, buffer))
        add_next(unpacker, buffer);
    if (!buffer->n_pieces)
        return 0;
    weir_reader_submit(unpacker->store->reader, &buffer->read);
    unpacker->n_in++;
    return 1;
}

/* ---- decoding ---- */

static void note_failure(struct unpacker *unpacker, size_t item, int rc,
                         const struct weir_err *err)
{
    pthread_mutex_lock(&unpacker->lock);
    if (!unpacker->rc || item < unpacker->failed_item) {
        unpacker->failed_item = item;
        unpacker->rc = rc;
        unpacker->err = *err;
    }
    pthread_mutex_unlock(&unpacker->lock);
}

/* A tile that is wrong is read once more. */
static int check_piece(struct weir_store *store, const struct piece *piece,
                       struct weir_err *err)
{
    int rc;

    if (weir_tile_is_good(&piece->record, piece->stored))
        return 0;
    rc = weir_store_read(store, &piece->record, (void *)piece->stored, err);
    if (rc || weir_tile_is_good(&piece->record, piece->stored))
        return rc;
    return weir_tile_damaged(store->file, piece->tensor, piece->tile, err);
}

static void unpack_piece(void *ctx, size_t item, unsigned worker)
{
    struct unpacker *unpacker = ctx;
    struct weir_store *store = unpacker->store;
    const struct piece *piece = unpacker->ready[item];
    void *out = (void *)weir_store_unpacked(store, piece->tensor, piece->tile);
    struct weir_err err;
    int rc = check_piece(store, piece, &err);

    if (!rc && weir_tile_unpack(&store->file->tensors[piece->tensor],
                                piece->tile, &piece->record, piece->stored, out,
                                unpacker->workspaces +
                                    worker * unpacker->workspace_bytes))
        rc = weir_tile_damaged(store->file, piece->tensor, piece->tile, &err);
    if (rc)
        note_failure(unpacker, item, rc, &err);
}

/* Waits for the oldest read, then takes what else has come; how many tiles */
static int take_ready(struct unpacker *unpacker, size_t *n,
                      struct weir_err *err)
{
    struct weir_reader *reader = unpacker->store->reader;
    struct buffer *buffer = buffer_at(unpacker, unpacker->n_out);

    *n = 0;
    do {
        if (weir_reader_wait(reader, &buffer->read))
            return weir_reader_explain(reader, &buffer->read, err);
        for (unsigned i = 0; i < buffer->n_pieces; i++)
            unpacker->ready[(*n)++] = &buffer->pieces[i];
        buffer = buffer_at(unpacker, ++unpacker->n_out);
    } while (unpacker->n_out < unpacker->n_in &&
             weir_read_is_done(&buffer->read));
    return 0;
}

static int run(struct unpacker *unpacker, struct weir_pool *pool,
               struct weir_err *err)
{
    size_t n_ready;
    int rc = 0;

    while (!rc) {
        while (unpacker->n_in - unpacker->n_out < unpacker->n_buffers &&
               start_read(unpacker))
            ;
        if (unpacker->n_in == unpacker->n_out)
            return 0;
        rc = take_ready(unpacker, &n_ready, err);
        if (rc)
            break;
        weir_pool_run(pool, n_ready, unpack_piece, unpacker);
        rc = unpacker->rc;
        if (rc && err)
            *err = unpacker->err;
    }
    for (; unpacker->n_out < unpacker->n_in; unpacker->n_out++)
        weir_reader_wait(unpacker->store->reader,
                         &buffer_at(unpacker, unpacker->n_out)->read);
    return rc;
}

/* ---- all of it ---- */

static int take_memory(struct unpacker *unpacker, struct weir_pool *pool,
                       struct weir_err *err)
{
    struct weir_store *store = unpacker->store;
    size_t tile_bytes = weir_page_up(store->file->max_tile_bytes + 1u);
    size_t each = weir_page_up(store->drives.max_request);
    unsigned n = 2 * store->drives.depth, n_threads = weir_pool_n_threads(pool);
    int rc;

    each = each > tile_bytes ? each : tile_bytes;
    unpacker->n_buffers = n < MAX_BUFFERS ? n : MAX_BUFFERS;
    unpacker->workspace_bytes = (weir_decode_workspace_bytes() + 63) / 64 * 64;
    unpacker->buffers = calloc(unpacker->n_buffers, sizeof(*unpacker->buffers));
    unpacker->workspaces =
        aligned_alloc(64, n_threads * unpacker->workspace_bytes);
    if (!unpacker->buffers || !unpacker->workspaces)
        return weir_err_nomem(err, n_threads * unpacker->workspace_bytes,
                              "decoding");
    for (unsigned i = 0; i < n_threads; i++)
        weir_decode_workspace_init(unpacker->workspaces +
                                   i * unpacker->workspace_bytes);
    rc = weir_region_init(&store->unpacking, unpacker->n_buffers * each, err);
    for (unsigned i = 0; i < unpacker->n_buffers && !rc; i++)
        unpacker->buffers[i].read.buffer = store->unpacking.base + i * each;
    return rc;
}

/*
 * Buffers of reads that failed are kept until the reader is gone: a drive that
 * is given up may write to them long after.
 */
int weir_store_unpack(struct weir_store *store, struct weir_pool *pool,
                      struct weir_err *err)
{
    struct unpacker *unpacker = calloc(1, sizeof(*unpacker));
    int rc;

    if (!unpacker)
        return weir_err_nomem(err, sizeof(*unpacker), "decoding");
    unpacker->store = store;
    rc = 0;
    if (find_next(unpacker)) {
        pthread_mutex_init(&unpacker->lock, NULL);
        rc = take_memory(unpacker, pool, err);
        if (!rc)
            rc = run(unpacker, pool, err);
        pthread_mutex_destroy(&unpacker->lock);
        if (!rc)
            weir_region_fini(&store->unpacking);
    }
    free(unpacker->buffers);
    free(unpacker->workspaces);
    free(unpacker);
    return rc;
}
