/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scan and the convolution.  An element may be as far from the reference's
 * as the tolerance of the sum of its terms' magnitudes, which the reference
 * gives when all signs are taken off the operands; so that no large element
 * hides a wrong one, and what lies between rows must stay as it is.
 */
#include "tests/kernels/levels.h"

#include <stdio.h>

#include "tests/kernels/exps.h"

#define MAX_CH     70
#define MAX_STATE  20
#define MAX_TAPS   10
#define TINY       1e-30 /* that and less may be off by as much */
#define MINI_CH    8192
#define MINI_STATE 16
#define MINI_TAPS  4

static float *unsigned_of(const float *x, size_t n)
{
    float *y = guard_alloc(n * sizeof(*y));

    for (size_t i = 0; i < n; i++)
        y[i] = fabsf(x[i]);
    return y;
}

/* Largest error of an element in parts of its magnitude */
static double off(const float *y, const float *want, const float *magnitude,
                  size_t n)
{
    double worst = 0;

    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)y[i] - want[i]);

        worst = isfinite(d) ? worst_of(worst, d / (fabs(magnitude[i]) + TINY))
                            : INFINITY;
    }
    return worst;
}

/* 1 if the rows of a and b, ld apart, have the same bits. */
static int same_rows(const float *a, const float *b, size_t n_rows, size_t n,
                     size_t ld)
{
    int same = 1;

    for (size_t r = 0; r < n_rows; r++)
        same &= !memcmp(a + r * ld, b + r * ld, n * sizeof(*a));
    return same;
}

/* 1 if what is finite, an infinity or no number is the same in both. */
static int same_kinds(const float *y, const float *want, size_t n)
{
    int same = 1;

    for (size_t i = 0; i < n; i++)
        same &= isfinite(want[i])
                    ? isfinite(y[i])
                    : y[i] == want[i] || (isnan(y[i]) && isnan(want[i]));
    return same;
}

/* A size from 1 to n */
static size_t any_up_to(size_t n)
{
    any();
    return 1 + (seed >> 20) % n;
}

static float one_of(const float *x, size_t n)
{
    return x[any_up_to(n) - 1];
}
#define ONE_OF(array) one_of(array, sizeof(array) / sizeof((array)[0]))

/* Makes some number of an operand one that is not finite. */
static void spoil(const float *x, size_t n)
{
    static const float odd[] = {INFINITY, -INFINITY, NAN};

    ((float *)x)[any_up_to(n) - 1] = ONE_OF(odd);
}

/*
 * Before softplus: about where it ends, where e^v leaves f32 at either side,
 * and where delta is subnormal or zero
 */
static float any_dt(void)
{
    static const float odd[] = {20.0f,  19.999998f, 20.000002f, 88.8f, -87.5f,
                                -95.0f, -103.9f,    -120.0f,    0.0f,  5e3f};

    return any() < 0.5f ? 6 * any() : any() < 0.0f ? 120 * any() : ONE_OF(odd);
}

/* Next to nothing and no end among ordinary rates */
static float any_rate(void)
{
    static const float odd[] = {0.0f, -0.0f, -1e-40f, -1e-30f, -1e30f, -3e38f};

    return any() < 0.8f ? -expf(3 * any()) : ONE_OF(odd);
}

static size_t scan_rows(const struct weir_scan *s)
{
    return (s->n_tok - 1) * s->ld_u + s->n_ch;
}

static size_t scan_states(const struct weir_scan *s)
{
    return s->n_ch * s->n_state;
}

/* All rows of channels are as far apart, for y to lie where u or z do. */
static void fill_scan(struct weir_scan *s, size_t n_ch, size_t n_tok,
                      size_t n_state)
{
    size_t ld = n_ch + 3, ld_bc = n_state + 2, n_bc, n;
    float *dt, *bias, *a;

    *s = (struct weir_scan){.n_tok = n_tok,
                            .n_ch = n_ch,
                            .n_state = n_state,
                            .ld_u = ld,
                            .ld_dt = ld,
                            .ld_z = ld,
                            .ld_y = ld,
                            .ld_bc = ld_bc};
    n = scan_rows(s);
    n_bc = (n_tok - 1) * ld_bc + n_state;
    s->u = guard_floats(n);
    s->z = guard_floats(n);
    s->b = guard_floats(n_bc);
    s->c = guard_floats(n_bc);
    s->d = guard_floats(n_ch);
    s->state = guard_floats(scan_states(s));
    s->y = guard_floats(n);
    s->dt = dt = guard_floats(n);
    s->dt_bias = bias = guard_floats(n_ch);
    s->a = a = guard_floats(scan_states(s));
    for (size_t i = 0; i < n; i++)
        dt[i] = any_dt();
    for (size_t i = 0; i < n_ch; i++)
        bias[i] = any() < 0.5f ? 0.0f : any();
    for (size_t i = 0; i < scan_states(s); i++)
        a[i] = any_rate();
}

