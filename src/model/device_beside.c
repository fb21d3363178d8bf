/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the trunk the CPU computes: of tokens that are decoded, the products
 * with units that the device has no room for, next to where their weights lie.
 * To copy those would take longer than to read them, if the tokens are few;
 * more have them copied.  What sequences leave behind stays on the device,
 * since prompts are computed there: so do the convolution, the scan and the
 * attention, to which the CPU's products go, and of which it gets what it
 * needs.
 */
#include "model/device_parts.h"

#include "base/trace.h"
#include "model/layers.h"
#include "model/linear.h"
#include "model/rows.h"

static const struct weir_config *config_of(const struct weir_device_step *step)
{
    return &step->on->jamba->config;
}

/* What each token has at x, into beside.in, once it is there */
static int fetch(const struct weir_device_step *step, const float *x,
                 size_t n_tok, size_t width)
{
    const struct weir_on_device *on = step->on;
    const struct weir_device_table *table = on->room.table;

    table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->beside.in, x,
                   n_tok * width * sizeof(*x));
    table->record(on->room.device, WEIR_STREAM_COMPUTE, on->asked);
    weir_device_wait_for(on, on->asked);
    return table->check(on->room.device, step->err);
}

/* Of a residual stream at x, into work.normed */
static int fetch_normed(const struct weir_device_step *step, const float *x,
                        size_t n_tok, const float *weight)
{
    const struct weir_on_device *on = step->on;
    size_t hidden = config_of(step)->n_hidden;
    int rc = fetch(step, x, n_tok, hidden);

    if (!rc)
        weir_rows_norm(on->jamba, on->beside.in, hidden, n_tok, hidden, weight,
                       on->jamba->work.normed);
    return rc;
}

/* What is in beside.out, to y; it stays there until the next fetch() */
static void send(const struct weir_device_step *step, float *y,
                 const float *from, size_t n_tok, size_t width)
{
    const struct weir_on_device *on = step->on;

    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE, y, from,
                              n_tok * width * sizeof(*y));
}

/* hidden += what is in beside.out */
static void add_out(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    send(step, on->sum, on->beside.out, step->n_tok, config_of(step)->n_hidden);
    weir_device_add_sum(step);
}

/* y [n_tok][ld_y] = linear x */
static int apply(const struct weir_device_step *step,
                 const struct weir_linear *linear, const float *x, size_t ld_x,
                 float *y, size_t ld_y)
{
    return weir_linear_apply(step->on->jamba, linear, x, ld_x, step->n_tok, y,
                             ld_y, step->err);
}

/* ---- Mamba ---- */

/* x and z, and u of x */
static int begin_mamba(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    size_t inner = config_of(step)->n_inner;
    int rc = fetch_normed(step, on->hidden, step->n_tok, bind->input_norm);

    if (!rc)
        rc = apply(step, &bind->mamba.in_proj, on->jamba->work.normed,
                   config_of(step)->n_hidden, on->beside.out, 2 * inner);
    if (rc)
        return rc;
    send(step, on->xz, on->beside.out, step->n_tok, 2 * inner);
    weir_device_convolve(step, layer);
    return 0;
}

/* What the scan selects by: dt, and p, whose B and C it normalises itself */
static int select_parameters(const struct weir_device_step *step,
                             uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_mamba *mamba = &on->jamba->bind.layers[layer].mamba;
    size_t ld_p = c->dt_rank + 2 * (size_t)c->n_state, n_tok = step->n_tok;
    float *p = on->beside.out, *dt = p + n_tok * ld_p;
    int rc = fetch(step, on->u, n_tok, c->n_inner);

    if (!rc)
        rc = apply(step, &mamba->x_proj, on->beside.in, c->n_inner, p, ld_p);
    if (rc)
        return rc;
    weir_rows_norm(on->jamba, p, ld_p, n_tok, c->dt_rank, mamba->dt_norm,
                   on->jamba->work.p);
    rc = apply(step, &mamba->dt_proj, on->jamba->work.p, ld_p, dt, c->n_inner);
    if (rc)
        return rc;
    send(step, on->p, p, n_tok, ld_p);
    send(step, on->dt, dt, n_tok, c->n_inner);
    return 0;
}

