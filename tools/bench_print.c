/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench_print.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "tools/bench_masks.h"
#include "tools/bench_stream.h"

/* The two readings of memory are further apart than that: so is the bound. */
#define UNSTEADY 0.1

static json_t *row_json(const struct bench_row *row)
{
    json_t *matvec = row->decodes ? json_pack("[f, f]", row->matvec_gbps[0],
                                              row->matvec_gbps[1])
                                  : json_null();

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:f, s:f, "
        "s:[f, f], s:f, s:f, s:s, s:f, s:I, s:o, s:o}",
        "test", row->test, "model", row->model, "codec", row->codec, "device",
        row->device, "cpu_level", row->cpu_level, "threads",
        (json_int_t)row->threads, "batch", (json_int_t)row->batch, "depth",
        (json_int_t)row->depth, "tps_mean", row->tps_mean, "tps_sd",
        row->tps_sd, "bytes_per_token", row->bytes_per_token, "flop_per_token",
        row->flop_per_token, "read_gbps", row->read_gbps[0], row->read_gbps[1],
        "peak_gflops", row->peak_gflops, "bound_tps", row->bound_tps,
        "bound_by", row->bound_by, "share", row->share, "distinct_experts",
        (json_int_t)row->distinct_experts, "matvec_gbps", matvec,
        "matvec_share",
        row->decodes ? json_real(row->matvec_share) : json_null());
}

static int print_json(const struct bench_row *row, const char *before,
                      struct weir_err *err)
{
    json_t *root = row_json(row);
    int rc;

    if (root && row->hbm_gbps > 0)
        json_object_update_new(root, json_pack("{s:f, s:f}", "hbm_gbps",
                                               row->hbm_gbps, "pcie_gbps",
                                               row->pcie_gbps));

    if (root && ((row->stream && stream_add_json(root, row->stream)) ||
                 (row->masks && masks_add_json(root, row->masks)))) {
        json_decref(root);
        root = NULL;
    }
    if (!root)
        return weir_err_nomem(err, sizeof(*row), "JSON");
    fputs(before, stdout);
    rc = json_dumpf(root, stdout, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(root);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}

/* As RFC 4180 wants it */
static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"')
            putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const struct bench_row *row)
{
    printf("%s,", row->test);
    print_quoted(row->model);
    printf(",%s,%s,%s,%u,%u,%zu,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,%.17g,"
           "%.17g,%s,%.17g,%" PRIu64,
           row->codec, row->device, row->cpu_level, row->threads, row->batch,
           row->depth, row->tps_mean, row->tps_sd, row->bytes_per_token,
           row->flop_per_token, row->read_gbps[0], row->read_gbps[1],
           row->peak_gflops, row->bound_tps, row->bound_by, row->share,
           row->distinct_experts);
    if (row->decodes)
        printf(",%.17g,%.17g,%.17g", row->matvec_gbps[0], row->matvec_gbps[1],
               row->matvec_share);
    else
        fputs(",,,", stdout);
    if (row->stream)
        stream_print_csv(row->stream);
    if (row->masks)
        masks_print_csv(row->masks);
    putchar('\n');
}

static int is_unsteady(const struct bench_row *row)
{
    double a = row->read_gbps[0], b = row->read_gbps[1];
    double apart = a > b ? a - b : b - a, most = a > b ? a : b;

    return apart > UNSTEADY * most;
}

static void print_md(const struct bench_row *row)
{
    char depth[64] = "", matvec[64] = "";
    int at = 0;

    if (row->batch > 1)
        at = snprintf(depth, sizeof(depth), " x %u", row->batch);
    if (row->depth)
        snprintf(depth + at, sizeof(depth) - (size_t)at, " @ %zu", row->depth);
    if (row->decodes)
        snprintf(matvec, sizeof(matvec), " %.1f, %.1f, %.1f %%",
                 row->matvec_gbps[0], row->matvec_gbps[1],
                 100 * row->matvec_share);
    printf("| %s | %s | %s, %s | %u | %s%s | %.2f ± %.2f | %.2f, %s "
           "| %.1f %% | %.4g | %.4g | %.1f, %.1f%s |%s | %.1f | %" PRIu64 " |",
           row->model, row->codec, row->device, row->cpu_level, row->threads,
           row->test, depth, row->tps_mean, row->tps_sd, row->bound_tps,
           row->bound_by, 100 * row->share, row->bytes_per_token / 1e9,
           row->flop_per_token / 1e9, row->read_gbps[0], row->read_gbps[1],
           is_unsteady(row) ? " (!)" : "", matvec, row->peak_gflops,
           row->distinct_experts);
    if (row->stream)
        stream_print_md(row->stream);
    if (row->masks)
        masks_print_md(row->masks);
    putchar('\n');
}

static void print_csv_head(const struct bench_row *row)
{
    fputs("test,model,codec,device,cpu_level,threads,batch,depth,tps_mean,"
          "tps_sd,bytes_per_token,flop_per_token,read_gbps_before,"
          "read_gbps_after,peak_gflops,bound_tps,bound_by,share,"
          "distinct_experts,matvec_gbps_before,matvec_gbps_after,"
          "matvec_share",
          stdout);
    if (row->stream)
        stream_print_csv_head();
    if (row->masks)
        masks_print_csv_head();
    putchar('\n');
}

static void print_md_head(const struct bench_row *row)
{
    fputs("| model | codec | device | threads | test | tok/s | bound "
          "| share | GB/token | GFLOP/token | read GB/s | matvec GB/s, "
          "share | peak GFLOP/s | experts |",
          stdout);
    if (row->stream)
        stream_print_md_head();
    if (row->masks)
        masks_print_md_head();
    fputs("\n| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: "
          "| ---: | ---: | ---: | ---: | ---: |",
          stdout);
    if (row->stream)
        stream_print_md_rule();
    if (row->masks)
        masks_print_md_rule();
    putchar('\n');
}

static void print_head(enum bench_form form, const struct bench_row *row)
{
    if (form == BENCH_CSV)
        print_csv_head(row);
    if (form == BENCH_MD)
        print_md_head(row);
}

int bench_print_row(struct bench_print *print, const struct bench_row *row,
                    struct weir_err *err)
{
    int first = print->n_rows++ == 0, rc = 0;

    if (first)
        print_head(print->form, row);
    if (print->form == BENCH_JSON)
        rc = print_json(row, first ? "[" : ",\n", err);
    else if (print->form == BENCH_JSONL)
        rc = print_json(row, first ? "" : "\n", err);
    else if (print->form == BENCH_CSV)
        print_csv(row);
    else
        print_md(row);
    print->unsteady |= is_unsteady(row);
    fflush(stdout);
    return rc;
}

void bench_print_end(const struct bench_print *print)
{
    if (print->form == BENCH_JSON)
        putchar(']');
    if (print->form == BENCH_JSON || print->form == BENCH_JSONL)
        putchar('\n');
    if (print->form == BENCH_MD && print->unsteady)
        puts("\n(!) the memory changed its speed by more than 10 % during the "
             "test: measure again");
}
