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
#include "kernels/cuda/gemm_parts.h"

#define THREADS 256
#define RING    4
#define PACK    8 /* columns that a thread takes at a time */

/* Columns `in` and on of a block, zeros behind its end */
DEVICE void fetch_columns(const struct gemm_shape *shape, const float *x,
                          uint32_t in, float *v)
{
    if (in + PACK <= shape->block_cols && ((uintptr_t)x & 15) == 0) {
#pragma unroll
        for (int i = 0; i < PACK; i += 4) {
            float4 four = *(const float4 *)(x + i);

            v[i] = four.x;
            v[i + 1] = four.y;
            v[i + 2] = four.z;
            v[i + 3] = four.w;
        }
        return;
    }
#pragma unroll
    for (int i = 0; i < PACK; i++)
        v[i] = in + i < shape->block_cols ? x[i] : 0.0f;
}

/* One term of them, which is taken off; `to`: 64 columns of row `row` */
DEVICE void put_term(uint32_t is_i8, uint16_t *to, uint32_t row, uint32_t in,
                     float *v)
{
    uint32_t word[PACK / 2];

#pragma unroll
    for (int i = 0; i < PACK / 2; i++)
        word[i] =
            is_i8 ? pack_bf16(v[i / 2 * 4 + i % 2], v[i / 2 * 4 + i % 2 + 2])
                  : pack_bf16(v[2 * i], v[2 * i + 1]);
#pragma unroll
    for (int i = 0; i < PACK; i++)
        v[i] -= __bfloat162float(__float2bfloat16_rn(v[i]));
    if (!is_i8) {
        *(uint4 *)(to + place_in_row(0, row, in)) = {word[0], word[1], word[2],
                                                     word[3]};
        return;
    }
#pragma unroll
    for (int i = 0; i < PACK / 2; i++)
        *(uint32_t *)(to + place_in_row(1, row, in + i / 2 * 4 + i % 2)) =
            word[i];
}

/* Row of x and of what is packed; 0: it is not wanted */
DEVICE int find_row_of(const struct gemm_pack *p, uint32_t *t, uint32_t *row)
{
    uint32_t e, choice;

    *t = *row = blockIdx.x;
    if (!p->expert)
        return 1;
    choice = p->routing.order[blockIdx.x];
    e = p->routing.expert[choice];
    *t = choice / p->n_top;
    *row = gemm_row(&p->routing, e, blockIdx.x);
    return is_wanted(p->expert, e, p->from_expert, p->to_expert);
}

static __global__ void pack(const __grid_constant__ struct gemm_pack p)
{
    uint32_t n = p.shape.n_blocks * p.shape.block_pad, t, row;
    const float *x;
    float f = 1.0f;

    weir_let_next_start();
    weir_after_others();
    if (!find_row_of(&p, &t, &row))
        return;
    x = p.x + t * p.ld_x;
    if (p.norm)
        f = p.factor ? p.factor[t]
                     : row_factor(x, p.shape.n_blocks * p.shape.block_cols,
                                  p.eps, threadIdx.x % WARP);
    for (uint32_t i = threadIdx.x * PACK; i < n; i += THREADS * PACK) {
        uint32_t block = i / p.shape.block_pad, in = i % p.shape.block_pad;
        uint32_t c = block * p.shape.block_cols + in;
        size_t chunk = i / GEMM_STEP * p.shape.terms;
        float v[PACK], scale[PACK];

        fetch_columns(&p.shape, x + c, in, v);
        if (p.norm) {
            fetch_columns(&p.shape, p.norm + c, in, scale);
#pragma unroll
            for (int j = 0; j < PACK; j++)
                v[j] = v[j] * f * scale[j];
        }
        for (uint32_t j = 0; j < p.shape.terms; j++)
            put_term(p.shape.is_i8,
                     p.packed +
                         ((chunk + j) * p.shape.n_rows + row) * GEMM_STEP,
                     row, in & 63, v);
    }
}

