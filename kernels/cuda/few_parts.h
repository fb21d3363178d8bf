/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What products of few tokens are made of: which part of the work a block of
 * threads has, how weights and activations come to it, and their product.
 * few.cu explains.
 */
#ifndef WEIR_KERNELS_CUDA_FEW_PARTS_H
#define WEIR_KERNELS_CUDA_FEW_PARTS_H

#include "kernels/cuda/few.h"
#include "kernels/cuda/parts.h"

#define N_WARPS 8
#define THREADS (N_WARPS * WARP)
#define STAGE   128 /* bytes of a row */
#define COLUMNS 256 /* whose activations are in shared memory at a time */
#define TERMS   3

/*
 * Stages of a ring, such that two blocks of threads fill a multiprocessor of
 * compute capability 9.0: three would lie unevenly on the card, and those that
 * share one end later.  Those with less shared memory have one block at a time.
 */
#define RING(nt)       ((nt) == 6 ? 3 : 5)
#define STAGE_BYTES    (16 * STAGE)
#define RING_BYTES(nt) (N_WARPS * RING(nt) * STAGE_BYTES)

/* Rows of activations are padded so that lanes do not meet in a bank. */
#define PITCH(dtype) (COLUMNS * 2 + ((dtype) == WEIR_I8 ? 16 : 64))

/*
 * Columns are in one of two places while those of the other come, or the next
 * are put there.  A card with less shared memory has one.
 */
#define OTHER_BYTES            1024 /* that kernels have beside, at most */
#define PLACE_BYTES(dtype, nt) ((nt)*8 * PITCH(dtype))
#define SUM_PITCH              (FEW_ROWS + 4)

/* What a block of threads is to do, the same for all of them */
struct item {
    uint32_t tile, part, slot; /* slot: of its counter */
    uint32_t n_tok;
    uint32_t first;  /* token, or place among the choices */
    uint32_t expert; /* or UINT32_MAX */
    uint32_t m;      /* matrix; GATED: 0 */
    int is_wanted;   /* 0: it is counted, and no more */
};

/* 0: there is no such item.  Blocks of threads are in the order in which those
 * that share weights are neighbours (weir_cuda_few()). */
DEVICE int find_item(const struct few *few, struct item *item)
{
    uint32_t group, left;

    item->m = 0;
    item->expert = UINT32_MAX;
    item->is_wanted = 1;
    if (few->kind == FEW_DENSE) {
        group = blockIdx.x;
        item->part = blockIdx.y;
        item->tile = blockIdx.z;
        item->first = group * FEW_TOK;
        left = few->n_tok - item->first;
        if (few->out != WEIR_OUT_GATED)
#pragma unroll
            for (uint32_t m = 1; m < WEIR_DEVICE_MATRICES; m++)
                if (m < few->n_mat && item->tile >= few->to[m].first_tile)
                    item->m = m;
    } else {
        item->part = blockIdx.x;
        item->tile = blockIdx.y;
        group = blockIdx.z;
        item->expert = __ldcg(few->routing.group + 2 * group);
        if (item->expert == UINT32_MAX)
            return 0;
        item->is_wanted = is_wanted(few->expert, item->expert, few->from_expert,
                                    few->to_expert);
        item->first = __ldcg(few->routing.group + 2 * group + 1);
        left = __ldcg(few->routing.first + item->expert + 1) - item->first;
    }
    item->slot = item->tile * few->n_groups + group;
    item->n_tok = left < FEW_TOK ? left : FEW_TOK;
    return 1;
}

/* Rows of the tile that begin at its row 0 in matrix `m` */
DEVICE uint32_t tile_row(const struct few *few, const struct item *item)
{
    if (few->out == WEIR_OUT_GATED)
        return item->tile * (FEW_ROWS / 2);
    return (item->tile - few->to[item->m].first_tile) * FEW_ROWS;
}

DEVICE const void *tiles_of(const struct few *few, const struct item *item,
                            uint32_t m)
{
    const struct weir_device_expert *expert = few->expert + item->expert;

    if (few->kind == FEW_GATES)
        return m ? expert->up : expert->gate;
    return few->kind == FEW_DOWNS ? expert->down : few->to[m].w.data;
}

DEVICE const float *scale_of(const struct few *few, const struct item *item,
                             uint32_t m)
{
    const struct weir_device_expert *expert = few->expert + item->expert;

    if (few->kind == FEW_GATES)
        return m ? expert->up_scale : expert->gate_scale;
    return few->kind == FEW_DOWNS ? expert->down_scale : few->to[m].w.scale;
}

/* The weights of a warp as they come: row and 16 bytes of a lane's copies */
struct stream {
    const uint8_t *row[4];
    uint32_t to[4], n_bytes, at;
};

DEVICE void stream_start(const struct few *few, const struct item *item,
                         uint32_t ring, struct stream *s)
{
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint32_t m = item->m, row = tile_row(few, item) + warp * 16;
    const struct weir_matrix *w;
    uint32_t in = item->part % few->n_sub * few->part_bytes;
    uint64_t before, at;

    if (few->out == WEIR_OUT_GATED) {
        m = warp / (N_WARPS / 2);
        row -= m * (FEW_ROWS / 2);
    }
    w = &few->to[m].w;
    before = item->part / few->n_sub * w->tile_stride + in;
    s->n_bytes = in < w->row_bytes ? w->row_bytes - in : 0;
    s->n_bytes = s->n_bytes < few->part_bytes ? s->n_bytes : few->part_bytes;
    s->at = lane % 8 * 16;
    /* a row is found by one lane, for all that want it */
    row += lane % 16;
    at = (uint64_t)(matrix_row(w, tiles_of(few, item, m),
                               row < w->rows ? row : w->rows - 1) +
                    before);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t r = lane / 8 + 4 * j;

        s->row[j] = (const uint8_t *)__shfl_sync(ALL, at, r);
        s->to[j] = ring + r * STAGE + (lane % 8 ^ (r & 1) << 2) * 16;
    }
}

