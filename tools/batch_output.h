/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a batch writes its answers: standard output, or a file that survives
 * being killed.  Until it is complete it is called FILE.part, and
 * FILE.part.job says what it is of.
 */
#ifndef WEIR_TOOLS_BATCH_OUTPUT_H
#define WEIR_TOOLS_BATCH_OUTPUT_H

#include "base/json.h"

struct batch_output {
    const char *path; /* NULL: standard output */
    char *part, *job; /* allocated */
    int fd;
    uint64_t n_bytes; /* of whole lines, in the part */
    uint8_t *done;    /* bit i: line i + 1 of the input has its answer */
    size_t done_bytes;
    uint64_t n_before; /* answers that were there */
    double synced;     /* when, in seconds */
};

/*
 * Begins `path` (NULL or "-": standard output), or goes on with it when a part
 * of the same `job`, an object of what the answers depend on, is there; a last
 * line that was cut is dropped.  WEIR_EARG when `path` exists already, when
 * the part is of another job or when another process writes it;
 * WEIR_ECORRUPT when a line of it is damaged.  Release with
 * batch_output_close(), also after an error.
 */
int batch_output_open(struct batch_output *output, const char *path,
                      const json_t *job, struct weir_err *err);

/* 1 when line `number` of the input had its answer at the opening. */
int batch_output_has(const struct batch_output *output, uint64_t number);

/*
 * Adds a whole line.  It survives the process at once, and a machine that
 * stops after some seconds.
 */
int batch_output_put(struct batch_output *output, const char *line,
                     size_t n_bytes, struct weir_err *err);

/* All answers are there: the file gets its name. */
int batch_output_finish(struct batch_output *output, struct weir_err *err);
void batch_output_close(struct batch_output *output);

#endif
