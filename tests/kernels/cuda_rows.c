/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"

#define N_TOK 5
#define MOST  5000

static void check_norm(size_t n, double *far)
{
    size_t ld = n + 2, all = N_TOK * ld;
    float *x = random_floats(all), *w = random_floats(n);
    float *y = hold(all * sizeof(*y));
    float *at = floats_on_card(x, all), *to = floats_on_card(y, all);
    float *sum = floats_on_card(x, all);

    gpu->rms_norm(card, at, ld, N_TOK, n, floats_on_card(w, n), 1e-6f, to, ld);
    gpu->add(card, sum, ld, to, ld, N_TOK, n);
    weir_kernels_ref.rms_norm(x, ld, N_TOK, n, w, 1e-6f, y, ld);
    *far = worst_of(*far, apart(from_card(to, all * 4), y, all));
    weir_kernels_ref.add_scaled(y, ld, x, ld, NULL, N_TOK, n);
    for (size_t t = 0; t < N_TOK; t++)
        y[t * ld + n] = x[t * ld + n], y[t * ld + n + 1] = x[t * ld + n + 1];
    *far = worst_of(*far, apart(from_card(sum, all * 4), y, all));
}

static int same_rows(enum weir_dtype dtype)
{
    const int32_t ids[N_TOK] = {0, 49, 17, -1, 50};
    struct both w;
    float *y, *got, *want = hold(N_TOK * 264 * sizeof(*want));
    float *eye = hold(264 * sizeof(*eye)), *column = hold(50 * sizeof(*column));
    int same = 1;

    random_matrix(&w, dtype, 50, 264, 2, dtype == WEIR_F32 ? 8 : 1, 7);
    y = floats_on_card(NULL, N_TOK * 264);
    gpu->rows(card, &w.card, on_card(ids, sizeof(ids)), N_TOK, y, 264);
    got = from_card(y, N_TOK * 264 * 4);
    for (size_t c = 0; c < 264; c++) {
        eye[c] = 1;
        ref_product(&w.host, eye, 264, 1, NULL, column, 50);
        eye[c] = 0;
        for (size_t t = 0; t < 3; t++)
            want[t * 264 + c] = column[ids[t]];
    }
    for (size_t i = 0; i < N_TOK * 264; i++)
        same &= got[i] == want[i];
    return same;
}

/* A graph that is told anew each time, and goes on from what it left */
static int graph_goes_on(void)
{
    const uint32_t *last;
    const uint32_t index[3] = {2, 0, 1};
    uint32_t *told, *tells = on_card(index, sizeof(index));
    float *x = random_floats(3 * 40), *from = floats_on_card(x, 3 * 40);
    float *to = floats_on_card(NULL, 3 * 40), *y;
    struct weir_device_graph *graph;
    struct weir_err err;
    int right = 1;
    uint32_t *rows = on_card(index, sizeof(index));

    if (gpu->pinned_alloc(card, sizeof(index), (void **)&told, &err))
        return 0;
    if (gpu->capture_begin(card, &err))
        return 0;
    gpu->to_device(card, WEIR_STREAM_COMPUTE, tells, told, sizeof(index));
    gpu->gather(card, from, 40, rows, 3, 40, to, 40);
    gpu->copy(card, WEIR_STREAM_COMPUTE, from, to, 3 * 40 * sizeof(float));
    if (gpu->capture_end(card, &graph, &err))
        return 0;
    for (uint32_t i = 0; i < 2; i++) {
        for (int k = 0; k < 3; k++)
            told[k] = 10 * i + (uint32_t)k;
        gpu->graph_launch(card, graph);
        last = from_card(tells, sizeof(index));
        right &= last[0] == 10 * i && last[2] == 10 * i + 2;
    }
    y = from_card(from, 3 * 40 * sizeof(float));
    for (size_t t = 0; t < 3; t++)
        right &= !memcmp(y + t * 40, x + index[index[t]] * 40, 160);
    gpu->graph_free(card, graph);
    gpu->pinned_free(card, told);
    return right;
}

/* A device of its own: an error stays. */
static void check_sticky(void)
{
    struct weir_device *other;
    struct weir_err err = {0};
    struct weir_device_conv conv = {.k = 100, .runs = {NULL, 1, 1, 1}};
    int rc = gpu->open(0, &other, &err);

    tap_ok(!rc, "a second context of the same GPU opens");
    if (rc)
        return;
    gpu->conv(other, &conv);
    rc = gpu->check(other, &err);
    tap_ok(rc == WEIR_ELIMIT && gpu->synchronize(other, &err) == rc,
           "what cannot be done leaves an error that stays: %s", err.message);
    gpu->close(other);
    tap_ok(gpu->open(9999, &other, &err) == WEIR_EARG && !other,
           "no GPU 9999: %s", err.message);
}

void check_rows(void)
{
    static const size_t sizes[] = {1, 16, 100, 257, 4096, MOST};
    double far = 0;
    int same;

    for (unsigned i = 0; i < 6; i++)
        check_norm(sizes[i], &far);
    tap_ok(card_is_clean(), "rows: nothing else is written");
    tap_ok(far < 1e-5, "norms and sums: %.1e from the reference", far);
    same = same_rows(WEIR_BF16) && same_rows(WEIR_F32) && same_rows(WEIR_I8) &&
           same_rows(WEIR_F16);
    tap_ok(same, "rows of a table, and none");
    tap_ok(graph_goes_on(), "a graph that is launched twice goes on");
    tap_ok(card_is_clean(), "rows and graphs: nothing else is written");
    check_sticky();
}
