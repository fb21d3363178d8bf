/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound: the work of a batch divided by what the machine can do in a
 * second, for each of its resources, gives a time that the batch cannot have
 * been shorter than.  The longest of them bounds its speed.  What is read of
 * the drive is what was read: the rest had its place in memory.
 */
#include "tools/batch_report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "offload/drives.h"
#include "tools/bench_probe.h"
#include "tools/progress.h"

/* Read by each thread to measure memory: a batch should not wait for it. */
#define READ_BYTES (128ull << 20)

struct bound {
    const char *by; /* NULL: nothing is known of the machine */
    double seconds;
};

void batch_report_begin(struct batch_report *report,
                        const struct weir_model *model)
{
    struct weir_residency_stats stats;

    weir_residency_get_stats(model->jamba->residency, &stats);
    report->read_bytes = stats.read_bytes;
    report->seconds = progress_seconds();
}

void batch_report_end(struct batch_report *report,
                      const struct weir_schedule *schedule,
                      const struct weir_model *model)
{
    const struct weir_tally *tally = weir_schedule_tally(schedule);
    const struct weir_file *file = model->jamba->file;
    struct weir_residency_stats stats;
    struct weir_drives drives;

    report->seconds = progress_seconds() - report->seconds;
    report->n_passes = tally->n_passes;
    report->bytes = tally->bytes;
    report->flop = tally->flop;
    weir_residency_get_stats(model->jamba->residency, &stats);
    report->read_bytes = stats.read_bytes - report->read_bytes;
    if (!report->read_bytes)
        return;
    weir_drives_get(file, &drives);
    report->disk_gbps = drives.gbps;
}

int batch_report_measure(struct batch_report *report, unsigned n_threads,
                         uint64_t ram_bytes, struct weir_err *err)
{
    uint64_t most_bytes = n_threads * READ_BYTES;
    struct weir_kernels kernels;
    struct probe probe = {0};
    struct weir_pool *pool;
    int rc = weir_kernels_select(&kernels, err);

    if (!rc)
        rc = weir_pool_new(n_threads, &pool, err);
    if (rc)
        return rc;
    if (ram_bytes && ram_bytes / 2 < most_bytes)
        most_bytes = ram_bytes / 2;
    rc = probe_init(&probe, n_threads, most_bytes, err);
    if (!rc) {
        report->gflops = probe_flop(pool, &kernels) / 1e9;
        report->dram_gbps = probe_read(&probe, pool, &kernels) / 1e9;
    }
    probe_fini(&probe);
    weir_pool_free(pool);
    return rc;
}

static void take_longer(struct bound *bound, const char *by, double work,
                        double rate)
{
    if (rate > 0 && work / rate > bound->seconds)
        *bound = (struct bound){by, work / rate};
}

static struct bound find_bound(const struct batch_report *report)
{
    struct bound bound = {0};

    take_longer(&bound, "dram", report->bytes, report->dram_gbps * 1e9);
    take_longer(&bound, "cores", report->flop, report->gflops * 1e9);
    take_longer(&bound, "disk", (double)report->read_bytes,
                report->disk_gbps * 1e9);
    return bound;
}

static double per_second(uint64_t n, double seconds)
{
    return seconds > 0 ? (double)n / seconds : 0;
}

/* What the passes moved, and at which speed that could be */
static void print_bound(const struct batch_report *report)
{
    struct bound bound = find_bound(report);

    if (!bound.by)
        return;
    fprintf(stderr,
            "bound     %.2f tok/s by %s, of which this is %.1f %%\n"
            "each pass %.2f tokens, %.2f MB of weights and state, %.3f GFLOP, "
            "%.2f MB from the drive\n",
            per_second(report->n_tokens, bound.seconds), bound.by,
            report->seconds > 0 ? 100 * bound.seconds / report->seconds : 0,
            (double)(report->n_prompt + report->n_tokens) /
                (double)report->n_passes,
            report->bytes / 1e6 / (double)report->n_passes,
            report->flop / 1e9 / (double)report->n_passes,
            (double)report->read_bytes / 1e6 / (double)report->n_passes);
}

void batch_report_print(const struct batch_report *report)
{
    fprintf(stderr,
            "lines     %" PRIu64 " answered, %" PRIu64 " refused, %" PRIu64
            " there before\n",
            report->n_answers, report->n_refused, report->n_before);
    if (!report->n_passes)
        return;
    fprintf(stderr,
            "prompts   %" PRIu64 " tokens\n"
            "answers   %" PRIu64 " tokens, %.3f s, %.2f tok/s, up to %zu texts "
            "in step\n",
            report->n_prompt, report->n_tokens, report->seconds,
            per_second(report->n_tokens, report->seconds), report->n_places);
    print_bound(report);
}

int batch_report_print_json(const struct batch_report *report,
                            struct weir_err *err)
{
    struct bound bound = find_bound(report);
    double share = report->seconds > 0 ? bound.seconds / report->seconds : 0;
    json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:f, s:f, s:I, s:f, "
        "s:f, s:f, s:f, s:s?, s:f}",
        "answered", (json_int_t)report->n_answers, "refused",
        (json_int_t)report->n_refused, "there_before",
        (json_int_t)report->n_before, "prompt_tokens",
        (json_int_t)report->n_prompt, "generated_tokens",
        (json_int_t)report->n_tokens, "seconds", report->seconds,
        "generated_tok_per_s", per_second(report->n_tokens, report->seconds),
        "batch", (json_int_t)report->n_places, "passes",
        (json_int_t)report->n_passes, "dram_bytes", report->bytes, "flop",
        report->flop, "disk_bytes", (json_int_t)report->read_bytes, "dram_gbps",
        report->dram_gbps, "gflops", report->gflops, "disk_gbps",
        report->disk_gbps, "bound_tok_per_s",
        per_second(report->n_tokens, bound.seconds), "bound_by", bound.by,
        "share", share);
    int bad;

    if (!root)
        return weir_err_nomem(err, sizeof(*report), "JSON");
    bad = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
    putchar('\n');
    json_decref(root);
    return bad ? weir_err_errno(err, errno, "write", "standard output") : 0;
}
