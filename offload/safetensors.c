/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A safetensors file is a 64-bit length, a JSON header of that length, and the
 * tensors' bytes.  The header maps each name to its dtype, its shape and the
 * bytes [begin, end) behind the header.  As in the reference reader, tensors
 * must cover the data exactly: no overlap, no gap, nothing behind the last.
 */
#include "offload/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/le.h"

#define MAX_HEADER  (100u * 1000 * 1000) /* the reference reader's limit */
#define MAX_INDEX   (64u << 20)
#define MAX_TENSORS (1u << 20)
#define MAX_FILES   4096
#define MAX_NAME    255

/* Every element type of the format, so that an unsupported one is named. */
static const struct {
    const char *name;
    unsigned bytes;
    int dtype;
} dtypes[] = {
    {"BF16", 2, WEIR_BF16}, {"F16", 2, WEIR_F16}, {"F32", 4, WEIR_F32},
    {"F64", 8, -1},         {"I64", 8, -1},       {"U64", 8, -1},
    {"I32", 4, -1},         {"U32", 4, -1},       {"I16", 2, -1},
    {"U16", 2, -1},         {"I8", 1, -1},        {"U8", 1, -1},
    {"BOOL", 1, -1},        {"F8_E4M3", 1, -1},   {"F8_E5M2", 1, -1},
    {"F8_E8M0", 1, -1},     {"C64", 8, -1},
};

static int damaged(const struct weir_source_file *file, const char *tensor,
                   const char *what, struct weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT,
                        "%s: tensor %.200s: %s; the file is damaged: fetch it "
                        "again",
                        file->path, tensor, what);
}

/* ---- one tensor of a header ---- */

static int get_dtype(const struct weir_source_file *file, const json_t *entry,
                     struct weir_source *out, unsigned *bytes,
                     struct weir_err *err)
{
    const char *name = json_string_value(json_object_get(entry, "dtype"));

    if (!name)
        return damaged(file, out->name, "no dtype", err);
    for (size_t i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++)
        if (!strcmp(dtypes[i].name, name)) {
            out->dtype_name = dtypes[i].name;
            out->dtype = dtypes[i].dtype;
            *bytes = dtypes[i].bytes;
            return 0;
        }
    return weir_err_set(err, WEIR_ENOTSUP,
                        "%s: tensor %s: unknown dtype %.32s; weir packs BF16, "
                        "F16 and F32",
                        file->path, out->name, name);
}

/* Fills the shape; *n_bytes is its product times `bytes`. */
static int get_shape(const struct weir_source_file *file, const json_t *entry,
                     struct weir_source *out, unsigned bytes, uint64_t *n_bytes,
                     struct weir_err *err)
{
    const json_t *shape = json_object_get(entry, "shape"), *value;
    uint64_t n = bytes;

    out->n_dims = (unsigned)json_array_size(shape);
    if (!json_is_array(shape) || out->n_dims > WEIR_SAFETENSORS_MAX_DIMS)
        return damaged(file, out->name, "bad shape", err);
    for (unsigned i = 0; i < out->n_dims; i++) {
        value = json_array_get(shape, i);
        if (!json_is_integer(value) || json_integer_value(value) < 0)
            return damaged(file, out->name, "bad shape", err);
        out->shape[i] = (uint64_t)json_integer_value(value);
        if (out->shape[i] && n > UINT64_MAX / out->shape[i])
            return damaged(file, out->name, "shape too large", err);
        n *= out->shape[i];
    }
    *n_bytes = n;
    return 0;
}

static int get_offsets(const struct weir_source_file *file, const json_t *entry,
                       struct weir_source *out, uint64_t data_bytes,
                       struct weir_err *err)
{
    const json_t *offsets = json_object_get(entry, "data_offsets");
    const json_t *begin = json_array_get(offsets, 0);
    const json_t *end = json_array_get(offsets, 1);

    if (json_array_size(offsets) != 2 || !json_is_integer(begin) ||
        !json_is_integer(end) || json_integer_value(begin) < 0 ||
        json_integer_value(end) < json_integer_value(begin))
        return damaged(file, out->name, "bad data_offsets", err);
    if ((uint64_t)json_integer_value(end) > data_bytes)
        return damaged(file, out->name,
                       "data_offsets pass the end of the file, which was cut",
                       err);
    out->offset = (uint64_t)json_integer_value(begin);
    out->n_bytes = (uint64_t)json_integer_value(end) - out->offset;
    return 0;
}

