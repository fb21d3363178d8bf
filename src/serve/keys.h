/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of an API, one of which a request must have when there are any. */
#ifndef WEIR_SERVE_KEYS_H
#define WEIR_SERVE_KEYS_H

#include "base/err.h"

#define WEIR_MAX_KEYS  64
#define WEIR_KEY_BYTES 256 /* most in one */

struct weir_keys {
    char text[WEIR_MAX_KEYS][WEIR_KEY_BYTES]; /* with zeros behind each */
    size_t n;
};

/*
 * Adds a key: 1 to WEIR_KEY_BYTES - 1 visible ASCII characters.  WEIR_EARG,
 * which does not show the key, for another, or one too many.
 */
int weir_keys_add(struct weir_keys *keys, const char *key, size_t n_bytes,
                  struct weir_err *err);

/* Adds each line of a file but empty ones and those that begin with '#'. */
int weir_keys_add_file(struct weir_keys *keys, const char *path,
                       struct weir_err *err);

/*
 * 1 when `authorization`, the value of that header or NULL, is "Bearer " and a
 * key, or there are no keys.  How long this takes does not tell how much of a
 * key was right.
 */
int weir_keys_allow(const struct weir_keys *keys, const char *authorization);

#endif
