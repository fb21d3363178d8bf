/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kernels/levels.h"

#include <stdio.h>

#define MAX_HD    147
#define LARGE_HD  276 /* of which a level may treat a part in its own way */
#define MAX_GROUP 7
#define MANY_KV   22 /* times a group: more than a tile takes at once */
#define TOKENS    5
#define MAX_PARTS 4

/* Attention of some heads, with room for the parts of a few spans */
struct heads {
    struct weir_attention a;
    size_t n_pos; /* of K and V */
    size_t n_parts, ld;
    float *part;      /* [TOKENS][n_parts][n_heads][weir_part_size()] */
    float *y, *other; /* [TOKENS][n_heads][head_dim] */
};

/*
 * Up to 1 for a range of 1; else integers up to 7, times it: sums of their
 * products are exact, so that large scores are the same in any order.
 */
static float element(float range)
{
    return range == 1.0f ? any() : range * (float)(int)(8 * any());
}

/* K or V: rows of which the last ends at the guard; what lies between the rows
   is no number */
static void *random_cache(const struct heads *heads, float range)
{
    const struct weir_attention *a = &heads->a;
    size_t size = weir_dtype_bytes(a->kv_dtype);
    size_t width = a->n_kv * a->head_dim;
    size_t n = (heads->n_pos - 1) * a->ld_kv + width;
    uint8_t *data = guard_alloc(n * size);

    memset(data, 0xff, n * size);
    for (size_t p = 0; p < heads->n_pos; p++)
        for (size_t i = 0; i < width; i++) {
            size_t at = p * a->ld_kv + i;
            float f = element(range);
            uint16_t h = weir_f32_to_bf16(f);

            memcpy(data + at * size, size == 4 ? (void *)&f : &h, size);
        }
    return data;
}

/* head_dim, n_heads, n_kv, n_past, dtype and n_parts are set */
static void take_heads(struct heads *heads, float range)
{
    struct weir_attention *a = &heads->a;
    size_t width = a->n_heads * a->head_dim;
    float *q;

    heads->n_pos = a->n_past + TOKENS;
    heads->ld = a->n_heads * weir_part_size(a->head_dim);
    a->n_tok = TOKENS;
    a->ld_q = width + 3;
    a->ld_kv = a->n_kv * a->head_dim + 5;
    a->ld_part = heads->n_parts * heads->ld;
    q = guard_floats((TOKENS - 1) * a->ld_q + width);
    for (size_t i = 0; i < (TOKENS - 1) * a->ld_q + width; i++)
        q[i] = element(range == 1.0f ? 1.0f : 0.5f);
    a->q = q;
    a->k = random_cache(heads, range);
    a->v = random_cache(heads, 1.0f);
    heads->part = guard_floats(TOKENS * a->ld_part);
    heads->y = guard_floats(TOKENS * width);
    heads->other = guard_floats(TOKENS * width);
}

/* Tokens by `by` at a time, spans of `span` positions; all heads */
static void attend(const struct weir_kernels *kernels, struct heads *heads,
                   size_t by, size_t span, float *y)
{
    struct weir_attention a = heads->a;
    size_t n_parts = 0;

    for (a.first = 0; a.first < heads->n_pos; a.first += span, n_parts++) {
        size_t left = heads->n_pos - a.first;

        a.n_pos = left < span ? left : span;
        for (size_t t = 0; t < TOKENS; t += by) {
            a.n_tok = TOKENS - t < by ? TOKENS - t : by;
            a.n_past = heads->a.n_past + t;
            a.q = heads->a.q + t * a.ld_q;
            a.part = heads->part + t * a.ld_part + n_parts * heads->ld;
            kernels->attention(&a);
        }
    }
    for (size_t t = 0; t < TOKENS; t++)
        kernels->attention_join(heads->part + t * a.ld_part, heads->ld, n_parts,
                                a.n_heads, a.head_dim,
                                y + t * a.n_heads * a.head_dim);
}

/* The same, a head and a token at a time, spans joined as they come */
static void attend_alone(const struct weir_kernels *kernels,
                         struct heads *heads, size_t span, float *y)
{
    size_t hd = heads->a.head_dim, size = weir_part_size(hd);

