/* SPDX-License-Identifier: Apache-2.0 */
/* Methods of lists, dicts and the loop. */
#include "text/jinja_render.h"

/* ---- arguments ---- */

/* A string, or what is given for one that is absent or None */
int weir_call_text(struct weir_call *call, int i, const char *otherwise,
                   struct weir_text *text)
{
    const struct weir_value *value = &call->args[i];

    if (value->kind == WEIR_STRING) {
        *text = value->text;
        return 0;
    }
    if (value->kind != WEIR_ABSENT && value->kind != WEIR_NONE)
        return weir_render_fail(call->render,
                                "a %s as an argument that must be a string",
                                weir_value_type(value));
    *text = (struct weir_text){otherwise, otherwise ? strlen(otherwise) : 0};
    return 0;
}

int weir_call_whole(struct weir_call *call, int i, int64_t otherwise,
                    int64_t *whole)
{
    const struct weir_value *value = &call->args[i];

    *whole = otherwise;
    if (value->kind == WEIR_ABSENT || value->kind == WEIR_NONE)
        return 0;
    if (!weir_value_is_whole(value))
        return weir_render_fail(call->render,
                                "a %s as an argument that must be a whole "
                                "number",
                                weir_value_type(value));
    *whole = value->integer;
    return 0;
}

/* ---- lists ---- */

static int list_index(struct weir_call *call, struct weir_value *out)
{
    const struct weir_list *list = call->self.list;
    int equal = 0, rc = 0;

    for (size_t i = 0; i < list->n && !rc; i++) {
        rc = weir_value_equal(call->render, &list->items[i], &call->args[0],
                              &equal);
        if (!rc && equal) {
            *out = weir_int((int64_t)i);
            return 0;
        }
    }
    return rc ? rc
              : weir_render_fail(call->render, "index: the value is not in "
                                               "there; ask with 'in' first");
}

static int list_count(struct weir_call *call, struct weir_value *out)
{
    const struct weir_list *list = call->self.list;
    int equal = 0, rc = 0;
    int64_t n = 0;

    for (size_t i = 0; i < list->n && !rc; i++) {
        rc = weir_value_equal(call->render, &list->items[i], &call->args[0],
                              &equal);
        n += equal;
    }
    *out = weir_int(n);
    return rc;
}

static int method_copy(struct weir_call *call, struct weir_value *out)
{
    *out = call->self;
    return 0;
}

const struct weir_builtin weir_list_methods[] = {
    {"index", "value", 1, list_index},
    {"count", "value", 1, list_count},
    {"copy", "", 0, method_copy},
    {NULL, NULL, 0, NULL},
};

/* ---- dicts ---- */

static int dict_get(struct weir_call *call, struct weir_value *out)
{
    struct weir_value *found;
    int rc =
        weir_dict_find(call->render, call->self.dict, &call->args[0], &found);

    *out = call->args[1].kind == WEIR_ABSENT ? weir_none() : call->args[1];
    if (!rc && found)
        *out = *found;
    return rc;
}

static int dict_keys(struct weir_call *call, struct weir_value *out)
{
    int rc = weir_value_make(call->render, WEIR_LIST, out);

    return rc ? rc : weir_value_items(call->render, &call->self, out->list);
}

static int dict_values(struct weir_call *call, struct weir_value *out)
{
    const struct weir_dict *dict = call->self.dict;
    int rc = weir_value_make(call->render, WEIR_LIST, out);

    if (!rc)
        rc = weir_render_step(call->render, dict->n);
    for (size_t i = 0; i < dict->n && !rc; i++)
        rc = weir_list_add(call->render, out->list, &dict->entries[i].value);
    return rc;
}

static int dict_items(struct weir_call *call, struct weir_value *out)
{
    return weir_dict_items(call->render, call->self.dict, out);
}

const struct weir_builtin weir_dict_methods[] = {
    {"get", "key default", 1, dict_get}, {"keys", "", 0, dict_keys},
    {"values", "", 0, dict_values},      {"items", "", 0, dict_items},
    {"copy", "", 0, method_copy},        {NULL, NULL, 0, NULL},
};

/* ---- the loop ---- */

static int loop_cycle(struct weir_call *call, struct weir_value *out)
{
    const struct weir_list *list = &call->all->positional;

    if (!list->n)
        return weir_render_fail(call->render, "loop.cycle() of nothing");
    *out = list->items[call->self.loop->i % list->n];
    return 0;
}

static int loop_changed(struct weir_call *call, struct weir_value *out)
{
    struct weir_loop *loop = call->self.loop;
    struct weir_value now;
    int rc = weir_value_make(call->render, WEIR_TUPLE, &now), equal = 0;

    if (rc)
        return rc;
    *now.list = call->all->positional;
    rc = weir_value_equal(call->render, &loop->changed, &now, &equal);
    loop->changed = now;
    *out = weir_bool(!equal);
    return rc;
}

const struct weir_builtin weir_loop_methods[] = {
    {"cycle", "*", 0, loop_cycle},
    {"changed", "*", 0, loop_changed},
    {NULL, NULL, 0, NULL},
};
