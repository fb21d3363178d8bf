/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/residency.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "offload/codec.h"
#include "offload/store.h"
#include "offload/tile.h"
#include "offload/tiling.h"

/* Maps that weir_sigbus_repair() may meet, found without a lock. */
#define MAX_MAPS 64

struct map {
    _Atomic(uintptr_t) base; /* 0: free */
    size_t n_bytes;
    atomic_int lost; /* a page of it was replaced by zeros */
};

static struct map maps[MAX_MAPS];

struct weir_residency {
    const struct weir_file *file;
    const uint8_t *base[WEIR_FILES_MAX]; /* of each part; NULL: not mapped */
    struct map *map[WEIR_FILES_MAX];
    struct weir_store *store; /* NULL: the file is mapped */
    atomic_uchar *verified;   /* one for each tile */
};

int weir_sigbus_repair(void *address)
{
    uintptr_t at = (uintptr_t)address, base;
    void *page = (void *)(at & ~(uintptr_t)(WEIR_FILE_PAGE - 1));

    for (size_t i = 0; i < MAX_MAPS; i++) {
        base = atomic_load(&maps[i].base);
        if (!base || at < base || at - base >= maps[i].n_bytes)
            continue;
        atomic_store(&maps[i].lost, 1);
        return mmap(page, WEIR_FILE_PAGE, PROT_READ,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
                    0) != MAP_FAILED;
    }
    return 0;
}

/* `base` is published last: a handler sees a map complete or not at all. */
static struct map *claim_map(void *base, size_t n_bytes)
{
    uintptr_t empty;

    for (size_t i = 0; i < MAX_MAPS; i++) {
        empty = 0;
        /* 1 is no address: it marks the slot as taken but not yet valid */
        if (!atomic_compare_exchange_strong(&maps[i].base, &empty, 1))
            continue;
        maps[i].n_bytes = n_bytes;
        atomic_store(&maps[i].lost, 0);
        atomic_store(&maps[i].base, (uintptr_t)base);
        return &maps[i];
    }
    return NULL;
}

static int map_part(struct weir_residency *residency, unsigned i,
                    struct weir_err *err)
{
    const struct weir_part *part = &residency->file->parts[i];
    void *base = mmap(NULL, part->n_bytes, PROT_READ, MAP_SHARED, part->fd, 0);

    if (base == MAP_FAILED)
        return weir_err_errno(err, errno, "map", part->path);
    residency->base[i] = base;
    residency->map[i] = claim_map(base, part->n_bytes);
    if (!residency->map[i])
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: %d files of models are open already; close "
                            "one",
                            part->path, MAX_MAPS);
    return 0;
}

static int map_parts(struct weir_residency *residency, struct weir_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < residency->file->n_parts && !rc; i++)
        rc = map_part(residency, i, err);
    return rc;
}

static void unmap_parts(struct weir_residency *residency)
{
    for (unsigned i = 0; i < residency->file->n_parts; i++) {
        if (residency->map[i])
            atomic_store(&residency->map[i]->base, 0);
        if (residency->base[i])
            munmap((void *)residency->base[i],
                   residency->file->parts[i].n_bytes);
    }
}

int weir_residency_new(const struct weir_file *file,
                       const struct weir_residency_options *options,
                       struct weir_residency **out, struct weir_err *err)
{
    struct weir_residency *residency = calloc(1, sizeof(*residency));
    int rc;

    *out = NULL;
    if (!residency)
        return weir_err_nomem(err, sizeof(*residency), "a model");
    residency->file = file;
    residency->verified = calloc(file->n_tiles + 1, 1);
    if (!residency->verified)
        rc = weir_err_nomem(err, file->n_tiles, "the marks of tiles");
    else if (!options || options->mapped)
        rc = map_parts(residency, err);
    else
        rc = weir_store_new(file, options, residency->verified,
                            &residency->store, err);
    if (rc) {
        weir_residency_free(residency);
        return rc;
    }
    *out = residency;
    return 0;
}

void weir_residency_free(struct weir_residency *residency)
{
    if (!residency)
        return;
    unmap_parts(residency);
    weir_store_free(residency->store);
    free(residency->verified);
    free(residency);
}

int weir_residency_keep(struct weir_residency *residency,
                        const struct weir_use *uses,
                        const struct weir_placement_ask *ask,
                        struct weir_pool *pool, struct weir_err *err)
{
    if (!residency->store)
        return 0;
    return weir_store_keep(residency->store, uses, ask, pool, err);
}

