/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/json.h"
#include "offload/parts.h"
#include "offload/tiling.h"
#include "tools/cli.h"
#include "tools/inspect_cpu.h"
#include "tools/inspect_routing.h"

/* What tiles of one dtype and codec add up to. */
struct sum {
    uint64_t n_tiles, unpacked, stored;
};

struct inspect_args {
    struct cli cli;
    const char *model, *routing;
    int cpu, tensors, tiles, json;
    struct weir_file *file;
    json_t *provenance; /* or NULL */
    int failed;         /* some JSON could not be made */
    struct sum sums[WEIR_N_DTYPES][WEIR_N_CODECS];
};

static void parse(struct inspect_args *args, int argc, char **argv)
{
    int option;

    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END) {
        if (option == OPT_inspect_cpu)
            args->cpu = 1;
        else if (option == OPT_inspect_tensors)
            args->tensors = 1;
        else if (option == OPT_inspect_tiles)
            args->tiles = 1;
        else if (option == OPT_inspect_routing)
            args->routing = args->cli.value;
        else if (option == OPT_inspect_json)
            args->json = 1;
        else
            cli_keep_argument(&args->cli, &args->model, "model");
    }
    if (!args->model && !args->cpu && !args->routing)
        cli_usage(&args->cli, "which model?");
    if ((args->cpu || args->routing) &&
        (args->model || args->tensors || args->tiles))
        cli_usage(&args->cli, "--cpu and --routing go without a model, "
                              "--tensors and --tiles");
    if (args->cpu && args->routing)
        cli_usage(&args->cli, "--cpu or --routing: one at a time");
}

static void add_sum(struct sum *sum, const struct sum *more)
{
    sum->n_tiles += more->n_tiles;
    sum->unpacked += more->unpacked;
    sum->stored += more->stored;
}

static struct sum sum_tensor(const struct weir_file *file,
                             const struct weir_tensor *tensor,
                             struct sum by_codec[WEIR_N_CODECS])
{
    uint64_t n = weir_tiling_n_tiles(tensor);
    struct weir_tile_record record;
    struct sum total = {0};

    for (uint64_t i = 0; i < n; i++) {
        struct sum one = {1, weir_tiling_tile_bytes(tensor, i), 0};

        weir_file_tile(file, tensor->first_tile + i, &record);
        one.stored = record.stored_bytes;
        add_sum(&by_codec[record.codec], &one);
        add_sum(&total, &one);
    }
    return total;
}

/* Tiles in each part, shared ones counted once */
static void count_tiles(const struct weir_file *file,
                        uint64_t n_tiles[WEIR_FILES_MAX])
{
    struct weir_tile_record record;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];
        uint64_t n = tensor->owner == i ? weir_tiling_n_tiles(tensor) : 0;

        for (uint64_t k = 0; k < n; k++) {
            weir_file_tile(file, tensor->first_tile + k, &record);
            n_tiles[record.file]++;
        }
    }
}

/* The drive's number as systems write it, or "" for a part that is not there */
static void name_drive(const struct weir_part *part, char name[32])
{
    struct stat st;

    *name = '\0';
    if (part->fd >= 0 && !fstat(part->fd, &st))
        snprintf(name, 32, "%u:%u", major(st.st_dev), minor(st.st_dev));
}

static const char *path_of(const struct weir_part *part)
{
    return part->fd >= 0 ? part->path : part->recorded;
}

static double ratio_of(const struct sum *sum)
{
    return sum->stored ? (double)sum->unpacked / (double)sum->stored : 1.0;
}

static const char *provenance_of(const struct inspect_args *args,
                                 const char *key)
{
    const char *text =
        json_string_value(json_object_get(args->provenance, key));

    return text ? text : "unknown";
}

/* ---- text ---- */

