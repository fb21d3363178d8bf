/* SPDX-License-Identifier: Apache-2.0 */
/* Lines of a pipe, and strings that were there before. */
#include "base/lines.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/seen.h"
#include "tests/tap.h"

#define CEILING 100000

static struct weir_err err;

/* A temporary file with that text, at its beginning */
static FILE *file_of(const char *text, size_t n_bytes)
{
    FILE *file = tmpfile();

    if (!file || fwrite(text, 1, n_bytes, file) != n_bytes || fflush(file))
        return NULL;
    lseek(fileno(file), 0, SEEK_SET);
    return file;
}

static int is(const struct weir_line *line, const char *text, int is_whole)
{
    return line->text && line->n_bytes == strlen(text) &&
           !memcmp(line->text, text, line->n_bytes) &&
           line->is_whole == is_whole;
}

static void test_short(void)
{
    static const char text[] = "one\n\nthree\r\nfour";
    FILE *file = file_of(text, sizeof(text) - 1);
    struct weir_lines lines;
    struct weir_line line;
    int good;

    weir_lines_init(&lines, fileno(file), "a file", CEILING);
    good = weir_lines_next(&lines, &line, &err) == 1 && is(&line, "one", 1);
    good &= lines.offset == 4 && lines.number == 1;
    tap_ok(good, "a line");
    good = weir_lines_next(&lines, &line, &err) == 1 && is(&line, "", 1);
    tap_ok(good, "an empty one");
    good = weir_lines_next(&lines, &line, &err) == 1 && is(&line, "three\r", 1);
    tap_ok(good, "a carriage return is part of it");
    good = weir_lines_next(&lines, &line, &err) == 1 && is(&line, "four", 0);
    tap_ok(good && lines.offset == sizeof(text) - 1 && lines.number == 4,
           "one without an end");
    tap_ok(!weir_lines_next(&lines, &line, &err) &&
               !weir_lines_next(&lines, &line, &err),
           "and no more");
    weir_lines_fini(&lines);
    fclose(file);
    weir_lines_init(&lines, -1, "nothing", CEILING);
    tap_ok(weir_lines_next(&lines, &line, &err) == WEIR_EIO, "%s", err.message);
    weir_lines_fini(&lines);
}

/* Lines of CEILING - 1, CEILING, ... bytes with short ones between */
static void test_long(void)
{
    static const size_t sizes[] = {CEILING - 1, CEILING, CEILING + 1,
                                   9 * CEILING};
    enum { N = sizeof(sizes) / sizeof(sizes[0]) };
    char *text = malloc(13 * CEILING), *at = text;
    struct weir_lines lines;
    struct weir_line line;
    FILE *file;

    for (size_t i = 0; i < N; i++) {
        memset(at, 'x', sizes[i]);
        at += sizes[i];
        memcpy(at, "\nyes\n", 5);
        at += 5;
    }
    file = file_of(text, (size_t)(at - text) - 5);
    weir_lines_init(&lines, fileno(file), "a file", CEILING);
    for (size_t i = 0; i < N; i++) {
        int rc = weir_lines_next(&lines, &line, &err);

        tap_ok(rc == 1 && line.is_whole == (i + 1 < N) &&
                   (sizes[i] > CEILING ? !line.text
                                       : line.text && line.n_bytes == sizes[i]),
               "a line of %zu bytes", sizes[i]);
        if (i + 1 < N)
            tap_ok(weir_lines_next(&lines, &line, &err) == 1 &&
                       is(&line, "yes", 1),
                   "and the one behind it");
    }
    tap_ok(!weir_lines_next(&lines, &line, &err) &&
               lines.offset == (uint64_t)(at - text) - 5,
           "to the end");
    tap_ok(lines.capacity < 4 * CEILING, "in %zu bytes", lines.capacity);
    weir_lines_fini(&lines);
    fclose(file);
    free(text);
}

static void test_seen(void)
{
    struct weir_seen seen = {0};
    size_t n_new = 0, n_old = 0;

    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < 5000; i++)
            if (round)
                n_old += weir_seen_add(&seen, &i, sizeof(i), &err) == 1;
            else
                n_new += weir_seen_add(&seen, &i, sizeof(i), &err) == 0;
    tap_ok(n_new == 5000 && n_old == 5000 && seen.n == 5000,
           "5000 strings are new once");
    weir_seen_fini(&seen);
}

int main(void)
{
    test_short();
    test_long();
    test_seen();
    return tap_done();
}