void weir_cuda_pack(struct weir_device *device, const struct gemm_pack *p)
{
    dim3 grid = {p->n, 1, 1};
    void *args[] = {(void *)p};

    weir_cuda_launch(device, (const void *)pack, grid, THREADS, 0, args);
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

DEVICE void feed_next(const struct gemm *p, uint32_t dtype, int tile_tok,
                      uint32_t n_tok, uint32_t stage, struct feed *f)
{
    uint32_t tid = threadIdx.x, xs = stage + TILE_ROWS * W_BYTES(dtype);

    if (f->n_left) {
        feed_weights(p, dtype, THREADS, tid, stage, f);
#pragma unroll
        for (int i = 0; i < tile_tok * X_BYTES / 16 / THREADS; i++) {
            uint32_t piece = tid + i * THREADS;

            if (piece < n_tok * (X_BYTES / 16))
                copy_async(xs + piece * 16, f->x + piece * 8, 16);
        }
        feed_step(p, f);
    }
    copy_commit();
}

DEVICE void multiply_tile(const struct gemm *p, uint32_t dtype, int tile_tok)
{
    extern __shared__ __align__(128) uint8_t shared[];
    uint32_t ring = shared_address(shared), warp = threadIdx.x / WARP;
    uint32_t bytes = STAGE_BYTES(dtype, tile_tok);
    uint32_t row = warp % 2 * 64, tok = warp / 2 * (tile_tok / 4);
    int nt = tile_tok / 32;
    float c[4][8][4] = {{{0}}};
    struct span span;
    struct feed feed;
    uint32_t n_steps;

    weir_let_next_start();
    weir_after_others();
    if (!find_span(p, &span))
        return;
    feed_start(p, &span, dtype, THREADS, threadIdx.x, &feed);
    n_steps = feed.n_left;
#pragma unroll
    for (int i = 0; i < RING - 1; i++)
        feed_next(p, dtype, tile_tok, span.n, ring + i * bytes, &feed);
    for (uint32_t i = 0; i < n_steps; i++) {
        copy_wait(RING - 2);
        __syncthreads();
        feed_next(p, dtype, tile_tok, span.n,
                  ring + (i + RING - 1) % RING * bytes, &feed);
        if (dtype == WEIR_I8)
            multiply_i8(c, nt, ring + i % RING * bytes, row, tok);
        else
            multiply_bf16(c, nt, ring + i % RING * bytes, row, tok);
    }
    copy_wait(0);
    __syncthreads();
#pragma unroll
    for (int m = 0; m < 4; m++)
        put_results(p, &span, row + m * 16, tok, nt, c[m],
                    (float *)(shared + warp * RESULT_BYTES(nt * 8)));
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

#define ENTRY(n)                                                               \
    {                                                                          \
        n, n, THREADS, (const void *)gemm_i8_##n, (const void *)gemm_bf16_##n, \
            RING *STAGE_BYTES(WEIR_I8, n), RING *STAGE_BYTES(WEIR_BF16, n)     \
    }

/* The last one twice, as there are only three */
static const struct gemm_kernel kernels[GEMM_KERNELS] = {
    ENTRY(64), ENTRY(128), ENTRY(256), ENTRY(256)};

#define TILE_COST 48 /* of a tile, in tokens, beside those that it has */

/* How long all tiles take, in tokens of a tile */
static uint64_t cost_of(const struct weir_device *device,
                        const struct gemm *gemm,
                        const struct gemm_kernel *kernel)
{
    uint64_t n = gemm->n_tok, n_parts = 1, n_spans, size;

    if (gemm->expert) {
        n_parts = gemm->n_tok < gemm->n_experts ? gemm->n_tok : gemm->n_experts;
        n = (n + n_parts - 1) / n_parts;
    }
    n_spans = (n + kernel->tok - 1) / kernel->tok;
    size = (n + n_spans - 1) / n_spans;
    size = (size + kernel->step - 1) / kernel->step * kernel->step;
    return weir_cuda_parts(gemm->n_tiles * n_parts * n_spans,
                           (uint64_t)device->n_sm) *
           (size + TILE_COST);
}

static uint32_t shared_of(const struct gemm *gemm,
                          const struct gemm_kernel *kernel)
{
    return gemm->to[0].w.dtype == WEIR_I8 ? kernel->i8_shared
                                          : kernel->bf16_shared;
}

/* The first one is for any card. */
static const struct gemm_kernel *choose_kernel(const struct weir_device *device,
                                               const struct gemm *gemm)
{
    const struct gemm_kernel *set = weir_cuda_hopper_gemm(device), *best;

    set = best = set ? set : kernels;
    for (int i = 1; i < GEMM_KERNELS; i++)
        if (shared_of(gemm, &set[i]) <= (uint32_t)device->shared_bytes &&
            cost_of(device, gemm, &set[i]) <= cost_of(device, gemm, best))
            best = &set[i];
    return best;
}

void weir_cuda_gemm(struct weir_device *device, struct gemm *gemm)
{
    const struct weir_matrix *w = &gemm->to[0].w;
    const struct gemm_kernel *kernel;
    uint32_t is_i8 = w->dtype == WEIR_I8;
    dim3 grid = {1, 1, 1};
    void *args[] = {gemm};

    gemm->n_tiles = weir_cuda_parts(
        w->rows, gemm->out == WEIR_OUT_GATED ? TILE_ROWS / 2 : TILE_ROWS);
    kernel = choose_kernel(device, gemm);
    gemm->tile_tok = kernel->tok;
    grid.y = gemm->n_tiles;
    grid.x = weir_cuda_parts(gemm->n_tok, kernel->tok);
    if (gemm->expert)
        grid.x += gemm->n_tok < gemm->n_experts ? gemm->n_tok : gemm->n_experts;
    weir_cuda_launch(device, is_i8 ? kernel->i8 : kernel->bf16, grid,
                     kernel->threads, shared_of(gemm, kernel), args);
}

static __global__ void sum_experts(
    const __grid_constant__ struct weir_device_experts on, const float *y)
{
    uint32_t t = blockIdx.x, n = on.down.rows, first = t * on.n_top;
    float *sum = on.y + t * on.ld_y;
    __shared__ float prob[WEIR_DEVICE_TOP];
    __shared__ size_t at[WEIR_DEVICE_TOP];
    __shared__ uint32_t n_wanted;

    weir_let_next_start();
    weir_after_others();
    if (threadIdx.x == 0) {
        n_wanted = 0;
        for (uint32_t i = first; i < first + on.n_top; i++)
            if (is_wanted(on.expert, on.routing.expert[i], on.from, on.to)) {
                prob[n_wanted] = on.routing.prob[i];
                at[n_wanted++] = (size_t)on.routing.place[i] * n;
            }
    }
    __syncthreads();
    if (!n_wanted)
        return;
    for (uint32_t r = threadIdx.x; r < n; r += THREADS) {
        float v = on.in_order ? sum[r] : 0.0f;

        for (uint32_t i = 0; i < n_wanted; i++)
            v += prob[i] * y[at[i] + r];
        sum[r] = on.in_order ? v : sum[r] + v;
    }
}

void weir_cuda_sum_experts(struct weir_device *device, const float *y,
                           const struct weir_device_experts *experts)
{
    dim3 grid = {experts->n_tok, 1, 1};
    void *args[] = {(void *)experts, &y};

    weir_cuda_launch(device, (const void *)sum_experts, grid, THREADS, 0, args);
}
