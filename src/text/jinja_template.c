/* SPDX-License-Identifier: Apache-2.0 */
/* A template as a whole, and what all of its parser needs. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/jinja_render.h"

/* ---- names, messages, nodes ---- */

void *weir_jinja_take(struct weir_jinja *jinja, size_t n_bytes,
                      struct weir_err *err)
{
    void *taken = weir_arena_take(&jinja->arena, n_bytes, err);

    if (!taken && err->code == WEIR_ELIMIT)
        weir_err_set(err, WEIR_ELIMIT,
                     "%s: takes more than %lu bytes of memory; simplify the "
                     "template",
                     jinja->what, WEIR_JINJA_TREE_BYTES);
    return taken;
}

static struct weir_name **name_bucket(const struct weir_jinja *jinja,
                                      struct weir_text text)
{
    uint32_t hash = 2166136261u;

    for (size_t i = 0; i < text.n; i++)
        hash = (hash ^ (unsigned char)text.bytes[i]) * 16777619u;
    return (struct weir_name **)&jinja->names[hash % WEIR_NAME_BUCKETS];
}

const struct weir_name *weir_name_find(const struct weir_jinja *jinja,
                                       struct weir_text text)
{
    const struct weir_name *name = *name_bucket(jinja, text);

    while (name && !weir_text_same(name->text, text))
        name = name->next;
    return name;
}

const struct weir_name *weir_name_add(struct weir_jinja *jinja,
                                      struct weir_text text,
                                      struct weir_err *err)
{
    const struct weir_name *found = weir_name_find(jinja, text);
    struct weir_name **bucket = name_bucket(jinja, text), *name;

    if (found)
        return found;
    name = weir_jinja_take(jinja, sizeof(*name), err);
    if (!name)
        return NULL;
    *name = (struct weir_name){text, *bucket};
    return *bucket = name;
}

static void find_place(const struct weir_jinja *jinja, uint32_t at,
                       unsigned long *line, unsigned long *column)
{
    *line = *column = 1;
    for (uint32_t i = 0; i < at; i++) {
        char c = jinja->source.bytes[i];

        *column += ((unsigned char)c & 0xc0) != 0x80;
        if (c == '\n') {
            ++*line;
            *column = 1;
        }
    }
}

static int fail_at(const struct weir_jinja *jinja, uint32_t at, int code,
                   struct weir_err *err, const char *fmt, va_list args)
{
    unsigned long line, column;
    char text[sizeof(err->message)];

    vsnprintf(text, sizeof(text), fmt, args);
    find_place(jinja, at, &line, &column);
    return weir_err_at(err, code, at, "%s:%lu:%lu: %s", jinja->what, line,
                       column, text);
}

int weir_jinja_fail(const struct weir_jinja *jinja, uint32_t at, int code,
                    struct weir_err *err, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    fail_at(jinja, at, code, err, fmt, args);
    va_end(args);
    return code;
}

static void describe(const struct weir_token *token, char *text, size_t room)
{
    static const char *const names[] = {[WEIR_T_END] =
                                            "the end of the template",
                                        [WEIR_T_TEXT] = "text",
                                        [WEIR_T_OUTPUT_BEGIN] = "'{{'",
                                        [WEIR_T_OUTPUT_END] = "'}}'",
                                        [WEIR_T_TAG_BEGIN] = "'{%'",
                                        [WEIR_T_TAG_END] = "'%}'"};

    if (token->kind <= WEIR_T_TAG_END)
        snprintf(text, room, "%s", names[token->kind]);
    else
        snprintf(text, room, "'%.*s'",
                 (int)(token->text.n < 40 ? token->text.n : 40),
                 token->text.bytes);
}

int weir_parse_fail(struct weir_parser *parser, const char *fmt, ...)
{
    char why[128], found[64];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    describe(parser->token, found, sizeof(found));
    return weir_jinja_fail(parser->jinja, parser->token->at, WEIR_EFORMAT,
                           parser->err, "%s, before %s; correct the template",
                           why, found);
}

struct weir_node *weir_parse_node(struct weir_parser *parser,
                                  enum weir_node_kind kind)
{
    struct weir_node *node =
        weir_jinja_take(parser->jinja, sizeof(*node), parser->err);

    if (node) {
        node->kind = kind;
        node->at = parser->token->at;
    }
    return node;
}

/* ---- the next token ---- */

int weir_parse_is_op(const struct weir_parser *parser, const char *op)
{
    return parser->token->kind == WEIR_T_OP &&
           weir_text_is(parser->token->text, op);
}

int weir_parse_is_name(const struct weir_parser *parser, const char *name)
{
    return parser->token->kind == WEIR_T_NAME &&
           weir_text_is(parser->token->text, name);
}

static int skip_if(struct weir_parser *parser, int is_it)
{
    if (is_it)
        parser->token = parser->token->next;
    return is_it;
}

