/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile file, as weir-file(5) specifies it: what its index says, checked,
 * and the raw access to what it points at.
 */
#ifndef WEIR_OFFLOAD_FILE_H
#define WEIR_OFFLOAD_FILE_H

#include "base/dtype.h"
#include "base/err.h"

#define WEIR_FILE_VERSION 1
#define WEIR_FILE_PAGE    4096 /* what every tile and blob is aligned to */
#define WEIR_ROW_ALIGN    64   /* what rows in a tile are padded to */
#define WEIR_NAME_BYTES   255  /* most in a name */
#define WEIR_NO_TENSOR    UINT32_MAX
#define WEIR_FILES_MAX    16   /* that a model may be spread over */
#define WEIR_PATH_BYTES   4095 /* most in the path of one */

/* The most that a tile unpacks to, when it has several rows and when one. */
#define WEIR_TILE_BYTES (256 << 10)
#define WEIR_ROW_BYTES  (16 << 20)

static inline uint64_t weir_page_up(uint64_t n)
{
    return (n + WEIR_FILE_PAGE - 1) / WEIR_FILE_PAGE * WEIR_FILE_PAGE;
}

enum weir_codec {
    WEIR_CODEC_RAW = 0,    /* as it is */
    WEIR_CODEC_ZSTD = 1,   /* one zstd frame */
    WEIR_CODEC_PLANES = 2, /* low bytes, then one zstd frame of high bytes */
    WEIR_N_CODECS
};

/* "raw", "zstd", "planes"; never NULL. */
const char *weir_codec_name(enum weir_codec codec);

/*
 * A tensor and how it is cut.  It is stored as a matrix [rows][cols]: rows in
 * `row_parts` equal parts, columns in `col_blocks` equal blocks; a part is cut
 * into groups of tile_rows rows (the last may be shorter) and a tile is one
 * group of one block.  Tiles are numbered part by part, group by group, block
 * by block from first_tile.
 */
struct weir_tensor {
    const char *name;
    enum weir_dtype dtype;
    unsigned n_dims;
    uint64_t shape[4]; /* as in the checkpoint; product = rows * cols */
    uint64_t rows, cols;
    uint32_t row_parts, col_blocks, tile_rows;
    uint64_t first_tile;
    uint32_t scale_tensor; /* f32 row scales of an i8 tensor, or none */
    uint32_t scale_first;  /* the element of it that row 0 uses */
    uint32_t owner; /* whose tiles these are: itself, or an earlier tensor */
};

/* Tensors [first_tensor, first_tensor + n_tensors) lie and are used together */
struct weir_unit {
    const char *name;
    uint32_t first_tensor;
    uint32_t n_tensors;
};

struct weir_blob {
    const char *name;
    uint64_t offset;
    uint64_t n_bytes;
    uint64_t xxh3;
};

struct weir_tile_record {
    uint64_t offset;
    uint64_t xxh3; /* XXH3-64 of the stored bytes */
    uint32_t stored_bytes;
    uint16_t file; /* number of its part */
    uint8_t codec;
};

/* One of the files that a model lies in.  The first has header and index. */
struct weir_part {
    const char *recorded; /* where it was written; NULL of the first */
    char *path;           /* where it was found */
    int fd;               /* < 0: not opened */
    uint64_t n_bytes;
};

struct weir_file {
    char *path;       /* of the first part, as fd */
    int fd;           /* and */
    uint64_t n_bytes; /* its length */
    uint32_t n_parts; /* > 0 */
    struct weir_part parts[WEIR_FILES_MAX];
    uint32_t n_units, n_tensors, n_blobs;
    uint64_t n_tiles;
    int aliased; /* tensors may share their tiles: a model to measure with */
    struct weir_unit *units;
    struct weir_tensor *tensors;
    struct weir_blob *blobs;
    uint32_t max_tile_bytes; /* the largest unpacked tile */
    uint8_t *index;          /* as read; tile records are taken from it */
    uint64_t index_xxh3;     /* its checksum, which all tiles' are part of */
    const uint8_t *tile_records;
    uint32_t *by_name; /* tensor numbers sorted by name */
};

/*
 * Opens and checks header and index: checksums, bounds, overlaps, counts,
 * geometry, names; and the other files that the model is spread over, if it is.
 * Tiles and blobs are not read.  *file is allocated; release with
 * weir_file_close().
 */
int weir_file_open(const char *path, struct weir_file **file,
                   struct weir_err *err);

/* The same without the other files: tiles in them cannot be read. */
int weir_file_open_index(const char *path, struct weir_file **file,
                         struct weir_err *err);
void weir_file_close(struct weir_file *file);

/* Number of the tensor called `name`, or WEIR_NO_TENSOR. */
uint32_t weir_file_find(const struct weir_file *file, const char *name);

/* Number of the unit called `name`, or UINT32_MAX.  Linear. */
uint32_t weir_file_find_unit(const struct weir_file *file, const char *name);

/* Tiles that lie in the file: shared ones counted once. */
uint64_t weir_file_n_own_tiles(const struct weir_file *file);

/* Bytes of all files of the model */
uint64_t weir_file_bytes(const struct weir_file *file);

/* Record of tile `tile` < n_tiles. */
void weir_file_tile(const struct weir_file *file, uint64_t tile,
                    struct weir_tile_record *record);

/*
 * Reads and checks the blob called `name`.  *data is allocated (release with
 * free()) and has a NUL behind its n_bytes; it is NULL, without an error, when
 * there is no such blob.
 */
int weir_file_read_blob(const struct weir_file *file, const char *name,
                        char **data, size_t *n_bytes, struct weir_err *err);

#endif
