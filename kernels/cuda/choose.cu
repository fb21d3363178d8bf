/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The choice of the next token, for each row of scores by a block of threads or
 * by a cluster of them, which have equal slices of the row.
 *
 * All filters leave the first ones of one order, higher scores before lower and
 * of equals lower ids: so what they leave together is said by the last token
 * that stays.  Top-k and top-p find its score by its bits, two at a time, each
 * time by going over all scores.  Weights are whole numbers, so that the order
 * in which threads add them up does not show.
 */
#include "kernels/cuda/parts.h"

#define THREADS 512
#define N_WARPS (THREADS / WARP)
#define CLUSTER 8 /* blocks of threads, on cards that can */
#define PIVOTS  3
#define ONE     0x1p31f /* the weight of the best token */

/* A row, of which the block has scores `from` to to - 1 */
struct scores {
    const float *x;
    uint32_t n, from, to;
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

/* ---- what threads have together ---- */

/* Blocks that share a row, and which of them this one is */
DEVICE uint32_t n_blocks(void)
{
#if __CUDA_ARCH__ >= 900
    return CLUSTER;
#else
    return 1;
#endif
}

DEVICE uint32_t own_block(void)
{
    return blockIdx.x % n_blocks();
}

/* What all threads of the cluster have written to shared memory is there. */
DEVICE void meet_all(void)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release;\n"
                 "barrier.cluster.wait.acquire;" ::
                     : "memory");
#else
    __syncthreads();
#endif
}

/* What another block has where `at` is in this one's shared memory */
DEVICE uint64_t of_block(const uint64_t *at, uint32_t block)
{
#if __CUDA_ARCH__ >= 900
    uint64_t v;

    asm volatile("{ .reg .b32 there;\n"
                 "mapa.shared::cluster.u32 there, %1, %2;\n"
                 "ld.shared::cluster.u64 %0, [there]; }"
                 : "=l"(v)
                 : "r"(shared_address(at)), "r"(block)
                 : "memory");
    return v;
#else
    (void)block;
    return *at;
#endif
}

/* Values that blocks show each other, in turn in two places */
struct shown {
    uint64_t (*v)[PIVOTS];
    uint32_t turn;
};

/* The sums of n values over groups of lanes, a power of two, in all of them */
DEVICE void sum_lanes(uint64_t *v, int n, int lanes)
{
    for (int i = lanes / 2; i; i /= 2)
        for (int k = 0; k < n; k++)
            v[k] += __shfl_xor_sync(ALL, v[k], i);
}

