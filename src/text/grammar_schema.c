/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON Schema 2020-12, as far as a grammar can hold it: json-schema.org, Core
 * and Validation.  A schema is a reference, a choice, a list of values, or has
 * types; the keywords of the other kinds may not stand beside it, because
 * both would have to hold.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar_parts.h"

enum {
    OF_NOTE = 1, /* says nothing about what is valid */
    OF_REF = 2,
    OF_CHOICE = 4,
    OF_VALUES = 8,
    OF_TYPE = 16,
    OF_OBJECT = 32, /* these say something of one type alone */
    OF_ARRAY = 64,
    OF_STRING = 128,
    OF_NUMBER = 256,
    OF_TYPES = OF_TYPE | OF_OBJECT | OF_ARRAY | OF_STRING | OF_NUMBER,
};

static const struct {
    const char *name;
    int of;
} keywords[] = {
    {"$comment", OF_NOTE},
    {"$defs", OF_NOTE},
    {"$id", OF_NOTE},
    {"$schema", OF_NOTE},
    {"default", OF_NOTE},
    {"definitions", OF_NOTE},
    {"deprecated", OF_NOTE},
    {"description", OF_NOTE},
    {"examples", OF_NOTE},
    {"format", OF_NOTE},
    {"readOnly", OF_NOTE},
    {"title", OF_NOTE},
    {"writeOnly", OF_NOTE},
    {"$ref", OF_REF},
    {"anyOf", OF_CHOICE},
    {"const", OF_VALUES},
    {"enum", OF_VALUES},
    {"type", OF_TYPE},
    {"additionalProperties", OF_OBJECT},
    {"properties", OF_OBJECT},
    {"required", OF_OBJECT},
    {"items", OF_ARRAY},
    {"maxItems", OF_ARRAY},
    {"minItems", OF_ARRAY},
    {"prefixItems", OF_ARRAY},
    {"maxLength", OF_STRING},
    {"minLength", OF_STRING},
    {"exclusiveMaximum", OF_NUMBER},
    {"exclusiveMinimum", OF_NUMBER},
    {"maximum", OF_NUMBER},
    {"minimum", OF_NUMBER},
};

#define N_KEYWORDS (sizeof(keywords) / sizeof(keywords[0]))

static const char *const type_names[] = {"object", "array",   "string", "null",
                                         "number", "integer", "boolean"};
enum { T_OBJECT, T_ARRAY, T_STRING, T_NULL, T_NUMBER, T_INTEGER, T_BOOLEAN };
#define N_TYPES (sizeof(type_names) / sizeof(type_names[0]))

static void wrong(struct weir_grammar_builder *b, const char *key,
                  const char *wanted)
{
    weir_grammar_fail(b, WEIR_EARG, "%s must be %s", key, wanted);
}

/* ---- what kind of schema it is ---- */

static int kind_of_keyword(const char *name)
{
    for (size_t i = 0; i < N_KEYWORDS; i++)
        if (!strcmp(keywords[i].name, name))
            return keywords[i].of;
    return 0;
}

/* The kinds of all its keywords; those that are unknown are refused. */
static int kinds_of(struct weir_grammar_builder *b, const json_t *schema)
{
    const char *name;
    json_t *value;
    int kinds = 0;

    json_object_foreach((json_t *)schema, name, value)
    {
        int kind = kind_of_keyword(name);
        size_t before;

        kinds |= kind;
        if (kind || b->is_lenient)
            continue;
        before = weir_grammar_enter(b, name);
        weir_grammar_fail(b, WEIR_EARG, "the keyword '%.64s' is not supported",
                          name);
        weir_grammar_leave(b, before);
    }
    return kinds;
}

static void allow_only(struct weir_grammar_builder *b, int kinds, int allowed,
                       const char *name)
{
    if ((kinds & ~(allowed | OF_NOTE)) && !b->is_lenient)
        weir_grammar_fail(b, WEIR_EARG,
                          "keywords beside %s are not supported; put them into "
                          "it",
                          name);
}

/* ---- limits ---- */

/* A count at `key`, or what it is without one */
static size_t count_at(struct weir_grammar_builder *b, const json_t *schema,
                       const char *key, size_t otherwise)
{
    const json_t *value = json_object_get(schema, key);
    double x = json_number_value(value);

    if (!value)
        return otherwise;
    if (!json_is_number(value) || x < 0 || x != (double)(int64_t)x) {
        wrong(b, key, "a whole number, at least 0");
        return otherwise;
    }
    if (x > WEIR_GRAMMAR_LENGTH)
        weir_grammar_fail(b, WEIR_ELIMIT, "%s is above %d, the most here", key,
                          WEIR_GRAMMAR_LENGTH);
    return (size_t)x;
}

