/* SPDX-License-Identifier: Apache-2.0 */
/* Filters on strings and on single values. */
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

/* What is filtered as a string, as nearly all filters of strings take it */
static int own_text(struct weir_call *call, struct weir_text *text)
{
    struct weir_value value;
    int rc = weir_value_str(call->render, &call->self, &value);

    if (!rc)
        *text = value.text;
    return rc;
}

static int text_arg(struct weir_call *call, int i, const char *otherwise,
                    struct weir_text *text)
{
    struct weir_value value;
    int rc;

    *text = (struct weir_text){otherwise, otherwise ? strlen(otherwise) : 0};
    if (call->args[i].kind == WEIR_ABSENT || call->args[i].kind == WEIR_NONE)
        return 0;
    rc = weir_value_str(call->render, &call->args[i], &value);
    if (!rc)
        *text = value.text;
    return rc;
}

/* ---- strings ---- */

static int filter_upper(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text;
    int rc = own_text(call, &text);

    return rc ? rc : weir_text_cased(call->render, text, WEIR_UPPER, out);
}

static int filter_lower(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text;
    int rc = own_text(call, &text);

    return rc ? rc : weir_text_cased(call->render, text, WEIR_LOWER, out);
}

static int filter_capitalize(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text;
    int rc = own_text(call, &text);

    return rc ? rc : weir_text_capitalized(call->render, text, out);
}

/* Unlike the method: words begin behind blanks, dashes and brackets. */
static int filter_title(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes, n;
    struct weir_text text;
    int rc = own_text(call, &text), begins = 1;

    for (size_t at = 0; !rc && at < text.n; at += n) {
        uint32_t c;

        n = weir_utf8_length((unsigned char)text.bytes[at]);
        c = weir_utf8_decode(text.bytes + at, n);
        rc = weir_put_cased(render, c, begins ? WEIR_UPPER : WEIR_LOWER);
        begins = weir_char_is_space(c) || (c < 0x80 && strchr("-({[<", (int)c));
    }
    return rc ? rc : weir_render_capture(render, mark, out);
}

static int filter_trim(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text, set;
    int rc = own_text(call, &text);

    if (!rc)
        rc = text_arg(call, 0, NULL, &set);
    if (!rc)
        rc = weir_render_step(call->render, text.n / 16 * (set.n / 64 + 1));
    if (rc)
        return rc;
    text = weir_text_strip(text, set, 3);
    *out = weir_string(text.bytes, text.n);
    return 0;
}

static int filter_replace(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text, what, with;
    int64_t most;
    int rc = own_text(call, &text);

    if (!rc)
        rc = text_arg(call, 0, "", &what);
    if (!rc)
        rc = text_arg(call, 1, "", &with);
    if (!rc)
        rc = weir_call_whole(call, 2, -1, &most);
    return rc ? rc
              : weir_text_replaced(call->render, text, what, with, most, out);
}

static int filter_string(struct weir_call *call, struct weir_value *out)
{
    return weir_value_str(call->render, &call->self, out);
}

static int filter_same(struct weir_call *call, struct weir_value *out)
{
    *out = call->self;
    return 0;
}

static int filter_escape(struct weir_call *call, struct weir_value *out)
{
    static const char bytes[] = "&<>'\"";
    static const char *const names[] = {"&amp;", "&lt;", "&gt;", "&#39;",
                                        "&#34;"};
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes, n;
    struct weir_text text;
    int rc = own_text(call, &text);

    for (size_t at = 0; !rc && at < text.n; at += n) {
        const char *s = text.bytes + at, *found;

        n = 0;
        while (at + n < text.n && (!s[n] || !strchr(bytes, s[n])))
            n++;
        rc = weir_render_put(render, s, n);
        if (rc || at + n == text.n)
            break;
        found = strchr(bytes, s[n++]);
        rc = weir_render_put(render, names[found - bytes],
                             strlen(names[found - bytes]));
    }
    return rc ? rc : weir_render_capture(render, mark, out);
}

/* Line by line: the indent before it, unless it is empty and that matters. */
static int put_indented(struct weir_render *render, struct weir_text text,
                        struct weir_text indent, int first, int blank)
{
    size_t from = 0, n;
    int rc = 0, is_first = 1;

