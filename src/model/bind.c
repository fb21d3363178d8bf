/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The same walk over the names is taken twice.  The first time there is no
 * arena: tensors are found and checked, and the lengths of the vectors added
 * up.  The second time the vectors are read.  So a file that does not fit is
 * refused before anything is read.
 */
#include "model/bind.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "offload/tiling.h"

#define ARENA_ALIGN 16 /* floats: every vector starts on 64 bytes */
#define FLOATS      (1u << WEIR_F32 | 1u << WEIR_BF16 | 1u << WEIR_F16)

struct binder {
    struct weir_bind *bind;
    const struct weir_config *config;
    const struct weir_file *file;
    struct weir_residency *residency;
    char prefix[64]; /* of the names of tensors */
    char name[WEIR_NAME_BYTES + 1];
    size_t n_used; /* floats of the arena */
    void *scratch; /* for tiles */
    int rc;        /* of the first failure; what follows does nothing */
    struct weir_err *err;
};

/* Prefix and `name`, in binder->name until the next call */
static const char *full_name(struct binder *binder, const char *name)
{
    snprintf(binder->name, sizeof(binder->name), "%s%s", binder->prefix, name);
    return binder->name;
}

static uint32_t find_unit(struct binder *binder, const char *name)
{
    uint32_t unit = weir_file_find_unit(binder->file, name);

    if (unit == UINT32_MAX && !binder->rc)
        binder->rc =
            weir_err_set(binder->err, WEIR_EFORMAT,
                         "%s: unit %s is missing; pack the model again",
                         binder->file->path, name);
    return unit;
}

static const struct weir_tensor *tensor_of(const struct binder *binder,
                                           uint32_t number)
{
    return &binder->file->tensors[number];
}

static int refuse_shape(struct binder *binder, const struct weir_tensor *tensor,
                        const uint64_t *shape, unsigned n_dims)
{
    char is[96], wanted[96];

    weir_tiling_print_shape(tensor->shape, tensor->n_dims, is, sizeof(is));
    weir_tiling_print_shape(shape, n_dims, wanted, sizeof(wanted));
    return weir_err_set(binder->err, WEIR_EFORMAT,
                        "%s: tensor %s is %s, but its config.json calls for "
                        "%s; pack the model again",
                        binder->file->path, tensor->name, is, wanted);
}

/*
 * The tensor called prefix and `name`, of this shape, its type among the bits
 * of `types`.  WEIR_NO_TENSOR once something has failed.
 */
static uint32_t find_tensor(struct binder *binder, const char *name,
                            unsigned types, const uint64_t *shape,
                            unsigned n_dims)
{
    uint32_t number = weir_file_find(binder->file, full_name(binder, name));
    const struct weir_tensor *tensor;

    if (binder->rc)
        return WEIR_NO_TENSOR;
    if (number == WEIR_NO_TENSOR) {
        binder->rc = weir_err_set(
            binder->err, WEIR_EFORMAT,
            "%s: tensor %s is missing, which its config.json calls for; pack "
            "the model again from a complete folder",
            binder->file->path, binder->name);
        return WEIR_NO_TENSOR;
    }
    tensor = tensor_of(binder, number);
    if (tensor->n_dims != n_dims ||
        memcmp(tensor->shape, shape, n_dims * sizeof(*shape)))
        binder->rc = refuse_shape(binder, tensor, shape, n_dims);
    else if (!(types >> tensor->dtype & 1))
        binder->rc = weir_err_set(
            binder->err, WEIR_ENOTSUP,
            "%s: tensor %s is of type %s, which weir does not run there",
            binder->file->path, tensor->name, weir_dtype_name(tensor->dtype));
    return number;
}

/* Widens all of a tensor into `out`, row-major without padding. */
static int read_tensor(const struct binder *binder, uint32_t number, float *out)
{
    const struct weir_tensor *tensor = tensor_of(binder, number);
    size_t row_bytes = weir_tiling_row_bytes(tensor);
    struct weir_tile_span span;
    const void *data;
    int rc;

    for (uint64_t i = 0; i < weir_tiling_n_tiles(tensor); i++) {
        rc = weir_residency_tile(binder->residency, number, i, binder->scratch,
                                 &data, binder->err);
        if (rc)
            return rc;
        weir_tiling_span(tensor, i, &span);
        for (uint64_t r = 0; r < span.rows; r++)
            weir_dtype_widen(
                tensor->dtype, (const uint8_t *)data + r * row_bytes,
                out + (span.row + r) * tensor->cols + span.col, span.cols);
    }
    return 0;
}

