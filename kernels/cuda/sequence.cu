/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What goes from token to token: the convolution and the selective scan of a
 * Mamba mixer (Gu and Dao 2023).  Blocks of threads take channels of a run.
 */
#include "kernels/cuda/few_parts.h"

#define CONV_THREADS 128
#define CONV_TOK     32 /* that a block of threads takes */

/* Input of channel c at token t, which may be before the first */
DEVICE float conv_input(const struct weir_device_conv *conv,
                        const struct weir_device_run *run, int t, uint32_t c)
{
    uint32_t width = conv->k - 1;

    if (t >= 0)
        return conv->x[(run->row + (size_t)t) * conv->ld_x + c];
    return conv
        ->state[((size_t)run->slot * conv->n_ch + c) * width + width + t];
}

/* Keeps the last k - 1 inputs; an old one only ever moves to the front. */
DEVICE void keep_window(const struct weir_device_conv *conv,
                        const struct weir_device_run *run, uint32_t c)
{
    uint32_t width = conv->k - 1;
    float *state = conv->state + ((size_t)run->slot * conv->n_ch + c) * width;

    for (uint32_t i = 0; i < width; i++)
        state[i] = conv_input(conv, run, (int)(run->n_tok + i) - (int)width, c);
}

/* `keeps`: no other block needs what was before */
static __global__ void conv_tokens(
    const __grid_constant__ struct weir_device_conv p, int keeps)
{
    uint32_t c = blockIdx.x * CONV_THREADS + threadIdx.x;
    int from = blockIdx.z * CONV_TOK, to, k = p.k;
    float w[WEIR_DEVICE_CONV], x[WEIR_DEVICE_CONV], bias;
    struct weir_device_run run;

    weir_let_next_start();
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    to = from + CONV_TOK < (int)run.n_tok ? from + CONV_TOK : (int)run.n_tok;
    if (c >= p.n_ch || from >= to)
        return;
    bias = p.bias ? p.bias[c] : 0.0f;
#pragma unroll
    for (int j = 0; j < WEIR_DEVICE_CONV; j++) {
        w[j] = j < k ? p.w[(size_t)c * k + j] : 0.0f;
        x[j] = j < k - 1 ? conv_input(&p, &run, from - k + 1 + j, c) : 0.0f;
    }
    for (int t = from; t < to; t++) {
        float v = bias, in = p.x[(run.row + (size_t)t) * p.ld_x + c];

#pragma unroll
        for (int j = 0; j < WEIR_DEVICE_CONV; j++) {
            x[j] = j == k - 1 ? in : x[j];
            v += j < k ? w[j] * x[j] : 0.0f;
        }
#pragma unroll
        for (int j = 0; j < WEIR_DEVICE_CONV - 1; j++)
            x[j] = x[j + 1];
        p.y[(run.row + (size_t)t) * p.ld_y + c] = silu(v);
    }
    if (keeps)
        keep_window(&p, &run, c);
}

static __global__ void conv_keep(
    const __grid_constant__ struct weir_device_conv p)
{
    uint32_t c = blockIdx.x * CONV_THREADS + threadIdx.x;
    struct weir_device_run run;

    weir_let_next_start();
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    if (c < p.n_ch && run.n_tok)
        keep_window(&p, &run, c);
}

void weir_cuda_conv(struct weir_device *device,
                    const struct weir_device_conv *conv)
{
    int keeps = conv->runs.max_tok <= CONV_TOK;
    dim3 grid = {weir_cuda_parts(conv->n_ch, CONV_THREADS), conv->runs.n,
                 weir_cuda_parts(conv->runs.max_tok, CONV_TOK)};
    void *args[] = {(void *)conv, &keeps};

    if (conv->k > WEIR_DEVICE_CONV || !conv->k) {
        weir_cuda_fail(device, WEIR_ELIMIT, "too wide a convolution");
        return;
    }
    if (!conv->runs.n || !conv->runs.max_tok)
        return;
    weir_cuda_launch(device, (const void *)conv_tokens, grid, CONV_THREADS, 0,
                     args);
    grid.z = 1;
    if (!keeps)
        weir_cuda_launch(device, (const void *)conv_keep, grid, CONV_THREADS, 0,
                         args);
}

