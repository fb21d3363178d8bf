/* SPDX-License-Identifier: Apache-2.0 */
/* Operators, members, items and slices, with Python's rules. */
#include <math.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

static const char *const op_names[] = {"+",  "-",  "*",  "/",  "//",
                                       "%",  "**", "==", "!=", "<",
                                       "<=", ">",  ">=", "in", "not in"};

/* ---- arithmetic ---- */

static int too_large(struct weir_render *render)
{
    return weir_render_stop(render, WEIR_ENOTSUP,
                            "a whole number beyond 64 bits; use a float");
}

static int by_zero(struct weir_render *render)
{
    return weir_render_fail(render, "a division by 0; check for it before");
}

static int whole_power(struct weir_render *render, int64_t a, int64_t b,
                       struct weir_value *out)
{
    int64_t power = 1;
    int over = 0;

    while (b && !over) {
        if (b & 1)
            over = __builtin_mul_overflow(power, a, &power);
        b >>= 1;
        if (b)
            over |= __builtin_mul_overflow(a, a, &a);
    }
    if (over)
        return too_large(render);
    *out = weir_int(power);
    return 0;
}

/* Rounded down, with the sign of the divisor for the rest. */
static int whole_divide(struct weir_render *render, enum weir_op op, int64_t a,
                        int64_t b, struct weir_value *out)
{
    int64_t quotient, rest;

    if (b == 0)
        return by_zero(render);
    if (b == -1) { /* INT64_MIN / -1 traps */
        if (op == WEIR_OP_MOD)
            *out = weir_int(0);
        else if (__builtin_sub_overflow((int64_t)0, a, &quotient))
            return too_large(render);
        else
            *out = weir_int(quotient);
        return 0;
    }
    quotient = a / b;
    rest = a % b;
    if (rest && (rest < 0) != (b < 0)) {
        quotient--;
        rest += b;
    }
    *out = weir_int(op == WEIR_OP_MOD ? rest : quotient);
    return 0;
}

static int whole_op(struct weir_render *render, enum weir_op op, int64_t a,
                    int64_t b, struct weir_value *out)
{
    int64_t result;
    int over;

    switch (op) {
    case WEIR_OP_ADD:
        over = __builtin_add_overflow(a, b, &result);
        break;
    case WEIR_OP_SUB:
        over = __builtin_sub_overflow(a, b, &result);
        break;
    case WEIR_OP_MUL:
        over = __builtin_mul_overflow(a, b, &result);
        break;
    case WEIR_OP_POW:
        return whole_power(render, a, b, out);
    default:
        return whole_divide(render, op, a, b, out);
    }
    if (over)
        return too_large(render);
    *out = weir_int(result);
    return 0;
}

