/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A band is one row group of one tensor across all column blocks: the piece of
 * packing that one thread does by itself, from source rows to coded tiles.
 */
#ifndef WEIR_OFFLOAD_PACK_BAND_H
#define WEIR_OFFLOAD_PACK_BAND_H

#include "offload/pack.h"

#define WEIR_MAX_BLOCKS 8

/* What a band has become. */
struct weir_band_out {
    uint32_t n_tiles;
    /* offsets count from the band's first byte */
    struct weir_tile_record tiles[WEIR_MAX_BLOCKS];
    uint64_t n_bytes; /* whole pages */
    int is_zero;      /* every byte is zero */
};

struct weir_band_worker;

/* Buffers for the largest band of `pack`, whose tensors are cut as `cut`. */
int weir_band_worker_new(const struct weir_pack *pack,
                         const struct weir_tensor *cut,
                         struct weir_band_worker **worker,
                         struct weir_err *err);
void weir_band_worker_free(struct weir_band_worker *worker);

/*
 * Reads, quantises, cuts and codes group `group` of tensor `tensor`.  The
 * row scales of an int8 tensor go to `scales`, one for each row of the tensor.
 * WEIR_EFORMAT, naming tensor and row, when a NaN or an infinity is to be
 * quantised.
 */
int weir_band_run(struct weir_band_worker *worker, uint32_t tensor,
                  uint64_t group, float *scales, struct weir_band_out *out,
                  struct weir_err *err);

/* The place that a vector will take: weir_band_put_vector() without bytes. */
void weir_band_reserve_vector(size_t n_bytes, struct weir_band_out *out);

/* Codes a vector that is in memory already, always raw. */
void weir_band_put_vector(struct weir_band_worker *worker, const void *data,
                          size_t n_bytes, struct weir_band_out *out);

/* The bytes of the last band, out->n_bytes of them. */
const void *weir_band_bytes(const struct weir_band_worker *worker);

#endif
