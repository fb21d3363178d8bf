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

/* Lanes of requests that are under way side by side */
#define MAX_SLOTS 512

static const char *const kinds[WEIR_TRACE_N_KINDS] = {
    [WEIR_TRACE_COMPUTE] = "compute",     [WEIR_TRACE_DECODE] = "decode",
    [WEIR_TRACE_CHECK] = "checksum",      [WEIR_TRACE_SERIAL] = "serial",
    [WEIR_TRACE_WAIT_TILE] = "wait-tile", [WEIR_TRACE_WAIT_POOL] = "wait-pool",
    [WEIR_TRACE_READ] = "read",
};

int trace_record_begin(struct trace_record *record, unsigned n_threads,
                       const char *input, struct weir_err *err)
{
    unsigned n_lanes;
    size_t size;
    int rc;

    if (!record->path)
        return 0;
    rc = weir_path_check_output(record->path, input, err);
    if (rc)
        return rc;
    size = strlen(record->path) + sizeof(".part");
    record->part = malloc(size);
    if (!record->part)
        return weir_err_nomem(err, size, "a file name");
    snprintf(record->part, size, "%s.part", record->path);
    record->file = fopen(record->part, "we");
    if (!record->file)
        return weir_err_errno(err, errno, "create", record->part);
    n_lanes = (n_threads ? n_threads : weir_pool_default_threads()) + 2;
    rc = weir_trace_start(n_lanes, MAX_EVENTS / n_lanes, err);
    if (!rc)
        weir_trace_part("loading", -1);
    return rc;
}

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

/* The spans of a lane in order; NULL when there is no memory */
static const struct weir_trace_event **sort_lane(unsigned number, uint64_t n)
{
    const struct weir_trace_event **events =
        malloc((n + 1) * sizeof(const struct weir_trace_event *));

    for (uint64_t i = 0; i < n && events; i++)
        events[i] = weir_trace_get_event(number, i);
    if (events)
        qsort(events, n, sizeof(*events), by_start);
    return events;
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

static int write_lane(FILE *file, unsigned number,
                      const struct weir_trace_lane *lane, uint64_t from,
                      struct weir_err *err)
{
    const struct weir_trace_event **events = sort_lane(number, lane->n_events);
    uint64_t ends[MAX_SLOTS] = {0};
    int is_drive = !strcmp(lane->who, "drive");
    unsigned tid;

    if (!events)
        return weir_err_nomem(err, lane->n_events * sizeof(*events),
                              "the spans of a thread");
    if (!is_drive)
        write_name(file, "thread_name", 1, lane->number, lane->who,
                   lane->number);
    for (uint64_t i = 0; i < lane->n_events; i++) {
        if (events[i]->start_ns < from)
            continue;
        tid = is_drive ? find_slot(ends, events[i]) : lane->number;
        if (is_drive && !ends[tid])
            write_name(file, "thread_name", 2, tid, "request", tid);
        if (is_drive)
            ends[tid] = events[i]->end_ns;
        write_event(file, events[i], tid, from);
    }
    free(events);
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
        rc = write_lane(file, i, &lane, from, err);
    fputs("\n]}\n", file);
    return rc;
}

static int finish(struct trace_record *record, const char *command,
                  struct weir_err *err)
{
    FILE *file = record->file;
    int rc = write_all(file, command, err), failed;

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

int trace_record_end(struct trace_record *record, const struct cli *cli,
                     int status)
{
    struct weir_err err;
    int failed = 0;

    if (record->file) {
        weir_trace_stop();
        failed = finish(record, cli->command, &err);
        weir_trace_free();
    }
    free(record->part);
    record->part = NULL;
    if (!failed)
        return status;
    failed = cli_fail(cli, &err);
    return status ? status : failed;
}
