/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router of a layer of experts.  A block of threads takes a token: the
 * logits, their softmax, the most probable.  The last block to end puts all
 * choices in order, by counting: a warp goes over them for each expert, so that
 * their order is that of the tokens.
 */
#include "kernels/cuda/few.h"

#include "kernels/cuda/parts.h"

#define THREADS 512
#define N_WARPS (THREADS / WARP)

/* Row `row` times a, for all lanes */
DEVICE float dot(const struct weir_matrix *w, uint32_t row, const float *a)
{
    const uint8_t *at = matrix_row(w, w->data, row);
    uint32_t lane = threadIdx.x % WARP, c = lane * 8;
    float sum[2] = {0};

    if (w->dtype == WEIR_BF16)
#pragma unroll 8
        for (; c + 8 <= w->cols; c += WARP * 8) {
            uint4 v = *(const uint4 *)(at + c * 2);
            const uint32_t pair[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
            for (int i = 0; i < 4; i++) {
                sum[0] += __uint_as_float(pair[i] << 16) * a[c + 2 * i];
                sum[1] +=
                    __uint_as_float(pair[i] & 0xffff0000u) * a[c + 2 * i + 1];
            }
        }
    for (; c < w->cols; c += WARP * 8)
        for (uint32_t i = c; i < c + 8 && i < w->cols; i++)
            sum[0] += widen_one(w->dtype, at, i) * a[i];
    return warp_sum(sum[0] + sum[1]);
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
DEVICE void choose(const struct weir_device_route *route, const float *p)
{
    uint32_t lane = threadIdx.x % WARP, n = route->n_experts, at = 0;
    uint32_t k = route->n_top, before = blockIdx.x * k;

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

/* How many of the n choices are of expert e, for all lanes of a warp */
DEVICE uint32_t count(const uint32_t *expert, uint32_t n, uint32_t e)
{
    uint32_t sum = 0;

#pragma unroll 4
    for (uint32_t i = threadIdx.x % WARP; i < n; i += WARP)
        sum += __ldcg(expert + i) == e;
    return __reduce_add_sync(ALL, sum);
}

/* Places from `at` on for the choices of expert e, by one warp */
DEVICE void place(const struct weir_device_routing *to, uint32_t n, uint32_t e,
                  uint32_t at)
{
    uint32_t lane = threadIdx.x % WARP;

    for (uint32_t from = 0; from < n; from += WARP) {
        uint32_t i = from + lane;
        int is_its = i < n && __ldcg(to->expert + i) == e;
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
    const struct weir_device_routing *to = &route->to;
    uint32_t n = route->n_tok * route->n_top, warp = threadIdx.x / WARP;

    for (uint32_t e = warp; e < route->n_experts; e += N_WARPS)
        order->first[e] = count(to->expert, n, e);
    __syncthreads();
    if (warp == 0)
        count_up(order, route->n_experts);
    __syncthreads();
    for (uint32_t e = warp; e < route->n_experts; e += N_WARPS)
        place(to, n, e, order->first[e]);
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

static __global__ void __launch_bounds__(THREADS)
    route_token(const __grid_constant__ struct weir_device_route route,
                uint32_t *counter)
{
    extern __shared__ float a[];
    __shared__ float p[WEIR_DEVICE_EXPERTS];
    __shared__ struct order order;
    __shared__ uint32_t last;
    uint32_t t = blockIdx.x, n = route.w.cols, warp = threadIdx.x / WARP;
    float factor;

    weir_let_next_start();
    weir_after_others();
    factor = route.norm ? route.factor[t] : 1.0f;
#pragma unroll 8
    for (uint32_t c = threadIdx.x; c < n; c += THREADS)
        a[c] = route.x[t * route.ld_x + c] * (route.norm ? route.norm[c] : 1);
    __syncthreads();
    for (uint32_t e = warp; e < route.n_experts; e += N_WARPS) {
        float v = dot(&route.w, e, a) * factor;

        v *= route.w.scale ? route.w.scale[e] : 1.0f;
        p[e] = v;
        if (threadIdx.x % WARP == 0)
            route.logits[t * route.n_experts + e] = v;
    }
    __syncthreads();
    if (warp == 0) {
        softmax(p, route.n_experts);
        choose(&route, p);
    }
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(counter, 1) == route.n_tok - 1;
        if (last)
            *counter = 0;
    }
    __syncthreads();
    __threadfence();
    if (last)
        put_in_order(&route, &order);
}

void weir_cuda_route(struct weir_device *device,
                     const struct weir_device_route *route)
{
    dim3 grid = {route->n_tok, 1, 1};
    void *args[] = {(void *)route, &device->counters};

    if (route->n_experts > WEIR_DEVICE_EXPERTS ||
        route->n_top > WEIR_DEVICE_TOP || route->n_top > route->n_experts)
        weir_cuda_fail(device, WEIR_ELIMIT, "too many experts");
    else if (route->n_tok)
        weir_cuda_launch(device, (const void *)route_token, grid, THREADS,
                         route->w.cols * sizeof(float), args);
}
