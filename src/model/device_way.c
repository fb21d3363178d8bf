/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of weights to the device, unit by unit, each into one piece of its
 * memory, tiles at equal distances.  Workers verify tiles and decode them into
 * a buffer that the device copies from while they fill the next one.  What lies
 * in memory for weights as it is used is copied from there without a stop, if
 * the device could be told of that memory.
 */
#include "model/device_parts.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"
#include "offload/tiling.h"

#define N_BUFFERS    2
#define BUFFER_BYTES ((size_t)64 << 20)
#define BATCH_TILES  512 /* at most, that are sent together */
#define N_LEAVING    2

struct buffer {
    uint8_t *data;
    struct weir_device_event *free; /* over: its last copy has ended */
};

/* A unit whose memory is given back when the device has copied it */
struct leaving {
    uint32_t unit;
    struct weir_device_event *copied;
};

struct weir_device_way {
    struct weir_on_device *on;
    struct buffer buffers[N_BUFFERS];
    unsigned turn;
    size_t buffer_bytes;
    uint8_t *pinned; /* memory for weights that the device knows */
    size_t pinned_bytes;
    struct leaving leaving[N_LEAVING]; /* n of them, from `first` on */
    unsigned first, n;

    /* tiles first_tile on of a tensor, and where each of them lies */
    uint32_t tensor;
    uint64_t first_tile;
    uint8_t *into;
    const uint8_t *from[BATCH_TILES];
};

static uint64_t tile_stride(const struct weir_tensor *tensor)
{
    return tensor->tile_rows * weir_tiling_row_bytes(tensor);
}

static uint64_t tensor_bytes(const struct weir_tensor *tensor)
{
    return weir_device_pad(weir_tiling_n_tiles(tensor) * tile_stride(tensor));
}

/* The matrix of a tied head is the embedding. */
static int is_own(const struct weir_jamba *jamba, uint32_t number)
{
    const struct weir_tensor *tensor = &jamba->file->tensors[number];

    return tensor->rows > 1 &&
           !(jamba->config.tied && tensor->owner == jamba->bind.embed &&
             number != jamba->bind.embed);
}

uint64_t weir_device_unit_bytes(const struct weir_jamba *jamba, uint32_t number)
{
    const struct weir_unit *unit = &jamba->file->units[number];
    uint64_t sum = 0;

    for (uint32_t i = 0; i < unit->n_tensors; i++)
        if (is_own(jamba, unit->first_tensor + i))
            sum += tensor_bytes(&jamba->file->tensors[unit->first_tensor + i]);
    return sum;
}

/* Says in on->tensors that a unit lies at `place`. */
static void point_at(struct weir_on_device *on, uint32_t number, uint8_t *place)
{
    const struct weir_jamba *jamba = on->jamba;
    const struct weir_unit *unit = &jamba->file->units[number];

    for (uint32_t i = 0; i < unit->n_tensors; i++) {
        uint32_t tensor = unit->first_tensor + i;

        if (!is_own(jamba, tensor)) {
            on->tensors[tensor] =
                on->tensors[jamba->file->tensors[tensor].owner];
            continue;
        }
        on->tensors[tensor] = place;
        place += tensor_bytes(&jamba->file->tensors[tensor]);
    }
}

/* ---- waiting ---- */

void weir_device_wait_for(const struct weir_on_device *on,
                          struct weir_device_event *event)
{
    uint64_t start = weir_trace_begin();

    while (!on->room.table->is_over(on->room.device, event))
        sched_yield();
    weir_trace_end(start, WEIR_TRACE_WAIT_POOL, "for the device", 0);
}

static void let_go(struct weir_device_way *way)
{
    const struct leaving *leaving = &way->leaving[way->first];

    weir_device_wait_for(way->on, leaving->copied);
    weir_residency_done(way->on->jamba->residency, leaving->unit);
    way->first = (way->first + 1) % N_LEAVING;
    way->n--;
}

void weir_device_let_go(struct weir_on_device *on)
{
    while (on->way && on->way->n)
        let_go(on->way);
}

/* All of the unit is on its way. */
static void leave(struct weir_device_way *way, uint32_t unit)
{
    const struct weir_device_room *room = &way->on->room;
    struct leaving *leaving;

    if (way->n == N_LEAVING)
        let_go(way);
    leaving = &way->leaving[(way->first + way->n++) % N_LEAVING];
    leaving->unit = unit;
    room->table->record(room->device, WEIR_STREAM_COPY, leaving->copied);
}

/* ---- tiles ---- */

/* A tile stays where it is, or comes into the buffer. */
static void fetch_tile(void *ctx, size_t item, unsigned number)
{
    struct weir_device_way *way = ctx;
    struct weir_jamba *jamba = way->on->jamba;
    struct weir_worker *worker = &jamba->work.workers[number];
    const struct weir_tensor *tensor = &jamba->file->tensors[way->tensor];
    uint64_t tile = way->first_tile + item;
    const void *data;
    uint8_t *to;

    if (worker->rc)
        return;
    worker->rc = weir_residency_tile(jamba->residency, way->tensor, tile,
                                     worker->tile, &data, &worker->err);
    worker->item = item;
    if (worker->rc)
        return;
    way->from[item] = data;
    if ((uintptr_t)data - (uintptr_t)way->pinned < way->pinned_bytes)
        return;
    to = way->into + item * tile_stride(tensor);
    memcpy(to, data, weir_tiling_tile_bytes(tensor, tile));
    way->from[item] = to;
}

