/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Building a grammar from its end to its start: each function adds what comes
 * before the node `next`, and returns where that begins.  An error stays in the
 * builder and is looked for once, at the end.
 */
#ifndef WEIR_TEXT_GRAMMAR_PARTS_H
#define WEIR_TEXT_GRAMMAR_PARTS_H

#include "text/grammar.h"

#define WEIR_GRAMMAR_RULES 2048 /* schemas that are called */

struct weir_grammar_rule {
    const void *what; /* a schema, or an address that stands for something */
    uint32_t node;
};

struct weir_grammar_builder {
    struct weir_grammar_node *nodes; /* [n_nodes] of capacity */
    uint32_t n_nodes, capacity;
    struct weir_grammar_rule rules[WEIR_GRAMMAR_RULES];
    size_t n_rules;
    const json_t *root; /* of the schema, for $ref */
    int is_lenient;     /* keywords that only narrow may be passed over */
    char path[256];     /* a JSON pointer, cut where it is too long */
    size_t n_path;
    struct weir_err *err;
    int rc;
};

/* The first error stays. */
int weir_grammar_fail(struct weir_grammar_builder *b, int rc, const char *fmt,
                      ...) __attribute__((format(printf, 3, 4)));

/* ---- grammar.c: nodes ---- */

uint32_t weir_grammar_bytes(struct weir_grammar_builder *b, unsigned low,
                            unsigned high, uint32_t next);
uint32_t weir_grammar_split(struct weir_grammar_builder *b, uint32_t next,
                            uint32_t other);
uint32_t weir_grammar_call(struct weir_grammar_builder *b, uint32_t rule,
                           uint32_t next);
/* A node that is set later */
uint32_t weir_grammar_later(struct weir_grammar_builder *b);
void weir_grammar_set(struct weir_grammar_builder *b, uint32_t later,
                      uint32_t next);
/* A node from which no text goes on */
uint32_t weir_grammar_never(struct weir_grammar_builder *b);
uint32_t weir_grammar_text(struct weir_grammar_builder *b, const char *text,
                           size_t n_bytes, uint32_t next);
/* Characters from low to high, as UTF-8 */
uint32_t weir_grammar_chars(struct weir_grammar_builder *b, uint32_t low,
                            uint32_t high, uint32_t next);

/* The rule of `what`, which is new when *is_new: then its node is set later. */
uint32_t weir_grammar_rule(struct weir_grammar_builder *b, const void *what,
                           int *is_new);

/* ---- grammar_json.c: the tokens of JSON ---- */

uint32_t weir_grammar_space(struct weir_grammar_builder *b, uint32_t next);
/* White space around a byte */
uint32_t weir_grammar_mark(struct weir_grammar_builder *b, char mark,
                           uint32_t next);
/* `max` SIZE_MAX: no limit; in characters */
uint32_t weir_grammar_string(struct weir_grammar_builder *b, size_t min,
                             size_t max, uint32_t next);
uint32_t weir_grammar_number(struct weir_grammar_builder *b, int is_integer,
                             uint32_t next);
/* The text that JSON has for a value */
uint32_t weir_grammar_value(struct weir_grammar_builder *b, const json_t *value,
                            uint32_t next);
uint32_t weir_grammar_name(struct weir_grammar_builder *b, const char *name,
                           uint32_t next);
/* A name that is none of the keys of the object, which may be NULL */
uint32_t weir_grammar_other_name(struct weir_grammar_builder *b,
                                 const json_t *object, uint32_t next);
/* Any value, or any object */
uint32_t weir_grammar_any(struct weir_grammar_builder *b, uint32_t next);
uint32_t weir_grammar_any_object(struct weir_grammar_builder *b, uint32_t next);

/* ---- grammar_range.c ---- */

#define WEIR_GRAMMAR_MOST 999999999999999999 /* of a number */

/* From min to max, both within WEIR_GRAMMAR_MOST of 0; above and below: without
 * these themselves */
struct weir_grammar_bounds {
    int64_t min, max;
    int above, below;
};

uint32_t weir_grammar_range(struct weir_grammar_builder *b,
                            const struct weir_grammar_bounds *bounds,
                            int is_integer, uint32_t next);

/* ---- grammar_schema.c, grammar_tools.c ---- */

uint32_t weir_grammar_schema(struct weir_grammar_builder *b,
                             const json_t *schema, uint32_t next);

/* Calls, or with a text before them; see struct weir_answer_shape. */
uint32_t weir_grammar_tools(struct weir_grammar_builder *b,
                            const struct weir_answer_shape *shape);

/* Path of what is being built; returns what to give to _leave(). */
size_t weir_grammar_enter(struct weir_grammar_builder *b, const char *name);
void weir_grammar_leave(struct weir_grammar_builder *b, size_t n_path);

#endif
