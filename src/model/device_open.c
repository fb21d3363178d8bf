/* SPDX-License-Identifier: Apache-2.0 */
/* A model on a device: what a step works in, beside weights and states. */
#include "model/device_parts.h"

#include <stdlib.h>
#include <string.h>

int weir_on_device_take_part(struct weir_on_device *on,
                             const struct weir_device_part *part,
                             struct weir_err *err)
{
    return weir_device_take(&on->room, weir_device_pad(part->each * part->n),
                            "working memory", part->at, err);
}

#define N_PARTS 23

/* What a step works in */
static void list_work(struct weir_on_device *on,
                      struct weir_device_part parts[N_PARTS])
{
    const struct weir_config *c = &on->jamba->config;
    const size_t f = sizeof(float), n = on->step_tok;
    const size_t top = c->n_top ? c->n_top : 1;
    struct weir_device_routing *r = &on->routing;
    const struct weir_device_part all[N_PARTS] = {
        {&on->hidden, c->n_hidden * f, n},
        {&on->factor, f, n},
        {&on->xz, 2 * c->n_inner * f, n},
        {&on->u, c->n_inner * f, n},
        {&on->dt, c->n_inner * f, n},
        {&on->p, (c->dt_rank + 2 * c->n_state) * f, n},
        {&on->q, (size_t)c->n_heads * c->head_dim * f, n},
        {&on->heads, (size_t)c->n_heads * c->head_dim * f, n},
        {&on->k, (size_t)c->n_kv_heads * c->head_dim * f, n},
        {&on->v, (size_t)c->n_kv_heads * c->head_dim * f, n},
        {&on->gated, c->n_inter * f, n},
        {&on->router, c->n_experts * f, n},
        {&on->sum, c->n_hidden * f, n},
        {&r->expert, top * 4, n},
        {&r->prob, top * 4, n},
        {&r->order, top * 4, n},
        {&r->place, top * 4, n},
        {&r->group, top * 8, n + 1},
        {&r->first, 4, c->n_experts + 1u},
        {&on->ends, c->n_hidden * f, WEIR_DEVICE_RUNS},
        {&on->logits, c->n_vocab * f, WEIR_HEAD_TOK},
        {&on->next, sizeof(*on->next), WEIR_DEVICE_RUNS},
        {&on->told.data, 1, on->told.n_bytes},
    };

    memcpy(parts, all, sizeof(all));
}

static uint64_t work_bytes(struct weir_on_device *on)
{
    struct weir_device_part parts[N_PARTS];
    uint64_t n_bytes = 0;

    list_work(on, parts);
    for (size_t i = 0; i < N_PARTS; i++)
        n_bytes += weir_device_pad(parts[i].each * parts[i].n);
    return n_bytes;
}

/* As many tokens as take no more than an eighth of the device */
static void fit_step(struct weir_on_device *on)
{
    for (on->step_tok = WEIR_DEVICE_STEP_TOK;; on->step_tok /= 2) {
        on->told.n_bytes = WEIR_DEVICE_RUNS * (sizeof(*on->told.runs) +
                                               sizeof(*on->told.draws) +
                                               sizeof(*on->told.ends)) +
                           on->step_tok * sizeof(*on->told.ids);
        if (work_bytes(on) <= on->room.n_bytes / 8 ||
            on->step_tok <= WEIR_DEVICE_LEAST_TOK)
            return;
    }
}

/* Activations of a layer's experts on their way, as many tokens as a step has;
 * of what the other products want it is the most. */
static uint64_t product_bytes(const struct weir_config *c, uint64_t step_tok)
{
    return step_tok *
           (4ull * c->n_top * (c->n_inter + c->n_hidden) + 4ull * c->n_hidden);
}

uint64_t weir_on_device_weight_room(const struct weir_config *config,
                                    uint64_t vram_bytes, size_t n_texts,
                                    size_t n_tok, enum weir_dtype kv_dtype)
{
    struct weir_jamba jamba = {.config = *config};
    struct weir_on_device on = {.jamba = &jamba,
                                .room.n_bytes =
                                    vram_bytes > WEIR_DEVICE_CONTEXT_BYTES
                                        ? vram_bytes - WEIR_DEVICE_CONTEXT_BYTES
                                        : 0};
    uint64_t wanted =
        weir_on_device_state_bytes(config, n_texts, n_tok, kv_dtype);

    fit_step(&on);
    wanted += work_bytes(&on) + product_bytes(config, on.step_tok);
    return wanted < on.room.n_bytes ? on.room.n_bytes - wanted : 0;
}

static int take_work(struct weir_on_device *on, struct weir_err *err)
{
    struct weir_device_part parts[N_PARTS];
    int rc = 0;

    list_work(on, parts);
    for (size_t i = 0; i < N_PARTS && !rc; i++)
        rc = weir_on_device_take_part(on, &parts[i], err);
    return rc;
}

