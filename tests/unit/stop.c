/* SPDX-License-Identifier: Apache-2.0 */
/* Stop strings, against a search of the whole text. */
#include "text/stop.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define MOST 600 /* bytes of a text */

static struct weir_stop stop;
static char came[2 * MOST]; /* what has come out */
static size_t n_came;

static void add(const char *string)
{
    struct weir_err err;

    if (weir_stop_add(&stop, string, strlen(string), &err))
        tap_diag("%s", err.message);
}

static void collect(const struct weir_stop_out *out)
{
    for (int i = 0; i < 2; i++) {
        memcpy(came + n_came, out->text[i], out->n_bytes[i]);
        n_came += out->n_bytes[i];
    }
}

/* Pieces lie in memory of their own that is gone when the next one comes. */
static int push(const char *text, size_t n_bytes)
{
    char *piece = malloc(n_bytes ? n_bytes : 1);
    struct weir_stop_out out;
    int met;

    memcpy(piece, text, n_bytes);
    met = weir_stop_push(&stop, piece, n_bytes, &out);
    collect(&out);
    free(piece);
    return met;
}

static void finish(void)
{
    struct weir_stop_out out;

    weir_stop_finish(&stop, &out);
    collect(&out);
}

static int came_is(const char *text, size_t n_bytes)
{
    return n_came == n_bytes && !memcmp(came, text, n_bytes);
}

/* The longest string that ends where the text does, or -1 */
static int string_at_end(const char *text, size_t n_bytes)
{
    int found = -1;

    for (int i = 0; i < (int)stop.n_strings; i++) {
        const struct weir_stop_string *s = &stop.strings[i];

        if (s->n_bytes <= n_bytes &&
            !memcmp(text + n_bytes - s->n_bytes, s->text, s->n_bytes) &&
            (found < 0 || s->n_bytes > stop.strings[found].n_bytes))
            found = i;
    }
    return found;
}

/* Bytes at the end of the text that a string may begin with */
static size_t n_doubtful(const char *text, size_t n_bytes)
{
    size_t most = 0;

    for (size_t i = 0; i < stop.n_strings; i++)
        for (size_t n = 1; n < stop.strings[i].n_bytes && n <= n_bytes; n++)
            if (n > most &&
                !memcmp(text + n_bytes - n, stop.strings[i].text, n))
                most = n;
    return most;
}

/*
 * Whether a text in pieces comes out as it should, after each of them: no byte
 * too many, and none held back without need.  `seed` cuts the pieces.
 */
static int right(const char *text, size_t n_bytes, unsigned seed)
{
    size_t at = 0, end = 0, n;
    int met = -1, good = 1;

    n_came = 0;
    while (met < 0 && end < n_bytes)
        met = string_at_end(text, ++end);
    srand(seed);
    while (at < n_bytes) {
        n = seed ? (size_t)rand() % 4 : n_bytes;
        n = n < n_bytes - at ? n : n_bytes - at;
        good &= push(text + at, n) == (met >= 0 && at + n >= end);
        at += n;
        if (met >= 0 && at >= end)
            good &= came_is(text, end - stop.strings[met].n_bytes);
        else
            good &= came_is(text, at - n_doubtful(text, at));
    }
    finish();
    good &= stop.met == met;
    good &= met >= 0 ? came_is(text, end - stop.strings[met].n_bytes)
                     : came_is(text, n_bytes);
    return good;
}

static void again(void)
{
    struct weir_stop_string strings[WEIR_MAX_STOPS];
    size_t n_strings = stop.n_strings;

    memcpy(strings, stop.strings, sizeof(strings));
    weir_stop_init(&stop);
    for (size_t i = 0; i < n_strings; i++)
        weir_stop_add(&stop, strings[i].text, strings[i].n_bytes, NULL);
}

static const struct {
    const char *strings[3], *text, *wanted;
    int met;
} cases[] = {
    {{NULL}, "all of it", "all of it", -1},
    {{"."}, "One. Two.", "One", 0},
    {{"aab"}, "aaab", "a", 0},
    {{"abac"}, "abababac", "abab", 0},
    {{"stop"}, "sto", "sto", -1},
    {{"stop"}, "stostop", "sto", 0},
    {{"stop"}, "stop", "", 0},
    {{"abcd", "c"}, "xabcd", "xab", 1}, /* complete before the other one */
    {{"c", "bc", "abc"}, "xabc", "x", 2},
    {{"b", "b"}, "ab", "a", 0},
    {{"\n\n", "User:"}, "Hm.\nUser: ", "Hm.\n", 1},
    {{"\xe2\x82\xac"}, "5 \xe2\x82\xad \xe2\x82\xac!", "5 \xe2\x82\xad ", 0},
    {{"ababab", "bb"}, "abababab", "", 0},
    {{"aa"}, "baaa", "b", 0},
};

