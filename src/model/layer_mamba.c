/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Mamba-1 mixer (Gu and Dao 2023) with the three norms that Jamba adds to
 * dt, B and C (Lieber and others 2024, section 6.4).  Conv and scan run channel
 * by channel, so the pool shares them by channels; everything else is a
 * product over all of them.
 */
#include "model/layers.h"

#include <string.h>

#include "base/trace.h"
#include "model/linear.h"
#include "model/rows.h"

/* Channels that a worker takes at a time */
#define CHANNELS 64

struct mixer {
    const struct weir_jamba *jamba;
    const struct weir_bind_mamba *layer;
    const struct weir_tokens *tokens;
};

static size_t n_slices(const struct weir_jamba *jamba)
{
    return (jamba->config.n_inner + CHANNELS - 1) / CHANNELS;
}

static size_t n_channels(const struct weir_jamba *jamba, size_t first)
{
    size_t left = jamba->config.n_inner - first;

    return left < CHANNELS ? left : CHANNELS;
}

/* Copies n floats of the state to where a snapshot of it is wanted. */
static void keep(const struct weir_run *run, const float *from, size_t n)
{
    if (run->mamba)
        memcpy(run->mamba + (from - run->state->mamba), from,
               n * sizeof(*from));
}

/* u = silu(conv(x)) of channels from c on, for the tokens of a run */
static void conv_run(const struct mixer *mixer, const struct weir_run *run,
                     size_t c)
{
    const struct weir_jamba *jamba = mixer->jamba;
    const struct weir_bind_mamba *layer = mixer->layer;
    size_t inner = jamba->config.n_inner, k = jamba->config.d_conv;
    size_t at = run->row * inner + c;
    struct weir_conv conv = {
        .n_tok = run->n_tok,
        .n_ch = n_channels(jamba, c),
        .k = k,
        .x = jamba->work.xz + run->row * 2 * inner + c,
        .w = layer->conv_w + c * k,
        .bias = layer->conv_bias ? layer->conv_bias + c : NULL,
        .state = run->state->layers[mixer->tokens->layer].conv + c * (k - 1),
        .y = jamba->work.u + at,
        .ld_x = 2 * inner,
        .ld_y = inner,
    };

    jamba->kernels.conv(&conv);
    keep(run, conv.state, conv.n_ch * (k - 1));
}

static void conv_slice(void *ctx, size_t item, unsigned worker)
{
    const struct mixer *mixer = ctx;

    (void)worker;
    for (size_t i = 0; i < mixer->tokens->n_runs; i++)
        conv_run(mixer, &mixer->tokens->runs[i], item * CHANNELS);
}

/* u = scan(u, dt, B, C) * silu(z), likewise */
static void scan_run(const struct mixer *mixer, const struct weir_run *run,
                     size_t c)
{
    const struct weir_jamba *jamba = mixer->jamba;
    const struct weir_bind_mamba *layer = mixer->layer;
    const struct weir_work *work = &jamba->work;
    size_t inner = jamba->config.n_inner, n_state = jamba->config.n_state;
    size_t rank = jamba->config.dt_rank, ld_p = rank + 2 * n_state;
    size_t at = run->row * inner + c;
    const float *p = work->p + run->row * ld_p;
    struct weir_scan scan = {
        .n_tok = run->n_tok,
        .n_ch = n_channels(jamba, c),
        .n_state = n_state,
        .u = work->u + at,
        .dt = work->dt + at,
        .dt_bias = layer->dt_bias + c,
        .a = layer->a + c * n_state,
        .b = p + rank,
        .c = p + rank + n_state,
        .d = layer->d + c,
        .z = work->xz + run->row * 2 * inner + inner + c,
        .state = run->state->layers[mixer->tokens->layer].scan + c * n_state,
        .y = work->u + at,
        .ld_u = inner,
        .ld_dt = inner,
        .ld_bc = ld_p,
        .ld_z = 2 * inner,
        .ld_y = inner,
    };

    jamba->kernels.scan(&scan);
    keep(run, scan.state, scan.n_ch * n_state);
}

static void scan_slice(void *ctx, size_t item, unsigned worker)
{
    const struct mixer *mixer = ctx;

    (void)worker;
    for (size_t i = 0; i < mixer->tokens->n_runs; i++)
        scan_run(mixer, &mixer->tokens->runs[i], item * CHANNELS);
}

/* p = W_x u, its three parts normalised, each over its own width */
static int select_parameters(const struct mixer *mixer,
                             struct weir_jamba *jamba, struct weir_err *err)
{
    const struct weir_bind_mamba *layer = mixer->layer;
    const struct weir_config *config = &jamba->config;
    size_t n = mixer->tokens->n_tok, rank = config->dt_rank,
           n_state = config->n_state;
    size_t ld = rank + 2 * n_state;
    float *dt = jamba->work.p, *b = dt + rank, *c = b + n_state;
    int rc = weir_linear_apply(jamba, &layer->x_proj, jamba->work.u,
                               config->n_inner, n, jamba->work.p, ld, err);

    if (rc)
        return rc;
    weir_rows_norm(jamba, dt, ld, n, rank, layer->dt_norm, dt);
    weir_rows_norm(jamba, b, ld, n, n_state, layer->b_norm, b);
    weir_rows_norm(jamba, c, ld, n, n_state, layer->c_norm, c);
    return 0;
}

int weir_layer_mamba(struct weir_jamba *jamba,
                     const struct weir_bind_mamba *layer,
                     const struct weir_tokens *tokens, const float *x, float *y,
                     struct weir_err *err)
{
    struct mixer mixer = {jamba, layer, tokens};
    const struct weir_config *config = &jamba->config;
    struct weir_work *work = &jamba->work;
    size_t hidden = config->n_hidden, inner = config->n_inner;
    size_t n_tok = tokens->n_tok;
    size_t ld_p = config->dt_rank + 2 * (size_t)config->n_state;
    int rc;

    rc = weir_linear_apply(jamba, &layer->in_proj, x, hidden, n_tok, work->xz,
                           2 * inner, err);
    if (rc)
        return rc;
    weir_trace_name("conv");
    weir_pool_run(jamba->pool, n_slices(jamba), conv_slice, &mixer);
    rc = select_parameters(&mixer, jamba, err);
    if (!rc)
        rc = weir_linear_apply(jamba, &layer->dt_proj, work->p, ld_p, n_tok,
                               work->dt, inner, err);
    if (rc)
        return rc;
    weir_trace_name("scan");
    weir_pool_run(jamba->pool, n_slices(jamba), scan_slice, &mixer);
    return weir_linear_apply(jamba, &layer->out_proj, work->u, inner, n_tok, y,
                             hidden, err);
}
