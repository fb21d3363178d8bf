/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes a timeline in the Trace Event Format of Chrome, as weir-trace(1) says:
 * an event on each line, the spans of a thread in the order of their beginning.
 * A lane that was too short has forgotten its first spans, so all begin where
 * the last of these lanes does.
 */
#include "tools/trace_record.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "base/pool.h"
#include "base/trace.h"

/* Spans that are kept, of all threads: 25 MB */
#define MAX_EVENTS (1u << 19)

/* Readers that are traced, each with a lane */
#define MOST_DRIVES 4

/* Lanes of requests that are under way side by side */
#define MAX_SLOTS 512

static const char *const kinds[WEIR_TRACE_N_KINDS] = {
    [WEIR_TRACE_COMPUTE] = "compute",     [WEIR_TRACE_DECODE] = "decode",
    [WEIR_TRACE_CHECK] = "checksum",      [WEIR_TRACE_SERIAL] = "serial",
    [WEIR_TRACE_WAIT_TILE] = "wait-tile", [WEIR_TRACE_WAIT_POOL] = "wait-pool",
    [WEIR_TRACE_READ] = "read",
};

/* ---- what was recorded ---- */

/* Where all lanes have their spans from, and where the last one ends */
static void find_range(uint64_t *from, uint64_t *to, uint64_t *n_dropped)
{
    const struct weir_trace_event *event;
    struct weir_trace_lane lane;

    *from = *to = 0;
    *n_dropped = weir_trace_n_lost();
    for (unsigned i = 0; weir_trace_get_lane(i, &lane); i++) {
        *n_dropped += lane.n_dropped;
        if (!lane.n_events)
            continue;
        event = weir_trace_get_event(i, 0);
        if (lane.n_dropped && event->end_ns > *from)
            *from = event->end_ns;
        event = weir_trace_get_event(i, lane.n_events - 1);
        if (event->end_ns > *to)
            *to = event->end_ns;
    }
}

/* Of spans that begin and end together: the one that encloses the others */
static int depth_of(const struct weir_trace_event *event)
{
    return event->kind == WEIR_TRACE_SERIAL    ? 0
           : event->kind == WEIR_TRACE_COMPUTE ? 1
                                               : 2;
}

/* What encloses comes first; it ended later. */
static int by_start(const void *a, const void *b)
{
    const struct weir_trace_event *x = *(struct weir_trace_event *const *)a;
    const struct weir_trace_event *y = *(struct weir_trace_event *const *)b;

    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    if (x->end_ns != y->end_ns)
        return x->end_ns > y->end_ns ? -1 : 1;
    return depth_of(x) - depth_of(y);
}

/* A drive has a lane; together they are the requests. */
static int is_drive(const struct weir_trace_lane *lane)
{
    return !strcmp(lane->who, "drive");
}

/* The spans of a lane, or of all drives, in order */
struct spans {
    const struct weir_trace_event **events;
    uint64_t n;
};

static void add_spans(struct spans *spans, unsigned number,
                      const struct weir_trace_lane *lane)
{
    for (uint64_t i = 0; i < lane->n_events; i++)
        spans->events[spans->n++] = weir_trace_get_event(number, i);
}

static int take_spans(struct spans *spans, uint64_t n, struct weir_err *err)
{
    size_t n_bytes = (n + 1) * sizeof(const struct weir_trace_event *);

    spans->n = 0;
    spans->events = malloc(n_bytes);
    return spans->events ? 0 : weir_err_nomem(err, n_bytes, "the spans");
}

static void sort_spans(struct spans *spans)
{
    qsort(spans->events, spans->n, sizeof(*spans->events), by_start);
}

/* ---- writing ---- */

static void write_us(FILE *file, const char *key, uint64_t ns)
{
    fprintf(file, ",\"%s\":%" PRIu64 ".%03u", key, ns / 1000,
            (unsigned)(ns % 1000));
}

static void write_name(FILE *file, const char *what, int pid, unsigned tid,
                       const char *name, unsigned number)
{
    fprintf(file,
            ",\n{\"ph\":\"M\",\"pid\":%d,\"tid\":%u,\"name\":\"%s\",\"args\":{"
            "\"name\":\"%s %u\"}}",
            pid, tid, what, name, number);
}

