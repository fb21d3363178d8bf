/* SPDX-License-Identifier: Apache-2.0 */
#include "text/jinja_value.h"

#include <math.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

#define BYTES_A_STEP 64 /* that are compared or searched */

const char *weir_value_type(const struct weir_value *value)
{
    static const char *const names[] = {
        [WEIR_ABSENT] = "nothing",   [WEIR_UNDEFINED] = "Undefined",
        [WEIR_NONE] = "NoneType",    [WEIR_BOOL] = "bool",
        [WEIR_INT] = "int",          [WEIR_FLOAT] = "float",
        [WEIR_STRING] = "str",       [WEIR_LIST] = "list",
        [WEIR_TUPLE] = "tuple",      [WEIR_GENERATOR] = "generator",
        [WEIR_DICT] = "dict",        [WEIR_NAMESPACE] = "Namespace",
        [WEIR_LOOP] = "LoopContext", [WEIR_MACRO] = "Macro",
        [WEIR_METHOD] = "function",
    };

    return names[value->kind];
}

int weir_value_truth(const struct weir_value *value)
{
    switch (value->kind) {
    case WEIR_ABSENT:
    case WEIR_UNDEFINED:
    case WEIR_NONE:
        return 0;
    case WEIR_BOOL:
    case WEIR_INT:
        return value->integer != 0;
    case WEIR_FLOAT:
        return value->real != 0;
    case WEIR_STRING:
        return value->text.n != 0;
    case WEIR_LIST:
    case WEIR_TUPLE:
        return value->list->n != 0;
    case WEIR_DICT:
        return value->dict->n != 0;
    default:
        return 1;
    }
}

/* ---- characters ---- */

size_t weir_text_count(struct weir_text text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.n; i++)
        n += ((unsigned char)text.bytes[i] & 0xc0) != 0x80;
    return n;
}

size_t weir_text_offset(struct weir_text text, size_t index)
{
    size_t at = 0;

    while (at < text.n && index--)
        at += weir_utf8_length((unsigned char)text.bytes[at]);
    return at;
}

int weir_char_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 ||
           c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
           c == 0x3000;
}

size_t weir_text_space(struct weir_text text)
{
    size_t at = 0, length;

    while (at < text.n) {
        length = weir_utf8_length((unsigned char)text.bytes[at]);
        if (!weir_char_is_space(weir_utf8_decode(text.bytes + at, length)))
            break;
        at += length;
    }
    return at;
}

size_t weir_text_space_behind(struct weir_text text)
{
    size_t end = text.n, at;

    while (end) {
        at = end - 1;
        while (at && ((unsigned char)text.bytes[at] & 0xc0) == 0x80)
            at--;
        if (!weir_char_is_space(weir_utf8_decode(text.bytes + at, end - at)))
            break;
        end = at;
    }
    return text.n - end;
}

/* ---- lists and dicts ---- */

/* Room for one more of `size` bytes; the old room stays in the arena. */
static int make_room(struct weir_render *render, void **items, size_t n,
                     size_t *capacity, size_t size)
{
    size_t wanted = *capacity ? *capacity * 2 : 4;
    void *moved;

    if (n < *capacity)
        return 0;
    moved = weir_render_take(render, wanted * size);
    if (!moved)
        return render->err->code;
    if (n)
        memcpy(moved, *items, n * size);
    *items = moved;
    *capacity = wanted;
    return 0;
}

int weir_list_add(struct weir_render *render, struct weir_list *list,
                  const struct weir_value *item)
{
    void *items = list->items;
    int rc = make_room(render, &items, list->n, &list->capacity, sizeof(*item));

    if (rc)
        return rc;
    list->items = items;
    list->items[list->n++] = *item;
    return 0;
}

int weir_dict_find(struct weir_render *render, const struct weir_dict *dict,
                   const struct weir_value *key, struct weir_value **found)
{
    int rc = weir_render_step(render, dict->n / 8), equal = 0;

    *found = NULL;
    for (size_t i = 0; i < dict->n && !rc && !*found; i++) {
        rc = weir_value_equal(render, &dict->entries[i].key, key, &equal);
        if (!rc && equal)
            *found = &dict->entries[i].value;
    }
    return rc;
}

