/* SPDX-License-Identifier: Apache-2.0 */
/* Token ids as users write them. */
#ifndef WEIR_TOOLS_IDS_H
#define WEIR_TOOLS_IDS_H

#include "base/err.h"

#define IDS_FILE_BYTES (1UL << 30) /* most in a file of ids */

/*
 * Reads the file at `path` ("-": standard input): whole numbers from 0 to
 * 2^31 - 1 with white space between them, or a JSON array of such numbers.
 * A file without any is WEIR_EFORMAT.  *ids is allocated; release with free().
 */
int ids_read(const char *path, int32_t **ids, size_t *n_ids,
             struct weir_err *err);

/*
 * The same for text in memory; `what` names it in messages.  No id at all is
 * fine here.
 */
int ids_parse(const char *text, size_t n_bytes, const char *what, int32_t **ids,
              size_t *n_ids, struct weir_err *err);

#endif
