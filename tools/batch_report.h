/* SPDX-License-Identifier: Apache-2.0 */
/* What a batch has done, how fast, and how fast the machine could be. */
#ifndef WEIR_TOOLS_BATCH_REPORT_H
#define WEIR_TOOLS_BATCH_REPORT_H

#include "engine/schedule.h"

struct batch_report {
    uint64_t n_answers, n_refused, n_before; /* lines */
    uint64_t n_prompt, n_tokens;             /* tokens, in and out */
    size_t n_places;
    double seconds;
    uint64_t n_passes;
    double bytes, flop;  /* that the passes could not do without */
    uint64_t read_bytes; /* from the drive */
    /* the machine; 0: not known */
    double dram_gbps, gflops, disk_gbps;
};

/* Before the first pass and behind the last: time, and what was counted */
void batch_report_begin(struct batch_report *report,
                        const struct weir_model *model);
void batch_report_end(struct batch_report *report,
                      const struct weir_schedule *schedule,
                      const struct weir_model *model);

/* Measures the machine with n_threads threads in ram_bytes (0: the usual). */
int batch_report_measure(struct batch_report *report, unsigned n_threads,
                         uint64_t ram_bytes, struct weir_err *err);

/* Some lines to standard error */
void batch_report_print(const struct batch_report *report);

/* The same as an object on standard output */
int batch_report_print_json(const struct batch_report *report,
                            struct weir_err *err);

#endif
