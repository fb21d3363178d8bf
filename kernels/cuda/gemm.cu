/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of many tokens, in the matrix units: bf16 activations times int8 or
 * bf16 weights, summed in f32.
 *
 * A block of threads does a tile of 128 rows and up to 256 tokens, 64 columns
 * at a time.  Weights and packed activations come through a ring in shared
 * memory.  int8 is widened to bf16 in registers, once for all tokens of a tile;
 * so that a lane finds what it needs of a row in 16 bytes that are neighbours,
 * activations for it are packed in that order (few.cu explains).  Of a gated
 * pair a tile has 64 rows of each, and each thread what belongs together.
 *
 * A sum runs over columns ascending: a token's does not depend on the size of
 * the tile nor on who is beside it.
 */
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

static __global__ void pack(const __grid_constant__ struct gemm_shape shape,
                            const float *x, size_t ld_x, const float *norm,
                            const float *factor, float eps, uint16_t *packed)
{
    uint32_t n = shape.n_blocks * shape.block_pad, t = blockIdx.x;
    float f = 1.0f;

    weir_let_next_start();
    weir_after_others();
    x += t * ld_x;
    packed += t * shape.ld;
    if (norm)
        f = factor ? factor[t]
                   : row_factor(x, shape.n_blocks * shape.block_cols, eps,
                                threadIdx.x % WARP);
    for (uint32_t i = threadIdx.x; i < n; i += THREADS) {
        uint32_t block = i / shape.block_pad, in = i % shape.block_pad;
        uint32_t c = block * shape.block_cols + in;
        float v = 0.0f;

        if (in < shape.block_cols)
            v = norm ? x[c] * f * norm[c] : x[c];
        if (shape.is_i8)
            in = (in & ~63u) | place_i8(in & 63);
        put_packed(&shape, packed + (size_t)block * shape.block_pad + in, v);
    }
}

void weir_cuda_pack(struct weir_device *device, const struct gemm_shape *shape,
                    const float *x, size_t ld_x, uint32_t n_tok,
                    const float *norm, const float *factor, float eps,
                    uint16_t *packed)
{
    dim3 grid = {n_tok, 1, 1};
    void *args[] = {(void *)shape, &x, &ld_x, &norm, &factor, &eps, &packed};

    weir_cuda_launch(device, (const void *)pack, grid, THREADS, 0, args);
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

        if (e < p->n_experts) {
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
    *m = r / 32 % 2;
    return blockIdx.y * (TILE_ROWS / 2) + r / 64 * 32 + r % 32;
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

/* 16 columns of so many 8 tokens, from token `tok` of a stage on */
DEVICE void load_tokens(uint32_t (*b)[2], int nt, uint32_t xs, uint32_t tok,
                        uint32_t step)
{
    uint32_t lane = threadIdx.x % WARP;
    uint32_t t = tok + (lane & 7) + (lane >> 4) * 8;
    uint32_t chunk = step * 2 + (lane >> 3 & 1);

#pragma unroll
    for (int i = 0; i < nt; i += 2)
        load_matrices(b[i], xs + (t + i * 8) * X_BYTES +
                                (chunk ^ ((t + i * 8) & 7)) * 16);
}

DEVICE void multiply_i8(float (*c)[8][4], int nt, uint32_t stage, uint32_t row,
                        uint32_t tok)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    uint32_t xs = stage + TILE_ROWS * W_BYTES(WEIR_I8), w[4][8];

#pragma unroll
    for (int m = 0; m < 4; m++) {
        uint32_t at = stage + (row + m * 16 + g) * W_BYTES(WEIR_I8) + q * 16;
        uint4 up = load_shared(at);
        uint4 down = load_shared(at + 8 * W_BYTES(WEIR_I8));
        const uint32_t all[8] = {up.x,   up.y,   up.z,   up.w,
                                 down.x, down.y, down.z, down.w};

#pragma unroll
        for (int i = 0; i < 8; i++)
            w[m][i] = all[i];
    }
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t b[8][2];

        load_tokens(b, nt, xs, tok, j);
#pragma unroll
        for (int m = 0; m < 4; m++) {
            const uint32_t a[4] = {widen_even(w[m][j]), widen_even(w[m][4 + j]),
                                   widen_odd(w[m][j]), widen_odd(w[m][4 + j])};

#pragma unroll
            for (int i = 0; i < nt; i++)
                mma(c[m][i], a, b[i]);
        }
    }
}

