/* SPDX-License-Identifier: Apache-2.0 */
#include "text/grammar.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/grammar_parts.h"

int weir_grammar_fail(struct weir_grammar_builder *b, int rc, const char *fmt,
                      ...)
{
    char message[sizeof(b->err->message)];
    va_list args;

    if (b->rc)
        return b->rc;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    b->rc =
        weir_err_set(b->err, rc, "the schema at '%s': %s", b->path, message);
    return b->rc;
}

/* ---- nodes ---- */

/* Node 0 after an error, so that indices stay good. */
static uint32_t add_node(struct weir_grammar_builder *b,
                         struct weir_grammar_node node)
{
    uint32_t n = b->n_nodes == b->capacity ? 2 * b->capacity : b->capacity;
    struct weir_grammar_node *nodes = b->nodes;

    if (b->rc)
        return 0;
    if (b->n_nodes == WEIR_GRAMMAR_NODES) {
        weir_grammar_fail(b, WEIR_ELIMIT,
                          "it needs more than the %u states that a grammar may "
                          "have; let it be smaller",
                          WEIR_GRAMMAR_NODES);
        return 0;
    }
    if (n != b->capacity)
        nodes = realloc(b->nodes, n * sizeof(*nodes));
    if (!nodes) {
        b->rc = weir_err_nomem(b->err, n * sizeof(*nodes), "a grammar");
        return 0;
    }
    b->nodes = nodes;
    b->capacity = n;
    node.need = WEIR_GRAMMAR_NEVER;
    nodes[b->n_nodes] = node;
    return b->n_nodes++;
}

uint32_t weir_grammar_bytes(struct weir_grammar_builder *b, unsigned low,
                            unsigned high, uint32_t next)
{
    return add_node(b, (struct weir_grammar_node){
                           .kind = WEIR_NODE_BYTES,
                           .low = (uint8_t)low,
                           .high = (uint8_t)high,
                           .next = next,
                       });
}

uint32_t weir_grammar_split(struct weir_grammar_builder *b, uint32_t next,
                            uint32_t other)
{
    return add_node(b, (struct weir_grammar_node){.kind = WEIR_NODE_SPLIT,
                                                  .next = next,
                                                  .other = other});
}

/* A call whose caller returns at once is as good as going there. */
uint32_t weir_grammar_call(struct weir_grammar_builder *b, uint32_t rule,
                           uint32_t next)
{
    if (next == 0)
        return rule;
    return add_node(b, (struct weir_grammar_node){.kind = WEIR_NODE_CALL,
                                                  .next = next,
                                                  .other = rule});
}

uint32_t weir_grammar_never(struct weir_grammar_builder *b)
{
    return weir_grammar_bytes(b, 1, 0, 0);
}

uint32_t weir_grammar_later(struct weir_grammar_builder *b)
{
    return weir_grammar_never(b);
}

void weir_grammar_set(struct weir_grammar_builder *b, uint32_t later,
                      uint32_t next)
{
    struct weir_grammar_node *node = &b->nodes[later];

    if (b->rc)
        return;
    node->kind = WEIR_NODE_SPLIT;
    node->next = node->other = next;
}

uint32_t weir_grammar_text(struct weir_grammar_builder *b, const char *text,
                           size_t n_bytes, uint32_t next)
{
    while (n_bytes && !b->rc) {
        unsigned byte = (unsigned char)text[--n_bytes];

        next = weir_grammar_bytes(b, byte, byte, next);
    }
    return next;
}

/* Characters of n bytes, from `low` to `high` as these are ordered */
static uint32_t add_chars(struct weir_grammar_builder *b,
                          const unsigned char *low, const unsigned char *high,
                          size_t n, uint32_t next)
{
    static const unsigned char least[] = {0x80, 0x80, 0x80};
    static const unsigned char most[] = {0xbf, 0xbf, 0xbf};
    unsigned from = low[0], to = high[0];
    uint32_t part = 0;
    int has_part = 0;

    if (n == 1)
        return weir_grammar_bytes(b, from, to, next);
    if (from == to)
        return weir_grammar_bytes(b, from, to,
                                  add_chars(b, low + 1, high + 1, n - 1, next));
    if (memcmp(low + 1, least, n - 1)) {
        part = add_chars(b, low + 1, most, n - 1, next);
        part = weir_grammar_bytes(b, from, from, part);
        has_part = 1;
        from++;
    }
    if (memcmp(high + 1, most, n - 1)) {
        uint32_t last = add_chars(b, least, high + 1, n - 1, next);

        last = weir_grammar_bytes(b, to, to, last);
        part = has_part ? weir_grammar_split(b, last, part) : last;
        has_part = 1;
        to--;
    }
    if (from <= to) {
        uint32_t middle = add_chars(b, least, most, n - 1, next);

        middle = weir_grammar_bytes(b, from, to, middle);
        part = has_part ? weir_grammar_split(b, middle, part) : middle;
    }
    return part;
}

uint32_t weir_grammar_chars(struct weir_grammar_builder *b, uint32_t low,
                            uint32_t high, uint32_t next)
{
    /* where another length begins, or surrogates do or end */
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xffff, 0x10ffff};
    uint32_t all = weir_grammar_never(b);
    char from[4], to[4];

    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        uint32_t first = i ? ends[i - 1] + 1 : 0, last = ends[i];

        if (first == 0xd800)
            first = 0xe000;
        first = first < low ? low : first;
        last = last > high ? high : last;
        if (first > last)
            continue;
        weir_utf8_encode(first, from);
        all = weir_grammar_split(b,
                                 add_chars(b, (unsigned char *)from,
                                           (unsigned char *)to,
                                           weir_utf8_encode(last, to), next),
                                 all);
    }
    return all;
}

