/* SPDX-License-Identifier: Apache-2.0 */
#include "model/cost.h"

#include "offload/tiling.h"

static uint64_t stored_bytes(const struct weir_file *file, uint64_t first,
                             uint64_t n)
{
    struct weir_tile_record tile;
    uint64_t sum = 0;

    for (uint64_t i = first; i < first + n; i++) {
        weir_file_tile(file, i, &tile);
        sum += tile.stored_bytes;
    }
    return sum;
}

static uint64_t tensor_bytes(const struct weir_file *file, uint32_t number)
{
    const struct weir_tensor *tensor = &file->tensors[number];

    return stored_bytes(file, tensor->first_tile, weir_tiling_n_tiles(tensor));
}

static uint64_t unit_bytes(const struct weir_file *file, uint32_t number)
{
    const struct weir_unit *unit = &file->units[number];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < unit->n_tensors; i++)
        sum += tensor_bytes(file, unit->first_tensor + i);
    return sum;
}

/* The tiles that hold the rows of some ids */
static uint64_t rows_bytes(const struct weir_file *file, uint32_t number,
                           const int32_t *ids, size_t n_ids)
{
    const struct weir_tensor *tensor = &file->tensors[number];
    uint64_t sum = 0, row;
    uint32_t rows;
    size_t i;

    for (uint64_t g = 0; g < weir_tiling_n_groups(tensor); g++) {
        weir_tiling_group(tensor, g, &row, &rows);
        for (i = 0; i < n_ids && (uint64_t)ids[i] - row >= rows; i++)
            ;
        if (i < n_ids)
            sum +=
                stored_bytes(file, tensor->first_tile + g * tensor->col_blocks,
                             tensor->col_blocks);
    }
    return sum;
}

static uint64_t flop_of(const struct weir_jamba *jamba,
                        const struct weir_linear *linear)
{
    const struct weir_tensor *tensor = &jamba->file->tensors[linear->tensor];

    return 2 * tensor->rows * tensor->cols;
}

static uint64_t mlp_flop(const struct weir_jamba *jamba,
                         const struct weir_bind_mlp *mlp)
{
    return flop_of(jamba, &mlp->gate) + flop_of(jamba, &mlp->up) +
           flop_of(jamba, &mlp->down);
}

static void add_attention(struct weir_cost *cost,
                          const struct weir_jamba *jamba,
                          const struct weir_bind_attention *layer,
                          const struct weir_cost_pass *pass)
{
    const struct weir_config *config = &jamba->config;
    uint64_t n = pass->n_tok, hd = config->head_dim;
    uint64_t row = 2 * hd * config->n_kv_heads; /* K and V of a position */

    cost->kv_bytes += pass->n_sequences * row *
                      weir_dtype_bytes(pass->kv_dtype) * (pass->n_past + 2 * n);
    cost->flop += pass->n_sequences * n *
                  (flop_of(jamba, &layer->q) + flop_of(jamba, &layer->k) +
                   flop_of(jamba, &layer->v) + flop_of(jamba, &layer->o));
    cost->flop += pass->n_sequences * 4 * hd * config->n_heads *
                  (n * pass->n_past + n * (n + 1) / 2);
}

static void add_mamba(struct weir_cost *cost, const struct weir_jamba *jamba,
                      const struct weir_bind_mamba *layer,
                      const struct weir_cost_pass *pass)
{
    const struct weir_config *config = &jamba->config;
    uint64_t inner = config->n_inner, n_state = config->n_state;
    uint64_t n = pass->n_sequences * pass->n_tok;

    cost->state_bytes += pass->n_sequences * 2 * inner *
                         (config->d_conv - 1 + n_state) * sizeof(float);
    cost->flop +=
        n *
        (flop_of(jamba, &layer->in_proj) + flop_of(jamba, &layer->x_proj) +
         flop_of(jamba, &layer->dt_proj) + flop_of(jamba, &layer->out_proj));
    cost->flop += n * inner * (7 * n_state + 2 * config->d_conv);
}

static void add_experts(struct weir_cost *cost, const struct weir_jamba *jamba,
                        const struct weir_bind_layer *layer,
                        const uint8_t *chosen, uint64_t n)
{
    const struct weir_config *config = &jamba->config;

    cost->flop += n * (flop_of(jamba, &layer->router) +
                       config->n_top * mlp_flop(jamba, &layer->mlps[0]));
    for (uint32_t e = 0; e < config->n_experts; e++) {
        if (!chosen[e])
            continue;
        cost->weight_bytes += unit_bytes(jamba->file, layer->mlps[e].unit);
        cost->n_experts++;
    }
}

static void add_layer(struct weir_cost *cost, const struct weir_jamba *jamba,
                      uint32_t i, const struct weir_cost_pass *pass)
{
    const struct weir_config *config = &jamba->config;
    const struct weir_bind_layer *layer = &jamba->bind.layers[i];
    uint64_t n = pass->n_sequences * pass->n_tok;

    cost->weight_bytes += unit_bytes(jamba->file, layer->mixer_unit) +
                          unit_bytes(jamba->file, layer->ff_unit);
    if (weir_config_is_attention(config, i))
        add_attention(cost, jamba, &layer->attention, pass);
    else
        add_mamba(cost, jamba, &layer->mamba, pass);
    if (weir_config_is_moe(config, i))
        add_experts(cost, jamba, layer,
                    pass->chosen + (size_t)i * config->n_experts, n);
    else
        cost->flop += n * mlp_flop(jamba, &layer->mlps[0]);
}

void weir_cost_add(struct weir_cost *cost, const struct weir_jamba *jamba,
                   const struct weir_cost_pass *pass)
{
    const struct weir_bind *bind = &jamba->bind;

    cost->weight_bytes += bind->head.tensor == bind->embed
                              ? tensor_bytes(jamba->file, bind->embed)
                              : rows_bytes(jamba->file, bind->embed, pass->ids,
                                           pass->n_sequences * pass->n_tok);
    for (uint32_t i = 0; i < jamba->config.n_layers; i++)
        add_layer(cost, jamba, i, pass);
    cost->weight_bytes += unit_bytes(jamba->file, bind->head_unit);
    cost->flop += pass->n_sequences * flop_of(jamba, &bind->head);
}
