/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of strangers: every lie in a header is refused. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/le.h"
#include "offload/safetensors.h"
#include "tests/tap.h"

static char folder[] = "safetensors.XXXXXX";
static struct weir_err err;

static void write_file(const char *name, const void *data, size_t n)
{
    char path[256];
    FILE *f;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    f = fopen(path, "wb");
    if (!f || fwrite(data, 1, n, f) != n || fclose(f))
        perror(path);
}

static void remove_file(const char *name)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    unlink(path);
}

/* A file with this header, its true length or another, and n zero bytes. */
static void write_shard(const char *name, const char *header, int64_t length,
                        size_t n_data)
{
    size_t n = strlen(header);
    uint8_t *bytes = calloc(1, 8 + n + n_data);

    weir_le64_put(bytes, length < 0 ? n : (uint64_t)length);
    memcpy(bytes + 8, header, n);
    write_file(name, bytes, 8 + n + n_data);
    free(bytes);
}

static int open_folder(void)
{
    struct weir_checkpoint checkpoint;
    int rc;

    memset(&err, 0, sizeof(err));
    rc = weir_checkpoint_open(folder, &checkpoint, &err);
    if (!rc)
        weir_checkpoint_close(&checkpoint);
    return rc;
}

#define A "\"a\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[0,12]}"

static const struct {
    const char *says, *header;
    int64_t length;
    size_t n_data;
    int good;
} single[] = {
    {"one tensor", "{" A "}", -1, 12, 1},
    {"metadata and spaces", "{\"__metadata__\":{\"format\":\"pt\"}," A "}   ",
     -1, 12, 1},
    {"a scalar and an empty tensor",
     "{\"s\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
     "\"e\":{\"dtype\":\"F32\",\"shape\":[0,5],\"data_offsets\":[4,4]}}",
     -1, 4, 1},
    {"a length beyond the file", "{" A "}", 5000, 12, 0},
    {"a length of 2^63", "{" A "}", INT64_MAX, 12, 0},
    {"a length that cuts the JSON", "{" A "}", 10, 12, 0},
    {"a header that is no object", "[1]", -1, 0, 0},
    {"a header that is no JSON", "{\"a\":", -1, 0, 0},
    {"data cut by a byte", "{" A "}", -1, 11, 0},
    {"a byte too many", "{" A "}", -1, 13, 0},
    {"an unknown dtype",
     "{\"a\":{\"dtype\":\"Q4\",\"shape\":[2],\"data_offsets\":[0,4]}}", -1, 4,
     0},
    {"no dtype", "{\"a\":{\"shape\":[2],\"data_offsets\":[0,4]}}", -1, 4, 0},
    {"no shape", "{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,4]}}", -1, 4,
     0},
    {"a negative width",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[-2],\"data_offsets\":[0,4]}}", -1, 4,
     0},
    {"a width that is no number",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[\"2\"],\"data_offsets\":[0,4]}}", -1,
     4, 0},
    {"a product beyond 64 bits",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[4294967296,4294967296,2],"
     "\"data_offsets\":[0,4]}}",
     -1, 4, 0},
    {"nine dimensions",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[1,1,1,1,1,1,1,1,2],"
     "\"data_offsets\":[0,4]}}",
     -1, 4, 0},
    {"shape and bytes that differ",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[0,4]}}", -1, 4,
     0},
    {"offsets turned round",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,0]}}", -1, 4,
     0},
    {"offsets below zero",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[-4,0]}}", -1, 4,
     0},
    {"three offsets",
     "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4,8]}}", -1,
     8, 0},
    {"an overlap",
     "{" A ",\"b\":{\"dtype\":\"BF16\",\"shape\":[3],"
     "\"data_offsets\":[10,16]}}",
     -1, 16, 0},
    {"a gap",
     "{" A ",\"b\":{\"dtype\":\"BF16\",\"shape\":[1],"
     "\"data_offsets\":[14,16]}}",
     -1, 16, 0},
    {"a name twice", "{" A "," A "}", -1, 12, 0},
    {"a name that is empty",
     "{\"\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}", -1, 4,
     0},
    {"a tensor that is no object", "{\"a\":7}", -1, 0, 0},
};

static void test_single(void)
{
    for (size_t i = 0; i < sizeof(single) / sizeof(single[0]); i++) {
        int rc;

        write_shard("model.safetensors", single[i].header, single[i].length,
                    single[i].n_data);
        rc = open_folder();
        tap_ok(single[i].good ? rc == 0
                              : rc < 0 && strstr(err.message, "model."),
               "%s: %s", single[i].says, single[i].good ? "taken" : "refused");
    }
    write_file("model.safetensors", "", 0);
    tap_ok(open_folder() < 0, "an empty file: refused");
    write_file("model.safetensors", "\1\2\3", 3);
    tap_ok(open_folder() < 0, "three bytes: refused");
    remove_file("model.safetensors");
    tap_ok(open_folder() < 0 && strstr(err.message, "index.json"),
           "no checkpoint at all: refused");
}

static void write_index(const char *json)
{
    write_file("model.safetensors.index.json", json, strlen(json));
}

static const struct {
    const char *says, *index;
    int good;
} indexes[] = {
    {"two shards",
     "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\"}}",
     1},
    {"a shard that is missing",
     "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"gone.safetensors\"}}",
     0},
    {"a tensor in the wrong shard",
     "{\"weight_map\":{\"a\":\"two.safetensors\",\"b\":\"one.safetensors\"}}",
     0},
    {"a tensor that no shard has",
     "{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"two.safetensors\","
     "\"c\":\"two.safetensors\"}}",
     0},
    {"a tensor that the map lacks",
     "{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"two.safetensors\"}}",
     0},
    {"a path out of the folder",
     "{\"weight_map\":{\"a\":\"../one.safetensors\"}}", 0},
    {"a shard that is no string", "{\"weight_map\":{\"a\":7}}", 0},
    {"no weight_map", "{}", 0},
    {"an empty weight_map", "{\"weight_map\":{}}", 0},
    {"an index that is no JSON", "{\"weight_map\"", 0},
    {"an empty index", "", 0},
};

static void test_shards(void)
{
    write_shard("one.safetensors", "{" A "}", -1, 12);
    write_shard("two.safetensors",
                "{\"b\":{\"dtype\":\"F32\",\"shape\":[2],"
                "\"data_offsets\":[0,8]}}",
                -1, 8);
    write_shard("golden.safetensors", "not for us", -1, 0);
    for (size_t i = 0; i < sizeof(indexes) / sizeof(indexes[0]); i++) {
        int rc;

        write_index(indexes[i].index);
        rc = open_folder();
        tap_ok(indexes[i].good ? rc == 0 : rc < 0 && *err.message, "%s: %s",
               indexes[i].says, indexes[i].good ? "taken" : "refused");
    }
    write_shard("two.safetensors", "{" A "}", -1, 12);
    write_index("{\"weight_map\":{\"a\":\"one.safetensors\","
                "\"b\":\"two.safetensors\"}}");
    tap_ok(open_folder() < 0, "the same tensor in two shards: refused");
}

int main(void)
{
    if (!mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    test_single();
    test_shards();
    remove_file("one.safetensors");
    remove_file("two.safetensors");
    remove_file("golden.safetensors");
    remove_file("model.safetensors.index.json");
    rmdir(folder);
    return tap_done();
}
