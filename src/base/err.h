/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_ERR_H
#define WEIR_BASE_ERR_H

#include "weir.h"

/*
 * Fills `err` (may be NULL) with `code` and one line of text, and returns
 * `code`, so that a failing function can end in `return weir_err_set(...)`.
 * The line says what happened, where, and what to do.  Control characters in
 * it are replaced, so that a name from a hostile file cannot reach a terminal.
 */
int weir_err_set(struct weir_err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the byte offset in the file that the text names. */
int weir_err_at(struct weir_err *err, int code, uint64_t offset,
                const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* WEIR_ENOMEM, saying what `n_bytes` were wanted for. */
int weir_err_nomem(struct weir_err *err, size_t n_bytes, const char *what);

/* WEIR_EIO, for ENOMEM WEIR_ENOMEM, with the text of `errnum`, an errno value.
 */
int weir_err_errno(struct weir_err *err, int errnum, const char *verb,
                   const char *path);

#endif
