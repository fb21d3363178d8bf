/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/openai.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/messages.h"
#include "serve/tools.h"

int weir_fault_set(struct weir_fault *fault, int rc, const char *param,
                   const char *code, const char *fmt, ...)
{
    char message[sizeof(fault->err.message)];
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    snprintf(fault->param, sizeof(fault->param), "%s", param ? param : "");
    fault->code = code;
    return weir_err_set(&fault->err, rc, "%s", message);
}

/* A value that is not what its key wants */
static int wrong(struct weir_fault *fault, const char *key, const char *wanted)
{
    return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                          "%s must be %s", key, wanted);
}

/* The reason is in fault->err already. */
static int wrong_for(struct weir_fault *fault, const char *key, int rc)
{
    snprintf(fault->param, sizeof(fault->param), "%s", key);
    fault->code = rc == WEIR_ENOMEM ? NULL : "invalid_value";
    return rc;
}

/* ---- keys ---- */

typedef int take_fn(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault);

static int take_ids(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault)
{
    size_t n = json_array_size(value);

    to->ids = malloc((n + 1) * sizeof(*to->ids));
    if (!to->ids)
        return weir_fault_set(fault, WEIR_ENOMEM, key, NULL,
                              "no memory for a prompt of %zu ids", n);
    for (size_t i = 0; i < n; i++) {
        const json_t *id = json_array_get(value, i);

        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) > INT32_MAX)
            return wrong(fault, key,
                         "a string, or an array of token ids from 0 to "
                         "2147483647");
        to->ids[i] = (int32_t)json_integer_value(id);
    }
    to->n_ids = n;
    return 0;
}

/* A text or ids; an array of one of these is that one. */
static int take_prompt(struct weir_completion *to, const char *key,
                       const json_t *value, struct weir_fault *fault)
{
    const json_t *first = json_array_get(value, 0);

    if (json_is_string(first) || json_is_array(first)) {
        if (json_array_size(value) > 1)
            return weir_fault_set(fault, WEIR_EARG, key, "unsupported_value",
                                  "several prompts in one request are not "
                                  "supported; send each by itself");
        value = first;
    }
    if (json_is_array(value))
        return take_ids(to, key, value, fault);
    if (!json_is_string(value))
        return wrong(fault, key, "a string or an array of token ids");
    to->text = json_string_value(value);
    to->n_text = json_string_length(value);
    return 0;
}

static int take_max_tokens(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 1 || n > INT32_MAX)
        return wrong(fault, key, "a whole number from 1 to 2147483647");
    to->max_tokens = (size_t)n;
    return 0;
}

static int take_sampling(struct weir_completion *to, const char *key,
                         const json_t *value, struct weir_fault *fault)
{
    double x = json_is_number(value) ? json_number_value(value) : NAN;
    int field = 0, rc;

    while (strcmp(weir_sampling_name(field), key))
        field++;
    if (field == WEIR_TOP_K && x == -1)
        x = 0; /* as others say that there is no limit */
    rc = weir_sampling_set(&to->sampling, field, x, key, &fault->err);
    return rc ? wrong_for(fault, key, rc) : 0;
}

static int take_seed(struct weir_completion *to, const char *key,
                     const json_t *value, struct weir_fault *fault)
{
    if (!json_is_integer(value))
        return wrong(fault, key, "a whole number");
    to->sampling.seed = (uint64_t)json_integer_value(value);
    return 0;
}

static int add_stop(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault)
{
    int rc;

    if (!json_is_string(value))
        return wrong(fault, key, "a string or an array of strings");
    rc = weir_stop_add(&to->stop, json_string_value(value),
                       json_string_length(value), &fault->err);
    return rc ? wrong_for(fault, key, rc) : 0;
}

static int take_stop(struct weir_completion *to, const char *key,
                     const json_t *value, struct weir_fault *fault)
{
    int rc = 0;

    weir_stop_init(&to->stop);
    if (!json_is_array(value))
        return add_stop(to, key, value, fault);
    for (size_t i = 0; i < json_array_size(value) && !rc; i++)
        rc = add_stop(to, key, json_array_get(value, i), fault);
    return rc;
}

/* The id that a key is; -1 when it is none. */
static int32_t id_of(const char *key)
{
    char *end;
    unsigned long id = strtoul(key, &end, 10);

    if (*key < '0' || *key > '9' || *end || id > INT32_MAX)
        return -1;
    return (int32_t)id;
}

static int take_biases(struct weir_completion *to, const char *key,
                       const json_t *value, struct weir_fault *fault)
{
    static const char wanted[] =
        "an object of numbers under token ids such as {\"50\": -100}";
    const json_t *bias;
    const char *id;
    int rc;

    if (!json_is_object(value))
        return wrong(fault, key, wanted);
    to->sampling.n_biases = 0;
    json_object_foreach((json_t *)value, id, bias)
    {
        if (id_of(id) < 0 || !json_is_number(bias))
            return wrong(fault, key, wanted);
        rc = weir_sampling_add_bias(&to->sampling, id_of(id),
                                    json_number_value(bias), &fault->err);
        if (rc)
            return wrong_for(fault, key, rc);
    }
    return 0;
}

