/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"

#define PAGE      4096      /* what direct reads begin and end on */
#define HUGE_PAGE (2 << 20) /* a huge page */

/* A read may begin and end up to a page off the grid. */
void *weir_source_buffer(size_t n_bytes)
{
    size_t whole = (n_bytes + 2 * PAGE + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void *buffer = aligned_alloc(HUGE_PAGE, whole);

    if (buffer)
        madvise(buffer, whole, MADV_HUGEPAGE);
    return buffer;
}

/* Whole pages around the bytes, past the page cache; < 0: errno. */
static int read_direct(const struct weir_source_file *file, uint64_t at,
                       size_t n_bytes, char *buffer)
{
    uint64_t page = at & ~(uint64_t)(PAGE - 1);
    size_t wanted = (size_t)(at - page) + n_bytes, got = 0, room;
    ssize_t n;

    room = (wanted + PAGE - 1) & ~(size_t)(PAGE - 1);
    while (got < wanted) {
        n = pread(file->direct_fd, buffer + got, room - got,
                  (off_t)(page + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EINVAL;
        got += (size_t)n;
        if (got < wanted && got % PAGE)
            return -EINVAL; /* the file was cut; the other way says so */
    }
    return 0;
}

int weir_source_read(const struct weir_source_file *file, uint64_t at,
                     size_t n_bytes, void *buffer, const void **data,
                     struct weir_err *err)
{
    uint64_t page = at & ~(uint64_t)(PAGE - 1);
    int rc;

    *data = (char *)buffer + (at - page);
    if (file->direct_fd >= 0 && !read_direct(file, at, n_bytes, buffer))
        return 0;
    *data = buffer;
    rc = weir_pread_all(file->fd, buffer, n_bytes, at, file->path, err);
    /* the first page goes too, the last may be wanted by the next rows */
    posix_fadvise(file->fd, (off_t)page, (off_t)(at + n_bytes - page),
                  POSIX_FADV_DONTNEED);
    return rc;
}

int weir_checkpoint_read(const struct weir_checkpoint *checkpoint,
                         uint32_t tensor, uint64_t first, size_t n_bytes,
                         void *buffer, const void **data, struct weir_err *err)
{
    const struct weir_source *source = &checkpoint->tensors[tensor];

    return weir_source_read(&checkpoint->files[source->file],
                            source->offset + first, n_bytes, buffer, data, err);
}
