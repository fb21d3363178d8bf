/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parser of JSON takes what jansson's takes, refuses what it refuses, and
 * makes the same values, for texts by hand and for damaged ones by the
 * thousand.
 */
#include "base/json.h"

#include <string.h>

#include "tests/tap.h"

#define N_ROUNDS 200000

/* Both parsers; 1 when they agree. */
static int agree(const char *text, size_t n_bytes)
{
    struct weir_err err = {0};
    json_t *ours,
        *theirs = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, NULL);
    int rc = weir_json_parse(text, n_bytes, "a text", &ours, &err);
    int same = theirs ? !rc && json_equal(ours, theirs)
                      : rc == WEIR_EFORMAT && !ours && err.message[0];

    if (!same)
        tap_diag("%.*s: %d, jansson %s", (int)n_bytes, text, rc,
                 theirs ? "takes it" : "does not");
    json_decref(ours);
    json_decref(theirs);
    return same;
}

static const char *const texts[] = {
    "{}",
    "[]",
    " \t\r\n[ ] \n",
    "{\"a\": {\"b\": {\"c\": [1, [2, [3, {}]]]}}, \"b\": null}",
    "[true, false, null, \"\", \"x\", {\"\": 1}]",
    "[0, -0, 1, -1, 9223372036854775807, -9223372036854775808]",
    "[0.0, -0.0, 0.5, 1e5, 1E+5, 1e-5, 1.25e-300, 1e-400, 123456789.123456789]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\", \"\\u0041\\u00e9\\u20AC\\uD83D\\ude00\"]",
    "[\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"]",
    "{\"k\\u00e9y\": \"a value that is longer than any first buffer is\"}",
    "{\"and a key that is longer than sixteen\": [1234567890.12345678]}",
    "",
    " ",
    "1",
    "\"a\"",
    "null",
    "{",
    "[",
    "}",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[] []",
    "[]x",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\" 1}",
    "{\"a\": 1,}",
    "{a: 1}",
    "{1: 1}",
    "{\"a\": 1 \"b\": 2}",
    "{\"a\": 1, \"a\": 2}",
    "{\"a\": 1, \"\\u0061\": 2}",
    "[01]",
    "[-]",
    "[+1]",
    "[1.]",
    "[.5]",
    "[1e]",
    "[1e+]",
    "[1.5.5]",
    "[0x10]",
    "[1e400]",
    "[-1e400]",
    "[9223372036854775808]",
    "[-9223372036854775809]",
    "[NaN]",
    "[Infinity]",
    "[tru]",
    "[truex]",
    "[True]",
    "['a']",
    "[\"a]",
    "[\"a\n\"]",
    "[\"\\x\"]",
    "[\"\\",
    "[\"\\u12\"]",
    "[\"\\u12g4\"]",
    "[\"\\u0000\"]",
    "[\"\\ud83d\"]",
    "[\"\\ud83dx\"]",
    "[\"\\ud83d\\u0041\"]",
    "[\"\\ude00\"]",
    "[\"\\ud83d\\u",
    "[\"\xc0\x80\"]",
    "[\"\xed\xa0\x80\"]",
    "[\"\xf4\x90\x80\x80\"]",
    "[\"\xe2\x82\"]",
    "[\"\xff\"]",
    "\xef\xbb\xbf[]",
    "[1] // no comments",
};
#define N_TEXTS (sizeof(texts) / sizeof(texts[0]))

static uint32_t random_below(uint32_t n)
{
    static uint64_t state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 32) * n >> 32);
}

static void test_texts(void)
{
    int same = 1;

    for (size_t i = 0; i < N_TEXTS; i++)
        same &= agree(texts[i], strlen(texts[i]));
    tap_ok(same, "%zu texts, sound and not", N_TEXTS);
}

/* A text with a few bytes of others, or of its own, where they do not belong */
static size_t damage(char *text, size_t room)
{
    static const char bytes[] = "{}[]\",:\\u0123456789abcdef.-+eE \n\xc3\xa9";
    const char *from = texts[random_below(N_TEXTS)];
    size_t n = strlen(from), at;

    memcpy(text, from, n);
    for (uint32_t i = 0; n && n < room && i <= random_below(3); i++) {
        at = random_below((uint32_t)n);
        switch (random_below(3)) {
        case 0:
            text[at] = bytes[random_below(sizeof(bytes) - 1)];
            break;
        case 1:
            memmove(text + at + 1, text + at, n++ - at);
            text[at] = bytes[random_below(sizeof(bytes) - 1)];
            break;
        default:
            memmove(text + at, text + at + 1, --n - at);
        }
    }
    return n;
}

static void test_damage(void)
{
    static char text[512];
    unsigned wrong = 0;

    for (int i = 0; i < N_ROUNDS && wrong < 10; i++)
        wrong += !agree(text, damage(text, sizeof(text) - 8));
    tap_ok(!wrong, "%d damaged ones", N_ROUNDS);
}

static int parse(const char *text, size_t n_bytes, struct weir_err *err)
{
    json_t *value;
    int rc = weir_json_parse(text, n_bytes, "file", &value, err);

    json_decref(value);
    return rc;
}

static void test_limits(void)
{
    static const char mistake[] = "{\n \"a\": 1,\n \"b\": x}";
    char text[2 * 65];
    struct weir_err err;

    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    tap_ok(!parse(text, 128, &err), "64 levels");
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    tap_ok(parse(text, 130, &err) == WEIR_ELIMIT && strstr(err.message, "file"),
           "not 65: %s", err.message);
    tap_ok(parse(mistake, sizeof(mistake) - 1, &err) == WEIR_EFORMAT &&
               err.offset == 17 && strstr(err.message, "line 3, column 7"),
           "a mistake is placed: %s", err.message);
}

/* jansson passes over some of these. */
static void test_nul(void)
{
    tap_ok(parse("[\"\0\"]", 5, NULL) == WEIR_EFORMAT &&
               parse("[]\0", 3, NULL) == WEIR_EFORMAT &&
               parse("[1\0]", 4, NULL) == WEIR_EFORMAT &&
               parse("[\0]", 3, NULL) == WEIR_EFORMAT,
           "no NUL anywhere");
    tap_ok(weir_json_is_whole("[\"\\u0000\"]", 10) &&
               !weir_json_is_whole("[\"\\u0000\"", 9) &&
               !weir_json_is_whole("[\"\0\"]", 5) &&
               !weir_json_is_whole("{\"\\u0000\":1}", 12),
           "but written as \\u0000, in values, where text need only be whole");
}

int main(void)
{
    test_texts();
    test_damage();
    test_limits();
    test_nul();
    return tap_done();
}
