/* SPDX-License-Identifier: Apache-2.0 */
/* The option --trace of commands that run a model. */
#ifndef WEIR_TOOLS_TRACE_RECORD_H
#define WEIR_TOOLS_TRACE_RECORD_H

#include <stdio.h>

#include "tools/cli.h"

struct trace_record {
    const char *path; /* of the option; NULL: no trace is wanted */
    char *part;       /* its name until it is whole */
    FILE *file;
};

/*
 * Begins a trace of at most n_threads threads (0: the default of a model) and
 * those that read, if one is wanted.  `input` is a file that it may not become.
 */
int trace_record_begin(struct trace_record *record, unsigned n_threads,
                       const char *input, struct weir_err *err);

/*
 * Writes it, whatever became of the command, once its threads have ended.
 * Returns `status`, or CLI_FAILED after a message.
 */
int trace_record_end(struct trace_record *record, const struct cli *cli,
                     int status);

#endif
