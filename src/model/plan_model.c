/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vectors of a model (norms, biases, A, scales) are read when it is opened
 * and kept as f32; the file has them as one row each.  What passes ask for is
 * the matrices.
 */
#include "model/plan_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/bind.h"
#include "model/device.h"
#include "model/guess.h"
#include "kernels/levels.h"
#include "model/wait.h"
#include "offload/codec.h"
#include "offload/index.h"
#include "offload/tiling.h"

struct describer {
    const struct weir_file *file;
    const struct weir_config *config;
    struct weir_plan_model *model;
    struct weir_plan_unit *units; /* of model */
    struct weir_err *err;
};

const char *weir_plan_part_name(enum weir_plan_part part)
{
    static const char *const names[] = {
        "embedding", "mamba", "attention", "mlp", "router", "experts", "head"};

    return part < WEIR_N_PARTS ? names[part] : "unknown";
}

static int is_vector(const struct weir_tensor *tensor)
{
    return tensor->rows == 1;
}

static void add_matrix(const struct weir_file *file,
                       const struct weir_tensor *tensor,
                       struct weir_plan_unit *unit)
{
    uint64_t n = weir_tiling_n_tiles(tensor);
    struct weir_tile_record tile;

    for (uint64_t i = 0; i < n; i++) {
        weir_file_tile(file, tensor->first_tile + i, &tile);
        unit->stored_bytes += tile.stored_bytes;
        unit->unpacked_bytes[tile.codec] += weir_tiling_tile_bytes(tensor, i);
    }
    unit->flop += 2 * (double)tensor->rows * (double)tensor->cols;
}

/* A layer, the head behind them, or the embedding with the first */
static unsigned stage_of(const struct describer *describer, const char *name)
{
    static const char layers[] = "layers.";

    if (!strcmp(name, "head"))
        return describer->config->n_layers;
    return strncmp(name, layers, sizeof(layers) - 1)
               ? 0
               : (unsigned)strtoul(name + sizeof(layers) - 1, NULL, 10);
}

/* The unit called `name` as one of `part`; NULL, with an error, without one */
static struct weir_plan_unit *describe(const struct describer *describer,
                                       const char *name,
                                       enum weir_plan_part part)
{
    const struct weir_file *file = describer->file;
    uint32_t number = weir_file_find_unit(file, name);
    const struct weir_tensor *tensor;
    struct weir_placement_unit placed;
    struct weir_plan_unit *unit;

    if (number == UINT32_MAX) {
        weir_err_set(describer->err, WEIR_EFORMAT,
                     "%s: unit %s is missing; pack the model again", file->path,
                     name);
        return NULL;
    }
    unit = &describer->units[number];
    memset(unit, 0, sizeof(*unit));
    unit->class = part;
    unit->share = 1;
    unit->stage = stage_of(describer, name);
    weir_placement_describe(file, &file->units[number], &placed);
    unit->held_bytes = placed.n_bytes;
    unit->kept_bytes = placed.unpacked_bytes;
    tensor = &file->tensors[file->units[number].first_tensor];
    for (uint32_t i = 0; i < file->units[number].n_tensors; i++, tensor++)
        if (!is_vector(tensor))
            add_matrix(file, tensor, unit);
    return unit;
}

/* Stored bytes that hold a row of a unit's one matrix, on average */
static uint64_t row_bytes(const struct describer *describer,
                          const struct weir_plan_unit *unit)
{
    const struct weir_unit *rows =
        &describer->file->units[unit - describer->units];
    uint64_t n_groups =
        weir_tiling_n_groups(&describer->file->tensors[rows->first_tensor]);

    return (unit->stored_bytes + n_groups - 1) / n_groups;
}

/* A token wants one row of the embedding; a tied one is the head as well. */
static int describe_ends(const struct describer *describer)
{
    struct weir_plan_unit *embed =
        describe(describer, "embed", WEIR_PART_EMBEDDING);
    struct weir_plan_unit *head = describe(describer, "head", WEIR_PART_HEAD);

    if (!embed || !head)
        return WEIR_EFORMAT;
    head->kind = WEIR_PLAN_HEAD;
    if (describer->config->tied) {
        embed->kind = WEIR_PLAN_HEAD;
        return 0;
    }
    embed->kind = WEIR_PLAN_ROWS;
    embed->row_bytes = row_bytes(describer, embed);
    embed->flop = 0;
    return 0;
}

static int describe_mixer(const struct describer *describer, uint32_t layer)
{
    const struct weir_config *c = describer->config;
    int attention = weir_config_is_attention(c, layer);
    struct weir_plan_unit *unit;
    char name[64];
    double scan;

    snprintf(name, sizeof(name), "layers.%u.mixer", layer);
    unit = describe(describer, name,
                    attention ? WEIR_PART_ATTENTION : WEIR_PART_MAMBA);
    if (!unit)
        return WEIR_EFORMAT;
    unit->prompt_flop = 2 * unit->flop; /* activations as two terms of bf16 */
    if (!attention) {
        scan = (double)c->n_inner * (7.0 * c->n_state + 2.0 * c->d_conv);
        unit->flop += scan;
        unit->prompt_flop += scan;
    }
    return 0;
}

static int describe_dense(const struct describer *describer, uint32_t layer)
{
    char name[64];

    snprintf(name, sizeof(name), "layers.%u.mlp", layer);
    return describe(describer, name, WEIR_PART_MLP) ? 0 : WEIR_EFORMAT;
}

