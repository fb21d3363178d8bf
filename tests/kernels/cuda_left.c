/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A product of the norm of what a product has just left: it may find what it
 * needs without reading that again, which must not show.
 */
#include "tests/kernels/cuda.h"

#define HIDDEN  1408
#define INTER   64
#define ROWS    200
#define EXPERTS 4
#define TOP     2

struct chain {
    uint32_t n_tok;
    float *x;                       /* [n_tok][HIDDEN], of the host */
    struct weir_device_matmul next; /* of the norm */
    struct both w;
    float *norm;
    float *to, *other; /* of the card, there before anything is done */
};

static void set_up(struct chain *chain, uint32_t n_tok)
{
    chain->n_tok = n_tok;
    chain->x = random_floats(n_tok * HIDDEN);
    chain->norm = random_floats(HIDDEN);
    chain->to = floats_on_card(NULL, (size_t)n_tok * ROWS);
    chain->other = floats_on_card(NULL, 4);
    random_matrix(&chain->w, WEIR_BF16, ROWS, HIDDEN, 1, 1, 32);
    chain->next =
        (struct weir_device_matmul){.n_tok = n_tok,
                                    .terms = WEIR_DEVICE_EXACT,
                                    .n_mat = 1,
                                    .ld_x = HIDDEN,
                                    .norm = floats_on_card(chain->norm, HIDDEN),
                                    .eps = 1e-6f,
                                    .to[0] = {chain->w.card, NULL, NULL, ROWS}};
}

/* What comes of the norm of y, when something else is done between or not */
static float *go_on(struct chain *chain, float *y, int between)
{
    size_t n = (size_t)chain->n_tok * ROWS;

    if (between)
        gpu->fill(card, WEIR_STREAM_COMPUTE, chain->other, 0, 16);
    chain->next.x = y;
    chain->next.to[0].y = chain->to;
    gpu->matmul(card, &chain->next);
    return from_card(chain->to, n * sizeof(*chain->to));
}

static double far_of(const struct chain *chain, const float *y,
                     const float *got)
{
    size_t n = chain->n_tok;
    float *a = hold(n * HIDDEN * sizeof(*a));
    float *want = hold(n * ROWS * sizeof(*want));

    weir_kernels_ref.rms_norm(y, HIDDEN, n, HIDDEN, chain->norm, 1e-6f, a,
                              HIDDEN);
    ref_product(&chain->w.host, a, HIDDEN, n, NULL, want, ROWS);
    return apart(got, want, n * ROWS);
}

/* y += W x */
static float *after_product(struct chain *chain, const struct both *w)
{
    size_t n = (size_t)chain->n_tok * HIDDEN;
    float *y = floats_on_card(chain->x, n);
    const struct weir_device_matmul add = {.n_tok = chain->n_tok,
                                           .terms = WEIR_DEVICE_EXACT,
                                           .n_mat = 1,
                                           .out = WEIR_OUT_ADD,
                                           .x = floats_on_card(chain->x, n),
                                           .ld_x = HIDDEN,
                                           .to[0] = {w->card, NULL, y, HIDDEN}};

    gpu->matmul(card, &add);
    return y;
}

static void check_product(uint32_t n_tok, double *far, int *same)
{
    struct chain chain;
    struct both w;
    float *y, *got, *again;

    set_up(&chain, n_tok);
    random_matrix(&w, WEIR_I8, HIDDEN, HIDDEN, 1, 8, 128);
    y = after_product(&chain, &w);
    got = go_on(&chain, y, 0);
    *far = worst_of(
        *far, far_of(&chain, from_card(y, n_tok * HIDDEN * sizeof(*y)), got));
    y = after_product(&chain, &w);
    again = go_on(&chain, y, 1);
    *same &= !memcmp(got, again, n_tok * ROWS * sizeof(*got));
}

struct layer {
    struct both gate, down;
    struct weir_device_experts on;
    struct weir_device_route route;
};

