/* SPDX-License-Identifier: Apache-2.0 */
/* The results of weir bench, as tables and as JSON; weir-bench(1) has them. */
#ifndef WEIR_TOOLS_BENCH_PRINT_H
#define WEIR_TOOLS_BENCH_PRINT_H

#include "base/err.h"

/* In the order of the words of --output. */
enum bench_form { BENCH_MD, BENCH_CSV, BENCH_JSON, BENCH_JSONL };

struct stream_row;
struct masks_row;

struct bench_row {
    char test[32]; /* "pp512", "tg64" */
    const char *model, *codec, *device, *cpu_level;
    unsigned threads, batch;
    size_t depth;
    double tps_mean, tps_sd;
    double bytes_per_token, flop_per_token;
    double read_gbps[2];        /* before and after */
    double hbm_gbps, pcie_gbps; /* of a device; 0: the CPU computes */
    double peak_gflops;
    double dram_gbps; /* of the CPU, for a plan */
    double bound_tps;
    const char *bound_by;
    double share;
    int decodes;           /* else the next two are not there */
    double matvec_gbps[2]; /* before and after */
    double matvec_share;
    uint64_t distinct_experts;
    const struct stream_row *stream; /* NULL: the file is mapped */
    const struct masks_row *masks;   /* NULL: there is no form */
};

struct bench_print {
    enum bench_form form;
    size_t n_rows;
    int unsteady; /* a row was */
    int places;   /* a kernel's sums depend on places */
};

/* A row goes to standard output at once; the end closes what was begun. */
int bench_print_row(struct bench_print *print, const struct bench_row *row,
                    struct weir_err *err);
void bench_print_end(const struct bench_print *print);

#endif
