/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of many tokens, in the matrix units, in one pass over the positions
 * (Dao 2023, FlashAttention-2).  A block of threads takes 64 tokens of one
 * head, a warp 16 of them, and goes over the positions 64 at a time, counted
 * from the first of the sequence: what a token gets does not depend on how a
 * prompt is cut.
 */
#include "kernels/cuda/attention.h"

#define TILE    64 /* tokens, and positions */
#define THREADS 128
#define N_PARTS (TILE / 8)

/* Position r of a tile of K or V in shared memory, 16 bytes number c of it */
DEVICE uint32_t tile_at(uint32_t tile, int hd, uint32_t r, uint32_t c)
{
    return tile + r * hd * 2 + (c ^ (r & 7)) * 16;
}

/* Positions from `first` on, up to `end`; what is behind: zeros */
DEVICE void load_tile(const struct weir_device_attention *p,
                      const struct weir_device_run *run, int hd, uint32_t kv,
                      uint32_t first, uint32_t end, const void *pool,
                      uint32_t tile)
{
    size_t width = (size_t)p->n_kv * hd;
    size_t at = page_at(p, run, first / WEIR_DEVICE_PAGE, kv) +
                first % WEIR_DEVICE_PAGE * width;

#pragma unroll
    for (int i = 0; i < TILE * hd / 8 / THREADS; i++) {
        uint32_t chunk = threadIdx.x + i * THREADS;
        uint32_t r = chunk / (hd / 8), c = chunk % (hd / 8);
        uint32_t to = tile_at(tile, hd, r, c);
        int is_in = first + r < end;
        size_t from = at + (is_in ? r * width : 0) + c * 8;
        const float *x = (const float *)pool + from;

        if (p->kv_dtype == WEIR_BF16) {
            copy_async(to, (const uint16_t *)pool + from, is_in ? 16 : 0);
            continue;
        }
#pragma unroll
        for (int j = 0; j < 4; j++)
            asm volatile("st.shared.u32 [%0], %1;" ::"r"(to + j * 4),
                         "r"(is_in ? pack_bf16(x[2 * j], x[2 * j + 1]) : 0)
                         : "memory");
    }
}

/* Queries of 16 tokens as fragments, scaled so that exp2 does for exp */
DEVICE void load_queries(const struct weir_device_attention *p,
                         const struct weir_device_run *run, int hd,
                         uint32_t head, uint32_t tok, uint32_t (*q)[4])
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, part = lane % 4;
    float scale = p->scale * 1.4426950408889634f;

#pragma unroll
    for (int k = 0; k < hd / 16; k++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            uint32_t t = tok + g + (i & 1) * 8;
            uint32_t d = k * 16 + (i / 2) * 8 + part * 2;
            const float *x =
                p->q + (run->row + (size_t)t) * p->ld_q + (size_t)head * hd + d;

            q[k][i] =
                t < run->n_tok ? pack_bf16(x[0] * scale, x[1] * scale) : 0;
        }
}

/* s [16][TILE] = q k */
DEVICE void multiply_keys(int hd, uint32_t tile, const uint32_t (*q)[4],
                          float (*s)[4])
{
    uint32_t lane = threadIdx.x % WARP;
    uint32_t r = (lane & 7) + (lane >> 4) * 8, half = lane >> 3 & 1;

#pragma unroll
    for (int k = 0; k < hd / 16; k++)
#pragma unroll
        for (int i = 0; i < N_PARTS; i += 2) {
            uint32_t b[4];

            load_matrices(b, tile_at(tile, hd, i * 8 + r, k * 2 + half));
            mma(s[i], q[k], b);
            mma(s[i + 1], q[k], b + 2);
        }
}

/* y [16][hd] += p [16][TILE] v */
DEVICE void multiply_values(int hd, uint32_t tile, const float (*s)[4],
                            float (*y)[4])
{
    uint32_t lane = threadIdx.x % WARP, r = lane % 16, half = lane / 16;

#pragma unroll
    for (int k = 0; k < TILE / 16; k++) {
        const uint32_t a[4] = {pack_bf16(s[2 * k][0], s[2 * k][1]),
                               pack_bf16(s[2 * k][2], s[2 * k][3]),
                               pack_bf16(s[2 * k + 1][0], s[2 * k + 1][1]),
                               pack_bf16(s[2 * k + 1][2], s[2 * k + 1][3])};

#pragma unroll
        for (int i = 0; i < hd / 8; i += 2) {
            uint32_t b[4];

            load_matrices_turned(b, tile_at(tile, hd, k * 16 + r, i + half));
            mma(y[i], a, b);
            mma(y[i + 1], a, b + 2);
        }
    }
}

/* What is kept of the softmax of the two tokens that a lane has */
struct soft {
    float largest[2], sum[2];
};

DEVICE float over_quad(float v, int is_sum)
{
#pragma unroll
    for (int i = 1; i <= 2; i *= 2) {
        float other = __shfl_xor_sync(ALL, v, i);

        v = is_sum ? v + other : fmaxf(v, other);
    }
    return v;
}

