/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A safetensors file or, when the input begins with '{', the
 * model.safetensors.index.json beside two small shards.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "offload/safetensors.h"
#include "tests/fuzz/fuzz.h"

#define INDEX "model.safetensors.index.json"

static char folder[] = "fuzz_safetensors.XXXXXX";
static const char *const names[] = {"one.safetensors", "two.safetensors",
                                    INDEX};

static const char *path_of(const char *name)
{
    static char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void remove_folder(void)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(folder);
}

/* A shard with one tensor, of a bf16 number. */
static void write_shard(const char *name, const char *tensor)
{
    char bytes[128];
    int n = snprintf(bytes + 8, sizeof(bytes) - 8,
                     "{\"%s\":{\"dtype\":\"BF16\",\"shape\":[1],"
                     "\"data_offsets\":[0,2]}}",
                     tensor);
    FILE *file = fopen(path_of(name), "wb");
    size_t n_bytes = 8 + (size_t)n + 2;

    weir_le64_put(bytes, (uint64_t)n);
    bytes[n_bytes - 2] = bytes[n_bytes - 1] = 0;
    FUZZ_CHECK(file && fwrite(bytes, 1, n_bytes, file) == n_bytes &&
               !fclose(file));
}

/* A folder whose index is the input. */
static void make_folder(const char *input)
{
    FUZZ_CHECK(mkdtemp(folder));
    atexit(remove_folder);
    write_shard(names[0], "a");
    write_shard(names[1], "b");
    FUZZ_CHECK(!symlink(input, path_of(INDEX)));
}

static int overlap(const struct weir_source *a, const struct weir_source *b)
{
    return a->file == b->file && a->offset < b->offset + b->n_bytes &&
           b->offset < a->offset + a->n_bytes;
}

static void check_tensor(const struct weir_checkpoint *checkpoint, uint32_t i)
{
    const struct weir_source *tensor = &checkpoint->tensors[i];
    const struct weir_source_file *file;
    uint64_t n = 1;

    FUZZ_CHECK(*tensor->name && strlen(tensor->name) <= 255);
    FUZZ_CHECK(weir_checkpoint_find(checkpoint, tensor->name) == i);
    FUZZ_CHECK(tensor->file < checkpoint->n_files);
    file = &checkpoint->files[tensor->file];
    FUZZ_CHECK(tensor->offset >= 8 && tensor->offset <= file->n_bytes &&
               tensor->n_bytes <= file->n_bytes - tensor->offset);
    FUZZ_CHECK(tensor->n_dims <= WEIR_SAFETENSORS_MAX_DIMS);
    for (unsigned k = 0; k < tensor->n_dims; k++)
        n *= tensor->shape[k];
    FUZZ_CHECK(n ? tensor->n_bytes % n == 0 : tensor->n_bytes == 0);
    if (tensor->dtype >= 0)
        FUZZ_CHECK(tensor->n_bytes ==
                   n * weir_dtype_bytes((enum weir_dtype)tensor->dtype));
    for (uint32_t k = 0; k < i && k < 64; k++)
        FUZZ_CHECK(!overlap(tensor, &checkpoint->tensors[k]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static int has_folder;
    const char *path = fuzz_path(data, n_bytes);
    struct weir_checkpoint checkpoint;
    struct weir_err err = {0};
    int rc;

    if (!has_folder)
        make_folder(path);
    has_folder = 1;
    if (n_bytes && data[0] == '{')
        rc = weir_checkpoint_open(folder, &checkpoint, &err);
    else
        rc = weir_checkpoint_open_file(path, &checkpoint, &err);
    if (rc) {
        fuzz_check_refused(rc, &err);
        return 0;
    }
    for (uint32_t i = 0; i < checkpoint.n_tensors; i++)
        check_tensor(&checkpoint, i);
    weir_checkpoint_close(&checkpoint);
    return 0;
}
