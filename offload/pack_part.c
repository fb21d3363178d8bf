/* SPDX-License-Identifier: Apache-2.0 */
/*
 * While path.part is incomplete its first page says how many whole units are
 * safe on disk; their tile records stand where the index will be.  That page is
 * written only after the data it speaks of was synced.  Those of other parts
 * say only whose they are.
 */
#include "offload/pack_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/path.h"
#include "offload/checksum.h"
#include "offload/parts.h"

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
    weir_le64_put(page + 32, weir_checksum(weir_packer_tile(packer, 0),
                                           n_tiles * WEIR_TILE_RECORD_BYTES));
    weir_le64_put(page + 40, weir_checksum(page, 40));
}

/* From the last tile backwards, until each part has been seen. */
uint64_t weir_packer_ends(struct weir_packer *packer, uint32_t unit,
                          uint64_t ends[WEIR_FILES_MAX])
{
    const struct weir_tensor *tensors = packer->file.tensors;
    unsigned n_seen = 0;
    uint64_t sum = 0;

    memset(ends, 0, WEIR_FILES_MAX * sizeof(*ends));
    for (uint32_t i = first_tensor_of_unit(packer, unit);
         i-- > 0 && n_seen < packer->n_parts;) {
        uint64_t n =
            tensors[i].owner == i ? weir_tiling_n_tiles(&tensors[i]) : 0;
        struct weir_tile_record tile;

        while (n-- > 0 && n_seen < packer->n_parts) {
            weir_index_get_tile(
                weir_packer_tile(packer, tensors[i].first_tile + n), &tile);
            if (tile.file >= packer->n_parts || ends[tile.file])
                continue; /* a record from a strange file, or seen */
            ends[tile.file] = weir_page_up(tile.offset + tile.stored_bytes);
            n_seen++;
        }
    }
    for (unsigned i = 0; i < packer->n_parts; i++) {
        if (!ends[i])
            ends[i] = i ? WEIR_FILE_PAGE : packer->data_at;
        sum += ends[i];
    }
    return sum;
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
    const struct weir_packer_part *first = &packer->parts[0];
    uint64_t ends[WEIR_FILES_MAX];
    uint64_t n_bytes = weir_packer_ends(packer, n_units, ends);
    uint8_t page[WEIR_FILE_PAGE];
    int rc;

    weir_packer_share_tiles(packer, n_units);
    put_part_page(packer, n_units, ends[0], page);
    for (unsigned i = 0; i < packer->n_parts; i++)
        if (fdatasync(packer->parts[i].fd))
            return weir_err_errno(err, errno, "sync", packer->parts[i].name);
    rc = weir_pwrite_all(
        first->fd, weir_packer_tile(packer, 0),
        first_tile_of_unit(packer, n_units) * WEIR_TILE_RECORD_BYTES,
        WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file), first->name, err);
    if (!rc && fdatasync(first->fd))
        rc = weir_err_errno(err, errno, "sync", first->name);
    if (!rc)
        rc =
            weir_pwrite_all(first->fd, page, sizeof(page), 0, first->name, err);
    if (!rc)
        packer->safe_bytes = n_bytes;
    return rc;
}

/* ---- what is there already ---- */

static void put_other_page(const struct weir_packer *packer, unsigned part,
                           uint8_t page[WEIR_FILE_PAGE])
{
    memset(page, 0, WEIR_FILE_PAGE);
    memcpy(page, PART_MAGIC, 8);
    weir_le64_put(page + 8, packer->identity);
    weir_le64_put(page + 16, part);
    weir_le64_put(page + 24, weir_checksum(page, 24));
}

/*
 * Part `number` > 0 holds what it should of the first n_units, whose tiles have
 * their records, and is of this model: by the page it begins with until it is
 * complete, or by that of a part.
 */
static int is_ours(struct weir_packer *packer, unsigned number,
                   uint32_t n_units, uint64_t end)
{
    const struct weir_packer_part *part = &packer->parts[number];
    uint8_t page[WEIR_FILE_PAGE], wanted[WEIR_FILE_PAGE];
    struct stat st;

    if (fstat(part->fd, &st) || (uint64_t)st.st_size < end ||
        weir_pread_all(part->fd, page, sizeof(page), 0, part->name, NULL))
        return 0;
    put_other_page(packer, number, wanted);
    if (!part->published && !memcmp(page, wanted, sizeof(page)))
        return 1;
    if (n_units < packer->file.n_units || (uint64_t)st.st_size != end)
        return 0;
    packer->file.parts[number].n_bytes = end;
    weir_part_encode(&packer->file, number, wanted);
    return !memcmp(page, wanted, sizeof(page));
}

/* Number of units that are done already; 0 when nothing is of use. */
static uint32_t find_done_units(struct weir_packer *packer)
{
    const struct weir_packer_part *first = &packer->parts[0];
    uint8_t page[WEIR_FILE_PAGE], expected[WEIR_FILE_PAGE];
    uint64_t n_units, n_tiles, ends[WEIR_FILES_MAX];

    if (weir_pread_all(first->fd, page, sizeof(page), 0, first->name, NULL))
        return 0;
    n_units = weir_le64(page + 16);
    if (memcmp(page, PART_MAGIC, 8) || n_units > packer->file.n_units)
        return 0;
    n_tiles = first_tile_of_unit(packer, (uint32_t)n_units);
    if (weir_pread_all(first->fd, weir_packer_tile(packer, 0),
                       n_tiles * WEIR_TILE_RECORD_BYTES,
                       WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file),
                       first->name, NULL))
        return 0;
    weir_packer_ends(packer, (uint32_t)n_units, ends);
    put_part_page(packer, (uint32_t)n_units, ends[0], expected);
    if (memcmp(page, expected, sizeof(page)))
        return 0;
    for (unsigned i = 1; i < packer->n_parts; i++)
        if (!is_ours(packer, i, (uint32_t)n_units, ends[i]))
            return 0;
    return (uint32_t)n_units;
}

