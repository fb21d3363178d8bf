/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"

#define HIDDEN 256
#define INTER  520
#define MOST   16

struct layer {
    uint32_t n_tok, n_experts, n_top;
    struct both gate[MOST], up[MOST], down[MOST], router;
    struct weir_device_expert expert[MOST];
    struct weir_device_experts on;
    struct weir_device_route route;
    float *x, *a, *start; /* host: tokens, after the norm, y before */
};

static struct weir_device_routing routing(size_t n, uint32_t n_experts)
{
    struct weir_device_routing r = {
        .expert = on_card(NULL, n * sizeof(uint32_t)),
        .prob = on_card(NULL, n * sizeof(float)),
        .first = on_card(NULL, (n_experts + 1) * sizeof(uint32_t)),
        .order = on_card(NULL, n * sizeof(uint32_t)),
        .place = on_card(NULL, n * sizeof(uint32_t)),
        .group = on_card(NULL, (n + 1) * 2 * sizeof(uint32_t)),
    };

    return r;
}

static void set_up(struct layer *l, enum weir_dtype dtype)
{
    size_t n = (size_t)l->n_tok * HIDDEN;
    float *norm = random_floats(HIDDEN), *x;

    l->x = random_floats(n);
    l->a = hold(n * sizeof(float));
    l->start = random_floats(n);
    for (uint32_t e = 0; e < l->n_experts; e++) {
        random_matrix(&l->gate[e], dtype, INTER, HIDDEN, 8, 1, 13);
        random_matrix(&l->up[e], dtype, INTER, HIDDEN, 8, 1, 13);
        random_matrix(&l->down[e], dtype, HIDDEN, INTER, 1, 8, 100);
        l->expert[e] = (struct weir_device_expert){
            l->gate[e].card.data,  l->up[e].card.data,  l->down[e].card.data,
            l->gate[e].card.scale, l->up[e].card.scale, l->down[e].card.scale};
    }
    random_matrix(&l->router, WEIR_BF16, l->n_experts, HIDDEN, 1, 1, 3);
    x = floats_on_card(l->x, n);
    weir_kernels_ref.rms_norm(l->x, HIDDEN, l->n_tok, HIDDEN, norm, 1e-6f, l->a,
                              HIDDEN);
    l->route = (struct weir_device_route){
        .n_tok = l->n_tok,
        .n_experts = l->n_experts,
        .n_top = l->n_top,
        .x = x,
        .ld_x = HIDDEN,
        .norm = floats_on_card(norm, HIDDEN),
        .eps = 1e-6f,
        .w = l->router.card,
        .factor = floats_on_card(NULL, l->n_tok),
        .logits = floats_on_card(NULL, (size_t)l->n_tok * l->n_experts),
        .to = routing((size_t)l->n_tok * l->n_top, l->n_experts),
    };
    l->on = (struct weir_device_experts){
        .n_tok = l->n_tok,
        .n_experts = l->n_experts,
        .n_top = l->n_top,
        .to = l->n_experts,
        .x = x,
        .ld_x = HIDDEN,
        .norm = l->route.norm,
        .factor = l->route.factor,
        .gate = l->gate[0].card,
        .down = l->down[0].card,
        .expert = on_card(l->expert, l->n_experts * sizeof(l->expert[0])),
        .routing = l->route.to,
        .y = floats_on_card(l->start, n),
        .ld_y = HIDDEN,
    };
}

/* Order, places and groups follow from the choices. */
static int order_is_right(const struct layer *l, const uint32_t *expert)
{
    uint32_t n = l->n_tok * l->n_top, at = 0, n_groups = 0;
    uint32_t *first =
        from_card(l->route.to.first, (l->n_experts + 1) * sizeof(*first));
    uint32_t *order = from_card(l->route.to.order, n * sizeof(*order));
    uint32_t *place = from_card(l->route.to.place, n * sizeof(*place));
    uint32_t *group = from_card(l->route.to.group, (n + 1) * 2 * 4);
    int right = 1;

    for (uint32_t e = 0; e < l->n_experts; e++) {
        right &= first[e] == at;
        for (uint32_t i = 0, k = 0; i < n; i++) {
            if (expert[i] != e)
                continue;
            if (k++ % 16 == 0) {
                right &= group[2 * n_groups] == e;
                right &= group[2 * n_groups + 1] == at;
                n_groups++;
            }
            right &= order[at] == i && place[i] == at;
            at++;
        }
    }
    for (uint32_t i = n_groups; i < n; i++)
        right &= group[2 * i] == UINT32_MAX;
    return right && first[l->n_experts] == n && group[2 * n] == n_groups;
}

