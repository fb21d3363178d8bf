/* SPDX-License-Identifier: Apache-2.0 */
/* Filters on sequences. */
#include "base/utf8.h"
#include "text/jinja_render.h"

static int bad_value(struct weir_call *call, const char *what)
{
    if (call->self.kind == WEIR_UNDEFINED)
        return weir_render_undefined(call->render, &call->self);
    return weir_render_fail(call->render, "a %s where %s must be",
                            weir_value_type(&call->self), what);
}

/* ---- a member of each item ---- */

/* "a.b.0" of a value, as the argument `attribute` of filters has it */
static int member(struct weir_render *render, const struct weir_value *item,
                  const struct weir_value *path, struct weir_value *out)
{
    struct weir_text rest = path->text, word;
    struct weir_value value = *item, key;
    const char *point;
    int rc = 0;

    if (path->kind != WEIR_STRING)
        return weir_value_item(render, item, path, out);
    do {
        point = rest.n ? memchr(rest.bytes, '.', rest.n) : NULL;
        word = rest;
        if (point) {
            word.n = (size_t)(point - rest.bytes);
            rest = (struct weir_text){point + 1, rest.n - word.n - 1};
        }
        key = weir_string(word.bytes, word.n);
        if (word.n && strspn(word.bytes, "0123456789") >= word.n &&
            word.n < 10) {
            key = weir_int(0);
            for (size_t i = 0; i < word.n; i++)
                key.integer = key.integer * 10 + (word.bytes[i] - '0');
        }
        rc = weir_value_item(render, &value, &key, out);
        value = *out;
    } while (!rc && point);
    return rc;
}

/* The argument of this name that is given, or NULL */
static const struct weir_value *named_arg(const struct weir_call *call,
                                          const char *name)
{
    const struct weir_dict *named = &call->all->named;

    for (size_t i = 0; i < named->n; i++)
        if (weir_text_is(named->entries[i].key.text, name))
            return &named->entries[i].value;
    return NULL;
}

/* The arguments from `from` on, for a filter or test that is given by name */
static struct weir_args args_behind(const struct weir_call *call, size_t from)
{
    const struct weir_list *list = &call->all->positional;
    struct weir_args args = {{0}, call->all->named};

    if (list->n > from)
        args.positional =
            (struct weir_list){list->items + from, list->n - from, 0};
    return args;
}

static int no_name(struct weir_call *call, const char *what)
{
    return weir_render_fail(
        call->render, "the name of a %s that there is must be given", what);
}

static int map_members(struct weir_call *call, const struct weir_list *items,
                       const struct weir_value *path, struct weir_list *list)
{
    const struct weir_value *otherwise = named_arg(call, "default");
    struct weir_value value;
    int rc = 0;

    for (size_t i = 0; i < items->n && !rc; i++) {
        rc = member(call->render, &items->items[i], path, &value);
        if (!rc && value.kind == WEIR_UNDEFINED && otherwise)
            value = *otherwise;
        if (!rc)
            rc = weir_list_add(call->render, list, &value);
    }
    return rc;
}

static int map_filter(struct weir_call *call, const struct weir_list *items,
                      struct weir_list *list)
{
    const struct weir_list *given = &call->all->positional;
    const struct weir_args args = args_behind(call, 1);
    const struct weir_builtin *filter =
        given->n && given->items[0].kind == WEIR_STRING
            ? weir_filter_find(given->items[0].text)
            : NULL;
    struct weir_value value;
    int rc = 0;

    if (!filter)
        return no_name(call, "filter");
    for (size_t i = 0; i < items->n && !rc; i++) {
        rc = weir_call_builtin(call->render, filter, &items->items[i], &args,
                               &value);
        if (!rc)
            rc = weir_list_add(call->render, list, &value);
    }
    return rc;
}

static int filter_map(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value *path = named_arg(call, "attribute");
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    if (!rc)
        rc = weir_value_make(call->render, WEIR_GENERATOR, out);
    if (rc)
        return rc;
    return path && !call->all->positional.n
               ? map_members(call, &items, path, out->list)
               : map_filter(call, &items, out->list);
}

/* ---- choosing items ---- */

