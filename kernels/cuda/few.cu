/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of 1 to 16 tokens with weights of int8 and bf16, at the speed of
 * memory and without rounding an activation.
 *
 * An f32 is the sum of three bf16: each is what the ones before it leave,
 * rounded.  So the matrix units, which take bf16, get three columns for a token
 * and the sums of the three are added at the end; int8 is bf16 already.  They
 * are far from being the bound, and what they spare is the loads of activations
 * that plain arithmetic would need for every row.
 *
 * A block of threads does a tile of 128 rows for a part of the columns: a
 * column block where the file has some, else a fixed share.  Each warp has 16
 * of the rows and a ring of its own in shared memory, through which they come.
 * The last block to end with a tile adds up its parts, as a binary tree.  What
 * a token gets depends on nothing but the shape of the matrix, as every column
 * of a matrix product stands alone.
 *
 * Lane q of the four that share a row takes 16 bytes of it that are neighbours
 * in memory, and takes the activations in the same order: a sum over columns
 * does not mind.
 */
#include "kernels/cuda/few.h"

#include "kernels/cuda/parts.h"

#define N_WARPS 8
#define THREADS (N_WARPS * WARP)
#define RING    4   /* stages */
#define STAGE   128 /* bytes of a row */
#define COLUMNS 256 /* whose activations are in shared memory at a time */
#define TERMS   3

#define STAGE_BYTES (16 * STAGE)
#define RING_BYTES  (N_WARPS * RING * STAGE_BYTES)

/* Rows of activations are padded so that lanes do not meet in a bank. */
#define PITCH(dtype) (COLUMNS * 2 + ((dtype) == WEIR_I8 ? 16 : 64))

/* Columns are put in one of two places while others are used, if tokens are not
 * so many that there is only one. */
#define PLACES(nt)        ((nt) < 6 ? 2 : 1)
#define SHARED(dtype, nt) (RING_BYTES + PLACES(nt) * (nt)*8 * PITCH(dtype))
#define SUM_PITCH         (FEW_ROWS + 4)

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

/* A thread's column of the next COLUMNS, on its way while others are used */
struct columns {
    uint64_t before; /* columns before the part */
    uint32_t n;      /* of the part; behind them come zeros */
    float norm, v[FEW_TOK];
};

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
    uint32_t c = threadIdx.x, at = c, pitch = PITCH(dtype);

    if (dtype == WEIR_I8)
        at = (c & ~3u) | (c & 1) << 1 | (c >> 1 & 1);
#pragma unroll
    for (int t = 0; t < most; t++)
        if (t < item->n_tok)
            put_terms(xs + t * TERMS * pitch + at * 2, pitch,
                      x->v[t] * x->norm);
}

/* 16 rows of one stage times the columns of all tokens */
DEVICE void multiply_i8(float (*c)[4], int nt, uint32_t stage, uint32_t xs)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;

#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t at = stage + g * STAGE + ((q + 4 * half) ^ (g & 1) << 2) * 16;
        uint32_t x = xs + g * PITCH(WEIR_I8) + half * 128 + q * 32;
        uint4 up = load_shared(at), down = load_shared(at + 8 * STAGE);
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
        uint32_t at = stage + g * STAGE + ((q + 4 * half) ^ (g & 1) << 2) * 16;
        uint32_t x = xs + g * PITCH(WEIR_BF16) + half * 64 + q * 16;
        uint4 up = load_shared(at), down = load_shared(at + 8 * STAGE);
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

/* Rows of the result and what belongs to them, for one token and row */
DEVICE void put_result(const struct few *few, const struct item *item,
                       uint32_t row, uint32_t y_row, float factor, float v,
                       float up)
{
    const struct few_matrix *to = &few->to[item->m];
    const float *scale = scale_of(few, item, item->m);
    float *y;

    if (row >= to->w.rows)
        return;
    v = v * factor * (scale ? scale[row] : 1.0f);
    v += to->bias ? to->bias[row] : 0.0f;
    y = to->y + y_row * to->ld_y + row;
    if (few->out == WEIR_OUT_GATED) {
        scale = scale_of(few, item, 1);
        up = up * factor * (scale ? scale[row] : 1.0f);
        up += few->to[1].bias ? few->to[1].bias[row] : 0.0f;
        v = silu(v) * up;
    }
    *y = few->out == WEIR_OUT_ADD ? *y + v : v;
}

/* The parts of one row as the tree ((0+1)+(2+3))+((4+5)+(6+7))..., n being a
 * power of two */