static void write_event(FILE *file, const struct weir_trace_event *event,
                        unsigned tid, uint64_t from)
{
    int is_read = event->kind == WEIR_TRACE_READ;
    const char *comma = "";

    fprintf(file,
            ",\n{\"ph\":\"X\",\"pid\":%d,\"tid\":%u,\"cat\":\"%s\",\"name\":"
            "\"%s\"",
            is_read ? 2 : 1, tid, kinds[event->kind], event->name);
    write_us(file, "ts", event->start_ns - from);
    write_us(file, "dur", event->end_ns - event->start_ns);
    fputs(",\"args\":{", file);
    if (event->part) {
        fprintf(file, "\"part\":\"%s\"", event->part);
        comma = ",";
    }
    if (event->layer >= 0) {
        fprintf(file, "%s\"layer\":%d", comma, event->layer);
        comma = ",";
    }
    if (is_read) {
        fprintf(file, "%s\"offset\":%" PRIu64, comma, event->offset);
        comma = ",";
    }
    if (event->n_bytes)
        fprintf(file, "%s\"bytes\":%" PRIu32, comma, event->n_bytes);
    fputs("}}", file);
}

/* The first lane of requests that is free then; the last one if none is */
static unsigned find_slot(uint64_t *ends, const struct weir_trace_event *event)
{
    unsigned slot = 0;

    while (slot < MAX_SLOTS - 1 && ends[slot] > event->start_ns)
        slot++;
    return slot;
}

static int write_thread(FILE *file, unsigned number,
                        const struct weir_trace_lane *lane, uint64_t from,
                        struct weir_err *err)
{
    struct spans spans;
    int rc = take_spans(&spans, lane->n_events, err);

    if (rc)
        return rc;
    add_spans(&spans, number, lane);
    sort_spans(&spans);
    write_name(file, "thread_name", 1, lane->number, lane->who, lane->number);
    for (uint64_t i = 0; i < spans.n; i++)
        if (spans.events[i]->start_ns >= from)
            write_event(file, spans.events[i], lane->number, from);
    free(spans.events);
    return 0;
}

static int write_requests(FILE *file, uint64_t from, struct weir_err *err)
{
    uint64_t ends[MAX_SLOTS] = {0}, n = 0;
    struct weir_trace_lane lane;
    struct spans spans;
    unsigned slot;
    int rc;

    for (unsigned i = 0; weir_trace_get_lane(i, &lane); i++)
        n += is_drive(&lane) ? lane.n_events : 0;
    rc = take_spans(&spans, n, err);
    if (rc)
        return rc;
    for (unsigned i = 0; weir_trace_get_lane(i, &lane); i++)
        if (is_drive(&lane))
            add_spans(&spans, i, &lane);
    sort_spans(&spans);
    for (uint64_t i = 0; i < spans.n; i++) {
        if (spans.events[i]->start_ns < from)
            continue;
        slot = find_slot(ends, spans.events[i]);
        if (!ends[slot])
            write_name(file, "thread_name", 2, slot, "request", slot);
        ends[slot] = spans.events[i]->end_ns;
        write_event(file, spans.events[i], slot, from);
    }
    free(spans.events);
    return 0;
}

static int write_all(FILE *file, const char *command, struct weir_err *err)
{
    struct weir_trace_lane lane;
    uint64_t from, to, n_dropped;
    int rc = 0;

    find_range(&from, &to, &n_dropped);
    fprintf(file,
            "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"weir\":\"%s\","
            "\"command\":\"%s\",\"dropped\":%" PRIu64,
            weir_version(), command, n_dropped);
    write_us(file, "begin_us", from);
    write_us(file, "length_us", to > from ? to - from : 0);
    fputs("},\"traceEvents\":[\n"
          "{\"ph\":\"M\",\"pid\":1,\"tid\":0,\"name\":\"process_name\","
          "\"args\":{\"name\":\"weir\"}},\n"
          "{\"ph\":\"M\",\"pid\":2,\"tid\":0,\"name\":\"process_name\","
          "\"args\":{\"name\":\"drive\"}}",
          file);
    for (unsigned i = 0; weir_trace_get_lane(i, &lane) && !rc; i++)
        if (!is_drive(&lane))
            rc = write_thread(file, i, &lane, from, err);
    if (!rc)
        rc = write_requests(file, from, err);
    fputs("\n]}\n", file);
    return rc;
}

