/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading with either engine from a drive that works, and from one that does
 * not: every read ends, with the right bytes or with the reason.
 */
#include "offload/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/fault/fault_io.h"
#include "tests/tap.h"

#define FILE_BYTES ((size_t)4 << 20)
#define N_READS    32
#define READ_BYTES ((size_t)64 << 10)

static const char path[] = "reader.tmp";
static uint8_t *content;
static int fd;
static struct weir_region region;
static struct weir_read reads[N_READS];
static struct weir_err err;
static const char *engine;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static int write_file(void)
{
    int out = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

    if (out < 0 || weir_pwrite_all(out, content, FILE_BYTES, 0, path, &err))
        return -1;
    return out;
}

/* A reader over the file and the faults, or NULL */
static struct weir_reader *open_deep(enum weir_io io, unsigned depth,
                                     unsigned deadline_ms)
{
    const struct weir_read_file file = {path, fd, 0};
    struct weir_reader_options options = {.io = io,
                                          .depth = depth,
                                          .deadline_ms = deadline_ms,
                                          .region = &region,
                                          .calls = &fault_io_calls};
    struct weir_reader *reader;

    if (weir_reader_new(&options, &file, 1, &reader, &err))
        return NULL;
    return reader;
}

static struct weir_reader *open_reader(enum weir_io io, unsigned deadline_ms)
{
    return open_deep(io, 4, deadline_ms);
}

static void submit_all(struct weir_reader *reader)
{
    memset(region.base, 0xee, N_READS * READ_BYTES);
    for (size_t i = 0; i < N_READS; i++) {
        memset(&reads[i], 0, sizeof(reads[i]));
        reads[i].offset = (i * 7 % N_READS) * READ_BYTES;
        reads[i].n_bytes = READ_BYTES - (i % 3) * WEIR_READ_ALIGN;
        reads[i].buffer = region.base + i * READ_BYTES;
        weir_reader_submit(reader, &reads[i]);
    }
}

static int is_right(const struct weir_read *read)
{
    return !memcmp(read->buffer, content + read->offset, read->n_bytes);
}

/* Reads that ended with errnum, with the right bytes if it is 0 */
static int wait_all(struct weir_reader *reader, int errnum)
{
    int n = 0;

    for (size_t i = N_READS; i-- > 0;) {
        int got = weir_reader_wait(reader, &reads[i]);

        n += got == errnum && (got || is_right(&reads[i]));
    }
    return n;
}

/* All reads with `reader`, which is freed */
static int all_right(struct weir_reader *reader)
{
    int n = 0;

    if (reader) {
        submit_all(reader);
        n = wait_all(reader, 0);
    }
    weir_reader_free(reader);
    return n == N_READS;
}

