/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of the next token, one block of threads for each row of scores.
 *
 * All filters leave the first ones of one order, higher scores before lower and
 * of equals lower ids: so what they leave together is said by the last token
 * that stays.  Top-k and top-p find its score by its bits, two at a time, each
 * time by going over all scores: they come from the second cache, and there is
 * no list to be kept anywhere.  Weights are whole numbers, so that the order in
 * which threads add them up does not show.
 */
#include "kernels/cuda/parts.h"

#define THREADS 1024
#define N_WARPS (THREADS / WARP)
#define PIVOTS  3
#define ONE     0x1p40f /* the weight of the best token */

struct scores {
    const float *x;
    uint32_t n;
    float best, temperature;
};

/* What ranks higher stays, and the first n_equal of those that rank so */
struct cut {
    uint32_t rank;
    uint64_t n_equal;
};

/* Greater for a greater score, of all that are numbers; zeros are alike. */
DEVICE uint32_t rank_of(float score)
{
    uint32_t bits = __float_as_uint(score + 0.0f);

    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

DEVICE float score_of(uint32_t rank)
{
    return __uint_as_float(rank >> 31 ? rank & 0x7fffffffu : ~rank);
}

DEVICE float probability(const struct scores *s, float score)
{
    return expf((score - s->best) / s->temperature);
}

DEVICE uint64_t weight_of(const struct scores *s, float score)
{
    return (uint64_t)(probability(s, score) * ONE);
}

/* ---- what a block has together ---- */

/* The sums of n values over all threads, in all of them */
DEVICE void sum_all(uint64_t *v, int n)
{
    __shared__ uint64_t sums[N_WARPS][PIVOTS];
    uint32_t lane = threadIdx.x % WARP;

    for (int k = 0; k < n; k++) {
        for (int i = WARP / 2; i; i /= 2)
            v[k] += __shfl_xor_sync(ALL, v[k], i);
        if (lane == 0)
            sums[threadIdx.x / WARP][k] = v[k];
    }
    __syncthreads();
    for (int k = 0; k < n; k++) {
        v[k] = sums[lane][k];
        for (int i = WARP / 2; i; i /= 2)
            v[k] += __shfl_xor_sync(ALL, v[k], i);
    }
    __syncthreads();
}

/* What the threads before this one have; *sum: all of them */
DEVICE uint64_t sum_before(uint64_t v, uint64_t *sum)
{
    __shared__ uint64_t sums[N_WARPS];
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint64_t up = v, of_warps, next;

    for (uint32_t i = 1; i < WARP; i *= 2) {
        next = __shfl_up_sync(ALL, up, i);
        up += lane >= i ? next : 0;
    }
    if (lane == WARP - 1)
        sums[warp] = up;
    __syncthreads();
    of_warps = sums[lane];
    for (uint32_t i = 1; i < WARP; i *= 2) {
        next = __shfl_up_sync(ALL, of_warps, i);
        of_warps += lane >= i ? next : 0;
    }
    *sum = __shfl_sync(ALL, of_warps, WARP - 1);
    next = __shfl_sync(ALL, of_warps, warp ? warp - 1 : 0);
    __syncthreads();
    return up - v + (warp ? next : 0);
}

/* ---- filters ---- */

/*
 * Of those that rank as high as each of the pivots, or higher: their weights,
 * or how many there are
 */
DEVICE void measure(const struct scores *s, const uint32_t *pivots, int n,
                    int by_weight, uint64_t *sum)
{
    for (int k = 0; k < n; k++)
        sum[k] = 0;
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < s->n; i += THREADS) {
        uint32_t rank = rank_of(s->x[i]);
        uint64_t each = by_weight ? weight_of(s, s->x[i]) : 1;

        for (int k = 0; k < n; k++)
            sum[k] += rank >= pivots[k] ? each : 0;
    }
    sum_all(sum, n);
}

/* The fewest of the first that measure target > 0, which all of them do */
DEVICE struct cut find_cut(const struct scores *s, uint64_t target,
                           int by_weight)
{
    struct cut cut = {0, 0};
    uint32_t pivots[PIVOTS];
    uint64_t sum[PIVOTS], each;

    for (int shift = 30; shift >= 0; shift -= 2) {
        for (uint32_t k = 0; k < PIVOTS; k++)
            pivots[k] = cut.rank | (k + 1) << shift;
        measure(s, pivots, PIVOTS, by_weight, sum);
        for (int k = 0; k < PIVOTS; k++)
            if (sum[k] >= target)
                cut.rank = pivots[k];
    }
    pivots[0] = cut.rank + 1;
    measure(s, pivots, 1, by_weight, sum);
    each = by_weight ? weight_of(s, score_of(cut.rank)) : 1;
    cut.n_equal = (target - sum[0] + each - 1) / each;
    return cut;
}

/* A thread's share of the tokens, neighbours */
struct share {
    uint32_t from, to;
};

DEVICE struct share share_of(uint32_t n)
{
    uint32_t each = (n + THREADS - 1) / THREADS;
    struct share share = {threadIdx.x * each, (threadIdx.x + 1) * each};

    share.to = share.to < n ? share.to : n;
    return share;
}

/* Makes the cut that of the thread's share. */
DEVICE void cut_share(const struct scores *s, struct share share,
                      struct cut *cut)
{
    uint64_t n = 0, before;