static void print_sums(const struct inspect_args *args)
{
    printf("\n%-6s %-7s %10s %16s %16s %7s\n", "dtype", "codec", "tiles",
           "unpacked bytes", "stored bytes", "ratio");
    for (int d = 0; d < WEIR_N_DTYPES; d++)
        for (int c = 0; c < WEIR_N_CODECS; c++) {
            const struct sum *sum = &args->sums[d][c];

            if (sum->n_tiles)
                printf("%-6s %-7s %10" PRIu64 " %16" PRIu64 " %16" PRIu64
                       " %7.3f\n",
                       weir_dtype_name(d), weir_codec_name(c), sum->n_tiles,
                       sum->unpacked, sum->stored, ratio_of(sum));
        }
}

static void print_synth(const json_t *synth)
{
    if (synth)
        printf("weights    random: weir synth %s --seed %lld%s\n",
               json_string_value(json_object_get(synth, "shape")),
               (long long)json_integer_value(json_object_get(synth, "seed")),
               json_is_true(json_object_get(synth, "alias")) ? " --alias" : "");
}

static void print_parts(const struct weir_file *file)
{
    uint64_t n_tiles[WEIR_FILES_MAX] = {0};
    char drive[32];

    count_tiles(file, n_tiles);
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct weir_part *part = &file->parts[i];

        name_drive(part, drive);
        printf("%-11spart %" PRIu32 ": %s (%" PRIu64 " bytes, %" PRIu64
               " tiles, %s%s)\n",
               i ? "" : "spread", i, path_of(part), part->n_bytes, n_tiles[i],
               *drive ? "drive " : "not found", drive);
    }
}

static void print_summary(const struct inspect_args *args)
{
    const struct weir_file *file = args->file;

    printf("file       %s\n", args->model);
    printf("format     weir-file version %d\n", WEIR_FILE_VERSION);
    printf("bytes      %" PRIu64 "\n", weir_file_bytes(file));
    if (file->n_parts > 1)
        print_parts(file);
    printf("packed by  weir %s, --quant %s, dense MLP %s, --codec %s\n",
           provenance_of(args, "weir"), provenance_of(args, "quant"),
           provenance_of(args, "dense_mlp"), provenance_of(args, "codec"));
    print_synth(json_object_get(args->provenance, "synth"));
    printf("holds      %u tensors in %u units, %" PRIu64
           " tiles, %u small files\n",
           file->n_tensors, file->n_units, file->n_tiles, file->n_blobs);
    if (file->aliased)
        printf("aliased    layers share their tiles: %" PRIu64
               " of the tiles lie in the file\n",
               weir_file_n_own_tiles(file));
    for (uint32_t i = 0; i < file->n_blobs; i++)
        printf("           %s (%" PRIu64 " bytes)\n", file->blobs[i].name,
               file->blobs[i].n_bytes);
    print_sums(args);
}

static void print_tensors(const struct inspect_args *args)
{
    const struct weir_file *file = args->file;
    struct sum by_codec[WEIR_N_CODECS] = {0}, sum;
    char shape[96];

    printf("\n%-58s %-5s %-16s %8s %14s %7s\n", "tensor", "dtype", "shape",
           "tiles", "stored bytes", "ratio");
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];

        sum = sum_tensor(file, tensor, by_codec);
        weir_tiling_print_shape(tensor->shape, tensor->n_dims, shape,
                                sizeof(shape));
        printf("%-58s %-5s %-16s %8" PRIu64 " %14" PRIu64 " %7.3f%s\n",
               tensor->name, weir_dtype_name(tensor->dtype), shape, sum.n_tiles,
               sum.stored, ratio_of(&sum), tensor->owner == i ? "" : " shared");
    }
}

static void print_tiles(const struct inspect_args *args)
{
    const struct weir_file *file = args->file;
    const char *before = file->n_parts > 1 ? "part " : "";
    struct weir_tile_record record;

    printf("\n%s%14s %10s %-7s %-16s %s\n", before, "offset", "bytes", "codec",
           "xxh3", "tile");
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];
        uint64_t n = weir_tiling_n_tiles(tensor);

        for (uint64_t k = 0; k < n; k++) {
            weir_file_tile(file, tensor->first_tile + k, &record);
            if (file->n_parts > 1)
                printf("%4u ", record.file);
            printf("%14" PRIu64 " %10u %-7s %016" PRIx64 " %s %" PRIu64 "\n",
                   record.offset, record.stored_bytes,
                   weir_codec_name(record.codec), record.xxh3, tensor->name, k);
        }
    }
}

