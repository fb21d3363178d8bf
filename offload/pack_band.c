/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/pack_band.h"

#include <math.h>
#include <stdlib.h>

#include "base/buf.h"
#include "kernels/quantize.h"
#include "offload/checksum.h"
#include "offload/safetensors.h"

struct weir_band_worker {
    const struct weir_pack *pack;
    const struct weir_tensor *cut;
    struct weir_encoder *encoder;
    uint8_t *source; /* rows as read */
    uint8_t *rows;   /* the same as stored, without padding */
    uint8_t *tile;   /* one tile, padded */
    uint8_t *out;    /* coded tiles at page boundaries */
    float *wide;     /* one row */
};

static void keep_max(uint64_t *max, uint64_t n)
{
    if (n > *max)
        *max = n;
}

int weir_band_worker_new(const struct weir_pack *pack,
                         const struct weir_tensor *cut,
                         struct weir_band_worker **out, struct weir_err *err)
{
    struct weir_band_worker *worker = calloc(1, sizeof(*worker));
    uint64_t source = 0, rows = 0, tile = 0, coded = 0, cols = 0;

    *out = NULL;
    if (!worker)
        return weir_err_nomem(err, sizeof(*worker), "packing");
    for (uint32_t i = 0; i < pack->n_tensors; i++) {
        uint64_t n = cut[i].tile_rows * cut[i].cols;
        uint64_t tile_bytes = weir_tiling_tile_bytes(&cut[i], 0);

        keep_max(&source, n * weir_dtype_bytes(pack->tensors[i].src_dtype));
        keep_max(&rows, n * weir_dtype_bytes(cut[i].dtype));
        keep_max(&tile, tile_bytes);
        keep_max(&coded, weir_page_up(tile_bytes) * cut[i].col_blocks);
        keep_max(&cols, cut[i].cols);
    }
    worker->pack = pack;
    worker->cut = cut;
    worker->source = weir_source_buffer(source);
    worker->rows = malloc(rows);
    worker->tile = malloc(tile);
    worker->out = malloc(coded);
    worker->wide = malloc(cols * sizeof(float));
    if (!worker->source || !worker->rows || !worker->tile || !worker->out ||
        !worker->wide || weir_encoder_new(&worker->encoder, NULL)) {
        weir_band_worker_free(worker);
        return weir_err_nomem(err, source + rows + tile + coded, "packing");
    }
    *out = worker;
    return 0;
}

void weir_band_worker_free(struct weir_band_worker *worker)
{
    if (!worker)
        return;
    weir_encoder_free(worker->encoder);
    free(worker->source);
    free(worker->rows);
    free(worker->tile);
    free(worker->out);
    free(worker->wide);
    free(worker);
}

const void *weir_band_bytes(const struct weir_band_worker *worker)
{
    return worker->out;
}

static int quantize_rows(struct weir_band_worker *worker, uint32_t tensor,
                         const uint8_t *from, uint64_t row, uint32_t n_rows,
                         float *scales, struct weir_err *err)
{
    const struct weir_pack_tensor *source = &worker->pack->tensors[tensor];
    uint64_t cols = worker->cut[tensor].cols;
    size_t row_bytes = cols * weir_dtype_bytes(source->src_dtype);

    for (uint32_t r = 0; r < n_rows; r++) {
        weir_dtype_widen(source->src_dtype, from + r * row_bytes, worker->wide,
                         cols);
        scales[row + r] = weir_quantize_row(worker->wide, cols,
                                            (int8_t *)worker->rows + r * cols);
        if (isnan(scales[row + r]))
            return weir_err_set(err, WEIR_EFORMAT,
                                "%s: row %llu holds a NaN or an infinity and "
                                "cannot be quantised; fetch the checkpoint "
                                "again, or pack with --quant none",
                                source->name, (unsigned long long)(row + r));
    }
    return 0;
}

