/* SPDX-License-Identifier: Apache-2.0 */
/* Convolution, scan, attention and rows of the CPU as a device */
#include <math.h>
#include <string.h>

#include "offload/device_host.h"

/* ---- sequences ---- */

static void run_conv(struct weir_device *device, const void *args)
{
    const struct weir_device_conv *c = args;

    for (uint32_t i = 0; i < c->runs.n; i++) {
        const struct weir_device_run *run = &c->runs.run[i];
        const struct weir_conv conv = {
            .n_tok = run->n_tok,
            .n_ch = c->n_ch,
            .k = c->k,
            .x = c->x + run->row * c->ld_x,
            .w = c->w,
            .bias = c->bias,
            .state = c->state + (size_t)run->slot * c->n_ch * (c->k - 1),
            .y = c->y + run->row * c->ld_y,
            .ld_x = c->ld_x,
            .ld_y = c->ld_y};

        device->kernels.conv(&conv);
    }
}

void weir_host_conv(struct weir_device *device,
                    const struct weir_device_conv *args)
{
    SUBMIT(run_conv, args);
}

/* One token, its B and C normalised first */
static void scan_token(const struct weir_device *device,
                       const struct weir_device_scan *s, size_t row,
                       uint32_t slot)
{
    size_t n = s->n_state;
    float *b = row_of(device, ROW_A), *c = b + n;
    const struct weir_scan scan = {.n_tok = 1,
                                   .n_ch = s->n_ch,
                                   .n_state = n,
                                   .u = s->u + row * s->ld_u,
                                   .dt = s->dt + row * s->ld_dt,
                                   .dt_bias = s->dt_bias,
                                   .a = s->a,
                                   .b = b,
                                   .c = c,
                                   .d = s->d,
                                   .z = s->z + row * s->ld_z,
                                   .state =
                                       s->state + (size_t)slot * s->n_ch * n,
                                   .y = s->y + row * s->ld_y,
                                   .ld_u = s->ld_u,
                                   .ld_dt = s->ld_dt,
                                   .ld_bc = n,
                                   .ld_z = s->ld_z,
                                   .ld_y = s->ld_y};

    device->kernels.rms_norm(s->b + row * s->ld_bc, n, 1, n, s->norm_b, s->eps,
                             b, n);
    device->kernels.rms_norm(s->c + row * s->ld_bc, n, 1, n, s->norm_c, s->eps,
                             c, n);
    device->kernels.scan(&scan);
}

static void run_scan(struct weir_device *device, const void *args)
{
    const struct weir_device_scan *s = args;

    for (uint32_t i = 0; i < s->runs.n; i++) {
        const struct weir_device_run *run = &s->runs.run[i];

        for (uint32_t t = 0; t < run->n_tok; t++)
            scan_token(device, s, run->row + t, run->slot);
    }
}

void weir_host_scan(struct weir_device *device,
                    const struct weir_device_scan *args)
{
    if (args->dt_of)
        weir_host_matmul(device, args->dt_of);
    SUBMIT(run_scan, args);
}

/* Where position `at` of the run lies in a pool */
static uint8_t *kv_at(const struct weir_device_attention *a, void *pool,
                      const struct weir_device_run *run, size_t at)
{
    size_t page = a->pages[run->slot * a->ld_pages + at / WEIR_DEVICE_PAGE];
    size_t width =
        (size_t)a->n_kv * a->head_dim * weir_dtype_bytes(a->kv_dtype);

    return (uint8_t *)pool +
           (page * WEIR_DEVICE_PAGE + at % WEIR_DEVICE_PAGE) * width;
}

/* x [n] as the pool keeps it */
static void keep(const struct weir_device_attention *a, const float *x,
                 uint8_t *place, size_t n)
{
    uint16_t narrow;

    if (a->kv_dtype != WEIR_BF16) {
        memcpy(place, x, n * sizeof(*x));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        narrow = weir_f32_to_bf16(x[i]);
        memcpy(place + i * sizeof(narrow), &narrow, sizeof(narrow));
    }
}

static void append(const struct weir_device_attention *a,
                   const struct weir_device_run *run)
{
    size_t n = (size_t)a->n_kv * a->head_dim;

    for (uint32_t t = 0; t < run->n_tok; t++) {
        size_t row = (run->row + t) * a->ld_kv, at = run->n_past + t;

        keep(a, a->k + row, kv_at(a, a->k_pool, run, at), n);
        keep(a, a->v + row, kv_at(a, a->v_pool, run, at), n);
    }
}

static float dot(const float *x, const float *y, size_t n)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i] * y[i];
    return sum;
}

