/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers within bounds.  Those from 0 on and those below are two halves, in
 * each of which what counts is how large a number is without its sign.  Digits
 * are held to a bound as long as they are its own: the first one that is above
 * the least, or below the most, leaves the others free.
 *
 * Bounds are whole, so that a fraction may stand behind every whole number but
 * the largest.  There is no exponent, which would move the point, and no -0.
 */
#include <stdio.h>
#include <string.h>

#include "text/grammar_parts.h"

#define N_DIGITS   18
#define N_FRACTION 17

/* Whole numbers from here on are written, and what comes behind them */
struct digits {
    struct weir_grammar_builder *b;
    uint32_t free[N_DIGITS + 1]; /* so many digits more, whatever they are */
};

static void add(struct digits *d, uint32_t *all, char low, char high,
                uint32_t next)
{
    uint32_t one;

    if (low > high)
        return;
    one = weir_grammar_bytes(d->b, (unsigned)low, (unsigned)high, next);
    *all = weir_grammar_split(d->b, one, *all);
}

/* n digits from `low` to `high`; NULL: whatever they are */
static uint32_t between(struct digits *d, const char *low, const char *high,
                        size_t n)
{
    uint32_t all = weir_grammar_never(d->b);
    char first = low ? *low : '0', last = high ? *high : '9';

    if (n == 0 || (!low && !high))
        return d->free[n];
    if (low && high && first == last) {
        add(d, &all, first, last, between(d, low + 1, high + 1, n - 1));
        return all;
    }
    if (low)
        add(d, &all, first, first, between(d, low + 1, NULL, n - 1));
    if (high)
        add(d, &all, last, last, between(d, NULL, high + 1, n - 1));
    add(d, &all, (char)(first + !!low), (char)(last - !!high), d->free[n - 1]);
    return all;
}

/* Whole numbers from low to high, without zeros before them */
static uint32_t whole(struct weir_grammar_builder *b, int64_t low, int64_t high,
                      uint32_t next)
{
    char least[N_DIGITS + 2], most[N_DIGITS + 2], ten[N_DIGITS + 2] = "1";
    uint32_t all = weir_grammar_never(b);
    struct digits d = {.b = b, .free = {next}};
    size_t n_least, n_most;

    if (low > high)
        return all;
    for (size_t i = 1; i <= N_DIGITS; i++)
        d.free[i] = weir_grammar_bytes(b, '0', '9', d.free[i - 1]);
    memset(ten + 1, '0', N_DIGITS);
    n_least = (size_t)snprintf(least, sizeof(least), "%lld", (long long)low);
    n_most = (size_t)snprintf(most, sizeof(most), "%lld", (long long)high);
    for (size_t n = n_least; n <= n_most; n++)
        all = weir_grammar_split(b,
                                 between(&d, n == n_least ? least : ten,
                                         n == n_most ? most : NULL, n),
                                 all);
    return all;
}

/* Digits behind a point; is_above: not zeros alone, but for so many of them */
static uint32_t fraction(struct weir_grammar_builder *b, int is_above,
                         uint32_t next)
{
    uint32_t rest = next, above = weir_grammar_never(b), any = next;

    for (size_t i = 0; i < N_FRACTION; i++) {
        above = weir_grammar_split(b, weir_grammar_bytes(b, '1', '9', rest),
                                   weir_grammar_bytes(b, '0', '0', above));
        any = weir_grammar_bytes(b, '0', '9', rest);
        rest = weir_grammar_split(b, next, any);
    }
    if (is_above)
        return weir_grammar_bytes(b, '.', '.', above);
    return weir_grammar_split(b, next, weir_grammar_bytes(b, '.', '.', any));
}

/* Of one sign */
struct half {
    int64_t low, high;
    int above, below; /* low and high do not count */
};

static uint32_t add_half(struct weir_grammar_builder *b,
                         const struct half *half, int is_integer, uint32_t next)
{
    int64_t low = half->low + half->above, high = half->high;
    uint32_t all;

    if (is_integer)
        return whole(b, low, high - half->below, next);
    if (half->low == high && (half->above || half->below))
        return weir_grammar_never(b);
    all = whole(b, low, high - 1, fraction(b, 0, next));
    if (half->above && half->low < high)
        all = weir_grammar_split(
            b, whole(b, half->low, half->low, fraction(b, 1, next)), all);
    if (!half->below && half->low <= high)
        all = weir_grammar_split(b, whole(b, high, high, next), all);
    return all;
}

uint32_t weir_grammar_range(struct weir_grammar_builder *b,
                            const struct weir_grammar_bounds *bounds,
                            int is_integer, uint32_t next)
{
    int64_t min = bounds->min, max = bounds->max;
    uint32_t all = weir_grammar_never(b), one;

    if (max >= 0) {
        const struct half half = {min > 0 ? min : 0, max,
                                  min >= 0 && bounds->above, bounds->below};

        all = add_half(b, &half, is_integer, next);
    }
    if (min < 0) {
        const struct half half = {max < 0 ? -max : 0, -min,
                                  max >= 0 || bounds->below, bounds->above};

        one = add_half(b, &half, is_integer, next);
        all = weir_grammar_split(b, weir_grammar_bytes(b, '-', '-', one), all);
    }
    return all;
}
