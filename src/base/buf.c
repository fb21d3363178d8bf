/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int buf_reserve(struct weir_buf *buf, size_t n_bytes,
                       struct weir_err *err)
{
    size_t wanted = buf->n_bytes + n_bytes + 1;
    size_t capacity = buf->capacity ? buf->capacity : 256;
    char *data;

    while (capacity < wanted)
        capacity *= 2;
    if (capacity == buf->capacity)
        return 0;
    data = realloc(buf->data, capacity);
    if (!data)
        return weir_err_nomem(err, capacity, "a buffer");
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int weir_buf_add(struct weir_buf *buf, const void *data, size_t n_bytes,
                 struct weir_err *err)
{
    int rc;

    if (n_bytes > buf->ceiling - buf->n_bytes)
        return weir_err_set(err, WEIR_ELIMIT,
                            "more than the %zu bytes that are allowed here",
                            buf->ceiling);
    rc = buf_reserve(buf, n_bytes, err);
    if (rc)
        return rc;
    if (n_bytes)
        memcpy(buf->data + buf->n_bytes, data, n_bytes);
    buf->n_bytes += n_bytes;
    buf->data[buf->n_bytes] = '\0';
    return 0;
}

void weir_buf_fini(struct weir_buf *buf)
{
    free(buf->data);
    buf->data = NULL;
    buf->n_bytes = buf->capacity = 0;
}

int weir_buf_add_fd(struct weir_buf *buf, int fd, const char *name,
                    struct weir_err *err)
{
    char block[16384];
    ssize_t n;
    int rc;

    for (;;) {
        n = read(fd, block, sizeof(block));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_err_errno(err, errno, "read", name);
        rc = weir_buf_add(buf, block, (size_t)n, err);
        if (rc == WEIR_ELIMIT)
            return weir_err_set(err, rc, "%s: larger than %zu bytes", name,
                                buf->ceiling);
        if (rc || n == 0)
            return rc;
    }
}

int weir_buf_add_file(struct weir_buf *buf, const char *path,
                      struct weir_err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return weir_err_errno(err, errno, "open", path);
    rc = weir_buf_add_fd(buf, fd, path, err);
    close(fd);
    return rc;
}

int weir_is_all_zero(const void *data, size_t n)
{
    const char *bytes = data;

    return n == 0 || (bytes[0] == 0 && !memcmp(bytes, bytes + 1, n - 1));
}

int weir_pread_all(int fd, void *data, size_t n_bytes, uint64_t offset,
                   const char *path, struct weir_err *err)
{
    char *at = data;
    ssize_t n;

    while (n_bytes) {
        n = pread(fd, at, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_err_errno(err, errno, "read", path);
        if (n == 0)
            return weir_err_at(err, WEIR_EFORMAT, offset,
                               "%s: ends at byte %llu, in the middle of its "
                               "content; fetch or write the file again",
                               path, (unsigned long long)offset);
        at += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}

int weir_pwrite_all(int fd, const void *data, size_t n_bytes, uint64_t offset,
                    const char *path, struct weir_err *err)
{
    const char *at = data;
    ssize_t n;

    while (n_bytes) {
        n = pwrite(fd, at, n_bytes, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return weir_err_errno(err, errno, "write", path);
        at += n;
        offset += (uint64_t)n;
        n_bytes -= (size_t)n;
    }
    return 0;
}
