/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Expressions, with Jinja's own order of binding, weakest first: the inline
 * if, or, and, not, comparisons, + and -, ~, * / // %, **, and the signs.  A
 * filter binds stronger than all of them, but for a sign before its operand.
 */
#include "text/jinja_render.h"

typedef int parse_fn(struct weir_parser *parser, struct weir_node **out);

/* ---- operators, from the strongest ---- */

/* A node of two: *left becomes its `a`, and what `next` parses its `b`. */
static int parse_right(struct weir_parser *parser, enum weir_node_kind kind,
                       int op, parse_fn *next, struct weir_node **left)
{
    struct weir_node *node = weir_parse_node(parser, kind);

    if (!node)
        return parser->err->code;
    parser->token = parser->token->next;
    node->op = op;
    node->a = *left;
    *left = node;
    return next(parser, &node->b);
}

struct rank {
    const char *word;
    enum weir_op op;
};

/* Binary operators of one rank, from the left */
static int parse_rank(struct weir_parser *parser, const struct rank *ranks,
                      parse_fn *next, struct weir_node **out)
{
    int rc = next(parser, out);
    size_t i;

    while (!rc) {
        for (i = 0; ranks[i].word; i++)
            if (weir_parse_is_op(parser, ranks[i].word))
                break;
        if (!ranks[i].word)
            break;
        rc = parse_right(parser, WEIR_N_BINARY, ranks[i].op, next, out);
    }
    return rc;
}

static int parse_signed(struct weir_parser *parser, int with_filter,
                        struct weir_node **out)
{
    enum weir_node_kind kind =
        weir_parse_is_op(parser, "-") ? WEIR_N_NEG : WEIR_N_POS;
    int rc;

    if (kind == WEIR_N_NEG || weir_parse_is_op(parser, "+")) {
        *out = weir_parse_node(parser, kind);
        if (!*out)
            return parser->err->code;
        parser->token = parser->token->next;
        rc = weir_parse_deeper(parser);
        if (!rc)
            rc = parse_signed(parser, 0, &(*out)->a);
        parser->depth--;
    } else {
        rc = weir_parse_primary(parser, out);
    }
    if (!rc)
        rc = weir_parse_postfix(parser, out);
    return !rc && with_filter ? weir_parse_filter_expr(parser, out) : rc;
}

static int parse_unary(struct weir_parser *parser, struct weir_node **out)
{
    return parse_signed(parser, 1, out);
}

static int parse_power(struct weir_parser *parser, struct weir_node **out)
{
    static const struct rank ranks[] = {{"**", WEIR_OP_POW}, {NULL, 0}};

    return parse_rank(parser, ranks, parse_unary, out);
}

static int parse_product(struct weir_parser *parser, struct weir_node **out)
{
    static const struct rank ranks[] = {{"*", WEIR_OP_MUL},
                                        {"/", WEIR_OP_DIV},
                                        {"//", WEIR_OP_FLOOR},
                                        {"%", WEIR_OP_MOD},
                                        {NULL, 0}};

    return parse_rank(parser, ranks, parse_power, out);
}

static int parse_concat(struct weir_parser *parser, struct weir_node **out)
{
    struct weir_node *concat, **tail;
    int rc = parse_product(parser, out);

    if (rc || !weir_parse_is_op(parser, "~"))
        return rc;
    concat = weir_parse_node(parser, WEIR_N_CONCAT);
    if (!concat)
        return parser->err->code;
    concat->a = *out;
    tail = &(*out)->next;
    *out = concat;
    while (!rc && weir_parse_skip_op(parser, "~")) {
        rc = parse_product(parser, tail);
        tail = rc ? tail : &(*tail)->next;
    }
    return rc;
}

static int parse_sum(struct weir_parser *parser, struct weir_node **out)
{
    static const struct rank ranks[] = {
        {"+", WEIR_OP_ADD}, {"-", WEIR_OP_SUB}, {NULL, 0}};

    return parse_rank(parser, ranks, parse_concat, out);
}