static void test_reads(enum weir_io io)
{
    struct weir_reader *reader = open_reader(io, 0);
    struct weir_reader_stats stats;

    submit_all(reader);
    tap_ok(wait_all(reader, 0) == N_READS, "%s: all reads are right", engine);
    weir_reader_get_stats(reader, &stats);
    tap_ok(stats.n_reads == N_READS && stats.busy_ns > 0, "%s: and counted",
           engine);
    weir_reader_free(reader);
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/*
 * All reads on a drive that is held back, and the time that they took in parts
 * of the least possible.  No limit from above: the machine may be busy.
 */
static double slow_reads(struct weir_reader *reader, double gbps)
{
    double start = seconds(), n_bytes = 0;

    submit_all(reader);
    if (wait_all(reader, 0) != N_READS)
        return 0;
    for (size_t i = 0; i < N_READS; i++)
        n_bytes += (double)reads[i].n_bytes;
    return (seconds() - start) / (n_bytes / (gbps * 1e9));
}

static void test_held_back(enum weir_io io)
{
    const struct weir_read_file file = {.path = path, .fd = fd};
    struct weir_reader_options options = {
        .io = io, .region = &region, .most_gbps = 0.05};
    struct weir_reader_stats stats;
    struct weir_reader *reader;
    double first, second;

    if (weir_reader_new(&options, &file, 1, &reader, &err)) {
        tap_ok(0, "%s: %s", engine, err.message);
        return;
    }
    first = slow_reads(reader, options.most_gbps);
    usleep(30000);
    second = slow_reads(reader, options.most_gbps);
    tap_ok(first >= 0.99, "%s: a drive that is held back gives no more",
           engine);
    tap_ok(second >= 0.99, "%s: nor after it had nothing to do", engine);
    weir_reader_get_stats(reader, &stats);
    tap_ok((double)stats.n_bytes <= 0.05 * (double)stats.busy_ns * (1 + 1e-2),
           "%s: and has something to do all that time", engine);
    weir_reader_free(reader);
}

static struct weir_reader *done_reader;
static atomic_int n_done;

/* Hands its read in again, five times */
static void on_done(struct weir_read *read)
{
    if (atomic_fetch_add(&n_done, 1) < 4)
        weir_reader_submit(done_reader, read);
    else
        weir_reader_submit(done_reader, read->ctx);
}

static void test_callback(enum weir_io io)
{
    struct weir_read last = {.buffer = region.base, .n_bytes = READ_BYTES};

    done_reader = open_reader(io, 0);
    atomic_store(&n_done, 0);
    reads[0] = (struct weir_read){.n_bytes = READ_BYTES,
                                  .buffer = region.base + READ_BYTES,
                                  .done = on_done,
                                  .ctx = &last};
    weir_reader_submit(done_reader, &reads[0]);
    while (!weir_read_is_done(&last))
        usleep(100);
    tap_ok(weir_reader_wait(done_reader, &last) == 0 && n_done == 5,
           "%s: a callback may hand in reads", engine);
    weir_reader_free(done_reader);
}

static void test_cancel(enum weir_io io)
{
    struct weir_reader *reader;
    int n_cancelled = 0, n_right = 0;

    fault_io_reset();
    fault_io.stall = 1;
    reader = open_reader(io, 0);
    submit_all(reader);
    for (size_t i = 0; i < N_READS; i++)
        weir_reader_cancel(reader, &reads[i]);
    fault_io.stall = 0;
    for (size_t i = 0; i < N_READS; i++) {
        int errnum = weir_reader_wait(reader, &reads[i]);

        n_cancelled += errnum == ECANCELED;
        n_right += !errnum && is_right(&reads[i]);
    }
    tap_ok(n_cancelled >= N_READS - 4 && n_cancelled + n_right == N_READS,
           "%s: what is not under way can be cancelled", engine);
    submit_all(reader);
    weir_reader_free(reader);
    n_cancelled = n_right = 0;
    for (size_t i = 0; i < N_READS; i++) {
        n_cancelled += reads[i].errnum == ECANCELED;
        n_right += !reads[i].errnum && is_right(&reads[i]);
    }
    tap_ok(n_cancelled + n_right == N_READS,
           "%s: a reader that is freed ends every read", engine);
}

static char ended[8]; /* in which order, by name */
static atomic_int n_ended;

static void note_end(struct weir_read *read)
{
    ended[atomic_fetch_add(&n_ended, 1)] = (char)('a' + (read - reads));
}

static void hand_in(struct weir_reader *reader, size_t i,
                    enum weir_read_rank rank,
                    void (*done)(struct weir_read *read))
{
    /* not at the file's beginning, where the faults let a look pass */
    reads[i] = (struct weir_read){.offset = WEIR_READ_ALIGN,
                                  .n_bytes = WEIR_READ_ALIGN,
                                  .buffer = region.base + i * READ_BYTES,
                                  .rank = rank,
                                  .done = done};
    weir_reader_submit(reader, &reads[i]);
}

/* On the reader's thread, so that none of these begins before the last */
static void hand_in_all(struct weir_read *read)
{
    note_end(read);
    hand_in(done_reader, 1, WEIR_READ_GUESS, note_end);
    hand_in(done_reader, 2, WEIR_READ_GUESS, note_end);
    hand_in(done_reader, 3, WEIR_READ_AHEAD, note_end);
    hand_in(done_reader, 4, WEIR_READ_AHEAD, note_end);
    hand_in(done_reader, 5, WEIR_READ_NOW, note_end);
    hand_in(done_reader, 6, WEIR_READ_NOW, note_end);
    weir_reader_raise(done_reader, &reads[2]);
}

/* One after the other: what is wanted now, soon, perhaps. */
static void test_ranks(enum weir_io io)
{
    fault_io_reset();
    memset(ended, 0, sizeof(ended));
    atomic_store(&n_ended, 0);
    done_reader = open_deep(io, 1, 0);
    hand_in(done_reader, 0, WEIR_READ_GUESS, hand_in_all);
    while (atomic_load(&n_ended) < 7)
        usleep(100);
    weir_reader_free(done_reader);
    tap_ok(!strcmp(ended, "afgcdeb"), "%s: by rank, but one was raised: %s",
           engine, ended);
}

/* A guess that waits can be called off, whatever is in front of it. */
static void test_guess(enum weir_io io)
{
    struct weir_reader *reader;
    int ends[2], begun;

    fault_io_reset();
    fault_io.stall = 1;
    reader = open_deep(io, 1, 0);
    hand_in(reader, 0, WEIR_READ_GUESS, NULL);
    hand_in(reader, 1, WEIR_READ_GUESS, NULL);
    hand_in(reader, 2, WEIR_READ_NOW, NULL);
    begun = weir_read_has_begun(&reads[1]);
    weir_reader_cancel(reader, &reads[1]);
    ends[0] = weir_reader_wait(reader, &reads[1]);
    fault_io.stall = 0;
    ends[1] = weir_reader_wait(reader, &reads[2]);
    weir_reader_wait(reader, &reads[0]);
    tap_ok(!begun && !weir_read_has_begun(&reads[1]) &&
               weir_read_has_begun(&reads[2]),
           "%s: the drive is asked for one read at a time", engine);
    tap_ok(ends[0] == ECANCELED && !ends[1] && is_right(&reads[2]),
           "%s: one that is called off ends before those in front of it",
           engine);
    weir_reader_free(reader);
}

/* 1 once it has begun; a read that never does is waited for for seconds. */
static int begins(const struct weir_read *read)
{
    for (int i = 0; i < 5000 && !weir_read_has_begun(read); i++)
        usleep(1000);
    return weir_read_has_begun(read);
}

/* Guesses leave half of the drive's depth to what is wanted. */
static void test_half(enum weir_io io)
{
    struct weir_reader *reader;
    int n_begun = 0, begun;

    fault_io_reset();
    fault_io.stall = 1;
    reader = open_deep(io, 4, 0);
    for (size_t i = 0; i < 4; i++)
        hand_in(reader, i, WEIR_READ_GUESS, NULL);
    begun = begins(&reads[1]);
    hand_in(reader, 4, WEIR_READ_NOW, NULL);
    hand_in(reader, 5, WEIR_READ_NOW, NULL);
    begun = begun && begins(&reads[4]) && begins(&reads[5]);
    for (size_t i = 0; i < 4; i++)
        n_begun += weir_read_has_begun(&reads[i]);
    fault_io.stall = 0;
    for (size_t i = 0; i < 6; i++)
        weir_reader_wait(reader, &reads[i]);
    tap_ok(begun && n_begun == 2, "%s: guesses take half of the depth", engine);
    weir_reader_free(reader);
}

static void test_passing_faults(enum weir_io io)
{
    struct weir_reader_stats stats;
    struct weir_reader *reader;

    fault_io_reset();
    fault_io.n_short = 20;
    fault_io.n_again = 20;
    reader = open_reader(io, 0);
    submit_all(reader);
    tap_ok(wait_all(reader, 0) == N_READS,
           "%s: short reads and EAGAIN are asked again", engine);
    weir_reader_get_stats(reader, &stats);
    tap_ok(stats.n_again == 40, "%s: and counted", engine);
    weir_reader_free(reader);
    fault_io_reset();
    fault_io.n_again = 1 << 30;
    reader = open_reader(io, 0);
    submit_all(reader);
    tap_ok(wait_all(reader, EAGAIN) == N_READS, "%s: but not for ever", engine);
    weir_reader_free(reader);
}

static void test_eio(enum weir_io io)
{
    struct weir_reader *reader;

    fault_io_reset();
    fault_io.bad_from = 7 * READ_BYTES;
    fault_io.bad_to = fault_io.bad_from + 1;
    fault_io.bad_errnum = EIO;
    fault_io.bad_n = 100;
    reader = open_reader(io, 0);
    submit_all(reader);
    tap_ok(wait_all(reader, 0) == N_READS - 1 && reads[1].errnum == EIO,
           "%s: an error of the drive ends the one read", engine);
    tap_ok(weir_reader_explain(reader, &reads[1], &err) == WEIR_EIO &&
               err.offset == 7 * READ_BYTES && strstr(err.message, path) &&
               strstr(err.message, "offset 458752") &&
               strstr(err.message, strerror(EIO)),
           "%s: which says where: %s", engine, err.message);
    fault_io.bad_n = 0;
    weir_reader_submit(reader, &reads[1]);
    tap_ok(!weir_reader_wait(reader, &reads[1]) && is_right(&reads[1]) &&
               !weir_reader_has_failed(reader),
           "%s: and can be read again", engine);
    weir_reader_free(reader);
}

static void test_stall(enum weir_io io)
{
    struct weir_reader *reader;

    fault_io_reset();
    fault_io.stall = 1;
    reader = open_reader(io, 20);
    submit_all(reader);
    tap_ok(wait_all(reader, ETIMEDOUT) == N_READS &&
               weir_reader_has_failed(reader),
           "%s: a drive that stalls ends all reads", engine);
    weir_reader_explain(reader, &reads[0], &err);
    tap_ok(strstr(err.message, path) && strstr(err.message, "offset 0") &&
               strstr(err.message, "not answered"),
           "%s: which says so: %s", engine, err.message);
    submit_all(reader);
    tap_ok(wait_all(reader, ETIMEDOUT) == N_READS, "%s: and those that follow",
           engine);
    weir_reader_free(reader);
    fault_io.stall = 0;
    usleep(20000); /* threads that were left behind go on now */
    tap_ok(all_right(open_reader(io, 0)), "%s: another reader is well", engine);
}

static void test_file(enum weir_io io)
{
    struct weir_reader *reader;
    int other;

    fault_io_reset();
    unlink(path);
    other = open(path, O_RDWR | O_CREAT, 0600);
    tap_ok(other >= 0 && all_right(open_reader(io, 0)),
           "%s: another file under the same name is not read", engine);
    close(other);
    reader = open_reader(io, 0);
    if (ftruncate(fd, FILE_BYTES / 4))
        tap_diag("ftruncate");
    submit_all(reader);
    wait_all(reader, 0);
    tap_ok(reads[5].errnum == 0 && reads[3].errnum == ENODATA &&
               weir_reader_explain(reader, &reads[3], &err) == WEIR_EIO &&
               strstr(err.message, "shrank"),
           "%s: a file that shrinks is noticed: %s", engine, err.message);
    weir_reader_free(reader);
    close(fd);
    fd = write_file();
}

static int has_note(const struct weir_reader *reader, const char *words)
{
    const char *note = reader ? weir_reader_note(reader) : NULL;

    if (note)
        tap_diag("%s", note);
    return note && strstr(note, words);
}

static void test_buffered(enum weir_io io)
{
    struct weir_reader *reader;
    int noted;

    for (int when = 0; when < 2; when++) {
        fault_io_reset();
        if (when)
            fault_io.probe_errnum = EINVAL;
        else
            fault_io.open_errnum = EINVAL;
        reader = open_reader(io, 0);
        noted =
            has_note(reader, "page cache") && !weir_reader_is_direct(reader);
        tap_ok(all_right(reader) && noted,
               "%s: direct reads that are refused, %s", engine,
               when ? "when tried" : "when opening");
    }
}

/* A reader of the file and, as if on another drive, of its second half */
static struct weir_reader *open_two(enum weir_io io, int other)
{
    const struct weir_read_file files[] = {{path, fd, 4}, {"other", other, 4}};
    struct weir_reader_options options = {
        .io = io, .deadline_ms = 100, .calls = &fault_io_calls};
    struct weir_reader *reader;

    return weir_reader_new(&options, files, 2, &reader, &err) ? NULL : reader;
}

/* Reads of the second half from the second file, then of the first */
static void submit_halves(struct weir_reader *reader)
{
    for (size_t i = N_READS; i-- > 0;) {
        reads[i] = (struct weir_read){
            .file = i >= N_READS / 2,
            .offset = i < N_READS / 2 ? i * READ_BYTES
                                      : FILE_BYTES / 4 + i * READ_BYTES,
            .n_bytes = READ_BYTES,
            .buffer = region.base + i * READ_BYTES};
        weir_reader_submit(reader, &reads[i]);
    }
}

static void test_drives(enum weir_io io)
{
    struct weir_reader *reader;
    struct weir_reader_stats stats;
    int other = open(path, O_RDONLY), n_right = 0, n_late = 0;

    fault_io_reset();
    reader = open_two(io, other);
    submit_halves(reader);
    n_right = wait_all(reader, 0);
    weir_reader_get_stats(reader, &stats);
    tap_ok(n_right == N_READS && stats.n_drives == 1,
           "%s: two files on one drive", engine);
    weir_reader_free(reader);
    fault_io.apart = 1;
    fault_io.mute_from = FILE_BYTES / 2;
    reader = open_two(io, other);
    submit_halves(reader);
    n_right = 0;
    for (size_t i = N_READS; i-- > 0;) {
        int errnum = weir_reader_wait(reader, &reads[i]);

        n_right += !errnum && is_right(&reads[i]) && i < N_READS / 2;
        n_late += errnum == ETIMEDOUT && i >= N_READS / 2;
    }
    tap_ok(n_right == N_READS / 2 && n_late == N_READS / 2,
           "%s: a drive that stalls does not hold up another", engine);
    weir_reader_explain(reader, &reads[N_READS - 1], &err);
    tap_ok(!strncmp(err.message, "other: ", 7), "%s: and is named: %s", engine,
           err.message);
    weir_reader_free(reader);
    fault_io_reset();
    usleep(20000); /* threads that were left behind go on now */
    close(other);
}

static void test_all(enum weir_io io)
{
    struct weir_reader *reader;

    fault_io_reset();
    reader = open_reader(io, 0);
    if (!reader) {
        tap_skip("%s: %s", engine, err.message);
        return;
    }
    tap_ok(!strcmp(weir_reader_name(reader), engine), "%s it is", engine);
    weir_reader_free(reader);
    test_reads(io);
    test_held_back(io);
    test_callback(io);
    test_cancel(io);
    test_ranks(io);
    test_guess(io);
    test_half(io);
    test_passing_faults(io);
    test_eio(io);
    test_stall(io);
    test_file(io);
    test_buffered(io);
    test_drives(io);
}

#ifdef HAVE_LIBURING
static void test_no_ring(void)
{
    struct weir_reader *reader;
    int noted;

    fault_io_reset();
    fault_io.init_rc = -EPERM;
    reader = open_reader(WEIR_IO_AUTO, 0);
    noted = has_note(reader, "threads read instead") &&
            !strcmp(weir_reader_name(reader), "pread");
    tap_ok(all_right(reader) && noted, "a ring that is refused: threads");
    tap_ok(!open_reader(WEIR_IO_URING, 0) && strstr(err.message, "io_uring"),
           "unless it must be a ring: %s", err.message);
}

static void test_half_a_ring(void)
{
    struct weir_reader *reader;
    int noted;

    fault_io_reset();
    fault_io.buffers_rc = -ENOMEM;
    fault_io.files_rc = -EMFILE;
    reader = open_reader(WEIR_IO_URING, 0);
    noted = has_note(reader, "ulimit -l");
    tap_ok(all_right(reader) && noted,
           "a ring without registered buffers and files");
    fault_io_reset();
    fault_io.wait_rc = -EBADF;
    fault_io.wait_at = 2;
    reader = open_reader(WEIR_IO_URING, 0);
    submit_all(reader);
    tap_ok(wait_all(reader, 0) + wait_all(reader, EBADF) == N_READS &&
               weir_reader_has_failed(reader),
           "a ring that breaks ends every read");
    submit_all(reader);
    tap_ok(wait_all(reader, EBADF) == N_READS, "and those that follow");
    weir_reader_free(reader);
}
#endif

int main(void)
{
    content = malloc(FILE_BYTES);
    if (!content || weir_region_init(&region, N_READS * READ_BYTES, &err))
        return 1;
    for (size_t i = 0; i < FILE_BYTES; i++)
        content[i] = byte_at(i);
    fd = write_file();
    if (fd < 0)
        return 1;
    engine = "pread";
    test_all(WEIR_IO_PREAD);
    engine = "io_uring";
    test_all(WEIR_IO_URING);
#ifdef HAVE_LIBURING
    fault_io_reset();
    fault_io.stall = 0;
    if (all_right(open_reader(WEIR_IO_URING, 0))) {
        test_no_ring();
        test_half_a_ring();
    }
#endif
    close(fd);
    unlink(path);
    weir_region_fini(&region);
    free(content);
    return tap_done();
}
