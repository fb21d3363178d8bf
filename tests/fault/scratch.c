/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scratch file gives back what it was given, whatever the drive answers, or
 * an error that says where; and nothing of it is left.
 */
#include "offload/scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/tap.h"

#define N_BYTES (64u * 4096)

static struct weir_err err;
static char folder[] = "scratch.XXXXXX";

/* What is wrong with the drive; zeros: nothing */
static struct {
    int open_direct_errno, allocate_errno;
    int write_errno, read_errno, n_errors; /* of so many calls */
    uint64_t errors_from;                  /* offset */
    size_t most;                           /* bytes that a call moves */
    int n_nothing;                         /* calls that move none */
    int n_calls;
} fault;

static int fault_open(const char *path, int flags)
{
    if (fault.open_direct_errno && flags & O_DIRECT) {
        errno = fault.open_direct_errno;
        return -1;
    }
    return weir_scratch_system.open(path, flags);
}

static int fault_allocate(int fd, off_t n_bytes)
{
    return fault.allocate_errno ? fault.allocate_errno
                                : weir_scratch_system.allocate(fd, n_bytes);
}

/* -1: the call fails; else how many bytes it may move */
static ssize_t spoil(int errnum, size_t n_bytes, off_t offset)
{
    fault.n_calls++;
    if (errnum && (uint64_t)offset + n_bytes > fault.errors_from &&
        fault.n_errors-- > 0) {
        errno = errnum;
        return -1;
    }
    if (fault.n_nothing > 0) {
        fault.n_nothing--;
        return 0;
    }
    return (ssize_t)(fault.most && fault.most < n_bytes ? fault.most : n_bytes);
}

/* A drive that stops in the middle of a page did move its first part. */
static ssize_t move(int fd, void *data, size_t n, off_t offset, int writes)
{
    int flags = fcntl(fd, F_GETFL);
    ssize_t moved;

    if (flags & O_DIRECT && offset % WEIR_SCRATCH_ALIGN) {
        errno = EINVAL;
        return -1;
    }
    fcntl(fd, F_SETFL, flags & ~O_DIRECT);
    moved = writes ? pwrite(fd, data, n, offset) : pread(fd, data, n, offset);
    fcntl(fd, F_SETFL, flags);
    return moved;
}

static ssize_t fault_pread(int fd, void *data, size_t n_bytes, off_t offset)
{
    ssize_t n = spoil(fault.read_errno, n_bytes, offset);

    return n <= 0 ? n : move(fd, data, (size_t)n, offset, 0);
}

static ssize_t fault_pwrite(int fd, const void *data, size_t n_bytes,
                            off_t offset)
{
    ssize_t n = spoil(fault.write_errno, n_bytes, offset);

    return n <= 0 ? n : move(fd, (void *)data, (size_t)n, offset, 1);
}

static const struct weir_scratch_calls calls = {fault_open, fault_allocate,
                                                fault_pread, fault_pwrite};

static uint8_t *given, *got; /* [N_BYTES] */

/* Writes in three parts, reads in two; 1: the same bytes came back */
static int round_trip(const char *where, const struct weir_scratch_calls *use)
{
    struct weir_scratch *scratch;
    struct weir_scratch_stats stats;
    int rc = weir_scratch_open(where, N_BYTES, use, &scratch, &err);

    if (rc)
        return rc;
    memset(got, 0, N_BYTES);
    rc = weir_scratch_write(scratch, 0, given, N_BYTES / 4, &err);
    if (!rc)
        rc = weir_scratch_write(scratch, N_BYTES / 2, given + N_BYTES / 2,
                                N_BYTES / 2, &err);
    if (!rc)
        rc = weir_scratch_write(scratch, N_BYTES / 4, given + N_BYTES / 4,
                                N_BYTES / 4, &err);
    for (uint64_t at = 0; at < N_BYTES && !rc; at += N_BYTES / 2)
        rc = weir_scratch_read(scratch, at, got + at, N_BYTES / 2, &err);
    weir_scratch_get_stats(scratch, &stats);
    weir_scratch_close(scratch);
    return rc ? rc
              : !memcmp(given, got, N_BYTES) && stats.read_bytes == N_BYTES &&
                    stats.written_bytes == N_BYTES;
}

static int n_left(void)
{
    DIR *dir = opendir(folder);
    int n = 0;

    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n - 2;
}

