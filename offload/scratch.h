/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file for what waits and does not fit into RAM, as long as a process needs
 * it: it has no name, so that nothing is left of it whatever happens.
 */
#ifndef WEIR_OFFLOAD_SCRATCH_H
#define WEIR_OFFLOAD_SCRATCH_H

#include <sys/types.h>

#include "base/err.h"

/* Of offsets, sizes and memory: what a drive takes around the page cache */
#define WEIR_SCRATCH_ALIGN 4096

/* The system calls.  Tests put faults between. */
struct weir_scratch_calls {
    int (*open)(const char *path, int flags);
    int (*allocate)(int fd, off_t n_bytes); /* 0 or errno */
    ssize_t (*pread)(int fd, void *data, size_t n_bytes, off_t offset);
    ssize_t (*pwrite)(int fd, const void *data, size_t n_bytes, off_t offset);
};

extern const struct weir_scratch_calls weir_scratch_system;

struct weir_scratch;

/*
 * A scratch file of n_bytes, all of them reserved on the drive, in the folder
 * `where` or under the new name `where`, which it loses at once.  `calls` NULL:
 * the system's.  WEIR_EIO, naming `where`, when there is no such folder, the
 * name is taken, the place cannot be written to or has no room.  Release with
 * weir_scratch_close().
 */
int weir_scratch_open(const char *where, uint64_t n_bytes,
                      const struct weir_scratch_calls *calls,
                      struct weir_scratch **scratch, struct weir_err *err);
void weir_scratch_close(struct weir_scratch *scratch);

/*
 * Moves n_bytes between memory and the file at `offset`, all three aligned to
 * WEIR_SCRATCH_ALIGN, and leaves none of them in the page cache.  WEIR_EIO,
 * with the offset, when the drive fails.  One thread at a time.
 */
int weir_scratch_read(struct weir_scratch *scratch, uint64_t offset, void *data,
                      uint64_t n_bytes, struct weir_err *err);
int weir_scratch_write(struct weir_scratch *scratch, uint64_t offset,
                       const void *data, uint64_t n_bytes,
                       struct weir_err *err);

struct weir_scratch_stats {
    uint64_t read_bytes, written_bytes;
};

/* Zeros for NULL */
void weir_scratch_get_stats(const struct weir_scratch *scratch,
                            struct weir_scratch_stats *stats);

/* Bytes that are free at `where`, as weir_scratch_open() takes it */
int weir_scratch_find_room(const char *where, uint64_t *n_bytes,
                           struct weir_err *err);

/* n_bytes, up to whole pages */
uint64_t weir_scratch_up(uint64_t n_bytes);

/*
 * What passes through layers of which some have groups of experts, while rows
 * of it wait in a scratch file.  The rows are written behind each layer or, if
 * it has experts, before them, and are read before the next.  The experts of a
 * group come a few at a time: each time all rows are read, with the sums of the
 * experts before unless these are the first, and the sums are written, or the
 * rows behind the last.  What comes out is read once more.
 */
struct weir_scratch_use {
    uint64_t row_bytes; /* of a token */
    uint32_t n_layers, n_groups, n_experts;
};

/*
 * How many of n_tok tokens are in memory at a time, of `most` that have room:
 * enough to keep the drive busy, and an eighth of all if that is more.  A
 * multiple of WEIR_SCRATCH_STEP tokens, whose rows are whole pages, and one at
 * the least.
 */
#define WEIR_SCRATCH_STEP 1024
uint64_t weir_scratch_block(uint64_t n_tok, uint64_t most);

/* What n_tok tokens move when n_held > 0 experts come at a time */
void weir_scratch_count(const struct weir_scratch_use *use, uint64_t n_tok,
                        uint32_t n_held, struct weir_scratch_stats *bytes);

/* The file for n_tok tokens: their rows and, if there are experts, sums */
uint64_t weir_scratch_file_bytes(const struct weir_scratch_use *use,
                                 uint64_t n_tok);

#endif
