/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels for many tokens have in common: how a tile's operands come into
 * shared memory, and where its results go.
 *
 * A tile is TILE_ROWS rows of weights and so many tokens.  A stage of it is a
 * chunk of activations as they are packed and its 64 columns of weights: of
 * int8 rows of 64 bytes as they lie, of bf16 rows of 128 bytes whose pieces are
 * exchanged as those of activations.  Of a gated pair 8 rows of one follow 8 of
 * the other, so that a lane has what belongs together.
 */
#ifndef WEIR_KERNELS_CUDA_GEMM_PARTS_H
#define WEIR_KERNELS_CUDA_GEMM_PARTS_H

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/parts.h"

#define TILE_ROWS 128
#define X_BYTES   128 /* of a token in a stage */

#define W_BYTES(dtype)            ((dtype) == WEIR_I8 ? 64 : 128) /* of a row */
#define STAGE_BYTES(dtype, n_tok) (TILE_ROWS * W_BYTES(dtype) + (n_tok)*X_BYTES)

/* Where element `c` of 64 goes, for int8 weights */
DEVICE uint32_t place_i8(uint32_t c)
{
    uint32_t q = c / 16, j = c / 4 % 4, odd = c & 1, second = c >> 1 & 1;

    return j * 16 + odd * 8 + 2 * q + second;
}

/* Where element `c` of the 64 of a row lies among them */
DEVICE uint32_t place_in_row(uint32_t is_i8, uint32_t row, uint32_t c)
{
    c = is_i8 ? place_i8(c) : c;
    return c ^ (row & 7) << 3;
}

/* The chunk of term 0 of column c of a matrix */
DEVICE uint32_t chunk_of(const struct gemm_shape *shape, uint32_t c)
{
    uint32_t block = c / shape->block_cols, in = c % shape->block_cols;

    return (block * shape->block_pad + in) / GEMM_STEP * shape->terms;
}

/* The row of place `place` in order, which is expert e's */
DEVICE uint32_t gemm_row(const struct weir_device_routing *routing, uint32_t e,
                         uint32_t place)
{
    uint32_t first = routing->first[e];

    return (first / 8 + e) * 8 + place - first;
}

/*
 * Tokens of a tile: rows first to first + n - 1 of the result, `row` and on of
 * packed x; and which tile of rows of weights it is
 */
struct span {
    uint32_t first, n, row, expert, tile;
};

DEVICE uint32_t n_spans(uint32_t n, uint32_t most)
{
    return (n + most - 1) / most;
}

/* The i-th of the equal spans, but for rounding, that n tokens are cut into */
DEVICE void cut_span(uint32_t n, uint32_t most, uint32_t i, struct span *span)
{
    uint32_t k = n_spans(n, most), size = ((n + k - 1) / k + 7) / 8 * 8;

    span->first = i * size;
    span->n = span->first < n ? n - span->first : 0;
    span->n = span->n < size ? span->n : size;
}

/*
 * Tile `i` of the choices; 0: none.  Those of an expert follow each other, of
 * these such that have the same rows: weights come from memory once.
 */
DEVICE int find_choices(const struct gemm *p, uint32_t i, struct span *span)
{
    uint32_t lane = threadIdx.x % WARP;

    for (uint32_t from = 0; from < p->n_experts; from += WARP) {
        uint32_t e = from + lane, n = 0, spans, sum, hit;

        if (e < p->n_experts &&
            is_wanted(p->expert, e, p->from_expert, p->to_expert))
            n = p->routing.first[e + 1] - p->routing.first[e];
        spans = n_spans(n, p->tile_tok);
        sum = sum_below(spans) + spans;
        hit = __ballot_sync(ALL, i < sum * p->n_tiles);
        if (hit) {
            int at = __ffs((int)hit) - 1;

            spans = __shfl_sync(ALL, spans, at);
            i -= (__shfl_sync(ALL, sum, at) - spans) * p->n_tiles;
            cut_span(__shfl_sync(ALL, n, at), p->tile_tok, i % spans, span);
            span->tile = i / spans;
            span->expert = from + at;
            span->first += p->routing.first[span->expert];
            span->row = gemm_row(&p->routing, span->expert, span->first);
            return span->n > 0;
        }
        i -= __shfl_sync(ALL, sum, WARP - 1) * p->n_tiles;
    }
    return 0;
}

/* Matrix and row of row r of a tile */
DEVICE uint32_t find_row(const struct gemm *p, const struct span *span,
                         uint32_t r, uint32_t *m)
{
    *m = 0;
    if (p->out != WEIR_OUT_GATED)
        return span->tile * TILE_ROWS + r;
    *m = r / 8 % 2;
    return span->tile * (TILE_ROWS / 2) + r / 16 * 8 + r % 8;
}

DEVICE const void *tiles_of(const struct gemm *p, const struct span *span,
                            uint32_t m)
{
    const struct weir_device_expert *expert = p->expert + span->expert;

    if (!p->expert)
        return p->to[m].w.data;
    return p->is_down ? expert->down : m ? expert->up : expert->gate;
}

