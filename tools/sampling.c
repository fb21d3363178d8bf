/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sampling.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED_GIVEN (1u << WEIR_N_SAMPLING_FIELDS)

static const char *const options[WEIR_N_SAMPLING_FIELDS] = {
    [WEIR_TEMPERATURE] = "temp",
    [WEIR_TOP_K] = "top-k",
    [WEIR_TOP_P] = "top-p",
    [WEIR_MIN_P] = "min-p",
    [WEIR_REPETITION_PENALTY] = "repetition-penalty",
    [WEIR_PRESENCE_PENALTY] = "presence-penalty",
    [WEIR_FREQUENCY_PENALTY] = "frequency-penalty",
};

static const struct weir_sampling neutral = WEIR_SAMPLING_NEUTRAL;

void sampling_init(struct sampling *sampling)
{
    memset(sampling, 0, sizeof(*sampling));
    sampling->values = neutral;
    weir_stop_init(&sampling->stop);
}

static void take_field(struct sampling *sampling, const struct cli *cli,
                       enum weir_sampling_field field)
{
    struct weir_err err;
    char *end;
    double x = strtod(cli->value, &end);

    if (end == cli->value || *end || strchr(" \t\n", *cli->value))
        x = NAN;
    if (weir_sampling_set(&sampling->values, field, x, cli->option, &err))
        cli_usage(cli, "%s, not '%s'", err.message, cli->value);
    sampling->given |= 1u << field;
}

static void __attribute__((noreturn))
bad_list(const struct cli *cli, const char *wanted)
{
    cli_usage(cli, "%s must be %s, not '%s'", cli->option, wanted, cli->value);
}

static int32_t take_id(const struct cli *cli, const char **at,
                       const char *wanted)
{
    char *end;
    unsigned long id = strtoul(*at, &end, 10);

    if (**at < '0' || **at > '9' || id > INT32_MAX)
        bad_list(cli, wanted);
    *at = end;
    return (int32_t)id;
}

/* Passes over a comma; 0 at the end of the list. */
static int goes_on(const struct cli *cli, const char **at, const char *wanted)
{
    if (!**at)
        return 0;
    if (**at != ',')
        bad_list(cli, wanted);
    ++*at;
    return 1;
}

static void take_biases(struct sampling *sampling, const struct cli *cli)
{
    static const char wanted[] = "ID=X or several of them with commas between";
    const char *at = cli->value;
    struct weir_err err;
    double bias;
    int32_t id;
    char *end;

    do {
        id = take_id(cli, &at, wanted);
        if (*at++ != '=')
            bad_list(cli, wanted);
        bias = strtod(at, &end);
        if (end == at)
            bad_list(cli, wanted);
        at = end;
        if (weir_sampling_add_bias(&sampling->values, id, bias, &err))
            cli_usage(cli, "%s: %s", cli->option, err.message);
    } while (goes_on(cli, &at, wanted));
}

static void take_eos(struct sampling *sampling, const struct cli *cli)
{
    static const char wanted[] = "token ids with commas between them";
    const char *at = cli->value;

    do {
        if (sampling->n_eos == WEIR_MAX_EOS)
            cli_usage(cli, "%s: at most %d ids", cli->option, WEIR_MAX_EOS);
        sampling->eos[sampling->n_eos++] = take_id(cli, &at, wanted);
    } while (goes_on(cli, &at, wanted));
}

static void take_stop(struct sampling *sampling, const struct cli *cli)
{
    struct weir_err err;

    if (weir_stop_add(&sampling->stop, cli->value, strlen(cli->value), &err))
        cli_usage(cli, "%s: %s", cli->option, err.message);
}

static int take_other(struct sampling *sampling, const struct cli *cli,
                      const char *name)
{
    if (!strcmp(name, "logit-bias")) {
        take_biases(sampling, cli);
    } else if (!strcmp(name, "seed")) {
        sampling->values.seed = cli_uint(cli, 0, INT64_MAX);
        sampling->given |= SEED_GIVEN;
    } else if (!strcmp(name, "stop")) {
        take_stop(sampling, cli);
    } else if (!strcmp(name, "eos")) {
        take_eos(sampling, cli);
    } else if (!strcmp(name, "ignore-eos")) {
        sampling->ignores_eos = 1;
    } else {
        return 0;
    }
    if (sampling->ignores_eos && sampling->n_eos)
        cli_usage(cli, "--eos and --ignore-eos exclude each other");
    return 1;
}

int sampling_take(struct sampling *sampling, const struct cli *cli, int option)
{
    const char *name = cli_option_name(option);

    for (int i = 0; i < WEIR_N_SAMPLING_FIELDS; i++)
        if (!strcmp(name, options[i])) {
            take_field(sampling, cli, i);
            return 1;
        }
    return take_other(sampling, cli, name);
}

