/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading with io_uring.  The ring belongs to the reader's thread, which sleeps
 * in it; others wake it through an eventfd that a read is always waiting on.
 * Buffers and files are registered where the system allows it.  Polling is not
 * used: virtual drives refuse it, and a polling kernel thread takes a core.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "offload/reader_engine.h"

/* What the kernel takes as one registered buffer */
#define PIECE      ((size_t)1 << 30)
#define MAX_PIECES 64
#define WAKE_TAG   0

struct uring {
    struct io_uring ring;
    struct weir_engine_setup setup;
    int has_ring, fixed_files, fixed_buffers;
    int event;
    uint64_t event_value;
    int armed; /* a read of the event is under way */
};

/* ---- the system ---- */

int weir_uring_init(void *ring, unsigned n_entries)
{
    struct io_uring_params params = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                              IORING_SETUP_DEFER_TASKRUN};
    int rc = io_uring_queue_init_params(n_entries, ring, &params);

    if (rc == -EINVAL) {
        params = (struct io_uring_params){0};
        rc = io_uring_queue_init_params(n_entries, ring, &params);
    }
    if (!rc && !(params.features & IORING_FEAT_EXT_ARG)) {
        io_uring_queue_exit(ring);
        rc = -ENOSYS; /* waiting with a timeout */
    }
    return rc;
}

int weir_uring_buffers(void *ring, const void *iovecs, unsigned n)
{
    return io_uring_register_buffers(ring, iovecs, n);
}

int weir_uring_files(void *ring, const int *fds, unsigned n)
{
    return io_uring_register_files(ring, fds, n);
}

int weir_uring_wait(void *ring, int timeout_ms)
{
    struct __kernel_timespec limit = {.tv_sec = timeout_ms / 1000,
                                      .tv_nsec = timeout_ms % 1000 * 1000000LL};
    struct io_uring_cqe *cqe;
    int rc = io_uring_submit_and_wait_timeout(
        ring, &cqe, 1, timeout_ms < 0 ? NULL : &limit, NULL);

    if (rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY)
        return 0;
    return rc < 0 ? rc : 0;
}

int weir_uring_answer(void *ring, uint64_t *tag, int *result)
{
    struct io_uring_cqe *cqe;

    if (io_uring_peek_cqe(ring, &cqe))
        return 0;
    *tag = io_uring_cqe_get_data64(cqe);
    *result = cqe->res;
    io_uring_cqe_seen(ring, cqe);
    return 1;
}

/* ---- the engine ---- */

static int check_operations(struct uring *uring)
{
    static const int wanted[] = {IORING_OP_READ, IORING_OP_READ_FIXED};
    struct io_uring_probe *probe = io_uring_get_probe_ring(&uring->ring);
    int rc = probe ? 0 : -ENOSYS;

    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]) && !rc; i++)
        if (!io_uring_opcode_supported(probe, wanted[i]))
            rc = -ENOSYS;
    io_uring_free_probe(probe);
    return rc;
}

static void note_memlock(const struct weir_engine_setup *setup)
{
    struct rlimit limit = {0};

    getrlimit(RLIMIT_MEMLOCK, &limit);
    snprintf(setup->note, setup->note_bytes,
             "the limit of locked memory, %llu KiB, is too low for the %llu "
             "KiB of buffers, so that reads cost more time of the CPU; raise "
             "it with 'ulimit -l' or LimitMEMLOCK=",
             (unsigned long long)limit.rlim_cur >> 10,
             (unsigned long long)setup->region->n_bytes >> 10);
}

static int register_buffers(struct uring *uring)
{
    const struct weir_region *region = uring->setup.region;
    struct iovec iovecs[MAX_PIECES];
    unsigned n = 0;
    int rc;

    if (!region || region->n_bytes > MAX_PIECES * PIECE)
        return 0;
    for (size_t at = 0; at < region->n_bytes; at += PIECE, n++) {
        size_t left = region->n_bytes - at;

        iovecs[n].iov_base = region->base + at;
        iovecs[n].iov_len = left < PIECE ? left : PIECE;
    }
    rc = uring->setup.calls->ring_buffers(&uring->ring, iovecs, n);
    if (rc == -ENOMEM || rc == -EPERM)
        note_memlock(&uring->setup);
    return rc == 0;
}

