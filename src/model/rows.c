/* SPDX-License-Identifier: Apache-2.0 */
#include "model/rows.h"

#include <string.h>

#include "base/trace.h"

#define SLICE      8   /* tokens of an item */
#define SLICE_COLS 256 /* or columns of all of them */

struct rows {
    const struct weir_jamba *jamba;
    const float *x, *weight;
    float *y;
    void *narrow;
    const uint32_t *from;
    size_t ld, n_tok, n;
    size_t slice; /* of the columns */
    enum weir_dtype dtype;
};

/* First token of an item, and how many it has */
static size_t slice_of(const struct rows *rows, size_t item, size_t *n_tok)
{
    size_t left = rows->n_tok - item * SLICE;

    *n_tok = left < SLICE ? left : SLICE;
    return item * SLICE;
}

static void run(struct rows *rows, const char *name,
                void (*fn)(void *ctx, size_t item, unsigned worker))
{
    weir_trace_name(name);
    weir_pool_run(rows->jamba->pool, (rows->n_tok + SLICE - 1) / SLICE, fn,
                  rows);
}

static void norm_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, t = slice_of(r, item, &n_tok);

    (void)worker;
    r->jamba->kernels.rms_norm(r->x + t * r->ld, r->ld, n_tok, r->n, r->weight,
                               r->jamba->config.rms_eps, r->y + t * r->ld,
                               r->ld);
}

void weir_rows_norm(const struct weir_jamba *jamba, const float *x, size_t ld,
                    size_t n_tok, size_t n, const float *weight, float *y)
{
    struct rows rows = {.jamba = jamba,
                        .x = x,
                        .ld = ld,
                        .n_tok = n_tok,
                        .n = n,
                        .weight = weight,
                        .y = y};

    run(&rows, "norm", norm_item);
}

static void silu_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, at = slice_of(r, item, &n_tok) * r->n;

    (void)worker;
    r->jamba->kernels.silu_mul(r->y + at, r->n, r->x + at, r->n, n_tok, r->n);
}

void weir_rows_silu_mul(const struct weir_jamba *jamba, float *gate,
                        const float *up, size_t n_tok, size_t n)
{
    struct rows rows = {
        .jamba = jamba, .x = up, .y = gate, .n_tok = n_tok, .n = n};

    run(&rows, "silu", silu_item);
}

static void add_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, at = slice_of(r, item, &n_tok) * r->n;

    (void)worker;
    r->jamba->kernels.add_scaled(r->y + at, r->n, r->x + at, r->n, NULL, n_tok,
                                 r->n);
}

void weir_rows_add(const struct weir_jamba *jamba, float *y, const float *x,
                   size_t n_tok, size_t n)
{
    struct rows rows = {.jamba = jamba, .x = x, .y = y, .n_tok = n_tok, .n = n};

    run(&rows, "add", add_item);
}

static void clear_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, at = slice_of(r, item, &n_tok) * r->n;

    (void)worker;
    memset(r->y + at, 0, n_tok * r->n * sizeof(*r->y));
}

void weir_rows_clear(const struct weir_jamba *jamba, float *y, size_t n_tok,
                     size_t n)
{
    struct rows rows = {.jamba = jamba, .n_tok = n_tok, .n = n, .y = y};

    run(&rows, "clear", clear_item);
}

static void gather_norm_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, t = slice_of(r, item, &n_tok), end = t + n_tok;

    (void)worker;
    for (; t < end; t++)
        r->jamba->kernels.rms_norm(r->x + r->from[t] * r->n, r->n, 1, r->n,
                                   r->weight, r->jamba->config.rms_eps,
                                   r->y + t * r->n, r->n);
}

void weir_rows_gather_norm(const struct weir_jamba *jamba, const float *x,
                           const uint32_t *from, size_t n_tok, size_t n,
                           const float *weight, float *y)
{
    struct rows rows = {.jamba = jamba,
                        .x = x,
                        .from = from,
                        .n_tok = n_tok,
                        .n = n,
                        .weight = weight,
                        .y = y};

    run(&rows, "gather", gather_norm_item);
}

/* A slice of the columns, so that two rows of one token keep their order */
static void scatter_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t at = item * r->slice, left = r->n - at;
    size_t n = left < r->slice ? left : r->slice;

    (void)worker;
    for (size_t t = 0; t < r->n_tok; t++)
        r->jamba->kernels.add_scaled(r->y + r->from[t] * r->n + at, r->n,
                                     r->x + t * r->n + at, r->n, r->weight + t,
                                     1, n);
}

void weir_rows_scatter_add(const struct weir_jamba *jamba, const float *x,
                           const uint32_t *to, const float *weight,
                           size_t n_tok, size_t n, float *y)
{
    struct rows rows = {.jamba = jamba,
                        .x = x,
                        .from = to,
                        .weight = weight,
                        .slice = n_tok > SLICE ? SLICE_COLS : n,
                        .n_tok = n_tok,
                        .n = n,
                        .y = y};

    weir_trace_name("combine");
    weir_pool_run(jamba->pool, (n + rows.slice - 1) / rows.slice, scatter_item,
                  &rows);
}

static void convert_item(void *ctx, size_t item, unsigned worker)
{
    const struct rows *r = ctx;
    size_t n_tok, at = slice_of(r, item, &n_tok) * r->n, n = n_tok * r->n;
    uint16_t *bf16 = (uint16_t *)r->narrow + at;

    (void)worker;
    if (r->dtype == WEIR_F32) {
        memcpy((float *)r->narrow + at, r->x + at, n * sizeof(*r->x));
        return;
    }
    for (size_t i = 0; i < n; i++)
        bf16[i] = weir_f32_to_bf16(r->x[at + i]);
}

void weir_rows_convert(const struct weir_jamba *jamba, const float *x,
                       size_t n_tok, size_t n, enum weir_dtype dtype, void *y)
{
    struct rows rows = {.jamba = jamba,
                        .x = x,
                        .n_tok = n_tok,
                        .n = n,
                        .dtype = dtype,
                        .narrow = y};

    run(&rows, "convert", convert_item);
}