uint32_t weir_grammar_rule(struct weir_grammar_builder *b, const void *what,
                           int *is_new)
{
    *is_new = 0;
    for (size_t i = 0; i < b->n_rules; i++)
        if (b->rules[i].what == what)
            return b->rules[i].node;
    if (b->n_rules == WEIR_GRAMMAR_RULES) {
        weir_grammar_fail(b, WEIR_ELIMIT,
                          "more than %d items and references; let it be "
                          "smaller",
                          WEIR_GRAMMAR_RULES);
        return 0;
    }
    *is_new = 1;
    b->rules[b->n_rules].what = what;
    b->rules[b->n_rules].node = weir_grammar_later(b);
    return b->rules[b->n_rules++].node;
}

/* ---- paths ---- */

size_t weir_grammar_enter(struct weir_grammar_builder *b, const char *name)
{
    size_t before = b->n_path, most = sizeof(b->path) - 3;

    if (b->n_path < most)
        b->path[b->n_path++] = '/';
    for (; *name && b->n_path < most; name++)
        if (*name == '~' || *name == '/') {
            b->path[b->n_path++] = '~';
            b->path[b->n_path++] = *name == '~' ? '0' : '1';
        } else {
            b->path[b->n_path++] = *name;
        }
    b->path[b->n_path] = '\0';
    return before;
}

void weir_grammar_leave(struct weir_grammar_builder *b, size_t n_path)
{
    b->n_path = n_path;
    b->path[n_path] = '\0';
}

/* ---- the whole ---- */

static unsigned need_of(const struct weir_grammar_node *nodes,
                        const struct weir_grammar_node *node)
{
    unsigned next = nodes[node->next].need, other = nodes[node->other].need;

    switch (node->kind) {
    case WEIR_NODE_BYTES:
        return node->low > node->high ? WEIR_GRAMMAR_NEVER : next;
    case WEIR_NODE_SPLIT:
        return next < other ? next : other;
    case WEIR_NODE_CALL:
        if (next == WEIR_GRAMMAR_NEVER || other >= WEIR_GRAMMAR_DEPTH)
            return WEIR_GRAMMAR_NEVER;
        return next > other + 1 ? next : other + 1;
    default:
        return 0;
    }
}

/* The least that each node needs; few rounds, as ends have low numbers. */
static void find_needs(struct weir_grammar_builder *b)
{
    int changes = 1;

    while (changes) {
        changes = 0;
        for (uint32_t i = 0; i < b->n_nodes; i++) {
            unsigned need = need_of(b->nodes, &b->nodes[i]);

            changes |= need < b->nodes[i].need;
            if (need < b->nodes[i].need)
                b->nodes[i].need = (uint8_t)need;
        }
    }
}

static uint32_t build(struct weir_grammar_builder *b,
                      const struct weir_answer_shape *shape)
{
    uint32_t start;

    add_node(b, (struct weir_grammar_node){.kind = WEIR_NODE_RETURN});
    if (!shape->tools) {
        b->root = shape->schema;
        start = weir_grammar_schema(b, shape->schema, 0);
    } else {
        start = weir_grammar_tools(b, shape);
    }
    start =
        weir_grammar_split(b, start, weir_grammar_bytes(b, ' ', ' ', start));
    if (b->rc)
        return 0;
    find_needs(b);
    if (b->nodes[start].need > WEIR_GRAMMAR_DEPTH)
        weir_grammar_fail(b, WEIR_EARG, "no text of at most %d levels fits it",
                          WEIR_GRAMMAR_DEPTH);
    return start;
}

int weir_grammar_new(const struct weir_answer_shape *shape,
                     struct weir_grammar **out, struct weir_err *err)
{
    struct weir_grammar_builder *b = calloc(1, sizeof(*b));
    struct weir_grammar *grammar = calloc(1, sizeof(*grammar));
    int rc;

    *out = NULL;
    if (b)
        b->nodes = malloc(256 * sizeof(*b->nodes));
    if (!b || !grammar || !b->nodes) {
        rc = weir_err_nomem(err, sizeof(*b), "a grammar");
    } else {
        b->capacity = 256;
        b->err = err;
        grammar->start = build(b, shape);
        rc = b->rc;
    }
    if (!rc) {
        grammar->nodes = b->nodes;
        grammar->n_nodes = b->n_nodes;
        grammar->style = shape->tools ? shape->style : NULL;
        atomic_init(&grammar->n_users, 1);
        *out = grammar;
    } else {
        if (b)
            free(b->nodes);
        free(grammar);
    }
    free(b);
    return rc;
}

struct weir_grammar *weir_grammar_share(struct weir_grammar *grammar)
{
    if (grammar)
        atomic_fetch_add(&grammar->n_users, 1);
    return grammar;
}

void weir_grammar_release(struct weir_grammar *grammar)
{
    if (!grammar || atomic_fetch_sub(&grammar->n_users, 1) > 1)
        return;
    free(grammar->nodes);
    free(grammar);
}
