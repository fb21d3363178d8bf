/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trained weights have no repeated strings, only skewed bytes: in bf16 the
 * exponent, in int8 the bell of the values.  So zstd runs with its match
 * finder off and its literals forced through Huffman coding, which is both
 * smaller and faster to decode here than any of its levels, and bf16 is taken
 * apart first: its low bytes are noise and stay as they are.
 */
#define ZSTD_STATIC_LINKING_ONLY /* literal mode, contexts in our memory */
#include "offload/codec.h"

#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

struct weir_encoder {
    ZSTD_CCtx *zstd;
    uint8_t high[WEIR_ROW_BYTES / 2];
};

static const char *const codec_names[WEIR_N_CODECS] = {"raw", "zstd", "planes"};

const char *weir_codec_name(enum weir_codec codec)
{
    return codec < WEIR_N_CODECS ? codec_names[codec] : "?";
}

static const struct {
    ZSTD_cParameter parameter;
    int value;
} literals_only[] = {
    {ZSTD_c_strategy, ZSTD_fast},
    {ZSTD_c_minMatch, 7},
    {ZSTD_c_hashLog, 6},
    {ZSTD_c_targetLength, ZSTD_TARGETLENGTH_MAX},
    {ZSTD_c_literalCompressionMode, ZSTD_ps_enable},
};

int weir_encoder_new(struct weir_encoder **out, struct weir_err *err)
{
    struct weir_encoder *encoder = malloc(sizeof(*encoder));

    *out = NULL;
    if (!encoder)
        return weir_err_nomem(err, sizeof(*encoder), "a tile encoder");
    encoder->zstd = ZSTD_createCCtx();
    if (!encoder->zstd) {
        free(encoder);
        return weir_err_nomem(err, 1 << 20, "a zstd context");
    }
    for (size_t i = 0; i < sizeof(literals_only) / sizeof(literals_only[0]);
         i++)
        ZSTD_CCtx_setParameter(encoder->zstd, literals_only[i].parameter,
                               literals_only[i].value);
    *out = encoder;
    return 0;
}

void weir_encoder_free(struct weir_encoder *encoder)
{
    if (!encoder)
        return;
    ZSTD_freeCCtx(encoder->zstd);
    free(encoder);
}

static enum weir_codec codec_for(enum weir_codec_policy policy,
                                 enum weir_dtype dtype)
{
    if (policy == WEIR_POLICY_RAW)
        return WEIR_CODEC_RAW;
    if (dtype == WEIR_BF16)
        return WEIR_CODEC_PLANES;
    return policy == WEIR_POLICY_ZSTD ? WEIR_CODEC_ZSTD : WEIR_CODEC_RAW;
}

/* *stored is the bytes of the frame, or 0 when it does not fit. */
static int put_frame(struct weir_encoder *encoder, const void *src, size_t n,
                     void *out, size_t capacity, size_t *stored,
                     struct weir_err *err)
{
    size_t made = ZSTD_compress2(encoder->zstd, out, capacity, src, n);

    *stored = ZSTD_isError(made) ? 0 : made;
    if (ZSTD_getErrorCode(made) == ZSTD_error_memory_allocation)
        return weir_err_nomem(err, n, "compressing a tile");
    return 0;
}

static int put_planes(struct weir_encoder *encoder, const uint8_t *tile,
                      size_t n_bytes, uint8_t *out, size_t capacity,
                      size_t *stored, struct weir_err *err)
{
    size_t half = n_bytes / 2;
    int rc;

    *stored = 0;
    if (capacity <= half)
        return 0;
    for (size_t i = 0; i < half; i++) {
        out[i] = tile[2 * i];
        encoder->high[i] = tile[2 * i + 1];
    }
    rc = put_frame(encoder, encoder->high, half, out + half, capacity - half,
                   stored, err);
    if (*stored)
        *stored += half;
    return rc;
}