static int mamba(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    int rc = begin_mamba(step, layer);

    if (!rc)
        rc = select_parameters(step, layer);
    if (rc)
        return rc;
    weir_device_scan(step, layer, NULL);
    rc = fetch(step, on->u, step->n_tok, c->n_inner);
    if (!rc)
        rc = apply(step, &on->jamba->bind.layers[layer].mamba.out_proj,
                   on->beside.in, c->n_inner, on->beside.out, c->n_hidden);
    if (!rc)
        add_out(step);
    return rc;
}

/* ---- attention ---- */

static int attention(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    size_t q = (size_t)c->n_heads * c->head_dim, n_tok = step->n_tok;
    size_t kv = (size_t)c->n_kv_heads * c->head_dim;
    const float *x = on->jamba->work.normed;
    float *out = on->beside.out;
    struct weir_product products[] = {
        weir_product(&bind->attention.q, x, c->n_hidden, n_tok, out, q),
        weir_product(&bind->attention.k, x, c->n_hidden, n_tok, out + n_tok * q,
                     kv),
        weir_product(&bind->attention.v, x, c->n_hidden, n_tok,
                     out + n_tok * (q + kv), kv)};
    int rc = fetch_normed(step, on->hidden, n_tok, bind->input_norm);

    for (int i = 0; i < 3; i++)
        products[i].precision = WEIR_EXACT;
    if (!rc)
        rc = weir_linear_run(on->jamba, products, 3, step->err);
    if (rc)
        return rc;
    send(step, on->q, products[0].y, n_tok, q);
    send(step, on->k, products[1].y, n_tok, kv);
    send(step, on->v, products[2].y, n_tok, kv);
    weir_device_attend(step, layer);
    rc = fetch(step, on->heads, n_tok, q);
    if (!rc)
        rc = apply(step, &bind->attention.o, on->beside.in, q, on->beside.out,
                   c->n_hidden);
    if (!rc)
        add_out(step);
    return rc;
}

/* ---- units ---- */

int weir_device_is_beside(const struct weir_device_step *step, uint32_t unit)
{
    const struct weir_on_device *on = step->on;

    return !step->prompt && !on->only_device &&
           step->n_tok <= WEIR_DEVICE_BESIDE_TOK &&
           on->places[unit] != WEIR_PINNED &&
           on->kinds[unit] == WEIR_DEVICE_TRUNK;
}

int weir_device_mixer_beside(const struct weir_device_step *step,
                             uint32_t layer)
{
    int is_attention = weir_config_is_attention(config_of(step), layer), rc;

    weir_trace_part(is_attention ? "attention" : "mamba", (int)layer);
    step->on->jamba->work.prompt = 0;
    rc = is_attention ? attention(step, layer) : mamba(step, layer);
    weir_trace_part("device", -1);
    return rc;
}

int weir_device_mlp_beside(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    const struct weir_mlp_job job = {.mlp = &bind->mlps[0],
                                     .x = on->jamba->work.normed,
                                     .n_tok = step->n_tok,
                                     .y = on->beside.out};
    int rc;

    weir_trace_part("mlp", (int)layer);
    rc = fetch_normed(step, on->hidden, step->n_tok, bind->pre_ff_norm);
    if (!rc)
        rc = weir_layer_mlps(on->jamba, &job, 1, step->err);
    if (!rc)
        add_out(step);
    weir_trace_part("device", -1);
    return rc;
}

int weir_device_score_beside(const struct weir_device_step *step,
                             const float *x, uint32_t n)
{
    const struct weir_on_device *on = step->on;
    const struct weir_bind *bind = &on->jamba->bind;
    const struct weir_config *c = config_of(step);
    int rc;

    weir_trace_part("head", -1);
    rc = fetch_normed(step, x, n, bind->final_norm);
    if (!rc)
        rc = weir_linear_apply_exact(on->jamba, &bind->head,
                                     on->jamba->work.normed, c->n_hidden, n,
                                     on->beside.out, c->n_vocab, step->err);
    if (!rc)
        send(step, on->logits, on->beside.out, n, c->n_vocab);
    weir_trace_part("device", -1);
    return rc;
}
