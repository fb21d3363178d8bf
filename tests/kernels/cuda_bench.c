/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Speeds at the shapes of Jamba Mini as ExpertsInt8, and of whole steps made of
 * the operations in the order in which its layers use them, with weights that
 * fill the card as the model's would.
 */
#include "tests/kernels/cuda.h"

#include <stdio.h>

#define HIDDEN    4096
#define INNER     8192
#define INTER     14336
#define RANK      256
#define STATE     16
#define VOCAB     65536
#define HEADS     32
#define KV_HEADS  8
#define HD        128
#define EXPERTS   16
#define TOP       2
#define LAYERS    32
#define MOST_TOK  4096
#define MOST_SEQ  32
#define PAST      1024 /* positions before a step */
#define PAGES     (MOST_SEQ * (PAST / WEIR_DEVICE_PAGE + 1))
#define LD_P      (RANK + 2 * STATE)
#define BLOCK     (64u << 20)
#define BF16_POOL (9ull << 30)
#define I8_POOL   (49ull << 30)

static struct {
    uint8_t *bf16, *i8; /* pools, and what has been given from them */
    uint64_t bf16_at, i8_at;
    float *h, *xz, *u, *p, *dt, *q, *k, *v, *y, *act, *logits, *scores, *factor,
        *ones;
    float *a, *conv_state, *scan_state, *router;
    void *k_pool, *v_pool;
    uint32_t *pages;
    int32_t *ids, *answers;
    struct weir_device_run *run;
    struct weir_device_draw *best, *draws;
    struct weir_device_routing routing;
    struct weir_device_expert *expert; /* [LAYERS / 2][EXPERTS] */
    struct weir_device_runs runs;
    uint32_t n_tok, terms;
    double copy; /* bytes a second */
} m;

static struct weir_matrix next_matrix(enum weir_dtype dtype, uint32_t rows,
                                      uint32_t cols, uint32_t row_parts,
                                      uint32_t col_blocks)
{
    uint64_t size = weir_dtype_bytes(dtype), groups, bytes;
    uint64_t *at = dtype == WEIR_I8 ? &m.i8_at : &m.bf16_at;
    struct weir_matrix w = {.dtype = dtype,
                            .rows = rows,
                            .cols = cols,
                            .row_parts = row_parts,
                            .col_blocks = col_blocks};

    w.row_bytes = (uint32_t)((cols / col_blocks * size + 63) / 64 * 64);
    w.tile_rows = (256u << 10) / w.row_bytes;
    if (w.tile_rows > rows / row_parts)
        w.tile_rows = rows / row_parts;
    w.tile_stride = ((uint64_t)w.tile_rows * w.row_bytes + 4095) / 4096 * 4096;
    groups = (rows / row_parts + w.tile_rows - 1) / w.tile_rows * row_parts;
    bytes = groups * col_blocks * w.tile_stride;
    if (*at + bytes > (dtype == WEIR_I8 ? I8_POOL : BF16_POOL))
        *at = 0;
    w.data = (dtype == WEIR_I8 ? m.i8 : m.bf16) + *at;
    w.scale = dtype == WEIR_I8 ? m.ones : NULL;
    *at += bytes;
    return w;
}

static double matrix_bytes(const struct weir_matrix *w)
{
    return (double)w->rows * w->cols * (w->dtype == WEIR_I8 ? 1 : 2);
}

/* One product of `x`: names of Jamba's, as the file cuts them */
struct kind {
    const char *name;
    enum weir_dtype dtype;
    uint32_t rows, cols, row_parts, col_blocks, n_mat, out;
};

static const struct kind in_proj = {
    "in_proj", WEIR_BF16, 2 * INNER, HIDDEN, 16, 1, 1, WEIR_OUT_STORE};
static const struct kind x_proj = {"x_proj", WEIR_BF16, LD_P, INNER,
                                   1,        8,         1,    WEIR_OUT_STORE};
static const struct kind dt_proj = {"dt_proj", WEIR_BF16,     INNER, RANK, 8, 1,
                                    1,         WEIR_OUT_STORE};
static const struct kind out_proj = {
    "out_proj", WEIR_BF16, HIDDEN, INNER, 1, 8, 1, WEIR_OUT_ADD};
