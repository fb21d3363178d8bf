/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Statements.  A loop's body, a macro, a call and a `with` have scopes of their
 * own, a loop's a new one for each item; `if` has none.
 */
#include "text/jinja_render.h"

/* ---- scopes ---- */

struct weir_scope *weir_scope_new(struct weir_render *render,
                                  struct weir_scope *outer)
{
    struct weir_scope *scope = weir_render_take(render, sizeof(*scope));

    if (scope)
        scope->outer = outer;
    return scope;
}

static struct weir_variable *find_here(const struct weir_scope *scope,
                                       const struct weir_name *name)
{
    struct weir_variable *variable = scope->variables;

    while (variable && variable->name != name)
        variable = variable->next;
    return variable;
}

int weir_scope_set(struct weir_render *render, struct weir_scope *scope,
                   const struct weir_name *name, const struct weir_value *value)
{
    struct weir_variable *variable = find_here(scope, name);

    if (!variable) {
        variable = weir_render_take(render, sizeof(*variable));
        if (!variable)
            return render->err->code;
        variable->name = name;
        variable->next = scope->variables;
        scope->variables = variable;
    }
    variable->value = *value;
    return 0;
}

int weir_scope_get(struct weir_render *render, const struct weir_scope *scope,
                   const struct weir_name *name, struct weir_value *out)
{
    const struct weir_variable *variable = NULL;
    const struct weir_builtin *function;
    struct weir_method *method;

    for (; scope && !variable; scope = scope->outer)
        variable = find_here(scope, name);
    *out = variable ? variable->value : weir_undefined(name->text);
    if (variable)
        return 0;
    function = weir_builtin_find(weir_functions, name->text);
    if (!function)
        return 0;
    method = weir_render_take(render, sizeof(*method));
    if (!method)
        return render->err->code;
    method->builtin = function;
    *out = (struct weir_value){.kind = WEIR_METHOD, .method = method};
    return 0;
}

/* ---- setting ---- */

static int set_member(struct weir_render *render,
                      const struct weir_scope *scope,
                      const struct weir_node *target,
                      const struct weir_value *value)
{
    struct weir_value object;
    int rc = weir_scope_get(render, scope, target->name, &object);

    render->at = target->at;
    if (rc)
        return rc;
    if (object.kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, &object);
    if (object.kind != WEIR_NAMESPACE)
        return weir_render_fail(render,
                                "a member of a %s can not be set; only those "
                                "of a namespace() can",
                                weir_value_type(&object));
    return weir_dict_put(render, object.dict, &target->value, value);
}

static int set_target(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *target,
                      const struct weir_value *value)
{
    const struct weir_node *part;
    struct weir_list items;
    size_t n = 0;
    int rc;

    if (target->kind == WEIR_N_NAME)
        return weir_scope_set(render, scope, target->name, value);
    if (target->kind == WEIR_N_MEMBER)
        return set_member(render, scope, target, value);
    render->at = target->at;
    rc = weir_value_items(render, value, &items);
    for (part = target->a; part; part = part->next)
        n++;
    if (!rc && n != items.n)
        rc = weir_render_fail(render,
                              "%zu values for %zu names; name as many as "
                              "there are",
                              items.n, n);
    part = target->a;
    for (size_t i = 0; i < n && !rc; i++, part = part->next)
        rc = set_target(render, scope, part, &items.items[i]);
    return rc;
}

static int exec_set(struct weir_render *render, struct weir_scope *scope,
                    const struct weir_node *node)
{
    struct weir_value value;
    int rc = weir_eval(render, scope, node->b, &value);

    return rc ? rc : set_target(render, scope, node->a, &value);
}

