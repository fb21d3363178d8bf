/* SPDX-License-Identifier: Apache-2.0 */
/* What `weir trace` prints: where the time of a timeline went. */
#ifndef WEIR_TOOLS_TRACE_PRINT_H
#define WEIR_TOOLS_TRACE_PRINT_H

#include "tools/trace_read.h"

void trace_print(const struct trace *trace);
int trace_print_json(const struct trace *trace, struct weir_err *err);

/* The shares from the largest on, and the operations; [N_SHARES], [n_ops] */
void trace_sort_shares(const struct trace *trace, enum trace_share *order);
void trace_sort_ops(const struct trace *trace, const struct trace_op **order);

/* The time of all threads together */
uint64_t trace_all_ns(const struct trace *trace);

#endif
