/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/serve_args.h"

#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"

#define CACHE_FILE_BYTES                                                       \
    (UINT64_C(16) << 30) /* if --cache-disk is not said                        \
                          */

static void take_keys(struct serve_args *args, int is_file)
{
    const char *value = args->cli.value;
    struct weir_err err;
    int rc;

    if (is_file)
        rc = weir_keys_add_file(&args->keys, value, &err);
    else
        rc = weir_keys_add(&args->keys, value, strlen(value), &err);
    if (rc)
        exit(cli_fail(&args->cli, &err));
}

/* It stands in JSON and in paths. */
static void take_name(struct serve_args *args)
{
    const char *name = args->cli.value;
    size_t n = strlen(name);

    if (n == 0 || n > 255 || weir_utf8_valid(name, n) < n)
        cli_usage(&args->cli, "--name must be 1 to 255 bytes of UTF-8");
    args->name = name;
}

static void take_limit(struct serve_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_serve_parallel:
        args->n_places = cli_uint(cli, 1, WEIR_MAX_EVALS);
        break;
    case OPT_serve_queue:
        args->n_queue = cli_uint(cli, 0, 65536);
        break;
    case OPT_serve_timeout:
        args->timeout_s = (unsigned)cli_uint(cli, 1, 1000000);
        break;
    case OPT_serve_piece:
        args->n_piece_tok = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_serve_cache_ram:
        args->has_cache = 1;
        args->cache_bytes = strcmp(cli->value, "0") ? cli_size(cli) : 0;
        break;
    case OPT_serve_cache_disk:
        args->cache_file_bytes = cli_size(cli);
        break;
    case OPT_serve_ctx:
        args->n_ctx = cli_uint(cli, 2, INT32_MAX);
        break;
    case OPT_serve_n_tokens:
        args->n_tokens = cli_uint(cli, 1, INT32_MAX);
        break;
    }
}

static void take_other(struct serve_args *args, int option)
{
    struct cli *cli = &args->cli;

    take_limit(args, option);
    args->has_seed |= option == OPT_serve_seed;
    if (option == CLI_ARGUMENT)
        cli_keep_argument(cli, &args->model, "model");
    else if (!sampling_take(&args->sampling, cli, option))
        memory_take(&args->model_options, cli, option);
}

static void take_option(struct serve_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_serve_host:
        args->host = cli->value;
        break;
    case OPT_serve_port:
        args->port = (uint16_t)cli_uint(cli, 0, UINT16_MAX);
        break;
    case OPT_serve_api_key:
    case OPT_serve_api_key_file:
        take_keys(args, option == OPT_serve_api_key_file);
        break;
    case OPT_serve_cors:
        args->cors = cli->value;
        break;
    case OPT_serve_cache_dir:
        args->cache_folder = cli->value;
        break;
    case OPT_serve_name:
        take_name(args);
        break;
    case OPT_serve_kv:
        args->kv = cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_serve_threads:
        args->model_options.n_threads = cli_threads(cli);
        break;
    case OPT_serve_quiet:
        args->quiet = 1;
        break;
    default:
        take_other(args, option);
    }
}

static void check_cache(struct serve_args *args)
{
    if (args->cache_file_bytes && !args->cache_folder)
        cli_usage(&args->cli, "--cache-disk is for --cache-dir; give that too");
    if (args->cache_folder && args->has_cache && !args->cache_bytes)
        cli_usage(&args->cli,
                  "--cache-dir takes what --cache-ram has no room for; give "
                  "that more than 0");
    if (!args->cache_file_bytes)
        args->cache_file_bytes = CACHE_FILE_BYTES;
}

void serve_args_parse(struct serve_args *args, int argc, char **argv)
{
    int option;

    args->host = "127.0.0.1";
    args->port = 8080;
    args->n_queue = 64;
    args->timeout_s = 600;
    args->n_piece_tok = 512;
    args->n_ctx = 4096;
    sampling_init(&args->sampling);
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(&args->cli, "no model given");
    check_cache(args);
    memory_check(&args->model_options, &args->cli);
}
