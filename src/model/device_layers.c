/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The layers of a Jamba model as operations of a device, each with the norm
 * that stands before it and the sum behind.
 */
#include <math.h>

#include "model/device_parts.h"
#include "offload/tiling.h"

static const struct weir_config *config_of(const struct weir_device_step *step)
{
    return &step->on->jamba->config;
}

/* ---- operands ---- */

const float *weir_device_vector(const struct weir_device_step *step,
                                const float *vector)
{
    const struct weir_on_device *on = step->on;

    return vector ? on->arena + (vector - on->jamba->bind.arena) : NULL;
}

static struct weir_matrix matrix_of(const struct weir_device_step *step,
                                    const struct weir_linear *linear)
{
    const struct weir_tensor *tensor =
        &step->on->jamba->file->tensors[linear->tensor];
    size_t row_bytes = weir_tiling_row_bytes(tensor);

    return (struct weir_matrix){
        .data = step->on->tensors[linear->tensor],
        .scale = weir_device_vector(step, linear->scale),
        .dtype = tensor->dtype,
        .rows = (uint32_t)tensor->rows,
        .cols = (uint32_t)tensor->cols,
        .row_parts = tensor->row_parts,
        .col_blocks = tensor->col_blocks,
        .tile_rows = tensor->tile_rows,
        .row_bytes = (uint32_t)row_bytes,
        .tile_stride = tensor->tile_rows * row_bytes,
    };
}

/* What is kept of the activations of a product (linear.h) */
static uint32_t terms_of(const struct weir_device_step *step,
                         enum weir_device_terms terms)
{
    return step->prompt ? terms : WEIR_DEVICE_EXACT;
}

/* Products of x [n_tok][ld_x], which is normalised when `norm` is given */
static struct weir_device_matmul product_of(const struct weir_device_step *step,
                                            const float *x, size_t ld_x,
                                            enum weir_device_terms terms)
{
    return (struct weir_device_matmul){.n_tok = step->n_tok,
                                       .terms = terms_of(step, terms),
                                       .x = x,
                                       .ld_x = ld_x,
                                       .eps = config_of(step)->rms_eps};
}

static void add_matrix(const struct weir_device_step *step,
                       struct weir_device_matmul *product,
                       const struct weir_linear *linear, float *y, size_t ld_y)
{
    product->to[product->n_mat].w = matrix_of(step, linear);
    product->to[product->n_mat].bias = weir_device_vector(step, linear->bias);
    product->to[product->n_mat].y = y;
    product->to[product->n_mat++].ld_y = ld_y;
}

static void multiply(const struct weir_device_step *step,
                     const struct weir_device_matmul *product)
{
    step->on->room.table->matmul(step->on->room.device, product);
}

/* hidden += linear x, or y = linear x */
static void apply(const struct weir_device_step *step,
                  const struct weir_linear *linear, const float *x, size_t ld_x,
                  float *y, size_t ld_y, enum weir_device_out out,
                  enum weir_device_terms terms)
{
    struct weir_device_matmul product = product_of(step, x, ld_x, terms);

    product.out = out;
    add_matrix(step, &product, linear, y, ld_y);
    multiply(step, &product);
}

/* Products of norm(hidden) */
static struct weir_device_matmul product_of_hidden(
    const struct weir_device_step *step, const float *norm,
    enum weir_device_terms terms)
{
    struct weir_device_matmul product =
        product_of(step, step->on->hidden, config_of(step)->n_hidden, terms);

    product.norm = weir_device_vector(step, norm);
    return product;
}

static struct weir_device_runs runs_of(const struct weir_device_step *step)
{
    return (struct weir_device_runs){step->on->told.runs, step->n_runs,
                                     step->max_tok, step->max_pos};
}

/* ---- layers ---- */