static int take_bool(const char *key, const json_t *value, int *to,
                     struct weir_fault *fault)
{
    if (!json_is_boolean(value))
        return wrong(fault, key, "true or false");
    *to = json_is_true(value);
    return 0;
}

static int take_ignore_eos(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault)
{
    return take_bool(key, value, &to->ignore_eos, fault);
}

static int take_return_ids(struct weir_completion *to, const char *key,
                           const json_t *value, struct weir_fault *fault)
{
    return take_bool(key, value, &to->return_token_ids, fault);
}

/* ---- log-probabilities ---- */

static int take_n_best(struct weir_completion *to, const char *key,
                       const json_t *value, struct weir_fault *fault)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || n > WEIR_MAX_BEST)
        return wrong(fault, key, "a whole number from 0 to 20");
    to->n_best = (size_t)n;
    return 0;
}

static int take_logprobs(struct weir_completion *to, const char *key,
                         const json_t *value, struct weir_fault *fault)
{
    to->logprobs = !to->is_chat;
    return to->is_chat ? take_bool(key, value, &to->logprobs, fault)
                       : take_n_best(to, key, value, fault);
}

static int check_logprobs(const struct weir_completion *completion,
                          struct weir_fault *fault)
{
    if (!completion->n_best || completion->logprobs)
        return 0;
    return weir_fault_set(fault, WEIR_EARG, "top_logprobs", "invalid_value",
                          "top_logprobs needs logprobs to be true");
}

/* ---- what changes nothing ---- */

static int unsupported(struct weir_fault *fault, const char *key,
                       const char *allowed)
{
    return weir_fault_set(fault, WEIR_EARG, key, "unsupported_value",
                          "%s is not supported here; leave it away%s%s", key,
                          allowed ? " or let it be " : "",
                          allowed ? allowed : "");
}

static int take_n(struct weir_completion *to, const char *key,
                  const json_t *value, struct weir_fault *fault)
{
    json_int_t n = json_integer_value(value);

    if (!to->is_served)
        return n == 1 ? 0 : unsupported(fault, key, "1");
    if (!json_is_integer(value) || n < 1 || n > WEIR_MAX_CHOICES)
        return wrong(fault, key, "a whole number from 1 to 16");
    to->n = (size_t)n;
    return 0;
}

static int take_one(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault)
{
    (void)to;
    return json_integer_value(value) == 1 ? 0 : unsupported(fault, key, "1");
}

static int take_false(struct weir_completion *to, const char *key,
                      const json_t *value, struct weir_fault *fault)
{
    (void)to;
    return json_is_false(value) ? 0 : unsupported(fault, key, "false");
}

static int take_stream(struct weir_completion *to, const char *key,
                       const json_t *value, struct weir_fault *fault)
{
    return to->is_served ? take_bool(key, value, &to->stream, fault)
                         : take_false(to, key, value, fault);
}

/* A key that this server does not know may change nothing when it is false. */
static int take_stream_options(struct weir_completion *to, const char *key,
                               const json_t *value, struct weir_fault *fault)
{
    const char *option;
    const json_t *set;
    int rc = 0;

    if (!to->is_served)
        return 0;
    if (!json_is_object(value))
        return wrong(fault, key, "an object such as {\"include_usage\": true}");
    json_object_foreach((json_t *)value, option, set)
    {
        if (!strcmp(option, "include_usage"))
            rc = take_bool(key, set, &to->include_usage, fault);
        else if (!json_is_false(set))
            rc = weir_fault_set(fault, WEIR_EARG, key, "unknown_parameter",
                                "unknown key '%.64s' in %s", option, key);
        if (rc)
            return rc;
    }
    return 0;
}

static int take_empty(struct weir_completion *to, const char *key,
                      const json_t *value, struct weir_fault *fault)
{
    (void)to;
    if (json_is_string(value) && json_string_length(value) == 0)
        return 0;
    return unsupported(fault, key, "empty");
}

static int pass_over(struct weir_completion *to, const char *key,
                     const json_t *value, struct weir_fault *fault)
{
    (void)to;
    (void)key;
    (void)value;
    (void)fault;
    return 0;
}

static int take_messages(struct weir_completion *to, const char *key,
                         const json_t *value, struct weir_fault *fault)
{
    (void)key;
    return weir_messages_read(value, &to->messages, fault);
}

static int take_documents(struct weir_completion *to, const char *key,
                          const json_t *value, struct weir_fault *fault)
{
    if (!json_is_array(value))
        return wrong(fault, key, "an array");
    to->documents = value;
    return 0;
}

