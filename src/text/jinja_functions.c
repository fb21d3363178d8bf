/* SPDX-License-Identifier: Apache-2.0 */
/* The tests behind `is`, and the functions. */
#include <locale.h>
#include <time.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

#define MAX_RANGE 100000 /* items, as the sandbox of Jinja has it */

/* ---- tests ---- */

static int is_defined(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind != WEIR_UNDEFINED);
    return 0;
}

static int is_undefined(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_UNDEFINED);
    return 0;
}

static int is_none(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_NONE);
    return 0;
}

static int is_boolean(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_BOOL);
    return 0;
}

static int is_true(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_BOOL && call->self.integer);
    return 0;
}

static int is_false(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_BOOL && !call->self.integer);
    return 0;
}

static int is_integer(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_INT);
    return 0;
}

static int is_float(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_FLOAT);
    return 0;
}

static int is_number(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(weir_value_is_number(&call->self));
    return 0;
}

static int is_string(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_STRING);
    return 0;
}

static int is_mapping(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_DICT);
    return 0;
}

static int is_sequence(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_STRING ||
                     call->self.kind == WEIR_DICT ||
                     call->self.kind == WEIR_UNDEFINED ||
                     weir_value_is_sequence(&call->self));
    return 0;
}

static int is_iterable(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(
        call->self.kind == WEIR_STRING || call->self.kind == WEIR_DICT ||
        call->self.kind == WEIR_UNDEFINED ||
        call->self.kind == WEIR_GENERATOR || call->self.kind == WEIR_LOOP ||
        weir_value_is_sequence(&call->self));
    return 0;
}

static int is_callable(struct weir_call *call, struct weir_value *out)
{
    *out = weir_bool(call->self.kind == WEIR_MACRO ||
                     call->self.kind == WEIR_METHOD ||
                     call->self.kind == WEIR_UNDEFINED);
    return 0;
}

/* The string is in that case: it has letters, and all are so. */
static int in_case(struct weir_call *call, const char *method,
                   struct weir_value *out)
{
    const struct weir_args none = {{0}, {0}};
    struct weir_value text;
    int rc = weir_value_str(call->render, &call->self, &text);

    return rc ? rc
              : weir_call_builtin(
                    call->render,
                    weir_builtin_find(
                        weir_string_methods,
                        (struct weir_text){method, strlen(method)}),
                    &text, &none, out);
}

static int is_upper(struct weir_call *call, struct weir_value *out)
{
    return in_case(call, "isupper", out);
}

static int is_lower(struct weir_call *call, struct weir_value *out)
{
    return in_case(call, "islower", out);
}

static int rest_of(struct weir_call *call, const struct weir_value *divisor,
                   struct weir_value *out)
{
    return weir_op_binary(call->render, WEIR_OP_MOD, &call->self, divisor, out);
}

static int has_rest(struct weir_call *call, const struct weir_value *divisor,
                    int64_t wanted, struct weir_value *out)
{
    struct weir_value rest;
    int rc = rest_of(call, divisor, &rest);

    *out = weir_bool(!rc && weir_value_is_number(&rest) &&
                     weir_value_as_real(&rest) == (double)wanted);
    return rc;
}

static int is_even(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value two = weir_int(2);

    return has_rest(call, &two, 0, out);
}

static int is_odd(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value two = weir_int(2);

    return has_rest(call, &two, 1, out);
}

static int is_divisibleby(struct weir_call *call, struct weir_value *out)
{
    return has_rest(call, &call->args[0], 0, out);
}

static int compare(struct weir_call *call, enum weir_op op,
                   struct weir_value *out)
{
    int truth = 0;
    int rc =
        weir_op_compare(call->render, op, &call->self, &call->args[0], &truth);

    *out = weir_bool(truth);
    return rc;
}

static int is_eq(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_EQ, out);
}

static int is_ne(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_NE, out);
}

static int is_lt(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_LT, out);
}

static int is_le(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_LE, out);
}

