/* SPDX-License-Identifier: Apache-2.0 */
/* Products, and experts, of the CPU as a device */
#include <math.h>
#include <string.h>

#include "offload/device_host.h"

/* a of a token, as weir_device_matmul has it */
static void prepare(const struct weir_device *device, const float *x,
                    const float *norm, float factor, size_t n)
{
    float *a = row_of(device, ROW_A);

    memcpy(a, x, n * sizeof(*a));
    for (size_t c = 0; c < n && norm; c++)
        a[c] = x[c] * norm[c] * factor;
}

static float factor_of(const float *x, size_t n, float eps)
{
    float sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += x[i] * x[i];
    return 1 / sqrtf(sum / (float)n + eps);
}

/* Rows of one group, times a, into `out` */
static void multiply_group(const struct weir_device *device,
                           const struct weir_matrix *w, size_t first_tile,
                           size_t rows, float *out)
{
    float *partial = row_of(device, ROW_PARTIALS);
    size_t cols = w->cols / w->col_blocks;

    for (uint32_t block = 0; block < w->col_blocks; block++) {
        const struct weir_tile tile = {
            (const char *)w->data + (first_tile + block) * w->tile_stride,
            w->dtype, rows, cols, w->row_bytes};

        device->kernels.matmul(
            &tile, row_of(device, ROW_A) + block * cols, cols, 1,
            partial + weir_partial_of(block) * device->width, rows);
        device->kernels.block_fold(partial, device->width, rows, block);
    }
    memcpy(out, partial, rows * sizeof(*out));
}

/* out[r] = scale[r] * (row r of w . a) + bias[r] */
static void multiply(const struct weir_device *device,
                     const struct weir_matrix *w, const float *bias, float *out)
{
    size_t part_rows = w->rows / w->row_parts, row = 0, tile = 0, rows;

    for (uint32_t part = 0; part < w->row_parts; part++)
        for (size_t in = 0; in < part_rows; in += rows) {
            rows =
                part_rows - in < w->tile_rows ? part_rows - in : w->tile_rows;
            multiply_group(device, w, tile, rows, out + row);
            tile += w->col_blocks;
            row += rows;
        }
    device->kernels.scale_bias(out, w->rows, 1, w->rows, w->scale, bias, out,
                               w->rows);
}

static void run_matmul(struct weir_device *device, const void *args)
{
    const struct weir_device_matmul *m = args;
    float *out = row_of(device, ROW_OUT), *other = row_of(device, ROW_OTHER);

    for (uint32_t t = 0; t < m->n_tok; t++) {
        const float *x = m->x + t * m->ld_x;
        uint32_t cols = m->to[0].w.cols;

        prepare(device, x, m->norm, m->norm ? factor_of(x, cols, m->eps) : 1,
                cols);
        for (uint32_t i = 0; i < m->n_mat; i++) {
            uint32_t rows = m->to[i].w.rows;
            float *y = m->to[i].y + t * m->to[i].ld_y;

            if (m->out == WEIR_OUT_GATED) {
                multiply(device, &m->to[0].w, m->to[0].bias, out);
                multiply(device, &m->to[1].w, m->to[1].bias, other);
                device->kernels.silu_mul(out, rows, other, rows, 1, rows);
                memcpy(y, out, rows * sizeof(*y));
                break;
            }
            multiply(device, &m->to[i].w, m->to[i].bias, out);
            if (m->out == WEIR_OUT_ADD)
                device->kernels.add_scaled(y, rows, out, rows, NULL, 1, rows);
            else
                memcpy(y, out, rows * sizeof(*y));
        }
    }
}

void weir_host_matmul(struct weir_device *device,
                      const struct weir_device_matmul *args)
{
    SUBMIT(run_matmul, args);
}

/* ---- experts ---- */