void sampling_warn(const struct sampling *sampling, const struct cli *cli)
{
    static const enum weir_sampling_field idle[] = {WEIR_TOP_K, WEIR_TOP_P,
                                                    WEIR_MIN_P};
    static const char why[] = "has no effect at temperature 0; use --temp";

    if (sampling->values.temperature > 0)
        return;
    for (size_t i = 0; i < sizeof(idle) / sizeof(idle[0]); i++)
        if (sampling->given >> idle[i] & 1)
            cli_warn(cli, "--%s %s", options[idle[i]], why);
    if (sampling->given & SEED_GIVEN)
        cli_warn(cli, "--seed %s", why);
}

int sampling_settle(struct sampling *sampling, const struct weir_model *model,
                    struct weir_err *err)
{
    size_t n_vocab = weir_model_n_vocab(model);
    int rc = 0;

    for (int i = 0; !rc && i < WEIR_N_SAMPLING_FIELDS; i++)
        if (!(sampling->given >> i & 1))
            rc = weir_sampling_set(&sampling->values, i,
                                   weir_sampling_get(&model->sampling, i),
                                   weir_sampling_name(i), err);
    for (size_t i = 0; !rc && i < sampling->n_eos; i++)
        if ((size_t)sampling->eos[i] >= n_vocab)
            rc = weir_err_set(err, WEIR_EARG,
                              "--eos: there is no token %d; the model has ids "
                              "from 0 to %zu",
                              sampling->eos[i], n_vocab - 1);
    if (!rc && sampling->stop.n_strings && !model->tokenizer)
        rc = weir_err_set(err, WEIR_ENOTSUP,
                          "%s: was packed without a tokenizer, so that --stop "
                          "has no text to look at; use --eos",
                          model->jamba->file->path);
    return rc;
}

void sampling_default(const struct sampling *sampling,
                      struct weir_completion_defaults *defaults)
{
    defaults->sampling = sampling->values;
    defaults->stop = sampling->stop;
    defaults->n_eos = (uint32_t)sampling->n_eos;
    memcpy(defaults->eos, sampling->eos, sizeof(defaults->eos));
    defaults->ignore_eos = sampling->ignores_eos;
}

const int32_t *sampling_eos(const struct sampling *sampling,
                            const struct weir_model *model, uint32_t *n)
{
    const struct weir_config *config = &model->jamba->config;

    if (sampling->n_eos || sampling->ignores_eos) {
        *n = sampling->ignores_eos ? 0 : (uint32_t)sampling->n_eos;
        return sampling->eos;
    }
    *n = config->n_eos;
    return config->eos;
}

int sampling_is_eos(const struct sampling *sampling,
                    const struct weir_model *model, int32_t id)
{
    uint32_t n;
    const int32_t *eos = sampling_eos(sampling, model, &n);

    for (uint32_t i = 0; i < n; i++)
        if (eos[i] == id)
            return 1;
    return 0;
}

void sampling_print(const struct sampling *sampling)
{
    const struct weir_sampling *values = &sampling->values;

    if (values->temperature == 0)
        fprintf(stderr, "sampling  greedy (%s)\n",
                sampling->given & 1 ? "--temp" : "default");
    for (int i = 0; i < WEIR_N_SAMPLING_FIELDS; i++) {
        double x = weir_sampling_get(values, i);
        int given = sampling->given >> i & 1;

        if (x != weir_sampling_get(&neutral, i))
            fprintf(stderr, "sampling  %s %g (%s%s)\n", weir_sampling_name(i),
                    x, given ? "--" : "",
                    given ? options[i] : "generation_config.json");
    }
    for (size_t i = 0; i < values->n_biases; i++)
        fprintf(stderr, "sampling  logit_bias %" PRId32 "=%g (--logit-bias)\n",
                values->biases[i].id, values->biases[i].bias);
    if (values->temperature > 0)
        fprintf(stderr, "sampling  seed %" PRIu64 " (%s)\n", values->seed,
                sampling->given & SEED_GIVEN ? "--seed" : "default");
}

/* Adds `value` to `object`, and lets go of both when that cannot be. */
static json_t *with(json_t *object, const char *key, json_t *value)
{
    if (!json_object_set_new(object, key, value))
        return object;
    json_decref(object);
    return NULL;
}

static json_t *biases_json(const struct weir_sampling *values)
{
    json_t *biases = json_object();
    char id[16];
    double sum;

    for (size_t i = 0; i < values->n_biases; i++) {
        snprintf(id, sizeof(id), "%" PRId32, values->biases[i].id);
        sum = json_real_value(json_object_get(biases, id)) +
              values->biases[i].bias;
        biases = with(biases, id, json_real(sum));
    }
    return biases;
}

json_t *sampling_json(const struct sampling *sampling)
{
    const struct weir_sampling *values = &sampling->values;
    json_t *root = json_object();

    for (int i = 0; i < WEIR_N_SAMPLING_FIELDS; i++)
        root = with(root, weir_sampling_name(i),
                    i == WEIR_TOP_K ? json_integer((json_int_t)values->top_k)
                                    : json_real(weir_sampling_get(values, i)));
    root = with(root, "logit_bias", biases_json(values));
    return with(root, "seed", json_integer((json_int_t)values->seed));
}