void weir_residency_begin_pass(struct weir_residency *residency)
{
    if (residency->store)
        weir_store_begin_pass(residency->store);
}

/* Bytes [first, last) of the tiles in one part */
struct span {
    uint64_t first, last;
};

/* Tiles lie in each part in the order of their numbers. */
static void find_spans(const struct weir_file *file, uint64_t tile,
                       uint64_t end, struct span spans[WEIR_FILES_MAX])
{
    struct weir_tile_record record;

    for (; tile <= end; tile++) {
        struct span *span;

        weir_file_tile(file, tile, &record);
        span = &spans[record.file];
        if (!span->last)
            span->first = record.offset;
        span->last = record.offset + record.stored_bytes;
        if (file->n_parts == 1 && tile < end)
            tile = end - 1; /* the last one says it all */
    }
}

/*
 * Linux looks every page up that it is advised of, which takes longer than to
 * compute with what lies there: it is told once, before the unit's last tile is
 * touched.
 */
static void advise(const struct weir_residency *residency, uint32_t unit)
{
    const struct weir_file *file = residency->file;
    const struct weir_unit *wanted = &file->units[unit];
    const struct weir_tensor *tensor = &file->tensors[wanted->first_tensor];
    struct span spans[WEIR_FILES_MAX] = {0};
    uint64_t first = tensor->first_tile, end;

    tensor += wanted->n_tensors - 1;
    end = tensor->first_tile + weir_tiling_n_tiles(tensor) - 1;
    if (atomic_load_explicit(&residency->verified[end], memory_order_relaxed))
        return;
    find_spans(file, first, end, spans);
    for (unsigned i = 0; i < file->n_parts; i++)
        if (spans[i].last)
            madvise((void *)(residency->base[i] + spans[i].first),
                    spans[i].last - spans[i].first, MADV_WILLNEED);
}

void weir_residency_want(struct weir_residency *residency, uint32_t unit)
{
    if (residency->store)
        weir_store_want(residency->store, unit);
    else
        advise(residency, unit);
}

void weir_residency_done(struct weir_residency *residency, uint32_t unit)
{
    if (residency->store)
        weir_store_done(residency->store, unit);
}

int weir_residency_may_guess(struct weir_residency *residency, uint32_t router)
{
    return residency->store && weir_store_may_guess(residency->store, router);
}

void weir_residency_guess(struct weir_residency *residency, uint32_t unit)
{
    if (residency->store)
        weir_store_guess(residency->store, unit);
}

unsigned weir_residency_at_once(const struct weir_residency *residency)
{
    return residency->store ? weir_store_at_once(residency->store) : UINT_MAX;
}

unsigned weir_residency_can_hold(const struct weir_residency *residency)
{
    return residency->store ? weir_store_can_hold(residency->store) : UINT_MAX;
}

void weir_residency_memory(const struct weir_residency *residency, void **base,
                           size_t *n_bytes)
{
    *base = NULL;
    *n_bytes = 0;
    if (residency->store)
        weir_store_memory(residency->store, base, n_bytes);
}

const char *weir_residency_note(const struct weir_residency *residency)
{
    return residency->store ? weir_store_note(residency->store) : NULL;
}

void weir_residency_get_stats(const struct weir_residency *residency,
                              struct weir_residency_stats *stats)
{
    *stats = (struct weir_residency_stats){.io = "mmap"};
    if (residency->store)
        weir_store_get_stats(residency->store, stats);
}

/* ---- tiles ---- */

static size_t round_up(size_t n_bytes)
{
    return (n_bytes + WEIR_ROW_ALIGN - 1) / WEIR_ROW_ALIGN * WEIR_ROW_ALIGN;
}

/*
 * Scratch: a decoded tile, the decoder's memory and, unless the file is mapped,
 * a tile as it is stored.
 */
static size_t decode_bytes(const struct weir_residency *residency)
{
    return round_up(residency->file->max_tile_bytes) +
           weir_decode_workspace_bytes();
}

size_t weir_residency_scratch_bytes(const struct weir_residency *residency)
{
    size_t n_bytes = decode_bytes(residency);

    if (residency->store)
        n_bytes += round_up(residency->file->max_tile_bytes);
    return n_bytes;
}

static void *workspace_of(const struct weir_residency *residency, void *scratch)
{
    return (char *)scratch + round_up(residency->file->max_tile_bytes);
}

