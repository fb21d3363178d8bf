/* SPDX-License-Identifier: Apache-2.0 */
/* A rendering from its beginning to its end, its bounds, and its messages. */
#include "text/jinja_render.h"

#include <stdarg.h>
#include <stdio.h>

static int fail(struct weir_render *render, int code, const char *fmt,
                va_list args)
{
    char text[400];

    vsnprintf(text, sizeof(text), fmt, args);
    return weir_jinja_fail(render->jinja, render->at, code, render->err, "%s",
                           text);
}

int weir_render_fail(struct weir_render *render, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail(render, WEIR_EFORMAT, fmt, args);
    va_end(args);
    return WEIR_EFORMAT;
}

int weir_render_stop(struct weir_render *render, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail(render, code, fmt, args);
    va_end(args);
    return code;
}

int weir_render_undefined(struct weir_render *render,
                          const struct weir_value *value)
{
    size_t n = value->text.n < 64 ? value->text.n : 64;

    return weir_render_fail(render,
                            "'%.*s' is undefined; give it, or ask with 'is "
                            "defined' first",
                            (int)n, n ? value->text.bytes : "");
}

int weir_render_step(struct weir_render *render, size_t n)
{
    render->n_steps += n;
    if (render->n_steps <= WEIR_JINJA_STEPS)
        return 0;
    return weir_render_stop(render, WEIR_ELIMIT,
                            "the template takes more than %lu steps; check "
                            "its loops, or give it less",
                            WEIR_JINJA_STEPS);
}

int weir_render_enter(struct weir_render *render)
{
    if (render->depth++ < WEIR_MAX_DEPTH)
        return 0;
    return weir_render_stop(render, WEIR_ELIMIT,
                            "nested deeper than %d levels; check what calls "
                            "itself",
                            WEIR_MAX_DEPTH);
}

void *weir_render_take(struct weir_render *render, size_t n_bytes)
{
    void *taken = weir_arena_take(&render->arena, n_bytes, render->err);

    if (!taken && render->err->code == WEIR_ELIMIT)
        weir_render_stop(render, WEIR_ELIMIT,
                         "the template takes more than %zu bytes of memory; "
                         "check its loops, or give it less",
                         render->arena.ceiling);
    return taken;
}

/* ---- text ---- */

int weir_render_put(struct weir_render *render, const char *bytes, size_t n)
{
    int rc = weir_buf_add(render->out, bytes, n, render->err);

    if (rc == WEIR_ELIMIT)
        weir_render_stop(render, rc,
                         "the text grows beyond %zu bytes; check the loops of "
                         "the template, or give it less",
                         render->out->ceiling);
    return rc;
}

int weir_render_put_text(struct weir_render *render, struct weir_text text)
{
    return weir_render_put(render, text.bytes, text.n);
}

int weir_render_capture(struct weir_render *render, size_t mark,
                        struct weir_value *out)
{
    size_t n = render->out->n_bytes - mark;
    char *bytes = weir_render_take(render, n);

    if (!bytes)
        return render->err->code;
    if (n)
        memcpy(bytes, render->out->data + mark, n);
    render->out->n_bytes = mark;
    *out = weir_string(bytes, n);
    return 0;
}

/* In place where `a` is what was made last: loops that gather are linear. */
int weir_text_join(struct weir_render *render, struct weir_text a,
                   struct weir_text b, struct weir_value *out)
{
    char *bytes = (char *)a.bytes;

    if (a.n && weir_arena_extend(&render->arena, a.bytes + a.n, b.n)) {
        if (b.n)
            memcpy(bytes + a.n, b.bytes, b.n);
        *out = weir_string(bytes, a.n + b.n);
        return 0;
    }
    bytes = weir_render_take(render, a.n + b.n);
    if (!bytes)
        return render->err->code;
    if (a.n)
        memcpy(bytes, a.bytes, a.n);
    if (b.n)
        memcpy(bytes + a.n, b.bytes, b.n);
    *out = weir_string(bytes, a.n + b.n);
    return 0;
}

