/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory of the device that units pass through which do not stay there.  A unit
 * takes the place of the one that was used longest ago, once what was computed
 * with that one has ended: so the copies of what comes run while what came
 * before is computed with.
 */
#include "model/device_parts.h"

#include <stdlib.h>

#define NO_UNIT UINT32_MAX

int weir_device_slots_open(struct weir_on_device *on,
                           struct weir_device_slots *slots,
                           const struct weir_slots *ask, const char *what,
                           struct weir_err *err)
{
    const struct weir_device_room *room = &on->room;
    void *data;
    int rc = 0;

    slots->n = 0;
    slots->slots = calloc(ask->n + 1u, sizeof(*slots->slots));
    if (!slots->slots)
        return weir_err_nomem(err, ask->n * sizeof(*slots->slots), what);
    for (uint32_t i = 0; i < ask->n && !rc; i++) {
        struct weir_device_slot *slot = &slots->slots[i];

        slot->unit = NO_UNIT;
        rc = weir_device_take(&on->room, ask->n_bytes, what, &data, err);
        if (rc)
            break;
        slot->data = data;
        slots->n = i + 1;
        rc = room->table->event_new(room->device, &slot->arrived, err);
        if (!rc)
            rc = room->table->event_new(room->device, &slot->used, err);
        if (!rc)
            room->table->record(room->device, WEIR_STREAM_COMPUTE, slot->used);
    }
    return rc;
}

void weir_device_slots_close(struct weir_on_device *on,
                             struct weir_device_slots *slots)
{
    const struct weir_device_room *room = &on->room;

    for (uint32_t i = 0; i < slots->n; i++) {
        if (slots->slots[i].arrived)
            room->table->event_free(room->device, slots->slots[i].arrived);
        if (slots->slots[i].used)
            room->table->event_free(room->device, slots->slots[i].used);
    }
    free(slots->slots);
    *slots = (struct weir_device_slots){0};
}

int weir_device_has(const struct weir_device_slots *slots, uint32_t unit)
{
    for (uint32_t i = 0; i < slots->n; i++)
        if (slots->slots[i].unit == unit)
            return 1;
    return 0;
}

/* The one that has it, or else that can be spared best */
static struct weir_device_slot *find(struct weir_device_slots *slots,
                                     uint32_t unit)
{
    struct weir_device_slot *best = NULL;

    for (uint32_t i = 0; i < slots->n; i++) {
        struct weir_device_slot *slot = &slots->slots[i];

        if (slot->unit == unit)
            return slot;
        if (!slot->held && (!best || slot->last < best->last))
            best = slot;
    }
    return best;
}

int weir_device_fetch(struct weir_on_device *on,
                      struct weir_device_slots *slots, uint32_t unit,
                      struct weir_device_slot **out, struct weir_err *err)
{
    const struct weir_device_room *room = &on->room;
    struct weir_device_slot *slot = find(slots, unit);
    int rc = 0;

    *out = slot;
    if (!slot)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%s: no memory of %s is left for unit %s; allow "
                            "more with --vram",
                            on->jamba->file->path, room->info.name,
                            on->jamba->file->units[unit].name);
    slot->last = ++slots->now;
    if (slot->unit == unit)
        return 0;
    slot->unit = NO_UNIT;
    weir_device_wait_for(on, slot->used);
    rc = weir_device_send(on, unit, slot->data, err);
    if (rc)
        return rc;
    slot->unit = unit;
    slots->n_brought++;
    room->table->record(room->device, WEIR_STREAM_COPY, slot->arrived);
    return 0;
}

int weir_device_bring(struct weir_on_device *on,
                      struct weir_device_slots *slots, uint32_t unit,
                      struct weir_device_slot **out, struct weir_err *err)
{
    const struct weir_device_room *room = &on->room;
    int rc = weir_device_fetch(on, slots, unit, out, err);

    if (rc)
        return rc;
    (*out)->held = 1;
    room->table->wait(room->device, WEIR_STREAM_COMPUTE, (*out)->arrived);
    return 0;
}

void weir_device_used(struct weir_on_device *on, struct weir_device_slot *slot)
{
    slot->held = 0;
    on->room.table->record(on->room.device, WEIR_STREAM_COMPUTE, slot->used);
}

void weir_device_forget_slots(struct weir_device_slots *slots)
{
    for (uint32_t i = 0; i < slots->n; i++) {
        slots->slots[i].held = 0;
        slots->slots[i].unit = NO_UNIT;
    }
}