static void read_limits(struct weir_grammar_builder *b, const json_t *schema,
                        const char *min_key, const char *max_key, size_t *min,
                        size_t *max)
{
    *min = count_at(b, schema, min_key, 0);
    *max = count_at(b, schema, max_key, SIZE_MAX);
    if (*min > *max)
        weir_grammar_fail(b, WEIR_EARG, "%s is above %s", min_key, max_key);
}

/* ---- objects ---- */

/* A schema that is called, so that it is there once however often it is used.
 * NULL: any value. */
static uint32_t schema_rule(struct weir_grammar_builder *b,
                            const json_t *schema)
{
    static const char any;
    int is_new;
    uint32_t rule =
        weir_grammar_rule(b, schema ? (const void *)schema : &any, &is_new);

    if (is_new)
        weir_grammar_set(b, rule,
                         schema ? weir_grammar_schema(b, schema, 0)
                                : weir_grammar_any(b, 0));
    return rule;
}

/* How far an object is */
struct members {
    const json_t *properties, *required, *others;
    uint32_t first, later; /* what comes when it is empty so far, or is not */
};

static int is_required(const struct members *members, const char *name)
{
    for (size_t i = 0; i < json_array_size(members->required); i++)
        if (!strcmp(json_string_value(json_array_get(members->required, i)),
                    name))
            return 1;
    return 0;
}

/* A property before those that are there already */
static void add_member(struct weir_grammar_builder *b, struct members *members,
                       const char *name, const json_t *schema)
{
    size_t before = weir_grammar_enter(b, name);
    uint32_t member, later;

    if (schema)
        member = weir_grammar_schema(b, schema, members->later);
    else
        member = weir_grammar_any(b, members->later);
    member = weir_grammar_name(b, name, weir_grammar_mark(b, ':', member));
    later = weir_grammar_mark(b, ',', member);
    member = weir_grammar_space(b, member);
    if (is_required(members, name)) {
        members->first = member;
        members->later = later;
    } else {
        members->first = weir_grammar_split(b, member, members->first);
        members->later = weir_grammar_split(b, later, members->later);
    }
    weir_grammar_leave(b, before);
}

static uint32_t end_object(struct weir_grammar_builder *b, uint32_t next)
{
    return weir_grammar_space(b, weir_grammar_text(b, "}", 1, next));
}

/* Members with other names, as many as there come */
static void add_others(struct weir_grammar_builder *b, struct members *members,
                       uint32_t next)
{
    uint32_t end = end_object(b, next), more = end, other;
    size_t before;

    members->first = members->later = end;
    if (json_is_false(members->others) ||
        (!members->others && members->properties))
        return;
    before = weir_grammar_enter(b, "additionalProperties");
    more = weir_grammar_later(b);
    other = weir_grammar_call(b, schema_rule(b, members->others), more);
    weir_grammar_leave(b, before);
    other = weir_grammar_other_name(b, members->properties,
                                    weir_grammar_mark(b, ':', other));
    weir_grammar_set(
        b, more, weir_grammar_split(b, end, weir_grammar_mark(b, ',', other)));
    members->later = more;
    members->first = weir_grammar_split(b, end, weir_grammar_space(b, other));
}

/* From the last property to the first; jansson goes forward alone. */
static void add_properties(struct weir_grammar_builder *b,
                           struct members *members)
{
    size_t n = json_object_size(members->properties), i = 0;
    size_t before = weir_grammar_enter(b, "properties");
    const char **names = malloc((n + 1) * sizeof(*names));
    const char *name;
    json_t *value;

    if (!names && !b->rc)
        b->rc = weir_err_nomem(b->err, n * sizeof(*names), "a schema");
    json_object_foreach((json_t *)members->properties, name, value) if (names)
        names[i++] = name;
    while (i-- && !b->rc)
        add_member(b, members, names[i],
                   json_object_get(members->properties, names[i]));
    free(names);
    weir_grammar_leave(b, before);
}

/* What is required and has no schema of its own comes last. */
static void add_unnamed(struct weir_grammar_builder *b, struct members *members)
{
    for (size_t i = json_array_size(members->required); i-- && !b->rc;) {
        const char *name =
            json_string_value(json_array_get(members->required, i));

        if (!json_object_get(members->properties, name))
            add_member(b, members, name, members->others);
    }
}

