/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The module: a device's memory, streams and graphs, and the table that names
 * them and the operations.
 */
#include "kernels/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

#define LEAST_MAJOR 8 /* bf16 in the matrix units, asynchronous copies */

struct weir_device_event {
    cudaEvent_t event;
};

struct weir_device_graph {
    cudaGraphExec_t exec;
};

static int code_of(cudaError_t rc)
{
    return rc == cudaErrorMemoryAllocation ? WEIR_ENOMEM : WEIR_EIO;
}

static int set_err(struct weir_err *err, cudaError_t rc, const char *what)
{
    return weir_err_set(err, code_of(rc), "the GPU: %s: %s", what,
                        cudaGetErrorString(rc));
}

void weir_cuda_fail(struct weir_device *device, int code, const char *what)
{
    if (!device->failed.code)
        weir_err_set(&device->failed, code, "the GPU: %s", what);
}

void weir_cuda_check(struct weir_device *device, cudaError_t rc,
                     const char *what)
{
    if (rc != cudaSuccess && !device->failed.code)
        set_err(&device->failed, rc, what);
}

int weir_cuda_has_scratch(struct weir_device *device, uint64_t n_bytes,
                          const char *what)
{
    if (n_bytes <= device->scratch_bytes)
        return 1;
    if (!device->failed.code)
        weir_err_set(&device->failed, WEIR_ELIMIT,
                     "the GPU: %s needs %llu bytes beside its operands and "
                     "%llu were reserved",
                     what, (unsigned long long)n_bytes,
                     (unsigned long long)device->scratch_bytes);
    return 0;
}

/* What a product left may not be what it was after this. */
static void forget_left(struct weir_device *device)
{
    device->left.x = NULL;
}

/* What a kernel may take without asking, beside what it has a name for */
#define SHARED_FREE 32768

void weir_cuda_launch(struct weir_device *device, const void *kernel, dim3 grid,
                      unsigned block, size_t shared_bytes, void **args)
{
    cudaLaunchAttribute early = {
        .id = cudaLaunchAttributeProgrammaticStreamSerialization,
        .val.programmaticStreamSerializationAllowed = 1,
    };
    cudaLaunchConfig_t config = {
        .gridDim = grid,
        .blockDim = {block, 1, 1},
        .dynamicSmemBytes = shared_bytes,
        .stream = device->stream[WEIR_STREAM_COMPUTE],
        .attrs = &early,
        .numAttrs = device->cc_major >= 9,
    };
    cudaError_t rc = cudaSuccess;

    forget_left(device);
    if (device->failed.code)
        return;
    if (shared_bytes > SHARED_FREE)
        rc = cudaFuncSetAttribute(kernel,
                                  cudaFuncAttributeMaxDynamicSharedMemorySize,
                                  (int)shared_bytes);
    if (rc == cudaSuccess)
        rc = cudaLaunchKernelExC(&config, kernel, args);
    weir_cuda_check(device, rc, "an operation does not start");
}

static unsigned cuda_count(struct weir_err *err)
{
    int n = 0;
    cudaError_t rc = cudaGetDeviceCount(&n);

    if (rc != cudaSuccess || n < 1) {
        set_err(err, rc == cudaSuccess ? cudaErrorNoDevice : rc,
                "none can be used");
        return 0;
    }
    return (unsigned)n;
}

static void cuda_close(struct weir_device *device)
{
    if (!device)
        return;
    cudaSetDevice((int)device->ordinal);
    for (unsigned i = 0; i < 2; i++)
        if (device->stream[i]) {
            cudaStreamSynchronize(device->stream[i]);
            cudaStreamDestroy(device->stream[i]);
        }
    cudaFree(device->counters);
    free(device);
}

static int cuda_reserve(struct weir_device *device,
                        const struct weir_device_limits *limits,
                        struct weir_err *err);

static int start(struct weir_device *device, struct weir_err *err)
{
    static const struct weir_device_limits none;
    int ordinal = (int)device->ordinal, major = 0, n_sm = 0, shared = 0;
    cudaError_t rc = cudaSetDevice(ordinal);

    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor,
                                    ordinal);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(&n_sm, cudaDevAttrMultiProcessorCount,
                                    ordinal);
    if (rc == cudaSuccess)
        rc = cudaDeviceGetAttribute(
            &shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, ordinal);
    for (unsigned i = 0; i < 2 && rc == cudaSuccess; i++)
        rc = cudaStreamCreateWithFlags(&device->stream[i],
                                       cudaStreamNonBlocking);
    if (rc != cudaSuccess)
        return set_err(err, rc, "it cannot be opened");
    if (major < LEAST_MAJOR)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "GPU %d has compute capability %d.x; weir needs "
                            "%d.0 or newer: use --device cpu",
                            ordinal, major, LEAST_MAJOR);
    device->cc_major = major;
    device->n_sm = n_sm;
    device->shared_bytes = shared;
    return cuda_reserve(device, &none, err);
}

