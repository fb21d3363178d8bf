/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What templates compute with: Python's values, as far as they need them.
 * Strings are UTF-8 and counted; their characters are code points.  Values and
 * what they point to live in the arena of a rendering, in the template, or in
 * the JSON that was given, and never change, but for namespaces and for lists
 * that are still being filled.
 */
#ifndef WEIR_TEXT_JINJA_VALUE_H
#define WEIR_TEXT_JINJA_VALUE_H

#include <stdint.h>
#include <string.h>

#include "base/err.h"

struct weir_render;

enum weir_value_kind {
    WEIR_ABSENT = 0, /* no value: an argument that was not given */
    WEIR_UNDEFINED,  /* `text` names what is not there */
    WEIR_NONE,
    WEIR_BOOL, /* `integer` */
    WEIR_INT,
    WEIR_FLOAT,
    WEIR_STRING,
    WEIR_LIST,
    WEIR_TUPLE,     /* `list` */
    WEIR_GENERATOR, /* `list`; can be iterated over, once, and nothing else */
    WEIR_DICT,
    WEIR_NAMESPACE, /* `dict` */
    WEIR_LOOP,
    WEIR_MACRO,
    WEIR_METHOD, /* a function of weir's, with what it belongs to */
};

struct weir_text {
    const char *bytes;
    size_t n;
};

struct weir_value {
    enum weir_value_kind kind;
    union {
        int64_t integer;
        double real;
        struct weir_text text;
        struct weir_list *list;
        struct weir_dict *dict;
        struct weir_loop *loop;
        const struct weir_macro *macro;
        const struct weir_method *method;
    };
};

struct weir_list {
    struct weir_value *items; /* [n] */
    size_t n, capacity;
};

struct weir_dict {
    struct weir_entry {
        struct weir_value key, value;
    } * entries; /* [n], in the order of their coming */
    size_t n, capacity;
};

static inline struct weir_value weir_none(void)
{
    return (struct weir_value){.kind = WEIR_NONE};
}

static inline struct weir_value weir_bool(int truth)
{
    return (struct weir_value){.kind = WEIR_BOOL, .integer = !!truth};
}

static inline struct weir_value weir_int(int64_t integer)
{
    return (struct weir_value){.kind = WEIR_INT, .integer = integer};
}

static inline struct weir_value weir_real(double real)
{
    return (struct weir_value){.kind = WEIR_FLOAT, .real = real};
}

static inline struct weir_value weir_string(const char *bytes, size_t n)
{
    return (struct weir_value){.kind = WEIR_STRING, .text = {bytes, n}};
}

static inline struct weir_value weir_undefined(struct weir_text name)
{
    return (struct weir_value){.kind = WEIR_UNDEFINED, .text = name};
}

static inline int weir_text_is(struct weir_text text, const char *word)
{
    return strlen(word) == text.n && !memcmp(text.bytes, word, text.n);
}

static inline int weir_text_same(struct weir_text a, struct weir_text b)
{
    return a.n == b.n && (!a.n || !memcmp(a.bytes, b.bytes, a.n));
}

/* bool, int and float count as numbers. */
static inline int weir_value_is_number(const struct weir_value *value)
{
    return value->kind >= WEIR_BOOL && value->kind <= WEIR_FLOAT;
}

static inline int weir_value_is_whole(const struct weir_value *value)
{
    return value->kind == WEIR_BOOL || value->kind == WEIR_INT;
}

static inline int weir_value_is_sequence(const struct weir_value *value)
{
    return value->kind == WEIR_LIST || value->kind == WEIR_TUPLE;
}

static inline double weir_value_as_real(const struct weir_value *value)
{
    return value->kind == WEIR_FLOAT ? value->real : (double)value->integer;
}

/* "str", "list" and so on, as Python's messages name it */
const char *weir_value_type(const struct weir_value *value);

/* What `if` makes of it. */
int weir_value_truth(const struct weir_value *value);

/* Characters in a string; the byte at which character `index` begins. */
size_t weir_text_count(struct weir_text text);
size_t weir_text_offset(struct weir_text text, size_t index);

/* Python's white space: what str.isspace() has. */
int weir_char_is_space(uint32_t c);
/* Bytes of white space at the start, and at the end. */
size_t weir_text_space(struct weir_text text);
size_t weir_text_space_behind(struct weir_text text);

/* Lists and dicts that are being filled; WEIR_ELIMIT or WEIR_ENOMEM. */
int weir_list_add(struct weir_render *render, struct weir_list *list,
                  const struct weir_value *item);
int weir_dict_put(struct weir_render *render, struct weir_dict *dict,
                  const struct weir_value *key, const struct weir_value *value);
/* An empty one of the kind, which uses a list or a dict. */
int weir_value_make(struct weir_render *render, enum weir_value_kind kind,
                    struct weir_value *out);

/* *found is the value of the key, or NULL; fails when steps run out. */
int weir_dict_find(struct weir_render *render, const struct weir_dict *dict,
                   const struct weir_value *key, struct weir_value **found);

/* A list of the tuples (key, value) */
int weir_dict_items(struct weir_render *render, const struct weir_dict *dict,
                    struct weir_value *out);

/* `==`, and the sign of a - b: WEIR_EFORMAT for what has no order. */
int weir_value_equal(struct weir_render *render, const struct weir_value *a,
                     const struct weir_value *b, int *equal);
int weir_value_compare(struct weir_render *render, const struct weir_value *a,
                       const struct weir_value *b, int *sign);

/*
 * The items that iterating gives: of a list its own, of a dict the keys, of a
 * string the characters.  What is made of a generator can not be had again.
 */
int weir_value_items(struct weir_render *render, const struct weir_value *value,
                     struct weir_list *items);

/* `in` */
int weir_value_contains(struct weir_render *render,
                        const struct weir_value *container,
                        const struct weir_value *item, int *contains);

#endif