static double real_mod(double a, double b)
{
    double rest = fmod(a, b);

    if (rest == 0)
        return copysign(0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

/* Of the quotient less the rest, which is exact where a / b is not */
static double real_floor(double a, double b)
{
    double rest = fmod(a, b), quotient = (a - rest) / b, whole;

    if (rest && (rest < 0) != (b < 0))
        quotient--;
    if (quotient == 0)
        return copysign(0, a / b);
    whole = floor(quotient);
    return quotient - whole > 0.5 ? whole + 1 : whole;
}

static int real_op(struct weir_render *render, enum weir_op op, double a,
                   double b, struct weir_value *out)
{
    double result;

    if (b == 0 &&
        (op == WEIR_OP_DIV || op == WEIR_OP_FLOOR || op == WEIR_OP_MOD))
        return by_zero(render);
    switch (op) {
    case WEIR_OP_ADD:
        result = a + b;
        break;
    case WEIR_OP_SUB:
        result = a - b;
        break;
    case WEIR_OP_MUL:
        result = a * b;
        break;
    case WEIR_OP_DIV:
        result = a / b;
        break;
    case WEIR_OP_FLOOR:
        result = real_floor(a, b);
        break;
    case WEIR_OP_MOD:
        result = real_mod(a, b);
        break;
    default:
        result = pow(a, b);
        if (a == 0 && b < 0)
            return by_zero(render);
        if (isnan(result) && !isnan(a) && !isnan(b))
            return weir_render_stop(render, WEIR_ENOTSUP,
                                    "a root of a negative number");
        break;
    }
    *out = weir_real(result);
    return 0;
}

static int number_op(struct weir_render *render, enum weir_op op,
                     const struct weir_value *a, const struct weir_value *b,
                     struct weir_value *out)
{
    if (a->kind != WEIR_FLOAT && b->kind != WEIR_FLOAT && op != WEIR_OP_DIV &&
        !(op == WEIR_OP_POW && b->integer < 0))
        return whole_op(render, op, a->integer, b->integer, out);
    return real_op(render, op, weir_value_as_real(a), weir_value_as_real(b),
                   out);
}

/* ---- sequences ---- */

static int add_lists(struct weir_render *render, const struct weir_value *a,
                     const struct weir_value *b, struct weir_value *out)
{
    struct weir_value made;
    int rc = weir_render_step(render, a->list->n + b->list->n);

    if (!rc)
        rc = weir_value_make(render, a->kind, &made);
    for (size_t i = 0; i < a->list->n && !rc; i++)
        rc = weir_list_add(render, made.list, &a->list->items[i]);
    for (size_t i = 0; i < b->list->n && !rc; i++)
        rc = weir_list_add(render, made.list, &b->list->items[i]);
    if (!rc)
        *out = made;
    return rc;
}

static int repeat(struct weir_render *render, const struct weir_value *value,
                  int64_t times, struct weir_value *out)
{
    size_t mark = render->out->n_bytes;
    struct weir_value made;
    int rc = 0;

    if (value->kind == WEIR_STRING) {
        for (int64_t i = 0; i < times && !rc && value->text.n; i++)
            rc = weir_render_put_text(render, value->text);
        return rc ? rc : weir_render_capture(render, mark, out);
    }
    rc = weir_value_make(render, value->kind, &made);
    for (int64_t i = 0; i < times && !rc && value->list->n; i++) {
        rc = weir_render_step(render, value->list->n);
        for (size_t j = 0; j < value->list->n && !rc; j++)
            rc = weir_list_add(render, made.list, &value->list->items[j]);
    }
    if (!rc)
        *out = made;
    return rc;
}

static int can_repeat(const struct weir_value *value)
{
    return value->kind == WEIR_STRING || weir_value_is_sequence(value);
}

int weir_op_binary(struct weir_render *render, enum weir_op op,
                   const struct weir_value *a, const struct weir_value *b,
                   struct weir_value *out)
{
    if (weir_value_is_number(a) && weir_value_is_number(b))
        return number_op(render, op, a, b, out);
    if (op == WEIR_OP_ADD && a->kind == WEIR_STRING && b->kind == WEIR_STRING)
        return weir_text_join(render, a->text, b->text, out);
    if (op == WEIR_OP_ADD && a->kind == b->kind && weir_value_is_sequence(a))
        return add_lists(render, a, b, out);
    if (op == WEIR_OP_MUL && can_repeat(a) && weir_value_is_whole(b))
        return repeat(render, a, b->integer, out);
    if (op == WEIR_OP_MUL && weir_value_is_whole(a) && can_repeat(b))
        return repeat(render, b, a->integer, out);
    if (op == WEIR_OP_MOD && a->kind == WEIR_STRING)
        return weir_text_format(render, a->text, b, out);
    if (a->kind == WEIR_UNDEFINED || b->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, a->kind == WEIR_UNDEFINED ? a : b);
    return weir_render_fail(
        render, "'%s' between %s and %s; convert one of them", op_names[op],
        weir_value_type(a), weir_value_type(b));
}

int weir_op_compare(struct weir_render *render, enum weir_op op,
                    const struct weir_value *a, const struct weir_value *b,
                    int *truth)
{
    int sign = 0, rc;

    if (op == WEIR_OP_IN || op == WEIR_OP_NOT_IN) {
        rc = weir_value_contains(render, b, a, truth);
        *truth ^= op == WEIR_OP_NOT_IN;
        return rc;
    }
    if (op == WEIR_OP_EQ || op == WEIR_OP_NE) {
        rc = weir_value_equal(render, a, b, truth);
        *truth ^= op == WEIR_OP_NE;
        return rc;
    }
    rc = weir_value_compare(render, a, b, &sign);
    *truth = op == WEIR_OP_LT   ? sign < 0
             : op == WEIR_OP_LE ? sign <= 0
             : op == WEIR_OP_GT ? sign > 0
                                : sign >= 0;
    return rc;
}

/* ---- members and items ---- */

/* The method of this name that a value of its kind has; 0: none */
static int find_method(struct weir_render *render,
                       const struct weir_value *value, struct weir_text name,
                       struct weir_value *out)
{
    const struct weir_builtin *table =
        value->kind == WEIR_STRING      ? weir_string_methods
        : value->kind == WEIR_DICT      ? weir_dict_methods
        : value->kind == WEIR_LOOP      ? weir_loop_methods
        : weir_value_is_sequence(value) ? weir_list_methods
                                        : NULL;
    const struct weir_builtin *found =
        table ? weir_builtin_find(table, name) : NULL;
    struct weir_method *method;

    if (!found)
        return 0;
    method = weir_render_take(render, sizeof(*method));
    if (!method)
        return render->err->code;
    *method = (struct weir_method){found, *value};
    *out = (struct weir_value){.kind = WEIR_METHOD, .method = method};
    return 1;
}

static struct weir_value neighbour(const struct weir_loop *loop, int step,
                                   struct weir_text name)
{
    size_t at = loop->i + (size_t)step;

    return at < loop->items.n ? loop->items.items[at] : weir_undefined(name);
}

static void loop_member(const struct weir_loop *loop, struct weir_text name,
                        struct weir_value *out)
{
    const int64_t i = (int64_t)loop->i, n = (int64_t)loop->items.n;
    const struct {
        const char *name;
        struct weir_value value;
    } members[] = {
        {"index", weir_int(i + 1)},
        {"index0", weir_int(i)},
        {"revindex", weir_int(n - i)},
        {"revindex0", weir_int(n - i - 1)},
        {"first", weir_bool(i == 0)},
        {"last", weir_bool(i == n - 1)},
        {"length", weir_int(n)},
        {"depth", weir_int(1)},
        {"depth0", weir_int(0)},
        {"previtem", neighbour(loop, -1, name)},
        {"nextitem", neighbour(loop, 1, name)},
    };

    for (size_t j = 0; j < sizeof(members) / sizeof(members[0]); j++)
        if (weir_text_is(name, members[j].name))
            *out = members[j].value;
}

static int dict_item(struct weir_render *render, const struct weir_dict *dict,
                     const struct weir_value *key, struct weir_value *out)
{
    struct weir_value *found;
    int rc = weir_dict_find(render, dict, key, &found);

    if (!rc && found)
        *out = *found;
    return rc;
}

/* A method goes before a key here, as `d.items` is one. */
int weir_value_attribute(struct weir_render *render,
                         const struct weir_value *value, struct weir_text name,
                         struct weir_value *out)
{
    const struct weir_value key = weir_string(name.bytes, name.n);
    int rc;

    if (value->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, value);
    *out = weir_undefined(name);
    if (value->kind == WEIR_NAMESPACE)
        return dict_item(render, value->dict, &key, out);
    rc = find_method(render, value, name, out);
    if (rc)
        return rc > 0 ? 0 : rc;
    if (value->kind == WEIR_LOOP)
        loop_member(value->loop, name, out);
    if (value->kind == WEIR_MACRO && weir_text_is(name, "name"))
        *out = weir_string(value->macro->node->name->text.bytes,
                           value->macro->node->name->text.n);
    return value->kind == WEIR_DICT ? dict_item(render, value->dict, &key, out)
                                    : 0;
}

static int numbered_item(struct weir_render *render,
                         const struct weir_value *value, int64_t index,
                         struct weir_value *out)
{
    const int is_text = value->kind == WEIR_STRING;
    int64_t n =
        (int64_t)(is_text ? weir_text_count(value->text) : value->list->n);
    size_t at;

    if (index < 0)
        index += n;
    if (index < 0 || index >= n)
        return 0;
    if (!is_text) {
        *out = value->list->items[index];
        return 0;
    }
    at = weir_text_offset(value->text, (size_t)index);
    *out = weir_string(value->text.bytes + at,
                       weir_utf8_length((unsigned char)value->text.bytes[at]));
    return weir_render_step(render, value->text.n / 32);
}

int weir_value_item(struct weir_render *render, const struct weir_value *value,
                    const struct weir_value *key, struct weir_value *out)
{
    static const struct weir_text an_item = {"the item", 8};
    int rc;

    if (value->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, value);
    *out = weir_undefined(key->kind == WEIR_STRING ? key->text : an_item);
    if (value->kind == WEIR_DICT) {
        rc = dict_item(render, value->dict, key, out);
        if (rc || out->kind != WEIR_UNDEFINED || key->kind != WEIR_STRING)
            return rc;
    } else if (weir_value_is_whole(key) &&
               (value->kind == WEIR_STRING || weir_value_is_sequence(value))) {
        return numbered_item(render, value, key->integer, out);
    }
    return key->kind == WEIR_STRING
               ? weir_value_attribute(render, value, key->text, out)
               : 0;
}

/* ---- slices ---- */

static int64_t clamp(int64_t index, int64_t n, int64_t least, int64_t most)
{
    if (index < 0)
        index += n;
    return index < least ? least : index > most ? most : index;
}

static int bound(struct weir_render *render, const struct weir_value *value,
                 int64_t *out)
{
    if (value->kind == WEIR_ABSENT || value->kind == WEIR_NONE)
        return 0;
    if (value->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, value);
    if (!weir_value_is_whole(value))
        return weir_render_fail(render,
                                "a %s as the bound of a slice; use a whole "
                                "number",
                                weir_value_type(value));
    *out = value->integer;
    return 1;
}

/* How many items, from *first on, every *step */
static int slice_bounds(struct weir_render *render,
                        const struct weir_value bounds[3], int64_t n,
                        int64_t *first, int64_t *step, size_t *count)
{
    int64_t from = 0, to = 0, least, most;
    int has_from, has_to, rc;

    *step = 1;
    rc = bound(render, &bounds[2], step);
    has_from = rc < 0 ? rc : bound(render, &bounds[0], &from);
    has_to = has_from < 0 ? has_from : bound(render, &bounds[1], &to);
    if (has_to < 0)
        return has_to;
    if (*step == 0)
        return weir_render_fail(render, "a slice with steps of 0");
    if (*step < -n - 1)
        *step = -n - 1;
    if (*step > n + 1)
        *step = n + 1;
    least = *step < 0 ? -1 : 0;
    most = *step < 0 ? n - 1 : n;
    from = has_from ? clamp(from, n, least, most) : *step < 0 ? most : least;
    to = has_to ? clamp(to, n, least, most) : *step < 0 ? least : most;
    *first = from;
    *count = 0;
    if (*step > 0 && from < to)
        *count = (size_t)((to - from - 1) / *step + 1);
    if (*step < 0 && from > to)
        *count = (size_t)((from - to - 1) / -*step + 1);
    return 0;
}

static int slice_text(struct weir_render *render, struct weir_text text,
                      int64_t first, int64_t step, size_t count,
                      struct weir_value *out)
{
    struct weir_list items;
    size_t from, mark = render->out->n_bytes;
    struct weir_value value = weir_string(text.bytes, text.n);
    int rc;

    if (step == 1) {
        from = weir_text_offset(text, (size_t)first);
        text = (struct weir_text){text.bytes + from, text.n - from};
        *out = weir_string(text.bytes, weir_text_offset(text, count));
        return weir_render_step(render, text.n / 32);
    }
    rc = weir_value_items(render, &value, &items);
    for (; count && !rc; count--, first += step)
        rc = weir_render_put_text(render, items.items[first].text);
    return rc ? rc : weir_render_capture(render, mark, out);
}

int weir_value_slice(struct weir_render *render, const struct weir_value *value,
                     const struct weir_value bounds[3], struct weir_value *out)
{
    struct weir_value made;
    int64_t first = 0, step = 1;
    size_t count = 0, n;
    int rc;

    if (value->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, value);
    if (value->kind != WEIR_STRING && !weir_value_is_sequence(value)) {
        *out = weir_undefined((struct weir_text){"the slice", 9});
        return 0;
    }
    n = value->kind == WEIR_STRING ? weir_text_count(value->text)
                                   : value->list->n;
    rc = slice_bounds(render, bounds, (int64_t)n, &first, &step, &count);
    if (!rc && value->kind == WEIR_STRING)
        return slice_text(render, value->text, first, step, count, out);
    if (!rc)
        rc = weir_render_step(render, count);
    if (!rc)
        rc = weir_value_make(render, value->kind, &made);
    for (; count && !rc; count--, first += step)
        rc = weir_list_add(render, made.list, &value->list->items[first]);
    if (!rc)
        *out = made;
    return rc;
}
