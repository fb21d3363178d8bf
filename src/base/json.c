/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include <string.h>

#define MAX_DEPTH 64

/*
 * Depth of nesting, counted before jansson recurses.  Brackets inside strings
 * do not count.
 */
static unsigned nesting_depth(const char *text, size_t n_bytes)
{
    unsigned depth = 0, deepest = 0;
    int in_string = 0;

    for (size_t i = 0; i < n_bytes; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\')
                i++;
            else if (c == '"')
                in_string = 0;
        } else if (c == '"') {
            in_string = 1;
        } else if (c == '{' || c == '[') {
            if (++depth > deepest)
                deepest = depth;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return deepest;
}

int weir_json_parse(const char *text, size_t n_bytes, const char *what,
                    json_t **out, struct weir_err *err)
{
    json_error_t why;

    *out = NULL;
    if (nesting_depth(text, n_bytes) > MAX_DEPTH)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: JSON nested deeper than %d levels", what,
                            MAX_DEPTH);
    *out = json_loadb(text, n_bytes, JSON_REJECT_DUPLICATES, &why);
    if (*out)
        return 0;
    if (json_error_code(&why) == json_error_out_of_memory)
        return weir_err_nomem(err, n_bytes, what);
    return weir_err_at(err, WEIR_EFORMAT, (uint64_t)why.position,
                       "%s: line %d, column %d: %s; the file is damaged or "
                       "is not JSON",
                       what, why.line, why.column, why.text);
}

static const json_t *get_value(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);

    return json_is_null(value) ? NULL : value;
}

int weir_json_get_int(const json_t *object, const char *key, const char *what,
                      int64_t min, int64_t max, int64_t *out,
                      struct weir_err *err)
{
    const json_t *value = get_value(object, key);

    if (!value)
        return 0;
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: %s must be a whole number from %lld to %lld",
                            what, key, (long long)min, (long long)max);
    *out = json_integer_value(value);
    return 0;
}

int weir_json_get_bool(const json_t *object, const char *key, const char *what,
                       int *out, struct weir_err *err)
{
    const json_t *value = get_value(object, key);

    if (!value)
        return 0;
    if (!json_is_boolean(value))
        return weir_err_set(err, WEIR_EFORMAT, "%s: %s must be true or false",
                            what, key);
    *out = json_is_true(value);
    return 0;
}

int weir_json_get_real(const json_t *object, const char *key, const char *what,
                       double min, double max, double *out,
                       struct weir_err *err)
{
    const json_t *value = get_value(object, key);
    double number;

    if (!value)
        return 0;
    number = json_number_value(value);
    if (!json_is_number(value) || !(number >= min && number <= max))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: %s must be a number from %g to %g", what, key,
                            min, max);
    *out = number;
    return 0;
}

int weir_json_get_string(const json_t *object, const char *key,
                         const char *what, const char **out,
                         struct weir_err *err)
{
    const json_t *value = get_value(object, key);

    if (!value)
        return 0;
    if (!json_is_string(value))
        return weir_err_set(err, WEIR_EFORMAT, "%s: %s must be a string", what,
                            key);
    *out = json_string_value(value);
    return 0;
}