DEVICE const float *scale_of(const struct gemm *p, const struct span *span,
                             uint32_t m)
{
    const struct weir_device_expert *expert = p->expert + span->expert;

    if (!p->expert)
        return p->to[m].w.scale;
    return p->is_down ? expert->down_scale
           : m        ? expert->up_scale
                      : expert->gate_scale;
}

/* Of a tile: one for each chunk of activations */
DEVICE uint32_t n_stages(const struct gemm *p)
{
    return p->shape.n_blocks * (p->shape.block_pad / GEMM_STEP) *
           p->shape.terms;
}

/* What one of n_threads copies of the weights of each stage: 16 bytes of so
 * many rows; and where a tile's activations are */
struct feed {
    const uint8_t *w; /* of the one matrix that the thread has rows of */
    uint32_t row[8];  /* 16-byte pieces before each */
    const uint16_t *x;
    uint32_t block, in, term, n_left;
};

DEVICE void feed_start(const struct gemm *p, const struct span *span,
                       uint32_t dtype, int n_threads, uint32_t thread,
                       struct feed *f)
{
    uint32_t chunks = W_BYTES(dtype) / 16, m;

    find_row(p, span, thread / chunks, &m);
    f->w = (const uint8_t *)tiles_of(p, span, m);
#pragma unroll
    for (int i = 0; i < TILE_ROWS * (int)chunks / n_threads; i++) {
        uint32_t r = (thread + n_threads * i) / chunks;
        uint32_t row = find_row(p, span, r, &m);
        const struct weir_matrix *w = &p->to[m].w;

        row = row < w->rows ? row : w->rows - 1;
        f->row[i] = (uint32_t)(row_offset(w, row) / 16) + thread % chunks;
    }
    f->x = p->x + (size_t)span->row * GEMM_STEP;
    f->block = f->in = f->term = 0;
    f->n_left = n_stages(p);
}

/* A stage's weights, to `to` in shared memory; behind a row's end come zeros */
DEVICE void feed_weights(const struct gemm *p, uint32_t dtype, int n_threads,
                         uint32_t thread, uint32_t to, const struct feed *f)
{
    uint32_t chunks = W_BYTES(dtype) / 16, c = thread % chunks;
    uint32_t at = f->in * W_BYTES(dtype), n_bytes = 16;
    const struct weir_matrix *w = &p->to[0].w;
    const uint8_t *from;

    if (at + c * 16 >= w->row_bytes)
        n_bytes = at = 0;
    from = f->w + f->block * w->tile_stride + at;
#pragma unroll
    for (int i = 0; i < TILE_ROWS * (int)chunks / n_threads; i++) {
        uint32_t r = (thread + n_threads * i) / chunks;
        uint32_t piece = dtype == WEIR_I8 ? c : c ^ (r & 7);

        copy_async(to + r * W_BYTES(dtype) + piece * 16,
                   from + (size_t)f->row[i] * 16, n_bytes);
    }
}

DEVICE void feed_step(const struct gemm *p, struct feed *f)
{
    f->n_left--;
    f->x += (size_t)p->shape.n_rows * GEMM_STEP;
    if (++f->term < p->shape.terms)
        return;
    f->term = 0;
    if (++f->in < p->shape.block_pad / GEMM_STEP)
        return;
    f->in = 0;
    f->block++;
}

/* ---- results ---- */

/*
 * A warp's results go through shared memory, where each token has its 16 rows:
 * as loops they are code that stays in the instruction cache.
 */
#define RESULT_PITCH        20 /* floats: lanes do not meet in a bank */
#define RESULT_BYTES(n_tok) ((n_tok)*RESULT_PITCH * 4) /* of a warp */

