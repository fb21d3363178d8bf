/* SPDX-License-Identifier: Apache-2.0 */
/* A timeline: what is taken adds up, and can be drawn. */
#include <stdio.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tools/trace_print.h"
#include "tools/trace_svg.h"

static uint64_t sum_of(const uint64_t *ns)
{
    uint64_t sum = 0;

    for (int i = 0; i < TRACE_N_SHARES; i++)
        sum += ns[i];
    return sum;
}

/* All of a thread's time is shared out, and its columns hold as much. */
static void check_lane(const struct trace *trace, const struct trace_lane *lane)
{
    double width = (double)trace->length_ns / TRACE_COLUMNS, sum = 0;

    FUZZ_CHECK(sum_of(lane->ns) == trace->length_ns);
    FUZZ_CHECK(lane->at == trace->length_ns);
    for (int i = 0; i < TRACE_COLUMNS; i++) {
        double column = 0;

        for (int s = 0; s < TRACE_N_SHARES; s++)
            column += (double)lane->columns[i].ns[s];
        FUZZ_CHECK(column <= 1.001 * width + 1);
        sum += column;
    }
    FUZZ_CHECK(sum > 0.999 * (double)trace->length_ns - 1);
}

static void check_trace(const struct trace *trace)
{
    uint64_t layers = 0, ops = 0;

    FUZZ_CHECK(trace->n_lanes <= TRACE_THREADS && trace->n_ops <= TRACE_OPS);
    for (unsigned i = 0; i < trace->n_lanes; i++)
        if (trace->lanes[i].columns)
            check_lane(trace, &trace->lanes[i]);
    FUZZ_CHECK(sum_of(trace->ns) == trace_all_ns(trace));
    FUZZ_CHECK(trace_all_ns(trace) ==
               trace_n_threads(trace) * trace->length_ns);
    for (unsigned i = 0; i < trace->n_layers; i++)
        layers += sum_of(trace->layers[i]);
    for (unsigned i = 0; i < trace->n_ops; i++)
        ops += trace->ops[i].ns;
    FUZZ_CHECK(layers <= trace_all_ns(trace) && ops <= trace_all_ns(trace));
    for (int i = 0; i < TRACE_COLUMNS; i++)
        for (int s = 0; s < TRACE_N_SHARES; s++)
            FUZZ_CHECK((double)trace->columns[i].ns[s] <=
                       1.001 * (double)trace->length_ns / TRACE_COLUMNS + 1);
    FUZZ_CHECK(trace->drive.busy_ns <= trace->length_ns);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static FILE *nowhere;
    struct trace *trace;
    struct weir_err err = {0};
    int rc = trace_read(fuzz_path(data, n_bytes), &trace, &err);

    FUZZ_CHECK(!rc == (trace != NULL));
    if (rc) {
        fuzz_check_refused(rc, &err);
        return 0;
    }
    check_trace(trace);
    if (!nowhere)
        nowhere = fopen("/dev/null", "w");
    FUZZ_CHECK(nowhere);
    trace_draw(trace, nowhere);
    trace_free(trace);
    return 0;
}
