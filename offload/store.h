/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights in memory of ours, under a budget: units that stay, slots that other
 * units pass through on their way from the drive, and experts among these that
 * are kept for the next time.
 *
 * One thread at a time asks for units and gives them back, while no other asks
 * for tiles.
 */
#ifndef WEIR_OFFLOAD_STORE_H
#define WEIR_OFFLOAD_STORE_H

#include "offload/reader.h"
#include "offload/residency.h"

struct weir_store;

/*
 * Until weir_store_keep() each tile is read when it is asked for.  `verified`
 * [n_tiles] is cleared for the tiles of a unit that is read.
 */
int weir_store_new(const struct weir_file *file,
                   const struct weir_residency_options *options,
                   atomic_uchar *verified, struct weir_store **store,
                   struct weir_err *err);
void weir_store_free(struct weir_store *store);

/* As weir_residency_keep() and so on, which see */
int weir_store_keep(struct weir_store *store, const struct weir_use *uses,
                    const struct weir_placement_ask *ask,
                    struct weir_pool *pool, struct weir_err *err);
void weir_store_begin_pass(struct weir_store *store);
void weir_store_want(struct weir_store *store, uint32_t unit);
void weir_store_done(struct weir_store *store, uint32_t unit);
int weir_store_may_guess(struct weir_store *store, uint32_t router);
void weir_store_guess(struct weir_store *store, uint32_t unit);
unsigned weir_store_at_once(const struct weir_store *store);
unsigned weir_store_can_hold(const struct weir_store *store);
void weir_store_memory(const struct weir_store *store, void **base,
                       size_t *n_bytes);
const char *weir_store_note(const struct weir_store *store);
void weir_store_get_stats(struct weir_store *store,
                          struct weir_residency_stats *stats);

/*
 * The stored bytes of a tile of tensor `tensor`, which does not stay decoded,
 * waited for if need be.  NULL when they are not in memory and not on their
 * way, or could not be read.
 */
const uint8_t *weir_store_find(struct weir_store *store, uint32_t tensor,
                               const struct weir_tile_record *record);

/* A tile that stays decoded, aligned to 64; NULL: it does not. */
const uint8_t *weir_store_unpacked(const struct weir_store *store,
                                   uint32_t tensor, uint64_t tile);

/* Reads them into stored [record->stored_bytes]. */
int weir_store_read(struct weir_store *store,
                    const struct weir_tile_record *record, void *stored,
                    struct weir_err *err);

#endif
