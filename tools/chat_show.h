/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer on the terminal while it comes: what a model thinks, between
 * <think> and </think>, is dim, and control characters do not reach the
 * terminal.
 */
#ifndef WEIR_TOOLS_CHAT_SHOW_H
#define WEIR_TOOLS_CHAT_SHOW_H

#include <stddef.h>

struct chat_show {
    int colours;
    int thinking;     /* between the two tags */
    size_t n_matched; /* bytes of the next tag, which are held back */
    int lead;         /* of a control character of two bytes, held back; or 0 */
    int last;         /* byte that was shown */
};

/* Colours where standard output is a terminal that has them, unless NO_COLOR
 * is set (no-color.org). */
void chat_show_init(struct chat_show *show);

/* An answer begins, with `thinking` in the middle of a thought. */
void chat_show_begin(struct chat_show *show, int thinking);
void chat_show_text(struct chat_show *show, const char *text, size_t n_bytes);

/* Shows what was held back, and ends the line. */
void chat_show_end(struct chat_show *show);

#endif
