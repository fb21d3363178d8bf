/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/path.h"
#include "engine/session.h"
#include "model/import.h"
#include "text/chat.h"
#include "tools/cli.h"
#include "tools/pack_options.h"
#include "tools/progress.h"

#define SMALL_BYTES (64UL << 20) /* most in a config */

struct pack_args {
    struct cli cli;
    struct pack_options options;
    const char *folder;
    struct progress progress;
};

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

static void parse(struct pack_args *args, int argc, char **argv)
{
    struct cli *cli = &args->cli;
    int option;

    cli_init(cli, argc, argv);
    pack_options_init(&args->options, cli);
    while ((option = cli_next(cli)) != CLI_END)
        if (!pack_options_take(&args->options, cli, option))
            cli_keep_argument(cli, &args->folder, "folder");
    if (!args->folder)
        cli_usage(cli, "which folder?");
    pack_options_check(&args->options, cli);
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

/* A model is of use without its chat template: a warning is enough. */
static int check_template(struct pack_args *args, struct weir_err *err)
{
    struct weir_buf text = WEIR_BUF(SMALL_BYTES), json = WEIR_BUF(SMALL_BYTES);
    char *path, *json_path = NULL;
    struct weir_err why;
    int rc = read_kept(args->folder, "chat_template.jinja", &text, &path, err);

    if (!rc)
        rc = read_kept(args->folder, "tokenizer_config.json", &json, &json_path,
                       err);
    if (!rc &&
        weir_chat_check(path ? &text : NULL, json_path ? &json : NULL, &why)) {
        if (why.code == WEIR_ENOMEM)
            rc = weir_err_set(err, why.code, "%s", why.message);
        else
            cli_warn(&args->cli, "%s", why.message);
    }
    weir_buf_fini(&text);
    weir_buf_fini(&json);
    free(path);
    free(json_path);
    return rc;
}

/* What no later command could use is refused now, not by the first run. */
static int pack(struct pack_args *args, struct weir_err *err)
{
    struct pack_options *options = &args->options;
    struct weir_import import = {
        .quant = options->quant,
        .policy = options->policy,
        .tile_ceiling = options->tile_ceiling,
        .n_threads = options->n_threads,
        .warn = on_warning,
        .progress = on_progress,
        .ctx = args,
    };
    int found;
    int rc = check_tokenizer(args->folder, "tokenizer.json", &found, err);

    if (!rc && !found)
        rc = check_tokenizer(args->folder, "tokenizer.model", &found, err);
    if (!rc)
        rc = check_generation(args->folder, err);
    if (!rc)
        rc = check_template(args, err);
    if (!rc)
        rc = pack_options_stripe(options, &args->cli, &import.stripe, err);
    if (!rc)
        rc = weir_import_folder(&import, args->folder, options->output, err);
    pack_options_fini(options);
    return rc;
}

static int run(int argc, char **argv)
{
    struct pack_args args = {0};
    struct weir_err err;
    int rc;

    parse(&args, argc, argv);
    progress_init(&args.progress, args.options.quiet);
    rc = pack(&args, &err);
    progress_end(&args.progress);
    return rc ? cli_fail(&args.cli, &err) : CLI_OK;
}

const struct command cmd_pack = {"pack", run};
