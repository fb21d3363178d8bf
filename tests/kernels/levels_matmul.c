/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/levels.h"

#include <stdio.h>

#define MAX_COLS 259
#define N_TOK    17

static const enum weir_dtype dtypes[] = {WEIR_I8, WEIR_BF16, WEIR_F16,
                                         WEIR_F32};

void random_tile(struct weir_tile *w)
{
    size_t bytes = weir_dtype_bytes(w->dtype);
    uint8_t *data;

    w->row_bytes = (w->cols * bytes + 63) / 64 * 64;
    data = guard_alloc(w->rows * w->row_bytes);
    memset(data, 0xff, w->rows * w->row_bytes);
    for (size_t r = 0; r < w->rows; r++)
        for (size_t c = 0; c < w->cols; c++) {
            uint8_t *at = data + r * w->row_bytes + c * bytes;
            float f = any();
            uint16_t h = weir_f32_to_bf16(f);

            if (w->dtype == WEIR_F16)
                h = (uint16_t)(seed >> 40 & 0xbfff);
            if (w->dtype == WEIR_I8)
                *(int8_t *)at = (int8_t)(127.9f * f);
            else
                memcpy(at, w->dtype == WEIR_F32 ? (void *)&f : &h, bytes);
        }
    w->data = data;
}

/*
 * A product as each has it, and 1 if the level gives each token what it gives
 * it alone.
 */
static int same_alone(const struct levels *levels, const struct weir_tile *w,
                      size_t n_tok, double *worst)
{
    size_t n = n_tok * w->rows, ld = w->cols + 3;
    float *x = guard_floats((n_tok - 1) * ld + w->cols);
    float *y = guard_floats(n), *alone = guard_floats(n);
    float *want = guard_floats(n);

    levels->fast.matmul(w, x, ld, n_tok, y, w->rows);
    levels->ref.matmul(w, x, ld, n_tok, want, w->rows);
    for (size_t t = 0; t < n_tok; t++)
        levels->fast.matmul(w, x + t * ld, ld, 1, alone + t * w->rows, w->rows);
    *worst = worst_of(*worst, apart(y, want, n));
    return !memcmp(y, alone, n * sizeof(*y));
}

/* More rows and columns than are taken at a time */
static const struct {
    size_t rows, cols, n_tok;
} large[] = {{1, 1025, 5},  {24, 1024, 3}, {25, 2048, 9}, {47, 2049, 4},
             {48, 1087, 8}, {50, 2111, 6}, {97, 1100, 7}};

void check_matmul(const struct levels *levels)
{
    struct weir_tile w;

    for (unsigned i = 0; i < sizeof(dtypes) / sizeof(dtypes[0]); i++) {
        double worst = 0;
        int same = 1;

        w.dtype = dtypes[i];
        w.rows = 5;
        for (w.cols = 1; w.cols <= MAX_COLS; w.cols++) {
            random_tile(&w);
            same &= same_alone(levels, &w, 1 + w.cols % N_TOK, &worst);
            guard_free_all();
        }
        for (unsigned k = 0; k < sizeof(large) / sizeof(large[0]); k++) {
            w.rows = large[k].rows;
            w.cols = large[k].cols;
            random_tile(&w);
            same &= same_alone(levels, &w, large[k].n_tok, &worst);
            guard_free_all();
        }
        tap_ok(worst < 1e-5, "%s matmul of %s: %.1e from the reference",
               levels->name, weir_dtype_name(w.dtype), worst);
        tap_ok(same, "%s matmul of %s: a token has the same bits alone",
               levels->name, weir_dtype_name(w.dtype));
    }
}

struct product {
    struct weir_tile w;
    const float *x;
    float *y;
    size_t n_tok;
};

static void multiply(void *ctx, const struct weir_kernels *kernels)
{
    struct product *p = ctx;

    kernels->matmul(&p->w, p->x, p->w.cols, p->n_tok, p->y, p->w.rows);
}

void bench_matmul(const struct levels *levels)
{
    struct product p = {.w.cols = 4096};
    char what[64];
    double fast;

    for (unsigned i = 0; i < 2; i++)
        for (p.n_tok = 1; p.n_tok <= 64; p.n_tok *= 2) {
            p.w.dtype = dtypes[i];
            p.w.rows = (256u << 10) / 4096 / weir_dtype_bytes(p.w.dtype);
            random_tile(&p.w);
            p.x = guard_floats(p.n_tok * p.w.cols);
            p.y = guard_alloc(p.n_tok * p.w.rows * sizeof(float));
            fast = bench_time(multiply, &p, &levels->fast);
            snprintf(what, sizeof(what), "%s tile, %zu tokens: %.1f GFLOP/s",
                     weir_dtype_name(p.w.dtype), p.n_tok,
                     2e-9 * (double)(p.n_tok * p.w.rows * p.w.cols) / fast);
            bench_print(what, fast, bench_time(multiply, &p, &levels->ref),
                        (double)(p.w.rows * p.w.row_bytes));
            guard_free_all();
        }
}