    for (size_t at = 0; at <= text.n && !rc; at++) {
        n = at < text.n ? weir_text_line_end(text, at) : 1;
        if (!n)
            continue;
        if ((!is_first || first) && (at > from || blank || (is_first && first)))
            rc = weir_render_put_text(render, indent);
        if (!rc)
            rc = weir_render_put(render, text.bytes + from, at - from);
        if (!rc && at < text.n)
            rc = weir_render_put(render, "\n", 1);
        is_first = 0;
        at += n - 1;
        from = at + 1;
    }
    return rc;
}

static int filter_indent(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_text text, indent = {NULL, 0};
    struct weir_value blanks;
    size_t mark;
    int64_t width = 4;
    int rc = own_text(call, &text);

    if (!rc && call->args[0].kind == WEIR_STRING)
        indent = call->args[0].text;
    else if (!rc)
        rc = weir_call_whole(call, 0, 4, &width);
    mark = render->out->n_bytes;
    for (int64_t i = 0; !rc && !indent.bytes && i < width; i++)
        rc = weir_render_put(render, " ", 1);
    if (!rc)
        rc = weir_render_capture(render, mark, &blanks);
    if (!rc && !indent.bytes)
        indent = blanks.text;
    if (!rc)
        rc =
            put_indented(render, text, indent, weir_value_truth(&call->args[1]),
                         weir_value_truth(&call->args[2]));
    return rc ? rc : weir_render_capture(render, mark, out);
}

static int filter_center(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes;
    struct weir_text text;
    int64_t width, left;
    int rc = own_text(call, &text);

    if (!rc)
        rc = weir_call_whole(call, 0, 80, &width);
    if (rc)
        return rc;
    width -= (int64_t)weir_text_count(text);
    /* as str.center(): the odd one goes left of a text of odd width */
    left = width / 2 + (width & (width + (int64_t)weir_text_count(text)) & 1);
    for (int64_t i = 0; i < left && !rc; i++)
        rc = weir_render_put(render, " ", 1);
    if (!rc)
        rc = weir_render_put_text(render, text);
    for (int64_t i = left; i < width && !rc; i++)
        rc = weir_render_put(render, " ", 1);
    return rc ? rc : weir_render_capture(render, mark, out);
}

static int filter_wordcount(struct weir_call *call, struct weir_value *out)
{
    struct weir_text text;
    int64_t n_words = 0;
    int rc = own_text(call, &text), in_word = 0;
    size_t n;

    for (size_t at = 0; !rc && at < text.n; at += n) {
        uint32_t c;
        int is_word;

        n = weir_utf8_length((unsigned char)text.bytes[at]);
        c = weir_utf8_decode(text.bytes + at, n);
        is_word = c == '_' || weir_char_is(c, WEIR_ALPHA) ||
                  weir_char_is(c, WEIR_DIGIT);
        n_words += is_word && !in_word;
        in_word = is_word;
    }
    *out = weir_int(n_words);
    return rc ? rc : weir_render_step(call->render, text.n / 2);
}

static int filter_format(struct weir_call *call, struct weir_value *out)
{
    struct weir_value args = {
        .kind = WEIR_TUPLE, .list = (struct weir_list *)&call->all->positional};
    struct weir_text text;
    int rc = own_text(call, &text);

    if (call->all->named.n)
        args = (struct weir_value){
            .kind = WEIR_DICT, .dict = (struct weir_dict *)&call->all->named};
    return rc ? rc : weir_text_format(call->render, text, &args, out);
}

const struct weir_builtin weir_text_filters[] = {
    {"upper", "", 0, filter_upper},
    {"lower", "", 0, filter_lower},
    {"capitalize", "", 0, filter_capitalize},
    {"title", "", 0, filter_title},
    {"trim", "chars", 0, filter_trim},
    {"replace", "old new count", 2, filter_replace},
    {"string", "", 0, filter_string},
    {"safe", "", 0, filter_same},
    {"escape", "", 0, filter_escape},
    {"e", "", 0, filter_escape},
    {"indent", "width first blank", 0, filter_indent},
    {"center", "width", 0, filter_center},
    {"wordcount", "", 0, filter_wordcount},
    {"format", "*", 0, filter_format},
    {NULL, NULL, 0, NULL},
};

/* ---- values ---- */

static int filter_default(struct weir_call *call, struct weir_value *out)
{
    *out = call->self;
    if (call->self.kind == WEIR_UNDEFINED ||
        (weir_value_truth(&call->args[1]) && !weir_value_truth(&call->self)))
        *out = call->args[0].kind == WEIR_ABSENT ? weir_string("", 0)
                                                 : call->args[0];
    return 0;
}