DEVICE float join_parts(const float *part, size_t stride, uint32_t n)
{
    float pair = 0.0f, sum = 0.0f;

#pragma unroll 1
    for (uint32_t k = 0; k < n; k += 8) {
        float v[8];

#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = k + i < n ? __ldcg(part + (k + i) * stride) : 0.0f;
#pragma unroll
        for (int step = 1; step < 8; step *= 2)
            if (step < n)
#pragma unroll
                for (int i = 0; i < 8; i += 2 * step)
                    v[i] += v[i + step];
        pair = k & 8 ? pair + v[0] : v[0];
        sum += k & 8 ? pair : 0.0f;
    }
    return n > 8 ? sum : pair;
}

/*
 * 1 in the block of threads that is the last of n to come here, for all.  What
 * they have written is there for __ldcg().
 */
DEVICE int is_last(uint32_t *counter, uint32_t n)
{
    __shared__ uint32_t last;

    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(counter, 1) == n - 1;
        if (last)
            *counter = 0;
        __threadfence();
    }
    __syncthreads();
    return last;
}

/* All experts of all tokens are there for the rows of a tile. */
DEVICE void sum_experts(const struct few *few, uint32_t row)
{
    uint32_t r = row + threadIdx.x % FEW_ROWS;
    uint32_t t = threadIdx.x / FEW_ROWS;

    if (r >= few->to[0].w.rows)
        return;
#pragma unroll 1
    for (; t < few->n_tok; t += THREADS / FEW_ROWS) {
        float *sum = few->sum + t * few->ld_sum + r;
        float v = few->in_order ? *sum : 0.0f;

#pragma unroll 1
        for (uint32_t i = 0; i < few->n_top; i++) {
            uint32_t choice = t * few->n_top + i;
            size_t at = few->routing.place[choice] * few->to[0].ld_y + r;

            if (is_wanted(few->expert, few->routing.expert[choice],
                          few->from_expert, few->to_expert))
                v += few->routing.prob[choice] * __ldcg(few->to[0].y + at);
        }
        *sum = few->in_order ? v : *sum + v;
    }
}

/* Who is the last of all groups for the rows of a tile adds them up. */
DEVICE void end_of_group(const struct few *few, const struct item *item)
{
    if (is_last(few->counter + few->n_tiles * few->n_groups + item->tile,
                few->routing.group[2 * few->n_tok * few->n_top]))
        sum_experts(few, tile_row(few, item));
}

/* From the sums of a part of the columns to the result */
DEVICE void finish(const struct few *few, const struct item *item,
                   const float *factor, float *sum)
{
    uint32_t row0 = tile_row(few, item), gated = few->out == WEIR_OUT_GATED;
    uint32_t n_rows = gated ? FEW_ROWS / 2 : FEW_ROWS, n_parts = few->n_parts;
    size_t stride = (size_t)FEW_ROWS * few->n_rows;
    float *part = few->partial + item->tile * n_parts * stride +
                  (size_t)item->first * FEW_ROWS;

    if (n_parts > 1) {
#pragma unroll 1
        for (uint32_t i = threadIdx.x; i < item->n_tok * FEW_ROWS; i += THREADS)
            __stcg(part + item->part * stride + i,
                   sum[i / FEW_ROWS * SUM_PITCH + i % FEW_ROWS]);
        if (!is_last(few->counter + item->slot, n_parts))
            return;
    }
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < item->n_tok * n_rows; i += THREADS) {
        uint32_t t = i / n_rows, r = i % n_rows;
        uint32_t y_row = item->first + t;
        float v = sum[t * SUM_PITCH + r], up = 0.0f;

        if (n_parts > 1)
            v = join_parts(part + t * FEW_ROWS + r, stride, n_parts);
        if (gated && n_parts > 1)
            up = join_parts(part + t * FEW_ROWS + n_rows + r, stride, n_parts);
        else if (gated)
            up = sum[t * SUM_PITCH + n_rows + r];
        put_result(few, item, row0 + r, y_row, factor[t], v, up);
    }
    if (few->kind == FEW_DOWNS)
        end_of_group(few, item);
}

