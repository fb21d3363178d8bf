/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A template becomes tokens.  White space is settled here: a '-' at a tag takes
 * all of it on that side; else the blanks between the start of a line and a
 * tag go, and the line feed right behind a tag, as trim_blocks and
 * lstrip_blocks want it.  {{ }} loses its own white space with a '-' only.
 */
#include <errno.h>
#include <locale.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/jinja_tree.h"

#define MAX_OPEN 100 /* brackets in a tag */

struct lexer {
    struct weir_jinja *jinja;
    const char *source;
    size_t at, n;
    int line_starts; /* at `at`, as far as tags have told */
    char open[MAX_OPEN];
    unsigned n_open;
    struct weir_token **tail;
    struct weir_err *err;
};

static int wrong(const struct lexer *in, size_t at, const char *why)
{
    return weir_jinja_fail(in->jinja, (uint32_t)at, WEIR_EFORMAT, in->err,
                           "%s; correct the template", why);
}

static int add_token(struct lexer *in, enum weir_token_kind kind, size_t at,
                     size_t n, struct weir_token **out)
{
    struct weir_token *token =
        weir_jinja_take(in->jinja, sizeof(*token), in->err);

    if (!token)
        return in->err->code;
    token->kind = kind;
    token->at = (uint32_t)at;
    token->text = (struct weir_text){in->source + at, n};
    *in->tail = token;
    in->tail = &token->next;
    if (out)
        *out = token;
    return 0;
}

static int looks_at(const struct lexer *in, size_t at, const char *word)
{
    size_t n = strlen(word);

    return in->n - at >= n && !memcmp(in->source + at, word, n);
}

/* The first `word` at or behind `at`, or in->n */
static size_t find(const struct lexer *in, size_t at, const char *word)
{
    const char *found = memmem(in->source + at, in->n - at, word, strlen(word));

    return found ? (size_t)(found - in->source) : in->n;
}

static size_t pass_space(const struct lexer *in, size_t at)
{
    return at +
           weir_text_space((struct weir_text){in->source + at, in->n - at});
}

/* Behind an end of two bytes at `end`, where `sign` stood before it */
static size_t pass_end(const struct lexer *in, size_t end, char sign)
{
    end += 2;
    if (sign == '-')
        return pass_space(in, end);
    if (sign != '+' && end < in->n && in->source[end] == '\n')
        end++;
    return end;
}

static void go_to(struct lexer *in, size_t at)
{
    if (at > in->at)
        in->line_starts = in->source[at - 1] == '\n';
    in->at = at;
}

/* The text before a tag at `end`, which begins with `sign` */
static int add_text(struct lexer *in, size_t end, char sign, int is_output)
{
    struct weir_text text = {in->source + in->at, end - in->at};
    const char *feed = text.n ? memrchr(text.bytes, '\n', text.n) : NULL;
    size_t line = feed ? (size_t)(feed - text.bytes) + 1 : 0;
    struct weir_text last = {text.bytes + line, text.n - line};

    if (sign == '-')
        text.n -= weir_text_space_behind(text);
    else if (sign != '+' && !is_output && (feed || in->line_starts) &&
             weir_text_space(last) == last.n)
        text.n = line;
    return text.n ? add_token(in, WEIR_T_TEXT, in->at, text.n, NULL) : 0;
}

static char sign_at(const struct lexer *in, size_t at)
{
    return at < in->n && (in->source[at] == '-' || in->source[at] == '+')
               ? in->source[at]
               : '\0';
}

static int lex_comment(struct lexer *in, size_t from)
{
    size_t end = find(in, from, "#}");
    char sign = '\0';

    if (end == in->n)
        return wrong(in, from - 2, "a comment without its end, #}");
    if (end > from)
        sign = sign_at(in, end - 1);
    go_to(in, pass_end(in, end, sign));
    return 0;
}

/* Behind "{%", a sign and `word`; 0 when something else stands there */
static size_t pass_tag_word(const struct lexer *in, size_t at, const char *word)
{
    at += 2;
    at = pass_space(in, at + (sign_at(in, at) != '\0'));
    return looks_at(in, at, word) ? pass_space(in, at + strlen(word)) : 0;
}

/* Behind {% raw %} at `at`, or 0 */
static size_t pass_raw(const struct lexer *in, size_t at)
{
    at = pass_tag_word(in, at, "raw");
    if (at && looks_at(in, at, "-%}"))
        return pass_space(in, at + 3);
    return at && looks_at(in, at, "%}") ? at + 2 : 0;
}

