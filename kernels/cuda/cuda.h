/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the CUDA module share on the side of the host.  Kernels
 * know each other's results only through device memory.
 */
#ifndef WEIR_KERNELS_CUDA_CUDA_H
#define WEIR_KERNELS_CUDA_CUDA_H

#include <cuda_runtime_api.h>

#include "kernels/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CUDA_COUNTERS 262144 /* zero between operations */

#define SQUARES_ROWS 128 /* neighbours whose squares are added up first */

/* Sums of squares of a row of n values that a product leaves, for norms */
#define CUDA_SQUARES(n) (((n) + SQUARES_ROWS - 1) / SQUARES_ROWS * 4)

struct weir_device {
    unsigned ordinal;
    int cc_major, n_sm;
    int shared_bytes; /* that a block of threads may take */
    cudaStream_t stream[2];
    struct weir_err failed; /* code 0: nothing has */
    struct weir_device_limits limits;
    uint32_t *counters; /* [CUDA_COUNTERS], behind them: */
    float *factors;     /* [limits.n_tok] */
    float *squares;     /* [WEIR_DEVICE_FEW][CUDA_SQUARES(limits.cols)] */
    struct cuda_left {
        const float *x; /* rows whose squares are there, or NULL */
        size_t ld_x;
        uint32_t n_tok, n;
    } left;
    uint8_t *scratch; /* what one operation needs, not the next */
    uint64_t scratch_bytes;
};

/*
 * Puts a kernel on the compute stream.  On cards that can, it may start before
 * those in front of it have ended: weir_after_others() of device code waits.
 */
void weir_cuda_launch(struct weir_device *device, const void *kernel, dim3 grid,
                      unsigned block, size_t shared_bytes, void **args);

/* Keeps the first error */
void weir_cuda_fail(struct weir_device *device, int code, const char *what);
void weir_cuda_check(struct weir_device *device, cudaError_t rc,
                     const char *what);

/* 1 if the scratch holds n_bytes; else leaves an error */
int weir_cuda_has_scratch(struct weir_device *device, uint64_t n_bytes,
                          const char *what);

/* Zeros, on the compute stream */
void weir_cuda_fill(struct weir_device *device, void *data, size_t n_bytes);

static inline unsigned weir_cuda_parts(uint64_t n, uint64_t size)
{
    return (unsigned)((n + size - 1) / size);
}

/* Scratch of the families */
uint64_t weir_cuda_matmul_bytes(const struct weir_device_limits *limits);
uint64_t weir_cuda_experts_bytes(const struct weir_device_limits *limits);
uint64_t weir_cuda_attention_bytes(const struct weir_device_limits *limits);

void weir_cuda_matmul(struct weir_device *device,
                      const struct weir_device_matmul *matmul);
void weir_cuda_route(struct weir_device *device,
                     const struct weir_device_route *route);
void weir_cuda_experts(struct weir_device *device,
                       const struct weir_device_experts *experts);
void weir_cuda_conv(struct weir_device *device,
                    const struct weir_device_conv *conv);
void weir_cuda_scan(struct weir_device *device,
                    const struct weir_device_scan *scan);
void weir_cuda_attention(struct weir_device *device,
                         const struct weir_device_attention *attention);
void weir_cuda_norm_factor(struct weir_device *device, const float *x,
                           size_t ld_x, size_t n_tok, size_t n, float eps,
                           float *factor);
void weir_cuda_rms_norm(struct weir_device *device, const float *x, size_t ld_x,
                        size_t n_tok, size_t n, const float *weight, float eps,
                        float *y, size_t ld_y);
void weir_cuda_add(struct weir_device *device, float *y, size_t ld_y,
                   const float *x, size_t ld_x, size_t n_tok, size_t n);
void weir_cuda_rows(struct weir_device *device, const struct weir_matrix *w,
                    const int32_t *ids, size_t n_tok, float *y, size_t ld_y);
void weir_cuda_gather(struct weir_device *device, const float *x, size_t ld_x,
                      const uint32_t *index, size_t n_rows, size_t n, float *y,
                      size_t ld_y);
void weir_cuda_choose(struct weir_device *device, const float *x, size_t ld_x,
                      size_t n_tok, size_t n,
                      const struct weir_device_draw *draws, int32_t *ids);

#ifdef __cplusplus
}
#endif

#endif