static void uring_close(void *state)
{
    struct uring *uring = state;

    if (uring->has_ring)
        io_uring_queue_exit(&uring->ring);
    if (uring->event >= 0)
        close(uring->event);
    free(uring);
}

/* 0 or -errno: of the things that reading cannot do without */
static int open_ring(struct uring *uring)
{
    const struct weir_io_calls *calls = uring->setup.calls;
    int rc;

    uring->event = eventfd(0, EFD_CLOEXEC);
    if (uring->event < 0)
        return -errno;
    rc = calls->ring_init(&uring->ring, 2 * (uring->setup.depth + 1));
    if (rc)
        return rc;
    uring->has_ring = 1;
    rc = check_operations(uring);
    if (rc)
        return rc;
    uring->fixed_buffers = register_buffers(uring);
    uring->fixed_files = !calls->ring_files(&uring->ring, uring->setup.fds,
                                            uring->setup.n_files);
    return 0;
}

static int uring_open(const struct weir_engine_setup *setup, void **state,
                      struct weir_err *err)
{
    struct uring *uring = calloc(1, sizeof(*uring));
    int rc;

    if (!uring)
        return weir_err_nomem(err, sizeof(*uring), "reading");
    uring->setup = *setup;
    rc = open_ring(uring);
    if (rc) {
        uring_close(uring);
        return weir_err_errno(err, -rc, "set up", "io_uring");
    }
    *state = uring;
    return 0;
}

/* There is always room: an op has one entry, and the ring twice as many. */
static void uring_start(void *state, struct weir_op *op)
{
    struct uring *uring = state;
    const struct weir_region *region = uring->setup.region;
    struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);
    size_t at = region ? (size_t)(op->buffer - region->base) : SIZE_MAX;
    unsigned n = (unsigned)op->n_left;
    int fd = uring->fixed_files ? (int)op->file : uring->setup.fds[op->file];

    if (uring->fixed_buffers && at < region->n_bytes &&
        at / PIECE == (at + n - 1) / PIECE)
        io_uring_prep_read_fixed(sqe, fd, op->buffer, n, op->offset,
                                 (int)(at / PIECE));
    else
        io_uring_prep_read(sqe, fd, op->buffer, n, op->offset);
    if (uring->fixed_files)
        sqe->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data(sqe, op);
}

static int uring_wait(void *state, int timeout_ms)
{
    struct uring *uring = state;
    struct io_uring_sqe *sqe;

    if (!uring->armed) {
        sqe = io_uring_get_sqe(&uring->ring);
        io_uring_prep_read(sqe, uring->event, &uring->event_value,
                           sizeof(uring->event_value), 0);
        io_uring_sqe_set_data64(sqe, WAKE_TAG);
        uring->armed = 1;
    }
    return uring->setup.calls->ring_wait(&uring->ring, timeout_ms);
}

static struct weir_op *uring_next(void *state)
{
    struct uring *uring = state;
    struct weir_op *op;
    uint64_t tag;
    int result;

    while (uring->setup.calls->ring_answer(&uring->ring, &tag, &result)) {
        if (tag == WAKE_TAG) {
            uring->armed = 0;
            continue;
        }
        op = (struct weir_op *)(uintptr_t)tag;
        op->result = result;
        return op;
    }
    return NULL;
}

static void uring_wake(void *state)
{
    const struct uring *uring = state;
    const uint64_t one = 1;

    /* fails only when the counter is full, and then the thread wakes anyway */
    if (write(uring->event, &one, sizeof(one)) < 0)
        return;
}

const struct weir_engine weir_engine_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .start = uring_start,
    .wait = uring_wait,
    .next = uring_next,
    .wake = uring_wake,
};
