/* SPDX-License-Identifier: Apache-2.0 */
/* Operations on rows of activations, one block of threads for each row. */
#include "kernels/cuda/parts.h"

#define THREADS 512

static dim3 one_each(size_t n_rows)
{
    dim3 grid = {(unsigned)n_rows, 1, 1};

    return grid;
}

DEVICE float factor_of(const float *x, uint32_t n, float eps)
{
    __shared__ float sums[NORM_SUMS];

    put_squares(x, n, threadIdx.x, THREADS, sums);
    __syncthreads();
    return norm_of(sums, n, eps);
}

/* As products leave it, so that the bits are those that they lead to */
DEVICE float square_tile(const float *x, uint32_t n, uint32_t tile)
{
    float sums[4];

#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t c = tile * SQUARES_ROWS + i * WARP + threadIdx.x % WARP;
        float v = c < n ? x[c] : 0.0f;

        sums[i] = warp_sum(__fmul_rn(v, v));
    }
    return sum_squares(sums);
}

static __global__ void norm_factor(const float *x, size_t ld_x, uint32_t n,
                                   float eps, float *factor)
{
    __shared__ float sums[WARP];
    uint32_t n_tiles = (n + SQUARES_ROWS - 1) / SQUARES_ROWS;
    float f;

    weir_let_next_start();
    weir_after_others();
    x += blockIdx.x * ld_x;
    for (uint32_t lane = threadIdx.x / WARP; lane < WARP;
         lane += THREADS / WARP) {
        float sum = 0.0f;

        for (uint32_t tile = lane; tile < n_tiles; tile += WARP)
            sum += square_tile(x, n, tile);
        sums[lane] = sum;
    }
    __syncthreads();
    f = factor_of_sums(sums[threadIdx.x % WARP], n, eps);
    if (threadIdx.x == 0)
        factor[blockIdx.x] = f;
}

void weir_cuda_norm_factor(struct weir_device *device, const float *x,
                           size_t ld_x, size_t n_tok, size_t n, float eps,
                           float *factor)
{
    uint32_t cols = (uint32_t)n;
    void *args[] = {&x, &ld_x, &cols, &eps, &factor};

    if (n_tok)
        weir_cuda_launch(device, (const void *)norm_factor, one_each(n_tok),
                         THREADS, 0, args);
}

static __global__ void rms_norm(const float *x, size_t ld_x, uint32_t n,
                                const float *weight, float eps, float *y,
                                size_t ld_y)
{
    float f;

    weir_let_next_start();
    weir_after_others();
    x += blockIdx.x * ld_x;
    f = factor_of(x, n, eps);
    for (uint32_t i = threadIdx.x; i < n; i += THREADS)
        y[blockIdx.x * ld_y + i] = x[i] * f * weight[i];
}

void weir_cuda_rms_norm(struct weir_device *device, const float *x, size_t ld_x,
                        size_t n_tok, size_t n, const float *weight, float eps,
                        float *y, size_t ld_y)
{
    uint32_t cols = (uint32_t)n;
    void *args[] = {&x, &ld_x, &cols, &weight, &eps, &y, &ld_y};

    if (n_tok)
        weir_cuda_launch(device, (const void *)rms_norm, one_each(n_tok),
                         THREADS, 0, args);
}

static __global__ void add(float *y, size_t ld_y, const float *x, size_t ld_x,
                           uint32_t n)
{
    weir_let_next_start();
    weir_after_others();
    for (uint32_t i = threadIdx.x; i < n; i += THREADS)
        y[blockIdx.x * ld_y + i] += x[blockIdx.x * ld_x + i];
}

void weir_cuda_add(struct weir_device *device, float *y, size_t ld_y,
                   const float *x, size_t ld_x, size_t n_tok, size_t n)
{
    uint32_t cols = (uint32_t)n;
    void *args[] = {&y, &ld_y, &x, &ld_x, &cols};

    if (n_tok)
        weir_cuda_launch(device, (const void *)add, one_each(n_tok), THREADS, 0,
                         args);
}

static __global__ void rows(const __grid_constant__ struct weir_matrix w,
                            const int32_t *ids, float *y, size_t ld_y)
{
    uint32_t block_cols = w.cols / w.col_blocks;
    const uint8_t *row;
    int32_t id;
    float scale;
    int is_row;

    weir_let_next_start();
    weir_after_others();
    id = ids[blockIdx.x];
    is_row = id >= 0 && (uint32_t)id < w.rows;
    row = matrix_row(&w, w.data, is_row ? id : 0);
    scale = w.scale && is_row ? w.scale[id] : 1.0f;
    for (uint32_t c = threadIdx.x; c < w.cols; c += THREADS) {
        const uint8_t *block = row + c / block_cols * w.tile_stride;
        float v = widen_one(w.dtype, block, c % block_cols);

        y[blockIdx.x * ld_y + c] = is_row ? v * scale : 0.0f;
    }
}

void weir_cuda_rows(struct weir_device *device, const struct weir_matrix *w,
                    const int32_t *ids, size_t n_tok, float *y, size_t ld_y)
{
    void *args[] = {(void *)w, &ids, &y, &ld_y};

    if (n_tok)
        weir_cuda_launch(device, (const void *)rows, one_each(n_tok), THREADS,
                         0, args);
}

static __global__ void gather(const float *x, size_t ld_x,
                              const uint32_t *index, uint32_t n, float *y,
                              size_t ld_y)
{
    weir_let_next_start();
    weir_after_others();
    x += index[blockIdx.x] * ld_x;
    for (uint32_t i = threadIdx.x; i < n; i += THREADS)
        y[blockIdx.x * ld_y + i] = x[i];
}

void weir_cuda_gather(struct weir_device *device, const float *x, size_t ld_x,
                      const uint32_t *index, size_t n_rows, size_t n, float *y,
                      size_t ld_y)
{
    uint32_t cols = (uint32_t)n;
    void *args[] = {&x, &ld_x, &index, &cols, &y, &ld_y};

    if (n_rows)
        weir_cuda_launch(device, (const void *)gather, one_each(n_rows),
                         THREADS, 0, args);
}
