/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention with grouped heads (Ainslie and others 2023).  A Jamba model tells
 * it nothing about positions: their order comes from the Mamba layers.
 *
 * The positions are cut into spans of SPAN, counted from the first token, and
 * the tokens into blocks; a span for one block is an item that any thread may
 * take.  What the spans leave of a token is joined in ascending order.  SPAN
 * shows in the last bits, and it is the only one: not the blocks, not how many
 * spans fit into the memory that waits for the joining, not the threads.
 */
#include "model/layers.h"

#include <math.h>

#include "base/trace.h"
#include "model/linear.h"
#include "model/rows.h"

/* Appends x [n_tok][width] to a cache of `dtype` that has n_past rows. */
static void append(const struct weir_jamba *jamba, enum weir_dtype dtype,
                   void *cache, size_t n_past, const float *x, size_t n_tok,
                   size_t width)
{
    size_t before = n_past * width * weir_dtype_bytes(dtype);

    weir_rows_convert(jamba, x, n_tok, width, dtype, (char *)cache + before);
}

#define SPAN      256 /* positions */
#define BLOCK_TOK 8

/* The tokens of a run: n_tok of the chunk, from `row` on */
struct heads {
    const struct weir_jamba *jamba;
    const struct weir_state_layer *state;
    enum weir_dtype kv_dtype;
    size_t n_past, n_tok, row;
    size_t first_span, n_spans; /* of this round */
    size_t slot;                /* of the round's first span */
    size_t n_slots;             /* of a token */
    int last;                   /* no round follows */
};

/* Parts of a token's span: [n_heads][weir_part_size()] */
static size_t slot_size(const struct weir_config *config)
{
    return config->n_heads * weir_part_size(config->head_dim);
}

/* One span for one block of tokens */
static void attend_item(void *ctx, size_t item, unsigned worker)
{
    const struct heads *heads = ctx;
    const struct weir_jamba *jamba = heads->jamba;
    const struct weir_config *config = &jamba->config;
    size_t hd = config->head_dim, span = item % heads->n_spans;
    size_t tok = item / heads->n_spans * BLOCK_TOK;
    size_t n_tok = heads->n_tok - tok, ld = heads->n_slots * slot_size(config);
    struct weir_attention attention = {
        .n_tok = n_tok < BLOCK_TOK ? n_tok : BLOCK_TOK,
        .n_past = heads->n_past + tok,
        .n_heads = config->n_heads,
        .n_kv = config->n_kv_heads,
        .head_dim = hd,
        .first = (heads->first_span + span) * SPAN,
        .scale = 1.0f / sqrtf((float)hd),
        .kv_dtype = heads->kv_dtype,
        .q = jamba->work.q + (heads->row + tok) * config->n_heads * hd,
        .k = heads->state->k,
        .v = heads->state->v,
        .part = jamba->work.parts + tok * ld +
                (heads->slot + span) * slot_size(config),
        .ld_q = config->n_heads * hd,
        .ld_kv = config->n_kv_heads * hd,
        .ld_part = ld,
    };
    size_t left = heads->n_past + heads->n_tok - attention.first;

    (void)worker;
    attention.n_pos = left < SPAN ? left : SPAN;
    jamba->kernels.attention(&attention);
}

/* One group of heads of one token, over the spans of this round */
static void join_item(void *ctx, size_t item, unsigned worker)
{
    const struct heads *heads = ctx;
    const struct weir_jamba *jamba = heads->jamba;
    const struct weir_config *config = &jamba->config;
    size_t group = config->n_heads / config->n_kv_heads;
    size_t kv = item % config->n_kv_heads, tok = item / config->n_kv_heads;
    size_t head = (heads->row + tok) * config->n_heads + kv * group;
    float *part = jamba->work.parts + tok * heads->n_slots * slot_size(config) +
                  kv * group * weir_part_size(config->head_dim);

    (void)worker;
    jamba->kernels.attention_join(
        part, slot_size(config), heads->slot + heads->n_spans, group,
        config->head_dim,
        heads->last ? jamba->work.heads + head * config->head_dim : NULL);
}

/*
 * A round does as many spans as there are slots for; the first slot keeps what
 * the rounds before have joined.
 */
static void attend(struct heads *heads)
{
    const struct weir_jamba *jamba = heads->jamba;
    size_t n_blocks = (heads->n_tok + BLOCK_TOK - 1) / BLOCK_TOK;
    size_t n_spans = (heads->n_past + heads->n_tok + SPAN - 1) / SPAN;
    size_t left, room;

    heads->n_slots = WEIR_PART_SLOTS / heads->n_tok;
    for (size_t i = 0; i < n_spans; i += heads->n_spans) {
        heads->first_span = i;
        heads->slot = i > 0;
        left = n_spans - i;
        room = heads->n_slots - heads->slot;
        heads->n_spans = left < room ? left : room;
        heads->last = heads->n_spans == left;
        weir_trace_name("attention");
        weir_pool_run(jamba->pool, n_blocks * heads->n_spans, attend_item,
                      heads);
        weir_trace_name("joining spans");
        weir_pool_run(jamba->pool, heads->n_tok * jamba->config.n_kv_heads,
                      join_item, heads);
    }
}

static int project(struct weir_jamba *jamba,
                   const struct weir_bind_attention *layer, const float *x,
                   size_t n_tok, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    struct weir_work *work = &jamba->work;
    size_t hidden = config->n_hidden, hd = config->head_dim;
    size_t q = config->n_heads * hd, kv = config->n_kv_heads * hd;
    struct weir_product products[] = {
        weir_product(&layer->q, x, hidden, n_tok, work->q, q),
        weir_product(&layer->k, x, hidden, n_tok, work->k, kv),
        weir_product(&layer->v, x, hidden, n_tok, work->v, kv),
    };

    for (unsigned i = 0; i < 3; i++)
        products[i].precision = weir_precision_of(WEIR_FINE, work->prompt);
    return weir_linear_run(jamba, products, 3, err);
}

/* One sequence after the other: each has positions of its own. */
static void attend_run(const struct weir_jamba *jamba,
                       const struct weir_run *run, uint32_t layer)
{
    const struct weir_config *config = &jamba->config;
    size_t kv = (size_t)config->n_kv_heads * config->head_dim;
    const struct weir_state_layer *state = &run->state->layers[layer];
    struct heads heads = {.jamba = jamba,
                          .state = state,
                          .kv_dtype = run->state->kv_dtype,
                          .n_past = run->n_past,
                          .n_tok = run->n_tok,
                          .row = run->row};

    append(jamba, heads.kv_dtype, state->k, run->n_past,
           jamba->work.k + run->row * kv, run->n_tok, kv);
    append(jamba, heads.kv_dtype, state->v, run->n_past,
           jamba->work.v + run->row * kv, run->n_tok, kv);
    attend(&heads);
}

int weir_layer_attention(struct weir_jamba *jamba,
                         const struct weir_bind_attention *layer,
                         const struct weir_tokens *tokens, const float *x,
                         float *y, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    size_t q = (size_t)config->n_heads * config->head_dim;
    int rc = project(jamba, layer, x, tokens->n_tok, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < tokens->n_runs; i++)
        attend_run(jamba, &tokens->runs[i], tokens->layer);
    return weir_linear_apply(jamba, &layer->o, jamba->work.heads, q,
                             tokens->n_tok, y, config->n_hidden, err);
}
