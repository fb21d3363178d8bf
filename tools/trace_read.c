/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The spans of a thread come in the order of their beginning and lie in each
 * other or apart, as those that are written come from calls that return.  So a
 * stack of open spans says at every moment what the innermost one is, and the
 * time up to the next beginning or end is that one's.
 */
#include "tools/trace_read.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"

#define LINE_BYTES 1024
#define MAX_US     1e12 /* eleven days */

struct reader {
    const char *path;
    FILE *file;
    struct trace *trace;
    struct weir_err *err;
    unsigned long line;
    char text[LINE_BYTES];
};

/* An event of a thread or of the drive */
struct event {
    const char *kind, *name, *part;
    int64_t pid, tid, layer, n_bytes;
    uint64_t start, end;
};

static int wrong(const struct reader *in, const char *why)
{
    return weir_err_set(in->err, WEIR_EFORMAT,
                        "%s: line %lu: %s; give it a timeline that weir wrote "
                        "with --trace",
                        in->path, in->line, why);
}

const char *trace_share_name(enum trace_share share)
{
    static const char *const names[TRACE_N_SHARES] = {
        [TRACE_MAMBA] = "computing Mamba",
        [TRACE_ATTENTION] = "computing attention",
        [TRACE_EXPERTS] = "computing experts",
        [TRACE_MLP] = "computing MLPs",
        [TRACE_OTHER] = "computing the rest",
        [TRACE_DECODE] = "decoding tiles",
        [TRACE_CHECK] = "checking tiles",
        [TRACE_SERIAL] = "one thread alone",
        [TRACE_WAIT_TILE] = "waiting for tiles",
        [TRACE_WAIT_POOL] = "waiting for threads",
        [TRACE_NOTHING] = "nothing recorded",
    };

    return names[share];
}

const char *trace_share_key(enum trace_share share)
{
    static const char *const keys[TRACE_N_SHARES] = {
        [TRACE_MAMBA] = "mamba",          [TRACE_ATTENTION] = "attention",
        [TRACE_EXPERTS] = "experts",      [TRACE_MLP] = "mlp",
        [TRACE_OTHER] = "rest",           [TRACE_DECODE] = "decode",
        [TRACE_CHECK] = "checksum",       [TRACE_SERIAL] = "alone",
        [TRACE_WAIT_TILE] = "wait_tiles", [TRACE_WAIT_POOL] = "wait_threads",
        [TRACE_NOTHING] = "nothing",
    };

    return keys[share];
}

/* ---- sharing out ---- */

/* Adds [from, to) of the time to the columns that it touches. */
static void add_to_columns(const struct trace *trace,
                           struct trace_column *columns, uint64_t from,
                           uint64_t to, enum trace_share share)
{
    double width = (double)trace->length_ns / TRACE_COLUMNS;
    double at = (double)from, end = (double)to, edge;
    size_t i = (size_t)(at / width);

    for (; i < TRACE_COLUMNS && at < end; i++, at = edge) {
        edge = width * (double)(i + 1);
        edge = edge < end && i + 1 < TRACE_COLUMNS ? edge : end;
        if (edge > at)
            columns[i].ns[share] += (float)(edge - at);
        else
            edge = at;
    }
}

static void share_out(struct trace *trace, struct trace_lane *lane, uint64_t to,
                      const struct trace_open *open)
{
    enum trace_share share = open ? open->share : TRACE_NOTHING;
    uint64_t ns = to - lane->at;

    if (!ns)
        return;
    lane->ns[share] += ns;
    trace->ns[share] += ns;
    if (open && open->op >= 0)
        trace->ops[open->op].ns += ns;
    if (open && open->layer >= 0)
        trace->layers[open->layer][share] += ns;
    add_to_columns(trace, lane->columns, lane->at, to, share);
    lane->at = to;
}

/* Closes the spans that end by then, and shares out the time until then. */
static void go_to(struct trace *trace, struct trace_lane *lane, uint64_t when)
{
    const struct trace_open *open;

    while (lane->depth && lane->open[lane->depth - 1].end <= when) {
        open = &lane->open[lane->depth - 1];
        share_out(trace, lane, open->end, open);
        lane->depth--;
    }
    open = lane->depth ? &lane->open[lane->depth - 1] : NULL;
    share_out(trace, lane, when, open);
}

/* ---- events ---- */

