/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that drives read into.  A direct read into small pages costs two
 * thirds of a drive's speed, so that a region is taken once, in huge pages
 * where the system has them, and kept.
 */
#ifndef WEIR_OFFLOAD_RING_H
#define WEIR_OFFLOAD_RING_H

#include "base/err.h"

struct weir_region {
    uint8_t *base; /* aligned to WEIR_REGION_ALIGN */
    size_t n_bytes;
    void *map;
    size_t map_bytes;
};

#define WEIR_REGION_ALIGN ((size_t)2 << 20)

/*
 * Takes at least n_bytes, zeroed, from all nodes of memory by turns.  They are
 * touched when they are first used.
 * Release with weir_region_fini(), also after an error.
 */
int weir_region_init(struct weir_region *region, size_t n_bytes,
                     struct weir_err *err);
void weir_region_fini(struct weir_region *region);

#endif