static int choose(struct weir_call *call, int by_member, int wanted,
                  struct weir_value *out)
{
    struct weir_render *render = call->render;
    const struct weir_list *given = &call->all->positional;
    const size_t at = (size_t)by_member;
    const struct weir_args args = args_behind(call, at + 1);
    const struct weir_builtin *test = NULL;
    struct weir_value value, truth;
    struct weir_list items;
    int rc = weir_value_items(render, &call->self, &items);

    if (!rc && by_member && !given->n)
        rc = weir_render_fail(render, "the name of a member must be given");
    if (!rc && given->n > at && given->items[at].kind == WEIR_STRING)
        test = weir_builtin_find(weir_tests, given->items[at].text);
    if (!rc && given->n > at && !test)
        rc = no_name(call, "test");
    if (!rc)
        rc = weir_value_make(render, WEIR_GENERATOR, out);
    for (size_t i = 0; !rc && i < items.n; i++) {
        value = items.items[i];
        if (by_member)
            rc = member(render, &items.items[i], &given->items[0], &value);
        truth = value;
        if (!rc && test)
            rc = weir_call_builtin(render, test, &value, &args, &truth);
        if (!rc && weir_value_truth(&truth) == wanted)
            rc = weir_list_add(render, out->list, &items.items[i]);
    }
    return rc;
}

static int filter_select(struct weir_call *call, struct weir_value *out)
{
    return choose(call, 0, 1, out);
}

static int filter_reject(struct weir_call *call, struct weir_value *out)
{
    return choose(call, 0, 0, out);
}

static int filter_selectattr(struct weir_call *call, struct weir_value *out)
{
    return choose(call, 1, 1, out);
}

static int filter_rejectattr(struct weir_call *call, struct weir_value *out)
{
    return choose(call, 1, 0, out);
}

/* ---- one of them, or all ---- */

static int filter_first(struct weir_call *call, struct weir_value *out)
{
    static const struct weir_text name = {"the first item", 14};
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    *out = !rc && items.n ? items.items[0] : weir_undefined(name);
    return rc;
}

static int filter_last(struct weir_call *call, struct weir_value *out)
{
    static const struct weir_text name = {"the last item", 13};
    struct weir_list items;
    int rc;

    if (call->self.kind == WEIR_GENERATOR)
        return bad_value(call, "a list");
    rc = weir_value_items(call->render, &call->self, &items);
    *out = !rc && items.n ? items.items[items.n - 1] : weir_undefined(name);
    return rc;
}

static int filter_list(struct weir_call *call, struct weir_value *out)
{
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    if (!rc)
        rc = weir_value_make(call->render, WEIR_LIST, out);
    if (!rc)
        *out->list = items;
    return rc;
}

static int filter_join(struct weir_call *call, struct weir_value *out)
{
    struct weir_render *render = call->render;
    const struct weir_value *path = &call->args[1];
    struct weir_value between = weir_string("", 0), item;
    size_t mark = render->out->n_bytes;
    struct weir_list items;
    int rc = weir_value_items(render, &call->self, &items);

    if (!rc && call->args[0].kind != WEIR_ABSENT)
        rc = weir_value_str(render, &call->args[0], &between);
    for (size_t i = 0; !rc && i < items.n; i++) {
        item = items.items[i];
        if (path->kind != WEIR_ABSENT && path->kind != WEIR_NONE)
            rc = member(render, &items.items[i], path, &item);
        if (!rc && i)
            rc = weir_render_put_text(render, between.text);
        if (!rc)
            rc = weir_render_str(render, &item);
    }
    return rc ? rc : weir_render_capture(render, mark, out);
}

static int filter_reverse(struct weir_call *call, struct weir_value *out)
{
    struct weir_value backward[3] = {{0}, {0}, weir_int(-1)};
    struct weir_value list;
    int rc;

    if (call->self.kind == WEIR_STRING)
        return weir_value_slice(call->render, &call->self, backward, out);
    rc = filter_list(call, &list);
    if (!rc)
        rc = weir_value_slice(call->render, &list, backward, out);
    if (!rc)
        out->kind = WEIR_GENERATOR;
    return rc;
}

