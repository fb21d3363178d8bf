/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The experts of a step when not all of them lie on the device.
 *
 * Tokens of prompts want all experts, and enough arithmetic of each that it
 * pays to bring those that do not stay: the next ones are on their way while
 * one is computed with.  Tokens that are decoded want a few experts once: then
 * those that do not stay are computed by the CPU, next to where they lie, while
 * the device does its own (or are brought as well, if it is to do all).
 *
 * Which expert is computed where follows from the placement alone, and sums are
 * in an order of their own: what has been brought before does not show.
 */
#include "model/device_parts.h"

#include <string.h>

#include "base/trace.h"
#include "model/layers.h"

/* So many choices for each expert: hardly one is left out. */
#define MANY 4

static int stays(const struct weir_on_device *on, uint32_t layer, uint32_t e)
{
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];

    return on->places[bind->mlps[e].unit] == WEIR_PINNED;
}

static size_t hidden_bytes(const struct weir_device_step *step)
{
    return step->n_tok * (size_t)step->on->jamba->config.n_hidden *
           sizeof(float);
}

void weir_device_add_sum(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    size_t hidden = on->jamba->config.n_hidden;

    on->room.table->add(on->room.device, on->hidden, hidden, on->sum, hidden,
                        step->n_tok, hidden);
}

/* ---- shared with the CPU ---- */

void weir_device_ask(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    const struct weir_device_table *table = on->room.table;
    size_t n = step->n_tok * (size_t)on->jamba->config.n_top;

    table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->beside.expert,
                   on->routing.expert, n * sizeof(*on->beside.expert));
    table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->beside.prob,
                   on->routing.prob, n * sizeof(*on->beside.prob));
    table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->beside.hidden,
                   on->hidden, hidden_bytes(step));
}

/* Choices that are the CPU's, into its work; others go to no expert. */
static size_t take_choices(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    struct weir_work *work = &on->jamba->work;
    uint32_t n_experts = on->jamba->config.n_experts;
    size_t n = step->n_tok * (size_t)on->jamba->config.n_top, n_ours = 0;

    for (size_t i = 0; i < n; i++) {
        uint32_t e = on->beside.expert[i];
        int is_ours = e < n_experts && !stays(on, layer, e);

        work->expert[i] = is_ours ? e : n_experts;
        n_ours += (size_t)is_ours;
    }
    memcpy(work->prob, on->beside.prob, n * sizeof(*work->prob));
    memcpy(work->hidden, on->beside.hidden, hidden_bytes(step));
    memset(work->prompts, 0, step->n_tok);
    return n_ours;
}

/* Its sum, into beside.sum */
static int compute_ours(const struct weir_device_step *step, uint32_t layer)
{
    struct weir_jamba *jamba = step->on->jamba;
    const struct weir_bind_layer *bind = &jamba->bind.layers[layer];
    const struct weir_expert_share all = {
        .to = jamba->config.n_experts, .n_tok = step->n_tok, .is_last = 1};
    int rc;

    if (!take_choices(step, layer)) {
        memset(step->on->beside.sum, 0, hidden_bytes(step));
        return 0;
    }
    weir_trace_part("experts", (int)layer);
    weir_layer_want_experts(jamba, bind, 0, all.to, step->n_tok);
    rc = weir_layer_experts(jamba, bind, &all, step->err);
    weir_trace_part("device", -1);
    if (!rc)
        memcpy(step->on->beside.sum, jamba->work.sum, hidden_bytes(step));
    return rc;
}

int weir_device_share(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_device_some all = {.to = on->jamba->config.n_experts,
                                         .table = on->layers[layer].experts,
                                         .y = on->hidden};
    int rc;

    on->room.table->record(on->room.device, WEIR_STREAM_COMPUTE, on->asked);
    weir_device_experts(step, layer, &all);
    weir_device_wait_for(on, on->asked);
    rc = on->room.table->check(on->room.device, step->err);
    return rc ? rc : compute_ours(step, layer);
}

void weir_device_add_share(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE, on->sum,
                              on->beside.sum, hidden_bytes(step));
    weir_device_add_sum(step);
}

/* ---- brought ---- */

/* Experts `from` on that are not computed yet, some of them in slots */
struct bringing {
    const struct weir_device_step *step;
    uint32_t layer, from;
    struct weir_device_slot *slots[WEIR_DEVICE_GROUP];
    uint32_t n, most;
};

