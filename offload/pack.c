/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every thread takes the next band, reads and codes it by itself, and then
 * waits for its turn to learn where its tiles go: offsets are dealt out in the
 * order of the bands, so the file does not depend on who was faster.  Writing
 * happens outside the lock again.
 *
 * The scales of a unit stand before its weights but are known after them: their
 * place is dealt out in turn, their bytes follow with the unit's last band.
 *
 * While path.part is incomplete its first page says how many whole units are
 * safe on disk; their tile records stand where the index will be.  That page is
 * written only after the data it speaks of was synced.
 */
#include "offload/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>
#include <zstd.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/pool.h"
#include "offload/index.h"
#include "offload/pack_band.h"

/* How much may be written before progress is made safe. */
#define CHECKPOINT_BYTES (512ull << 20)

/* Pages this far behind the writers are pushed out of the page cache. */
#define FLUSH_BYTES (64ull << 20)

#define PART_MAGIC "WEIRPART"

struct unit_state {
    uint64_t bands_left;
    float *scales; /* of the whole unit; NULL before its first band */
    uint64_t scales_offset;
    uint32_t scales_tensor; /* or WEIR_NO_TENSOR */
};

struct packer {
    const struct weir_pack *pack;
    struct weir_file file; /* what the index will say; names are pack's */
    uint64_t data_at;      /* first byte of the first tile */
    uint64_t index_bytes;
    uint8_t *index;
    uint64_t identity;
    char *part;
    int fd;
    struct unit_state *units;
    uint64_t total_bytes; /* of source */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t turned;
    uint32_t tensor, unit; /* the next band to take */
    uint64_t group;
    uint64_t next_ticket, turn;
    uint64_t offset; /* where the next tile goes */
    uint64_t flushed;
    uint64_t done_bytes; /* of source */
    uint32_t n_units_done;
    uint64_t safe_offset; /* data below it is behind the last checkpoint */
    int failed;
    struct weir_err *err;
};

static uint64_t page_up(uint64_t n)
{
    return (n + WEIR_FILE_PAGE - 1) / WEIR_FILE_PAGE * WEIR_FILE_PAGE;
}

static uint8_t *tile_record(struct packer *packer, uint64_t tile)
{
    return packer->index + weir_index_tiles_at(&packer->file) +
           tile * WEIR_TILE_RECORD_BYTES;
}

static uint64_t source_bytes(const struct packer *packer, uint32_t tensor)
{
    const struct weir_pack_tensor *source = &packer->pack->tensors[tensor];
    const struct weir_tensor *cut = &packer->file.tensors[tensor];

    if (source->is_scales)
        return 0;
    return cut->rows * cut->cols * weir_dtype_bytes(source->src_dtype);
}

/* ---- the skeleton: all that is known before the first byte is read ---- */

static int lay_tensor(struct packer *packer, uint32_t i, struct weir_err *err)
{
    const struct weir_pack_tensor *from = &packer->pack->tensors[i];
    struct weir_tensor *to = &packer->file.tensors[i];

    to->name = from->name;
    to->dtype = from->dtype;
    to->n_dims = from->n_dims;
    memcpy(to->shape, from->shape, sizeof(to->shape));
    to->scale_tensor = WEIR_NO_TENSOR;
    to->first_tile = packer->file.n_tiles;
    weir_tiling_cut(to, from->split, packer->pack->tile_ceiling);
    packer->file.n_tiles += weir_tiling_n_tiles(to);
    packer->total_bytes += source_bytes(packer, i);
    if (weir_tiling_row_bytes(to) > WEIR_ROW_BYTES)
        return weir_err_set(
            err, WEIR_ELIMIT, "%s: a row of %llu bytes; a tile holds %d",
            from->name, (unsigned long long)weir_tiling_row_bytes(to),
            WEIR_ROW_BYTES);
    return 0;
}

