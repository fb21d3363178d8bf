/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attention with grouped heads (Ainslie and others 2023).  A Jamba model tells
 * it nothing about positions: their order comes from the Mamba layers.
 */
#include "model/layers.h"

#include <math.h>
#include <string.h>

#include "model/linear.h"

/* Appends x [n_tok][width] to a cache of `dtype` that has n_past rows. */
static void append(enum weir_dtype dtype, void *cache, size_t n_past,
                   const float *x, size_t n_tok, size_t width)
{
    float *f32 = (float *)cache + n_past * width;
    uint16_t *bf16 = (uint16_t *)cache + n_past * width;

    if (dtype == WEIR_F32) {
        memcpy(f32, x, n_tok * width * sizeof(*f32));
        return;
    }
    for (size_t i = 0; i < n_tok * width; i++)
        bf16[i] = weir_f32_to_bf16(x[i]);
}

struct heads {
    const struct weir_jamba *jamba;
    const struct weir_state_layer *state;
    enum weir_dtype kv_dtype;
    size_t n_past, n_tok;
};

static void attend_head(void *ctx, size_t head, unsigned worker)
{
    const struct heads *heads = ctx;
    const struct weir_jamba *jamba = heads->jamba;
    const struct weir_config *config = &jamba->config;
    size_t hd = config->head_dim, group = config->n_heads / config->n_kv_heads;
    size_t kv_at = head / group * hd * weir_dtype_bytes(heads->kv_dtype);
    struct weir_attention attention = {
        .n_tok = heads->n_tok,
        .n_past = heads->n_past,
        .head_dim = hd,
        .scale = 1.0f / sqrtf((float)hd),
        .kv_dtype = heads->kv_dtype,
        .q = jamba->work.q + head * hd,
        .k = (const uint8_t *)heads->state->k + kv_at,
        .v = (const uint8_t *)heads->state->v + kv_at,
        .y = jamba->work.heads + head * hd,
        .ld_q = config->n_heads * hd,
        .ld_kv = config->n_kv_heads * hd,
        .ld_y = config->n_heads * hd,
    };

    (void)worker;
    jamba->kernels.attention(&attention);
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
        {&layer->q, x, hidden, n_tok, work->q, q, 0},
        {&layer->k, x, hidden, n_tok, work->k, kv, 0},
        {&layer->v, x, hidden, n_tok, work->v, kv, 0},
    };

    return weir_linear_run(jamba, products, 3, err);
}

int weir_layer_attention(struct weir_jamba *jamba,
                         const struct weir_bind_attention *layer,
                         enum weir_dtype kv_dtype,
                         struct weir_state_layer *state, size_t n_past,
                         const float *x, size_t n_tok, float *y,
                         struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    size_t q = (size_t)config->n_heads * config->head_dim;
    size_t kv = (size_t)config->n_kv_heads * config->head_dim;
    struct heads heads = {jamba, state, kv_dtype, n_past, n_tok};
    int rc = project(jamba, layer, x, n_tok, err);

    if (rc)
        return rc;
    append(kv_dtype, state->k, n_past, jamba->work.k, n_tok, kv);
    append(kv_dtype, state->v, n_past, jamba->work.v, n_tok, kv);
    weir_pool_run(jamba->pool, config->n_heads, attend_head, &heads);
    return weir_linear_apply(jamba, &layer->o, jamba->work.heads, q, n_tok, y,
                             config->n_hidden, err);
}