static int get_tensor(const struct weir_source_file *file, const char *name,
                      const json_t *entry, uint64_t data_bytes,
                      struct weir_source *out, struct weir_err *err)
{
    uint64_t n_bytes = 0;
    unsigned bytes = 1;
    int rc;

    if (strlen(name) > MAX_NAME || !*name)
        return damaged(file, name, "bad name", err);
    out->name = strdup(name);
    if (!out->name)
        return weir_err_nomem(err, strlen(name), "a tensor name");
    rc = get_dtype(file, entry, out, &bytes, err);
    if (!rc)
        rc = get_shape(file, entry, out, bytes, &n_bytes, err);
    if (!rc)
        rc = get_offsets(file, entry, out, data_bytes, err);
    if (!rc && n_bytes != out->n_bytes)
        rc = damaged(file, name, "shape and dtype do not make its bytes", err);
    return rc;
}

/* ---- one file ---- */

static int by_offset(const void *a, const void *b)
{
    const struct weir_source *x = a, *y = b;

    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* The tensors of a file, sorted by offset, must cover its data exactly. */
static int check_cover(const struct weir_source_file *file,
                       const struct weir_source *tensors, size_t n,
                       uint64_t data_bytes, struct weir_err *err)
{
    uint64_t next = 0;

    for (size_t i = 0; i < n; i++) {
        if (tensors[i].offset < next)
            return damaged(file, tensors[i].name, "overlaps another", err);
        if (tensors[i].offset > next)
            return damaged(file, tensors[i].name,
                           "leaves a gap before its bytes", err);
        next += tensors[i].n_bytes;
    }
    if (next != data_bytes)
        return weir_err_at(err, WEIR_EFORMAT, file->n_bytes - data_bytes + next,
                           "%s: %llu bytes behind the last tensor; the file is "
                           "damaged: fetch it again",
                           file->path, (unsigned long long)(data_bytes - next));
    return 0;
}

static int add_tensors(struct weir_checkpoint *checkpoint, uint32_t number,
                       json_t *header, uint64_t data_at, struct weir_err *err)
{
    const struct weir_source_file *file = &checkpoint->files[number];
    uint64_t data_bytes = file->n_bytes - data_at;
    size_t n = json_object_size(header), first = checkpoint->n_tensors;
    struct weir_source *tensors;
    const char *name;
    json_t *entry;
    int rc;

    if (first + n > MAX_TENSORS)
        return weir_err_set(err, WEIR_ELIMIT, "%s: more than %u tensors",
                            file->path, MAX_TENSORS);
    tensors = realloc(checkpoint->tensors, (first + n + 1) * sizeof(*tensors));
    if (!tensors)
        return weir_err_nomem(err, n * sizeof(*tensors), "tensor names");
    checkpoint->tensors = tensors;
    json_object_foreach(header, name, entry)
    {
        struct weir_source *out = &tensors[checkpoint->n_tensors];

        if (!strcmp(name, "__metadata__"))
            continue;
        memset(out, 0, sizeof(*out));
        out->file = number;
        checkpoint->n_tensors++;
        rc = get_tensor(file, name, entry, data_bytes, out, err);
        if (rc)
            return rc;
    }
    n = checkpoint->n_tensors - first;
    qsort(tensors + first, n, sizeof(*tensors), by_offset);
    rc = check_cover(file, tensors + first, n, data_bytes, err);
    for (size_t i = 0; i < n; i++)
        tensors[first + i].offset += data_at;
    return rc;
}

static int read_header(struct weir_checkpoint *checkpoint, uint32_t number,
                       struct weir_err *err)
{
    const struct weir_source_file *file = &checkpoint->files[number];
    uint8_t length[8];
    uint64_t n;
    char *text;
    json_t *header = NULL;
    int rc;

    rc = weir_pread_all(file->fd, length, 8, 0, file->path, err);
    if (rc)
        return rc;
    n = weir_le64(length);
    if (n > MAX_HEADER || n > file->n_bytes - 8)
        return weir_err_at(err, WEIR_EFORMAT, 0,
                           "%s: a header of %llu bytes in a file of %llu; not "
                           "a safetensors file, or cut: fetch it again",
                           file->path, (unsigned long long)n,
                           (unsigned long long)file->n_bytes);
    text = malloc(n + 1);
    if (!text)
        return weir_err_nomem(err, n, "a safetensors header");
    rc = weir_pread_all(file->fd, text, n, 8, file->path, err);
    if (!rc)
        rc = weir_json_parse(text, n, file->path, &header, err);
    free(text);
    if (!rc && !json_is_object(header))
        rc = weir_err_at(err, WEIR_EFORMAT, 8,
                         "%s: the header is not a JSON object; fetch the file "
                         "again",
                         file->path);
    if (!rc)
        rc = add_tensors(checkpoint, number, header, 8 + n, err);
    json_decref(header);
    return rc;
}

static int add_file(struct weir_checkpoint *checkpoint, const char *folder,
                    const char *name, struct weir_err *err)
{
    struct weir_source_file *file = &checkpoint->files[checkpoint->n_files++];
    struct stat st;

    file->fd = file->direct_fd = -1;
    file->name = strdup(name);
    if (!file->name ||
        asprintf(&file->path, "%s%s%s", folder, *folder ? "/" : "", name) < 0) {
        file->path = NULL;
        return weir_err_nomem(err, strlen(name), "a path");
    }
    file->fd = open(file->path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0)
        return weir_err_errno(err, errno, "open", file->path);
    file->direct_fd = open(file->path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (fstat(file->fd, &st))
        return weir_err_errno(err, errno, "stat", file->path);
    if (!S_ISREG(st.st_mode))
        return weir_err_set(err, WEIR_EARG, "%s: not a regular file",
                            file->path);
    /* no read-ahead beyond a request: what is read can be dropped exactly */
    posix_fadvise(file->fd, 0, 0, POSIX_FADV_RANDOM);
    file->n_bytes = (uint64_t)st.st_size;
    if (file->n_bytes < 8)
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: only %llu bytes; not a safetensors file: "
                            "fetch it again",
                            file->path, (unsigned long long)file->n_bytes);
    return read_header(checkpoint, checkpoint->n_files - 1, err);
}

/* ---- the checkpoint ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct weir_source *)a)->name,
                  ((const struct weir_source *)b)->name);
}

static int sort_by_name(struct weir_checkpoint *checkpoint,
                        struct weir_err *err)
{
    struct weir_source *tensors = checkpoint->tensors;

    qsort(tensors, checkpoint->n_tensors, sizeof(*tensors), by_name);
    for (uint32_t i = 1; i < checkpoint->n_tensors; i++)
        if (!by_name(&tensors[i - 1], &tensors[i]))
            return weir_err_set(err, WEIR_EFORMAT,
                                "tensor %s stands in both %s and %s; remove "
                                "one",
                                tensors[i].name,
                                checkpoint->files[tensors[i - 1].file].path,
                                checkpoint->files[tensors[i].file].path);
    return 0;
}

static int alloc_files(struct weir_checkpoint *checkpoint, size_t n,
                       struct weir_err *err)
{
    checkpoint->files = calloc(n, sizeof(*checkpoint->files));
    if (!checkpoint->files)
        return weir_err_nomem(err, n * sizeof(*checkpoint->files), "shards");
    return 0;
}

static int has_file(const struct weir_checkpoint *checkpoint, const char *name)
{
    for (uint32_t i = 0; i < checkpoint->n_files; i++)
        if (!strcmp(checkpoint->files[i].name, name))
            return 1;
    return 0;
}

/* A shard lies in the folder itself: no path may lead out of it. */
static int add_shard(struct weir_checkpoint *checkpoint, const char *folder,
                     const char *index, const char *tensor, const char *shard,
                     struct weir_err *err)
{
    if (!shard || !*shard || strlen(shard) > MAX_NAME || strchr(shard, '/'))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: weight_map: %.200s: not the name of a file in "
                            "this folder",
                            index, tensor);
    if (has_file(checkpoint, shard))
        return 0;
    if (checkpoint->n_files == MAX_FILES)
        return weir_err_set(err, WEIR_ELIMIT, "%s: more than %d shards", index,
                            MAX_FILES);
    return add_file(checkpoint, folder, shard, err);
}

