/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router of a layer of experts.  A block of threads takes one token after
 * the other: the logits, their softmax, the most probable.  A thread has some
 * columns of all rows, and of a router of 16 experts with 4096 columns, as
 * Jamba's is, it has them before it waits and for all of its tokens.  The last
 * block to end puts all choices in order, by counting: a warp goes over them
 * for each expert, so that their order is that of the tokens.
 */
#include "kernels/cuda/few.h"

#include "kernels/cuda/parts.h"

#define THREADS 512
#define N_WARPS (THREADS / WARP)
#define SLICE   8    /* columns of a thread */
#define GROUP   16   /* experts at a time */
#define ALONE   128  /* tokens up to which each has a block of its own */
#define EACH    8    /* tokens of a block when there are more */
#define NEAR    8192 /* choices that fit into shared memory */

/* Columns from c on of a row of bf16, or of one that is not there */
DEVICE uint4 fetch_slice(const uint8_t *row, uint32_t c)
{
    return row ? *(const uint4 *)(row + c * 2) : uint4{0, 0, 0, 0};
}

/* Those of GROUP rows from `first` on, which a thread keeps if it can */
struct slices {
    uint4 v[GROUP];
    uint32_t first, c;
};

DEVICE void fetch_slices(const uint8_t *const *row, uint32_t first, uint32_t c,
                         struct slices *slices)
{
#pragma unroll
    for (int i = 0; i < GROUP; i++)
        slices->v[i] = fetch_slice(row[first + i], c);
    slices->first = first;
    slices->c = c;
}

DEVICE float dot(uint4 v, const float *a)
{
    const uint32_t pair[4] = {v.x, v.y, v.z, v.w};
    float sum = 0.0f;

#pragma unroll
    for (int i = 0; i < 4; i++) {
        sum = __fmaf_rn(__uint_as_float(pair[i] << 16), a[2 * i], sum);
        sum = __fmaf_rn(__uint_as_float(pair[i] & 0xffff0000u), a[2 * i + 1],
                        sum);
    }
    return sum;
}

/* Column c of a token, normalised but for its factor */
DEVICE float activation(const struct weir_device_route *route, uint32_t token,
                        uint32_t c)
{
    float v = route->x[token * route->ld_x + c];

    return route->norm ? v * route->norm[c] : v;
}

/* Weights of any type, and rows that are not whole slices */
DEVICE float dot_any(const struct weir_device_route *route, uint32_t token,
                     const uint8_t *row, uint32_t c)
{
    uint32_t to = c + SLICE < route->w.cols ? c + SLICE : route->w.cols;
    float sum = 0.0f;

#pragma unroll 1
    for (; row && c < to; c++)
        sum += widen_one(route->w.dtype, row, c) * activation(route, token, c);
    return sum;
}

/* The sums of GROUP values over a warp: lane l has that of number l / 2. */
DEVICE float sum_group(float *v)
{
    uint32_t lane = threadIdx.x % WARP;

#pragma unroll
    for (int step = 0; step < 4; step++) {
        int half = GROUP / 2 >> step, upper = lane & 2 * half;

#pragma unroll
        for (int i = 0; i < GROUP / 2; i++)
            if (i < half) {
                float mine = upper ? v[i + half] : v[i];
                float other = upper ? v[i] : v[i + half];

                v[i] = mine + __shfl_xor_sync(ALL, other, 2 * half);
            }
    }
    return v[0] + __shfl_xor_sync(ALL, v[0], 1);
}

/* What a warp's columns add to the logits of GROUP experts from `first` on */
DEVICE void add_up(const struct weir_device_route *route, uint32_t token,
                   const uint8_t *const *row, uint32_t first, int is_sliced,
                   struct slices *slices, float *sums)
{
    uint32_t lane = threadIdx.x % WARP;
    float sum[GROUP] = {0}, all;

#pragma unroll 1
    for (uint32_t c = threadIdx.x * SLICE; c < route->w.cols;
         c += THREADS * SLICE) {
        float a[SLICE];

        if (!is_sliced) {
#pragma unroll
            for (int i = 0; i < GROUP; i++)
                sum[i] += dot_any(route, token, row[first + i], c);
            continue;
        }
        if (slices->first != first || slices->c != c)
            fetch_slices(row, first, c, slices);
#pragma unroll
        for (int i = 0; i < SLICE; i++)
            a[i] = activation(route, token, c + i);
#pragma unroll
        for (int i = 0; i < GROUP; i++)
            sum[i] += dot(slices->v[i], a);
    }
    all = sum_group(sum);
    if (lane % 2 == 0)
        sums[lane / 2] = all;
}