static int write_blobs(struct weir_packer *packer, struct weir_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < packer->file.n_blobs && !rc; i++)
        rc = weir_pwrite_all(packer->parts[0].fd, packer->pack->blobs[i].data,
                             packer->pack->blobs[i].n_bytes,
                             packer->file.blobs[i].offset,
                             packer->parts[0].name, err);
    return rc;
}

/* ---- opening ---- */

static int lock_part(struct weir_packer_part *part, struct weir_err *err)
{
    part->fd = open(part->name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (part->fd < 0)
        return weir_err_errno(err, errno, "create", part->name);
    if (flock(part->fd, LOCK_EX | LOCK_NB))
        return weir_err_set(err, WEIR_EIO,
                            "%s: another weir is writing this file; wait for "
                            "it to end",
                            part->name);
    return 0;
}

/* The locked file may have got its final name between open and lock. */
static int is_still_part(const struct weir_packer_part *part)
{
    struct stat locked, named;

    return !fstat(part->fd, &locked) && !stat(part->name, &named) &&
           locked.st_dev == named.st_dev && locked.st_ino == named.st_ino;
}

static int open_part(struct weir_packer_part *part, struct weir_err *err)
{
    int rc = lock_part(part, err);

    while (!rc && !is_still_part(part)) {
        close(part->fd);
        rc = lock_part(part, err);
    }
    return rc;
}

/*
 * A part that has its name already may be ours, if the packing ended between
 * that and the name of the first.
 */
static int open_other(struct weir_packer_part *part, struct weir_err *err)
{
    if (!weir_path_exists(part->name))
        part->fd = open(part->path, O_RDONLY | O_CLOEXEC);
    part->published = part->fd >= 0;
    return part->published ? 0 : open_part(part, err);
}

static int start_part(struct weir_packer *packer, unsigned i,
                      struct weir_err *err)
{
    struct weir_packer_part *part = &packer->parts[i];
    uint8_t page[WEIR_FILE_PAGE];
    int rc = 0;

    if (part->published) {
        close(part->fd);
        part->published = 0;
        rc = open_part(part, err);
    }
    if (rc)
        return rc;
    if (ftruncate(part->fd, 0))
        return weir_err_errno(err, errno, "truncate", part->name);
    put_other_page(packer, i, page);
    return i ? weir_pwrite_all(part->fd, page, sizeof(page), 0, part->name, err)
             : write_blobs(packer, err);
}

static int start_again(struct weir_packer *packer, struct weir_err *err)
{
    int rc = 0;

    memset(weir_packer_tile(packer, 0), 0,
           packer->file.n_tiles * WEIR_TILE_RECORD_BYTES);
    for (unsigned i = 0; i < packer->n_parts && !rc; i++)
        rc = start_part(packer, i, err);
    return rc;
}

/* The part behind that of the last tile of the units before `unit` */
static unsigned next_part(struct weir_packer *packer, uint32_t unit)
{
    const struct weir_tensor *tensors = packer->file.tensors;
    uint32_t i = first_tensor_of_unit(packer, unit);
    struct weir_tile_record last;

    while (i && tensors[i - 1].owner != i - 1)
        i--;
    if (i == 0)
        return 0;
    weir_index_get_tile(
        weir_packer_tile(packer, tensors[i - 1].first_tile +
                                     weir_tiling_n_tiles(&tensors[i - 1]) - 1),
        &last);
    return (last.file + 1u) % packer->n_parts;
}

static int resume(struct weir_packer *packer, struct weir_err *err)
{
    uint32_t n_units = find_done_units(packer);
    uint64_t ends[WEIR_FILES_MAX];
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
    packer->safe_bytes = weir_packer_ends(packer, n_units, ends);
    packer->next_part = next_part(packer, n_units);
    for (unsigned i = 0; i < packer->n_parts; i++) {
        struct weir_packer_part *part = &packer->parts[i];

        part->offset = part->flushed = ends[i];
        /* what lies behind may be torn; holes must read as zeros */
        if (!part->published && ftruncate(part->fd, (off_t)part->offset))
            return weir_err_errno(err, errno, "truncate", part->name);
    }
    return 0;
}

int weir_packer_open(struct weir_packer *packer, const char *path,
                     struct weir_err *err)
{
    int rc = 0;

    for (unsigned i = 0; i < packer->n_parts && !rc; i++) {
        struct weir_packer_part *part = &packer->parts[i];

        part->path = i ? packer->pack->stripe->parts[i].path : path;
        rc = weir_path_check_output(part->path, NULL, err);
        if (!rc && asprintf(&part->name, "%s.part", part->path) < 0) {
            part->name = NULL;
            rc = weir_err_nomem(err, strlen(part->path), "a path");
        }
        if (!rc)
            rc = i ? open_other(part, err) : open_part(part, err);
    }
    return rc ? rc : resume(packer, err);
}
