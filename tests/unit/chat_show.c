/* SPDX-License-Identifier: Apache-2.0 */
/* Answers on a terminal: thoughts are dim, and no control character shows. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tap.h"
#include "tools/chat_show.h"

static char shown[4096];

/* Shows the text in pieces of `n_piece` bytes; what came out is in `shown`. */
static void show(const char *text, int thinking, int colours, size_t n_piece)
{
    struct chat_show show = {.colours = colours};
    size_t n = strlen(text), n_now;
    FILE *file = tmpfile();
    int out = dup(STDOUT_FILENO);

    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    chat_show_begin(&show, thinking);
    for (size_t i = 0; i < n; i += n_now) {
        n_now = n - i < n_piece ? n - i : n_piece;
        chat_show_text(&show, text + i, n_now);
    }
    chat_show_end(&show);
    dup2(out, STDOUT_FILENO);
    close(out);
    rewind(file);
    n = fread(shown, 1, sizeof(shown) - 1, file);
    shown[n] = '\0';
    fclose(file);
}

static void check(const char *text, int thinking, const char *wanted,
                  const char *what)
{
    size_t n_piece;

    for (n_piece = 1; n_piece <= 16; n_piece++) {
        show(text, thinking, 1, n_piece);
        if (strcmp(shown, wanted))
            break;
    }
    tap_ok(n_piece == 17, "%s", what);
    if (n_piece < 17)
        tap_diag("in pieces of %zu: '%s'", n_piece, shown);
}

#define DIM   "\033[2m"
#define PLAIN "\033[0m"
#define GONE  "\xef\xbf\xbd"

int main(void)
{
    check("Hello", 0, "Hello\n", "a line is ended");
    check("Hello\n", 0, "Hello\n", "once");
    check("", 0, "", "nothing is nothing");
    check("<think>a</think>b", 0, DIM "<think>a</think>" PLAIN "b\n",
          "a thought");
    check("a</think>b<think>c", 1,
          DIM "a</think>" PLAIN "b" DIM "<think>c" PLAIN "\n",
          "one that was begun, and one that does not end");
    check("a<thin b<<think>c</thi", 0,
          "a<thin b<" DIM "<think>c</thi" PLAIN "\n", "what is not quite one");
    check("</think>a<think", 0, "</think>a<think\n", "the wrong tag");
    check("a\033[31m\x07\x7f\rb\tc", 0, "a" GONE "[31m" GONE GONE GONE "b\tc\n",
          "control characters");
    check("\xc2\x9b"
          "1m\xc2\xa0\xc3\xa9\xc2\xbf",
          0,
          GONE "1m\xc2\xa0\xc3\xa9\xc2\xbf"
               "\n",
          "those of two bytes, and others");
    check("a\xc2", 0, "a\xc2\n", "half a character");
    show("<think>a</think>b", 0, 0, 3);
    tap_ok(!strcmp(shown, "<think>a</think>b\n"), "a thought without colours");
    return tap_done();
}