/* What of the terms' sums a thread has, to shared memory, and their sums */
DEVICE void gather_terms(float (*c)[4], int nt, uint32_t n_tok, float *sum)
{
    uint32_t lane = threadIdx.x % WARP, g = lane / 4, q = lane % 4;
    uint32_t row = threadIdx.x / WARP * 16 + g;

#pragma unroll
    for (int i = 0; i < nt; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum[(i * 8 + 2 * q + (j & 1)) * SUM_PITCH + row + (j & 2) * 4] =
                c[i][j];
    __syncthreads();
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < n_tok * FEW_ROWS; i += THREADS) {
        float *at = sum + i / FEW_ROWS * TERMS * SUM_PITCH + i % FEW_ROWS;

        *at += at[SUM_PITCH] + at[2 * SUM_PITCH];
    }
    __syncthreads();
    /* Token t's is now in column 3 t: each to column t, in order */
#pragma unroll 1
    for (uint32_t t = 1; t < n_tok; t++)
        if (threadIdx.x < FEW_ROWS)
            sum[t * SUM_PITCH + threadIdx.x] =
                sum[t * TERMS * SUM_PITCH + threadIdx.x];
    __syncthreads();
}

/* Rows of x and factors of the tokens of an item */
DEVICE void find_tokens(const struct few *few, const struct item *item,
                        uint32_t *row, float *factor)
{
    uint32_t lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

#pragma unroll 1
    for (uint32_t t = warp; t < item->n_tok; t += N_WARPS) {
        uint32_t r = item->first + t;
        float f = 1.0f;

        if (few->kind == FEW_GATES)
            r = few->routing.order[r] / few->n_top;
        if (few->norm && few->factor)
            f = few->factor[r];
        else if (few->norm)
            f = row_factor(few->x + r * few->ld_x, few->to[0].w.cols, few->eps,
                           lane);
        row[t] = r;
        factor[t] = f;
    }
}

DEVICE void multiply_part(const struct few *few, const struct item *item,
                          struct stream *s, uint32_t dtype, int nt,
                          const uint32_t *row, uint8_t *ring, float (*c)[4])
{
    const struct weir_matrix *w = &few->to[item->m].w;
    const uint32_t size = dtype == WEIR_I8 ? 1 : 2;
    const uint32_t chunk = COLUMNS * size / STAGE;  /* stages */
    const int most = nt == 6 ? 16 : nt * 8 / TERMS; /* tokens */
    uint32_t warp = threadIdx.x / WARP, n_stages, n = w->cols / w->col_blocks;
    uint32_t in = item->part % few->n_sub * few->part_bytes / size;
    uint32_t mine = shared_address(ring) + warp * RING * STAGE_BYTES;
    uint8_t *xs = ring + RING_BYTES;
    struct columns x;

    x.before = (uint64_t)n * (item->part / few->n_sub) + in;
    x.n = in < n ? n - in : 0; /* a part may have a row's padding alone */
    x.n = x.n < few->part_bytes / size ? x.n : few->part_bytes / size;
    fetch_columns(few, item, row, most, 0, &x);
    n_stages = (s->n_bytes + STAGE - 1) / STAGE;
#pragma unroll 1
    for (uint32_t i = 0; i < n_stages; i++) {
        uint32_t place = i / chunk % PLACES(nt) * nt * 8 * PITCH(dtype);
        uint32_t stage = mine + i % RING * STAGE_BYTES;

        if (i % chunk == 0) {
            if (PLACES(nt) == 1)
                __syncthreads();
            put_columns(item, dtype, most, &x, xs + place);
            __syncthreads();
            fetch_columns(few, item, row, most, i * STAGE / size + COLUMNS, &x);
        }
        copy_wait(RING - 2);
        __syncwarp();
        if (dtype == WEIR_I8)
            multiply_i8(c, nt, stage,
                        shared_address(xs) + place + i % chunk * STAGE * 2);
        else
            multiply_bf16(c, nt, stage,
                          shared_address(xs) + place + i % chunk * STAGE);
        __syncwarp();
        stream_next(s, (i + RING - 1) % RING);
    }
    copy_wait(0);
}

DEVICE void multiply_tokens(const struct few *few, const struct item *item,
                            struct stream *s, uint32_t dtype, int nt,
                            const uint32_t *row, const float *factor,
                            uint8_t *ring)
{
    float c[6][4] = {{0}};

    multiply_part(few, item, s, dtype, nt, row, ring, c);
    __syncthreads();
    gather_terms(c, nt, item->n_tok, (float *)ring);
    finish(few, item, factor, (float *)ring);
}

