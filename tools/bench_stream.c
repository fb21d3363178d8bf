/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench_stream.h"

#include <math.h>
#include <string.h>

#include "tools/forecast.h"
#include "tools/memory.h"
#include "tools/progress.h"

/* Part of a budget that memory is measured with */
#define PROBE_SHARE 32

int stream_take(struct stream_args *args, const struct cli *cli, int option)
{
    static const enum weir_io ways[] = {WEIR_IO_URING, WEIR_IO_PREAD};

    switch (option) {
    case OPT_bench_stream:
        break;
    case OPT_bench_ram:
        args->ram_bytes = cli_size(cli);
        break;
    case OPT_bench_io:
        args->io = ways[cli_choice(cli, "uring|pread")];
        break;
    case OPT_bench_cache:
        args->cache = memory_cache(cli);
        break;
    case OPT_bench_io_throttle:
        args->throttle_gbps = cli_rate(cli);
        break;
    default:
        return 0;
    }
    args->on = 1;
    return 1;
}

static uint64_t budget_of(const struct stream_args *args)
{
    return args->ram_bytes ? args->ram_bytes : weir_budget_usual("");
}

uint64_t stream_probe_bytes(const struct stream_args *args)
{
    return args->on ? budget_of(args) / PROBE_SHARE : 0;
}

void stream_options(const struct stream_args *args,
                    struct weir_jamba_options *options)
{
    if (!args->on)
        return;
    options->io = args->io;
    options->ram_bytes = budget_of(args);
    options->most_gbps = args->throttle_gbps;
    options->cache = args->cache;
}

int stream_init(struct stream *stream, const struct stream_args *args,
                const weir_model *model, struct probe *probe,
                struct weir_err *err)
{
    const struct weir_jamba *jamba = model->jamba;
    int rc;

    memset(stream, 0, sizeof(*stream));
    stream->args = args;
    if (!args->on)
        return 0;
    stream->ram_bytes = jamba->budget.ram_bytes;
    /* the budget counts what is touched */
    probe_read(probe, jamba->pool, &jamba->kernels);
    rc = drive_probe_init(&stream->drive, jamba->file, args->io,
                          args->throttle_gbps, err);
    stream->probe_bytes = probe->n_filled + stream->drive.region.n_bytes;
    return rc;
}

void stream_fini(struct stream *stream)
{
    drive_probe_fini(&stream->drive);
}

static int measure_drive(struct stream *stream, const weir_model *model,
                         const struct probe *probe, struct weir_err *err)
{
    struct weir_jamba *jamba = model->jamba;
    double rate;
    int rc = drive_probe_loaded(&stream->drive, jamba->pool, &jamba->kernels,
                                probe->data, probe->n_filled, &rate, err);

    if (!rc && rate / 1e9 > stream->row.drive_gbps)
        stream->row.drive_gbps = rate / 1e9;
    return rc;
}

/* Whether there is a device that does not hold all of the model */
static int is_short_of_device(const struct weir_model *model)
{
    const struct weir_on_device *on = model->jamba->on;

    return on && !on->is_whole;
}

/* A budget that the plan finds too small leaves the columns empty, and so does
 * a device whose speeds are not known. */
static void foretell(struct stream *stream, const weir_model *model,
                     const struct stream_test *test,
                     const struct bench_row *row)
{
    struct weir_jamba *jamba = model->jamba;
    struct weir_plan_machine machine;
    struct weir_plan_budget budget;
    struct weir_plan plan = {0};
    const struct weir_plan_speed *speed =
        test->is_prompt ? &plan.prompt : &plan.decode;
    size_t n_past = test->depth + test->n_tok / 2;

    forecast_init(&machine, &budget);
    if (jamba->on)
        device_describe(jamba->on, test->device, &machine, &budget);
    machine.n_threads = weir_pool_n_threads(jamba->pool);
    machine.disk_gbps = stream->row.drive_gbps;
    machine.dram_gbps = row->dram_gbps;
    forecast_know_ram(&machine);
    if (stream->args->on)
        budget.ram_bytes = stream->ram_bytes - stream->probe_bytes;
    budget.n_ctx = test->n_ctx;
    budget.batch = (uint32_t)test->batch;
    budget.cache = memory_kept(model);
    budget.n_prompt = test->is_prompt ? test->batch * test->n_tok
                      : n_past        ? n_past
                                      : 1;
    stream->row.plan_by = "none";
    if (!forecast_measure(&machine, jamba->pool,
                          stream_probe_bytes(stream->args), NULL) &&
        !forecast_make(&plan, &machine, &budget, jamba->file, &jamba->config,
                       test->kv, NULL) &&
        isfinite(speed->tps)) {
        stream->row.plan_tps = speed->tps;
        stream->row.plan_by = weir_plan_resource_name(speed->limit);
        stream->bound_tps = speed->overlap_tps;
    }
    weir_plan_fini(&plan);
}

