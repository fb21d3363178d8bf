/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CPU behind a device table, so that what a GPU is told to do can be done
 * and looked at on any machine.  One thread does each operation when it is
 * handed in, token by token, with the kernels of the CPU's level; all products
 * keep f32.  A graph is the list of what was handed in.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "offload/device_host.h"

struct step {
    struct step *next;
    weir_host_operation *run;
    max_align_t args[];
};

struct weir_device_graph {
    struct step *first, **last;
};

struct weir_device_event {
    int unused;
};

static void fail(struct weir_device *device, int rc, const char *what)
{
    if (!device->rc)
        device->rc = weir_err_set(&device->err, rc, "%s", what);
}

void weir_host_submit(struct weir_device *device, weir_host_operation *run,
                      const void *args, size_t n_bytes)
{
    struct step *step;

    if (!device->graph) {
        run(device, args);
        return;
    }
    step = malloc(sizeof(*step) + n_bytes);
    if (!step) {
        fail(device, WEIR_ENOMEM, "out of memory for a graph");
        return;
    }
    step->next = NULL;
    step->run = run;
    memcpy(step->args, args, n_bytes);
    *device->graph->last = step;
    device->graph->last = &step->next;
}

/* ---- devices ---- */

static unsigned count(struct weir_err *err)
{
    (void)err;
    return 1;
}

static int open_device(unsigned ordinal, struct weir_device **out,
                       struct weir_err *err)
{
    struct weir_device *device = calloc(1, sizeof(*device));
    int rc;

    (void)ordinal;
    *out = device;
    if (!device)
        return weir_err_nomem(err, sizeof(*device), "a device");
    rc = weir_kernels_select(&device->kernels, err);
    if (!rc)
        return 0;
    free(device);
    *out = NULL;
    return rc;
}

static void close_device(struct weir_device *device)
{
    free(device->work);
    free(device);
}

static int info(struct weir_device *device, struct weir_device_info *out,
                struct weir_err *err)
{
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    (void)device;
    (void)err;
    *out = (struct weir_device_info){
        .name = "the CPU",
        .n_units = 1,
        .total_bytes = page * (uint64_t)sysconf(_SC_PHYS_PAGES),
        .free_bytes = page * (uint64_t)sysconf(_SC_AVPHYS_PAGES)};
    return 0;
}

static size_t width_of(const struct weir_device_limits *limits)
{
    const uint32_t most[] = {limits->rows, limits->cols, limits->hidden,
                             limits->inter, 256};
    size_t width = 0;

    for (size_t i = 0; i < sizeof(most) / sizeof(most[0]); i++)
        width = most[i] > width ? most[i] : width;
    return (width + 15) / 16 * 16;
}

static uint64_t workspace_bytes(const struct weir_device_limits *limits)
{
    return N_ROWS * width_of(limits) * sizeof(float);
}

static int reserve(struct weir_device *device,
                   const struct weir_device_limits *limits,
                   struct weir_err *err)
{
    free(device->work);
    device->limits = *limits;
    device->width = width_of(limits);
    device->work = aligned_alloc(64, workspace_bytes(limits));
    return device->work
               ? 0
               : weir_err_nomem(err, workspace_bytes(limits), "a device");
}

/* ---- memory, and order, of which there is but one ---- */

static int alloc(struct weir_device *device, uint64_t n_bytes, void **data,
                 struct weir_err *err)
{
    (void)device;
    *data = aligned_alloc(256, (n_bytes + 255) / 256 * 256);
    return *data ? 0 : weir_err_nomem(err, n_bytes, "a device");
}

static int pinned_alloc(struct weir_device *device, size_t n_bytes, void **data,
                        struct weir_err *err)
{
    return alloc(device, n_bytes, data, err);
}

static void free_memory(struct weir_device *device, void *data)
{
    (void)device;
    free(data);
}

static int pin(struct weir_device *device, void *data, size_t n_bytes,
               struct weir_err *err)
{
    (void)device;
    (void)data;
    (void)n_bytes;
    (void)err;
    return 0;
}

static void unpin(struct weir_device *device, void *data)
{
    (void)device;
    (void)data;
}

struct copying {
    void *dst;
    const void *src;
    int byte;
    size_t n_bytes;
};

