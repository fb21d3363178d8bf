/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of the next token, one block of threads for each row of scores.
 *
 * All filters leave the first ones of one order, higher scores before lower and
 * of equals lower ids: so what they leave together is said by the last token
 * that stays.  Top-k and top-p find its score by its bits, two at a time, each
 * time by going over all scores that have the bits known before: these are a
 * short list soon.  Weights are whole numbers, so that the order in which
 * threads add them up does not show.
 */
#include "kernels/cuda/parts.h"

#define THREADS   1024
#define N_WARPS   (THREADS / WARP)
#define PIVOTS    3
#define LIST      8192    /* scores in shared memory */
#define FIND_LIST 22      /* bits not yet known when they may be few enough */
#define ONE       0x1p31f /* the weight of the best token */

struct scores {
    const float *x;
    uint32_t n;
    float best, rate; /* rate: 1 by the temperature */
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
    return __expf((score - s->best) * s->rate);
}

DEVICE uint64_t weight_of(const struct scores *s, float score)
{
    return (uint32_t)(probability(s, score) * ONE);
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

/* What the lanes of a warp up to this one have */
DEVICE uint64_t sum_up_to(uint64_t v)
{
    for (uint32_t i = 1; i < WARP; i *= 2) {
        uint64_t more = __shfl_up_sync(ALL, v, i);

        v += threadIdx.x % WARP >= i ? more : 0;
    }
    return v;
}

/* What the warps before this one have; *sum: all of them */
DEVICE uint64_t sum_before(uint64_t v, uint64_t *sum)
{
    __shared__ uint64_t sums[N_WARPS];
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint64_t up = sum_up_to(v);

    if (lane == WARP - 1)
        sums[warp] = up;
    __syncthreads();
    up = sum_up_to(sums[lane]);
    *sum = __shfl_sync(ALL, up, WARP - 1);
    up = __shfl_sync(ALL, up, warp ? warp - 1 : 0);
    __syncthreads();
    return warp ? up : 0;
}

/* ---- filters ---- */

/*
 * Of those that rank as high as each of the pivots, or higher: their weights,
 * or how many there are
 */
DEVICE void measure(const struct scores *s, const uint32_t *pivots,
                    int by_weight, uint64_t *sum)
{
    for (int k = 0; k < PIVOTS; k++)
        sum[k] = 0;
#pragma unroll 8
    for (uint32_t i = threadIdx.x; i < s->n; i += THREADS) {
        uint32_t rank = rank_of(s->x[i]);
        uint32_t each = by_weight ? (uint32_t)weight_of(s, s->x[i]) : 1;

        for (int k = 0; k < PIVOTS; k++)
            sum[k] += rank >= pivots[k] ? each : 0;
    }
    sum_all(sum, PIVOTS);
}

/* 1, and a list of those that have the bits of `rank` above the lowest ones, if
 * it is long enough for them */
DEVICE int make_list(struct scores *s, uint32_t rank, int n_lowest)
{
    __shared__ float list[LIST];
    __shared__ uint32_t n;
    uint32_t lane = threadIdx.x % WARP;

    if (threadIdx.x == 0)
        n = 0;
    __syncthreads();
#pragma unroll 8
    for (uint32_t from = 0; from < s->n; from += THREADS) {
        uint32_t i = from + threadIdx.x, hit, at = 0;
        float score = i < s->n ? s->x[i] : 0.0f;
        int is_one = i < s->n && (rank_of(score) ^ rank) >> n_lowest == 0;

        hit = __ballot_sync(ALL, is_one);
        if (hit && lane == 0)
            at = atomicAdd(&n, __popc(hit));
        at = __shfl_sync(ALL, at, 0) + __popc(hit & ((1u << lane) - 1));
        if (is_one && at < LIST)
            list[at] = score;
    }
    __syncthreads();
    if (n > LIST)
        return 0;
    s->x = list;
    s->n = n;
    return 1;
}

/* The fewest of the first that measure target > 0, which all of them do */
DEVICE struct cut find_cut(const struct scores *all, uint64_t target,
                           int by_weight)
{
    /* above: what those measure that rank higher than any of s */
    uint64_t before = 0, above = 0, sum[PIVOTS], each;
    struct scores s = *all;
    struct cut cut = {0, 0};
    int is_list = 0;

    for (int shift = 30; shift >= 0; shift -= 2) {
        uint32_t pivots[PIVOTS], known = cut.rank;

        for (uint32_t k = 0; k < PIVOTS; k++)
            pivots[k] = known | (k + 1) << shift;
        measure(&s, pivots, by_weight, sum);
        for (int k = PIVOTS - 1; k >= 0 && cut.rank == known; k--) {
            if (before + sum[k] >= target)
                cut.rank = pivots[k];
            else
                above = before + sum[k];
        }
        if (shift > FIND_LIST || is_list)
            continue;
        is_list = make_list(&s, cut.rank, shift);
        before = is_list ? above : 0;
    }
    each = by_weight ? weight_of(all, score_of(cut.rank)) : 1;
    cut.n_equal = (target - above + each - 1) / each;
    return cut;
}

/* A warp's share of the tokens, neighbours; lanes have every 32nd. */
struct share {
    uint32_t from, to;
};

DEVICE struct share share_of(uint32_t n)
{
    uint32_t warp = threadIdx.x / WARP;
    uint32_t each = (n + THREADS - 1) / THREADS * WARP;
    struct share share = {warp * each, (warp + 1) * each};

    share.to = share.to < n ? share.to : n;
    return share;
}

/* Makes the cut that of the warp's share. */
DEVICE void cut_share(const struct scores *s, struct share share,
                      struct cut *cut)
{
    uint32_t lane = threadIdx.x % WARP;
    uint64_t n = 0, all, before;

    for (uint32_t i = share.from + lane; i < share.to; i += WARP)
        n += rank_of(s->x[i]) == cut->rank;
    before = sum_before(n, &all);
    cut->n_equal = before < cut->n_equal ? cut->n_equal - before : 0;
}

/*
 * The weight of the lane's token of 32 from `from` on, or 0 when it does not
 * stay; cut becomes that of the next ones.
 */
DEVICE uint64_t take(const struct scores *s, struct share share, uint32_t from,
                     struct cut *cut, float min_p)
{
    uint32_t lane = threadIdx.x % WARP, i = from + lane, equal;
    float score = i < share.to ? s->x[i] : -INFINITY;
    uint32_t rank = rank_of(score);
    uint64_t n_equal = cut->n_equal;

    equal = __ballot_sync(ALL, rank == cut->rank && i < share.to);
    cut->n_equal -= __popc(equal) < n_equal ? __popc(equal) : n_equal;
    if (i >= share.to || rank < cut->rank || probability(s, score) < min_p ||
        (rank == cut->rank && __popc(equal & ((1u << lane) - 1)) >= n_equal))
        return 0;
    return weight_of(s, score);
}

/* Of the lane */
DEVICE uint64_t sum_of(const struct scores *s, struct share share,
                       struct cut cut, float min_p)
{
    uint64_t sum = 0;

    for (uint32_t i = share.from; i < share.to; i += WARP)
        sum += take(s, share, i, &cut, min_p);
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

/* The warp in whose share the draw falls says where. */
DEVICE void draw(const struct scores *s, const struct weir_device_draw *how,
                 int32_t *id)
{
    uint32_t lane = threadIdx.x % WARP, hit;
    struct share share = share_of(s->n);
    struct cut cut = filter(s, share, how);
    uint64_t own, before, sum, wanted, up;

    cut_share(s, share, &cut);
    own = sum_of(s, share, cut, how->min_p);
    before = sum_before(own, &sum);
    wanted = (uint64_t)(how->share * (double)sum);
    wanted = wanted < sum ? wanted : sum - 1;
    if (wanted < before)
        return;
    for (uint32_t i = share.from; i < share.to; i += WARP) {
        up = before + sum_up_to(take(s, share, i, &cut, how->min_p));
        hit = __ballot_sync(ALL, up > wanted);
        if (hit) {
            if (lane == 0)
                *id = (int32_t)(i + __ffs((int)hit) - 1);
            return;
        }
        before = __shfl_sync(ALL, up, WARP - 1);
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
    s.rate = 1.0f / how.temperature;
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
