/* SPDX-License-Identifier: Apache-2.0 */
/* The sampler but for its distributions: those are in sampler_shares.c. */
#include "text/sampler.h"

#include <math.h>
#include <string.h>

#include "tests/tap.h"

static const float scores[] = {1.0f, 3.0f, -INFINITY, 3.0f, 0.0f};
#define N (sizeof(scores) / sizeof(scores[0]))

static struct weir_sampler make(double temperature, uint64_t seed)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    struct weir_sampler sampler;
    struct weir_err err;

    sampling.temperature = temperature;
    sampling.seed = seed;
    if (weir_sampler_init(&sampler, &sampling, N, &err))
        tap_diag("%s", err.message);
    return sampler;
}

static void test_greedy(void)
{
    struct weir_sampler greedy = make(0, 7), cold = make(1e-4, 7);
    int good = 1;

    for (int i = 0; i < 100; i++) {
        int32_t id = weir_sampler_next(&cold, scores);

        good &= weir_sampler_next(&greedy, scores) == 1;
        good &= id == 1 || id == 3;
    }
    tap_ok(good, "temperature 0 takes the first of the best, a low one a best");
    weir_sampler_fini(&greedy);
    weir_sampler_fini(&cold);
}

/* Penalties and biases come before the choice of the best. */
static void test_greedy_moved(void)
{
    struct weir_sampler sampler = make(0, 0);
    const int32_t strangers[] = {-1, N, INT32_MAX};

    sampler.sampling.presence_penalty = 1;
    weir_sampler_see_answer(&sampler, 1);
    weir_sampler_see_answer(&sampler, -1);
    weir_sampler_see_prompt(&sampler, strangers, 3);
    tap_ok(weir_sampler_next(&sampler, scores) == 3,
           "a penalty moves the best");
    sampler.sampling.biases[0] = (struct weir_logit_bias){4, 3};
    sampler.sampling.biases[1] = (struct weir_logit_bias){4, 0.5};
    sampler.sampling.n_biases = 2;
    tap_ok(weir_sampler_next(&sampler, scores) == 4, "biases add up");
    sampler.sampling.biases[0] = (struct weir_logit_bias){2, 100};
    sampler.sampling.n_biases = 1;
    tap_ok(weir_sampler_next(&sampler, scores) == 3,
           "no bias brings back what must not come");
    weir_sampler_fini(&sampler);
}

static void test_seeds(void)
{
    struct weir_sampler a = make(1, 5), b = make(1, 5), c = make(1, 6);
    int same = 1, other = 0;

    for (int i = 0; i < 200; i++) {
        int32_t id = weir_sampler_next(&a, scores);

        same &= id == weir_sampler_next(&b, scores);
        other |= id != weir_sampler_next(&c, scores);
    }
    tap_ok(same && other, "the seed alone decides");
    weir_sampler_fini(&a);
    weir_sampler_fini(&b);
    weir_sampler_fini(&c);
}

/* What was drawn before, and from what, does not move the random numbers. */
static void test_steps(void)
{
    static const float even[N] = {0};
    struct weir_sampler a = make(1, 5), b = make(1, 5);
    int same = 1;

    b.sampling.top_k = 2;
    for (int i = 0; i < 100; i++) {
        weir_sampler_next(&a, even);
        weir_sampler_next(&b, scores);
    }
    b.sampling.top_k = 0;
    for (int i = 0; i < 100; i++)
        same &= weir_sampler_next(&a, even) == weir_sampler_next(&b, even);
    tap_ok(same, "the random number of a step hangs on seed and step alone");
    weir_sampler_fini(&a);
    weir_sampler_fini(&b);
}

static void test_bad_scores(void)
{
    static const float bad[][N] = {
        {0, NAN},
        {NAN, 0},
        {0, INFINITY},
        {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY},
    };
    int good = 1;

    for (int t = 0; t <= 1; t++) {
        struct weir_sampler sampler = make(t, 0);

        for (unsigned i = 0; i < 4; i++)
            good &= weir_sampler_next(&sampler, bad[i]) == -1;
        weir_sampler_fini(&sampler);
    }
    tap_ok(good, "scores that are not finite are refused");
}

static void test_refused(void)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    struct weir_sampler sampler;
    struct weir_err err;

    sampling.top_p = 0;
    tap_ok(weir_sampler_init(&sampler, &sampling, N, &err) == WEIR_EARG &&
               strstr(err.message, "top_p"),
           "a sampler with a bad value: %s", err.message);
}

int main(void)
{
    test_greedy();
    test_greedy_moved();
    test_seeds();
    test_steps();
    test_bad_scores();
    test_refused();
    return tap_done();
}