static int cuda_open(unsigned ordinal, struct weir_device **device,
                     struct weir_err *err)
{
    unsigned n = cuda_count(err);
    int rc;

    *device = NULL;
    if (!n)
        return WEIR_ENOTSUP;
    if (ordinal >= n)
        return weir_err_set(err, WEIR_EARG,
                            "there is no GPU %u: they are 0 to %u", ordinal,
                            n - 1);
    *device = calloc(1, sizeof(**device));
    if (!*device)
        return weir_err_nomem(err, sizeof(**device), "a GPU");
    (*device)->ordinal = ordinal;
    rc = start(*device, err);
    if (rc) {
        cuda_close(*device);
        *device = NULL;
    }
    return rc;
}

static int cuda_info(struct weir_device *device, struct weir_device_info *info,
                     struct weir_err *err)
{
    struct cudaDeviceProp prop;
    size_t free_bytes, total_bytes;
    cudaError_t rc = cudaSetDevice((int)device->ordinal);

    if (rc == cudaSuccess)
        rc = cudaGetDeviceProperties(&prop, (int)device->ordinal);
    if (rc == cudaSuccess)
        rc = cudaMemGetInfo(&free_bytes, &total_bytes);
    memset(info, 0, sizeof(*info));
    if (rc == cudaSuccess)
        rc = cudaDeviceGetPCIBusId(info->pci, sizeof(info->pci),
                                   (int)device->ordinal);
    if (rc != cudaSuccess)
        return set_err(err, rc, "it does not say what it is");
    memcpy(info->name, prop.name, sizeof(info->name) - 1);
    info->cc_major = (unsigned)prop.major;
    info->cc_minor = (unsigned)prop.minor;
    info->n_units = (unsigned)prop.multiProcessorCount;
    info->total_bytes = total_bytes;
    info->free_bytes = free_bytes;
    return 0;
}

#define COUNTER_BYTES (CUDA_COUNTERS * sizeof(uint32_t))

/* Of rows of activations: factors, and squares of a few */
static uint64_t norm_bytes(const struct weir_device_limits *limits)
{
    uint64_t squares = WEIR_DEVICE_FEW * (uint64_t)CUDA_SQUARES(limits->cols);

    return ((limits->n_tok + 3 + squares) * sizeof(float) + 255) / 256 * 256;
}

static uint64_t cuda_workspace_bytes(const struct weir_device_limits *limits)
{
    uint64_t most = weir_cuda_matmul_bytes(limits);
    uint64_t experts = weir_cuda_experts_bytes(limits);
    uint64_t attention = weir_cuda_attention_bytes(limits);

    most = most > experts ? most : experts;
    most = most > attention ? most : attention;
    return COUNTER_BYTES + norm_bytes(limits) + most;
}

static int cuda_reserve(struct weir_device *device,
                        const struct weir_device_limits *limits,
                        struct weir_err *err)
{
    uint64_t n_bytes = cuda_workspace_bytes(limits);
    cudaError_t rc = cudaFree(device->counters);

    device->counters = NULL;
    forget_left(device);
    device->scratch_bytes = 0;
    if (rc == cudaSuccess)
        rc = cudaMalloc((void **)&device->counters, n_bytes);
    if (rc == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return weir_err_nomem(err, n_bytes, "what a GPU works with");
    }
    if (rc == cudaSuccess)
        rc = cudaMemset(device->counters, 0, COUNTER_BYTES);
    if (rc == cudaSuccess)
        rc = cudaDeviceSynchronize();
    if (rc != cudaSuccess)
        return set_err(err, rc, "its workspace");
    device->limits = *limits;
    device->factors = (float *)(device->counters + CUDA_COUNTERS);
    device->squares = device->factors + (limits->n_tok + 3) / 4 * 4;
    device->scratch = (uint8_t *)device->factors + norm_bytes(limits);
    device->scratch_bytes = n_bytes - COUNTER_BYTES - norm_bytes(limits);
    return 0;
}

static int cuda_alloc(struct weir_device *device, uint64_t n_bytes, void **data,
                      struct weir_err *err)
{
    cudaError_t rc = cudaSetDevice((int)device->ordinal);

