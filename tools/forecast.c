/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/forecast.h"

#include "model/plan_model.h"
#include "offload/decode_rate.h"
#include "offload/drives.h"
#include "offload/machine.h"
#include "engine/session.h"
#include "offload/device.h"
#include "tools/bench_device.h"
#include "tools/bench_probe.h"

void forecast_init(struct weir_plan_machine *machine,
                   struct weir_plan_budget *budget)
{
    *machine = (struct weir_plan_machine){
        .n_threads = weir_pool_default_threads(),
        .decode_gbps = {[WEIR_CODEC_ZSTD] = WEIR_PLAN_ZSTD_GBPS,
                        [WEIR_CODEC_PLANES] = WEIR_PLAN_PLANES_GBPS}};
    *budget = (struct weir_plan_budget){.fixed_bytes = WEIR_PLAN_FIXED_BYTES,
                                        .batch = 1};
}

/* What the threads of the pool decode */
static int measure_decoding(struct weir_plan_machine *machine,
                            struct weir_pool *pool, struct weir_err *err)
{
    int rc = 0;

    for (int i = WEIR_CODEC_RAW + 1; i < WEIR_N_CODECS && !rc; i++) {
        rc = weir_decode_rate(pool, i, &machine->decode_gbps[i], err);
        machine->decode_gbps[i] /= 1e9;
    }
    return rc;
}

int forecast_measure(struct weir_plan_machine *machine, struct weir_pool *pool,
                     uint64_t most_bytes, struct weir_err *err)
{
    struct weir_kernels kernels;
    struct probe probe = {0};
    double flop;
    int rc;

    if (machine->gflops && machine->dram_gbps)
        return 0;
    rc = measure_decoding(machine, pool, err);
    if (!rc)
        rc = weir_kernels_select(&kernels, err);
    if (!rc && !machine->gflops) {
        rc = probe_products(pool, &kernels, &flop, err);
        if (!rc)
            machine->gflops = flop / 1e9;
    }
    if (!rc && !machine->dram_gbps) {
        rc = probe_init(&probe, weir_pool_n_threads(pool), most_bytes, err);
        if (!rc)
            machine->dram_gbps = probe_read(&probe, pool, &kernels) / 1e9;
        probe_fini(&probe);
    }
    return rc;
}

int forecast_measure_alone(struct weir_plan_machine *machine,
                           uint64_t most_bytes, struct weir_err *err)
{
    struct weir_pool *pool;
    int rc;

    if (machine->gflops && machine->dram_gbps)
        return 0;
    rc = weir_pool_new(machine->n_threads, &pool, err);
    if (rc)
        return rc;
    rc = forecast_measure(machine, pool, most_bytes, err);
    weir_pool_free(pool);
    return rc;
}

static int measure_device(struct weir_plan_machine *machine,
                          const struct weir_device_table *table,
                          struct weir_err *err)
{
    struct weir_device_room room;
    struct device_speeds speeds;
    int rc = weir_device_room_open(&room, table, 0, 0, err);

    if (!rc)
        rc = device_measure_empty(&room, &speeds, err);
    weir_device_room_close(&room);
    if (rc)
        return rc;
    if (!machine->hbm_gbps)
        machine->hbm_gbps = speeds.hbm_gbps;
    if (!machine->pcie_gbps)
        machine->pcie_gbps = speeds.pcie_gbps;
    if (!machine->device_gflops)
        machine->device_gflops = speeds.peak_gflops;
    return 0;
}

int forecast_measure_device(struct weir_plan_machine *machine,
                            enum weir_device_choice choice,
                            struct weir_err *err)
{
    const struct weir_device_table *table;
    int rc;

    if (machine->hbm_gbps && machine->pcie_gbps && machine->device_gflops)
        return 0;
    rc = weir_model_find_device(choice, &table, err);
    return rc || !table ? rc : measure_device(machine, table, err);
}

void forecast_know_drive(struct weir_plan_machine *machine,
                         const struct weir_file *file)
{
    struct weir_drives drives;

    if (machine->disk_gbps)
        return;
    weir_drives_get(file, &drives);
    machine->disk_gbps = drives.gbps;
}

void forecast_know_ram(struct weir_plan_machine *machine)
{
    struct weir_machine_ram ram;

    weir_machine_read_ram("", &ram);
    machine->ram_bytes = weir_machine_default_budget(&ram);
}

int forecast_make(struct weir_plan *plan,
                  const struct weir_plan_machine *machine,
                  const struct weir_plan_budget *budget,
                  const struct weir_file *file,
                  const struct weir_config *config, enum weir_dtype kv,
                  struct weir_err *err)
{
    struct weir_plan_model model;
    int rc =
        weir_plan_model_init(&model, file, config, kv, machine->n_threads, err);

    if (!rc)
        rc = weir_plan_make(plan, machine, &model, budget, err);
    weir_plan_model_fini(&model);
    return rc;
}
