/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference kernels that look back over earlier tokens,
 * against loops in double precision that follow the contracts word by word,
 * for every small size of the tails, and against themselves: however a call
 * is cut, the bits are the same.
 */
#include "tests/kernels/check.h"
#include "tests/tap.h"

static const struct weir_kernels *const k = &weir_kernels_ref;

/* The convolution as it is defined, over all that came before. */
static double conv_want(const float *x, const float *w, const float *bias,
                        size_t t, size_t c, size_t n_ch, size_t width)
{
    double v = bias ? bias[c] : 0;

    for (size_t j = 0; j < width; j++)
        if (t + j + 1 >= width)
            v += (double)w[c * width + j] * x[(t + j + 1 - width) * n_ch + c];
    return silu(v);
}

static void conv_run(const float *x, const float *w, const float *bias,
                     float *state, float *y, size_t n_ch, size_t width,
                     size_t by_tok, size_t by_ch)
{
    memset(state, 0, n_ch * (width - 1) * sizeof(*state));
    for (size_t t = 0; t < MAX_TOK; t += by_tok)
        for (size_t c = 0; c < n_ch; c += by_ch) {
            struct weir_conv conv = {
                .n_tok = t + by_tok < MAX_TOK ? by_tok : MAX_TOK - t,
                .n_ch = c + by_ch < n_ch ? by_ch : n_ch - c,
                .k = width,
                .x = x + t * n_ch + c,
                .w = w + c * width,
                .bias = bias ? bias + c : NULL,
                .state = state + c * (width - 1),
                .y = y + t * n_ch + c,
                .ld_x = n_ch,
                .ld_y = n_ch,
            };

            k->conv(&conv);
        }
}

static void test_conv(int with_bias)
{
    enum { CH = 11 };
    float x[MAX_TOK * CH], w[CH * 6], bias[CH], state[2][CH * 5];
    float y[2][MAX_TOK * CH];
    double want[MAX_TOK * CH], worst = 0;
    int same = 1;

    for (size_t width = 1; width <= 6; width++) {
        fill(x, MAX_TOK * CH);
        fill(w, CH * width);
        fill(bias, CH);
        conv_run(x, w, with_bias ? bias : NULL, state[0], y[0], CH, width,
                 MAX_TOK, CH);
        for (size_t t = 0; t < MAX_TOK; t++)
            for (size_t c = 0; c < CH; c++)
                want[t * CH + c] =
                    conv_want(x, w, with_bias ? bias : NULL, t, c, CH, width);
        worst = worst_of(worst, distance(y[0], want, MAX_TOK * CH));
        for (size_t by = 1; by < MAX_TOK; by++) {
            conv_run(x, w, with_bias ? bias : NULL, state[1], y[1], CH, width,
                     by, by);
            same &=
                !memcmp(y[0], y[1], sizeof(y[0])) &&
                !memcmp(state[0], state[1], CH * (width - 1) * sizeof(float));
        }
    }
    tap_ok(worst < 1e-5, "conv %s bias is %.1e away",
           with_bias ? "with" : "without", worst);
    tap_ok(same, "conv cut by tokens and channels gives the same bits");
}

/* Operands of a scan over MAX_TOK tokens */
enum { CH = 13, MAX_STATE = 16 };
struct operands {
    float u[MAX_TOK * CH], dt[MAX_TOK * CH], z[MAX_TOK * CH];
    float b[MAX_TOK * MAX_STATE], c[MAX_TOK * MAX_STATE];
    float dt_bias[CH], a[CH * MAX_STATE], d[CH];
    size_t n_state;
};

static void fill_operands(struct operands *op, size_t n_state)
{
    op->n_state = n_state;
    fill(op->u, MAX_TOK * CH);
    fill(op->z, MAX_TOK * CH);
    fill(op->b, MAX_TOK * MAX_STATE);
    fill(op->c, MAX_TOK * MAX_STATE);
    fill(op->d, CH);
    for (size_t i = 0; i < MAX_TOK * CH; i++)
        op->dt[i] = 120 * any(); /* exp() of some overflows */
    for (size_t i = 0; i < CH; i++)
        op->dt_bias[i] = any();
    for (size_t i = 0; i < CH * MAX_STATE; i++)
        op->a[i] = -expf(2 * any());
}

