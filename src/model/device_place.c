/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which weights stay on the device: what placement.h says of RAM, of the memory
 * of the device.  What does not fit goes there each time that a prompt wants
 * it, or any token if the device is to do all (device.h).  What stays on the
 * device is wanted nowhere else, and RAM is for the others.
 */
#include "model/device_parts.h"

#include <stdlib.h>
#include <string.h>

#include "offload/placement.h"

static const float *vector_of(const struct weir_on_device *on,
                              const float *vector)
{
    return vector ? on->arena + (vector - on->jamba->bind.arena) : NULL;
}

struct weir_device_expert weir_device_expert_at(const struct weir_on_device *on,
                                                uint32_t layer, uint32_t number)
{
    const struct weir_bind_mlp *mlp =
        &on->jamba->bind.layers[layer].mlps[number];

    return (struct weir_device_expert){
        on->tensors[mlp->gate.tensor], on->tensors[mlp->up.tensor],
        on->tensors[mlp->down.tensor], vector_of(on, mlp->gate.scale),
        vector_of(on, mlp->up.scale),  vector_of(on, mlp->down.scale)};
}

/* ---- the plan ---- */

static int make_placement(struct weir_on_device *on, unsigned n_texts,
                          struct weir_placement *placement,
                          struct weir_err *err)
{
    const struct weir_jamba *jamba = on->jamba;
    uint32_t n_units = jamba->file->n_units;
    struct weir_use *uses = calloc(n_units + 1u, sizeof(*uses));
    struct weir_placement_unit *units = calloc(n_units + 1u, sizeof(*units));
    const struct weir_placement_ask ask = {
        .n_bytes = weir_device_room_left(&on->room),
        .n_top = jamba->config.n_top,
        /* those that go nowhere else are kept as the text wants them */
        .n_tok = on->only_device ? n_texts : WEIR_CHUNK_TOK,
        .cache = WEIR_CACHE_STORED};
    int rc = 0;

    if (!uses || !units)
        rc = weir_err_nomem(err, n_units * sizeof(*units), "a plan");
    if (!rc)
        weir_budget_uses(jamba, uses);
    for (uint32_t u = 0; u < n_units && !rc; u++) {
        units[u].use = uses[u];
        units[u].n_bytes = weir_device_unit_bytes(jamba, u);
    }
    if (!rc)
        rc = weir_placement_make(placement, units, n_units, &ask, err);
    free(uses);
    free(units);
    return rc;
}

/* What it must have room for at least */
static int check_slots(const struct weir_on_device *on,
                       const struct weir_placement *placement,
                       struct weir_err *err)
{
    int lacks = 0;

    for (uint32_t u = 0; u < placement->n_units; u++) {
        int is_expert = on->kinds[u] == WEIR_DEVICE_EXPERT;

        if (placement->places[u] != WEIR_PINNED && u != on->rows_unit &&
            weir_device_unit_bytes(on->jamba, u))
            lacks |= !(is_expert ? placement->experts.n : placement->trunk.n);
    }
    if (!lacks)
        return 0;
    return weir_err_set(err, WEIR_ELIMIT,
                        "%s: %.3f GB of %s are left for weights, which is less "
                        "than what its largest parts need; allow more with "
                        "--vram, or a shorter context, or use --device cpu",
                        on->jamba->file->path,
                        (double)weir_device_room_left(&on->room) / 1e9,
                        on->room.info.name);
}

/* ---- what stays ---- */

static int load_unit(struct weir_on_device *on, uint32_t unit,
                     struct weir_err *err)
{
    uint64_t n_bytes = weir_device_unit_bytes(on->jamba, unit);
    void *place = NULL;
    int rc = 0;

    if (n_bytes)
        rc = weir_device_take(&on->room, n_bytes,
                              on->jamba->file->units[unit].name, &place, err);
    return rc ? rc : weir_device_send(on, unit, place, err);
}

static uint32_t next_pinned(const struct weir_on_device *on, uint32_t unit)
{
    while (unit < on->jamba->file->n_units && on->places[unit] != WEIR_PINNED)
        unit++;
    return unit;
}

/* The next unit is read while this one is on its way. */
static int load_units(struct weir_on_device *on, struct weir_err *err)
{
    struct weir_residency *residency = on->jamba->residency;
    uint32_t n_units = on->jamba->file->n_units, next;
    int rc = 0;

    weir_residency_begin_pass(residency);
    for (uint32_t u = next_pinned(on, 0); u < n_units && !rc; u = next) {
        next = next_pinned(on, u + 1);
        weir_residency_want(residency, u);
        if (next < n_units)
            weir_residency_want(residency, next);
        rc = load_unit(on, u, err);
    }
    weir_device_let_go(on);
    if (!rc)
        rc = weir_residency_check(residency, err);
    return rc ? rc : on->room.table->synchronize(on->room.device, err);
}