static int filter_items(struct weir_call *call, struct weir_value *out)
{
    int rc;

    if (call->self.kind == WEIR_UNDEFINED) {
        rc = weir_value_make(call->render, WEIR_GENERATOR, out);
        return rc;
    }
    if (call->self.kind != WEIR_DICT)
        return bad_value(call, "a dict");
    rc = weir_dict_items(call->render, call->self.dict, out);
    out->kind = WEIR_GENERATOR;
    return rc;
}

/* ---- order ---- */

/* What a string is compared as when its case does not matter */
static int fold(struct weir_render *render, const struct weir_value *value,
                struct weir_value *out)
{
    *out = *value;
    return value->kind == WEIR_STRING
               ? weir_text_cased(render, value->text, WEIR_LOWER, out)
               : 0;
}

static int key_of(struct weir_call *call, const struct weir_value *item,
                  const struct weir_value *path, int with_case,
                  struct weir_value *key)
{
    struct weir_value value = *item;
    int rc = 0;

    if (path->kind != WEIR_ABSENT && path->kind != WEIR_NONE)
        rc = member(call->render, item, path, &value);
    *key = value;
    return rc || with_case ? rc : fold(call->render, &value, key);
}

/* Merges two sorted runs of entries, which stay in order where keys agree. */
static int merge(struct weir_call *call, struct weir_entry *entries,
                 struct weir_entry *spare, size_t n, int backward)
{
    size_t half = n / 2, a = 0, b = half, at = 0;
    int rc = 0, sign;

    if (n < 2)
        return 0;
    rc = merge(call, entries, spare, half, backward);
    if (!rc)
        rc = merge(call, entries + half, spare, n - half, backward);
    while (!rc && (a < half || b < n)) {
        sign = a == half ? 1 : -1;
        if (a < half && b < n)
            rc = weir_value_compare(call->render, &entries[a].key,
                                    &entries[b].key, &sign);
        if (a < half && b < n && backward)
            sign = -sign;
        spare[at++] = sign > 0 ? entries[b++] : entries[a++];
    }
    if (!rc)
        memcpy(entries, spare, n * sizeof(*entries));
    return rc;
}

/* Sorts the items by their keys. */
static int sort_items(struct weir_call *call, const struct weir_list *items,
                      const struct weir_value *path, int with_case,
                      int backward, struct weir_value *out)
{
    size_t n_bytes = (items->n + 1) * sizeof(struct weir_entry);
    struct weir_entry *entries = weir_render_take(call->render, n_bytes);
    struct weir_entry *spare = weir_render_take(call->render, n_bytes);
    int rc;

    if (!entries || !spare)
        return call->render->err->code;
    rc = weir_value_make(call->render, WEIR_LIST, out);
    for (size_t i = 0; i < items->n && !rc; i++) {
        entries[i].value = items->items[i];
        rc = key_of(call, &items->items[i], path, with_case, &entries[i].key);
    }
    if (!rc)
        rc = merge(call, entries, spare, items->n, backward);
    for (size_t i = 0; i < items->n && !rc; i++)
        rc = weir_list_add(call->render, out->list, &entries[i].value);
    return rc;
}

static int filter_sort(struct weir_call *call, struct weir_value *out)
{
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    if (!rc && call->args[2].kind == WEIR_STRING &&
        memchr(call->args[2].text.bytes, ',', call->args[2].text.n))
        rc = weir_render_stop(call->render, WEIR_ENOTSUP,
                              "sorting by several members is not known here; "
                              "sort by one after the other");
    return rc ? rc
              : sort_items(call, &items, &call->args[2],
                           weir_value_truth(&call->args[1]),
                           weir_value_truth(&call->args[0]), out);
}

/* dictsort(case_sensitive=false, by='key', reverse=false) */
static int filter_dictsort(struct weir_call *call, struct weir_value *out)
{
    struct weir_value pairs, path = weir_int(0);
    int rc;

    if (call->self.kind != WEIR_DICT)
        return bad_value(call, "a dict");
    if (call->args[1].kind == WEIR_STRING &&
        weir_text_is(call->args[1].text, "value"))
        path = weir_int(1);
    rc = weir_dict_items(call->render, call->self.dict, &pairs);
    return rc ? rc
              : sort_items(call, pairs.list, &path,
                           weir_value_truth(&call->args[0]),
                           weir_value_truth(&call->args[2]), out);
}

