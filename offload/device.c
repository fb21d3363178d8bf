/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/device.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Left to others where no budget is given */
#define SPARE_BYTES ((uint64_t)256 << 20)

typedef const struct weir_device_table *module_fn(uint32_t abi);

static int open_module(const char *path, const struct weir_device_table **table,
                       struct weir_err *err)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol;
    module_fn *get;

    if (!module)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s; install the module, or name its folder with "
                            "WEIR_MODULES",
                            dlerror());
    symbol = dlsym(module, "weir_device_module");
    memcpy(&get, &symbol, sizeof(get));
    *table = symbol ? get(WEIR_DEVICE_ABI) : NULL;
    if (*table)
        return 0;
    dlclose(module);
    return weir_err_set(err, WEIR_ENOTSUP,
                        "%s: is a module of another version of weir; install "
                        "the one that belongs to this",
                        path);
}

int weir_device_load(const char *name, const struct weir_device_table **table,
                     struct weir_err *err)
{
    const char *folder = getenv("WEIR_MODULES");
    char path[4096];
    int n;

    *table = NULL;
    if (!folder || !*folder)
        folder = WEIR_MODULE_DIR;
    n = snprintf(path, sizeof(path), "%s/weir-%s.so", folder, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return weir_err_set(err, WEIR_ELIMIT,
                            "the folder of modules has a name of more than %zu "
                            "bytes; move it",
                            sizeof(path));
    return open_module(path, table, err);
}

static int set_budget(struct weir_device_room *room, uint64_t n_bytes,
                      struct weir_err *err)
{
    uint64_t left = room->info.free_bytes;
    uint64_t context = room->info.cc_major ? WEIR_DEVICE_CONTEXT_BYTES : 0;

    if (!n_bytes) {
        room->n_bytes = left > SPARE_BYTES ? left - SPARE_BYTES : 0;
        return 0;
    }
    room->n_bytes = n_bytes > context ? n_bytes - context : 0;
    if (room->n_bytes <= left)
        return 0;
    return weir_err_set(err, WEIR_ELIMIT,
                        "%s has %.2f GB free, less than the %.2f GB that are "
                        "to be used; end what else is on it, or allow less",
                        room->info.name, (double)left / 1e9,
                        (double)room->n_bytes / 1e9);
}

int weir_device_room_open(struct weir_device_room *room,
                          const struct weir_device_table *table,
                          unsigned ordinal, uint64_t n_bytes,
                          struct weir_err *err)
{
    unsigned n;
    int rc;

    memset(room, 0, sizeof(*room));
    room->table = table;
    n = table->count(err);
    if (n == 0)
        return WEIR_ENOTSUP;
    if (ordinal >= n)
        return weir_err_set(err, WEIR_EARG,
                            "there is no device %u; they are 0 to %u", ordinal,
                            n - 1);
    rc = table->open(ordinal, &room->device, err);
    if (!rc)
        rc = table->info(room->device, &room->info, err);
    return rc ? rc : set_budget(room, n_bytes, err);
}

void weir_device_room_close(struct weir_device_room *room)
{
    if (room->device) {
        room->table->synchronize(room->device, NULL);
        for (size_t i = room->n; i > 0; i--)
            room->table->free(room->device, room->taken[i - 1]);
        room->table->close(room->device);
    }
    free(room->taken);
    memset(room, 0, sizeof(*room));
}

uint64_t weir_device_room_left(const struct weir_device_room *room)
{
    return room->n_bytes - room->n_taken;
}

static int make_place(struct weir_device_room *room, struct weir_err *err)
{
    size_t n = room->n_places ? 2 * room->n_places : 64;
    void **taken;

    if (room->n < room->n_places)
        return 0;
    taken = realloc(room->taken, n * sizeof(*taken));
    if (!taken)
        return weir_err_nomem(err, n * sizeof(*taken), "memory of a device");
    room->taken = taken;
    room->n_places = n;
    return 0;
}

int weir_device_take(struct weir_device_room *room, uint64_t n_bytes,
                     const char *what, void **data, struct weir_err *err)
{
    int rc;

    *data = NULL;
    if (n_bytes > weir_device_room_left(room))
        return weir_err_set(err, WEIR_ELIMIT,
                            "%.1f MB of %s are wanted for %s, and %.1f of the "
                            "%.1f that may be used are left; allow more with "
                            "--vram",
                            (double)n_bytes / 1e6, room->info.name, what,
                            (double)weir_device_room_left(room) / 1e6,
                            (double)room->n_bytes / 1e6);
    rc = make_place(room, err);
    if (!rc)
        rc = room->table->alloc(room->device, n_bytes, data, err);
    if (rc)
        return rc;
    room->taken[room->n++] = *data;
    room->n_taken += n_bytes;
    return 0;
}

void weir_device_give_back(struct weir_device_room *room,
                           const struct weir_device_room *before)
{
    room->table->synchronize(room->device, NULL);
    while (room->n > before->n)
        room->table->free(room->device, room->taken[--room->n]);
    room->n_taken = before->n_taken;
}
