/* SPDX-License-Identifier: Apache-2.0 */
/* The lines that a batch is to answer. */
#ifndef WEIR_TOOLS_BATCH_INPUT_H
#define WEIR_TOOLS_BATCH_INPUT_H

#include "base/json.h"
#include "base/lines.h"

struct batch_input {
    int fd;
    const char *name;
    uint64_t n_bytes, n_lines; /* 0 of what is no regular file */
    char identity[64];         /* what differs when the file does; "": none */
    struct weir_lines lines;
};

/*
 * Opens the file at `path`, or standard input for "-".  A regular file is read
 * once, to know it again; lines of over line_bytes are not given out.  Release
 * with batch_input_close(), also after an error.
 */
int batch_input_open(struct batch_input *input, const char *path,
                     size_t line_bytes, struct weir_err *err);
void batch_input_close(struct batch_input *input);

#endif
