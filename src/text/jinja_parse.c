/* SPDX-License-Identifier: Apache-2.0 */
/* Statements: the tags of a template. */
#include "text/jinja_render.h"

/* ---- parts of statements ---- */

static int expect_tag_end(struct weir_parser *parser)
{
    if (parser->token->kind != WEIR_T_TAG_END)
        return weir_parse_fail(parser, "'%%}' should stand here");
    parser->token = parser->token->next;
    return 0;
}

static int parse_single_target(struct weir_parser *parser, int with_members,
                               struct weir_node **out)
{
    const struct weir_token *next;
    struct weir_value value;

    *out = weir_parse_node(parser, WEIR_N_NAME);
    if (!*out)
        return parser->err->code;
    value = weir_string(parser->token->text.bytes, parser->token->text.n);
    if (weir_text_is(value.text, "true") || weir_text_is(value.text, "True") ||
        weir_text_is(value.text, "false") ||
        weir_text_is(value.text, "False") || weir_text_is(value.text, "none") ||
        weir_text_is(value.text, "None"))
        return weir_parse_fail(parser, "a constant can not be set");
    if (weir_parse_name(parser, &(*out)->name))
        return parser->err->code;
    if (!with_members || !weir_parse_is_op(parser, "."))
        return 0;
    next = parser->token->next;
    parser->token = next;
    if (next->kind != WEIR_T_NAME)
        return weir_parse_fail(parser, "a name should stand behind the point");
    (*out)->kind = WEIR_N_MEMBER;
    (*out)->value = weir_string(next->text.bytes, next->text.n);
    parser->token = next->next;
    return 0;
}

/* Behind an opening bracket, or where there is none */
static int parse_targets(struct weir_parser *parser, int with_members,
                         struct weir_node **out)
{
    struct weir_node *tuple, **tail;
    int rc;

    if (weir_parse_skip_op(parser, "(")) {
        rc = weir_parse_deeper(parser);
        if (!rc)
            rc = parse_targets(parser, 0, out);
        parser->depth--;
        if (!rc)
            rc = weir_parse_expect_op(parser, ")");
    } else {
        rc = parse_single_target(parser, with_members, out);
    }
    if (rc || !weir_parse_is_op(parser, ","))
        return rc;
    tuple = weir_parse_node(parser, WEIR_N_TUPLE);
    if (!tuple)
        return parser->err->code;
    tuple->a = *out;
    tail = &(*out)->next;
    *out = tuple;
    while (!rc && weir_parse_skip_op(parser, ",")) {
        if (weir_parse_is_name(parser, "in") || weir_parse_is_op(parser, "=") ||
            weir_parse_is_op(parser, ")"))
            break;
        if (weir_parse_skip_op(parser, "(")) {
            rc = weir_parse_deeper(parser);
            if (!rc)
                rc = parse_targets(parser, 0, tail);
            parser->depth--;
            if (!rc)
                rc = weir_parse_expect_op(parser, ")");
        } else {
            rc = parse_single_target(parser, 0, tail);
        }
        tail = rc ? tail : &(*tail)->next;
    }
    return rc;
}

int weir_parse_target(struct weir_parser *parser, int with_members,
                      struct weir_node **out)
{
    return parse_targets(parser, with_members, out);
}

static int parse_body(struct weir_parser *parser, const char *const *ends,
                      struct weir_node **out);

/* Statements up to {% end %} with `end` and what closes it */
static int parse_to(struct weir_parser *parser, const char *end,
                    struct weir_node **out)
{
    const char *const ends[] = {end, NULL};
    int rc = parse_body(parser, ends, out);

    if (rc)
        return rc;
    parser->token = parser->token->next;
    return expect_tag_end(parser);
}

/* ---- statements, each behind its word ---- */

static int parse_if(struct weir_parser *parser, struct weir_node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    struct weir_node **tail = &node->a;
    int rc = 0, is_else = 0;

    while (!rc) {
        *tail = weir_parse_node(parser, WEIR_N_BRANCH);
        if (!*tail)
            return parser->err->code;
        if (!is_else)
            rc = weir_parse_tuple(parser, 0, &(*tail)->a);
        if (!rc)
            rc = expect_tag_end(parser);
        if (!rc)
            rc = parse_body(parser, is_else ? ends + 2 : ends, &(*tail)->body);
        if (rc || weir_parse_skip_name(parser, "endif"))
            break;
        is_else = weir_parse_is_name(parser, "else");
        parser->token = parser->token->next;
        tail = &(*tail)->next;
    }
    return rc ? rc : expect_tag_end(parser);
}

