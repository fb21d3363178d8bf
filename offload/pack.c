/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every thread takes the next band, reads and codes it by itself, and then
 * waits for its turn to learn where its tiles go: offsets are dealt out in the
 * order of the bands, so the file does not depend on who was faster.  Writing
 * happens outside the lock again.
 *
 * The scales of a unit stand before its weights but are known after them: their
 * place is dealt out in turn, their bytes follow with the unit's last band.
 */
#include "offload/pack_state.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/pool.h"
#include "offload/pack_band.h"
#include "offload/parts.h"

/* How much may be written before progress is made safe. */
#define CHECKPOINT_BYTES (512ull << 20)

/* Pages this far behind the writers are pushed out of the page cache. */
#define FLUSH_BYTES (64ull << 20)

/* ---- the work of one thread ---- */

struct band {
    uint32_t tensor, unit;
    uint64_t group, ticket;
};

struct place {
    unsigned part;
    uint64_t offset;
};

/* Called with the lock held. */
static void fail(struct weir_packer *packer, const struct weir_err *why)
{
    if (!packer->failed && packer->err)
        *packer->err = *why;
    if (!packer->failed)
        packer->failed = why->code;
    pthread_cond_broadcast(&packer->turned);
}

/* The scales of a unit get their memory with the first band of the unit. */
static int enter_unit(struct weir_packer *packer, const struct band *band,
                      struct weir_err *err)
{
    struct weir_unit_state *unit = &packer->units[band->unit];
    uint64_t n;

    if (unit->scales_tensor == WEIR_NO_TENSOR || unit->scales)
        return 0;
    n = packer->file.tensors[unit->scales_tensor].cols;
    unit->scales = calloc(n, sizeof(*unit->scales));
    return unit->scales ? 0 : weir_err_nomem(err, n * sizeof(float), "scales");
}

static void next_tensor(struct weir_packer *packer)
{
    const struct weir_unit *unit = &packer->file.units[packer->unit];

    packer->group = 0;
    packer->tensor++;
    if (packer->tensor == unit->first_tensor + unit->n_tensors)
        packer->unit++;
}

/* Takes the next band; 0 when there is none.  Called with the lock held. */
static int take_band(struct weir_packer *packer, struct band *band)
{
    const struct weir_file *file = &packer->file;
    struct weir_err why;

    while (packer->tensor < file->n_tensors &&
           file->tensors[packer->tensor].owner != packer->tensor)
        next_tensor(packer);
    if (packer->failed || packer->tensor == file->n_tensors)
        return 0;
    *band = (struct band){packer->tensor, packer->unit, packer->group,
                          packer->next_ticket++};
    if (enter_unit(packer, band, &why)) {
        fail(packer, &why);
        return 0;
    }
    if (++packer->group == weir_tiling_n_groups(&file->tensors[packer->tensor]))
        next_tensor(packer);
    return 1;
}

/* Scales only take their place here: their bytes follow the unit's last band.
 */
static int make_band(struct weir_packer *packer,
                     struct weir_band_worker *worker, const struct band *band,
                     struct weir_band_out *out, struct weir_err *err)
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

/*
 * The part that the band goes to: the next one, in turn, for each unit and for
 * each run of some length.
 */
static unsigned choose_part(struct weir_packer *packer, const struct band *band)
{
    const struct weir_stripe *stripe = packer->pack->stripe;

    if (!stripe)
        return 0;
    if (band->unit != packer->part_unit || packer->filled >= stripe->n_bytes) {
        packer->part = packer->next_part;
        packer->next_part = (packer->part + 1) % packer->n_parts;
        packer->part_unit = band->unit;
        packer->filled = 0;
    }
    return packer->part;
}

/* Waits for the turn of `band` and deals out the places of its tiles. */
static struct place place_band(struct weir_packer *packer,
                               const struct band *band,
                               const struct weir_band_out *out)
{
    const struct weir_tensor *tensor = &packer->file.tensors[band->tensor];
    uint64_t first = tensor->first_tile + band->group * tensor->col_blocks;
    unsigned part = choose_part(packer, band);
    uint64_t at = packer->parts[part].offset;

    for (uint32_t i = 0; i < out->n_tiles; i++) {
        struct weir_tile_record record = out->tiles[i];

        record.offset += at;
        record.file = (uint16_t)part;
        weir_index_put_tile(weir_packer_tile(packer, first + i), &record);
    }
    if (packer->pack->tensors[band->tensor].is_scales) {
        packer->units[band->unit].scales_offset = at;
        packer->units[band->unit].scales_part = part;
    }
    packer->parts[part].offset += out->n_bytes;
    packer->filled += out->n_bytes;
    return (struct place){part, at};
}

/* Returns 0 with the band placed at *at, or the failure of some thread. */
static int take_turn(struct weir_packer *packer, const struct band *band,
                     const struct weir_band_out *out, int rc,
                     const struct weir_err *why, struct place *at)
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

static int write_at(const struct weir_packer *packer, struct place at,
                    const void *data, size_t n_bytes, struct weir_err *err)
{
    const struct weir_packer_part *part = &packer->parts[at.part];

    return weir_pwrite_all(part->fd, data, n_bytes, at.offset, part->name, err);
}