static void check_object(struct weir_grammar_builder *b,
                         const struct members *members)
{
    const json_t *required = members->required;

    if (members->properties && !json_is_object(members->properties))
        wrong(b, "properties", "an object of schemas");
    if (required && !json_is_array(required))
        wrong(b, "required", "an array of strings");
    for (size_t i = 0; i < json_array_size(required); i++)
        if (!json_is_string(json_array_get(required, i)))
            wrong(b, "required", "an array of strings");
    for (size_t i = 1; i < json_array_size(required) && !b->rc; i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_array_get(required, i),
                           json_array_get(required, k)))
                wrong(b, "required", "an array of strings that differ");
    if (json_array_size(required) > 1024)
        weir_grammar_fail(b, WEIR_ELIMIT, "more than 1024 names in required");
}

static uint32_t add_object(struct weir_grammar_builder *b, const json_t *schema,
                           uint32_t next)
{
    struct members members = {
        .properties = json_object_get(schema, "properties"),
        .required = json_object_get(schema, "required"),
        .others = json_object_get(schema, "additionalProperties"),
    };

    check_object(b, &members);
    if (b->rc)
        return 0;
    add_others(b, &members, next);
    add_unnamed(b, &members);
    add_properties(b, &members);
    return weir_grammar_text(b, "{", 1, members.first);
}

/* ---- arrays ---- */

struct items {
    const json_t *prefix, *rest;
    size_t min, max; /* SIZE_MAX: no limit */
};

static uint32_t item_rule(struct weir_grammar_builder *b,
                          const struct items *items, size_t i)
{
    int is_first = i < json_array_size(items->prefix);
    size_t before = weir_grammar_enter(b, is_first ? "prefixItems" : "items");
    uint32_t rule = schema_rule(b, is_first ? json_array_get(items->prefix, i)
                                            : items->rest);

    weir_grammar_leave(b, before);
    return rule;
}

/* What comes after i items */
static uint32_t after_items(struct weir_grammar_builder *b,
                            const struct items *items, size_t i, uint32_t later,
                            uint32_t end)
{
    uint32_t item;

    if (i == items->max)
        return end;
    item = weir_grammar_call(b, item_rule(b, items, i), later);
    item = i ? weir_grammar_mark(b, ',', item) : weir_grammar_space(b, item);
    return i < items->min ? item : weir_grammar_split(b, end, item);
}

static uint32_t add_array(struct weir_grammar_builder *b, const json_t *schema,
                          uint32_t next)
{
    struct items items = {.prefix = json_object_get(schema, "prefixItems"),
                          .rest = json_object_get(schema, "items")};
    uint32_t end = weir_grammar_space(b, weir_grammar_text(b, "]", 1, next));
    size_t n, n_prefix = json_array_size(items.prefix);
    uint32_t all;

    if (items.prefix && (!json_is_array(items.prefix) || !n_prefix ||
                         n_prefix > WEIR_GRAMMAR_LENGTH))
        wrong(b, "prefixItems", "an array of 1 to 4096 schemas");
    read_limits(b, schema, "minItems", "maxItems", &items.min, &items.max);
    if (json_is_false(items.rest) || (n_prefix && !items.rest))
        items.max = items.max < n_prefix ? items.max : n_prefix;
    if (items.min > items.max)
        return weir_grammar_never(b);
    n = items.max;
    if (n == SIZE_MAX)
        n = 1 + (items.min > n_prefix ? items.min : n_prefix);
    if (items.max == SIZE_MAX) {
        all = weir_grammar_later(b);
        weir_grammar_set(b, all, after_items(b, &items, n, all, end));
    } else {
        all = end;
    }
    while (n-- && !b->rc)
        all = after_items(b, &items, n, all, end);
    return weir_grammar_text(b, "[", 1, all);
}

/* ---- numbers ---- */

/* 1, and *bound, when there is one at `key`. */
static int bound_at(struct weir_grammar_builder *b, const json_t *schema,
                    const char *key, int64_t *bound)
{
    const int64_t most = WEIR_GRAMMAR_MOST;
    const json_t *value = json_object_get(schema, key);
    double x = json_number_value(value);

    if (!value)
        return 0;
    if (!json_is_number(value) || x != floor(x)) {
        if (!b->is_lenient)
            wrong(b, key, "a whole number");
        return 0;
    }
    if (fabs(x) >= (double)most)
        *bound = x > 0 ? most : -most;
    else
        *bound =
            json_is_integer(value) ? json_integer_value(value) : (int64_t)x;
    return 1;
}

