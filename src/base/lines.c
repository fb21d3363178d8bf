/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 16)

void weir_lines_init(struct weir_lines *lines, int fd, const char *name,
                     size_t ceiling)
{
    memset(lines, 0, sizeof(*lines));
    lines->fd = fd;
    lines->name = name;
    lines->ceiling = ceiling;
}

void weir_lines_fini(struct weir_lines *lines)
{
    free(lines->data);
    memset(lines, 0, sizeof(*lines));
}

/* Room for READ_BYTES behind what is there */
static int make_room(struct weir_lines *lines, struct weir_err *err)
{
    size_t need = lines->n_bytes - lines->from + READ_BYTES;
    char *data;

    if (lines->from) {
        memmove(lines->data, lines->data + lines->from,
                lines->n_bytes - lines->from);
        lines->n_bytes -= lines->from;
        lines->from = 0;
    }
    if (need <= lines->capacity)
        return 0;
    need += need / 2;
    data = realloc(lines->data, need);
    if (!data)
        return weir_err_nomem(err, need, "a line");
    lines->data = data;
    lines->capacity = need;
    return 0;
}

static int read_more(struct weir_lines *lines, struct weir_err *err)
{
    ssize_t n;
    int rc = make_room(lines, err);

    if (rc)
        return rc;
    do
        n = read(lines->fd, lines->data + lines->n_bytes, READ_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return weir_err_errno(err, errno, "read", lines->name);
    lines->n_bytes += (size_t)n;
    lines->at_end = n == 0;
    return 0;
}

/* Gives the line that ends before `end`, as far as it is there. */
static int give(struct weir_lines *lines, const char *end, int is_whole,
                int is_long, struct weir_line *line)
{
    size_t n = (size_t)(end - (lines->data + lines->from));

    if (n > lines->ceiling)
        is_long = 1;
    line->text = is_long ? NULL : lines->data + lines->from;
    line->n_bytes = is_long ? 0 : n;
    line->is_whole = is_whole;
    lines->from += n + (is_whole != 0);
    lines->offset += n + (is_whole != 0);
    lines->number++;
    return 1;
}

int weir_lines_next(struct weir_lines *lines, struct weir_line *line,
                    struct weir_err *err)
{
    size_t seen = 0, n;
    int is_long = 0, rc;
    char *end;

    for (;;) {
        n = lines->n_bytes - lines->from;
        end = n > seen
                  ? memchr(lines->data + lines->from + seen, '\n', n - seen)
                  : NULL;
        if (end)
            return give(lines, end, 1, is_long, line);
        if (lines->at_end && n == 0 && !is_long)
            return 0;
        if (lines->at_end)
            return give(lines, lines->data + lines->n_bytes, 0, is_long, line);
        if (n > lines->ceiling) { /* its end is all that is wanted of it */
            is_long = 1;
            lines->offset += n;
            lines->from = lines->n_bytes;
            n = 0;
        }
        seen = n;
        rc = read_more(lines, err);
        if (rc)
            return rc;
    }
}