/* The same over all threads of all blocks */
DEVICE void sum_all(uint64_t *v, int n, struct shown *shown)
{
    __shared__ uint64_t sums[N_WARPS][PIVOTS];
    uint32_t lane = threadIdx.x % WARP;
    uint64_t *own = shown->v[shown->turn++ % 2];

    sum_lanes(v, n, WARP);
    for (int k = 0; k < n && lane == 0; k++)
        sums[threadIdx.x / WARP][k] = v[k];
    __syncthreads();
    if (threadIdx.x < WARP) {
        for (int k = 0; k < n; k++)
            v[k] = sums[lane % N_WARPS][k];
        sum_lanes(v, n, N_WARPS);
        for (int k = 0; k < n && lane == 0; k++)
            own[k] = v[k];
    }
    meet_all();
    for (int k = 0; k < n; k++)
        v[k] = of_block(&own[k], lane % n_blocks());
    sum_lanes(v, n, n_blocks());
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

/* What the warps before this one have, in all blocks; *sum: all of them */
DEVICE uint64_t sum_before(uint64_t v, uint64_t *sum, struct shown *shown)
{
    __shared__ uint64_t sums[N_WARPS];
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    uint64_t *own = shown->v[shown->turn++ % 2], up = sum_up_to(v), before;

    __syncthreads();
    if (lane == WARP - 1)
        sums[warp] = up;
    __syncthreads();
    up = sum_up_to(lane < N_WARPS ? sums[lane] : 0);
    before = __shfl_sync(ALL, up, warp ? warp - 1 : 0);
    before = warp ? before : 0;
    if (threadIdx.x == WARP - 1)
        own[0] = up;
    meet_all();
    up = sum_up_to(lane < n_blocks() ? of_block(own, lane) : 0);
    *sum = __shfl_sync(ALL, up, WARP - 1);
    up = __shfl_sync(ALL, up, own_block() ? own_block() - 1 : 0);
    return before + (own_block() ? up : 0);
}

/* ---- filters ---- */

/*
 * Of those that rank as high as each of the pivots, or higher: their weights,
 * or how many there are
 */
DEVICE void measure(const struct scores *s, const uint32_t *pivots,
                    int by_weight, uint64_t *sum, struct shown *shown)
{
    for (int k = 0; k < PIVOTS; k++)
        sum[k] = 0;
#pragma unroll 8
    for (uint32_t i = s->from + threadIdx.x; i < s->to; i += THREADS) {
        uint32_t rank = rank_of(s->x[i]);
        uint32_t each = by_weight ? (uint32_t)weight_of(s, s->x[i]) : 1;

        for (int k = 0; k < PIVOTS; k++)
            sum[k] += rank >= pivots[k] ? each : 0;
    }
    sum_all(sum, PIVOTS, shown);
}

/* The fewest of the first that measure target > 0, which all of them do */
DEVICE struct cut find_cut(const struct scores *s, uint64_t target,
                           int by_weight, struct shown *shown)
{
    uint64_t above = 0, sum[PIVOTS],
             each; /* above: of those that rank higher */
    struct cut cut = {0, 0};

    for (int shift = 30; shift >= 0; shift -= 2) {
        uint32_t pivots[PIVOTS], known = cut.rank;

        for (uint32_t k = 0; k < PIVOTS; k++)
            pivots[k] = known | (k + 1) << shift;
        measure(s, pivots, by_weight, sum, shown);
        for (int k = PIVOTS - 1; k >= 0 && cut.rank == known; k--) {
            if (sum[k] >= target)
                cut.rank = pivots[k];
            else
                above = sum[k];
        }
    }
    each = by_weight ? weight_of(s, score_of(cut.rank)) : 1;
    cut.n_equal = (target - above + each - 1) / each;
    return cut;
}

/* A warp's share of the tokens, neighbours; lanes have every 32nd. */
struct share {
    uint32_t from, to;
};

DEVICE struct share share_of(const struct scores *s)
{
    uint32_t warp = threadIdx.x / WARP;
    uint32_t each = (s->to - s->from + THREADS - 1) / THREADS * WARP;
    struct share share = {s->from + warp * each, s->from + (warp + 1) * each};

    share.to = share.to < s->to ? share.to : s->to;
    return share;
}

/* Makes the cut that of the warp's share. */
DEVICE void cut_share(const struct scores *s, struct share share,
                      struct cut *cut, struct shown *shown)
{
    uint32_t lane = threadIdx.x % WARP;
    uint64_t n = 0, all, before;

    for (uint32_t i = share.from + lane; i < share.to; i += WARP)
        n += rank_of(s->x[i]) == cut->rank;
    before = sum_before(n, &all, shown);
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
                         const struct weir_device_draw *how,
                         struct shown *shown)
{
    struct cut cut = {0, s->n}, own, next;
    uint64_t sum;

    if (how->top_k && how->top_k < s->n)
        cut = find_cut(s, how->top_k, 0, shown);
    if (how->top_p >= 1.0f)
        return cut;
    own = cut;
    cut_share(s, share, &own, shown);
    sum = sum_of(s, share, own, 0.0f);
    sum_all(&sum, 1, shown);
    sum = (uint64_t)((double)how->top_p * (double)sum);
    next = find_cut(s, sum ? sum : 1, 1, shown);
    if (next.rank == cut.rank && next.n_equal > cut.n_equal)
        next.n_equal = cut.n_equal;
    return next;
}

/* ---- the draw ---- */

/* The warp in whose share the draw falls says where. */
DEVICE void draw(const struct scores *s, const struct weir_device_draw *how,
                 struct shown *shown, int32_t *id)
{
    uint32_t lane = threadIdx.x % WARP, hit;
    struct share share = share_of(s);
    struct cut cut = filter(s, share, how, shown);
    uint64_t own, before, sum, wanted, up;

    cut_share(s, share, &cut, shown);
    own = sum_of(s, share, cut, how->min_p);
    before = sum_before(own, &sum, shown);
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

/*
 * Plus infinity when one is no number.  What blocks show is the rank and the
 * place, turned round, as one number.
 */
DEVICE struct best find_best(const struct scores *s, struct shown *shown)
{
    __shared__ struct best shared[N_WARPS];
    uint64_t *own = shown->v[shown->turn++ % 2], v;
    struct best best = {-INFINITY, UINT32_MAX};
    uint32_t lane = threadIdx.x % WARP;

#pragma unroll 16
    for (uint32_t i = s->from + threadIdx.x; i < s->to; i += THREADS)
        take_better(&best, isnan(s->x[i]) ? INFINITY : s->x[i], i);
    take_best(&best);
    if (lane == 0)
        shared[threadIdx.x / WARP] = best;
    __syncthreads();
    best = shared[lane % N_WARPS];
    take_best(&best);
    if (threadIdx.x == 0)
        own[0] = (uint64_t)rank_of(best.v) << 32 | ~best.at;
    meet_all();
    v = lane < n_blocks() ? of_block(own, lane) : 0;
    for (int i = WARP / 2; i; i /= 2) {
        uint64_t other = __shfl_xor_sync(ALL, v, i);

        v = v > other ? v : other;
    }
    best.v = score_of((uint32_t)(v >> 32));
    best.at = ~(uint32_t)v;
    return best;
}

#if __CUDA_ARCH__ >= 900
#define TOGETHER __cluster_dims__(CLUSTER, 1, 1)
#else
#define TOGETHER
#endif

static __global__ void TOGETHER __launch_bounds__(THREADS)
    choose(const float *x, size_t ld_x, uint32_t n, uint32_t n_launched,
           const struct weir_device_draw *draws, int32_t *ids)
{
    __shared__ uint64_t values[2][PIVOTS];
    struct shown shown = {values, 0};
    uint32_t row = blockIdx.x / n_launched;
    uint32_t each = (n + n_blocks() - 1) / n_blocks();
    struct weir_device_draw how;
    struct best best;
    struct scores s;

    /* code for older cards knows no clusters, wherever it runs */
    if (blockIdx.x % n_launched >= n_blocks())
        return;
    weir_let_next_start();
    weir_after_others();
    how = draws[row];
    s.x = x + row * ld_x;
    s.n = n;
    s.from = own_block() * each < n ? own_block() * each : n;
    s.to = s.from + each < n ? s.from + each : n;
    best = find_best(&s, &shown);
    s.best = best.v;
    s.rate = 1.0f / how.temperature;
    if (!isinf(best.v) && how.temperature > 0.0f)
        draw(&s, &how, &shown, &ids[row]);
    else if (threadIdx.x == 0 && own_block() == 0)
        ids[row] = isinf(best.v) ? -1 : (int32_t)best.at;
    meet_all(); /* nobody looks into a block that has ended */
}

void weir_cuda_choose(struct weir_device *device, const float *x, size_t ld_x,
                      size_t n_tok, size_t n,
                      const struct weir_device_draw *draws, int32_t *ids)
{
    uint32_t cols = (uint32_t)n;
    uint32_t each = device->cc_major >= 9 ? CLUSTER : 1;
    dim3 grid = {(unsigned)n_tok * each, 1, 1};
    void *args[] = {&x, &ld_x, &cols, &each, &draws, &ids};

    if (n_tok)
        weir_cuda_launch(device, (const void *)choose, grid, THREADS, 0, args);
}
