/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a drive gives to direct reads like those of a model, with idle threads
 * and while all of them compute.
 */
#ifndef WEIR_TOOLS_BENCH_DRIVE_H
#define WEIR_TOOLS_BENCH_DRIVE_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "offload/file.h"
#include "offload/reader.h"

struct drive_probe {
    struct weir_reader *reader;
    struct weir_region region;
    struct weir_read reads[WEIR_READ_DEPTH_MAX];
    unsigned depth;
    size_t request_bytes;
    uint64_t file_bytes;

    /* while it runs */
    uint64_t random[WEIR_READ_DEPTH_MAX]; /* of each read */
    atomic_int stop, errnum;
    atomic_uint n_active;
    atomic_uint_least64_t n_bytes; /* that came */
};

/*
 * Reads `file`, all of its parts side by side, with `io`, each drive held back
 * to most_gbps unless that is 0, as large and as many requests at a time as
 * weir_drives_get() says.
 */
int drive_probe_init(struct drive_probe *probe, const struct weir_file *file,
                     enum weir_io io, double most_gbps, struct weir_err *err);
void drive_probe_fini(struct drive_probe *probe);

/* Bytes in a second, the best of some, while nothing else is done. */
int drive_probe_idle(struct drive_probe *probe, double *rate,
                     struct weir_err *err);

/*
 * The same while the threads of the pool multiply weights of int8 with a vector
 * as decoding does: what lies in data [n_bytes], over and over.
 */
int drive_probe_loaded(struct drive_probe *probe, struct weir_pool *pool,
                       const struct weir_kernels *kernels, const void *data,
                       size_t n_bytes, double *rate, struct weir_err *err);

#endif
