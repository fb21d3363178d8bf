/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU behind a device table, so that what a GPU is told to do can be done
 * and looked at on any machine.  One thread does each operation when it is
 * handed in, token by token, with the kernels of the CPU's level; all products
 * keep f32.  A graph is the list of what was handed in.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kernels/kernels.h"
#include "offload/device.h"

typedef void operation(struct weir_device *device, const void *args);

struct step {
    struct step *next;
    operation *run;
    max_align_t args[];
};

struct weir_device_graph {
    struct step *first, **last;
};

struct weir_device_event {
    int unused;
};

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

static float *row_of(const struct weir_device *device, unsigned row)
{
    return device->work + row * device->width;
}

static void fail(struct weir_device *device, int rc, const char *what)
{
    if (!device->rc)
        device->rc = weir_err_set(&device->err, rc, "%s", what);
}

/* Does it, or keeps it for when the graph is launched. */
static void submit(struct weir_device *device, operation *run, const void *args,
                   size_t n_bytes)
{
    struct step *step;

    if (!device->graph) {
        run(device, args);
        return;
    }
    step = malloc(sizeof(*step) + n_bytes);
    if (!step) {
        fail(device, WEIR_ENOMEM, "out of memory for a graph");
        return;
    }
    step->next = NULL;
    step->run = run;
    memcpy(step->args, args, n_bytes);
    *device->graph->last = step;
    device->graph->last = &step->next;
}

#define SUBMIT(run, args) submit(device, run, args, sizeof(*(args)))

/* ---- devices ---- */

static unsigned count(struct weir_err *err)
{
    (void)err;
    return 1;
}

static int open_device(unsigned ordinal, struct weir_device **out,
                       struct weir_err *err)
{
    struct weir_device *device = calloc(1, sizeof(*device));
    int rc;

    (void)ordinal;
    *out = device;
    if (!device)
        return weir_err_nomem(err, sizeof(*device), "a device");
    rc = weir_kernels_select(&device->kernels, err);
    if (!rc)
        return 0;
    free(device);
    *out = NULL;
    return rc;
}

static void close_device(struct weir_device *device)
{
    free(device->work);
    free(device);
}

static int info(struct weir_device *device, struct weir_device_info *out,
                struct weir_err *err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    (void)device;
    (void)err;
    *out = (struct weir_device_info){
        .name = "the CPU",
        .n_units = 1,
        .total_bytes = page * (uint64_t)sysconf(_SC_PHYS_PAGES),
        .free_bytes = page * (uint64_t)sysconf(_SC_AVPHYS_PAGES)};
    return 0;
}

static size_t width_of(const struct weir_device_limits *limits)
{
    const uint32_t most[] = {limits->rows, limits->cols, limits->hidden,
                             limits->inter, 256};
    size_t width = 0;

    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++)
        width = most[i] > width ? most[i] : width;
    return (width + 15) / 16 * 16;
}

static uint64_t workspace_bytes(const struct weir_device_limits *limits)
{
    return N_ROWS * width_of(limits) * sizeof(float);
}

static int reserve(struct weir_device *device,
                   const struct weir_device_limits *limits,
                   struct weir_err *err)
{
    free(device->work);
    device->limits = *limits;
    device->width = width_of(limits);
    device->work = aligned_alloc(64, workspace_bytes(limits));
    return device->work
               ? 0
               : weir_err_nomem(err, workspace_bytes(limits), "a device");
}

/* ---- memory, and order, of which there is but one ---- */

static int alloc(struct weir_device *device, uint64_t n_bytes, void **data,
                 struct weir_err *err)
{
    (void)device;
    *data = aligned_alloc(256, (n_bytes + 255) / 256 * 256);
    return *data ? 0 : weir_err_nomem(err, n_bytes, "a device");
}

static int pinned_alloc(struct weir_device *device, size_t n_bytes, void **data,
                        struct weir_err *err)
{
    return alloc(device, n_bytes, data, err);
}

static void free_memory(struct weir_device *device, void *data)
{
    (void)device;
    free(data);
}

static int pin(struct weir_device *device, void *data, size_t n_bytes,
               struct weir_err *err)
{
    (void)device;
    (void)data;
    (void)n_bytes;
    (void)err;
    return 0;
}

static void unpin(struct weir_device *device, void *data)
{
    (void)device;
    (void)data;
}

struct copying {
    void *dst;
    const void *src;
    int byte;
    size_t n_bytes;
};