static const struct kind q_proj = {"q_proj", WEIR_BF16, HIDDEN, HIDDEN,
                                   8,        1,         1,      WEIR_OUT_STORE};
static const struct kind o_proj = {"o_proj", WEIR_BF16, HIDDEN, HIDDEN,
                                   1,        8,         1,      WEIR_OUT_ADD};
static const struct kind gates = {"gate, up", WEIR_I8, INTER, HIDDEN,
                                  8,          1,       2,     WEIR_OUT_GATED};
static const struct kind down = {"down", WEIR_I8, HIDDEN, INTER,
                                 1,      8,       1,      WEIR_OUT_ADD};
static const struct kind lm_head = {
    "lm_head", WEIR_BF16, VOCAB, HIDDEN, 8, 1, 1, WEIR_OUT_STORE};

static struct weir_device_matmul product(const struct kind *kind,
                                         const float *x, size_t ld_x, float *y,
                                         size_t ld_y)
{
    struct weir_device_matmul p = {.n_tok = m.n_tok,
                                   .terms = m.terms,
                                   .n_mat = kind->n_mat,
                                   .out = kind->out,
                                   .x = x,
                                   .ld_x = ld_x};

    for (uint32_t i = 0; i < kind->n_mat; i++) {
        p.to[i].w = next_matrix(kind->dtype, kind->rows, kind->cols,
                                kind->row_parts, kind->col_blocks);
        p.to[i].y = y;
        p.to[i].ld_y = ld_y;
    }
    return p;
}

static void with_norm(struct weir_device_matmul *p)
{
    p->norm = m.ones;
    p->eps = 1e-6f;
}

static void mamba(void)
{
    struct weir_device_matmul p;
    struct weir_device_conv conv = {
        m.runs, INNER,        4,   m.xz,      m.ones,
        m.ones, m.conv_state, m.u, 2 * INNER, INNER};
    struct weir_device_scan scan = {.runs = m.runs,
                                    .n_ch = INNER,
                                    .n_state = STATE,
                                    .u = m.u,
                                    .dt = m.dt,
                                    .dt_bias = m.ones,
                                    .a = m.a,
                                    .b = m.p + RANK,
                                    .c = m.p + RANK + STATE,
                                    .norm_b = m.ones,
                                    .norm_c = m.ones,
                                    .eps = 1e-6f,
                                    .d = m.ones,
                                    .z = m.xz + INNER,
                                    .state = m.scan_state,
                                    .y = m.u,
                                    .ld_u = INNER,
                                    .ld_dt = INNER,
                                    .ld_bc = LD_P,
                                    .ld_z = 2 * INNER,
                                    .ld_y = INNER};

    p = product(&in_proj, m.h, HIDDEN, m.xz, 2 * INNER);
    with_norm(&p);
    gpu->matmul(card, &p);
    gpu->conv(card, &conv);
    p = product(&x_proj, m.u, INNER, m.p, LD_P);
    gpu->matmul(card, &p);
    p = product(&dt_proj, m.p, LD_P, m.dt, INNER);
    p.norm = m.ones;
    p.eps = 1e-6f;
    scan.dt_of = &p;
    gpu->scan(card, &scan);
    p = product(&out_proj, m.u, INNER, m.h, HIDDEN);
    gpu->matmul(card, &p);
}

static void qkv(void)
{
    struct weir_device_matmul p = product(&q_proj, m.h, HIDDEN, m.q, HIDDEN);

    with_norm(&p);
    p.n_mat = 3;
    for (int i = 1; i < 3; i++) {
        p.to[i].w = next_matrix(WEIR_BF16, KV_HEADS * HD, HIDDEN, 8, 1);
        p.to[i].y = i == 1 ? m.k : m.v;
        p.to[i].ld_y = KV_HEADS * HD;
    }
    gpu->matmul(card, &p);
}

