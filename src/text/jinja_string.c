/* SPDX-License-Identifier: Apache-2.0 */
/* What Python does with strings, for filters and methods alike. */
#include <math.h>
#include <stdio.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

/* ---- characters ---- */

/* Of what becomes several characters the one that is in use */
int weir_put_cased(struct weir_render *render, uint32_t c, enum weir_case to)
{
    char bytes[4];

    if (c == 0xdf && to != WEIR_LOWER)
        return weir_render_put(render, to == WEIR_TITLE ? "Ss" : "SS", 2);
    return weir_render_put(render, bytes,
                           weir_utf8_encode(weir_char_case(c, to), bytes));
}

static uint32_t char_at(struct weir_text text, size_t at, size_t *n)
{
    *n = weir_utf8_length((unsigned char)text.bytes[at]);
    return weir_utf8_decode(text.bytes + at, *n);
}

/* ---- case ---- */

static int put_cased(struct weir_render *render, struct weir_text text,
                     enum weir_case to)
{
    size_t n;
    int rc = 0;

    for (size_t at = 0; at < text.n && !rc; at += n) {
        uint32_t c = char_at(text, at, &n);

        rc = weir_put_cased(render, c, to);
    }
    return rc;
}

int weir_text_cased(struct weir_render *render, struct weir_text text,
                    enum weir_case to, struct weir_value *out)
{
    size_t mark = render->out->n_bytes;
    int rc = put_cased(render, text, to);

    return rc ? rc : weir_render_capture(render, mark, out);
}

int weir_text_capitalized(struct weir_render *render, struct weir_text text,
                          struct weir_value *out)
{
    size_t mark = render->out->n_bytes, n = 0;
    int rc = 0;

    if (text.n) {
        uint32_t c = char_at(text, 0, &n);

        rc = weir_put_cased(render, c, WEIR_TITLE);
    }
    if (!rc)
        rc = put_cased(render, (struct weir_text){text.bytes + n, text.n - n},
                       WEIR_LOWER);
    return rc ? rc : weir_render_capture(render, mark, out);
}

/* ---- finding ---- */

int64_t weir_text_find(struct weir_text text, struct weir_text what,
                       size_t from)
{
    const char *found;

    if (from > text.n)
        return -1;
    if (!what.n)
        return (int64_t)from;
    found = memmem(text.bytes + from, text.n - from, what.bytes, what.n);
    return found ? found - text.bytes : -1;
}

int64_t weir_text_find_last(struct weir_text text, struct weir_text what)
{
    for (size_t at = text.n + 1; at-- > 0;)
        if (text.n - at >= what.n &&
            !memcmp(text.bytes + at, what.bytes, what.n))
            return (int64_t)at;
    return -1;
}

static int is_in(struct weir_text set, const char *s, size_t n)
{
    return weir_text_find(set, (struct weir_text){s, n}, 0) >= 0;
}

static size_t strip_left(struct weir_text text, struct weir_text set)
{
    size_t at = 0, n;

    if (!set.bytes)
        return weir_text_space(text);
    for (; at < text.n; at += n) {
        n = weir_utf8_length((unsigned char)text.bytes[at]);
        if (!is_in(set, text.bytes + at, n))
            break;
    }
    return at;
}

static size_t strip_right(struct weir_text text, struct weir_text set)
{
    size_t end = text.n, at;

    if (!set.bytes)
        return weir_text_space_behind(text);
    for (; end; end = at) {
        at = end - 1;
        while (at && ((unsigned char)text.bytes[at] & 0xc0) == 0x80)
            at--;
        if (!is_in(set, text.bytes + at, end - at))
            break;
    }
    return text.n - end;
}

struct weir_text weir_text_strip(struct weir_text text, struct weir_text set,
                                 int sides)
{
    size_t n;

    if (sides & 1) {
        n = strip_left(text, set);
        text = (struct weir_text){text.bytes + n, text.n - n};
    }
    if (sides & 2)
        text.n -= strip_right(text, set);
    return text;
}

size_t weir_text_line_end(struct weir_text text, size_t at)
{
    size_t n = weir_utf8_length((unsigned char)text.bytes[at]);
    uint32_t c = weir_utf8_decode(text.bytes + at, n);

    if (c == '\r' && at + 1 < text.n && text.bytes[at + 1] == '\n')
        return 2;
    return (c >= 10 && c <= 13) || (c >= 0x1c && c <= 0x1e) || c == 0x85 ||
                   c == 0x2028 || c == 0x2029
               ? n
               : 0;
}