static int write_scales(struct weir_packer *packer,
                        struct weir_band_worker *worker, uint32_t u,
                        struct weir_err *err)
{
    struct weir_unit_state *unit = &packer->units[u];
    uint32_t t = packer->file.units[u].first_tensor;
    struct weir_band_out out;
    int rc;

    while (!packer->pack->tensors[t].is_scales)
        t++;
    weir_band_put_vector(worker, unit->scales,
                         packer->file.tensors[t].cols * sizeof(float), &out);
    out.tiles[0].offset = unit->scales_offset;
    out.tiles[0].file = (uint16_t)unit->scales_part;
    weir_index_put_tile(
        weir_packer_tile(packer, packer->file.tensors[t].first_tile),
        &out.tiles[0]);
    rc =
        write_at(packer, (struct place){unit->scales_part, unit->scales_offset},
                 weir_band_bytes(worker), out.n_bytes, err);
    free(unit->scales);
    unit->scales = NULL;
    return rc;
}

/*
 * Starts to write what is new and drops what was written before, so that the
 * page cache never holds much of the file.  An error of the drive is told once
 * only, so it must not be lost here.
 */
static int flush_behind(const struct weir_packer_part *part, uint64_t from,
                        struct weir_err *err)
{
    uint64_t before = from < FLUSH_BYTES ? 0 : from - FLUSH_BYTES;
    int lost;

    lost = sync_file_range(part->fd, (off_t)from, FLUSH_BYTES,
                           SYNC_FILE_RANGE_WRITE);
    lost |=
        sync_file_range(part->fd, (off_t)before, (off_t)(from - before),
                        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER);
    if (lost && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
        return weir_err_errno(err, errno, "write back", part->name);
    posix_fadvise(part->fd, (off_t)before, (off_t)(from - before),
                  POSIX_FADV_DONTNEED);
    return 0;
}

/* Accounts for a written band; called with the lock held. */
static int band_done(struct weir_packer *packer,
                     struct weir_band_worker *worker, const struct band *band,
                     struct weir_err *err)
{
    const struct weir_tensor *tensor = &packer->file.tensors[band->tensor];
    struct weir_unit_state *unit = &packer->units[band->unit];
    uint64_t ends[WEIR_FILES_MAX];
    int rc = 0;

    packer->done_bytes += weir_packer_source_bytes(packer, band->tensor) /
                          weir_tiling_n_groups(tensor);
    if (unit->bands_left == 1 && unit->scales)
        rc = write_scales(packer, worker, band->unit, err);
    if (rc)
        return rc; /* the unit is not done */
    unit->bands_left--;
    while (packer->n_units_done < packer->file.n_units &&
           packer->units[packer->n_units_done].bands_left == 0)
        packer->n_units_done++;
    if (weir_packer_ends(packer, packer->n_units_done, ends) >
        packer->safe_bytes + CHECKPOINT_BYTES)
        rc = weir_packer_checkpoint(packer, err);
    if (packer->pack->progress)
        packer->pack->progress(packer->pack->ctx, packer->done_bytes,
                               packer->total_bytes);
    return rc;
}

static int write_band(struct weir_packer *packer,
                      struct weir_band_worker *worker, const struct band *band,
                      const struct weir_band_out *out, struct place at,
                      struct weir_err *err)
{
    if (out->is_zero || packer->pack->tensors[band->tensor].is_scales)
        return 0; /* a hole, or scales that are not known yet */
    return write_at(packer, at, weir_band_bytes(worker), out->n_bytes, err);
}

/* Where to flush next, or 0; called with the lock held. */
static uint64_t take_flush(struct weir_packer_part *part)
{
    uint64_t from = part->flushed;

    if (part->offset <= from + 2 * FLUSH_BYTES)
        return 0;
    part->flushed += FLUSH_BYTES;
    return from;
}

/* Writes a band that has its place, and what follows from that. */
static int store_band(struct weir_packer *packer,
                      struct weir_band_worker *worker, const struct band *band,
                      const struct weir_band_out *out, struct place at,
                      struct weir_err *err)
{
    int rc = write_band(packer, worker, band, out, at, err);
    uint64_t flush = 0;

    if (rc)
        return rc;
    pthread_mutex_lock(&packer->lock);
    rc = band_done(packer, worker, band, err);
    if (!rc)
        flush = take_flush(&packer->parts[at.part]);
    pthread_mutex_unlock(&packer->lock);
    return flush ? flush_behind(&packer->parts[at.part], flush, err) : rc;
}

static void pack_bands(struct weir_packer *packer,
                       struct weir_band_worker *worker)
{
    struct weir_band_out out;
    struct weir_err why = {0};
    struct band band;
    struct place at = {0};
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
        if (store_band(packer, worker, &band, &out, at, &why)) {
            pthread_mutex_lock(&packer->lock);
            packer->torn = 1;
            fail(packer, &why);
            pthread_mutex_unlock(&packer->lock);
        }
    }
}

