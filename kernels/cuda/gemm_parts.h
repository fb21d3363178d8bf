/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What kernels for many tokens have in common: how a tile's operands come into
 * shared memory, and where its results go.
 *
 * A tile is TILE_ROWS rows of weights and so many tokens.  A stage of it is 64
 * columns: of int8 rows of 64 bytes as they lie, of bf16 and of activations
 * rows of 128 bytes whose 16-byte pieces are exchanged by their number and the
 * row's, exclusive or, as the matrix units want them.  Of a gated pair 8 rows
 * of one follow 8 of the other, so that a lane has what belongs together.
 */
#ifndef WEIR_KERNELS_CUDA_GEMM_PARTS_H
#define WEIR_KERNELS_CUDA_GEMM_PARTS_H

#include "kernels/cuda/gemm.h"
#include "kernels/cuda/parts.h"

#define THREADS   256
#define TILE_ROWS 128
#define RING      4
#define X_BYTES   128 /* of a token in a stage */

#define W_BYTES(dtype)            ((dtype) == WEIR_I8 ? 64 : 128) /* of a row */
#define STAGE_BYTES(dtype, n_tok) (TILE_ROWS * W_BYTES(dtype) + (n_tok)*X_BYTES)

/* Where element `c` of 64 goes, for int8 weights */
DEVICE uint32_t place_i8(uint32_t c)
{
    uint32_t q = c / 16, j = c / 4 % 4, odd = c & 1, second = c >> 1 & 1;

    return j * 16 + odd * 8 + 2 * q + second;
}

/* Where column c of term 0 of a row lies */
DEVICE size_t packed_at(const struct gemm_shape *shape, uint32_t c)
{
    uint32_t block = c / shape->block_cols, in = c % shape->block_cols;

    if (shape->is_i8)
        in = (in & ~63u) | place_i8(in & 63);
    return (size_t)block * shape->block_pad + in;
}

DEVICE void put_packed(const struct gemm_shape *shape, uint16_t *at, float v)
{
    for (uint32_t i = 0; i < shape->terms; i++) {
        __nv_bfloat16 term = __float2bfloat16_rn(v);

        *(__nv_bfloat16 *)at = term;
        v -= __bfloat162float(term);
        at += (size_t)shape->n_blocks * shape->block_pad;
    }
}

/* Tokens of a tile: rows first to first + n - 1 of the result */
struct span {
    uint32_t first, n, expert;
};

/* Tile `i` of the choices, tile_tok of one expert at a time; 0: none */
DEVICE int find_choices(const struct gemm *p, uint32_t i, uint32_t tile_tok,
                        struct span *span)
{
    uint32_t lane = threadIdx.x % WARP;

    for (uint32_t from = 0; from < p->n_experts; from += WARP) {
        uint32_t e = from + lane, first = 0, n = 0, tiles, sum, hit;

        if (e < p->n_experts &&
            is_wanted(p->expert, e, p->from_expert, p->to_expert)) {
            first = p->routing.first[e];
            n = p->routing.first[e + 1] - first;
        }
        tiles = sum = (n + tile_tok - 1) / tile_tok;
        for (uint32_t step = 1; step < WARP; step *= 2) {
            uint32_t before = __shfl_up_sync(ALL, sum, step);

            sum += lane >= step ? before : 0;
        }
        hit = __ballot_sync(ALL, i < sum);
        if (hit) {
            int at = __ffs((int)hit) - 1;
            uint32_t skip = (i - (__shfl_sync(ALL, sum, at) -
                                  __shfl_sync(ALL, tiles, at))) *
                            tile_tok;

            span->expert = from + at;
            span->first = __shfl_sync(ALL, first, at) + skip;
            n = __shfl_sync(ALL, n, at) - skip;
            span->n = n < tile_tok ? n : tile_tok;
            return 1;
        }
        i -= __shfl_sync(ALL, sum, WARP - 1);
    }
    return 0;
}