static void compute(struct bringing *bringing, uint32_t to)
{
    const struct weir_device_step *step = bringing->step;
    struct weir_on_device *on = step->on;
    struct weir_device_layer *layer = &on->layers[bringing->layer];
    uint32_t from = bringing->from;

    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                              layer->brought + from, layer->entries + from,
                              (to - from) * sizeof(*layer->entries));
    weir_device_experts(step, bringing->layer,
                        &(struct weir_device_some){.from = from,
                                                   .to = to,
                                                   .in_order = 1,
                                                   .table = layer->brought,
                                                   .y = on->sum});
    for (uint32_t i = 0; i < bringing->n; i++)
        weir_device_used(on, bringing->slots[i]);
    bringing->n = 0;
    bringing->from = to;
}

static int bring(struct bringing *bringing, uint32_t e)
{
    struct weir_on_device *on = bringing->step->on;
    uint32_t layer = bringing->layer;
    uint32_t unit = on->jamba->bind.layers[layer].mlps[e].unit;
    int rc;

    if (bringing->n == bringing->most)
        compute(bringing, e);
    rc = weir_device_bring(on, &on->experts, unit,
                           &bringing->slots[bringing->n], bringing->step->err);
    if (rc)
        return rc;
    bringing->n++;
    on->layers[layer].entries[e] = weir_device_expert_at(on, layer, e);
    return 0;
}

/* chosen [n_experts]: the step may want it */
static int find_chosen(const struct weir_device_step *step, uint8_t *chosen)
{
    const struct weir_on_device *on = step->on;
    uint32_t n_experts = on->jamba->config.n_experts;
    size_t n = step->n_tok * (size_t)on->jamba->config.n_top;
    int rc;

    memset(chosen, n >= (size_t)MANY * n_experts, n_experts);
    if (n >= (size_t)MANY * n_experts)
        return 0;
    on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE,
                            on->beside.expert, on->routing.expert,
                            n * sizeof(*on->beside.expert));
    on->room.table->record(on->room.device, WEIR_STREAM_COMPUTE, on->asked);
    weir_device_wait_for(on, on->asked);
    rc = on->room.table->check(on->room.device, step->err);
    for (size_t i = 0; i < n && !rc; i++)
        if (on->beside.expert[i] < n_experts)
            chosen[on->beside.expert[i]] = 1;
    return rc;
}

/* Leaves in `chosen` those that must be brought, and says so in good time. */
static void want(const struct weir_device_step *step, uint32_t layer,
                 uint8_t *chosen)
{
    const struct weir_on_device *on = step->on;
    const struct weir_bind_layer *bind = &on->jamba->bind.layers[layer];

    for (uint32_t e = 0; e < on->jamba->config.n_experts; e++) {
        chosen[e] &= !stays(on, layer, e);
        if (chosen[e] && !weir_device_has(&on->experts, bind->mlps[e].unit))
            weir_residency_want(on->jamba->residency, bind->mlps[e].unit);
    }
}

static int bring_all(const struct weir_device_step *step, uint32_t layer)
{
    struct weir_on_device *on = step->on;
    uint32_t n_experts = on->jamba->config.n_experts;
    struct bringing bringing = {.step = step, .layer = layer};
    uint8_t chosen[WEIR_DEVICE_EXPERTS];
    int rc = find_chosen(step, chosen);

    if (rc)
        return rc;
    want(step, layer, chosen);
    bringing.most = on->experts.n > 1 ? on->experts.n / 2 : 1;
    if (bringing.most > WEIR_DEVICE_GROUP)
        bringing.most = WEIR_DEVICE_GROUP;
    on->room.table->fill(on->room.device, WEIR_STREAM_COMPUTE, on->sum, 0,
                         hidden_bytes(step));
    for (uint32_t e = 0; e < n_experts && !rc; e++)
        if (chosen[e])
            rc = bring(&bringing, e);
    if (rc)
        return rc;
    compute(&bringing, n_experts);
    weir_device_add_sum(step);
    return 0;
}

int weir_device_some_experts(const struct weir_device_step *step,
                             uint32_t layer)
{
    int rc;

    if (step->prompt || step->on->only_device)
        return bring_all(step, layer);
    weir_device_ask(step);
    rc = weir_device_share(step, layer);
    if (!rc)
        weir_device_add_share(step);
    return rc;
}
