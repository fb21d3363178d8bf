/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index is a run of sections without gaps: file records, blob records,
 * unit records, tensor records, tile records, names.  Everything in it comes
 * from a stranger until it has passed decode; what passes can be used without
 * further checks.
 */
#include "offload/index.h"

#include <xxhash.h>

#include "base/le.h"
#include "offload/tiling.h"

#define FILE_RECORD   16
#define BLOB_RECORD   32
#define UNIT_RECORD   16
#define TENSOR_RECORD 88
#define TILE_RECORD   WEIR_TILE_RECORD_BYTES

#define MAX_RECORDS (1u << 20) /* of units, of tensors, of blobs */
#define MAX_TILES   (1u << 26)
#define MAX_STRINGS (64u << 20)
#define MAX_NUMEL   (1ull << 40) /* elements of one tensor */

#define HEADER_SUM_AT (WEIR_FILE_PAGE - 8)
#define FLAG_ALIASED  1u

const uint8_t weir_file_magic[8] = {0x89, 'W', 'E', 'I', 'R', '\r', '\n', 0x1a};

/* First bytes of the sections, counted from the index's first byte. */
struct sections {
    uint64_t blobs, units, tensors, tiles, strings, end;
};

static void lay_sections(const struct weir_file *file, uint64_t strings_bytes,
                         struct sections *at)
{
    at->blobs = FILE_RECORD;
    at->units = at->blobs + (uint64_t)file->n_blobs * BLOB_RECORD;
    at->tensors = at->units + (uint64_t)file->n_units * UNIT_RECORD;
    at->tiles = at->tensors + (uint64_t)file->n_tensors * TENSOR_RECORD;
    at->strings = at->tiles + file->n_tiles * TILE_RECORD;
    at->end = at->strings + strings_bytes;
}

static uint64_t strings_bytes_of(const struct weir_file *file)
{
    uint64_t n = 0;

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
    struct sections at;

    lay_sections(file, strings_bytes_of(file), &at);
    return at.end;
}

uint64_t weir_index_tiles_at(const struct weir_file *file)
{
    struct sections at;

    lay_sections(file, 0, &at);
    return at.tiles;
}

/* ---- encoding ---- */

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
    struct sections at;
    struct strings strings;

    lay_sections(file, 0, &at);
    strings.base = index + at.strings;
    strings.used = 0;
    weir_le64_put(index + 8, file->n_bytes);
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
    struct sections at;

    lay_sections(file, strings_bytes, &at);
    memset(header, 0, WEIR_FILE_PAGE);
    memcpy(header, weir_file_magic, sizeof(weir_file_magic));
    weir_le32_put(header + 8, WEIR_FILE_VERSION);
    weir_le32_put(header + 12, file->aliased ? FLAG_ALIASED : 0);
    weir_le64_put(header + 16, file->n_bytes);
    weir_le64_put(header + 24, WEIR_FILE_PAGE);
    weir_le64_put(header + 32, at.end);
    weir_le64_put(header + 40, XXH3_64bits(index, at.end));
    weir_le64_put(header + 48, strings_bytes);
    weir_le64_put(header + 56, file->n_tiles);
    weir_le32_put(header + 64, 1);
    weir_le32_put(header + 68, file->n_blobs);
    weir_le32_put(header + 72, file->n_units);
    weir_le32_put(header + 76, file->n_tensors);
    weir_le64_put(header + HEADER_SUM_AT, XXH3_64bits(header, HEADER_SUM_AT));
}

/* ---- decoding ---- */

static int damaged(const struct weir_file *file, uint64_t offset,
                   const char *what, struct weir_err *err)
{
    return weir_err_at(err, WEIR_EFORMAT, offset,
                       "%s: offset %llu: %s; the file is damaged: fetch or "
                       "pack it again",
                       file->path, (unsigned long long)offset, what);
}

static int decode_identity(const uint8_t *header, const struct weir_file *file,
                           struct weir_err *err)
{
    uint32_t version = weir_le32(header + 8);

