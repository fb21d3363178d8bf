/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/trace_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/json.h"

#define N_OPS 12 /* that are printed */

static double seconds(uint64_t ns)
{
    return (double)ns * 1e-9;
}

static double percent(uint64_t n, uint64_t of)
{
    return of ? 100 * (double)n / (double)of : 0;
}

uint64_t trace_all_ns(const struct trace *trace)
{
    uint64_t ns = 0;

    for (int i = 0; i < TRACE_N_SHARES; i++)
        ns += trace->ns[i];
    return ns;
}

void trace_sort_shares(const struct trace *trace, enum trace_share *order)
{
    for (int n = 0; n < TRACE_N_SHARES; n++) {
        int at = n;

        for (; at && trace->ns[order[at - 1]] < trace->ns[n]; at--)
            order[at] = order[at - 1];
        order[at] = (enum trace_share)n;
    }
}

void trace_sort_ops(const struct trace *trace, const struct trace_op **order)
{
    for (unsigned n = 0; n < trace->n_ops; n++) {
        unsigned at = n;

        for (; at && order[at - 1]->ns < trace->ops[n].ns; at--)
            order[at] = order[at - 1];
        order[at] = &trace->ops[n];
    }
}

static void print_shares(const struct trace *trace)
{
    enum trace_share order[TRACE_N_SHARES];
    uint64_t all = trace_all_ns(trace);

    trace_sort_shares(trace, order);
    printf("\n%-22s %10s %8s\n", "all threads", "seconds", "share");
    for (int i = 0; i < TRACE_N_SHARES; i++)
        if (trace->ns[order[i]])
            printf("%-22s %10.4f %6.1f %%\n", trace_share_name(order[i]),
                   seconds(trace->ns[order[i]]),
                   percent(trace->ns[order[i]], all));
}

static void print_ops(const struct trace *trace)
{
    const struct trace_op *order[TRACE_OPS];
    uint64_t all = trace_all_ns(trace);

    trace_sort_ops(trace, order);
    printf("\n%-11s %-22s %10s %8s\n", "part", "operation", "seconds", "share");
    for (unsigned i = 0; i < trace->n_ops && i < N_OPS; i++)
        printf("%-11s %-22s %10.4f %6.1f %%\n", order[i]->part,
               order[i]->share == TRACE_SERIAL ? "(one thread alone)"
                                               : order[i]->name,
               seconds(order[i]->ns), percent(order[i]->ns, all));
}

static void print_lanes(const struct trace *trace)
{
    printf("\n%-8s %10s %16s %18s %10s\n", "thread", "busy", "waits for tiles",
           "waits for threads", "nothing");
    for (unsigned i = 0; i < trace->n_lanes; i++) {
        const struct trace_lane *lane = &trace->lanes[i];
        uint64_t all = trace->length_ns;

        if (lane->columns)
            printf("%-8u %8.1f %% %14.1f %% %16.1f %% %8.1f %%\n", i,
                   percent(trace_busy_ns(lane), all),
                   percent(lane->ns[TRACE_WAIT_TILE], all),
                   percent(lane->ns[TRACE_WAIT_POOL], all),
                   percent(lane->ns[TRACE_NOTHING], all));
    }
}

static double gbps(const struct trace_drive *drive)
{
    return drive->busy_ns ? (double)drive->n_bytes / (double)drive->busy_ns : 0;
}

void trace_print(const struct trace *trace)
{
    const struct trace_drive *drive = &trace->drive;
    unsigned n = trace_n_threads(trace);

    printf("command  weir %s\nlength   %.4f s, %u thread%s\n", trace->command,
           seconds(trace->length_ns), n, n == 1 ? "" : "s");
    if (trace->n_dropped)
        printf("begins   at %.4f s: %" PRIu64 " spans before were forgotten\n",
               seconds(trace->begin_ns), trace->n_dropped);
    if (n) {
        print_shares(trace);
        print_ops(trace);
        print_lanes(trace);
    }
    if (drive->n_reads)
        printf("\ndrive    %" PRIu64 " requests, %.1f MB, busy %.1f %% of the "
               "time with %.2f GB/s\n"
               "         a request took %.3f ms in the mean, %.3f at most\n",
               drive->n_reads, (double)drive->n_bytes * 1e-6,
               percent(drive->busy_ns, trace->length_ns), gbps(drive),
               seconds(drive->sum_ns) / (double)drive->n_reads * 1e3,
               seconds(drive->most_ns) * 1e3);
}

/* ---- JSON ---- */

static json_t *shares_json(const uint64_t *ns)
{
    json_t *object = json_object();

    for (int i = 0; i < TRACE_N_SHARES; i++)
        json_object_set_new(object, trace_share_key((enum trace_share)i),
                            json_real(seconds(ns[i])));
    return object;
}

static json_t *lanes_json(const struct trace *trace)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < trace->n_lanes; i++)
        if (trace->lanes[i].columns)
            json_array_append_new(
                list, json_pack("{s:i, s:f, s:o}", "thread", (int)i, "busy_s",
                                seconds(trace_busy_ns(&trace->lanes[i])),
                                "seconds", shares_json(trace->lanes[i].ns)));
    return list;
}

static json_t *ops_json(const struct trace *trace)
{
    const struct trace_op *order[TRACE_OPS];
    json_t *list = json_array();

    trace_sort_ops(trace, order);
    for (unsigned i = 0; i < trace->n_ops; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:s, s:b, s:f}", "part", order[i]->part,
                            "operation", order[i]->name, "alone",
                            order[i]->share == TRACE_SERIAL, "seconds",
                            seconds(order[i]->ns)));
    return list;
}

static json_t *layers_json(const struct trace *trace)
{
    json_t *list = json_array();

    for (unsigned i = 0; i < trace->n_layers; i++)
        json_array_append_new(list, shares_json(trace->layers[i]));
    return list;
}

int trace_print_json(const struct trace *trace, struct weir_err *err)
{
    const struct trace_drive *drive = &trace->drive;
    json_t *root = json_pack(
        "{s:s, s:f, s:f, s:I, s:o, s:o, s:o, s:o, s:{s:I, s:I, s:f, s:f, s:f}}",
        "command", trace->command, "begin_s", seconds(trace->begin_ns),
        "length_s", seconds(trace->length_ns), "dropped",
        (json_int_t)trace->n_dropped, "seconds", shares_json(trace->ns),
        "operations", ops_json(trace), "threads", lanes_json(trace), "layers",
        layers_json(trace), "drive", "requests", (json_int_t)drive->n_reads,
        "bytes", (json_int_t)drive->n_bytes, "busy_s", seconds(drive->busy_ns),
        "request_s", seconds(drive->sum_ns), "longest_s",
        seconds(drive->most_ns));
    int rc;

    if (!root)
        return weir_err_nomem(err, 4096, "JSON");
    rc = json_dumpf(root, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}
