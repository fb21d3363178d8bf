/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A step of the forward pass on a device: embedding, layers and head, each unit
 * of the trunk held while something is computed with it.
 *
 * What a step is about (ids, whose they are, which scores are wanted) lies in
 * device memory, so that a step of decoding is captured once and launched for
 * each token from then on: in one graph or, where the CPU has some of the
 * experts, in one for each stretch between two layers of which it does.
 */
#include <stdlib.h>
#include <string.h>

#include "model/device_parts.h"
#include "model/linear.h"
#include "offload/placement.h"

static const struct weir_config *config_of(const struct weir_device_step *step)
{
    return &step->on->jamba->config;
}

int weir_device_show(const struct weir_device_step *step, enum weir_view view,
                     uint32_t layer, const float *values, size_t n_tok,
                     size_t width)
{
    const struct weir_on_device *on = step->on;
    const struct weir_observer *observer = step->observer;
    int rc;

    if (!observer || !(observer->views >> view & 1))
        return 0;
    on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->seen,
                            values, n_tok * width * sizeof(float));
    rc = on->room.table->synchronize(on->room.device, step->err);
    return rc ? rc
              : observer->see(observer->ctx, view, layer, on->seen, n_tok,
                              width, step->err);
}

/* ---- units of the trunk ---- */

static void want(const struct weir_device_step *step, uint32_t unit)
{
    if (weir_device_is_beside(step, unit) ||
        !weir_device_has(&step->on->trunk, unit))
        weir_residency_want(step->on->jamba->residency, unit);
}

/* It is the unit's turn, of those that pass. */
static void take_turn(const struct weir_device_step *step, uint32_t unit)
{
    struct weir_on_device *on = step->on;

    want(step, unit);
    while (on->passing[on->next_passing] != unit)
        on->next_passing = (on->next_passing + 1) % on->n_passing;
    on->next_passing = (on->next_passing + 1) % on->n_passing;
}

/* What comes after it is read meanwhile. */
static void want_next(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    want(step, on->passing[on->next_passing]);
    want(step, on->passing[(on->next_passing + 1) % on->n_passing]);
}

/*
 * What comes finds the unit there.  *slot: NULL if it stays anyway.  What RAM
 * has of it may go, if it was there.
 */
static int hold(const struct weir_device_step *step, uint32_t unit,
                struct weir_device_slot **slot)
{
    struct weir_on_device *on = step->on;
    int has;

    *slot = NULL;
    if (on->places[unit] == WEIR_PINNED)
        return 0;
    has = weir_device_has(&on->trunk, unit);
    take_turn(step, unit);
    if (has)
        weir_residency_done(on->jamba->residency, unit);
    return weir_device_bring(on, &on->trunk, unit, slot, step->err);
}

/*
 * Nothing else is computed with it; the next one that passes comes, unless it
 * is the CPU's.
 */
static int leave(const struct weir_device_step *step,
                 struct weir_device_slot *slot)
{
    struct weir_on_device *on = step->on;
    uint32_t next;

    if (!slot)
        return 0;
    weir_device_used(on, slot);
    if (on->trunk.n < 2)
        return 0;
    next = on->passing[on->next_passing];
    want_next(step);
    if (weir_device_is_beside(step, next))
        return 0;
    return weir_device_fetch(on, &on->trunk, next, &slot, step->err);
}

/* The same of one that the CPU computes with */
static void hold_beside(const struct weir_device_step *step, uint32_t unit)
{
    take_turn(step, unit);
    want_next(step);
}

/* ---- layers ---- */

/* A half of a layer, by whoever has its unit */
struct half {
    uint32_t unit;
    void (*there)(const struct weir_device_step *step, uint32_t layer);
    int (*beside)(const struct weir_device_step *step, uint32_t layer);
};

static int run_half(const struct weir_device_step *step, uint32_t layer,
                    struct half half)
{
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, half.unit)) {
        hold_beside(step, half.unit);
        rc = half.beside(step, layer);
        weir_residency_done(step->on->jamba->residency, half.unit);
        return rc;
    }
    rc = hold(step, half.unit, &slot);
    if (rc)
        return rc;
    half.there(step, layer);
    return leave(step, slot);
}

static int run_mixer(const struct weir_device_step *step, uint32_t layer)
{
    uint32_t unit = step->on->jamba->bind.layers[layer].mixer_unit;

    return run_half(
        step, layer,
        (struct half){unit, weir_device_mixer, weir_device_mixer_beside});
}

static int run_mlp(const struct weir_device_step *step, uint32_t layer)
{
    uint32_t unit = step->on->jamba->bind.layers[layer].ff_unit;

    return run_half(
        step, layer,
        (struct half){unit, weir_device_mlp, weir_device_mlp_beside});
}

