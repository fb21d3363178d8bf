/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

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
