/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

double progress_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void progress_init(struct progress *progress, int quiet)
{
    memset(progress, 0, sizeof(*progress));
    progress->enabled = !quiet && isatty(STDERR_FILENO);
}

static void begin_phase(struct progress *progress, const char *phase,
                        uint64_t done)
{
    progress->phase = phase;
    progress->started = progress_seconds();
    progress->last = 0;
    progress->first = done;
}

void progress_show(struct progress *progress, const char *phase, uint64_t done,
                   uint64_t total)
{
    double at, rate, left, scale = progress->unit ? 1 : 1e9;
    const char *unit = progress->unit ? progress->unit : "GB";
    int digits = progress->unit ? 0 : 2;

    if (!progress->enabled)
        return;
    if (!progress->phase || strcmp(progress->phase, phase))
        begin_phase(progress, phase, done);
    at = progress_seconds();
    if (at - progress->last < 0.1 && done < total)
        return;
    progress->last = at;
    rate = (double)(done - progress->first) / (at - progress->started + 1e-9);
    left = rate > 0 ? (double)(total - done) / rate : 0;
    fprintf(stderr,
            "\r%s %5.1f %%  %.*f of %.*f %s  %.*f %s/s  %d:%02d left\033[K",
            phase, total ? 100.0 * (double)done / (double)total : 100.0, digits,
            (double)done / scale, digits, (double)total / scale, unit, digits,
            rate / scale, unit, (int)(left / 60), (int)left % 60);
    fflush(stderr);
    progress->shown = 1;
}

void progress_end(struct progress *progress)
{
    if (progress->shown)
        fprintf(stderr, "\r\033[K");
    progress->shown = 0;
}