static int run_experts(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    struct weir_device_slot *slot;
    int rc = hold(step, on->jamba->bind.layers[layer].ff_unit, &slot);

    if (rc)
        return rc;
    weir_device_route(step, layer);
    rc = leave(step, slot);
    if (!rc)
        rc = weir_device_show(step, WEIR_VIEW_ROUTER, layer, on->router,
                              step->n_tok, c->n_experts);
    if (rc || !on->has_all_experts)
        return rc ? rc : weir_device_some_experts(step, layer);
    weir_device_experts(
        step, layer,
        &(struct weir_device_some){.to = c->n_experts,
                                   .table = on->layers[layer].experts,
                                   .y = on->hidden});
    return 0;
}

static int run_layer(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    int rc = weir_device_show(step, WEIR_VIEW_HIDDEN, layer, on->hidden,
                              step->n_tok, c->n_hidden);

    if (!rc)
        rc = run_mixer(step, layer);
    if (rc)
        return rc;
    return weir_config_is_moe(c, layer) ? run_experts(step, layer)
                                        : run_mlp(step, layer);
}

/* ---- a step ---- */

static void gather_ends(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    size_t hidden = config_of(step)->n_hidden;

    on->room.table->gather(on->room.device, on->hidden, hidden, on->told.ends,
                           step->n_ends, hidden, on->ends, hidden);
}

/* Rows of an embedding that does not lie on the device */
static int embed_from_host(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    struct weir_jamba *jamba = on->jamba;
    size_t hidden = jamba->config.n_hidden, n;
    int rc = 0;

    for (size_t t = 0; t < step->n_tok && !rc; t += n) {
        n = step->n_tok - t < WEIR_CHUNK_TOK ? step->n_tok - t : WEIR_CHUNK_TOK;
        rc = weir_linear_rows(jamba, jamba->bind.embed, on->telling.ids + t, n,
                              on->seen + t * hidden, step->err);
    }
    if (!rc)
        on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                                  on->hidden, on->seen,
                                  step->n_tok * hidden * sizeof(float));
    return rc;
}

/* The embedding lies on the device, or comes there as a unit. */
static int has_rows(const struct weir_on_device *on)
{
    uint32_t unit = on->jamba->bind.embed_unit;

    return unit != on->rows_unit || on->places[unit] == WEIR_PINNED;
}

static int embed(const struct weir_device_step *step)
{
    uint32_t unit = step->on->jamba->bind.embed_unit;
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, unit) || !has_rows(step->on))
        return embed_from_host(step);
    rc = hold(step, unit, &slot);
    if (rc)
        return rc;
    weir_device_embed(step);
    return leave(step, slot);
}

static uint32_t head_unit(const struct weir_device_step *step)
{
    const struct weir_jamba *jamba = step->on->jamba;

    return jamba->config.tied ? jamba->bind.embed_unit : jamba->bind.head_unit;
}

int weir_device_score_rows(const struct weir_device_step *step, const float *x,
                           uint32_t n)
{
    uint32_t unit = head_unit(step);
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, unit)) {
        hold_beside(step, unit);
        return weir_device_score_beside(step, x, n);
    }
    rc = hold(step, unit, &slot);
    if (rc)
        return rc;
    weir_device_score(step, x, n);
    return leave(step, slot);
}

int weir_device_score_ends(const struct weir_device_step *step, uint32_t first,
                           uint32_t n)
{
    const struct weir_on_device *on = step->on;
    int rc = weir_device_score_rows(
        step, on->ends + first * (size_t)config_of(step)->n_hidden, n);

    if (rc || !step->draws)
        return rc;
    weir_device_choose(step, first, n);
    on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE,
                            on->seen_next + first, on->next + first,
                            n * sizeof(*on->next));
    return 0;
}

static void tell(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                              on->told.data, on->telling.data,
                              on->told.n_bytes);
}

static int run_ends(const struct weir_device_step *step)
{
    if (step->n_ends)
        gather_ends(step);
    return step->n_ends && step->n_ends <= WEIR_HEAD_TOK
               ? weir_device_score_ends(step, 0, step->n_ends)
               : 0;
}

/* What the step is about, to the device, and all that follows from it */
static int run_layers(const struct weir_device_step *step)
{
    uint32_t n_layers = config_of(step)->n_layers;
    int rc;

    tell(step);
    rc = embed(step);
    for (uint32_t i = 0; i < n_layers && !rc; i++)
        rc = run_layer(step, i);
    return rc ? rc : run_ends(step);
}

/* ---- steps that are kept ---- */

/* No unit of the trunk passes, and it waits for nobody but the CPU's experts.
 */