static void check_route(struct layer *l, double *far, int *same)
{
    size_t n = (size_t)l->n_tok * l->n_top, all = l->n_tok * l->n_experts;
    float *want = hold(all * sizeof(*want)), *prob = hold(n * sizeof(*prob));
    uint32_t *chosen = hold(n * sizeof(*chosen)), *expert;
    float *logits, *p;

    ref_product(&l->router.host, l->a, l->route.ld_x, l->n_tok, NULL, want,
                l->n_experts);
    gpu->route(card, &l->route);
    logits = from_card(l->route.logits, all * sizeof(*logits));
    expert = from_card(l->route.to.expert, n * sizeof(*expert));
    p = from_card(l->route.to.prob, n * sizeof(*p));
    weir_kernels_ref.route(logits, l->n_experts, l->n_tok, l->n_experts,
                           l->n_top, chosen, prob);
    *far = worst_of(*far, apart(logits, want, all));
    *far = worst_of(*far, apart(p, prob, n));
    *same &= !memcmp(chosen, expert, n * sizeof(*chosen)) &&
             order_is_right(l, expert);
}

static double check_sum(struct layer *l)
{
    size_t n = (size_t)l->n_tok * HIDDEN;
    float gate[INTER], up[INTER], y[HIDDEN], *want = hold(n * sizeof(*want));
    uint32_t *expert = from_card(l->on.routing.expert, l->n_tok * l->n_top * 4);
    float *prob = from_card(l->on.routing.prob, l->n_tok * l->n_top * 4);

    for (uint32_t i = 0; i < l->n_tok * l->n_top; i++) {
        uint32_t t = i / l->n_top, e = expert[i];

        ref_product(&l->gate[e].host, l->a + t * HIDDEN, HIDDEN, 1, NULL, gate,
                    INTER);
        ref_product(&l->up[e].host, l->a + t * HIDDEN, HIDDEN, 1, NULL, up,
                    INTER);
        weir_kernels_ref.silu_mul(gate, INTER, up, INTER, 1, INTER);
        ref_product(&l->down[e].host, gate, INTER, 1, NULL, y, HIDDEN);
        weir_kernels_ref.add_scaled(want + t * HIDDEN, HIDDEN, y, HIDDEN,
                                    &prob[i], 1, HIDDEN);
    }
    gpu->experts(card, &l->on);
    weir_kernels_ref.add_scaled(want, HIDDEN, l->start, HIDDEN, NULL, l->n_tok,
                                HIDDEN);
    return apart(from_card(l->on.y, n * sizeof(float)), want, n);
}

/* What experts `from` to to - 1 add to zeros, in order */
static void add_range(struct layer *l, float *y, uint32_t from, uint32_t to)
{
    struct weir_device_experts on = l->on;

    on.y = y;
    on.from = from;
    on.to = to;
    on.in_order = 1;
    gpu->experts(card, &on);
}

/*
 * Two ranges are one sum; and an expert that is not here is left out, as if its
 * range were not asked for.
 */
static int check_ranges(struct layer *l)
{
    size_t n_bytes = (size_t)l->n_tok * HIDDEN * sizeof(float);
    float *zeros = hold(n_bytes), *y[4];
    uint32_t n = l->n_experts, top = l->n_top;
    uint32_t *expert = from_card(l->on.routing.expert, top * sizeof(*expert));
    float *prob = from_card(l->on.routing.prob, top * sizeof(*prob));
    uint32_t most = 0, gone;
    int same;

    for (uint32_t i = 1; i < top; i++) /* one of little weight is no loss */
        most = prob[i] > prob[most] ? i : most;
    gone = expert[most];
    for (int i = 0; i < 4; i++)
        y[i] = floats_on_card(zeros, (size_t)l->n_tok * HIDDEN);
    add_range(l, y[0], 0, n);
    add_range(l, y[1], 0, gone);
    add_range(l, y[1], gone, n);
    add_range(l, y[2], 0, gone);
    add_range(l, y[2], gone + 1, n);
    l->expert[gone].gate = NULL;
    l->on.expert = on_card(l->expert, n * sizeof(l->expert[0]));
    add_range(l, y[3], 0, n);
    same = !memcmp(from_card(y[0], n_bytes), from_card(y[1], n_bytes), n_bytes);
    return same &&
           !memcmp(from_card(y[2], n_bytes), from_card(y[3], n_bytes),
                   n_bytes) &&
           memcmp(from_card(y[0], n_bytes), from_card(y[2], n_bytes), n_bytes);
}

