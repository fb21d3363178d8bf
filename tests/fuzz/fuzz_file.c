/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A whole weir file: header, index, small files and tiles.  The input leaves
 * out what is zero anyway.  It is
 *
 *   1 byte    which checksums and sizes are put right (enum mend)
 *   80 bytes  the header up to its zeros
 *   the rest  the file from its second page on, up to the zeros at its end
 *
 * so that a lie can pass the checksums, as an attacker's would.  Other parts of
 * the model have the bytes of the file, but for the page that they begin with.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/buf.h"
#include "base/le.h"
#include "model/bind.h"
#include "offload/index.h"
#include "offload/parts.h"
#include "offload/tiling.h"
#include "tests/fuzz/fuzz.h"

#define HEADER_BYTES 80
#define MAX_IMAGE    (1u << 20)
#define MAX_TILES    4096 /* that are looked at one by one */
#define MAX_READ     64   /* that are read */
#define MAX_NAME     8    /* of a part that is made */

enum mend { TILE_SUMS = 1, INDEX_BYTES = 2, INDEX_SUM = 4, HEADER_SUM = 8 };

static uint8_t image[MAX_IMAGE];

/* Makes the sum at `sum` that of the bytes, if they are in the image. */
static void put_sum(uint8_t *sum, uint64_t offset, uint64_t n_bytes, size_t n)
{
    if (offset <= n && n_bytes <= n - offset)
        weir_le64_put(sum, XXH3_64bits(image + offset, n_bytes));
}

/* Blob records stand behind those of parts, tile records before the names. */
static void put_sums(size_t n)
{
    uint64_t n_blobs = weir_le32(image + 68), n_tiles = weir_le64(image + 56);
    struct weir_file counts = {.n_parts = weir_le32(image + 64),
                               .n_blobs = (uint32_t)n_blobs,
                               .n_units = weir_le32(image + 72),
                               .n_tensors = weir_le32(image + 76)};
    uint64_t at = WEIR_FILE_PAGE + 16ull * counts.n_parts;

    for (uint64_t i = 0; i < n_blobs && at + 32 <= n; i++, at += 32)
        put_sum(image + at + 24, weir_le64(image + at + 8),
                weir_le64(image + at + 16), n);
    at = WEIR_FILE_PAGE + weir_index_tiles_at(&counts);
    for (uint64_t i = 0; i < n_tiles && at + 24 <= n; i++, at += 24)
        put_sum(image + at + 8, weir_le64(image + at),
                weir_le32(image + at + 16), n);
}

/* The size of the index that the counts call for. */
static void put_index_bytes(void)
{
    struct weir_file counts = {.n_parts = weir_le32(image + 64),
                               .n_blobs = weir_le32(image + 68),
                               .n_units = weir_le32(image + 72),
                               .n_tensors = weir_le32(image + 76)};

    weir_le64_put(image + 32,
                  weir_index_tiles_at(&counts) +
                      weir_le64(image + 56) * WEIR_TILE_RECORD_BYTES +
                      weir_le64(image + 48));
}

/* Fills the image; its bytes. */
static size_t make_image(const uint8_t *data, size_t n_bytes)
{
    size_t n_rest = n_bytes - 1 - HEADER_BYTES, n;
    unsigned mends = data[0];

    memset(image, 0, WEIR_FILE_PAGE);
    memcpy(image, data + 1, HEADER_BYTES);
    n = weir_le64(image + 16) <= MAX_IMAGE ? weir_le64(image + 16)
                                           : WEIR_FILE_PAGE + n_rest;
    if (n < WEIR_FILE_PAGE)
        n = WEIR_FILE_PAGE;
    if (n_rest > n - WEIR_FILE_PAGE)
        n_rest = n - WEIR_FILE_PAGE;
    memset(image + WEIR_FILE_PAGE, 0, n - WEIR_FILE_PAGE);
    memcpy(image + WEIR_FILE_PAGE, data + 1 + HEADER_BYTES, n_rest);
    if (mends & TILE_SUMS)
        put_sums(n);
    if (mends & INDEX_BYTES)
        put_index_bytes();
    if (mends & INDEX_SUM)
        put_sum(image + 40, WEIR_FILE_PAGE, weir_le64(image + 32), n);
    if (mends & HEADER_SUM)
        put_sum(image + WEIR_FILE_PAGE - 8, 0, WEIR_FILE_PAGE - 8, n);
    return n;
}