int weir_parse_skip_op(struct weir_parser *parser, const char *op)
{
    return skip_if(parser, weir_parse_is_op(parser, op));
}

int weir_parse_skip_name(struct weir_parser *parser, const char *name)
{
    return skip_if(parser, weir_parse_is_name(parser, name));
}

int weir_parse_expect_op(struct weir_parser *parser, const char *op)
{
    if (weir_parse_skip_op(parser, op))
        return 0;
    return weir_parse_fail(parser, "'%s' should stand here", op);
}

int weir_parse_deeper(struct weir_parser *parser)
{
    if (parser->depth == WEIR_MAX_NESTING)
        return weir_jinja_fail(parser->jinja, parser->token->at, WEIR_ELIMIT,
                               parser->err,
                               "nested deeper than %d levels; simplify the "
                               "template",
                               WEIR_MAX_NESTING);
    parser->depth++;
    return 0;
}

int weir_parse_name(struct weir_parser *parser, const struct weir_name **name)
{
    const struct weir_token *token = parser->token;

    if (token->kind != WEIR_T_NAME)
        return weir_parse_fail(parser, "a name should stand here");
    *name = weir_name_add(parser->jinja, token->text, parser->err);
    if (!*name)
        return parser->err->code;
    parser->token = token->next;
    return 0;
}

/* ---- the template ---- */

/* Lines end in \n alone, and the last one without. */
static int take_source(struct weir_jinja *jinja, const char *text,
                       size_t n_bytes, struct weir_err *err)
{
    char *source = weir_jinja_take(jinja, n_bytes + 1, err);
    size_t n = 0;

    if (!source)
        return err->code;
    for (size_t i = 0; i < n_bytes; i++) {
        if (text[i] == '\r' && i + 1 < n_bytes && text[i + 1] == '\n')
            continue;
        source[n++] = (char)(text[i] == '\r' ? '\n' : text[i]);
    }
    if (n && source[n - 1] == '\n')
        n--;
    source[n] = '\0';
    jinja->source = (struct weir_text){source, n};
    return 0;
}

static int check_text(const struct weir_jinja *jinja, const char *text,
                      size_t n_bytes, struct weir_err *err)
{
    size_t valid;

    if (n_bytes > WEIR_JINJA_BYTES)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: %zu bytes; %lu is the most for a template",
                            jinja->what, n_bytes, WEIR_JINJA_BYTES);
    valid = weir_utf8_valid(text, n_bytes);
    if (valid == n_bytes)
        return 0;
    return weir_err_at(err, WEIR_EFORMAT, valid,
                       "%s: not UTF-8 at byte %zu; convert it, for example "
                       "with iconv",
                       jinja->what, valid);
}

static int add_own_names(struct weir_jinja *jinja, struct weir_err *err)
{
    const struct {
        const struct weir_name **name;
        const char *text;
    } names[] = {{&jinja->loop, "loop"},
                 {&jinja->caller, "caller"},
                 {&jinja->varargs, "varargs"},
                 {&jinja->kwargs, "kwargs"}};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        *names[i].name = weir_name_add(
            jinja, (struct weir_text){names[i].text, strlen(names[i].text)},
            err);
        if (!*names[i].name)
            return err->code;
    }
    return 0;
}

static int parse_source(struct weir_jinja *jinja, struct weir_err *err)
{
    struct weir_parser parser = {.jinja = jinja, .err = err};
    struct weir_token *tokens;
    int rc = add_own_names(jinja, err);

    if (!rc)
        rc = weir_jinja_lex(jinja, &tokens, err);
    if (rc)
        return rc;
    parser.token = tokens;
    return weir_parse_template(&parser, &jinja->body);
}

int weir_jinja_parse(const char *text, size_t n_bytes, const char *what,
                     struct weir_jinja **jinja, struct weir_err *err)
{
    struct weir_jinja *made = calloc(1, sizeof(*made));
    struct weir_err own;
    int rc;

    err = err ? err : &own;
    *jinja = NULL;
    if (made)
        made->what = strdup(what);
    if (!made || !made->what) {
        free(made);
        return weir_err_nomem(err, sizeof(*made), what);
    }
    made->arena = (struct weir_arena)WEIR_ARENA(WEIR_JINJA_TREE_BYTES);
    rc = check_text(made, text, n_bytes, err);
    if (!rc)
        rc = take_source(made, text, n_bytes, err);
    if (!rc)
        rc = parse_source(made, err);
    if (rc)
        weir_jinja_free(made);
    else
        *jinja = made;
    return rc;
}

int weir_jinja_has(const struct weir_jinja *jinja, const char *text)
{
    return memmem(jinja->source.bytes, jinja->source.n, text, strlen(text)) !=
           NULL;
}

void weir_jinja_free(struct weir_jinja *jinja)
{
    if (!jinja)
        return;
    weir_arena_fini(&jinja->arena);
    free(jinja->what);
    free(jinja);
}
