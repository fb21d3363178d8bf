/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which texts may be written: an automaton over bytes with a stack, since JSON
 * nests.  grammar_schema.c makes one of a JSON schema (2020-12, a part of it),
 * grammar_tools.c one of the tools that a model may call; grammar_walk.c goes
 * through it byte by byte, and grammar_mask.c says which tokens may come next.
 *
 * Of the JSON that a schema allows a grammar has a part, so that a weak model
 * comes to an end: members come in the order of `properties`, others after
 * them; between two tokens of JSON stands nothing, a space, or a line feed and
 * at most WEIR_GRAMMAR_INDENT spaces or tabs; numbers have at most 18 digits
 * before the point, 17 behind it and 2 in the exponent, and those within
 * bounds, which are whole, have none (grammar_range.c); nesting ends at
 * WEIR_GRAMMAR_DEPTH.  Where a schema names properties and says nothing of
 * others there are none.  Keys that are not named have no escapes.
 *
 * Of every state some end can be reached: what leads nowhere is left out.
 */
#ifndef WEIR_TEXT_GRAMMAR_H
#define WEIR_TEXT_GRAMMAR_H

#include <stdatomic.h>

#include "base/json.h"

#define WEIR_GRAMMAR_NODES  (1u << 17) /* most nodes */
#define WEIR_GRAMMAR_DEPTH  62         /* most calls within each other */
#define WEIR_GRAMMAR_INDENT 20
#define WEIR_GRAMMAR_LENGTH 4096 /* most of maxLength, minItems and so on */

enum weir_node_kind {
    WEIR_NODE_RETURN, /* node 0 alone */
    WEIR_NODE_BYTES,  /* a byte from low to high, then next */
    WEIR_NODE_SPLIT,  /* next, or other */
    WEIR_NODE_CALL,   /* other up to its return, then next */
};

/* To complete a text from here that many calls are needed, or it cannot be. */
#define WEIR_GRAMMAR_NEVER 255

struct weir_grammar_node {
    uint8_t kind, low, high, need;
    uint32_t next, other;
};

/* How a template has calls of tools written */
struct weir_tool_style {
    const char *begin, *end; /* around one call, or around the list of them */
    int is_list;             /* [{...}, {...}] */
};

struct weir_grammar {
    struct weir_grammar_node *nodes; /* [n_nodes] allocated */
    uint32_t n_nodes, start;
    /* Special tokens that are a text here, and are shown; or NULL */
    const struct weir_tool_style *style;
    atomic_uint n_users;
};

/* What an answer must be */
struct weir_answer_shape {
    const json_t *schema; /* JSON of this schema; NULL: any text */
    /* Tools that may be called, each with a name, parameters and strict, or
     * NULL; and how, which must outlive the grammar. */
    const json_t *tools;
    const struct weir_tool_style *style;
    int must_call; /* nothing but calls */
    int one_call;
};

/*
 * *grammar has one user; release with weir_grammar_release().  WEIR_EARG for a
 * schema that is wrong, or has a keyword that is not supported here (of tools
 * that are not strict these are passed over), with a JSON pointer to it;
 * WEIR_ELIMIT when it is too large, or WEIR_ENOMEM.
 */
int weir_grammar_new(const struct weir_answer_shape *shape,
                     struct weir_grammar **grammar, struct weir_err *err);

/* One more user, in any thread */
struct weir_grammar *weir_grammar_share(struct weir_grammar *grammar);
void weir_grammar_release(struct weir_grammar *grammar); /* may be NULL */

#endif