/* Small files and tiles lie one behind the other, on pages of their part. */
static void check_place(const struct weir_file *file, unsigned part,
                        uint64_t offset, uint64_t n_bytes, uint64_t *data_at)
{
    uint64_t most = file->parts[part].n_bytes;

    FUZZ_CHECK(offset % WEIR_FILE_PAGE == 0 && offset >= data_at[part]);
    FUZZ_CHECK(offset <= most && n_bytes <= most - offset);
    data_at[part] = offset + n_bytes;
}

static void check_parts(const struct weir_file *file)
{
    FUZZ_CHECK(file->n_parts && file->n_parts <= WEIR_FILES_MAX);
    FUZZ_CHECK(file->parts[0].n_bytes == file->n_bytes);
    for (unsigned i = 1; i < file->n_parts; i++) {
        const struct weir_part *part = &file->parts[i];
        size_t n = strlen(part->recorded);

        FUZZ_CHECK(n && n <= WEIR_PATH_BYTES && part->recorded[n - 1] != '/');
        FUZZ_CHECK(part->n_bytes >= WEIR_FILE_PAGE &&
                   part->n_bytes % WEIR_FILE_PAGE == 0);
    }
}

static void check_blobs(const struct weir_file *file, uint64_t *data_at)
{
    struct weir_err err = {0};
    char *data;
    size_t n;
    int rc;

    for (uint32_t i = 0; i < file->n_blobs; i++) {
        const struct weir_blob *blob = &file->blobs[i];

        check_place(file, 0, blob->offset, blob->n_bytes, data_at);
        rc = weir_file_read_blob(file, blob->name, &data, &n, &err);
        if (rc)
            fuzz_check_refused(rc, &err);
        else
            FUZZ_CHECK(data && n == blob->n_bytes && !data[n]);
        free(data);
    }
    FUZZ_CHECK(!weir_file_read_blob(file, "", &data, &n, &err) && !data);
}

/* Either all tensors of a unit share tiles, with a run of others, or none. */
static void check_unit(const struct weir_file *file,
                       const struct weir_unit *unit)
{
    const struct weir_tensor *first = &file->tensors[unit->first_tensor];

    for (uint32_t i = 0; i < unit->n_tensors; i++)
        FUZZ_CHECK(first[i].owner == first->owner + i);
}

static void check_units(const struct weir_file *file)
{
    uint64_t next = 0;

    for (uint32_t i = 0; i < file->n_units; i++) {
        FUZZ_CHECK(file->units[i].first_tensor == next);
        FUZZ_CHECK(weir_file_find_unit(file, file->units[i].name) == i);
        next += file->units[i].n_tensors;
        check_unit(file, &file->units[i]);
    }
    FUZZ_CHECK(next == file->n_tensors);
    FUZZ_CHECK(weir_file_find_unit(file, "") == UINT32_MAX);
}

/* Tile `k` of a tensor lies in its matrix and in the file. */
static void check_tile(const struct weir_file *file,
                       const struct weir_tensor *tensor, uint64_t k,
                       uint64_t *data_at)
{
    uint64_t n_bytes = weir_tiling_tile_bytes(tensor, k);
    struct weir_tile_record record;
    struct weir_tile_span span;

    weir_tiling_span(tensor, k, &span);
    FUZZ_CHECK(span.rows && span.cols);
    FUZZ_CHECK(span.row < tensor->rows && span.rows <= tensor->rows - span.row);
    FUZZ_CHECK(span.col < tensor->cols && span.cols <= tensor->cols - span.col);
    FUZZ_CHECK(n_bytes && n_bytes <= file->max_tile_bytes);
    weir_file_tile(file, tensor->first_tile + k, &record);
    FUZZ_CHECK(record.file < file->n_parts && record.codec < WEIR_N_CODECS);
    FUZZ_CHECK(record.stored_bytes && record.stored_bytes <= n_bytes);
    check_place(file, record.file, record.offset, record.stored_bytes, data_at);
}