static void scan_run(const struct operands *op, float *state, float *y,
                     size_t by_tok, size_t by_ch)
{
    size_t n = op->n_state;

    memset(state, 0, CH * n * sizeof(*state));
    for (size_t t = 0; t < MAX_TOK; t += by_tok)
        for (size_t c = 0; c < CH; c += by_ch) {
            size_t at = t * CH + c;
            struct weir_scan scan = {
                .n_tok = t + by_tok < MAX_TOK ? by_tok : MAX_TOK - t,
                .n_ch = c + by_ch < CH ? by_ch : CH - c,
                .n_state = n,
                .u = op->u + at,
                .dt = op->dt + at,
                .dt_bias = op->dt_bias + c,
                .a = op->a + c * n,
                .b = op->b + t * MAX_STATE,
                .c = op->c + t * MAX_STATE,
                .d = op->d + c,
                .z = op->z + at,
                .state = state + c * n,
                .y = y + at,
                .ld_u = CH,
                .ld_dt = CH,
                .ld_bc = MAX_STATE,
                .ld_z = CH,
                .ld_y = CH,
            };

            k->scan(&scan);
        }
}

static void scan_want(const struct operands *op, double *y)
{
    for (size_t c = 0; c < CH; c++) {
        double s[MAX_STATE] = {0};

        for (size_t t = 0; t < MAX_TOK; t++) {
            double u = op->u[t * CH + c], sum = op->d[c] * u;
            double v = (double)op->dt[t * CH + c] + op->dt_bias[c];
            double delta = v > 20 ? v : log1p(exp(v));

            for (size_t n = 0; n < op->n_state; n++) {
                s[n] = exp(delta * op->a[c * op->n_state + n]) * s[n] +
                       delta * op->b[t * MAX_STATE + n] * u;
                sum += s[n] * op->c[t * MAX_STATE + n];
            }
            y[t * CH + c] = sum * silu(op->z[t * CH + c]);
        }
    }
}

static void test_scan(void)
{
    static struct operands op;
    static float state[2][CH * MAX_STATE], y[2][MAX_TOK * CH];
    static double want[MAX_TOK * CH];
    double worst = 0;
    int same = 1;

    for (size_t n = 1; n <= MAX_STATE; n++) {
        fill_operands(&op, n);
        scan_run(&op, state[0], y[0], MAX_TOK, CH);
        scan_want(&op, want);
        worst = worst_of(worst, distance(y[0], want, MAX_TOK * CH));
        for (size_t by = 1; by < MAX_TOK; by++) {
            scan_run(&op, state[1], y[1], by, by);
            same &= !memcmp(y[0], y[1], sizeof(y[0])) &&
                    !memcmp(state[0], state[1], sizeof(state[0]));
        }
        scan_run(&op, state[1], op.u, MAX_TOK, CH);
        same &= !memcmp(op.u, y[0], sizeof(op.u));
    }
    tap_ok(worst < 1e-5, "scan is %.1e away", worst);
    tap_ok(same, "scan cut by tokens and channels, or over u: the same bits");
}

/* Scores first, then their softmax, then the sum: not in one pass. */
static void attention_want(const struct weir_attention *a, const float *kf,
                           const float *vf, double *y)
{
    double score[2 * MAX_TOK], largest, sum;

    for (size_t j = 0; j < a->n_tok * a->n_heads; j++, y += a->head_dim) {
        size_t t = j / a->n_heads, n = a->n_past + t + 1;
        size_t h = j % a->n_heads, kv = h / (a->n_heads / a->n_kv);
        const float *q = a->q + t * a->ld_q + h * a->head_dim;
        const float *kh = kf + kv * a->head_dim, *vh = vf + kv * a->head_dim;

        largest = -INFINITY;
        for (size_t p = 0; p < n; p++) {
            score[p] = 0;
            for (size_t i = 0; i < a->head_dim; i++)
                score[p] += (double)q[i] * kh[p * a->ld_kv + i] * a->scale;
            largest = fmax(largest, score[p]);
        }
        sum = 0;
        for (size_t p = 0; p < n; p++)
            sum += score[p] = exp(score[p] - largest);
        for (size_t i = 0; i < a->head_dim; i++) {
            y[i] = 0;
            for (size_t p = 0; p < n; p++)
                y[i] += score[p] / sum * vh[p * a->ld_kv + i];
        }
    }
}

