/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference kernels that work on each token by itself,
 * against loops in double precision that follow the contracts word by word,
 * for every small size of the tails, and against themselves: however a call
 * is cut, the bits are the same.
 */
#include "tests/kernels/check.h"
#include "tests/tap.h"

#define MAX_COLS 131
#define MAX_ROWS 7

static const struct weir_kernels *const k = &weir_kernels_ref;

static uint16_t random_f16(void)
{
    uint16_t h;

    (void)any();
    h = (uint16_t)(seed >> 30);
    return (h >> 10 & 0x1f) == 0x1f ? h & 0x83ff : h;
}

/* Rows of one type with padding that must not be read as numbers. */
static void fill_tile(struct weir_tile *w, uint8_t *data)
{
    uint16_t h;
    float f;

    memset(data, 0xff, w->rows * w->row_bytes);
    for (size_t r = 0; r < w->rows; r++)
        for (size_t c = 0; c < w->cols; c++) {
            uint8_t *at =
                data + r * w->row_bytes + c * weir_dtype_bytes(w->dtype);

            f = any();
            h = w->dtype == WEIR_F16 ? random_f16() : weir_f32_to_bf16(f);
            if (w->dtype == WEIR_F32)
                memcpy(at, &f, sizeof(f));
            else if (w->dtype == WEIR_I8)
                *(int8_t *)at = (int8_t)(127 * f);
            else
                memcpy(at, &h, sizeof(h));
        }
    w->data = data;
}

static double matmul_distance(const struct weir_tile *w, size_t n_tok)
{
    static float x[MAX_TOK * MAX_COLS], y[MAX_TOK * MAX_ROWS];
    static double want[MAX_TOK * MAX_ROWS];
    float one[MAX_COLS];

    fill(x, n_tok * MAX_COLS);
    k->matmul(w, x, MAX_COLS, n_tok, y, w->rows);
    for (size_t r = 0; r < w->rows; r++) {
        weir_dtype_widen(w->dtype, (const uint8_t *)w->data + r * w->row_bytes,
                         one, w->cols);
        for (size_t t = 0; t < n_tok; t++) {
            double sum = 0;

            for (size_t c = 0; c < w->cols; c++)
                sum += (double)one[c] * x[t * MAX_COLS + c];
            want[t * w->rows + r] = sum;
        }
    }
    return distance(y, want, n_tok * w->rows);
}

static void test_matmul(enum weir_dtype dtype)
{
    static uint8_t data[MAX_ROWS * 576] __attribute__((aligned(64)));
    struct weir_tile w = {.dtype = dtype, .rows = MAX_ROWS};
    double worst = 0;

    for (w.cols = 1; w.cols <= MAX_COLS; w.cols++) {
        w.row_bytes = (w.cols * weir_dtype_bytes(dtype) + 63) / 64 * 64;
        for (w.rows = 1; w.rows <= MAX_ROWS; w.rows += 2) {
            fill_tile(&w, data);
            worst = worst_of(worst, matmul_distance(&w, w.cols % MAX_TOK));
        }
    }
    tap_ok(worst < 1e-5, "matmul %s is %.1e from double precision",
           weir_dtype_name(dtype), worst);
}

/* The documented order, written a second time, must give the same bits. */
static void test_matmul_order(void)
{
    float x[MAX_COLS], row[MAX_COLS + 13], y;
    struct weir_tile w = {row, WEIR_F32, 1, 0, sizeof(row)};
    int same = 1;

    for (w.cols = 1; w.cols <= MAX_COLS; w.cols++) {
        float lane[16] = {0};

        fill(x, w.cols);
        fill(row, w.cols);
        k->matmul(&w, x, w.cols, 1, &y, 1);
        for (size_t c = 0; c < w.cols; c++)
            lane[c % 16] += row[c] * x[c];
        for (unsigned n = 8; n; n /= 2)
            for (unsigned i = 0; i < n; i++)
                lane[i] = lane[i] + lane[i + n];
        same &= y == lane[0];
    }
    tap_ok(same, "matmul sums in the order written");
}

