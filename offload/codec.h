/* SPDX-License-Identifier: Apache-2.0 */
/* Lossless coding of one tile (weir-file(5), Codecs). */
#ifndef WEIR_OFFLOAD_CODEC_H
#define WEIR_OFFLOAD_CODEC_H

#include "offload/file.h"

/* Which codecs the packer tries. */
enum weir_codec_policy {
    WEIR_POLICY_AUTO, /* planes for bf16, else raw */
    WEIR_POLICY_RAW,
    WEIR_POLICY_ZSTD, /* planes for bf16, else zstd */
};

struct weir_encoder;

/* One encoder a thread.  Release with weir_encoder_free(). */
int weir_encoder_new(struct weir_encoder **encoder, struct weir_err *err);
void weir_encoder_free(struct weir_encoder *encoder);

/* What became of a tile. */
struct weir_coded {
    enum weir_codec codec;
    size_t n_bytes; /* stored */
};

/*
 * Codes the `n_bytes` of `tile` into `out`, which has room for n_bytes.  A tile
 * that saves under 5 % stays raw; one that there is no memory for does not, so
 * that the same tile always becomes the same bytes.
 */
int weir_encoder_run(struct weir_encoder *encoder,
                     enum weir_codec_policy policy, enum weir_dtype dtype,
                     const void *tile, size_t n_bytes, void *out,
                     struct weir_coded *coded, struct weir_err *err);

/*
 * Working memory of weir_decode(): its bytes, and how it is made ready once
 * before the first call.  It is aligned to 64 and serves one thread at a time.
 */
size_t weir_decode_workspace_bytes(void);
void weir_decode_workspace_init(void *workspace);

/*
 * Decodes a tile of exactly `n_bytes` into `out`.  Returns 0, or WEIR_ECORRUPT
 * when the stored bytes are not such a tile.  Allocates nothing.
 */
int weir_decode(enum weir_codec codec, const void *stored, size_t stored_bytes,
                void *out, size_t n_bytes, void *workspace);

#endif
