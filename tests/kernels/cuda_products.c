/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"

#define N_SIDES 3

static const struct {
    uint32_t rows, cols, row_parts, col_blocks, tile_rows;
} shapes[] = {
    {1, 7, 1, 1, 1},        {16, 64, 1, 1, 16},    {130, 100, 2, 1, 9},
    {96, 520, 8, 8, 5},     {200, 1000, 8, 1, 11}, {64, 4096, 1, 1, 64},
    {288, 2048, 1, 8, 128}, {136, 4160, 8, 1, 17}, {72, 8200, 1, 8, 70},
    {1024, 256, 8, 1, 128}, {33, 2112, 1, 1, 33},  {8448, 100, 8, 1, 200},
};
#define N_SMALL 11 /* shapes; one more fills a card with its largest tiles */

static const uint32_t toks[] = {1, 2, 3, 5, 6, 8, 9, 16, 17, 32, 41};

/* A product on both sides */
struct product {
    struct weir_device_matmul on;
    struct both w[N_SIDES];
    const float *bias[N_SIDES]; /* host */
    float *y[N_SIDES], *want[N_SIDES], *start[N_SIDES];
    float *x; /* host */
    uint32_t rows, cols;
};

static void set_up(struct product *p, enum weir_dtype dtype, unsigned shape,
                   uint32_t n_tok, uint32_t n_mat, uint32_t out)
{
    size_t ld = shapes[shape].cols + 3, n;

    memset(p, 0, sizeof(*p));
    p->rows = shapes[shape].rows;
    p->cols = shapes[shape].cols;
    n = n_tok * (size_t)(p->rows + 5);
    p->x = random_floats(n_tok * ld);
    p->on = (struct weir_device_matmul){.n_tok = n_tok,
                                        .terms = WEIR_DEVICE_EXACT,
                                        .n_mat = n_mat,
                                        .out = out,
                                        .x = floats_on_card(p->x, n_tok * ld),
                                        .ld_x = ld};
    for (uint32_t m = 0; m < n_mat; m++) {
        random_matrix(&p->w[m], dtype, p->rows, p->cols,
                      shapes[shape].row_parts, shapes[shape].col_blocks,
                      shapes[shape].tile_rows);
        p->start[m] = random_floats(n);
        p->want[m] = hold(n * sizeof(float));
        p->bias[m] = m == 1 ? NULL : random_floats(p->rows);
        p->on.to[m].w = p->w[m].card;
        p->on.to[m].ld_y = p->rows + 5;
        p->on.to[m].y = floats_on_card(p->start[m], n);
        if (p->bias[m])
            p->on.to[m].bias = floats_on_card(p->bias[m], p->rows);
    }
}

static void add_norm(struct product *p)
{
    size_t n = p->on.n_tok;
    float *norm = random_floats(p->cols);

    p->on.norm = floats_on_card(norm, p->cols);
    p->on.eps = 1e-5f;
    weir_kernels_ref.rms_norm(p->x, p->on.ld_x, n, p->cols, norm, 1e-5f, p->x,
                              p->on.ld_x);
}

static void ref_all(struct product *p)
{
    size_t ld = p->rows + 5, n = p->on.n_tok;

    for (uint32_t m = 0; m < p->on.n_mat; m++)
        ref_product(&p->w[m].host, p->x, p->on.ld_x, n, p->bias[m], p->want[m],
                    ld);
    if (p->on.out == WEIR_OUT_GATED)
        weir_kernels_ref.silu_mul(p->want[0], ld, p->want[1], ld, n, p->rows);
    if (p->on.out == WEIR_OUT_ADD)
        for (uint32_t m = 0; m < p->on.n_mat; m++)
            weir_kernels_ref.add_scaled(p->want[m], ld, p->start[m], ld, NULL,
                                        n, p->rows);
}

/* How far a matrix's results are; what lies between rows must be as it was */
static double far_of(struct product *p, uint32_t m)
{
    size_t ld = p->rows + 5, n = p->on.n_tok * ld;
    float *y = from_card(p->on.to[m].y, n * sizeof(*y));

    p->y[m] = y;
    for (size_t i = 0; i < n; i++) {
        if (i % ld < p->rows)
            continue;
        if (memcmp(&y[i], &p->start[m][i], sizeof(*y)))
            return INFINITY;
        p->want[m][i] = y[i] = 0;
    }
    return apart(y, p->want[m], n);
}

static double run(struct product *p)
{
    uint32_t n = p->on.out == WEIR_OUT_GATED ? 1 : p->on.n_mat;
    double worst = 0;

    ref_all(p);
    gpu->matmul(card, &p->on);
    for (uint32_t m = 0; m < n; m++)
        worst = worst_of(worst, far_of(p, m));
    return worst;
}

