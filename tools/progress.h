/* SPDX-License-Identifier: Apache-2.0 */
/* One line on the terminal that says how far a long command is. */
#ifndef WEIR_TOOLS_PROGRESS_H
#define WEIR_TOOLS_PROGRESS_H

#include <stdint.h>

struct progress {
    int shown; /* the line is on the screen */
    int enabled;
    double started, last; /* of this phase, in seconds */
    const char *phase;
    const char *unit; /* what is counted; NULL: bytes, shown as GB */
    uint64_t first;   /* done when the phase began, as after a resume */
};

/* Shows nothing when `quiet` or when stderr is not a terminal. */
void progress_init(struct progress *progress, int quiet);

/*
 * Bytes, or what `unit` names, done of a total; draws at most ten times a
 * second.
 */
void progress_show(struct progress *progress, const char *phase, uint64_t done,
                   uint64_t total);

/* Seconds on a clock that only goes forward. */
double progress_seconds(void);

/* Clears the line. */
void progress_end(struct progress *progress);

#endif
