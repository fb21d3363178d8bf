/* SPDX-License-Identifier: Apache-2.0 */
/* A parsed template. */
#ifndef WEIR_TEXT_JINJA_TREE_H
#define WEIR_TEXT_JINJA_TREE_H

#include "base/arena.h"
#include "text/jinja_value.h"

#define WEIR_NAME_BUCKETS 256

/* A name of a variable, once for each template */
struct weir_name {
    struct weir_text text;
    struct weir_name *next; /* in its bucket */
};

enum weir_op {
    WEIR_OP_ADD,
    WEIR_OP_SUB,
    WEIR_OP_MUL,
    WEIR_OP_DIV,
    WEIR_OP_FLOOR,
    WEIR_OP_MOD,
    WEIR_OP_POW,
    WEIR_OP_EQ,
    WEIR_OP_NE,
    WEIR_OP_LT,
    WEIR_OP_LE,
    WEIR_OP_GT,
    WEIR_OP_GE,
    WEIR_OP_IN,
    WEIR_OP_NOT_IN,
};

/*
 * Beside each kind the members that it uses.  Lists are chains of `next`; `*`
 * marks them here.
 */
enum weir_node_kind {
    /* expressions */
    WEIR_N_CONST,     /* value */
    WEIR_N_NAME,      /* name */
    WEIR_N_TUPLE,     /* a* */
    WEIR_N_LIST,      /* a* */
    WEIR_N_DICT,      /* a*, of WEIR_N_PAIR */
    WEIR_N_PAIR,      /* a key, b value */
    WEIR_N_NEG,       /* a */
    WEIR_N_POS,       /* a */
    WEIR_N_NOT,       /* a */
    WEIR_N_AND,       /* a, b */
    WEIR_N_OR,        /* a, b */
    WEIR_N_BINARY,    /* op, a, b */
    WEIR_N_CONCAT,    /* a* */
    WEIR_N_COMPARE,   /* a, b* of WEIR_N_OPERAND */
    WEIR_N_OPERAND,   /* op, a */
    WEIR_N_COND,      /* a if b else c; c may be NULL */
    WEIR_N_ATTRIBUTE, /* a, value: a string */
    WEIR_N_ITEM,      /* a, b */
    WEIR_N_SLICE,     /* a, b WEIR_N_RANGE */
    WEIR_N_RANGE,     /* a : b : c, each may be NULL */
    WEIR_N_CALL,      /* a, b* of the next four */
    WEIR_N_ARG,       /* a */
    WEIR_N_ARG_NAMED, /* value: a string, a */
    WEIR_N_ARG_LIST,  /* *a */
    WEIR_N_ARG_DICT,  /* **a */
    WEIR_N_FILTER,    /* a (NULL: the text of a block), builtin, b* as a call */
    WEIR_N_TEST,      /* a, builtin, b* as a call */
    /* statements */
    WEIR_N_TEXT,      /* value: a string */
    WEIR_N_OUTPUT,    /* a */
    WEIR_N_IF,        /* a* of WEIR_N_BRANCH */
    WEIR_N_BRANCH,    /* a (NULL: else), body* */
    WEIR_N_FOR,       /* a target, b items, c filter or NULL, body*, other* */
    WEIR_N_SET,       /* a target, b */
    WEIR_N_SET_BLOCK, /* a target, b filters or NULL, body* */
    WEIR_N_MEMBER,    /* a target: name, value: a string */
    WEIR_N_MACRO,     /* name, a* of WEIR_N_PARAM, op as weir_macro_flags,
                         body* */
    WEIR_N_PARAM,     /* name, a default or NULL */
    WEIR_N_CALLER,    /* a the call, b the macro that its body is */
    WEIR_N_FILTERED,  /* b filters, body* */
    WEIR_N_WITH,      /* a* of WEIR_N_SET, body* */
    WEIR_N_BREAK,
    WEIR_N_CONTINUE,
};

enum weir_macro_flags { WEIR_TAKES_VARARGS = 1, WEIR_TAKES_KWARGS = 2 };

struct weir_node {
    enum weir_node_kind kind;
    uint32_t at; /* byte of the source */
    int op;
    const struct weir_name *name;
    const struct weir_builtin *builtin;
    struct weir_value value;
    struct weir_node *a, *b, *c, *body, *other, *next;
};