/* Int8 tensors of a unit use the scales at its head, one after another. */
static void lay_unit(struct packer *packer, uint32_t u)
{
    const struct weir_pack_unit *unit = &packer->pack->units[u];
    uint32_t used = 0;

    packer->file.units[u] =
        (struct weir_unit){unit->name, unit->first_tensor, unit->n_tensors};
    packer->units[u].scales_tensor = WEIR_NO_TENSOR;
    for (uint32_t i = 0; i < unit->n_tensors; i++) {
        uint32_t t = unit->first_tensor + i;
        struct weir_tensor *tensor = &packer->file.tensors[t];

        packer->units[u].bands_left += weir_tiling_n_groups(tensor);
        if (packer->pack->tensors[t].is_scales)
            packer->units[u].scales_tensor = t;
        if (packer->pack->tensors[t].dtype ==
            packer->pack->tensors[t].src_dtype)
            continue;
        tensor->scale_tensor = packer->units[u].scales_tensor;
        tensor->scale_first = used;
        used += (uint32_t)tensor->rows;
    }
}

/* Blobs follow the index, each at a page; tiles follow the blobs. */
static void lay_blobs(struct packer *packer)
{
    const struct weir_pack_blob *from = packer->pack->blobs;
    uint64_t at;

    for (uint32_t i = 0; i < packer->file.n_blobs; i++)
        packer->file.blobs[i].name = from[i].name;
    packer->index_bytes = weir_index_bytes(&packer->file);
    at = page_up(WEIR_FILE_PAGE + packer->index_bytes);
    for (uint32_t i = 0; i < packer->file.n_blobs; i++) {
        struct weir_blob *to = &packer->file.blobs[i];

        to->offset = at;
        to->n_bytes = from[i].n_bytes;
        to->xxh3 = XXH3_64bits(from[i].data, from[i].n_bytes);
        at = page_up(at + to->n_bytes);
    }
    packer->data_at = at;
}

static int lay_skeleton(struct packer *packer, struct weir_err *err)
{
    const struct weir_pack *pack = packer->pack;
    struct weir_file *file = &packer->file;
    int rc;

    file->n_tensors = pack->n_tensors;
    file->n_units = pack->n_units;
    file->n_blobs = pack->n_blobs;
    file->tensors = calloc(pack->n_tensors + 1u, sizeof(*file->tensors));
    file->units = calloc(pack->n_units + 1u, sizeof(*file->units));
    file->blobs = calloc(pack->n_blobs + 1u, sizeof(*file->blobs));
    packer->units = calloc(pack->n_units + 1u, sizeof(*packer->units));
    if (!file->tensors || !file->units || !file->blobs || !packer->units)
        return weir_err_nomem(err, pack->n_tensors * sizeof(*file->tensors),
                              "the index");
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        rc = lay_tensor(packer, i, err);
        if (rc)
            return rc;
    }
    for (uint32_t i = 0; i < pack->n_units; i++)
        lay_unit(packer, i);
    lay_blobs(packer);
    packer->index = calloc(1, packer->index_bytes);
    if (!packer->index)
        return weir_err_nomem(err, packer->index_bytes, "the index");
    weir_index_encode(file, packer->index);
    packer->identity = XXH3_64bits_withSeed(
        packer->index, packer->index_bytes,
        (uint64_t)ZSTD_versionNumber() << 8 | (uint64_t)pack->policy);
    return 0;
}

/* ---- path.part: opening, resuming, checkpoints ---- */

static uint64_t first_tile_of_unit(const struct packer *packer, uint32_t unit)
{
    const struct weir_file *file = &packer->file;

    if (unit == file->n_units)
        return file->n_tiles;
    return file->tensors[file->units[unit].first_tensor].first_tile;
}

static void put_part_page(struct packer *packer, uint32_t n_units,
                          uint64_t offset, uint8_t page[WEIR_FILE_PAGE])
{
    uint64_t n_tiles = first_tile_of_unit(packer, n_units);

    memset(page, 0, WEIR_FILE_PAGE);
    memcpy(page, PART_MAGIC, 8);
    weir_le64_put(page + 8, packer->identity);
    weir_le64_put(page + 16, n_units);
    weir_le64_put(page + 24, offset);
    weir_le64_put(page + 32, XXH3_64bits(tile_record(packer, 0),
                                         n_tiles * WEIR_TILE_RECORD_BYTES));
    weir_le64_put(page + 40, XXH3_64bits(page, 40));
}