static int is_gt(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_GT, out);
}

static int is_ge(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_GE, out);
}

static int is_in(struct weir_call *call, struct weir_value *out)
{
    return compare(call, WEIR_OP_IN, out);
}

/* Python's `is`: which is sure for None and booleans, and of one type. */
static int is_sameas(struct weir_call *call, struct weir_value *out)
{
    if (call->self.kind == call->args[0].kind)
        return is_eq(call, out);
    *out = weir_bool(0);
    return 0;
}

static int is_known(struct weir_call *call, int is_filter,
                    struct weir_value *out)
{
    *out = weir_bool(
        call->self.kind == WEIR_STRING &&
        (is_filter ? weir_filter_find(call->self.text)
                   : weir_builtin_find(weir_tests, call->self.text)) != NULL);
    return 0;
}

static int is_filter(struct weir_call *call, struct weir_value *out)
{
    return is_known(call, 1, out);
}

static int is_test(struct weir_call *call, struct weir_value *out)
{
    return is_known(call, 0, out);
}

const struct weir_builtin weir_tests[] = {
    {"defined", "", 0, is_defined},
    {"undefined", "", 0, is_undefined},
    {"none", "", 0, is_none},
    {"boolean", "", 0, is_boolean},
    {"true", "", 0, is_true},
    {"false", "", 0, is_false},
    {"integer", "", 0, is_integer},
    {"float", "", 0, is_float},
    {"number", "", 0, is_number},
    {"string", "", 0, is_string},
    {"mapping", "", 0, is_mapping},
    {"sequence", "", 0, is_sequence},
    {"iterable", "", 0, is_iterable},
    {"callable", "", 0, is_callable},
    {"upper", "", 0, is_upper},
    {"lower", "", 0, is_lower},
    {"even", "", 0, is_even},
    {"odd", "", 0, is_odd},
    {"divisibleby", "num", 1, is_divisibleby},
    {"eq", "other", 1, is_eq},
    {"equalto", "other", 1, is_eq},
    {"==", "other", 1, is_eq},
    {"ne", "other", 1, is_ne},
    {"!=", "other", 1, is_ne},
    {"lt", "other", 1, is_lt},
    {"lessthan", "other", 1, is_lt},
    {"<", "other", 1, is_lt},
    {"le", "other", 1, is_le},
    {"<=", "other", 1, is_le},
    {"gt", "other", 1, is_gt},
    {"greaterthan", "other", 1, is_gt},
    {">", "other", 1, is_gt},
    {"ge", "other", 1, is_ge},
    {">=", "other", 1, is_ge},
    {"in", "seq", 1, is_in},
    {"sameas", "other", 1, is_sameas},
    {"filter", "", 0, is_filter},
    {"test", "", 0, is_test},
    {NULL, NULL, 0, NULL},
};

/* ---- functions ---- */

static int make_range(struct weir_render *render, int64_t from, int64_t to,
                      int64_t step, struct weir_value *out)
{
    struct weir_value item;
    int rc = weir_value_make(render, WEIR_LIST, out);

    while (!rc && (step > 0 ? from < to : from > to)) {
        if (out->list->n == MAX_RANGE)
            return weir_render_stop(render, WEIR_ELIMIT,
                                    "a range of more than %d items", MAX_RANGE);
        item = weir_int(from);
        rc = weir_list_add(render, out->list, &item);
        if (__builtin_add_overflow(from, step, &from))
            break;
    }
    return rc;
}