DEVICE void multiply_item(const struct few *few, uint32_t dtype, int nt)
{
    extern __shared__ __align__(128) uint8_t shared[];
    __shared__ uint32_t row[FEW_TOK];
    __shared__ float factor[FEW_TOK];
    uint32_t warp = threadIdx.x / WARP;
    uint32_t ring = shared_address(shared) + warp * RING * STAGE_BYTES;
    struct stream s;
    struct item item;

    /*
     * The kernel of a layer's downs begins when that of its gates lets it,
     * which has waited for the router: who goes where is known to it by then.
     */
    if (few->kind == FEW_GATES)
        weir_after_others();
    weir_let_next_start();
    if (!find_item(few, &item))
        return;
    if (!item.is_wanted) {
        weir_after_others();
        if (few->kind == FEW_DOWNS && item.part == 0)
            end_of_group(few, &item);
        return;
    }
    stream_start(few, &item, ring, &s);
#pragma unroll
    for (int i = 0; i < RING - 1; i++)
        stream_next(&s, i);
    weir_after_others();
    find_tokens(few, &item, row, factor);
    __syncthreads();
    if (nt == 6 && item.n_tok <= 2)
        multiply_tokens(few, &item, &s, dtype, 1, row, factor, shared);
    else if (nt == 6 && item.n_tok <= 5)
        multiply_tokens(few, &item, &s, dtype, 2, row, factor, shared);
    else if (nt == 6 && item.n_tok <= 8)
        multiply_tokens(few, &item, &s, dtype, 3, row, factor, shared);
    else
        multiply_tokens(few, &item, &s, dtype, nt, row, factor, shared);
}

#define KERNEL(name, dtype, nt, blocks)                                        \
    static __global__ void __launch_bounds__(THREADS, blocks)                  \
        name(const __grid_constant__ struct few few)                           \
    {                                                                          \
        multiply_item(&few, dtype, nt);                                        \
    }
KERNEL(few_i8_2, WEIR_I8, 1, 3)
KERNEL(few_i8_5, WEIR_I8, 2, 2)
KERNEL(few_i8_8, WEIR_I8, 3, 2)
KERNEL(few_i8_16, WEIR_I8, 6, 2)
KERNEL(few_bf16_2, WEIR_BF16, 1, 3)
KERNEL(few_bf16_5, WEIR_BF16, 2, 2)
KERNEL(few_bf16_8, WEIR_BF16, 3, 2)
KERNEL(few_bf16_16, WEIR_BF16, 6, 2)

static const struct {
    uint32_t n_tok;
    int nt;
    const void *i8, *bf16;
} kernels[] = {
    {2, 1, (const void *)few_i8_2, (const void *)few_bf16_2},
    {5, 2, (const void *)few_i8_5, (const void *)few_bf16_5},
    {8, 3, (const void *)few_i8_8, (const void *)few_bf16_8},
    {16, 6, (const void *)few_i8_16, (const void *)few_bf16_16},
};

uint32_t weir_cuda_few_tiles(struct few *few)
{
    uint32_t n = 0;

    if (few->out == WEIR_OUT_GATED)
        return weir_cuda_parts(few->to[0].w.rows, FEW_ROWS / 2);
    for (uint32_t m = 0; m < few->n_mat; m++) {
        few->to[m].first_tile = n;
        n += weir_cuda_parts(few->to[m].w.rows, FEW_ROWS);
    }
    return n;
}

void weir_cuda_few(struct weir_device *device, struct few *few)
{
    const struct weir_matrix *w = &few->to[0].w;
    uint32_t most = few->n_tok, i = 0, n_items;
    dim3 grid = {1, 1, 1};
    void *args[] = {few};

    few->n_sub = few_n_sub(w);
    few->n_parts = few->n_sub * w->col_blocks;
    few->part_bytes = (w->row_bytes / few->n_sub + STAGE - 1) / STAGE * STAGE;
    few->n_tiles = weir_cuda_few_tiles(few);
    n_items = few->n_tiles * few->n_groups;
    if (n_items + few->n_tiles > CUDA_COUNTERS) {
        weir_cuda_fail(device, WEIR_ELIMIT, "too many tiles in a product");
        return;
    }
    while (kernels[i].n_tok < (most < FEW_TOK ? most : FEW_TOK))
        i++;
    grid = few->kind == FEW_DENSE
               ? dim3{few->n_groups, few->n_parts, few->n_tiles}
               : dim3{few->n_parts, few->n_tiles, few->n_groups};
    weir_cuda_launch(device,
                     w->dtype == WEIR_I8 ? kernels[i].i8 : kernels[i].bf16,
                     grid, THREADS,
                     w->dtype == WEIR_I8 ? SHARED(WEIR_I8, kernels[i].nt)
                                         : SHARED(WEIR_BF16, kernels[i].nt),
                     args);
}
