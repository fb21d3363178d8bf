/* SPDX-License-Identifier: Apache-2.0 */
/* JSON as RFC 8259 has it, with the ceilings that grammar.h names. */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/grammar_parts.h"

/* Keys that another one must differ from, and bytes in one */
#define MAX_NAMES  4096
#define NAME_BYTES 512

/* One of `n` ranges of bytes, two bytes of text each */
static uint32_t one_of(struct weir_grammar_builder *b, const char *ranges,
                       size_t n, uint32_t next)
{
    uint32_t all = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t one =
            weir_grammar_bytes(b, (unsigned char)ranges[2 * i],
                               (unsigned char)ranges[2 * i + 1], next);

        all = i ? weir_grammar_split(b, one, all) : one;
    }
    return all;
}

/* Up to n times what the ranges have, then next */
static uint32_t up_to(struct weir_grammar_builder *b, const char *ranges,
                      size_t n_ranges, size_t n, uint32_t next)
{
    uint32_t all = next;

    for (size_t i = 0; i < n; i++)
        all = weir_grammar_split(b, next, one_of(b, ranges, n_ranges, all));
    return all;
}

/* One rule for all of it keeps grammars small. */
uint32_t weir_grammar_space(struct weir_grammar_builder *b, uint32_t next)
{
    static const char space;
    int is_new;
    uint32_t rule = weir_grammar_rule(b, &space, &is_new);

    if (is_new) {
        uint32_t line = up_to(b, "  \t\t", 2, WEIR_GRAMMAR_INDENT, 0);

        line = weir_grammar_bytes(b, '\n', '\n', line);
        line = weir_grammar_split(b, weir_grammar_bytes(b, ' ', ' ', 0), line);
        weir_grammar_set(b, rule, line);
    }
    return weir_grammar_split(b, next, weir_grammar_call(b, rule, next));
}

uint32_t weir_grammar_mark(struct weir_grammar_builder *b, char mark,
                           uint32_t next)
{
    next = weir_grammar_space(b, next);
    return weir_grammar_space(b, weir_grammar_text(b, &mark, 1, next));
}

/* ---- strings ---- */

static uint32_t hex(struct weir_grammar_builder *b, size_t n, uint32_t next)
{
    while (n--)
        next = one_of(b, "09afAF", 3, next);
    return next;
}

/* Behind \u: a character, or both halves of a pair */
static uint32_t add_code(struct weir_grammar_builder *b, uint32_t next)
{
    uint32_t second = one_of(b, "cfCF", 2, hex(b, 2, next)), code, plain;

    second = weir_grammar_text(b, "\\u", 2, one_of(b, "ddDD", 2, second));
    code = one_of(b, "89abAB", 3, hex(b, 2, second));
    plain = one_of(b, "07", 1, hex(b, 2, next));
    code = one_of(b, "ddDD", 2, weir_grammar_split(b, code, plain));
    plain = one_of(b, "09acACefEF", 5, hex(b, 3, next));
    return weir_grammar_split(b, plain, code);
}

/* The rule of a character of a string */
static uint32_t char_rule(struct weir_grammar_builder *b)
{
    static const char character;
    int is_new;
    uint32_t rule = weir_grammar_rule(b, &character, &is_new), all;

    if (!is_new)
        return rule;
    all = weir_grammar_bytes(b, 'u', 'u', add_code(b, 0));
    all = weir_grammar_split(b, one_of(b, "\"\"\\\\//bbffnnrrtt", 8, 0), all);
    all = weir_grammar_bytes(b, '\\', '\\', all);
    all = weir_grammar_split(b, weir_grammar_chars(b, ' ', '!', 0), all);
    all = weir_grammar_split(b, weir_grammar_chars(b, '#', '[', 0), all);
    all = weir_grammar_split(b, weir_grammar_chars(b, ']', 0x10ffff, 0), all);
    weir_grammar_set(b, rule, all);
    return rule;
}