static int call_range(struct weir_call *call, struct weir_value *out)
{
    const struct weir_list *args = &call->all->positional;
    int64_t numbers[3] = {0, 0, 1};

    if (args->n < 1 || args->n > 3 || call->all->named.n)
        return weir_render_fail(call->render, "range wants one to three whole "
                                              "numbers");
    for (size_t i = 0; i < args->n; i++) {
        if (args->items[i].kind == WEIR_UNDEFINED)
            return weir_render_undefined(call->render, &args->items[i]);
        if (!weir_value_is_whole(&args->items[i]))
            return weir_render_fail(call->render,
                                    "range of a %s; convert it with int",
                                    weir_value_type(&args->items[i]));
        numbers[args->n == 1 ? 1 : i] = args->items[i].integer;
    }
    if (numbers[2] == 0)
        return weir_render_fail(call->render, "range with steps of 0");
    return make_range(call->render, numbers[0], numbers[1], numbers[2], out);
}

/* The pairs of a dict or of a list of pairs, then the named arguments */
static int fill_dict(struct weir_call *call, struct weir_dict *dict)
{
    struct weir_render *render = call->render;
    const struct weir_args *args = call->all;
    struct weir_list items = {0}, pair;
    int rc = 0;

    if (args->positional.n > 1)
        return weir_render_fail(render, "one dict or list of pairs at most");
    if (args->positional.n && args->positional.items[0].kind == WEIR_DICT)
        rc = weir_dict_items(render, args->positional.items[0].dict,
                             &call->args[0]);
    else if (args->positional.n)
        call->args[0] = args->positional.items[0];
    if (!rc && args->positional.n)
        rc = weir_value_items(render, &call->args[0], &items);
    for (size_t i = 0; i < items.n && !rc; i++) {
        rc = weir_value_items(render, &items.items[i], &pair);
        if (!rc && pair.n != 2)
            rc = weir_render_fail(render, "%zu values where a pair must be",
                                  pair.n);
        if (!rc)
            rc = weir_dict_put(render, dict, &pair.items[0], &pair.items[1]);
    }
    for (size_t i = 0; i < args->named.n && !rc; i++)
        rc = weir_dict_put(render, dict, &args->named.entries[i].key,
                           &args->named.entries[i].value);
    return rc;
}

static int call_dict(struct weir_call *call, struct weir_value *out)
{
    int rc = weir_value_make(call->render, WEIR_DICT, out);

    return rc ? rc : fill_dict(call, out->dict);
}

static int call_namespace(struct weir_call *call, struct weir_value *out)
{
    int rc = weir_value_make(call->render, WEIR_NAMESPACE, out);

    return rc ? rc : fill_dict(call, out->dict);
}

/* What the template itself has to say against its input */
static int call_raise(struct weir_call *call, struct weir_value *out)
{
    struct weir_value text;
    int rc = weir_value_str(call->render, &call->args[0], &text);

    (void)out;
    return rc ? rc
              : weir_render_fail(call->render, "%.*s",
                                 (int)(text.text.n < 300 ? text.text.n : 300),
                                 text.text.n ? text.text.bytes : "");
}

static int call_strftime(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    time_t now = render->now ? (time_t)render->now : time(NULL);
    struct weir_value format = call->args[0];
    char made[1024], text[256];
    locale_t locale;
    struct tm when;
    size_t n;

    if (format.kind != WEIR_STRING || format.text.n >= sizeof(text))
        return weir_render_fail(render, "strftime_now wants a short string");
    memcpy(text, format.text.bytes, format.text.n);
    text[format.text.n] = '\0';
    locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (!locale || !localtime_r(&now, &when))
        return weir_render_stop(render, WEIR_ENOMEM, "no memory for the date");
    n = strftime_l(made, sizeof(made), text, &when, locale);
    freelocale(locale);
    if (weir_utf8_valid(made, n) != n)
        return weir_render_fail(render, "strftime_now makes what is no text");
    format.text = (struct weir_text){made, n};
    return weir_text_join(render, format.text, (struct weir_text){"", 0}, out);
}

const struct weir_builtin weir_functions[] = {
    {"range", "*", 0, call_range},
    {"dict", "*", 0, call_dict},
    {"namespace", "*", 0, call_namespace},
    {"raise_exception", "message", 1, call_raise},
    {"strftime_now", "format", 1, call_strftime},
    {NULL, NULL, 0, NULL},
};
