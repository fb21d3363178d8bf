/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libedit has the terminal while a line is typed, and gives it back for the
 * answer.  Ctrl-C and Ctrl-Z are keys like others while it has it: a signal
 * would not say whether there was a line.
 */
#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tools/chat_history.h"
#include "tools/chat_interrupt.h"
#include "tools/chat_lines.h"

#define HISTORY_LINES 1000

struct chat_lines {
    EditLine *edit;
    History *history;
    const char *prompt;
    int cancelled, was_empty;
    char path[4096]; /* of the history; "": there is no place for it */
};

static char *give_prompt(EditLine *edit)
{
    struct chat_lines *lines = NULL;

    el_get(edit, EL_CLIENTDATA, &lines);
    return (char *)(uintptr_t)lines->prompt;
}

/* The key Ctrl-C */
static unsigned char cancel(EditLine *edit, int key)
{
    const LineInfo *line = el_line(edit);
    struct chat_lines *lines = NULL;

    (void)key;
    el_get(edit, EL_CLIENTDATA, &lines);
    lines->cancelled = 1;
    lines->was_empty = line->lastchar == line->buffer;
    return CC_NEWLINE;
}

/* The key Ctrl-Z; libedit gives the terminal back and takes it again. */
static unsigned char suspend(EditLine *edit, int key)
{
    (void)edit;
    (void)key;
    raise(SIGTSTP);
    return CC_REDISPLAY;
}

/* A name that is no file, such as a pipe, is left alone. */
static void find_history(struct chat_lines *lines)
{
    struct stat st;
    HistEvent event;

    history(lines->history, &event, H_SETSIZE, HISTORY_LINES);
    history(lines->history, &event, H_SETUNIQUE, 1);
    if (!chat_history_path(lines->path, sizeof(lines->path)) ||
        (!stat(lines->path, &st) && !S_ISREG(st.st_mode)))
        lines->path[0] = '\0';
    else
        history(lines->history, &event, H_LOAD, lines->path);
}

static void set_up(struct chat_lines *lines)
{
    EditLine *edit = lines->edit;

    el_set(edit, EL_CLIENTDATA, lines);
    el_set(edit, EL_PROMPT, give_prompt);
    el_set(edit, EL_HIST, history, lines->history);
    el_set(edit, EL_EDITOR, "emacs");
    el_set(edit, EL_SIGNAL, 1);
    /* el_set() makes copies of these names and loses them. */
    el_wset(edit, EL_ADDFN, L"weir-cancel", L"drop the line", cancel);
    el_wset(edit, EL_ADDFN, L"weir-suspend", L"leave for a while", suspend);
    el_source(edit, NULL);
    el_set(edit, EL_SETTY, "-d", "-isig", NULL);
    el_set(edit, EL_BIND, "^C", "weir-cancel", NULL);
    el_set(edit, EL_BIND, "^Z", "weir-suspend", NULL);
}

struct chat_lines *chat_lines_new(void)
{
    struct chat_lines *lines = calloc(1, sizeof(*lines));

    if (!lines)
        return NULL;
    setlocale(LC_CTYPE, "");
    lines->prompt = "";
    lines->history = history_init();
    lines->edit = el_init("weir", stdin, stdout, stderr);
    if (!lines->history || !lines->edit) {
        chat_lines_free(lines);
        return NULL;
    }
    find_history(lines);
    set_up(lines);
    return lines;
}

void chat_lines_free(struct chat_lines *lines)
{
    if (!lines)
        return;
    if (lines->edit)
        el_end(lines->edit);
    if (lines->history)
        history_end(lines->history);
    free(lines);
}

/* Saved with each line: a chat may be ended by a signal. */
static void remember(struct chat_lines *lines, const char *text)
{
    HistEvent event;

    if (*text == '\n')
        return;
    history(lines->history, &event, H_ENTER, text);
    if (lines->path[0])
        history(lines->history, &event, H_SAVE, lines->path);
}

int chat_lines_read(struct chat_lines *lines, const char *prompt,
                    struct weir_buf *line, struct weir_err *err)
{
    const char *text;
    int n = 0, rc;

    chat_interrupt_clear();
    lines->prompt = prompt;
    lines->cancelled = 0;
    el_set(lines->edit, EL_PREP_TERM, 1); /* el_gets() asks before it does */
    text = el_gets(lines->edit, &n);
    if (lines->cancelled) {
        puts("^C");
        return lines->was_empty ? CHAT_LINE_BREAK : CHAT_LINE_CANCEL;
    }
    if (!text || n <= 0) {
        putchar('\n');
        return chat_interrupt_seen() ? CHAT_LINE_BREAK : CHAT_LINE_END;
    }
    remember(lines, text);
    if (text[n - 1] == '\n')
        n--;
    rc = weir_buf_add(line, text, (size_t)n, err);
    return rc ? rc : CHAT_LINE_TEXT;
}
