/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "tools/cli.h"
#include "tools/trace_print.h"
#include "tools/trace_svg.h"

struct trace_args {
    struct cli cli;
    const char *input, *output;
    int json;
};

static void parse(struct trace_args *args, int argc, char **argv)
{
    int option;

    cli_init(&args->cli, argc, argv);
    while ((option = cli_next(&args->cli)) != CLI_END) {
        if (option == OPT_trace_output)
            args->output = args->cli.value;
        else if (option == OPT_trace_json)
            args->json = 1;
        else
            cli_keep_argument(&args->cli, &args->input, "timeline");
    }
    if (!args->input)
        cli_usage(&args->cli, "which timeline?");
}

static int write_svg(const struct trace *trace, const char *part,
                     struct weir_err *err)
{
    FILE *file = fopen(part, "we");
    int failed;

    if (!file)
        return weir_err_errno(err, errno, "create", part);
    trace_draw(trace, file);
    failed = fflush(file) || ferror(file);
    failed |= fclose(file);
    return failed ? weir_err_errno(err, errno, "write", part) : 0;
}

static int draw(const struct trace *trace, const char *path,
                struct weir_err *err)
{
    size_t size = strlen(path) + sizeof(".part");
    char *part = malloc(size);
    int rc;

    if (!part)
        return weir_err_nomem(err, size, "a file name");
    snprintf(part, size, "%s.part", path);
    rc = write_svg(trace, part, err);
    if (!rc && rename(part, path))
        rc = weir_err_errno(err, errno, "rename", part);
    if (rc)
        unlink(part);
    free(part);
    return rc;
}

static int run(int argc, char **argv)
{
    struct trace_args args = {0};
    struct trace *trace = NULL;
    struct weir_err err;
    int rc = 0, status;

    parse(&args, argc, argv);
    if (args.output)
        rc = weir_path_check_output(args.output, args.input, &err);
    if (!rc)
        rc = trace_read(args.input, &trace, &err);
    if (!rc && args.output)
        rc = draw(trace, args.output, &err);
    if (!rc && args.json)
        rc = trace_print_json(trace, &err);
    else if (!rc)
        trace_print(trace);
    status = rc ? cli_fail(&args.cli, &err) : cli_finish(&args.cli);
    trace_free(trace);
    return status;
}

const struct command cmd_trace = {"trace", run};