/* Fills x and its bf16 twin with the same numbers. */
static void fill_both(float *x, uint16_t *h, size_t n, float range)
{
    for (size_t i = 0; i < n; i++) {
        h[i] = weir_f32_to_bf16(range * any());
        x[i] = weir_bf16_to_f32(h[i]);
    }
}

enum { PAST = 5, ALL = PAST + MAX_TOK, HD = 35, HEADS = 4, N_KV = 2, LD = 80 };

/* The tokens `by` at a time, the positions in spans of `span` */
static void attention_run(const struct weir_attention *all, size_t by,
                          size_t span, float *y)
{
    static float part[ALL][MAX_TOK * HEADS * (HD + 2)];
    size_t ld = HEADS * weir_part_size(all->head_dim), n_parts;

    for (size_t t = 0; t < MAX_TOK; t += by) {
        struct weir_attention a = *all;

        a.n_tok = t + by < MAX_TOK ? by : MAX_TOK - t;
        a.n_past += t;
        a.q += t * a.ld_q;
        a.ld_part = ld;
        for (n_parts = 0; a.first < ALL; n_parts++, a.first += span) {
            a.n_pos = a.first + span < ALL ? span : ALL - a.first;
            a.part = part[n_parts];
            k->attention(&a);
        }
        for (size_t u = 0; u < a.n_tok; u++)
            k->attention_join(part[0] + u * ld, sizeof(part[0]) / sizeof(float),
                              n_parts, HEADS, a.head_dim,
                              y + (t + u) * HEADS * a.head_dim);
    }
}

static void test_attention(enum weir_dtype dtype)
{
    enum { N = ALL * LD, Q = MAX_TOK * HEADS * LD };
    static float q[Q], kv[2][N], y[2][Q];
    static uint16_t h[2][N];
    static double want[Q];
    double worst = 0;
    int same = 1;

    for (size_t hd = 1; hd <= HD; hd++) {
        size_t n = MAX_TOK * HEADS * hd, span = 1 + hd % ALL;
        struct weir_attention a = {.n_tok = MAX_TOK,
                                   .n_past = PAST,
                                   .n_heads = HEADS,
                                   .n_kv = N_KV,
                                   .head_dim = hd,
                                   .scale = hd % 2 ? 2 : 80,
                                   .kv_dtype = dtype,
                                   .q = q,
                                   .ld_q = HEADS * LD,
                                   .ld_kv = LD};

        fill_both(kv[0], h[0], N, 3);
        fill_both(kv[1], h[1], N, 1);
        for (size_t i = 0; i < Q; i++)
            q[i] = any();
        a.k = dtype == WEIR_BF16 ? (void *)h[0] : kv[0];
        a.v = dtype == WEIR_BF16 ? (void *)h[1] : kv[1];
        attention_want(&a, kv[0], kv[1], want);
        attention_run(&a, MAX_TOK, ALL, y[0]);
        worst = worst_of(worst, distance(y[0], want, n));
        attention_run(&a, MAX_TOK, span, y[0]);
        worst = worst_of(worst, distance(y[0], want, n));
        for (size_t by = 1; by < MAX_TOK; by++) {
            attention_run(&a, by, span, y[1]);
            same &= !memcmp(y[0], y[1], n * sizeof(float));
        }
    }
    tap_ok(worst < 1e-5, "attention over %s, also by spans, is %.1e away",
           weir_dtype_name(dtype), worst);
    tap_ok(same, "attention token by token gives the same bits");
}

int main(void)
{
    test_conv(0);
    test_conv(1);
    test_scan();
    test_attention(WEIR_F32);
    test_attention(WEIR_BF16);
    return tap_done();
}
