/* SPDX-License-Identifier: Apache-2.0 */
/* Where things are in an index, for those who write one and read one. */
#ifndef WEIR_OFFLOAD_INDEX_LAYOUT_H
#define WEIR_OFFLOAD_INDEX_LAYOUT_H

#include "offload/index.h"

#define FILE_RECORD   16
#define BLOB_RECORD   32
#define UNIT_RECORD   16
#define TENSOR_RECORD 88
#define TILE_RECORD   WEIR_TILE_RECORD_BYTES

#define HEADER_SUM_AT (WEIR_FILE_PAGE - 8)
#define FLAG_ALIASED  1u

/* First bytes of the sections, counted from the index's first byte */
struct weir_index_sections {
    uint64_t blobs, units, tensors, tiles, strings, end;
};

/* Lays them for the counts of `file`. */
void weir_index_lay(const struct weir_file *file, uint64_t strings_bytes,
                    struct weir_index_sections *at);

#endif
