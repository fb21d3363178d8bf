/* SPDX-License-Identifier: Apache-2.0 */
/* What a device can do, measured with its own table. */
#ifndef WEIR_TOOLS_BENCH_DEVICE_H
#define WEIR_TOOLS_BENCH_DEVICE_H

#include "model/device.h"
#include "offload/plan.h"

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

/* The same of a device that nothing computes on yet */
int device_measure_empty(struct weir_device_room *room,
                         struct device_speeds *speeds, struct weir_err *err);

/* Says what the model's device is and has left, for a plan. */
void device_describe(const struct weir_on_device *on,
                     const struct device_speeds *speeds,
                     struct weir_plan_machine *machine,
                     struct weir_plan_budget *budget);

#endif
