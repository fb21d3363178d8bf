/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tools/chat_interrupt.h"
#include "tools/chat_lines.h"

struct chat_lines {
    char *text; /* as getline() has it */
    size_t capacity;
};

struct chat_lines *chat_lines_new(void)
{
    /* What waits is in the terminal, where poll() sees it. */
    setvbuf(stdin, NULL, _IONBF, 0);
    return calloc(1, sizeof(struct chat_lines));
}

void chat_lines_free(struct chat_lines *lines)
{
    if (lines)
        free(lines->text);
    free(lines);
}

/*
 * Shows the prompt and waits for a line.  Ctrl-C comes while it waits or not at
 * all: between the prompt and getline() nobody would see it.
 */
static void wait_for_line(const char *prompt)
{
    struct pollfd from[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                            {.fd = chat_interrupt_fd(), .events = POLLIN}};

    chat_interrupt_clear();
    fputs(prompt, stdout);
    fflush(stdout);
    while (poll(from, 2, -1) < 0 && errno == EINTR && !chat_interrupt_seen())
        ;
}

int chat_lines_read(struct chat_lines *lines, const char *prompt,
                    struct weir_buf *line, struct weir_err *err)
{
    ssize_t n;
    int rc;

    wait_for_line(prompt);
    n = chat_interrupt_seen() ? -1
                              : getline(&lines->text, &lines->capacity, stdin);
    if (n < 0) {
        putchar('\n');
        clearerr(stdin);
        return chat_interrupt_seen() ? CHAT_LINE_BREAK : CHAT_LINE_END;
    }
    if (n && lines->text[n - 1] == '\n')
        n--;
    rc = weir_buf_add(line, lines->text, (size_t)n, err);
    return rc ? rc : CHAT_LINE_TEXT;
}
