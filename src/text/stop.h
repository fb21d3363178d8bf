/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ends a text before a stop string, while the text is still being written.
 * What may be the beginning of a stop string is held back until it is known
 * whether it is one, so that no part of a stop string ever comes out.
 *
 * The stop string that is complete first ends the text; of those that are
 * complete with the same byte, the longest.  How the text was cut into pieces
 * makes no difference.
 */
#ifndef WEIR_TEXT_STOP_H
#define WEIR_TEXT_STOP_H

#include "base/err.h"

#define WEIR_MAX_STOPS  16
#define WEIR_STOP_BYTES 256 /* most in one */

struct weir_stop_string {
    char text[WEIR_STOP_BYTES];
    size_t n_bytes;
    size_t n_matched; /* most of it that the text so far ends in */
    /* [i]: the longest border of its bytes 0 to i, less than i + 1: what they
     * both begin and end with */
    unsigned char border[WEIR_STOP_BYTES];
};

struct weir_stop {
    struct weir_stop_string strings[WEIR_MAX_STOPS];
    size_t n_strings;
    int met; /* the string that ended the text, or -1 */
    char held[2][WEIR_STOP_BYTES];
    size_t n_held;
    int at; /* which of them holds it */
};

/*
 * Bytes that may come out, in two parts of which either may be empty.  They
 * stay valid until the next call and no longer than the text that was given.
 */
struct weir_stop_out {
    const char *text[2];
    size_t n_bytes[2];
};

/* Without strings everything comes out at once. */
void weir_stop_init(struct weir_stop *stop);

/*
 * Adds a stop string: 1 to WEIR_STOP_BYTES bytes of UTF-8, so that a text is
 * never cut inside a character.  WEIR_EARG for another, or one too many.
 */
int weir_stop_add(struct weir_stop *stop, const char *text, size_t n_bytes,
                  struct weir_err *err);

/*
 * The text goes on.  Returns 1 when a stop string has ended it, here or before:
 * `out` then has what was left before the string, and later nothing more.
 */
int weir_stop_push(struct weir_stop *stop, const char *text, size_t n_bytes,
                   struct weir_stop_out *out);

/* The text ends without a stop string: gives what is held back. */
void weir_stop_finish(struct weir_stop *stop, struct weir_stop_out *out);

#endif