/* Operands as models have them: subnormal numbers take their time. */
static void fill_tame_scan(struct weir_scan *s, size_t n_ch, size_t n_tok,
                           size_t n_state)
{
    float *a, *dt;

    fill_scan(s, n_ch, n_tok, n_state);
    s->a = a = guard_copy(s->a, scan_states(s));
    s->dt = dt = guard_copy(s->dt, scan_rows(s));
    for (size_t i = 0; i < scan_states(s); i++)
        a[i] = -(float)(1 + i % n_state);
    for (size_t i = 0; i < scan_rows(s); i++)
        dt[i] = 2 * any() - 3;
}

/* The same operands, with a state and a y of its own */
static struct weir_scan another_scan(const struct weir_scan *s)
{
    struct weir_scan other = *s;

    other.state = guard_copy(s->state, scan_states(s));
    other.y = guard_copy(s->y, scan_rows(s));
    return other;
}

/* Rates are halved too: a rounding of x puts e^-x off by up to e^(-x/2). */
static struct weir_scan unsigned_scan(const struct weir_scan *s)
{
    struct weir_scan other = another_scan(s);
    float *a = guard_copy(s->a, scan_states(s));
    size_t n_bc = (s->n_tok - 1) * s->ld_bc + s->n_state;

    other.state = unsigned_of(s->state, scan_states(s));
    other.u = unsigned_of(s->u, scan_rows(s));
    other.b = unsigned_of(s->b, n_bc);
    other.c = unsigned_of(s->c, n_bc);
    other.d = unsigned_of(s->d, s->n_ch);
    for (size_t i = 0; i < scan_states(s); i++)
        a[i] /= 2;
    other.a = a;
    return other;
}

static void scan_in_pieces(const struct weir_kernels *kernels,
                           const struct weir_scan *all)
{
    size_t by_tok = any_up_to(all->n_tok), by_ch = any_up_to(all->n_ch);

    for (size_t t = 0; t < all->n_tok; t += by_tok)
        for (size_t c = 0; c < all->n_ch; c += by_ch) {
            struct weir_scan s = *all;

            s.n_tok = t + by_tok < all->n_tok ? by_tok : all->n_tok - t;
            s.n_ch = c + by_ch < all->n_ch ? by_ch : all->n_ch - c;
            s.u += t * s.ld_u + c;
            s.dt += t * s.ld_dt + c;
            s.z += t * s.ld_z + c;
            s.y += t * s.ld_y + c;
            s.b += t * s.ld_bc;
            s.c += t * s.ld_bc;
            s.dt_bias += c;
            s.d += c;
            s.a += c * s.n_state;
            s.state += c * s.n_state;
            kernels->scan(&s);
        }
}

struct findings {
    double worst;
    int same_cut;
    int same_over;   /* of a scan; of a conv: the window is the same */
    int same_spoilt; /* as little is finite */
};

static void try_scan(const struct levels *levels, size_t n_ch, size_t n_tok,
                     size_t n_state, struct findings *found)
{
    struct weir_scan s, want, magnitude, cut, over;
    size_t n;

    fill_scan(&s, n_ch, n_tok, n_state);
    n = scan_rows(&s);
    want = another_scan(&s);
    magnitude = unsigned_scan(&s);
    cut = another_scan(&s);
    over = another_scan(&s);
    over.u = over.y = guard_copy(s.u, n);
    if (n_ch % 2) {
        over.u = s.u;
        over.z = over.y = guard_copy(s.z, n);
    }
    levels->ref.scan(&want);
    levels->ref.scan(&magnitude);
    levels->fast.scan(&s);
    s.n_tok = 0;
    levels->fast.scan(&s);
    levels->fast.scan(&over);
    scan_in_pieces(&levels->fast, &cut);
    found->worst = worst_of(found->worst, off(s.y, want.y, magnitude.y, n));
    found->worst = worst_of(found->worst, off(s.state, want.state,
                                              magnitude.state, n_ch * n_state));
    found->same_cut &= same_rows(s.y, cut.y, 1, n, 0) &&
                       same_rows(s.state, cut.state, 1, n_ch * n_state, 0);
    found->same_over &= same_rows(s.y, over.y, n_tok, n_ch, s.ld_y);
    guard_free_all();
}

