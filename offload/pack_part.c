/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While path.part is incomplete its first page says how many whole units are
 * safe on disk; their tile records stand where the index will be.  That page is
 * written only after the data it speaks of was synced.
 */
#include "offload/pack_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/path.h"

#define PART_MAGIC "WEIRPART"

static uint32_t first_tensor_of_unit(const struct weir_packer *packer,
                                     uint32_t unit)
{
    const struct weir_file *file = &packer->file;

    return unit == file->n_units ? file->n_tensors
                                 : file->units[unit].first_tensor;
}

static uint64_t first_tile_of_unit(const struct weir_packer *packer,
                                   uint32_t unit)
{
    const struct weir_file *file = &packer->file;

    if (unit == file->n_units)
        return file->n_tiles;
    return file->tensors[first_tensor_of_unit(packer, unit)].first_tile;
}

static void put_part_page(struct weir_packer *packer, uint32_t n_units,
                          uint64_t offset, uint8_t page[WEIR_FILE_PAGE])
{
    uint64_t n_tiles = first_tile_of_unit(packer, n_units);

    memset(page, 0, WEIR_FILE_PAGE);
    memcpy(page, PART_MAGIC, 8);
    weir_le64_put(page + 8, packer->identity);
    weir_le64_put(page + 16, n_units);
    weir_le64_put(page + 24, offset);
    weir_le64_put(page + 32, XXH3_64bits(weir_packer_tile(packer, 0),
                                         n_tiles * WEIR_TILE_RECORD_BYTES));
    weir_le64_put(page + 40, XXH3_64bits(page, 40));
}

uint64_t weir_packer_end(struct weir_packer *packer, uint32_t unit)
{
    const struct weir_tensor *tensors = packer->file.tensors;
    uint32_t i = first_tensor_of_unit(packer, unit);
    struct weir_tile_record last;

    while (i && tensors[i - 1].owner != i - 1)
        i--;
    if (i == 0)
        return packer->data_at;
    weir_index_get_tile(
        weir_packer_tile(packer, tensors[i - 1].first_tile +
                                     weir_tiling_n_tiles(&tensors[i - 1]) - 1),
        &last);
    return weir_page_up(last.offset + last.stored_bytes);
}

void weir_packer_share_tiles(struct weir_packer *packer, uint32_t n_units)
{
    uint32_t n = first_tensor_of_unit(packer, n_units);

    for (uint32_t i = 0; i < n; i++) {
        const struct weir_tensor *tensor = &packer->file.tensors[i];
        const struct weir_tensor *owner = &packer->file.tensors[tensor->owner];

        if (owner != tensor)
            memcpy(weir_packer_tile(packer, tensor->first_tile),
                   weir_packer_tile(packer, owner->first_tile),
                   weir_tiling_n_tiles(tensor) * WEIR_TILE_RECORD_BYTES);
    }
}

int weir_packer_checkpoint(struct weir_packer *packer, struct weir_err *err)
{
    uint32_t n_units = packer->n_units_done;
    uint64_t offset = weir_packer_end(packer, n_units);
    uint8_t page[WEIR_FILE_PAGE];
    int rc;

    weir_packer_share_tiles(packer, n_units);
    put_part_page(packer, n_units, offset, page);
    if (fdatasync(packer->fd))
        return weir_err_errno(err, errno, "sync", packer->part);
    rc = weir_pwrite_all(
        packer->fd, weir_packer_tile(packer, 0),
        first_tile_of_unit(packer, n_units) * WEIR_TILE_RECORD_BYTES,
        WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file), packer->part, err);
    if (!rc && fdatasync(packer->fd))
        rc = weir_err_errno(err, errno, "sync", packer->part);
    if (!rc)
        rc = weir_pwrite_all(packer->fd, page, sizeof(page), 0, packer->part,
                             err);
    if (!rc)
        packer->safe_offset = offset;
    return rc;
}

