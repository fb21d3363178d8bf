/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the bytes of a model are when the forward pass asks for them.  Here
 * the file is mapped: a raw tile is used in place, a compressed one is decoded
 * into the caller's scratch.  A tile is verified when it is first touched
 * after opening.
 */
#ifndef WEIR_OFFLOAD_RESIDENCY_H
#define WEIR_OFFLOAD_RESIDENCY_H

#include "offload/file.h"

struct weir_residency;

/* `file` must outlive the residency. */
int weir_residency_new(const struct weir_file *file,
                       struct weir_residency **residency, struct weir_err *err);
void weir_residency_free(struct weir_residency *residency);

/* Unit `unit` will be used soon: starts to read it ahead.  Never fails. */
void weir_residency_want(struct weir_residency *residency, uint32_t unit);

/*
 * Scratch that a thread needs for weir_residency_tile(): its bytes, and how it
 * is made ready once before the first call.  It is aligned to 64.
 */
size_t weir_residency_scratch_bytes(const struct weir_residency *residency);
void weir_residency_scratch_init(const struct weir_residency *residency,
                                 void *scratch);

/*
 * Unpacked bytes of tile `tile` of tensor `tensor` (counted from its first),
 * aligned to 64: in the map, or decoded into `scratch`, which
 * must live as long as *data is used.  WEIR_ECORRUPT, naming tensor, tile
 * and offset, when the checksum or the frame is wrong.  Any thread, each with
 * its own scratch.  Allocates nothing.
 */
int weir_residency_tile(struct weir_residency *residency, uint32_t tensor,
                        uint64_t tile, void *scratch, const void **data,
                        struct weir_err *err);

/*
 * 0 as long as every byte handed out was read from the file; WEIR_EIO once a
 * mapped page was lost (the file shrank, or its drive failed), which makes
 * everything computed since the last check worthless.
 */
int weir_residency_check(const struct weir_residency *residency,
                         struct weir_err *err);

#endif
