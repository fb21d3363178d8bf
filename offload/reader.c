/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A reader of several drives has a lane for each, so that none waits for
 * another: files on one drive share its lane, and a read goes to the lane of
 * its file.
 */
#include "offload/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "offload/reader_engine.h"
#include "offload/reader_lane.h"

#define DEADLINE_MS 30000

struct weir_reader {
    struct weir_io_calls calls;
    unsigned deadline_ms;
    struct weir_read_file files[WEIR_READ_FILES_MAX];
    uint64_t drives[WEIR_READ_FILES_MAX];
    int direct_fds[WEIR_READ_FILES_MAX]; /* or -1 */
    int fds[WEIR_READ_FILES_MAX];        /* that are read from */
    struct weir_lane *lane_of[WEIR_READ_FILES_MAX];
    struct weir_lane *lanes[WEIR_READ_FILES_MAX];
    unsigned n_files, n_lanes;
    int is_direct;
};

static int system_open(const char *path, int flags)
{
    return open(path, flags);
}

static int system_drive(int fd, uint64_t *drive)
{
    struct stat st;

    if (fstat(fd, &st))
        return -1;
    *drive = st.st_dev;
    return 0;
}

const struct weir_io_calls weir_io_system = {
    .open = system_open,
    .drive = system_drive,
    .pread = pread,
#ifdef HAVE_LIBURING
    .ring_init = weir_uring_init,
    .ring_buffers = weir_uring_buffers,
    .ring_files = weir_uring_files,
    .ring_wait = weir_uring_wait,
    .ring_answer = weir_uring_answer,
#endif
};

/* ---- opening and closing ---- */

/*
 * Through /proc the file is opened that is open, whatever its path names now.
 * Some file systems refuse direct reads only when one is tried.
 */
static int open_direct(const struct weir_reader *reader, int fd)
{
    uint8_t room[2 * WEIR_READ_ALIGN], *page = room;
    char path[32];
    int direct;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    direct = reader->calls.open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct < 0)
        return -1;
    page += -(uintptr_t)page % WEIR_READ_ALIGN;
    if (reader->calls.pread(direct, page, WEIR_READ_ALIGN, 0) < 0 &&
        errno == EINVAL) {
        close(direct);
        direct = -1;
    }
    return direct;
}

static void open_files(struct weir_reader *reader)
{
    reader->is_direct = 1;
    for (unsigned i = 0; i < reader->n_files; i++) {
        int direct = open_direct(reader, reader->files[i].fd);

        reader->direct_fds[i] = direct;
        reader->fds[i] = direct < 0 ? reader->files[i].fd : direct;
        if (direct < 0)
            reader->is_direct = 0;
        if (reader->calls.drive(reader->files[i].fd, &reader->drives[i]))
            reader->drives[i] = 0;
    }
}

/* What the first file of the drive of file `i` asks for, or the options do */
static unsigned depth_of(const struct weir_reader *reader, unsigned i,
                         const struct weir_reader_options *options)
{
    unsigned depth = reader->files[i].depth;

    if (!depth)
        depth = options->depth ? options->depth : WEIR_READ_DEPTH;
    return depth < WEIR_READ_DEPTH_MAX ? depth : WEIR_READ_DEPTH_MAX;
}

static struct weir_lane *find_lane(const struct weir_reader *reader,
                                   unsigned file)
{
    for (unsigned i = 0; i < file; i++)
        if (reader->drives[i] == reader->drives[file])
            return reader->lane_of[i];
    return NULL;
}

static int open_lanes(struct weir_reader *reader,
                      const struct weir_reader_options *options,
                      struct weir_err *err)
{
    struct weir_lane_setup setup = {.io = options->io,
                                    .deadline_ms = reader->deadline_ms,
                                    .most_gbps = options->most_gbps,
                                    .region = options->region,
                                    .calls = &reader->calls,
                                    .fds = reader->fds,
                                    .n_files = reader->n_files};
    int rc = 0;

    for (unsigned i = 0; i < reader->n_files && !rc; i++) {
        reader->lane_of[i] = find_lane(reader, i);
        if (reader->lane_of[i])
            continue;
        setup.depth = depth_of(reader, i, options);
        rc = weir_lane_new(&setup, &reader->lane_of[i], err);
        if (!rc)
            reader->lanes[reader->n_lanes++] = reader->lane_of[i];
    }
    return rc;
}