/* Offset behind the last tile of the units before `unit`. */
static uint64_t end_of_units(struct packer *packer, uint32_t unit)
{
    uint64_t n_tiles = first_tile_of_unit(packer, unit);
    struct weir_tile_record last;

    if (n_tiles == 0)
        return packer->data_at;
    weir_index_get_tile(tile_record(packer, n_tiles - 1), &last);
    return page_up(last.offset + last.stored_bytes);
}

/* Makes the units done so far safe; called with the lock held. */
static int checkpoint(struct packer *packer, struct weir_err *err)
{
    uint32_t n_units = packer->n_units_done;
    uint64_t offset = end_of_units(packer, n_units);
    uint8_t page[WEIR_FILE_PAGE];
    int rc;

    put_part_page(packer, n_units, offset, page);
    if (fdatasync(packer->fd))
        return weir_err_errno(err, errno, "sync", packer->part);
    rc = weir_pwrite_all(
        packer->fd, tile_record(packer, 0),
        first_tile_of_unit(packer, n_units) * WEIR_TILE_RECORD_BYTES,
        WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file), packer->part, err);
    if (!rc && fdatasync(packer->fd))
        rc = weir_err_errno(err, errno, "sync", packer->part);
    if (!rc)
        rc = weir_pwrite_all(packer->fd, page, sizeof(page), 0, packer->part,
                             err);
    packer->safe_offset = offset;
    return rc;
}

/* Number of units that path.part holds already; 0 when it is of no use. */
static uint32_t find_done_units(struct packer *packer)
{
    uint8_t page[WEIR_FILE_PAGE], expected[WEIR_FILE_PAGE];
    uint64_t n_units, n_tiles;

    if (weir_pread_all(packer->fd, page, sizeof(page), 0, packer->part, NULL))
        return 0;
    n_units = weir_le64(page + 16);
    if (memcmp(page, PART_MAGIC, 8) || n_units > packer->file.n_units)
        return 0;
    n_tiles = first_tile_of_unit(packer, (uint32_t)n_units);
    if (weir_pread_all(packer->fd, tile_record(packer, 0),
                       n_tiles * WEIR_TILE_RECORD_BYTES,
                       WEIR_FILE_PAGE + weir_index_tiles_at(&packer->file),
                       packer->part, NULL))
        return 0;
    put_part_page(packer, (uint32_t)n_units,
                  end_of_units(packer, (uint32_t)n_units), expected);
    return memcmp(page, expected, sizeof(page)) ? 0 : (uint32_t)n_units;
}

static int write_blobs(struct packer *packer, struct weir_err *err)
{
    int rc = 0;

    for (uint32_t i = 0; i < packer->file.n_blobs && !rc; i++)
        rc = weir_pwrite_all(packer->fd, packer->pack->blobs[i].data,
                             packer->pack->blobs[i].n_bytes,
                             packer->file.blobs[i].offset, packer->part, err);
    return rc;
}

static int start_again(struct packer *packer, struct weir_err *err)
{
    memset(tile_record(packer, 0), 0,
           packer->file.n_tiles * WEIR_TILE_RECORD_BYTES);
    if (ftruncate(packer->fd, 0))
        return weir_err_errno(err, errno, "truncate", packer->part);
    return write_blobs(packer, err);
}

static int resume(struct packer *packer, struct weir_err *err)
{
    uint32_t n_units = find_done_units(packer);
    int rc;

    if (n_units == 0) {
        rc = start_again(packer, err);
        if (rc)
            return rc;
    }
    packer->n_units_done = packer->unit = n_units;
    packer->tensor = n_units == packer->file.n_units
                         ? packer->file.n_tensors
                         : packer->file.units[n_units].first_tensor;
    for (uint32_t i = 0; i < packer->tensor; i++)
        packer->done_bytes += source_bytes(packer, i);
    packer->offset = end_of_units(packer, n_units);
    packer->safe_offset = packer->flushed = packer->offset;
    /* what lies behind may be torn; holes must read as zeros */
    if (ftruncate(packer->fd, (off_t)packer->offset))
        return weir_err_errno(err, errno, "truncate", packer->part);
    return 0;
}

