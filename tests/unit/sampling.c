/* SPDX-License-Identifier: Apache-2.0 */
/* The parameters of sampling: their ranges, and generation_config.json. */
#include "text/sampling.h"

#include <math.h>
#include <string.h>

#include "tests/tap.h"

#define N 5

static const struct {
    enum weir_sampling_field field;
    double good[2], bad[2];
} ranges[] = {
    {WEIR_TEMPERATURE, {0, 100}, {-0.1, 100.1}},
    {WEIR_TOP_K, {0, INT32_MAX}, {-1, 1.5}},
    {WEIR_TOP_P, {1e-9, 1}, {0, 1.01}},
    {WEIR_MIN_P, {0, 1}, {-0.01, 1.01}},
    {WEIR_REPETITION_PENALTY, {0.01, 100}, {0, -1}},
    {WEIR_PRESENCE_PENALTY, {-2, 2}, {-2.1, 2.1}},
    {WEIR_FREQUENCY_PENALTY, {-2, 2}, {-2.1, 2.1}},
};

static void test_range(unsigned i)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    const char *name = weir_sampling_name(ranges[i].field);
    struct weir_err err;
    int good = 1;

    for (int j = 0; j < 2; j++) {
        good &= !weir_sampling_set(&sampling, ranges[i].field,
                                   ranges[i].good[j], "x", &err);
        good &=
            weir_sampling_get(&sampling, ranges[i].field) == ranges[i].good[j];
        good &= weir_sampling_set(&sampling, ranges[i].field, ranges[i].bad[j],
                                  "--this", &err) == WEIR_EARG;
        good &= strstr(err.message, "--this must be a ") != NULL;
    }
    good &= weir_sampling_set(&sampling, ranges[i].field, NAN, "x", NULL) ==
            WEIR_EARG;
    good &= !weir_sampling_check(&sampling, N, &err);
    tap_ok(good, "the range of %s: %s", name, err.message);
}

static void test_biases(void)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;
    struct weir_err err;
    int good = 1;

    tap_ok(weir_sampling_add_bias(&sampling, 0, 100.5, &err) == WEIR_EARG &&
               weir_sampling_add_bias(&sampling, 0, NAN, &err) == WEIR_EARG &&
               sampling.n_biases == 0,
           "a bias out of range: %s", err.message);
    for (int i = 0; i < WEIR_MAX_BIASES; i++)
        good &= !weir_sampling_add_bias(&sampling, 4, -100, &err);
    good &= weir_sampling_add_bias(&sampling, 4, 0, &err) == WEIR_EARG;
    tap_ok(good, "too many biases: %s", err.message);
    good = !weir_sampling_check(&sampling, N, &err);
    sampling.biases[1].id = N;
    good &= weir_sampling_check(&sampling, N, &err) == WEIR_EARG;
    sampling.biases[1].id = -1;
    good &= weir_sampling_check(&sampling, N, &err) == WEIR_EARG;
    tap_ok(good, "a bias for no token: %s", err.message);
}

/* The temperature, top_k, top_p, min_p and repetition_penalty of each */
static const struct {
    const char *json;
    double wanted[5];
} configs[] = {
    {"{}", {0, 0, 1, 0, 1}},
    {"{\"do_sample\": true}", {1, 0, 1, 0, 1}},
    {"{\"do_sample\": true, \"temperature\": null}", {1, 0, 1, 0, 1}},
    {"{\"temperature\": 0.7}", {0, 0, 1, 0, 1}},
    {"{\"do_sample\": false, \"temperature\": 0.7}", {0, 0, 1, 0, 1}},
    {"{\"do_sample\": null, \"temperature\": 0.7}", {0, 0, 1, 0, 1}},
    {"{\"do_sample\": true, \"temperature\": 0.6, \"top_k\": 20,"
     " \"top_p\": 0.95, \"min_p\": 0.1, \"repetition_penalty\": 1.05,"
     " \"presence_penalty\": 1, \"max_new_tokens\": \"all\"}",
     {0.6, 20, 0.95, 0.1, 1.05}},
    {"{\"top_k\": 0, \"top_p\": 1, \"min_p\": null}", {0, 0, 1, 0, 1}},
    {"{\"do_sample\": false, \"repetition_penalty\": 2}", {0, 0, 1, 0, 2}},
};

/* The key that the message must name */
static const struct {
    const char *json, *named;
} refused[] = {
    {"{\"do_sample\": 1}", "do_sample"},
    {"{\"temperature\": -1}", "temperature"},
    {"{\"temperature\": \"warm\"}", "temperature"},
    {"{\"do_sample\": false, \"temperature\": 101}", "temperature"},
    {"{\"top_k\": -1}", "top_k"},
    {"{\"top_k\": 2.5}", "top_k"},
    {"{\"top_k\": 4294967296}", "top_k"},
    {"{\"top_p\": 0}", "top_p"},
    {"{\"top_p\": 1.5}", "top_p"},
    {"{\"top_p\": true}", "top_p"},
    {"{\"min_p\": -0.5}", "min_p"},
    {"{\"min_p\": [0.5]}", "min_p"},
    {"{\"repetition_penalty\": 0}", "repetition_penalty"},
};

static int read_config(const char *json, struct weir_sampling *sampling,
                       struct weir_err *err)
{
    json_t *root;
    int rc = weir_json_parse(json, strlen(json), "file.json", &root, err);

    *sampling = (struct weir_sampling)WEIR_SAMPLING_NEUTRAL;
    if (!rc)
        rc = weir_sampling_read(root, "file.json", sampling, err);
    json_decref(root);
    return rc;
}

static void test_configs(void)
{
    struct weir_sampling sampling;

    for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++) {
        int good = !read_config(configs[i].json, &sampling, NULL);

        for (int k = 0; k < 5; k++)
            good &= weir_sampling_get(&sampling, k) == configs[i].wanted[k];
        good &= sampling.presence_penalty == 0;
        tap_ok(good, "read: %.60s", configs[i].json);
    }
}

static void test_refused(void)
{
    struct weir_sampling sampling;
    struct weir_err err;

    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        int rc = read_config(refused[i].json, &sampling, &err);

        tap_ok(rc == WEIR_EFORMAT && strstr(err.message, "file.json: ") &&
                   strstr(err.message, refused[i].named),
               "refused: %s", err.message);
    }
}

int main(void)
{
    for (unsigned i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
        test_range(i);
    test_biases();
    test_configs();
    test_refused();
    return tap_done();
}
