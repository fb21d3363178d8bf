/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text: str(), repr() and json.dumps() of Python. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

static int put(struct weir_render *render, const char *text)
{
    return weir_render_put(render, text, strlen(text));
}

static int put_whole(struct weir_render *render, int64_t whole)
{
    char text[32];

    snprintf(text, sizeof(text), "%lld", (long long)whole);
    return put(render, text);
}

/* The digits and the exponent of |real|, in any locale */
static int shortest_digits(double real, char digits[32], int *exponent)
{
    char text[64];
    int n = 0;

    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof(text), "%.*e", precision, real);
        if (strtod(text, NULL) == real)
            break;
    }
    for (const char *s = text; *s != 'e'; s++)
        if (*s >= '0' && *s <= '9')
            digits[n++] = *s;
    *exponent = (int)strtol(strchr(text, 'e') + 1, NULL, 10);
    while (n > 1 && digits[n - 1] == '0')
        n--;
    digits[n] = '\0';
    return n;
}

/* Python writes an exponent below 1e-4 and from 1e16 on. */
int weir_render_real(struct weir_render *render, double real)
{
    char digits[32], text[64], *to = text;
    int n, exponent;

    if (isnan(real))
        return put(render, "nan");
    if (isinf(real))
        return put(render, real < 0 ? "-inf" : "inf");
    n = shortest_digits(real, digits, &exponent);
    if (signbit(real))
        *to++ = '-';
    if (exponent < -4 || exponent >= 16) {
        snprintf(to, 48, "%c%s%se%c%02d", digits[0], n > 1 ? "." : "",
                 digits + 1, exponent < 0 ? '-' : '+', abs(exponent));
        return put(render, text);
    }
    if (exponent < 0)
        to += snprintf(to, 8, "0.%.*s", -exponent - 1, "000");
    for (int i = 0; i < n || i <= exponent + 1; i++) {
        if (exponent >= 0 && i == exponent + 1)
            *to++ = '.';
        *to++ = (char)(i < n ? digits[i] : '0');
    }
    *to = '\0';
    return put(render, text);
}

/* ---- repr ---- */

static int put_escape(struct weir_render *render, uint32_t c)
{
    static const char bytes[] = "\t\n\r\\", names[] = "tnr\\";
    const char *found = c && c < 0x80 ? strchr(bytes, (int)c) : NULL;
    char text[16];

    if (found)
        snprintf(text, sizeof(text), "\\%c", names[found - bytes]);
    else
        snprintf(text, sizeof(text),
                 c < 0x100     ? "\\x%02x"
                 : c < 0x10000 ? "\\u%04x"
                               : "\\U%08x",
                 c);
    return put(render, text);
}

static int repr_text(struct weir_render *render, struct weir_text text)
{
    const char quote = text.n && memchr(text.bytes, '\'', text.n) &&
                               !memchr(text.bytes, '"', text.n)
                           ? '"'
                           : '\'';
    int rc = weir_render_put(render, &quote, 1);
    size_t n;

    for (size_t at = 0; at < text.n && !rc; at += n) {
        const char *s = text.bytes + at;
        uint32_t c;

        n = weir_utf8_length((unsigned char)*s);
        c = weir_utf8_decode(s, n);
        if (c == (unsigned char)quote)
            rc = put(render, quote == '"' ? "\\\"" : "\\'");
        else if (c == '\\' || !weir_char_is(c, WEIR_PRINTABLE))
            rc = put_escape(render, c);
        else
            rc = weir_render_put(render, s, n);
    }
    return rc ? rc : weir_render_put(render, &quote, 1);
}

static int repr_items(struct weir_render *render, const struct weir_value *list)
{
    const int is_list = list->kind == WEIR_LIST;
    int rc = put(render, is_list ? "[" : "(");

    for (size_t i = 0; i < list->list->n && !rc; i++) {
        if (i)
            rc = put(render, ", ");
        if (!rc)
            rc = weir_render_repr(render, &list->list->items[i]);
    }
    if (!rc && !is_list && list->list->n == 1)
        rc = put(render, ",");
    return rc ? rc : put(render, is_list ? "]" : ")");
}

static int repr_dict(struct weir_render *render, const struct weir_dict *dict)
{
    int rc = put(render, "{");

    for (size_t i = 0; i < dict->n && !rc; i++) {
        if (i)
            rc = put(render, ", ");
        if (!rc)
            rc = weir_render_repr(render, &dict->entries[i].key);
        if (!rc)
            rc = put(render, ": ");
        if (!rc)
            rc = weir_render_repr(render, &dict->entries[i].value);
    }
    return rc ? rc : put(render, "}");
}

