/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session that cannot be saved, whatever call fails, leaves the file that was
 * there, nothing else, and goes on; one that cannot be read is empty.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/fuzz/tiny_session.h"
#include "tests/tap.h"

/* The library's calls come here, not to libc; the `at`th one fails. */
enum call { WRITE, SYNC, RENAME, READ, N_CALLS };
static const char *const names[] = {"write", "sync", "rename", "read"};
static struct {
    unsigned n, at;
    int errnum; /* 0: it moves one byte only */
} calls[N_CALLS];

static int is_refused(enum call call)
{
    if (++calls[call].n != calls[call].at)
        return 0;
    errno = calls[call].errnum;
    return 1;
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset)
{
    if (is_refused(WRITE)) {
        if (errno)
            return -1;
        n = n > 1;
    }
    return syscall(SYS_pwrite64, fd, data, n, offset);
}

ssize_t pread(int fd, void *data, size_t n, off_t offset)
{
    if (is_refused(READ)) {
        if (errno)
            return -1;
        n = n > 1;
    }
    return syscall(SYS_pread64, fd, data, n, offset);
}

int fsync(int fd)
{
    return is_refused(SYNC) ? -1 : (int)syscall(SYS_fsync, fd);
}

int rename(const char *from, const char *to)
{
    return is_refused(RENAME)
               ? -1
               : (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static void arm(enum call call, unsigned at, int errnum)
{
    memset(calls, 0, sizeof(calls));
    calls[call].at = at;
    calls[call].errnum = errnum;
}

static char path[] = "session_save.XXXXXX";
static char part[sizeof(path) + sizeof(".part")];
static struct weir_buf before = WEIR_BUF(1 << 16);
static struct weir_err err;

/* 1: the file is as it was, and there is no other */
static int is_as_before(void)
{
    struct weir_buf now = WEIR_BUF(1 << 16);
    int good =
        !weir_buf_add_file(&now, path, &err) && now.n_bytes == before.n_bytes &&
        !memcmp(now.data, before.data, now.n_bytes) && access(part, F_OK);

    weir_buf_fini(&now);
    return good;
}

/* Each call of the kind fails once, and then none. */
static void test_save(weir_session *session, enum call call, int errnum)
{
    int good = 1, rc = 0;
    unsigned n = 0;

    do {
        arm(call, ++n, errnum);
        rc = weir_session_save(session, path, &err);
        if (calls[call].n < n)
            break;
        good &= rc == WEIR_EIO && strstr(err.message, strerror(errnum)) &&
                is_as_before() && weir_session_n_tok(session) == 20;
    } while (n < 100);
    tap_ok(good && n > 1 && !rc, "each %s fails in turn: %s", names[call],
           err.message);
    arm(call, 0, 0);
    if (weir_session_save(session, path, &err) || !is_as_before())
        tap_ok(0, "and it is saved again");
}

static void test_short(weir_session *session)
{
    weir_session *again = tiny_session_new();
    int good = 1;

    for (unsigned n = 1; n < 20; n++) {
        arm(WRITE, n, 0);
        good &= !weir_session_save(session, path, &err) && is_as_before();
        arm(READ, n, 0);
        good &= !weir_session_load(again, path, &err) &&
                weir_session_n_tok(again) == 20;
    }
    tap_ok(good, "calls that move one byte are gone on with");
    weir_session_free(again);
}

static void test_load(void)
{
    weir_session *session = tiny_session_new();
    int good = 1, rc = 0;
    unsigned n = 0;

    do {
        tiny_session_fill(session, 3);
        arm(READ, ++n, EIO);
        rc = weir_session_load(session, path, &err);
        if (calls[READ].n < n)
            break;
        good &= rc == WEIR_EIO && (weir_session_n_tok(session) == 0 ||
                                   weir_session_n_tok(session) == 3);
        weir_session_rewind(session, NULL, 0, NULL);
    } while (n < 100);
    tap_ok(good && n > 4 && !rc && weir_session_n_tok(session) == 20,
           "each of %u reads fails in turn", n - 1);
    weir_session_free(session);
}

int main(void)
{
    weir_session *session = tiny_session_new();
    int fd = mkstemp(path);

    if (!session || fd < 0) {
        tap_ok(0, "a session and a file");
        return tap_done();
    }
    close(fd);
    snprintf(part, sizeof(part), "%s.part", path);
    tiny_session_fill(session, 20);
    if (weir_session_save(session, path, &err) ||
        weir_buf_add_file(&before, path, &err))
        tap_ok(0, "a first time: %s", err.message);
    test_save(session, WRITE, ENOSPC);
    test_save(session, SYNC, EIO);
    test_save(session, RENAME, EIO);
    test_short(session);
    test_load();
    mkdir(part, 0700);
    tap_ok(weir_session_save(session, path, &err) == WEIR_EIO,
           "a folder in its way: %s", err.message);
    rmdir(part);
    tap_ok(weir_session_save(session, "no/such", &err) == WEIR_EIO,
           "no folder: %s", err.message);
    weir_session_free(session);
    weir_buf_fini(&before);
    unlink(path);
    return tap_done();
}