static void pack_thread(void *ctx, size_t item, unsigned number)
{
    struct weir_packer *packer = ctx;
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

/* The descriptor of the folder that `path` is in; < 0 and an error. */
static int open_folder_of(const char *path, struct weir_err *err)
{
    char *copy = strdup(path);
    int fd;

    if (!copy)
        return weir_err_nomem(err, strlen(path), "a path");
    fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(copy);
    return fd < 0 ? weir_err_errno(err, errno, "open the folder of", path) : fd;
}

static int publish(struct weir_packer_part *part, struct weir_err *err)
{
    int fd, rc = 0;

    if (part->published)
        return 0;
    fd = open_folder_of(part->path, err);
    if (fd < 0)
        return fd;
    if (rename(part->name, part->path))
        rc = weir_err_errno(err, errno, "give the finished .part its name,",
                            part->path);
    else if (fsync(fd))
        rc = weir_err_errno(err, errno, "sync the folder of", part->path);
    close(fd);
    return rc;
}

/* Extends it, for it may end in a hole, and syncs it with its first page. */
static int seal(const struct weir_packer_part *part, uint64_t n_bytes,
                const uint8_t page[WEIR_FILE_PAGE], struct weir_err *err)
{
    int rc;

    if (ftruncate(part->fd, (off_t)n_bytes))
        return weir_err_errno(err, errno, "extend", part->name);
    rc = weir_pwrite_all(part->fd, page, WEIR_FILE_PAGE, 0, part->name, err);
    if (!rc && fsync(part->fd))
        rc = weir_err_errno(err, errno, "sync", part->name);
    return rc;
}

/*
 * The other parts before the first.  A checkpoint says that all is there, so
 * that what is interrupted here is found under either name and not written
 * again.
 */
static int finish_others(struct weir_packer *packer, struct weir_err *err)
{
    uint8_t page[WEIR_FILE_PAGE];
    int rc = weir_packer_checkpoint(packer, err);

    for (unsigned i = 1; i < packer->n_parts && !rc; i++) {
        if (packer->parts[i].published)
            continue;
        weir_part_encode(&packer->file, i, page);
        rc = seal(&packer->parts[i], packer->parts[i].offset, page, err);
    }
    for (unsigned i = 1; i < packer->n_parts && !rc; i++)
        rc = publish(&packer->parts[i], err);
    return rc;
}

/* Index and then header, each synced before the next; then the name. */
static int finish(struct weir_packer *packer, struct weir_err *err)
{
    struct weir_packer_part *first = &packer->parts[0];
    uint8_t header[WEIR_FILE_PAGE];
    int rc = 0;

    weir_packer_share_tiles(packer, packer->file.n_units);
    packer->file.n_bytes = first->offset;
    for (unsigned i = 0; i < packer->n_parts; i++) {
        packer->file.parts[i].n_bytes = packer->parts[i].offset;
        weir_index_put_part(packer->index, i, packer->parts[i].offset);
    }
    if (packer->n_parts > 1)
        rc = finish_others(packer, err);
    if (rc)
        return rc;
    weir_index_encode_header(&packer->file, packer->index, header);
    if (ftruncate(first->fd, (off_t)first->offset))
        return weir_err_errno(err, errno, "extend", first->name);
    rc = weir_pwrite_all(first->fd, packer->index, packer->index_bytes,
                         WEIR_FILE_PAGE, first->name, err);
    if (!rc && fsync(first->fd))
        rc = weir_err_errno(err, errno, "sync", first->name);
    if (!rc)
        rc = seal(first, first->offset, header, err);
    return rc ? rc : publish(first, err);
}

static int run_threads(struct weir_packer *packer, struct weir_err *err)
{
    struct weir_pool *pool;
    int rc = weir_pool_new(packer->pack->n_threads, &pool, err);

    if (rc)
        return rc;
    packer->err = err;
    weir_pool_run(pool, weir_pool_n_threads(pool), pack_thread, packer);
    weir_pool_free(pool);
    /* as much as can be for the next try, but nothing that may be lost */
    if (packer->failed && !packer->torn)
        weir_packer_checkpoint(packer, NULL);
    return packer->failed;
}

static void packer_fini(struct weir_packer *packer)
{
    for (unsigned i = 0; i < WEIR_FILES_MAX; i++) {
        if (packer->parts[i].fd >= 0)
            close(packer->parts[i].fd);
        free(packer->parts[i].name);
    }
    for (uint32_t i = 0; packer->units && i < packer->file.n_units; i++)
        free(packer->units[i].scales);
    free(packer->units);
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
    struct weir_packer packer = {.pack = pack};
    int rc;

    for (unsigned i = 0; i < WEIR_FILES_MAX; i++)
        packer.parts[i].fd = -1;
    pthread_mutex_init(&packer.lock, NULL);
    pthread_cond_init(&packer.turned, NULL);
    rc = weir_packer_lay(&packer, err);
    if (!rc)
        rc = weir_packer_open(&packer, path, err);
    if (!rc)
        rc = run_threads(&packer, err);
    if (!rc)
        rc = finish(&packer, err);
    packer_fini(&packer);
    return rc;
}
