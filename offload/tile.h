/* SPDX-License-Identifier: Apache-2.0 */
/* What is done with the stored bytes of a tile, wherever they lie. */
#ifndef WEIR_OFFLOAD_TILE_H
#define WEIR_OFFLOAD_TILE_H

#include "offload/file.h"

/* 1 when `stored` [record->stored_bytes] is what was packed. */
int weir_tile_is_good(const struct weir_tile_record *record,
                      const uint8_t *stored);

/*
 * Unpacks tile `tile` of a tensor into `out`, of as many bytes as
 * weir_tiling_tile_bytes() says; `workspace` is that of weir_decode().  Returns
 * 0, or WEIR_ECORRUPT without a message.
 */
int weir_tile_unpack(const struct weir_tensor *tensor, uint64_t tile,
                     const struct weir_tile_record *record,
                     const uint8_t *stored, void *out, void *workspace);

/* WEIR_ECORRUPT, with a message that names file, offset, tile and tensor. */
int weir_tile_damaged(const struct weir_file *file, uint32_t tensor,
                      uint64_t tile, struct weir_err *err);

#endif
