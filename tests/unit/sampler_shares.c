/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether tokens come as often as the definitions in text/sampler.h say.  The
 * shares wanted are computed here straight from the definitions, with a full
 * sort.  Draws must agree with them, and disagree with those of plausible
 * misunderstandings: that shows that the test would notice.
 */
#include "text/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

#define N_DRAWS 200000
#define MOST    65536 /* tokens */

/* Ways to get it wrong, as bits */
enum wrong {
    TEMPERATURE_LAST = 1,    /* after the filters */
    TEMPERATURE_IGNORED = 2, /* always 1 */
    TOP_K_ONE_MORE = 4,
    TOP_K_ONE_LESS = 8,
    TOP_K_WITH_EQUALS = 0x10,   /* keeps all that equal the last one */
    TOP_P_EXCLUDES = 0x20,      /* the token that reaches p */
    TOP_P_ONE_MORE = 0x40,      /* than needed */
    TOP_P_OF_ALL = 0x80,        /* not renormalised after top-k */
    MIN_P_ABSOLUTE = 0x100,     /* p < min_p */
    MIN_P_BEFORE_TOP_P = 0x200, /* which sees fewer tokens then */
    REPEAT_DIVIDES = 0x400,     /* negative scores too */
    REPEAT_NO_PROMPT = 0x800,   /* the answer only, or */
    REPEAT_NO_ANSWER = 0x1000,  /* the prompt only */
    REPEAT_EACH_TIME = 0x2000,  /* again for each time it stands there */
    PRESENCE_OF_PROMPT = 0x4000,
    PRESENCE_EACH_TIME = 0x8000,
    FREQUENCY_OF_PROMPT = 0x10000,
    FREQUENCY_ONCE = 0x20000,
    BIAS_LAST = 0x40000, /* after the penalties */
    BIAS_SET = 0x80000,  /* in place of the score */
    N_WRONG = 20
};

struct task {
    struct weir_sampling sampling;
    const float *scores;
    size_t n;
    unsigned n_prompt[MOST], n_answer[MOST];
    double x[MOST]; /* the scores as they stand */
    double p[MOST]; /* the probabilities wanted */
    size_t order[MOST];
};

static struct task task;

static int by_score(const void *left, const void *right)
{
    size_t a = *(const size_t *)left, b = *(const size_t *)right;

    if (task.x[a] != task.x[b])
        return task.x[a] > task.x[b] ? -1 : 1;
    return a < b ? -1 : 1;
}

static double bias_of(size_t id)
{
    double bias = 0;

    for (size_t i = 0; i < task.sampling.n_biases; i++)
        if ((size_t)task.sampling.biases[i].id == id)
            bias += task.sampling.biases[i].bias;
    return bias;
}

static double repeated(double x, size_t id, unsigned wrong)
{
    unsigned n = 0;
    double r = task.sampling.repetition_penalty;

    if (!(wrong & REPEAT_NO_PROMPT))
        n += task.n_prompt[id];
    if (!(wrong & REPEAT_NO_ANSWER))
        n += task.n_answer[id];
    if (n == 0)
        return x;
    if (wrong & REPEAT_EACH_TIME)
        r = pow(r, n);
    return x > 0 || wrong & REPEAT_DIVIDES ? x / r : x * r;
}

static double adjusted(size_t id, unsigned wrong)
{
    const struct weir_sampling *s = &task.sampling;
    double x = task.scores[id], bias = bias_of(id);
    unsigned n_presence = task.n_answer[id], n_frequency = n_presence;

    if (wrong & BIAS_SET && bias != 0)
        x = bias;
    else if (!(wrong & BIAS_LAST))
        x += bias;
    x = repeated(x, id, wrong);
    if (wrong & PRESENCE_OF_PROMPT)
        n_presence += task.n_prompt[id];
    if (wrong & FREQUENCY_OF_PROMPT)
        n_frequency += task.n_prompt[id];
    if (wrong & FREQUENCY_ONCE)
        n_frequency = n_frequency > 0;
    if (!(wrong & PRESENCE_EACH_TIME))
        n_presence = n_presence > 0;
    x -= s->presence_penalty * n_presence + s->frequency_penalty * n_frequency;
    return wrong & BIAS_LAST ? x + bias : x;
}

static void renormalise(void)
{
    double sum = 0;

    for (size_t i = 0; i < task.n; i++)
        sum += task.p[i];
    for (size_t i = 0; i < task.n; i++)
        task.p[i] /= sum;
}