static void run_copy(struct weir_device *device, const void *args)
{
    const struct copying *copying = args;

    (void)device;
    memcpy(copying->dst, copying->src, copying->n_bytes);
}

static void copy(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, const void *src, size_t n_bytes)
{
    const struct copying copying = {dst, src, 0, n_bytes};

    (void)stream;
    SUBMIT(run_copy, &copying);
}

static void run_fill(struct weir_device *device, const void *args)
{
    const struct copying *copying = args;

    (void)device;
    memset(copying->dst, copying->byte, copying->n_bytes);
}

static void fill(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, int byte, size_t n_bytes)
{
    const struct copying copying = {dst, NULL, byte, n_bytes};

    (void)stream;
    SUBMIT(run_fill, &copying);
}

static int event_new(struct weir_device *device,
                     struct weir_device_event **event, struct weir_err *err)
{
    (void)device;
    *event = calloc(1, sizeof(**event));
    return *event ? 0 : weir_err_nomem(err, sizeof(**event), "an event");
}

static void event_free(struct weir_device *device,
                       struct weir_device_event *event)
{
    (void)device;
    free(event);
}

static void record(struct weir_device *device, enum weir_device_stream stream,
                   struct weir_device_event *event)
{
    (void)device;
    (void)stream;
    (void)event;
}

static int is_over(struct weir_device *device, struct weir_device_event *event)
{
    (void)device;
    (void)event;
    return 1;
}

static float elapsed_ms(struct weir_device *device,
                        struct weir_device_event *from,
                        struct weir_device_event *to)
{
    (void)device;
    (void)from;
    (void)to;
    return 0;
}

static int check(struct weir_device *device, struct weir_err *err)
{
    if (device->rc && err)
        *err = device->err;
    return device->rc;
}

/* ---- graphs ---- */

static void graph_free(struct weir_device *device,
                       struct weir_device_graph *graph)
{
    struct step *next;

    (void)device;
    for (struct step *step = graph ? graph->first : NULL; step; step = next) {
        next = step->next;
        free(step);
    }
    free(graph);
}

static int capture_begin(struct weir_device *device, struct weir_err *err)
{
    device->graph = calloc(1, sizeof(*device->graph));
    if (!device->graph)
        return weir_err_nomem(err, sizeof(*device->graph), "a graph");
    device->graph->last = &device->graph->first;
    return 0;
}

static int capture_end(struct weir_device *device,
                       struct weir_device_graph **graph, struct weir_err *err)
{
    *graph = device->graph;
    device->graph = NULL;
    if (!device->rc)
        return 0;
    graph_free(device, *graph);
    *graph = NULL;
    return check(device, err);
}

static void graph_launch(struct weir_device *device,
                         struct weir_device_graph *graph)
{
    for (const struct step *step = graph->first; step; step = step->next)
        step->run(device, step->args);
}

/* ---- products ---- */

/* a of a token, as weir_device_matmul has it */
static void prepare(const struct weir_device *device, const float *x,
                    const float *norm, const float *factor, float eps, size_t n)
{
    float *a = row_of(device, ROW_A), own;

    memcpy(a, x, n * sizeof(*a));
    if (!norm)
        return;
    if (!factor) {
        device->kernels.rms_norm(x, n, 1, n, norm, eps, a, n);
        return;
    }
    own = *factor;
    for (size_t c = 0; c < n; c++)
        a[c] = x[c] * norm[c] * own;
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
        prepare(device, m->x + t * m->ld_x, m->norm,
                m->factor ? m->factor + t : NULL, m->eps, m->to[0].w.cols);
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

static void matmul(struct weir_device *device,
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
        prepare(device, r->x + t * r->ld_x, r->norm, r->factor + t, 0,
                r->w.cols);
        multiply(device, &r->w, NULL, r->logits + t * r->n_experts);
    }
    device->kernels.route(r->logits, r->n_experts, r->n_tok, r->n_experts,
                          r->n_top, r->to.expert, r->to.prob);
    sort_choices(r);
}

static void route(struct weir_device *device,
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

    prepare(device, x->x + token * x->ld_x, x->norm, x->factor + token, 0,
            gate.cols);
    multiply(device, &gate, NULL, gated);
    multiply(device, &up, NULL, other);
    device->kernels.silu_mul(gated, gate.rows, other, gate.rows, 1, gate.rows);
    prepare(device, gated, NULL, NULL, 0, down.cols);
    multiply(device, &down, NULL, out);
}