static void test_cases(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *text = cases[i].text;
        int good = 1;

        for (unsigned seed = 0; seed < 20; seed++) {
            weir_stop_init(&stop);
            for (int j = 0; j < 3 && cases[i].strings[j]; j++)
                add(cases[i].strings[j]);
            good &= right(text, strlen(text), seed);
            good &= came_is(cases[i].wanted, strlen(cases[i].wanted));
            good &= stop.met == cases[i].met;
        }
        tap_ok(good, "case %zu: %zu bytes come out", i,
               strlen(cases[i].wanted));
    }
}

/* Characters of one to three bytes, which share some of them */
static size_t invent(char *text, size_t n_chars, unsigned n_kinds)
{
    static const char *const chars[] = {"a", "b", "\xc3\xa9", "\xe2\x82\xac",
                                        "\xe2\x82\xad"};
    size_t n = 0;

    for (size_t i = 0; i < n_chars; i++) {
        const char *c = chars[(unsigned)rand() % n_kinds];

        memcpy(text + n, c, strlen(c));
        n += strlen(c);
    }
    return n;
}

static void test_random(void)
{
    int n_right = 0, n_met = 0, n_all = 4000;
    char text[MOST];

    for (int i = 0; i < n_all; i++) {
        unsigned n_kinds = i % 2 ? 2 : 5;

        srand((unsigned)i);
        weir_stop_init(&stop);
        for (int j = rand() % 4; j >= 0; j--)
            weir_stop_add(&stop, text,
                          invent(text, 1 + (size_t)rand() % 8, n_kinds), NULL);
        n_right += right(text, invent(text, 100, n_kinds), (unsigned)i);
        n_met += stop.met >= 0;
    }
    tap_ok(n_right == n_all && n_met > n_all / 4 && n_met < n_all,
           "%d of %d texts, %d of them stopped", n_right, n_all, n_met);
}

/* A string as long as can be that the text almost has, twice */
static void test_longest(void)
{
    static char text[MOST];
    int good = 1;

    memset(text, 'a', sizeof(text));
    weir_stop_init(&stop);
    text[WEIR_STOP_BYTES - 1] = 'b';
    weir_stop_add(&stop, text, WEIR_STOP_BYTES, NULL);
    text[WEIR_STOP_BYTES - 1] = 'a';
    good &= right(text, sizeof(text), 5);
    again();
    text[MOST - 1] = 'b';
    good &= right(text, sizeof(text), 6) && stop.met == 0;
    tap_ok(good, "a stop string of %d bytes", WEIR_STOP_BYTES);
}

static void test_after(void)
{
    int good;

    weir_stop_init(&stop);
    add("end");
    n_came = 0;
    good = push("the end", 7) == 1 && push(" and more", 9) == 1;
    finish();
    tap_ok(good && came_is("the ", 4), "nothing comes after a stop string");
}

static void test_refused(void)
{
    char text[WEIR_STOP_BYTES + 1];
    struct weir_err err;

    memset(text, 'a', sizeof(text));
    weir_stop_init(&stop);
    tap_ok(weir_stop_add(&stop, "", 0, &err) == WEIR_EARG, "empty: %s",
           err.message);
    tap_ok(weir_stop_add(&stop, text, sizeof(text), &err) == WEIR_EARG,
           "too long: %s", err.message);
    tap_ok(weir_stop_add(&stop, "\x82\xac", 2, &err) == WEIR_EARG,
           "part of a character: %s", err.message);
    for (int i = 0; i < WEIR_MAX_STOPS; i++)
        add("x");
    tap_ok(stop.n_strings == WEIR_MAX_STOPS &&
               weir_stop_add(&stop, "x", 1, &err) == WEIR_EARG,
           "too many: %s", err.message);
}

int main(void)
{
    test_cases();
    test_random();
    test_longest();
    test_after();
    test_refused();
    return tap_done();
}