/* p[e] of the softmax of the logits in p, by one warp */
DEVICE void softmax(float *p, uint32_t n)
{
    uint32_t lane = threadIdx.x % WARP;
    float largest = p[0], sum = 0.0f;

    for (uint32_t e = lane; e < n; e += WARP)
        largest = p[e] > largest ? p[e] : largest;
    for (int i = WARP / 2; i; i /= 2)
        largest = fmaxf(largest, __shfl_xor_sync(ALL, largest, i));
    for (uint32_t e = lane; e < n; e += WARP) {
        p[e] = expf(p[e] - largest);
        sum += p[e];
    }
    sum = warp_sum(sum);
    for (uint32_t e = lane; e < n; e += WARP)
        p[e] /= sum;
    __syncwarp();
}

/*
 * Whether fewer than k come before expert `e` when the most probable come
 * first.  Among NaN all do: the bound on places keeps to k of them.
 */
DEVICE int is_chosen(const float *p, uint32_t n, uint32_t e, uint32_t k)
{
    uint32_t rank = 0;

    for (uint32_t other = 0; other < n; other++)
        rank += p[other] > p[e] || (p[other] == p[e] && other < e);
    return rank < k;
}

/* By one warp: the chosen ones, ascending */
DEVICE void choose(const struct weir_device_route *route, uint32_t token,
                   const float *p)
{
    uint32_t lane = threadIdx.x % WARP, n = route->n_experts, at = 0;
    uint32_t k = route->n_top, before = token * k;

    for (uint32_t from = 0; from < n; from += WARP) {
        uint32_t e = from + lane;
        int chosen = e < n && is_chosen(p, n, e, k);
        uint32_t all = __ballot_sync(ALL, chosen);
        uint32_t place = at + __popc(all & ((1u << lane) - 1));

        if (chosen && place < k) {
            route->to.expert[before + place] = e;
            route->to.prob[before + place] = p[e];
        }
        at += __popc(all);
    }
}

/* All choices, in shared memory when they fit there */
struct choices {
    const uint16_t *near;
    const uint32_t *expert;
    uint32_t n;
};

DEVICE uint32_t choice(const struct choices *all, uint32_t i)
{
    return all->near ? all->near[i] : __ldcg(all->expert + i);
}

/* How many are of expert e, for all lanes of a warp */
DEVICE uint32_t count(const struct choices *choices, uint32_t e)
{
    uint32_t sum = 0;

#pragma unroll 4
    for (uint32_t i = threadIdx.x % WARP; i < choices->n; i += WARP)
        sum += choice(choices, i) == e;
    return __reduce_add_sync(ALL, sum);
}

/* Places from `at` on for the choices of expert e, by one warp */
DEVICE void place(const struct weir_device_routing *to,
                  const struct choices *choices, uint32_t e, uint32_t at)
{
    uint32_t lane = threadIdx.x % WARP;

    for (uint32_t from = 0; from < choices->n; from += WARP) {
        uint32_t i = from + lane;
        int is_its = i < choices->n && choice(choices, i) == e;
        uint32_t all = __ballot_sync(ALL, is_its);
        uint32_t mine = at + __popc(all & ((1u << lane) - 1));

        if (is_its) {
            to->order[mine] = i;
            to->place[i] = mine;
        }
        at += __popc(all);
    }
}

/* In shared memory, of each expert: its first place, its first group */
struct order {
    uint32_t first[WEIR_DEVICE_EXPERTS + 1], group[WEIR_DEVICE_EXPERTS + 1];
};

/* Numbers of choices become places, by one warp. */
DEVICE void count_up(struct order *order, uint32_t n_experts)
{
    uint32_t first = 0, group = 0;

    for (uint32_t from = 0; from <= n_experts; from += WARP) {
        uint32_t e = from + threadIdx.x % WARP;
        uint32_t n = e < n_experts ? order->first[e] : 0;
        uint32_t n_groups = (n + FEW_TOK - 1) / FEW_TOK;
        uint32_t before = sum_below(n), groups_before = sum_below(n_groups);

        if (e <= n_experts) {
            order->first[e] = first + before;
            order->group[e] = group + groups_before;
        }
        first += __reduce_add_sync(ALL, n);
        group += __reduce_add_sync(ALL, n_groups);
    }
}