    if (rc == cudaSuccess)
        rc = cudaMalloc(data, n_bytes ? n_bytes : 1);
    if (rc == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return weir_err_nomem(err, n_bytes, "memory of the GPU");
    }
    return rc == cudaSuccess ? 0 : set_err(err, rc, "memory");
}

static void cuda_free(struct weir_device *device, void *data)
{
    weir_cuda_check(device, cudaFree(data), "releasing memory");
}

static int cuda_pinned_alloc(struct weir_device *device, size_t n_bytes,
                             void **data, struct weir_err *err)
{
    cudaError_t rc = cudaSetDevice((int)device->ordinal);

    if (rc == cudaSuccess)
        rc = cudaHostAlloc(data, n_bytes ? n_bytes : 1, cudaHostAllocPortable);
    return rc == cudaSuccess ? 0 : set_err(err, rc, "pinned memory");
}

static void cuda_pinned_free(struct weir_device *device, void *data)
{
    weir_cuda_check(device, cudaFreeHost(data), "releasing pinned memory");
}

static int cuda_pin(struct weir_device *device, void *data, size_t n_bytes,
                    struct weir_err *err)
{
    cudaError_t rc = cudaSetDevice((int)device->ordinal);

    if (rc == cudaSuccess)
        rc = cudaHostRegister(data, n_bytes, cudaHostRegisterPortable);
    if (rc != cudaSuccess)
        cudaGetLastError();
    return rc == cudaSuccess ? 0 : set_err(err, rc, "pinning memory");
}

static void cuda_unpin(struct weir_device *device, void *data)
{
    weir_cuda_check(device, cudaHostUnregister(data), "unpinning memory");
}

static void move(struct weir_device *device, enum weir_device_stream stream,
                 void *dst, const void *src, size_t n_bytes,
                 enum cudaMemcpyKind kind)
{
    forget_left(device);
    if (!device->failed.code && n_bytes)
        weir_cuda_check(
            device,
            cudaMemcpyAsync(dst, src, n_bytes, kind, device->stream[stream]),
            "a copy does not start");
}

static void cuda_to_device(struct weir_device *device,
                           enum weir_device_stream stream, void *dst,
                           const void *src, size_t n_bytes)
{
    move(device, stream, dst, src, n_bytes, cudaMemcpyHostToDevice);
}

static void cuda_to_host(struct weir_device *device,
                         enum weir_device_stream stream, void *dst,
                         const void *src, size_t n_bytes)
{
    move(device, stream, dst, src, n_bytes, cudaMemcpyDeviceToHost);
}

static void cuda_copy(struct weir_device *device,
                      enum weir_device_stream stream, void *dst,
                      const void *src, size_t n_bytes)
{
    move(device, stream, dst, src, n_bytes, cudaMemcpyDeviceToDevice);
}

static void cuda_fill(struct weir_device *device,
                      enum weir_device_stream stream, void *dst, int byte,
                      size_t n_bytes)
{
    forget_left(device);
    if (!device->failed.code && n_bytes)
        weir_cuda_check(
            device, cudaMemsetAsync(dst, byte, n_bytes, device->stream[stream]),
            "filling memory");
}

void weir_cuda_fill(struct weir_device *device, void *data, size_t n_bytes)
{
    cuda_fill(device, WEIR_STREAM_COMPUTE, data, 0, n_bytes);
}

static int cuda_event_new(struct weir_device *device,
                          struct weir_device_event **event,
                          struct weir_err *err)
{
    cudaError_t rc = cudaSetDevice((int)device->ordinal);

    *event = malloc(sizeof(**event));
    if (!*event)
        return weir_err_nomem(err, sizeof(**event), "an event");
    if (rc == cudaSuccess)
        rc = cudaEventCreate(&(*event)->event);
    if (rc == cudaSuccess)
        return 0;
    free(*event);
    *event = NULL;
    return set_err(err, rc, "an event");
}

static void cuda_event_free(struct weir_device *device,
                            struct weir_device_event *event)
{
    if (!event)
        return;
    weir_cuda_check(device, cudaEventDestroy(event->event), "an event");
    free(event);
}

static void cuda_record(struct weir_device *device,
                        enum weir_device_stream stream,
                        struct weir_device_event *event)
{
    weir_cuda_check(device,
                    cudaEventRecord(event->event, device->stream[stream]),
                    "recording an event");
}

static void cuda_wait(struct weir_device *device,
                      enum weir_device_stream stream,
                      struct weir_device_event *event)
{
    weir_cuda_check(device,
                    cudaStreamWaitEvent(device->stream[stream], event->event,
                                        cudaEventWaitDefault),
                    "waiting for an event");
}