static const struct {
    uint32_t n_tok, n_experts, n_top, terms;
    double bound;
} cases[] = {
    {1, 16, 2, WEIR_DEVICE_EXACT, 1e-5},
    {3, 4, 2, WEIR_DEVICE_EXACT, 1e-5},
    {20, 16, 2, WEIR_DEVICE_EXACT, 1e-5},
    {64, 5, 3, WEIR_DEVICE_EXACT, 1e-5},
    {40, 1, 1, WEIR_DEVICE_EXACT, 1e-5},
    {65, 16, 2, WEIR_DEVICE_FINE, 1e-4},
    {200, 4, 2, WEIR_DEVICE_ROUNDED, 1e-2},
    {700, 3, 2, WEIR_DEVICE_ROUNDED, 1e-2},
};

static void check_case(enum weir_dtype dtype, unsigned i, struct layer *l)
{
    double far = 0, sum;
    int same = 1, clean;

    memset(l, 0, sizeof(*l));
    l->n_tok = cases[i].n_tok;
    l->n_experts = cases[i].n_experts;
    l->n_top = cases[i].n_top;
    set_up(l, dtype);
    l->on.terms = cases[i].terms;
    check_route(l, &far, &same);
    tap_ok(far < 1e-5, "router of %u tokens: %.1e from the reference", l->n_tok,
           far);
    tap_ok(same, "router of %u tokens: the experts, and their order", l->n_tok);
    sum = check_sum(l);
    same = check_ranges(l);
    clean = card_is_clean();
    tap_ok(same && clean, "%s experts of %u tokens: in ranges, and without one",
           weir_dtype_name(dtype), cases[i].n_tok);
    tap_ok(sum < cases[i].bound && clean,
           "%s experts %u of %u, %u tokens: %.1e from the reference",
           weir_dtype_name(dtype), cases[i].n_top, cases[i].n_experts,
           cases[i].n_tok, sum);
}

/* A router alone: of other types, and of more than a block of threads keeps */
static void check_router(enum weir_dtype dtype, uint32_t n_experts,
                         uint32_t cols, uint32_t n_tok, struct layer *l)
{
    size_t n = (size_t)n_tok * cols;
    float *norm = n_experts % 2 ? random_floats(cols) : NULL;
    double far = 0;
    int same = 1;

    memset(l, 0, sizeof(*l));
    l->n_tok = n_tok;
    l->n_experts = n_experts;
    l->n_top = 3;
    l->x = random_floats(n);
    l->a = hold(n * sizeof(float));
    random_matrix(&l->router, dtype, n_experts, cols, 1, 1, 5);
    if (norm)
        weir_kernels_ref.rms_norm(l->x, cols, n_tok, cols, norm, 1e-6f, l->a,
                                  cols);
    else
        memcpy(l->a, l->x, n * sizeof(float));
    l->route = (struct weir_device_route){
        .n_tok = n_tok,
        .n_experts = n_experts,
        .n_top = l->n_top,
        .x = floats_on_card(l->x, n),
        .ld_x = cols,
        .norm = norm ? floats_on_card(norm, cols) : NULL,
        .eps = 1e-6f,
        .w = l->router.card,
        .factor = floats_on_card(NULL, n_tok),
        .logits = floats_on_card(NULL, (size_t)n_tok * n_experts),
        .to = routing((size_t)n_tok * l->n_top, n_experts),
    };
    check_route(l, &far, &same);
    same &= card_is_clean();
    tap_ok(far < 1e-5 && same,
           "router of %u %s experts, %u columns, %u tokens: %.1e", n_experts,
           weir_dtype_name(dtype), cols, n_tok, far);
}

static void check_routers(struct layer *l)
{
    static const struct weir_device_limits limits = {
        .n_tok = 131, .rows = 40, .cols = 8200, .n_experts = 40, .n_top = 3};
    struct weir_err err;

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
    check_router(WEIR_BF16, 17, 4104, 1, l);
    check_router(WEIR_BF16, 40, 8200, 129, l);
    check_router(WEIR_BF16, 33, 100, 128, l);
    check_router(WEIR_BF16, 16, 4096, 131, l);
    check_router(WEIR_I8, 17, 4104, 129, l);
    check_router(WEIR_F32, 5, 99, 2, l);
}

void check_experts(void)
{
    struct weir_device_limits limits = {.n_tok = 700,
                                        .rows = INTER,
                                        .cols = INTER,
                                        .n_experts = MOST,
                                        .n_top = 3,
                                        .hidden = HIDDEN,
                                        .inter = INTER};
    struct weir_err err;
    struct layer *l = calloc(1, sizeof(*l));

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
    for (unsigned i = 0; l && i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_case(WEIR_I8, i, l);
        check_case(WEIR_BF16, i, l);
    }
    if (l)
        check_routers(l);
    free(l);
}
