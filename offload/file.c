/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "offload/checksum.h"
#include "offload/index.h"
#include "offload/parts.h"
#include "offload/tiling.h"

#define MAX_BLOB (1ull << 30)

static int open_fd(struct weir_file *file, struct weir_err *err)
{
    struct stat st;

    /* a pipe must not keep us waiting: it is refused below */
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file->fd < 0)
        return weir_err_errno(err, errno, "open", file->path);
    file->parts[0].fd = file->fd;
    if (fstat(file->fd, &st))
        return weir_err_errno(err, errno, "stat", file->path);
    if (!S_ISREG(st.st_mode))
        return weir_err_set(err, WEIR_EARG,
                            "%s: not a regular file; name a packed model",
                            file->path);
    file->n_bytes = file->parts[0].n_bytes = (uint64_t)st.st_size;
    if (file->n_bytes < WEIR_FILE_PAGE)
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: not a weir file (%llu bytes); make one with "
                            "'weir pack'",
                            file->path, (unsigned long long)file->n_bytes);
    return 0;
}

static int alloc_records(struct weir_file *file, uint64_t index_bytes,
                         struct weir_err *err)
{
    file->index = malloc(index_bytes);
    file->units = calloc(file->n_units + 1u, sizeof(*file->units));
    file->tensors = calloc(file->n_tensors + 1u, sizeof(*file->tensors));
    file->blobs = calloc(file->n_blobs + 1u, sizeof(*file->blobs));
    file->by_name = calloc(file->n_tensors + 1u, sizeof(*file->by_name));
    if (!file->index || !file->units || !file->tensors || !file->blobs ||
        !file->by_name)
        return weir_err_nomem(err, index_bytes, "the index of a model");
    return 0;
}

static int compare_names(const void *a, const void *b, void *ctx)
{
    const struct weir_file *file = ctx;

    return strcmp(file->tensors[*(const uint32_t *)a].name,
                  file->tensors[*(const uint32_t *)b].name);
}

static int sort_names(struct weir_file *file, struct weir_err *err)
{
    for (uint32_t i = 0; i < file->n_tensors; i++)
        file->by_name[i] = i;
    qsort_r(file->by_name, file->n_tensors, sizeof(*file->by_name),
            compare_names, file);
    for (uint32_t i = 1; i < file->n_tensors; i++)
        if (!compare_names(&file->by_name[i - 1], &file->by_name[i], file))
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: two tensors are called %s; pack the "
                                "model again",
                                file->path,
                                file->tensors[file->by_name[i]].name);
    return 0;
}

static int compare_strings(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Units and blobs are found by name too: no two may share one. */
static int check_unique(const struct weir_file *file, const char **names,
                        uint32_t n, struct weir_err *err)
{
    qsort(names, n, sizeof(*names), compare_strings);
    for (uint32_t i = 1; i < n; i++)
        if (!strcmp(names[i - 1], names[i]))
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: two parts are called %s; pack the model "
                                "again",
                                file->path, names[i]);
    return 0;
}

static int check_names(const struct weir_file *file, struct weir_err *err)
{
    size_t n = (size_t)file->n_units + file->n_blobs;
    const char **names = calloc(n + 1, sizeof(*names));
    int rc;

    if (!names)
        return weir_err_nomem(err, n * sizeof(*names), "names");
    for (uint32_t i = 0; i < file->n_units; i++)
        names[i] = file->units[i].name;
    for (uint32_t i = 0; i < file->n_blobs; i++)
        names[file->n_units + i] = file->blobs[i].name;
    rc = check_unique(file, names, file->n_units, err);
    if (!rc)
        rc = check_unique(file, names + file->n_units, file->n_blobs, err);
    free(names);
    return rc;
}

static int read_index(struct weir_file *file, struct weir_err *err)
{
    uint8_t page[WEIR_FILE_PAGE];
    struct weir_index_header header;
    int rc;

    rc = weir_pread_all(file->fd, page, sizeof(page), 0, file->path, err);
    if (!rc)
        rc = weir_index_decode_header(page, file, &header, err);
    if (!rc)
        rc = alloc_records(file, header.index_bytes, err);
    if (!rc)
        rc = weir_pread_all(file->fd, file->index, header.index_bytes,
                            WEIR_FILE_PAGE, file->path, err);
    if (!rc)
        rc = weir_index_decode(file, &header, err);
    if (!rc)
        rc = sort_names(file, err);
    if (!rc)
        rc = check_names(file, err);
    return rc;
}