static int repr_nested(struct weir_render *render,
                       const struct weir_value *value)
{
    int rc = weir_render_enter(render);

    if (!rc)
        rc = value->kind == WEIR_DICT ? repr_dict(render, value->dict)
                                      : repr_items(render, value);
    render->depth--;
    return rc;
}

int weir_render_repr(struct weir_render *render, const struct weir_value *value)
{
    int rc = weir_render_step(render, 1);

    if (rc)
        return rc;
    switch (value->kind) {
    case WEIR_STRING:
        return repr_text(render, value->text);
    case WEIR_UNDEFINED:
        return put(render, "Undefined");
    case WEIR_LIST:
    case WEIR_TUPLE:
    case WEIR_DICT:
        return repr_nested(render, value);
    default:
        return weir_render_str(render, value);
    }
}

int weir_render_str(struct weir_render *render, const struct weir_value *value)
{
    switch (value->kind) {
    case WEIR_ABSENT:
    case WEIR_UNDEFINED:
        return 0;
    case WEIR_NONE:
        return put(render, "None");
    case WEIR_BOOL:
        return put(render, value->integer ? "True" : "False");
    case WEIR_INT:
        return put_whole(render, value->integer);
    case WEIR_FLOAT:
        return weir_render_real(render, value->real);
    case WEIR_STRING:
        return weir_render_put_text(render, value->text);
    case WEIR_LIST:
    case WEIR_TUPLE:
    case WEIR_DICT:
        return weir_render_repr(render, value);
    default:
        return weir_render_fail(
            render, "a %s can not be printed%s", weir_value_type(value),
            value->kind == WEIR_GENERATOR ? "; put it through the filter list"
                                          : "");
    }
}

int weir_value_str(struct weir_render *render, const struct weir_value *value,
                   struct weir_value *out)
{
    size_t mark = render->out->n_bytes;
    int rc;

    if (value->kind == WEIR_STRING) {
        *out = *value;
        return 0;
    }
    rc = weir_render_str(render, value);
    return rc ? rc : weir_render_capture(render, mark, out);
}

/* ---- JSON ---- */

static int json_char(struct weir_render *render, const char *s, size_t n,
                     int ascii)
{
    static const char bytes[] = "\"\\\n\r\t\f\b", names[] = "\"\\nrtfb";
    uint32_t c = weir_utf8_decode(s, n);
    const char *found = c && c < 0x80 ? strchr(bytes, (int)c) : NULL;
    char text[16];

    if (found)
        snprintf(text, sizeof(text), "\\%c", names[found - bytes]);
    else if (c < 0x20 || (ascii && c >= 0x7f && c < 0x10000))
        snprintf(text, sizeof(text), "\\u%04x", c);
    else if (ascii && c >= 0x10000)
        snprintf(text, sizeof(text), "\\u%04x\\u%04x",
                 0xd800 + ((c - 0x10000) >> 10),
                 0xdc00 + ((c - 0x10000) & 0x3ff));
    else
        return weir_render_put(render, s, n);
    return put(render, text);
}

static int json_text(struct weir_render *render, struct weir_text text,
                     int ascii)
{
    int rc = put(render, "\"");
    size_t n, from = 0;

    for (size_t at = 0; at < text.n && !rc; at += n) {
        unsigned char lead = (unsigned char)text.bytes[at];

        n = weir_utf8_length(lead);
        if (lead >= 0x20 && lead != '"' && lead != '\\' &&
            (lead < 0x7f || !ascii))
            continue;
        rc = weir_render_put(render, text.bytes + from, at - from);
        if (!rc)
            rc = json_char(render, text.bytes + at, n, ascii);
        from = at + n;
    }
    if (!rc)
        rc = weir_render_put(render, text.bytes + from, text.n - from);
    return rc ? rc : put(render, "\"");
}

static int json_float(struct weir_render *render, double real)
{
    if (isnan(real))
        return put(render, "NaN");
    if (isinf(real))
        return put(render, real < 0 ? "-Infinity" : "Infinity");
    return weir_render_real(render, real);
}

/* A new line at this depth, where there is an indent */
static int json_line(struct weir_render *render, const struct weir_dump *dump,
                     unsigned depth)
{
    int rc = dump->indent.bytes ? put(render, "\n") : 0;

    for (unsigned i = 0; i < depth && !rc && dump->indent.n; i++)
        rc = weir_render_put_text(render, dump->indent);
    return rc;
}

