/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/token_route.h"

#include <stdlib.h>
#include <string.h>

#include "serve/reply.h"

static void reply(struct weir_server *server, struct evhttp_request *req,
                  const struct weir_fault *fault, json_t *body)
{
    int status = fault->err.code ? weir_reply_status(fault) : 200;

    weir_server_count(server, status);
    if (fault->err.code)
        weir_reply_fault(req, status, fault);
    else
        weir_reply_json(req, status, body);
}

static int wrong(struct weir_fault *fault, const char *key, const char *wanted)
{
    return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                          "%s must be %s", key, wanted);
}

/* Refuses what is neither in `keys` nor "model". */
static int check_keys(const json_t *body, const char *const *keys,
                      struct weir_fault *fault)
{
    const json_t *value;
    const char *key;
    size_t i;

    if (!json_is_object(body))
        return weir_fault_set(fault, WEIR_EARG, NULL, "invalid_value",
                              "a request must be a JSON object");
    json_object_foreach((json_t *)body, key, value)
    {
        for (i = 0; keys[i] && strcmp(keys[i], key);)
            i++;
        if (!keys[i] && strcmp(key, "model"))
            return weir_fault_set(fault, WEIR_EARG, key, "unknown_parameter",
                                  "unknown key '%.64s'", key);
    }
    return 0;
}

static int encode(const struct weir_server *server, const json_t *body,
                  int32_t **ids, size_t *n_ids, struct weir_fault *fault)
{
    static const char *const keys[] = {"prompt", "add_special_tokens", NULL};
    const json_t *text = json_object_get(body, keys[0]);
    const json_t *bos = json_object_get(body, keys[1]);
    int rc = check_keys(body, keys, fault);

    if (rc)
        return rc;
    if (!json_is_string(text))
        return wrong(fault, keys[0], "a string");
    if (bos && !json_is_boolean(bos))
        return wrong(fault, keys[1], "true or false");
    return weir_model_encode(server->model, json_string_value(text),
                             json_string_length(text), 1, !json_is_false(bos),
                             ids, n_ids, &fault->err);
}

void weir_serve_tokenize(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body)
{
    struct weir_fault fault = {.param = ""};
    json_t *answer = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;

    if (!encode(server, body, &ids, &n_ids, &fault))
        answer = json_pack("{s:I, s:I, s:o}", "count", (json_int_t)n_ids,
                           "max_model_len",
                           (json_int_t)server->options.defaults->n_ctx,
                           "tokens", weir_openai_ids(ids, n_ids));
    free(ids);
    reply(server, req, &fault, answer);
}

static int take_ids(const json_t *array, int32_t *ids, struct weir_fault *fault)
{
    static const char wanted[] = "an array of token ids";
    json_int_t id;

    for (size_t i = 0; i < json_array_size(array); i++) {
        id = json_integer_value(json_array_get(array, i));
        if (!json_is_integer(json_array_get(array, i)) || id < 0 ||
            id > INT32_MAX)
            return wrong(fault, "tokens", wanted);
        ids[i] = (int32_t)id;
    }
    return json_is_array(array) ? 0 : wrong(fault, "tokens", wanted);
}

static int decode(const struct weir_server *server, const json_t *body,
                  char **text, size_t *n_bytes, struct weir_fault *fault)
{
    static const char *const keys[] = {"tokens", NULL};
    const json_t *array = json_object_get(body, keys[0]);
    size_t n = json_array_size(array);
    int32_t *ids;
    int rc = check_keys(body, keys, fault);

    if (rc)
        return rc;
    if (!server->model->tokenizer)
        return weir_fault_set(fault, WEIR_ENOTSUP, NULL, "unsupported_endpoint",
                              "the model was packed without a tokenizer");
    ids = malloc((n + 1) * sizeof(*ids));
    if (!ids)
        return weir_fault_set(fault, WEIR_ENOMEM, NULL, NULL,
                              "no memory for %zu ids", n);
    rc = take_ids(array, ids, fault);
    if (!rc)
        rc = weir_tokenizer_decode(server->model->tokenizer, ids, n, 1, text,
                                   n_bytes, &fault->err);
    free(ids);
    return rc;
}

void weir_serve_detokenize(struct weir_server *server,
                           struct evhttp_request *req, const json_t *body)
{
    struct weir_fault fault = {.param = "", .code = "invalid_value"};
    json_t *answer = NULL;
    char *text = NULL;
    size_t n_bytes = 0;

    if (!decode(server, body, &text, &n_bytes, &fault))
        answer = json_pack("{s:o}", "prompt", json_stringn(text, n_bytes));
    free(text);
    reply(server, req, &fault, answer);
}

void weir_serve_template(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body)
{
    const struct weir_completion_defaults *defaults = server->options.defaults;
    struct weir_buf text = WEIR_BUF(WEIR_JINJA_TEXT_BYTES);
    struct weir_fault fault = {.param = ""};
    struct weir_completion completion;
    json_t *answer = NULL;

    weir_completion_init(&completion, defaults);
    completion.is_chat = completion.is_served = 1;
    if (!weir_openai_read_completion(body, &completion, &fault) &&
        !weir_messages_render(&completion, defaults->chat, NULL, &text, &fault))
        answer =
            json_pack("{s:o}", "prompt",
                      json_stringn(text.data ? text.data : "", text.n_bytes));
    weir_completion_fini(&completion);
    weir_buf_fini(&text);
    reply(server, req, &fault, answer);
}