/* A number as Python reads it: blanks around it, no locale; 0: none */
static int read_number(struct weir_text text, int is_float, double *real,
                       long long *whole, int base)
{
    const struct weir_text blanks = {NULL, 0};
    char digits[128], *end;
    size_t n = 0;

    text = weir_text_strip(text, blanks, 3);
    for (size_t i = 0; i < text.n && n + 1 < sizeof(digits); i++)
        if (text.bytes[i] != '_' || !i || i + 1 == text.n ||
            text.bytes[i - 1] == '_')
            digits[n++] = text.bytes[i];
    digits[n] = '\0';
    if (!n || n + 1 >= sizeof(digits) || memchr(digits, '\0', n) ||
        (is_float && memchr(digits, 'x', n)) ||
        weir_char_is_space((unsigned char)digits[0]))
        return 0;
    if (is_float) {
        locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);

        *real = locale ? strtod_l(digits, &end, locale) : 0;
        if (locale)
            freelocale(locale);
        return locale && !*end;
    }
    *whole = strtoll(digits, &end, base);
    return !*end && *whole != INT64_MAX && *whole != INT64_MIN;
}

static int filter_int(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value *self = &call->self;
    int64_t base;
    long long whole;
    double real;
    int rc = weir_call_whole(call, 1, 10, &base);

    if (rc)
        return rc;
    *out = call->args[0].kind == WEIR_ABSENT ? weir_int(0) : call->args[0];
    if (self->kind == WEIR_UNDEFINED)
        return weir_render_undefined(call->render, self);
    if (weir_value_is_whole(self))
        *out = weir_int(self->integer);
    else if (self->kind == WEIR_FLOAT && fabs(self->real) < 0x1p63)
        *out = weir_int((int64_t)self->real);
    else if (self->kind == WEIR_STRING && base >= 2 && base <= 36 &&
             read_number(self->text, 0, &real, &whole, (int)base))
        *out = weir_int(whole);
    else if (self->kind == WEIR_STRING &&
             read_number(self->text, 1, &real, &whole, 10) &&
             fabs(real) < 0x1p63)
        *out = weir_int((int64_t)real);
    return 0;
}

static int filter_float(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value *self = &call->self;
    long long whole;
    double real;

    *out = call->args[0].kind == WEIR_ABSENT ? weir_real(0) : call->args[0];
    if (self->kind == WEIR_UNDEFINED)
        return weir_render_undefined(call->render, self);
    if (weir_value_is_number(self))
        *out = weir_real(weir_value_as_real(self));
    else if (self->kind == WEIR_STRING &&
             read_number(self->text, 1, &real, &whole, 10))
        *out = weir_real(real);
    return 0;
}

static int need_number(struct weir_call *call)
{
    if (weir_value_is_number(&call->self))
        return 0;
    if (call->self.kind == WEIR_UNDEFINED)
        return weir_render_undefined(call->render, &call->self);
    return weir_render_fail(call->render,
                            "a %s where a number must be; convert it with "
                            "int or float",
                            weir_value_type(&call->self));
}

static int filter_abs(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value zero = weir_int(0);
    int rc = need_number(call);

    if (rc)
        return rc;
    if (call->self.kind == WEIR_FLOAT) {
        *out = weir_real(fabs(call->self.real));
        return 0;
    }
    if (call->self.integer < 0)
        return weir_op_binary(call->render, WEIR_OP_SUB, &zero, &call->self,
                              out);
    *out = weir_int(call->self.integer);
    return 0;
}

/* Python's round(): what lies in the middle goes to the even side. */
static double round_common(double real, int64_t places)
{
    char text[512];
    double factor;

    if (places <= 0) {
        factor = pow(10, (double)-places);
        return isinf(factor) ? 0 : nearbyint(real / factor) * factor;
    }
    if (places > 300 || !isfinite(real))
        return real;
    snprintf(text, sizeof(text), "%.*f", (int)places, real);
    return strtod(text, NULL);
}