static void test_matmul_cut(void)
{
    static uint8_t data[MAX_ROWS * 320] __attribute__((aligned(64)));
    struct weir_tile w = {data, WEIR_BF16, MAX_ROWS, MAX_COLS, 320};
    float x[MAX_TOK * MAX_COLS], whole[MAX_TOK * 8], cut[MAX_TOK * 8];

    memset(whole, 0, sizeof(whole));
    memset(cut, 0, sizeof(cut));
    fill_tile(&w, data);
    fill(x, MAX_TOK * MAX_COLS);
    k->matmul(&w, x, MAX_COLS, MAX_TOK, whole, 8);
    w.rows = 1;
    for (size_t r = 0; r < MAX_ROWS; r++)
        for (size_t t = 0; t < MAX_TOK; t += 3) {
            w.data = data + r * w.row_bytes;
            k->matmul(&w, x + t * MAX_COLS, MAX_COLS, 3, cut + t * 8 + r, 8);
        }
    tap_ok(!memcmp(whole, cut, sizeof(cut)),
           "matmul cut by rows and tokens gives the same bits");
}

static void test_block_fold(void)
{
    enum { N = 5, LD = 7 };
    float part[8][N], partial[WEIR_MAX_PARTIALS * LD];
    int same = 1;

    fill(part[0], 8 * N);
    for (unsigned b = 0; b < 8; b++) {
        memcpy(partial + weir_partial_of(b) * LD, part[b], sizeof(part[b]));
        k->block_fold(partial, LD, N, b);
        if (b == 0)
            same &= !memcmp(partial, part[0], sizeof(part[0]));
    }
    for (unsigned i = 0; i < N; i++) {
        float a = (part[0][i] + part[1][i]) + (part[2][i] + part[3][i]);
        float b = (part[4][i] + part[5][i]) + (part[6][i] + part[7][i]);

        same &= partial[i] == a + b;
    }
    tap_ok(same, "block_fold adds 1 and 8 blocks as the binary tree");
}

static void test_elementwise(void)
{
    enum { N = 37, LD = 40, T = 3 };
    float a[T * LD], b[T * LD], s[N], bias[N], w[T] = {0.5f, -2.0f, 0.0f};
    float y[T * LD];
    int same = 1;

    fill(a, T * LD);
    fill(b, T * LD);
    fill(s, N);
    fill(bias, N);
    k->scale_bias(a, LD, T, N, s, bias, y, LD);
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < N; i++)
            same &= y[t * LD + i] == a[t * LD + i] * s[i] + bias[i];
    memcpy(y, a, sizeof(a));
    k->scale_bias(y, LD, T, N, NULL, NULL, y, LD);
    for (size_t i = 0; i < N; i++)
        same &= y[i] == a[i];
    tap_ok(same, "scale_bias scales and adds, or neither, also in place");

    k->turn_scale_bias(a, T, T, N, s, bias, y, LD);
    same = 1;
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < N; i++)
            same &= y[t * LD + i] == a[i * T + t] * s[i] + bias[i];
    k->turn_scale_bias(a, T, T, N, NULL, NULL, y, LD);
    same &= y[LD + 5] == a[5 * T + 1];
    tap_ok(same, "turn_scale_bias turns rows into columns");

    memcpy(y, b, sizeof(b));
    k->add_scaled(y, LD, a, LD, w, T, N);
    same = 1;
    for (size_t t = 0; t < T; t++)
        for (size_t i = 0; i < LD; i++)
            same &= y[t * LD + i] ==
                    b[t * LD + i] + (i < N ? a[t * LD + i] * w[t] : 0.0f);
    memcpy(y, b, sizeof(b));
    k->add_scaled(y, LD, a, LD, NULL, T, N);
    for (size_t i = 0; i < N; i++)
        same &= y[i] == b[i] + a[i];
    tap_ok(same, "add_scaled adds with and without weights, no column more");
}