static void attend(void)
{
    struct weir_device_attention on = {.runs = m.runs,
                                       .n_heads = HEADS,
                                       .n_kv = KV_HEADS,
                                       .head_dim = HD,
                                       .kv_dtype = WEIR_BF16,
                                       .scale = 0.088f,
                                       .q = m.q,
                                       .k = m.k,
                                       .v = m.v,
                                       .k_pool = m.k_pool,
                                       .v_pool = m.v_pool,
                                       .pages = m.pages,
                                       .y = m.u,
                                       .ld_q = HIDDEN,
                                       .ld_kv = KV_HEADS * HD,
                                       .ld_pages = PAGES / MOST_SEQ,
                                       .ld_y = HIDDEN};

    if (m.runs.n == 1)
        on.ld_pages = 0;
    gpu->attention(card, &on);
}

static void attention(void)
{
    struct weir_device_matmul p;

    qkv();
    attend();
    p = product(&o_proj, m.u, HIDDEN, m.h, HIDDEN);
    gpu->matmul(card, &p);
}

static void mlp(void)
{
    struct weir_device_matmul p;

    p = product(&gates, m.h, HIDDEN, m.act, INTER);
    with_norm(&p);
    gpu->matmul(card, &p);
    p = product(&down, m.act, INTER, m.h, HIDDEN);
    gpu->matmul(card, &p);
}

static void route(void)
{
    struct weir_device_route on = {
        .n_tok = m.n_tok,
        .n_experts = EXPERTS,
        .n_top = TOP,
        .x = m.h,
        .ld_x = HIDDEN,
        .norm = m.ones,
        .eps = 1e-6f,
        .factor = m.factor,
        .w = next_matrix(WEIR_BF16, EXPERTS, HIDDEN, 1, 1),
        .logits = m.router,
        .to = m.routing};

    gpu->route(card, &on);
}

static void experts(unsigned layer)
{
    uint64_t at = m.i8_at;
    struct weir_device_experts on = {
        .n_tok = m.n_tok,
        .n_experts = EXPERTS,
        .n_top = TOP,
        .to = EXPERTS,
        .terms = m.terms,
        .x = m.h,
        .ld_x = HIDDEN,
        .norm = m.ones,
        .factor = m.factor,
        .gate = next_matrix(WEIR_I8, INTER, HIDDEN, 8, 1),
        .down = next_matrix(WEIR_I8, HIDDEN, INTER, 1, 8),
        .expert = m.expert + layer % (LAYERS / 2) * EXPERTS,
        .routing = m.routing,
        .y = m.h,
        .ld_y = HIDDEN};

    m.i8_at = at;
    gpu->experts(card, &on);
}

/* A step of the whole model */
static void step(void *ctx, unsigned i)
{
    struct weir_device_matmul p;
    struct weir_matrix table = next_matrix(WEIR_BF16, VOCAB, HIDDEN, 8, 1);
    uint32_t n_tok = m.n_tok;

    (void)ctx;
    (void)i;
    gpu->rows(card, &table, m.ids, m.n_tok, m.h, HIDDEN);
    for (unsigned layer = 0; layer < LAYERS; layer++) {
        if (layer % 8 == 4)
            attention();
        else
            mamba();
        if (layer % 2) {
            route();
            experts(layer / 2);
        } else {
            mlp();
        }
    }
    if (m.runs.n < m.n_tok)
        m.n_tok = m.runs.n;
    p = product(&lm_head, m.h, HIDDEN, m.logits, VOCAB);
    with_norm(&p);
    gpu->matmul(card, &p);
    gpu->choose(card, m.logits, VOCAB, m.n_tok, VOCAB, m.best, m.answers);
    m.n_tok = n_tok;
}

static void fill_pool(uint8_t *pool, uint64_t bytes, enum weir_dtype dtype)
{
    uint16_t *block = malloc(BLOCK);
    struct weir_err err;

    for (size_t i = 0; i < BLOCK / 2 && block; i++) {
        float f = any() * 0.02f;

        block[i] =
            dtype == WEIR_I8 ? (uint16_t)(seed >> 30) : weir_f32_to_bf16(f);
    }
    gpu->to_device(card, WEIR_STREAM_COMPUTE, pool, block, BLOCK);
    for (uint64_t at = BLOCK; at + BLOCK <= bytes; at += BLOCK)
        gpu->copy(card, WEIR_STREAM_COMPUTE, pool + at, pool, BLOCK);
    if (gpu->synchronize(card, &err))
        printf("# %s\n", err.message);
    free(block);
}

