/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The grammar has seen to it that calls are JSON with a name first, so that
 * what is read here needs no repair; whatever else comes is passed over.
 */
#include "serve/tool_calls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

enum { IN_TEXT, BETWEEN, BEFORE_KEY, IN_KEY, BEFORE_VALUE, IN_NAME, IN_VALUE };

/* Where parts go, and the one that is not there yet as a whole: a run of the
 * text that is read */
struct run {
    weir_call_part_fn *fn;
    void *ctx;
    enum weir_call_part kind;
    const char *from;
    size_t n_bytes;
};

void weir_tool_parser_init(struct weir_tool_parser *parser,
                           const struct weir_tool_style *style)
{
    memset(parser, 0, sizeof(*parser));
    parser->style = style;
}

static int give(const struct run *run, enum weir_call_part kind,
                const char *text, size_t n_bytes)
{
    return n_bytes ? run->fn(run->ctx, kind, text, n_bytes) : 0;
}

static int end_run(struct run *run)
{
    int rc = give(run, run->kind, run->from, run->n_bytes);

    run->n_bytes = 0;
    return rc;
}

/* The byte at `at` belongs to a part. */
static int add(struct run *run, enum weir_call_part kind, const char *at)
{
    int rc = 0;

    if (run->n_bytes && (run->kind != kind || run->from + run->n_bytes != at))
        rc = end_run(run);
    if (!run->n_bytes)
        run->from = at;
    run->kind = kind;
    run->n_bytes++;
    return rc;
}

/* ---- text ---- */

