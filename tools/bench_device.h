/* SPDX-License-Identifier: Apache-2.0 */
/* What a device can do, measured with its own table. */
#ifndef WEIR_TOOLS_BENCH_DEVICE_H
#define WEIR_TOOLS_BENCH_DEVICE_H

#include "offload/device.h"

struct device_speeds {
    double hbm_gbps;    /* read and written together, of a copy within */
    double pcie_gbps;   /* from pinned memory of the host */
    double peak_gflops; /* of a product of bf16 that is large and square */
};

/*
 * The best of some.  Takes memory of the device for the time of the call, of
 * what its budget has left.
 */
int device_measure(struct weir_device_room *room, struct device_speeds *speeds,
                   struct weir_err *err);

#endif