static int parse_for(struct weir_parser *parser, struct weir_node *node)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    int rc = weir_parse_target(parser, 0, &node->a);

    if (!rc && !weir_parse_skip_name(parser, "in"))
        rc = weir_parse_fail(parser, "'in' should stand here");
    if (!rc)
        rc = weir_parse_tuple(parser, 0, &node->b);
    if (!rc && weir_parse_skip_name(parser, "if"))
        rc = weir_parse_expression(parser, &node->c);
    if (!rc && weir_parse_is_name(parser, "recursive"))
        rc = weir_jinja_fail(parser->jinja, parser->token->at, WEIR_ENOTSUP,
                             parser->err,
                             "recursive loops are not known here; write a "
                             "macro that calls itself");
    if (!rc)
        rc = expect_tag_end(parser);
    parser->n_loops++;
    if (!rc)
        rc = parse_body(parser, ends, &node->body);
    parser->n_loops--;
    if (rc)
        return rc;
    if (!weir_parse_skip_name(parser, "else")) {
        parser->token = parser->token->next;
        return expect_tag_end(parser);
    }
    rc = expect_tag_end(parser);
    return rc ? rc : parse_to(parser, "endfor", &node->other);
}

static int parse_set(struct weir_parser *parser, struct weir_node *node)
{
    int rc = weir_parse_target(parser, 1, &node->a);

    if (rc)
        return rc;
    if (weir_parse_skip_op(parser, "=")) {
        rc = weir_parse_tuple(parser, 1, &node->b);
        return rc ? rc : expect_tag_end(parser);
    }
    node->kind = WEIR_N_SET_BLOCK;
    if (weir_parse_skip_op(parser, "|"))
        rc = weir_parse_filters(parser, &node->b);
    if (!rc)
        rc = expect_tag_end(parser);
    return rc ? rc : parse_to(parser, "endset", &node->body);
}

/* "(a, b=1)" */
static int parse_params(struct weir_parser *parser, struct weir_node **tail)
{
    int rc = weir_parse_expect_op(parser, "("), has_default = 0, more = 1;

    while (!rc && !weir_parse_skip_op(parser, ")")) {
        if (!more)
            return weir_parse_fail(parser, "a comma or ')' should stand here");
        *tail = weir_parse_node(parser, WEIR_N_PARAM);
        if (!*tail)
            return parser->err->code;
        rc = weir_parse_name(parser, &(*tail)->name);
        if (!rc && weir_parse_skip_op(parser, "=")) {
            has_default = 1;
            rc = weir_parse_expression(parser, &(*tail)->a);
        } else if (!rc && has_default) {
            rc = weir_parse_fail(parser, "a parameter without a default "
                                         "behind one with it");
        }
        more = weir_parse_skip_op(parser, ",");
        tail = &(*tail)->next;
    }
    return rc;
}

/* The body of a macro, whose loops and arguments are its own */
static int parse_macro_body(struct weir_parser *parser, const char *end,
                            struct weir_node *macro)
{
    unsigned n_loops = parser->n_loops;
    int sees = parser->sees, rc;

    parser->n_loops = 0;
    parser->sees = 0;
    rc = parse_to(parser, end, &macro->body);
    macro->op = parser->sees;
    parser->n_loops = n_loops;
    parser->sees = sees;
    return rc;
}

static int parse_macro(struct weir_parser *parser, struct weir_node *node)
{
    int rc = weir_parse_name(parser, &node->name);

    if (!rc)
        rc = parse_params(parser, &node->a);
    if (!rc)
        rc = expect_tag_end(parser);
    return rc ? rc : parse_macro_body(parser, "endmacro", node);
}

static int parse_caller(struct weir_parser *parser, struct weir_node *node)
{
    int rc = 0;

    node->b = weir_parse_node(parser, WEIR_N_MACRO);
    if (!node->b)
        return parser->err->code;
    node->b->name = parser->jinja->caller;
    if (weir_parse_is_op(parser, "("))
        rc = parse_params(parser, &node->b->a);
    if (!rc)
        rc = weir_parse_expression(parser, &node->a);
    if (!rc && node->a->kind != WEIR_N_CALL)
        rc = weir_parse_fail(parser, "a call should stand here");
    if (!rc)
        rc = expect_tag_end(parser);
    return rc ? rc : parse_macro_body(parser, "endcall", node->b);
}

static int parse_filtered(struct weir_parser *parser, struct weir_node *node)
{
    int rc = weir_parse_filters(parser, &node->b);

    if (!rc)
        rc = expect_tag_end(parser);
    return rc ? rc : parse_to(parser, "endfilter", &node->body);
}

static int parse_with(struct weir_parser *parser, struct weir_node *node)
{
    struct weir_node **tail = &node->a;
    int rc = 0;

    while (!rc && parser->token->kind != WEIR_T_TAG_END) {
        if (tail != &node->a)
            rc = weir_parse_expect_op(parser, ",");
        *tail = weir_parse_node(parser, WEIR_N_SET);
        if (!*tail)
            return parser->err->code;
        if (!rc)
            rc = parse_single_target(parser, 0, &(*tail)->a);
        if (!rc)
            rc = weir_parse_expect_op(parser, "=");
        if (!rc)
            rc = weir_parse_expression(parser, &(*tail)->b);
        tail = &(*tail)->next;
    }
    if (!rc)
        rc = expect_tag_end(parser);
    return rc ? rc : parse_to(parser, "endwith", &node->body);
}

