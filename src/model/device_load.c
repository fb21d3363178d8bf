/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Weights go to the device unit by unit, each in one piece of its memory, tiles
 * at equal distances.  Workers verify and decode tiles into a buffer that the
 * device copies from while they fill the next one.
 */
#include "model/device_parts.h"

#include <stdlib.h>
#include <string.h>

#include "offload/tiling.h"

#define N_BUFFERS    2
#define BUFFER_BYTES ((size_t)64 << 20)
#define ALIGN        256

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static int is_vector(const struct weir_tensor *tensor)
{
    return tensor->rows == 1;
}

static uint64_t tile_stride(const struct weir_tensor *tensor)
{
    return tensor->tile_rows * weir_tiling_row_bytes(tensor);
}

static uint64_t tensor_bytes(const struct weir_tensor *tensor)
{
    return round_up(weir_tiling_n_tiles(tensor) * tile_stride(tensor), ALIGN);
}

/* Tensors that share their tiles share them there too. */
static int is_own(const struct weir_jamba *jamba, uint32_t number)
{
    const struct weir_tensor *tensor = &jamba->file->tensors[number];

    return !is_vector(tensor) && tensor->owner == number;
}

static uint64_t unit_bytes(const struct weir_jamba *jamba,
                           const struct weir_unit *unit)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < unit->n_tensors; i++)
        if (is_own(jamba, unit->first_tensor + i))
            sum += tensor_bytes(&jamba->file->tensors[unit->first_tensor + i]);
    return sum;
}

/* ---- tiles on their way ---- */

struct buffer {
    uint8_t *data;
    size_t n_bytes;
    struct weir_device_event *free; /* over: its last copy has ended */
};

struct loader {
    struct weir_on_device *on;
    struct buffer buffers[N_BUFFERS];
    size_t buffer_bytes;
    /* tiles first to first + n - 1 of a tensor go into `into` */
    uint32_t tensor;
    uint64_t first;
    uint8_t *into;
    struct weir_err *err;
};

static void fetch_tile(void *ctx, size_t item, unsigned number)
{
    struct loader *loader = ctx;
    struct weir_jamba *jamba = loader->on->jamba;
    struct weir_worker *worker = &jamba->work.workers[number];
    const struct weir_tensor *tensor = &jamba->file->tensors[loader->tensor];
    uint64_t tile = loader->first + item;
    const void *data;

    if (worker->rc)
        return;
    worker->rc = weir_residency_tile(jamba->residency, loader->tensor, tile,
                                     worker->tile, &data, &worker->err);
    if (!worker->rc)
        memcpy(loader->into + item * tile_stride(tensor), data,
               weir_tiling_tile_bytes(tensor, tile));
}

static int first_failure(const struct weir_work *work, struct weir_err *err)
{
    for (size_t i = 0; i < work->n_workers; i++)
        if (work->workers[i].rc) {
            if (err)
                *err = work->workers[i].err;
            return work->workers[i].rc;
        }
    return 0;
}

/* Tiles `first` to first + n - 1 of a tensor to `place`, by way of a buffer */
static int send_tiles(struct loader *loader, struct buffer *buffer,
                      uint64_t first, uint64_t n, uint8_t *place)
{
    struct weir_on_device *on = loader->on;
    struct weir_jamba *jamba = on->jamba;
    const struct weir_device_table *table = on->room.table;
    uint64_t stride = tile_stride(&jamba->file->tensors[loader->tensor]);
    int rc;

    while (!table->is_over(on->room.device, buffer->free))
        ;
    for (size_t i = 0; i < jamba->work.n_workers; i++)
        jamba->work.workers[i].rc = 0;
    loader->first = first;
    loader->into = buffer->data;
    weir_pool_run(jamba->pool, n, fetch_tile, loader);
    rc = first_failure(&jamba->work, loader->err);
    if (rc)
        return rc;
    table->to_device(on->room.device, WEIR_STREAM_COPY, place, buffer->data,
                     n * stride);
    table->record(on->room.device, WEIR_STREAM_COPY, buffer->free);
    return table->check(on->room.device, loader->err);
}

static int send_tensor(struct loader *loader, uint32_t number, uint8_t *place,
                       unsigned *turn)
{
    const struct weir_jamba *jamba = loader->on->jamba;
    const struct weir_tensor *tensor = &jamba->file->tensors[number];
    uint64_t n_tiles = weir_tiling_n_tiles(tensor), n;
    uint64_t most = loader->buffer_bytes / tile_stride(tensor);
    int rc = 0;

    loader->tensor = number;
    loader->on->tensors[number] = place;
    for (uint64_t i = 0; i < n_tiles && !rc; i += n) {
        n = n_tiles - i < most ? n_tiles - i : most;
        rc = send_tiles(loader, &loader->buffers[(*turn)++ % N_BUFFERS], i, n,
                        place + i * tile_stride(tensor));
    }
    return rc;
}

static int send_unit(struct loader *loader, uint32_t number, unsigned *turn)
{
    struct weir_on_device *on = loader->on;
    struct weir_jamba *jamba = on->jamba;
    const struct weir_unit *unit = &jamba->file->units[number];
    uint64_t n_bytes = unit_bytes(jamba, unit);
    void *place = NULL;
    int rc = 0;

    if (n_bytes)
        rc = weir_device_take(&on->room, n_bytes, unit->name, &place,
                              loader->err);
    for (uint32_t i = 0; i < unit->n_tensors && !rc; i++) {
        uint32_t tensor = unit->first_tensor + i;

        if (!is_own(jamba, tensor)) {
            on->tensors[tensor] =
                on->tensors[jamba->file->tensors[tensor].owner];
            continue;
        }
        rc = send_tensor(loader, tensor, place, turn);
        place = (uint8_t *)place + tensor_bytes(&jamba->file->tensors[tensor]);
    }
    return rc;
}