/* Index and shards must agree on which tensor lies where. */
static int check_weight_map(const struct weir_checkpoint *checkpoint,
                            const char *index, json_t *map,
                            struct weir_err *err)
{
    const struct weir_source *tensors = checkpoint->tensors;
    const char *name, *shard;
    json_t *value;

    json_object_foreach(map, name, value)
    {
        int64_t i = weir_checkpoint_find(checkpoint, name);

        shard = json_string_value(value);
        if (i < 0 || strcmp(checkpoint->files[tensors[i].file].name, shard))
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: %.200s is said to be in %s, which does "
                                "not hold it; fetch both files again",
                                index, name, shard);
    }
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++)
        if (!json_object_get(map, tensors[i].name))
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: %s of %s is missing in weight_map; fetch "
                                "the file again",
                                index, tensors[i].name,
                                checkpoint->files[tensors[i].file].name);
    return 0;
}

static int open_shards(const char *folder, const char *path, json_t *index,
                       struct weir_checkpoint *checkpoint, struct weir_err *err)
{
    json_t *map = json_object_get(index, "weight_map"), *value;
    const char *name;
    int rc;

    if (!json_is_object(map) || !json_object_size(map))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: no weight_map; fetch the file again", path);
    rc = alloc_files(checkpoint, MAX_FILES, err);
    if (rc)
        return rc;
    json_object_foreach(map, name, value)
    {
        rc = add_shard(checkpoint, folder, path, name, json_string_value(value),
                       err);
        if (rc)
            return rc;
    }
    rc = sort_by_name(checkpoint, err);
    return rc ? rc : check_weight_map(checkpoint, path, map, err);
}

