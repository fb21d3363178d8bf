/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a whole model and checking every byte that it vouches for. */
#ifndef WEIR_OFFLOAD_VERIFY_H
#define WEIR_OFFLOAD_VERIFY_H

#include "offload/file.h"
#include "offload/reader.h"

struct weir_verify {
    unsigned n_threads; /* 0: one per CPU */
    enum weir_io io;
    const struct weir_io_calls *calls; /* NULL: the system's */

    /* A tile or blob is bad; `text` is one line that begins with the path of
     * its file.  One call at a time. */
    void (*bad)(void *ctx, const char *text);
    /* Stored bytes read so far; may be NULL.  One call at a time. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    /* Once at most: why reading is slower than it could be; may be NULL. */
    void (*note)(void *ctx, const char *text);
    void *ctx;
};

/*
 * Checks the checksum of every blob and tile and decodes every tile.  *n_bad
 * counts those that failed; an error is returned only when checking itself
 * could not go on.
 */
int weir_verify_run(const struct weir_verify *verify,
                    const struct weir_file *file, uint64_t *n_bad,
                    struct weir_err *err);

#endif