/* The vectors of jamba->bind */
static int send_arena(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_bind *bind = &on->jamba->bind;
    size_t n_bytes = bind->n_floats * sizeof(float);
    void *arena;
    int rc = weir_device_take(&on->room, n_bytes, "vectors", &arena, err);

    if (rc)
        return rc;
    on->arena = arena;
    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE, arena,
                              bind->arena, n_bytes);
    return on->room.table->synchronize(on->room.device, err);
}

static void point_told(struct weir_device_told *told, size_t step_tok)
{
    uint8_t *at = told->data;

    told->runs = (void *)at;
    told->draws = (void *)(told->runs + WEIR_DEVICE_RUNS);
    told->ids = (void *)(told->draws + WEIR_DEVICE_RUNS);
    told->ends = (void *)(told->ids + step_tok);
}

static int take_host_part(struct weir_on_device *on, size_t n_bytes, void *at,
                          struct weir_err *err)
{
    return on->room.table->pinned_alloc(on->room.device, n_bytes, at, err);
}

/* What an observer is shown at most: a step of the widest */
static size_t seen_bytes(const struct weir_on_device *on)
{
    const struct weir_config *c = &on->jamba->config;
    size_t hidden = on->step_tok * c->n_hidden;
    size_t scores = (size_t)WEIR_HEAD_TOK * c->n_vocab;
    size_t router = on->step_tok * c->n_experts;

    hidden = hidden > router ? hidden : router;
    return (hidden > scores ? hidden : scores) * sizeof(float);
}

/* ---- all of it ---- */

static int check_shape(const struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_config *c = &on->jamba->config;
    int is_gpu = on->room.info.cc_major > 0;

    if ((!is_gpu || c->n_state == 16) && c->d_conv <= WEIR_DEVICE_CONV &&
        c->n_experts <= WEIR_DEVICE_EXPERTS && c->n_top <= WEIR_DEVICE_TOP &&
        c->head_dim <= 256)
        return 0;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "%s: a model of this shape is not run on %s, which "
                        "wants mamba_d_state 16, mamba_d_conv up to %d, "
                        "heads up to 256 and %d experts at a time at most; "
                        "use --device cpu",
                        on->jamba->file->path, on->room.info.name,
                        WEIR_DEVICE_CONV, WEIR_DEVICE_TOP);
}

static int open_all(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_jamba *jamba = on->jamba;
    void *data = NULL;
    int rc = check_shape(on, err);

    on->tensors = calloc(jamba->file->n_tensors + 1u, sizeof(*on->tensors));
    on->layers = calloc(jamba->config.n_layers, sizeof(*on->layers));
    if (!rc && (!on->tensors || !on->layers))
        rc = weir_err_nomem(err, sizeof(*on), "a model on a device");
    if (!rc)
        rc = send_arena(on, err);
    if (!rc)
        rc = take_work(on, err);
    if (!rc)
        rc = take_host_part(on, on->told.n_bytes, &data, err);
    on->telling.data = data;
    point_told(&on->telling, on->step_tok);
    point_told(&on->told, on->step_tok);
    if (!rc)
        rc = take_host_part(on, seen_bytes(on), &on->seen, err);
    if (!rc)
        rc = take_host_part(on, WEIR_DEVICE_RUNS * sizeof(*on->seen_next),
                            &on->seen_next, err);
    return rc;
}

int weir_on_device_new(struct weir_jamba *jamba,
                       const struct weir_device_table *table, uint64_t n_bytes,
                       int only_device, struct weir_on_device **out,
                       struct weir_err *err)
{
    struct weir_on_device *on = calloc(1, sizeof(*on));
    int rc;

    *out = NULL;
    if (!on)
        return weir_err_nomem(err, sizeof(*on), "a model on a device");
    on->jamba = jamba;
    on->only_device = only_device;
    rc = weir_device_room_open(&on->room, table, 0, n_bytes, err);
    if (!rc) {
        fit_step(on);
        rc = open_all(on, err);
    }
    if (rc)
        weir_on_device_free(on);
    else
        *out = on;
    return rc;
}

void weir_on_device_free(struct weir_on_device *on)
{
    const struct weir_device_table *table;

    if (!on)
        return;
    table = on->room.table;
    weir_on_device_leave_room(on);
    if (on->telling.data)
        table->pinned_free(on->room.device, on->telling.data);
    if (on->seen)
        table->pinned_free(on->room.device, on->seen);
    if (on->seen_next)
        table->pinned_free(on->room.device, on->seen_next);
    weir_device_room_close(&on->room);
    free(on->tensors);
    free(on->layers);
    free(on);
}