uint32_t weir_grammar_string(struct weir_grammar_builder *b, size_t min,
                             size_t max, uint32_t next)
{
    uint32_t rule = char_rule(b), end = weir_grammar_text(b, "\"", 1, next);
    uint32_t all = end;

    if (max == SIZE_MAX) {
        all = weir_grammar_later(b);
        weir_grammar_set(
            b, all,
            weir_grammar_split(b, end, weir_grammar_call(b, rule, all)));
    }
    for (size_t i = max == SIZE_MAX ? min : max; i > 0 && !b->rc; i--) {
        all = weir_grammar_call(b, rule, all);
        if (i > min)
            all = weir_grammar_split(b, end, all);
    }
    return weir_grammar_text(b, "\"", 1, all);
}

/* ---- numbers ---- */

static uint32_t add_exponent(struct weir_grammar_builder *b, uint32_t next)
{
    uint32_t digits = one_of(b, "09", 1, up_to(b, "09", 1, 1, next));

    digits = weir_grammar_split(b, digits, one_of(b, "++--", 2, digits));
    return weir_grammar_split(b, next, one_of(b, "eeEE", 2, digits));
}

uint32_t weir_grammar_number(struct weir_grammar_builder *b, int is_integer,
                             uint32_t next)
{
    uint32_t digits;

    if (!is_integer) {
        next = add_exponent(b, next);
        digits = one_of(b, "09", 1, up_to(b, "09", 1, 16, next));
        next = weir_grammar_split(b, next, one_of(b, "..", 1, digits));
    }
    digits = one_of(b, "19", 1, up_to(b, "09", 1, 17, next));
    digits = weir_grammar_split(b, digits, one_of(b, "00", 1, next));
    return weir_grammar_split(b, digits, one_of(b, "--", 1, digits));
}

/* ---- values that are known ---- */

uint32_t weir_grammar_value(struct weir_grammar_builder *b, const json_t *value,
                            uint32_t next)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    if (!text) {
        if (!b->rc)
            b->rc = weir_err_nomem(b->err, 64, "a value of a schema");
        return 0;
    }
    next = weir_grammar_text(b, text, strlen(text), next);
    free(text);
    return next;
}

uint32_t weir_grammar_name(struct weir_grammar_builder *b, const char *name,
                           uint32_t next)
{
    json_t *value = json_string(name);

    next = weir_grammar_value(b, value, next);
    json_decref(value);
    return next;
}

/* ---- other names ---- */

/* A name that it must not be, from the character that is looked at on */
struct tail {
    const char *text;
    size_t n_bytes;
};

