/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"

#define N_SLOTS 4
#define STATE   16

/* Three sequences in one step, and one slot that none has */
static const struct weir_device_run mixed[] = {
    {0, 70, 0, 2}, {70, 1, 5, 0}, {71, 17, 9, 3}};
static const struct weir_device_run single[] = {{0, 1, 0, 1}, {1, 1, 7, 0}};

static struct weir_device_runs runs_of(int few)
{
    struct weir_device_runs runs = {
        .run =
            on_card(few ? single : mixed, few ? sizeof(single) : sizeof(mixed)),
        .n = few ? 2 : 3,
        .max_tok = few ? 1 : 70,
        .max_pos = 128};

    return runs;
}

static void check_conv(uint32_t n_ch, uint32_t k, int few, double *far,
                       int *clean)
{
    size_t n_tok = few ? 2 : 88, ld = n_ch + 1, n = n_tok * ld;
    size_t n_state = (size_t)N_SLOTS * n_ch * (k - 1);
    float *x = random_floats(n), *w = random_floats((size_t)n_ch * k);
    float *bias = random_floats(n_ch), *state = random_floats(n_state);
    float *y = hold(n * sizeof(*y)), *got;
    const struct weir_device_run *run = few ? single : mixed;
    struct weir_device_conv conv = {.runs = runs_of(few),
                                    .n_ch = n_ch,
                                    .k = k,
                                    .x = floats_on_card(x, n),
                                    .w = floats_on_card(w, (size_t)n_ch * k),
                                    .bias = k == 4 ? floats_on_card(bias, n_ch)
                                                   : NULL,
                                    .state = floats_on_card(state, n_state),
                                    .y = floats_on_card(y, n),
                                    .ld_x = ld,
                                    .ld_y = ld};

    gpu->conv(card, &conv);
    for (unsigned i = 0; i < conv.runs.n; i++) {
        struct weir_conv ref = {run[i].n_tok,
                                n_ch,
                                k,
                                x + run[i].row * ld,
                                w,
                                k == 4 ? bias : NULL,
                                state + (size_t)run[i].slot * n_ch * (k - 1),
                                y + run[i].row * ld,
                                ld,
                                ld};

        weir_kernels_ref.conv(&ref);
    }
    got = from_card(conv.y, n * sizeof(*got));
    *far = worst_of(*far, apart(got, y, n));
    got = from_card(conv.state, n_state * sizeof(*got));
    *clean &= !memcmp(got, state, n_state * sizeof(*got));
    *clean &= card_is_clean();
}

static void check_scan(uint32_t n_ch, int few, double *far, int *clean)
{
    size_t n_tok = few ? 2 : 88, n = n_tok * n_ch, ld_bc = 2 * STATE + 3;
    size_t n_state = (size_t)N_SLOTS * n_ch * STATE;
    float *u = random_floats(n), *dt = random_floats(n), *z = random_floats(n);
    float *bc = random_floats(n_tok * ld_bc), *a = random_floats(n_ch * STATE);
    float *bias = random_floats(n_ch), *d = random_floats(n_ch);
    float *norm = random_floats(2 * STATE), *state = random_floats(n_state);
    const struct weir_device_run *run = few ? single : mixed;
    float *bcs, *y, *got;
    struct weir_device_scan scan;

    for (size_t i = 0; i < n_ch * STATE; i++)
        a[i] = -fabsf(a[i]) - 1e-3f;
    for (size_t i = 0; i < n; i++) {
        u[i] = any();
        dt[i] = any() * 30;
    }
    bcs = floats_on_card(bc, n_tok * ld_bc);
    scan =
        (struct weir_device_scan){.runs = runs_of(few),
                                  .n_ch = n_ch,
                                  .n_state = STATE,
                                  .u = floats_on_card(u, n),
                                  .dt = floats_on_card(dt, n),
                                  .dt_bias = floats_on_card(bias, n_ch),
                                  .a = floats_on_card(a, n_ch * STATE),
                                  .b = bcs,
                                  .c = bcs + STATE,
                                  .norm_b = floats_on_card(norm, STATE),
                                  .norm_c = floats_on_card(norm + STATE, STATE),
                                  .eps = 1e-6f,
                                  .d = floats_on_card(d, n_ch),
                                  .z = floats_on_card(z, n),
                                  .state = floats_on_card(state, n_state),
                                  .ld_u = n_ch,
                                  .ld_dt = n_ch,
                                  .ld_bc = ld_bc,
                                  .ld_z = n_ch,
                                  .ld_y = n_ch};
    scan.y = (float *)scan.u;
    gpu->scan(card, &scan);
    y = hold(n * sizeof(*y));
    weir_kernels_ref.rms_norm(bc, ld_bc, n_tok, STATE, norm, 1e-6f, bc, ld_bc);
    weir_kernels_ref.rms_norm(bc + STATE, ld_bc, n_tok, STATE, norm + STATE,
                              1e-6f, bc + STATE, ld_bc);
    for (unsigned i = 0; i < scan.runs.n; i++) {
        size_t row = run[i].row, at = row * n_ch;
        struct weir_scan ref = {run[i].n_tok,
                                n_ch,
                                STATE,
                                u + at,
                                dt + at,
                                bias,
                                a,
                                bc + row * ld_bc,
                                bc + row * ld_bc + STATE,
                                d,
                                z + at,
                                state + (size_t)run[i].slot * n_ch * STATE,
                                y + at,
                                n_ch,
                                n_ch,
                                ld_bc,
                                n_ch,
                                n_ch};

        weir_kernels_ref.scan(&ref);
    }
    got = from_card(scan.y, n * sizeof(*got));
    *far = worst_of(*far, apart(got, y, n));
    got = from_card(scan.state, n_state * sizeof(*got));
    *far = worst_of(*far, apart(got, state, n_state));
    *clean &= card_is_clean();
}

void check_sequence(void)
{
    static const uint32_t chs[] = {1, 31, 64, 200};
    double conv = 0, scan = 0;
    int conv_clean = 1, scan_clean = 1;

    for (unsigned i = 0; i < 4; i++)
        for (int few = 0; few < 2; few++) {
            check_conv(chs[i], 4, few, &conv, &conv_clean);
            check_conv(chs[i], 2 + i, few, &conv, &conv_clean);
            check_scan(chs[i], few, &scan, &scan_clean);
        }
    tap_ok(conv < 1e-5, "conv: %.1e from the reference", conv);
    tap_ok(conv_clean, "conv: the windows are the reference's, and no more");
    tap_ok(scan < 1e-5, "scan: %.1e from the reference", scan);
    tap_ok(scan_clean, "scan: nothing else is written");
}