struct weir_jinja {
    char *what;
    struct weir_arena arena;
    struct weir_text source; /* its lines end in \n */
    struct weir_name *names[WEIR_NAME_BUCKETS];
    struct weir_node *body;
    /* that the interpreter sets by itself */
    const struct weir_name *loop, *caller, *varargs, *kwargs;
};

/* Zeros that live as long as the template; NULL with the error. */
void *weir_jinja_take(struct weir_jinja *jinja, size_t n_bytes,
                      struct weir_err *err);

/* The name with this text, or NULL; with `add` it is made if need be. */
const struct weir_name *weir_name_find(const struct weir_jinja *jinja,
                                       struct weir_text text);
const struct weir_name *weir_name_add(struct weir_jinja *jinja,
                                      struct weir_text text,
                                      struct weir_err *err);

/* "FILE:LINE:COLUMN: text", and the code */
int weir_jinja_fail(const struct weir_jinja *jinja, uint32_t at, int code,
                    struct weir_err *err, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* ---- tokens ---- */

enum weir_token_kind {
    WEIR_T_END,
    WEIR_T_TEXT, /* text between tags, as it is to be printed */
    WEIR_T_OUTPUT_BEGIN,
    WEIR_T_OUTPUT_END,
    WEIR_T_TAG_BEGIN,
    WEIR_T_TAG_END,
    WEIR_T_NAME,   /* text */
    WEIR_T_OP,     /* text */
    WEIR_T_STRING, /* value */
    WEIR_T_NUMBER, /* value */
};

struct weir_token {
    enum weir_token_kind kind;
    uint32_t at;
    struct weir_text text;
    struct weir_value value;
    struct weir_token *next;
};

/* The tokens of jinja->source, the last of which is WEIR_T_END. */
int weir_jinja_lex(struct weir_jinja *jinja, struct weir_token **tokens,
                   struct weir_err *err);

/* ---- parsing ---- */

#define WEIR_MAX_NESTING 100 /* of tags, brackets and the like */

struct weir_parser {
    struct weir_jinja *jinja;
    const struct weir_token *token; /* the next one */
    unsigned depth;
    unsigned n_loops; /* that are open here */
    int sees;         /* weir_macro_flags of the macro that is open here */
    struct weir_err *err;
};

int weir_parse_fail(struct weir_parser *parser, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
struct weir_node *weir_parse_node(struct weir_parser *parser,
                                  enum weir_node_kind kind);
int weir_parse_is_op(const struct weir_parser *parser, const char *op);
int weir_parse_is_name(const struct weir_parser *parser, const char *name);
int weir_parse_skip_op(struct weir_parser *parser, const char *op);
int weir_parse_skip_name(struct weir_parser *parser, const char *name);
int weir_parse_expect_op(struct weir_parser *parser, const char *op);
/* Any name of a variable */
int weir_parse_name(struct weir_parser *parser, const struct weir_name **name);
int weir_parse_deeper(struct weir_parser *parser);

/* An expression; a tuple of them, if there are commas. */
int weir_parse_expression(struct weir_parser *parser, struct weir_node **out);
int weir_parse_tuple(struct weir_parser *parser, int with_condition,
                     struct weir_node **out);
/* `or` and what binds stronger: an expression without an inline if */
int weir_parse_or(struct weir_parser *parser, struct weir_node **out);
/* What stands between the brackets of a call, and the closing one */
int weir_parse_args(struct weir_parser *parser, struct weir_node **out);
/* "name | name(args)": filters on what an operand NULL stands for */
int weir_parse_filters(struct weir_parser *parser, struct weir_node **out);
/* a.b[c](d) and so on behind `node` */
int weir_parse_postfix(struct weir_parser *parser, struct weir_node **node);
/* A constant, a name or what is in brackets; then filters and tests on it */
int weir_parse_primary(struct weir_parser *parser, struct weir_node **out);
int weir_parse_filter_expr(struct weir_parser *parser, struct weir_node **node);
/* What is assigned to: a name, a name.member, or a tuple of names */
int weir_parse_target(struct weir_parser *parser, int with_members,
                      struct weir_node **out);

/* All of the template */
int weir_parse_template(struct weir_parser *parser, struct weir_node **out);

#endif