static void *room_of(const struct weir_residency *residency, void *scratch)
{
    return (char *)scratch + decode_bytes(residency);
}

void weir_residency_scratch_init(const struct weir_residency *residency,
                                 void *scratch)
{
    weir_decode_workspace_init(workspace_of(residency, scratch));
}

/* A tile that is asked for */
struct request {
    struct weir_residency *residency;
    uint32_t tensor;
    uint64_t tile; /* counted from the tensor's first */
    struct weir_tile_record record;
    void *scratch;
    struct weir_err *err;
};

static int corrupt(const struct request *request)
{
    const struct weir_residency *residency = request->residency;
    int rc = weir_residency_check(residency, request->err);

    return rc ? rc
              : weir_tile_damaged(residency->file, request->tensor,
                                  request->tile, request->err);
}

/* What was read ahead is read once more when it is wrong. */
static int read_again(const struct request *request, const uint8_t **stored)
{
    struct weir_residency *residency = request->residency;
    void *room;
    int rc;

    if (!residency->store)
        return corrupt(request);
    room = room_of(residency, request->scratch);
    rc =
        weir_store_read(residency->store, &request->record, room, request->err);
    if (rc)
        return rc;
    *stored = room;
    return weir_tile_is_good(&request->record, room) ? 0 : corrupt(request);
}

/* Neither in memory nor on its way: read here, twice if need be. */
static int read_now(const struct request *request, const uint8_t **stored)
{
    struct weir_residency *residency = request->residency;
    void *room = room_of(residency, request->scratch);

    *stored = room;
    if (!weir_store_read(residency->store, &request->record, room, NULL) &&
        weir_tile_is_good(&request->record, room))
        return 0;
    return read_again(request, stored);
}

/* The stored bytes of the tile, verified */
static int get_stored(const struct request *request, const uint8_t **stored)
{
    struct weir_residency *residency = request->residency;
    const struct weir_tensor *tensor =
        &residency->file->tensors[request->tensor];
    atomic_uchar *verified =
        &residency->verified[tensor->first_tile + request->tile];

    *stored =
        residency->store
            ? weir_store_find(residency->store, request->tensor,
                              &request->record)
            : residency->base[request->record.file] + request->record.offset;
    if (!*stored)
        return read_now(request, stored);
    if (atomic_load_explicit(verified, memory_order_relaxed))
        return 0;
    if (!weir_tile_is_good(&request->record, *stored))
        return read_again(request, stored);
    atomic_store_explicit(verified, 1, memory_order_relaxed);
    return 0;
}

int weir_residency_tile(struct weir_residency *residency, uint32_t tensor,
                        uint64_t tile, void *scratch, const void **data,
                        struct weir_err *err)
{
    const struct weir_tensor *of = &residency->file->tensors[tensor];
    struct request request = {.residency = residency,
                              .tensor = tensor,
                              .tile = tile,
                              .scratch = scratch,
                              .err = err};
    const uint8_t *stored = NULL;
    int rc;

    if (residency->store)
        stored = weir_store_unpacked(residency->store, tensor, tile);
    *data = stored;
    if (stored)
        return 0;
    weir_file_tile(residency->file, of->first_tile + tile, &request.record);
    rc = get_stored(&request, &stored);
    if (rc)
        return rc;
    *data = stored;
    if (request.record.codec == WEIR_CODEC_RAW)
        return 0;
    *data = scratch;
    rc = weir_tile_unpack(of, tile, &request.record, stored, scratch,
                          workspace_of(residency, scratch));
    return rc ? corrupt(&request) : 0;
}

int weir_residency_is_unpacked(const struct weir_residency *residency,
                               uint32_t tensor)
{
    struct weir_tile_record first;

    if (residency->store && weir_store_unpacked(residency->store, tensor, 0))
        return 1;
    weir_file_tile(residency->file, residency->file->tensors[tensor].first_tile,
                   &first);
    return first.codec == WEIR_CODEC_RAW;
}

int weir_residency_check(const struct weir_residency *residency,
                         struct weir_err *err)
{
    for (unsigned i = 0; i < residency->file->n_parts; i++)
        if (residency->map[i] && atomic_load(&residency->map[i]->lost))
            return weir_err_set(err, WEIR_EIO,
                                "%s: a part of the file could not be read: it "
                                "shrank or its drive failed while it was in "
                                "use; check the drive and fetch or pack the "
                                "file again",
                                residency->file->parts[i].path);
    return 0;
}
