/* SPDX-License-Identifier: Apache-2.0 */
/* Products of many tokens, against those of the reference. */
#include "tests/kernels/levels.h"
#include "tests/kernels/slices.h"

#include <stdio.h>

#define GROUP    WEIR_GEMM_GROUP
#define MAX_COLS 1056

static const size_t cols[] = {1,   2,   3,   15,  16,  17,  31,  32,   33,
                              63,  64,  65,  96,  127, 255, 256, 257,  300,
                              511, 512, 513, 544, 800, 991, 992, 1024, 1056};
static const size_t rows[] = {1, 2, 3, 5, 6, 7, 15, 16, 17, 31, 32, 33, 63, 64};
static const size_t toks[] = {1,  2,  15, 16, 17,  31,  32,
                              33, 47, 63, 64, 100, 255, 256};

#define N_OF(list) (sizeof(list) / sizeof((list)[0]))

static size_t round_up(size_t n)
{
    return (n + GROUP - 1) / GROUP * GROUP;
}

/* One product: operands, and what the level and the reference make of them */
struct gemm_case {
    const struct weir_gemm *gemm;
    struct weir_tile w;
    size_t n_tok, ld_x, ld_c;
    float *x;
    void *packed, *scratch;
    float *c;
    float *y; /* [n_tok][rows], c turned round */
    float *want;
};

static void take_case(struct gemm_case *p, enum weir_dtype dtype)
{
    p->w.dtype = dtype;
    random_tile(&p->w);
    p->ld_x = p->w.cols + 3;
    p->ld_c = round_up(p->n_tok) + GROUP;
    p->x = guard_floats((p->n_tok - 1) * p->ld_x + p->w.cols);
    p->packed = guard_alloc(p->gemm->packed_bytes(p->n_tok, p->w.cols));
    p->scratch = guard_alloc(p->gemm->scratch_bytes(p->w.cols));
    p->c =
        guard_alloc(((round_up(p->w.rows) - 1) * p->ld_c + round_up(p->n_tok)) *
                    sizeof(float));
    p->y = guard_alloc(p->n_tok * p->w.rows * sizeof(float));
    p->want = guard_alloc(p->n_tok * p->w.rows * sizeof(float));
}

/* Packs in two pieces where there is more than a group. */
static void run_case(struct gemm_case *p)
{
    size_t first = p->n_tok > GROUP ? GROUP : p->n_tok;

    memset(p->packed, 0xff, p->gemm->packed_bytes(p->n_tok, p->w.cols));
    memset(p->c, 0xff, (size_t)(p->w.rows - 1) * p->ld_c * sizeof(float));
    p->gemm->pack(p->x, p->ld_x, first, p->w.cols, p->packed);
    p->gemm->pack(p->x + first * p->ld_x, p->ld_x, p->n_tok - first, p->w.cols,
                  (char *)p->packed + p->gemm->packed_bytes(first, p->w.cols));
    p->gemm->multiply(&p->w, p->packed, p->n_tok, p->c, p->ld_c, p->scratch);
}

static void turn_round(struct gemm_case *p, float *y)
{
    for (size_t t = 0; t < p->n_tok; t++)
        for (size_t r = 0; r < p->w.rows; r++)
            y[t * p->w.rows + r] = p->c[r * p->ld_c + t];
}

