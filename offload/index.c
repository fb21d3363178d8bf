/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything in an index comes from a stranger until it has passed decode; what
 * passes can be used without further checks.
 */
#include <stdlib.h>

#include "base/le.h"
#include "offload/checksum.h"
#include "offload/index_layout.h"
#include "offload/tiling.h"

#define MAX_RECORDS (1u << 20) /* of units, of tensors, of blobs */
#define MAX_TILES   (1u << 26)
#define MAX_STRINGS (64u << 20)
#define MAX_NUMEL   (1ull << 40) /* elements of one tensor */
#define MAX_PART    (1ull << 56) /* bytes of a file */

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
    if (weir_le64(header + HEADER_SUM_AT) !=
        weir_checksum(header, HEADER_SUM_AT))
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
    struct weir_index_sections at;
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
    file->n_parts = weir_le32(header + 64);
    if (!file->n_parts || file->n_parts > WEIR_FILES_MAX)
        return weir_err_at(err, WEIR_ENOTSUP, 64,
                           "%s: spread over %u files, where this weir reads 1 "
                           "to %d; use a newer weir",
                           file->path, file->n_parts, WEIR_FILES_MAX);
    file->aliased = weir_le32(header + 12) == FLAG_ALIASED;
    out->index_bytes = weir_le64(header + 32);
    file->index_xxh3 = weir_le64(header + 40);
    out->strings_bytes = weir_le64(header + 48);
    file->n_tiles = weir_le64(header + 56);
    file->n_blobs = weir_le32(header + 68);
    file->n_units = weir_le32(header + 72);
    file->n_tensors = weir_le32(header + 76);
    if (file->n_tiles > MAX_TILES || file->n_blobs > MAX_RECORDS ||
        file->n_units > MAX_RECORDS || file->n_tensors > MAX_RECORDS ||
        out->strings_bytes > MAX_STRINGS)
        return damaged(file, 48, "counts beyond the limits", err);
    weir_index_lay(file, out->strings_bytes, &at);
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
    struct weir_index_sections at;
    const uint8_t *strings;
    uint64_t strings_bytes;
    /* first byte of each file that the next blob or tile may use */
    uint64_t data_at[WEIR_FILES_MAX];
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

/* A path: 1 to WEIR_PATH_BYTES bytes, none of them a control, and a NUL. */
static int get_path(const struct decoder *in, uint64_t at, const char **path)
{
    const uint8_t *record = in->file->index + at, *text;
    uint64_t offset = weir_le32(record), n = weir_le32(record + 4);

    text = in->strings + offset;
    if (n == 0 || n > WEIR_PATH_BYTES || offset + n >= in->strings_bytes ||
        text[n] || text[n - 1] == '/')
        return refuse(in, at, "path of a file");
    for (uint64_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] == 0x7f)
            return refuse(in, at, "a character that paths do not have");
    *path = (const char *)text;
    return 0;
}

static int decode_parts(struct decoder *in)
{
    struct weir_file *file = in->file;
    int rc = 0;

    if (weir_le64(file->index) || weir_le64(file->index + 8) != file->n_bytes)
        return refuse(in, 0, "file record");
    for (uint32_t i = 1; i < file->n_parts && !rc; i++) {
        uint64_t at = (uint64_t)i * FILE_RECORD;
        uint64_t n_bytes = weir_le64(file->index + at + 8);

        file->parts[i].n_bytes = n_bytes;
        in->data_at[i] = WEIR_FILE_PAGE;
        rc = get_path(in, at, &file->parts[i].recorded);
        if (!rc && (n_bytes < WEIR_FILE_PAGE || n_bytes % WEIR_FILE_PAGE ||
                    n_bytes > MAX_PART))
            rc = refuse(in, at + 8, "length of a file");
    }
    return rc;
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
        if (blob->offset % WEIR_FILE_PAGE || blob->offset < in->data_at[0] ||
            blob->offset > in->file->n_bytes ||
            blob->n_bytes > in->file->n_bytes - blob->offset)
            rc = refuse(in, at + 8, "place of a blob");
        in->data_at[0] = blob->offset + blob->n_bytes;
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

/* The tile lies behind all before it in its file, within it. */
static int place_fits(struct decoder *in, const struct weir_tile_record *tile)
{
    const struct weir_file *file = in->file;
    uint64_t n_bytes;

    if (tile->file >= file->n_parts)
        return 0;
    n_bytes = file->parts[tile->file].n_bytes;
    if (tile->offset % WEIR_FILE_PAGE ||
        tile->offset < in->data_at[tile->file] || tile->offset > n_bytes ||
        tile->stored_bytes > n_bytes - tile->offset)
        return 0;
    in->data_at[tile->file] = tile->offset + tile->stored_bytes;
    return 1;
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
            file->index[at + 23])
            return refuse(in, at + 16, "codec or size of a tile");
        if (!place_fits(in, &tile))
            return refuse(in, at, "place of a tile");
    }
    return 0;
}

