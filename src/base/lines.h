/* SPDX-License-Identifier: Apache-2.0 */
/* The lines of a file or pipe, one after the other, in bounded memory. */
#ifndef WEIR_BASE_LINES_H
#define WEIR_BASE_LINES_H

#include "base/err.h"

struct weir_lines {
    int fd;
    const char *name; /* in messages */
    size_t ceiling;   /* most bytes in a line that is given out */
    char *data;       /* allocated */
    size_t capacity, from, n_bytes;
    uint64_t offset; /* behind the last line, from where reading began */
    uint64_t number; /* of the last line, counted from 1 */
    int at_end;
};

/* `fd` stays the caller's.  Release with weir_lines_fini(). */
void weir_lines_init(struct weir_lines *lines, int fd, const char *name,
                     size_t ceiling);
void weir_lines_fini(struct weir_lines *lines);

/* A line without its line feed, which is missing behind the last one if that
 * is not whole.  It lasts until the next call. */
struct weir_line {
    const char *text; /* NULL: it is longer than the ceiling */
    size_t n_bytes;
    int is_whole;
};

/* 1 with the next line, 0 at the end; WEIR_EIO or WEIR_ENOMEM. */
int weir_lines_next(struct weir_lines *lines, struct weir_line *line,
                    struct weir_err *err);

#endif