/* Where the next unit is read while this one is on its way */
static int send_units(struct loader *loader)
{
    struct weir_jamba *jamba = loader->on->jamba;
    uint32_t n_units = jamba->file->n_units;
    unsigned turn = 0;
    int rc = 0;

    weir_residency_begin_pass(jamba->residency);
    for (uint32_t u = 0; u < n_units && !rc; u++) {
        weir_residency_want(jamba->residency, u);
        if (u + 1 < n_units)
            weir_residency_want(jamba->residency, u + 1);
        rc = send_unit(loader, u, &turn);
        weir_residency_done(jamba->residency, u);
    }
    return rc ? rc : weir_residency_check(jamba->residency, loader->err);
}

static int open_buffers(struct loader *loader)
{
    struct weir_on_device *on = loader->on;
    const struct weir_device_table *table = on->room.table;
    void *data;
    int rc = 0;

    loader->buffer_bytes =
        BUFFER_BYTES > on->jamba->file->max_tile_bytes
            ? BUFFER_BYTES
            : round_up(on->jamba->file->max_tile_bytes, ALIGN);
    for (int i = 0; i < N_BUFFERS && !rc; i++) {
        struct buffer *buffer = &loader->buffers[i];

        rc = table->event_new(on->room.device, &buffer->free, loader->err);
        if (!rc)
            rc = table->pinned_alloc(on->room.device, loader->buffer_bytes,
                                     &data, loader->err);
        if (!rc)
            buffer->data = data;
        if (!rc)
            table->record(on->room.device, WEIR_STREAM_COPY, buffer->free);
    }
    return rc;
}

static void close_buffers(struct loader *loader)
{
    struct weir_on_device *on = loader->on;
    const struct weir_device_table *table = on->room.table;

    table->synchronize(on->room.device, NULL);
    for (int i = 0; i < N_BUFFERS; i++) {
        if (loader->buffers[i].data)
            table->pinned_free(on->room.device, loader->buffers[i].data);
        if (loader->buffers[i].free)
            table->event_free(on->room.device, loader->buffers[i].free);
    }
}

static int send_weights(struct weir_on_device *on, struct weir_err *err)
{
    struct loader loader = {.on = on, .err = err};
    int rc = open_buffers(&loader);

    if (!rc)
        rc = send_units(&loader);
    close_buffers(&loader);
    return rc ? rc : on->room.table->check(on->room.device, err);
}

/* ---- vectors, and where experts lie ---- */

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

static const float *vector_of(const struct weir_on_device *on,
                              const float *vector)
{
    return vector ? on->arena + (vector - on->jamba->bind.arena) : NULL;
}

static int send_experts(struct weir_on_device *on, uint32_t layer,
                        struct weir_err *err)
{
    const struct weir_jamba *jamba = on->jamba;
    const struct weir_bind_mlp *mlps = jamba->bind.layers[layer].mlps;
    uint32_t n = jamba->config.n_experts;
    struct weir_device_expert *experts = calloc(n, sizeof(*experts));
    void *place;
    int rc;

    if (!experts)
        return weir_err_nomem(err, n * sizeof(*experts), "a model");
    for (uint32_t e = 0; e < n; e++)
        experts[e] =
            (struct weir_device_expert){on->tensors[mlps[e].gate.tensor],
                                        on->tensors[mlps[e].up.tensor],
                                        on->tensors[mlps[e].down.tensor],
                                        vector_of(on, mlps[e].gate.scale),
                                        vector_of(on, mlps[e].up.scale),
                                        vector_of(on, mlps[e].down.scale)};
    rc = weir_device_take(&on->room, n * sizeof(*experts), "experts", &place,
                          err);
    if (!rc) {
        on->layers[layer].experts = place;
        on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE, place,
                                  experts, n * sizeof(*experts));
        rc = on->room.table->synchronize(on->room.device, err);
    }
    free(experts);
    return rc;
}

/* ---- all of it ---- */

/* Refused before an hour of reading, not after */
static int check_fit(const struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_file *file = on->jamba->file;
    uint64_t sum = on->jamba->bind.n_floats * sizeof(float);

    for (uint32_t u = 0; u < file->n_units; u++)
        sum += unit_bytes(on->jamba, &file->units[u]);
    if (sum <= weir_device_room_left(&on->room))
        return 0;
    return weir_err_set(err, WEIR_ELIMIT,
                        "%s: its weights take %.2f GB, and %.2f GB of %s may "
                        "be used; use --device cpu, or a device with more",
                        file->path, (double)sum / 1e9,
                        (double)weir_device_room_left(&on->room) / 1e9,
                        on->room.info.name);
}

int weir_on_device_load(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_config *config = &on->jamba->config;
    int rc = check_fit(on, err);

    if (!rc)
        rc = send_arena(on, err);
    if (!rc)
        rc = send_weights(on, err);
    for (uint32_t i = 0; i < config->n_layers && !rc; i++)
        if (weir_config_is_moe(config, i))
            rc = send_experts(on, i, err);
    return rc;
}