/*
 * The scan.  Half of the threads have the states: four lanes share a channel,
 * each with a quarter of them.  Tokens come in stages, which the other half
 * prepares: what does not depend on states is computed for the next stage, and
 * what is made of a stage is written, while states pass the tokens of this one.
 */
#define SCAN_STATE   16
#define SCAN_CH      32
#define SCAN_HALF    (SCAN_CH * 4)
#define SCAN_THREADS (2 * SCAN_HALF)
#define SCAN_TOK     16
#define SCAN_EACH    (SCAN_TOK * SCAN_CH / SCAN_HALF)

struct scan_stage {
    float delta[SCAN_TOK][SCAN_CH], du[SCAN_TOK][SCAN_CH];
    float y[SCAN_TOK][SCAN_CH];
    float bc[SCAN_TOK][2 * SCAN_STATE];
};

/* What a thread fetches for a stage */
struct scan_fetch {
    float u[SCAN_EACH], dt[SCAN_EACH], z[SCAN_EACH], bc[SCAN_EACH];
};

/* The i-th token of a stage that a thread which prepares has */
DEVICE uint32_t scan_token(int i)
{
    return i * (SCAN_HALF / WARP) + threadIdx.x / WARP % (SCAN_HALF / WARP);
}

DEVICE void scan_fetch(const struct weir_device_scan *p,
                       const struct weir_device_run *run, uint32_t from,
                       uint32_t c, int has_dt, struct scan_fetch *f)
{
    uint32_t lane = threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < SCAN_EACH; i++) {
        uint32_t t = from + scan_token(i);
        size_t row = run->row + (size_t)t;
        int is_in = t < run->n_tok, has_c = is_in && c < p->n_ch;
        const float *bc = lane < SCAN_STATE ? p->b : p->c;

        f->u[i] = has_c ? p->u[row * p->ld_u + c] : 0.0f;
        f->dt[i] = has_dt && has_c ? p->dt[row * p->ld_dt + c] : 0.0f;
        f->z[i] = has_c ? p->z[row * p->ld_z + c] : 0.0f;
        f->bc[i] = is_in ? bc[row * p->ld_bc + lane % SCAN_STATE] : 0.0f;
    }
}

/* What a lane needs of its channel, and of its element of B or C */
struct scan_lane {
    uint32_t c;
    float dt_bias, d, weight;
};

DEVICE struct scan_lane scan_lane_of(const struct weir_device_scan *p)
{
    uint32_t lane = threadIdx.x % WARP, c = blockIdx.x * SCAN_CH + lane;
    struct scan_lane l;

    l.c = c;
    l.dt_bias = c < p->n_ch ? p->dt_bias[c] : 0.0f;
    l.d = c < p->n_ch ? p->d[c] : 0.0f;
    l.weight = (lane < SCAN_STATE ? p->norm_b : p->norm_c)[lane % SCAN_STATE];
    return l;
}

/* B and C of a token are in the halves of a warp. */
DEVICE float scan_norm(const struct weir_device_scan *p, float weight, float v)
{
    float sum = v * v;

#pragma unroll
    for (int i = SCAN_STATE / 2; i; i /= 2)
        sum += __shfl_xor_sync(ALL, sum, i);
    return v * (1.0f / sqrtf(sum / SCAN_STATE + p->eps)) * weight;
}

DEVICE void scan_put(const struct weir_device_scan *p,
                     const struct scan_fetch *f, const struct scan_lane *l,
                     struct scan_stage *s)
{
    uint32_t lane = threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < SCAN_EACH; i++) {
        uint32_t t = scan_token(i);
        float delta = softplus(f->dt[i] + l->dt_bias);

        s->delta[t][lane] = delta;
        s->du[t][lane] = delta * f->u[i];
        s->bc[t][lane] = scan_norm(p, l->weight, f->bc[i]);
    }
}

