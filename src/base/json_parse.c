/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON (RFC 8259) into the values of jansson.  Its own parser is not used: it
 * collects a token byte by byte and does not look whether there was memory
 * for the byte.  Without, a key or a number loses a digit or a letter and
 * nobody is told, or the end of a string is not found.  Its values are sound.
 */
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/json.h"
#include "base/utf8.h"

#define MAX_DEPTH 64

struct parser {
    const char *text;
    size_t at, n_bytes;
    const char *what;
    struct weir_buf strings; /* keys of open objects, and what is being read */
    locale_t locale;         /* "C", where a point is a point */
    int takes_nul;           /* in a string, as \u0000 */
    struct weir_err *err;
};

static int no_memory(const struct parser *in)
{
    return weir_err_nomem(in->err, in->n_bytes, in->what);
}

static int wrong(const struct parser *in, const char *why)
{
    unsigned long line = 1, column = 1;

    for (size_t i = 0; i < in->at; i++) {
        column++;
        if (in->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return weir_err_at(in->err, WEIR_EFORMAT, in->at,
                       "%s: line %lu, column %lu: %s; the file is damaged or "
                       "is not JSON",
                       in->what, line, column, why);
}

static int wrong_key(const struct parser *in, const char *key)
{
    char why[128];

    snprintf(why, sizeof(why), "the key '%.64s' twice", key);
    return wrong(in, why);
}

/* The byte to be read next; 0, which is never valid, at the end. */
static char peek(const struct parser *in)
{
    return in->at < in->n_bytes ? in->text[in->at] : '\0';
}

static char peek_past_blanks(struct parser *in)
{
    while (in->at < in->n_bytes && memchr(" \t\n\r", in->text[in->at], 4))
        in->at++;
    return peek(in);
}

/* Passes `c` if it comes next, maybe behind blanks. */
static int accept(struct parser *in, char c)
{
    if (peek_past_blanks(in) != c)
        return 0;
    in->at++;
    return 1;
}

/* ---- strings ---- */

static int put(struct parser *in, const char *bytes, size_t n_bytes)
{
    return weir_buf_add(&in->strings, bytes, n_bytes, in->err);
}

static int put_code_point(struct parser *in, uint32_t c)
{
    char bytes[4];

    return put(in, bytes, weir_utf8_encode(c, bytes));
}

/* The four digits behind \u; -1 when they are not there. */
static int32_t read_hex(struct parser *in)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *found;
    int32_t value = 0;

    if (in->n_bytes - in->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        found = memchr(digits, in->text[in->at + i], sizeof(digits) - 1);
        if (!found)
            return -1;
        value = value << 4 | (int32_t)((found - digits) & 15);
    }
    in->at += 4;
    return value;
}

/* What stands behind \u; characters above U+FFFF come as two surrogates. */
static int read_unicode(struct parser *in)
{
    int32_t high = read_hex(in), low;

    if (high < 0)
        return wrong(in, "\\u without four digits");
    if (high == 0 && !in->takes_nul)
        return wrong(in, "a NUL in a string");
    if (high < 0xd800 || high > 0xdfff)
        return put_code_point(in, (uint32_t)high);
    low = -1;
    if (in->n_bytes - in->at > 2 && !memcmp(in->text + in->at, "\\u", 2)) {
        in->at += 2;
        low = read_hex(in);
    }
    if (high > 0xdbff || low < 0xdc00 || low > 0xdfff)
        return wrong(in, "half of a surrogate pair");
    return put_code_point(
        in, (uint32_t)(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)));
}

static int read_escape(struct parser *in)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    char c = peek(in);
    const char *found = memchr(names, c, sizeof(names) - 1);

    if (!found && c != 'u')
        return wrong(in, "an unknown escape");
    in->at++;
    return found ? put(in, &bytes[found - names], 1) : read_unicode(in);
}