/* Each operand in turn */
static int spoilt_scans(const struct levels *levels, size_t n_ch,
                        size_t n_state)
{
    struct weir_scan s, want;
    int same = 1;

    for (unsigned i = 0; i < 9; i++) {
        fill_tame_scan(&s, n_ch, 3, n_state);
        size_t n = scan_rows(&s), n_bc = 2 * s.ld_bc + n_state;
        size_t n_a = scan_states(&s);
        const float *in[] = {s.u, s.dt, s.dt_bias, s.a,    s.b,
                             s.c, s.d,  s.z,       s.state};
        size_t size[] = {n, n, n_ch, n_a, n_bc, n_bc, n_ch, n, n_a};

        spoil(in[i], size[i]);
        want = another_scan(&s);
        levels->fast.scan(&s);
        levels->ref.scan(&want);
        same &=
            same_kinds(s.y, want.y, n) && same_kinds(s.state, want.state, n_a);
        guard_free_all();
    }
    return same;
}

void check_scan(const struct levels *levels)
{
    struct findings found = {.same_cut = 1, .same_over = 1, .same_spoilt = 1};
    size_t n_state = 1;

    for (size_t n_ch = 1; n_ch <= MAX_CH; n_ch++)
        for (size_t n_tok = 1; n_tok <= MAX_TOK; n_tok++) {
            try_scan(levels, n_ch, n_tok, MINI_STATE, &found);
            try_scan(levels, n_ch, n_tok, n_state, &found);
            found.same_spoilt &= spoilt_scans(levels, n_ch, n_state);
            n_state = n_state % MAX_STATE + 1;
        }
    tap_ok(found.worst < 1e-5, "%s scan: %.1e from the reference", levels->name,
           found.worst);
    tap_ok(found.same_cut, "%s scan cut by tokens and channels: the same bits",
           levels->name);
    tap_ok(found.same_over, "%s scan over u or z: the same bits", levels->name);
    tap_ok(found.same_spoilt, "%s scan is finite where the reference is",
           levels->name);
}

static size_t conv_rows(const struct weir_conv *conv)
{
    return (conv->n_tok - 1) * conv->ld_x + conv->n_ch;
}

static size_t conv_window(const struct weir_conv *conv)
{
    return conv->n_ch * (conv->k - 1);
}

static void fill_conv(struct weir_conv *conv, size_t n_ch, size_t n_tok,
                      size_t k)
{
    *conv = (struct weir_conv){.n_tok = n_tok,
                               .n_ch = n_ch,
                               .k = k,
                               .ld_x = n_ch + 5,
                               .ld_y = n_ch + 5};
    conv->x = guard_floats(conv_rows(conv));
    conv->y = guard_floats(conv_rows(conv));
    conv->w = guard_floats(n_ch * k);
    conv->bias = n_tok % 3 ? guard_floats(n_ch) : NULL;
    conv->state = guard_floats(conv_window(conv));
}

static struct weir_conv another_conv(const struct weir_conv *conv)
{
    struct weir_conv other = *conv;

    other.state = guard_copy(conv->state, conv_window(conv));
    other.y = guard_copy(conv->y, conv_rows(conv));
    return other;
}

static struct weir_conv unsigned_conv(const struct weir_conv *conv)
{
    struct weir_conv other = another_conv(conv);

    other.x = unsigned_of(conv->x, conv_rows(conv));
    other.w = unsigned_of(conv->w, conv->n_ch * conv->k);
    other.state = unsigned_of(conv->state, conv_window(conv));
    if (conv->bias)
        other.bias = unsigned_of(conv->bias, conv->n_ch);
    return other;
}

static void conv_in_pieces(const struct weir_kernels *kernels,
                           const struct weir_conv *all)
{
    size_t by_tok = any_up_to(all->n_tok), by_ch = any_up_to(all->n_ch);

    for (size_t t = 0; t < all->n_tok; t += by_tok)
        for (size_t c = 0; c < all->n_ch; c += by_ch) {
            struct weir_conv conv = *all;

            conv.n_tok = t + by_tok < all->n_tok ? by_tok : all->n_tok - t;
            conv.n_ch = c + by_ch < all->n_ch ? by_ch : all->n_ch - c;
            conv.x += t * conv.ld_x + c;
            conv.y += t * conv.ld_y + c;
            conv.w += c * conv.k;
            conv.bias = conv.bias ? conv.bias + c : NULL;
            conv.state += c * (conv.k - 1);
            kernels->conv(&conv);
        }
}

