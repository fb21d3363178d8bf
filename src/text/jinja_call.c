/* SPDX-License-Identifier: Apache-2.0 */
/* Calls of macros and of what weir has itself, and their arguments. */
#include "text/jinja_render.h"

/* ---- calls ---- */

const struct weir_builtin *weir_builtin_find(const struct weir_builtin *table,
                                             struct weir_text name)
{
    for (; table->name; table++)
        if (weir_text_is(name, table->name))
            return table;
    return NULL;
}

const struct weir_builtin *weir_filter_find(struct weir_text name)
{
    const struct weir_builtin *const tables[] = {
        weir_text_filters, weir_list_filters, weir_value_filters};
    const struct weir_builtin *found = NULL;

    for (size_t i = 0; i < 3 && !found; i++)
        found = weir_builtin_find(tables[i], name);
    return found;
}

/* The length of the first word, and the beginning of the next. */
static size_t next_word(const char **words)
{
    size_t n = strcspn(*words, " ");

    *words += n;
    *words += strspn(*words, " ");
    return n;
}

static int find_param(const struct weir_builtin *builtin, struct weir_text name)
{
    const char *words = builtin->params, *word;
    size_t n;

    for (int i = 0; *words; i++) {
        word = words;
        n = next_word(&words);
        if (weir_text_same((struct weir_text){word, n}, name))
            return i;
    }
    return -1;
}

static unsigned count_params(const struct weir_builtin *builtin)
{
    const char *words = builtin->params;
    unsigned n = 0;

    for (; *words; n++)
        next_word(&words);
    return n;
}

static int bind_args(struct weir_call *call, const struct weir_builtin *builtin)
{
    struct weir_render *render = call->render;
    const struct weir_list *list = &call->all->positional;
    const struct weir_dict *named = &call->all->named;
    unsigned n_params = count_params(builtin);
    int at;

    if (list->n > n_params)
        return weir_render_fail(render, "%s takes at most %u arguments",
                                builtin->name, n_params);
    for (size_t i = 0; i < list->n; i++)
        call->args[i] = list->items[i];
    for (size_t i = 0; i < named->n; i++) {
        const struct weir_text key = named->entries[i].key.text;

        at = find_param(builtin, key);
        if (at < 0 || call->args[at].kind != WEIR_ABSENT)
            return weir_render_fail(
                render, "%s takes no argument '%.*s'%s", builtin->name,
                (int)(key.n < 64 ? key.n : 64), key.bytes,
                at < 0 ? "; leave it out" : " twice; leave one out");
        call->args[at] = named->entries[i].value;
    }
    for (unsigned i = 0; i < builtin->n_required; i++)
        if (call->args[i].kind == WEIR_ABSENT)
            return weir_render_fail(render, "%s wants %u arguments or more",
                                    builtin->name, builtin->n_required);
    return 0;
}

int weir_call_builtin(struct weir_render *render,
                      const struct weir_builtin *builtin,
                      const struct weir_value *self,
                      const struct weir_args *args, struct weir_value *out)
{
    struct weir_call call = {.render = render, .all = args};
    int rc = weir_render_enter(render);

    if (self)
        call.self = *self;
    if (!rc)
        rc = weir_render_step(render, 1);
    if (!rc && strcmp(builtin->params, "*"))
        rc = bind_args(&call, builtin);
    if (!rc)
        rc = builtin->fn(&call, out);
    render->depth--;
    return rc;
}

/* Takes the argument of this name from *args, which is the caller's own. */
static int take_named(struct weir_args *args, struct weir_text name,
                      struct weir_value *out)
{
    struct weir_entry *entry = args->named.entries;
    size_t n = args->named.n;

    for (size_t i = 0; i < n; i++) {
        if (!weir_text_same(entry[i].key.text, name))
            continue;
        *out = entry[i].value;
        memmove(entry + i, entry + i + 1, (n - i - 1) * sizeof(*entry));
        args->named.n--;
        return 1;
    }
    return 0;
}

static int set_rest(struct weir_render *render, struct weir_scope *scope,
                    const struct weir_macro *macro, struct weir_args *rest)
{
    struct weir_value value;
    int rc = 0;

    if (take_named(rest, render->jinja->caller->text, &value))
        rc = weir_scope_set(render, scope, render->jinja->caller, &value);
    if (!rc && macro->node->op & WEIR_TAKES_KWARGS) {
        value = (struct weir_value){.kind = WEIR_DICT, .dict = &rest->named};
        rc = weir_scope_set(render, scope, render->jinja->kwargs, &value);
    } else if (!rc && rest->named.n) {
        const struct weir_text name = rest->named.entries[0].key.text;

        rc = weir_render_fail(
            render, "macro '%.*s' takes no argument '%.*s'; leave it out",
            (int)macro->node->name->text.n, macro->node->name->text.bytes,
            (int)(name.n < 64 ? name.n : 64), name.bytes);
    }
    if (rc)
        return rc;
    if (macro->node->op & WEIR_TAKES_VARARGS) {
        value =
            (struct weir_value){.kind = WEIR_TUPLE, .list = &rest->positional};
        return weir_scope_set(render, scope, render->jinja->varargs, &value);
    }
    return rest->positional.n
               ? weir_render_fail(
                     render, "macro '%.*s' is given %zu arguments too many",
                     (int)macro->node->name->text.n,
                     macro->node->name->text.bytes, rest->positional.n)
               : 0;
}