    if (memcmp(header, weir_file_magic, sizeof(weir_file_magic)))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: not a weir file; make one with 'weir pack'",
                            file->path);
    if (version != WEIR_FILE_VERSION)
        return weir_err_at(err, WEIR_ENOTSUP, 8,
                           "%s: format version %u; this weir reads version %d: "
                           "use a matching weir or pack the model again",
                           file->path, version, WEIR_FILE_VERSION);
    if (weir_le64(header + HEADER_SUM_AT) != XXH3_64bits(header, HEADER_SUM_AT))
        return weir_err_at(err, WEIR_ECORRUPT, 0,
                           "%s: the header's checksum is wrong; the file is "
                           "damaged: fetch or pack it again",
                           file->path);
    return 0;
}

int weir_index_decode_header(const uint8_t header[WEIR_FILE_PAGE],
                             struct weir_file *file,
                             struct weir_index_header *out,
                             struct weir_err *err)
{
    struct sections at;
    int rc = decode_identity(header, file, err);

    if (rc)
        return rc;
    for (size_t i = 80; i < HEADER_SUM_AT; i++)
        if (header[i])
            return damaged(file, i, "a header byte that must be zero", err);
    if (weir_le32(header + 12) & ~FLAG_ALIASED)
        return weir_err_at(err, WEIR_ENOTSUP, 12,
                           "%s: unknown flags %#x; use a newer weir",
                           file->path, weir_le32(header + 12));
    if (weir_le32(header + 64) != 1)
        return weir_err_at(err, WEIR_ENOTSUP, 64,
                           "%s: spread over %u files, which this weir cannot "
                           "read; use a newer weir",
                           file->path, weir_le32(header + 64));
    file->aliased = weir_le32(header + 12) == FLAG_ALIASED;
    out->index_bytes = weir_le64(header + 32);
    out->index_xxh3 = weir_le64(header + 40);
    out->strings_bytes = weir_le64(header + 48);
    file->n_tiles = weir_le64(header + 56);
    file->n_blobs = weir_le32(header + 68);
    file->n_units = weir_le32(header + 72);
    file->n_tensors = weir_le32(header + 76);
    if (file->n_tiles > MAX_TILES || file->n_blobs > MAX_RECORDS ||
        file->n_units > MAX_RECORDS || file->n_tensors > MAX_RECORDS ||
        out->strings_bytes > MAX_STRINGS)
        return damaged(file, 48, "counts beyond the limits", err);
    lay_sections(file, out->strings_bytes, &at);
    if (weir_le64(header + 24) != WEIR_FILE_PAGE || out->index_bytes != at.end)
        return damaged(file, 24, "place of the index", err);
    if (weir_le64(header + 16) != file->n_bytes)
        return weir_err_at(err, WEIR_EFORMAT, 16,
                           "%s: has %llu bytes where its header says %llu; the "
                           "transfer was cut or added to: fetch it again",
                           file->path, (unsigned long long)file->n_bytes,
                           (unsigned long long)weir_le64(header + 16));
    if (file->n_bytes % WEIR_FILE_PAGE)
        return damaged(file, 16, "its length is not whole pages", err);
    if (out->index_bytes > file->n_bytes - WEIR_FILE_PAGE)
        return damaged(file, 32, "the index passes the end", err);
    return 0;
}

/* The decoder's view: where it is, for messages, and what names may use. */
struct decoder {
    struct weir_file *file;
    struct sections at;
    const uint8_t *strings;
    uint64_t strings_bytes;
    uint64_t data_at; /* first byte that the next blob or tile may use */
    uint32_t *owners; /* tensors with tiles of their own, so far */
    uint32_t n_owners;
    struct weir_err *err;
};

static int refuse(const struct decoder *in, uint64_t at, const char *what)
{
    return damaged(in->file, WEIR_FILE_PAGE + at, what, in->err);
}

/* A name: 1 to WEIR_NAME_BYTES printable ASCII characters and a NUL. */
static int get_name(const struct decoder *in, uint64_t at, const char **name)
{
    const uint8_t *record = in->file->index + at;
    uint64_t offset = weir_le32(record), n = weir_le32(record + 4);

    if (n == 0 || n > WEIR_NAME_BYTES || offset + n >= in->strings_bytes ||
        in->strings[offset + n])
        return refuse(in, at, "a name outside the strings");
    for (uint64_t i = 0; i < n; i++)
        if (in->strings[offset + i] <= ' ' || in->strings[offset + i] > '~')
            return refuse(in, at, "a character that names do not have");
    *name = (const char *)in->strings + offset;
    return 0;
}