/* What the body prints, through the filters of a block if it has some */
static int capture_body(struct weir_render *render, struct weir_scope *outer,
                        const struct weir_node *node, struct weir_value *out)
{
    struct weir_scope *scope = weir_scope_new(render, outer);
    size_t mark = render->out->n_bytes;
    struct weir_value text;
    enum weir_flow flow;
    int rc;

    if (!scope)
        return render->err->code;
    rc = weir_exec(render, scope, node->body, &flow);
    if (!rc && flow != WEIR_GO_ON)
        rc = weir_render_stop(render, WEIR_ENOTSUP,
                              "break and continue can not leave a block here; "
                              "put them behind it");
    if (!rc)
        rc = weir_render_capture(render, mark, out);
    if (rc || !node->b)
        return rc;
    text = *out;
    return weir_eval_filter(render, outer, node->b, &text, out);
}

static int exec_set_block(struct weir_render *render, struct weir_scope *scope,
                          const struct weir_node *node)
{
    struct weir_value value;
    int rc = capture_body(render, scope, node, &value);

    return rc ? rc : set_target(render, scope, node->a, &value);
}

/* ---- printing ---- */

static int exec_output(struct weir_render *render, struct weir_scope *scope,
                       const struct weir_node *node)
{
    struct weir_value value;
    int rc = weir_eval(render, scope, node->a, &value);

    render->at = node->at;
    return rc ? rc : weir_render_str(render, &value);
}

static int exec_filtered(struct weir_render *render, struct weir_scope *scope,
                         const struct weir_node *node)
{
    struct weir_value value;
    int rc = capture_body(render, scope, node, &value);

    return rc ? rc : weir_render_str(render, &value);
}

/* ---- choosing and looping ---- */

static int exec_if(struct weir_render *render, struct weir_scope *scope,
                   const struct weir_node *node, enum weir_flow *flow)
{
    const struct weir_node *branch;
    struct weir_value value;
    int rc;

    for (branch = node->a; branch; branch = branch->next) {
        value = weir_bool(1);
        rc = branch->a ? weir_eval(render, scope, branch->a, &value) : 0;
        if (rc)
            return rc;
        if (weir_value_truth(&value))
            return weir_exec(render, scope, branch->body, flow);
    }
    return 0;
}

/* Keeps of the items those for which `for ... if` holds. */
static int filter_items(struct weir_render *render, struct weir_scope *outer,
                        const struct weir_node *node, struct weir_list *items)
{
    struct weir_list kept = {0};
    struct weir_scope *scope;
    struct weir_value value;
    int rc = 0;

    for (size_t i = 0; i < items->n && !rc; i++) {
        scope = weir_scope_new(render, outer);
        if (!scope)
            return render->err->code;
        rc = set_target(render, scope, node->a, &items->items[i]);
        if (!rc)
            rc = weir_eval(render, scope, node->c, &value);
        if (!rc && weir_value_truth(&value))
            rc = weir_list_add(render, &kept, &items->items[i]);
    }
    *items = kept;
    return rc;
}

static int exec_item(struct weir_render *render, struct weir_scope *outer,
                     const struct weir_node *node, struct weir_loop *loop,
                     enum weir_flow *flow)
{
    struct weir_scope *scope = weir_scope_new(render, outer);
    struct weir_value value = {.kind = WEIR_LOOP, .loop = loop};
    int rc;

    if (!scope)
        return render->err->code;
    rc = weir_scope_set(render, scope, render->jinja->loop, &value);
    if (!rc)
        rc = set_target(render, scope, node->a, &loop->items.items[loop->i]);
    return rc ? rc : weir_exec(render, scope, node->body, flow);
}

static int exec_for(struct weir_render *render, struct weir_scope *outer,
                    const struct weir_node *node)
{
    struct weir_loop *loop = weir_render_take(render, sizeof(*loop));
    enum weir_flow flow = WEIR_GO_ON;
    struct weir_scope *scope;
    struct weir_value value;
    int rc;

    if (!loop)
        return render->err->code;
    rc = weir_eval(render, outer, node->b, &value);
    render->at = node->b->at;
    if (!rc)
        rc = weir_value_items(render, &value, &loop->items);
    if (!rc && node->c)
        rc = filter_items(render, outer, node, &loop->items);
    if (rc)
        return rc;
    for (; loop->i < loop->items.n && !rc && flow != WEIR_BREAK; loop->i++)
        rc = exec_item(render, outer, node, loop, &flow);
    if (rc || loop->items.n || !node->other)
        return rc;
    scope = weir_scope_new(render, outer);
    return scope ? weir_exec(render, scope, node->other, &flow)
                 : render->err->code;
}

