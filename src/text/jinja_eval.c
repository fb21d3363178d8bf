/* SPDX-License-Identifier: Apache-2.0 */
/* Expressions. */
#include "text/jinja_render.h"

static int eval_items(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *node, struct weir_value *out)
{
    const struct weir_node *item;
    struct weir_value value, made;
    int rc = weir_value_make(
        render, node->kind == WEIR_N_LIST ? WEIR_LIST : WEIR_TUPLE, &made);

    for (item = node->a; item && !rc; item = item->next) {
        rc = weir_eval(render, scope, item, &value);
        if (!rc)
            rc = weir_list_add(render, made.list, &value);
    }
    *out = made;
    return rc;
}

static int eval_dict(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node, struct weir_value *out)
{
    const struct weir_node *pair;
    struct weir_value key, value, made;
    int rc = weir_value_make(render, WEIR_DICT, &made);

    for (pair = node->a; pair && !rc; pair = pair->next) {
        rc = weir_eval(render, scope, pair->a, &key);
        if (!rc)
            rc = weir_eval(render, scope, pair->b, &value);
        render->at = pair->at;
        if (!rc)
            rc = weir_dict_put(render, made.dict, &key, &value);
    }
    *out = made;
    return rc;
}

static int eval_sign(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node, struct weir_value *out)
{
    const struct weir_value zero = weir_int(0);
    struct weir_value value;
    int rc = weir_eval(render, scope, node->a, &value);

    render->at = node->at;
    if (!rc && value.kind == WEIR_FLOAT && node->kind == WEIR_N_NEG) {
        *out = weir_real(-value.real);
        return 0;
    }
    if (rc || weir_value_is_number(&value))
        return rc ? rc
                  : weir_op_binary(render,
                                   node->kind == WEIR_N_NEG ? WEIR_OP_SUB
                                                            : WEIR_OP_ADD,
                                   &zero, &value, out);
    if (value.kind == WEIR_UNDEFINED)
        return weir_render_undefined(render, &value);
    return weir_render_fail(render, "a %s has no sign",
                            weir_value_type(&value));
}

static int eval_logic(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *node, struct weir_value *out)
{
    int rc = weir_eval(render, scope, node->a, out);

    if (rc || weir_value_truth(out) == (node->kind == WEIR_N_OR))
        return rc;
    return weir_eval(render, scope, node->b, out);
}

static int eval_binary(struct weir_render *render, struct weir_scope *scope,
                       const struct weir_node *node, struct weir_value *out)
{
    struct weir_value a, b;
    int rc = weir_eval(render, scope, node->a, &a);

    if (!rc)
        rc = weir_eval(render, scope, node->b, &b);
    render->at = node->at;
    return rc ? rc : weir_op_binary(render, node->op, &a, &b, out);
}

static int eval_concat(struct weir_render *render, struct weir_scope *scope,
                       const struct weir_node *node, struct weir_value *out)
{
    const struct weir_node *part;
    struct weir_value value, text;
    int rc = weir_eval(render, scope, node->a, &value);

    if (!rc)
        rc = weir_value_str(render, &value, out);
    for (part = node->a->next; part && !rc; part = part->next) {
        rc = weir_eval(render, scope, part, &value);
        if (!rc)
            rc = weir_value_str(render, &value, &text);
        if (!rc)
            rc = weir_text_join(render, out->text, text.text, out);
    }
    return rc;
}

static int eval_compare(struct weir_render *render, struct weir_scope *scope,
                        const struct weir_node *node, struct weir_value *out)
{
    const struct weir_node *operand;
    struct weir_value left, right;
    int truth = 1, rc = weir_eval(render, scope, node->a, &left);

    for (operand = node->b; operand && truth && !rc; operand = operand->next) {
        rc = weir_eval(render, scope, operand->a, &right);
        render->at = operand->at;
        if (!rc)
            rc = weir_op_compare(render, operand->op, &left, &right, &truth);
        left = right;
    }
    *out = weir_bool(truth);
    return rc;
}

static int eval_condition(struct weir_render *render, struct weir_scope *scope,
                          const struct weir_node *node, struct weir_value *out)
{
    static const struct weir_text name = {"the inline if without an else", 29};
    struct weir_value value;
    int rc = weir_eval(render, scope, node->b, &value);

    if (rc)
        return rc;
    if (weir_value_truth(&value))
        return weir_eval(render, scope, node->a, out);
    *out = weir_undefined(name);
    return node->c ? weir_eval(render, scope, node->c, out) : 0;
}