int weir_dict_put(struct weir_render *render, struct weir_dict *dict,
                  const struct weir_value *key, const struct weir_value *value)
{
    struct weir_value *found;
    void *entries = dict->entries;
    int rc;

    if (key->kind == WEIR_LIST || key->kind == WEIR_DICT)
        return weir_render_fail(render,
                                "a %s can not be a key; make it a string",
                                weir_value_type(key));
    rc = weir_dict_find(render, dict, key, &found);
    if (!rc && found)
        *found = *value;
    if (rc || found)
        return rc;
    rc = make_room(render, &entries, dict->n, &dict->capacity,
                   sizeof(*dict->entries));
    if (rc)
        return rc;
    dict->entries = entries;
    dict->entries[dict->n++] = (struct weir_entry){*key, *value};
    return 0;
}

int weir_dict_items(struct weir_render *render, const struct weir_dict *dict,
                    struct weir_value *out)
{
    struct weir_value pair;
    int rc = weir_value_make(render, WEIR_LIST, out);

    for (size_t i = 0; i < dict->n && !rc; i++) {
        rc = weir_value_make(render, WEIR_TUPLE, &pair);
        if (!rc)
            rc = weir_list_add(render, pair.list, &dict->entries[i].key);
        if (!rc)
            rc = weir_list_add(render, pair.list, &dict->entries[i].value);
        if (!rc)
            rc = weir_list_add(render, out->list, &pair);
    }
    return rc;
}

int weir_value_make(struct weir_render *render, enum weir_value_kind kind,
                    struct weir_value *out)
{
    int is_dict = kind == WEIR_DICT || kind == WEIR_NAMESPACE;
    void *made = weir_render_take(render, is_dict ? sizeof(*out->dict)
                                                  : sizeof(*out->list));

    if (!made)
        return render->err->code;
    out->kind = kind;
    if (is_dict)
        out->dict = made;
    else
        out->list = made;
    return 0;
}

/* ---- equality and order ---- */

static int lists_equal(struct weir_render *render, const struct weir_list *a,
                       const struct weir_list *b, int *equal)
{
    int rc = 0;

    *equal = a->n == b->n;
    for (size_t i = 0; i < a->n && *equal && !rc; i++)
        rc = weir_value_equal(render, &a->items[i], &b->items[i], equal);
    return rc;
}

static int dicts_equal(struct weir_render *render, const struct weir_dict *a,
                       const struct weir_dict *b, int *equal)
{
    struct weir_value *found;
    int rc = 0;

    *equal = a->n == b->n;
    for (size_t i = 0; i < a->n && *equal && !rc; i++) {
        rc = weir_dict_find(render, b, &a->entries[i].key, &found);
        if (rc || !found)
            *equal = 0;
        else
            rc = weir_value_equal(render, &a->entries[i].value, found, equal);
    }
    return rc;
}

static int nested_equal(struct weir_render *render, const struct weir_value *a,
                        const struct weir_value *b, int *equal)
{
    int rc = weir_render_enter(render);

    if (!rc)
        rc = a->kind == WEIR_DICT
                 ? dicts_equal(render, a->dict, b->dict, equal)
                 : lists_equal(render, a->list, b->list, equal);
    render->depth--;
    return rc;
}

/* A float is not rounded to, nor is a whole number. */
static int compare_numbers(const struct weir_value *a,
                           const struct weir_value *b)
{
    double x, y;

    if (a->kind != WEIR_FLOAT && b->kind != WEIR_FLOAT)
        return (a->integer > b->integer) - (a->integer < b->integer);
    x = weir_value_as_real(a);
    y = weir_value_as_real(b);
    if (x == y && a->kind != b->kind && fabs(x) < 0x1p63) {
        int64_t i = a->kind == WEIR_FLOAT ? (int64_t)a->real : a->integer;
        int64_t j = b->kind == WEIR_FLOAT ? (int64_t)b->real : b->integer;

        return (i > j) - (i < j);
    }
    return (x > y) - (x < y);
}

static int is_nan(const struct weir_value *value)
{
    return value->kind == WEIR_FLOAT && isnan(value->real);
}

int weir_value_equal(struct weir_render *render, const struct weir_value *a,
                     const struct weir_value *b, int *equal)
{
    int rc = weir_render_step(render, 1);

    *equal = 0;
    if (rc)
        return rc;
    if (weir_value_is_number(a) && weir_value_is_number(b)) {
        *equal = !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0;
        return 0;
    }
    if (a->kind != b->kind)
        return 0;
    switch (a->kind) {
    case WEIR_STRING:
        *equal = weir_text_same(a->text, b->text);
        return weir_render_step(
            render, a->text.n == b->text.n ? a->text.n / BYTES_A_STEP : 0);
    case WEIR_LIST:
    case WEIR_TUPLE:
    case WEIR_DICT:
        return nested_equal(render, a, b, equal);
    case WEIR_UNDEFINED:
    case WEIR_NONE:
        *equal = 1;
        return 0;
    default:
        *equal = a->dict == b->dict; /* whichever pointer it is */
        return 0;
    }
}

