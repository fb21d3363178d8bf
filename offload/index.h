/* SPDX-License-Identifier: Apache-2.0 */
/* Header and index of a tile file as bytes: weir-file(5), both ways. */
#ifndef WEIR_OFFLOAD_INDEX_H
#define WEIR_OFFLOAD_INDEX_H

#include "offload/file.h"

#define WEIR_TILE_RECORD_BYTES 24

/* Magic of a finished file; text tools and bad transfers break it. */
extern const uint8_t weir_file_magic[8];

/* Bytes of the index of a file with these parts, units, tensors, blobs and
 * tiles. */
uint64_t weir_index_bytes(const struct weir_file *file);

/* Where its tile records begin, counted from the index's first byte. */
uint64_t weir_index_tiles_at(const struct weir_file *file);

/*
 * Writes all of the index but its tile records to `index` (weir_index_bytes,
 * zeroed), from parts, units, tensors, blobs and counts of `file`.
 */
void weir_index_encode(const struct weir_file *file, uint8_t *index);

/* Sets the length of a part in the index, once it is known. */
void weir_index_put_part(uint8_t *index, unsigned part, uint64_t n_bytes);

void weir_index_put_tile(uint8_t *record, const struct weir_tile_record *tile);
void weir_index_get_tile(const uint8_t *record, struct weir_tile_record *tile);

/* Writes the header page of a file whose index is `index`. */
void weir_index_encode_header(const struct weir_file *file,
                              const uint8_t *index,
                              uint8_t header[WEIR_FILE_PAGE]);

/*
 * What the header says beyond counts, flags and the checksum of the index,
 * which go into the weir_file
 */
struct weir_index_header {
    uint64_t index_bytes;
    uint64_t strings_bytes;
};

/* Checks a header page; fills counts and sizes of `file` (path is set). */
int weir_index_decode_header(const uint8_t header[WEIR_FILE_PAGE],
                             struct weir_file *file,
                             struct weir_index_header *out,
                             struct weir_err *err);

/*
 * Checks the index and fills parts (what is recorded of them), units, tensors
 * and blobs of `file`, whose arrays
 * are allocated to the counts and whose names point into file->index.
 */
int weir_index_decode(struct weir_file *file,
                      const struct weir_index_header *header,
                      struct weir_err *err);

#endif