static void softmax(double temperature)
{
    for (size_t i = 0; i < task.n; i++)
        if (task.p[i] > 0)
            task.p[i] = exp((task.x[i] - task.x[task.order[0]]) / temperature);
    renormalise();
}

static void keep_top_k(unsigned wrong)
{
    size_t k = (size_t)task.sampling.top_k, at;

    if (k == 0)
        return;
    k += !!(wrong & TOP_K_ONE_MORE);
    k -= !!(wrong & TOP_K_ONE_LESS);
    for (at = k; at < task.n; at++)
        if (!(wrong & TOP_K_WITH_EQUALS) ||
            task.x[task.order[at]] != task.x[task.order[k - 1]])
            task.p[task.order[at]] = 0;
    if (!(wrong & TOP_P_OF_ALL))
        renormalise();
}

static void keep_top_p(unsigned wrong)
{
    double sum = 0, wanted = task.sampling.top_p;
    size_t at;

    if (wanted >= 1)
        return;
    for (at = 0; at < task.n && sum < wanted; at++)
        sum += task.p[task.order[at]];
    at -= wrong & TOP_P_EXCLUDES && at > 1;
    at += !!(wrong & TOP_P_ONE_MORE);
    for (; at < task.n; at++)
        task.p[task.order[at]] = 0;
    renormalise();
}

static void keep_min_p(unsigned wrong)
{
    double least = task.sampling.min_p;

    if (!(wrong & MIN_P_ABSOLUTE))
        least *= task.p[task.order[0]];
    for (size_t i = 0; i < task.n; i++)
        if (task.p[i] < least)
            task.p[i] = 0;
    renormalise();
}

/* Fills task.p as the definitions say, or as somebody might misread them. */
static void want(unsigned wrong)
{
    double t = task.sampling.temperature;

    for (size_t i = 0; i < task.n; i++) {
        task.x[i] = adjusted(i, wrong);
        task.order[i] = i;
        task.p[i] = task.x[i] > -INFINITY;
    }
    qsort(task.order, task.n, sizeof(task.order[0]), by_score);
    softmax(wrong & (TEMPERATURE_LAST | TEMPERATURE_IGNORED) ? 1 : t);
    keep_top_k(wrong);
    if (wrong & MIN_P_BEFORE_TOP_P)
        keep_min_p(wrong);
    keep_top_p(wrong);
    keep_min_p(wrong);
    if (wrong & TEMPERATURE_LAST)
        softmax(t);
}

static struct weir_sampler start(void)
{
    struct weir_sampler sampler;
    struct weir_err err;

    if (weir_sampler_init(&sampler, &task.sampling, task.n, &err))
        tap_diag("%s", err.message);
    for (size_t i = 0; i < task.n; i++) {
        int32_t id = (int32_t)i;

        for (unsigned j = 0; j < task.n_prompt[i]; j++)
            weir_sampler_see_prompt(&sampler, &id, 1);
        for (unsigned j = 0; j < task.n_answer[i]; j++)
            weir_sampler_see_answer(&sampler, id);
    }
    return sampler;
}

/* What chi-square with this many degrees passes once in a thousand seeds, by
 * the approximation of Wilson and Hilferty (1931) */
static double chi2_bound(double degrees)
{
    double v = 2 / (9 * degrees);

    return degrees * pow(1 - v + 3.09 * sqrt(v), 3);
}

/* Whether counts of N_DRAWS draws could come from task.p */
static int agree(const unsigned *counts)
{
    double chi2 = 0, degrees = -1;

    for (size_t i = 0; i < task.n; i++) {
        double wanted = task.p[i] * N_DRAWS;

        if (wanted == 0 && counts[i])
            return 0;
        if (wanted == 0)
            continue;
        chi2 += (counts[i] - wanted) * (counts[i] - wanted) / wanted;
        degrees++;
    }
    return degrees > 0 ? chi2 < chi2_bound(degrees) : 1;
}

/* Draws for the task; `wrongs` are the misreadings that must not agree. */
static void check(const char *what, unsigned wrongs)
{
    struct weir_sampler sampler = start();
    unsigned counts[64] = {0};

    for (int i = 0; i < N_DRAWS; i++)
        counts[weir_sampler_next(&sampler, task.scores)]++;
    weir_sampler_fini(&sampler);
    want(0);
    tap_ok(agree(counts), "%s: as the definition says", what);
    for (unsigned i = 0; i < N_WRONG; i++) {
        if (!(wrongs >> i & 1))
            continue;
        want(1u << i);
        tap_ok(!agree(counts), "%s: not as misreading %u says", what, i);
    }
}

