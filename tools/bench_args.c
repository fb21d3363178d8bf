/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench_args.h"

#include <stdlib.h>

#include "tools/memory.h"

#define MAX_TOK     (1u << 24) /* of a test, and before it */
#define MAX_REPEATS 1000
#define NOT_GIVEN   SIZE_MAX

static const char *take_number(const struct cli *cli, const char *text,
                               unsigned *n)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);

    if (*text < '0' || *text > '9' || value < 1 ||
        value > WEIR_POOL_MAX_THREADS)
        cli_usage(cli,
                  "%s must be numbers from 1 to %d such as 4, 1,2,4 or 1-4, "
                  "not '%s'",
                  cli->option, WEIR_POOL_MAX_THREADS, cli->value);
    *n = (unsigned)value;
    return end;
}

static void take_threads(struct bench_args *args)
{
    const struct cli *cli = &args->cli;
    const char *at = cli->value;
    unsigned first, last;

    args->n_threads = 0;
    do {
        at = take_number(cli, at, &first);
        last = first;
        if (*at == '-')
            at = take_number(cli, at + 1, &last);
        if (last < first || (*at && *at != ','))
            take_number(cli, "", &last);
        if (last - first >= WEIR_POOL_MAX_THREADS - args->n_threads)
            cli_usage(cli, "%s has more than %d numbers: '%s'", cli->option,
                      WEIR_POOL_MAX_THREADS, cli->value);
        for (; first <= last; first++)
            args->threads[args->n_threads++] = first;
    } while (*at++ == ',');
}

static void take_option(struct bench_args *args, int option)
{
    const struct cli *cli = &args->cli;

    switch (option) {
    case OPT_bench_n_prompt:
        args->n_prompt = cli_uint(cli, 0, MAX_TOK);
        break;
    case OPT_bench_n_tokens:
        args->n_decode = cli_uint(cli, 0, MAX_TOK);
        break;
    case OPT_bench_threads:
        take_threads(args);
        break;
    case OPT_bench_repeats:
        args->n_repeats = cli_uint(cli, 1, MAX_REPEATS);
        break;
    case OPT_bench_kernels:
        args->kernels = 1;
        break;
    case OPT_bench_depth:
        args->for_model = "--depth";
        args->depth = cli_uint(cli, 0, MAX_TOK);
        break;
    case OPT_bench_batch:
        args->for_model = "--batch";
        args->batch = cli_uint(cli, 1, WEIR_MAX_EVALS);
        break;
    case OPT_bench_kv:
        args->for_model = "--kv";
        args->session_options.kv =
            cli_choice(cli, "f32|bf16") ? WEIR_KV_BF16 : WEIR_KV_F32;
        break;
    case OPT_bench_device:
    case OPT_bench_vram:
    case OPT_bench_place:
        args->for_model = "--device";
        memory_take(&args->on, cli, option);
        break;
    case OPT_bench_json_schema:
        args->for_model = "--json-schema";
        answer_form_take(&args->answer, cli, option);
        break;
    case OPT_bench_trace:
        args->trace.path = cli->value;
        break;
    case OPT_bench_output:
        args->form = cli_choice(cli, "md|csv|json|jsonl");
        break;
    case OPT_bench_json:
        args->form = BENCH_JSON;
        break;
    default:
        if (!stream_take(&args->stream, cli, option))
            cli_keep_argument(cli, &args->model, "model");
    }
}

/* What was not given, and what does not go together */
static void settle(struct bench_args *args)
{
    const struct cli *cli = &args->cli;

    if (args->kernels && args->model)
        cli_usage(cli, "--kernels measures without a model, not '%s'",
                  args->model);
    if (args->kernels && args->for_model)
        cli_usage(cli, "%s goes with a model, not with --kernels",
                  args->for_model);
    if (!args->kernels && !args->model)
        cli_usage(cli, "no model given");
    if (args->n_prompt == NOT_GIVEN)
        args->n_prompt = 512;
    if (args->n_decode == NOT_GIVEN)
        args->n_decode = args->kernels ? 16 : 64;
    if (!args->n_prompt && !args->n_decode)
        cli_usage(cli, "nothing to do: -p and -n are both 0");
    if (args->answer.schema && !args->n_decode)
        cli_usage(cli, "--json-schema is for texts of -n tokens, and -n is 0");
    memory_check_device(&args->on, cli);
    if (args->kernels && args->stream.on)
        cli_usage(cli, "a budget goes with a model, not with --kernels");
    if (args->kernels && args->n_prompt < 32 && !args->n_decode)
        cli_usage(cli, "nothing to do: -n is 0 and -p under 32");
}

void bench_args_parse(struct bench_args *args, int argc, char **argv)
{
    int option;

    args->n_prompt = NOT_GIVEN;
    args->n_decode = NOT_GIVEN;
    args->batch = 1;
    args->n_repeats = 5;
    args->threads[0] = weir_pool_default_threads();
    args->n_threads = 1;
    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END)
        take_option(args, option);
    settle(args);
}

void bench_warn(const struct bench_args *args, const struct probe *probe)
{
    if (probe->thread_bytes < PROBE_THREAD_BYTES)
        cli_warn(&args->cli,
                 "memory is short: each thread reads %zu MiB instead of "
                 "%lu to measure it, some of which may come from caches",
                 probe->thread_bytes >> 20, PROBE_THREAD_BYTES >> 20);
}