static int cuda_is_over(struct weir_device *device,
                        struct weir_device_event *event)
{
    cudaError_t rc = cudaEventQuery(event->event);

    if (rc == cudaErrorNotReady)
        return 0;
    weir_cuda_check(device, rc, "asking for an event");
    return 1;
}

static float cuda_elapsed_ms(struct weir_device *device,
                             struct weir_device_event *from,
                             struct weir_device_event *to)
{
    float ms = 0;

    weir_cuda_check(device, cudaEventElapsedTime(&ms, from->event, to->event),
                    "the time between events");
    return ms;
}

static int cuda_check(struct weir_device *device, struct weir_err *err)
{
    weir_cuda_check(device, cudaPeekAtLastError(), "an operation failed");
    if (device->failed.code && err)
        *err = device->failed;
    return device->failed.code;
}

static int cuda_capture_begin(struct weir_device *device, struct weir_err *err)
{
    cudaError_t rc = cudaStreamBeginCapture(device->stream[WEIR_STREAM_COMPUTE],
                                            cudaStreamCaptureModeThreadLocal);

    forget_left(device);
    return rc == cudaSuccess ? 0 : set_err(err, rc, "capturing");
}

static int cuda_capture_end(struct weir_device *device,
                            struct weir_device_graph **graph,
                            struct weir_err *err)
{
    cudaGraph_t drawn = NULL;
    cudaError_t rc =
        cudaStreamEndCapture(device->stream[WEIR_STREAM_COMPUTE], &drawn);

    forget_left(device);
    *graph = NULL;
    if (rc == cudaSuccess && !device->failed.code) {
        *graph = malloc(sizeof(**graph));
        rc = *graph ? cudaGraphInstantiate(&(*graph)->exec, drawn, 0)
                    : cudaErrorMemoryAllocation;
    }
    if (drawn)
        cudaGraphDestroy(drawn);
    if (rc == cudaSuccess)
        return cuda_check(device, err);
    free(*graph);
    *graph = NULL;
    return set_err(err, rc, "what was captured");
}

static void cuda_graph_launch(struct weir_device *device,
                              struct weir_device_graph *graph)
{
    forget_left(device);
    if (!device->failed.code)
        weir_cuda_check(
            device,
            cudaGraphLaunch(graph->exec, device->stream[WEIR_STREAM_COMPUTE]),
            "a graph does not start");
}

static void cuda_graph_free(struct weir_device *device,
                            struct weir_device_graph *graph)
{
    if (!graph)
        return;
    weir_cuda_check(device, cudaGraphExecDestroy(graph->exec), "a graph");
    free(graph);
}

static int cuda_synchronize(struct weir_device *device, struct weir_err *err)
{
    for (unsigned i = 0; i < 2; i++)
        weir_cuda_check(device, cudaStreamSynchronize(device->stream[i]),
                        "an operation failed");
    return cuda_check(device, err);
}

static const struct weir_device_table table = {
    .abi = WEIR_DEVICE_ABI,
    .kind = "cuda",
    .count = cuda_count,
    .open = cuda_open,
    .close = cuda_close,
    .info = cuda_info,
    .reserve = cuda_reserve,
    .workspace_bytes = cuda_workspace_bytes,
    .alloc = cuda_alloc,
    .free = cuda_free,
    .pinned_alloc = cuda_pinned_alloc,
    .pinned_free = cuda_pinned_free,
    .pin = cuda_pin,
    .unpin = cuda_unpin,
    .to_device = cuda_to_device,
    .to_host = cuda_to_host,
    .copy = cuda_copy,
    .fill = cuda_fill,
    .event_new = cuda_event_new,
    .event_free = cuda_event_free,
    .record = cuda_record,
    .wait = cuda_wait,
    .is_over = cuda_is_over,
    .elapsed_ms = cuda_elapsed_ms,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .graph_launch = cuda_graph_launch,
    .graph_free = cuda_graph_free,
    .synchronize = cuda_synchronize,
    .check = cuda_check,
    .matmul = weir_cuda_matmul,
    .route = weir_cuda_route,
    .experts = weir_cuda_experts,
    .conv = weir_cuda_conv,
    .scan = weir_cuda_scan,
    .attention = weir_cuda_attention,
    .rms_norm = weir_cuda_rms_norm,
    .add = weir_cuda_add,
    .rows = weir_cuda_rows,
    .gather = weir_cuda_gather,
    .choose = weir_cuda_choose,
};

__attribute__((visibility("default"))) const struct weir_device_table *
weir_device_module(uint32_t abi)
{
    return abi == WEIR_DEVICE_ABI ? &table : NULL;
}