static int decode_blobs(struct decoder *in)
{
    int rc = 0;

    for (uint32_t i = 0; i < in->file->n_blobs && !rc; i++) {
        struct weir_blob *blob = &in->file->blobs[i];
        uint64_t at = in->at.blobs + (uint64_t)i * BLOB_RECORD;
        const uint8_t *record = in->file->index + at;

        rc = get_name(in, at, &blob->name);
        blob->offset = weir_le64(record + 8);
        blob->n_bytes = weir_le64(record + 16);
        blob->xxh3 = weir_le64(record + 24);
        if (rc)
            break;
        if (blob->offset % WEIR_FILE_PAGE || blob->offset < in->data_at ||
            blob->offset > in->file->n_bytes ||
            blob->n_bytes > in->file->n_bytes - blob->offset)
            rc = refuse(in, at + 8, "place of a blob");
        in->data_at = blob->offset + blob->n_bytes;
    }
    return rc;
}

static int decode_units(struct decoder *in)
{
    uint64_t next = 0;
    int rc = 0;

    for (uint32_t i = 0; i < in->file->n_units && !rc; i++) {
        struct weir_unit *unit = &in->file->units[i];
        uint64_t at = in->at.units + (uint64_t)i * UNIT_RECORD;

        rc = get_name(in, at, &unit->name);
        unit->first_tensor = weir_le32(in->file->index + at + 8);
        unit->n_tensors = weir_le32(in->file->index + at + 12);
        if (!rc && (unit->first_tensor != next || unit->n_tensors == 0))
            rc = refuse(in, at + 8, "tensors of a unit");
        next += unit->n_tensors;
    }
    if (!rc && next != in->file->n_tensors)
        rc = refuse(in, in->at.units, "units do not cover the tensors");
    return rc;
}

/* rows * cols, or 0 when the shape is not that of a matrix we store. */
static uint64_t numel_of(const struct weir_tensor *tensor)
{
    uint64_t n = 1;

    for (unsigned i = 0; i < 4; i++) {
        if (i >= tensor->n_dims) {
            if (tensor->shape[i])
                return 0;
            continue;
        }
        if (tensor->shape[i] == 0 || tensor->shape[i] > MAX_NUMEL / n)
            return 0;
        n *= tensor->shape[i];
    }
    if (tensor->rows == 0 || tensor->cols == 0 || n % tensor->rows ||
        n / tensor->rows != tensor->cols)
        return 0;
    return n;
}

static int is_eighths(uint32_t n)
{
    return n == 1 || n == 2 || n == 8 || n == 16;
}

static int geometry_is_sound(const struct weir_tensor *tensor)
{
    uint64_t row_bytes;

    if (tensor->dtype >= WEIR_N_DTYPES || tensor->n_dims == 0 ||
        tensor->n_dims > 4 || !numel_of(tensor))
        return 0;
    if (!is_eighths(tensor->row_parts) || tensor->rows % tensor->row_parts ||
        (tensor->col_blocks != 1 && tensor->col_blocks != 8) ||
        tensor->cols % tensor->col_blocks || tensor->tile_rows == 0 ||
        tensor->tile_rows > tensor->rows / tensor->row_parts)
        return 0;
    row_bytes = weir_tiling_row_bytes(tensor);
    if (tensor->tile_rows == 1)
        return row_bytes <= WEIR_ROW_BYTES;
    return row_bytes <= WEIR_TILE_BYTES / tensor->tile_rows;
}

static void get_tensor(const uint8_t *record, struct weir_tensor *tensor)
{
    tensor->dtype = record[8];
    tensor->n_dims = record[9];
    tensor->row_parts = weir_le32(record + 12);
    tensor->col_blocks = weir_le32(record + 16);
    tensor->tile_rows = weir_le32(record + 20);
    tensor->rows = weir_le64(record + 24);
    tensor->cols = weir_le64(record + 32);
    for (unsigned i = 0; i < 4; i++)
        tensor->shape[i] = weir_le64(record + 40 + 8 * i);
    tensor->first_tile = weir_le64(record + 72);
    tensor->scale_tensor = weir_le32(record + 80);
    tensor->scale_first = weir_le32(record + 84);
}