/* A tensor without tiles of its own has all those of its owner. */
static void check_shared(const struct weir_file *file, uint32_t i)
{
    const struct weir_tensor *tensor = &file->tensors[i];
    const struct weir_tensor *owner = &file->tensors[tensor->owner];
    uint64_t n = weir_tiling_n_tiles(tensor);

    FUZZ_CHECK(file->aliased && tensor->owner < i);
    FUZZ_CHECK(owner->owner == tensor->owner);
    FUZZ_CHECK(
        owner->dtype == tensor->dtype && weir_tiling_n_tiles(owner) == n &&
        weir_tiling_tile_bytes(owner, 0) == weir_tiling_tile_bytes(tensor, 0));
    FUZZ_CHECK(!memcmp(
        file->tile_records + tensor->first_tile * WEIR_TILE_RECORD_BYTES,
        file->tile_records + owner->first_tile * WEIR_TILE_RECORD_BYTES,
        n * WEIR_TILE_RECORD_BYTES));
}

static void check_scales(const struct weir_file *file,
                         const struct weir_tensor *tensor)
{
    const struct weir_tensor *scales;

    if (tensor->dtype != WEIR_I8) {
        FUZZ_CHECK(tensor->scale_tensor == WEIR_NO_TENSOR);
        return;
    }
    FUZZ_CHECK(tensor->scale_tensor < file->n_tensors);
    scales = &file->tensors[tensor->scale_tensor];
    FUZZ_CHECK(scales->dtype == WEIR_F32 &&
               tensor->scale_first + tensor->rows <= scales->cols);
}

static void check_tensors(const struct weir_file *file, uint64_t *data_at)
{
    uint64_t n_tiles = 0;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];
        uint64_t n = weir_tiling_n_tiles(tensor);

        FUZZ_CHECK(weir_file_find(file, tensor->name) == i);
        FUZZ_CHECK(tensor->first_tile == n_tiles);
        check_scales(file, tensor);
        n_tiles += n;
        if (tensor->owner != i) {
            check_shared(file, i);
            continue;
        }
        for (uint64_t k = 0; k < n && n_tiles <= MAX_TILES; k++)
            check_tile(file, tensor, k, data_at);
    }
    FUZZ_CHECK(n_tiles == file->n_tiles);
    FUZZ_CHECK(weir_file_find(file, "") == WEIR_NO_TENSOR);
}

static void read_tiles(const struct weir_file *file,
                       struct weir_residency *residency)
{
    void *scratch = aligned_alloc(64, weir_residency_scratch_bytes(residency));
    const struct weir_tensor *tensor = file->tensors;
    struct weir_err err = {0};
    const void *data;
    int rc;

    weir_residency_scratch_init(residency, scratch);
    for (uint64_t i = 0; i < file->n_tiles && i < MAX_READ; i++) {
        while (i - tensor->first_tile >= weir_tiling_n_tiles(tensor))
            tensor++;
        rc = weir_residency_tile(residency, (uint32_t)(tensor - file->tensors),
                                 i - tensor->first_tile, scratch, &data, &err);
        if (rc)
            fuzz_check_refused(rc, &err);
        else
            FUZZ_CHECK((uintptr_t)data % 64 == 0);
    }
    free(scratch);
}

/* Finds the tensors of the config that the file carries, if it does. */
static void bind_model(const struct weir_file *file,
                       struct weir_residency *residency)
{
    struct weir_err err = {0};
    struct weir_config config;
    struct weir_bind bind;
    char *json;
    size_t n;
    int rc = weir_file_read_blob(file, "config.json", &json, &n, &err);