/* The last token by itself */
static int same_alone(struct product *p)
{
    size_t t = p->on.n_tok - 1, ld = p->rows + 5;
    struct weir_device_matmul on = p->on;
    float *y;

    on.n_tok = 1;
    on.n_mat = on.out == WEIR_OUT_GATED ? 2 : 1;
    on.x += t * on.ld_x;
    on.to[0].y = floats_on_card(p->start[0] + t * ld, p->rows);
    gpu->matmul(card, &on);
    y = from_card(on.to[0].y, p->rows * sizeof(*y));
    return !memcmp(y, p->y[0] + t * ld, p->rows * sizeof(*y));
}

static int same_again(struct product *p)
{
    size_t n = p->on.n_tok * (p->rows + 5) * sizeof(float);
    float *first = from_card(p->on.to[0].y, n), *second;

    if (p->on.out == WEIR_OUT_ADD)
        return 1;
    gpu->matmul(card, &p->on);
    second = from_card(p->on.to[0].y, n);
    return !memcmp(first, second, n);
}

static void limits_for(uint32_t n_tok)
{
    struct weir_device_limits limits = {
        .n_tok = n_tok, .rows = 8448, .cols = 8200};
    struct weir_err err;

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
}

static void check_dtype(enum weir_dtype dtype)
{
    static const uint32_t outs[] = {WEIR_OUT_STORE, WEIR_OUT_ADD,
                                    WEIR_OUT_GATED};
    static const uint32_t n_mats[] = {1, 3, 2};
    double worst = 0;
    int alone = 1, again = 1, clean = 1;
    unsigned n = 0;

    for (unsigned s = 0; s < N_SMALL; s++)
        for (unsigned t = 0; t < sizeof(toks) / sizeof(toks[0]); t++, n++) {
            struct product p;
            unsigned k = n % 3;
            double far;

            set_up(&p, dtype, s, toks[t], n_mats[k], outs[k]);
            if (n % 4)
                add_norm(&p);
            far = run(&p);
            if (far >= 1e-5)
                tap_diag("%u x %u, %u tokens, out %u: %.1e", p.rows, p.cols,
                         toks[t], outs[k], far);
            worst = worst_of(worst, far);
            alone &= same_alone(&p);
            again &= same_again(&p);
            clean &= card_is_clean();
        }
    tap_ok(worst < 1e-5, "%s products: %.1e from the reference",
           weir_dtype_name(dtype), worst);
    tap_ok(alone, "%s products: a token has the same bits alone",
           weir_dtype_name(dtype));
    tap_ok(again, "%s products: twice the same bits", weir_dtype_name(dtype));
    tap_ok(clean, "%s products: nothing else is written",
           weir_dtype_name(dtype));
}

void check_products(void)
{
    limits_for(64);
    check_dtype(WEIR_I8);
    check_dtype(WEIR_BF16);
    check_dtype(WEIR_F32);
    check_dtype(WEIR_F16);
}

static void check_terms(enum weir_dtype dtype, uint32_t terms, double bound)
{
    static const uint32_t n_toks[] = {17, 70, 129, 300};
    double worst = 0;
    int again = 1, clean = 1;
    unsigned n = 0;

    for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (unsigned t = 0; t < 4; t++, n++) {
            struct product p;
            unsigned k = n % 3;
            double far;

            if (s == N_SMALL && t != 3)
                continue;
            set_up(&p, dtype, s, s == N_SMALL ? 512 : n_toks[t], k ? 2 : 1,
                   k == 0   ? WEIR_OUT_STORE
                   : k == 1 ? WEIR_OUT_ADD
                            : WEIR_OUT_GATED);
            p.on.terms = terms;
            if (n % 2)
                add_norm(&p);
            far = run(&p);
            if (far >= bound)
                tap_diag("%u x %u, %u tokens: %.1e", p.rows, p.cols, p.on.n_tok,
                         far);
            worst = worst_of(worst, far);
            again &= same_again(&p);
            clean &= card_is_clean();
        }
    tap_ok(worst < bound, "%s products of %u terms: %.1e from the reference",
           weir_dtype_name(dtype), terms, worst);
    tap_ok(again && clean, "%s products of %u terms: the same bits, no others",
           weir_dtype_name(dtype), terms);
}

void check_many(void)
{
    limits_for(512);
    check_terms(WEIR_I8, WEIR_DEVICE_ROUNDED, 1e-2);
    check_terms(WEIR_I8, WEIR_DEVICE_FINE, 1e-4);
    check_terms(WEIR_BF16, WEIR_DEVICE_ROUNDED, 1e-2);
    check_terms(WEIR_BF16, WEIR_DEVICE_FINE, 1e-4);
}