/* Softmax in one pass (Milakov and Gimelshein 2018) */
static void attend(const struct weir_device *device,
                   const struct weir_device_attention *a,
                   const struct weir_device_run *run, uint32_t token,
                   uint32_t head)
{
    size_t n = a->head_dim, kv = head / (a->n_heads / a->n_kv) * n;
    size_t row = run->row + token, n_pos = run->n_past + token + 1;
    size_t skip = kv * weir_dtype_bytes(a->kv_dtype);
    const float *q = a->q + row * a->ld_q + head * n;
    float *y = a->y + row * a->ld_y + head * n, *wide = row_of(device, ROW_A);
    float most = -INFINITY, sum = 0, score, fade;

    memset(y, 0, n * sizeof(*y));
    for (size_t at = 0; at < n_pos; at++) {
        weir_dtype_widen(a->kv_dtype, kv_at(a, a->k_pool, run, at) + skip, wide,
                         n);
        score = dot(q, wide, n) * a->scale;
        fade = score > most ? expf(most - score) : 1;
        most = score > most ? score : most;
        score = expf(score - most);
        sum = sum * fade + score;
        weir_dtype_widen(a->kv_dtype, kv_at(a, a->v_pool, run, at) + skip, wide,
                         n);
        for (size_t i = 0; i < n; i++)
            y[i] = y[i] * fade + score * wide[i];
    }
    for (size_t i = 0; i < n; i++)
        y[i] /= sum;
}

static void run_attention(struct weir_device *device, const void *args)
{
    const struct weir_device_attention *a = args;

    for (uint32_t i = 0; i < a->runs.n; i++) {
        const struct weir_device_run *run = &a->runs.run[i];

        append(a, run);
        for (uint32_t t = 0; t < run->n_tok; t++)
            for (uint32_t head = 0; head < a->n_heads; head++)
                attend(device, a, run, t, head);
    }
}

void weir_host_attention(struct weir_device *device,
                         const struct weir_device_attention *args)
{
    SUBMIT(run_attention, args);
}

/* ---- rows ---- */

/* The operands of what follows, as kernels/device.h names them */
struct rows_args {
    const float *x, *weight;
    struct weir_matrix w;
    const int32_t *ids;
    const uint32_t *index;
    size_t ld_x, n_tok, n, ld_y;
    float eps;
    float *y;
};

static void run_rms_norm(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    device->kernels.rms_norm(a->x, a->ld_x, a->n_tok, a->n, a->weight, a->eps,
                             a->y, a->ld_y);
}

void weir_host_rms_norm(struct weir_device *device, const float *x, size_t ld_x,
                        size_t n_tok, size_t n, const float *weight, float eps,
                        float *y, size_t ld_y)
{
    const struct rows_args args = {.x = x,
                                   .ld_x = ld_x,
                                   .n_tok = n_tok,
                                   .n = n,
                                   .weight = weight,
                                   .eps = eps,
                                   .y = y,
                                   .ld_y = ld_y};

    SUBMIT(run_rms_norm, &args);
}

static void run_add(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    device->kernels.add_scaled(a->y, a->ld_y, a->x, a->ld_x, NULL, a->n_tok,
                               a->n);
}

void weir_host_add(struct weir_device *device, float *y, size_t ld_y,
                   const float *x, size_t ld_x, size_t n_tok, size_t n)
{
    const struct rows_args args = {
        .x = x, .ld_x = ld_x, .n_tok = n_tok, .n = n, .y = y, .ld_y = ld_y};

    SUBMIT(run_add, &args);
}

/* Row `row` of w, widened and scaled */
static void widen_row(const struct weir_matrix *w, uint32_t row, float *y)
{
    uint32_t part_rows = w->rows / w->row_parts;
    uint32_t groups = (part_rows + w->tile_rows - 1) / w->tile_rows;
    uint32_t in = row % part_rows, cols = w->cols / w->col_blocks;
    size_t tile =
        ((size_t)row / part_rows * groups + in / w->tile_rows) * w->col_blocks;

    for (uint32_t b = 0; b < w->col_blocks; b++)
        weir_dtype_widen(w->dtype,
                         (const uint8_t *)w->data +
                             (tile + b) * w->tile_stride +
                             (size_t)(in % w->tile_rows) * w->row_bytes,
                         y + b * cols, cols);
    for (uint32_t i = 0; i < w->cols && w->scale; i++)
        y[i] *= w->scale[row];
}

static void run_rows(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    (void)device;
    for (size_t t = 0; t < a->n_tok; t++) {
        float *y = a->y + t * a->ld_y;

        memset(y, 0, a->w.cols * sizeof(*y));
        if ((uint32_t)a->ids[t] < a->w.rows)
            widen_row(&a->w, (uint32_t)a->ids[t], y);
    }
}

void weir_host_rows(struct weir_device *device, const struct weir_matrix *w,
                    const int32_t *ids, size_t n_tok, float *y, size_t ld_y)
{
    const struct rows_args args = {
        .w = *w, .ids = ids, .n_tok = n_tok, .y = y, .ld_y = ld_y};

    SUBMIT(run_rows, &args);
}

static void run_gather(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    (void)device;
    for (size_t i = 0; i < a->n_tok; i++)
        memcpy(a->y + i * a->ld_y, a->x + a->index[i] * a->ld_x,
               a->n * sizeof(*a->y));
}

void weir_host_gather(struct weir_device *device, const float *x, size_t ld_x,
                      const uint32_t *index, size_t n_rows, size_t n, float *y,
                      size_t ld_y)
{
    const struct rows_args args = {.x = x,
                                   .ld_x = ld_x,
                                   .index = index,
                                   .n_tok = n_rows,
                                   .n = n,
                                   .y = y,
                                   .ld_y = ld_y};

    SUBMIT(run_gather, &args);
}