/* Matrix and row of row r of a tile */
DEVICE uint32_t find_row(const struct gemm *p, uint32_t r, uint32_t *m)
{
    *m = 0;
    if (p->out != WEIR_OUT_GATED)
        return blockIdx.y * TILE_ROWS + r;
    *m = r / 8 % 2;
    return blockIdx.y * (TILE_ROWS / 2) + r / 16 * 8 + r % 8;
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

/* A thread's share of a stage: 16 bytes of so many rows and tokens */
struct feed {
    const uint8_t *w[4];
    uint32_t x[8]; /* rows of packed x */
    uint32_t block, in, term, n_left;
};

DEVICE void feed_start(const struct gemm *p, const struct span *span,
                       uint32_t dtype, int n_x, struct feed *f)
{
    uint32_t chunks = W_BYTES(dtype) / 16, tid = threadIdx.x;

#pragma unroll
    for (int i = 0; i < TILE_ROWS * (int)chunks / THREADS; i++) {
        uint32_t m, row = find_row(p, tid / chunks + THREADS / chunks * i, &m);
        const struct weir_matrix *w = &p->to[m].w;

        row = row < w->rows ? row : w->rows - 1;
        f->w[i] = matrix_row(w, tiles_of(p, span, m), row) + tid % chunks * 16;
    }
#pragma unroll
    for (int i = 0; i < n_x; i++) {
        uint32_t t = tid / 8 + THREADS / 8 * i;

        t = span->first + (t < span->n ? t : span->n - 1);
        if (p->expert && !p->is_down)
            t = p->routing.order[t] / p->n_top;
        f->x[i] = t;
    }
    f->block = f->in = f->term = 0;
    f->n_left =
        p->shape.n_blocks * (p->shape.block_pad / GEMM_STEP) * p->shape.terms;
}

DEVICE void feed_next(const struct gemm *p, uint32_t dtype, int n_x,
                      uint32_t stage, struct feed *f)
{
    uint32_t chunks = W_BYTES(dtype) / 16, tid = threadIdx.x, c = tid % chunks;
    uint32_t at = f->in * W_BYTES(dtype), n_bytes = 16;
    const struct weir_matrix *w = &p->to[0].w;
    uint32_t xs = stage + TILE_ROWS * W_BYTES(dtype);
    size_t x_at =
        ((size_t)f->term * p->shape.n_blocks + f->block) * p->shape.block_pad +
        f->in * GEMM_STEP + tid % 8 * 8;

    if (f->n_left) {
        if (at + c * 16 >= w->row_bytes)
            n_bytes = at = 0;
#pragma unroll
        for (int i = 0; i < TILE_ROWS * (int)chunks / THREADS; i++) {
            uint32_t r = tid / chunks + THREADS / chunks * i;
            uint32_t swizzle = dtype == WEIR_I8 ? c : c ^ (r & 7);

            copy_async(stage + r * W_BYTES(dtype) + swizzle * 16,
                       f->w[i] + f->block * w->tile_stride + at, n_bytes);
        }
#pragma unroll
        for (int i = 0; i < n_x; i++) {
            uint32_t t = tid / 8 + THREADS / 8 * i;

            copy_async(xs + t * X_BYTES + (tid % 8 ^ (t & 7)) * 16,
                       p->x + f->x[i] * p->shape.ld + x_at, 16);
        }
        f->n_left--;
        if (++f->term == p->shape.terms) {
            f->term = 0;
            if (++f->in == p->shape.block_pad / GEMM_STEP) {
                f->in = 0;
                f->block++;
            }
        }
    }
    copy_commit();
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

DEVICE void put_result(const struct gemm *p, uint32_t row, size_t t, float v)
{
    float *y;

    if (p->packed) {
        put_packed(&p->next,
                   p->packed + t * p->next.ld + packed_at(&p->next, row), v);
        return;
    }
    y = p->to[0].y + t * p->to[0].ld_y + row;
    *y = p->out == WEIR_OUT_ADD ? *y + v : v;
}

/* Scales and biases of the rows that a lane has of 16, from row r of a tile */
struct finish {
    uint32_t row[2];
    float2 f[2];
};

DEVICE struct finish finish_rows(const struct gemm *p, const struct span *span,
                                 uint32_t r)
{
    struct finish finish;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t m;

        finish.row[h] = find_row(p, r + threadIdx.x % WARP / 4 + h * 8, &m);
        finish.f[h] = finish_of(p, span, m, finish.row[h]);
    }
    return finish;
}

/* A fragment of 16 rows and 8 tokens, from token `tok` of the tile on */
DEVICE void put_fragment(const struct gemm *p, const struct span *span,
                         const struct finish *finish, uint32_t tok,
                         const float *c)
{
    const float2 *f = finish->f;

    tok += threadIdx.x % 4 * 2;
#pragma unroll
    for (int k = 0; k < 2; k++) {
        float v = c[k] * f[0].x + f[0].y, other = c[k + 2] * f[1].x + f[1].y;
        size_t t = span->first + tok + k;

        if (tok + k >= span->n)
            continue;
        if (p->out == WEIR_OUT_GATED) {
            if (finish->row[0] < p->to[0].w.rows)
                put_result(p, finish->row[0], t, silu(v) * other);
            continue;
        }
        if (finish->row[0] < p->to[0].w.rows)
            put_result(p, finish->row[0], t, v);
        if (finish->row[1] < p->to[0].w.rows)
            put_result(p, finish->row[1], t, other);
    }
}

/* The tokens of this block's tile; 0: none */
DEVICE int find_span(const struct gemm *p, uint32_t tile_tok, struct span *span)
{
    span->first = blockIdx.x * tile_tok;
    span->expert = 0;
    if (p->expert)
        return find_choices(p, blockIdx.x, tile_tok, span);
    span->n = p->n_tok - span->first;
    span->n = span->n < tile_tok ? span->n : tile_tok;
    return 1;
}

#endif
