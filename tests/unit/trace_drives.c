/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of several drives at a time come out as one timeline. */
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "base/trace.h"
#include "tests/tap.h"
#include "tools/trace_read.h"
#include "tools/trace_record.h"

#define N_DRIVES 3
#define N_READS  100

static pthread_barrier_t meeting;

/* All drives are there before the first has a request to tell of. */
static void *read_much(void *arg)
{
    uint64_t start;

    (void)arg;
    weir_trace_call_thread("drive", 0);
    pthread_barrier_wait(&meeting);
    for (int i = 0; i < N_READS; i++) {
        start = weir_trace_begin();
        weir_trace_end_read(start, "read", 4096, 512);
    }
    pthread_barrier_wait(&meeting);
    weir_trace_leave_thread();
    return NULL;
}

static int record(struct trace_record *record, struct weir_err *err)
{
    const struct cli cli = {.command = "test"};
    pthread_t threads[N_DRIVES];
    int rc = trace_record_begin(record, &cli, 1, NULL, 0, err);

    if (rc)
        return rc;
    pthread_barrier_init(&meeting, NULL, N_DRIVES);
    for (int i = 0; i < N_DRIVES; i++)
        pthread_create(&threads[i], NULL, read_much, NULL);
    for (int i = 0; i < N_DRIVES; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&meeting);
    return trace_record_end(record, &cli, 0);
}

int main(void)
{
    struct weir_err err = {0};
    struct trace *trace = NULL;
    struct trace_record out = {0};
    char path[64];

    snprintf(path, sizeof(path), "trace-%ld.json", (long)getpid());
    out.path = path;
    tap_ok(!record(&out, &err), "a timeline is written %s", err.message);
    tap_ok(!trace_read(path, &trace, &err), "and read %s", err.message);
    tap_ok(trace && trace->drive.n_reads == N_DRIVES * N_READS &&
               trace->drive.n_bytes == N_DRIVES * N_READS * 512 &&
               !trace->n_dropped,
           "with every request of every drive");
    trace_free(trace);
    unlink(path);
    return tap_done();
}