static int json_value(struct weir_render *render,
                      const struct weir_value *value,
                      const struct weir_dump *dump, unsigned depth);

static int json_key(struct weir_render *render, const struct weir_value *key,
                    const struct weir_dump *dump)
{
    struct weir_value text;
    size_t mark = render->out->n_bytes;
    int rc;

    if (key->kind == WEIR_STRING)
        return json_text(render, key->text, dump->ascii);
    if (key->kind != WEIR_NONE && !weir_value_is_number(key))
        return weir_render_fail(render, "a %s as a key of JSON; use strings",
                                weir_value_type(key));
    rc = json_value(render, key, dump, 0);
    if (!rc)
        rc = weir_render_capture(render, mark, &text);
    return rc ? rc : json_text(render, text.text, dump->ascii);
}

/* Between two items, and before the first */
static int json_between(struct weir_render *render,
                        const struct weir_dump *dump, size_t i, unsigned depth)
{
    int rc = i ? weir_render_put_text(render, dump->item) : 0;

    return rc ? rc : json_line(render, dump, depth);
}

static int json_items(struct weir_render *render, const struct weir_list *list,
                      const struct weir_dump *dump, unsigned depth)
{
    int rc = put(render, "[");

    for (size_t i = 0; i < list->n && !rc; i++) {
        rc = json_between(render, dump, i, depth + 1);
        if (!rc)
            rc = json_value(render, &list->items[i], dump, depth + 1);
    }
    if (!rc && list->n)
        rc = json_line(render, dump, depth);
    return rc ? rc : put(render, "]");
}

/* The entry that comes next by its key, behind `last`: no list is made. */
static int next_sorted(struct weir_render *render, const struct weir_dict *dict,
                       const struct weir_entry *last,
                       const struct weir_entry **next)
{
    int rc = 0, sign = 1;

    *next = NULL;
    for (size_t i = 0; i < dict->n && !rc; i++) {
        const struct weir_entry *entry = &dict->entries[i];

        if (last)
            rc = weir_value_compare(render, &entry->key, &last->key, &sign);
        if (rc || sign <= 0)
            continue;
        if (*next)
            rc = weir_value_compare(render, &entry->key, &(*next)->key, &sign);
        if (!*next || sign < 0)
            *next = entry;
        sign = 1;
    }
    return rc;
}

static int json_members(struct weir_render *render,
                        const struct weir_dict *dict,
                        const struct weir_dump *dump, unsigned depth)
{
    const struct weir_entry *entry = NULL;
    int rc = put(render, "{");

    for (size_t i = 0; i < dict->n && !rc; i++) {
        if (dump->sorted)
            rc = next_sorted(render, dict, entry, &entry);
        else
            entry = &dict->entries[i];
        if (!rc && !entry)
            break;
        if (!rc)
            rc = json_between(render, dump, i, depth + 1);
        if (!rc)
            rc = json_key(render, &entry->key, dump);
        if (!rc)
            rc = weir_render_put_text(render, dump->key);
        if (!rc)
            rc = json_value(render, &entry->value, dump, depth + 1);
    }
    if (!rc && dict->n)
        rc = json_line(render, dump, depth);
    return rc ? rc : put(render, "}");
}

static int json_value(struct weir_render *render,
                      const struct weir_value *value,
                      const struct weir_dump *dump, unsigned depth)
{
    int rc = weir_render_step(render, 1);

    if (rc)
        return rc;
    switch (value->kind) {
    case WEIR_NONE:
        return put(render, "null");
    case WEIR_BOOL:
        return put(render, value->integer ? "true" : "false");
    case WEIR_INT:
        return put_whole(render, value->integer);
    case WEIR_FLOAT:
        return json_float(render, value->real);
    case WEIR_STRING:
        return json_text(render, value->text, dump->ascii);
    case WEIR_LIST:
    case WEIR_TUPLE:
    case WEIR_DICT:
        break;
    default:
        return weir_render_fail(render,
                                "a %s can not become JSON; check what the "
                                "template is given",
                                weir_value_type(value));
    }
    rc = weir_render_enter(render);
    if (!rc)
        rc = value->kind == WEIR_DICT
                 ? json_members(render, value->dict, dump, depth)
                 : json_items(render, value->list, dump, depth);
    render->depth--;
    return rc;
}

int weir_render_json(struct weir_render *render, const struct weir_value *value,
                     const struct weir_dump *dump)
{
    return json_value(render, value, dump, 0);
}