/* Fragments of 16 rows and 8 tokens each, to `to` of RESULT_BYTES */
DEVICE void put_fragments(int nt, float (*c)[4], float *to)
{
    uint32_t lane = threadIdx.x % WARP;

    to += lane % 4 * 2 * RESULT_PITCH + lane / 4;
#pragma unroll
    for (int i = 0; i < nt; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            to[(i * 8 + j % 2) * RESULT_PITCH + j / 2 * 8] = c[i][j];
    __syncwarp();
}

/* A row's scale and bias, 1 and 0 where there are none */
DEVICE float2 finish_of(const struct gemm *p, const struct span *span,
                        uint32_t m, uint32_t row)
{
    const float *scale = scale_of(p, span, m), *bias = p->to[m].bias;
    float2 f = {1.0f, 0.0f};

    if (row < p->to[m].w.rows && scale)
        f.x = scale[row];
    if (row < p->to[m].w.rows && bias)
        f.y = bias[row];
    return f;
}

#define RESULTS 8 /* of a lane that are on their way together */

/* n tokens from `first` on; lanes have rows, and every other token each */
DEVICE void put_rows(const struct gemm *p, const struct span *span,
                     uint32_t row, uint32_t first, uint32_t n,
                     const float *from)
{
    uint32_t lane = threadIdx.x % WARP, r = lane % 16, m;
    uint32_t at = find_row(p, span, row + r, &m);
    float2 f = finish_of(p, span, m, at);
    size_t ld = p->to[0].ld_y;
    float *y = p->to[0].y + (first + lane / 16) * ld + at;

    n = at < p->to[0].w.rows ? n : 0;
    from += lane / 16 * RESULT_PITCH + r;
#pragma unroll 1
    for (uint32_t t = lane / 16; t < n; t += 2 * RESULTS) {
        float v[RESULTS], old[RESULTS];

#pragma unroll
        for (int i = 0; i < RESULTS; i++) {
            if (t + 2 * i < n)
                v[i] = from[2 * i * RESULT_PITCH] * f.x + f.y;
            old[i] =
                p->out == WEIR_OUT_ADD && t + 2 * i < n ? y[2 * i * ld] : 0.0f;
        }
#pragma unroll
        for (int i = 0; i < RESULTS; i++)
            if (t + 2 * i < n)
                y[2 * i * ld] = old[i] + v[i];
        y += 2 * RESULTS * ld;
        from += 2 * RESULTS * RESULT_PITCH;
    }
}

DEVICE void put_packed(const struct gemm_shape *shape, size_t ld, uint16_t *to,
                       float v)
{
    for (uint32_t i = 0; i < shape->terms; i++) {
        __nv_bfloat16 term = __float2bfloat16_rn(v);

        *(__nv_bfloat16 *)(to + i * ld) = term;
        v -= __bfloat162float(term);
    }
}

/* Of a gated pair: lanes have one of 8 results, and every fourth token each.
 * They may be packed for the product that follows, from row `packed_row` on. */
DEVICE void put_gated(const struct gemm *p, const struct span *span,
                      uint32_t row, uint32_t first, uint32_t packed_row,
                      uint32_t n, const float *from)
{
    uint32_t lane = threadIdx.x % WARP, r = lane % 8, m, in = 0;
    uint32_t at = find_row(p, span, row + r, &m);
    float2 f = finish_of(p, span, 0, at), g = finish_of(p, span, 1, at);
    const struct gemm_shape *next = &p->next;
    size_t ld = (size_t)next->n_rows * GEMM_STEP, ld_y = p->to[0].ld_y;
    uint16_t *to = p->packed;
    float *y = p->to[0].y + (first + lane / 8) * ld_y + at;

    n = at < p->to[0].w.rows ? n : 0;
    if (to) {
        in = at % next->block_cols % GEMM_STEP;
        in = place_in_row(next->is_i8, packed_row + lane / 8, in);
        to += chunk_of(next, at) * ld +
              (size_t)(packed_row + lane / 8) * GEMM_STEP;
    }
    from += lane / 8 * RESULT_PITCH + r;
#pragma unroll 1
    for (uint32_t t = lane / 8; t < n; t += 4 * RESULTS) {
        float v[RESULTS];

#pragma unroll
        for (int i = 0; i < RESULTS; i++) {
            const float *pair = from + 4 * i * RESULT_PITCH;

            if (t + 4 * i < n)
                v[i] = silu(pair[0] * f.x + f.y) * (pair[8] * g.x + g.y);
        }
        /* with the row's number the place changes: by 4, and back */
#pragma unroll
        for (int i = 0; i < RESULTS; i++)
            if (t + 4 * i < n && to)
                put_packed(next, ld, to + 4 * i * GEMM_STEP + (in ^ i % 2 << 5),
                           v[i]);
            else if (t + 4 * i < n)
                y[4 * i * ld_y] = v[i];
        y += 4 * RESULTS * ld_y;
        to += to ? 4 * RESULTS * GEMM_STEP : 0;
        from += 4 * RESULTS * RESULT_PITCH;
    }
}

/* Results of a warp: 16 rows from row `row` of the tile, nt * 8 tokens from its
 * token `tok` on; `staging` is the warp's */
DEVICE void put_results(const struct gemm *p, const struct span *span,
                        uint32_t row, uint32_t tok, int nt, float (*c)[4],
                        float *staging)
{
    uint32_t n = span->n > tok ? span->n - tok : 0;

    n = n < nt * 8 ? n : nt * 8;
    put_fragments(nt, c, staging);
    if (p->out == WEIR_OUT_GATED)
        put_gated(p, span, row, span->first + tok, span->row + tok, n, staging);
    else
        put_rows(p, span, row, span->first + tok, n, staging);
    __syncwarp();
}

/* The tokens of this block's tile; 0: none */
DEVICE int find_span(const struct gemm *p, struct span *span)
{
    if (p->expert)
        return find_choices(p, blockIdx.y * gridDim.x + blockIdx.x, span);
    cut_span(p->n_tok, p->tile_tok, blockIdx.x, span);
    span->tile = blockIdx.y;
    span->row = span->first;
    span->expert = 0;
    return span->n > 0;
}

#endif