/* Number of elements of a tensor, 0 once something has failed */
static size_t n_elements(const struct binder *binder, uint32_t number)
{
    const struct weir_tensor *tensor;

    if (binder->rc)
        return 0;
    tensor = tensor_of(binder, number);
    return tensor->rows * tensor->cols;
}

/* A tensor in the arena: counted the first time (NULL), read the second. */
static float *bind_values(struct binder *binder, uint32_t number)
{
    size_t at = binder->n_used, n = n_elements(binder, number);

    binder->n_used += (n + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
    if (binder->rc || !binder->bind->arena)
        return NULL;
    binder->rc = read_tensor(binder, number, binder->bind->arena + at);
    return binder->bind->arena + at;
}

static float *bind_vector(struct binder *binder, const char *name, uint64_t n)
{
    return bind_values(binder, find_tensor(binder, name, FLOATS, &n, 1));
}

static struct weir_linear bind_typed(struct binder *binder, const char *name,
                                     unsigned types, uint64_t rows,
                                     uint64_t cols)
{
    uint64_t shape[] = {rows, cols};
    struct weir_linear linear = {.tensor = WEIR_NO_TENSOR};
    uint32_t tile_rows;

    linear.tensor = find_tensor(binder, name, types, shape, 2);
    if (binder->rc)
        return linear;
    tile_rows = tensor_of(binder, linear.tensor)->tile_rows;
    if (tile_rows > binder->bind->max_tile_rows)
        binder->bind->max_tile_rows = tile_rows;
    return linear;
}

static struct weir_linear bind_matrix(struct binder *binder, const char *name,
                                      uint64_t rows, uint64_t cols)
{
    return bind_typed(binder, name, FLOATS, rows, cols);
}

/* The row scales of the int8 matrices of one MLP */
struct scales {
    uint32_t tensor; /* WEIR_NO_TENSOR: there are none */
    const float *values;
};

static struct scales bind_scales(struct binder *binder)
{
    struct scales scales = {.tensor = WEIR_NO_TENSOR};

    if (binder->rc)
        return scales;
    scales.tensor = weir_file_find(binder->file, full_name(binder, "scales"));
    if (scales.tensor == WEIR_NO_TENSOR)
        return scales;
    if (tensor_of(binder, scales.tensor)->dtype != WEIR_F32)
        binder->rc =
            weir_err_set(binder->err, WEIR_EFORMAT,
                         "%s: tensor %s is not of type f32, as scales must be",
                         binder->file->path, binder->name);
    scales.values = bind_values(binder, scales.tensor);
    return scales;
}

static int check_scales(const struct binder *binder,
                        const struct weir_tensor *tensor,
                        const struct scales *scales)
{
    if (scales->tensor == WEIR_NO_TENSOR ||
        tensor->scale_tensor != scales->tensor)
        return weir_err_set(binder->err, WEIR_EFORMAT,
                            "%s: tensor %s is int8, but its scales are not "
                            "beside it; pack the model again",
                            binder->file->path, tensor->name);
    if (tensor->scale_first + tensor->rows > n_elements(binder, scales->tensor))
        return weir_err_set(binder->err, WEIR_EFORMAT,
                            "%s: tensor %s has scales beyond the end of %s; "
                            "pack the model again",
                            binder->file->path, tensor->name,
                            tensor_of(binder, scales->tensor)->name);
    return 0;
}

/* A matrix of an MLP: int8 with scales, or like any other */
static struct weir_linear bind_scaled(struct binder *binder, const char *name,
                                      uint64_t rows, uint64_t cols,
                                      const struct scales *scales)
{
    struct weir_linear linear =
        bind_typed(binder, name, FLOATS | 1u << WEIR_I8, rows, cols);
    const struct weir_tensor *tensor;

    if (binder->rc)
        return linear;
    tensor = tensor_of(binder, linear.tensor);
    if (tensor->dtype != WEIR_I8)
        return linear;
    binder->rc = check_scales(binder, tensor, scales);
    if (scales->values)
        linear.scale = scales->values + tensor->scale_first;
    return linear;
}

static void bind_mlp(struct binder *binder, struct weir_bind_mlp *mlp)
{
    uint64_t hidden = binder->config->n_hidden, inter = binder->config->n_inter;
    struct scales scales = bind_scales(binder);

    mlp->gate = bind_scaled(binder, "gate_proj.weight", inter, hidden, &scales);
    mlp->up = bind_scaled(binder, "up_proj.weight", inter, hidden, &scales);
    mlp->down = bind_scaled(binder, "down_proj.weight", hidden, inter, &scales);
}

#define SET(text, ...) snprintf(text, sizeof(text), __VA_ARGS__)

static void bind_moe(struct binder *binder, uint32_t i,
                     struct weir_bind_layer *layer)
{
    const struct weir_config *config = binder->config;
    char unit[64];

    SET(unit, "layers.%u.router", i);
    layer->ff_unit = find_unit(binder, unit);
    layer->router = bind_matrix(binder, "feed_forward.router.weight",
                                config->n_experts, config->n_hidden);
    for (uint32_t e = 0; e < config->n_experts; e++) {
        SET(unit, "layers.%u.experts.%u", i, e);
        layer->mlps[e].unit = find_unit(binder, unit);
        SET(binder->prefix, "model.layers.%u.feed_forward.experts.%u.", i, e);
        bind_mlp(binder, &layer->mlps[e]);
    }
}

static void bind_dense(struct binder *binder, uint32_t i,
                       struct weir_bind_layer *layer)
{
    char unit[64];

    SET(unit, "layers.%u.mlp", i);
    layer->ff_unit = layer->mlps[0].unit = find_unit(binder, unit);
    SET(binder->prefix, "model.layers.%u.feed_forward.", i);
    bind_mlp(binder, &layer->mlps[0]);
}

static void bind_attention(struct binder *binder,
                           struct weir_bind_attention *attention)
{
    const struct weir_config *c = binder->config;
    uint64_t q = (uint64_t)c->n_heads * c->head_dim;
    uint64_t kv = (uint64_t)c->n_kv_heads * c->head_dim;

    attention->q =
        bind_matrix(binder, "self_attn.q_proj.weight", q, c->n_hidden);
    attention->k =
        bind_matrix(binder, "self_attn.k_proj.weight", kv, c->n_hidden);
    attention->v =
        bind_matrix(binder, "self_attn.v_proj.weight", kv, c->n_hidden);
    attention->o =
        bind_matrix(binder, "self_attn.o_proj.weight", c->n_hidden, q);
}

/* A = -exp(A_log), in place */
static const float *bind_a(struct binder *binder)
{
    uint64_t shape[] = {binder->config->n_inner, binder->config->n_state};
    uint32_t number = find_tensor(binder, "mamba.A_log", FLOATS, shape, 2);
    float *a = bind_values(binder, number);

    if (a)
        for (size_t i = 0; i < shape[0] * shape[1]; i++)
            a[i] = -expf(a[i]);
    return a;
}

static const float *bind_conv(struct binder *binder)
{
    uint64_t shape[] = {binder->config->n_inner, 1, binder->config->d_conv};

    return bind_values(
        binder, find_tensor(binder, "mamba.conv1d.weight", FLOATS, shape, 3));
}

static void bind_mamba(struct binder *binder, struct weir_bind_mamba *mamba)
{
    const struct weir_config *c = binder->config;
    uint64_t inner = c->n_inner, p = c->dt_rank + 2 * (uint64_t)c->n_state;

    mamba->in_proj =
        bind_matrix(binder, "mamba.in_proj.weight", 2 * inner, c->n_hidden);
    mamba->x_proj = bind_matrix(binder, "mamba.x_proj.weight", p, inner);
    mamba->dt_proj =
        bind_matrix(binder, "mamba.dt_proj.weight", inner, c->dt_rank);
    mamba->out_proj =
        bind_matrix(binder, "mamba.out_proj.weight", c->n_hidden, inner);
    if (c->proj_bias) {
        mamba->in_proj.bias =
            bind_vector(binder, "mamba.in_proj.bias", 2 * inner);
        mamba->out_proj.bias =
            bind_vector(binder, "mamba.out_proj.bias", c->n_hidden);
    }
    mamba->conv_w = bind_conv(binder);
    if (c->conv_bias)
        mamba->conv_bias = bind_vector(binder, "mamba.conv1d.bias", inner);
    mamba->dt_norm =
        bind_vector(binder, "mamba.dt_layernorm.weight", c->dt_rank);
    mamba->b_norm = bind_vector(binder, "mamba.b_layernorm.weight", c->n_state);
    mamba->c_norm = bind_vector(binder, "mamba.c_layernorm.weight", c->n_state);
    mamba->dt_bias = bind_vector(binder, "mamba.dt_proj.bias", inner);
    mamba->a = bind_a(binder);
    mamba->d = bind_vector(binder, "mamba.D", inner);
}

static void bind_layer(struct binder *binder, uint32_t i,
                       struct weir_bind_layer *layer)
{
    const struct weir_config *config = binder->config;
    char unit[64];

    SET(unit, "layers.%u.mixer", i);
    layer->mixer_unit = find_unit(binder, unit);
    SET(binder->prefix, "model.layers.%u.", i);
    layer->input_norm =
        bind_vector(binder, "input_layernorm.weight", config->n_hidden);
    layer->pre_ff_norm =
        bind_vector(binder, "pre_ff_layernorm.weight", config->n_hidden);
    if (weir_config_is_attention(config, i))
        bind_attention(binder, &layer->attention);
    else
        bind_mamba(binder, &layer->mamba);
    if (weir_config_is_moe(config, i))
        bind_moe(binder, i, layer);
    else
        bind_dense(binder, i, layer);
}

static int bind_all(struct binder *binder)
{
    const struct weir_config *config = binder->config;
    struct weir_bind *bind = binder->bind;
    const char *head =
        config->tied ? "model.embed_tokens.weight" : "lm_head.weight";

    binder->n_used = 0;
    binder->prefix[0] = '\0';
    bind->embed_unit = find_unit(binder, "embed");
    bind->head_unit = find_unit(binder, "head");
    bind->embed = bind_matrix(binder, "model.embed_tokens.weight",
                              config->n_vocab, config->n_hidden)
                      .tensor;
    bind->head = bind_matrix(binder, head, config->n_vocab, config->n_hidden);
    bind->final_norm =
        bind_vector(binder, "model.final_layernorm.weight", config->n_hidden);
    for (uint32_t i = 0; i < config->n_layers && !binder->rc; i++)
        bind_layer(binder, i, &bind->layers[i]);
    return binder->rc;
}

static int take_memory(struct binder *binder)
{
    const struct weir_config *config = binder->config;
    struct weir_bind *bind = binder->bind;
    size_t n_mlps = 0, at = 0;
    size_t scratch = weir_residency_scratch_bytes(binder->residency);

    for (uint32_t i = 0; i < config->n_layers; i++)
        n_mlps += weir_config_is_moe(config, i) ? config->n_experts : 1;
    bind->layers = calloc(config->n_layers, sizeof(*bind->layers));
    bind->mlps = calloc(n_mlps, sizeof(*bind->mlps));
    binder->scratch = aligned_alloc(64, scratch);
    if (!bind->layers || !bind->mlps || !binder->scratch)
        return weir_err_nomem(binder->err, scratch, "the tables of a model");
    weir_residency_scratch_init(binder->residency, binder->scratch);
    for (uint32_t i = 0; i < config->n_layers; i++) {
        bind->layers[i].mlps = bind->mlps + at;
        at += weir_config_is_moe(config, i) ? config->n_experts : 1;
    }
    return 0;
}

static int take_arena(struct binder *binder)
{
    size_t n_bytes = binder->n_used * sizeof(float);

    binder->bind->arena = aligned_alloc(64, n_bytes);
    binder->bind->n_floats = binder->n_used;
    return binder->bind->arena
               ? 0
               : weir_err_nomem(binder->err, n_bytes, "vectors of a model");
}

int weir_bind_init(struct weir_bind *bind, const struct weir_config *config,
                   const struct weir_file *file,
                   struct weir_residency *residency, struct weir_err *err)
{
    struct binder binder = {.bind = bind,
                            .config = config,
                            .file = file,
                            .residency = residency,
                            .err = err};
    int rc;

    memset(bind, 0, sizeof(*bind));
    rc = take_memory(&binder);
    if (!rc)
        rc = bind_all(&binder);
    if (!rc)
        rc = take_arena(&binder);
    if (!rc)
        rc = bind_all(&binder);
    free(binder.scratch);
    if (rc)
        weir_bind_fini(bind);
    return rc;
}

void weir_bind_fini(struct weir_bind *bind)
{
    free(bind->layers);
    free(bind->mlps);
    free(bind->arena);
    memset(bind, 0, sizeof(*bind));
}