int weir_reader_new(const struct weir_reader_options *options,
                    const struct weir_read_file *files, unsigned n_files,
                    struct weir_reader **out, struct weir_err *err)
{
    struct weir_reader *reader;
    int rc;

    *out = NULL;
    if (!n_files || n_files > WEIR_READ_FILES_MAX)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%u files; weir reads 1 to %d at once", n_files,
                            WEIR_READ_FILES_MAX);
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return weir_err_nomem(err, sizeof(*reader), "reading");
    reader->calls = options->calls ? *options->calls : weir_io_system;
    reader->deadline_ms =
        options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
    memcpy(reader->files, files, n_files * sizeof(*files));
    reader->n_files = n_files;
    open_files(reader);
    rc = open_lanes(reader, options, err);
    if (rc)
        weir_reader_free(reader);
    else
        *out = reader;
    return rc;
}

void weir_reader_free(struct weir_reader *reader)
{
    if (!reader)
        return;
    for (unsigned i = 0; i < reader->n_lanes; i++)
        weir_lane_free(reader->lanes[i]);
    for (unsigned i = 0; i < reader->n_files; i++)
        if (reader->direct_fds[i] >= 0)
            close(reader->direct_fds[i]);
    free(reader);
}

/* ---- reads ---- */

/* Every lane refuses a read of no file. */
static struct weir_lane *lane_of(const struct weir_reader *reader,
                                 const struct weir_read *read)
{
    return reader->lane_of[read->file < reader->n_files ? read->file : 0];
}

void weir_reader_submit(struct weir_reader *reader, struct weir_read *read)
{
    weir_lane_submit(lane_of(reader, read), read);
}

int weir_reader_wait(struct weir_reader *reader, struct weir_read *read)
{
    return weir_lane_wait(lane_of(reader, read), read);
}

void weir_reader_cancel(struct weir_reader *reader, struct weir_read *read)
{
    weir_lane_cancel(lane_of(reader, read), read);
}

void weir_reader_raise(struct weir_reader *reader, struct weir_read *read)
{
    weir_lane_raise(lane_of(reader, read), read);
}

/* ---- what others ask ---- */

const char *weir_reader_name(const struct weir_reader *reader)
{
    return weir_lane_name(reader->lanes[0]);
}

int weir_reader_is_direct(const struct weir_reader *reader)
{
    return reader->is_direct;
}

const char *weir_reader_note(const struct weir_reader *reader)
{
    for (unsigned i = 0; i < reader->n_lanes; i++)
        if (weir_lane_note(reader->lanes[i]))
            return weir_lane_note(reader->lanes[i]);
    return reader->is_direct ? NULL
                             : "the file system refuses direct reads, so that "
                               "they go through the page cache, which is "
                               "slower; keep the model on a local drive";
}

int weir_reader_has_failed(const struct weir_reader *reader)
{
    int failed = 0;

    for (unsigned i = 0; i < reader->n_lanes; i++)
        failed |= weir_lane_has_failed(reader->lanes[i]);
    return failed;
}

int weir_reader_explain(const struct weir_reader *reader,
                        const struct weir_read *read, struct weir_err *err)
{
    unsigned long long at = read->offset;
    const char *path =
        read->file < reader->n_files ? reader->files[read->file].path : "?";
    char text[128];

    switch (read->errnum) {
    case ENODATA:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: the file ends before: it shrank "
                           "while it was in use; fetch or pack it again",
                           path, at);
    case ETIMEDOUT:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: the drive has not answered for "
                           "%u s; check the drive and the system's log",
                           path, at, (reader->deadline_ms + 999) / 1000);
    default:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: cannot read %zu bytes: %s; check "
                           "the drive and the system's log",
                           path, at, read->n_bytes,
                           strerror_r(read->errnum, text, sizeof(text)));
    }
}

void weir_reader_get_stats(struct weir_reader *reader,
                           struct weir_reader_stats *stats)
{
    struct weir_reader_stats one;

    memset(stats, 0, sizeof(*stats));
    for (unsigned i = 0; i < reader->n_lanes; i++) {
        weir_lane_get_stats(reader->lanes[i], &one);
        stats->n_bytes += one.n_bytes;
        stats->n_reads += one.n_reads;
        stats->n_again += one.n_again;
        if (one.busy_ns > stats->busy_ns)
            stats->busy_ns = one.busy_ns;
    }
    stats->n_drives = reader->n_lanes;
}
