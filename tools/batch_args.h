/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weir batch. */
#ifndef WEIR_TOOLS_BATCH_ARGS_H
#define WEIR_TOOLS_BATCH_ARGS_H

#include "tools/memory.h"
#include "tools/sampling.h"
#include "tools/trace_record.h"

struct batch_args {
    struct cli cli;
    const char *model, *input, *output; /* output NULL: standard output */
    size_t n_tokens, n_ctx;
    size_t n_places; /* 0: as many as fit */
    enum weir_kv kv;
    struct sampling sampling;
    struct weir_model_options model_options;
    struct trace_record trace;
    int stats, json, quiet;
};

/* Prints and exits when the command line is wrong. */
void batch_args_parse(struct batch_args *args, int argc, char **argv);

/* Most bytes in a line: a text that fits into the context is shorter. */
size_t batch_args_line_bytes(const struct batch_args *args);

/*
 * What the answers depend on, as an object: model and input as they are known,
 * and options, when all is settled.  NULL: no memory.
 */
json_t *batch_args_job(const struct batch_args *args, const char *model,
                       const char *input);

#endif
