/* SPDX-License-Identifier: Apache-2.0 */
#include "model/synth.h"
#include "tools/cli.h"
#include "tools/pack_options.h"
#include "tools/progress.h"

struct synth_args {
    struct cli cli;
    struct pack_options options;
    const char *shape;
    uint64_t seed;
    int alias;
    struct progress progress;
};

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct synth_args *args = ctx;

    progress_show(&args->progress, "writing", done, total);
}

static void parse(struct synth_args *args, int argc, char **argv)
{
    struct cli *cli = &args->cli;
    int option;

    cli_init(cli, argc, argv);
    pack_options_init(&args->options, cli);
    while ((option = cli_next(cli)) != CLI_END) {
        if (option == OPT_synth_seed)
            args->seed = cli_uint(cli, 0, INT64_MAX);
        else if (option == OPT_synth_alias)
            args->alias = 1;
        else if (!pack_options_take(&args->options, cli, option))
            cli_keep_argument(cli, &args->shape, "shape");
    }
    if (!args->shape)
        cli_usage(cli, "which shape?");
    pack_options_check(&args->options, cli);
}

static int run(int argc, char **argv)
{
    struct synth_args args = {0};
    struct pack_options *options = &args.options;
    struct weir_synth synth;
    struct weir_err err;
    int rc;

    parse(&args, argc, argv);
    progress_init(&args.progress, options->quiet);
    synth = (struct weir_synth){
        .quant = options->quant,
        .policy = options->policy,
        .tile_ceiling = options->tile_ceiling,
        .n_threads = options->n_threads,
        .seed = args.seed,
        .alias = args.alias,
        .progress = on_progress,
        .ctx = &args,
    };
    rc = pack_options_stripe(options, &args.cli, &synth.stripe, &err);
    if (!rc)
        rc = weir_synth_write(&synth, args.shape, options->output, &err);
    progress_end(&args.progress);
    pack_options_fini(options);
    return rc ? cli_fail(&args.cli, &err) : CLI_OK;
}

const struct command cmd_synth = {"synth", run};