static void expect_same(const char *what)
{
    int verdict = round_trip(folder, &calls);

    tap_ok(verdict == 1, "%s: the same bytes", what);
    if (verdict < 0)
        tap_diag("%s", err.message);
    memset(&fault, 0, sizeof(fault));
}

static void expect_error(const char *where, const char *what, const char *says)
{
    int verdict = round_trip(where, &calls);

    tap_ok(verdict == WEIR_EIO && strstr(err.message, says), "%s: %s", what,
           verdict < 0 ? err.message : "no error");
    memset(&fault, 0, sizeof(fault));
}

static void test_drives(void)
{
    tap_ok(round_trip(folder, NULL) == 1, "in a folder: the same bytes");
    fault.open_direct_errno = EINVAL;
    expect_same("through the page cache");
    fault.most = 3 * 4096;
    expect_same("few pages a call");
    fault.most = 5000;
    expect_same("calls that end within a page");
    fault.most = 1000;
    expect_same("calls that never move a page");
    fault.write_errno = EINVAL;
    fault.n_errors = 1;
    expect_same("a drive that refuses to be written around the page cache");
    fault.read_errno = EINVAL;
    fault.n_errors = 1;
    expect_same("or to be read");
    fault.write_errno = EINTR;
    fault.n_errors = 3;
    expect_same("calls that are interrupted");

    fault.write_errno = EIO;
    fault.n_errors = 1;
    fault.errors_from = N_BYTES * 3 / 4;
    expect_error(folder, "a page that cannot be written",
                 "cannot write at offset");
    tap_ok(err.offset == N_BYTES / 2, "and where that was");
    fault.read_errno = EIO;
    fault.n_errors = 1;
    expect_error(folder, "one that cannot be read", "cannot read at offset 0:");
    fault.write_errno = ENOSPC;
    fault.n_errors = 1;
    expect_error(folder, "a drive that is full after all", "No space left");
    fault.n_nothing = 1;
    expect_error(folder, "a call that moves nothing", "cannot write");
    fault.write_errno = EINVAL;
    fault.n_errors = 1000;
    expect_error(folder, "a drive that refuses anything", "cannot write");
}

static void test_places(void)
{
    char path[128], name[64];
    struct stat status;
    uint64_t room = 0;
    FILE *file;

    snprintf(path, sizeof(path), "%s/new", folder);
    tap_ok(round_trip(path, NULL) == 1 && stat(path, &status),
           "a new name, which is gone at once");
    snprintf(path, sizeof(path), "%s/nothing/new", folder);
    expect_error(path, "a folder that is not there", "No such file");
    snprintf(path, sizeof(path), "%s/taken", folder);
    file = fopen(path, "w");
    if (!file || fputs("mine", file) < 0 || fclose(file))
        tap_ok(0, "cannot write %s", path);
    expect_error(path, "a name that is taken", "exists already");
    tap_ok(!stat(path, &status) && status.st_size == 4,
           "what has that name stays");
    snprintf(name, sizeof(name), "%s/taken/new", folder);
    expect_error(name, "a file in place of a folder", "Not a directory");
    unlink(path);

    fault.open_direct_errno = EACCES;
    expect_error(folder, "a folder that may not be written to",
                 "Permission denied");
    fault.allocate_errno = ENOSPC;
    expect_error(folder, "a drive that is full", "has no room");
    fault.allocate_errno = EIO;
    expect_error(folder, "one that fails at once", "cannot reserve");
    tap_ok(!weir_scratch_find_room(folder, &room, &err) && room > 0,
           "the room of a folder");
    room = 0;
    snprintf(path, sizeof(path), "%s/new", folder);
    tap_ok(!weir_scratch_find_room(path, &room, &err) && room > 0,
           "and of a new name in it");
    tap_ok(weir_scratch_find_room("nothing/new", &room, &err) == WEIR_EIO,
           "no room in a folder that is not there: %s", err.message);
}

int main(void)
{
    if (!mkdtemp(folder))
        tap_skip_all("no folder can be made here");
    given = aligned_alloc(WEIR_SCRATCH_ALIGN, N_BYTES);
    got = aligned_alloc(WEIR_SCRATCH_ALIGN, N_BYTES);
    for (size_t i = 0; given && i < N_BYTES; i++)
        given[i] = (uint8_t)(i * 7 + i / 4096);
    if (!given || !got) {
        tap_ok(0, "memory");
        return tap_done();
    }
    test_drives();
    test_places();
    tap_ok(n_left() == 0, "nothing is left in the folder");
    rmdir(folder);
    free(given);
    free(got);
    return tap_done();
}
