/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench_device.h"

#include <string.h>

#define N_REPEATS    5
#define MOST_BYTES   ((uint64_t)512 << 20) /* of a copy */
#define SIDE         4096                  /* of a product */
#define SIDE_OF_HOST 64                    /* which has no clock */

struct bench_device {
    struct weir_device_room *room;
    struct weir_device_event *from, *to;
    void *memory, *pinned;
    uint64_t n_bytes; /* of both halves of `memory` each, and of `pinned` */
};

typedef void work_fn(const struct bench_device *bench);

static void copy_within(const struct bench_device *bench)
{
    bench->room->table->copy(
        bench->room->device, WEIR_STREAM_COMPUTE, bench->memory,
        (uint8_t *)bench->memory + bench->n_bytes, bench->n_bytes);
}

static void copy_there(const struct bench_device *bench)
{
    bench->room->table->to_device(bench->room->device, WEIR_STREAM_COMPUTE,
                                  bench->memory, bench->pinned, bench->n_bytes);
}

static size_t side_of(const struct bench_device *bench)
{
    size_t side = bench->room->info.cc_major ? SIDE : SIDE_OF_HOST;

    while (side > 64 && side * side * 10 > 2 * bench->n_bytes)
        side /= 2;
    return side;
}

/* y [side][side] = x W', activations rounded to bf16 */
static void multiply(const struct bench_device *bench)
{
    size_t n = side_of(bench);
    float *x = bench->memory, *y = x + n * n;
    struct weir_device_matmul matmul = {.n_tok = (uint32_t)n,
                                        .terms = WEIR_DEVICE_ROUNDED,
                                        .n_mat = 1,
                                        .x = x,
                                        .ld_x = n};

    matmul.to[0].y = y;
    matmul.to[0].ld_y = n;
    matmul.to[0].w = (struct weir_matrix){.data = y + n * n,
                                          .dtype = WEIR_BF16,
                                          .rows = (uint32_t)n,
                                          .cols = (uint32_t)n,
                                          .row_parts = 1,
                                          .col_blocks = 1,
                                          .tile_rows = (uint32_t)n,
                                          .row_bytes = (uint32_t)n * 2,
                                          .tile_stride = n * n * 2};
    bench->room->table->matmul(bench->room->device, &matmul);
}

/* Milliseconds of the fastest time; 0 where a device has no clock */
static int best_time(const struct bench_device *bench, work_fn *work,
                     double *ms, struct weir_err *err)
{
    const struct weir_device_table *table = bench->room->table;
    struct weir_device *device = bench->room->device;
    int rc = 0;

    *ms = 0;
    work(bench);
    for (int i = 0; i < N_REPEATS && !rc; i++) {
        double one;

        table->record(device, WEIR_STREAM_COMPUTE, bench->from);
        work(bench);
        table->record(device, WEIR_STREAM_COMPUTE, bench->to);
        rc = table->synchronize(device, err);
        one = rc ? 0 : table->elapsed_ms(device, bench->from, bench->to);
        if (*ms == 0 || one < *ms)
            *ms = one;
    }
    return rc;
}

static double rate(double amount, double ms)
{
    return ms > 0 ? amount / (ms * 1e6) : 0;
}

static int measure(const struct bench_device *bench,
                   struct device_speeds *speeds, struct weir_err *err)
{
    double n = (double)side_of(bench), ms;
    int rc = best_time(bench, copy_within, &ms, err);

    speeds->hbm_gbps = rate(2 * (double)bench->n_bytes, ms);
    if (!rc)
        rc = best_time(bench, copy_there, &ms, err);
    speeds->pcie_gbps = rate((double)bench->n_bytes, ms);
    if (!rc)
        rc = best_time(bench, multiply, &ms, err);
    speeds->peak_gflops = rate(2 * n * n * n, ms);
    return rc;
}

static int take(struct bench_device *bench, struct weir_err *err)
{
    struct weir_device_room *room = bench->room;
    uint64_t left = weir_device_room_left(room) / 2 / 4096 * 4096;
    int rc;

    bench->n_bytes = left < MOST_BYTES ? left : MOST_BYTES;
    if (bench->n_bytes < 1 << 20)
        return weir_err_set(err, WEIR_ELIMIT,
                            "the budget leaves no memory of %s to measure "
                            "with; allow more",
                            room->info.name);
    rc = room->table->alloc(room->device, 2 * bench->n_bytes, &bench->memory,
                            err);
    if (!rc)
        rc = room->table->pinned_alloc(room->device, bench->n_bytes,
                                       &bench->pinned, err);
    if (!rc)
        rc = room->table->event_new(room->device, &bench->from, err);
    if (!rc)
        rc = room->table->event_new(room->device, &bench->to, err);
    return rc;
}

/* bf16 weights and f32 activations alike are small numbers then. */
static void fill(const struct bench_device *bench)
{
    uint32_t *words = bench->pinned, seed = 1;

    for (size_t i = 0; i < bench->n_bytes / 4; i++) {
        seed = seed * 1664525u + 1013904223u;
        words[i] = 0x3c003c00u | (seed >> 8 & 0x00ff00ffu);
    }
    copy_there(bench);
    bench->room->table->copy(bench->room->device, WEIR_STREAM_COMPUTE,
                             (uint8_t *)bench->memory + bench->n_bytes,
                             bench->memory, bench->n_bytes);
}

int device_measure(struct weir_device_room *room, struct device_speeds *speeds,
                   struct weir_err *err)
{
    struct bench_device bench = {.room = room};
    int rc = take(&bench, err);

    memset(speeds, 0, sizeof(*speeds));
    if (!rc) {
        fill(&bench);
        rc = measure(&bench, speeds, err);
    }
    if (bench.from)
        room->table->event_free(room->device, bench.from);
    if (bench.to)
        room->table->event_free(room->device, bench.to);
    if (bench.pinned)
        room->table->pinned_free(room->device, bench.pinned);
    if (bench.memory)
        room->table->free(room->device, bench.memory);
    return rc;
}

int device_measure_empty(struct weir_device_room *room,
                         struct device_speeds *speeds, struct weir_err *err)
{
    const struct weir_device_limits limits = {
        .n_tok = SIDE, .rows = SIDE, .cols = SIDE};
    int rc = room->table->reserve(room->device, &limits, err);

    return rc ? rc : device_measure(room, speeds, err);
}

void device_describe(const struct weir_on_device *on,
                     const struct device_speeds *speeds,
                     struct weir_plan_machine *machine,
                     struct weir_plan_budget *budget)
{
    machine->hbm_gbps = speeds->hbm_gbps;
    machine->pcie_gbps = speeds->pcie_gbps;
    machine->device_gflops = speeds->peak_gflops;
    budget->device_bytes = on->weight_room;
    budget->only_device = on->only_device;
}