static int compare_tails(const void *a, const void *b)
{
    const struct tail *x = a, *y = b;
    size_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    int order = n ? memcmp(x->text, y->text, n) : 0;

    return order ? order
                 : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

/* Characters from low to high, of those that stand for themselves */
static uint32_t plain_chars(struct weir_grammar_builder *b, uint32_t low,
                            uint32_t high, uint32_t next)
{
    static const uint32_t ends[][2] = {{' ', '!'}, {'#', '['}, {']', 0x10ffff}};
    uint32_t all = weir_grammar_never(b);

    for (int i = 0; i < 3; i++) {
        uint32_t from = low > ends[i][0] ? low : ends[i][0];
        uint32_t to = high < ends[i][1] ? high : ends[i][1];

        if (from <= to)
            all = weir_grammar_split(b, weir_grammar_chars(b, from, to, next),
                                     all);
    }
    return all;
}

/*
 * The rest of a name that differs from all n tails, which are sorted, so that
 * those with the same first character lie together; `end` follows it, and
 * `loose` is the rest of a name that differs already.
 */
static uint32_t differ(struct weir_grammar_builder *b, struct tail *tails,
                       size_t n, uint32_t loose, uint32_t end)
{
    int is_name = n && tails[0].n_bytes == 0;
    uint32_t all = is_name ? weir_grammar_never(b) : end, from = 0;
    size_t i = 0;

    while (i < n && tails[i].n_bytes == 0)
        i++;
    while (i < n && !b->rc) {
        const char *text = tails[i].text;
        size_t length = weir_utf8_char(text, tails[i].n_bytes), first = i;
        uint32_t code = weir_utf8_decode(text, length), rest;

        while (i < n && tails[i].n_bytes >= length &&
               !memcmp(tails[i].text, text, length)) {
            tails[i].text += length;
            tails[i++].n_bytes -= length;
        }
        if (code > from)
            all = weir_grammar_split(b, plain_chars(b, from, code - 1, loose),
                                     all);
        rest = differ(b, tails + first, i - first, loose, end);
        all = weir_grammar_split(b, plain_chars(b, code, code, rest), all);
        from = code + 1;
    }
    return weir_grammar_split(b, plain_chars(b, from, 0x10ffff, loose), all);
}

uint32_t weir_grammar_other_name(struct weir_grammar_builder *b,
                                 const json_t *object, uint32_t next)
{
    size_t n = 0, most = json_object_size(object);
    struct tail *tails = malloc((most + 1) * sizeof(*tails));
    uint32_t end = weir_grammar_text(b, "\"", 1, next), loose, all = 0;
    const char *name;
    json_t *value;

    loose = weir_grammar_later(b);
    weir_grammar_set(
        b, loose,
        weir_grammar_split(b, end, plain_chars(b, 0, 0x10ffff, loose)));
    json_object_foreach((json_t *)object, name, value)
    {
        if (tails && n < most)
            tails[n++] = (struct tail){name, strlen(name)};
        if (strlen(name) > NAME_BYTES)
            weir_grammar_fail(b, WEIR_ELIMIT, "a key of more than %d bytes",
                              NAME_BYTES);
    }
    if (!tails && !b->rc)
        b->rc = weir_err_nomem(b->err, most * sizeof(*tails), "a schema");
    if (n)
        qsort(tails, n, sizeof(*tails), compare_tails);
    if (most > MAX_NAMES)
        weir_grammar_fail(b, WEIR_ELIMIT, "more than %d properties", MAX_NAMES);
    if (!b->rc)
        all = differ(b, tails, n, loose, end);
    free(tails);
    return weir_grammar_text(b, "\"", 1, all);
}

/* ---- anything ---- */

static uint32_t any_rule(struct weir_grammar_builder *b)
{
    static const char anything;
    int is_new;
    uint32_t rule = weir_grammar_rule(b, &anything, &is_new), all, close, more;

    if (!is_new)
        return rule;
    all = weir_grammar_split(b, weir_grammar_text(b, "null", 4, 0),
                             weir_grammar_text(b, "true", 4, 0));
    all = weir_grammar_split(b, all, weir_grammar_text(b, "false", 5, 0));
    all = weir_grammar_split(b, all, weir_grammar_number(b, 0, 0));
    all = weir_grammar_split(b, all, weir_grammar_string(b, 0, SIZE_MAX, 0));
    all = weir_grammar_split(b, all, weir_grammar_any_object(b, 0));
    close = weir_grammar_space(b, weir_grammar_text(b, "]", 1, 0));
    more = weir_grammar_later(b);
    weir_grammar_set(
        b, more,
        weir_grammar_split(
            b, close,
            weir_grammar_mark(b, ',', weir_grammar_call(b, rule, more))));
    more = weir_grammar_split(
        b, close, weir_grammar_space(b, weir_grammar_call(b, rule, more)));
    all = weir_grammar_split(b, all, weir_grammar_text(b, "[", 1, more));
    weir_grammar_set(b, rule, all);
    return rule;
}

uint32_t weir_grammar_any(struct weir_grammar_builder *b, uint32_t next)
{
    return weir_grammar_call(b, any_rule(b), next);
}

uint32_t weir_grammar_any_object(struct weir_grammar_builder *b, uint32_t next)
{
    static const char any_object;
    int is_new;
    uint32_t rule = weir_grammar_rule(b, &any_object, &is_new);
    uint32_t close, more, member;

    if (is_new) {
        close = weir_grammar_space(b, weir_grammar_text(b, "}", 1, 0));
        more = weir_grammar_later(b);
        member = weir_grammar_mark(b, ':', weir_grammar_any(b, more));
        member = weir_grammar_string(b, 0, SIZE_MAX, member);
        weir_grammar_set(
            b, more,
            weir_grammar_split(b, close, weir_grammar_mark(b, ',', member)));
        more = weir_grammar_split(b, close, weir_grammar_space(b, member));
        weir_grammar_set(b, rule, weir_grammar_text(b, "{", 1, more));
    }
    return weir_grammar_call(b, rule, next);
}
