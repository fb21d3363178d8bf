/* SPDX-License-Identifier: Apache-2.0 */
/* How often something took how long, in the ranges that Prometheus wants. */
#ifndef WEIR_SERVE_HISTOGRAM_H
#define WEIR_SERVE_HISTOGRAM_H

#include <stdint.h>
#include <time.h>

#define WEIR_HISTOGRAM_BOUNDS 18

/* Seconds, from a token of a small model to a prompt of a large one */
static const double weir_histogram_bounds[WEIR_HISTOGRAM_BOUNDS] = {
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2,
    0.5,    1,     2,     5,     10,   30,   60,   300, 1800};

struct weir_histogram {
    uint64_t counts[WEIR_HISTOGRAM_BOUNDS + 1]; /* the last: above all */
    double sum;
};

static inline void weir_histogram_add(struct weir_histogram *histogram,
                                      uint64_t ns)
{
    double seconds = (double)ns * 1e-9;
    int i = 0;

    while (i < WEIR_HISTOGRAM_BOUNDS && seconds > weir_histogram_bounds[i])
        i++;
    histogram->counts[i]++;
    histogram->sum += seconds;
}

/* Nanoseconds from some moment on */
static inline uint64_t weir_clock_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

#endif
