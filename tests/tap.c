/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tap.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static unsigned n_results, n_failed;

/*
 * Everything is flushed line by line, so that a test that dies leaves what it
 * had said.
 */
static void print_line(const char *fmt, va_list args)
{
    vprintf(fmt, args);
    putchar('\n');
    fflush(stdout);
}

void tap_ok(int cond, const char *fmt, ...)
{
    va_list args;

    if (!cond)
        n_failed++;
    printf("%s %u - ", cond ? "ok" : "not ok", ++n_results);
    va_start(args, fmt);
    print_line(fmt, args);
    va_end(args);
}

void tap_diag(const char *fmt, ...)
{
    va_list args;

    printf("# ");
    va_start(args, fmt);
    print_line(fmt, args);
    va_end(args);
}

void tap_skip(const char *fmt, ...)
{
    va_list args;

    printf("ok %u # SKIP ", ++n_results);
    va_start(args, fmt);
    print_line(fmt, args);
    va_end(args);
}

void tap_skip_all(const char *why)
{
    printf("1..0 # SKIP %s\n", why);
    fflush(stdout);
    exit(0);
}

int tap_done(void)
{
    printf("1..%u\n", n_results);
    fflush(stdout);
    return n_failed ? 1 : 0;
}
