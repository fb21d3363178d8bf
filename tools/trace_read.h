/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A timeline that --trace wrote, read a line at a time and added up: into
 * columns of time for a picture, and into sums.  What it holds does not depend
 * on how long the file is.
 */
#ifndef WEIR_TOOLS_TRACE_READ_H
#define WEIR_TOOLS_TRACE_READ_H

#include "base/err.h"

#define TRACE_COLUMNS 1000
#define TRACE_THREADS 512
#define TRACE_LAYERS  1024
#define TRACE_OPS     96
#define TRACE_DEPTH   16 /* of spans in spans */
#define TRACE_NAME    32 /* bytes of a name, with a NUL */

/* Where the time of a thread goes: each moment is of one of these. */
enum trace_share {
    TRACE_MAMBA, /* arithmetic of these parts, and of all others */
    TRACE_ATTENTION,
    TRACE_EXPERTS,
    TRACE_MLP,
    TRACE_OTHER,
    TRACE_DECODE,
    TRACE_CHECK,
    TRACE_SERIAL,
    TRACE_WAIT_TILE,
    TRACE_WAIT_POOL,
    TRACE_NOTHING, /* nothing was recorded */
    TRACE_N_SHARES
};

struct trace_column {
    float ns[TRACE_N_SHARES];
};

/* A span that is open at the moment that was read last */
struct trace_open {
    uint64_t end;
    enum trace_share share;
    int layer, op; /* or -1 */
};

struct trace_lane {
    uint64_t ns[TRACE_N_SHARES];
    struct trace_column *columns; /* [TRACE_COLUMNS]; NULL: no such thread */
    struct trace_open open[TRACE_DEPTH];
    unsigned depth;
    uint64_t at; /* up to where time was shared out */
};

/* What was computed, beside tiles that were decoded or waited for meanwhile */
struct trace_op {
    char part[TRACE_NAME], name[TRACE_NAME];
    enum trace_share share;
    uint64_t ns;
};

struct trace_drive {
    uint64_t n_reads, n_bytes;
    uint64_t busy_ns;           /* something was under way */
    uint64_t sum_ns, most_ns;   /* of a request */
    uint64_t last_start, until; /* of those read so far */
    double bytes[TRACE_COLUMNS];
};

struct trace {
    char command[TRACE_NAME];
    uint64_t n_dropped, begin_ns, length_ns, n_events;
    struct trace_lane lanes[TRACE_THREADS];
    unsigned n_lanes; /* threads, the highest number plus one */
    struct trace_op ops[TRACE_OPS];
    unsigned n_ops;
    uint64_t layers[TRACE_LAYERS][TRACE_N_SHARES];
    unsigned n_layers;           /* the highest number plus one */
    uint64_t ns[TRACE_N_SHARES]; /* of all threads */
    struct trace_column columns[TRACE_COLUMNS]; /* of them, in the mean */
    struct trace_drive drive;
};

/*
 * Reads the file at `path`.  *trace is allocated; release with trace_free().
 * WEIR_EFORMAT, naming the line, for what weir does not write.
 */
int trace_read(const char *path, struct trace **trace, struct weir_err *err);
void trace_free(struct trace *trace);

/* "decoding tiles" and so on, and "decode" and so on for programs */
const char *trace_share_name(enum trace_share share);
const char *trace_share_key(enum trace_share share);

/* The time of a thread that it neither waited nor did nothing that is known */
uint64_t trace_busy_ns(const struct trace_lane *lane);

/* The threads that were seen: they have columns. */
unsigned trace_n_threads(const struct trace *trace);

#endif
