/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that fails, at each of the calls in turn that can say so: once, as
 * when memory is short for a moment, or for good, as after a fault of a kernel.
 * What was under way ends with an error or with its bits; after the one other
 * sessions have theirs, after the other they are refused; and the process goes
 * on, with nothing left behind.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session.h"
#include "model/device.h"
#include "model/import.h"
#include "offload/device.h"
#include "tests/tap.h"

#define N_VOCAB  512
#define N_PROMPT 40
#define N_DECODE 4
#define N_CTX    (N_PROMPT + N_DECODE)

#define EACH_OF 60 /* calls, and then some */
#define STEP    11

static char path[] = "fault_device.XXXXXX";
static int32_t ids[N_CTX];

/* ---- a device that fails ---- */

static unsigned long n_calls, nth; /* 0: none fails */
static int for_good, has_failed;
static long n_live; /* allocations, events, graphs */

static int fails(struct weir_err *err)
{
    n_calls++;
    if (n_calls != nth && !(has_failed && for_good))
        return 0;
    has_failed = 1;
    return weir_err_set(err, WEIR_EIO, "device: an illegal address was met");
}

static const struct weir_device_table *host = &weir_device_host;

static int open_device(unsigned ordinal, struct weir_device **device,
                       struct weir_err *err)
{
    *device = NULL;
    return fails(err) ? WEIR_EIO : host->open(ordinal, device, err);
}

static int info(struct weir_device *device, struct weir_device_info *about,
                struct weir_err *err)
{
    return fails(err) ? WEIR_EIO : host->info(device, about, err);
}

static int reserve(struct weir_device *device,
                   const struct weir_device_limits *limits,
                   struct weir_err *err)
{
    return fails(err) ? WEIR_EIO : host->reserve(device, limits, err);
}

static int count_live(int rc)
{
    n_live += rc == 0;
    return rc;
}

static int alloc(struct weir_device *device, uint64_t n_bytes, void **data,
                 struct weir_err *err)
{
    *data = NULL;
    return fails(err) ? WEIR_EIO
                      : count_live(host->alloc(device, n_bytes, data, err));
}

static void free_data(struct weir_device *device, void *data)
{
    n_live -= data != NULL;
    host->free(device, data);
}

static int pinned_alloc(struct weir_device *device, size_t n_bytes, void **data,
                        struct weir_err *err)
{
    *data = NULL;
    return fails(err)
               ? WEIR_EIO
               : count_live(host->pinned_alloc(device, n_bytes, data, err));
}

static void pinned_free(struct weir_device *device, void *data)
{
    n_live -= data != NULL;
    host->pinned_free(device, data);
}

static int pin(struct weir_device *device, void *data, size_t n_bytes,
               struct weir_err *err)
{
    return fails(err) ? WEIR_EIO
                      : count_live(host->pin(device, data, n_bytes, err));
}

static void unpin(struct weir_device *device, void *data)
{
    n_live--;
    host->unpin(device, data);
}

static int event_new(struct weir_device *device,
                     struct weir_device_event **event, struct weir_err *err)
{
    *event = NULL;
    return fails(err) ? WEIR_EIO
                      : count_live(host->event_new(device, event, err));
}

static void event_free(struct weir_device *device,
                       struct weir_device_event *event)
{
    n_live -= event != NULL;
    host->event_free(device, event);
}

static int capture_begin(struct weir_device *device, struct weir_err *err)
{
    return fails(err) ? WEIR_EIO : host->capture_begin(device, err);
}

/* As CUDA: what was captured is lost, and the stream is no longer capturing */
static int capture_end(struct weir_device *device,
                       struct weir_device_graph **graph, struct weir_err *err)
{
    int rc = host->capture_end(device, graph, err);

    if (rc || !fails(err))
        return count_live(rc);
    host->graph_free(device, *graph);
    *graph = NULL;
    return WEIR_EIO;
}

static void graph_free(struct weir_device *device,
                       struct weir_device_graph *graph)
{
    n_live -= graph != NULL;
    host->graph_free(device, graph);
}

static int synchronize(struct weir_device *device, struct weir_err *err)
{
    return fails(err) ? WEIR_EIO : host->synchronize(device, err);
}

static int check(struct weir_device *device, struct weir_err *err)
{
    return fails(err) ? WEIR_EIO : host->check(device, err);
}

static struct weir_device_table make_table(void)
{
    struct weir_device_table table = weir_device_host;

