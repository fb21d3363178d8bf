/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page cache would count for a budget, and what was just written is not
 * wanted soon: so it is gone around, and where a file system does not allow
 * that its pages are written and dropped at once.
 */
#include "offload/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MOST_NAMES 100 /* that are tried in a folder */

struct weir_scratch {
    const struct weir_scratch_calls *calls;
    int fd;
    int direct;
    struct weir_scratch_stats stats;
    char where[PATH_MAX];
};

static int system_open(const char *path, int flags)
{
    return open(path, flags, 0600);
}

static int system_allocate(int fd, off_t n_bytes)
{
    return posix_fallocate(fd, 0, n_bytes);
}

const struct weir_scratch_calls weir_scratch_system = {
    .open = system_open,
    .allocate = system_allocate,
    .pread = pread,
    .pwrite = pwrite,
};

uint64_t weir_scratch_up(uint64_t n_bytes)
{
    return (n_bytes + WEIR_SCRATCH_ALIGN - 1) / WEIR_SCRATCH_ALIGN *
           WEIR_SCRATCH_ALIGN;
}

/* ---- opening ---- */

static int is_folder(const char *where)
{
    struct stat status;

    return !stat(where, &status) && S_ISDIR(status.st_mode);
}

/* A new file, which is there as long as it is open; -1 and errno */
static int open_new(struct weir_scratch *scratch, const char *path)
{
    const int flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC;
    int fd = scratch->calls->open(path, flags | O_DIRECT);

    scratch->direct = fd >= 0;
    if (fd < 0 && errno == EINVAL) {
        /* it may have been made before it was refused */
        unlink(path);
        fd = scratch->calls->open(path, flags);
    }
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* The same in a folder, under a name that nobody else has */
static int open_in_folder(struct weir_scratch *scratch)
{
    static atomic_uint n_opened;
    char path[PATH_MAX + 64];
    int fd = -1;

    for (int i = 0; i < MOST_NAMES; i++) {
        snprintf(path, sizeof(path), "%s/weir-scratch.%ld.%u", scratch->where,
                 (long)getpid(), atomic_fetch_add(&n_opened, 1));
        fd = open_new(scratch, path);
        if (fd >= 0 || errno != EEXIST)
            break;
    }
    return fd;
}

static int refuse(const struct weir_scratch *scratch, int errnum,
                  struct weir_err *err)
{
    if (errnum == EEXIST)
        return weir_err_set(err, WEIR_EIO,
                            "%s: exists already, and a scratch file is a new "
                            "one; name another, or a folder",
                            scratch->where);
    return weir_err_errno(err, errnum, "make a scratch file", scratch->where);
}

static int reserve(const struct weir_scratch *scratch, uint64_t n_bytes,
                   struct weir_err *err)
{
    int errnum = n_bytes > INT64_MAX
                     ? EFBIG
                     : scratch->calls->allocate(scratch->fd, (off_t)n_bytes);

    if (!errnum)
        return 0;
    if (errnum != ENOSPC && errnum != EFBIG && errnum != EDQUOT)
        return weir_err_errno(err, errnum, "reserve scratch space",
                              scratch->where);
    return weir_err_set(err, WEIR_EIO,
                        "%s: has no room for a scratch file of %.3f GB; free "
                        "some, name another place, or give more memory or a "
                        "shorter context",
                        scratch->where, (double)n_bytes / 1e9);
}

int weir_scratch_open(const char *where, uint64_t n_bytes,
                      const struct weir_scratch_calls *calls,
                      struct weir_scratch **out, struct weir_err *err)
{
    struct weir_scratch *scratch = calloc(1, sizeof(*scratch));
    size_t n_where = strlen(where);
    int rc;

    *out = NULL;
    if (!scratch)
        return weir_err_nomem(err, sizeof(*scratch), "a scratch file");
    scratch->calls = calls ? calls : &weir_scratch_system;
    scratch->fd = -1;
    if (n_where >= sizeof(scratch->where)) {
        free(scratch);
        return weir_err_errno(err, ENAMETOOLONG, "make a scratch file", where);
    }
    memcpy(scratch->where, where, n_where + 1);
    scratch->fd = is_folder(where) ? open_in_folder(scratch)
                                   : open_new(scratch, scratch->where);
    rc = scratch->fd < 0 ? refuse(scratch, errno, err)
                         : reserve(scratch, n_bytes, err);
    if (rc)
        weir_scratch_close(scratch);
    else
        *out = scratch;
    return rc;
}

void weir_scratch_close(struct weir_scratch *scratch)
{
    if (!scratch)
        return;
    if (scratch->fd >= 0)
        close(scratch->fd);
    free(scratch);
}

int weir_scratch_find_room(const char *where, uint64_t *n_bytes,
                           struct weir_err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(where, '/');
    size_t n = slash == where ? 1 : slash ? (size_t)(slash - where) : 0;
    struct statvfs status;

    if (is_folder(where))
        snprintf(folder, sizeof(folder), "%s", where);
    else
        snprintf(folder, sizeof(folder), "%.*s", slash ? (int)n : 1,
                 slash ? where : ".");
    if (statvfs(folder, &status))
        return weir_err_errno(err, errno, "look for room", folder);
    *n_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}

/* ---- moving ---- */

/*
 * Some file systems refuse only when it comes to it; and a call that ended
 * within a page is gone on with there.
 */
static void go_through_cache(struct weir_scratch *scratch)
{
    int flags = fcntl(scratch->fd, F_GETFL);

    scratch->direct = 0;
    fcntl(scratch->fd, F_SETFL, flags & ~O_DIRECT);
}

/* Lets no page of it stay, dirty or clean. */
static void drop_pages(const struct weir_scratch *scratch, uint64_t offset,
                       uint64_t n_bytes)
{
    if (scratch->direct)
        return;
    sync_file_range(scratch->fd, (off_t)offset, (off_t)n_bytes,
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                        SYNC_FILE_RANGE_WAIT_AFTER);
    posix_fadvise(scratch->fd, (off_t)offset, (off_t)n_bytes,
                  POSIX_FADV_DONTNEED);
}

static int fail(const struct weir_scratch *scratch, int errnum,
                const char *verb, uint64_t offset, struct weir_err *err)
{
    char text[128];

    return weir_err_at(err, WEIR_EIO, offset,
                       "the scratch file in %s: cannot %s at offset %" PRIu64
                       ": %s; check the drive, or name another place",
                       scratch->where, verb, offset,
                       strerror_r(errnum, text, sizeof(text)));
}

/* 1: the call that failed with errno is to be made again */
static int try_again(struct weir_scratch *scratch)
{
    if (errno == EINVAL && scratch->direct) {
        go_through_cache(scratch);
        return 1;
    }
    return errno == EINTR || errno == EAGAIN;
}

int weir_scratch_read(struct weir_scratch *scratch, uint64_t offset, void *data,
                      uint64_t n_bytes, struct weir_err *err)
{
    uint64_t done = 0;

    while (done < n_bytes) {
        ssize_t n =
            scratch->calls->pread(scratch->fd, (uint8_t *)data + done,
                                  n_bytes - done, (off_t)(offset + done));

        if (n < 0 && try_again(scratch))
            continue;
        if (n <= 0)
            return fail(scratch, n ? errno : EIO, "read", offset + done, err);
        done += (uint64_t)n;
    }
    drop_pages(scratch, offset, n_bytes);
    scratch->stats.read_bytes += n_bytes;
    return 0;
}

int weir_scratch_write(struct weir_scratch *scratch, uint64_t offset,
                       const void *data, uint64_t n_bytes, struct weir_err *err)
{
    uint64_t done = 0;

    while (done < n_bytes) {
        ssize_t n =
            scratch->calls->pwrite(scratch->fd, (const uint8_t *)data + done,
                                   n_bytes - done, (off_t)(offset + done));

        if (n < 0 && try_again(scratch))
            continue;
        if (n <= 0)
            return fail(scratch, n ? errno : EIO, "write", offset + done, err);
        done += (uint64_t)n;
    }
    drop_pages(scratch, offset, n_bytes);
    scratch->stats.written_bytes += n_bytes;
    return 0;
}

void weir_scratch_get_stats(const struct weir_scratch *scratch,
                            struct weir_scratch_stats *stats)
{
    *stats = scratch ? scratch->stats : (struct weir_scratch_stats){0};
}

/* ---- counting ---- */

#define BLOCK_TOK 8192

uint64_t weir_scratch_block(uint64_t n_tok, uint64_t most)
{
    uint64_t n = n_tok / 8 > BLOCK_TOK ? n_tok / 8 : BLOCK_TOK;

    n = (n < most ? n : most) / WEIR_SCRATCH_STEP * WEIR_SCRATCH_STEP;
    return n ? n : WEIR_SCRATCH_STEP;
}

void weir_scratch_count(const struct weir_scratch_use *use, uint64_t n_tok,
                        uint32_t n_held, struct weir_scratch_stats *bytes)
{
    uint64_t all = weir_scratch_up(n_tok * use->row_bytes);
    uint64_t times = (use->n_experts + (uint64_t)n_held - 1) / n_held;

    bytes->written_bytes = all * (use->n_layers + use->n_groups * times);
    bytes->read_bytes = all * (use->n_layers + use->n_groups * (2 * times - 1));
}

uint64_t weir_scratch_file_bytes(const struct weir_scratch_use *use,
                                 uint64_t n_tok)
{
    uint64_t all = weir_scratch_up(n_tok * use->row_bytes);

    return use->n_groups ? 2 * all : all;
}
