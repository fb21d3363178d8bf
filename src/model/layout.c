/* SPDX-License-Identifier: Apache-2.0 */
#include "model/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Widths that shapes are made of. */
enum width {
    END,
    ONE,
    VOCAB,
    HIDDEN,
    INTER,
    QUERY,
    KEYS,
    INNER,
    INNER2,
    PROJ,
    RANK,
    STATE,
    CONV,
    EXPERTS,
    N_WIDTHS
};

/* When a tensor is there at all. */
enum presence { ALWAYS, IF_CONV_BIAS, IF_PROJ_BIAS, IF_UNTIED };

struct entry {
    const char *name; /* behind "model.layers.N." */
    enum width shape[4];
    enum weir_split split;
    enum presence presence;
};

static const struct entry mamba_mixer[] = {
    {"input_layernorm.weight", {HIDDEN}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.in_proj.weight", {INNER2, HIDDEN}, WEIR_SPLIT_HALVES, ALWAYS},
    {"mamba.in_proj.bias", {INNER2}, WEIR_SPLIT_VECTOR, IF_PROJ_BIAS},
    {"mamba.conv1d.weight", {INNER, ONE, CONV}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.conv1d.bias", {INNER}, WEIR_SPLIT_VECTOR, IF_CONV_BIAS},
    {"mamba.x_proj.weight", {PROJ, INNER}, WEIR_SPLIT_COLS, ALWAYS},
    {"mamba.dt_layernorm.weight", {RANK}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.b_layernorm.weight", {STATE}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.c_layernorm.weight", {STATE}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.dt_proj.weight", {INNER, RANK}, WEIR_SPLIT_ROWS, ALWAYS},
    {"mamba.dt_proj.bias", {INNER}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.A_log", {INNER, STATE}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.D", {INNER}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"mamba.out_proj.weight", {HIDDEN, INNER}, WEIR_SPLIT_COLS, ALWAYS},
    {"mamba.out_proj.bias", {HIDDEN}, WEIR_SPLIT_VECTOR, IF_PROJ_BIAS},
    {0},
};

static const struct entry attention_mixer[] = {
    {"input_layernorm.weight", {HIDDEN}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"self_attn.q_proj.weight", {QUERY, HIDDEN}, WEIR_SPLIT_ROWS, ALWAYS},
    {"self_attn.k_proj.weight", {KEYS, HIDDEN}, WEIR_SPLIT_ROWS, ALWAYS},
    {"self_attn.v_proj.weight", {KEYS, HIDDEN}, WEIR_SPLIT_ROWS, ALWAYS},
    {"self_attn.o_proj.weight", {HIDDEN, QUERY}, WEIR_SPLIT_COLS, ALWAYS},
    {0},
};

static const struct entry ff_norm[] = {
    {"pre_ff_layernorm.weight", {HIDDEN}, WEIR_SPLIT_VECTOR, ALWAYS},
    {0},
};

static const struct entry router[] = {
    {"feed_forward.router.weight", {EXPERTS, HIDDEN}, WEIR_SPLIT_NONE, ALWAYS},
    {0},
};

static const struct entry embedding[] = {
    {"model.embed_tokens.weight", {VOCAB, HIDDEN}, WEIR_SPLIT_ROWS, ALWAYS},
    {0},
};

static const struct entry head[] = {
    {"model.final_layernorm.weight", {HIDDEN}, WEIR_SPLIT_VECTOR, ALWAYS},
    {"lm_head.weight", {VOCAB, HIDDEN}, WEIR_SPLIT_ROWS, IF_UNTIED},
    {0},
};

/* The three matrices of an expert or a dense MLP, in order of use. */
static const struct {
    const char *name;
    enum width rows, cols;
    enum weir_split split;
    const char *fused;   /* the tensor of all experts that holds it */
    unsigned fused_rows; /* rows of it for each expert, in units of `rows` */
    unsigned fused_at;   /* where among them its own begin */
} mlp[] = {
    {"gate_proj", INTER, HIDDEN, WEIR_SPLIT_ROWS, "gate_up_proj", 2, 0},
    {"up_proj", INTER, HIDDEN, WEIR_SPLIT_ROWS, "gate_up_proj", 2, 1},
    {"down_proj", HIDDEN, INTER, WEIR_SPLIT_COLS, "down_proj", 1, 0},
};

#define N_MLP (sizeof(mlp) / sizeof(mlp[0]))

struct layer_out {
    struct weir_layout *layout;
    const struct weir_config *config;
    const struct weir_checkpoint *checkpoint;
    uint64_t widths[N_WIDTHS];
    uint8_t *used; /* one for each tensor of the checkpoint */
    struct weir_err *err;
};

static void set_widths(struct layer_out *out, const struct weir_config *c)
{
    out->widths[ONE] = 1;
    out->widths[VOCAB] = c->n_vocab;
    out->widths[HIDDEN] = c->n_hidden;
    out->widths[INTER] = c->n_inter;
    out->widths[QUERY] = (uint64_t)c->n_heads * c->head_dim;
    out->widths[KEYS] = (uint64_t)c->n_kv_heads * c->head_dim;
    out->widths[INNER] = c->n_inner;
    out->widths[INNER2] = 2ull * c->n_inner;
    out->widths[PROJ] = c->dt_rank + 2ull * c->n_state;
    out->widths[RANK] = c->dt_rank;
    out->widths[STATE] = c->n_state;
    out->widths[CONV] = c->d_conv;
    out->widths[EXPERTS] = c->n_experts;
}

static int is_present(const struct weir_config *c, enum presence presence)
{
    switch (presence) {
    case IF_CONV_BIAS:
        return c->conv_bias;
    case IF_PROJ_BIAS:
        return c->proj_bias;
    case IF_UNTIED:
        return !c->tied;
    default:
        return 1;
    }
}

/* Room for one more of `size` bytes behind `n`; the place, or NULL. */
static void *grow(void **array, uint32_t n, uint32_t *room, size_t size)
{
    if (n == *room) {
        uint32_t more = *room ? 2 * *room : 256;
        void *moved = realloc(*array, more * size);

        if (!moved)
            return NULL;
        *array = moved;
        *room = more;
    }
    return memset((char *)*array + n * size, 0, size);
}

static int add_unit(struct layer_out *out, const char *fmt, uint32_t layer,
                    uint32_t expert)
{
    struct weir_layout *layout = out->layout;
    struct weir_pack_unit *unit = grow((void **)&layout->units, layout->n_units,
                                       &layout->units_room, sizeof(*unit));

    if (!unit)
        return weir_err_nomem(out->err, sizeof(*unit), "the layout");
    snprintf(unit->name, sizeof(unit->name), fmt, layer, expert);
    unit->first_tensor = layout->n_tensors;
    layout->n_units++;
    return 0;
}

/* A tensor at the end of the newest unit, its name and shape still empty. */
static struct weir_pack_tensor *add_tensor(struct layer_out *out)
{
    struct weir_layout *layout = out->layout;
    struct weir_pack_tensor *tensor =
        grow((void **)&layout->tensors, layout->n_tensors,
             &layout->tensors_room, sizeof(*tensor));

    if (!tensor) {
        weir_err_nomem(out->err, sizeof(*tensor), "the layout");
        return NULL;
    }
    layout->n_tensors++;
    layout->units[layout->n_units - 1].n_tensors++;
    return tensor;
}

/* Finds `name` in the checkpoint, with that shape and a dtype we read.  Without
 * a checkpoint the tensor, the newest of the layout, is its own source. */
static int find_source(struct layer_out *out, const char *name,
                       const uint64_t *shape, unsigned n_dims,
                       struct weir_pack_tensor *tensor)
{
    const struct weir_source *source;
    const char *path;
    char is[128], wanted[128];
    int64_t number;

    if (!out->checkpoint) {
        tensor->source = out->layout->n_tensors - 1;
        tensor->src_dtype = tensor->dtype = WEIR_BF16;
        return 0;
    }
    number = weir_checkpoint_find(out->checkpoint, name);
    if (number < 0)
        return weir_err_set(out->err, WEIR_EFORMAT,
                            "%s: the checkpoint has no such tensor, which "
                            "config.json calls for; fetch the folder again",
                            name);
    source = &out->checkpoint->tensors[number];
    path = out->checkpoint->files[source->file].path;
    if (source->n_dims != n_dims ||
        memcmp(source->shape, shape, n_dims * sizeof(*shape))) {
        weir_tiling_print_shape(source->shape, source->n_dims, is, sizeof(is));
        weir_tiling_print_shape(shape, n_dims, wanted, sizeof(wanted));
        return weir_err_set(out->err, WEIR_EFORMAT,
                            "%s: %s has shape %s where config.json calls "
                            "for %s; config and checkpoint do not belong "
                            "together",
                            path, name, is, wanted);
    }
    if (source->dtype < 0)
        return weir_err_set(out->err, WEIR_ENOTSUP,
                            "%s: %s has dtype %s; weir packs BF16, F16 and "
                            "F32: fetch the full-precision checkpoint",
                            path, name, source->dtype_name);
    tensor->source = (uint32_t)number;
    tensor->src_dtype = tensor->dtype = (enum weir_dtype)source->dtype;
    out->used[number] = 1;
    return 0;
}

static int add_entry(struct layer_out *out, const struct entry *entry,
                     uint32_t layer)
{
    struct weir_pack_tensor *tensor = add_tensor(out);
    int is_layer = strncmp(entry->name, "model.", 6) &&
                   strncmp(entry->name, "lm_head.", 8);

    if (!tensor)
        return WEIR_ENOMEM;
    if (is_layer)
        snprintf(tensor->name, sizeof(tensor->name), "model.layers.%u.%s",
                 layer, entry->name);
    else
        snprintf(tensor->name, sizeof(tensor->name), "%s", entry->name);
    while (tensor->n_dims < 4 && entry->shape[tensor->n_dims] != END) {
        tensor->shape[tensor->n_dims] =
            out->widths[entry->shape[tensor->n_dims]];
        tensor->n_dims++;
    }
    tensor->split = entry->split;
    return find_source(out, tensor->name, tensor->shape, tensor->n_dims,
                       tensor);
}

static int add_entries(struct layer_out *out, const struct entry *entries,
                       uint32_t layer)
{
    int rc = 0;

    for (; entries->name && !rc; entries++)
        if (is_present(out->config, entries->presence))
            rc = add_entry(out, entries, layer);
    return rc;
}

/* ---- experts and dense MLPs ---- */

static int add_scales(struct layer_out *out, const char *prefix)
{
    struct weir_pack_tensor *tensor = add_tensor(out);

    if (!tensor)
        return WEIR_ENOMEM;
    snprintf(tensor->name, sizeof(tensor->name), "%sscales", prefix);
    tensor->src_dtype = tensor->dtype = WEIR_F32;
    tensor->n_dims = 1;
    for (size_t i = 0; i < N_MLP; i++)
        tensor->shape[0] += out->widths[mlp[i].rows];
    tensor->split = WEIR_SPLIT_VECTOR;
    tensor->is_scales = 1;
    return 0;
}

/* Part of the tensor of all experts: [n_experts][fused_rows * rows][cols]. */
static int find_fused(struct layer_out *out, uint32_t layer, uint32_t expert,
                      size_t m, struct weir_pack_tensor *tensor)
{
    uint64_t numel = tensor->shape[0] * tensor->shape[1];
    uint64_t shape[3] = {out->config->n_experts,
                         mlp[m].fused_rows * tensor->shape[0],
                         tensor->shape[1]};
    char name[WEIR_NAME_BYTES + 1];

    snprintf(name, sizeof(name), "model.layers.%u.feed_forward.experts.%s",
             layer, mlp[m].fused);
    tensor->source_first =
        ((uint64_t)expert * mlp[m].fused_rows + mlp[m].fused_at) * numel;
    return find_source(out, name, shape, 3, tensor);
}

static int is_fused(const struct layer_out *out, uint32_t layer)
{
    char name[WEIR_NAME_BYTES + 1];

    if (!out->checkpoint)
        return 0;
    snprintf(name, sizeof(name),
             "model.layers.%u.feed_forward.experts.gate_up_proj", layer);
    return weir_checkpoint_find(out->checkpoint, name) >= 0;
}

static int add_mlp(struct layer_out *out, const char *prefix, uint32_t layer,
                   uint32_t expert, int fused, int int8)
{
    struct weir_pack_tensor *tensor;
    int rc = int8 ? add_scales(out, prefix) : 0;

    for (size_t m = 0; m < N_MLP && !rc; m++) {
        tensor = add_tensor(out);
        if (!tensor)
            return WEIR_ENOMEM;
        snprintf(tensor->name, sizeof(tensor->name), "%s%s.weight", prefix,
                 mlp[m].name);
        tensor->n_dims = 2;
        tensor->shape[0] = out->widths[mlp[m].rows];
        tensor->shape[1] = out->widths[mlp[m].cols];
        tensor->split = mlp[m].split;
        if (fused)
            rc = find_fused(out, layer, expert, m, tensor);
        else
            rc = find_source(out, tensor->name, tensor->shape, 2, tensor);
        if (int8)
            tensor->dtype = WEIR_I8;
    }
    return rc;
}

static int add_experts(struct layer_out *out, uint32_t layer, int int8)
{
    char prefix[128];
    int fused = is_fused(out, layer);
    int rc = add_unit(out, "layers.%u.router", layer, 0);

    if (!rc)
        rc = add_entries(out, ff_norm, layer);
    if (!rc)
        rc = add_entries(out, router, layer);
    for (uint32_t e = 0; e < out->config->n_experts && !rc; e++) {
        snprintf(prefix, sizeof(prefix),
                 "model.layers.%u.feed_forward.experts.%u.", layer, e);
        rc = add_unit(out, "layers.%u.experts.%u", layer, e);
        if (!rc)
            rc = add_mlp(out, prefix, layer, e, fused, int8);
    }
    return rc;
}

static int add_dense(struct layer_out *out, uint32_t layer, int int8)
{
    char prefix[128];
    int rc = add_unit(out, "layers.%u.mlp", layer, 0);

    snprintf(prefix, sizeof(prefix), "model.layers.%u.feed_forward.", layer);
    if (!rc)
        rc = add_entries(out, ff_norm, layer);
    if (!rc)
        rc = add_mlp(out, prefix, layer, 0, 0, int8);
    return rc;
}

static int add_layer(struct layer_out *out, uint32_t layer,
                     const struct weir_quant *quant)
{
    int rc = add_unit(out, "layers.%u.mixer", layer, 0);

    if (rc)
        return rc;
    if (weir_config_is_attention(out->config, layer))
        rc = add_entries(out, attention_mixer, layer);
    else
        rc = add_entries(out, mamba_mixer, layer);
    if (rc)
        return rc;
    if (weir_config_is_moe(out->config, layer))
        return add_experts(out, layer, quant->experts_int8);
    return add_dense(out, layer, quant->experts_int8 && quant->dense_mlp_int8);
}

/* Tied weights make a separate output matrix a copy that nobody reads. */
static void forgive_tied_head(struct layer_out *out)
{
    int64_t number = weir_checkpoint_find(out->checkpoint, "lm_head.weight");

    if (out->config->tied && number >= 0)
        out->used[number] = 1;
}

static int refuse_unused(const struct layer_out *out)
{
    const struct weir_source *tensors = out->checkpoint->tensors;
    const struct weir_source_file *files = out->checkpoint->files;

    for (uint32_t i = 0; i < out->checkpoint->n_tensors; i++)
        if (!out->used[i])
            return weir_err_set(out->err, WEIR_ENOTSUP,
                                "%s: unexpected tensor %s: config.json does "
                                "not call for it, so this is another kind of "
                                "checkpoint",
                                files[tensors[i].file].path, tensors[i].name);
    return 0;
}

static int add_all(struct layer_out *out, const struct weir_quant *quant)
{
    int rc = add_unit(out, "embed", 0, 0);

    if (!rc)
        rc = add_entries(out, embedding, 0);
    for (uint32_t i = 0; i < out->config->n_layers && !rc; i++)
        rc = add_layer(out, i, quant);
    if (!rc)
        rc = add_unit(out, "head", 0, 0);
    if (!rc)
        rc = add_entries(out, head, 0);
    if (rc || !out->checkpoint)
        return rc;
    forgive_tied_head(out);
    return refuse_unused(out);
}

int weir_layout_init(struct weir_layout *layout,
                     const struct weir_config *config,
                     const struct weir_quant *quant,
                     const struct weir_checkpoint *checkpoint,
                     struct weir_err *err)
{
    struct layer_out out = {.layout = layout,
                            .config = config,
                            .checkpoint = checkpoint,
                            .err = err};
    uint32_t n_sources = checkpoint ? checkpoint->n_tensors : 0;
    int rc;

    memset(layout, 0, sizeof(*layout));
    set_widths(&out, config);
    out.used = calloc(n_sources + 1u, 1);
    if (!out.used)
        return weir_err_nomem(err, n_sources, "the layout");
    rc = add_all(&out, quant);
    free(out.used);
    if (rc)
        weir_layout_fini(layout);
    return rc;
}

void weir_layout_fini(struct weir_layout *layout)
{
    free(layout->tensors);
    free(layout->units);
    memset(layout, 0, sizeof(*layout));
}
