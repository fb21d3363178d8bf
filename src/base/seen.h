/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which strings were there before.  A string is known by 128 bits of hash
 * (XXH3), so that it takes at most 64 bytes whatever its length, and two that
 * differ are one in practice never.
 */
#ifndef WEIR_BASE_SEEN_H
#define WEIR_BASE_SEEN_H

#include "base/err.h"

struct weir_seen {
    uint64_t (*keys)[2]; /* [capacity], 0, 0: free; allocated */
    size_t n, capacity;
};

/* Begins as zeros. */
void weir_seen_fini(struct weir_seen *seen);

/* Adds a string: 1 when it was there before, 0 when not; WEIR_ENOMEM. */
int weir_seen_add(struct weir_seen *seen, const void *data, size_t n_bytes,
                  struct weir_err *err);

#endif
