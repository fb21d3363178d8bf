/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What sequences leave behind on a device.  The first one says how much room
 * all of them get: K and V in pages that any sequence may take, and a slot for
 * each with what its Mamba layers remember.
 */
#include "model/device_parts.h"

#include <stdlib.h>
#include <string.h>

static uint64_t pages_for(size_t n_tok)
{
    return (n_tok + WEIR_DEVICE_PAGE - 1) / WEIR_DEVICE_PAGE;
}

static uint64_t page_bytes(const struct weir_config *config,
                           enum weir_dtype kv_dtype)
{
    return (uint64_t)WEIR_DEVICE_PAGE * config->n_kv_heads * config->head_dim *
           weir_dtype_bytes(kv_dtype);
}

uint64_t weir_on_device_state_bytes(const struct weir_config *config,
                                    size_t n_texts, size_t n_tok,
                                    enum weir_dtype kv_dtype)
{
    uint64_t pages = pages_for(n_tok) + n_texts, sum = 0;

    for (uint32_t i = 0; i < config->n_layers; i++)
        sum += weir_config_is_attention(config, i)
                   ? 2 * pages * page_bytes(config, kv_dtype)
                   : (uint64_t)n_texts * config->n_inner *
                         (config->d_conv - 1 + config->n_state) * sizeof(float);
    return sum;
}

static int take_layer(struct weir_on_device *on, uint32_t i,
                      struct weir_err *err)
{
    const struct weir_config *c = &on->jamba->config;
    struct weir_device_layer *layer = &on->layers[i];
    const struct weir_device_states *states = &on->states;
    uint64_t kv = states->n_pages * page_bytes(c, states->kv_dtype);
    size_t channels = states->n_slots * c->n_inner * sizeof(float);
    const struct weir_device_part parts[] = {
        {&layer->k_pool, kv, 1},
        {&layer->v_pool, kv, 1},
        {&layer->conv, channels, c->d_conv - 1},
        {&layer->scan, channels, c->n_state},
    };
    const struct weir_device_part *first =
        weir_config_is_attention(c, i) ? parts : parts + 2;
    int rc = weir_on_device_take_part(on, first, err);

    return rc ? rc : weir_on_device_take_part(on, first + 1, err);
}

static int take_tables(struct weir_device_states *states, struct weir_err *err)
{
    size_t n = states->n_slots * states->ld_pages;

    states->used = calloc(states->n_slots, 1);
    states->free = calloc(states->n_pages, sizeof(*states->free));
    states->pages = calloc(n, sizeof(*states->pages));
    if (!states->used || !states->free || !states->pages)
        return weir_err_nomem(err, n * sizeof(*states->pages),
                              "the pages of a device");
    for (size_t i = 0; i < states->n_pages; i++)
        states->free[i] = (uint32_t)(states->n_pages - 1 - i);
    states->n_free = states->n_pages;
    return 0;
}

static int reserve(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_config *c = &on->jamba->config;
    uint32_t wide = 2 * c->n_inner > c->n_vocab ? 2 * c->n_inner : c->n_vocab;
    uint32_t cols = c->n_inner > c->n_inter ? c->n_inner : c->n_inter;
    const struct weir_device_limits limits = {
        .n_tok = (uint32_t)on->step_tok,
        .rows = wide > c->n_inter ? wide : c->n_inter,
        .cols = cols > c->n_hidden ? cols : c->n_hidden,
        .n_experts = c->n_experts > 1 ? c->n_experts : 0,
        .n_top = c->n_experts > 1 ? c->n_top : 0,
        .hidden = c->n_hidden,
        .inter = c->n_inter,
        .n_heads = c->n_heads,
        .head_dim = c->head_dim,
        .max_pos = (uint32_t)(on->states.ld_pages * WEIR_DEVICE_PAGE),
        .n_runs = (uint32_t)(on->states.n_slots < WEIR_DEVICE_RUNS
                                 ? on->states.n_slots
                                 : WEIR_DEVICE_RUNS)};
    uint64_t n_bytes = on->room.table->workspace_bytes(&limits);

    if (n_bytes > weir_device_room_left(&on->room))
        return weir_err_set(err, WEIR_ELIMIT,
                            "products want %.1f MB of %s, of which %.1f may "
                            "still be used; allow more with --vram",
                            (double)n_bytes / 1e6, on->room.info.name,
                            (double)weir_device_room_left(&on->room) / 1e6);
    on->room.n_taken += n_bytes;
    return on->room.table->reserve(on->room.device, &limits, err);
}

