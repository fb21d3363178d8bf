/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention of few tokens, f32 throughout.  A page of positions, of one token
 * and up to four heads that share K and V, is a block of threads: a thread for
 * each score, then a warp for each 32 positions of V.  What the pages leave is
 * joined in ascending order, as attention_join() of kernels.h has it.
 */
#include "kernels/cuda/attention.h"

#define PAGE    WEIR_DEVICE_PAGE
#define THREADS PAGE
#define N_WARPS (THREADS / WARP)
#define HEADS   4
#define MOST_HD 256
#define EACH    (MOST_HD / WARP) /* dimensions of a lane */

static __global__ void append(
    const __grid_constant__ struct weir_device_attention p)
{
    uint32_t t = blockIdx.x, width = p.n_kv * p.head_dim, pos;
    struct weir_device_run run;
    size_t at, row;

    weir_let_next_start();
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    if (t >= run.n_tok)
        return;
    pos = run.n_past + t;
    row = (run.row + (size_t)t) * p.ld_kv;
    at = page_at(&p, &run, pos / PAGE, 0) + (size_t)(pos % PAGE) * width;
    for (uint32_t i = threadIdx.x; i < width; i += THREADS)
        if (p.kv_dtype == WEIR_BF16) {
            ((__nv_bfloat16 *)p.k_pool)[at + i] =
                __float2bfloat16_rn(p.k[row + i]);
            ((__nv_bfloat16 *)p.v_pool)[at + i] =
                __float2bfloat16_rn(p.v[row + i]);
        } else {
            ((float *)p.k_pool)[at + i] = p.k[row + i];
            ((float *)p.v_pool)[at + i] = p.v[row + i];
        }
}

/* A block's token and heads */
struct query {
    struct weir_device_run run;
    uint32_t t, kv, head, n_heads; /* heads: of those that share kv */
    uint32_t n_pos;                /* of this page */
};

/* 0: nothing to do.  Heads that share K and V are cut into HEADS at a time. */
DEVICE int find_query(const struct weir_device_attention *p, struct query *q)
{
    uint32_t group = p->n_heads / p->n_kv, cuts = (group + HEADS - 1) / HEADS;
    uint32_t i = blockIdx.x, cut = i % cuts, n_seen;

    q->run = p->runs.run[blockIdx.z];
    q->kv = i / cuts % p->n_kv;
    q->t = i / cuts / p->n_kv;
    q->head = q->kv * group + cut * HEADS;
    q->n_heads = group - cut * HEADS < HEADS ? group - cut * HEADS : HEADS;
    if (q->t >= q->run.n_tok)
        return 0;
    n_seen = q->run.n_past + q->t + 1;
    if (blockIdx.y * PAGE >= n_seen)
        return 0;
    n_seen -= blockIdx.y * PAGE;
    q->n_pos = n_seen < PAGE ? n_seen : PAGE;
    return 1;
}

/* A position's scores with all heads */
DEVICE void score(const struct weir_device_attention *p, size_t at,
                  const float (*q)[MOST_HD], float *s)
{
    uint32_t hd = p->head_dim, d = 0;
    const uint16_t *k = (const uint16_t *)p->k_pool + at;

    if (p->kv_dtype == WEIR_BF16 && hd % 8 == 0)
#pragma unroll 8
        for (; d < hd; d += 8) {
            uint4 v = *(const uint4 *)(k + d);
            const uint32_t pair[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int h = 0; h < HEADS; h++) {
                    s[h] += __uint_as_float(pair[i] << 16) * q[h][d + 2 * i];
                    s[h] += __uint_as_float(pair[i] & 0xffff0000u) *
                            q[h][d + 2 * i + 1];
                }
        }
    for (; d < hd; d++)
#pragma unroll
        for (int h = 0; h < HEADS; h++)
            s[h] += widen_kv(p->kv_dtype, p->k_pool, at + d) * q[h][d];
}

/* Sum or maximum over the block, for all */
DEVICE float over_block(float v, int is_sum)
{
    __shared__ float all[N_WARPS];

    for (int i = WARP / 2; i; i /= 2) {
        float other = __shfl_xor_sync(ALL, v, i);

        v = is_sum ? v + other : fmaxf(v, other);
    }
    __syncthreads();
    if (threadIdx.x % WARP == 0)
        all[threadIdx.x / WARP] = v;
    __syncthreads();
    v = all[0];
    for (int i = 1; i < N_WARPS; i++)
        v = is_sum ? v + all[i] : fmaxf(v, all[i]);
    return v;
}