/* ---- JSON ---- */

static int items_from_json(struct weir_render *render, const json_t *json,
                           struct weir_list *list)
{
    struct weir_value item;
    int rc = 0;

    for (size_t i = 0; i < json_array_size(json) && !rc; i++) {
        rc = weir_value_from_json(render, json_array_get(json, i), &item);
        if (!rc)
            rc = weir_list_add(render, list, &item);
    }
    return rc;
}

/* Its keys differ already. */
static int members_from_json(struct weir_render *render, const json_t *json,
                             struct weir_dict *dict)
{
    json_t *object = (json_t *)json, *member;
    size_t n = json_object_size(json);
    const char *key;
    int rc = 0;

    dict->entries = weir_render_take(render, n * sizeof(*dict->entries));
    if (!dict->entries)
        return render->err->code;
    dict->capacity = n;
    json_object_foreach(object, key, member)
    {
        struct weir_entry *entry = &dict->entries[dict->n++];

        entry->key = weir_string(key, strlen(key));
        rc = weir_value_from_json(render, member, &entry->value);
        if (rc)
            break;
    }
    return rc;
}

int weir_value_from_json(struct weir_render *render, const json_t *json,
                         struct weir_value *out)
{
    int rc;

    switch (json_typeof(json)) {
    case JSON_STRING:
        *out = weir_string(json_string_value(json), json_string_length(json));
        return 0;
    case JSON_INTEGER:
        *out = weir_int(json_integer_value(json));
        return 0;
    case JSON_REAL:
        *out = weir_real(json_real_value(json));
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = weir_bool(json_is_true(json));
        return 0;
    case JSON_NULL:
        *out = weir_none();
        return 0;
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    rc = weir_render_enter(render);
    if (!rc)
        rc = weir_value_make(render,
                             json_is_array(json) ? WEIR_LIST : WEIR_DICT, out);
    if (!rc)
        rc = json_is_array(json) ? items_from_json(render, json, out->list)
                                 : members_from_json(render, json, out->dict);
    render->depth--;
    return rc;
}

/* ---- the whole ---- */

/* A name that the template never says needs no value. */
static int take_variables(struct weir_render *render, const json_t *json,
                          struct weir_scope *scope)
{
    json_t *object = (json_t *)json, *member;
    const struct weir_name *name;
    struct weir_value value;
    const char *key;
    int rc = 0;

    json_object_foreach(object, key, member)
    {
        name =
            weir_name_find(render->jinja, (struct weir_text){key, strlen(key)});
        if (!name)
            continue;
        rc = weir_value_from_json(render, member, &value);
        if (!rc)
            rc = weir_scope_set(render, scope, name, &value);
        if (rc)
            break;
    }
    return rc;
}

static int run(struct weir_render *render, const json_t *const *variables,
               size_t n)
{
    struct weir_scope *given = weir_scope_new(render, NULL), *own;
    enum weir_flow flow;
    int rc = 0;

    if (!given)
        return render->err->code;
    for (size_t i = 0; i < n && !rc; i++)
        rc = take_variables(render, variables[i], given);
    if (rc)
        return rc;
    own = weir_scope_new(render, given);
    if (!own)
        return render->err->code;
    return weir_exec(render, own, render->jinja->body, &flow);
}

int weir_jinja_render(const struct weir_jinja *jinja,
                      const json_t *const *variables, size_t n, int64_t now,
                      struct weir_buf *out, struct weir_err *err)
{
    struct weir_err own;
    struct weir_render render = {.jinja = jinja,
                                 .arena = WEIR_ARENA(WEIR_JINJA_VALUE_BYTES),
                                 .out = out,
                                 .err = err ? err : &own,
                                 .now = now};
    size_t mark = out->n_bytes;
    int rc = run(&render, variables, n);

    if (rc)
        out->n_bytes = mark;
    if (out->data)
        out->data[out->n_bytes] = '\0';
    weir_arena_fini(&render.arena);
    return rc;
}