static int take_room(struct weir_on_device *on, struct weir_err *err)
{
    struct weir_device_states *states = &on->states;
    void *at;
    int rc = take_tables(states, err);

    if (!rc)
        rc = weir_device_take(
            &on->room, states->n_slots * states->ld_pages * sizeof(*states->at),
            "the pages of sequences", &at, err);
    if (!rc)
        states->at = at;
    for (uint32_t i = 0; i < on->jamba->config.n_layers && !rc; i++)
        rc = take_layer(on, i, err);
    if (!rc)
        rc = reserve(on, err);
    return rc ? rc : weir_on_device_place(on, (unsigned)states->n_slots, err);
}

void weir_on_device_leave_room(struct weir_on_device *on)
{
    struct weir_device_states *states = &on->states;

    weir_on_device_displace(on);
    free(states->used);
    free(states->free);
    free(states->pages);
    *states = (struct weir_device_states){0};
}

int weir_on_device_make_room(struct weir_on_device *on, size_t n_texts,
                             size_t n_tok, enum weir_dtype kv_dtype,
                             struct weir_err *err)
{
    const struct weir_device_room before = on->room;
    size_t n_pages = pages_for(n_tok) + n_texts;
    int rc;

    if (on->states.n_slots)
        return 0;
    on->states = (struct weir_device_states){.n_slots = n_texts,
                                             .n_pages = n_pages,
                                             .ld_pages = n_pages,
                                             .kv_dtype = kv_dtype};
    rc = take_room(on, err);
    if (rc) {
        weir_on_device_leave_room(on);
        weir_device_give_back(&on->room, &before);
    }
    return rc;
}

void weir_on_device_clear_slot(struct weir_on_device *on, uint32_t slot)
{
    const struct weir_config *c = &on->jamba->config;
    size_t conv = (size_t)c->n_inner * (c->d_conv - 1);
    size_t scan = (size_t)c->n_inner * c->n_state;

    for (uint32_t i = 0; i < c->n_layers; i++) {
        if (weir_config_is_attention(c, i))
            continue;
        on->room.table->fill(on->room.device, WEIR_STREAM_COMPUTE,
                             on->layers[i].conv + slot * conv, 0,
                             conv * sizeof(float));
        on->room.table->fill(on->room.device, WEIR_STREAM_COMPUTE,
                             on->layers[i].scan + slot * scan, 0,
                             scan * sizeof(float));
    }
}

int weir_on_device_take_slot(struct weir_on_device *on, size_t n_ctx,
                             enum weir_dtype kv_dtype, uint32_t *slot,
                             struct weir_err *err)
{
    struct weir_device_states *states = &on->states;
    size_t n_pages = pages_for(n_ctx);
    uint32_t *pages, i = 0;

    while (i < states->n_slots && states->used[i])
        i++;
    if (i == states->n_slots || n_pages > states->n_free ||
        kv_dtype != states->kv_dtype)
        return weir_err_set(err, WEIR_ELIMIT,
                            "a session of %zu tokens does not fit beside those "
                            "that are on %s: the first one says how much all "
                            "get; end another, or ask for a shorter context",
                            n_ctx, on->room.info.name);
    *slot = i;
    states->used[i] = 1;
    pages = states->pages + i * states->ld_pages;
    for (size_t k = 0; k < states->ld_pages; k++)
        pages[k] = k < n_pages ? states->free[--states->n_free] : UINT32_MAX;
    weir_on_device_clear_slot(on, i);
    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                              states->at + i * states->ld_pages, pages,
                              states->ld_pages * sizeof(*pages));
    return on->room.table->synchronize(on->room.device, err);
}

void weir_on_device_give_slot(struct weir_on_device *on, uint32_t slot)
{
    struct weir_device_states *states = &on->states;
    const uint32_t *pages = states->pages + slot * states->ld_pages;

    for (size_t k = 0; k < states->ld_pages && pages[k] != UINT32_MAX; k++)
        states->free[states->n_free++] = pages[k];
    states->used[slot] = 0;
}
