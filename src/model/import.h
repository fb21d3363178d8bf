/* SPDX-License-Identifier: Apache-2.0 */
/* From a Hugging Face folder to a tile file. */
#ifndef WEIR_MODEL_IMPORT_H
#define WEIR_MODEL_IMPORT_H

#include "model/layout.h"

struct weir_import {
    struct weir_quant quant;
    enum weir_codec_policy policy;
    uint32_t tile_ceiling;            /* WEIR_TILE_BYTES, or less in tests */
    unsigned n_threads;               /* 0: one per CPU */
    const struct weir_stripe *stripe; /* NULL: one file */

    /* A warning, one line; may be NULL. */
    void (*warn)(void *ctx, const char *text);
    /* How far `phase` is, in bytes; may be NULL.  One call at a time. */
    void (*progress)(void *ctx, const char *phase, uint64_t done,
                     uint64_t total);
    void *ctx;
};

/*
 * Packs the checkpoint in `folder` into `path`, the stripe's first part.  Every
 * source file is read twice: once for its hash, which binds path.part to it,
 * once to be packed.
 */
int weir_import_folder(const struct weir_import *import, const char *folder,
                       const char *path, struct weir_err *err);

#endif