/* Behind the end come zeros: a row may end in the middle of a stage. */
DEVICE void stream_next(struct stream *s, uint32_t slot)
{
    uint32_t n_bytes = s->at < s->n_bytes ? 16 : 0, at = n_bytes ? s->at : 0;

#pragma unroll
    for (int j = 0; j < 4; j++)
        copy_async(s->to[j] + slot * STAGE_BYTES, s->row[j] + at, n_bytes);
    s->at += STAGE;
    copy_commit();
}

/* Three terms of v as columns that lie `pitch` bytes apart */
DEVICE void put_terms(uint8_t *at, uint32_t pitch, float v)
{
#pragma unroll
    for (int i = 0; i < TERMS; i++) {
        __nv_bfloat16 term = __float2bfloat16_rn(v);

        *(__nv_bfloat16 *)(at + i * pitch) = term;
        v -= __bfloat162float(term);
    }
}

/* Where a term's column c of COLUMNS lies, in bytes */
DEVICE uint32_t column_at(uint32_t dtype, uint32_t c)
{
    if (dtype == WEIR_I8)
        c = (c & ~3u) | (c & 1) << 1 | (c >> 1 & 1);
    return c * 2;
}

/* A thread's column of the next COLUMNS, on its way while others are used */
struct columns {
    uint64_t before; /* columns before the part */
    uint32_t n;      /* of the part; behind them come zeros */
    float norm, v[FEW_TOK];
};

DEVICE void find_columns(const struct few *few, uint32_t part, uint32_t dtype,
                         struct columns *x)
{
    uint32_t size = dtype == WEIR_I8 ? 1 : 2, in, n;
    const struct weir_matrix *w = &few->to[0].w;

    n = w->cols / w->col_blocks;
    in = part % few->n_sub * few->part_bytes / size;
    x->before = (uint64_t)n * (part / few->n_sub) + in;
    x->n = in < n ? n - in : 0; /* a part may have a row's padding alone */
    x->n = x->n < few->part_bytes / size ? x->n : few->part_bytes / size;
}

DEVICE void fetch_columns(const struct few *few, const struct item *item,
                          const uint32_t *row, int most, uint32_t from,
                          struct columns *x)
{
    uint32_t c = from + threadIdx.x;
    int is_in = c < x->n;

    x->norm = is_in && few->norm ? few->norm[x->before + c] : 1.0f;
#pragma unroll
    for (int t = 0; t < most; t++)
        x->v[t] = is_in && t < item->n_tok
                      ? few->x[row[t] * few->ld_x + x->before + c]
                      : 0.0f;
}

DEVICE void put_columns(const struct item *item, uint32_t dtype, int most,
                        const struct columns *x, uint8_t *xs)
{
    uint32_t at = column_at(dtype, threadIdx.x), pitch = PITCH(dtype);

#pragma unroll
    for (int t = 0; t < most; t++)
        if (t < item->n_tok)
            put_terms(xs + t * TERMS * pitch + at, pitch,
                      __fmul_rn(x->v[t], x->norm));
}

/* Half of a stage: what a lane has of rows g and g + 8 */
DEVICE void load_rows(uint32_t stage, int half, uint4 *up, uint4 *down)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    uint32_t at = stage + g * STAGE + ((q + 4 * half) ^ (g & 1) << 2) * 16;

    *up = load_shared(at);
    *down = load_shared(at + 8 * STAGE);
}

/* 16 rows of one stage times the columns of all tokens */
DEVICE void multiply_i8(float (*c)[4], int nt, uint32_t stage, uint32_t xs)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t x = xs + g * PITCH(WEIR_I8) + half * 128 + q * 32;
        uint4 up, down;

        load_rows(stage, half, &up, &down);
        const uint32_t u[4] = {up.x, up.y, up.z, up.w};
        const uint32_t d[4] = {down.x, down.y, down.z, down.w};

#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            uint32_t a[8];

#pragma unroll
            for (int i = 0; i < 2; i++) {
                a[4 * i] = widen_even(u[j + i]);
                a[4 * i + 1] = widen_even(d[j + i]);
                a[4 * i + 2] = widen_odd(u[j + i]);
                a[4 * i + 3] = widen_odd(d[j + i]);
            }
#pragma unroll
            for (int i = 0; i < nt; i++) {
                uint4 b = load_shared(x + i * 8 * PITCH(WEIR_I8) + j * 8);

                mma(c[i], a, &b.x);
                mma(c[i], a + 4, &b.z);
            }
        }
    }
}

DEVICE void multiply_bf16(float (*c)[4], int nt, uint32_t stage, uint32_t xs)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t x = xs + g * PITCH(WEIR_BF16) + half * 64 + q * 16;
        uint4 up, down;

        load_rows(stage, half, &up, &down);
        const uint32_t a[8] = {up.x, down.x, up.y, down.y,
                               up.z, down.z, up.w, down.w};

#pragma unroll
        for (int i = 0; i < nt; i++) {
            uint4 b = load_shared(x + i * 8 * PITCH(WEIR_BF16));

            mma(c[i], a, &b.x);
            mma(c[i], a + 4, &b.z);
        }
    }
}

#endif