static int is_space(char byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

/* White space that was held back turns out to be text. */
static int give_space(struct weir_tool_parser *p, struct run *run)
{
    size_t n = p->n_space;

    p->n_space = 0;
    p->has_begun = 1;
    return give(run, WEIR_CALL_TEXT, p->space, n);
}

/* The first n bytes of what begins a call turn out to be text. */
static int give_held(struct weir_tool_parser *p, struct run *run, size_t n)
{
    int rc = n ? give_space(p, run) : 0;

    return rc ? rc : give(run, WEIR_CALL_TEXT, p->style->begin, n);
}

/* A byte that cannot belong to a call */
static int add_text(struct weir_tool_parser *p, struct run *run, const char *at)
{
    int rc = 0;

    if (!p->has_begun && is_space(*at) && p->n_space < sizeof(p->space)) {
        p->space[p->n_space++] = *at;
        return 0;
    }
    if (!p->has_begun)
        rc = give_space(p, run);
    return rc ? rc : add(run, WEIR_CALL_TEXT, at);
}

/* The longest end of `begin`'s first n bytes that `begin` starts with */
static size_t border(const char *begin, size_t n)
{
    size_t from = 1;

    while (from < n && memcmp(begin, begin + from, n - from))
        from++;
    return n ? n - from : 0;
}

static int take_text(struct weir_tool_parser *p, struct run *run,
                     const char *at)
{
    const char *begin = p->style ? p->style->begin : "";
    int rc = 0;

    while (p->n_matched && begin[p->n_matched] != *at && !rc) {
        size_t left = border(begin, p->n_matched);

        rc = end_run(run);
        if (!rc)
            rc = give_held(p, run, p->n_matched - left);
        p->n_matched = left;
    }
    if (rc)
        return rc;
    if (!*begin || begin[p->n_matched] != *at)
        return add_text(p, run, at);
    if (begin[++p->n_matched])
        return 0;
    p->state = BETWEEN;
    return end_run(run);
}

/* ---- calls ---- */

static void begin_key(struct weir_tool_parser *p, int state)
{
    p->state = state;
    p->n_key = 0;
}

static void add_key(struct weir_tool_parser *p, char byte)
{
    if (p->n_key < WEIR_TOOL_NAME_BYTES)
        p->key[p->n_key++] = byte;
    p->key[p->n_key] = '\0';
}

static int is_key(const struct weir_tool_parser *p, const char *key)
{
    return p->n_key == strlen(key) && !memcmp(p->key, key, p->n_key);
}

static int take_value(struct weir_tool_parser *p, struct run *run,
                      const char *at);

static int begin_value(struct weir_tool_parser *p, struct run *run,
                       const char *at)
{
    if (is_space(*at) || *at == ':')
        return 0;
    if (is_key(p, "name") && *at == '"') {
        begin_key(p, IN_NAME);
        return 0;
    }
    p->state = IN_VALUE;
    p->depth = 0;
    p->in_string = p->is_escaped = 0;
    return take_value(p, run, at);
}

/* Arguments are only those of a call that has a name. */
static int add_value(struct weir_tool_parser *p, struct run *run,
                     const char *at)
{
    if (!is_key(p, "arguments") || !p->n_calls)
        return 0;
    return add(run, WEIR_CALL_ARGUMENTS, at);
}

static int take_string(struct weir_tool_parser *p, struct run *run,
                       const char *at)
{
    if (p->is_escaped)
        p->is_escaped = 0;
    else if (*at == '\\')
        p->is_escaped = 1;
    else if (*at == '"')
        p->in_string = 0;
    return add_value(p, run, at);
}

static int take_value(struct weir_tool_parser *p, struct run *run,
                      const char *at)
{
    int closes = *at == '}' || *at == ']';

    if (p->in_string)
        return take_string(p, run, at);
    if (p->depth == 0 && (closes || *at == ',')) {
        p->state = closes ? BETWEEN : BEFORE_KEY;
        return end_run(run);
    }
    if (p->depth == 0 && is_space(*at))
        return 0;
    p->in_string = *at == '"';
    p->depth += *at == '{' || *at == '[';
    p->depth -= closes;
    return add_value(p, run, at);
}

static int take_call(struct weir_tool_parser *p, struct run *run,
                     const char *at)
{
    switch (p->state) {
    case BETWEEN:
        if (*at == '{')
            p->state = BEFORE_KEY;
        return 0;
    case BEFORE_KEY:
        if (*at == '"')
            begin_key(p, IN_KEY);
        else if (*at == '}')
            p->state = BETWEEN;
        return 0;
    case BEFORE_VALUE:
        return begin_value(p, run, at);
    case IN_VALUE:
        return take_value(p, run, at);
    default:
        break;
    }
    if (*at != '"') {
        add_key(p, *at);
        return 0;
    }
    if (p->state == IN_KEY) {
        p->state = BEFORE_VALUE;
        return 0;
    }
    p->state = BEFORE_KEY;
    p->n_calls++;
    return run->fn(run->ctx, WEIR_CALL_NAME, p->key, p->n_key);
}

int weir_tool_parser_push(struct weir_tool_parser *p, const char *text,
                          size_t n_bytes, weir_call_part_fn *fn, void *ctx)
{
    struct run run = {.fn = fn, .ctx = ctx};
    int rc = 0;

    for (size_t i = 0; i < n_bytes && !rc; i++)
        rc = p->state == IN_TEXT ? take_text(p, &run, text + i)
                                 : take_call(p, &run, text + i);
    return rc ? rc : end_run(&run);
}

int weir_tool_parser_finish(struct weir_tool_parser *p, weir_call_part_fn *fn,
                            void *ctx)
{
    struct run run = {.fn = fn, .ctx = ctx};
    size_t n = p->n_matched;
    int rc;

    if (p->state != IN_TEXT)
        return 0;
    rc = give_space(p, &run);
    p->n_matched = 0;
    return rc ? rc : give_held(p, &run, n);
}

/* ---- JSON ---- */

json_t *weir_tool_begin(size_t i, const char *id, const char *name, size_t n)
{
    char full[96];

    snprintf(full, sizeof(full), "call_%s_%zu", id, i);
    return json_pack("[{s:I, s:s, s:s, s:{s:s%, s:s}}]", "index", (json_int_t)i,
                     "id", full, "type", "function", "function", "name", name,
                     n, "arguments", "");
}

json_t *weir_tool_more(size_t i, const char *text, size_t n_bytes)
{
    return json_pack("[{s:I, s:{s:s%}}]", "index", (json_int_t)i, "function",
                     "arguments", text, n_bytes);
}

/* A message that is put together */
struct message {
    struct weir_buf text, arguments; /* of the last call */
    const char *id;
    json_t *calls;
    struct weir_err err;
};

/* The last call has all of its arguments. */
static int end_call(struct message *message)
{
    size_t n = json_array_size(message->calls);
    json_t *call = n ? json_array_get(message->calls, n - 1) : NULL;
    const struct weir_buf *buf = &message->arguments;
    int bad =
        call && json_object_set_new(
                    json_object_get(call, "function"), "arguments",
                    json_stringn(buf->data ? buf->data : "", buf->n_bytes));

    message->arguments.n_bytes = 0;
    return bad ? WEIR_ENOMEM : 0;
}

static int begin_call(struct message *message, const char *name, size_t n)
{
    size_t i = json_array_size(message->calls);
    json_t *list = weir_tool_begin(i, message->id, name, n);
    int rc = end_call(message);

    json_object_del(json_array_get(list, 0), "index");
    if (!list || json_array_extend(message->calls, list))
        rc = WEIR_ENOMEM;
    json_decref(list);
    return rc;
}

static int take_part(void *ctx, enum weir_call_part kind, const char *text,
                     size_t n_bytes)
{
    struct message *message = ctx;

    if (kind == WEIR_CALL_NAME)
        return begin_call(message, text, n_bytes);
    return weir_buf_add(kind == WEIR_CALL_TEXT ? &message->text
                                               : &message->arguments,
                        text, n_bytes, &message->err);
}

json_t *weir_tool_message(const struct weir_choice *whole,
                          const struct weir_tool_style *style, const char *id)
{
    struct message message = {.text = WEIR_BUF(SIZE_MAX),
                              .arguments = WEIR_BUF(SIZE_MAX),
                              .id = id,
                              .calls = json_array()};
    struct weir_choice choice = *whole;
    struct weir_tool_parser parser;
    struct weir_scored scored;
    json_t *json = NULL;
    int rc;

    weir_tool_parser_init(&parser, style);
    rc = weir_tool_parser_push(&parser, whole->text, whole->n_bytes, take_part,
                               &message);
    if (!rc)
        rc = weir_tool_parser_finish(&parser, take_part, &message);
    if (!rc)
        rc = end_call(&message);
    choice.text = message.text.data;
    choice.n_bytes = message.text.n_bytes;
    if (!choice.text && !parser.n_calls)
        choice.text = "";
    if (choice.scored) {
        scored = *choice.scored;
        scored.n = weir_scored_within(&scored, choice.n_bytes);
        choice.scored = &scored;
    }
    if (parser.n_calls)
        choice.tool_calls = json_incref(message.calls);
    if (parser.n_calls && !strcmp(choice.finish_reason, "stop"))
        choice.finish_reason = "tool_calls";
    if (!rc)
        json = weir_openai_message(&choice);
    else
        json_decref(choice.tool_calls);
    json_decref(message.calls);
    weir_buf_fini(&message.text);
    weir_buf_fini(&message.arguments);
    return json;
}