static int eval_slice(struct weir_render *render, struct weir_scope *scope,
                      const struct weir_node *node, struct weir_value *out)
{
    const struct weir_node *range = node->b;
    const struct weir_node *const parts[] = {range->a, range->b, range->c};
    struct weir_value value, bounds[3] = {{0}, {0}, {0}};
    int rc = weir_eval(render, scope, node->a, &value);

    for (int i = 0; i < 3 && !rc; i++)
        if (parts[i])
            rc = weir_eval(render, scope, parts[i], &bounds[i]);
    render->at = node->at;
    return rc ? rc : weir_value_slice(render, &value, bounds, out);
}

static int eval_item(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node, struct weir_value *out)
{
    struct weir_value value, key;
    int rc = weir_eval(render, scope, node->a, &value);

    if (!rc && node->kind == WEIR_N_ATTRIBUTE) {
        render->at = node->at;
        return weir_value_attribute(render, &value, node->value.text, out);
    }
    if (!rc)
        rc = weir_eval(render, scope, node->b, &key);
    render->at = node->at;
    return rc ? rc : weir_value_item(render, &value, &key, out);
}

static int eval_call(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node, struct weir_value *out)
{
    struct weir_value callee;
    struct weir_args args;
    int rc = weir_eval(render, scope, node->a, &callee);

    if (!rc)
        rc = weir_eval_args(render, scope, node->b, &args);
    render->at = node->at;
    return rc ? rc : weir_call_value(render, &callee, &args, out);
}

int weir_eval_filter(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node,
                     const struct weir_value *input, struct weir_value *out)
{
    struct weir_value operand;
    struct weir_args args;
    int rc = weir_render_enter(render);

    if (rc || !node->a)
        operand = *input;
    else if (node->kind == WEIR_N_FILTER && input)
        rc = weir_eval_filter(render, scope, node->a, input, &operand);
    else
        rc = weir_eval(render, scope, node->a, &operand);
    if (!rc)
        rc = weir_eval_args(render, scope, node->b, &args);
    render->at = node->at;
    if (!rc)
        rc = weir_call_builtin(render, node->builtin, &operand, &args, out);
    render->depth--;
    return rc;
}

static int eval_not(struct weir_render *render, struct weir_scope *scope,
                    const struct weir_node *node, struct weir_value *out)
{
    struct weir_value value;
    int rc = weir_eval(render, scope, node->a, &value);

    *out = weir_bool(!rc && !weir_value_truth(&value));
    return rc;
}

static int eval_node(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node, struct weir_value *out)
{
    switch (node->kind) {
    case WEIR_N_CONST:
        *out = node->value;
        return 0;
    case WEIR_N_NAME:
        return weir_scope_get(render, scope, node->name, out);
    case WEIR_N_TUPLE:
    case WEIR_N_LIST:
        return eval_items(render, scope, node, out);
    case WEIR_N_DICT:
        return eval_dict(render, scope, node, out);
    case WEIR_N_NEG:
    case WEIR_N_POS:
        return eval_sign(render, scope, node, out);
    case WEIR_N_NOT:
        return eval_not(render, scope, node, out);
    case WEIR_N_AND:
    case WEIR_N_OR:
        return eval_logic(render, scope, node, out);
    case WEIR_N_BINARY:
        return eval_binary(render, scope, node, out);
    case WEIR_N_CONCAT:
        return eval_concat(render, scope, node, out);
    case WEIR_N_COMPARE:
        return eval_compare(render, scope, node, out);
    case WEIR_N_COND:
        return eval_condition(render, scope, node, out);
    case WEIR_N_SLICE:
        return eval_slice(render, scope, node, out);
    case WEIR_N_ATTRIBUTE:
    case WEIR_N_ITEM:
        return eval_item(render, scope, node, out);
    case WEIR_N_CALL:
        return eval_call(render, scope, node, out);
    case WEIR_N_FILTER:
    case WEIR_N_TEST:
        return weir_eval_filter(render, scope, node, NULL, out);
    default:
        return weir_render_fail(render, "a range outside of an index");
    }
}

int weir_eval(struct weir_render *render, struct weir_scope *scope,
              const struct weir_node *node, struct weir_value *out)
{
    int rc = weir_render_enter(render);

    render->at = node->at;
    if (!rc)
        rc = weir_render_step(render, 1);
    if (!rc)
        rc = eval_node(render, scope, node, out);
    render->depth--;
    return rc;
}