/* Whole rows of all columns, as stored but without padding. */
static int load_rows(struct weir_band_worker *worker, uint32_t tensor,
                     uint64_t row, uint32_t n_rows, float *scales,
                     const uint8_t **rows, struct weir_err *err)
{
    const struct weir_pack_tensor *source = &worker->pack->tensors[tensor];
    const struct weir_tensor *cut = &worker->cut[tensor];
    const void *read;
    int rc = worker->pack->read(worker->pack->ctx, source, row * cut->cols,
                                n_rows * cut->cols, worker->source, &read, err);

    *rows = read;
    for (uint32_t r = 0; !rc && r < n_rows && source->src_dtype == WEIR_I8; r++)
        scales[row + r] = source->src_scale;
    if (rc || source->dtype == source->src_dtype)
        return rc;
    *rows = worker->rows;
    return quantize_rows(worker, tensor, read, row, n_rows, scales, err);
}

/* One column block of the rows, each padded to the tile's row length. */
static size_t cut_tile(struct weir_band_worker *worker,
                       const struct weir_tensor *cut, const uint8_t *rows,
                       const struct weir_tile_span *span)
{
    size_t element = weir_dtype_bytes(cut->dtype);
    size_t padded = weir_tiling_row_bytes(cut);
    size_t used = span->cols * element;

    for (uint32_t r = 0; r < span->rows; r++) {
        uint8_t *to = worker->tile + r * padded;

        memcpy(to, rows + (r * cut->cols + span->col) * element, used);
        memset(to + used, 0, padded - used);
    }
    return span->rows * padded;
}

/* Pads what stands at the end of the band to whole pages and records it. */
static void end_tile(struct weir_band_worker *worker,
                     const struct weir_coded *coded, struct weir_band_out *out)
{
    struct weir_tile_record *record = &out->tiles[out->n_tiles++];
    uint8_t *at = worker->out + out->n_bytes;

    memset(at + coded->n_bytes, 0,
           weir_page_up(coded->n_bytes) - coded->n_bytes);
    record->offset = out->n_bytes;
    record->stored_bytes = (uint32_t)coded->n_bytes;
    record->xxh3 = weir_checksum(at, coded->n_bytes);
    record->file = 0;
    record->codec = (uint8_t)coded->codec;
    out->n_bytes += weir_page_up(coded->n_bytes);
}

int weir_band_run(struct weir_band_worker *worker, uint32_t tensor,
                  uint64_t group, float *scales, struct weir_band_out *out,
                  struct weir_err *err)
{
    const struct weir_tensor *cut = &worker->cut[tensor];
    struct weir_tile_span span;
    struct weir_coded coded;
    const uint8_t *rows;
    int rc;

    memset(out, 0, sizeof(*out));
    weir_tiling_span(cut, group * cut->col_blocks, &span);
    rc = load_rows(worker, tensor, span.row, span.rows, scales, &rows, err);
    if (rc)
        return rc;
    for (uint32_t b = 0; b < cut->col_blocks && !rc; b++) {
        weir_tiling_span(cut, group * cut->col_blocks + b, &span);
        rc = weir_encoder_run(worker->encoder, worker->pack->policy, cut->dtype,
                              worker->tile, cut_tile(worker, cut, rows, &span),
                              worker->out + out->n_bytes, &coded, err);
        if (!rc)
            end_tile(worker, &coded, out);
    }
    out->is_zero = weir_is_all_zero(worker->out, out->n_bytes);
    return rc;
}

static size_t vector_bytes(size_t n_bytes)
{
    return (n_bytes + WEIR_ROW_ALIGN - 1) / WEIR_ROW_ALIGN * WEIR_ROW_ALIGN;
}

void weir_band_reserve_vector(size_t n_bytes, struct weir_band_out *out)
{
    memset(out, 0, sizeof(*out));
    out->n_tiles = 1;
    out->tiles[0].stored_bytes = (uint32_t)vector_bytes(n_bytes);
    out->tiles[0].codec = WEIR_CODEC_RAW;
    out->n_bytes = weir_page_up(out->tiles[0].stored_bytes);
}

void weir_band_put_vector(struct weir_band_worker *worker, const void *data,
                          size_t n_bytes, struct weir_band_out *out)
{
    struct weir_coded coded = {WEIR_CODEC_RAW, vector_bytes(n_bytes)};

    memset(out, 0, sizeof(*out));
    memcpy(worker->out, data, n_bytes);
    memset(worker->out + n_bytes, 0, coded.n_bytes - n_bytes);
    end_tile(worker, &coded, out);
}