static int decode_tensors(struct decoder *in)
{
    struct weir_file *file = in->file;
    uint64_t next_tile = 0;
    int rc;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        struct weir_tensor *tensor = &file->tensors[i];
        uint64_t at = in->at.tensors + (uint64_t)i * TENSOR_RECORD;
        uint64_t tile_bytes;

        rc = get_name(in, at, &tensor->name);
        if (rc)
            return rc;
        get_tensor(file->index + at, tensor);
        if (weir_le16(file->index + at + 10) || !geometry_is_sound(tensor))
            return refuse(in, at + 8, "shape or tiling of a tensor");
        if (tensor->first_tile != next_tile)
            return refuse(in, at + 72, "first tile of a tensor");
        next_tile += weir_tiling_n_tiles(tensor);
        if (next_tile > file->n_tiles)
            return refuse(in, at, "more tiles than the header says");
        tile_bytes = weir_tiling_tile_bytes(tensor, 0);
        if (tile_bytes > file->max_tile_bytes)
            file->max_tile_bytes = (uint32_t)tile_bytes;
    }
    if (next_tile != file->n_tiles)
        return refuse(in, in->at.tensors, "fewer tiles than the header says");
    return 0;
}

/* An i8 tensor has a scale for each row in an f32 vector; others have none. */
static int check_scales(struct decoder *in)
{
    const struct weir_file *file = in->file;

    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i], *scales;
        uint64_t at = in->at.tensors + (uint64_t)i * TENSOR_RECORD + 80;

        if (tensor->dtype != WEIR_I8) {
            if (tensor->scale_tensor != WEIR_NO_TENSOR || tensor->scale_first)
                return refuse(in, at, "scales of a tensor that is not int8");
            continue;
        }
        if (tensor->scale_tensor >= file->n_tensors)
            return refuse(in, at, "scales of an int8 tensor");
        scales = &file->tensors[tensor->scale_tensor];
        if (scales->dtype != WEIR_F32 || scales->rows != 1 ||
            tensor->scale_first > scales->cols ||
            tensor->rows > scales->cols - tensor->scale_first)
            return refuse(in, at, "scales of an int8 tensor");
    }
    return 0;
}

static int codec_fits(const struct weir_tile_record *tile,
                      enum weir_dtype dtype, uint64_t n_bytes)
{
    switch (tile->codec) {
    case WEIR_CODEC_RAW:
        return tile->stored_bytes == n_bytes;
    case WEIR_CODEC_PLANES:
        return dtype == WEIR_BF16 && tile->stored_bytes > n_bytes / 2 &&
               tile->stored_bytes < n_bytes;
    case WEIR_CODEC_ZSTD:
        return tile->stored_bytes > 0 && tile->stored_bytes < n_bytes;
    default:
        return 0;
    }
}

static const uint8_t *tile_record(const struct decoder *in, uint64_t tile)
{
    return in->file->tile_records + tile * TILE_RECORD;
}

/* Tiles that lie behind all before them. */
static int decode_own_tiles(struct decoder *in,
                            const struct weir_tensor *tensor)
{
    const struct weir_file *file = in->file;
    uint64_t n = weir_tiling_n_tiles(tensor);
    uint64_t at = in->at.tiles + tensor->first_tile * TILE_RECORD;
    struct weir_tile_record tile;

    for (uint64_t k = 0; k < n; k++, at += TILE_RECORD) {
        weir_index_get_tile(file->index + at, &tile);
        if (!codec_fits(&tile, tensor->dtype,
                        weir_tiling_tile_bytes(tensor, k)) ||
            tile.file != 0 || file->index[at + 23])
            return refuse(in, at + 16, "codec or size of a tile");
        if (tile.offset % WEIR_FILE_PAGE || tile.offset < in->data_at ||
            tile.offset > file->n_bytes ||
            tile.stored_bytes > file->n_bytes - tile.offset)
            return refuse(in, at, "place of a tile");
        in->data_at = tile.offset + tile.stored_bytes;
    }
    return 0;
}

