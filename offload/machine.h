/* SPDX-License-Identifier: Apache-2.0 */
/* What memory there is for this process. */
#ifndef WEIR_OFFLOAD_MACHINE_H
#define WEIR_OFFLOAD_MACHINE_H

#include <stdint.h>

struct weir_machine_ram {
    uint64_t total;     /* of the machine, or what a cgroup allows */
    uint64_t available; /* of it, without paging anything out but files */
};

/*
 * Reads it from /proc/meminfo and from the memory cgroups, of version 1 or 2,
 * that this process is in, below the folder `root` ("" but for tests).  What
 * cannot be known is UINT64_MAX.
 */
void weir_machine_read_ram(const char *root, struct weir_machine_ram *ram);

/* A budget that leaves the machine usable: seven eighths of what is available,
 * and a gibibyte of it untouched where that is more, but at least half. */
uint64_t weir_machine_default_budget(const struct weir_machine_ram *ram);

#endif