DEVICE void multiply_bf16(float (*c)[8][4], int nt, uint32_t stage,
                          uint32_t row, uint32_t tok)
{
    uint32_t lane = threadIdx.x % WARP, r = row + lane % 16;
    uint32_t xs = stage + TILE_ROWS * W_BYTES(WEIR_BF16);

#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t b[8][2], a[4][4];

        load_tokens(b, nt, xs, tok, j);
#pragma unroll
        for (int m = 0; m < 4; m++)
            load_matrices(a[m], stage + (r + m * 16) * W_BYTES(WEIR_BF16) +
                                    ((j * 2 + lane / 16) ^ (r & 7)) * 16);
#pragma unroll
        for (int m = 0; m < 4; m++)
#pragma unroll
            for (int i = 0; i < nt; i++)
                mma(c[m][i], a[m], b[i]);
    }
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

DEVICE void put_rows(const struct gemm *p, const struct span *span, int nt,
                     uint32_t row, uint32_t tok, float (*c)[8][4], int m)
{
    uint32_t q = threadIdx.x % 4, gated = p->out == WEIR_OUT_GATED;
    float2 f[2], up[2];

#pragma unroll
    for (int h = 0; h < 2; h++) {
        f[h] = finish_of(p, span, 0, row + h * 8);
        up[h] = f[h];
        if (gated)
            up[h] = finish_of(p, span, 1, row + h * 8);
    }
#pragma unroll
    for (int i = 0; i < nt; i++)
#pragma unroll
        for (int k = 0; k < 4; k++) {
            uint32_t t = tok + i * 8 + 2 * q + (k & 1), h = k / 2;
            float v = c[m][i][k] * f[h].x + f[h].y;

            if (gated)
                v = silu(v) * (c[(m + 2) % 4][i][k] * up[h].x + up[h].y);
            if (t < span->n && row + h * 8 < p->to[0].w.rows)
                put_result(p, row + h * 8, span->first + t, v);
        }
}

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype, int tile_tok)
{
    extern __shared__ __align__(128) uint8_t shared[];
    uint32_t ring = shared_address(shared), warp = threadIdx.x / WARP;
    uint32_t bytes = STAGE_BYTES(dtype, tile_tok), g = threadIdx.x % WARP / 4;
    uint32_t row = warp % 2 * 64, tok = warp / 2 * (tile_tok / 4);
    int nt = tile_tok / 32, n_x = tile_tok / 32;
    float c[4][8][4] = {{{0}}};
    struct span span = {blockIdx.x * tile_tok, 0, 0};
    struct feed feed;
    uint32_t n_steps;

    weir_let_next_start();
    weir_after_others();
    if (p->expert) {
        if (!find_choices(p, blockIdx.x, tile_tok, &span))
            return;
    } else {
        span.n = p->n_tok - span.first;
        span.n = span.n < tile_tok ? span.n : tile_tok;
    }
    feed_start(p, &span, dtype, n_x, &feed);
    n_steps = feed.n_left;
#pragma unroll
    for (int i = 0; i < RING - 1; i++)
        feed_next(p, dtype, n_x, ring + i * bytes, &feed);
    for (uint32_t i = 0; i < n_steps; i++) {
        copy_wait(RING - 2);
        __syncthreads();
        feed_next(p, dtype, n_x, ring + (i + RING - 1) % RING * bytes, &feed);
        if (dtype == WEIR_I8)
            multiply_i8(c, nt, ring + i % RING * bytes, row, tok);
        else
            multiply_bf16(c, nt, ring + i % RING * bytes, row, tok);
    }
    if (p->out == WEIR_OUT_GATED) {
        row = blockIdx.y * (TILE_ROWS / 2) + row / 2 + g;
        put_rows(p, &span, nt, row, tok, c, 0);
        put_rows(p, &span, nt, row + 16, tok, c, 1);
        return;
    }
    row += blockIdx.y * TILE_ROWS + g;
#pragma unroll
    for (int m = 0; m < 4; m++)
        put_rows(p, &span, nt, row + m * 16, tok, c, m);
}

