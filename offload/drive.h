/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a drive likes to be read: measured once, with direct reads of a large
 * file on it, and remembered in drives.json below $XDG_CACHE_HOME/weir or
 * ~/.cache/weir, by the number that the system gives to the drive.
 */
#ifndef WEIR_OFFLOAD_DRIVE_H
#define WEIR_OFFLOAD_DRIVE_H

#include <stddef.h>
#include <stdint.h>

struct weir_drive {
    size_t request_bytes; /* of one read */
    unsigned depth;       /* reads under way at once */
    double gbps;          /* what that gave when measured; 0: it was not */
};

/*
 * What is remembered of the drive of file `fd`, which has n_bytes, or else
 * measured in under a second; usual values when neither is possible, such as
 * for a small file.  Never fails.
 */
void weir_drive_get(int fd, uint64_t n_bytes, struct weir_drive *drive);

#endif