static const float scores[] = {2,    1.5f, -0.5f, 3, 2.5f, -INFINITY,
                               0.25, 3,    -1,    1, 0,    2.25f};
static const int32_t prompt[] = {3, 2, 0, 3, 9}, answer[] = {4, 4, 8, 4, 0, 8};

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void plain(double temperature)
{
    static const struct weir_sampling neutral = WEIR_SAMPLING_NEUTRAL;

    task.sampling = neutral;
    task.sampling.temperature = temperature;
    task.sampling.seed = 42;
    task.scores = scores;
    task.n = LENGTH(scores);
    memset(task.n_prompt, 0, sizeof(task.n_prompt));
    memset(task.n_answer, 0, sizeof(task.n_answer));
    for (size_t i = 0; i < LENGTH(prompt); i++)
        task.n_prompt[prompt[i]]++;
    for (size_t i = 0; i < LENGTH(answer); i++)
        task.n_answer[answer[i]]++;
}

static void test_filters(void)
{
    plain(1);
    check("temperature 1", 0);
    plain(0.5);
    check("temperature 0.5", TEMPERATURE_IGNORED);
    plain(2.5);
    check("temperature 2.5", TEMPERATURE_IGNORED);

    plain(1);
    task.sampling.top_k = 5;
    check("top-k 5", TOP_K_ONE_MORE | TOP_K_ONE_LESS);
    task.sampling.top_k = 1;
    check("top-k 1 of two equals", TOP_K_ONE_MORE | TOP_K_WITH_EQUALS);
    task.sampling.top_k = 100;
    check("top-k with all tokens", 0);

    plain(1);
    task.sampling.top_p = 0.6;
    check("top-p 0.6", TOP_P_EXCLUDES | TOP_P_ONE_MORE);
    task.sampling.top_p = 1e-6;
    check("top-p 1e-6", TOP_P_ONE_MORE);
    task.sampling.top_p = 0.999;
    check("top-p 0.999", TOP_P_EXCLUDES);

    plain(1);
    task.sampling.min_p = 0.2;
    check("min-p 0.2", MIN_P_ABSOLUTE);
    task.sampling.min_p = 1;
    check("min-p 1 keeps equals", 0);
}

static void test_orders(void)
{
    plain(2);
    task.sampling.top_p = 0.7;
    check("temperature 2, top-p 0.7", TEMPERATURE_LAST);
    plain(2);
    task.sampling.min_p = 0.4;
    check("temperature 2, min-p 0.4", TEMPERATURE_LAST);
    plain(1);
    task.sampling.top_k = 4;
    task.sampling.top_p = 0.7;
    check("top-k 4, top-p 0.7", TOP_P_OF_ALL);
    plain(1.5);
    task.sampling.top_p = 0.85;
    task.sampling.min_p = 0.5;
    check("top-p 0.85, min-p 0.5", MIN_P_BEFORE_TOP_P);
}

static void test_penalties(void)
{
    plain(1);
    task.sampling.repetition_penalty = 1.5;
    check("repetition penalty 1.5", REPEAT_DIVIDES | REPEAT_NO_PROMPT |
                                        REPEAT_NO_ANSWER | REPEAT_EACH_TIME);
    task.sampling.repetition_penalty = 0.7;
    check("repetition penalty 0.7", REPEAT_DIVIDES | REPEAT_NO_PROMPT |
                                        REPEAT_NO_ANSWER | REPEAT_EACH_TIME);
    plain(1);
    task.sampling.presence_penalty = 0.8;
    check("presence penalty 0.8", PRESENCE_OF_PROMPT | PRESENCE_EACH_TIME);
    task.sampling.presence_penalty = -0.8;
    check("presence penalty -0.8", PRESENCE_OF_PROMPT | PRESENCE_EACH_TIME);
    plain(1);
    task.sampling.frequency_penalty = 0.4;
    check("frequency penalty 0.4", FREQUENCY_OF_PROMPT | FREQUENCY_ONCE);
    task.sampling.frequency_penalty = -0.4;
    check("frequency penalty -0.4", FREQUENCY_OF_PROMPT | FREQUENCY_ONCE);
}

static void test_biases(void)
{
    plain(1);
    weir_sampling_add_bias(&task.sampling, 2, 2, NULL);
    weir_sampling_add_bias(&task.sampling, 3, -1, NULL);
    check("biases", BIAS_SET);
    weir_sampling_add_bias(&task.sampling, 2, 0.5, NULL);
    task.sampling.repetition_penalty = 2;
    check("biases, repetition penalty 2", BIAS_LAST);
}