static void set_up_layer(struct layer *l, const struct chain *chain)
{
    struct weir_device_expert expert[EXPERTS];
    size_t n = (size_t)chain->n_tok * TOP;
    struct both router;

    random_matrix(&router, WEIR_BF16, EXPERTS, HIDDEN, 1, 1, 4);
    for (int e = 0; e < EXPERTS; e++) {
        random_matrix(&l->gate, WEIR_I8, INTER, HIDDEN, 8, 1, 8);
        random_matrix(&l->down, WEIR_I8, HIDDEN, INTER, 1, 8, 128);
        expert[e] = (struct weir_device_expert){
            l->gate.card.data,  l->gate.card.data,  l->down.card.data,
            l->gate.card.scale, l->gate.card.scale, l->down.card.scale};
    }
    l->route = (struct weir_device_route){
        .n_tok = chain->n_tok,
        .n_experts = EXPERTS,
        .n_top = TOP,
        .ld_x = HIDDEN,
        .norm = chain->next.norm,
        .eps = 1e-6f,
        .w = router.card,
        .factor = floats_on_card(NULL, chain->n_tok),
        .logits = floats_on_card(NULL, chain->n_tok * EXPERTS),
        .to = {on_card(NULL, n * 4), on_card(NULL, n * 4),
               on_card(NULL, (EXPERTS + 1) * 4), on_card(NULL, n * 4),
               on_card(NULL, n * 4), on_card(NULL, (n + 1) * 8)}};
    l->on =
        (struct weir_device_experts){.n_tok = chain->n_tok,
                                     .n_experts = EXPERTS,
                                     .n_top = TOP,
                                     .to = EXPERTS,
                                     .terms = WEIR_DEVICE_EXACT,
                                     .ld_x = HIDDEN,
                                     .norm = chain->next.norm,
                                     .factor = l->route.factor,
                                     .gate = l->gate.card,
                                     .down = l->down.card,
                                     .expert = on_card(expert, sizeof(expert)),
                                     .routing = l->route.to,
                                     .ld_y = HIDDEN};
}

/* y += experts of y */
static float *after_experts(struct layer *l, const struct chain *chain)
{
    float *y = floats_on_card(chain->x, (size_t)chain->n_tok * HIDDEN);

    l->route.x = l->on.x = l->on.y = y;
    gpu->route(card, &l->route);
    gpu->experts(card, &l->on);
    return y;
}

static void check_layer(uint32_t n_tok, double *far, int *same)
{
    struct chain chain;
    struct layer l;
    float *y, *got, *again;

    set_up(&chain, n_tok);
    set_up_layer(&l, &chain);
    y = after_experts(&l, &chain);
    got = go_on(&chain, y, 0);
    *far = worst_of(
        *far, far_of(&chain, from_card(y, n_tok * HIDDEN * sizeof(*y)), got));
    y = after_experts(&l, &chain);
    again = go_on(&chain, y, 1);
    *same &= !memcmp(got, again, n_tok * ROWS * sizeof(*got));
}

void check_left(void)
{
    static const uint32_t n_toks[] = {1, 3, 9, 16, 33, 64, 65};
    const struct weir_device_limits limits = {.n_tok = 70,
                                              .rows = HIDDEN,
                                              .cols = HIDDEN,
                                              .n_experts = EXPERTS,
                                              .n_top = TOP,
                                              .hidden = HIDDEN,
                                              .inter = INTER};
    struct weir_err err;
    double far = 0;
    int same = 1, clean = 1;

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
    for (unsigned i = 0; i < sizeof(n_toks) / sizeof(n_toks[0]); i++) {
        check_product(n_toks[i], &far, &same);
        clean &= card_is_clean();
        check_layer(n_toks[i], &far, &same);
        clean &= card_is_clean();
    }
    tap_ok(far < 1e-5, "norms of what was left: %.1e from the reference", far);
    tap_ok(same, "whatever is done between: the same bits");
    tap_ok(clean, "and nothing else is written");
}
