/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Templates in the part of the Jinja language (version 3) that chat templates
 * use, set up as the transformers library does it: trim_blocks and
 * lstrip_blocks, the loop controls, tojson that keeps the order of keys and
 * characters beyond ASCII, raise_exception() and strftime_now(), and a sandbox
 * in which nothing but namespaces can be changed.  weir-template(1) lists what
 * there is; anything else is refused when the template is parsed.
 *
 * A template is a stranger's program.  It can reach nothing but its variables,
 * and its time (in steps), its memory, its text and its nesting are bounded.
 *
 * Messages begin with FILE:LINE:COLUMN, both counted from 1, the columns in
 * characters.  A template is constant once parsed and may be shared by threads.
 */
#ifndef WEIR_TEXT_JINJA_H
#define WEIR_TEXT_JINJA_H

#include "base/buf.h"
#include "base/json.h"

struct weir_jinja;

#define WEIR_JINJA_BYTES       (1UL << 20)   /* most in a template */
#define WEIR_JINJA_TREE_BYTES  (64UL << 20)  /* most that one is parsed into */
#define WEIR_JINJA_VALUE_BYTES (256UL << 20) /* most memory of a rendering */
#define WEIR_JINJA_TEXT_BYTES  (64UL << 20)  /* most text of a rendering */
#define WEIR_JINJA_STEPS       (1UL << 25)   /* most steps of a rendering */

/*
 * Parses a template of `n_bytes`, UTF-8; `what` names it in messages.  Release
 * *jinja with weir_jinja_free().  WEIR_EFORMAT when it is wrong, WEIR_ENOTSUP
 * for a part of the language that is not built here, WEIR_ELIMIT.
 */
int weir_jinja_parse(const char *text, size_t n_bytes, const char *what,
                     struct weir_jinja **jinja, struct weir_err *err);
/* Whether this text stands in the template. */
int weir_jinja_has(const struct weir_jinja *jinja, const char *text);
void weir_jinja_free(struct weir_jinja *jinja);

/*
 * Appends to `out` what the template makes of the variables: the members of
 * the `n` objects `variables` (each may be NULL), of which a later one goes
 * before an earlier.  `now` is the time for strftime_now(), in seconds since
 * 1970; 0: the present.  After an error `out` is as it was.  WEIR_EFORMAT when
 * the template fails, or calls raise_exception(); WEIR_ELIMIT past one of the
 * bounds, of which the ceiling of `out` is one.
 */
int weir_jinja_render(const struct weir_jinja *jinja,
                      const json_t *const *variables, size_t n, int64_t now,
                      struct weir_buf *out, struct weir_err *err);

#endif