void weir_device_attend(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    size_t q = (size_t)c->n_heads * c->head_dim;
    const struct weir_device_attention attention = {
        .runs = runs_of(step),
        .n_heads = c->n_heads,
        .n_kv = c->n_kv_heads,
        .head_dim = c->head_dim,
        .kv_dtype = on->states.kv_dtype,
        .scale = 1.0f / sqrtf((float)c->head_dim),
        .q = on->q,
        .k = on->k,
        .v = on->v,
        .k_pool = on->layers[layer].k_pool,
        .v_pool = on->layers[layer].v_pool,
        .pages = on->states.at,
        .y = on->heads,
        .ld_q = q,
        .ld_kv = (size_t)c->n_kv_heads * c->head_dim,
        .ld_pages = on->states.ld_pages,
        .ld_y = q,
    };

    on->room.table->attention(on->room.device, &attention);
}

static void attention(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    size_t q = (size_t)c->n_heads * c->head_dim;
    size_t kv = (size_t)c->n_kv_heads * c->head_dim;
    struct weir_device_matmul product =
        product_of_hidden(step, bind->input_norm, WEIR_DEVICE_FINE);

    add_matrix(step, &product, &bind->attention.q, on->q, q);
    add_matrix(step, &product, &bind->attention.k, on->k, kv);
    add_matrix(step, &product, &bind->attention.v, on->v, kv);
    multiply(step, &product);
    weir_device_attend(step, layer);
    apply(step, &bind->attention.o, on->heads, q, on->hidden, c->n_hidden,
          WEIR_OUT_ADD, WEIR_DEVICE_FINE);
}

void weir_device_convolve(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_mamba *bind = &on->jamba->bind.layers[layer].mamba;
    const struct weir_device_conv conv = {
        .runs = runs_of(step),
        .n_ch = c->n_inner,
        .k = c->d_conv,
        .x = on->xz,
        .w = weir_device_vector(step, bind->conv_w),
        .bias = weir_device_vector(step, bind->conv_bias),
        .state = on->layers[layer].conv,
        .y = on->u,
        .ld_x = 2 * (size_t)c->n_inner,
        .ld_y = c->n_inner,
    };

    on->room.table->conv(on->room.device, &conv);
}

void weir_device_scan(const struct weir_device_step *step, uint32_t layer,
                      const struct weir_device_matmul *dt_of)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_mamba *bind = &on->jamba->bind.layers[layer].mamba;
    size_t inner = c->n_inner, ld_p = c->dt_rank + 2 * (size_t)c->n_state;
    const struct weir_device_scan scan = {
        .runs = runs_of(step),
        .n_ch = c->n_inner,
        .n_state = c->n_state,
        .u = on->u,
        .dt = on->dt,
        .dt_of = dt_of,
        .dt_bias = weir_device_vector(step, bind->dt_bias),
        .a = weir_device_vector(step, bind->a),
        .b = on->p + c->dt_rank,
        .c = on->p + c->dt_rank + c->n_state,
        .norm_b = weir_device_vector(step, bind->b_norm),
        .norm_c = weir_device_vector(step, bind->c_norm),
        .eps = c->rms_eps,
        .d = weir_device_vector(step, bind->d),
        .z = on->xz + inner,
        .state = on->layers[layer].scan,
        .y = on->u,
        .ld_u = inner,
        .ld_dt = inner,
        .ld_bc = ld_p,
        .ld_z = 2 * inner,
        .ld_y = inner,
    };

    on->room.table->scan(on->room.device, &scan);
}

static void mamba(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    size_t inner = c->n_inner, ld_p = c->dt_rank + 2 * (size_t)c->n_state;
    struct weir_device_matmul product =
        product_of_hidden(step, bind->input_norm, WEIR_DEVICE_FINE);

    add_matrix(step, &product, &bind->mamba.in_proj, on->xz, 2 * inner);
    multiply(step, &product);
    weir_device_convolve(step, layer);
    apply(step, &bind->mamba.x_proj, on->u, inner, on->p, ld_p, WEIR_OUT_STORE,
          WEIR_DEVICE_FINE);
    product = product_of(step, on->p, ld_p, WEIR_DEVICE_FINE);
    product.norm = weir_device_vector(step, bind->mamba.dt_norm);
    add_matrix(step, &product, &bind->mamba.dt_proj, on->dt, inner);
    weir_device_scan(step, layer, &product);
    apply(step, &bind->mamba.out_proj, on->u, inner, on->hidden, c->n_hidden,
          WEIR_OUT_ADD, WEIR_DEVICE_FINE);
}

