/* SPDX-License-Identifier: Apache-2.0 */
/* Tiles that lie behind each other, to be read at once. */
#ifndef WEIR_OFFLOAD_RUNS_H
#define WEIR_OFFLOAD_RUNS_H

#include "offload/file.h"

/* Tiles [first_tile, first_tile + n_tiles) of tensors that own them */
struct weir_run {
    uint64_t first_tile;
    uint32_t n_tiles;
    uint32_t tensor; /* of the first tile */
    unsigned file;   /* part that they lie in */
    uint64_t offset; /* whole pages, as n_bytes */
    size_t n_bytes;
};

/* A walk over all tiles that a model has, in their order.  Begins zeroed. */
struct weir_runs {
    const struct weir_file *file;
    size_t most; /* bytes of a run of several tiles */
    uint32_t tensor;
    uint64_t tile; /* counted from the tensor's first */
};

/* The next run; 0 at the end. */
int weir_runs_next(struct weir_runs *runs, struct weir_run *run);

#endif
