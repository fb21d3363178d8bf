/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/levels.h"

#include <stdio.h>

#define MAX_N 259
#define N_TOK 3
#define LD    (MAX_N + 5)

/* Rows of n numbers, LD apart: the last ends at the guard. */
static size_t extent(size_t n)
{
    return (N_TOK - 1) * LD + n;
}

static int same_bits(const float *a, const float *b, size_t n)
{
    return !memcmp(a, b, n * sizeof(*a));
}

static int folds(const struct levels *levels, size_t n)
{
    size_t all = (WEIR_MAX_PARTIALS - 1) * LD + n;
    float *y = guard_floats(all), *want = guard_copy(y, all);
    int same = 1;

    for (unsigned block = 0; block < 8; block++) {
        levels->fast.block_fold(y, LD, n, block);
        levels->ref.block_fold(want, LD, n, block);
        same &= same_bits(y, want, all);
    }
    return same;
}

static int scales(const struct levels *levels, size_t n)
{
    const float *x = guard_floats(extent(n));
    const float *factors[] = {guard_floats(n), NULL};
    const float *biases[] = {guard_floats(n), NULL};
    float *want = guard_floats(extent(n)), *y = guard_copy(want, extent(n));
    float *in_place = guard_copy(x, extent(n));
    int same = 1;

    for (unsigned i = 0; i < 4; i++) {
        const float *scale = factors[i & 1], *bias = biases[i >> 1];

        levels->ref.scale_bias(x, LD, N_TOK, n, scale, bias, want, LD);
        levels->fast.scale_bias(x, LD, N_TOK, n, scale, bias, y, LD);
        same &= same_bits(y, want, extent(n));
        memcpy(in_place, x, extent(n) * sizeof(*x));
        levels->fast.scale_bias(in_place, LD, N_TOK, n, scale, bias, in_place,
                                LD);
        for (size_t t = 0; t < N_TOK; t++)
            same &= same_bits(in_place + t * LD, want + t * LD, n);
    }
    return same;
}

/* N_TOK columns of `src` become rows */
static int turns(const struct levels *levels, size_t n)
{
    const float *src = guard_floats((n - 1) * LD + N_TOK);
    const float *factors[] = {guard_floats(n), NULL};
    const float *biases[] = {guard_floats(n), NULL};
    float *want = guard_floats(extent(n)), *y = guard_copy(want, extent(n));
    int same = 1;

    for (unsigned i = 0; i < 4; i++) {
        const float *scale = factors[i & 1], *bias = biases[i >> 1];

        levels->ref.turn_scale_bias(src, LD, N_TOK, n, scale, bias, want, LD);
        levels->fast.turn_scale_bias(src, LD, N_TOK, n, scale, bias, y, LD);
        same &= same_bits(y, want, extent(n));
    }
    return same;
}

static int adds(const struct levels *levels, size_t n)
{
    static const float weight[N_TOK] = {0.75f, -0.0f, 3e20f};
    const float *x = guard_floats(extent(n));
    float *y = guard_floats(extent(n)), *want = guard_copy(y, extent(n));
    int same;

    levels->fast.add_scaled(y, LD, x, LD, weight, N_TOK, n);
    levels->ref.add_scaled(want, LD, x, LD, weight, N_TOK, n);
    same = same_bits(y, want, extent(n));
    levels->fast.add_scaled(y, LD, x, LD, NULL, N_TOK, n);
    levels->ref.add_scaled(want, LD, x, LD, NULL, N_TOK, n);
    return same && same_bits(y, want, extent(n));
}

static void check_exact(const struct levels *levels)
{
    static const struct {
        const char *name;
        int (*agree)(const struct levels *levels, size_t n);
    } operations[] = {{"block_fold", folds},
                      {"scale_bias", scales},
                      {"turn_scale_bias", turns},
                      {"add_scaled", adds}};

    for (unsigned i = 0; i < 3; i++) {
        int same = 1;

        for (size_t n = 1; n <= MAX_N; n++) {
            same &= operations[i].agree(levels, n);
            guard_free_all();
        }
        tap_ok(same, "%s %s: the bits of the reference", levels->name,
               operations[i].name);
    }
}