/* Number of units that path.part holds already; 0 when it is of no use. */
static uint32_t find_done_units(struct weir_packer *packer)
{
    uint8_t page[WEIR_FILE_PAGE], expected[WEIR_FILE_PAGE];
    uint64_t n_units, n_tiles;

    if (weir_pread_all(packer->fd, page, sizeof(page), 0, packer->part, NULL))
        return 0;
    n_units = weir_le64(page + 16);
    if (memcmp(page, PART_MAGIC, 8) || n_units > packer->file.n_units)
        return 0;
    n_tiles = first_tile_of_unit(packer, (uint32_t)n_units);
    if (weir_pread_all(packer->fd, weir_packer_tile(packer, 0),
                       n_tiles * WEIR_TILE_RECORD_BYTES,
                       WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file),
                       packer->part, NULL))
        return 0;
    put_part_page(packer, (uint32_t)n_units,
                  weir_packer_end(packer, (uint32_t)n_units), expected);
    return memcmp(page, expected, sizeof(page)) ? 0 : (uint32_t)n_units;
}

static int write_blobs(struct weir_packer *packer, struct weir_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < packer->file.n_blobs && !rc; i++)
        rc = weir_pwrite_all(packer->fd, packer->pack->blobs[i].data,
                             packer->pack->blobs[i].n_bytes,
                             packer->file.blobs[i].offset, packer->part, err);
    return rc;
}

static int start_again(struct weir_packer *packer, struct weir_err *err)
{
    memset(weir_packer_tile(packer, 0), 0,
           packer->file.n_tiles * WEIR_TILE_RECORD_BYTES);
    if (ftruncate(packer->fd, 0))
        return weir_err_errno(err, errno, "truncate", packer->part);
    return write_blobs(packer, err);
}

static int resume(struct weir_packer *packer, struct weir_err *err)
{
    uint32_t n_units = find_done_units(packer);
    int rc;

    if (n_units == 0) {
        rc = start_again(packer, err);
        if (rc)
            return rc;
    }
    packer->n_units_done = packer->unit = n_units;
    packer->tensor = first_tensor_of_unit(packer, n_units);
    for (uint32_t i = 0; i < packer->tensor; i++)
        packer->done_bytes += weir_packer_source_bytes(packer, i);
    packer->offset = weir_packer_end(packer, n_units);
    packer->safe_offset = packer->flushed = packer->offset;
    /* what lies behind may be torn; holes must read as zeros */
    if (ftruncate(packer->fd, (off_t)packer->offset))
        return weir_err_errno(err, errno, "truncate", packer->part);
    return 0;
}

static int lock_part(struct weir_packer *packer, struct weir_err *err)
{
    packer->fd = open(packer->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (packer->fd < 0)
        return weir_err_errno(err, errno, "create", packer->part);
    if (flock(packer->fd, LOCK_EX | LOCK_NB))
        return weir_err_set(err, WEIR_EIO,
                            "%s: another weir is writing this file; wait for "
                            "it to end",
                            packer->part);
    return 0;
}

/* The locked file may have got its final name between open and lock. */
static int is_still_part(const struct weir_packer *packer)
{
    struct stat locked, named;

    return !fstat(packer->fd, &locked) && !stat(packer->part, &named) &&
           locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

static int open_part(struct weir_packer *packer, const char *path,
                     struct weir_err *err)
{
    int rc;

    if (asprintf(&packer->part, "%s.part", path) < 0) {
        packer->part = NULL;
        return weir_err_nomem(err, strlen(path), "a path");
    }
    rc = lock_part(packer, err);
    while (!rc && !is_still_part(packer)) {
        close(packer->fd);
        rc = lock_part(packer, err);
    }
    return rc;
}

int weir_packer_open(struct weir_packer *packer, const char *path,
                     struct weir_err *err)
{
    int rc = weir_path_check_output(path, NULL, err);

    if (!rc)
        rc = open_part(packer, path, err);
    return rc ? rc : resume(packer, err);
}