/* Behind {% endraw %} at `at`, or 0 */
static size_t pass_endraw(const struct lexer *in, size_t at)
{
    char sign;

    at = pass_tag_word(in, at, "endraw");
    if (!at)
        return 0;
    sign = sign_at(in, at);
    at += sign != '\0';
    return looks_at(in, at, "%}") ? pass_end(in, at, sign) : 0;
}

static int lex_raw(struct lexer *in, size_t tag, size_t from)
{
    size_t at, behind = 0;
    int rc;

    go_to(in, from);
    for (at = find(in, from, "{%"); at < in->n; at = find(in, at + 1, "{%")) {
        behind = pass_endraw(in, at);
        if (behind)
            break;
    }
    if (!behind)
        return wrong(in, tag, "{% raw %} without {% endraw %}");
    rc = add_text(in, at, sign_at(in, at + 2), 0);
    go_to(in, behind);
    return rc;
}

/* ---- inside tags ---- */

/* Up to `most` digits of `base`; how many there were */
static size_t read_digits(const char *from, const char *end, unsigned base,
                          size_t most, uint32_t *value)
{
    size_t n;
    int digit;

    *value = 0;
    for (n = 0; n < most && from + n < end; n++) {
        char c = from[n];

        digit = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : 99;
        if (digit >= (int)base)
            break;
        *value = *value * base + (uint32_t)digit;
    }
    return n;
}