/* The choices by expert, of one expert by token; groups of 16 at most */
static void sort_choices(const struct weir_device_route *route)
{
    const struct weir_device_routing *to = &route->to;
    uint32_t n = route->n_tok * route->n_top, at = 0, n_groups = 0;

    for (uint32_t e = 0; e < route->n_experts; e++) {
        to->first[e] = at;
        for (uint32_t i = 0; i < n; i++)
            if (to->expert[i] == e) {
                if ((at - to->first[e]) % 16 == 0) {
                    to->group[2 * n_groups] = e;
                    to->group[2 * n_groups++ + 1] = at;
                }
                to->place[i] = at;
                to->order[at++] = i;
            }
    }
    to->first[route->n_experts] = at;
    to->group[2 * n] = n_groups;
}

static void run_route(struct weir_device *device, const void *args)
{
    const struct weir_device_route *r = args;

    for (uint32_t t = 0; t < r->n_tok; t++) {
        const float *x = r->x + t * r->ld_x;

        if (r->norm)
            r->factor[t] = factor_of(x, r->w.cols, r->eps);
        prepare(device, x, r->norm, r->norm ? r->factor[t] : 1, r->w.cols);
        multiply(device, &r->w, NULL, r->logits + t * r->n_experts);
    }
    device->kernels.route(r->logits, r->n_experts, r->n_tok, r->n_experts,
                          r->n_top, r->to.expert, r->to.prob);
    sort_choices(r);
}

void weir_host_route(struct weir_device *device,
                     const struct weir_device_route *args)
{
    SUBMIT(run_route, args);
}

static struct weir_matrix matrix_at(const struct weir_matrix *shape,
                                    const void *data, const float *scale)
{
    struct weir_matrix w = *shape;

    w.data = data;
    w.scale = scale;
    return w;
}

/* out = down(silu(gate a) * (up a)) of the token at x */
static void run_expert(const struct weir_device *device,
                       const struct weir_device_experts *x, uint32_t token,
                       uint32_t number, float *out)
{
    const struct weir_device_expert *expert = &x->expert[number];
    struct weir_matrix gate =
        matrix_at(&x->gate, expert->gate, expert->gate_scale);
    struct weir_matrix up = matrix_at(&x->gate, expert->up, expert->up_scale);
    struct weir_matrix down =
        matrix_at(&x->down, expert->down, expert->down_scale);
    float *gated = row_of(device, ROW_GATE), *other = row_of(device, ROW_OTHER);

    prepare(device, x->x + token * x->ld_x, x->norm,
            x->norm ? x->factor[token] : 1, gate.cols);
    multiply(device, &gate, NULL, gated);
    multiply(device, &up, NULL, other);
    device->kernels.silu_mul(gated, gate.rows, other, gate.rows, 1, gate.rows);
    prepare(device, gated, NULL, 1, down.cols);
    multiply(device, &down, NULL, out);
}

static int is_wanted(const struct weir_device_experts *x, uint32_t number)
{
    return number >= x->from && number < x->to && x->expert[number].gate;
}

static void run_experts(struct weir_device *device, const void *args)
{
    const struct weir_device_experts *x = args;
    float *out = row_of(device, ROW_OUT);
    size_t n = x->down.rows;

    for (uint32_t t = 0; t < x->n_tok; t++) {
        float *y = x->y + t * x->ld_y;
        float *sum = x->in_order ? y : row_of(device, ROW_SUM);

        if (!x->in_order)
            memset(sum, 0, n * sizeof(*sum));
        for (uint32_t i = t * x->n_top; i < (t + 1) * x->n_top; i++) {
            if (!is_wanted(x, x->routing.expert[i]))
                continue;
            run_expert(device, x, t, x->routing.expert[i], out);
            device->kernels.add_scaled(sum, n, out, n, x->routing.prob + i, 1,
                                       n);
        }
        if (!x->in_order)
            device->kernels.add_scaled(y, n, sum, n, NULL, 1, n);
    }
}

void weir_host_experts(struct weir_device *device,
                       const struct weir_device_experts *args)
{
    SUBMIT(run_experts, args);
}