static int open_index(const char *folder, const char *path,
                      struct weir_checkpoint *checkpoint, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(MAX_INDEX);
    json_t *index = NULL;
    int rc = weir_buf_add_file(&text, path, err);

    if (!rc)
        rc = weir_json_parse(text.data ? text.data : "", text.n_bytes, path,
                             &index, err);
    if (!rc)
        rc = open_shards(folder, path, index, checkpoint, err);
    json_decref(index);
    weir_buf_fini(&text);
    return rc;
}

static int open_single(const char *folder, const char *name,
                       struct weir_checkpoint *checkpoint, struct weir_err *err)
{
    int rc = alloc_files(checkpoint, 1, err);

    if (!rc)
        rc = add_file(checkpoint, folder, name, err);
    if (!rc)
        rc = sort_by_name(checkpoint, err);
    return rc;
}

/* A single file comes before an index, as in transformers. */
static int open_folder(const char *folder, struct weir_checkpoint *checkpoint,
                       struct weir_err *err)
{
    char *single = NULL, *index = NULL;
    int rc;

    if (asprintf(&single, "%s/model.safetensors", folder) < 0 ||
        asprintf(&index, "%s/model.safetensors.index.json", folder) < 0)
        rc = weir_err_nomem(err, strlen(folder), "a path");
    else if (!access(single, F_OK))
        rc = open_single(folder, "model.safetensors", checkpoint, err);
    else if (!access(index, F_OK))
        rc = open_index(folder, index, checkpoint, err);
    else
        rc = weir_err_set(err, WEIR_EIO,
                          "%s: neither model.safetensors nor "
                          "model.safetensors.index.json; name the folder of a "
                          "Hugging Face checkpoint",
                          folder);
    free(single);
    free(index);
    return rc;
}

int weir_checkpoint_open(const char *folder, struct weir_checkpoint *checkpoint,
                         struct weir_err *err)
{
    int rc;

    memset(checkpoint, 0, sizeof(*checkpoint));
    rc = open_folder(folder, checkpoint, err);
    if (rc)
        weir_checkpoint_close(checkpoint);
    return rc;
}

int weir_checkpoint_open_file(const char *path,
                              struct weir_checkpoint *checkpoint,
                              struct weir_err *err)
{
    int rc;

    memset(checkpoint, 0, sizeof(*checkpoint));
    rc = open_single("", path, checkpoint, err);
    if (rc)
        weir_checkpoint_close(checkpoint);
    return rc;
}

void weir_checkpoint_close(struct weir_checkpoint *checkpoint)
{
    for (uint32_t i = 0; i < checkpoint->n_tensors; i++)
        free(checkpoint->tensors[i].name);
    for (uint32_t i = 0; i < checkpoint->n_files; i++) {
        if (checkpoint->files[i].fd >= 0)
            close(checkpoint->files[i].fd);
        if (checkpoint->files[i].direct_fd >= 0)
            close(checkpoint->files[i].direct_fd);
        free(checkpoint->files[i].name);
        free(checkpoint->files[i].path);
    }
    free(checkpoint->tensors);
    free(checkpoint->files);
    memset(checkpoint, 0, sizeof(*checkpoint));
}

int64_t weir_checkpoint_find(const struct weir_checkpoint *checkpoint,
                             const char *name)
{
    uint32_t low = 0, high = checkpoint->n_tensors;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = strcmp(name, checkpoint->tensors[mid].name);

        if (order == 0)
            return mid;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return -1;
}