static int best(struct weir_call *call, int wanted, struct weir_value *out)
{
    static const struct weir_text name = {"the best of nothing", 19};
    const int with_case = weir_value_truth(&call->args[0]);
    struct weir_value key, best_key = {0};
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items), sign = 0;

    *out = weir_undefined(name);
    for (size_t i = 0; !rc && i < items.n; i++) {
        rc = key_of(call, &items.items[i], &call->args[1], with_case, &key);
        if (!rc && i)
            rc = weir_value_compare(call->render, &key, &best_key, &sign);
        if (rc || (i && sign * wanted <= 0))
            continue;
        best_key = key;
        *out = items.items[i];
    }
    return rc;
}

static int filter_max(struct weir_call *call, struct weir_value *out)
{
    return best(call, 1, out);
}

static int filter_min(struct weir_call *call, struct weir_value *out)
{
    return best(call, -1, out);
}

static int filter_sum(struct weir_call *call, struct weir_value *out)
{
    const struct weir_value *path = &call->args[0];
    struct weir_value sum =
        call->args[1].kind == WEIR_ABSENT ? weir_int(0) : call->args[1];
    struct weir_value item, next;
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    for (size_t i = 0; !rc && i < items.n; i++) {
        rc = key_of(call, &items.items[i], path, 1, &item);
        if (!rc)
            rc = weir_op_binary(call->render, WEIR_OP_ADD, &sum, &item, &next);
        sum = next;
    }
    *out = sum;
    return rc;
}

static int filter_unique(struct weir_call *call, struct weir_value *out)
{
    const int with_case = weir_value_truth(&call->args[0]);
    struct weir_dict seen = {0};
    struct weir_value key, *found;
    struct weir_list items;
    int rc = weir_value_items(call->render, &call->self, &items);

    if (!rc)
        rc = weir_value_make(call->render, WEIR_GENERATOR, out);
    for (size_t i = 0; !rc && i < items.n; i++) {
        rc = key_of(call, &items.items[i], &call->args[1], with_case, &key);
        if (!rc)
            rc = weir_dict_find(call->render, &seen, &key, &found);
        if (rc || found)
            continue;
        rc = weir_dict_put(call->render, &seen, &key, &key);
        if (!rc)
            rc = weir_list_add(call->render, out->list, &items.items[i]);
    }
    return rc;
}

static int filter_attr(struct weir_call *call, struct weir_value *out)
{
    if (call->args[0].kind != WEIR_STRING)
        return weir_render_fail(call->render, "attr wants a string");
    /* unlike value.name this never looks for a key */
    if (call->self.kind == WEIR_DICT) {
        *out = weir_undefined(call->args[0].text);
        return 0;
    }
    return weir_value_attribute(call->render, &call->self, call->args[0].text,
                                out);
}

const struct weir_builtin weir_list_filters[] = {
    {"map", "*", 0, filter_map},
    {"select", "*", 0, filter_select},
    {"reject", "*", 0, filter_reject},
    {"selectattr", "*", 0, filter_selectattr},
    {"rejectattr", "*", 0, filter_rejectattr},
    {"first", "", 0, filter_first},
    {"last", "", 0, filter_last},
    {"list", "", 0, filter_list},
    {"join", "d attribute", 0, filter_join},
    {"reverse", "", 0, filter_reverse},
    {"items", "", 0, filter_items},
    {"sort", "reverse case_sensitive attribute", 0, filter_sort},
    {"dictsort", "case_sensitive by reverse", 0, filter_dictsort},
    {"max", "case_sensitive attribute", 0, filter_max},
    {"min", "case_sensitive attribute", 0, filter_min},
    {"sum", "attribute start", 0, filter_sum},
    {"unique", "case_sensitive attribute", 0, filter_unique},
    {"attr", "name", 1, filter_attr},
    {NULL, NULL, 0, NULL},
};