/* What marks an answer for training: here a scope and nothing more. */
static int parse_generation(struct weir_parser *parser, struct weir_node *node)
{
    int rc = expect_tag_end(parser);

    return rc ? rc : parse_to(parser, "endgeneration", &node->body);
}

static int parse_jump(struct weir_parser *parser, struct weir_node *node)
{
    (void)node;
    if (parser->n_loops)
        return expect_tag_end(parser);
    return weir_parse_fail(parser, "a break or continue outside of a loop");
}

static const struct {
    const char *word;
    enum weir_node_kind kind;
    int (*parse)(struct weir_parser *parser, struct weir_node *node);
} statements[] = {
    {"if", WEIR_N_IF, parse_if},
    {"for", WEIR_N_FOR, parse_for},
    {"set", WEIR_N_SET, parse_set},
    {"macro", WEIR_N_MACRO, parse_macro},
    {"call", WEIR_N_CALLER, parse_caller},
    {"filter", WEIR_N_FILTERED, parse_filtered},
    {"with", WEIR_N_WITH, parse_with},
    {"generation", WEIR_N_WITH, parse_generation},
    {"break", WEIR_N_BREAK, parse_jump},
    {"continue", WEIR_N_CONTINUE, parse_jump},
};

/* Loops stay open in what calls itself in them, but not in a macro. */
static int parse_tag(struct weir_parser *parser, struct weir_node **out)
{
    const struct weir_token *word = parser->token;
    int rc;

    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        if (!weir_parse_is_name(parser, statements[i].word))
            continue;
        *out = weir_parse_node(parser, statements[i].kind);
        if (!*out)
            return parser->err->code;
        parser->token = word->next;
        rc = weir_parse_deeper(parser);
        if (!rc)
            rc = statements[i].parse(parser, *out);
        parser->depth--;
        return rc;
    }
    if (word->kind != WEIR_T_NAME)
        return weir_parse_fail(parser, "the name of a tag should stand here");
    if (word->text.n > 3 && !memcmp(word->text.bytes, "end", 3))
        return weir_parse_fail(parser, "an end of what has not begun");
    return weir_jinja_fail(parser->jinja, word->at, WEIR_ENOTSUP, parser->err,
                           "no tag called '%.*s' is known here; "
                           "weir-template(1) lists those that are",
                           word->text.n < 64 ? (int)word->text.n : 64,
                           word->text.bytes);
}

static int parse_output(struct weir_parser *parser, struct weir_node **out)
{
    int rc;

    *out = weir_parse_node(parser, WEIR_N_OUTPUT);
    if (!*out)
        return parser->err->code;
    rc = weir_parse_tuple(parser, 1, &(*out)->a);
    if (!rc && parser->token->kind != WEIR_T_OUTPUT_END)
        rc = weir_parse_fail(parser, "'}}' should stand here");
    parser->token = rc ? parser->token : parser->token->next;
    return rc;
}

static int is_one_of(const struct weir_parser *parser, const char *const *words)
{
    for (; words && *words; words++)
        if (weir_parse_is_name(parser, *words))
            return 1;
    return 0;
}

/* The last of the words is the one that there must be. */
static int missing(struct weir_parser *parser, const char *const *ends)
{
    while (ends[1])
        ends++;
    return weir_parse_fail(parser, "{%% %s %%} is missing", *ends);
}

/*
 * Statements up to a tag with one of the words `ends`, at which the parser then
 * stands, or with NULL up to the end of the template.
 */
static int parse_body(struct weir_parser *parser, const char *const *ends,
                      struct weir_node **tail)
{
    int rc = 0;

    while (!rc) {
        const struct weir_token *token = parser->token;

        if (token->kind == WEIR_T_END)
            return ends ? missing(parser, ends) : 0;
        parser->token = token->next;
        if (token->kind == WEIR_T_TEXT) {
            *tail = weir_parse_node(parser, WEIR_N_TEXT);
            if (!*tail)
                return parser->err->code;
            (*tail)->value = weir_string(token->text.bytes, token->text.n);
        } else if (token->kind == WEIR_T_OUTPUT_BEGIN) {
            rc = parse_output(parser, tail);
        } else if (is_one_of(parser, ends)) {
            return 0;
        } else {
            rc = parse_tag(parser, tail);
        }
        tail = rc ? tail : &(*tail)->next;
    }
    return rc;
}

int weir_parse_template(struct weir_parser *parser, struct weir_node **out)
{
    return parse_body(parser, NULL, out);
}
