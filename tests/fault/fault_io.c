/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fault/fault_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "offload/reader_engine.h"

#define CUT 5000

struct fault_io fault_io;

void fault_io_reset(void)
{
    memset(&fault_io, 0, sizeof(fault_io));
}

/* 1 when one of `n` was left */
static int count_down(atomic_int *n)
{
    int left = atomic_load(n);

    while (left > 0)
        if (atomic_compare_exchange_weak(n, &left, left - 1))
            return 1;
    return 0;
}

/* What becomes of an answer that brought n of the bytes at `offset` */
static ssize_t spoil(uint8_t *data, uint64_t offset, size_t wanted, ssize_t n)
{
    struct fault_io *f = &fault_io;

    if (atomic_fetch_add(&f->n_calls, 1) + 1 == f->stall_at)
        f->stall = 1;
    if (f->flip_at >= offset && f->flip_at < offset + wanted &&
        !count_down(&f->flip_after) && count_down(&f->flip_n))
        data[f->flip_at - offset] ^= 0x10;
    if (offset < f->bad_to && offset + wanted > f->bad_from &&
        count_down(&f->bad_n))
        return -f->bad_errnum;
    if (count_down(&f->n_again))
        return -EAGAIN;
    if (n > CUT && count_down(&f->n_short))
        return n - CUT;
    return n;
}

static int is_mute(uint64_t offset)
{
    return fault_io.mute_from && offset >= fault_io.mute_from;
}

static int fault_drive(int fd, uint64_t *drive)
{
    if (!fault_io.apart)
        return weir_io_system.drive(fd, drive);
    *drive = (uint64_t)fd;
    return 0;
}

static int fault_open(const char *path, int flags)
{
    if (flags & O_DIRECT && fault_io.open_errnum) {
        errno = fault_io.open_errnum;
        return -1;
    }
    return weir_io_system.open(path, flags);
}

static ssize_t fault_pread(int fd, void *data, size_t n_bytes, off_t offset)
{
    ssize_t n;

    if (fault_io.probe_errnum && n_bytes == WEIR_READ_ALIGN && !offset &&
        fcntl(fd, F_GETFL) & O_DIRECT) {
        errno = fault_io.probe_errnum;
        return -1;
    }
    if (n_bytes == WEIR_READ_ALIGN && !offset)
        return weir_io_system.pread(fd, data, n_bytes, offset);
    while (fault_io.stall || is_mute((uint64_t)offset))
        usleep(1000);
    n = weir_io_system.pread(fd, data, n_bytes, offset);
    n = spoil(data, (uint64_t)offset, n_bytes, n < 0 ? -errno : n);
    if (n >= 0)
        return n;
    errno = (int)-n;
    return -1;
}

#ifdef HAVE_LIBURING
static int fault_init(void *ring, unsigned n_entries)
{
    return fault_io.init_rc ? fault_io.init_rc
                            : weir_io_system.ring_init(ring, n_entries);
}

static int fault_buffers(void *ring, const void *iovecs, unsigned n)
{
    int rc = fault_io.buffers_rc ? fault_io.buffers_rc
                                 : weir_io_system.ring_buffers(ring, iovecs, n);

    fault_io.n_registered += rc == 0;
    return rc;
}

static int fault_files(void *ring, const int *fds, unsigned n)
{
    return fault_io.files_rc ? fault_io.files_rc
                             : weir_io_system.ring_files(ring, fds, n);
}

static int fault_wait(void *ring, int timeout_ms)
{
    if (fault_io.wait_rc && !count_down(&fault_io.wait_at))
        return fault_io.wait_rc;
    if (!fault_io.stall)
        return weir_io_system.ring_wait(ring, timeout_ms);
    weir_io_system.ring_wait(ring, 0);
    usleep(1000);
    return 0;
}

static int fault_answer(void *ring, uint64_t *tag, int *result)
{
    const struct weir_op *op;

    if (fault_io.stall || !weir_io_system.ring_answer(ring, tag, result))
        return 0;
    if (!*tag)
        return 1;
    op = (const struct weir_op *)(uintptr_t)*tag;
    if (is_mute(op->offset))
        return fault_answer(ring, tag, result);
    *result = (int)spoil(op->buffer, op->offset, op->n_left, *result);
    return 1;
}
#endif

const struct weir_io_calls fault_io_calls = {
    .open = fault_open,
    .drive = fault_drive,
    .pread = fault_pread,
#ifdef HAVE_LIBURING
    .ring_init = fault_init,
    .ring_buffers = fault_buffers,
    .ring_files = fault_files,
    .ring_wait = fault_wait,
    .ring_answer = fault_answer,
#endif
};
