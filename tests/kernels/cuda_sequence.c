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

/* Operands of a scan, in memory of the host */
struct operands {
    float *u, *dt, *z, *bc, *a, *bias, *d, *norm, *state;
    uint32_t n_ch;
    size_t n, n_tok, ld_bc, n_state;
};

static void set_up(struct operands *o, uint32_t n_ch, size_t n_tok)
{
    o->n_ch = n_ch;
    o->n_tok = n_tok;
    o->n = n_tok * n_ch;
    o->ld_bc = 2 * STATE + 3;
    o->n_state = (size_t)N_SLOTS * n_ch * STATE;
    o->u = random_floats(o->n);
    o->dt = random_floats(o->n);
    o->z = random_floats(o->n);
    o->bc = random_floats(n_tok * o->ld_bc);
    o->a = random_floats(n_ch * STATE);
    o->bias = random_floats(n_ch);
    o->d = random_floats(n_ch);
    o->norm = random_floats(2 * STATE);
    o->state = random_floats(o->n_state);
    for (size_t i = 0; i < n_ch * STATE; i++)
        o->a[i] = -fabsf(o->a[i]) - 1e-3f;
    for (size_t i = 0; i < o->n; i++) {
        o->u[i] = any();
        o->dt[i] = any() * 30;
    }
}

/* The same on the card; y is u */
static struct weir_device_scan scan_of(const struct operands *o, int few)
{
    const float *bc = floats_on_card(o->bc, o->n_tok * o->ld_bc);
    struct weir_device_scan scan = {
        .runs = runs_of(few),
        .n_ch = o->n_ch,
        .n_state = STATE,
        .u = floats_on_card(o->u, o->n),
        .dt = floats_on_card(o->dt, o->n),
        .dt_bias = floats_on_card(o->bias, o->n_ch),
        .a = floats_on_card(o->a, o->n_ch * STATE),
        .b = bc,
        .c = bc + STATE,
        .norm_b = floats_on_card(o->norm, STATE),
        .norm_c = floats_on_card(o->norm + STATE, STATE),
        .eps = 1e-6f,
        .d = floats_on_card(o->d, o->n_ch),
        .z = floats_on_card(o->z, o->n),
        .state = floats_on_card(o->state, o->n_state),
        .ld_u = o->n_ch,
        .ld_dt = o->n_ch,
        .ld_bc = o->ld_bc,
        .ld_z = o->n_ch,
        .ld_y = o->n_ch};

    scan.y = (float *)scan.u;
    return scan;
}

static void check_scan(uint32_t n_ch, int few, double *far, int *clean)
{
    const struct weir_device_run *run = few ? single : mixed;
    struct weir_device_scan scan;
    struct operands o;
    float *y, *got;

    set_up(&o, n_ch, few ? 2 : 88);
    scan = scan_of(&o, few);
    gpu->scan(card, &scan);
    y = hold(o.n * sizeof(*y));
    weir_kernels_ref.rms_norm(o.bc, o.ld_bc, o.n_tok, STATE, o.norm, 1e-6f,
                              o.bc, o.ld_bc);
    weir_kernels_ref.rms_norm(o.bc + STATE, o.ld_bc, o.n_tok, STATE,
                              o.norm + STATE, 1e-6f, o.bc + STATE, o.ld_bc);
    for (unsigned i = 0; i < scan.runs.n; i++) {
        size_t row = run[i].row, at = row * n_ch;
        struct weir_scan ref = {run[i].n_tok,
                                n_ch,
                                STATE,
                                o.u + at,
                                o.dt + at,
                                o.bias,
                                o.a,
                                o.bc + row * o.ld_bc,
                                o.bc + row * o.ld_bc + STATE,
                                o.d,
                                o.z + at,
                                o.state + (size_t)run[i].slot * n_ch * STATE,
                                y + at,
                                n_ch,
                                n_ch,
                                o.ld_bc,
                                n_ch,
                                n_ch};

        weir_kernels_ref.scan(&ref);
    }
    got = from_card(scan.y, o.n * sizeof(*got));
    *far = worst_of(*far, apart(got, y, o.n));
    got = from_card(scan.state, o.n_state * sizeof(*got));
    *far = worst_of(*far, apart(got, o.state, o.n_state));
    *clean &= card_is_clean();
}

/* Whether a scan of n_runs, if they are few, with its product leaves the bits
 * of one after the other */
static int same_with_dt(uint32_t n_ch, uint32_t cols, int few, uint32_t n_runs)
{
    size_t n_tok = few ? 2 : 88, ld = cols + 3;
    struct weir_device_matmul product = {.n_tok = (uint32_t)n_tok,
                                         .terms = WEIR_DEVICE_EXACT,
                                         .n_mat = 1,
                                         .ld_x = ld,
                                         .eps = 1e-6f};
    struct weir_device_scan apart_from_it, with_it;
    struct operands o;
    struct both w;
    int same;

    set_up(&o, n_ch, n_tok);
    random_matrix(&w, WEIR_BF16, n_ch, cols, n_ch % 8 ? 1 : 8, 1, 13);
    product.x = floats_on_card(random_floats(n_tok * ld), n_tok * ld);
    if (cols % 3)
        product.norm = floats_on_card(random_floats(cols), cols);
    product.to[0].w = w.card;
    product.to[0].ld_y = n_ch;
    apart_from_it = scan_of(&o, few);
    with_it = scan_of(&o, few);
    if (few)
        apart_from_it.runs.n = with_it.runs.n = n_runs;
    product.to[0].y = (float *)apart_from_it.dt;
    gpu->matmul(card, &product);
    gpu->scan(card, &apart_from_it);
    product.to[0].y = (float *)with_it.dt;
    with_it.dt_of = &product;
    gpu->scan(card, &with_it);
    same = !memcmp(from_card(apart_from_it.y, o.n * sizeof(float)),
                   from_card(with_it.y, o.n * sizeof(float)),
                   o.n * sizeof(float)) &&
           !memcmp(from_card(apart_from_it.state, o.n_state * sizeof(float)),
                   from_card(with_it.state, o.n_state * sizeof(float)),
                   o.n_state * sizeof(float));
    return card_is_clean() && same;
}

static void check_dt(const uint32_t *chs, unsigned n)
{
    static const struct weir_device_limits limits = {
        .n_tok = 88, .rows = 1024, .cols = 1024};
    struct weir_err err;
    int same = 1;

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
    for (unsigned i = 0; i < n; i++)
        for (int few = 0; few < 2; few++) {
            same &= same_with_dt(chs[i], 256, few, 2);
            same &= same_with_dt(chs[i], 41 + 31 * i, few, 1);
            same &= same_with_dt(chs[i], 300, few, 2);
        }
    tap_ok(same, "scan: the same with the product that its dt is");
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
    check_dt(chs, 4);
}