/* The file under its name, or nothing */
static int finish(struct trace_record *record, struct weir_err *err)
{
    FILE *file = record->file;
    int rc = write_all(file, record->command, err), failed;

    failed = fflush(file) || ferror(file);
    record->file = NULL;
    failed |= fclose(file);
    if (!rc && failed)
        rc = weir_err_errno(err, errno, "write", record->part);
    if (!rc && rename(record->part, record->path))
        rc = weir_err_errno(err, errno, "rename", record->part);
    if (rc)
        unlink(record->part);
    return rc;
}

/* ---- being interrupted ---- */

/* As if nobody had waited for it */
static void die_of(int number)
{
    sigset_t set;

    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* All other threads go on meanwhile, and record nothing more. */
static void *watch(void *arg)
{
    struct trace_record *record = arg;
    struct cli cli = {.command = record->command};
    struct weir_err err;
    int number;

    if (sigwait(&record->signals, &number))
        return NULL;
    atomic_store(&record->signal, number);
    if (atomic_flag_test_and_set(&record->is_ended))
        return NULL;
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    weir_trace_stop();
    if (finish(record, &err))
        cli_fail(&cli, &err);
    die_of(number);
    return NULL;
}

/* Who started us may want it to be ignored, as nohup and `&` do. */
static void add_signal(sigset_t *set, int number)
{
    struct sigaction action;

    if (!sigaction(number, NULL, &action) && action.sa_handler != SIG_IGN)
        sigaddset(set, number);
}

/* Threads that are started later inherit the mask. */
static void hold_signals(struct trace_record *record)
{
    sigemptyset(&record->signals);
    add_signal(&record->signals, SIGINT);
    add_signal(&record->signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &record->signals, &record->mask);
}

static int start_watcher(struct trace_record *record, struct weir_err *err)
{
    int failed;

    atomic_flag_clear(&record->is_ended);
    failed = pthread_create(&record->watcher, NULL, watch, record);
    record->has_watcher = !failed;
    return failed ? weir_err_errno(err, failed, "start", "a thread") : 0;
}

/* Does not return when the process is ending of a signal. */
static void end_watcher(struct trace_record *record)
{
    if (!record->has_watcher)
        return;
    while (atomic_flag_test_and_set(&record->is_ended))
        pause();
    pthread_cancel(record->watcher);
    pthread_join(record->watcher, NULL);
    record->has_watcher = 0;
}

/* ---- the option ---- */

static int check_output(const char *path, const char *const *inputs,
                        size_t n_inputs, struct weir_err *err)
{
    int rc = weir_path_check_output(path, NULL, err);

    for (size_t i = 0; i < n_inputs && !rc; i++)
        rc = weir_path_check_output(path, inputs[i], err);
    return rc;
}

int trace_record_begin(struct trace_record *record, const struct cli *cli,
                       unsigned n_threads, const char *const *inputs,
                       size_t n_inputs, struct weir_err *err)
{
    unsigned n_lanes;
    size_t size;
    int rc;

    if (!record->path)
        return 0;
    record->command = cli->command;
    rc = check_output(record->path, inputs, n_inputs, err);
    if (rc)
        return rc;
    size = strlen(record->path) + sizeof(".part");
    record->part = malloc(size);
    if (!record->part)
        return weir_err_nomem(err, size, "a file name");
    snprintf(record->part, size, "%s.part", record->path);
    rc = check_output(record->part, inputs, n_inputs, err);
    if (rc)
        return rc;
    hold_signals(record);
    record->file = fopen(record->part, "we");
    if (!record->file) {
        rc = weir_err_errno(err, errno, "create", record->part);
        pthread_sigmask(SIG_SETMASK, &record->mask, NULL);
        return rc;
    }
    n_lanes =
        (n_threads ? n_threads : weir_pool_default_threads()) + 1 + MOST_DRIVES;
    rc = weir_trace_start(n_lanes, MAX_EVENTS / n_lanes, err);
    if (!rc)
        rc = start_watcher(record, err);
    if (!rc)
        weir_trace_part("loading", -1);
    return rc;
}

int trace_record_end(struct trace_record *record, const struct cli *cli,
                     int status)
{
    struct weir_err err;
    int failed = 0, number;

    if (record->file) {
        end_watcher(record);
        weir_trace_stop();
        failed = finish(record, &err);
        weir_trace_free();
        pthread_sigmask(SIG_SETMASK, &record->mask, NULL);
        number = atomic_load(&record->signal);
        if (number)
            die_of(number);
    }
    free(record->part);
    record->part = NULL;
    if (!failed)
        return status;
    failed = cli_fail(cli, &err);
    return status ? status : failed;
}
