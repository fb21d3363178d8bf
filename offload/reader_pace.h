/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A drive that is held back to the speed of a slower one.
 *
 * It takes one read after the other, and each begins when that drive would be
 * done with it: so no more comes than it would give.  Time in which nothing
 * waits for its turn, or the drive itself is behind, is lost.
 */
#ifndef WEIR_OFFLOAD_READER_PACE_H
#define WEIR_OFFLOAD_READER_PACE_H

#include <stddef.h>
#include <stdint.h>

struct weir_pace {
    double ns_per_byte; /* 0: the drive is not held back */
    int64_t free_at;    /* when that drive is done with what was begun */
    int64_t begin_at;   /* of the read that waits; 0: none does */
};

/* 1 when a read of n_bytes, the next, must wait; at 0 it has begun. */
static inline int weir_pace_is_early(struct weir_pace *pace, size_t n_bytes,
                                     int64_t now)
{
    if (pace->ns_per_byte == 0)
        return 0;
    if (!pace->begin_at && pace->free_at < now)
        pace->free_at = now;
    pace->begin_at =
        pace->free_at + (int64_t)(pace->ns_per_byte * (double)n_bytes);
    if (now < pace->begin_at)
        return 1;
    pace->free_at = pace->begin_at;
    return 0;
}

/* Nothing waits for its turn. */
static inline void weir_pace_rest(struct weir_pace *pace)
{
    pace->begin_at = 0;
}

#endif
