/* SPDX-License-Identifier: Apache-2.0 */
/* What the parts of the packer share while a file is written. */
#ifndef WEIR_OFFLOAD_PACK_STATE_H
#define WEIR_OFFLOAD_PACK_STATE_H

#include <pthread.h>

#include "offload/index.h"
#include "offload/pack.h"

struct weir_unit_state {
    uint64_t bands_left;
    float *scales; /* of the whole unit; NULL before its first band */
    uint64_t scales_offset;
    unsigned scales_part;
    uint32_t scales_tensor; /* or WEIR_NO_TENSOR */
};

/* A file that is written. */
struct weir_packer_part {
    const char *path; /* when it is complete */
    char *name;       /* until then */
    int fd;           /* or -1 */
    int published;    /* it is complete and has its path already */
    /* under the packer's lock */
    uint64_t offset; /* where the next tile goes */
    uint64_t flushed;
};

struct weir_packer {
    const struct weir_pack *pack;
    struct weir_file file; /* what the index will say; names are pack's */
    uint64_t data_at;      /* first byte of the first tile */
    uint64_t index_bytes;
    uint8_t *index;
    uint64_t identity;
    struct weir_packer_part parts[WEIR_FILES_MAX];
    unsigned n_parts;
    struct weir_unit_state *units;
    uint64_t total_bytes; /* of source */

    pthread_mutex_t lock; /* for all below */
    pthread_cond_t turned;
    uint32_t tensor, unit; /* the next band to take */
    uint64_t group;
    uint64_t next_ticket, turn;
    unsigned part, next_part; /* that tiles go to now, and then */
    uint32_t part_unit;       /* whose tiles these are */
    uint64_t filled;          /* bytes that it got in a row */
    uint64_t done_bytes;      /* of source */
    uint32_t n_units_done;
    uint64_t safe_bytes; /* of tiles that the last checkpoint has */
    int failed;
    int torn; /* a write failed: what is on disk is not known */
    struct weir_err *err;
};

/* Record of tile `tile` in packer->index. */
uint8_t *weir_packer_tile(struct weir_packer *packer, uint64_t tile);

/* Bytes that tensor `tensor` has in the source; 0 for scales and for tensors
 * that share the tiles of another. */
uint64_t weir_packer_source_bytes(const struct weir_packer *packer,
                                  uint32_t tensor);

/* Everything that is known before the first byte is read. */
int weir_packer_lay(struct weir_packer *packer, struct weir_err *err);

/* Opens path.part and those of the other parts and takes up what they hold. */
int weir_packer_open(struct weir_packer *packer, const char *path,
                     struct weir_err *err);

/*
 * Of each part the offset of the first page behind the tiles of the units
 * before `unit`; returns the sum.
 */
uint64_t weir_packer_ends(struct weir_packer *packer, uint32_t unit,
                          uint64_t ends[WEIR_FILES_MAX]);

/*
 * Tensors of the units before `n_units`, whose tiles all have their records,
 * get the records of those whose tiles they share.
 */
void weir_packer_share_tiles(struct weir_packer *packer, uint32_t n_units);

/* Makes the units done so far safe; called with the lock held. */
int weir_packer_checkpoint(struct weir_packer *packer, struct weir_err *err);

#endif