int stream_begin(struct stream *stream, const weir_model *model,
                 const struct probe *probe, const struct stream_test *test,
                 const struct bench_row *row, struct weir_err *err)
{
    double idle;
    int rc;

    memset(&stream->row, 0, sizeof(stream->row));
    memset(&stream->sum, 0, sizeof(stream->sum));
    stream->seconds = stream->bound_tps = 0;
    if (!stream->args->on && is_short_of_device(model))
        foretell(stream, model, test, row);
    if (!stream->args->on)
        return 0;
    rc = drive_probe_idle(&stream->drive, &idle, err);
    if (!rc)
        rc = measure_drive(stream, model, probe, err);
    if (rc)
        return rc;
    stream->row.drive_idle_gbps = idle / 1e9;
    foretell(stream, model, test, row);
    return 0;
}

int stream_start(struct stream *stream, const weir_model *model,
                 const struct probe *probe, struct weir_err *err)
{
    int rc = stream->args->on ? measure_drive(stream, model, probe, err) : 0;

    weir_residency_get_stats(model->jamba->residency, &stream->from);
    stream->from_s = progress_seconds();
    return rc;
}

void stream_stop(struct stream *stream, const weir_model *model)
{
    const struct weir_residency_stats *from = &stream->from;
    struct weir_residency_stats *sum = &stream->sum, to;

    stream->seconds += progress_seconds() - stream->from_s;
    weir_residency_get_stats(model->jamba->residency, &to);
    sum->io = to.io;
    sum->is_unpacked = to.is_unpacked;
    sum->read_bytes += to.read_bytes - from->read_bytes;
    sum->read_ns += to.read_ns - from->read_ns;
    sum->n_hits += to.n_hits - from->n_hits;
    sum->n_misses += to.n_misses - from->n_misses;
    sum->n_evictions += to.n_evictions - from->n_evictions;
    sum->stall_ns += to.stall_ns - from->stall_ns;
    sum->idle_stall_ns += to.idle_stall_ns - from->idle_stall_ns;
    sum->n_guesses += to.n_guesses - from->n_guesses;
    sum->n_guesses_right += to.n_guesses_right - from->n_guesses_right;
}

static void take_columns(struct stream *stream, const weir_model *model)
{
    const struct weir_residency_stats *sum = &stream->sum;
    unsigned n_threads = weir_pool_n_threads(model->jamba->pool);
    struct stream_row *row = &stream->row;
    double all = stream->seconds * n_threads;

    row->ram_bytes = stream->ram_bytes;
    row->model_bytes = model->jamba->file->n_bytes;
    row->peak_rss_bytes = memory_peak();
    row->bytes_read = sum->read_bytes;
    if (sum->read_ns)
        row->read_gbps_disk = (double)sum->read_bytes / (double)sum->read_ns;
    row->share_of_drive = row->read_gbps_disk / row->drive_gbps;
    row->drive_busy = (double)sum->read_ns * 1e-9 / stream->seconds;
    row->hits = sum->n_hits;
    row->misses = sum->n_misses;
    row->evictions = sum->n_evictions;
    row->guesses = sum->n_guesses;
    row->guesses_right = sum->n_guesses_right;
    row->wait_share = (double)sum->stall_ns * 1e-9 / all;
    row->stall_share = (double)sum->idle_stall_ns * 1e-9 / all;
    row->io = sum->io;
    row->cache = sum->is_unpacked ? "unpacked" : "stored";
}

/* What the drive brings passes memory once more, on its way in. */
static void take_bound(const struct stream_row *stream, double n_tok,
                       struct bench_row *row)
{
    double read = (double)stream->bytes_read / n_tok;
    double dram = (row->read_gbps[0] + row->read_gbps[1]) / 2 * 1e9 /
                  (row->bytes_per_token + read);

    if (dram < row->bound_tps) {
        row->bound_tps = dram;
        row->bound_by = "dram";
    }
    if (read * row->bound_tps > stream->drive_gbps * 1e9) {
        row->bound_tps = stream->drive_gbps * 1e9 / read;
        row->bound_by = "drive";
    }
    row->share = row->bound_tps > 0 ? row->tps_mean / row->bound_tps : 0;
}

/* Of a device that does not hold all: what the plan has when all overlaps */
static void take_planned(const struct stream *stream, struct bench_row *row)
{
    if (!(stream->bound_tps > 0))
        return;
    row->bound_tps = stream->bound_tps;
    row->bound_by = stream->row.plan_by;
    row->share = row->tps_mean / row->bound_tps;
}

int stream_end(struct stream *stream, const weir_model *model,
               const struct probe *probe, const struct stream_test *test,
               size_t n_repeats, struct bench_row *row, struct weir_err *err)
{
    int rc;

    if (is_short_of_device(model))
        take_planned(stream, row);
    if (!stream->args->on)
        return 0;
    rc = measure_drive(stream, model, probe, err);
    if (rc)
        return rc;
    take_columns(stream, model);
    if (!is_short_of_device(model))
        take_bound(&stream->row,
                   (double)(n_repeats * test->batch * test->n_tok), row);
    row->stream = &stream->row;
    return 0;
}