/* Without anything to look for it stands before each character, and behind. */
static int replace_nothing(struct weir_render *render, struct weir_text text,
                           struct weir_text with, int64_t most)
{
    size_t n;
    int rc = 0;

    for (size_t at = 0; !rc; at += n) {
        if (most < 0 || most-- > 0)
            rc = weir_render_put_text(render, with);
        if (rc || at >= text.n)
            break;
        n = weir_utf8_length((unsigned char)text.bytes[at]);
        rc = weir_render_put(render, text.bytes + at, n);
    }
    return rc;
}

int weir_text_replaced(struct weir_render *render, struct weir_text text,
                       struct weir_text what, struct weir_text with,
                       int64_t most, struct weir_value *out)
{
    size_t mark = render->out->n_bytes, from = 0;
    int64_t at;
    int rc = weir_render_step(render, text.n / 64);

    if (!rc && !what.n) {
        rc = replace_nothing(render, text, with, most);
        return rc ? rc : weir_render_capture(render, mark, out);
    }
    while (!rc && most-- != 0) {
        at = weir_text_find(text, what, from);
        if (at < 0)
            break;
        rc = weir_render_put(render, text.bytes + from, (size_t)at - from);
        if (!rc)
            rc = weir_render_put_text(render, with);
        from = (size_t)at + what.n;
    }
    if (!rc)
        rc = weir_render_put(render, text.bytes + from, text.n - from);
    return rc ? rc : weir_render_capture(render, mark, out);
}

/* ---- printf in the way of Python ---- */

struct format {
    struct weir_render *render;
    struct weir_list args;
    const struct weir_value *named; /* a dict, for %(name)s; or NULL */
    size_t i;
};

struct conversion {
    int left, zero, plus, space, alternate;
    int width, precision; /* precision < 0: not said */
    char letter;
};

static int read_number(struct weir_text text, size_t *at)
{
    int n = 0;

    while (*at < text.n && text.bytes[*at] >= '0' && text.bytes[*at] <= '9')
        n = n < 10000 ? n * 10 + (text.bytes[(*at)++] - '0') : (++*at, n);
    return n;
}

static int read_conversion(struct weir_render *render, struct weir_text text,
                           size_t *at, struct conversion *as)
{
    static const char flags[] = "-0+ #";
    int *const fields[] = {&as->left, &as->zero, &as->plus, &as->space,
                           &as->alternate};
    const char *flag;

    *as = (struct conversion){.precision = -1};
    while (*at < text.n && text.bytes[*at] &&
           (flag = strchr(flags, text.bytes[*at]))) {
        *fields[flag - flags] = 1;
        ++*at;
    }
    as->width = read_number(text, at);
    if (*at < text.n && text.bytes[*at] == '.') {
        ++*at;
        as->precision = read_number(text, at);
    }
    if (*at == text.n)
        return weir_render_fail(render, "a format that ends behind its %%");
    if (as->width > 1000 || as->precision > 100)
        return weir_render_stop(render, WEIR_ELIMIT,
                                "a width beyond 1000 or a precision beyond "
                                "100 in a format");
    as->letter = text.bytes[(*at)++];
    return 0;
}

/* Pads what stands from `mark` on to the width, in characters. */
static int pad(struct weir_render *render, size_t mark,
               const struct conversion *as)
{
    struct weir_text made = {render->out->data + mark,
                             render->out->n_bytes - mark};
    size_t n = made.n ? weir_text_count(made) : 0;
    struct weir_value text;
    int rc;

    if (n >= (size_t)as->width)
        return 0;
    rc = weir_render_capture(render, mark, &text);
    if (!rc && as->left)
        rc = weir_render_put_text(render, text.text);
    for (; n < (size_t)as->width && !rc; n++)
        rc = weir_render_put(render, " ", 1);
    return rc || as->left ? rc : weir_render_put_text(render, text.text);
}

static int put_text_as(struct weir_render *render,
                       const struct weir_value *value,
                       const struct conversion *as)
{
    size_t mark = render->out->n_bytes, n;
    int rc = as->letter == 's' ? weir_render_str(render, value)
                               : weir_render_repr(render, value);

    if (!rc && as->precision >= 0 && render->out->n_bytes > mark) {
        n = weir_text_offset((struct weir_text){render->out->data + mark,
                                                render->out->n_bytes - mark},
                             (size_t)as->precision);
        render->out->n_bytes = mark + n;
    }
    return rc ? rc : pad(render, mark, as);
}