static int open_part(struct packer *packer, const char *path,
                     struct weir_err *err)
{
    if (asprintf(&packer->part, "%s.part", path) < 0) {
        packer->part = NULL;
        return weir_err_nomem(err, strlen(path), "a path");
    }
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

/* ---- the work of one thread ---- */

struct band {
    uint32_t tensor, unit;
    uint64_t group, ticket;
};

/* Called with the lock held. */
static void fail(struct packer *packer, const struct weir_err *why)
{
    if (!packer->failed && packer->err)
        *packer->err = *why;
    if (!packer->failed)
        packer->failed = why->code;
    pthread_cond_broadcast(&packer->turned);
}

/* The scales of a unit get their memory with the first band of the unit. */
static int enter_unit(struct packer *packer, const struct band *band,
                      struct weir_err *err)
{
    struct unit_state *unit = &packer->units[band->unit];
    uint64_t n;

    if (unit->scales_tensor == WEIR_NO_TENSOR || unit->scales)
        return 0;
    n = packer->file.tensors[unit->scales_tensor].cols;
    unit->scales = calloc(n, sizeof(*unit->scales));
    return unit->scales ? 0 : weir_err_nomem(err, n * sizeof(float), "scales");
}

/* Takes the next band; 0 when there is none.  Called with the lock held. */
static int take_band(struct packer *packer, struct band *band)
{
    const struct weir_file *file = &packer->file;
    struct weir_err why;

    if (packer->failed || packer->tensor == file->n_tensors)
        return 0;
    *band = (struct band){packer->tensor, packer->unit, packer->group,
                          packer->next_ticket++};
    if (enter_unit(packer, band, &why)) {
        fail(packer, &why);
        return 0;
    }
    if (++packer->group < weir_tiling_n_groups(&file->tensors[packer->tensor]))
        return 1;
    packer->group = 0;
    packer->tensor++;
    if (packer->tensor == file->units[packer->unit].first_tensor +
                              file->units[packer->unit].n_tensors)
        packer->unit++;
    return 1;
}

/* Scales only take their place here: their bytes follow the unit's last band.
 */
static int make_band(struct packer *packer, struct weir_band_worker *worker,
                     const struct band *band, struct weir_band_out *out,
                     struct weir_err *err)
{
    const struct weir_tensor *tensor = &packer->file.tensors[band->tensor];
    float *scales = packer->units[band->unit].scales;

