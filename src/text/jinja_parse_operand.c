/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Operands of expressions: constants, names and brackets, and what stands right
 * behind them: members, items, calls, filters and tests.
 */
#include "text/jinja_render.h"

typedef int parse_fn(struct weir_parser *parser, struct weir_node **out);

/* ---- the innermost ---- */

/* Expressions up to the bracket `end`, a comma behind each but the last */
static int parse_items(struct weir_parser *parser, const char *end,
                       parse_fn *item, struct weir_node **tail)
{
    int rc = 0, more = 1;

    while (!rc && !weir_parse_skip_op(parser, end)) {
        if (!more)
            return weir_parse_fail(parser, "a comma or '%s' should stand here",
                                   end);
        rc = item(parser, tail);
        tail = rc ? tail : &(*tail)->next;
        more = weir_parse_skip_op(parser, ",");
    }
    return rc;
}

static int parse_pair(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    *out = weir_parse_node(parser, WEIR_N_PAIR);
    if (!*out)
        return parser->err->code;
    rc = weir_parse_expression(parser, &(*out)->a);
    if (!rc)
        rc = weir_parse_expect_op(parser, ":");
    return rc ? rc : weir_parse_expression(parser, &(*out)->b);
}

static int parse_bracketed(struct weir_parser *parser, struct weir_node **out)
{
    int is_list = weir_parse_is_op(parser, "[");

    *out = weir_parse_node(parser, is_list ? WEIR_N_LIST : WEIR_N_DICT);
    if (!*out)
        return parser->err->code;
    parser->token = parser->token->next;
    return is_list ? parse_items(parser, "]", weir_parse_expression, &(*out)->a)
                   : parse_items(parser, "}", parse_pair, &(*out)->a);
}

static int parse_parentheses(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    if (weir_parse_is_op(parser, "(") &&
        parser->token->next->kind == WEIR_T_OP &&
        weir_text_is(parser->token->next->text, ")")) {
        *out = weir_parse_node(parser, WEIR_N_TUPLE);
        parser->token = parser->token->next->next;
        return *out ? 0 : parser->err->code;
    }
    parser->token = parser->token->next;
    rc = weir_parse_tuple(parser, 1, out);
    return rc ? rc : weir_parse_expect_op(parser, ")");
}

/* True, none and so on */
static int constant_of(struct weir_text text, struct weir_value *value)
{
    if (weir_text_is(text, "true") || weir_text_is(text, "True"))
        *value = weir_bool(1);
    else if (weir_text_is(text, "false") || weir_text_is(text, "False"))
        *value = weir_bool(0);
    else if (weir_text_is(text, "none") || weir_text_is(text, "None"))
        *value = weir_none();
    else
        return 0;
    return 1;
}

static int parse_word(struct weir_parser *parser, struct weir_node **out)
{
    struct weir_value value;
    int is_constant = constant_of(parser->token->text, &value);
    int rc;

    *out = weir_parse_node(parser, is_constant ? WEIR_N_CONST : WEIR_N_NAME);
    if (!*out)
        return parser->err->code;
    if (is_constant) {
        (*out)->value = value;
        parser->token = parser->token->next;
        return 0;
    }
    rc = weir_parse_name(parser, &(*out)->name);
    if ((*out)->name == parser->jinja->varargs)
        parser->sees |= WEIR_TAKES_VARARGS;
    if ((*out)->name == parser->jinja->kwargs)
        parser->sees |= WEIR_TAKES_KWARGS;
    return rc;
}

/* Strings beside each other are one. */
static int parse_strings(struct weir_parser *parser, struct weir_node **out)
{
    const struct weir_token *first = parser->token, *token;
    size_t n = 0;
    char *text;

    *out = weir_parse_node(parser, WEIR_N_CONST);
    if (!*out)
        return parser->err->code;
    for (token = first; token->kind == WEIR_T_STRING; token = token->next)
        n += token->value.text.n;
    parser->token = token;
    (*out)->value = first->value;
    if (first->next == token)
        return 0;
    text = weir_jinja_take(parser->jinja, n, parser->err);
    if (!text)
        return parser->err->code;
    (*out)->value = weir_string(text, n);
    for (token = first; token->kind == WEIR_T_STRING; token = token->next) {
        memcpy(text, token->value.text.bytes, token->value.text.n);
        text += token->value.text.n;
    }
    return 0;
}

int weir_parse_primary(struct weir_parser *parser, struct weir_node **out)
{
    const struct weir_token *token = parser->token;

    if (token->kind == WEIR_T_NAME)
        return parse_word(parser, out);
    if (token->kind == WEIR_T_STRING)
        return parse_strings(parser, out);
    if (token->kind == WEIR_T_NUMBER) {
        *out = weir_parse_node(parser, WEIR_N_CONST);
        if (!*out)
            return parser->err->code;
        (*out)->value = token->value;
        parser->token = token->next;
        return 0;
    }
    if (weir_parse_is_op(parser, "("))
        return parse_parentheses(parser, out);
    if (weir_parse_is_op(parser, "[") || weir_parse_is_op(parser, "{"))
        return parse_bracketed(parser, out);
    return weir_parse_fail(parser, "an expression should stand here");
}

