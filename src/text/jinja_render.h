/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A rendering: what its parts (expressions, statements, functions) share.
 * Functions that return int give 0, or a negative code with render->err filled.
 */
#ifndef WEIR_TEXT_JINJA_RENDER_H
#define WEIR_TEXT_JINJA_RENDER_H

#include "base/arena.h"
#include "text/jinja.h"
#include "text/jinja_tree.h"
#include "text/jinja_value.h"

#define WEIR_MAX_DEPTH  500 /* of calls, statements, expressions and values */
#define WEIR_MAX_PARAMS 4   /* of a builtin */

/* Variables; scopes end at the one that holds what the caller gave. */
struct weir_scope {
    struct weir_scope *outer;
    struct weir_variable {
        const struct weir_name *name;
        struct weir_value value;
        struct weir_variable *next;
    } * variables;
};

struct weir_render {
    const struct weir_jinja *jinja;
    struct weir_arena arena;
    struct weir_buf *out; /* the text, and behind it strings in the making */
    struct weir_err *err;
    uint32_t at; /* byte of the source, for messages */
    unsigned depth;
    uint64_t n_steps;
    int64_t now;
};

/* The object `loop` */
struct weir_loop {
    struct weir_list items;
    size_t i;
    struct weir_value changed; /* what loop.changed() was called with */
};

struct weir_macro {
    const struct weir_node *node; /* with its parameters and its body */
    struct weir_scope *scope;     /* in which it was defined */
};

struct weir_args {
    struct weir_list positional;
    struct weir_dict named;
};

/* A call of a function, filter, test or method of weir's */
struct weir_call {
    struct weir_render *render;
    struct weir_value self; /* what is filtered, tested, or has the method */
    struct weir_value args[WEIR_MAX_PARAMS]; /* by parameter, or WEIR_ABSENT */
    const struct weir_args *all;
};

typedef int weir_builtin_fn(struct weir_call *call, struct weir_value *out);

struct weir_builtin {
    const char *name;
    const char *params; /* "a b"; "*": any, found in call->all */
    unsigned n_required;
    weir_builtin_fn *fn;
};

struct weir_method {
    const struct weir_builtin *builtin;
    struct weir_value self;
};

/* Tables that end with a name NULL; find gives NULL for an unknown name. */
extern const struct weir_builtin weir_text_filters[], weir_list_filters[],
    weir_value_filters[], weir_tests[], weir_functions[], weir_string_methods[],
    weir_list_methods[], weir_dict_methods[], weir_loop_methods[];
const struct weir_builtin *weir_builtin_find(const struct weir_builtin *table,
                                             struct weir_text name);
const struct weir_builtin *weir_filter_find(struct weir_text name);