static void test_all(void)
{
    plain(1.3);
    task.sampling.top_k = 9;
    task.sampling.top_p = 0.95;
    task.sampling.min_p = 0.1;
    task.sampling.repetition_penalty = 1.2;
    task.sampling.presence_penalty = 0.3;
    task.sampling.frequency_penalty = 0.2;
    weir_sampling_add_bias(&task.sampling, 8, 2.5, NULL);
    check("all together", TEMPERATURE_IGNORED | TOP_P_EXCLUDES |
                              PRESENCE_EACH_TIME | REPEAT_NO_PROMPT);
}

/* One draw of each of many seeds is as good as many of one. */
static void test_seeds(void)
{
    unsigned counts[64] = {0};
    struct weir_sampler sampler;

    plain(1);
    sampler = start();
    for (int i = 0; i < N_DRAWS; i++) {
        sampler.sampling.seed = (uint64_t)i;
        sampler.step = 3;
        counts[weir_sampler_next(&sampler, scores)]++;
    }
    weir_sampler_fini(&sampler);
    want(0);
    tap_ok(agree(counts), "over seeds: as the definition says");
}

/* Pairs of neighbours (of 8 equals each) are as frequent as each other. */
static void test_neighbours(int over_seeds)
{
    static const float even[64];
    unsigned counts[64] = {0};
    struct weir_sampler sampler;
    int32_t id, before = 0;

    plain(1);
    task.n = 8;
    task.scores = even;
    sampler = start();
    for (int i = 0; i < 2 * N_DRAWS; i++) {
        sampler.step = over_seeds ? 0 : (uint64_t)i;
        sampler.sampling.seed = over_seeds ? (uint64_t)i : 1;
        id = weir_sampler_next(&sampler, even);
        if (i % 2)
            counts[before * 8 + id]++;
        before = id;
    }
    weir_sampler_fini(&sampler);
    task.n = 64;
    want(0);
    tap_ok(agree(counts), "neighbouring %s are independent",
           over_seeds ? "seeds" : "steps");
}

/* The random numbers, once more */
static double uniform(uint64_t seed, uint64_t step)
{
    uint64_t z = seed;

    for (uint64_t i = 0; i <= step; i++)
        z += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    z ^= z >> 31;
    return (double)(z >> 11) / 9007199254740992.0;
}

static int32_t drawn(double u)
{
    double sum = 0;
    size_t i = 0;

    for (;; i++) {
        sum += task.p[i];
        if (sum > u || i + 1 == task.n)
            return (int32_t)i;
    }
}

static double pick(const double *values, size_t n)
{
    return values[(size_t)rand() % n];
}

/* A vocabulary with many equals, of which half are far from the best */
static void invent(float *x, size_t n)
{
    static const double t[] = {0.3, 1, 1.7}, p[] = {1e-3, 0.5, 0.9, 0.99, 1},
                        k[] = {0, 1, 7, 40, 1000, 40000}, m[] = {0, 0, 0.05},
                        r[] = {1, 1.3};
    double spread = pick((const double[]){1, 4, 40}, 3);

    for (size_t i = 0; i < n; i++)
        x[i] = (float)(spread * (rand() % 256 + rand() % 256) / 64);
    plain(pick(t, LENGTH(t)));
    task.scores = x;
    task.n = n;
    task.sampling.top_p = pick(p, LENGTH(p));
    task.sampling.top_k = pick(k, LENGTH(k));
    task.sampling.min_p = pick(m, LENGTH(m));
    task.sampling.repetition_penalty = pick(r, LENGTH(r));
    task.sampling.seed = (uint64_t)rand();
}

/* Token for token, with vocabularies of up to 65536 */
static void test_large(size_t n, int n_times)
{
    static float x[MOST];
    struct weir_sampler sampler;
    int n_same = 0, n_all = 0;

    for (int i = 0; i < n_times; i++) {
        invent(x, n);
        want(0);
        sampler = start();
        for (uint64_t step = 0; step < 20; step++, n_all++)
            n_same += weir_sampler_next(&sampler, x) ==
                      drawn(uniform(task.sampling.seed, step));
        weir_sampler_fini(&sampler);
    }
    tap_ok(n_same == n_all && n_all > 0, "%d of %d tokens of %zu", n_same,
           n_all, n);
}

int main(void)
{
    srand(1);
    test_filters();
    test_orders();
    test_penalties();
    test_biases();
    test_all();
    test_seeds();
    test_neighbours(0);
    test_neighbours(1);
    test_large(13, 400);
    test_large(1000, 200);
    test_large(MOST, 20);
    return tap_done();
}