/* ---- what stands behind an operand ---- */

static int starts_range_end(const struct weir_parser *parser)
{
    return weir_parse_is_op(parser, ":") || weir_parse_is_op(parser, "]") ||
           weir_parse_is_op(parser, ",");
}

/* An index, or from:to:step */
static int parse_index(struct weir_parser *parser, struct weir_node **out)
{
    struct weir_node *first = NULL;
    int rc = 0;

    if (!weir_parse_is_op(parser, ":"))
        rc = weir_parse_expression(parser, &first);
    if (rc || !weir_parse_is_op(parser, ":")) {
        *out = first;
        return rc;
    }
    *out = weir_parse_node(parser, WEIR_N_RANGE);
    if (!*out)
        return parser->err->code;
    parser->token = parser->token->next;
    (*out)->a = first;
    if (!starts_range_end(parser))
        rc = weir_parse_expression(parser, &(*out)->b);
    if (!rc && weir_parse_skip_op(parser, ":") && !starts_range_end(parser))
        rc = weir_parse_expression(parser, &(*out)->c);
    return rc;
}

/* Several indices are a tuple, which may be a key of a dict. */
static int parse_brackets(struct weir_parser *parser, struct weir_node **node)
{
    struct weir_node *item = weir_parse_node(parser, WEIR_N_ITEM), *tuple;
    int rc;

    if (!item)
        return parser->err->code;
    parser->token = parser->token->next;
    item->a = *node;
    *node = item;
    rc = parse_index(parser, &item->b);
    if (rc || !weir_parse_is_op(parser, ",")) {
        if (!rc && item->b->kind == WEIR_N_RANGE)
            item->kind = WEIR_N_SLICE;
        return rc ? rc : weir_parse_expect_op(parser, "]");
    }
    tuple = weir_parse_node(parser, WEIR_N_TUPLE);
    if (!tuple)
        return parser->err->code;
    tuple->a = item->b;
    item->b = tuple;
    parser->token = parser->token->next;
    return parse_items(parser, "]", weir_parse_expression, &tuple->a->next);
}

static int parse_dot(struct weir_parser *parser, struct weir_node **node)
{
    const struct weir_token *token = parser->token->next;
    struct weir_node *made;

    parser->token = token;
    if (token->kind == WEIR_T_NAME) {
        made = weir_parse_node(parser, WEIR_N_ATTRIBUTE);
        if (!made)
            return parser->err->code;
        made->value = weir_string(token->text.bytes, token->text.n);
    } else if (token->kind == WEIR_T_NUMBER && token->value.kind == WEIR_INT) {
        made = weir_parse_node(parser, WEIR_N_ITEM);
        if (made)
            made->b = weir_parse_node(parser, WEIR_N_CONST);
        if (!made || !made->b)
            return parser->err->code;
        made->b->value = token->value;
    } else {
        return weir_parse_fail(parser, "a name should stand behind the point");
    }
    made->a = *node;
    *node = made;
    parser->token = token->next;
    return 0;
}

static int parse_arg(struct weir_parser *parser, struct weir_node **out)
{
    const struct weir_token *token = parser->token;
    enum weir_node_kind kind = WEIR_N_ARG;

    if (weir_parse_is_op(parser, "*"))
        kind = WEIR_N_ARG_LIST;
    else if (weir_parse_is_op(parser, "**"))
        kind = WEIR_N_ARG_DICT;
    else if (token->kind == WEIR_T_NAME && token->next->kind == WEIR_T_OP &&
             weir_text_is(token->next->text, "="))
        kind = WEIR_N_ARG_NAMED;
    *out = weir_parse_node(parser, kind);
    if (!*out)
        return parser->err->code;
    if (kind == WEIR_N_ARG_NAMED) {
        (*out)->value = weir_string(token->text.bytes, token->text.n);
        parser->token = token->next->next;
    } else if (kind != WEIR_N_ARG) {
        parser->token = token->next;
    }
    return weir_parse_expression(parser, &(*out)->a);
}

/* Python's order: what has a name comes last. */
static int check_args(struct weir_parser *parser, const struct weir_node *args)
{
    int has_named = 0, has_dict = 0, has_list = 0, bad = 0;

    for (; args; args = args->next) {
        bad |= args->kind == WEIR_N_ARG && (has_named | has_dict | has_list);
        bad |= args->kind == WEIR_N_ARG_NAMED && has_dict;
        bad |= args->kind == WEIR_N_ARG_LIST && (has_list | has_dict);
        bad |= args->kind == WEIR_N_ARG_DICT && has_dict;
        has_named |= args->kind == WEIR_N_ARG_NAMED;
        has_list |= args->kind == WEIR_N_ARG_LIST;
        has_dict |= args->kind == WEIR_N_ARG_DICT;
    }
    return bad ? weir_parse_fail(parser, "arguments in a wrong order") : 0;
}

