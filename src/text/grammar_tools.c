/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of tools.  A text that may have calls goes through the automaton of
 * Knuth, Morris and Pratt for what begins one, so that it is free up to there;
 * from there on it must be calls, and after them it ends.
 */
#include <string.h>

#include "text/grammar_parts.h"

/* {"name": "...", "arguments": {...}} of one tool */
static uint32_t add_tool(struct weir_grammar_builder *b, const json_t *tool,
                         uint32_t next)
{
    const json_t *parameters = json_object_get(tool, "parameters");
    const char *name = json_string_value(json_object_get(tool, "name"));
    size_t before = weir_grammar_enter(b, name);
    uint32_t at = weir_grammar_space(b, weir_grammar_text(b, "}", 1, next));

    weir_grammar_enter(b, "parameters");
    b->root = parameters;
    b->is_lenient = !json_is_true(json_object_get(tool, "strict"));
    if (json_object_size(parameters))
        at = weir_grammar_schema(b, parameters, at);
    else
        at = weir_grammar_text(b, "{}", 2, at);
    at = weir_grammar_name(b, "arguments", weir_grammar_mark(b, ':', at));
    at = weir_grammar_name(b, name, weir_grammar_mark(b, ',', at));
    at = weir_grammar_name(b, "name", weir_grammar_mark(b, ':', at));
    weir_grammar_leave(b, before);
    return at;
}

/* A call of any of the tools */
static uint32_t add_call(struct weir_grammar_builder *b, const json_t *tools,
                         uint32_t next)
{
    uint32_t all = weir_grammar_never(b);

    for (size_t i = 0; i < json_array_size(tools) && !b->rc; i++)
        all = weir_grammar_split(b, add_tool(b, json_array_get(tools, i), next),
                                 all);
    return weir_grammar_text(b, "{", 1, weir_grammar_space(b, all));
}

/* What follows `begin`: [call, call] and `end` */
static uint32_t add_list(struct weir_grammar_builder *b,
                         const struct weir_answer_shape *shape)
{
    const char *end = shape->style->end;
    uint32_t close = weir_grammar_text(b, end, strlen(end), 0), more = 0, call;

    close = weir_grammar_text(b, "]", 1, weir_grammar_space(b, close));
    close = weir_grammar_space(b, close);
    if (!shape->one_call)
        more = weir_grammar_later(b);
    call = add_call(b, shape->tools, shape->one_call ? close : more);
    if (!shape->one_call)
        weir_grammar_set(
            b, more,
            weir_grammar_split(b, close, weir_grammar_mark(b, ',', call)));
    return weir_grammar_mark(b, '[', call);
}

/* What follows the first `begin`: call, `end`, `begin`, call, `end` */
static uint32_t add_row(struct weir_grammar_builder *b,
                        const struct weir_answer_shape *shape)
{
    const char *begin = shape->style->begin, *end = shape->style->end;
    uint32_t after = 0, call;

    if (!shape->one_call)
        after = weir_grammar_later(b);
    call = weir_grammar_text(b, end, strlen(end), after);
    call = weir_grammar_space(b, call);
    call = weir_grammar_space(b, add_call(b, shape->tools, call));
    if (!shape->one_call) {
        uint32_t more = weir_grammar_text(b, begin, strlen(begin), call);

        weir_grammar_set(b, after,
                         weir_grammar_split(b, 0, weir_grammar_space(b, more)));
    }
    return call;
}

/* How much of `text` is matched when `byte` comes after `n` bytes of it */
static size_t match(const char *text, size_t n, char byte)
{
    /* the longest end of all that which `text` begins with */
    for (size_t from = 0; from <= n; from++)
        if (!memcmp(text, text + from, n - from) && text[n - from] == byte)
            return n - from + 1;
    return 0;
}

/* Any text up to `begin`, which `calls` follows; it may end before that. */
static uint32_t add_free(struct weir_grammar_builder *b, const char *begin,
                         uint32_t calls)
{
    size_t n = strlen(begin);
    uint32_t states[64] = {0};

    if (n >= sizeof(states) / sizeof(states[0]))
        return weir_grammar_never(b);
    for (size_t i = 0; i < n; i++)
        states[i] = weir_grammar_later(b);
    states[n] = calls;
    for (size_t i = 0; i < n && !b->rc; i++) {
        uint32_t all = 0; /* the end */

        for (unsigned low = 0, high; low < 256; low = high + 1) {
            size_t to = match(begin, i, (char)low);

            high = low;
            while (high < 255 && match(begin, i, (char)(high + 1)) == to)
                high++;
            all = weir_grammar_split(
                b, weir_grammar_bytes(b, low, high, states[to]), all);
        }
        weir_grammar_set(b, states[i], all);
    }
    return states[0];
}

uint32_t weir_grammar_tools(struct weir_grammar_builder *b,
                            const struct weir_answer_shape *shape)
{
    const char *begin = shape->style->begin;
    uint32_t calls =
        shape->style->is_list ? add_list(b, shape) : add_row(b, shape);
    uint32_t all;

    if (!shape->must_call && !shape->schema)
        return add_free(b, begin, calls);
    all = weir_grammar_text(b, begin, strlen(begin), calls);
    if (shape->must_call)
        return all;
    b->root = shape->schema;
    b->is_lenient = 0;
    return weir_grammar_split(b, weir_grammar_schema(b, shape->schema, 0), all);
}