/* ---- JSON, an object at a time: Large has 1.6 million tiles ---- */

/* Prints `value` and lets go of it; NULL, for want of memory, is remembered. */
static void dump(struct inspect_args *args, json_t *value, const char *before,
                 size_t flags)
{
    fputs(before, stdout);
    if (!value ||
        (json_dumpf(value, stdout, JSON_COMPACT | flags) && !ferror(stdout)))
        args->failed = 1;
    json_decref(value);
}

/* JSON is UTF-8; a path need not be. */
static json_t *path_json(const char *path)
{
    json_t *text = json_string(path);
    char *copy;

    if (text)
        return text;
    copy = strdup(path);
    for (char *at = copy; at && *at; at++)
        if (*at & 0x80)
            *at = '?';
    text = copy ? json_string(copy) : NULL;
    free(copy);
    return text;
}

static json_t *sum_json(const char *dtype, const char *codec,
                        const struct sum *sum)
{
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:f}", "dtype", dtype, "codec",
                     codec, "tiles", (json_int_t)sum->n_tiles, "unpacked_bytes",
                     (json_int_t)sum->unpacked, "stored_bytes",
                     (json_int_t)sum->stored, "ratio", ratio_of(sum));
}

static json_t *sums_json(const struct inspect_args *args)
{
    json_t *list = json_array();

    for (int d = 0; d < WEIR_N_DTYPES; d++)
        for (int c = 0; c < WEIR_N_CODECS; c++)
            if (args->sums[d][c].n_tiles)
                json_array_append_new(list, sum_json(weir_dtype_name(d),
                                                     weir_codec_name(c),
                                                     &args->sums[d][c]));
    return list;
}

static json_t *blobs_json(const struct weir_file *file)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < file->n_blobs; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:I, s:I}", "name", file->blobs[i].name,
                            "offset", (json_int_t)file->blobs[i].offset,
                            "bytes", (json_int_t)file->blobs[i].n_bytes));
    return list;
}

static json_t *parts_json(const struct weir_file *file)
{
    uint64_t n_tiles[WEIR_FILES_MAX] = {0};
    json_t *list = json_array();
    char drive[32];

    count_tiles(file, n_tiles);
    for (uint32_t i = 0; i < file->n_parts; i++) {
        const struct weir_part *part = &file->parts[i];

        name_drive(part, drive);
        json_array_append_new(list, json_pack("{s:o, s:I, s:I, s:s?}", "file",
                                              path_json(path_of(part)), "bytes",
                                              (json_int_t)part->n_bytes,
                                              "tiles", (json_int_t)n_tiles[i],
                                              "drive", *drive ? drive : NULL));
    }
    return list;
}

static void dump_summary(struct inspect_args *args)
{
    const struct weir_file *file = args->file;
    json_t *root = json_pack(
        "{s:o, s:i, s:I, s:o, s:I, s:I, s:I, s:b, s:I, s:o, s:o, s:O?}", "file",
        path_json(args->model), "version", WEIR_FILE_VERSION, "bytes",
        (json_int_t)weir_file_bytes(file), "parts", parts_json(file), "n_units",
        (json_int_t)file->n_units, "n_tensors", (json_int_t)file->n_tensors,
        "n_tiles", (json_int_t)file->n_tiles, "aliased", file->aliased,
        "n_own_tiles", (json_int_t)weir_file_n_own_tiles(file), "files",
        blobs_json(file), "sums", sums_json(args), "provenance",
        args->provenance);

    dump(args, root, "", JSON_EMBED);
}