DEVICE void scan_write(const struct weir_device_scan *p,
                       const struct weir_device_run *run, uint32_t from,
                       const struct scan_lane *l, const struct scan_fetch *f,
                       const struct scan_stage *s)
{
    uint32_t lane = threadIdx.x % WARP;

#pragma unroll
    for (int i = 0; i < SCAN_EACH; i++) {
        uint32_t in = scan_token(i), t = from + in;

        if (t < run->n_tok && l->c < p->n_ch)
            p->y[(run->row + (size_t)t) * p->ld_y + l->c] =
                (s->y[in][lane] + l->d * f->u[i]) * silu(f->z[i]);
    }
}

/* One token: a lane's four states move on, and are read out. */
DEVICE float scan_step(const struct scan_stage *s, uint32_t t, uint32_t c,
                       uint32_t quarter, const float *a, float *state)
{
    float delta = s->delta[t][c], du = s->du[t][c], y = 0.0f;
    float4 b = *(const float4 *)&s->bc[t][quarter * 4];
    float4 read = *(const float4 *)&s->bc[t][SCAN_STATE + quarter * 4];
    const float bs[4] = {b.x, b.y, b.z, b.w};
    const float cs[4] = {read.x, read.y, read.z, read.w};

#pragma unroll
    for (int i = 0; i < 4; i++) {
        state[i] = exp2f(delta * a[i]) * state[i] + du * bs[i];
        y += state[i] * cs[i];
    }
    y += __shfl_xor_sync(ALL, y, 1);
    return y + __shfl_xor_sync(ALL, y, 2);
}

/* A quarter of a channel's states, and what they fade by */
struct scan_states {
    float a[4], state[4], *at;
};

DEVICE struct scan_states scan_states_of(const struct weir_device_scan *p,
                                         const struct weir_device_run *run)
{
    uint32_t quarter = threadIdx.x % 4;
    uint32_t mine = blockIdx.x * SCAN_CH + threadIdx.x / 4;
    uint32_t safe = mine < p->n_ch ? mine : 0;
    struct scan_states states;

    states.at = p->state + ((size_t)run->slot * p->n_ch + safe) * SCAN_STATE +
                quarter * 4;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        states.a[i] =
            p->a[safe * SCAN_STATE + quarter * 4 + i] * 1.4426950408889634f;
        states.state[i] = states.at[i];
    }
    return states;
}

/* By SCAN_HALF threads, with the states; n_threads meet around each stage. */
DEVICE void scan_pass(const struct weir_device_scan *p,
                      const struct weir_device_run *run, uint32_t n_threads,
                      struct scan_states *states, struct scan_stage *s)
{
    uint32_t in = threadIdx.x / 4, quarter = threadIdx.x % 4;

    meet(n_threads);
    for (uint32_t from = 0; from < run->n_tok; from += SCAN_TOK) {
        uint32_t left = run->n_tok - from;
        uint32_t n = left < SCAN_TOK ? left : SCAN_TOK;
        struct scan_stage *now = s + from / SCAN_TOK % 2;

#pragma unroll 4
        for (uint32_t t = 0; t < n; t++) {
            float y = scan_step(now, t, in, quarter, states->a, states->state);

            if (quarter == 0)
                now->y[t][in] = y;
        }
        meet(n_threads);
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        if (blockIdx.x * SCAN_CH + in < p->n_ch && run->n_tok)
            states->at[i] = states->state[i];
}

/* By the half that prepares and writes; s: two stages by turns */
DEVICE void scan_prepare(const struct weir_device_scan *p,
                         const struct weir_device_run *run,
                         struct scan_stage *s)
{
    const struct scan_lane l = scan_lane_of(p);
    struct scan_fetch now, next, then;