static double norm(const float *x, size_t n)
{
    double sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static double norm_of_row(const struct weir_tile *w, size_t r)
{
    float row[MAX_COLS];

    weir_dtype_widen(w->dtype, (const char *)w->data + r * w->row_bytes, row,
                     w->cols);
    return norm(row, w->cols);
}

/*
 * The farthest that a sum is from the reference's, as a share of the norms of
 * the row and the token: rounding errors grow with these, however small the sum
 * turns out.
 */
static double far_from_reference(const struct levels *levels,
                                 struct gemm_case *p)
{
    double worst = 0, norms[WEIR_GEMM_TOK], far;

    if (p->gemm->act == WEIR_BF16 && p->gemm->terms == 1)
        for (size_t i = 0; i < (p->n_tok - 1) * p->ld_x + p->w.cols; i++)
            p->x[i] = weir_bf16_to_f32(weir_f32_to_bf16(p->x[i]));
    levels->ref.matmul(&p->w, p->x, p->ld_x, p->n_tok, p->want, p->w.rows);
    for (size_t t = 0; t < p->n_tok; t++)
        norms[t] = norm(p->x + t * p->ld_x, p->w.cols);
    for (size_t r = 0; r < p->w.rows; r++) {
        double row = norm_of_row(&p->w, r);

        for (size_t t = 0; t < p->n_tok; t++) {
            far = fabs((double)p->y[t * p->w.rows + r] -
                       p->want[t * p->w.rows + r]);
            worst = worst_of(worst, far > 0 ? far / (row * norms[t]) : far);
            if (!isfinite(far))
                return INFINITY;
        }
    }
    return worst;
}

/* The bits of the last token when it is multiplied with the last row alone */
static int same_alone(struct gemm_case *p)
{
    float *y = p->y + (p->n_tok - 1) * p->w.rows + p->w.rows - 1, alone;
    struct gemm_case one = *p;

    one.n_tok = 1;
    one.x = p->x + (p->n_tok - 1) * p->ld_x;
    one.w.data = (const char *)p->w.data + (p->w.rows - 1) * p->w.row_bytes;
    one.w.rows = 1;
    run_case(&one);
    alone = one.c[0];
    return !memcmp(&alone, y, sizeof(alone));
}

/* Returns whether a row and token have the same bits alone. */
static int check_products(const struct levels *levels,
                          const struct weir_gemm *gemm, enum weir_dtype dtype)
{
    double worst = 0;
    int same = 1;

    for (size_t i = 0; i < N_OF(cols); i++)
        for (size_t k = 0; k < N_OF(rows); k++) {
            struct gemm_case p = {.gemm = gemm,
                                  .w.cols = cols[i],
                                  .w.rows = rows[k],
                                  .n_tok = toks[(i + k) % N_OF(toks)]};

            take_case(&p, dtype);
            run_case(&p);
            turn_round(&p, p.y);
            same &= same_alone(&p);
            worst = worst_of(worst, far_from_reference(levels, &p));
            guard_free_all();
        }
    /* A term of bf16 is off by 2^-8 of what it stands for, two by 2^-16. */
    tap_ok(worst < 2e-6 + (gemm->terms == 1 ? 0 : 0x1p-16),
           "%s gemm %s of %s: %.1e from the reference", levels->name,
           gemm->name, weir_dtype_name(dtype), worst);
    return same;
}

static void check_gemm_of(const struct levels *levels,
                          const struct weir_gemm *gemm, enum weir_dtype dtype)
{
    tap_ok(check_products(levels, gemm, dtype),
           "%s gemm %s of %s: a row and token have the same bits alone",
           levels->name, gemm->name, weir_dtype_name(dtype));
}

static int is_chosen(const struct levels *levels, const struct weir_gemm *gemm)
{
    for (unsigned i = 0; i < WEIR_N_GEMM_CLASSES; i++)
        if (levels->fast.chosen[i] == gemm)
            return 1;
    return 0;
}

/* A library's, at the level that it is compiled for */
static void check_provider(const struct levels *levels,
                           const struct weir_provider *provider)
{
    const char *missing = weir_provider_missing(provider, levels->level);
    int steady;

    if (provider->level != levels->level && !is_chosen(levels, provider->gemm))
        return;
    if (missing) {
        tap_skip("%s gemm %s: %s", levels->name, provider->gemm->name, missing);
        return;
    }
    steady = check_products(levels, provider->gemm, WEIR_I8) &
             check_products(levels, provider->gemm, WEIR_BF16);
    if (provider->gemm->act == WEIR_F32)
        steady &= check_products(levels, provider->gemm, WEIR_F16) &
                  check_products(levels, provider->gemm, WEIR_F32);
    if (is_chosen(levels, provider->gemm))
        tap_ok(steady, "%s gemm %s: a row and token have the same bits alone",
               levels->name, provider->gemm->name);
    else if (!steady)
        printf("# %s gemm %s: bits depend on the place, of no use\n",
               levels->name, provider->gemm->name);
}

void check_gemm(const struct levels *levels)
{
    const struct weir_provider *provider;

    check_gemm_of(levels, levels->fast.gemm, WEIR_I8);
    check_gemm_of(levels, levels->fast.gemm, WEIR_BF16);
    check_gemm_of(levels, levels->fast.gemm_fine, WEIR_I8);
    check_gemm_of(levels, levels->fast.gemm_fine, WEIR_BF16);
    check_gemm_of(levels, levels->fast.gemm_wide, WEIR_I8);
    check_gemm_of(levels, levels->fast.gemm_wide, WEIR_BF16);
    check_gemm_of(levels, levels->fast.gemm_wide, WEIR_F16);
    check_gemm_of(levels, levels->fast.gemm_wide, WEIR_F32);
    for (unsigned i = 0; (provider = weir_provider(i)); i++)
        check_provider(levels, provider);
#ifdef WEIR_HAVE_AVX2
    if (levels->level == WEIR_LEVEL_AVX2) {
        check_gemm_of(levels, &slices_avx2, WEIR_I8);
        check_gemm_of(levels, &slices_avx2, WEIR_F32);
    }
#endif
}

static void multiply(void *ctx, const struct weir_kernels *kernels)
{
    struct gemm_case *p = ctx;

    (void)kernels;
    p->gemm->multiply(&p->w, p->packed, p->n_tok, p->c, p->ld_c, p->scratch);
}

static void pack(void *ctx, const struct weir_kernels *kernels)
{
    struct gemm_case *p = ctx;

    (void)kernels;
    p->gemm->pack(p->x, p->ld_x, p->n_tok, p->w.cols, p->packed);
}

static void probe(void *ctx, const struct weir_kernels *kernels)
{
    unsigned width;

    kernels->probe_flop(1000, 0.5f, 1, &width, ctx);
}

/* The share of the instruction's own speed, as the last figure */
void bench_gemm(const struct levels *levels)
{
    static const enum weir_dtype dtypes[] = {WEIR_I8, WEIR_BF16};
    struct gemm_case p = {.gemm = levels->fast.gemm, .w.cols = 4096};
    unsigned width;
    float sum;
    double peak = (double)levels->fast.probe_flop(1000, 0.5f, 1, &width, &sum) /
                  bench_time(probe, &sum, &levels->fast);
    double s, rate;

    printf("  %-34s %10.1f GFLOP/s\n", "the instruction alone", peak / 1e9);
    for (unsigned i = 0; i < 2; i++)
        for (p.n_tok = 16; p.n_tok <= WEIR_GEMM_TOK; p.n_tok *= 2) {
            p.w.rows = i ? 32 : 64;
            take_case(&p, dtypes[i]);
            pack(&p, NULL);
            s = bench_time(multiply, &p, &levels->fast);
            rate = 2.0 * (double)(p.w.rows * p.w.cols * p.n_tok) / s;
            printf("  gemm %-6s %2zu rows, %3zu tokens %15.1f us %8.1f "
                   "GFLOP/s %5.1f %%, packing %.1f us\n",
                   weir_dtype_name(dtypes[i]), p.w.rows, p.n_tok, s * 1e6,
                   rate / 1e9, 100 * rate / peak,
                   1e6 * bench_time(pack, &p, NULL));
            guard_free_all();
        }
}