static void run_experts(struct weir_device *device, const void *args)
{
    const struct weir_device_experts *x = args;
    float *sum = row_of(device, ROW_SUM), *out = row_of(device, ROW_OUT);
    size_t n = x->down.rows;

    for (uint32_t t = 0; t < x->n_tok; t++) {
        memset(sum, 0, n * sizeof(*sum));
        for (uint32_t i = t * x->n_top; i < (t + 1) * x->n_top; i++) {
            run_expert(device, x, t, x->routing.expert[i], out);
            device->kernels.add_scaled(sum, n, out, n, x->routing.prob + i, 1,
                                       n);
        }
        device->kernels.add_scaled(x->y + t * x->ld_y, n, sum, n, NULL, 1, n);
    }
}

static void experts(struct weir_device *device,
                    const struct weir_device_experts *args)
{
    SUBMIT(run_experts, args);
}

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

static void conv(struct weir_device *device,
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

static void scan(struct weir_device *device,
                 const struct weir_device_scan *args)
{
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

static void attention(struct weir_device *device,
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
    int32_t *out;
    struct weir_device_run *run;
};

static void run_norm_factor(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    (void)device;
    for (size_t t = 0; t < a->n_tok; t++) {
        const float *x = a->x + t * a->ld_x;

        a->y[t] = 1 / sqrtf(dot(x, x, a->n) / (float)a->n + a->eps);
    }
}

static void norm_factor(struct weir_device *device, const float *x, size_t ld_x,
                        size_t n_tok, size_t n, float eps, float *factor)
{
    const struct rows_args args = {
        .x = x, .ld_x = ld_x, .n_tok = n_tok, .n = n, .eps = eps, .y = factor};

    SUBMIT(run_norm_factor, &args);
}

static void run_rms_norm(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    device->kernels.rms_norm(a->x, a->ld_x, a->n_tok, a->n, a->weight, a->eps,
                             a->y, a->ld_y);
}

static void rms_norm(struct weir_device *device, const float *x, size_t ld_x,
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

static void add(struct weir_device *device, float *y, size_t ld_y,
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

static void rows(struct weir_device *device, const struct weir_matrix *w,
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

static void gather(struct weir_device *device, const float *x, size_t ld_x,
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

static void run_argmax(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    for (size_t t = 0; t < a->n_tok; t++)
        a->out[t] = (int32_t)device->kernels.argmax(a->x + t * a->ld_x, a->n);
}

static void argmax(struct weir_device *device, const float *x, size_t ld_x,
                   size_t n_tok, size_t n, int32_t *ids)
{
    const struct rows_args args = {
        .x = x, .ld_x = ld_x, .n_tok = n_tok, .n = n, .out = ids};

    SUBMIT(run_argmax, &args);
}

static void run_advance(struct weir_device *device, const void *args)
{
    const struct rows_args *a = args;

    (void)device;
    for (size_t i = 0; i < a->n; i++)
        a->run[i].n_past += a->run[i].n_tok;
}

static void advance(struct weir_device *device, struct weir_device_run *run,
                    size_t n)
{
    const struct rows_args args = {.run = run, .n = n};

    SUBMIT(run_advance, &args);
}

const struct weir_device_table weir_device_host = {
    .abi = WEIR_DEVICE_ABI,
    .kind = "host",
    .count = count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .reserve = reserve,
    .workspace_bytes = workspace_bytes,
    .alloc = alloc,
    .free = free_memory,
    .pinned_alloc = pinned_alloc,
    .pinned_free = free_memory,
    .pin = pin,
    .unpin = unpin,
    .to_device = copy,
    .to_host = copy,
    .copy = copy,
    .fill = fill,
    .event_new = event_new,
    .event_free = event_free,
    .record = record,
    .wait = record,
    .is_over = is_over,
    .elapsed_ms = elapsed_ms,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .graph_launch = graph_launch,
    .graph_free = graph_free,
    .synchronize = check,
    .check = check,
    .matmul = matmul,
    .route = route,
    .experts = experts,
    .conv = conv,
    .scan = scan,
    .attention = attention,
    .norm_factor = norm_factor,
    .rms_norm = rms_norm,
    .add = add,
    .rows = rows,
    .gather = gather,
    .argmax = argmax,
    .advance = advance,
};