/* Scores to weights, with what was summed before scaled down to them */
DEVICE void soften(struct soft *soft, int hd, float (*s)[4], float (*y)[4])
{
#pragma unroll
    for (int h = 0; h < 2; h++) {
        float most = soft->largest[h], keep, sum = 0.0f;

#pragma unroll
        for (int i = 0; i < N_PARTS; i++)
            most = fmaxf(most, fmaxf(s[i][2 * h], s[i][2 * h + 1]));
        most = over_quad(most, 0);
        keep = exp2f(soft->largest[h] - most);
        soft->largest[h] = most;
#pragma unroll
        for (int i = 0; i < N_PARTS; i++)
#pragma unroll
            for (int j = 2 * h; j < 2 * h + 2; j++) {
                s[i][j] = exp2f(s[i][j] - most);
                sum += s[i][j];
            }
        soft->sum[h] = soft->sum[h] * keep + sum;
#pragma unroll
        for (int i = 0; i < hd / 8; i++) {
            y[i][2 * h] *= keep;
            y[i][2 * h + 1] *= keep;
        }
    }
}

/* Positions that a token does not see, from `first` on */
DEVICE void mask(float (*s)[4], uint32_t first, uint32_t seen)
{
    uint32_t q = threadIdx.x % 4;

#pragma unroll
    for (int i = 0; i < N_PARTS; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (first + i * 8 + q * 2 + (j & 1) > seen + (j / 2) * 8)
                s[i][j] = -INFINITY;
}

DEVICE void put_heads(const struct weir_device_attention *p,
                      const struct weir_device_run *run, int hd, uint32_t head,
                      uint32_t tok, const struct soft *soft, float (*y)[4])
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;

#pragma unroll
    for (int h = 0; h < 2; h++) {
        uint32_t t = tok + g + h * 8;
        float sum = over_quad(soft->sum[h], 1);
        float *to =
            p->y + (run->row + (size_t)t) * p->ld_y + (size_t)head * hd + q * 2;

        if (t >= run->n_tok)
            continue;
#pragma unroll
        for (int i = 0; i < hd / 8; i++) {
            to[i * 8] = y[i][2 * h] / sum;
            to[i * 8 + 1] = y[i][2 * h + 1] / sum;
        }
    }
}

DEVICE void attend_tile(const struct weir_device_attention *p, int hd)
{
    extern __shared__ __align__(128) uint8_t shared[];
    uint32_t head = blockIdx.x, kv = head / (p->n_heads / p->n_kv);
    uint32_t from = (gridDim.y - 1 - blockIdx.y) * TILE, end, warp_tok, tok;
    uint32_t bytes = TILE * hd * 2, k = shared_address(shared);
    uint32_t v = k + 2 * bytes, q[8][4];
    float y[16][4] = {{0}};
    struct soft soft = {{-INFINITY, -INFINITY}, {0, 0}};
    struct weir_device_run run;

    weir_let_next_start();
    weir_after_others();
    run = p->runs.run[blockIdx.z];
    if (from >= run.n_tok)
        return;
    tok = from + threadIdx.x / WARP * 16;
    warp_tok = run.n_past + tok + threadIdx.x % WARP / 4;
    end = from + TILE < run.n_tok ? from + TILE : run.n_tok;
    end += run.n_past;
    load_queries(p, &run, hd, head, tok, q);
    load_tile(p, &run, hd, kv, 0, end, p->k_pool, k);
    load_tile(p, &run, hd, kv, 0, end, p->v_pool, v);
    copy_commit();
    for (uint32_t first = 0, i = 0; first < end; first += TILE, i ^= 1) {
        float s[N_PARTS][4] = {{0}};
        uint32_t next = first + TILE;

        if (next < end) {
            load_tile(p, &run, hd, kv, next, end, p->k_pool,
                      k + (i ^ 1) * bytes);
            load_tile(p, &run, hd, kv, next, end, p->v_pool,
                      v + (i ^ 1) * bytes);
        }
        copy_commit();
        copy_wait(1);
        __syncthreads();
        multiply_keys(hd, k + i * bytes, q, s);
        if (next > run.n_past + tok)
            mask(s, first, warp_tok);
        soften(&soft, hd, s, y);
        multiply_values(hd, v + i * bytes, s, y);
        __syncthreads();
    }
    put_heads(p, &run, hd, head, tok, &soft, y);
}

static __global__ void __launch_bounds__(THREADS)
    attend_64(const __grid_constant__ struct weir_device_attention p)
{
    attend_tile(&p, 64);
}

static __global__ void __launch_bounds__(THREADS)
    attend_128(const __grid_constant__ struct weir_device_attention p)
{
    attend_tile(&p, 128);
}

void weir_cuda_attend_prompt(struct weir_device *device,
                             const struct weir_device_attention *p)
{
    dim3 grid = {p->n_heads, weir_cuda_parts(p->runs.max_tok, TILE), p->runs.n};
    void *args[] = {(void *)p};

    weir_cuda_launch(device,
                     p->head_dim == 64 ? (const void *)attend_64
                                       : (const void *)attend_128,
                     grid, THREADS, 4 * TILE * p->head_dim * 2, args);
}
