/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JSON of strangers as values of jansson: a parser with ceilings, and getters
 * whose errors name the file and the key.  Numbers are accepted only in the
 * range asked for.
 */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include <jansson.h>

#include "base/err.h"

/*
 * Parses all of `text`.  `what` names the source in messages.  Duplicate keys,
 * trailing text, NUL, invalid UTF-8 and nesting beyond 64 levels are refused.
 * Release *out with json_decref().
 */
int weir_json_parse(const char *text, size_t n_bytes, const char *what,
                    json_t **out, struct weir_err *err);

/*
 * 1 if all of `text` is an object or an array, as above but that values may
 * hold \u0000, which tokens of single bytes can make; 0 also without memory.
 */
int weir_json_is_whole(const char *text, size_t n_bytes);

/*
 * Integer at `key`, which must lie in [min, max].  A key that is absent or
 * null leaves *out alone, so set the default before.
 */
int weir_json_get_int(const json_t *object, const char *key, const char *what,
                      int64_t min, int64_t max, int64_t *out,
                      struct weir_err *err);

/* The same for a boolean. */
int weir_json_get_bool(const json_t *object, const char *key, const char *what,
                       int *out, struct weir_err *err);

/* The same for a real or integer number. */
int weir_json_get_real(const json_t *object, const char *key, const char *what,
                       double min, double max, double *out,
                       struct weir_err *err);

/* The same for a string, which belongs to `object`. */
int weir_json_get_string(const json_t *object, const char *key,
                         const char *what, const char **out,
                         struct weir_err *err);

#endif