static uint32_t add_number(struct weir_grammar_builder *b, const json_t *schema,
                           int is_integer, uint32_t next)
{
    struct weir_grammar_bounds bounds = {-WEIR_GRAMMAR_MOST, WEIR_GRAMMAR_MOST,
                                         0, 0};
    int64_t min = bounds.min, max = bounds.max;
    int is_bound = bound_at(b, schema, "minimum", &bounds.min) +
                   bound_at(b, schema, "maximum", &bounds.max);

    if (bound_at(b, schema, "exclusiveMinimum", &min) && ++is_bound &&
        min >= bounds.min) {
        bounds.min = min;
        bounds.above = 1;
    }
    if (bound_at(b, schema, "exclusiveMaximum", &max) && ++is_bound &&
        max <= bounds.max) {
        bounds.max = max;
        bounds.below = 1;
    }
    return is_bound ? weir_grammar_range(b, &bounds, is_integer, next)
                    : weir_grammar_number(b, is_integer, next);
}

/* ---- types ---- */

static uint32_t add_type(struct weir_grammar_builder *b, const json_t *schema,
                         size_t type, uint32_t next)
{
    size_t min, max;

    switch (type) {
    case T_OBJECT:
        return add_object(b, schema, next);
    case T_ARRAY:
        return add_array(b, schema, next);
    case T_STRING:
        read_limits(b, schema, "minLength", "maxLength", &min, &max);
        return weir_grammar_string(b, min, max, next);
    case T_NULL:
        return weir_grammar_text(b, "null", 4, next);
    case T_BOOLEAN:
        return weir_grammar_split(b, weir_grammar_text(b, "true", 4, next),
                                  weir_grammar_text(b, "false", 5, next));
    default:
        return add_number(b, schema, type == T_INTEGER, next);
    }
}

static size_t find_type(struct weir_grammar_builder *b, const json_t *name)
{
    for (size_t i = 0; i < N_TYPES && json_is_string(name); i++)
        if (!strcmp(json_string_value(name), type_names[i]))
            return i;
    wrong(b, "type",
          "one or more of object, array, string, number, integer, boolean and "
          "null");
    return T_NULL;
}

/* As a set; 0: nothing is said of it. */
static unsigned types_of(struct weir_grammar_builder *b, const json_t *schema)
{
    const json_t *type = json_object_get(schema, "type");
    unsigned set = 0;

    if (type && !json_is_array(type))
        return 1u << find_type(b, type);
    for (size_t i = 0; i < json_array_size(type); i++)
        set |= 1u << find_type(b, json_array_get(type, i));
    if (type && !set)
        find_type(b, NULL);
    if (set & 1u << T_NUMBER)
        set &= ~(1u << T_INTEGER);
    return set;
}

/* Keywords of one type alone are taken to mean that type. */
static unsigned types_meant(int kinds)
{
    unsigned set = 0;

    if (kinds & OF_OBJECT)
        set |= 1u << T_OBJECT;
    if (kinds & OF_ARRAY)
        set |= 1u << T_ARRAY;
    if (kinds & OF_STRING)
        set |= 1u << T_STRING;
    if (kinds & OF_NUMBER)
        set |= 1u << T_NUMBER;
    return set;
}

static uint32_t add_types(struct weir_grammar_builder *b, const json_t *schema,
                          int kinds, uint32_t next)
{
    unsigned set = types_of(b, schema);
    uint32_t all = 0;
    int has_one = 0;

    if (!set)
        set = types_meant(kinds);
    if (!set)
        return weir_grammar_any(b, next);
    for (size_t i = 0; i < N_TYPES && !b->rc; i++) {
        uint32_t one;

        if (!(set & 1u << i))
            continue;
        one = add_type(b, schema, i, next);
        all = has_one ? weir_grammar_split(b, one, all) : one;
        has_one = 1;
    }
    return all;
}

/* ---- values ---- */

static int has_type(const json_t *value, unsigned set)
{
    static const int types[] = {
        [JSON_OBJECT] = T_OBJECT, [JSON_ARRAY] = T_ARRAY,
        [JSON_STRING] = T_STRING, [JSON_INTEGER] = T_INTEGER,
        [JSON_REAL] = T_NUMBER,   [JSON_TRUE] = T_BOOLEAN,
        [JSON_FALSE] = T_BOOLEAN, [JSON_NULL] = T_NULL,
    };
    int type = types[json_typeof(value)];

    return !set || set & 1u << type ||
           (type == T_INTEGER && set & 1u << T_NUMBER);
}