/* 1 if each token has the same bits alone, and in the place of x */
static int normalises(const struct levels *levels, size_t n, float range,
                      double *worst)
{
    float *x = guard_floats(extent(n)), *weight = guard_floats(n);
    float *want = guard_floats(extent(n)), *y = guard_copy(want, extent(n));
    int same = 1;

    for (size_t i = 0; i < extent(n); i++)
        x[i] *= range;
    levels->ref.rms_norm(x, LD, N_TOK, n, weight, 1e-6f, want, LD);
    levels->fast.rms_norm(x, LD, N_TOK, n, weight, 1e-6f, y, LD);
    *worst = worst_of(*worst, apart(y, want, extent(n)));
    for (size_t t = 0; t < N_TOK; t++) {
        levels->fast.rms_norm(x + t * LD, LD, 1, n, weight, 1e-6f, x + t * LD,
                              LD);
        same &= same_bits(x + t * LD, y + t * LD, n);
    }
    return same;
}

static void check_rms_norm(const struct levels *levels)
{
    static const float ranges[] = {1.0f, 0.0f, 1e14f, 1e-20f};
    double worst = 0;
    int same = 1;

    for (size_t n = 1; n <= MAX_N; n++) {
        same &= normalises(levels, n, ranges[n % 4], &worst);
        guard_free_all();
    }
    tap_ok(worst < 1e-5, "%s rms_norm: %.1e from the reference", levels->name,
           worst);
    tap_ok(same, "%s rms_norm: a token has the same bits alone and in place",
           levels->name);
}

static void check_silu_mul(const struct levels *levels)
{
    static const float ends[] = {0.0f, -0.0f, 1e30f,  -1e30f, 88.0f, -88.0f,
                                 89.f, -87.f, -103.f, 1e-30f, 3e38f, -3e38f};
    double worst = 0;
    int same = 1;

    for (size_t n = 1; n <= MAX_N; n++) {
        float *gate = guard_floats(extent(n)), *up = guard_floats(extent(n));
        float *want, *alone;

        for (size_t i = 0; i < extent(n); i++)
            gate[i] = 100 * any();
        want = guard_copy(gate, extent(n));
        alone = guard_copy(gate, extent(n));
        levels->fast.silu_mul(gate, LD, up, LD, N_TOK, n);
        levels->ref.silu_mul(want, LD, up, LD, N_TOK, n);
        worst = worst_of(worst, apart(gate, want, extent(n)));
        for (size_t t = 0; t < N_TOK; t++)
            levels->fast.silu_mul(alone + t * LD, LD, up + t * LD, LD, 1, n);
        same &= same_bits(gate, alone, extent(n));
        guard_free_all();
    }
    for (unsigned i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        float gate = ends[i], want = gate, up = 1.0f;

        levels->fast.silu_mul(&gate, 1, &up, 1, 1, 1);
        levels->ref.silu_mul(&want, 1, &up, 1, 1, 1);
        worst = worst_of(worst, apart(&gate, &want, 1));
    }
    tap_ok(worst < 1e-5, "%s silu_mul: %.1e from the reference", levels->name,
           worst);
    tap_ok(same, "%s silu_mul: a token has the same bits alone", levels->name);
}

/* Few different numbers, so that many are equal; now and then none */
static float one_of_few(void)
{
    static const float few[] = {-INFINITY, -3e38f, -2.0f, 0.0f,
                                -0.0f,     7.5f,   7.5f,  1e-40f};

    (void)any();
    return seed >> 20 & 15 ? few[seed >> 30 & 7] : NAN;
}

static void check_argmax(const struct levels *levels)
{
    int same = 1;

    for (size_t n = 1; n <= MAX_N; n++)
        for (unsigned i = 0; i < 20; i++) {
            float *x = guard_floats(n);

            for (size_t j = 0; j < n && i > 0; j++)
                x[j] = i < 10 ? one_of_few() : (float)(seed >> 9 & 3) * any();
            if (i % 10 == 1)
                x[n - 1] = INFINITY;
            same &= levels->fast.argmax(x, n) == levels->ref.argmax(x, n);
            guard_free_all();
        }
    tap_ok(same, "%s argmax: that of the reference, with equals and NaN",
           levels->name);
}

struct choice {
    size_t n, k;
    const float *logits; /* [N_TOK][LD] */
    uint32_t *expert, *want_expert;
    float *prob, *want_prob;
};

static void take_choice(struct choice *c, size_t n)
{
    c->n = n;
    c->k = 1 + (seed >> 20) % n;
    c->logits = guard_floats(extent(n));
    c->expert = guard_alloc(N_TOK * c->k * sizeof(*c->expert));
    c->want_expert = guard_alloc(N_TOK * c->k * sizeof(*c->expert));
    c->prob = guard_floats(N_TOK * c->k);
    c->want_prob = guard_floats(N_TOK * c->k);
}

static int same_choice(const struct levels *levels, struct choice *c)
{
    levels->fast.route(c->logits, LD, N_TOK, c->n, c->k, c->expert, c->prob);
    levels->ref.route(c->logits, LD, N_TOK, c->n, c->k, c->want_expert,
                      c->want_prob);
    return !memcmp(c->expert, c->want_expert,
                   N_TOK * c->k * sizeof(*c->expert));
}