static json_t *tensor_json(const struct weir_file *file,
                           const struct weir_tensor *tensor)
{
    struct sum by_codec[WEIR_N_CODECS] = {0};
    struct sum sum = sum_tensor(file, tensor, by_codec);
    json_t *shape = json_array();

    for (unsigned i = 0; i < tensor->n_dims; i++)
        json_array_append_new(shape,
                              json_integer((json_int_t)tensor->shape[i]));
    return json_pack(
        "{s:s, s:s, s:o, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:s}", "name",
        tensor->name, "dtype", weir_dtype_name(tensor->dtype), "shape", shape,
        "row_parts", tensor->row_parts, "col_blocks", tensor->col_blocks,
        "tile_rows", tensor->tile_rows, "first_tile",
        (json_int_t)tensor->first_tile, "tiles", (json_int_t)sum.n_tiles,
        "unpacked_bytes", (json_int_t)sum.unpacked, "stored_bytes",
        (json_int_t)sum.stored, "tiles_of", file->tensors[tensor->owner].name);
}

static json_t *tile_json(const struct weir_file *file, uint64_t tile)
{
    struct weir_tile_record record;
    char hex[17];

    weir_file_tile(file, tile, &record);
    snprintf(hex, sizeof(hex), "%016" PRIx64, record.xxh3);
    return json_pack("{s:i, s:I, s:I, s:s, s:s}", "part", record.file, "offset",
                     (json_int_t)record.offset, "stored_bytes",
                     (json_int_t)record.stored_bytes, "codec",
                     weir_codec_name(record.codec), "xxh3", hex);
}

static void dump_all(struct inspect_args *args)
{
    const struct weir_file *file = args->file;

    putchar('{');
    dump_summary(args);
    if (args->tensors) {
        fputs(",\"tensors\":[", stdout);
        for (uint32_t i = 0; i < file->n_tensors; i++)
            dump(args, tensor_json(file, &file->tensors[i]), i ? ",\n" : "\n",
                 0);
        fputs("]", stdout);
    }
    if (args->tiles) {
        fputs(",\"tiles\":[", stdout);
        for (uint64_t i = 0; i < file->n_tiles; i++)
            dump(args, tile_json(file, i), i ? ",\n" : "\n", 0);
        fputs("]", stdout);
    }
    puts("}");
}

/* ---- */

static int read_provenance(struct inspect_args *args, struct weir_err *err)
{
    char *text;
    size_t n;
    int rc = weir_file_read_blob(args->file, "provenance.json", &text, &n, err);

    if (!rc && text)
        rc =
            weir_json_parse(text, n, "provenance.json", &args->provenance, err);
    free(text);
    return rc;
}

static void print_all(const struct inspect_args *args)
{
    print_summary(args);
    if (args->tensors)
        print_tensors(args);
    if (args->tiles)
        print_tiles(args);
}

static int run(int argc, char **argv)
{
    struct inspect_args args = {0};
    struct weir_err err;
    int rc, status;

    parse(&args, argc, argv);
    if (args.cpu || args.routing) {
        rc = args.cpu ? inspect_cpu(args.json, &err)
                      : inspect_routing(args.routing, args.json, &err);
        return rc ? cli_fail(&args.cli, &err) : cli_finish(&args.cli);
    }
    rc = weir_file_open_index(args.model, &args.file, &err);
    if (rc)
        return cli_fail(&args.cli, &err);
    if (weir_parts_open(args.file, &err))
        cli_warn(&args.cli, "%s", err.message);
    rc = read_provenance(&args, &err);
    if (!rc) {
        for (uint32_t i = 0; i < args.file->n_tensors; i++)
            if (args.file->tensors[i].owner == i)
                sum_tensor(args.file, &args.file->tensors[i],
                           args.sums[args.file->tensors[i].dtype]);
        if (args.json)
            dump_all(&args);
        else
            print_all(&args);
    }
    if (args.failed)
        rc = weir_err_nomem(&err, 4096, "JSON");
    status = rc ? cli_fail(&args.cli, &err) : cli_finish(&args.cli);
    json_decref(args.provenance);
    weir_file_close(args.file);
    return status;
}

const struct command cmd_inspect = {"inspect", run};