/* ---- tables of experts ---- */

static void fill_entries(struct weir_on_device *on, uint32_t layer)
{
    const struct weir_bind_mlp *mlps = on->jamba->bind.layers[layer].mlps;

    for (uint32_t e = 0; e < on->jamba->config.n_experts; e++)
        on->layers[layer].entries[e] = on->places[mlps[e].unit] == WEIR_PINNED
                                           ? weir_device_expert_at(on, layer, e)
                                           : (struct weir_device_expert){0};
}

/* `experts` knows those that stay, `brought` also those that pass. */
static int take_tables(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_config *c = &on->jamba->config;
    size_t n_bytes = c->n_experts * sizeof(struct weir_device_expert);
    int rc = 0;

    on->entries = calloc(c->n_layers, n_bytes + 1);
    if (!on->entries)
        return weir_err_nomem(err, c->n_layers * n_bytes, "experts");
    for (uint32_t i = 0; i < c->n_layers && !rc; i++) {
        struct weir_device_layer *layer = &on->layers[i];
        const struct weir_device_part parts[] = {
            {&layer->experts, n_bytes, 1},
            {&layer->brought, n_bytes, 1},
        };

        if (!weir_config_is_moe(c, i))
            continue;
        layer->entries = on->entries + (size_t)i * c->n_experts;
        rc = weir_on_device_take_part(on, &parts[0], err);
        if (!rc)
            rc = weir_on_device_take_part(on, &parts[1], err);
    }
    return rc;
}

static void send_tables(struct weir_on_device *on)
{
    const struct weir_config *c = &on->jamba->config;
    size_t n_bytes = c->n_experts * sizeof(struct weir_device_expert);

    for (uint32_t i = 0; i < c->n_layers; i++) {
        struct weir_device_layer *layer = &on->layers[i];

        if (!weir_config_is_moe(c, i))
            continue;
        fill_entries(on, i);
        on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                                  layer->experts, layer->entries, n_bytes);
        on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                                  layer->brought, layer->entries, n_bytes);
    }
}

/* ---- all of it ---- */

/* Trunk units that pass through, in the order in which a pass wants them */
static void list_passing(struct weir_on_device *on)
{
    for (uint32_t u = 0; u < on->jamba->file->n_units; u++)
        if (on->places[u] != WEIR_PINNED &&
            on->kinds[u] != WEIR_DEVICE_EXPERT && u != on->rows_unit &&
            weir_device_unit_bytes(on->jamba, u))
            on->passing[on->n_passing++] = u;
}

static void take_places(struct weir_on_device *on,
                        const struct weir_placement *placement)
{
    int all_stay = placement->n_here == placement->n_experts;

    on->is_whole = on->has_all_experts = 1;
    for (uint32_t u = 0; u < placement->n_units; u++) {
        on->places[u] = placement->places[u];
        if (!weir_device_unit_bytes(on->jamba, u) ||
            (all_stay && on->places[u] == WEIR_CACHED))
            on->places[u] = WEIR_PINNED;
        on->is_whole &= on->places[u] == WEIR_PINNED;
        if (on->kinds[u] == WEIR_DEVICE_EXPERT)
            on->has_all_experts &= on->places[u] == WEIR_PINNED;
    }
    list_passing(on);
}

static void find_kinds(struct weir_on_device *on)
{
    const struct weir_config *c = &on->jamba->config;
    const struct weir_bind *bind = &on->jamba->bind;

    on->rows_unit = c->tied ? UINT32_MAX : bind->embed_unit;
    for (uint32_t i = 0; i < c->n_layers; i++) {
        if (!weir_config_is_moe(c, i))
            continue;
        on->kinds[bind->layers[i].ff_unit] = WEIR_DEVICE_ROUTER;
        for (uint32_t e = 0; e < c->n_experts; e++)
            on->kinds[bind->layers[i].mlps[e].unit] = WEIR_DEVICE_EXPERT;
    }
}

static int take_memory(struct weir_on_device *on, struct weir_err *err)
{
    size_t n = on->jamba->file->n_units + (size_t)1;

    on->places = calloc(n, 1);
    on->kinds = calloc(n, 1);
    on->passing = calloc(n, sizeof(*on->passing));
    if (on->places && on->kinds && on->passing)
        return take_tables(on, err);
    return weir_err_nomem(err, n * sizeof(*on->passing), "a plan");
}