static int put_number_as(struct weir_render *render,
                         const struct weir_value *value,
                         const struct conversion *as)
{
    const int is_whole = as->letter && strchr("diuxXo", as->letter) != NULL;
    char format[16], text[1600], *to = format, *point;
    int n;

    if (!weir_value_is_number(value))
        return weir_render_fail(render,
                                "%%%c of a %s; convert it with int or "
                                "float",
                                as->letter, weir_value_type(value));
    if (is_whole && value->kind == WEIR_FLOAT && !(fabs(value->real) < 0x1p63))
        return weir_render_fail(render, "%%%c of a number too large",
                                as->letter);
    *to++ = '%';
    for (int i = 0; i < 5; i++)
        if ((&as->left)[i])
            *to++ = "-0+ #"[i];
    snprintf(to, sizeof(format) - 8, "*.*%s%c", is_whole ? "ll" : "",
             as->letter == 'u' || as->letter == 'i' ? 'd' : as->letter);
    n = is_whole
            ? snprintf(text, sizeof(text), format, as->width, as->precision,
                       value->kind == WEIR_FLOAT ? (long long)value->real
                                                 : (long long)value->integer)
            : snprintf(text, sizeof(text), format, as->width,
                       as->precision < 0 ? 6 : as->precision,
                       weir_value_as_real(value));
    point = memchr(text, ',', (size_t)n); /* as some locales have it */
    if (point)
        *point = '.';
    return weir_render_put(render, text, (size_t)n);
}

static int next_arg(struct format *format, struct weir_text name,
                    struct weir_value *value)
{
    const struct weir_value key = weir_string(name.bytes, name.n);
    struct weir_value *found = NULL;
    int rc;

    if (name.bytes) {
        rc = format->named ? weir_dict_find(format->render, format->named->dict,
                                            &key, &found)
                           : 0;
        if (rc)
            return rc;
    } else if (format->i < format->args.n) {
        found = &format->args.items[format->i++];
    }
    if (!found)
        return weir_render_fail(format->render,
                                "a format wants more values than it is given");
    *value = *found;
    return 0;
}

/* One conversion, behind its % */
static int convert(struct format *format, struct weir_text text, size_t *at)
{
    struct weir_text name = {0};
    struct conversion as;
    struct weir_value value;
    int64_t end;
    int rc;

    if (*at < text.n && text.bytes[*at] == '(') {
        end = weir_text_find(text, (struct weir_text){")", 1}, *at);
        if (end < 0)
            return weir_render_fail(format->render, "a format without its )");
        name = (struct weir_text){text.bytes + *at + 1, (size_t)end - *at - 1};
        *at = (size_t)end + 1;
    }
    rc = read_conversion(format->render, text, at, &as);
    if (rc)
        return rc;
    if (as.letter == '%')
        return weir_render_put(format->render, "%", 1);
    if (!as.letter || !strchr("srdiuxXofFeEgG", as.letter))
        return weir_render_stop(format->render, WEIR_ENOTSUP,
                                "a format that is not known here; use %%s, "
                                "%%r, %%d, %%x, %%o, %%f, %%e or %%g");
    rc = next_arg(format, name, &value);
    if (rc)
        return rc;
    return as.letter == 's' || as.letter == 'r'
               ? put_text_as(format->render, &value, &as)
               : put_number_as(format->render, &value, &as);
}

int weir_text_format(struct weir_render *render, struct weir_text text,
                     const struct weir_value *args, struct weir_value *out)
{
    struct weir_value one = *args;
    struct format format = {.render = render, .args = {&one, 1, 1}};
    size_t mark = render->out->n_bytes, at = 0;
    int64_t next;
    int rc = 0;

    if (args->kind == WEIR_TUPLE)
        format.args = *args->list;
    if (args->kind == WEIR_DICT)
        format.named = args;
    while (!rc) {
        next = weir_text_find(text, (struct weir_text){"%", 1}, at);
        if (next < 0)
            break;
        rc = weir_render_put(render, text.bytes + at, (size_t)next - at);
        at = (size_t)next + 1;
        if (!rc)
            rc = convert(&format, text, &at);
    }
    if (!rc)
        rc = weir_render_put(render, text.bytes + at, text.n - at);
    if (!rc && args->kind != WEIR_DICT && format.i < format.args.n)
        rc = weir_render_fail(render, "a format is given more values than it "
                                      "wants");
    return rc ? rc : weir_render_capture(render, mark, out);
}