static enum trace_share share_of_part(const char *part)
{
    static const char *const parts[] = {"mamba", "attention", "experts", "mlp"};

    for (int i = 0; i < 4; i++)
        if (!strcmp(part, parts[i]))
            return (enum trace_share)(TRACE_MAMBA + i);
    return TRACE_OTHER;
}

/* TRACE_N_SHARES when there is no such kind */
static enum trace_share share_of(const struct event *event)
{
    static const struct {
        const char *kind;
        enum trace_share share;
    } kinds[] = {
        {"decode", TRACE_DECODE},       {"checksum", TRACE_CHECK},
        {"serial", TRACE_SERIAL},       {"wait-tile", TRACE_WAIT_TILE},
        {"wait-pool", TRACE_WAIT_POOL},
    };

    if (!strcmp(event->kind, "compute"))
        return share_of_part(event->part);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strcmp(event->kind, kinds[i].kind))
            return kinds[i].share;
    return TRACE_N_SHARES;
}

/* The place of an operation; the last one takes what finds none. */
static int find_op(struct trace *trace, const struct event *event,
                   enum trace_share share)
{
    struct trace_op *op = trace->ops;

    if (share > TRACE_OTHER && share != TRACE_SERIAL)
        return -1;
    for (unsigned i = 0; i < trace->n_ops; i++, op++)
        if (op->share == share && !strcmp(op->part, event->part) &&
            !strcmp(op->name, event->name))
            return (int)i;
    if (trace->n_ops == TRACE_OPS)
        return TRACE_OPS - 1;
    op->share = share;
    snprintf(op->part, sizeof(op->part), "%s", event->part);
    snprintf(op->name, sizeof(op->name), "%s",
             trace->n_ops == TRACE_OPS - 1 ? "others" : event->name);
    return (int)trace->n_ops++;
}

static int add_span(const struct reader *in, const struct event *event)
{
    struct trace *trace = in->trace;
    struct trace_lane *lane = &trace->lanes[event->tid];
    enum trace_share share = share_of(event);
    struct trace_open *open;

    if (share == TRACE_N_SHARES)
        return wrong(in, "a kind of event that is not known");
    if (!lane->columns)
        lane->columns = calloc(TRACE_COLUMNS, sizeof(*lane->columns));
    if (!lane->columns)
        return weir_err_nomem(in->err, TRACE_COLUMNS * sizeof(*lane->columns),
                              "the columns of a thread");
    if (event->tid >= trace->n_lanes)
        trace->n_lanes = (unsigned)event->tid + 1;
    if (event->layer >= trace->n_layers)
        trace->n_layers = (unsigned)event->layer + 1;
    if (event->start < lane->at)
        return wrong(in, "the events of a thread are not in order");
    go_to(trace, lane, event->start);
    if (lane->depth == TRACE_DEPTH)
        return wrong(in, "too many events in each other");
    if (lane->depth && event->end > lane->open[lane->depth - 1].end)
        return wrong(in, "an event ends after the one that it lies in");
    open = &lane->open[lane->depth++];
    open->end = event->end;
    open->share = share;
    open->layer = (int)event->layer;
    open->op = find_op(trace, event, share);
    return 0;
}

/* Requests lie side by side; they come in the order of their beginning. */
static int add_read(const struct reader *in, const struct event *event)
{
    struct trace_drive *drive = &in->trace->drive;
    double width = (double)in->trace->length_ns / TRACE_COLUMNS;
    uint64_t ns = event->end - event->start;
    double at = (double)event->start, end = (double)event->end, edge;
    uint64_t from = event->start > drive->until ? event->start : drive->until;

    if (strcmp(event->kind, "read"))
        return wrong(in, "a kind of event that is not known");
    if (event->start < drive->last_start)
        return wrong(in, "the requests are not in order");
    drive->last_start = event->start;
    drive->n_reads++;
    drive->n_bytes += (uint64_t)event->n_bytes;
    drive->sum_ns += ns;
    drive->most_ns = ns > drive->most_ns ? ns : drive->most_ns;
    if (event->end > drive->until) {
        drive->busy_ns += event->end - from;
        drive->until = event->end;
    }
    for (size_t i = (size_t)(at / width); i < TRACE_COLUMNS && at < end; i++) {
        edge = width * (double)(i + 1);
        edge = edge < end && i + 1 < TRACE_COLUMNS ? edge : end;
        if (edge <= at)
            continue;
        drive->bytes[i] += (double)event->n_bytes * (edge - at) / (double)ns;
        at = edge;
    }
    return 0;
}

