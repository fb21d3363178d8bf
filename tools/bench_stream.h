/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What weir bench has more when the weights are read under a budget: the drive
 * beside the reads, and the plan beside the speed.  weir-bench(1) has the keys.
 */
#ifndef WEIR_TOOLS_BENCH_STREAM_H
#define WEIR_TOOLS_BENCH_STREAM_H

#include "base/json.h"
#include "engine/session.h"
#include "tools/bench_device.h"
#include "tools/bench_drive.h"
#include "tools/bench_print.h"
#include "tools/bench_probe.h"
#include "tools/cli.h"

struct stream_args {
    int on;
    uint64_t ram_bytes; /* 0: the usual budget */
    enum weir_io io;
    double throttle_gbps; /* 0: none */
    enum weir_cache cache;
};

/* The columns of a row */
struct stream_row {
    uint64_t ram_bytes, model_bytes, peak_rss_bytes;
    double drive_gbps, drive_idle_gbps, read_gbps_disk, share_of_drive;
    double drive_busy;
    uint64_t bytes_read, hits, misses, evictions, guesses, guesses_right;
    double wait_share, stall_share;
    double plan_tps;
    const char *plan_by, *io, *cache;
};

struct stream {
    const struct stream_args *args;
    uint64_t ram_bytes, probe_bytes; /* the budget, and of it to measure with */
    struct drive_probe drive;
    struct weir_residency_stats from, sum; /* of the timed repeats */
    double from_s, seconds;
    double bound_tps; /* of the plan, when all overlaps */
    struct stream_row row;
};

/* A test that is to be foretold */
struct stream_test {
    const struct device_speeds *device; /* if the model is on one */
    int is_prompt;
    size_t n_tok, depth, n_ctx; /* of each text */
    size_t batch;               /* texts */
    enum weir_dtype kv;
};

/* Takes an option that cli_next() found; returns 0 when it is another's. */
int stream_take(struct stream_args *args, const struct cli *cli, int option);

/* Most bytes to measure memory with; 0: what is usual */
uint64_t stream_probe_bytes(const struct stream_args *args);

/* What a model is opened with for that */
void stream_options(const struct stream_args *args,
                    struct weir_jamba_options *options);

/*
 * The rest does nothing unless args->on, but for the bound of a device.  A
 * model has its own; to be called before its first session, after which there
 * is no memory any more.
 */
int stream_init(struct stream *stream, const struct stream_args *args,
                const weir_model *model, struct probe *probe,
                struct weir_err *err);
void stream_fini(struct stream *stream);

/*
 * Measures the drive before and after a test, whose row has read_gbps[0] and
 * peak_gflops by then, plans the test, and adds the columns and the bound.
 */
int stream_begin(struct stream *stream, const weir_model *model,
                 const struct probe *probe, const struct stream_test *test,
                 const struct bench_row *row, struct weir_err *err);
int stream_end(struct stream *stream, const weir_model *model,
               const struct probe *probe, const struct stream_test *test,
               size_t n_repeats, struct bench_row *row, struct weir_err *err);

/* Around each timed repeat; the drive is measured before it. */
int stream_start(struct stream *stream, const weir_model *model,
                 const struct probe *probe, struct weir_err *err);
void stream_stop(struct stream *stream, const weir_model *model);

/* Further columns of a table, of CSV, and keys of an object */
void stream_print_md_head(void);
void stream_print_md_rule(void);
void stream_print_md(const struct stream_row *row);
void stream_print_csv_head(void);
void stream_print_csv(const struct stream_row *row);
int stream_add_json(json_t *root, const struct stream_row *row);

#endif