    for (size_t i = 0; i < TOKENS * heads->a.n_heads; i++) {
        struct weir_attention a = heads->a;
        size_t t = i / a.n_heads, h = i % a.n_heads, end = a.n_past + t + 1,
               kv_at;

        kv_at = h / (a.n_heads / a.n_kv) * hd * weir_dtype_bytes(a.kv_dtype);
        a.n_tok = a.n_heads = a.n_kv = 1;
        a.n_past += t;
        a.q += t * a.ld_q + h * hd;
        a.k = (const uint8_t *)a.k + kv_at;
        a.v = (const uint8_t *)a.v + kv_at;
        for (a.first = 0; a.first < end; a.first += span) {
            int first = a.first == 0, last = end - a.first <= span;

            a.n_pos = last ? end - a.first : span;
            a.part = heads->part + (first ? 0 : size);
            kernels->attention(&a);
            kernels->attention_join(heads->part, size, first ? 1 : 2, 1, hd,
                                    last ? y + i * hd : NULL);
        }
    }
}

static void check_shapes(const struct levels *levels, enum weir_dtype dtype)
{
    static const float ranges[] = {1.0f, 0.0f, 16.0f, 0x1p100f};
    struct heads heads = {.a.kv_dtype = dtype, .n_parts = MAX_PARTS};
    double worst = 0;
    int same = 1;

    for (size_t i = 1; i <= MAX_HD + 1; i++) {
        size_t hd = i <= MAX_HD ? i : LARGE_HD, n, span, n_all;

        heads.a.head_dim = hd;
        heads.a.n_kv = hd % 16 == 3 ? MANY_KV : 1 + hd % 3;
        heads.a.n_heads = heads.a.n_kv * (1 + hd % MAX_GROUP);
        heads.a.n_past = hd * 37 % 219;
        heads.a.scale = 1.0f / sqrtf((float)hd);
        take_heads(&heads, ranges[hd % 4]);
        n = heads.n_pos;
        n_all = TOKENS * heads.a.n_heads * hd;
        span = n / (1 + hd % MAX_PARTS) + 1;
        attend(&levels->fast, &heads, TOKENS, span, heads.y);
        attend(&levels->fast, &heads, 2, span, heads.other);
        same &= !memcmp(heads.y, heads.other, n_all * sizeof(float));
        attend_alone(&levels->fast, &heads, span, heads.other);
        same &= !memcmp(heads.y, heads.other, n_all * sizeof(float));
        attend(&levels->ref, &heads, TOKENS, n, heads.other);
        worst = worst_of(worst, apart(heads.y, heads.other, n_all));
        guard_free_all();
    }
    tap_ok(worst < 1e-5, "%s attention over %s: %.1e from the reference",
           levels->name, weir_dtype_name(dtype), worst);
    tap_ok(same, "%s attention over %s: the same bits by token and head",
           levels->name, weir_dtype_name(dtype));
}

/* A span that no token sees leaves an empty part; others pass it unchanged. */
static void check_unseen(const struct levels *levels)
{
    struct heads heads = {.a = {.head_dim = 19,
                                .n_heads = 3,
                                .n_kv = 1,
                                .n_past = 66,
                                .scale = 1,
                                .kv_dtype = WEIR_BF16},
                          .n_parts = 2};
    size_t size = weir_part_size(19), n = 3 * size;
    float *before = guard_floats(n);
    int empty = 1;

    take_heads(&heads, 1.0f);
    heads.a.n_tok = 1;
    heads.a.part = heads.part;
    heads.a.n_pos = heads.n_pos;
    levels->fast.attention(&heads.a);
    heads.part[0] = -0.0f;
    memcpy(before, heads.part, n * sizeof(*before));
    heads.a.part = heads.part + n;
    heads.a.first = 67;
    heads.a.n_pos = 4;
    levels->fast.attention(&heads.a);
    for (size_t i = 0; i < n; i++)
        empty &= heads.part[n + i] == (i % size == 20 ? -INFINITY : 0);
    tap_ok(empty, "%s attention: a part of no position", levels->name);
    levels->fast.attention_join(heads.part, n, 2, 3, 19, heads.y);
    tap_ok(!memcmp(before, heads.part, n * sizeof(*before)),
           "%s attention_join: a part of no position leaves all bits",
           levels->name);
    heads.a.n_past = 0;
    heads.a.first = 1;
    heads.a.part = heads.part;
    levels->fast.attention(&heads.a);
    memcpy(heads.part + n, before, n * sizeof(*before));
    levels->fast.attention_join(heads.part, n, 2, 3, 19, NULL);
    tap_ok(apart(heads.part, before, n) == 0,
           "%s attention_join: all behind a part of no position", levels->name);
    guard_free_all();
}

