/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products of few tokens, in groups of 16, with weights of int8 and bf16, at
 * the speed of memory and without rounding an activation.
 *
 * An f32 is the sum of three bf16: each is what the ones before it leave,
 * rounded.  So the matrix units, which take bf16, get three columns for a token
 * and the sums of the three are added at the end; int8 is bf16 already.  They
 * are far from being the bound, and what they spare is the loads of activations
 * that plain arithmetic would need for every row.
 *
 * A block of threads does a tile of 128 rows for a part of the columns: a
 * column block of the file, or an equal part of one.  Each warp has 16 of the
 * rows and a ring of its own in shared memory, through which they come.  The
 * last block to end with a tile adds up its parts, as a binary tree.  What a
 * token gets depends on nothing but the shapes of the matrices, as every column
 * of a matrix product stands alone.
 *
 * Of up to 8 tokens a block of threads splits the activations that it needs;
 * more are split once, before, into rows as they are to lie in shared memory.
 *
 * Lane q of the four that share a row takes 16 bytes of it that are neighbours
 * in memory, and takes the activations in the same order: a sum over columns
 * does not mind.
 */
#include "kernels/cuda/few_parts.h"

/* Rows of the result and what belongs to them, for one token and row; what is
 * there then */
DEVICE float put_result(const struct few *few, const struct item *item,
                        uint32_t row, uint32_t y_row, float factor, float v,
                        float up)
{
    const struct few_matrix *to = &few->to[item->m];
    const float *scale = scale_of(few, item, item->m);
    float *y;

    if (row >= to->w.rows)
        return 0.0f;
    v = v * factor * (scale ? scale[row] : 1.0f);
    v += to->bias ? to->bias[row] : 0.0f;
    y = to->y + y_row * to->ld_y + row;
    if (few->out == WEIR_OUT_GATED) {
        scale = scale_of(few, item, 1);
        up = up * factor * (scale ? scale[row] : 1.0f);
        up += few->to[1].bias ? few->to[1].bias[row] : 0.0f;
        v = silu(v) * up;
    }
    v = few->out == WEIR_OUT_ADD ? *y + v : v;
    *y = v;
    return v;
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

/* Rows of a tile of the result, for the norm that comes next: all lanes */
DEVICE void put_squares_of(const struct few *few, uint32_t token, uint32_t tile,
                           float v)
{
    static_assert(FEW_ROWS == SQUARES_ROWS, "a tile's squares go together");
    uint32_t warp = threadIdx.x / WARP % (FEW_ROWS / WARP);

    v = warp_sum(__fmul_rn(v, v));
    if (threadIdx.x % WARP == 0)
        few->squares[token * CUDA_SQUARES(few->to[0].w.rows) +
                     tile * (FEW_ROWS / WARP) + warp] = v;
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
        v = few->in_order ? v : *sum + v;
        *sum = v;
        if (few->squares)
            put_squares_of(few, t, row / FEW_ROWS, v);
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
        v = put_result(few, item, row0 + r, y_row, factor[t], v, up);
        if (few->squares && few->kind == FEW_DENSE)
            put_squares_of(few, y_row, item->tile, v);
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

DEVICE float squared_factor(const struct few *few, uint32_t row, uint32_t lane)
{
    uint32_t n = few->to[0].w.cols;
    const float *squares = few->squared + row * CUDA_SQUARES(n);
    float sum = 0.0f;

    for (uint32_t i = lane * 4; i < CUDA_SQUARES(n); i += WARP * 4)
        sum += sum_squares(squares + i);
    return factor_of_sums(sum, n, few->eps);
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
        if (few->norm && few->squared)
            f = squared_factor(few, r, lane);
        else if (few->norm && few->factor)
            f = few->factor[r];
        else if (few->norm)
            f = row_factor(few->x + r * few->ld_x, few->to[0].w.cols, few->eps,
                           lane);
        row[t] = r;
        factor[t] = f;
    }
}

/* Stages in COLUMNS */
#define CHUNK(dtype) (COLUMNS * ((dtype) == WEIR_I8 ? 1 : 2) / STAGE)

DEVICE void multiply_stage(uint32_t dtype, int nt, uint32_t stage, uint32_t xs,
                           uint32_t in_chunk, float (*c)[4])
{
    if (dtype == WEIR_I8)
        multiply_i8(c, nt, stage, xs + in_chunk * STAGE * 2);
    else
        multiply_bf16(c, nt, stage, xs + in_chunk * STAGE);
}

/* The oldest of all but one that the ring holds has come, for a warp. */
DEVICE void wait_for_stage(int n_ring)
{
    if (n_ring == 3)
        copy_wait(1);
    else
        copy_wait(3);
    __syncwarp();
}

DEVICE void multiply_part(const struct few *few, const struct item *item,
                          struct stream *s, uint32_t dtype, int nt, int n_ring,
                          const uint32_t *row, uint8_t *ring, float (*c)[4])
{
    const int most = nt == 6 ? 16 : nt * 8 / TERMS; /* tokens */
    uint32_t warp = threadIdx.x / WARP, n_stages;
    uint32_t mine = shared_address(ring) + warp * n_ring * STAGE_BYTES;
    uint8_t *xs = ring + N_WARPS * n_ring * STAGE_BYTES;
    struct columns x;

    find_columns(few, item->part, dtype, &x);
    fetch_columns(few, item, row, most, 0, &x);
    n_stages = (s->n_bytes + STAGE - 1) / STAGE;
#pragma unroll 1
    for (uint32_t i = 0; i < n_stages; i++) {
        uint32_t place =
            i / CHUNK(dtype) & (few->n_places - 1) ? PLACE_BYTES(dtype, nt) : 0;

        if (i % CHUNK(dtype) == 0) {
            if (few->n_places == 1)
                __syncthreads();
            put_columns(item, dtype, most, &x, xs + place);
            __syncthreads();
            fetch_columns(few, item, row, most,
                          (i / CHUNK(dtype) + 1) * COLUMNS, &x);
        }
        wait_for_stage(n_ring);
        multiply_stage(dtype, nt, mine + i % n_ring * STAGE_BYTES,
                       shared_address(xs) + place, i % CHUNK(dtype), c);
        __syncwarp();
        stream_next(s, (i + n_ring - 1) % n_ring);
    }
    copy_wait(0);
}

/* Room for the chunks of a part, when they are split */
DEVICE uint32_t n_chunks(const struct few *few, uint32_t dtype)
{
    return few->part_bytes / (STAGE * CHUNK(dtype)) + 1;
}

/* COLUMNS of a group's tokens, split: chunk `k` of a part */
DEVICE uint8_t *split_at(const struct few *few, uint32_t dtype, uint32_t group,
                         uint32_t part, uint32_t k)
{
    uint32_t n = n_chunks(few, dtype);

    return few->split + ((uint64_t)(group * few->n_parts + part) * n + k) *
                            FEW_TOK * TERMS * PITCH(dtype);
}

/* A chunk on its way to `to` in shared memory */
DEVICE void copy_split(const struct few *few, const struct item *item,
                       uint32_t dtype, uint32_t k, uint32_t to)
{
    const uint8_t *from =
        split_at(few, dtype, item->first / FEW_TOK, item->part, k);

    for (uint32_t at = threadIdx.x * 16;
         at < item->n_tok * TERMS * PITCH(dtype); at += THREADS * 16)
        copy_async(to + at, from + at, 16);
}

/* The same of activations that are split: a chunk comes with a stage. */
DEVICE void multiply_split(const struct few *few, const struct item *item,
                           struct stream *s, uint32_t dtype, int nt, int n_ring,
                           uint8_t *ring, float (*c)[4])
{
    uint32_t warp = threadIdx.x / WARP, n_stages;
    uint32_t mine = shared_address(ring) + warp * n_ring * STAGE_BYTES;
    uint32_t xs = shared_address(ring) + N_WARPS * n_ring * STAGE_BYTES;
    const uint32_t place = PLACE_BYTES(dtype, nt);

    n_stages = (s->n_bytes + STAGE - 1) / STAGE;
    copy_split(few, item, dtype, 0, xs);
    copy_commit();
#pragma unroll 1
    for (uint32_t i = 0; i < n_stages; i++) {
        uint32_t k = i / CHUNK(dtype);

        if (i == 0)
            copy_wait(0);
        wait_for_stage(n_ring);
        if (i % CHUNK(dtype) == 0) {
            __syncthreads();
            if (i + CHUNK(dtype) < n_stages)
                copy_split(few, item, dtype, k + 1, xs + (k + 1) % 2 * place);
        }
        multiply_stage(dtype, nt, mine + i % n_ring * STAGE_BYTES,
                       xs + k % 2 * place, i % CHUNK(dtype), c);
        __syncwarp();
        stream_next(s, (i + n_ring - 1) % n_ring);
    }
    copy_wait(0);
}

/* Splits a token for a part of the columns. */
DEVICE void split(const struct few *few, uint32_t dtype)
{
    uint32_t t = blockIdx.x, part = blockIdx.y, n;
    struct columns x;

    weir_let_next_start();
    weir_after_others();
    find_columns(few, part, dtype, &x);
    n = n_chunks(few, dtype);
    for (uint32_t k = 0; k < n; k++) {
        uint32_t c = k * COLUMNS + threadIdx.x;
        float v = c < x.n ? few->x[t * few->ld_x + x.before + c] : 0.0f;

        v = __fmul_rn(v, c < x.n && few->norm ? few->norm[x.before + c] : 1.0f);
        put_terms(split_at(few, dtype, t / FEW_TOK, part, k) +
                      t % FEW_TOK * TERMS * PITCH(dtype) +
                      column_at(dtype, threadIdx.x),
                  PITCH(dtype), v);
    }
}

static __global__ void __launch_bounds__(THREADS)
    split_i8(const __grid_constant__ struct few few)
{
    split(&few, WEIR_I8);
}

static __global__ void __launch_bounds__(THREADS)
    split_bf16(const __grid_constant__ struct few few)
{
    split(&few, WEIR_BF16);
}

DEVICE void multiply_tokens(const struct few *few, const struct item *item,
                            struct stream *s, uint32_t dtype, int nt,
                            int n_ring, const uint32_t *row,
                            const float *factor, uint8_t *ring)
{
    float c[6][4] = {{0}};

    if (nt == 6 && few->split)
        multiply_split(few, item, s, dtype, nt, n_ring, ring, c);
    else
        multiply_part(few, item, s, dtype, nt, n_ring, row, ring, c);
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
    uint32_t ring = shared_address(shared) + warp * RING(nt) * STAGE_BYTES;
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
    for (int i = 0; i < RING(nt) - 1; i++)
        stream_next(&s, i);
    weir_after_others();
    find_tokens(few, &item, row, factor);
    __syncthreads();
    if (nt == 6 && item.n_tok <= 2)
        multiply_tokens(few, &item, &s, dtype, 1, RING(nt), row, factor,
                        shared);
    else if (nt == 6 && item.n_tok <= 5)
        multiply_tokens(few, &item, &s, dtype, 2, RING(nt), row, factor,
                        shared);
    else if (nt == 6 && item.n_tok <= 8)
        multiply_tokens(few, &item, &s, dtype, 3, RING(nt), row, factor,
                        shared);
    else
        multiply_tokens(few, &item, &s, dtype, nt, RING(nt), row, factor,
                        shared);
}

#define KERNEL(name, dtype, nt, blocks)                                        \
    static __global__ void __launch_bounds__(THREADS, blocks)                  \
        name(const __grid_constant__ struct few few)                           \
    {                                                                          \
        multiply_item(&few, dtype, nt);                                        \
    }
KERNEL(few_i8_2, WEIR_I8, 1, 2)
KERNEL(few_i8_5, WEIR_I8, 2, 2)
KERNEL(few_i8_8, WEIR_I8, 3, 2)
KERNEL(few_i8_16, WEIR_I8, 6, 2)
KERNEL(few_bf16_2, WEIR_BF16, 1, 2)
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

uint64_t weir_cuda_few_split_bytes(uint64_t cols, uint64_t n_groups)
{
    /* of each part a chunk more, and what rounding to stages adds */
    return n_groups * (cols / COLUMNS + 3 * FEW_PARTS) * FEW_TOK * TERMS *
           PITCH(WEIR_BF16);
}

void weir_cuda_few(struct weir_device *device, struct few *few)
{
    const struct weir_matrix *w = &few->to[0].w;
    uint32_t most = few->n_tok, i = 0, n_items, ring_bytes, place_bytes;
    dim3 grid = {1, 1, 1};
    void *args[] = {few};

    few->n_sub = few_n_sub(w, few_tile_rows(few->out));
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
    ring_bytes = RING_BYTES(kernels[i].nt);
    place_bytes = w->dtype == WEIR_I8 ? PLACE_BYTES(WEIR_I8, kernels[i].nt)
                                      : PLACE_BYTES(WEIR_BF16, kernels[i].nt);
    few->n_places = ring_bytes + 2 * place_bytes + OTHER_BYTES <=
                            (uint32_t)device->shared_bytes
                        ? 2
                        : 1;
    if (few->n_tok <= FEW_SPLIT || few->n_places == 1)
        few->split = NULL;
    if (few->split)
        weir_cuda_launch(device,
                         w->dtype == WEIR_I8 ? (const void *)split_i8
                                             : (const void *)split_bf16,
                         dim3{few->n_tok, few->n_parts, 1}, THREADS, 0, args);
    grid = few->kind == FEW_DENSE
               ? dim3{few->n_groups, few->n_parts, few->n_tiles}
               : dim3{few->n_parts, few->n_tiles, few->n_groups};
    weir_cuda_launch(
        device, w->dtype == WEIR_I8 ? kernels[i].i8 : kernels[i].bf16, grid,
        THREADS, ring_bytes + few->n_places * place_bytes, args);
}
