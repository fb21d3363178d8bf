/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a tile file: tensors come from a reader in whole rows, are quantised
 * if asked, cut, coded and laid out in order by all cores.
 */
#ifndef WEIR_OFFLOAD_PACK_H
#define WEIR_OFFLOAD_PACK_H

#include "offload/codec.h"
#include "offload/tiling.h"

struct weir_pack_tensor {
    char name[WEIR_NAME_BYTES + 1];
    enum weir_dtype src_dtype;
    enum weir_dtype dtype; /* as stored: src_dtype, or WEIR_I8 to quantise */
    float src_scale;       /* of every row, when src_dtype is WEIR_I8 too */
    unsigned n_dims;
    uint64_t shape[4];
    enum weir_split split;
    int is_scales;       /* filled with the row scales of its unit, not read */
    uint32_t share_back; /* it shares the tiles of the tensor, cut alike, that
                            many places before it; 0: has its own */
    uint32_t source;     /* for the reader: which tensor ... */
    uint64_t source_first; /* ... and the first of its elements */
};

/* Tensors that lie together; scales, where there are any, come first. */
struct weir_pack_unit {
    char name[WEIR_NAME_BYTES + 1];
    uint32_t first_tensor, n_tensors;
};

/* A small file that is kept as it is. */
struct weir_pack_blob {
    const char *name;
    const void *data;
    size_t n_bytes;
};

/* A file for some of the tiles. */
struct weir_pack_part {
    char *path;
    char *recorded; /* the same in the index: weir-file(5); NULL: the first */
    uint64_t drive; /* its number; the same for parts on one drive */
};

/* Where a model goes that is spread over several files (stripe.h). */
struct weir_stripe {
    char *path; /* of the first file */
    struct weir_pack_part parts[WEIR_FILES_MAX];
    unsigned n_parts; /* > 0 */
    uint64_t n_bytes; /* that one gets in a row; WEIR_STRIPE_BYTES */
};

#define WEIR_STRIPE_BYTES (1u << 20)

struct weir_pack {
    const struct weir_pack_tensor *tensors;
    const struct weir_pack_unit *units;
    const struct weir_pack_blob *blobs;
    uint32_t n_tensors, n_units, n_blobs;
    enum weir_codec_policy policy;
    uint32_t tile_ceiling; /* most bytes of a tile; WEIR_TILE_BYTES */
    unsigned n_threads;    /* 0: one per CPU */
    const struct weir_stripe *stripe; /* NULL: one file */

    /*
     * `n` elements from `first` on, in src_dtype; any thread.  `buffer` is a
     * weir_source_buffer() for them; *data is where in it they begin.
     */
    int (*read)(void *ctx, const struct weir_pack_tensor *tensor,
                uint64_t first, size_t n, void *buffer, const void **data,
                struct weir_err *err);

    /* How far it is, in bytes of source; may be NULL.  One call at a time. */
    void (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
    void *ctx;
};

/*
 * Writes `path` and the other parts of the stripe.  Until it is complete each
 * file is called path.part; a path.part of the same tensors, blobs and options
 * is continued, another is started again.  `path` gets its name last.  The
 * bytes depend on `pack` alone, not on threads or interruptions.  Memory is a
 * few tiles for each thread and the index.  After an error path.part is left
 * for the next try.
 */
int weir_pack_write(const struct weir_pack *pack, const char *path,
                    struct weir_err *err);

#endif