/* The escape behind a backslash at *from; `at` is the backslash's place. */
static int unescape(struct lexer *in, size_t at, const char **from,
                    const char *end, char **to)
{
    static const char names[] = "\\'\"abfnrtv", bytes[] = "\\'\"\a\b\f\n\r\t\v";
    char c = *(*from)++;
    const char *found = memchr(names, c, sizeof(names) - 1);
    size_t n_digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t value;

    if (found) {
        *(*to)++ = bytes[found - names];
        return 0;
    }
    if (c == '\n')
        return 0;
    if (c == 'N')
        return wrong(in, at, "\\N{...}; write the character itself");
    if (c >= '0' && c <= '7') {
        *from += read_digits(*from - 1, end, 8, 3, &value) - 1;
        *to += weir_utf8_encode(value, *to);
        return 0;
    }
    if (!n_digits) {
        *(*to)++ = '\\';
        *(*to)++ = c;
        return 0;
    }
    if (read_digits(*from, end, 16, n_digits, &value) < n_digits)
        return wrong(in, at, "an escape without all its digits");
    if (value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
        return wrong(in, at, "an escape for what is no character");
    *from += n_digits;
    *to += weir_utf8_encode(value, *to);
    return 0;
}

/* An escape is never shorter than what it stands for. */
static int lex_string(struct lexer *in)
{
    const char *from = in->source + in->at + 1, *end = in->source + in->n;
    const char quote = in->source[in->at];
    struct weir_token *token = NULL;
    char *text, *to;
    int rc;

    while (from < end && *from != quote)
        from += *from == '\\' && from + 1 < end ? 2 : 1;
    if (from >= end)
        return wrong(in, in->at, "a string without its end");
    end = from;
    from = in->source + in->at + 1;
    to = text = weir_jinja_take(in->jinja, (size_t)(end - from) + 1, in->err);
    if (!text)
        return in->err->code;
    while (from < end) {
        if (*from != '\\') {
            *to++ = *from++;
            continue;
        }
        from++;
        rc = unescape(in, (size_t)(from - 1 - in->source), &from, end, &to);
        if (rc)
            return rc;
    }
    rc = add_token(in, WEIR_T_STRING, in->at,
                   (size_t)(end - in->source) + 1 - in->at, &token);
    if (rc)
        return rc;
    token->value = weir_string(text, (size_t)(to - text));
    in->at = (size_t)(end - in->source) + 1;
    return 0;
}

static int is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int is_name_char(char c)
{
    return c == '_' || is_digit(c) || (c >= 'a' && c <= 'z') ||
           (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static char char_at(const struct lexer *in, size_t at)
{
    return at < in->n ? in->source[at] : '\0';
}

/* Digits, between which a '_' may stand; behind them */
static size_t pass_digits(const struct lexer *in, size_t at)
{
    while (is_digit(char_at(in, at)) ||
           (char_at(in, at) == '_' && is_digit(char_at(in, at - 1)) &&
            is_digit(char_at(in, at + 1))))
        at++;
    return at;
}

/* Behind the fraction and the exponent of a number; `at`: there is none. */
static size_t pass_real(const struct lexer *in, size_t at)
{
    size_t sign;

    if (char_at(in, at) == '.' && is_digit(char_at(in, at + 1)))
        at = pass_digits(in, at + 1);
    if ((char_at(in, at) | 0x20) == 'e') {
        sign = char_at(in, at + 1) == '-' || char_at(in, at + 1) == '+';
        if (is_digit(char_at(in, at + 1 + sign)))
            at = pass_digits(in, at + 1 + sign);
    }
    return at;
}

/* strtod() would take the point from the locale of the process. */
static int read_real(struct lexer *in, size_t end, double *real)
{
    locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    char digits[512];
    size_t n = 0;

    if (!locale)
        return weir_err_nomem(in->err, sizeof(digits), "a number");
    for (size_t at = in->at; at < end && n + 1 < sizeof(digits); at++)
        if (in->source[at] != '_')
            digits[n++] = in->source[at];
    digits[n] = '\0';
    *real = strtod_l(digits, NULL, locale);
    freelocale(locale);
    return n + 1 < sizeof(digits) ? 0 : wrong(in, in->at, "a number too long");
}

static int read_whole(struct lexer *in, size_t end, unsigned base,
                      int64_t *whole)
{
    char digits[128];
    size_t n = 0;

    for (size_t at = in->at + (base == 10 ? 0 : 2);
         at < end && n + 1 < sizeof(digits); at++)
        if (in->source[at] != '_')
            digits[n++] = in->source[at];
    digits[n] = '\0';
    errno = 0;
    *whole = strtoll(digits, NULL, (int)base);
    return errno || n + 1 >= sizeof(digits)
               ? wrong(in, in->at, "a whole number beyond 64 bits")
               : 0;
}

static unsigned base_at(const struct lexer *in)
{
    if (char_at(in, in->at) != '0')
        return 10;
    switch (char_at(in, in->at + 1) | 0x20) {
    case 'x':
        return 16;
    case 'o':
        return 8;
    case 'b':
        return 2;
    }
    return 10;
}

static size_t pass_based(const struct lexer *in, unsigned base)
{
    size_t at = in->at + 2, n;
    uint32_t ignored;

    for (;; at += n) {
        n = char_at(in, at) == '_';
        if (!read_digits(in->source + at + n, in->source + in->n, base, 1,
                         &ignored))
            return at;
        n++;
    }
}

static int lex_number(struct lexer *in)
{
    unsigned base = base_at(in);
    size_t end, behind;
    struct weir_token *token = NULL;
    int after_point = in->at && in->source[in->at - 1] == '.';
    int rc = 0;

    end = base == 10 ? pass_digits(in, in->at) : pass_based(in, base);
    behind = base == 10 && !after_point ? pass_real(in, end) : end;
    if (base != 10 && end == in->at + 2)
        return wrong(in, in->at, "a number without digits");
    if (base == 10 && behind == end && char_at(in, in->at) == '0')
        for (size_t at = in->at; at < end; at++)
            if (in->source[at] != '0' && in->source[at] != '_')
                return wrong(in, in->at, "a number that begins with 0");
    rc = add_token(in, WEIR_T_NUMBER, in->at, behind - in->at, &token);
    if (rc)
        return rc;
    if (behind > end) {
        token->value.kind = WEIR_FLOAT;
        rc = read_real(in, behind, &token->value.real);
    } else {
        token->value.kind = WEIR_INT;
        rc = read_whole(in, end, base, &token->value.integer);
    }
    in->at = behind;
    return rc;
}

static int lex_name(struct lexer *in)
{
    size_t end = in->at;
    int rc;

    while (end < in->n && is_name_char(in->source[end]))
        end++;
    rc = add_token(in, WEIR_T_NAME, in->at, end - in->at, NULL);
    in->at = end;
    return rc;
}

static int balance(struct lexer *in, char c)
{
    static const char begin[] = "([{", end[] = ")]}";
    const char *found;

    if (memchr(begin, c, 3)) {
        if (in->n_open == MAX_OPEN)
            return weir_jinja_fail(in->jinja, (uint32_t)in->at, WEIR_ELIMIT,
                                   in->err,
                                   "more than %d open brackets; correct the "
                                   "template",
                                   MAX_OPEN);
        in->open[in->n_open++] = c;
    }
    found = memchr(end, c, 3);
    if (!found)
        return 0;
    if (!in->n_open || in->open[in->n_open - 1] != begin[found - end])
        return wrong(in, in->at, "a closing bracket too many");
    in->n_open--;
    return 0;
}

static int lex_operator(struct lexer *in)
{
    static const char two[] = "//**==!=<=>=", one[] = "+-/*%~[](){}><=.:|,;";
    const char *s = in->source + in->at;
    size_t n = 0;
    int rc;

    for (size_t i = 0; !n && i + 2 < sizeof(two); i += 2)
        if (in->n - in->at >= 2 && !memcmp(s, two + i, 2))
            n = 2;
    if (!n && *s && strchr(one, *s))
        n = 1;
    if (!n)
        return wrong(in, in->at, "a character that has no meaning in a tag");
    rc = n == 1 ? balance(in, *s) : 0;
    if (!rc)
        rc = add_token(in, WEIR_T_OP, in->at, n, NULL);
    in->at += n;
    return rc;
}

static int lex_one(struct lexer *in)
{
    char c = in->source[in->at];

    if (c == '\'' || c == '"')
        return lex_string(in);
    if (is_digit(c))
        return lex_number(in);
    if (is_name_char(c))
        return lex_name(in);
    return lex_operator(in);
}

/* Where the tag that is open ends, if it does at in->at; else 0. */
static size_t tag_end(const struct lexer *in, const char *mark)
{
    char sign = sign_at(in, in->at);
    int is_output = mark[0] == '}';

    if (in->n_open || (sign == '+' && is_output) ||
        !looks_at(in, in->at + (sign != '\0'), mark))
        return 0;
    if (is_output && sign != '-')
        sign = '+';
    return pass_end(in, in->at + (sign_at(in, in->at) != '\0'), sign);
}

static int lex_tag(struct lexer *in, size_t tag, int is_output)
{
    const char *mark = is_output ? "}}" : "%}";
    size_t end;
    int rc;

    in->n_open = 0;
    rc = add_token(in, is_output ? WEIR_T_OUTPUT_BEGIN : WEIR_T_TAG_BEGIN, tag,
                   2, NULL);
    while (!rc) {
        in->at = pass_space(in, in->at);
        if (in->at == in->n)
            return wrong(in, tag,
                         is_output ? "{{ without its }}" : "{% without its %}");
        end = tag_end(in, mark);
        if (end) {
            rc = add_token(in, is_output ? WEIR_T_OUTPUT_END : WEIR_T_TAG_END,
                           in->at, 2, NULL);
            go_to(in, end);
            return rc;
        }
        rc = lex_one(in);
    }
    return rc;
}

/* The next {{, {% or {# at or behind `at`, or in->n */
static size_t find_tag(const struct lexer *in, size_t at)
{
    for (;; at++) {
        at = find(in, at, "{");
        if (at == in->n)
            return at;
        if (at + 1 < in->n && memchr("{%#", in->source[at + 1], 3))
            return at;
    }
}

static int lex_next(struct lexer *in)
{
    size_t tag = find_tag(in, in->at), raw;
    char kind, sign;
    int rc;

    if (tag == in->n) {
        rc = in->at < in->n
                 ? add_token(in, WEIR_T_TEXT, in->at, in->n - in->at, NULL)
                 : 0;
        in->at = in->n;
        return rc;
    }
    kind = in->source[tag + 1];
    sign = sign_at(in, tag + 2);
    raw = kind == '%' ? pass_raw(in, tag) : 0;
    rc = add_text(in, tag, sign, kind == '{');
    if (rc)
        return rc;
    in->line_starts = 0;
    in->at = tag + 2 + (sign != '\0');
    if (kind == '#')
        return lex_comment(in, in->at);
    return raw ? lex_raw(in, tag, raw) : lex_tag(in, tag, kind == '{');
}

int weir_jinja_lex(struct weir_jinja *jinja, struct weir_token **tokens,
                   struct weir_err *err)
{
    struct lexer in = {.jinja = jinja,
                       .source = jinja->source.bytes,
                       .n = jinja->source.n,
                       .line_starts = 1,
                       .tail = tokens,
                       .err = err};
    int rc = 0;

    while (!rc && in.at < in.n)
        rc = lex_next(&in);
    return rc ? rc : add_token(&in, WEIR_T_END, in.n, 0, NULL);
}