/* Neighbours go together. */
static void copy_tiles(struct weir_device_way *way, uint64_t n, uint8_t *place)
{
    const struct weir_device_room *room = &way->on->room;
    const struct weir_tensor *tensor =
        &way->on->jamba->file->tensors[way->tensor];
    uint64_t stride = tile_stride(tensor), together;

    for (uint64_t i = 0; i < n; i += together) {
        for (together = 1; i + together < n; together++)
            if (way->from[i + together] != way->from[i] + together * stride)
                break;
        room->table->to_device(
            room->device, WEIR_STREAM_COPY, place + i * stride, way->from[i],
            (together - 1) * stride +
                weir_tiling_tile_bytes(tensor,
                                       way->first_tile + i + together - 1));
    }
}

static int send_tiles(struct weir_device_way *way, uint64_t first, uint64_t n,
                      uint8_t *place, struct weir_err *err)
{
    const struct weir_device_room *room = &way->on->room;
    struct weir_jamba *jamba = way->on->jamba;
    struct buffer *buffer = &way->buffers[way->turn++ % N_BUFFERS];
    int rc;

    weir_device_wait_for(way->on, buffer->free);
    for (size_t i = 0; i < jamba->work.n_workers; i++)
        jamba->work.workers[i].rc = 0;
    way->first_tile = first;
    way->into = buffer->data;
    weir_pool_run(jamba->pool, n, fetch_tile, way);
    rc = weir_work_failure(&jamba->work, err);
    if (rc)
        return rc;
    copy_tiles(way, n, place);
    room->table->record(room->device, WEIR_STREAM_COPY, buffer->free);
    return room->table->check(room->device, err);
}

static int send_tensor(struct weir_device_way *way, uint32_t number,
                       struct weir_err *err)
{
    const struct weir_on_device *on = way->on;
    const struct weir_tensor *tensor = &on->jamba->file->tensors[number];
    uint64_t n_tiles = weir_tiling_n_tiles(tensor), n;
    uint64_t stride = tile_stride(tensor), most = way->buffer_bytes / stride;
    int rc = 0;

    most = most < BATCH_TILES ? most : BATCH_TILES;
    way->tensor = number;
    for (uint64_t i = 0; i < n_tiles && !rc; i += n) {
        n = n_tiles - i < most ? n_tiles - i : most;
        rc = send_tiles(way, i, n, (uint8_t *)on->tensors[number] + i * stride,
                        err);
    }
    return rc;
}

int weir_device_send(struct weir_on_device *on, uint32_t number, uint8_t *place,
                     struct weir_err *err)
{
    struct weir_jamba *jamba = on->jamba;
    const struct weir_unit *unit = &jamba->file->units[number];
    int rc = 0;

    point_at(on, number, place);
    weir_residency_want(jamba->residency, number);
    for (uint32_t i = 0; i < unit->n_tensors && !rc; i++)
        if (is_own(jamba, unit->first_tensor + i))
            rc = send_tensor(on->way, unit->first_tensor + i, err);
    if (!rc)
        leave(on->way, number);
    return rc;
}

/* ---- the way itself ---- */

void weir_device_way_pin(struct weir_on_device *on)
{
    struct weir_device_way *way = on->way;
    struct weir_err err;
    void *base;
    size_t n_bytes;

    weir_residency_memory(on->jamba->residency, &base, &n_bytes);
    if (!n_bytes || on->room.table->pin(on->room.device, base, n_bytes, &err))
        return;
    way->pinned = base;
    way->pinned_bytes = n_bytes;
}

int weir_device_way_open(struct weir_on_device *on, struct weir_err *err)
{
    const struct weir_device_room *room = &on->room;
    struct weir_device_way *way = calloc(1, sizeof(*way));
    uint64_t most = weir_device_pad(on->jamba->file->max_tile_bytes);
    void *data;
    int rc = 0;

    on->way = way;
    if (!way)
        return weir_err_nomem(err, sizeof(*way), "a model on a device");
    way->on = on;
    way->buffer_bytes = BUFFER_BYTES > most ? BUFFER_BYTES : most;
    for (int i = 0; i < N_LEAVING && !rc; i++)
        rc = room->table->event_new(room->device, &way->leaving[i].copied, err);
    for (int i = 0; i < N_BUFFERS && !rc; i++) {
        struct buffer *buffer = &way->buffers[i];

        rc = room->table->event_new(room->device, &buffer->free, err);
        if (!rc)
            rc = room->table->pinned_alloc(room->device, way->buffer_bytes,
                                           &data, err);
        if (rc)
            break;
        buffer->data = data;
        room->table->record(room->device, WEIR_STREAM_COPY, buffer->free);
    }
    return rc;
}

void weir_device_way_close(struct weir_on_device *on)
{
    const struct weir_device_room *room = &on->room;
    struct weir_device_way *way = on->way;

    if (!way)
        return;
    room->table->synchronize(room->device, NULL);
    weir_device_let_go(on);
    if (way->pinned)
        room->table->unpin(room->device, way->pinned);
    for (int i = 0; i < N_BUFFERS; i++) {
        if (way->buffers[i].data)
            room->table->pinned_free(room->device, way->buffers[i].data);
        if (way->buffers[i].free)
            room->table->event_free(room->device, way->buffers[i].free);
    }
    for (int i = 0; i < N_LEAVING; i++)
        if (way->leaving[i].copied)
            room->table->event_free(room->device, way->leaving[i].copied);
    free(way);
    on->way = NULL;
}