/* Where its first tile lies: file, then offset */
static int compare_places(const struct decoder *in, uint32_t a, uint32_t b)
{
    const struct weir_tensor *tensors = in->file->tensors;
    struct weir_tile_record x, y;

    weir_index_get_tile(tile_record(in, tensors[a].first_tile), &x);
    weir_index_get_tile(tile_record(in, tensors[b].first_tile), &y);
    if (x.file != y.file)
        return x.file < y.file ? -1 : 1;
    return x.offset < y.offset ? -1 : x.offset > y.offset;
}

static int compare_owners(const void *a, const void *b, void *ctx)
{
    return compare_places(ctx, *(const uint32_t *)a, *(const uint32_t *)b);
}

/* The tensor with tiles of its own that begin where those of `tensor` do */
static uint32_t find_owner(const struct decoder *in, uint32_t tensor)
{
    uint32_t low = 0, high = in->n_owners;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int order = compare_places(in, in->owners[mid], tensor);

        if (order == 0)
            return in->owners[mid];
        if (order < 0)
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
static int decode_shared_tiles(struct decoder *in, uint32_t number)
{
    struct weir_tensor *tensor = &in->file->tensors[number];
    const uint8_t *first = tile_record(in, tensor->first_tile);
    uint32_t i = find_owner(in, number);

    if (i >= number || !is_cut_alike(tensor, &in->file->tensors[i]) ||
        memcmp(first, tile_record(in, in->file->tensors[i].first_tile),
               weir_tiling_n_tiles(tensor) * TILE_RECORD))
        return refuse(in, (uint64_t)(first - in->file->index),
                      "tiles that are not those of one other tensor");
    tensor->owner = i;
    return 0;
}

/* It begins before the end of what lies in its file already. */
static int shares_tiles(const struct decoder *in,
                        const struct weir_tensor *tensor)
{
    struct weir_tile_record first;

    if (!in->file->aliased)
        return 0;
    weir_index_get_tile(tile_record(in, tensor->first_tile), &first);
    return first.file < in->file->n_parts &&
           first.offset < in->data_at[first.file];
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

        tensor->owner = WEIR_NO_TENSOR;
        if (shares_tiles(in, tensor))
            continue;
        tensor->owner = i;
        in->owners[in->n_owners++] = i;
        rc = decode_own_tiles(in, tensor);
    }
    if (rc || in->n_owners == file->n_tensors)
        return rc;
    qsort_r(in->owners, in->n_owners, sizeof(*in->owners), compare_owners, in);
    for (uint32_t i = 0; i < file->n_tensors && !rc; i++)
        if (file->tensors[i].owner == WEIR_NO_TENSOR)
            rc = decode_shared_tiles(in, i);
    return rc;
}

int weir_index_decode(struct weir_file *file,
                      const struct weir_index_header *header,
                      struct weir_err *err)
{
    struct decoder in = {.file = file,
                         .strings_bytes = header->strings_bytes,
                         .data_at = {WEIR_FILE_PAGE + header->index_bytes},
                         .owners = file->by_name, /* filled later */
                         .err = err};
    int rc;

    if (weir_checksum(file->index, header->index_bytes) != file->index_xxh3)
        return weir_err_at(err, WEIR_ECORRUPT, WEIR_FILE_PAGE,
                           "%s: the index's checksum is wrong; the file is "
                           "damaged: fetch or pack it again",
                           file->path);
    weir_index_lay(file, header->strings_bytes, &in.at);
    in.strings = file->index + in.at.strings;
    file->tile_records = file->index + in.at.tiles;
    rc = decode_parts(&in);
    if (!rc)
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
