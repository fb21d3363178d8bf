/* SPDX-License-Identifier: Apache-2.0 */
/* A growing run of bytes with a ceiling. */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include "base/err.h"

struct weir_buf {
    char *data; /* n_bytes bytes, and a NUL behind them once not empty */
    size_t n_bytes;
    size_t capacity;
    size_t ceiling; /* most bytes it may hold */
};

#define WEIR_BUF(limit)                                                        \
    {                                                                          \
        .ceiling = (limit)                                                     \
    }

/* Appends; WEIR_ELIMIT past the ceiling, WEIR_ENOMEM without memory. */
int weir_buf_add(struct weir_buf *buf, const void *data, size_t n_bytes,
                 struct weir_err *err);
void weir_buf_fini(struct weir_buf *buf);

/*
 * Appends all of the file at `path`, or all that is left of descriptor `fd`
 * (`name` stands in messages).  WEIR_ELIMIT when it passes the ceiling.
 */
int weir_buf_add_file(struct weir_buf *buf, const char *path,
                      struct weir_err *err);
int weir_buf_add_fd(struct weir_buf *buf, int fd, const char *name,
                    struct weir_err *err);

/* 1 when all `n` bytes at `data` are zero. */
int weir_is_all_zero(const void *data, size_t n);

/* pread() until `n_bytes` are there; WEIR_EFORMAT when the file ends first. */
int weir_pread_all(int fd, void *data, size_t n_bytes, uint64_t offset,
                   const char *path, struct weir_err *err);

/* pwrite() until `n_bytes` are written. */
int weir_pwrite_all(int fd, const void *data, size_t n_bytes, uint64_t offset,
                    const char *path, struct weir_err *err);

#endif
