/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Products with weights of f32 and f16, which models have few of and small
 * ones: a warp for each row and token.
 */
#include "kernels/cuda/few.h"

#include "kernels/cuda/parts.h"

#define THREADS 256
#define N_WARPS (THREADS / WARP)
#define BLOCKS  8

/* The row times a, without scale, for all lanes; the tree over blocks */
DEVICE float row_product(const struct weir_device_matmul *p, uint32_t m,
                         uint32_t row, const float *x)
{
    const struct weir_matrix *w = &p->to[m].w;
    const uint8_t *at = matrix_row(w, w->data, row);
    uint32_t n = w->cols / w->col_blocks, lane = threadIdx.x % WARP;
    float sum[BLOCKS];

#pragma unroll
    for (uint32_t b = 0; b < BLOCKS; b++) {
        sum[b] = 0.0f;
        for (uint32_t c = lane; c < n && b < w->col_blocks; c += WARP) {
            float v = x[b * n + c];

            if (p->norm)
                v *= p->norm[b * n + c];
            sum[b] += widen_one(w->dtype, at + b * w->tile_stride, c) * v;
        }
        sum[b] = warp_sum(sum[b]);
    }
#pragma unroll
    for (uint32_t step = 1; step < BLOCKS; step *= 2)
#pragma unroll
        for (uint32_t b = 0; b < BLOCKS; b += 2 * step)
            if (step < w->col_blocks)
                sum[b] += sum[b + step];
    return sum[0];
}

DEVICE float plain_result(const struct weir_device_matmul *p, uint32_t m,
                          uint32_t row, const float *x, float factor)
{
    float v = row_product(p, m, row, x) * factor;

    if (p->to[m].w.scale)
        v *= p->to[m].w.scale[row];
    return p->to[m].bias ? v + p->to[m].bias[row] : v;
}

static __global__ void plain(
    const __grid_constant__ struct weir_device_matmul p, uint32_t m,
    const float *factors)
{
    uint32_t row = blockIdx.x * N_WARPS + threadIdx.x / WARP, t = blockIdx.y;
    uint32_t lane = threadIdx.x % WARP;
    const float *x = p.x + t * p.ld_x;
    float factor = 1.0f, v, *y;

    weir_let_next_start();
    weir_after_others();
    if (row >= p.to[m].w.rows)
        return;
    if (p.norm)
        factor =
            factors ? factors[t] : row_factor(x, p.to[m].w.cols, p.eps, lane);
    v = plain_result(&p, m, row, x, factor);
    if (p.out == WEIR_OUT_GATED)
        v = silu(v) * plain_result(&p, 1, row, x, factor);
    y = p.to[m].y + t * p.to[m].ld_y + row;
    if (lane == 0)
        *y = p.out == WEIR_OUT_ADD ? *y + v : v;
}

#define MOST_TOK 65535 /* of a grid */

void weir_cuda_plain(struct weir_device *device,
                     const struct weir_device_matmul *matmul,
                     const float *factor)
{
    uint32_t n_mat = matmul->out == WEIR_OUT_GATED ? 1 : matmul->n_mat;

    if (matmul->n_tok > MOST_TOK) {
        weir_cuda_fail(device, WEIR_ELIMIT, "too many tokens in a product");
        return;
    }
    for (uint32_t m = 0; m < n_mat; m++) {
        void *args[] = {(void *)matmul, &m, &factor};
        dim3 grid = {1, matmul->n_tok, 1};

        grid.x = weir_cuda_parts(matmul->to[m].w.rows, N_WARPS);
        weir_cuda_launch(device, (const void *)plain, grid, THREADS, 0, args);
    }
}