/* Dimension i of a lane: neighbours where K and V are read by four */
DEVICE uint32_t dimension(int by_four, int i)
{
    uint32_t lane = threadIdx.x % WARP;

    return by_four ? i / 4 * 4 * WARP + lane * 4 + i % 4 : lane + i * WARP;
}

DEVICE void weigh_one(const struct weir_device_attention *p, size_t at,
                      int by_four, float *v)
{
#pragma unroll
    for (int i = 0; i < EACH; i += 4) {
        uint32_t d = dimension(by_four, i);

        if (by_four) {
            uint2 four = {0, 0};

            if (d < p->head_dim)
                four = *(const uint2 *)((const uint16_t *)p->v_pool + at + d);
            v[i] = __uint_as_float(four.x << 16);
            v[i + 1] = __uint_as_float(four.x & 0xffff0000u);
            v[i + 2] = __uint_as_float(four.y << 16);
            v[i + 3] = __uint_as_float(four.y & 0xffff0000u);
            continue;
        }
#pragma unroll
        for (int j = i; j < i + 4; j++) {
            d = dimension(0, j);
            v[j] = d < p->head_dim ? widen_kv(p->kv_dtype, p->v_pool, at + d)
                                   : 0.0f;
        }
    }
}

/* A warp's 32 positions of V, weighed, for the dimensions of each lane */
DEVICE void weigh(const struct weir_device_attention *p, size_t at,
                  const struct query *q, const float (*s)[PAGE], int by_four,
                  float (*sum)[EACH])
{
    uint32_t from = threadIdx.x / WARP * WARP;
    size_t width = (size_t)p->n_kv * p->head_dim;
    uint32_t to = from + WARP < q->n_pos ? from + WARP : q->n_pos;

#pragma unroll 8
    for (uint32_t pos = from; pos < to; pos++) {
        float v[EACH];

        weigh_one(p, at + pos * width, by_four, v);
#pragma unroll
        for (int i = 0; i < EACH; i++)
#pragma unroll
            for (int h = 0; h < HEADS; h++)
                sum[h][i] += s[h][pos] * v[i];
    }
}

DEVICE float *part_of(const struct weir_device_attention *p, float *part,
                      uint32_t n_pages, size_t slot, uint32_t head,
                      uint32_t page)
{
    return part +
           ((slot * p->n_heads + head) * n_pages + page) * (p->head_dim + 2);
}

static __global__ void __launch_bounds__(THREADS)
    attend(const __grid_constant__ struct weir_device_attention p, float *part)
{
    __shared__ float qs[HEADS][MOST_HD], s[HEADS][PAGE];
    __shared__ float sums[N_WARPS][HEADS][MOST_HD / 2];
    uint32_t tid = threadIdx.x, hd = p.head_dim;
    int by_four = p.kv_dtype == WEIR_BF16 && hd % 4 == 0;
    float score_of[HEADS] = {0}, sum[HEADS][EACH] = {{0}}, total[HEADS];
    float largest[HEADS];
    struct query q;
    size_t at, row, slot;

    weir_let_next_start();
    weir_after_others();
    if (!find_query(&p, &q))
        return;
    row = q.run.row + (size_t)q.t;
    slot = (size_t)blockIdx.z * p.runs.max_tok + q.t;
    at = page_at(&p, &q.run, blockIdx.y, q.kv);
    for (uint32_t i = tid; i < HEADS * hd; i += THREADS)
        qs[i / hd][i % hd] =
            i / hd < q.n_heads
                ? p.q[row * p.ld_q + (q.head + i / hd) * hd + i % hd]
                : 0.0f;
    __syncthreads();
    if (tid < q.n_pos)
        score(&p, at + (size_t)tid * p.n_kv * hd, qs, score_of);
#pragma unroll
    for (int h = 0; h < HEADS; h++) {
        float v = tid < q.n_pos ? score_of[h] * p.scale : -INFINITY;

        largest[h] = over_block(v, 0);
        v = tid < q.n_pos ? expf(v - largest[h]) : 0.0f;
        s[h][tid] = v;
        total[h] = over_block(v, 1);
    }
    __syncthreads();
    if (by_four)
        weigh(&p, at, &q, s, 1, sum);
    else
        weigh(&p, at, &q, s, 0, sum);
    for (int half = 0; half < 2; half++) {
        __syncthreads();
#pragma unroll
        for (int h = 0; h < HEADS; h++)
#pragma unroll
            for (int i = 0; i < EACH / 2; i++)
                sums[tid / WARP][h][dimension(by_four, i)] =
                    half ? sum[h][EACH / 2 + i] : sum[h][i];
        __syncthreads();
        for (uint32_t i = tid; i < HEADS * MOST_HD / 2; i += THREADS) {
            uint32_t h = i / (MOST_HD / 2), d = i % (MOST_HD / 2);
            float v = 0.0f;

            for (int w = 0; w < N_WARPS; w++)
                v += sums[w][h][d];
            d += half * (MOST_HD / 2);
            if (h < q.n_heads && d < hd)
                part_of(&p, part, gridDim.y, slot, q.head + h, blockIdx.y)[d] =
                    v;
        }
    }
#pragma unroll
    for (int h = 0; h < HEADS; h++)
        if (tid == 0 && h < q.n_heads) {
            float *to =
                part_of(&p, part, gridDim.y, slot, q.head + h, blockIdx.y);

            to[hd] = total[h];
            to[hd + 1] = largest[h];
        }
}