static uint32_t add_values(struct weir_grammar_builder *b, const json_t *schema,
                           uint32_t next)
{
    const json_t *list = json_object_get(schema, "enum");
    const json_t *constant = json_object_get(schema, "const");
    unsigned set = types_of(b, schema);
    uint32_t all = weir_grammar_never(b);

    if (list && (!json_is_array(list) || json_array_size(list) == 0))
        wrong(b, "enum", "an array of values");
    if (!list)
        return has_type(constant, set) ? weir_grammar_value(b, constant, next)
                                       : all;
    for (size_t i = 0; i < json_array_size(list) && !b->rc; i++) {
        const json_t *value = json_array_get(list, i);

        if (has_type(value, set) && (!constant || json_equal(value, constant)))
            all =
                weir_grammar_split(b, weir_grammar_value(b, value, next), all);
    }
    return all;
}

/* ---- references ---- */

/* One step of a JSON pointer (RFC 6901); *pointer goes on behind it. */
static const json_t *follow(const json_t *at, const char **pointer)
{
    char name[256];
    size_t n = 0;
    const char *p = *pointer;

    for (; *p && *p != '/' && n + 1 < sizeof(name); p++) {
        int is_escape = *p == '~' && (p[1] == '0' || p[1] == '1');

        if (is_escape)
            p++;
        name[n++] = (char)(!is_escape ? *p : *p == '0' ? '~' : '/');
    }
    if (*p && *p != '/')
        return NULL;
    name[n] = '\0';
    *pointer = p;
    if (json_is_array(at))
        return json_array_get(at, strtoul(name, NULL, 10));
    return json_object_get(at, name);
}

static uint32_t add_reference(struct weir_grammar_builder *b,
                              const json_t *schema, uint32_t next)
{
    const char *text = json_string_value(json_object_get(schema, "$ref"));
    const char *pointer = text ? text + 1 : "";
    const json_t *at = b->root;

    if (!text || *text != '#')
        at = NULL;
    while (at && *pointer == '/') {
        pointer++;
        at = follow(at, &pointer);
    }
    if (!at || *pointer) {
        weir_grammar_fail(b, WEIR_EARG,
                          "$ref must be a JSON pointer to a schema in this "
                          "one, such as \"#/$defs/name\"");
        return 0;
    }
    return weir_grammar_call(b, schema_rule(b, at), next);
}

static uint32_t add_choice(struct weir_grammar_builder *b, const json_t *list,
                           const char *key, uint32_t next)
{
    size_t before = weir_grammar_enter(b, key);
    uint32_t all = weir_grammar_never(b);

    if (!json_is_array(list) || json_array_size(list) == 0)
        wrong(b, key, "an array of schemas");
    for (size_t i = json_array_size(list); i-- && !b->rc;)
        all = weir_grammar_split(
            b, weir_grammar_schema(b, json_array_get(list, i), next), all);
    weir_grammar_leave(b, before);
    return all;
}

/* ---- the whole ---- */

static uint32_t add_schema(struct weir_grammar_builder *b, const json_t *schema,
                           uint32_t next)
{
    const json_t *one_of = json_object_get(schema, "oneOf");
    int kinds = kinds_of(b, schema);

    if (b->rc)
        return 0;
    if (kinds & OF_REF) {
        allow_only(b, kinds, OF_REF, "$ref");
        return add_reference(b, schema, next);
    }
    if (kinds & OF_CHOICE) {
        allow_only(b, kinds, OF_CHOICE, "anyOf");
        return add_choice(b, json_object_get(schema, "anyOf"), "anyOf", next);
    }
    if (one_of) /* of a schema that is not strict */
        return add_choice(b, one_of, "oneOf", next);
    if (kinds & OF_VALUES) {
        allow_only(b, kinds, OF_VALUES | OF_TYPE, "enum and const");
        return add_values(b, schema, next);
    }
    return add_types(b, schema, kinds, next);
}

uint32_t weir_grammar_schema(struct weir_grammar_builder *b,
                             const json_t *schema, uint32_t next)
{
    if (b->rc)
        return 0;
    if (json_is_true(schema))
        return weir_grammar_any(b, next);
    if (json_is_false(schema))
        return weir_grammar_never(b);
    if (json_is_object(schema))
        return add_schema(b, schema, next);
    weir_grammar_fail(b, WEIR_EARG,
                      "a schema must be an object, true or false");
    return 0;
}