/* ---- lines ---- */

/* Printable, and short: it goes into a picture. */
static int is_name(const char *text)
{
    size_t n = strlen(text);

    for (size_t i = 0; i < n; i++)
        if (text[i] < ' ' || text[i] > '~')
            return 0;
    return n > 0 && n < TRACE_NAME;
}

static int get_name(const struct reader *in, const json_t *object,
                    const char *key, const char **name)
{
    int rc = weir_json_get_string(object, key, in->path, name, NULL);

    return rc || (*name && !is_name(*name)) ? wrong(in, "a name that is none")
                                            : 0;
}

/* Microseconds with three digits behind the point; UINT64_MAX: not there */
static int get_ns(const struct reader *in, const json_t *object,
                  const char *key, uint64_t *ns)
{
    double us = -1;
    int rc = weir_json_get_real(object, key, in->path, 0, MAX_US, &us, NULL);

    *ns = us < 0 ? UINT64_MAX : (uint64_t)llround(us * 1000);
    return rc ? wrong(in, "a time that is none") : 0;
}

static int get_number(const struct reader *in, const json_t *object,
                      const char *key, int64_t min, int64_t max, int64_t *n)
{
    if (!weir_json_get_int(object, key, in->path, min, max, n, NULL))
        return 0;
    return wrong(in, "a number that is none, or too high");
}

static int get_args(const struct reader *in, const json_t *args,
                    struct event *event)
{
    int rc = get_name(in, args, "part", &event->part);

    if (!rc)
        rc = get_number(in, args, "layer", 0, TRACE_LAYERS - 1, &event->layer);
    if (!rc)
        rc = get_number(in, args, "bytes", 0, UINT32_MAX, &event->n_bytes);
    return rc;
}

static int get_event(const struct reader *in, const json_t *root,
                     struct event *event)
{
    uint64_t ns;
    int rc = get_name(in, root, "cat", &event->kind);

    if (!rc)
        rc = get_name(in, root, "name", &event->name);
    if (!rc)
        rc = get_number(in, root, "pid", 1, 2, &event->pid);
    if (!rc)
        rc = get_number(in, root, "tid", 0, TRACE_THREADS - 1, &event->tid);
    if (!rc)
        rc = get_ns(in, root, "ts", &event->start);
    if (!rc)
        rc = get_ns(in, root, "dur", &ns);
    if (!rc)
        rc = get_args(in, json_object_get(root, "args"), event);
    if (rc)
        return rc;
    if (!event->kind || !event->name || event->pid < 0 || event->tid < 0 ||
        event->start == UINT64_MAX || ns == UINT64_MAX)
        return wrong(in, "an event that lacks something");
    if (!event->part)
        event->part = "";
    event->end = event->start + ns;
    if (event->end > in->trace->length_ns)
        return wrong(in, "an event ends after the last one");
    return 0;
}

static int take_object(const struct reader *in, const json_t *root)
{
    struct event event = {.pid = -1, .tid = -1, .layer = -1};
    const char *phase = json_string_value(json_object_get(root, "ph"));
    int rc;

    if (phase && !strcmp(phase, "M"))
        return 0; /* names of threads, which follow from their numbers */
    if (!phase || strcmp(phase, "X"))
        return wrong(in, "neither a span nor a name");
    rc = get_event(in, root, &event);
    if (rc)
        return rc;
    in->trace->n_events++;
    return event.pid == 1 ? add_span(in, &event) : add_read(in, &event);
}

/* The next line without its end; 0 where there is none, and after errors. */
static int next_line(struct reader *in, size_t *n, int *rc)
{
    if (!fgets(in->text, sizeof(in->text), in->file)) {
        if (ferror(in->file))
            *rc = weir_err_errno(in->err, errno, "read", in->path);
        return 0;
    }
    in->line++;
    *n = strlen(in->text);
    if (!*n || in->text[*n - 1] != '\n') {
        *rc = wrong(in, "it is too long, or the file ends in it");
        return 0;
    }
    in->text[--*n] = '\0';
    return 1;
}

static int take_line(struct reader *in, size_t n)
{
    json_t *root;
    int rc;

    if (n && in->text[n - 1] == ',')
        n--;
    if (weir_json_parse(in->text, n, in->path, &root, NULL))
        return wrong(in, "no event");
    rc = take_object(in, root);
    json_decref(root);
    return rc;
}