    for (uint32_t i = share.from; i < share.to; i++)
        n += rank_of(s->x[i]) == cut->rank;
    before = sum_before(n, &n);
    cut->n_equal = before < cut->n_equal ? cut->n_equal - before : 0;
}

/* The weight of token i, or 0 when it does not stay; cut is the next one's. */
DEVICE uint64_t take(const struct scores *s, uint32_t i, struct cut *cut,
                     float min_p)
{
    uint32_t rank = rank_of(s->x[i]);

    if (rank < cut->rank || probability(s, s->x[i]) < min_p)
        return 0;
    if (rank == cut->rank && cut->n_equal == 0)
        return 0;
    cut->n_equal -= rank == cut->rank;
    return weight_of(s, s->x[i]);
}

DEVICE uint64_t sum_of(const struct scores *s, struct share share,
                       struct cut cut, float min_p)
{
    uint64_t sum = 0;

    for (uint32_t i = share.from; i < share.to; i++)
        sum += take(s, i, &cut, min_p);
    return sum;
}

/* What top-k and top-p leave */
DEVICE struct cut filter(const struct scores *s, struct share share,
                         const struct weir_device_draw *how)
{
    struct cut cut = {0, s->n}, own, next;
    uint64_t sum;

    if (how->top_k && how->top_k < s->n)
        cut = find_cut(s, how->top_k, 0);
    if (how->top_p >= 1.0f)
        return cut;
    own = cut;
    cut_share(s, share, &own);
    sum = sum_of(s, share, own, 0.0f);
    sum_all(&sum, 1);
    sum = (uint64_t)((double)how->top_p * (double)sum);
    next = find_cut(s, sum ? sum : 1, 1);
    if (next.rank == cut.rank && next.n_equal > cut.n_equal)
        next.n_equal = cut.n_equal;
    return next;
}

/* ---- the draw ---- */

/* The thread in whose share the draw falls says where. */
DEVICE void draw(const struct scores *s, const struct weir_device_draw *how,
                 int32_t *id)
{
    struct share share = share_of(s->n);
    struct cut cut = filter(s, share, how);
    uint64_t own, before, sum, wanted, each;

    cut_share(s, share, &cut);
    own = sum_of(s, share, cut, how->min_p);
    before = sum_before(own, &sum);
    wanted = (uint64_t)(how->share * (double)sum);
    wanted = wanted < sum ? wanted : sum - 1;
    if (wanted < before || wanted - before >= own)
        return;
    wanted -= before;
    for (uint32_t i = share.from; i < share.to; i++) {
        each = take(s, i, &cut, how->min_p);
        if (each > wanted) {
            *id = (int32_t)i;
            return;
        }
        wanted -= each;
    }
}

/* A score and where it is; of equals the lower place wins. */
struct best {
    float v;
    uint32_t at;
};

DEVICE void take_better(struct best *best, float v, uint32_t at)
{
    if (v > best->v || (v == best->v && at < best->at)) {
        best->v = v;
        best->at = at;
    }
}

/* Of the warp, in all lanes */
DEVICE void take_best(struct best *best)
{
    for (int i = WARP / 2; i; i /= 2)
        take_better(best, __shfl_xor_sync(ALL, best->v, i),
                    __shfl_xor_sync(ALL, best->at, i));
}

/* Plus infinity when one is no number */
DEVICE struct best find_best(const float *x, uint32_t n)
{
    __shared__ struct best shared[N_WARPS];
    struct best best = {-INFINITY, 0};

#pragma unroll 16
    for (uint32_t i = threadIdx.x; i < n; i += THREADS)
        take_better(&best, isnan(x[i]) ? INFINITY : x[i], i);
    take_best(&best);
    if (threadIdx.x % WARP == 0)
        shared[threadIdx.x / WARP] = best;
    __syncthreads();
    best = shared[threadIdx.x % WARP];
    take_best(&best);
    return best;
}

static __global__ void __launch_bounds__(THREADS)
    choose(const float *x, size_t ld_x, uint32_t n,
           const struct weir_device_draw *draws, int32_t *ids)
{
    struct weir_device_draw how;
    struct best best;
    struct scores s;

    weir_let_next_start();
    weir_after_others();
    x += blockIdx.x * ld_x;
    how = draws[blockIdx.x];
    best = find_best(x, n);
    s.x = x;
    s.n = n;
    s.best = best.v;
    s.temperature = how.temperature;
    if (isinf(best.v) || how.temperature == 0.0f) {
        if (threadIdx.x == 0)
            ids[blockIdx.x] = isinf(best.v) ? -1 : (int32_t)best.at;
        return;
    }
    draw(&s, &how, &ids[blockIdx.x]);
}

void weir_cuda_choose(struct weir_device *device, const float *x, size_t ld_x,
                      size_t n_tok, size_t n,
                      const struct weir_device_draw *draws, int32_t *ids)
{
    uint32_t cols = (uint32_t)n;
    dim3 grid = {(unsigned)n_tok, 1, 1};
    void *args[] = {&x, &ld_x, &cols, &draws, &ids};

    if (n_tok)
        weir_cuda_launch(device, (const void *)choose, grid, THREADS, 0, args);
}
