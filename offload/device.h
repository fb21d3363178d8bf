/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices that compute: where their tables come from, and how much memory of
 * one may be taken.  kernels/device.h has what a table promises.
 */
#ifndef WEIR_OFFLOAD_DEVICE_H
#define WEIR_OFFLOAD_DEVICE_H

#include "kernels/device.h"

/* The CPU as a device, for tests: one thread, memory of the host */
extern const struct weir_device_table weir_device_host;

/*
 * The table of the module weir-NAME.so, which is loaded from the folder that
 * WEIR_MODULES names or else from where it was installed, and stays loaded.
 * WEIR_ENOTSUP, and why, without one that fits this build.
 */
int weir_device_load(const char *name, const struct weir_device_table **table,
                     struct weir_err *err);

/* A device that is open, with a budget that is never exceeded */
struct weir_device_room {
    const struct weir_device_table *table;
    struct weir_device *device;
    struct weir_device_info info;
    uint64_t n_bytes, n_taken; /* of the budget */
    void **taken;              /* [n]: memory, in the order of taking */
    size_t n, n_places;
};

/* What the system has of a GPU for each process beside its data */
#define WEIR_DEVICE_CONTEXT_BYTES ((uint64_t)640 << 20)

/*
 * Opens device `ordinal`.  A budget of n_bytes is for all that this process has
 * there, its context included; 0: what is free, less a little.  WEIR_ELIMIT
 * when less than that is free.  Release with weir_device_room_close(), also
 * after an error.
 */
int weir_device_room_open(struct weir_device_room *room,
                          const struct weir_device_table *table,
                          unsigned ordinal, uint64_t n_bytes,
                          struct weir_err *err);
void weir_device_room_close(struct weir_device_room *room);

/* What the budget has left */
uint64_t weir_device_room_left(const struct weir_device_room *room);

/* n_bytes > 0 of it for `what`; WEIR_ELIMIT with the numbers */
int weir_device_take(struct weir_device_room *room, uint64_t n_bytes,
                     const char *what, void **data, struct weir_err *err);

/* Gives back what was taken since `before`, a copy of the room. */
void weir_device_give_back(struct weir_device_room *room,
                           const struct weir_device_room *before);

#endif
