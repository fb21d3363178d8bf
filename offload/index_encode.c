/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index is a run of sections without gaps: file records, blob records, unit
 * records, tensor records, tile records, names.
 */
#include "base/le.h"
#include "offload/checksum.h"
#include "offload/index_layout.h"

const uint8_t weir_file_magic[8] = {0x89, 'W', 'E', 'I', 'R', '\r', '\n', 0x1a};

void weir_index_lay(const struct weir_file *file, uint64_t strings_bytes,
                    struct weir_index_sections *at)
{
    at->blobs = (uint64_t)file->n_parts * FILE_RECORD;
    at->units = at->blobs + (uint64_t)file->n_blobs * BLOB_RECORD;
    at->tensors = at->units + (uint64_t)file->n_units * UNIT_RECORD;
    at->tiles = at->tensors + (uint64_t)file->n_tensors * TENSOR_RECORD;
    at->strings = at->tiles + file->n_tiles * TILE_RECORD;
    at->end = at->strings + strings_bytes;
}

static uint64_t strings_bytes_of(const struct weir_file *file)
{
    uint64_t n = 0;

    for (uint32_t i = 1; i < file->n_parts; i++)
        n += strlen(file->parts[i].recorded) + 1;
    for (uint32_t i = 0; i < file->n_blobs; i++)
        n += strlen(file->blobs[i].name) + 1;
    for (uint32_t i = 0; i < file->n_units; i++)
        n += strlen(file->units[i].name) + 1;
    for (uint32_t i = 0; i < file->n_tensors; i++)
        n += strlen(file->tensors[i].name) + 1;
    return n;
}

uint64_t weir_index_bytes(const struct weir_file *file)
{
    struct weir_index_sections at;

    weir_index_lay(file, strings_bytes_of(file), &at);
    return at.end;
}

uint64_t weir_index_tiles_at(const struct weir_file *file)
{
    struct weir_index_sections at;

    weir_index_lay(file, 0, &at);
    return at.tiles;
}

struct strings {
    uint8_t *base;
    uint32_t used;
};

static void put_name(struct strings *strings, const char *name, uint8_t *record)
{
    uint32_t n = (uint32_t)strlen(name);

    weir_le32_put(record, strings->used);
    weir_le32_put(record + 4, n);
    memcpy(strings->base + strings->used, name, n + 1);
    strings->used += n + 1;
}

static void put_tensor(const struct weir_tensor *tensor, uint8_t *record)
{
    record[8] = (uint8_t)tensor->dtype;
    record[9] = (uint8_t)tensor->n_dims;
    weir_le32_put(record + 12, tensor->row_parts);
    weir_le32_put(record + 16, tensor->col_blocks);
    weir_le32_put(record + 20, tensor->tile_rows);
    weir_le64_put(record + 24, tensor->rows);
    weir_le64_put(record + 32, tensor->cols);
    for (unsigned i = 0; i < tensor->n_dims; i++)
        weir_le64_put(record + 40 + 8 * i, tensor->shape[i]);
    weir_le64_put(record + 72, tensor->first_tile);
    weir_le32_put(record + 80, tensor->scale_tensor);
    weir_le32_put(record + 84, tensor->scale_first);
}

void weir_index_encode(const struct weir_file *file, uint8_t *index)
{
    struct weir_index_sections at;
    struct strings strings;

    weir_index_lay(file, 0, &at);
    strings.base = index + at.strings;
    strings.used = 0;
    for (uint32_t i = 0; i < file->n_parts; i++) {
        if (i)
            put_name(&strings, file->parts[i].recorded,
                     index + (size_t)i * FILE_RECORD);
        weir_index_put_part(index, i, file->parts[i].n_bytes);
    }
    for (uint32_t i = 0; i < file->n_blobs; i++) {
        uint8_t *record = index + at.blobs + (uint64_t)i * BLOB_RECORD;

        put_name(&strings, file->blobs[i].name, record);
        weir_le64_put(record + 8, file->blobs[i].offset);
        weir_le64_put(record + 16, file->blobs[i].n_bytes);
        weir_le64_put(record + 24, file->blobs[i].xxh3);
    }
    for (uint32_t i = 0; i < file->n_units; i++) {
        uint8_t *record = index + at.units + (uint64_t)i * UNIT_RECORD;

        put_name(&strings, file->units[i].name, record);
        weir_le32_put(record + 8, file->units[i].first_tensor);
        weir_le32_put(record + 12, file->units[i].n_tensors);
    }
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        uint8_t *record = index + at.tensors + (uint64_t)i * TENSOR_RECORD;

        put_name(&strings, file->tensors[i].name, record);
        put_tensor(&file->tensors[i], record);
    }
}

void weir_index_put_part(uint8_t *index, unsigned part, uint64_t n_bytes)
{
    weir_le64_put(index + (size_t)part * FILE_RECORD + 8, n_bytes);
}

void weir_index_put_tile(uint8_t *record, const struct weir_tile_record *tile)
{
    weir_le64_put(record, tile->offset);
    weir_le64_put(record + 8, tile->xxh3);
    weir_le32_put(record + 16, tile->stored_bytes);
    weir_le16_put(record + 20, tile->file);
    record[22] = tile->codec;
    record[23] = 0;
}

void weir_index_get_tile(const uint8_t *record, struct weir_tile_record *tile)
{
    tile->offset = weir_le64(record);
    tile->xxh3 = weir_le64(record + 8);
    tile->stored_bytes = weir_le32(record + 16);
    tile->file = weir_le16(record + 20);
    tile->codec = record[22];
}

void weir_index_encode_header(const struct weir_file *file,
                              const uint8_t *index,
                              uint8_t header[WEIR_FILE_PAGE])
{
    uint64_t strings_bytes = strings_bytes_of(file);
    struct weir_index_sections at;

    weir_index_lay(file, strings_bytes, &at);
    memset(header, 0, WEIR_FILE_PAGE);
    memcpy(header, weir_file_magic, sizeof(weir_file_magic));
    weir_le32_put(header + 8, WEIR_FILE_VERSION);
    weir_le32_put(header + 12, file->aliased ? FLAG_ALIASED : 0);
    weir_le64_put(header + 16, file->n_bytes);
    weir_le64_put(header + 24, WEIR_FILE_PAGE);
    weir_le64_put(header + 32, at.end);
    weir_le64_put(header + 40, weir_checksum(index, at.end));
    weir_le64_put(header + 48, strings_bytes);
    weir_le64_put(header + 56, file->n_tiles);
    weir_le32_put(header + 64, file->n_parts);
    weir_le32_put(header + 68, file->n_blobs);
    weir_le32_put(header + 72, file->n_units);
    weir_le32_put(header + 76, file->n_tensors);
    weir_le64_put(header + HEADER_SUM_AT, weir_checksum(header, HEADER_SUM_AT));
}
