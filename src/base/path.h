/* SPDX-License-Identifier: Apache-2.0 */
/* What a path names, before anything is read or written there. */
#ifndef WEIR_BASE_PATH_H
#define WEIR_BASE_PATH_H

#include "base/err.h"

/*
 * 1 when something is called `path`, were it only a link that leads nowhere;
 * opening it says what is wrong with it.
 */
int weir_path_exists(const char *path);

/*
 * WEIR_EARG unless a file can become `path`: the path is not empty, does not
 * end in '/', and names nothing, or a regular file that is not `input` (may be
 * NULL).
 */
int weir_path_check_output(const char *path, const char *input,
                           struct weir_err *err);

#endif