/*
 * Logits a thousandth apart and more, or equal, so that the last bits of exp()
 * do not matter: i = 0 as many as there are experts, 1 few, 2 all the same,
 * 3 so far apart that all others are improbable to nothing, 4 with a NaN.
 */
static void set_logits(struct choice *c, unsigned i)
{
    static const float far[] = {2e4f, -2e4f, 0.0f, -3e38f, 2e4f};
    float *x = (float *)c->logits;
    size_t turn = 1 + 2 * (seed >> 20 & 255);

    for (size_t e = 0; e < extent(c->n); e++) {
        (void)any();
        if (i == 0)
            x[e] = (float)(e * turn % 1024) / 64;
        else if (i == 1)
            x[e] = (float)(seed >> 20 & 3);
        else
            x[e] = i == 2 ? 5e10f : far[(seed >> 20) % 5];
    }
    if (i == 4)
        x[LD + c->n / 2] = NAN;
}

static void check_route(const struct levels *levels)
{
    struct choice c;
    double worst = 0;
    int same = 1, nothing = 1;

    for (size_t n = 1; n <= MAX_N; n++)
        for (unsigned i = 0; i < 5; i++) {
            take_choice(&c, n);
            set_logits(&c, i);
            same &= same_choice(levels, &c);
            if (i < 4)
                worst =
                    worst_of(worst, apart(c.prob, c.want_prob, N_TOK * c.k));
            else
                nothing &= isnan(c.prob[c.k]) && !isnan(c.prob[0]);
            guard_free_all();
        }
    tap_ok(same, "%s route: the experts of the reference", levels->name);
    tap_ok(worst < 1e-5, "%s route: probabilities %.1e from the reference",
           levels->name, worst);
    tap_ok(nothing, "%s route: NaN stays in its token", levels->name);
}

void check_rows(const struct levels *levels)
{
    check_exact(levels);
    check_rms_norm(levels);
    check_silu_mul(levels);
    check_argmax(levels);
    check_route(levels);
}

/* Mini's widths */
enum { HIDDEN = 4096, INTER = 14336, EXPERTS = 16, VOCAB = 65536 };

struct rows {
    float *x, *y, *weight, *partial;
    uint32_t expert[2];
    float prob[2];
};

static void run_block_fold(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->block_fold(r->partial, HIDDEN, HIDDEN, 1);
}

static void run_scale_bias(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->scale_bias(r->x, HIDDEN, 1, HIDDEN, r->weight, NULL, r->y, HIDDEN);
}

static void run_rms_norm(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->rms_norm(r->x, HIDDEN, 1, HIDDEN, r->weight, 1e-6f, r->y, HIDDEN);
}

static void run_add_scaled(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->add_scaled(r->y, HIDDEN, r->x, HIDDEN, r->prob, 1, HIDDEN);
}

static void run_silu_mul(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->silu_mul(r->y, INTER, r->x, INTER, 1, INTER);
}

static void run_route(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    kernels->route(r->x, EXPERTS, 1, EXPERTS, 2, r->expert, r->prob);
}

static void run_argmax(void *ctx, const struct weir_kernels *kernels)
{
    struct rows *r = ctx;

    r->expert[0] = (uint32_t)kernels->argmax(r->x, VOCAB);
}

void bench_rows(const struct levels *levels)
{
    static const struct {
        const char *what;
        void (*run)(void *ctx, const struct weir_kernels *kernels);
        size_t n_floats;
    } rows[] = {
        {"block_fold 4096", run_block_fold, 3 * HIDDEN},
        {"scale_bias 4096", run_scale_bias, 3 * HIDDEN},
        {"rms_norm 4096", run_rms_norm, 3 * HIDDEN},
        {"add_scaled 4096", run_add_scaled, 3 * HIDDEN},
        {"silu_mul 14336", run_silu_mul, 3 * INTER},
        {"route 2 of 16 experts", run_route, EXPERTS},
        {"argmax 65536", run_argmax, VOCAB},
    };
    struct rows r = {.x = guard_floats(VOCAB),
                     .y = guard_floats(INTER),
                     .weight = guard_floats(HIDDEN),
                     .partial = guard_floats(WEIR_MAX_PARTIALS * HIDDEN)};

    for (unsigned i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        bench_print(rows[i].what, bench_time(rows[i].run, &r, &levels->fast),
                    bench_time(rows[i].run, &r, &levels->ref),
                    (double)(rows[i].n_floats * sizeof(float)));
    guard_free_all();
}
