/* SPDX-License-Identifier: Apache-2.0 */
/* A tile file of random weights, for benchmarks. */
#ifndef WEIR_MODEL_SYNTH_H
#define WEIR_MODEL_SYNTH_H

#include "model/layout.h"

struct weir_synth {
    struct weir_quant quant;
    enum weir_codec_policy policy;
    uint32_t tile_ceiling;            /* WEIR_TILE_BYTES, or less in tests */
    unsigned n_threads;               /* 0: one per CPU */
    const struct weir_stripe *stripe; /* NULL: one file */
    uint64_t seed;
    int alias; /* layers of one kind share their tiles */

    /* How far it is, in bytes of weights; may be NULL.  One call at a time. */
    void (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/*
 * Writes random weights (model/random_weights.h) to `path`, in the shape of a
 * published model ("mini", "large"), of "mini-slice", its first 8 layers, or of
 * the config.json at the path `shape`.  The bytes depend on shape, seed, alias,
 * quant, policy, tile_ceiling and stripe alone.  WEIR_EIO, before a byte is
 * written, when the drive has less room than the file needs at the least.
 */
int weir_synth_write(const struct weir_synth *synth, const char *shape,
                     const char *path, struct weir_err *err);

#endif
