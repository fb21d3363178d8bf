/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/tally.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/device.h"

static void add_unit(struct weir_tally *tally,
                     const struct weir_plan_unit *unit)
{
    switch (unit->kind) {
    case WEIR_PLAN_TRUNK:
        tally->trunk_bytes += (double)unit->stored_bytes;
        tally->trunk_flop += unit->flop;
        break;
    case WEIR_PLAN_HEAD:
        tally->head_bytes += (double)unit->stored_bytes;
        tally->head_flop += unit->flop;
        break;
    case WEIR_PLAN_EXPERT:
        tally->expert_flop += unit->flop * unit->share;
        break;
    case WEIR_PLAN_ROWS:
        tally->row_bytes += (double)unit->row_bytes;
        break;
    }
}

int weir_tally_init(struct weir_tally *tally, const struct weir_jamba *jamba,
                    enum weir_dtype kv_dtype, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    size_t n = (size_t)config->n_layers * config->n_experts;
    int rc;

    memset(tally, 0, sizeof(*tally));
    tally->jamba = jamba;
    tally->chosen = calloc(n, sizeof(*tally->chosen));
    if (!tally->chosen)
        return weir_err_nomem(err, n, "a tally");
    rc = weir_plan_model_init(&tally->model, jamba->file, config, kv_dtype,
                              weir_pool_n_threads(jamba->pool), err);
    for (uint32_t i = 0; i < tally->model.n_units && !rc; i++)
        add_unit(tally, &tally->model.units[i]);
    return rc;
}

void weir_tally_fini(struct weir_tally *tally)
{
    if (tally->jamba)
        weir_plan_model_fini(&tally->model);
    free(tally->chosen);
    memset(tally, 0, sizeof(*tally));
}

static int mark_chosen(void *ctx, enum weir_view view, uint32_t layer,
                       const float *values, size_t n_tok, size_t width,
                       struct weir_err *err)
{
    struct weir_tally *tally = ctx;
    uint32_t expert[WEIR_MAX_EXPERTS], k = tally->jamba->config.n_top;
    float prob[WEIR_MAX_EXPERTS];

    (void)view;
    (void)err;
    for (size_t t = 0; t < n_tok; t++) {
        tally->jamba->kernels.route(values + t * width, width, 1, width, k,
                                    expert, prob);
        for (uint32_t i = 0; i < k; i++)
            tally->chosen[layer * width + expert[i]] = 1;
    }
    return 0;
}

struct weir_observer weir_tally_observer(struct weir_tally *tally)
{
    return (struct weir_observer){
        .views = tally->jamba->on ? 0 : 1u << WEIR_VIEW_ROUTER,
        .see = mark_chosen,
        .ctx = tally};
}

void weir_tally_add(struct weir_tally *tally, size_t n_past, size_t n_tok)
{
    double past = (double)n_past, n = (double)n_tok;

    tally->bytes += 2 * (double)tally->model.state_bytes +
                    (double)tally->model.kv_bytes * (past + 2 * n) +
                    tally->row_bytes * n;
    tally->flop += n * (tally->trunk_flop + tally->expert_flop) +
                   tally->head_flop +
                   tally->model.seen_flop * n * (past + (n + 1) / 2);
    tally->n_pass++;
    tally->n_tok += n;
}

/* A share of it; returns its bytes */
static double use(struct weir_tally *tally, uint32_t unit, double share)
{
    const struct weir_on_device *on = tally->jamba->on;
    int place =
        on && on->places[unit] == WEIR_PINNED ? WEIR_IN_DEVICE : WEIR_IN_MEMORY;

    double n_bytes = share * (double)tally->model.units[unit].stored_bytes;

    tally->used_bytes[place] += n_bytes;
    return n_bytes;
}

static void use_trunk(struct weir_tally *tally)
{
    for (uint32_t i = 0; i < tally->model.n_units; i++)
        if (tally->model.units[i].kind == WEIR_PLAN_TRUNK ||
            tally->model.units[i].kind == WEIR_PLAN_HEAD)
            use(tally, i, 1);
}

/* Of a layer's expert */
static double share_of(const struct weir_tally *tally, uint32_t unit,
                       size_t expert)
{
    if (tally->jamba->on)
        return 1 - pow(1 - tally->model.units[unit].share, tally->n_tok);
    return tally->chosen[expert];
}

static double use_chosen(struct weir_tally *tally)
{
    const struct weir_config *config = &tally->jamba->config;
    const struct weir_bind_layer *layers = tally->jamba->bind.layers;
    uint32_t n = config->n_experts;
    double sum = 0;

    for (uint32_t i = 0; i < config->n_layers; i++)
        for (uint32_t e = 0; weir_config_is_moe(config, i) && e < n; e++) {
            uint32_t unit = layers[i].mlps[e].unit;

            sum += use(tally, unit, share_of(tally, unit, i * (size_t)n + e));
        }
    return sum;
}

void weir_tally_end_pass(struct weir_tally *tally)
{
    const struct weir_config *config = &tally->jamba->config;

    if (!tally->n_pass)
        return;
    use_trunk(tally);
    tally->bytes += tally->trunk_bytes + tally->head_bytes + use_chosen(tally);
    memset(tally->chosen, 0, (size_t)config->n_layers * config->n_experts);
    tally->n_pass = 0;
    tally->n_tok = 0;
    tally->n_passes++;
}