static int describe_moe(const struct describer *describer, uint32_t layer,
                        unsigned group)
{
    const struct weir_config *c = describer->config;
    struct weir_plan_unit *unit;
    char name[64];

    snprintf(name, sizeof(name), "layers.%u.router", layer);
    if (!describe(describer, name, WEIR_PART_ROUTER))
        return WEIR_EFORMAT;
    for (uint32_t e = 0; e < c->n_experts; e++) {
        snprintf(name, sizeof(name), "layers.%u.experts.%u", layer, e);
        unit = describe(describer, name, WEIR_PART_EXPERTS);
        if (!unit)
            return WEIR_EFORMAT;
        unit->kind = WEIR_PLAN_EXPERT;
        unit->group = group;
        unit->share = (double)c->n_top / c->n_experts;
    }
    return 0;
}

static int describe_units(const struct describer *describer)
{
    const struct weir_config *config = describer->config;
    unsigned n_groups = 0;
    int rc = describe_ends(describer);

    for (uint32_t i = 0; i < config->n_layers && !rc; i++) {
        rc = describe_mixer(describer, i);
        if (!rc)
            rc = weir_config_is_moe(config, i)
                     ? describe_moe(describer, i, n_groups++)
                     : describe_dense(describer, i);
    }
    return rc;
}

/* What weir_file_open(), weir_residency_new() and weir_bind_init() keep */
static uint64_t kept_bytes(const struct describer *describer)
{
    const struct weir_file *file = describer->file;
    uint64_t sum =
        weir_index_bytes(file) + file->n_tiles +
        file->n_tensors * (sizeof(*file->tensors) + sizeof(*file->by_name)) +
        file->n_units * (sizeof(*file->units) + sizeof(struct weir_bind_mlp)) +
        describer->config->n_layers * sizeof(struct weir_bind_layer);

    for (uint32_t i = 0; i < file->n_tensors; i++)
        if (is_vector(&file->tensors[i]))
            sum += file->tensors[i].cols * sizeof(float);
    return sum;
}

/* As the level of this CPU works; a level that is not one shows at opening. */
static uint64_t work_bytes(const struct describer *describer,
                           unsigned n_threads)
{
    const struct weir_file *file = describer->file;
    struct weir_work_sizes sizes = {
        .n_workers = n_threads,
        .tile_bytes = file->max_tile_bytes + weir_decode_workspace_bytes(),
    };
    struct weir_kernels kernels;
    struct weir_err err;

    if (weir_kernels_select(&kernels, &err))
        weir_kernels_at(WEIR_LEVEL_REF, &kernels);
    for (uint32_t i = 0; i < file->n_tensors; i++) {
        const struct weir_tensor *tensor = &file->tensors[i];

        weir_work_count_tensor(&sizes, &kernels, tensor);
        if (!is_vector(tensor) && tensor->tile_rows > sizes.max_tile_rows)
            sizes.max_tile_rows = tensor->tile_rows;
    }
    return weir_work_bytes(describer->config, &sizes);
}

static void describe_memory(const struct describer *describer,
                            enum weir_dtype kv_dtype, unsigned n_threads)
{
    const struct weir_config *c = describer->config;
    struct weir_plan_model *model = describer->model;
    uint64_t n_attention = 0;

    for (uint32_t i = 0; i < c->n_layers; i++)
        n_attention += weir_config_is_attention(c, i) != 0;
    model->file_bytes = weir_file_bytes(describer->file);
    model->kept_bytes = kept_bytes(describer);
    model->work_bytes = work_bytes(describer, n_threads);
    model->state_bytes = (c->n_layers - n_attention) * c->n_inner *
                         (c->d_conv - 1ull + c->n_state) * sizeof(float);
    model->kv_bytes = n_attention * 2 * c->n_kv_heads * c->head_dim *
                      weir_dtype_bytes(kv_dtype);
    model->wait_bytes = weir_work_span_bytes(c) + weir_work_block_bytes(c);
    model->note_bytes = weir_work_span_bytes(c);
    weir_wait_describe(c, &model->scratch);
    model->seen_flop = 4.0 * c->head_dim * c->n_heads * (double)n_attention;
    model->chunk_tok = WEIR_CHUNK_TOK;
    model->step_tok = WEIR_DEVICE_STEP_TOK;
    model->beside_tok = WEIR_DEVICE_BESIDE_TOK;
    model->n_top = c->n_top;
    model->guess_tok = WEIR_GUESS_TOK;
}

int weir_plan_model_init(struct weir_plan_model *model,
                         const struct weir_file *file,
                         const struct weir_config *config,
                         enum weir_dtype kv_dtype, unsigned n_threads,
                         struct weir_err *err)
{
    struct describer describer = {
        .file = file, .config = config, .model = model, .err = err};

    memset(model, 0, sizeof(*model));
    describer.units = calloc(file->n_units + 1u, sizeof(*describer.units));
    if (!describer.units)
        return weir_err_nomem(err, file->n_units * sizeof(*describer.units),
                              "a plan");
    model->units = describer.units;
    model->n_units = file->n_units;
    describe_memory(&describer, kv_dtype, n_threads);
    return describe_units(&describer);
}

void weir_plan_model_fini(struct weir_plan_model *model)
{
    free((void *)model->units);
    memset(model, 0, sizeof(*model));
}