    if (packer->pack->tensors[band->tensor].is_scales) {
        weir_band_reserve_vector(tensor->cols * sizeof(float), out);
        return 0;
    }
    return weir_band_run(worker, band->tensor, band->group,
                         scales ? scales + tensor->scale_first : NULL, out,
                         err);
}

/* Waits for the turn of `band` and deals out the places of its tiles. */
static uint64_t place_band(struct packer *packer, const struct band *band,
                           const struct weir_band_out *out)
{
    const struct weir_tensor *tensor = &packer->file.tensors[band->tensor];
    uint64_t first = tensor->first_tile + band->group * tensor->col_blocks;
    uint64_t at = packer->offset;

    for (uint32_t i = 0; i < out->n_tiles; i++) {
        struct weir_tile_record record = out->tiles[i];

        record.offset += at;
        weir_index_put_tile(tile_record(packer, first + i), &record);
    }
    if (packer->pack->tensors[band->tensor].is_scales)
        packer->units[band->unit].scales_offset = at;
    packer->offset += out->n_bytes;
    return at;
}

/* Returns 0 with the band placed at *at, or the failure of some thread. */
static int take_turn(struct packer *packer, const struct band *band,
                     const struct weir_band_out *out, int rc,
                     const struct weir_err *why, uint64_t *at)
{
    pthread_mutex_lock(&packer->lock);
    while (packer->turn != band->ticket && !packer->failed)
        pthread_cond_wait(&packer->turned, &packer->lock);
    if (rc && !packer->failed)
        fail(packer, why);
    rc = packer->failed;
    if (!rc) {
        *at = place_band(packer, band, out);
        packer->turn++;
        pthread_cond_broadcast(&packer->turned);
    }
    pthread_mutex_unlock(&packer->lock);
    return rc;
}

static int write_scales(struct packer *packer, struct weir_band_worker *worker,
                        uint32_t u, struct weir_err *err)
{
    struct unit_state *unit = &packer->units[u];
    uint32_t t = packer->file.units[u].first_tensor;
    struct weir_band_out out;
    int rc;

    while (!packer->pack->tensors[t].is_scales)
        t++;
    weir_band_put_vector(worker, unit->scales,
                         packer->file.tensors[t].cols * sizeof(float), &out);
    out.tiles[0].offset = unit->scales_offset;
    weir_index_put_tile(tile_record(packer, packer->file.tensors[t].first_tile),
                        &out.tiles[0]);
    rc = weir_pwrite_all(packer->fd, weir_band_bytes(worker), out.n_bytes,
                         unit->scales_offset, packer->part, err);
    free(unit->scales);
    unit->scales = NULL;
    return rc;
}

/*
 * Starts to write what is new and drops what was written before, so that the
 * page cache never holds much of the file.
 */
static void flush_behind(struct packer *packer, uint64_t from)
{
    uint64_t before = from < FLUSH_BYTES ? 0 : from - FLUSH_BYTES;

    sync_file_range(packer->fd, (off_t)from, FLUSH_BYTES,
                    SYNC_FILE_RANGE_WRITE);
    sync_file_range(packer->fd, (off_t)before, (off_t)(from - before),
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(packer->fd, (off_t)before, (off_t)(from - before),
                  POSIX_FADV_DONTNEED);
}

/* Accounts for a written band; called with the lock held. */
static int band_done(struct packer *packer, struct weir_band_worker *worker,
                     const struct band *band, struct weir_err *err)
{
    const struct weir_tensor *tensor = &packer->file.tensors[band->tensor];
    struct unit_state *unit = &packer->units[band->unit];
    int rc = 0;

    packer->done_bytes +=
        source_bytes(packer, band->tensor) / weir_tiling_n_groups(tensor);
    if (--unit->bands_left == 0 && unit->scales)
        rc = write_scales(packer, worker, band->unit, err);
    while (packer->n_units_done < packer->file.n_units &&
           packer->units[packer->n_units_done].bands_left == 0)
        packer->n_units_done++;
    if (!rc && end_of_units(packer, packer->n_units_done) >
                   packer->safe_offset + CHECKPOINT_BYTES)
        rc = checkpoint(packer, err);
    if (packer->pack->progress)
        packer->pack->progress(packer->pack->ctx, packer->done_bytes,
                               packer->total_bytes);
    return rc;
}

static int write_band(struct packer *packer, struct weir_band_worker *worker,
                      const struct band *band, const struct weir_band_out *out,
                      uint64_t at, struct weir_err *err)
{
    if (out->is_zero || packer->pack->tensors[band->tensor].is_scales)
        return 0; /* a hole, or scales that are not known yet */
    return weir_pwrite_all(packer->fd, weir_band_bytes(worker), out->n_bytes,
                           at, packer->part, err);
}

static void pack_bands(struct packer *packer, struct weir_band_worker *worker)
{
    struct weir_band_out out;
    struct weir_err why = {0};
    struct band band;
    uint64_t at = 0, flush = 0;
    int rc, taken;

    for (;;) {
        pthread_mutex_lock(&packer->lock);
        taken = take_band(packer, &band);
        pthread_mutex_unlock(&packer->lock);
        if (!taken)
            return;
        rc = make_band(packer, worker, &band, &out, &why);
        if (take_turn(packer, &band, &out, rc, &why, &at))
            return;
        rc = write_band(packer, worker, &band, &out, at, &why);
        pthread_mutex_lock(&packer->lock);
        if (!rc)
            rc = band_done(packer, worker, &band, &why);
        if (rc)
            fail(packer, &why);
        flush = 0;
        if (packer->offset > packer->flushed + 2 * FLUSH_BYTES) {
            flush = packer->flushed;
            packer->flushed += FLUSH_BYTES;
        }
        pthread_mutex_unlock(&packer->lock);
        if (flush)
            flush_behind(packer, flush);
    }
}

static void pack_thread(void *ctx, size_t item, unsigned number)
{
    struct packer *packer = ctx;
    struct weir_band_worker *worker;
    struct weir_err why;

    (void)item;
    (void)number;
    if (weir_band_worker_new(packer->pack, packer->file.tensors, &worker,
                             &why)) {
        pthread_mutex_lock(&packer->lock);
        fail(packer, &why);
        pthread_mutex_unlock(&packer->lock);
        return;
    }
    pack_bands(packer, worker);
    weir_band_worker_free(worker);
}

/* ---- the whole ---- */

static int sync_folder(const char *path, struct weir_err *err)
{
    char *copy = strdup(path);
    int fd, rc = 0;

    if (!copy)
        return weir_err_nomem(err, strlen(path), "a path");
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd))
        rc = weir_err_errno(err, errno, "sync the folder of", path);
    if (fd >= 0)
        close(fd);
    free(copy);
    return rc;
}

