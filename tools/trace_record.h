/* SPDX-License-Identifier: Apache-2.0 */
/* The option --trace of commands that run a model. */
#ifndef WEIR_TOOLS_TRACE_RECORD_H
#define WEIR_TOOLS_TRACE_RECORD_H

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>

#include "tools/cli.h"

struct trace_record {
    const char *path; /* of the option; NULL: no trace is wanted */
    char *part;       /* its name until it is whole */
    FILE *file;
    const char *command; /* that is recorded */

    /* The thread that waits to be interrupted, once it was started */
    int has_watcher;
    pthread_t watcher;
    sigset_t signals;     /* that it waits for */
    sigset_t mask;        /* of the process before */
    atomic_int signal;    /* that came; 0: none */
    atomic_flag is_ended; /* one of both threads writes the file */
};

/*
 * Begins a trace of at most n_threads threads (0: the default of a model) and
 * those that read, if one is wanted.  It becomes none of the n_inputs files
 * (any may be NULL), nor does what waits for it to be whole.  From now on
 * SIGINT and SIGTERM, unless they are ignored, end the process once what was
 * recorded is written; threads must not have been started before.
 */
int trace_record_begin(struct trace_record *record, const struct cli *cli,
                       unsigned n_threads, const char *const *inputs,
                       size_t n_inputs, struct weir_err *err);

/*
 * Writes it, whatever became of the command, once its threads have ended.
 * Returns `status`, or CLI_FAILED after a message.
 */
int trace_record_end(struct trace_record *record, const struct cli *cli,
                     int status);

#endif
