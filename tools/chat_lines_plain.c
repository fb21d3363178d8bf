/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/chat_interrupt.h"
#include "tools/chat_lines.h"

struct chat_lines {
    char *text; /* as getline() has it */
    size_t capacity;
};

struct chat_lines *chat_lines_new(void)
{
    return calloc(1, sizeof(struct chat_lines));
}

void chat_lines_free(struct chat_lines *lines)
{
    if (lines)
        free(lines->text);
    free(lines);
}

int chat_lines_read(struct chat_lines *lines, const char *prompt,
                    struct weir_buf *line, struct weir_err *err)
{
    ssize_t n;
    int rc;

    chat_interrupt_clear();
    fputs(prompt, stdout);
    fflush(stdout);
    errno = 0;
    n = getline(&lines->text, &lines->capacity, stdin);
    if (n < 0) {
        putchar('\n');
        clearerr(stdin);
        return errno == EINTR && chat_interrupt_seen() ? CHAT_LINE_BREAK
                                                       : CHAT_LINE_END;
    }
    if (n && lines->text[n - 1] == '\n')
        n--;
    rc = weir_buf_add(line, lines->text, (size_t)n, err);
    return rc ? rc : CHAT_LINE_TEXT;
}