void check_attention(const struct levels *levels)
{
    check_shapes(levels, WEIR_F32);
    check_shapes(levels, WEIR_BF16);
    check_unseen(levels);
}

/* Mini's shape, a span after the other as one thread has them */
enum { HEAD_DIM = 128, N_HEADS = 32, N_KV = 8, SPAN = 256, DEPTH = 32768 };
enum { N_SHARES = 5 };

struct bench {
    struct weir_attention a;
    size_t depth;
    float *y;
};

static void run_attention(void *ctx, const struct weir_kernels *kernels)
{
    struct bench *bench = ctx;
    struct weir_attention a = bench->a;
    size_t size = N_HEADS * weir_part_size(HEAD_DIM), n = bench->depth / SPAN;

    a.ld_part = n * size;
    for (; a.first < bench->depth; a.first += SPAN, a.part += size)
        kernels->attention(&a);
    for (size_t t = 0; t < a.n_tok; t++)
        kernels->attention_join(bench->a.part + t * a.ld_part, size, n, N_HEADS,
                                HEAD_DIM, bench->y);
}

/* The bytes of K and V as one token reads them, and nothing done with them */
static void run_read(void *ctx, const struct weir_kernels *kernels)
{
    const struct bench *bench = ctx;
    size_t n_bytes = bench->depth * N_KV * HEAD_DIM * 2;

    kernels->probe_read(bench->a.k, n_bytes);
    kernels->probe_read(bench->a.v, n_bytes);
}

/* As many operations as q.k and the sums of v take, on registers */
static void run_flop(void *ctx, const struct weir_kernels *kernels)
{
    const struct bench *bench = ctx;
    size_t n_flop = 4 * N_HEADS * HEAD_DIM * bench->depth * bench->a.n_tok;
    unsigned width;
    float sum;

    kernels->probe_flop(n_flop / kernels->probe_flop(1, 1, 1, &width, &sum), 1,
                        1, &width, &sum);
}

/* Time of what bounds the bench over its own, by turns: the median */
static void print_share(struct bench *bench, const struct levels *levels)
{
    double shares[N_SHARES];
    int read = bench->a.n_tok == 1;

    for (unsigned i = 0; i < N_SHARES; i++) {
        shares[i] =
            bench_time(read ? run_read : run_flop, bench, &levels->fast) /
            bench_time(run_attention, bench, &levels->fast);
        for (unsigned j = i; j && shares[j] < shares[j - 1]; j--) {
            double larger = shares[j - 1];

            shares[j - 1] = shares[j];
            shares[j] = larger;
        }
    }
    printf("  %-34s %10.1f %% of %s\n", "", 100 * shares[N_SHARES / 2],
           read ? "the plain read" : "the f32 peak");
}

void bench_attention(const struct levels *levels)
{
    static const struct {
        size_t depth, n_tok;
    } shapes[] = {{1024, 1}, {DEPTH, 1}, {1024, 8}};
    size_t width = N_KV * HEAD_DIM, n = DEPTH * width, q = N_HEADS * HEAD_DIM;
    size_t part = N_HEADS * weir_part_size(HEAD_DIM);
    struct bench bench = {.a = {.n_heads = N_HEADS,
                                .n_kv = N_KV,
                                .head_dim = HEAD_DIM,
                                .n_pos = SPAN,
                                .scale = 0.1f,
                                .kv_dtype = WEIR_BF16,
                                .q = guard_floats(8 * q),
                                .part = guard_floats(DEPTH / SPAN * part),
                                .ld_q = q,
                                .ld_kv = width},
                          .y = guard_floats(q)};
    uint16_t *cache[2] = {guard_alloc(2 * n), guard_alloc(2 * n)};
    char what[64];

    for (size_t i = 0; i < 2 * n; i++)
        cache[i & 1][i / 2] = weir_f32_to_bf16(any());
    bench.a.k = cache[0];
    bench.a.v = cache[1];
    for (unsigned i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        bench.depth = shapes[i].depth;
        bench.a.n_tok = shapes[i].n_tok;
        bench.a.n_past = bench.depth - bench.a.n_tok;
        snprintf(what, sizeof(what), "attention at %zu, %zu tokens",
                 bench.depth, bench.a.n_tok);
        bench_print(what, bench_time(run_attention, &bench, &levels->fast),
                    bench_time(run_attention, &bench, &levels->ref),
                    (double)(bench.depth * width * 4));
        print_share(&bench, levels);
    }
    guard_free_all();
}