/* ---- macros and scopes ---- */

static int make_macro(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *node, struct weir_value *out)
{
    struct weir_macro *macro = weir_render_take(render, sizeof(*macro));

    if (!macro)
        return render->err->code;
    macro->node = node;
    macro->scope = scope;
    *out = (struct weir_value){.kind = WEIR_MACRO, .macro = macro};
    return 0;
}

static int exec_macro(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *node)
{
    struct weir_value macro;
    int rc = make_macro(render, scope, node, &macro);

    return rc ? rc : weir_scope_set(render, scope, node->name, &macro);
}

/* {% call f(x) %}: what stands in it is the argument `caller`. */
static int exec_caller(struct weir_render *render, struct weir_scope *scope,
                       const struct weir_node *node)
{
    struct weir_value callee, caller, text;
    struct weir_value key = {.kind = WEIR_STRING,
                             .text = render->jinja->caller->text};
    struct weir_args args = {{0}, {0}};
    int rc = weir_eval(render, scope, node->a->a, &callee);

    if (!rc)
        rc = weir_eval_args(render, scope, node->a->b, &args);
    if (!rc)
        rc = make_macro(render, scope, node->b, &caller);
    if (!rc)
        rc = weir_dict_put(render, &args.named, &key, &caller);
    render->at = node->at;
    if (!rc)
        rc = weir_call_value(render, &callee, &args, &text);
    return rc ? rc : weir_render_str(render, &text);
}

static int exec_with(struct weir_render *render, struct weir_scope *outer,
                     const struct weir_node *node, enum weir_flow *flow)
{
    struct weir_scope *scope = weir_scope_new(render, outer);
    const struct weir_node *set;
    struct weir_value value;
    int rc = 0;

    if (!scope)
        return render->err->code;
    for (set = node->a; set && !rc; set = set->next) {
        rc = weir_eval(render, outer, set->b, &value);
        if (!rc)
            rc = set_target(render, scope, set->a, &value);
    }
    return rc ? rc : weir_exec(render, scope, node->body, flow);
}

static int exec_one(struct weir_render *render, struct weir_scope *scope,
                    const struct weir_node *node, enum weir_flow *flow)
{
    switch (node->kind) {
    case WEIR_N_TEXT:
        return weir_render_put_text(render, node->value.text);
    case WEIR_N_OUTPUT:
        return exec_output(render, scope, node);
    case WEIR_N_IF:
        return exec_if(render, scope, node, flow);
    case WEIR_N_FOR:
        return exec_for(render, scope, node);
    case WEIR_N_SET:
        return exec_set(render, scope, node);
    case WEIR_N_SET_BLOCK:
        return exec_set_block(render, scope, node);
    case WEIR_N_MACRO:
        return exec_macro(render, scope, node);
    case WEIR_N_CALLER:
        return exec_caller(render, scope, node);
    case WEIR_N_FILTERED:
        return exec_filtered(render, scope, node);
    case WEIR_N_WITH:
        return exec_with(render, scope, node, flow);
    case WEIR_N_BREAK:
        *flow = WEIR_BREAK;
        return 0;
    default:
        *flow = WEIR_CONTINUE;
        return 0;
    }
}

int weir_exec(struct weir_render *render, struct weir_scope *scope,
              const struct weir_node *body, enum weir_flow *flow)
{
    int rc = weir_render_enter(render);

    *flow = WEIR_GO_ON;
    for (; body && !rc && *flow == WEIR_GO_ON; body = body->next) {
        render->at = body->at;
        rc = weir_render_step(render, 1);
        if (!rc)
            rc = exec_one(render, scope, body, flow);
    }
    render->depth--;
    return rc;
}