DEVICE void put_in_order(const struct weir_device_route *route,
                         struct order *order)
{
    __shared__ uint16_t near[NEAR];
    const struct weir_device_routing *to = &route->to;
    uint32_t n = route->n_tok * route->n_top, warp = threadIdx.x / WARP;
    const struct choices choices = {n <= NEAR ? near : NULL, to->expert, n};

#pragma unroll 8
    for (uint32_t i = threadIdx.x; i < n && n <= NEAR; i += THREADS)
        near[i] = (uint16_t)__ldcg(to->expert + i);
    __syncthreads();
    for (uint32_t e = warp; e < route->n_experts; e += N_WARPS)
        order->first[e] = count(&choices, e);
    __syncthreads();
    if (warp == 0)
        count_up(order, route->n_experts);
    __syncthreads();
    for (uint32_t e = warp; e < route->n_experts; e += N_WARPS)
        place(to, &choices, e, order->first[e]);
    for (uint32_t e = threadIdx.x; e <= route->n_experts; e += THREADS)
        to->first[e] = order->first[e];
    for (uint32_t e = threadIdx.x; e < route->n_experts; e += THREADS)
        for (uint32_t i = order->group[e]; i < order->group[e + 1]; i++) {
            to->group[2 * i] = e;
            to->group[2 * i + 1] =
                order->first[e] + (i - order->group[e]) * FEW_TOK;
        }
    for (uint32_t i = order->group[route->n_experts] + threadIdx.x; i < n;
         i += THREADS)
        to->group[2 * i] = UINT32_MAX;
    if (threadIdx.x == 0)
        to->group[2 * n] = order->group[route->n_experts];
}

/* The logits of a token, into p */
DEVICE void find_logits(const struct weir_device_route *route, uint32_t token,
                        const uint8_t *const *row, int is_sliced,
                        struct slices *slices, float *p)
{
    __shared__ float sums[N_WARPS][GROUP], squares[NORM_SUMS];
    uint32_t thread = threadIdx.x, warp = thread / WARP, n = route->n_experts;
    float factor = 1.0f;

    if (route->norm)
        put_squares(route->x + token * route->ld_x, route->w.cols, thread,
                    THREADS, squares);
#pragma unroll 1
    for (uint32_t first = 0; first < n; first += GROUP) {
        add_up(route, token, row, first, is_sliced, slices, sums[warp]);
        __syncthreads();
        if (route->norm)
            factor = norm_of(squares, route->w.cols, route->eps);
        if (thread < GROUP && first + thread < n) {
            float logit = 0.0f;

#pragma unroll
            for (int w = 0; w < N_WARPS; w++)
                logit += sums[w][thread];
            logit *= factor;
            if (route->w.scale)
                logit *= route->w.scale[first + thread];
            p[first + thread] = logit;
            route->logits[token * n + first + thread] = logit;
        }
        __syncthreads();
    }
    if (thread == 0 && route->norm)
        route->factor[token] = factor;
}

DEVICE void route_tokens(const struct weir_device_route *route, uint32_t each,
                         int is_sliced, uint32_t *counter)
{
    __shared__ const uint8_t *row[WEIR_DEVICE_EXPERTS];
    __shared__ float p[WEIR_DEVICE_EXPERTS];
    __shared__ struct order order;
    __shared__ uint32_t last;
    uint32_t c = threadIdx.x * SLICE, n = route->n_experts;
    uint32_t token = blockIdx.x * each, to = token + each;
    struct slices slices;

    weir_let_next_start();
    for (uint32_t e = threadIdx.x; e < WEIR_DEVICE_EXPERTS; e += THREADS)
        row[e] = e < n ? matrix_row(&route->w, route->w.data, e) : NULL;
    __syncthreads();
    slices.c = UINT32_MAX;
    if (is_sliced && c < route->w.cols)
        fetch_slices(row, 0, c, &slices);
    weir_after_others();
#pragma unroll 1
    for (; token < to && token < route->n_tok; token++) {
        find_logits(route, token, row, is_sliced, &slices, p);
        if (threadIdx.x < WARP) {
            softmax(p, n);
            choose(route, token, p);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(counter, 1) == gridDim.x - 1;
        if (last)
            *counter = 0;
        __threadfence();
    }
    __syncthreads();
    if (last)
        put_in_order(route, &order);
}

static __global__ void __launch_bounds__(THREADS)
    route_sliced(const __grid_constant__ struct weir_device_route route,
                 uint32_t each, uint32_t *counter)
{
    route_tokens(&route, each, 1, counter);
}

static __global__ void __launch_bounds__(THREADS)
    route_any(const __grid_constant__ struct weir_device_route route,
              uint32_t each, uint32_t *counter)
{
    route_tokens(&route, each, 0, counter);
}

void weir_cuda_route(struct weir_device *device,
                     const struct weir_device_route *route)
{
    uint32_t each = route->n_tok > ALONE ? EACH : 1;
    int is_sliced = route->w.dtype == WEIR_BF16 && route->w.cols % SLICE == 0;
    dim3 grid = {weir_cuda_parts(route->n_tok, each), 1, 1};
    void *args[] = {(void *)route, &each, &device->counters};

    if (route->n_experts > WEIR_DEVICE_EXPERTS ||
        route->n_top > WEIR_DEVICE_TOP || route->n_top > route->n_experts)
        weir_cuda_fail(device, WEIR_ELIMIT, "too many experts");
    else if (route->n_tok)
        weir_cuda_launch(device,
                         is_sliced ? (const void *)route_sliced
                                   : (const void *)route_any,
                         grid, THREADS, 0, args);
}