/* Puts the string whose opening quote has been passed behind the others. */
static int read_string(struct parser *in)
{
    size_t from;
    int rc = 0;

    while (!rc) {
        for (from = in->at; (unsigned char)peek(in) >= 0x20; in->at++)
            if (peek(in) == '"' || peek(in) == '\\')
                break;
        rc = put(in, in->text + from, in->at - from);
        if (rc)
            return rc;
        if (peek(in) != '"' && peek(in) != '\\')
            return wrong(in, in->at == in->n_bytes
                                 ? "a string without an end"
                                 : "a control character in a string");
        if (in->text[in->at++] == '"')
            return 0;
        rc = read_escape(in);
    }
    return rc;
}

static int parse_string(struct parser *in, json_t **out)
{
    size_t from = in->strings.n_bytes;
    int rc;

    in->at++;
    rc = read_string(in);
    if (rc)
        return rc;
    *out = json_stringn_nocheck(in->strings.data + from,
                                in->strings.n_bytes - from);
    in->strings.n_bytes = from;
    return *out ? 0 : no_memory(in);
}

/* ---- numbers ---- */

static int pass_digits(struct parser *in)
{
    size_t from = in->at;

    while (peek(in) >= '0' && peek(in) <= '9')
        in->at++;
    return in->at > from;
}

/* Passes a number; -1 when it is none. */
static int pass_number(struct parser *in, int *is_real)
{
    *is_real = 0;
    if (peek(in) == '-')
        in->at++;
    if (peek(in) == '0')
        in->at++;
    else if (!pass_digits(in))
        return -1;
    if (peek(in) == '.') {
        *is_real = 1;
        in->at++;
        if (!pass_digits(in))
            return -1;
    }
    if (peek(in) == 'e' || peek(in) == 'E') {
        *is_real = 1;
        in->at++;
        if (peek(in) == '+' || peek(in) == '-')
            in->at++;
        if (!pass_digits(in))
            return -1;
    }
    return 0;
}

static int parse_number(struct parser *in, json_t **out)
{
    size_t from = in->at, kept = in->strings.n_bytes;
    long long integer = 0;
    const char *number;
    double real = 0;
    int is_real, rc;

    if (pass_number(in, &is_real))
        return wrong(in, "a number without digits");
    rc = put(in, in->text + from, in->at - from);
    if (rc)
        return rc;
    number = in->strings.data + kept;
    in->strings.n_bytes = kept;
    errno = 0;
    if (is_real)
        real = strtod_l(number, NULL, in->locale);
    else
        integer = strtoll(number, NULL, 10);
    if (is_real ? isinf(real) : errno == ERANGE)
        return wrong(in, "a number that is too large");
    *out = is_real ? json_real(real) : json_integer(integer);
    return *out ? 0 : no_memory(in);
}

/* ---- values ---- */

static int parse_value(struct parser *in, unsigned depth, json_t **out);

/* "key": value */
static int parse_member(struct parser *in, unsigned depth, json_t *object)
{
    size_t key = in->strings.n_bytes;
    json_t *value = NULL;
    int rc;

    if (!accept(in, '"'))
        return wrong(in, "no key");
    rc = read_string(in);
    if (!rc)
        rc = put(in, "", 1); /* what follows is put behind the NUL */
    if (rc)
        return rc;
    if (strlen(in->strings.data + key) != in->strings.n_bytes - key - 1)
        return wrong(in, "a NUL in a key");
    if (json_object_get(object, in->strings.data + key))
        return wrong_key(in, in->strings.data + key);
    if (!accept(in, ':'))
        return wrong(in, "no colon behind a key");
    rc = parse_value(in, depth, &value);
    if (rc)
        json_decref(value);
    else if (json_object_set_new_nocheck(object, in->strings.data + key, value))
        rc = no_memory(in);
    in->strings.n_bytes = key;
    return rc;
}

