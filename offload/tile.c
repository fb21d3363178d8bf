/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/tile.h"

#include "base/trace.h"
#include "offload/checksum.h"
#include "offload/codec.h"
#include "offload/tiling.h"

int weir_tile_is_good(const struct weir_tile_record *record,
                      const uint8_t *stored)
{
    uint64_t start = weir_trace_begin();
    int good = weir_checksum(stored, record->stored_bytes) == record->xxh3;

    weir_trace_end(start, WEIR_TRACE_CHECK, "xxh3", record->stored_bytes);
    return good;
}

int weir_tile_unpack(const struct weir_tensor *tensor, uint64_t tile,
                     const struct weir_tile_record *record,
                     const uint8_t *stored, void *out, void *workspace)
{
    uint64_t n_bytes = weir_tiling_tile_bytes(tensor, tile);
    uint64_t start = weir_trace_begin();
    int rc = weir_decode(record->codec, stored, record->stored_bytes, out,
                         n_bytes, workspace);

    weir_trace_end(start, WEIR_TRACE_DECODE, weir_codec_name(record->codec),
                   n_bytes);
    return rc;
}

int weir_tile_damaged(const struct weir_file *file, uint32_t tensor,
                      uint64_t tile, struct weir_err *err)
{
    struct weir_tile_record record;

    weir_file_tile(file, file->tensors[tensor].first_tile + tile, &record);
    return weir_err_at(err, WEIR_ECORRUPT, record.offset,
                       "%s: offset %llu: tile %llu of %s is damaged; run 'weir "
                       "verify' and fetch or pack the file again",
                       file->parts[record.file].path,
                       (unsigned long long)record.offset,
                       (unsigned long long)tile, file->tensors[tensor].name);
}
