/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of a session, as weir-session(5) specifies it: a header, a table of
 * sections, and the sections.
 */
#ifndef WEIR_ENGINE_SESSION_FILE_H
#define WEIR_ENGINE_SESSION_FILE_H

#include "engine/session_parts.h"

#define WEIR_SESSION_VERSION      1
#define WEIR_SESSION_HEADER_BYTES 80
#define WEIR_SESSION_RECORD_BYTES 32

/* Ids; K and V of each attention layer; places and their scores */
#define WEIR_SESSION_MAX_SECTIONS                                              \
    (1 + 2 * WEIR_MAX_LAYERS + 2 * (WEIR_MAX_SNAPSHOTS + 1))

enum weir_section_kind {
    WEIR_SECTION_IDS = 1,
    WEIR_SECTION_K = 2,
    WEIR_SECTION_V = 3,
    WEIR_SECTION_PLACE = 4, /* the Mamba layers */
    WEIR_SECTION_SCORES = 5 /* of the place before */
};

/* Flags of a place */
#define WEIR_PLACE_TURN   1u /* a turn begins or ends there */
#define WEIR_PLACE_SCORED 2u /* its scores follow */

struct weir_section {
    uint32_t kind;
    uint32_t flags; /* of a place; 0 of others, as is */
    uint64_t n_tok; /* before a place */
    uint64_t n_bytes;
    uint64_t xxh3;
};

void weir_section_put(const struct weir_section *section, uint8_t *record);
void weir_section_get(struct weir_section *section, const uint8_t *record);

/* What a file must agree with, and how much there is */
struct weir_session_shape {
    uint64_t model; /* XXH3 of the index of its file */
    uint32_t kv;    /* enum weir_kv */
    uint32_t n_attention;
    uint64_t kv_bytes; /* of a token in a layer, of K and of V */
    uint64_t n_mamba, n_vocab;
    uint64_t n_tok;
};

void weir_session_shape(const weir_model *model, enum weir_dtype kv_dtype,
                        size_t n_tok, struct weir_session_shape *shape);

/*
 * Fills bytes 0 to WEIR_SESSION_HEADER_BYTES - 1 of `head`, behind which the
 * records of n sections stand already.
 */
void weir_session_put_header(const struct weir_session_shape *shape, uint32_t n,
                             uint64_t file_bytes, uint8_t *head);

/* A file whose header and table are there */
struct weir_session_file {
    const char *path;
    int fd;
    uint64_t n_bytes;
    struct weir_session_shape shape;
    uint32_t n_sections;
    uint8_t *head; /* header and table */
};

/*
 * Opens a file and checks its header, and that it is of this model.  Release
 * with weir_session_file_close(), also after an error.
 */
int weir_session_file_open(struct weir_session_file *file, const char *path,
                           const weir_model *model, struct weir_err *err);
void weir_session_file_close(struct weir_session_file *file);

/*
 * The text of a session in a file, and from where in it the session could go
 * on.  Of the file only that is read, and its table is checked.  Errors as
 * those of weir_session_load().  Release with weir_session_outline_fini(), also
 * after an error.
 */
struct weir_session_outline {
    int32_t *ids; /* [n_tok] */
    size_t n_tok;
    struct weir_snapshots places; /* without memory: it is in the file */
};

int weir_session_outline(const weir_model *model, const char *path,
                         enum weir_kv kv, struct weir_session_outline *outline,
                         struct weir_err *err);
void weir_session_outline_fini(struct weir_session_outline *outline);

/* WEIR_EFORMAT, with the offset and a cure */
int weir_session_file_wrong(const struct weir_session_file *file,
                            uint64_t offset, const char *why,
                            struct weir_err *err);

#endif
