/* SPDX-License-Identifier: Apache-2.0 */
/* A drive, and a system, that fail as a test wants: the calls of a reader. */
#ifndef WEIR_TESTS_FAULT_IO_H
#define WEIR_TESTS_FAULT_IO_H

#include "offload/reader.h"

/* Zero is a drive without faults.  Set before a reader uses it. */
struct fault_io {
    /* reads that touch [bad_from, bad_to) end with bad_errnum, bad_n times */
    uint64_t bad_from, bad_to;
    int bad_errnum;
    atomic_int bad_n;

    /* a byte of the file that comes right flip_after times, then wrong */
    uint64_t flip_at;
    atomic_int flip_after, flip_n;

    atomic_int n_short; /* so many answers lack their last 5000 bytes */
    atomic_int n_again; /* so many answers are EAGAIN */
    atomic_int stall;   /* no answer comes while it is set */
    int stall_at;       /* > 0: it is set after so many answers */
    atomic_int n_calls; /* answers so far */
    uint64_t mute_from; /* > 0: no answer comes to reads from there on */
    int n_registered;   /* times that buffers were */

    int apart; /* each file has a drive of its own */

    int open_errnum;  /* O_DIRECT is refused when a file is opened */
    int probe_errnum; /* or when one page is read */
    int init_rc, buffers_rc, files_rc; /* of the ring, 0 or -errno */
    int wait_rc;                       /* what it is from call wait_at on */
    atomic_int wait_at;                /* > 0, counted down */
};

extern struct fault_io fault_io;
extern const struct weir_io_calls fault_io_calls;

void fault_io_reset(void);

#endif