static void try_conv(const struct levels *levels, size_t n_ch, size_t n_tok,
                     size_t k, struct findings *found)
{
    struct weir_conv conv, want, magnitude, cut;
    size_t n, n_window;

    fill_conv(&conv, n_ch, n_tok, k);
    n = conv_rows(&conv);
    n_window = conv_window(&conv);
    want = another_conv(&conv);
    magnitude = unsigned_conv(&conv);
    cut = another_conv(&conv);
    levels->ref.conv(&want);
    levels->ref.conv(&magnitude);
    levels->fast.conv(&conv);
    conv.n_tok = 0;
    levels->fast.conv(&conv);
    conv_in_pieces(&levels->fast, &cut);
    found->worst = worst_of(found->worst, off(conv.y, want.y, magnitude.y, n));
    found->same_cut &= same_rows(conv.y, cut.y, 1, n, 0) &&
                       same_rows(conv.state, cut.state, 1, n_window, 0);
    found->same_over &= same_rows(conv.state, want.state, 1, n_window, 0);
    guard_free_all();
}

static int spoilt_convs(const struct levels *levels, size_t n_ch, size_t k)
{
    struct weir_conv conv, want;
    int same = 1;

    for (unsigned i = 0; i < (k > 1 ? 4 : 3); i++) {
        fill_conv(&conv, n_ch, 4, k);
        const float *in[] = {conv.x, conv.w, conv.bias, conv.state};
        size_t size[] = {conv_rows(&conv), n_ch * k, n_ch, conv_window(&conv)};

        spoil(in[i], size[i]);
        want = another_conv(&conv);
        levels->fast.conv(&conv);
        levels->ref.conv(&want);
        same &= same_kinds(conv.y, want.y, conv_rows(&conv));
        guard_free_all();
    }
    return same;
}

void check_conv(const struct levels *levels)
{
    struct findings found = {.same_cut = 1, .same_over = 1, .same_spoilt = 1};
    size_t k = 1;

    for (size_t n_ch = 1; n_ch <= MAX_CH; n_ch++)
        for (size_t n_tok = 1; n_tok <= MAX_TOK; n_tok++) {
            try_conv(levels, n_ch, n_tok, MINI_TAPS, &found);
            try_conv(levels, n_ch, n_tok, k, &found);
            found.same_spoilt &= spoilt_convs(levels, n_ch, k);
            k = k % MAX_TAPS + 1;
        }
    tap_ok(found.worst < 1e-5, "%s conv: %.1e from the reference", levels->name,
           found.worst);
    tap_ok(found.same_cut, "%s conv cut by tokens and channels: the same bits",
           levels->name);
    tap_ok(found.same_over, "%s conv leaves the reference's window",
           levels->name);
    tap_ok(found.same_spoilt, "%s conv is finite where the reference is",
           levels->name);
}

static void run_scan(void *ctx, const struct weir_kernels *kernels)
{
    kernels->scan(ctx);
}

static void run_conv(void *ctx, const struct weir_kernels *kernels)
{
    kernels->conv(ctx);
}

struct bare {
    const struct exps *exps;
    size_t n;
};

static void run_bare(void *ctx, const struct weir_kernels *kernels)
{
    struct bare *bare = ctx;

    (void)kernels;
    bare->exps->bare(bare->n);
}

void bench_scan(const struct levels *levels)
{
    struct bare bare = {.exps = exps_of(levels->level)};
    struct weir_scan scan;
    double fast_s, bare_s;
    char what[64];

    for (size_t n_tok = 1; n_tok <= 64; n_tok *= 64) {
        fill_tame_scan(&scan, MINI_CH, n_tok, MINI_STATE);
        snprintf(what, sizeof(what), "scan, %zu tokens", n_tok);
        fast_s = bench_time(run_scan, &scan, &levels->fast);
        bench_print(what, fast_s, bench_time(run_scan, &scan, &levels->ref),
                    4.0 * MINI_CH * (3 * MINI_STATE + 4 * (double)n_tok));
        guard_free_all();
        bare.n = MINI_CH * MINI_STATE * n_tok;
        if (!bare.exps)
            continue;
        bare_s = bench_time(run_bare, &bare, &levels->fast);
        printf("    %.2f G states/s, %.0f %% of powers alone\n",
               (double)bare.n / fast_s / 1e9, 100 * bare_s / fast_s);
    }
}

void bench_conv(const struct levels *levels)
{
    struct weir_conv conv;
    char what[64];

    for (size_t n_tok = 1; n_tok <= 64; n_tok *= 64) {
        fill_conv(&conv, MINI_CH, n_tok, MINI_TAPS);
        snprintf(what, sizeof(what), "conv, %zu tokens", n_tok);
        bench_print(what, bench_time(run_conv, &conv, &levels->fast),
                    bench_time(run_conv, &conv, &levels->ref),
                    4.0 * MINI_CH * (3 * MINI_TAPS - 1 + 2 * (double)n_tok));
        guard_free_all();
    }
}