    table.open = open_device;
    table.info = info;
    table.reserve = reserve;
    table.alloc = alloc;
    table.free = free_data;
    table.pinned_alloc = pinned_alloc;
    table.pinned_free = pinned_free;
    table.pin = pin;
    table.unpin = unpin;
    table.event_new = event_new;
    table.event_free = event_free;
    table.capture_begin = capture_begin;
    table.capture_end = capture_end;
    table.graph_free = graph_free;
    table.synchronize = synchronize;
    table.check = check;
    return table;
}

/* ---- a text on it ---- */

static float wanted[N_DECODE][N_VOCAB], got[N_DECODE][N_VOCAB];

static int run_text(weir_model *model, struct weir_err *err)
{
    const struct weir_session_options options = {.n_ctx = N_CTX};
    weir_session *session = NULL;
    int rc = weir_session_new(model, &options, &session, err);

    if (!rc)
        rc = weir_session_eval(session, ids, N_PROMPT, got[0], err);
    for (size_t i = 0; i < N_DECODE && !rc; i++)
        rc = weir_session_eval(session, ids + N_PROMPT + i, 1, got[i], err);
    weir_session_free(session);
    return rc;
}

/*
 * Two texts, one after the other: 0 when all was as it has to be, else a word
 * for what was not.
 */
static const char *attempt(const struct weir_jamba_options *options)
{
    struct weir_err err = {0};
    weir_model *model = NULL;
    const char *bad = NULL;
    int rc = weir_model_open_with(path, options, &model, &err), again = 0;

    if (!rc) {
        rc = run_text(model, &err);
        if (!rc && memcmp(got, wanted, sizeof(wanted)))
            bad = "other bits";
        if (rc && !for_good)
            again = run_text(model, NULL);
        if (rc && !for_good && again == 0 &&
            memcmp(got, wanted, sizeof(wanted)))
            bad = "other bits after an error";
        if (rc && for_good && !run_text(model, NULL))
            bad = "a session on a device that is lost";
    }
    if (rc && !strstr(err.message, "illegal address"))
        bad = "another error";
    if (!rc && has_failed && for_good)
        bad = "no error";
    weir_model_close(model);
    if (n_live)
        bad = "something is left behind";
    n_live = 0;
    return bad;
}

static void begin(unsigned long which, int lasting)
{
    n_calls = 0;
    has_failed = 0;
    nth = which;
    for_good = lasting;
}

static void test_all(const struct weir_jamba_options *options, const char *how)
{
    unsigned long n, n_bad = 0, n_tried = 0;
    const char *bad;

    begin(0, 0);
    bad = attempt(options);
    n = n_calls;
    tap_ok(!bad && n > EACH_OF, "%s: %lu calls", how, n);
    for (int lasting = 0; lasting < 2; lasting++) {
        for (unsigned long i = 1; i <= n; i += i < EACH_OF ? 1 : STEP) {
            begin(i, lasting);
            bad = attempt(options);
            n_bad += bad != NULL;
            n_tried++;
            if (bad)
                tap_diag("call %lu: %s", i, bad);
        }
        tap_ok(!n_bad, "%lu that fail %s", n_tried,
               lasting ? "for good" : "once");
        n_tried = n_bad = 0;
    }
}

int main(void)
{
    struct weir_device_table failing = make_table();
    struct weir_jamba_options options = {
        .n_threads = 1, .device = &failing, .vram_bytes = 8 << 20};
    struct weir_import import = {.tile_ceiling = 65536};
    const char *srcdir = getenv("srcdir");
    weir_model *model = NULL;
    struct weir_err err;
    char folder[4096];
    int fd = mkstemp(path);

    for (size_t i = 0; i < N_CTX; i++)
        ids[i] = (int32_t)(i * 149 % N_VOCAB);
    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    if (fd < 0 || weir_import_folder(&import, folder, path, &err) ||
        weir_model_open_with(path, &options, &model, &err) ||
        run_text(model, &err)) {
        tap_ok(0, "a model: %s", err.message);
        return tap_done();
    }
    close(fd);
    memcpy(wanted, got, sizeof(wanted));
    options.only_device = 1;
    options.vram_bytes = model->jamba->on->room.n_taken;
    weir_model_close(model);
    n_live = 0;
    options.vram_bytes += options.vram_bytes / 8;
    test_all(&options, "all on the device");
    options.vram_bytes -= options.vram_bytes / 4;
    test_all(&options, "some of it");
    options.ram_bytes = 512 << 20;
    test_all(&options, "the rest read");
    unlink(path);
    return tap_done();
}