static int parse_object(struct parser *in, unsigned depth, json_t **out)
{
    int rc;

    *out = json_object();
    if (!*out)
        return no_memory(in);
    in->at++;
    if (accept(in, '}'))
        return 0;
    do
        rc = parse_member(in, depth, *out);
    while (!rc && accept(in, ','));
    if (rc || accept(in, '}'))
        return rc;
    return wrong(in, "a comma or } should stand here");
}

static int parse_item(struct parser *in, unsigned depth, json_t *array)
{
    json_t *value = NULL;
    int rc = parse_value(in, depth, &value);

    if (rc)
        json_decref(value);
    else if (json_array_append_new(array, value))
        rc = no_memory(in);
    return rc;
}

static int parse_array(struct parser *in, unsigned depth, json_t **out)
{
    int rc;

    *out = json_array();
    if (!*out)
        return no_memory(in);
    in->at++;
    if (accept(in, ']'))
        return 0;
    do
        rc = parse_item(in, depth, *out);
    while (!rc && accept(in, ','));
    if (rc || accept(in, ']'))
        return rc;
    return wrong(in, "a comma or ] should stand here");
}

static int parse_word(struct parser *in, json_t **out)
{
    const struct {
        const char *word;
        json_t *value;
    } words[] = {
        {"true", json_true()}, {"false", json_false()}, {"null", json_null()}};
    size_t n;

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        n = strlen(words[i].word);
        if (in->n_bytes - in->at >= n &&
            !memcmp(in->text + in->at, words[i].word, n)) {
            in->at += n;
            *out = words[i].value;
            return 0;
        }
    }
    return wrong(in, "no value");
}

/* *out may be set after an error too. */
static int parse_value(struct parser *in, unsigned depth, json_t **out)
{
    char c = peek_past_blanks(in);

    if ((c == '{' || c == '[') && depth == MAX_DEPTH)
        return weir_err_set(in->err, WEIR_ELIMIT,
                            "%s: JSON nested deeper than %d levels", in->what,
                            MAX_DEPTH);
    if (c == '{')
        return parse_object(in, depth + 1, out);
    if (c == '[')
        return parse_array(in, depth + 1, out);
    if (c == '"')
        return parse_string(in, out);
    if (c == '-' || (c >= '0' && c <= '9'))
        return parse_number(in, out);
    return parse_word(in, out);
}

static int parse_text(struct parser *in, json_t **out)
{
    char c = peek_past_blanks(in);
    size_t valid = weir_utf8_valid(in->text, in->n_bytes);
    int rc;

    if (valid < in->n_bytes) {
        in->at = valid;
        return wrong(in, "not UTF-8");
    }
    if (c != '{' && c != '[')
        return wrong(in, "neither an object nor an array");
    rc = parse_value(in, 0, out);
    if (!rc && (peek_past_blanks(in) || in->at < in->n_bytes))
        rc = wrong(in, "something behind the end");
    return rc;
}

static int parse(const char *text, size_t n_bytes, const char *what,
                 int takes_nul, json_t **out, struct weir_err *err)
{
    struct parser in = {.text = text,
                        .n_bytes = n_bytes,
                        .what = what,
                        .strings = WEIR_BUF(n_bytes),
                        .locale = newlocale(LC_ALL_MASK, "C", (locale_t)0),
                        .takes_nul = takes_nul,
                        .err = err};
    int rc;

    *out = NULL;
    rc = in.locale ? parse_text(&in, out) : no_memory(&in);
    if (rc) {
        json_decref(*out);
        *out = NULL;
    }
    if (in.locale)
        freelocale(in.locale);
    weir_buf_fini(&in.strings);
    return rc;
}

int weir_json_parse(const char *text, size_t n_bytes, const char *what,
                    json_t **out, struct weir_err *err)
{
    return parse(text, n_bytes, what, 0, out, err);
}

int weir_json_is_whole(const char *text, size_t n_bytes)
{
    json_t *value;

    if (parse(text, n_bytes, "", 1, &value, NULL))
        return 0;
    json_decref(value);
    return 1;
}
