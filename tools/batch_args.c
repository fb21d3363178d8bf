/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/batch_args.h"

#include <stdio.h>
#include <string.h>

#define N_TOKENS_DEFAULT 256
#define CTX_DEFAULT      4096

static void keep_argument(struct batch_args *args)
{
    if (!args->model)
        args->model = args->cli.value;
    else
        cli_keep_argument(&args->cli, &args->input, "input");
}

static void take_option(struct batch_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_batch_output:
        args->output = strcmp(cli->value, "-") ? cli->value : NULL;
        break;
    case OPT_batch_n_tokens:
        args->n_tokens = cli_uint(cli, 1, INT32_MAX);
        break;
    case OPT_batch_batch:
        args->n_places = cli_uint(cli, 1, WEIR_MAX_EVALS);
        break;
    case OPT_batch_ctx:
        args->n_ctx = cli_uint(cli, 2, INT32_MAX);
        break;
    case OPT_batch_kv:
        args->kv = cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_batch_threads:
        args->model_options.n_threads = cli_threads(cli);
        break;
    case OPT_batch_stats:
        args->stats = 1;
        break;
    case OPT_batch_trace:
        args->trace.path = cli->value;
        break;
    case OPT_batch_json:
        args->json = 1;
        break;
    case OPT_batch_quiet:
        args->quiet = 1;
        break;
    default:
        if (!sampling_take(&args->sampling, cli, option) &&
            !memory_take(&args->model_options, cli, option))
            keep_argument(args);
    }
}

void batch_args_parse(struct batch_args *args, int argc, char **argv)
{
    int option;

    args->n_tokens = N_TOKENS_DEFAULT;
    args->n_ctx = CTX_DEFAULT;
    sampling_init(&args->sampling);
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    if (!args->model)
        cli_usage(&args->cli, "no model given");
    if (!args->input)
        cli_usage(&args->cli, "no input given; '-' is standard input");
    if (args->json && !args->output)
        cli_usage(&args->cli, "--json wants the answers in a file, -o FILE");
    memory_check(&args->model_options, &args->cli);
}

size_t batch_args_line_bytes(const struct batch_args *args)
{
    return ((size_t)64 << 10) + 64 * args->n_ctx;
}

/* Stop strings and ids that end a text, as they were given */
static json_t *ends_json(const struct sampling *sampling)
{
    json_t *stops = json_array(), *ids = json_array();
    int bad = 0;

    for (size_t i = 0; i < sampling->stop.n_strings; i++)
        bad |= json_array_append_new(
            stops, json_stringn(sampling->stop.strings[i].text,
                                sampling->stop.strings[i].n_bytes));
    for (size_t i = 0; i < sampling->n_eos; i++)
        bad |= json_array_append_new(ids, json_integer(sampling->eos[i]));
    if (!bad)
        return json_pack("{s:o, s:o, s:b}", "stop", stops, "eos", ids,
                         "ignore-eos", sampling->ignores_eos);
    json_decref(stops);
    json_decref(ids);
    return NULL;
}

json_t *batch_args_job(const struct batch_args *args, const char *model,
                       const char *input)
{
    json_t *job = sampling_json(&args->sampling);
    json_t *ends = ends_json(&args->sampling);
    json_t *rest =
        json_pack("{s:i, s:s, s:s, s:I, s:I, s:s}", "format", 1, "model", model,
                  "input", input, "n-tokens", (json_int_t)args->n_tokens, "ctx",
                  (json_int_t)args->n_ctx, "kv",
                  args->kv == WEIR_KV_F32 ? "f32" : "bf16");

    if (!rest || json_object_update(rest, job) ||
        json_object_update(rest, ends)) {
        json_decref(rest);
        rest = NULL;
    }
    json_decref(job);
    json_decref(ends);
    return rest;
}
