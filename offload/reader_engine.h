/* SPDX-License-Identifier: Apache-2.0 */
/* What the reader's thread and the two ways to read know of each other. */
#ifndef WEIR_OFFLOAD_READER_ENGINE_H
#define WEIR_OFFLOAD_READER_ENGINE_H

#include "offload/reader.h"

/* A read under way, or the rest of one */
struct weir_op {
    uint8_t *buffer; /* of what is left */
    uint64_t offset;
    size_t n_left;
    unsigned file;

    /* the engine's */
    struct weir_op *next;
    ssize_t result;

    /* the reader's */
    struct weir_read *read; /* NULL: free, or nobody waits for it any more */
    int busy, is_guess;
    unsigned n_again; /* in a row without any bytes */
    int64_t deadline_ns;
};

/* What an engine reads with. */
struct weir_engine_setup {
    const struct weir_io_calls *calls;
    const int *fds;
    unsigned n_files;
    unsigned depth; /* most ops at once */
    const struct weir_region *region;
    char *note; /* room for a remark, empty */
    size_t note_bytes;
};

/* All but wake() are called on the reader's thread, open() and close() too. */
struct weir_engine {
    const char *name;
    /* *state is allocated; what `setup` points to outlives it */
    int (*open)(const struct weir_engine_setup *setup, void **state,
                struct weir_err *err);
    /* ops that have not ended are not looked at any more afterwards */
    void (*close)(void *state);
    void (*start)(void *state, struct weir_op *op);
    /*
     * Waits for an answer, for a wake() or, if >= 0, for timeout_ms.  -errno:
     * nothing will come any more.
     */
    int (*wait)(void *state, int timeout_ms);
    /* One answer, in op->result: bytes or -errno; NULL when there is none. */
    struct weir_op *(*next)(void *state);
    void (*wake)(void *state); /* any thread */
};

extern const struct weir_engine weir_engine_pread;
extern const struct weir_engine weir_engine_uring; /* with liburing only */

/* The parts of weir_io_system that need liburing */
int weir_uring_init(void *ring, unsigned n_entries);
int weir_uring_buffers(void *ring, const void *iovecs, unsigned n);
int weir_uring_files(void *ring, const int *fds, unsigned n);
int weir_uring_wait(void *ring, int timeout_ms);
int weir_uring_answer(void *ring, uint64_t *tag, int *result);

#endif