static void *take(uint64_t bytes)
{
    struct weir_err err;
    void *data;

    if (gpu->alloc(card, bytes, &data, &err)) {
        printf("Bail out! %s\n", err.message);
        exit(99);
    }
    gpu->fill(card, WEIR_STREAM_COMPUTE, data, 0, bytes);
    return data;
}

static float *take_floats(uint64_t n, float scale, float offset)
{
    float *x = malloc(n * sizeof(*x)), *at = take(n * sizeof(*x));
    struct weir_err err;

    for (uint64_t i = 0; i < n && x; i++)
        x[i] = any() * scale + offset;
    gpu->to_device(card, WEIR_STREAM_COMPUTE, at, x, n * sizeof(*x));
    gpu->synchronize(card, &err);
    free(x);
    return at;
}

static void set_runs(uint32_t n_runs, uint32_t n_tok, uint32_t n_past)
{
    struct weir_device_run run[MOST_SEQ];
    struct weir_err err;

    for (uint32_t i = 0; i < n_runs; i++)
        run[i] = (struct weir_device_run){i * n_tok, n_tok, n_past, i};
    gpu->to_device(card, WEIR_STREAM_COMPUTE, m.run, run, sizeof(run));
    gpu->synchronize(card, &err);
    m.runs = (struct weir_device_runs){m.run, n_runs, n_tok, n_past + n_tok};
    m.n_tok = n_runs * n_tok;
    m.terms = n_tok > 16 ? WEIR_DEVICE_ROUNDED : WEIR_DEVICE_EXACT;
}