/* The tensor with tiles of its own that begin at `offset`, or WEIR_NO_TENSOR */
static uint32_t find_owner(const struct decoder *in, uint64_t offset)
{
    uint32_t low = 0, high = in->n_owners;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2, owner = in->owners[mid];
        uint64_t at =
            weir_le64(tile_record(in, in->file->tensors[owner].first_tile));

        if (at == offset)
            return owner;
        if (at < offset)
            low = mid + 1;
        else
            high = mid;
    }
    return WEIR_NO_TENSOR;
}

static int is_cut_alike(const struct weir_tensor *a,
                        const struct weir_tensor *b)
{
    return a->dtype == b->dtype && a->rows == b->rows && a->cols == b->cols &&
           a->row_parts == b->row_parts && a->col_blocks == b->col_blocks &&
           a->tile_rows == b->tile_rows;
}

/* All tiles of a tensor that has none of its own are those of one before. */
static int decode_shared_tiles(struct decoder *in, struct weir_tensor *tensor)
{
    const struct weir_file *file = in->file;
    const uint8_t *first = tile_record(in, tensor->first_tile);
    uint32_t i = find_owner(in, weir_le64(first));

    if (i == WEIR_NO_TENSOR || !is_cut_alike(tensor, &file->tensors[i]) ||
        memcmp(first, tile_record(in, file->tensors[i].first_tile),
               weir_tiling_n_tiles(tensor) * TILE_RECORD))
        return refuse(in, (uint64_t)(first - file->index),
                      "tiles that are not those of one other tensor");
    tensor->owner = i;
    return 0;
}

/* All tensors of a unit have their tiles as many places before them. */
static int check_sharing(const struct decoder *in)
{
    const struct weir_tensor *tensors = in->file->tensors;

    for (uint32_t u = 0; u < in->file->n_units; u++) {
        uint32_t first = in->file->units[u].first_tensor;

        for (uint32_t i = 1; i < in->file->units[u].n_tensors; i++)
            if (tensors[first + i].owner != tensors[first].owner + i)
                return refuse(in, in->at.units + (uint64_t)u * UNIT_RECORD,
                              "a unit that shares tiles in part");
    }
    return 0;
}

static int decode_tiles(struct decoder *in)
{
    struct weir_file *file = in->file;
    int rc = 0;

    for (uint32_t i = 0; i < file->n_tensors && !rc; i++) {
        struct weir_tensor *tensor = &file->tensors[i];

        if (file->aliased &&
            weir_le64(tile_record(in, tensor->first_tile)) < in->data_at) {
            rc = decode_shared_tiles(in, tensor);
        } else {
            tensor->owner = i;
            in->owners[in->n_owners++] = i;
            rc = decode_own_tiles(in, tensor);
        }
    }
    return rc;
}

int weir_index_decode(struct weir_file *file,
                      const struct weir_index_header *header,
                      struct weir_err *err)
{
    struct decoder in = {.file = file,
                         .strings_bytes = header->strings_bytes,
                         .data_at = WEIR_FILE_PAGE + header->index_bytes,
                         .owners = file->by_name, /* filled later */
                         .err = err};
    int rc;

    if (XXH3_64bits(file->index, header->index_bytes) != header->index_xxh3)
        return weir_err_at(err, WEIR_ECORRUPT, WEIR_FILE_PAGE,
                           "%s: the index's checksum is wrong; the file is "
                           "damaged: fetch or pack it again",
                           file->path);
    lay_sections(file, header->strings_bytes, &in.at);
    in.strings = file->index + in.at.strings;
    file->tile_records = file->index + in.at.tiles;
    if (weir_le64(file->index) || weir_le64(file->index + 8) != file->n_bytes)
        return refuse(&in, 0, "file record");
    rc = decode_blobs(&in);
    if (!rc)
        rc = decode_units(&in);
    if (!rc)
        rc = decode_tensors(&in);
    if (!rc)
        rc = check_scales(&in);
    if (!rc)
        rc = decode_tiles(&in);
    if (!rc)
        rc = check_sharing(&in);
    return rc;
}