/* Passes a comparison's operator; -1: none stands here. */
static int pass_comparison(struct weir_parser *parser)
{
    static const struct rank ranks[] = {{"==", WEIR_OP_EQ}, {"!=", WEIR_OP_NE},
                                        {"<", WEIR_OP_LT},  {"<=", WEIR_OP_LE},
                                        {">", WEIR_OP_GT},  {">=", WEIR_OP_GE}};
    const struct weir_token *next = parser->token->next;

    for (size_t i = 0; i < sizeof(ranks) / sizeof(ranks[0]); i++)
        if (weir_parse_skip_op(parser, ranks[i].word))
            return ranks[i].op;
    if (weir_parse_skip_name(parser, "in"))
        return WEIR_OP_IN;
    if (!weir_parse_is_name(parser, "not") || next->kind != WEIR_T_NAME ||
        !weir_text_is(next->text, "in"))
        return -1;
    parser->token = next->next;
    return WEIR_OP_NOT_IN;
}

static int parse_comparison(struct weir_parser *parser, struct weir_node **out)
{
    struct weir_node *compare, *operand, **tail = NULL;
    int rc = parse_sum(parser, out), op;

    while (!rc) {
        operand = weir_parse_node(parser, WEIR_N_OPERAND);
        if (!operand)
            return parser->err->code;
        op = pass_comparison(parser);
        if (op < 0)
            break;
        if (!tail) {
            compare = weir_parse_node(parser, WEIR_N_COMPARE);
            if (!compare)
                return parser->err->code;
            compare->at = operand->at;
            compare->a = *out;
            *out = compare;
            tail = &compare->b;
        }
        *tail = operand;
        tail = &operand->next;
        operand->op = op;
        rc = parse_sum(parser, &operand->a);
    }
    return rc;
}

static int parse_not(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    if (!weir_parse_is_name(parser, "not"))
        return parse_comparison(parser, out);
    *out = weir_parse_node(parser, WEIR_N_NOT);
    if (!*out)
        return parser->err->code;
    parser->token = parser->token->next;
    rc = weir_parse_deeper(parser);
    if (!rc)
        rc = parse_not(parser, &(*out)->a);
    parser->depth--;
    return rc;
}

static int parse_and(struct weir_parser *parser, struct weir_node **out)
{
    int rc = parse_not(parser, out);

    while (!rc && weir_parse_is_name(parser, "and"))
        rc = parse_right(parser, WEIR_N_AND, 0, parse_not, out);
    return rc;
}

int weir_parse_or(struct weir_parser *parser, struct weir_node **out)
{
    int rc = weir_parse_deeper(parser);

    if (rc)
        return rc;
    rc = parse_and(parser, out);
    while (!rc && weir_parse_is_name(parser, "or"))
        rc = parse_right(parser, WEIR_N_OR, 0, parse_and, out);
    parser->depth--;
    return rc;
}

int weir_parse_expression(struct weir_parser *parser, struct weir_node **out)
{
    unsigned depth = parser->depth;
    struct weir_node *condition;
    int rc = weir_parse_or(parser, out);

    while (!rc && weir_parse_is_name(parser, "if")) {
        condition = weir_parse_node(parser, WEIR_N_COND);
        if (!condition)
            return parser->err->code;
        parser->token = parser->token->next;
        condition->a = *out;
        *out = condition;
        rc = weir_parse_deeper(parser);
        if (!rc)
            rc = weir_parse_or(parser, &condition->b);
        if (!rc && weir_parse_skip_name(parser, "else"))
            rc = weir_parse_expression(parser, &condition->c);
    }
    parser->depth = depth;
    return rc;
}

/* Where a tuple without brackets ends, so that its last comma may too */
static int ends_tuple(const struct weir_parser *parser)
{
    return parser->token->kind == WEIR_T_OUTPUT_END ||
           parser->token->kind == WEIR_T_TAG_END ||
           weir_parse_is_op(parser, ")") || weir_parse_is_name(parser, "in");
}

int weir_parse_tuple(struct weir_parser *parser, int with_condition,
                     struct weir_node **out)
{
    parse_fn *item = with_condition ? weir_parse_expression : weir_parse_or;
    struct weir_node *tuple, **tail;
    int rc = item(parser, out);

    if (rc || !weir_parse_is_op(parser, ","))
        return rc;
    tuple = weir_parse_node(parser, WEIR_N_TUPLE);
    if (!tuple)
        return parser->err->code;
    tuple->a = *out;
    tail = &(*out)->next;
    *out = tuple;
    while (!rc && weir_parse_skip_op(parser, ",") && !ends_tuple(parser)) {
        rc = item(parser, tail);
        tail = rc ? tail : &(*tail)->next;
    }
    return rc;
}
