/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/residency.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <xxhash.h>

#include "offload/codec.h"
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
    const uint8_t *base;
    struct map *map;
    atomic_uchar *verified; /* one for each tile */
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

static int map_file(struct weir_residency *residency, struct weir_err *err)
{
    const struct weir_file *file = residency->file;
    void *base = mmap(NULL, file->n_bytes, PROT_READ, MAP_SHARED, file->fd, 0);

    if (base == MAP_FAILED)
        return weir_err_errno(err, errno, "map", file->path);
    residency->base = base;
    residency->map = claim_map(base, file->n_bytes);
    if (!residency->map)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: %d models are open already; close one",
                            file->path, MAX_MAPS);
    return 0;
}

int weir_residency_new(const struct weir_file *file,
                       struct weir_residency **out, struct weir_err *err)
{
    struct weir_residency *residency = calloc(1, sizeof(*residency));
    int rc;

    *out = NULL;
    if (!residency)
        return weir_err_nomem(err, sizeof(*residency), "a model");
    residency->file = file;
    residency->verified = calloc(file->n_tiles + 1, 1);
    if (residency->verified)
        rc = map_file(residency, err);
    else
        rc = weir_err_nomem(err, file->n_tiles, "the marks of tiles");
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
    if (residency->map)
        atomic_store(&residency->map->base, 0);
    if (residency->base)
        munmap((void *)residency->base, residency->file->n_bytes);
    free(residency->verified);
    free(residency);
}

void weir_residency_want(struct weir_residency *residency, uint32_t unit)
{
    const struct weir_file *file = residency->file;
    const struct weir_unit *wanted = &file->units[unit];
    const struct weir_tensor *tensor = &file->tensors[wanted->first_tensor];
    struct weir_tile_record first, last;

    weir_file_tile(file, tensor->first_tile, &first);
    tensor += wanted->n_tensors - 1;
    weir_file_tile(file, tensor->first_tile + weir_tiling_n_tiles(tensor) - 1,
                   &last);
    madvise((void *)(residency->base + first.offset),
            last.offset + last.stored_bytes - first.offset, MADV_WILLNEED);
}

static size_t round_up(size_t n_bytes)
{
    return (n_bytes + WEIR_ROW_ALIGN - 1) / WEIR_ROW_ALIGN * WEIR_ROW_ALIGN;
}

size_t weir_residency_scratch_bytes(const struct weir_residency *residency)
{
    return round_up(residency->file->max_tile_bytes) +
           weir_decode_workspace_bytes();
}

static void *workspace_of(const struct weir_residency *residency, void *scratch)
{
    return (char *)scratch + round_up(residency->file->max_tile_bytes);
}

void weir_residency_scratch_init(const struct weir_residency *residency,
                                 void *scratch)
{
    weir_decode_workspace_init(workspace_of(residency, scratch));
}

static int corrupt(const struct weir_residency *residency, uint32_t tensor,
                   uint64_t tile, uint64_t offset, struct weir_err *err)
{
    int rc = weir_residency_check(residency, err);

    if (rc)
        return rc;
    return weir_err_at(err, WEIR_ECORRUPT, offset,
                       "%s: offset %llu: tile %llu of %s is damaged; run 'weir "
                       "verify' and fetch or pack the file again",
                       residency->file->path, (unsigned long long)offset,
                       (unsigned long long)tile,
                       residency->file->tensors[tensor].name);
}

int weir_residency_tile(struct weir_residency *residency, uint32_t tensor,
                        uint64_t tile, void *scratch, const void **data,
                        struct weir_err *err)
{
    const struct weir_file *file = residency->file;
    uint64_t number = file->tensors[tensor].first_tile + tile;
    uint64_t n_bytes = weir_tiling_tile_bytes(&file->tensors[tensor], tile);
    struct weir_tile_record record;
    const uint8_t *stored;

    weir_file_tile(file, number, &record);
    stored = residency->base + record.offset;
    if (!atomic_load_explicit(&residency->verified[number],
                              memory_order_relaxed)) {
        if (XXH3_64bits(stored, record.stored_bytes) != record.xxh3)
            return corrupt(residency, tensor, tile, record.offset, err);
        atomic_store_explicit(&residency->verified[number], 1,
                              memory_order_relaxed);
    }
    *data = stored;
    if (record.codec == WEIR_CODEC_RAW)
        return 0;
    *data = scratch;
    if (weir_decode(record.codec, stored, record.stored_bytes, scratch, n_bytes,
                    workspace_of(residency, scratch)))
        return corrupt(residency, tensor, tile, record.offset, err);
    return 0;
}

int weir_residency_check(const struct weir_residency *residency,
                         struct weir_err *err)
{
    if (!atomic_load(&residency->map->lost))
        return 0;
    return weir_err_set(err, WEIR_EIO,
                        "%s: a part of the file could not be read: it shrank "
                        "or its drive failed while it was in use; check the "
                        "drive and fetch or pack the file again",
                        residency->file->path);
}