#define KERNEL(name, dtype, tile_tok)                                          \
    static __global__ void __launch_bounds__(THREADS, 1)                       \
        name(const __grid_constant__ struct gemm gemm)                         \
    {                                                                          \
        multiply_tile(&gemm, dtype, tile_tok);                                 \
    }
KERNEL(gemm_i8_64, WEIR_I8, 64)
KERNEL(gemm_i8_128, WEIR_I8, 128)
KERNEL(gemm_i8_256, WEIR_I8, 256)
KERNEL(gemm_bf16_64, WEIR_BF16, 64)
KERNEL(gemm_bf16_128, WEIR_BF16, 128)
KERNEL(gemm_bf16_256, WEIR_BF16, 256)

static const struct {
    uint32_t tok;
    const void *i8, *bf16;
} kernels[] = {
    {64, (const void *)gemm_i8_64, (const void *)gemm_bf16_64},
    {128, (const void *)gemm_i8_128, (const void *)gemm_bf16_128},
    {256, (const void *)gemm_i8_256, (const void *)gemm_bf16_256},
};

/* The widest tile that has tokens enough and leaves no unit without one */
static int choose_tile(const struct weir_device *device,
                       const struct gemm *gemm)
{
    uint32_t n_tok = gemm->n_tok, n_spans = 1;
    int i = 2;

    if (gemm->expert)
        n_spans = gemm->n_experts;
    while (i > 0 && (n_tok / n_spans * 4 < kernels[i].tok * 3 ||
                     gemm->n_tiles * n_spans *
                             weir_cuda_parts(n_tok / n_spans, kernels[i].tok) <
                         (uint32_t)device->n_sm))
        i--;
    return i;
}

void weir_cuda_gemm(struct weir_device *device, struct gemm *gemm)
{
    const struct weir_matrix *w = &gemm->to[0].w;
    uint32_t is_i8 = w->dtype == WEIR_I8;
    dim3 grid = {1, 1, 1};
    void *args[] = {gemm};
    int i;

    gemm->n_tiles = weir_cuda_parts(
        w->rows, gemm->out == WEIR_OUT_GATED ? TILE_ROWS / 2 : TILE_ROWS);
    i = choose_tile(device, gemm);
    grid.y = gemm->n_tiles;
    grid.x = weir_cuda_parts(gemm->n_tok, kernels[i].tok);
    if (gemm->expert)
        grid.x += gemm->n_tok < gemm->n_experts ? gemm->n_tok : gemm->n_experts;
    weir_cuda_launch(device, is_i8 ? kernels[i].i8 : kernels[i].bf16, grid,
                     THREADS,
                     RING * (is_i8 ? STAGE_BYTES(WEIR_I8, kernels[i].tok)
                                   : STAGE_BYTES(WEIR_BF16, kernels[i].tok)),
                     args);
}

static __global__ void sum_experts(
    const float *y, size_t ld_y, uint32_t n, uint32_t n_top,
    const __grid_constant__ struct weir_device_routing routing, float *sum,
    size_t ld_sum)
{
    uint32_t t = blockIdx.x;

    weir_let_next_start();
    weir_after_others();
    for (uint32_t r = threadIdx.x; r < n; r += THREADS) {
        float v = 0.0f;

        for (uint32_t i = t * n_top; i < (t + 1) * n_top; i++)
            v += routing.prob[i] * y[routing.place[i] * ld_y + r];
        sum[t * ld_sum + r] += v;
    }
}

void weir_cuda_sum_experts(struct weir_device *device, const float *y,
                           size_t ld_y, uint32_t n, uint32_t n_tok,
                           uint32_t n_top,
                           const struct weir_device_routing *routing,
                           float *sum, size_t ld_sum)
{
    dim3 grid = {n_tok, 1, 1};
    void *args[] = {&y, &ld_y, &n, &n_top, (void *)routing, &sum, &ld_sum};

    weir_cuda_launch(device, (const void *)sum_experts, grid, THREADS, 0, args);
}