static int is_kept(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    return on->n_passing == 0 && (on->has_all_experts || !on->only_device) &&
           !step->prompt && step->n_tok == step->n_runs &&
           step->n_tok <= WEIR_DEVICE_GRAPH_TOK &&
           !(step->observer && step->observer->views);
}

/* Whether the CPU has some of the layer's experts */
static int is_shared(const struct weir_device_step *step, uint32_t layer)
{
    return weir_config_is_moe(config_of(step), layer) &&
           !step->on->has_all_experts;
}

/* From layer `from` on, up to the router of one that is shared, or to the end
 */
static int run_stretch(const struct weir_device_step *step, uint32_t from)
{
    uint32_t n_layers = config_of(step)->n_layers;
    int rc = 0;

    if (from == 0)
        tell(step);
    if (from == 0 && has_rows(step->on))
        rc = embed(step);
    if (from && is_shared(step, from - 1))
        weir_device_add_share(step);
    for (uint32_t i = from; i < n_layers && !rc; i++) {
        if (!is_shared(step, i)) {
            rc = run_layer(step, i);
            continue;
        }
        rc = run_mixer(step, i);
        weir_device_route(step, i);
        weir_device_ask(step);
        return rc;
    }
    return rc ? rc : run_ends(step);
}

/* Where the next stretch begins; 0: there is none */
static uint32_t next_stretch(const struct weir_device_step *step, uint32_t from)
{
    for (uint32_t i = from; i < config_of(step)->n_layers; i++)
        if (is_shared(step, i))
            return i + 1;
    return 0;
}

void weir_device_drop_kept(struct weir_on_device *on,
                           struct weir_device_kept *kept)
{
    for (uint32_t i = 0; i <= on->jamba->config.n_layers && kept->graphs; i++)
        if (kept->graphs[i])
            on->room.table->graph_free(on->room.device, kept->graphs[i]);
    free(kept->graphs);
    kept->graphs = NULL;
}

static int is_alike(const struct weir_device_step *step,
                    const struct weir_device_kept *kept)
{
    return kept->n_tok == step->n_tok && kept->n_runs == step->n_runs &&
           kept->n_ends == step->n_ends && kept->max_pos == step->max_pos &&
           kept->draws == step->draws;
}

/* One that is alike, or an empty one, for which the oldest makes room */
static int find_kept(const struct weir_device_step *step,
                     struct weir_device_kept **out)
{
    struct weir_on_device *on = step->on;
    struct weir_device_kept *kept = on->kept;
    size_t n = config_of(step)->n_layers + (size_t)1;

    for (unsigned i = 0; i < on->n_kept; i++) {
        *out = &kept[i];
        if (is_alike(step, *out))
            return 0;
    }
    if (on->n_kept == WEIR_DEVICE_GRAPHS) {
        weir_device_drop_kept(on, kept);
        memmove(kept, kept + 1, --on->n_kept * sizeof(*kept));
    }
    *out = &kept[on->n_kept];
    **out = (struct weir_device_kept){
        step->n_tok,  step->n_runs,
        step->n_ends, step->max_pos,
        step->draws,  calloc(n, sizeof(struct weir_device_graph *))};
    if (!(*out)->graphs)
        return weir_err_nomem(step->err, n * sizeof(*(*out)->graphs),
                              "a step of a device");
    on->n_kept++;
    return 0;
}

static int launch(const struct weir_device_step *step, uint32_t from,
                  struct weir_device_graph **graph)
{
    const struct weir_device_room *room = &step->on->room;
    int rc = 0;

    if (!*graph) {
        rc = room->table->capture_begin(room->device, step->err);
        if (!rc) {
            run_stretch(step, from);
            rc = room->table->capture_end(room->device, graph, step->err);
        }
    }
    if (!rc)
        room->table->graph_launch(room->device, *graph);
    return rc;
}

static int run_kept(const struct weir_device_step *step)
{
    struct weir_device_kept *kept;
    uint32_t from = 0;
    int rc = find_kept(step, &kept);

    if (!rc && !has_rows(step->on))
        rc = embed_from_host(step);
    while (!rc) {
        rc = launch(step, from, &kept->graphs[from]);
        from = next_stretch(step, from);
        if (rc || !from)
            break;
        rc = weir_device_share(step, from - 1);
    }
    return rc;
}

int weir_device_run_step(const struct weir_device_step *step)
{
    return is_kept(step) ? run_kept(step) : run_layers(step);
}

void weir_device_end_step(const struct weir_device_step *step)
{
    uint32_t unit = head_unit(step);

    if (weir_device_is_beside(step, unit))
        weir_residency_done(step->on->jamba->residency, unit);
}
