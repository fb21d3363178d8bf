/* SPDX-License-Identifier: Apache-2.0 */
/* What a user may say about how tokens are chosen: plain data, with ranges. */
#ifndef WEIR_TEXT_SAMPLING_H
#define WEIR_TEXT_SAMPLING_H

#include "base/json.h"

#define WEIR_MAX_BIASES   1024
#define WEIR_BIAS_EXTREME 100 /* a bias lies between minus this and this */

struct weir_logit_bias {
    int32_t id;
    double bias;
};

/* text/sampler.h says what each of them does. */
struct weir_sampling {
    double temperature;        /* 0 to 100; 0: always the best token */
    double top_k;              /* a whole number; 0: no limit */
    double top_p;              /* above 0, up to 1; 1: all */
    double min_p;              /* 0 to 1; 0: all */
    double repetition_penalty; /* 0.01 to 100; 1: none */
    double presence_penalty;   /* -2 to 2; 0: none */
    double frequency_penalty;  /* -2 to 2; 0: none */
    uint64_t seed;
    struct weir_logit_bias biases[WEIR_MAX_BIASES]; /* of one id, they add up */
    size_t n_biases;
};

/* The best token each time, and nothing between the model and the choice */
#define WEIR_SAMPLING_NEUTRAL                                                  \
    {                                                                          \
        .top_p = 1, .repetition_penalty = 1                                    \
    }

/* The numbers among them, in the order in which they are shown */
enum weir_sampling_field {
    WEIR_TEMPERATURE,
    WEIR_TOP_K,
    WEIR_TOP_P,
    WEIR_MIN_P,
    WEIR_REPETITION_PENALTY,
    WEIR_PRESENCE_PENALTY,
    WEIR_FREQUENCY_PENALTY,
    WEIR_N_SAMPLING_FIELDS
};

/* "top_p" and so on, as in OpenAI's API and in generation_config.json */
const char *weir_sampling_name(enum weir_sampling_field field);

double weir_sampling_get(const struct weir_sampling *sampling,
                         enum weir_sampling_field field);

/*
 * WEIR_EARG, and nothing changes, when `x` is not in the range of the field;
 * the message says what is allowed and calls the field `name`.
 */
int weir_sampling_set(struct weir_sampling *sampling,
                      enum weir_sampling_field field, double x,
                      const char *name, struct weir_err *err);

/*
 * Takes over the temperature, top_k, top_p, min_p and repetition_penalty that
 * a generation_config.json names; what it does not name, or sets to null, stays
 * as it is.  As in transformers, the temperature is 0 unless do_sample is true,
 * and then 1 unless it is named.  (The top_k of 50 that transformers has for
 * files that name none is not taken over.)  WEIR_EFORMAT, naming the key, for
 * a bad value.
 */
int weir_sampling_read(const json_t *root, const char *what,
                       struct weir_sampling *sampling, struct weir_err *err);

/* Adds a bias; WEIR_EARG when it is out of range or one too many. */
int weir_sampling_add_bias(struct weir_sampling *sampling, int32_t id,
                           double bias, struct weir_err *err);

/* WEIR_EARG unless every value is in its range and every bias has a token. */
int weir_sampling_check(const struct weir_sampling *sampling, size_t n_vocab,
                        struct weir_err *err);

#endif
