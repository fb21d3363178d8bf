/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/path.h"
#include "engine/session.h"
#include "model/import.h"
#include "tools/cli.h"
#include "tools/progress.h"

#define SMALL_BYTES (64UL << 20) /* most in a config */

struct pack_args {
    struct cli cli;
    struct weir_import import;
    const char *folder, *output;
    int quiet, dense_given;
    struct progress progress;
};

/* Small tiles let a small model have many; for tests. */
static uint32_t tile_ceiling(const struct cli *cli)
{
    const char *text = getenv("WEIR_TILE_CEILING");
    struct cli env = *cli;

    if (!text)
        return WEIR_TILE_BYTES;
    env.option = "WEIR_TILE_CEILING";
    env.value = text;
    return (uint32_t)cli_uint(&env, WEIR_ROW_ALIGN, WEIR_TILE_BYTES);
}

static void on_warning(void *ctx, const char *text)
{
    struct pack_args *args = ctx;

    cli_warn(&args->cli, "%s", text);
}

static void on_progress(void *ctx, const char *phase, uint64_t done,
                        uint64_t total)
{
    struct pack_args *args = ctx;

    progress_show(&args->progress, phase, done, total);
}

static void take_option(struct pack_args *args, int option)
{
    const struct cli *cli = &args->cli;
    struct weir_import *import = &args->import;

    switch (option) {
    case OPT_pack_output:
        args->output = cli->value;
        break;
    case OPT_pack_quant:
        import->quant.experts_int8 = !cli_choice(cli, "experts-int8|none");
        break;
    case OPT_pack_codec:
        import->policy =
            (enum weir_codec_policy)cli_choice(cli, "auto|raw|zstd");
        break;
    case OPT_pack_dense_mlp:
        import->quant.dense_mlp_int8 = !cli_choice(cli, "int8|bf16");
        args->dense_given = 1;
        break;
    case OPT_pack_threads:
        import->n_threads = cli_threads(cli);
        break;
    case OPT_pack_quiet:
        args->quiet = 1;
        break;
    default:
        cli_keep_argument(cli, &args->folder, "folder");
    }
}

static void parse(struct pack_args *args, int argc, char **argv)
{
    int option;

    cli_init(&args->cli, argc, argv);
    args->import.quant = (struct weir_quant){1, 1};
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->folder)
        cli_usage(&args->cli, "which folder?");
    if (!args->output)
        cli_usage(&args->cli, "no output; give -o FILE.weir");
    if (args->dense_given && !args->import.quant.experts_int8)
        cli_usage(&args->cli, "--dense-mlp goes with --quant experts-int8");
    args->import.tile_ceiling = tile_ceiling(&args->cli);
    args->import.warn = on_warning;
    args->import.progress = on_progress;
    args->import.ctx = args;
}

/*
 * Reads the file `name` of the folder, or nothing when there is none: then
 * *path is NULL.  Release *path with free().
 */
static int read_kept(const char *folder, const char *name,
                     struct weir_buf *text, char **path, struct weir_err *err)
{
    if (asprintf(path, "%s/%s", folder, name) < 0) {
        *path = NULL;
        return weir_err_nomem(err, strlen(folder), "a path");
    }
    if (weir_path_exists(*path))
        return weir_buf_add_file(text, *path, err);
    free(*path);
    *path = NULL;
    return 0;
}

/* 0, also when there is no such file; *found says whether there is. */
static int check_tokenizer(const char *folder, const char *name, int *found,
                           struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(WEIR_TOKENIZER_BYTES);
    struct weir_tokenizer *tokenizer = NULL;
    char *path;
    int rc = read_kept(folder, name, &text, &path, err);

    *found = path != NULL;
    if (!rc && path)
        rc = weir_tokenizer_parse(text.data ? text.data : "", text.n_bytes,
                                  path, &tokenizer, err);
    weir_tokenizer_free(tokenizer);
    weir_buf_fini(&text);
    free(path);
    return rc;
}

static int check_generation(const char *folder, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(SMALL_BYTES), json = WEIR_BUF(SMALL_BYTES);
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    struct weir_config config;
    char *path, *config_path = NULL;
    int rc = read_kept(folder, "generation_config.json", &text, &path, err);

    if (!rc && path)
        rc = read_kept(folder, "config.json", &json, &config_path, err);
    if (!rc && config_path)
        rc = weir_config_parse(json.data ? json.data : "", json.n_bytes,
                               config_path, &config, err);
    if (!rc && config_path)
        rc = weir_generation_parse(text.data ? text.data : "", text.n_bytes,
                                   path, &config, &sampling, err);
    weir_buf_fini(&text);
    weir_buf_fini(&json);
    free(path);
    free(config_path);
    return rc;
}

/* What no later command could use is refused now, not by the first run. */
static int pack(const struct pack_args *args, struct weir_err *err)
{
    int found;
    int rc = check_tokenizer(args->folder, "tokenizer.json", &found, err);

    if (!rc && !found)
        rc = check_tokenizer(args->folder, "tokenizer.model", &found, err);
    if (!rc)
        rc = check_generation(args->folder, err);
    return rc ? rc
              : weir_import_folder(&args->import, args->folder, args->output,
                                   err);
}

static int run(int argc, char **argv)
{
    struct pack_args args = {0};
    struct weir_err err;
    int rc;

    parse(&args, argc, argv);
    progress_init(&args.progress, args.quiet);
    rc = pack(&args, &err);
    progress_end(&args.progress);
    return rc ? cli_fail(&args.cli, &err) : CLI_OK;
}

const struct command cmd_pack = {"pack", run};