/* WEIR_EFORMAT, with FILE:LINE:COLUMN before the text. */
int weir_render_fail(struct weir_render *render, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* The same for WEIR_ELIMIT, WEIR_ENOTSUP. */
int weir_render_stop(struct weir_render *render, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* For what is made of an undefined value that needs one */
int weir_render_undefined(struct weir_render *render,
                          const struct weir_value *value);

/* Counts steps: 1 for each node of the tree, and for every 64 bytes read. */
int weir_render_step(struct weir_render *render, size_t n);
/* Goes one level deeper; render->depth-- leaves it, after an error too. */
int weir_render_enter(struct weir_render *render);

/* An argument that is a string, a whole number; what is given for one that is
 * absent or None. */
int weir_call_text(struct weir_call *call, int i, const char *otherwise,
                   struct weir_text *text);
int weir_call_whole(struct weir_call *call, int i, int64_t otherwise,
                    int64_t *whole);

/* The methods that stand in a file of their own */
weir_builtin_fn weir_method_split, weir_method_rsplit, weir_method_splitlines,
    weir_method_partition, weir_method_rpartition, weir_method_join;

/* NULL after an error, whose code is render->err->code. */
void *weir_render_take(struct weir_render *render, size_t n_bytes);

/* Appends to the text. */
int weir_render_put(struct weir_render *render, const char *bytes, size_t n);
int weir_render_put_text(struct weir_render *render, struct weir_text text);
/* The text from byte `mark` on becomes a string instead. */
int weir_render_capture(struct weir_render *render, size_t mark,
                        struct weir_value *out);

/* Appends str(value), and repr(value). */
int weir_render_str(struct weir_render *render, const struct weir_value *value);
int weir_render_repr(struct weir_render *render,
                     const struct weir_value *value);
/* Appends a float as Python prints it: the shortest digits that give it. */
int weir_render_real(struct weir_render *render, double real);
/* str(value) as a value. */
int weir_value_str(struct weir_render *render, const struct weir_value *value,
                   struct weir_value *out);

/* The string `a` with `b` behind it. */
int weir_text_join(struct weir_render *render, struct weir_text a,
                   struct weir_text b, struct weir_value *out);

/* The value of JSON, whose strings stay where they are. */
int weir_value_from_json(struct weir_render *render, const json_t *json,
                         struct weir_value *out);

/* ---- what the tree does ---- */

int weir_eval(struct weir_render *render, struct weir_scope *scope,
              const struct weir_node *node, struct weir_value *out);
/* The arguments of a call, filter or test */
int weir_eval_args(struct weir_render *render, struct weir_scope *scope,
                   const struct weir_node *args, struct weir_args *out);
/* A filter as it stands in the tree, on a value that is there already */
int weir_eval_filter(struct weir_render *render, struct weir_scope *scope,
                     const struct weir_node *node,
                     const struct weir_value *input, struct weir_value *out);

/* How a run of statements ended */
enum weir_flow { WEIR_GO_ON, WEIR_BREAK, WEIR_CONTINUE };
int weir_exec(struct weir_render *render, struct weir_scope *scope,
              const struct weir_node *body, enum weir_flow *flow);

struct weir_scope *weir_scope_new(struct weir_render *render,
                                  struct weir_scope *outer);
int weir_scope_set(struct weir_render *render, struct weir_scope *scope,
                   const struct weir_name *name,
                   const struct weir_value *value);
/* Puts into `out` what the name means here, if only that it is undefined. */
int weir_scope_get(struct weir_render *render, const struct weir_scope *scope,
                   const struct weir_name *name, struct weir_value *out);

int weir_call_value(struct weir_render *render, const struct weir_value *callee,
                    const struct weir_args *args, struct weir_value *out);
int weir_call_macro(struct weir_render *render, const struct weir_macro *macro,
                    const struct weir_args *args, struct weir_value *out);
int weir_call_builtin(struct weir_render *render,
                      const struct weir_builtin *builtin,
                      const struct weir_value *self,
                      const struct weir_args *args, struct weir_value *out);

/* ---- operators ---- */

int weir_op_binary(struct weir_render *render, enum weir_op op,
                   const struct weir_value *a, const struct weir_value *b,
                   struct weir_value *out);
int weir_op_compare(struct weir_render *render, enum weir_op op,
                    const struct weir_value *a, const struct weir_value *b,
                    int *truth);
/* value.name and value[key]: undefined when there is none. */
int weir_value_attribute(struct weir_render *render,
                         const struct weir_value *value, struct weir_text name,
                         struct weir_value *out);
int weir_value_item(struct weir_render *render, const struct weir_value *value,
                    const struct weir_value *key, struct weir_value *out);
/* value[from:to:step]; WEIR_ABSENT and None: left out. */
int weir_value_slice(struct weir_render *render, const struct weir_value *value,
                     const struct weir_value bounds[3], struct weir_value *out);

/* ---- strings, for filters and methods alike ---- */

enum weir_case { WEIR_UPPER, WEIR_LOWER, WEIR_TITLE };
int weir_put_cased(struct weir_render *render, uint32_t c, enum weir_case to);
/* What a character is, for isalpha() and its like. */
enum weir_char_class {
    WEIR_ALPHA,
    WEIR_DIGIT,
    WEIR_IS_UPPER,
    WEIR_IS_LOWER,
    WEIR_PRINTABLE
};
uint32_t weir_char_case(uint32_t c, enum weir_case to);
int weir_char_is(uint32_t c, enum weir_char_class class);
int weir_text_cased(struct weir_render *render, struct weir_text text,
                    enum weir_case to, struct weir_value *out);
int weir_text_capitalized(struct weir_render *render, struct weir_text text,
                          struct weir_value *out);
/* Strips the characters in `set` (bytes NULL: white space): 1 left, 2 right */
struct weir_text weir_text_strip(struct weir_text text, struct weir_text set,
                                 int sides);
/* Replaces at most `most` times; `most` < 0: all. */
int weir_text_replaced(struct weir_render *render, struct weir_text text,
                       struct weir_text what, struct weir_text with,
                       int64_t most, struct weir_value *out);
/* The offset of `what` at or behind `from`, or -1. */
int64_t weir_text_find(struct weir_text text, struct weir_text what,
                       size_t from);
/* Where it is found last, or -1. */
int64_t weir_text_find_last(struct weir_text text, struct weir_text what);
/* Bytes of what ends a line at `at` < text.n, for splitlines(), or 0. */
size_t weir_text_line_end(struct weir_text text, size_t at);
/* printf in the way of Python: "%s of %d" */
int weir_text_format(struct weir_render *render, struct weir_text format,
                     const struct weir_value *args, struct weir_value *out);

/* json.dumps() */
struct weir_dump {
    struct weir_text indent;    /* bytes NULL: on one line */
    struct weir_text item, key; /* separators */
    int ascii, sorted;
};
int weir_render_json(struct weir_render *render, const struct weir_value *value,
                     const struct weir_dump *dump);

#endif
