/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "offload/verify.h"
#include "tools/cli.h"
#include "tools/progress.h"

struct verify_args {
    struct cli cli;
    struct weir_verify verify;
    const char *model;
    int quiet;
    struct progress progress;
};

static void on_bad(void *ctx, const char *text)
{
    struct verify_args *args = ctx;

    progress_end(&args->progress);
    printf("%s\n", text);
}

static void on_progress(void *ctx, uint64_t done, uint64_t total)
{
    struct verify_args *args = ctx;

    progress_show(&args->progress, "verifying", done, total);
}

static void on_note(void *ctx, const char *text)
{
    struct verify_args *args = ctx;

    if (!args->quiet)
        cli_warn(&args->cli, "%s", text);
}

static void parse(struct verify_args *args, int argc, char **argv)
{
    int option;

    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END) {
        if (option == OPT_verify_threads)
            args->verify.n_threads = cli_threads(&args->cli);
        else if (option == OPT_verify_io)
            args->verify.io = cli_choice(&args->cli, "uring|pread")
                                  ? WEIR_IO_PREAD
                                  : WEIR_IO_URING;
        else if (option == OPT_verify_quiet)
            args->quiet = 1;
        else
            cli_keep_argument(&args->cli, &args->model, "model");
    }
    if (!args->model)
        cli_usage(&args->cli, "which model?");
    args->verify.bad = on_bad;
    args->verify.progress = on_progress;
    args->verify.note = on_note;
    args->verify.ctx = args;
}

static int conclude(const struct verify_args *args,
                    const struct weir_file *file, uint64_t n_bad)
{
    int status;

    if (n_bad)
        printf("%s: damaged: %llu of %llu tiles and %u small files; fetch or "
               "pack it again\n",
               args->model, (unsigned long long)n_bad,
               (unsigned long long)weir_file_n_own_tiles(file), file->n_blobs);
    else if (!args->quiet)
        printf("%s: good: %llu tiles, %u small files, %llu bytes\n",
               args->model, (unsigned long long)weir_file_n_own_tiles(file),
               file->n_blobs, (unsigned long long)weir_file_bytes(file));
    status = cli_finish(&args->cli);
    return status ? status : n_bad ? CLI_REFUSED : CLI_OK;
}

static int run(int argc, char **argv)
{
    struct verify_args args = {0};
    struct weir_file *file;
    struct weir_err err;
    uint64_t n_bad = 0;
    int rc, status;

    parse(&args, argc, argv);
    progress_init(&args.progress, args.quiet);
    rc = weir_file_open(args.model, &file, &err);
    if (rc)
        return cli_fail(&args.cli, &err);
    rc = weir_verify_run(&args.verify, file, &n_bad, &err);
    progress_end(&args.progress);
    status = rc ? cli_fail(&args.cli, &err) : conclude(&args, file, n_bad);
    weir_file_close(file);
    return status;
}

const struct command cmd_verify = {"verify", run};