static int texts_compare(struct weir_text a, struct weir_text b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int sign = n ? memcmp(a.bytes, b.bytes, n) : 0;

    return sign ? sign : (a.n > b.n) - (a.n < b.n);
}

static int lists_compare(struct weir_render *render, const struct weir_list *a,
                         const struct weir_list *b, int *sign)
{
    size_t n = a->n < b->n ? a->n : b->n;
    int rc = weir_render_enter(render), equal = 1;

    *sign = (a->n > b->n) - (a->n < b->n);
    for (size_t i = 0; i < n && !rc && equal; i++) {
        rc = weir_value_equal(render, &a->items[i], &b->items[i], &equal);
        if (!rc && !equal)
            rc = weir_value_compare(render, &a->items[i], &b->items[i], sign);
    }
    render->depth--;
    return rc;
}

int weir_value_compare(struct weir_render *render, const struct weir_value *a,
                       const struct weir_value *b, int *sign)
{
    int rc = weir_render_step(render, 1);

    if (rc)
        return rc;
    if (weir_value_is_number(a) && weir_value_is_number(b)) {
        *sign = compare_numbers(a, b);
        return 0;
    }
    if (a->kind == WEIR_STRING && b->kind == WEIR_STRING) {
        *sign = texts_compare(a->text, b->text);
        return weir_render_step(render, a->text.n / BYTES_A_STEP);
    }
    if (a->kind == b->kind && weir_value_is_sequence(a))
        return lists_compare(render, a->list, b->list, sign);
    if (a->kind == WEIR_UNDEFINED || b->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, a->kind == WEIR_UNDEFINED ? a : b);
    return weir_render_fail(render,
                            "%s and %s have no order; convert one of them",
                            weir_value_type(a), weir_value_type(b));
}

/* ---- iterating, and `in` ---- */

static int items_of_dict(struct weir_render *render,
                         const struct weir_dict *dict, struct weir_list *items)
{
    int rc = weir_render_step(render, dict->n);

    for (size_t i = 0; i < dict->n && !rc; i++)
        rc = weir_list_add(render, items, &dict->entries[i].key);
    return rc;
}

static int items_of_text(struct weir_render *render, struct weir_text text,
                         struct weir_list *items)
{
    int rc = weir_render_step(render, text.n);
    struct weir_value item;
    size_t n;

    for (size_t at = 0; at < text.n && !rc; at += n) {
        n = weir_utf8_length((unsigned char)text.bytes[at]);
        item = weir_string(text.bytes + at, n);
        rc = weir_list_add(render, items, &item);
    }
    return rc;
}

int weir_value_items(struct weir_render *render, const struct weir_value *value,
                     struct weir_list *items)
{
    *items = (struct weir_list){0};
    switch (value->kind) {
    case WEIR_UNDEFINED:
        return 0;
    case WEIR_LIST:
    case WEIR_TUPLE:
        *items = *value->list;
        items->capacity = items->n; /* what is added goes elsewhere */
        return weir_render_step(render, items->n);
    case WEIR_GENERATOR:
        *items = *value->list;
        value->list->n = 0;
        return weir_render_step(render, items->n);
    case WEIR_DICT:
        return items_of_dict(render, value->dict, items);
    case WEIR_STRING:
        return items_of_text(render, value->text, items);
    default:
        return weir_render_fail(render,
                                "a %s can not be iterated over; check what "
                                "the template is given",
                                weir_value_type(value));
    }
}

int weir_value_contains(struct weir_render *render,
                        const struct weir_value *container,
                        const struct weir_value *item, int *contains)
{
    struct weir_value *found;
    struct weir_list items;
    int rc;

    *contains = 0;
    if (container->kind == WEIR_STRING && item->kind == WEIR_STRING) {
        *contains = weir_text_find(container->text, item->text, 0) >= 0;
        return weir_render_step(render, container->text.n / BYTES_A_STEP);
    }
    if (container->kind == WEIR_STRING)
        return weir_render_fail(render,
                                "looks for a %s in a str; convert it to a "
                                "string",
                                weir_value_type(item));
    if (container->kind == WEIR_DICT) {
        rc = weir_dict_find(render, container->dict, item, &found);
        *contains = !rc && found;
        return rc;
    }
    rc = weir_value_items(render, container, &items);
    for (size_t i = 0; i < items.n && !rc && !*contains; i++)
        rc = weir_value_equal(render, &items.items[i], item, contains);
    return rc;
}
