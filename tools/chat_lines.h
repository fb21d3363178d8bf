/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines that a user types at a terminal: with libedit they can be edited, and
 * those of earlier chats are there; without, they come as the system gives
 * them.
 */
#ifndef WEIR_TOOLS_CHAT_LINES_H
#define WEIR_TOOLS_CHAT_LINES_H

#include "base/buf.h"

struct chat_lines;

enum chat_line {
    CHAT_LINE_END,    /* Ctrl-D, or the terminal is gone */
    CHAT_LINE_TEXT,   /* a line */
    CHAT_LINE_CANCEL, /* Ctrl-C in a line, which is dropped */
    CHAT_LINE_BREAK,  /* Ctrl-C where there was no line */
};

/* NULL when there is no memory, or no terminal to edit on */
struct chat_lines *chat_lines_new(void);
void chat_lines_free(struct chat_lines *lines);

/*
 * Asks with `prompt`, and appends the line without its line feed.  A negative
 * code when that cannot be done.
 */
int chat_lines_read(struct chat_lines *lines, const char *prompt,
                    struct weir_buf *line, struct weir_err *err);

#endif