int weir_encoder_run(struct weir_encoder *encoder,
                     enum weir_codec_policy policy, enum weir_dtype dtype,
                     const void *tile, size_t n_bytes, void *out,
                     struct weir_coded *coded, struct weir_err *err)
{
    size_t most = n_bytes - n_bytes / 20;
    int rc = 0;

    coded->n_bytes = 0;
    coded->codec = codec_for(policy, dtype);
    if (coded->codec == WEIR_CODEC_PLANES)
        rc =
            put_planes(encoder, tile, n_bytes, out, most, &coded->n_bytes, err);
    else if (coded->codec == WEIR_CODEC_ZSTD)
        rc = put_frame(encoder, tile, n_bytes, out, most, &coded->n_bytes, err);
    if (rc || coded->n_bytes)
        return rc;
    coded->codec = WEIR_CODEC_RAW;
    coded->n_bytes = n_bytes;
    memcpy(out, tile, n_bytes);
    return 0;
}

size_t weir_decode_workspace_bytes(void)
{
    return (ZSTD_estimateDCtxSize() + 63) / 64 * 64;
}

/* The context lies at the beginning of the memory that it is given. */
void weir_decode_workspace_init(void *workspace)
{
    ZSTD_initStaticDCtx(workspace, weir_decode_workspace_bytes());
}

/* Exactly one frame: nothing may hide behind it. */
static int get_frame(const void *frame, size_t frame_bytes, void *out, size_t n,
                     void *workspace)
{
    ZSTD_DCtx *zstd = workspace;

    if (ZSTD_findFrameCompressedSize(frame, frame_bytes) != frame_bytes ||
        ZSTD_decompressDCtx(zstd, out, n, frame, frame_bytes) != n)
        return WEIR_ECORRUPT;
    return 0;
}

typedef uint8_t bytes16 __attribute__((vector_size(16)));

/*
 * Writes n elements of a low and a high byte each.  `high` may be the upper
 * half of `out`: element i is written at 2i and 2i + 1, never past n + i, where
 * the next high byte to be read lies; of 16 elements all are read first.
 */
static void deal(const uint8_t *low, const uint8_t *high, size_t n,
                 uint8_t *out)
{
    size_t i = 0;

    for (; i + 16 <= n; i += 16) {
        bytes16 l, h, pairs[2];

        memcpy(&l, low + i, 16);
        memcpy(&h, high + i, 16);
        pairs[0] = __builtin_shufflevector(l, h, 0, 16, 1, 17, 2, 18, 3, 19, 4,
                                           20, 5, 21, 6, 22, 7, 23);
        pairs[1] = __builtin_shufflevector(l, h, 8, 24, 9, 25, 10, 26, 11, 27,
                                           12, 28, 13, 29, 14, 30, 15, 31);
        memcpy(out + 2 * i, pairs, 32);
    }
    for (; i < n; i++) {
        uint8_t top = high[i];

        out[2 * i] = low[i];
        out[2 * i + 1] = top;
    }
}

/* The high bytes are decoded into the upper half of `out`, dealt from there. */
static int get_planes(const uint8_t *stored, size_t stored_bytes, uint8_t *out,
                      size_t n_bytes, void *workspace)
{
    size_t half = n_bytes / 2;

    if (stored_bytes <= half || n_bytes % 2 ||
        get_frame(stored + half, stored_bytes - half, out + half, half,
                  workspace))
        return WEIR_ECORRUPT;
    deal(stored, out + half, half, out);
    return 0;
}

int weir_decode(enum weir_codec codec, const void *stored, size_t stored_bytes,
                void *out, size_t n_bytes, void *workspace)
{
    switch (codec) {
    case WEIR_CODEC_RAW:
        if (stored_bytes != n_bytes)
            return WEIR_ECORRUPT;
        memcpy(out, stored, n_bytes);
        return 0;
    case WEIR_CODEC_ZSTD:
        return get_frame(stored, stored_bytes, out, n_bytes, workspace);
    case WEIR_CODEC_PLANES:
        return get_planes(stored, stored_bytes, out, n_bytes, workspace);
    default:
        return WEIR_ECORRUPT;
    }
}