    scan_fetch(p, run, 0, l.c, 1, &now);
    scan_put(p, &now, &l, s);
    scan_fetch(p, run, SCAN_TOK, l.c, 1, &next);
    meet(SCAN_THREADS);
    for (uint32_t from = 0; from < run->n_tok; from += SCAN_TOK) {
        uint32_t turn = from / SCAN_TOK % 2;

        scan_fetch(p, run, from + 2 * SCAN_TOK, l.c, 1, &then);
        if (from + SCAN_TOK < run->n_tok)
            scan_put(p, &next, &l, s + !turn);
        meet(SCAN_THREADS);
        scan_write(p, run, from, &l, &now, s + turn);
        now = next;
        next = then;
    }
}

static __global__ void __launch_bounds__(SCAN_THREADS)
    scan_channels(const __grid_constant__ struct weir_device_scan p)
{
    __shared__ __align__(16) struct scan_stage s[2];
    struct weir_device_run run;
    struct scan_states states;

    weir_let_next_start();
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    if (threadIdx.x < SCAN_HALF) {
        states = scan_states_of(&p, &run);
        scan_pass(&p, &run, SCAN_THREADS, &states, s);
    } else {
        scan_prepare(&p, &run, s);
    }
}

/* Runs of one stage, of which there may be many: one half does all. */
static __global__ void __launch_bounds__(SCAN_HALF)
    scan_stage_alone(const __grid_constant__ struct weir_device_scan p)
{
    __shared__ __align__(16) struct scan_stage s;
    struct scan_states states;
    struct weir_device_run run;
    struct scan_lane l;
    struct scan_fetch f;

    weir_let_next_start();
    l = scan_lane_of(&p);
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    scan_fetch(&p, &run, 0, l.c, 1, &f);
    states = scan_states_of(&p, &run);
    scan_put(&p, &f, &l, &s);
    scan_pass(&p, &run, SCAN_HALF, &states, &s);
    scan_write(&p, &run, 0, &l, &f, &s);
}

/*
 * One token, and the product that its dt is: all columns of the matrix are one
 * part of few.cu, and what is done with them here is what is done there, to the
 * bit.
 */
#define DT_STAGES (COLUMNS * 2 / STAGE)
#define DT_TILES  (SCAN_CH / 16)
#define DT_RUNS   2 /* of more the weights are not read again for each */
#define DT_PITCH  (SCAN_CH + 4)

struct scan_dt {
    struct weir_matrix w;
    const float *x, *norm;
    size_t ld_x;
    float eps;
};

struct dt_room {
    uint8_t stage[DT_TILES][DT_STAGES][STAGE_BYTES];
    uint8_t xs[PLACE_BYTES(WEIR_BF16, 1)];
    float sum[TERMS][DT_PITCH];
    float factor;
};

/* The rows of a block's channels on their way */
DEVICE void dt_fetch(const struct weir_matrix *w, struct dt_room *room)
{
    uint32_t piece = threadIdx.x % WARP, n = piece * 16 < w->row_bytes ? 16 : 0;

#pragma unroll
    for (int i = 0; i < SCAN_CH * WARP / SCAN_HALF; i++) {
        uint32_t in = i * (SCAN_HALF / WARP) + threadIdx.x / WARP;
        uint32_t row = blockIdx.x * SCAN_CH + in, r = in % 16;
        uint8_t *to = room->stage[in / 16][piece / 8] + r * STAGE +
                      (piece % 8 ^ (r & 1) << 2) * 16;

        row = row < w->rows ? row : w->rows - 1;
        copy_async(shared_address(to),
                   matrix_row(w, w->data, row) + (n ? piece * 16 : 0), n);
    }
    copy_commit();
}

/* The token at x, split, and its factor */
DEVICE void dt_put(const struct scan_dt *dt, const float *x,
                   struct dt_room *room)
{
    float factor = 1.0f;

#pragma unroll
    for (uint32_t c = threadIdx.x; c < COLUMNS; c += SCAN_HALF) {
        int is_in = c < dt->w.cols;
        float v = is_in ? x[c] : 0.0f;
        float norm = is_in && dt->norm ? dt->norm[c] : 1.0f;

        put_terms(room->xs + column_at(WEIR_BF16, c), PITCH(WEIR_BF16),
                  __fmul_rn(v, norm));
    }
    if (threadIdx.x / WARP == DT_TILES) {
        if (dt->norm)
            factor = row_factor(x, dt->w.cols, dt->eps, threadIdx.x % WARP);
        room->factor = factor;
    }
}

/* By a warp for each 16 channels: the sums of the terms */
DEVICE void dt_multiply(const struct weir_matrix *w, struct dt_room *room)
{
    uint32_t lane = threadIdx.x % WARP, tile = threadIdx.x / WARP;
    uint32_t n_stages = (w->row_bytes + STAGE - 1) / STAGE;
    float c[1][4] = {{0}};

    if (tile >= DT_TILES)
        return;
    for (uint32_t i = 0; i < n_stages; i++)
        multiply_bf16(c, 1, shared_address(room->stage[tile][i]),
                      shared_address(room->xs) + i * STAGE);
#pragma unroll
    for (int j = 0; j < 4; j++) {
        uint32_t term = lane % 4 * 2 + (j & 1);

        if (term < TERMS)
            room->sum[term][tile * 16 + lane / 4 + (j & 2) * 4] = c[0][j];
    }
}

static __global__ void __launch_bounds__(SCAN_HALF)
    scan_token_with_dt(const __grid_constant__ struct weir_device_scan p,
                       const __grid_constant__ struct scan_dt dt)
{
    __shared__ __align__(128) struct dt_room room;
    __shared__ __align__(16) struct scan_stage s;
    uint32_t lane = threadIdx.x % WARP;
    struct scan_states states;
    struct weir_device_run run;
    struct scan_lane l;
    struct scan_fetch f;

    weir_let_next_start();
    dt_fetch(&dt.w, &room);
    l = scan_lane_of(&p);
    weir_after_others();
    run = p.runs.run[blockIdx.y];
    scan_fetch(&p, &run, 0, l.c, 0, &f);
    states = scan_states_of(&p, &run);
    dt_put(&dt, dt.x + run.row * dt.ld_x, &room);
    copy_wait(0);
    __syncthreads();
    dt_multiply(&dt.w, &room);
    __syncthreads();
    if (threadIdx.x < WARP)
        f.dt[0] = __fmul_rn(room.sum[0][lane] +
                                (room.sum[1][lane] + room.sum[2][lane]),
                            room.factor);
    scan_put(&p, &f, &l, &s);
    scan_pass(&p, &run, SCAN_HALF, &states, &s);
    scan_write(&p, &run, 0, &l, &f, &s);
}

/* Whether the product is one that scan_token_with_dt() does */
static int has_dt_alone(const struct weir_device_scan *scan)
{
    const struct weir_device_matmul *of = scan->dt_of;
    const struct weir_matrix *w = &of->to[0].w;

    return scan->runs.max_tok == 1 && scan->runs.n <= DT_RUNS &&
           of->n_tok <= FEW_TOK && of->n_mat == 1 &&
           of->out == WEIR_OUT_STORE && w->dtype == WEIR_BF16 && !w->scale &&
           !of->to[0].bias && w->col_blocks == 1 && w->cols <= COLUMNS &&
           w->rows == scan->n_ch;
}

static void launch_with_dt(struct weir_device *device,
                           const struct weir_device_scan *scan, dim3 grid)
{
    const struct weir_device_matmul *of = scan->dt_of;
    struct scan_dt dt = {of->to[0].w, of->x, of->norm, of->ld_x, of->eps};
    void *args[] = {(void *)scan, &dt};

    weir_cuda_launch(device, (const void *)scan_token_with_dt, grid, SCAN_HALF,
                     0, args);
}

void weir_cuda_scan(struct weir_device *device,
                    const struct weir_device_scan *scan)
{
    dim3 grid = {weir_cuda_parts(scan->n_ch, SCAN_CH), scan->runs.n, 1};
    void *args[] = {(void *)scan};

    if (scan->n_state != SCAN_STATE) {
        weir_cuda_fail(device, WEIR_ENOTSUP, "a scan of other than 16 states");
        return;
    }
    if (scan->dt_of && scan->runs.n && has_dt_alone(scan)) {
        launch_with_dt(device, scan, grid);
        return;
    }
    if (scan->dt_of)
        weir_cuda_matmul(device, scan->dt_of);
    if (scan->runs.n && scan->runs.max_tok > SCAN_TOK)
        weir_cuda_launch(device, (const void *)scan_channels, grid,
                         SCAN_THREADS, 0, args);
    else if (scan->runs.n && scan->runs.max_tok)
        weir_cuda_launch(device, (const void *)scan_stage_alone, grid,
                         SCAN_HALF, 0, args);
}