static int take_parallel(struct weir_completion *to, const char *key,
                         const json_t *value, struct weir_fault *fault)
{
    int is_parallel = 1, rc = take_bool(key, value, &is_parallel, fault);

    if (!rc)
        to->one_call = !is_parallel;
    return rc;
}

static int take_model(struct weir_completion *to, const char *key,
                      const json_t *value, struct weir_fault *fault)
{
    if (to->is_served && !json_is_string(value))
        return wrong(fault, key, "a string");
    to->model = json_string_value(value);
    return 0;
}

enum { OF_TEXT = 1, OF_CHAT = 2, OF_BOTH = 3 };

static const struct {
    const char *key;
    take_fn *take;
    int of; /* what kind of request */
} keys[] = {
    {"prompt", take_prompt, OF_TEXT},
    {"messages", take_messages, OF_CHAT},
    {"documents", take_documents, OF_CHAT},
    {"max_tokens", take_max_tokens, OF_BOTH},
    {"max_completion_tokens", take_max_tokens, OF_BOTH},
    {"temperature", take_sampling, OF_BOTH},
    {"top_k", take_sampling, OF_BOTH},
    {"top_p", take_sampling, OF_BOTH},
    {"min_p", take_sampling, OF_BOTH},
    {"repetition_penalty", take_sampling, OF_BOTH},
    {"presence_penalty", take_sampling, OF_BOTH},
    {"frequency_penalty", take_sampling, OF_BOTH},
    {"logit_bias", take_biases, OF_BOTH},
    {"seed", take_seed, OF_BOTH},
    {"stop", take_stop, OF_BOTH},
    {"ignore_eos", take_ignore_eos, OF_BOTH},
    {"return_token_ids", take_return_ids, OF_BOTH},
    {"n", take_n, OF_BOTH},
    {"best_of", take_one, OF_TEXT},
    {"echo", take_false, OF_TEXT},
    {"stream", take_stream, OF_BOTH},
    {"stream_options", take_stream_options, OF_BOTH},
    {"suffix", take_empty, OF_TEXT},
    {"logprobs", take_logprobs, OF_BOTH},
    {"top_logprobs", take_n_best, OF_CHAT},
    {"response_format", weir_tools_take_format, OF_CHAT},
    {"tools", weir_tools_take, OF_CHAT},
    {"tool_choice", weir_tools_take_choice, OF_CHAT},
    {"parallel_tool_calls", take_parallel, OF_CHAT},
    {"model", take_model, OF_BOTH},
    {"user", pass_over, OF_BOTH},
};

#define N_KEYS (sizeof(keys) / sizeof(keys[0]))

static int take_key(struct weir_completion *to, const char *key,
                    const json_t *value, struct weir_fault *fault)
{
    int of = to->is_chat ? OF_CHAT : OF_TEXT;

    for (size_t i = 0; i < N_KEYS; i++)
        if ((keys[i].of & of) && !strcmp(key, keys[i].key))
            return json_is_null(value) ? 0
                                       : keys[i].take(to, key, value, fault);
    if (!strcmp(key, "messages"))
        return weir_fault_set(fault, WEIR_EARG, key, "unsupported_value",
                              "messages go to /v1/chat/completions");
    return weir_fault_set(fault, WEIR_EARG, key, "unknown_parameter",
                          "unknown key '%.64s'", key);
}

int weir_openai_read_completion(const json_t *body,
                                struct weir_completion *completion,
                                struct weir_fault *fault)
{
    const json_t *value;
    const char *key, *wanted;
    int rc;

    completion->model = NULL;
    completion->messages = NULL;
    completion->documents = completion->tools = completion->schema = NULL;
    completion->tool_choice = WEIR_TOOLS_AUTO;
    completion->tool_name = NULL;
    completion->one_call = completion->wants_object = 0;
    completion->grammar = NULL;
    completion->style = NULL;
    completion->text = NULL;
    completion->ids = NULL;
    completion->n_text = completion->n_ids = 0;
    completion->logprobs = 0;
    completion->n_best = 0;
    if (!json_is_object(body))
        return weir_fault_set(fault, WEIR_EARG, NULL, "invalid_value",
                              "a request must be a JSON object");
    json_object_foreach((json_t *)body, key, value)
    {
        rc = take_key(completion, key, value, fault);
        if (rc)
            return rc;
    }
    if (completion->text || completion->ids || completion->messages)
        return check_logprobs(completion, fault);
    wanted = completion->is_chat ? "messages" : "prompt";
    return weir_fault_set(
        fault, WEIR_EARG, wanted, "missing_parameter", "%s missing",
        completion->is_chat ? "the messages are" : "the prompt is");
}

void weir_completion_fini(struct weir_completion *completion)
{
    free(completion->ids);
    completion->ids = NULL;
    json_decref(completion->messages);
    completion->messages = NULL;
    weir_grammar_release(completion->grammar);
    completion->grammar = NULL;
}
