/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Many reads at once of one drive or several, around the page cache where the
 * system lets us: io_uring with O_DIRECT, or else a few threads with pread().
 * For each drive a reader has one thread that owns what talks to it; any thread
 * hands in reads.
 */
#ifndef WEIR_OFFLOAD_READER_H
#define WEIR_OFFLOAD_READER_H

#include <stdatomic.h>
#include <sys/types.h>

#include "offload/ring.h"

/* Direct reads begin, end and lie in memory on multiples of this. */
#define WEIR_READ_ALIGN 4096

/* Most reads that a reader has under way at a drive, and when not said. */
#define WEIR_READ_DEPTH_MAX 64
#define WEIR_READ_DEPTH     8

/* Most files of a reader. */
#define WEIR_READ_FILES_MAX 16

/*
 * What comes first when there is more to read than the drive takes at once.  A
 * guess is begun while nothing else waits, and takes half the depth at most.
 */
enum weir_read_rank {
    WEIR_READ_NOW,
    WEIR_READ_AHEAD,
    WEIR_READ_GUESS,
    WEIR_READ_RANKS
};

/*
 * One read, kept by the caller until it is done.  Zero it, then fill in the
 * first part.  When done it can be handed in again.
 */
struct weir_read {
    unsigned file;   /* place in the reader's list */
    uint64_t offset; /* a multiple of WEIR_READ_ALIGN, as the next two */
    size_t n_bytes;  /* > 0 */
    void *buffer;
    enum weir_read_rank rank;
    int first; /* goes before all of its rank that were not begun */
    /*
     * When not NULL it is called once, on the reader's thread, as the last
     * that the reader does with the read, and nobody waits for the read.  It
     * must be quick and may hand in reads, but not wait for any.
     */
    void (*done)(struct weir_read *read);
    void *ctx;

    /*
     * Once done: 0, and n_bytes are there, or an errno value: EIO and what else
     * the drive says, ENODATA when the file ends before, ECANCELED, ETIMEDOUT.
     */
    int errnum;

    /* the reader's own */
    atomic_int state;
    uint64_t traced; /* when it was handed in, for a timeline */
    struct weir_read *next;
};

/*
 * The system calls of a reader.  Tests put faults between.  Those of io_uring
 * take a struct io_uring and return 0 or -errno.
 */
struct weir_io_calls {
    int (*open)(const char *path, int flags);
    /* what of files on one drive is the same; -1 where there is none */
    int (*drive)(int fd, uint64_t *drive);
    ssize_t (*pread)(int fd, void *data, size_t n_bytes, off_t offset);

    int (*ring_init)(void *ring, unsigned n_entries);
    int (*ring_buffers)(void *ring, const void *iovecs, unsigned n);
    int (*ring_files)(void *ring, const int *fds, unsigned n);
    /* hands in what is queued, waits for an answer, timeout_ms at most if >= 0
     */
    int (*ring_wait)(void *ring, int timeout_ms);
    /* 1 and an answer, or 0: there is none */
    int (*ring_answer)(void *ring, uint64_t *tag, int *result);
};

extern const struct weir_io_calls weir_io_system;

struct weir_reader_options {
    enum weir_io io;      /* WEIR_IO_AUTO: io_uring, or else threads */
    unsigned depth;       /* of files without one; 0: WEIR_READ_DEPTH */
    unsigned deadline_ms; /* for one read at the drive; 0: 30 s */
    double most_gbps;     /* as if a drive gave no more; 0: all it does */
    const struct weir_region *region;  /* to be registered; may be NULL */
    const struct weir_io_calls *calls; /* NULL: weir_io_system */
};

/* A file that is open: what is read is that file, whatever `path` names now. */
struct weir_read_file {
    const char *path;
    int fd;
    unsigned depth; /* reads under way at once at its drive; 0: the options' */
};

struct weir_reader_stats {
    uint64_t n_bytes, n_reads; /* that came */
    uint64_t n_again;          /* asked again: short, EAGAIN, EINTR */
    /* something was under way, or wanted, at the busiest drive */
    uint64_t busy_ns;
    unsigned n_drives; /* that are read side by side */
};

struct weir_reader;

/*
 * A reader of files[n_files], n_files > 0, whose paths and descriptors must
 * outlive it, as must the region.  The first file on a drive says how deep it
 * is read.  Release with weir_reader_free().
 */
int weir_reader_new(const struct weir_reader_options *options,
                    const struct weir_read_file *files, unsigned n_files,
                    struct weir_reader **reader, struct weir_err *err);

/*
 * Ends every read first: those under way are waited for, others end with
 * ECANCELED.  A drive that has missed its deadline is left alone: what it may
 * still write to must be unmapped, as a region is, and not used for anything.
 */
void weir_reader_free(struct weir_reader *reader);

/* "io_uring" or "pread", and whether it goes around the page cache. */
const char *weir_reader_name(const struct weir_reader *reader);
int weir_reader_is_direct(const struct weir_reader *reader);

/*
 * One line for the user when reading is slower than it could be, with the
 * cure, or NULL.
 */
const char *weir_reader_note(const struct weir_reader *reader);

/*
 * Hands in a read.  Any thread.  Allocates nothing.  Reads of a rank are begun
 * in the order in which they are handed in, but for those that go first, drive
 * by drive.  Once a read has missed its deadline, all that follow of its drive
 * end at once.
 */
void weir_reader_submit(struct weir_reader *reader, struct weir_read *read);

/* Waits until it is done; its errnum.  Any thread but the reader's. */
int weir_reader_wait(struct weir_reader *reader, struct weir_read *read);

/* 1 once it is done: what was read can be seen by the calling thread. */
int weir_read_is_done(const struct weir_read *read);

/* 1 once the drive has been asked for it. */
int weir_read_has_begun(const struct weir_read *read);

/* 1 once it has failed for a drive, of which it reads nothing any more. */
int weir_reader_has_failed(const struct weir_reader *reader);

/*
 * Nobody needs the read any more: it ends soon, with ECANCELED or, if it was
 * under way, as it would have.  Until then it and its buffer are the reader's.
 */
void weir_reader_cancel(struct weir_reader *reader, struct weir_read *read);

/* If it has not begun it is one of WEIR_READ_NOW from now on, the last. */
void weir_reader_raise(struct weir_reader *reader, struct weir_read *read);

/* Fills `err` with what became of a read whose errnum is not 0. */
int weir_reader_explain(const struct weir_reader *reader,
                        const struct weir_read *read, struct weir_err *err);

void weir_reader_get_stats(struct weir_reader *reader,
                           struct weir_reader_stats *stats);

#endif