static void set_up(void)
{
    static const struct weir_device_limits limits = {.n_tok = MOST_TOK,
                                                     .rows = VOCAB,
                                                     .cols = INTER,
                                                     .n_experts = EXPERTS,
                                                     .n_top = TOP,
                                                     .hidden = HIDDEN,
                                                     .inter = INTER,
                                                     .n_heads = HEADS,
                                                     .head_dim = HD,
                                                     .max_pos = 8192,
                                                     .n_runs = MOST_SEQ};
    struct weir_device_expert expert[LAYERS / 2][EXPERTS];
    uint64_t kv = (uint64_t)PAGES * WEIR_DEVICE_PAGE * KV_HEADS * HD * 2;
    uint32_t pages[PAGES];
    int32_t ids[MOST_TOK];
    struct weir_device_draw draws[MOST_SEQ];
    struct weir_err err;

    if (gpu->reserve(card, &limits, &err))
        printf("# %s\n", err.message);
    printf("# %.2f GB beside operands\n",
           (double)gpu->workspace_bytes(&limits) / 1e9);
    m.bf16 = take(BF16_POOL);
    m.i8 = take(I8_POOL);
    fill_pool(m.bf16, BF16_POOL, WEIR_BF16);
    fill_pool(m.i8, I8_POOL, WEIR_I8);
    m.ones = take_floats(VOCAB, 0, 1e-4f);
    m.a = take_floats(INNER * STATE, 0.5f, -0.6f);
    m.h = take_floats((uint64_t)MOST_TOK * HIDDEN, 1, 0);
    m.xz = take_floats((uint64_t)MOST_TOK * INNER * 2, 1, 0);
    m.u = take_floats((uint64_t)MOST_TOK * INNER, 1, 0);
    m.dt = take_floats((uint64_t)MOST_TOK * INNER, 1, 0);
    m.p = take_floats((uint64_t)MOST_TOK * LD_P, 1, 0);
    m.q = take_floats((uint64_t)MOST_TOK * HIDDEN, 1, 0);
    m.k = take_floats((uint64_t)MOST_TOK * KV_HEADS * HD, 1, 0);
    m.v = take_floats((uint64_t)MOST_TOK * KV_HEADS * HD, 1, 0);
    m.act = take_floats((uint64_t)MOST_TOK * INTER, 1, 0);
    m.logits = take((uint64_t)MOST_SEQ * VOCAB * 4);
    m.scores = take_floats((uint64_t)MOST_SEQ * VOCAB, 8, 0);
    m.factor = take_floats(MOST_TOK, 0, 1);
    m.router = take((uint64_t)MOST_TOK * EXPERTS * 4);
    m.conv_state = take((uint64_t)MOST_SEQ * INNER * 3 * 4);
    m.scan_state = take((uint64_t)MOST_SEQ * INNER * STATE * 4);
    m.k_pool = take(kv);
    m.v_pool = take(kv);
    m.pages = take(sizeof(pages));
    m.ids = take(MOST_TOK * 4);
    m.answers = take(MOST_TOK * 4);
    m.run = take(MOST_SEQ * sizeof(*m.run));
    m.best = take(sizeof(draws));
    m.draws = take(sizeof(draws));
    m.expert = take(sizeof(expert));
    m.routing.expert = take(MOST_TOK * TOP * 4);
    m.routing.prob = take(MOST_TOK * TOP * 4);
    m.routing.first = take((EXPERTS + 1) * 4);
    m.routing.order = take(MOST_TOK * TOP * 4);
    m.routing.place = take(MOST_TOK * TOP * 4);
    m.routing.group = take((MOST_TOK * TOP + 1) * 8);
    for (uint32_t i = 0; i < MOST_TOK; i++)
        ids[i] = (int32_t)(i * 7919 % VOCAB);
    for (uint32_t i = 0; i < PAGES; i++)
        pages[i] = i;
    for (unsigned l = 0; l < LAYERS / 2; l++)
        for (unsigned e = 0; e < EXPERTS; e++) {
            expert[l][e].gate = next_matrix(WEIR_I8, INTER, HIDDEN, 8, 1).data;
            expert[l][e].up = next_matrix(WEIR_I8, INTER, HIDDEN, 8, 1).data;
            expert[l][e].down = next_matrix(WEIR_I8, HIDDEN, INTER, 1, 8).data;
            expert[l][e].gate_scale = expert[l][e].up_scale =
                expert[l][e].down_scale = m.ones;
        }
    gpu->fill(card, WEIR_STREAM_COMPUTE, m.best, 0, sizeof(draws));
    for (unsigned i = 0; i < MOST_SEQ; i++)
        draws[i] = (struct weir_device_draw){0.8f, 0.95f, 0, 1000, 0.4};
    gpu->to_device(card, WEIR_STREAM_COMPUTE, m.draws, draws, sizeof(draws));
    gpu->to_device(card, WEIR_STREAM_COMPUTE, m.ids, ids, sizeof(ids));
    gpu->to_device(card, WEIR_STREAM_COMPUTE, m.pages, pages, sizeof(pages));
    gpu->to_device(card, WEIR_STREAM_COMPUTE, m.expert, expert, sizeof(expert));
    gpu->synchronize(card, &err);
}

static void copy(void *ctx, unsigned i)
{
    (void)ctx;
    gpu->copy(card, WEIR_STREAM_COMPUTE, m.i8 + (i % 2) * (2ull << 30),
              m.i8 + (5ull << 30) + 12345600, 1u << 30);
}

static void print(const char *what, double s, double bytes, double flop)
{
    printf("  %-26s %5u tok %10.2f us", what, m.n_tok, s * 1e6);
    if (bytes > 0)
        printf(" %8.1f GB/s %5.1f %% of copy", bytes / s / 1e9,
               100 * bytes / s / m.copy);
    if (flop > 0)
        printf(" %7.1f TFLOP/s", flop / s / 1e12);
    printf("\n");
    fflush(stdout);
}

static void one_product(void *ctx, unsigned i)
{
    const struct kind *kind = ctx;
    int wide = kind->cols > HIDDEN;
    struct weir_device_matmul p =
        product(kind, wide ? m.act : m.h, kind->cols, m.xz, kind->rows);

    (void)i;
    if (kind == &lm_head)
        p.to[0].y = m.logits;
    if (kind->cols == HIDDEN)
        with_norm(&p);
    gpu->matmul(card, &p);
}

static void bench_product(const struct kind *kind)
{
    struct weir_matrix w = next_matrix(kind->dtype, kind->rows, kind->cols,
                                       kind->row_parts, kind->col_blocks);
    double bytes = matrix_bytes(&w) * kind->n_mat;
    double s = card_time(one_product, (void *)kind, 12);

    print(kind->name, s, m.n_tok <= 64 ? bytes : 0,
          m.n_tok > 16 ? 2.0 * m.n_tok * kind->rows * kind->cols * kind->n_mat
                       : 0);
}

