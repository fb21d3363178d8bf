/* SPDX-License-Identifier: Apache-2.0 */
#include "text/sampler.h"

#include <math.h>

#include "tests/tap.h"

#define N_DRAWS 20000

static const float scores[] = {1.0f, 3.0f, -INFINITY, 3.0f, 0.0f};
#define N (sizeof(scores) / sizeof(scores[0]))

static void test_greedy(void)
{
    struct weir_sampler greedy = {0, 7, 0};
    struct weir_sampler cold = {1e-4, 7, 0};
    int good = 1;

    for (int i = 0; i < 100; i++) {
        int32_t id = weir_sampler_next(&cold, scores, N);

        good &= weir_sampler_next(&greedy, scores, N) == 1;
        good &= id == 1 || id == 3;
    }
    tap_ok(good, "temperature 0 takes the first of the best, a low one a best");
}

/* Draws at a temperature come as often as softmax says. */
static void test_shares(double temperature)
{
    struct weir_sampler sampler = {temperature, 42, 0};
    double n[N] = {0}, sum = 0, chi2 = 0;

    for (int i = 0; i < N_DRAWS; i++)
        n[weir_sampler_next(&sampler, scores, N)]++;
    for (unsigned i = 0; i < N; i++)
        sum += exp(scores[i] / temperature);
    for (unsigned i = 0; i < N; i++) {
        double want = N_DRAWS * exp(scores[i] / temperature) / sum;

        chi2 += want > 0 ? (n[i] - want) * (n[i] - want) / want : 0;
    }
    /* 3 degrees of freedom: beyond 16.3 once in a thousand seeds */
    tap_ok(chi2 < 16.3, "temperature %g draws as softmax says (chi2 %.1f)",
           temperature, chi2);
    tap_ok(n[2] == 0, "a score of minus infinity never comes");
}

static void test_seeds(void)
{
    struct weir_sampler a = {1, 5, 0}, b = {1, 5, 0}, c = {1, 6, 0};
    int same = 1, other = 0;

    for (int i = 0; i < 200; i++) {
        int32_t id = weir_sampler_next(&a, scores, N);

        same &= id == weir_sampler_next(&b, scores, N);
        other |= id != weir_sampler_next(&c, scores, N);
    }
    tap_ok(same && other, "the seed alone decides");
}

static void test_bad(void)
{
    static const float bad[][2] = {
        {0, NAN}, {NAN, 0}, {0, INFINITY}, {-INFINITY, -INFINITY}};
    int good = 1;

    for (unsigned i = 0; i < 4; i++)
        for (double t = 0; t <= 1; t++)
            good &= weir_sampler_next(&(struct weir_sampler){t, 0, 0}, bad[i],
                                      2) == -1;
    tap_ok(good, "scores that are not finite are refused");
}

int main(void)
{
    test_greedy();
    test_shares(1);
    test_shares(2.5);
    test_seeds();
    test_bad();
    return tap_done();
}