static int take_head(struct reader *in, const json_t *root)
{
    const json_t *data = json_object_get(root, "otherData");
    struct trace *trace = in->trace;
    const char *command = NULL;
    int64_t n_dropped = 0;
    int rc = get_name(in, data, "command", &command);

    if (!rc)
        rc = get_number(in, data, "dropped", 0, INT64_MAX, &n_dropped);
    if (!rc)
        rc = get_ns(in, data, "begin_us", &trace->begin_ns);
    if (!rc)
        rc = get_ns(in, data, "length_us", &trace->length_ns);
    if (rc)
        return rc;
    if (!command || trace->begin_ns == UINT64_MAX ||
        trace->length_ns == UINT64_MAX || !trace->length_ns)
        return wrong(in, "what is said of the whole is missing");
    snprintf(trace->command, sizeof(trace->command), "%s", command);
    trace->n_dropped = (uint64_t)n_dropped;
    return 0;
}

/* The first line is an object but for its end, which the last line has. */
static int read_head(struct reader *in)
{
    static const char end[] = "\"traceEvents\":[";
    size_t n, n_end = sizeof(end) - 1;
    json_t *root;
    int rc = 0;

    if (!next_line(in, &n, &rc))
        return rc ? rc : wrong(in, "the file is empty");
    if (n < n_end || strcmp(in->text + n - n_end, end) ||
        n + 3 > sizeof(in->text))
        return wrong(in, "no timeline");
    memcpy(in->text + n, "]}", 3);
    if (weir_json_parse(in->text, n + 2, in->path, &root, NULL))
        return wrong(in, "no timeline");
    rc = take_head(in, root);
    json_decref(root);
    return rc;
}

static int read_lines(struct reader *in)
{
    size_t n;
    int rc = read_head(in);

    while (!rc && next_line(in, &n, &rc)) {
        if (!strcmp(in->text, "]}"))
            return fgetc(in->file) == EOF ? 0 : wrong(in, "more than the end");
        rc = take_line(in, n);
    }
    return rc ? rc : wrong(in, "the end is missing");
}

static void add_lane(struct trace *trace, const struct trace_lane *lane,
                     unsigned n_threads)
{
    for (int i = 0; i < TRACE_COLUMNS; i++)
        for (int s = 0; s < TRACE_N_SHARES; s++)
            trace->columns[i].ns[s] +=
                lane->columns[i].ns[s] / (float)n_threads;
}

/* The time of threads until the end of the trace, and of all of them */
static void close_lanes(struct trace *trace)
{
    unsigned n = trace_n_threads(trace);

    for (unsigned i = 0; i < trace->n_lanes; i++) {
        if (!trace->lanes[i].columns)
            continue;
        go_to(trace, &trace->lanes[i], trace->length_ns);
        add_lane(trace, &trace->lanes[i], n);
    }
}

int trace_read(const char *path, struct trace **out, struct weir_err *err)
{
    struct reader in = {.path = path, .err = err};
    int rc;

    *out = NULL;
    in.file = fopen(path, "re");
    if (!in.file)
        return weir_err_errno(err, errno, "open", path);
    in.trace = calloc(1, sizeof(*in.trace));
    rc = in.trace ? read_lines(&in)
                  : weir_err_nomem(err, sizeof(*in.trace), "a trace");
    if (!rc && !in.trace->n_events)
        rc = wrong(&in, "there are no events");
    fclose(in.file);
    if (rc) {
        trace_free(in.trace);
        return rc;
    }
    close_lanes(in.trace);
    *out = in.trace;
    return 0;
}

void trace_free(struct trace *trace)
{
    if (!trace)
        return;
    for (unsigned i = 0; i < TRACE_THREADS; i++)
        free(trace->lanes[i].columns);
    free(trace);
}

uint64_t trace_busy_ns(const struct trace_lane *lane)
{
    uint64_t ns = 0;

    for (int i = 0; i < TRACE_WAIT_TILE; i++)
        ns += lane->ns[i];
    return ns;
}

unsigned trace_n_threads(const struct trace *trace)
{
    unsigned n = 0;

    for (unsigned i = 0; i < trace->n_lanes; i++)
        n += trace->lanes[i].columns != NULL;
    return n;
}
