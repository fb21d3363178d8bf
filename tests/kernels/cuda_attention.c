/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/cuda.h"

#define PAGE     WEIR_DEVICE_PAGE
#define N_SLOTS  3
#define LD_PAGES 4
#define N_PAGES  (N_SLOTS * LD_PAGES)

static const struct weir_device_run decode[] = {
    {0, 1, 600, 2}, {1, 3, 255, 0}, {4, 2, 0, 1}};
static const struct weir_device_run prompt[] = {
    {0, 300, 270, 1}, {300, 1, 511, 2}, {301, 90, 0, 0}};

/* Heads, and heads of K and V, and their size */
static const struct {
    uint32_t heads, kv, hd;
} shapes[] = {{8, 2, 128}, {4, 1, 64}, {5, 1, 80}, {6, 6, 24}, {12, 2, 9}};

struct sequence {
    uint32_t pages[N_SLOTS * LD_PAGES];
    float *k, *v; /* host, [slot][position][width], as kept */
};

static void round_kv(float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        x[i] = weir_bf16_to_f32(weir_f32_to_bf16(x[i]));
}

/* The pool as pages that are not in order */
static void *pool_of(const struct sequence *s, const float *x, size_t width,
                     enum weir_dtype dtype)
{
    size_t page = PAGE * width, size = weir_dtype_bytes(dtype);
    uint8_t *pool = hold(N_PAGES * page * size);

    for (uint32_t i = 0; i < N_PAGES; i++)
        for (size_t j = 0; j < page; j++) {
            size_t at = (s->pages[i] * page + j) * size;
            uint16_t h = weir_f32_to_bf16(x[i * page + j]);

            memcpy(pool + at,
                   dtype == WEIR_BF16 ? (const void *)&h : &x[i * page + j],
                   size);
        }
    return on_card(pool, N_PAGES * page * size);
}

static double check_case(unsigned s, enum weir_dtype dtype, int is_prompt,
                         int *clean)
{
    const struct weir_device_run *run = is_prompt ? prompt : decode;
    size_t n_tok = is_prompt ? 391 : 6, hd = shapes[s].hd, far_n;
    size_t width = shapes[s].kv * hd, ld_q = shapes[s].heads * hd;
    size_t n_all = (size_t)N_SLOTS * LD_PAGES * PAGE * width;
    size_t ld_part = shapes[s].heads * weir_part_size(hd);
    float *q = hold(n_tok * ld_q * 4), *k = hold(n_tok * width * 4);
    float *v = hold(n_tok * width * 4), *y = hold(n_tok * ld_q * 4);
    float *part = hold(ld_part * sizeof(*part)), *got;
    struct sequence seq = {.k = hold(n_all * 4), .v = hold(n_all * 4)};
    struct weir_device_attention on;
    double far;

    for (size_t i = 0; i < n_tok * ld_q; i++)
        q[i] = 2 * any();
    for (size_t i = 0; i < n_tok * width; i++) {
        k[i] = any();
        v[i] = any();
    }
    for (size_t i = 0; i < n_all; i++) {
        seq.k[i] = any();
        seq.v[i] = any();
    }
    for (uint32_t i = 0; i < N_PAGES; i++)
        seq.pages[i] = i * 5 % N_PAGES;
    on = (struct weir_device_attention){
        .runs = {on_card(run, sizeof(decode)), 3, is_prompt ? 300 : 3, 640},
        .n_heads = shapes[s].heads,
        .n_kv = shapes[s].kv,
        .head_dim = (uint32_t)hd,
        .kv_dtype = dtype,
        .scale = 1.0f / sqrtf((float)hd),
        .q = floats_on_card(q, n_tok * ld_q),
        .k = floats_on_card(k, n_tok * width),
        .v = floats_on_card(v, n_tok * width),
        .k_pool = pool_of(&seq, seq.k, width, dtype),
        .v_pool = pool_of(&seq, seq.v, width, dtype),
        .pages = on_card(seq.pages, sizeof(seq.pages)),
        .y = floats_on_card(NULL, n_tok * ld_q),
        .ld_q = ld_q,
        .ld_kv = width,
        .ld_pages = LD_PAGES,
        .ld_y = ld_q};
    gpu->attention(card, &on);
    if (dtype == WEIR_BF16) {
        round_kv(seq.k, n_all);
        round_kv(seq.v, n_all);
        round_kv(k, n_tok * width);
        round_kv(v, n_tok * width);
    }
    for (unsigned i = 0; i < 3; i++) {
        size_t at = (size_t)run[i].slot * LD_PAGES * PAGE * width;
        size_t n = run[i].n_tok * width, row = run[i].row;

        memcpy(seq.k + at + run[i].n_past * width, k + row * width, n * 4);
        memcpy(seq.v + at + run[i].n_past * width, v + row * width, n * 4);
        for (size_t t = 0; t < run[i].n_tok; t++) {
            struct weir_attention ref = {.n_tok = 1,
                                         .n_past = run[i].n_past + t,
                                         .n_heads = shapes[s].heads,
                                         .n_kv = shapes[s].kv,
                                         .head_dim = hd,
                                         .n_pos = run[i].n_past + t + 1,
                                         .scale = on.scale,
                                         .kv_dtype = WEIR_F32,
                                         .q = q + (row + t) * ld_q,
                                         .k = seq.k + at,
                                         .v = seq.v + at,
                                         .part = part,
                                         .ld_q = ld_q,
                                         .ld_kv = width,
                                         .ld_part = ld_part};

            weir_kernels_ref.attention(&ref);
            weir_kernels_ref.attention_join(part, ld_part, 1, shapes[s].heads,
                                            hd, y + (row + t) * ld_q);
        }
    }
    far_n = n_tok * ld_q;
    got = from_card(on.y, far_n * sizeof(*got));
    far = apart(got, y, far_n);
    *clean &= card_is_clean();
    return far;
}

void check_attention(void)
{
    struct weir_device_limits limits = {.n_tok = 400,
                                        .n_heads = 12,
                                        .head_dim = 128,
                                        .max_pos = 1024,
                                        .n_runs = 90};
    struct weir_err err;

    if (gpu->reserve(card, &limits, &err))
        tap_ok(0, "reserve: %s", err.message);
    for (unsigned s = 0; s < sizeof(shapes) / sizeof(shapes[0]); s++)
        for (int i = 0; i < 4; i++) {
            enum weir_dtype dtype = i & 1 ? WEIR_F32 : WEIR_BF16;
            int rounds = i & 2 && (shapes[s].hd == 64 || shapes[s].hd == 128);
            int clean = 1;
            double far = check_case(s, dtype, i & 2, &clean);

            tap_ok(far < (rounds ? 1e-2 : 1e-5) && clean,
                   "%s of %u heads of %u, %s: %.1e from the reference",
                   i & 2 ? "prompts" : "decoding", shapes[s].heads,
                   shapes[s].hd, weir_dtype_name(dtype), far);
        }
}
