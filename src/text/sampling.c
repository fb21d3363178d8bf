/* SPDX-License-Identifier: Apache-2.0 */
#include "text/sampling.h"

#include <math.h>
#include <stdio.h>

static const struct {
    const char *name;
    size_t offset; /* in struct weir_sampling */
    double min, max;
    int above; /* the minimum itself is not allowed */
    int whole;
} fields[WEIR_N_SAMPLING_FIELDS] = {
#define FIELD(key) #key, offsetof(struct weir_sampling, key)
    [WEIR_TEMPERATURE] = {FIELD(temperature), 0, 100, 0, 0},
    [WEIR_TOP_K] = {FIELD(top_k), 0, INT32_MAX, 0, 1},
    [WEIR_TOP_P] = {FIELD(top_p), 0, 1, 1, 0},
    [WEIR_MIN_P] = {FIELD(min_p), 0, 1, 0, 0},
    [WEIR_REPETITION_PENALTY] = {FIELD(repetition_penalty), 0.01, 100, 0, 0},
    [WEIR_PRESENCE_PENALTY] = {FIELD(presence_penalty), -2, 2, 0, 0},
    [WEIR_FREQUENCY_PENALTY] = {FIELD(frequency_penalty), -2, 2, 0, 0},
#undef FIELD
};

const char *weir_sampling_name(enum weir_sampling_field field)
{
    return fields[field].name;
}

double weir_sampling_get(const struct weir_sampling *sampling,
                         enum weir_sampling_field field)
{
    return *(const double *)((const char *)sampling + fields[field].offset);
}

static double *at(struct weir_sampling *sampling,
                  enum weir_sampling_field field)
{
    return (double *)((char *)sampling + fields[field].offset);
}

static int check_value(enum weir_sampling_field field, double x, int code,
                       const char *name, struct weir_err *err)
{
    double min = fields[field].min, max = fields[field].max;

    if (x >= min && x <= max && !(fields[field].above && x == min) &&
        !(fields[field].whole && x != floor(x)))
        return 0;
    return weir_err_set(err, code, "%s must be a %snumber %s %.10g %s %.10g",
                        name, fields[field].whole ? "whole " : "",
                        fields[field].above ? "above" : "from", min,
                        fields[field].above ? "and up to" : "to", max);
}

int weir_sampling_set(struct weir_sampling *sampling,
                      enum weir_sampling_field field, double x,
                      const char *name, struct weir_err *err)
{
    int rc = check_value(field, x, WEIR_EARG, name, err);

    if (!rc)
        *at(sampling, field) = x;
    return rc;
}

/* A number that is absent or null leaves the default alone. */
static int read_field(const json_t *root, const char *what,
                      enum weir_sampling_field field,
                      struct weir_sampling *sampling, struct weir_err *err)
{
    const json_t *value = json_object_get(root, fields[field].name);
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    char name[128];
    int rc;

    if (!value || json_is_null(value))
        return 0;
    snprintf(name, sizeof(name), "%s: %s", what, fields[field].name);
    rc = check_value(field, x, WEIR_EFORMAT, name, err);
    if (!rc)
        *at(sampling, field) = x;
    return rc;
}

int weir_sampling_read(const json_t *root, const char *what,
                       struct weir_sampling *sampling, struct weir_err *err)
{
    static const enum weir_sampling_field named[] = {
        WEIR_TEMPERATURE, WEIR_TOP_K, WEIR_TOP_P, WEIR_MIN_P,
        WEIR_REPETITION_PENALTY};
    int do_sample = 0;
    int rc = weir_json_get_bool(root, "do_sample", what, &do_sample, err);

    sampling->temperature = 1;
    for (size_t i = 0; !rc && i < sizeof(named) / sizeof(named[0]); i++)
        rc = read_field(root, what, named[i], sampling, err);
    if (!do_sample)
        sampling->temperature = 0;
    return rc;
}

static int check_bias(double bias, struct weir_err *err)
{
    if (bias >= -WEIR_BIAS_EXTREME && bias <= WEIR_BIAS_EXTREME)
        return 0;
    return weir_err_set(err, WEIR_EARG,
                        "the bias of a token must be a number from %d to %d",
                        -WEIR_BIAS_EXTREME, WEIR_BIAS_EXTREME);
}

int weir_sampling_add_bias(struct weir_sampling *sampling, int32_t id,
                           double bias, struct weir_err *err)
{
    int rc = check_bias(bias, err);

    if (rc)
        return rc;
    if (sampling->n_biases == WEIR_MAX_BIASES)
        return weir_err_set(err, WEIR_EARG, "at most %d tokens can have a bias",
                            WEIR_MAX_BIASES);
    sampling->biases[sampling->n_biases++] = (struct weir_logit_bias){id, bias};
    return 0;
}

int weir_sampling_check(const struct weir_sampling *sampling, size_t n_vocab,
                        struct weir_err *err)
{
    int rc = 0;

    for (int i = 0; !rc && i < WEIR_N_SAMPLING_FIELDS; i++)
        rc = check_value(i, weir_sampling_get(sampling, i), WEIR_EARG,
                         fields[i].name, err);
    for (size_t i = 0; !rc && i < sampling->n_biases; i++) {
        int32_t id = sampling->biases[i].id;

        rc = check_bias(sampling->biases[i].bias, err);
        if (!rc && (id < 0 || (size_t)id >= n_vocab))
            rc = weir_err_set(err, WEIR_EARG,
                              "token id %d cannot have a bias: the model has "
                              "ids from 0 to %zu",
                              id, n_vocab - 1);
    }
    return rc;
}
