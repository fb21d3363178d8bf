/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of device_host.c share: the CPU as a device, what is handed in
 * to it, and its operations, which kernels/device.h describes.
 */
#ifndef WEIR_OFFLOAD_DEVICE_HOST_H
#define WEIR_OFFLOAD_DEVICE_HOST_H

#include "kernels/kernels.h"
#include "offload/device.h"

struct weir_device {
    struct weir_kernels kernels;
    struct weir_device_limits limits;
    float *work; /* what reserve() took: rows of `width` */
    size_t width;
    struct weir_device_graph *graph; /* that is captured now, or NULL */
    int rc;                          /* the first error */
    struct weir_err err;
};

/* What a row of work is for */
enum { ROW_A, ROW_OUT, ROW_OTHER, ROW_GATE, ROW_SUM, ROW_PARTIALS, N_ROWS = 9 };

static inline float *row_of(const struct weir_device *device, unsigned row)
{
    return device->work + row * device->width;
}

typedef void weir_host_operation(struct weir_device *device, const void *args);

/* Does it, or keeps it for when the graph is launched.  args is copied. */
void weir_host_submit(struct weir_device *device, weir_host_operation *run,
                      const void *args, size_t n_bytes);

#define SUBMIT(run, args) weir_host_submit(device, run, args, sizeof(*(args)))

void weir_host_matmul(struct weir_device *device,
                      const struct weir_device_matmul *args);
void weir_host_route(struct weir_device *device,
                     const struct weir_device_route *args);
void weir_host_experts(struct weir_device *device,
                       const struct weir_device_experts *args);
void weir_host_conv(struct weir_device *device,
                    const struct weir_device_conv *args);
void weir_host_scan(struct weir_device *device,
                    const struct weir_device_scan *args);
void weir_host_attention(struct weir_device *device,
                         const struct weir_device_attention *args);
void weir_host_rms_norm(struct weir_device *device, const float *x, size_t ld_x,
                        size_t n_tok, size_t n, const float *weight, float eps,
                        float *y, size_t ld_y);
void weir_host_add(struct weir_device *device, float *y, size_t ld_y,
                   const float *x, size_t ld_x, size_t n_tok, size_t n);
void weir_host_rows(struct weir_device *device, const struct weir_matrix *w,
                    const int32_t *ids, size_t n_tok, float *y, size_t ld_y);
void weir_host_gather(struct weir_device *device, const float *x, size_t ld_x,
                      const uint32_t *index, size_t n_rows, size_t n, float *y,
                      size_t ld_y);
void weir_host_choose(struct weir_device *device, const float *x, size_t ld_x,
                      size_t n_tok, size_t n,
                      const struct weir_device_draw *draws, int32_t *ids);

#endif