int weir_parse_args(struct weir_parser *parser, struct weir_node **out)
{
    int rc = weir_parse_expect_op(parser, "(");

    if (!rc)
        rc = parse_items(parser, ")", parse_arg, out);
    return rc ? rc : check_args(parser, *out);
}

static int parse_call(struct weir_parser *parser, struct weir_node **node)
{
    struct weir_node *call = weir_parse_node(parser, WEIR_N_CALL);

    if (!call)
        return parser->err->code;
    call->a = *node;
    *node = call;
    return weir_parse_args(parser, &call->b);
}

int weir_parse_postfix(struct weir_parser *parser, struct weir_node **node)
{
    int rc = 0;

    while (!rc) {
        if (weir_parse_is_op(parser, "."))
            rc = parse_dot(parser, node);
        else if (weir_parse_is_op(parser, "["))
            rc = parse_brackets(parser, node);
        else if (weir_parse_is_op(parser, "("))
            rc = parse_call(parser, node);
        else
            break;
    }
    return rc;
}

/* ---- filters and tests ---- */

static int unknown(struct weir_parser *parser, const struct weir_token *token,
                   const char *what)
{
    return weir_jinja_fail(parser->jinja, token->at, WEIR_ENOTSUP, parser->err,
                           "no %s called '%.*s' is known here; "
                           "weir-template(1) lists those that are",
                           what, token->text.n < 64 ? (int)token->text.n : 64,
                           token->text.bytes);
}

/* `*node` becomes the operand, and may be NULL. */
static int parse_filter(struct weir_parser *parser, struct weir_node **node)
{
    const struct weir_token *token = parser->token;
    struct weir_node *filter = weir_parse_node(parser, WEIR_N_FILTER);

    if (!filter)
        return parser->err->code;
    if (token->kind != WEIR_T_NAME)
        return weir_parse_fail(parser, "the name of a filter should stand "
                                       "here");
    filter->builtin = weir_filter_find(token->text);
    if (!filter->builtin)
        return unknown(parser, token, "filter");
    parser->token = token->next;
    filter->a = *node;
    *node = filter;
    return weir_parse_is_op(parser, "(") ? weir_parse_args(parser, &filter->b)
                                         : 0;
}

int weir_parse_filters(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    *out = NULL;
    do
        rc = parse_filter(parser, out);
    while (!rc && weir_parse_skip_op(parser, "|"));
    return rc;
}

/* The argument of a test may stand there without brackets. */
static int starts_bare_arg(const struct weir_parser *parser)
{
    const struct weir_token *token = parser->token;

    if (token->kind == WEIR_T_NAME)
        return !weir_parse_is_name(parser, "else") &&
               !weir_parse_is_name(parser, "or") &&
               !weir_parse_is_name(parser, "and") &&
               !weir_parse_is_name(parser, "is");
    return token->kind == WEIR_T_STRING || token->kind == WEIR_T_NUMBER ||
           weir_parse_is_op(parser, "[") || weir_parse_is_op(parser, "{");
}

static int parse_bare_arg(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    *out = weir_parse_node(parser, WEIR_N_ARG);
    if (!*out)
        return parser->err->code;
    rc = weir_parse_primary(parser, &(*out)->a);
    return rc ? rc : weir_parse_postfix(parser, &(*out)->a);
}

static int parse_test(struct weir_parser *parser, struct weir_node **node)
{
    struct weir_node *test = weir_parse_node(parser, WEIR_N_TEST), *negated;
    const struct weir_token *token;
    int is_not, rc;

    parser->token = parser->token->next;
    negated = weir_parse_node(parser, WEIR_N_NOT);
    if (!test || !negated)
        return parser->err->code;
    is_not = weir_parse_skip_name(parser, "not");
    token = parser->token;
    if (token->kind != WEIR_T_NAME)
        return weir_parse_fail(parser, "the name of a test should stand here");
    test->builtin = weir_builtin_find(weir_tests, token->text);
    if (!test->builtin)
        return unknown(parser, token, "test");
    parser->token = token->next;
    test->a = *node;
    negated->a = test;
    *node = is_not ? negated : test;
    rc = weir_parse_is_op(parser, "(") ? weir_parse_args(parser, &test->b)
         : starts_bare_arg(parser)     ? parse_bare_arg(parser, &test->b)
                                       : 0;
    if (!rc && weir_parse_is_name(parser, "is"))
        rc = weir_parse_fail(parser, "a test of a test; put it into brackets");
    return rc;
}

int weir_parse_filter_expr(struct weir_parser *parser, struct weir_node **node)
{
    int rc = 0;

    while (!rc) {
        if (weir_parse_skip_op(parser, "|"))
            rc = parse_filter(parser, node);
        else if (weir_parse_is_name(parser, "is"))
            rc = parse_test(parser, node);
        else if (weir_parse_is_op(parser, "("))
            rc = parse_call(parser, node);
        else
            break;
    }
    return rc;
}