int weir_file_open_index(const char *path, struct weir_file **out,
                         struct weir_err *err)
{
    struct weir_file *file = calloc(1, sizeof(*file));
    int rc;

    *out = NULL;
    if (!file)
        return weir_err_nomem(err, sizeof(*file), "a model file");
    file->fd = -1;
    for (unsigned i = 0; i < WEIR_FILES_MAX; i++)
        file->parts[i].fd = -1;
    file->path = file->parts[0].path = strdup(path);
    rc = file->path ? open_fd(file, err)
                    : weir_err_nomem(err, strlen(path), "a path");
    if (!rc)
        rc = read_index(file, err);
    if (rc) {
        weir_file_close(file);
        return rc;
    }
    *out = file;
    return 0;
}

int weir_file_open(const char *path, struct weir_file **out,
                   struct weir_err *err)
{
    int rc = weir_file_open_index(path, out, err);

    if (rc)
        return rc;
    rc = weir_parts_open(*out, err);
    if (rc) {
        weir_file_close(*out);
        *out = NULL;
    }
    return rc;
}

void weir_file_close(struct weir_file *file)
{
    if (!file)
        return;
    for (unsigned i = 0; i < WEIR_FILES_MAX; i++) {
        if (file->parts[i].fd >= 0)
            close(file->parts[i].fd);
        free(file->parts[i].path);
    }
    free(file->by_name);
    free(file->blobs);
    free(file->tensors);
    free(file->units);
    free(file->index);
    free(file);
}

uint32_t weir_file_find(const struct weir_file *file, const char *name)
{
    uint32_t low = 0, high = file->n_tensors;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = strcmp(name, file->tensors[file->by_name[mid]].name);

        if (order == 0)
            return file->by_name[mid];
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return WEIR_NO_TENSOR;
}

uint32_t weir_file_find_unit(const struct weir_file *file, const char *name)
{
    for (uint32_t i = 0; i < file->n_units; i++)
        if (!strcmp(file->units[i].name, name))
            return i;
    return UINT32_MAX;
}

uint64_t weir_file_n_own_tiles(const struct weir_file *file)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < file->n_tensors; i++)
        if (file->tensors[i].owner == i)
            n += weir_tiling_n_tiles(&file->tensors[i]);
    return n;
}

uint64_t weir_file_bytes(const struct weir_file *file)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i < file->n_parts; i++)
        n += file->parts[i].n_bytes;
    return n;
}

void weir_file_tile(const struct weir_file *file, uint64_t tile,
                    struct weir_tile_record *record)
{
    weir_index_get_tile(file->tile_records + tile * WEIR_TILE_RECORD_BYTES,
                        record);
}

static const struct weir_blob *find_blob(const struct weir_file *file,
                                         const char *name)
{
    for (uint32_t i = 0; i < file->n_blobs; i++)
        if (!strcmp(file->blobs[i].name, name))
            return &file->blobs[i];
    return NULL;
}

int weir_file_read_blob(const struct weir_file *file, const char *name,
                        char **data, size_t *n_bytes, struct weir_err *err)
{
    const struct weir_blob *blob = find_blob(file, name);
    int rc;

    *data = NULL;
    *n_bytes = 0;
    if (!blob)
        return 0;
    if (blob->n_bytes > MAX_BLOB)
        return weir_err_at(err, WEIR_ELIMIT, blob->offset,
                           "%s: %s has %llu bytes, more than weir takes",
                           file->path, name, (unsigned long long)blob->n_bytes);
    *data = malloc(blob->n_bytes + 1);
    if (!*data)
        return weir_err_nomem(err, blob->n_bytes, name);
    rc = weir_pread_all(file->fd, *data, blob->n_bytes, blob->offset,
                        file->path, err);
    if (!rc && weir_checksum(*data, blob->n_bytes) != blob->xxh3)
        rc = weir_err_at(err, WEIR_ECORRUPT, blob->offset,
                         "%s: offset %llu: the checksum of %s is wrong; the "
                         "file is damaged: fetch or pack it again",
                         file->path, (unsigned long long)blob->offset, name);
    if (rc) {
        free(*data);
        *data = NULL;
        return rc;
    }
    (*data)[blob->n_bytes] = '\0';
    *n_bytes = blob->n_bytes;
    return 0;
}