static __global__ void join(
    const __grid_constant__ struct weir_device_attention p, float *part,
    uint32_t n_pages)
{
    uint32_t d = threadIdx.x, hd = p.head_dim, head = blockIdx.x, n;
    float largest = -INFINITY, sum = 0.0f, v = 0.0f;
    struct weir_device_run run;
    const float *at;
    size_t row;

    weir_let_next_start();
    weir_after_others();
    run = p.runs.run[blockIdx.z];
    if (blockIdx.y >= run.n_tok || d >= hd)
        return;
    row = run.row + (size_t)blockIdx.y;
    n = (run.n_past + blockIdx.y) / PAGE + 1;
    at = part_of(&p, part, n_pages,
                 (size_t)blockIdx.z * p.runs.max_tok + blockIdx.y, head, 0);
    for (uint32_t i = 0; i < n; i++)
        largest = fmaxf(largest, at[i * (hd + 2) + hd + 1]);
#pragma unroll 4
    for (uint32_t i = 0; i < n; i++, at += hd + 2) {
        float weight = expf(at[hd + 1] - largest);

        sum += at[hd] * weight;
        v += at[d] * weight;
    }
    p.y[row * p.ld_y + head * hd + d] = v / sum;
}

static uint64_t part_bytes(uint64_t n_tok, uint64_t n_heads, uint64_t head_dim,
                           uint64_t max_pos)
{
    uint64_t n_pages = (max_pos + PAGE - 1) / PAGE;

    return n_tok * n_heads * n_pages * (head_dim + 2) * sizeof(float);
}

#define FEW 16 /* tokens of a run */

uint64_t weir_cuda_attention_bytes(const struct weir_device_limits *limits)
{
    uint64_t most = limits->n_tok < FEW ? limits->n_tok : FEW;

    return part_bytes(limits->n_runs * most, limits->n_heads, limits->head_dim,
                      limits->max_pos);
}

static void attend_few(struct weir_device *device,
                       const struct weir_device_attention *p)
{
    uint32_t group = p->n_heads / p->n_kv;
    uint32_t n_pages = weir_cuda_parts(p->runs.max_pos, PAGE);
    float *part = (float *)device->scratch;
    dim3 grid = {p->runs.max_tok * p->n_kv * weir_cuda_parts(group, HEADS),
                 n_pages, p->runs.n};
    dim3 each = {p->n_heads, p->runs.max_tok, p->runs.n};
    void *args[] = {(void *)p, &part, &n_pages};

    if (!weir_cuda_has_scratch(device,
                               part_bytes((uint64_t)p->runs.n * p->runs.max_tok,
                                          p->n_heads, p->head_dim,
                                          p->runs.max_pos),
                               "attention"))
        return;
    weir_cuda_launch(device, (const void *)attend, grid, THREADS, 0, args);
    weir_cuda_launch(device, (const void *)join, each,
                     weir_cuda_parts(p->head_dim, WARP) * WARP, 0, args);
}

void weir_cuda_attention(struct weir_device *device,
                         const struct weir_device_attention *p)
{
    dim3 grid = {p->runs.max_tok, p->runs.n, 1};
    void *args[] = {(void *)p};

    if (p->head_dim > MOST_HD) {
        weir_cuda_fail(device, WEIR_ENOTSUP, "a head of more than 256");
        return;
    }
    if (!p->runs.n || !p->runs.max_tok)
        return;
    weir_cuda_launch(device, (const void *)append, grid, THREADS, 0, args);
    if (p->runs.max_tok > FEW && (p->head_dim == 64 || p->head_dim == 128))
        weir_cuda_attend_prompt(device, p);
    else
        attend_few(device, p);
}