static int filter_round(struct weir_call *call, struct weir_value *out)
{
    struct weir_text method;
    int64_t places;
    double factor, real;
    int rc = need_number(call);

    if (!rc)
        rc = weir_call_whole(call, 0, 0, &places);
    if (!rc)
        rc = text_arg(call, 1, "common", &method);
    if (rc)
        return rc;
    real = weir_value_as_real(&call->self);
    factor = pow(10, (double)places);
    if (weir_text_is(method, "common") && call->self.kind != WEIR_FLOAT &&
        places >= 0)
        *out = weir_int(call->self.integer);
    else if (weir_text_is(method, "common"))
        *out = call->self.kind == WEIR_FLOAT
                   ? weir_real(round_common(real, places))
                   : weir_int((int64_t)round_common(real, places));
    else if (weir_text_is(method, "ceil"))
        *out = weir_real(ceil(real * factor) / factor);
    else if (weir_text_is(method, "floor"))
        *out = weir_real(floor(real * factor) / factor);
    else
        return weir_render_fail(call->render, "round wants common, ceil or "
                                              "floor");
    return 0;
}

static int filter_length(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value *self = &call->self;

    switch (self->kind) {
    case WEIR_UNDEFINED:
        *out = weir_int(0);
        return 0;
    case WEIR_STRING:
        *out = weir_int((int64_t)weir_text_count(self->text));
        return weir_render_step(call->render, self->text.n / 32);
    case WEIR_LIST:
    case WEIR_TUPLE:
        *out = weir_int((int64_t)self->list->n);
        return 0;
    case WEIR_DICT:
        *out = weir_int((int64_t)self->dict->n);
        return 0;
    case WEIR_LOOP:
        *out = weir_int((int64_t)self->loop->items.n);
        return 0;
    default:
        return weir_render_fail(
            call->render, "a %s has no length%s", weir_value_type(self),
            self->kind == WEIR_GENERATOR ? "; put it through the filter list"
                                         : "");
    }
}

/* The indent of json.dumps(): a number of blanks, or a string */
static int take_indent(struct weir_call *call, struct weir_dump *dump)
{
    struct weir_render *render = call->render;
    size_t mark = render->out->n_bytes;
    struct weir_value text;
    int64_t width;
    int rc;

    if (call->args[1].kind == WEIR_ABSENT || call->args[1].kind == WEIR_NONE)
        return 0;
    if (call->args[1].kind == WEIR_STRING) {
        dump->indent = call->args[1].text;
        return 0;
    }
    rc = weir_call_whole(call, 1, 0, &width);
    for (int64_t i = 0; i < width && !rc; i++)
        rc = weir_render_put(render, " ", 1);
    if (!rc)
        rc = weir_render_capture(render, mark, &text);
    if (!rc)
        dump->indent = text.text;
    return rc;
}

static int take_separators(struct weir_call *call, struct weir_dump *dump)
{
    const struct weir_value *pair = &call->args[2];

    if (pair->kind == WEIR_ABSENT || pair->kind == WEIR_NONE)
        return 0;
    if (!weir_value_is_sequence(pair) || pair->list->n != 2 ||
        pair->list->items[0].kind != WEIR_STRING ||
        pair->list->items[1].kind != WEIR_STRING)
        return weir_render_fail(call->render, "the separators of tojson must "
                                              "be two strings");
    dump->item = pair->list->items[0].text;
    dump->key = pair->list->items[1].text;
    return 0;
}

static int filter_tojson(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    struct weir_dump dump = {.item = {", ", 2},
                             .key = {": ", 2},
                             .ascii = weir_value_truth(&call->args[0]),
                             .sorted = weir_value_truth(&call->args[3])};
    size_t mark = render->out->n_bytes;
    int rc = take_indent(call, &dump);

    if (dump.indent.bytes)
        dump.item.n = 1;
    if (!rc)
        rc = take_separators(call, &dump);
    if (!rc)
        rc = weir_render_json(render, &call->self, &dump);
    return rc ? rc : weir_render_capture(render, mark, out);
}

const struct weir_builtin weir_value_filters[] = {
    {"default", "default_value boolean", 0, filter_default},
    {"d", "default_value boolean", 0, filter_default},
    {"int", "default base", 0, filter_int},
    {"float", "default", 0, filter_float},
    {"abs", "", 0, filter_abs},
    {"round", "precision method", 0, filter_round},
    {"length", "", 0, filter_length},
    {"count", "", 0, filter_length},
    {"tojson", "ensure_ascii indent separators sort_keys", 0, filter_tojson},
    {NULL, NULL, 0, NULL},
};