/* Index and then header, each synced before the next; then the name. */
static int finish(struct packer *packer, const char *path, struct weir_err *err)
{
    uint8_t header[WEIR_FILE_PAGE];
    int rc;

    packer->file.n_bytes = packer->offset;
    weir_le64_put(packer->index + 8, packer->file.n_bytes);
    weir_index_encode_header(&packer->file, packer->index, header);
    if (ftruncate(packer->fd, (off_t)packer->file.n_bytes))
        return weir_err_errno(err, errno, "extend", packer->part);
    rc = weir_pwrite_all(packer->fd, packer->index, packer->index_bytes,
                         WEIR_FILE_PAGE, packer->part, err);
    if (!rc && fsync(packer->fd))
        rc = weir_err_errno(err, errno, "sync", packer->part);
    if (!rc)
        rc = weir_pwrite_all(packer->fd, header, sizeof(header), 0,
                             packer->part, err);
    if (!rc && fsync(packer->fd))
        rc = weir_err_errno(err, errno, "sync", packer->part);
    if (!rc && rename(packer->part, path))
        rc = weir_err_errno(err, errno, "rename it from .part to", path);
    return rc ? rc : sync_folder(path, err);
}

static int run_threads(struct packer *packer, struct weir_err *err)
{
    struct weir_pool *pool;
    int rc = weir_pool_new(packer->pack->n_threads, &pool, err);

    if (rc)
        return rc;
    packer->err = err;
    weir_pool_run(pool, weir_pool_n_threads(pool), pack_thread, packer);
    weir_pool_free(pool);
    if (packer->failed)
        checkpoint(packer, NULL); /* as much as can be for the next try */
    return packer->failed;
}

static void packer_fini(struct packer *packer)
{
    if (packer->fd >= 0)
        close(packer->fd);
    for (uint32_t i = 0; packer->units && i < packer->file.n_units; i++)
        free(packer->units[i].scales);
    free(packer->units);
    free(packer->part);
    free(packer->index);
    free(packer->file.tensors);
    free(packer->file.units);
    free(packer->file.blobs);
    pthread_cond_destroy(&packer->turned);
    pthread_mutex_destroy(&packer->lock);
}

int weir_pack_write(const struct weir_pack *pack, const char *path,
                    struct weir_err *err)
{
    struct packer packer = {.pack = pack, .fd = -1};
    int rc;

    pthread_mutex_init(&packer.lock, NULL);
    pthread_cond_init(&packer.turned, NULL);
    rc = lay_skeleton(&packer, err);
    if (!rc)
        rc = open_part(&packer, path, err);
    if (!rc)
        rc = resume(&packer, err);
    if (!rc)
        rc = run_threads(&packer, err);
    if (!rc)
        rc = finish(&packer, path, err);
    packer_fini(&packer);
    return rc;
}
