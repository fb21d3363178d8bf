/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out when a test says so.  A program linked with this asks
 * here for all of its memory, and so do the libraries that it uses: malloc()
 * and its kin, maps and threads.  What is asked for is counted, and any one
 * request can be refused.
 */
#ifndef WEIR_TESTS_FAULT_MALLOC_H
#define WEIR_TESTS_FAULT_MALLOC_H

/* Nonzero where requests do come here. */
int fault_stands(void);

/*
 * Starts to count: the `nth` request from now on (0: none) is refused and,
 * with `lasting`, all that follow.  Any thread's.
 */
void fault_arm(unsigned long nth, int lasting);

/* Ends that; the requests since fault_arm(). */
unsigned long fault_disarm(void);

/* What the first refused request was made by. */
enum fault_maker {
    FAULT_NOBODY, /* none was refused */
    FAULT_MEMORY,
    FAULT_THREAD, /* pthread_create(), for the thread or its memory */
    FAULT_LIBC    /* the C library, whose qsort() and asprintf() can do without
                     some of what they ask for */
};
enum fault_maker fault_refused(void);

/* The library function that made it, or else the file that it is in. */
const char *fault_symbol(void);

/* Blocks, maps and threads that are there now. */
long fault_n_live(void);

#endif
