/* SPDX-License-Identifier: Apache-2.0 */
/* A checkpoint as large models have it: two shards and an index. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/le.h"
#include "tests/golden/compare.h"
#include "tests/tap.h"

#define FILE_BYTES (64UL << 20)
#define PATH_BYTES 4096

static int write_file(const char *folder, const char *name, const void *data,
                      size_t n_bytes)
{
    char path[PATH_BYTES];
    FILE *file;
    int rc;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    file = fopen(path, "wb");
    if (!file)
        return -1;
    rc = fwrite(data, 1, n_bytes, file) != n_bytes;
    return fclose(file) || rc ? -1 : 0;
}

int copy_file(const char *from, const char *to, const char *name)
{
    struct weir_buf buf = WEIR_BUF(FILE_BYTES);
    struct weir_err err;
    char path[PATH_BYTES];
    int rc;

    snprintf(path, sizeof(path), "%s/%s", from, name);
    rc = weir_buf_add_file(&buf, path, &err);
    if (!rc)
        rc = write_file(to, name, buf.data, buf.n_bytes);
    weir_buf_fini(&buf);
    return rc;
}

/* Every second tensor, beginning with `first`: header and values in `out` */
static int build_shard(const struct weir_checkpoint *from, uint32_t first,
                       struct weir_buf *out, struct weir_err *err)
{
    struct weir_buf data = WEIR_BUF(FILE_BYTES);
    json_t *header = json_object();
    uint8_t length[8];
    char *text;
    int rc = 0;

    for (uint32_t i = first; i < from->n_tensors && !rc; i += 2) {
        const struct weir_source *source = &from->tensors[i];
        void *values = malloc(source->n_bytes);
        json_t *shape = json_array();

        for (unsigned d = 0; d < source->n_dims; d++)
            json_array_append_new(shape,
                                  json_integer((json_int_t)source->shape[d]));
        json_object_set_new(
            header, source->name,
            json_pack("{s:s, s:o, s:[I, I]}", "dtype", source->dtype_name,
                      "shape", shape, "data_offsets", (json_int_t)data.n_bytes,
                      (json_int_t)(data.n_bytes + source->n_bytes)));
        rc = weir_pread_all(from->files[source->file].fd, values,
                            source->n_bytes, source->offset, "the source", err);
        if (!rc)
            rc = weir_buf_add(&data, values, source->n_bytes, err);
        free(values);
    }
    text = json_dumps(header, JSON_COMPACT);
    weir_le64_put(length, strlen(text));
    if (!rc)
        rc = weir_buf_add(out, length, sizeof(length), err);
    if (!rc)
        rc = weir_buf_add(out, text, strlen(text), err);
    if (!rc)
        rc = weir_buf_add(out, data.data, data.n_bytes, err);
    free(text);
    json_decref(header);
    weir_buf_fini(&data);
    return rc;
}

static const char *const shard_names[] = {"model-00001-of-00002.safetensors",
                                          "model-00002-of-00002.safetensors"};

static int write_index(const struct weir_checkpoint *from, const char *to)
{
    json_t *map = json_object(), *root;
    json_int_t total = 0;
    char *text;
    int rc;

    for (uint32_t i = 0; i < from->n_tensors; i++) {
        total += (json_int_t)from->tensors[i].n_bytes;
        json_object_set_new(map, from->tensors[i].name,
                            json_string(shard_names[i % 2]));
    }
    root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", total,
                     "weight_map", map);
    text = json_dumps(root, JSON_INDENT(2));
    rc = write_file(to, "model.safetensors.index.json", text, strlen(text));
    free(text);
    json_decref(root);
    return rc;
}

int split_checkpoint(const char *from, const char *to)
{
    struct weir_checkpoint checkpoint;
    struct weir_err err = {.message = "cannot write"};
    int rc = weir_checkpoint_open(from, &checkpoint, &err);

    if (rc) {
        tap_diag("%s", err.message);
        return -1;
    }
    for (uint32_t i = 0; i < 2 && !rc; i++) {
        struct weir_buf shard = WEIR_BUF(FILE_BYTES);

        rc = build_shard(&checkpoint, i, &shard, &err);
        if (!rc)
            rc = write_file(to, shard_names[i], shard.data, shard.n_bytes);
        weir_buf_fini(&shard);
    }
    if (!rc)
        rc = write_index(&checkpoint, to);
    if (!rc)
        rc = copy_file(from, to, "config.json");
    if (!rc)
        rc = copy_file(from, to, "generation_config.json");
    if (rc)
        tap_diag("%s: %s", to, err.message);
    weir_checkpoint_close(&checkpoint);
    return rc ? -1 : 0;
}