static void test_silu_mul(void)
{
    enum { N = 201 };
    float gate[N], up[N];
    double want[N];

    fill(up, N);
    for (size_t i = 0; i < N; i++) {
        gate[i] = (float)i - 100;
        want[i] = silu(gate[i]) * up[i];
    }
    k->silu_mul(gate, N, up, N, 1, N);
    tap_ok(distance(gate, want, N) < 1e-6, "silu_mul from -100 to 100");
    gate[0] = -1e30f;
    gate[1] = 1e30f;
    up[0] = up[1] = 1;
    k->silu_mul(gate, N, up, N, 1, 2);
    tap_ok(gate[0] == 0 && gate[1] == 1e30f, "silu_mul does not overflow");
}

static void test_rms_norm(void)
{
    float x[2 * MAX_COLS], w[MAX_COLS], y[2 * MAX_COLS];
    double want[2 * MAX_COLS], worst = 0;

    for (size_t n = 1; n <= MAX_COLS; n++) {
        fill(x, 2 * n);
        fill(w, n);
        for (size_t t = 0; t < 2; t++) {
            double sum = 0;

            for (size_t i = 0; i < n; i++)
                sum += (double)x[t * n + i] * x[t * n + i];
            for (size_t i = 0; i < n; i++)
                want[t * n + i] =
                    x[t * n + i] / sqrt(sum / (double)n + 1e-5) * w[i];
        }
        k->rms_norm(x, n, 2, n, w, 1e-5f, y, n);
        worst = worst_of(worst, distance(y, want, 2 * n));
        k->rms_norm(x, n, 2, n, w, 1e-5f, x, n);
        worst = memcmp(x, y, 2 * n * sizeof(*x)) ? INFINITY : worst;
    }
    tap_ok(worst < 1e-5, "rms_norm is %.1e away, also in place", worst);
    memset(x, 0, sizeof(x));
    k->rms_norm(x, 4, 1, 4, w, 1e-6f, y, 4);
    tap_ok(y[0] == 0 && y[3] == 0, "rms_norm of zeros is zero");
}

static void test_route(void)
{
    static const float tie[] = {1, 2, 3, 4, 0, 5, 5, 5, 9, 9, 9, 9};
    float nan4[4] = {NAN, NAN, NAN, NAN}, p[6];
    uint32_t e[6];

    k->route(tie, 4, 3, 4, 2, e, p);
    tap_ok(e[0] == 2 && e[1] == 3 && fabsf(p[0] - .2368828f) < 1e-6f &&
               fabsf(p[1] - .6439143f) < 1e-6f,
           "route takes the largest in ascending order, not renormalised");
    tap_ok(e[2] == 1 && e[3] == 2 && e[4] == 0 && e[5] == 1 && p[4] == .25f,
           "route gives equals to the lower expert");
    k->route(tie, 4, 1, 4, 4, e, p);
    tap_ok(e[0] == 0 && e[3] == 3 &&
               fabsf(p[0] + p[1] + p[2] + p[3] - 1) < 1e-6,
           "route to all experts");
    k->route(nan4, 4, 1, 4, 2, e, p);
    tap_ok(e[0] == 0 && e[1] == 1, "route of NaN stays within its bounds");
}

static void test_route_many(void)
{
    static float logits[1024], p[1024];
    static uint32_t e[1024];
    int good = 1;

    for (int i = 0; i < 1024; i++)
        logits[i] = (float)((i * 619) % 1024) / 64;
    k->route(logits, 1024, 1, 1024, 7, e, p);
    for (int i = 0; i < 7; i++)
        good &= logits[e[i]] >= 1017.0f / 64 && (i == 0 || e[i] > e[i - 1]);
    tap_ok(good, "route among 1024 experts");
}

static void test_argmax(void)
{
    float x[] = {-3, 7, -INFINITY, 7, 6.5f};

    tap_ok(k->argmax(x, 5) == 1 && k->argmax(x + 2, 1) == 0 &&
               k->argmax(x + 2, 3) == 1,
           "argmax takes the lowest of equals");
}

int main(void)
{
    for (int dtype = 0; dtype < WEIR_N_DTYPES; dtype++)
        test_matmul(dtype);
    test_matmul_order();
    test_matmul_cut();
    test_block_fold();
    test_elementwise();
    test_silu_mul();
    test_rms_norm();
    test_route();
    test_route_many();
    test_argmax();
    return tap_done();
}
