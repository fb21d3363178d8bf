/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weir bench. */
#ifndef WEIR_TOOLS_BENCH_ARGS_H
#define WEIR_TOOLS_BENCH_ARGS_H

#include "base/pool.h"
#include "tools/answer_form.h"
#include "tools/bench_print.h"
#include "tools/bench_probe.h"
#include "tools/bench_stream.h"
#include "tools/cli.h"
#include "tools/trace_record.h"

struct bench_args {
    struct cli cli;
    const char *model; /* NULL with --kernels */
    int kernels;
    const char *for_model; /* an option given that is for models only */
    size_t n_prompt, n_decode, depth, batch, n_repeats;
    unsigned threads[WEIR_POOL_MAX_THREADS];
    unsigned n_threads;
    enum bench_form form;
    struct weir_session_options session_options;
    struct weir_model_options on; /* --device, --vram and --place of it */
    struct stream_args stream;
    struct answer_form answer;
    struct trace_record trace;
};

/* Exits when something in it is wrong. */
void bench_args_parse(struct bench_args *args, int argc, char **argv);

/* Warns when the memory to read is less than it should be. */
void bench_warn(const struct bench_args *args, const struct probe *probe);

#endif
