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

void check_probe(const struct levels *levels)
{
    int good = 1, counts = 1;
    unsigned width = 0;
    uint64_t flop;
    double n, grown;
    float sum;

    for (size_t lines = 0; lines <= MAX_LINES; lines++)
        good &= sees_every_word(levels, 64 * lines);
    tap_ok(good, "%s probe_read: reads every word once", levels->name);
    flop = levels->fast.probe_flop(1, 1, 1, &width, &sum);
    n = (double)flop / 2 / width;
    good = n > 0;
    for (uint64_t steps = 0; steps < 100; steps++) {
        flop = levels->fast.probe_flop(steps, 0.5f, 4, &width, &sum);
        grown = n * 2 * width * (double)steps;
        counts &= (double)flop == 2 * n * width * (double)steps;
        good &= (double)sum == n * (n - 1) / 2 + grown;
    }
    tap_ok(counts, "%s probe_flop: counts its operations", levels->name);
    tap_ok(good, "%s probe_flop: does them", levels->name);
}