    if (!rc && !json)
        return;
    if (!rc)
        rc = weir_config_parse(json, n, "config.json", &config, &err);
    free(json);
    if (!rc)
        rc = weir_bind_init(&bind, &config, file, residency, &err);
    if (rc) {
        fuzz_check_refused(rc, &err);
        return;
    }
    FUZZ_CHECK(bind.embed < file->n_tensors && bind.max_tile_rows);
    FUZZ_CHECK(bind.final_norm && bind.layers[config.n_layers - 1].input_norm);
    weir_bind_fini(&bind);
}

/* ---- other parts ---- */

static char folder[] = "/tmp/fuzz_file.XXXXXX";
static char names[WEIR_FILES_MAX][sizeof(folder) + MAX_NAME + 1];

static void remove_folder(void)
{
    rmdir(folder);
}

static void find_folder(void)
{
    static int found;

    if (found++)
        return;
    FUZZ_CHECK(mkdtemp(folder) && !setenv("WEIR_PARTS", folder, 1));
    atexit(remove_folder);
}

static int is_plain(const char *name)
{
    size_t n = strlen(name);

    for (size_t i = 0; i < n; i++)
        if (name[i] < '0' || name[i] > 'z')
            return 0;
    return n && n <= MAX_NAME;
}

/* Writes the part where it is looked for first; 0 when it has no such place. */
static int make_part(const struct weir_file *file, unsigned i)
{
    const char *slash = strrchr(file->parts[i].recorded, '/');
    const char *name = slash ? slash + 1 : file->parts[i].recorded;
    uint64_t n = file->parts[i].n_bytes;
    uint8_t page[WEIR_FILE_PAGE];
    int fd;

    if (!is_plain(name) || n > file->n_bytes)
        return 0;
    snprintf(names[i], sizeof(names[i]), "%s/%s", folder, name);
    fd = open(names[i], O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0)
        return 0; /* two of one name */
    weir_part_encode(file, i, page);
    FUZZ_CHECK(!weir_pwrite_all(fd, image, n, 0, names[i], NULL));
    FUZZ_CHECK(!weir_pwrite_all(fd, page, sizeof(page), 0, names[i], NULL));
    close(fd);
    return 1;
}

/* 1 when all are there and open */
static int open_parts(struct weir_file *file)
{
    struct weir_err err = {0};
    unsigned n_made = 1;
    int rc;

    find_folder();
    while (n_made < file->n_parts && make_part(file, n_made))
        n_made++;
    rc = n_made == file->n_parts ? weir_parts_open(file, &err) : 1;
    for (unsigned i = 1; i < n_made; i++)
        unlink(names[i]);
    FUZZ_CHECK(rc >= 0);
    return rc == 0;
}

static void use_file(struct weir_file *file)
{
    uint64_t data_at[WEIR_FILES_MAX] = {0};
    struct weir_residency *residency;
    struct weir_err err = {0};

    check_parts(file);
    data_at[0] = WEIR_FILE_PAGE + weir_le64(image + 32);
    for (unsigned i = 1; i < file->n_parts; i++)
        data_at[i] = WEIR_FILE_PAGE;
    check_blobs(file, data_at);
    check_units(file);
    check_tensors(file, data_at);
    if (file->n_parts > 1 && !open_parts(file))
        return;
    if (file->max_tile_bytes > WEIR_TILE_BYTES)
        return;
    FUZZ_CHECK(!weir_residency_new(file, NULL, &residency, &err));
    read_tiles(file, residency);
    bind_model(file, residency);
    FUZZ_CHECK(!weir_residency_check(residency, &err));
    weir_residency_free(residency);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct weir_file *file;
    struct weir_err err = {0};
    int rc;

    if (n_bytes < 1 + HEADER_BYTES || n_bytes > MAX_IMAGE - WEIR_FILE_PAGE)
        return 0;
    rc = weir_file_open_index(fuzz_path(image, make_image(data, n_bytes)),
                              &file, &err);
    if (rc) {
        FUZZ_CHECK(!file);
        fuzz_check_refused(rc, &err);
        return 0;
    }
    use_file(file);
    weir_file_close(file);
    return 0;
}