static void run_copy(struct weir_device *device, const void *args)
{
    const struct copying *copying = args;

    (void)device;
    memcpy(copying->dst, copying->src, copying->n_bytes);
}

static void copy(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, const void *src, size_t n_bytes)
{
    const struct copying copying = {dst, src, 0, n_bytes};

    (void)stream;
    SUBMIT(run_copy, &copying);
}

static void run_fill(struct weir_device *device, const void *args)
{
    const struct copying *copying = args;

    (void)device;
    memset(copying->dst, copying->byte, copying->n_bytes);
}

static void fill(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, int byte, size_t n_bytes)
{
    const struct copying copying = {dst, NULL, byte, n_bytes};

    (void)stream;
    SUBMIT(run_fill, &copying);
}

static int event_new(struct weir_device *device,
                     struct weir_device_event **event, struct weir_err *err)
{
    (void)device;
    *event = calloc(1, sizeof(**event));
    return *event ? 0 : weir_err_nomem(err, sizeof(**event), "an event");
}

static void event_free(struct weir_device *device,
                       struct weir_device_event *event)
{
    (void)device;
    free(event);
}

static void record(struct weir_device *device, enum weir_device_stream stream,
                   struct weir_device_event *event)
{
    (void)device;
    (void)stream;
    (void)event;
}

static int is_over(struct weir_device *device, struct weir_device_event *event)
{
    (void)device;
    (void)event;
    return 1;
}

static float elapsed_ms(struct weir_device *device,
                        struct weir_device_event *from,
                        struct weir_device_event *to)
{
    (void)device;
    (void)from;
    (void)to;
    return 0;
}

static int check(struct weir_device *device, struct weir_err *err)
{
    if (device->rc && err)
        *err = device->err;
    return device->rc;
}

/* ---- graphs ---- */

static void graph_free(struct weir_device *device,
                       struct weir_device_graph *graph)
{
    struct step *next;

    (void)device;
    for (struct step *step = graph ? graph->first : NULL; step; step = next) {
        next = step->next;
        free(step);
    }
    free(graph);
}

static int capture_begin(struct weir_device *device, struct weir_err *err)
{
    device->graph = calloc(1, sizeof(*device->graph));
    if (!device->graph)
        return weir_err_nomem(err, sizeof(*device->graph), "a graph");
    device->graph->last = &device->graph->first;
    return 0;
}

static int capture_end(struct weir_device *device,
                       struct weir_device_graph **graph, struct weir_err *err)
{
    *graph = device->graph;
    device->graph = NULL;
    if (!device->rc)
        return 0;
    graph_free(device, *graph);
    *graph = NULL;
    return check(device, err);
}

static void graph_launch(struct weir_device *device,
                         struct weir_device_graph *graph)
{
    for (const struct step *step = graph->first; step; step = step->next)
        step->run(device, step->args);
}

const struct weir_device_table weir_device_host = {
    .abi = WEIR_DEVICE_ABI,
    .kind = "host",
    .count = count,
    .open = open_device,
    .close = close_device,
    .info = info,
    .reserve = reserve,
    .workspace_bytes = workspace_bytes,
    .alloc = alloc,
    .free = free_memory,
    .pinned_alloc = pinned_alloc,
    .pinned_free = free_memory,
    .pin = pin,
    .unpin = unpin,
    .to_device = copy,
    .to_host = copy,
    .copy = copy,
    .fill = fill,
    .event_new = event_new,
    .event_free = event_free,
    .record = record,
    .wait = record,
    .is_over = is_over,
    .elapsed_ms = elapsed_ms,
    .capture_begin = capture_begin,
    .capture_end = capture_end,
    .graph_launch = graph_launch,
    .graph_free = graph_free,
    .synchronize = check,
    .check = check,
    .matmul = weir_host_matmul,
    .route = weir_host_route,
    .experts = weir_host_experts,
    .conv = weir_host_conv,
    .scan = weir_host_scan,
    .attention = weir_host_attention,
    .rms_norm = weir_host_rms_norm,
    .add = weir_host_add,
    .rows = weir_host_rows,
    .gather = weir_host_gather,
    .choose = weir_host_choose,
};
