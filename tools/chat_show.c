/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/chat_show.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/utf8.h"

static const char *const tags[2] = {"<think>", "</think>"};

void chat_show_init(struct chat_show *show)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

    memset(show, 0, sizeof(*show));
    show->colours = isatty(STDOUT_FILENO) && !(no && *no) && term && *term &&
                    strcmp(term, "dumb");
}

static void set_dim(const struct chat_show *show, int dim)
{
    if (show->colours)
        fputs(dim ? "\033[2m" : "\033[0m", stdout);
}

void chat_show_begin(struct chat_show *show, int thinking)
{
    show->thinking = thinking;
    show->n_matched = 0;
    show->lead = 0;
    show->last = '\n';
    if (thinking)
        set_dim(show, 1);
}

static void put(struct chat_show *show, int c)
{
    putchar(c);
    show->last = c;
}

/* U+0080 to U+009F are controls too: the byte c2, and 80 to 9f. */
static void put_byte(struct chat_show *show, unsigned char c)
{
    int is_pair = show->lead && (c & 0xc0) == 0x80;

    if (show->lead && !(is_pair && c < 0xa0))
        put(show, show->lead);
    show->lead = 0;
    if (c == 0xc2)
        show->lead = c;
    else if ((c < 0x20 && c != '\n' && c != '\t') || c == 0x7f ||
             (is_pair && c < 0xa0))
        fputs(WEIR_UTF8_REPLACEMENT, stdout);
    else
        put(show, c);
}

static void put_matched(struct chat_show *show)
{
    const char *tag = tags[show->thinking];

    for (size_t i = 0; i < show->n_matched; i++)
        put_byte(show, (unsigned char)tag[i]);
    show->n_matched = 0;
}

/* The tags are dim as the thought is. */
static void turn(struct chat_show *show)
{
    if (!show->thinking)
        set_dim(show, 1);
    put_matched(show);
    if (show->thinking)
        set_dim(show, 0);
    show->thinking = !show->thinking;
}

/* In a tag '<' comes first, and not again. */
static void take(struct chat_show *show, unsigned char c)
{
    const char *tag = tags[show->thinking];

    if (c != (unsigned char)tag[show->n_matched])
        put_matched(show);
    if (c != (unsigned char)tag[show->n_matched])
        put_byte(show, c);
    else if (!tag[++show->n_matched])
        turn(show);
}

void chat_show_text(struct chat_show *show, const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        take(show, (unsigned char)text[i]);
    fflush(stdout);
}

void chat_show_end(struct chat_show *show)
{
    put_matched(show);
    if (show->lead)
        put(show, show->lead);
    if (show->thinking)
        set_dim(show, 0);
    if (show->last != '\n')
        putchar('\n');
    fflush(stdout);
}