static void one_experts(void *ctx, unsigned i)
{
    (void)ctx;
    experts(i);
}

static void bench_experts(void)
{
    double flop = 6.0 * m.n_tok * TOP * HIDDEN * (double)INTER, used = 0, s;
    struct weir_err err;
    uint32_t first[EXPERTS + 1];

    route();
    gpu->to_host(card, WEIR_STREAM_COMPUTE, first, m.routing.first,
                 sizeof(first));
    gpu->synchronize(card, &err);
    for (int e = 0; e < EXPERTS; e++)
        used += first[e + 1] > first[e];
    printf("# %.0f experts are used\n", used);
    s = card_time(one_experts, NULL, 8);
    print("experts", s, m.n_tok <= 64 ? used * 3 * HIDDEN * INTER : 0,
          m.n_tok > 64 ? flop : 0);
}

static void small(void *ctx, unsigned i)
{
    (void)i;
    ((void (*)(void))ctx)();
}

static void choose_best(void)
{
    gpu->choose(card, m.logits, VOCAB, m.runs.n, VOCAB, m.best, m.answers);
}

static void choose_any(void)
{
    gpu->choose(card, m.scores, VOCAB, m.runs.n, VOCAB, m.draws, m.answers);
}

static void bench_small(void)
{
    print("route", card_time(small, route, 20), 0, 0);
    print("append, attend, join", card_time(small, attend, 20), 0,
          m.n_tok > 64 ? 2.0 * m.n_tok * m.n_tok * HIDDEN : 0);
    print("choose the best", card_time(small, choose_best, 20), 0, 0);
    print("choose by top-k, top-p", card_time(small, choose_any, 20), 0, 0);
    print("a Mamba mixer", card_time(small, mamba, 6), 0, 0);
}

/* The mixer's sequential parts, of the whole mixer's operands */
static void conv_scan(void)
{
    struct weir_device_conv conv = {
        m.runs, INNER,        4,   m.xz,      m.ones,
        m.ones, m.conv_state, m.u, 2 * INNER, INNER};

    gpu->conv(card, &conv);
}

static void only_scan(void)
{
    struct weir_device_scan scan = {
        m.runs,       INNER,  STATE, m.u,        m.dt,
        NULL,         m.ones, m.a,   m.p + RANK, m.p + RANK + STATE,
        m.ones,       m.ones, 1e-6f, m.ones,     m.xz + INNER,
        m.scan_state, m.u,    INNER, INNER,      LD_P,
        2 * INNER,    INNER};

    gpu->scan(card, &scan);
}

static void bench_step(const char *what)
{
    double s = card_time(step, NULL, 1);

    print(what, s, 0, 0);
    printf("= %-26s %10.1f tok/s\n", what, m.n_tok / s);
}

static void bench_at(void)
{
    static const struct kind *const kinds[] = {&in_proj,  &x_proj, &dt_proj,
                                               &out_proj, &q_proj, &o_proj,
                                               &gates,    &down};

    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        bench_product(kinds[i]);
    if (m.n_tok <= MOST_SEQ)
        bench_product(&lm_head);
    bench_experts();
    print("conv", card_time(small, conv_scan, 20), 0, 0);
    print("scan", card_time(small, only_scan, 20), 0, 0);
    bench_small();
}

void bench(void)
{
    static const uint32_t seqs[] = {1, 2, 8, 32}, prompts[] = {512, 4096};

    set_up();
    m.copy = 2.0 * (1u << 30) / card_time(copy, NULL, 8);
    printf("# copy within the card: %.1f GB/s\n", m.copy / 1e9);
    for (unsigned i = 0; i < 4; i++) {
        set_runs(seqs[i], 1, PAST);
        bench_step("decoding, a step");
        bench_at();
    }
    for (unsigned i = 0; i < 2; i++) {
        set_runs(1, prompts[i], 0);
        bench_step("prompt, the whole model");
        bench_at();
    }
}