/* Floats of products with the trunk: the widest activations */
static void find_widths(const struct weir_config *c, size_t *in, size_t *out)
{
    size_t q = (size_t)c->n_heads * c->head_dim;
    size_t qkv = q + 2 * (size_t)c->n_kv_heads * c->head_dim;
    size_t p = c->dt_rank + 2 * (size_t)c->n_state + c->n_inner;
    size_t scores = (size_t)WEIR_HEAD_TOK * c->n_vocab;

    *in = c->n_hidden > c->n_inner ? c->n_hidden : c->n_inner;
    *in = (*in > q ? *in : q) * WEIR_CHUNK_TOK;
    *out = 2 * (size_t)c->n_inner > c->n_hidden ? 2 * (size_t)c->n_inner
                                                : c->n_hidden;
    *out = *out > qkv ? *out : qkv;
    *out = (*out > p ? *out : p) * WEIR_CHUNK_TOK;
    *out = *out > scores ? *out : scores;
}

/* Memory in which device and CPU meet */
static int take_beside(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_config *c = &on->jamba->config;
    size_t choices = (size_t)WEIR_CHUNK_TOK * c->n_top;
    size_t hidden = (size_t)WEIR_CHUNK_TOK * c->n_hidden;
    size_t in = 0, out = 0;
    void *data;
    int rc = on->room.table->event_new(on->room.device, &on->asked, err);

    if (on->n_passing && !on->only_device)
        find_widths(c, &in, &out);
    if (!rc)
        rc = on->room.table->pinned_alloc(
            on->room.device,
            (2 * (choices + hidden) + in + out) * sizeof(float), &data, err);
    if (rc)
        return rc;
    on->beside.expert = data;
    on->beside.prob = (float *)data + choices;
    on->beside.hidden = on->beside.prob + choices;
    on->beside.sum = on->beside.hidden + hidden;
    on->beside.in = on->beside.sum + hidden;
    on->beside.out = on->beside.in + in;
    return 0;
}

static int load(struct weir_on_device *on,
                const struct weir_placement *placement, unsigned n_texts,
                struct weir_err *err)
{
    int rc = weir_device_way_open(on, err);

    if (!rc)
        rc = load_units(on, err);
    if (rc)
        return rc;
    send_tables(on);
    rc = on->room.table->synchronize(on->room.device, err);
    if (rc || on->is_whole) {
        weir_device_way_close(on);
        return rc;
    }
    rc = weir_device_slots_open(on, &on->trunk, &placement->trunk,
                                "parts on their way", err);
    if (!rc && !on->has_all_experts)
        rc = weir_device_slots_open(on, &on->experts, &placement->experts,
                                    "experts on their way", err);
    if (!rc)
        rc = take_beside(on, err);
    if (!rc)
        rc = weir_budget_place_rest(on->jamba, on->places, n_texts, err);
    if (!rc)
        weir_device_way_pin(on);
    return rc;
}

int weir_on_device_place(struct weir_on_device *on, unsigned n_texts,
                         struct weir_err *err)
{
    struct weir_placement placement = {0};
    int rc = take_memory(on, err);

    on->weight_room = weir_device_room_left(&on->room);
    if (!rc) {
        find_kinds(on);
        rc = make_placement(on, n_texts, &placement, err);
    }
    if (!rc) {
        take_places(on, &placement);
        rc = check_slots(on, &placement, err);
    }
    if (!rc)
        rc = load(on, &placement, n_texts, err);
    weir_placement_fini(&placement);
    return rc;
}

void weir_on_device_displace(struct weir_on_device *on)
{
    const struct weir_device_room *room = &on->room;

    while (on->n_kept)
        weir_device_drop_kept(on, &on->kept[--on->n_kept]);
    weir_device_way_close(on);
    weir_device_slots_close(on, &on->trunk);
    weir_device_slots_close(on, &on->experts);
    if (on->asked)
        room->table->event_free(room->device, on->asked);
    if (on->beside.expert)
        room->table->pinned_free(room->device, on->beside.expert);
    on->asked = NULL;
    memset(&on->beside, 0, sizeof(on->beside));
    free(on->places);
    free(on->kinds);
    free(on->passing);
    free(on->entries);
    on->places = on->kinds = NULL;
    on->passing = NULL;
    on->entries = NULL;
    on->n_passing = on->next_passing = 0;
}