static int set_params(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_macro *macro, struct weir_args *rest)
{
    const struct weir_node *param;
    struct weir_value value;
    int rc = 0;

    for (param = macro->node->a; param && !rc; param = param->next) {
        if (rest->positional.n) {
            value = *rest->positional.items++;
            rest->positional.n--;
        } else if (!take_named(rest, param->name->text, &value)) {
            if (param->a)
                rc = weir_eval(render, scope, param->a, &value);
            else
                value = weir_undefined(param->name->text);
        }
        if (!rc)
            rc = weir_scope_set(render, scope, param->name, &value);
    }
    return rc ? rc : set_rest(render, scope, macro, rest);
}

int weir_call_macro(struct weir_render *render, const struct weir_macro *macro,
                    const struct weir_args *args, struct weir_value *out)
{
    struct weir_args *rest = weir_render_take(render, sizeof(*rest));
    struct weir_scope *scope = weir_scope_new(render, macro->scope);
    size_t mark = render->out->n_bytes;
    enum weir_flow flow;
    int rc;

    if (!rest || !scope)
        return render->err->code;
    *rest = *args;
    rc = weir_render_enter(render);
    if (!rc)
        rc = set_params(render, scope, macro, rest);
    if (!rc)
        rc = weir_exec(render, scope, macro->node->body, &flow);
    if (!rc)
        rc = weir_render_capture(render, mark, out);
    render->depth--;
    return rc;
}

int weir_call_value(struct weir_render *render, const struct weir_value *callee,
                    const struct weir_args *args, struct weir_value *out)
{
    const struct weir_method *method = callee->method;

    if (callee->kind == WEIR_MACRO)
        return weir_call_macro(render, callee->macro, args, out);
    if (callee->kind == WEIR_METHOD)
        return weir_call_builtin(render, method->builtin, &method->self, args,
                                 out);
    if (callee->kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, callee);
    return weir_render_fail(render, "a %s can not be called",
                            weir_value_type(callee));
}

/* ---- arguments ---- */

static int add_list(struct weir_render *render, const struct weir_value *value,
                    struct weir_args *out)
{
    struct weir_list items;
    int rc = weir_value_items(render, value, &items);

    for (size_t i = 0; i < items.n && !rc; i++)
        rc = weir_list_add(render, &out->positional, &items.items[i]);
    return rc;
}

static int add_named(struct weir_render *render, const struct weir_value *key,
                     const struct weir_value *value, struct weir_args *out)
{
    struct weir_value *found;
    int rc;

    if (key->kind != WEIR_STRING)
        return weir_render_fail(render,
                                "the name of an argument must be a string");
    rc = weir_dict_find(render, &out->named, key, &found);
    if (!rc && found)
        rc = weir_render_fail(render,
                              "the argument '%.*s' twice; leave one "
                              "out",
                              (int)(key->text.n < 64 ? key->text.n : 64),
                              key->text.bytes);
    return rc ? rc : weir_dict_put(render, &out->named, key, value);
}

static int add_dict(struct weir_render *render, const struct weir_value *value,
                    struct weir_args *out)
{
    int rc = 0;

    if (value->kind != WEIR_DICT)
        return weir_render_fail(render, "** wants a dict, not a %s",
                                weir_value_type(value));
    for (size_t i = 0; i < value->dict->n && !rc; i++)
        rc = add_named(render, &value->dict->entries[i].key,
                       &value->dict->entries[i].value, out);
    return rc;
}

int weir_eval_args(struct weir_render *render, struct weir_scope *scope,
                   const struct weir_node *args, struct weir_args *out)
{
    struct weir_value value;
    int rc = 0;

    *out = (struct weir_args){{0}, {0}};
    for (; args && !rc; args = args->next) {
        rc = weir_eval(render, scope, args->a, &value);
        render->at = args->at;
        if (rc)
            break;
        if (args->kind == WEIR_N_ARG)
            rc = weir_list_add(render, &out->positional, &value);
        else if (args->kind == WEIR_N_ARG_LIST)
            rc = add_list(render, &value, out);
        else if (args->kind == WEIR_N_ARG_DICT)
            rc = add_dict(render, &value, out);
        else
            rc = add_named(render, &args->value, &value, out);
    }
    return rc;
}
