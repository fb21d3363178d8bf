/* SPDX-License-Identifier: Apache-2.0 */
/* The probes do what they are timed for: every byte, every operation. */
#include "tests/kernels/levels.h"

#define MAX_LINES 131 /* beyond what the probes read ahead */

static void random_words(uint64_t *words, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        any();
        words[i] = seed;
    }
}

/* A bit of each word in turn shows in what is returned, and where it stood. */
static int sees_every_word(const struct levels *levels, size_t n_bytes)
{
    uint64_t *words = guard_alloc(n_bytes), bit;
    size_t n = n_bytes / sizeof(*words);
    uint64_t before, all = 0;
    int good;

    random_words(words, n);
    for (size_t i = 0; i < n; i++)
        all ^= words[i];
    before = levels->fast.probe_read(words, n_bytes);
    good = before == all;
    for (size_t i = 0; i < n; i++) {
        bit = 1ull << i % 64;
        words[i] ^= bit;
        good &= levels->fast.probe_read(words, n_bytes) == (before ^ bit);
        words[i] ^= bit;
    }
    guard_free_all();
    return good;
}

/* Of what the numbers 0 to n - 1 become, times `factor` and then `plus` */
static double sum_of(double n, double factor, double plus)
{
    return n * (n - 1) / 2 * factor + n * plus;
}

void check_probe(const struct levels *levels)
{
    int good = 1;
    uint64_t flop;
    double n;
    float sum;

    for (size_t lines = 0; lines <= MAX_LINES; lines++)
        good &= sees_every_word(levels, 64 * lines);
    tap_ok(good, "%s probe_read: reads every word once", levels->name);
    n = (double)levels->fast.probe_flop(1, 1, 1, &sum) / 2;
    good = n > 0;
    for (uint64_t steps = 0; steps < 100; steps++) {
        flop = levels->fast.probe_flop(steps, 1, 1, &sum);
        good &= (double)flop == 2 * n * (double)steps &&
                (double)sum == sum_of(n, 1, (double)steps);
    }
    tap_ok(good, "%s probe_flop: counts the operations that it does",
           levels->name);
    levels->fast.probe_flop(2, 0.5f, 1, &sum);
    tap_ok((double)sum == sum_of(n, 0.25, 1.5),
           "%s probe_flop: a step is a product and then a sum", levels->name);
}