void weir_device_mlp(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    struct weir_device_matmul product =
        product_of_hidden(step, bind->pre_ff_norm, WEIR_DEVICE_ROUNDED);

    product.out = WEIR_OUT_GATED;
    add_matrix(step, &product, &bind->mlps[0].gate, on->gated, c->n_inter);
    add_matrix(step, &product, &bind->mlps[0].up, NULL, 0);
    multiply(step, &product);
    apply(step, &bind->mlps[0].down, on->gated, c->n_inter, on->hidden,
          c->n_hidden, WEIR_OUT_ADD, WEIR_DEVICE_ROUNDED);
}

void weir_device_route(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    const struct weir_device_route route = {
        .n_tok = step->n_tok,
        .n_experts = c->n_experts,
        .n_top = c->n_top,
        .x = on->hidden,
        .ld_x = c->n_hidden,
        .norm = weir_device_vector(step, bind->pre_ff_norm),
        .eps = c->rms_eps,
        .w = matrix_of(step, &bind->router),
        .factor = on->factor,
        .logits = on->router,
        .to = on->routing,
    };

    on->room.table->route(on->room.device, &route);
}

void weir_device_experts(const struct weir_device_step *step, uint32_t layer,
                         const struct weir_device_some *some)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];
    const struct weir_device_experts experts = {
        .n_tok = step->n_tok,
        .n_experts = c->n_experts,
        .n_top = c->n_top,
        .from = some->from,
        .to = some->to,
        .in_order = some->in_order != 0,
        .terms = terms_of(step, WEIR_DEVICE_ROUNDED),
        .x = on->hidden,
        .ld_x = c->n_hidden,
        .norm = weir_device_vector(step, bind->pre_ff_norm),
        .factor = on->factor,
        .gate = matrix_of(step, &bind->mlps[0].gate),
        .down = matrix_of(step, &bind->mlps[0].down),
        .expert = some->table,
        .routing = on->routing,
        .y = some->y,
        .ld_y = c->n_hidden,
    };

    on->room.table->experts(on->room.device, &experts);
}

void weir_device_mixer(const struct weir_device_step *step, uint32_t layer)
{
    (weir_config_is_attention(config_of(step), layer) ? attention
                                                      : mamba)(step, layer);
}

void weir_device_embed(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    const struct weir_linear embed = {.tensor = on->jamba->bind.embed};
    const struct weir_matrix w = matrix_of(step, &embed);

    on->room.table->rows(on->room.device, &w, on->told.ids, step->n_tok,
                         on->hidden, config_of(step)->n_hidden);
}

void weir_device_score(const struct weir_device_step *step, const float *x,
                       uint32_t n)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    struct weir_device_matmul product =
        product_of(step, x, c->n_hidden, WEIR_DEVICE_EXACT);

    product.terms = WEIR_DEVICE_EXACT;
    product.n_tok = n;
    product.norm = weir_device_vector(step, on->jamba->bind.final_norm);
    add_matrix(step, &product, &on->jamba->bind.head, on->logits, c->n_vocab);
    multiply(step, &product);
}

void weir_device_choose(const struct weir_device_step *step, uint32_t first,
                        uint32_t n)
{
    const struct weir_on_device *on = step->on;
    size_t n_vocab = config_of(step)->n_vocab;

    on->room.table->choose(on->room.device, on->logits, n_vocab, n, n_vocab,
                           on->told.draws + first, on->next + first);
}
