/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "base/utf8.h"
#include "serve/logprobs.h"
#include "serve/openai.h"

/* What was cut may have been cut within a character. */
static void make_valid(char *text)
{
    size_t n = strlen(text), at;

    while ((at = weir_utf8_valid(text, n)) < n)
        text[at] = '?';
}

json_t *weir_openai_error(const struct weir_fault *fault)
{
    struct weir_fault whole = *fault;

    make_valid(whole.err.message);
    make_valid(whole.param);
    return json_pack("{s:{s:s, s:s, s:s?, s:s?}}", "error", "message",
                     whole.err.message, "type", weir_fault_type(fault), "param",
                     *whole.param ? whole.param : NULL, "code", fault->code);
}

const char *weir_fault_type(const struct weir_fault *fault)
{
    int is_theirs =
        fault->err.code == WEIR_EARG || fault->err.code == WEIR_EFORMAT ||
        fault->err.code == WEIR_ELIMIT || fault->err.code == WEIR_ENOTSUP;

    return is_theirs ? "invalid_request_error" : "server_error";
}

json_t *weir_openai_add(json_t *array, json_t *value)
{
    if (!json_array_append_new(array, value))
        return array;
    json_decref(array);
    return NULL;
}

json_t *weir_openai_ids(const int32_t *ids, size_t n)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n && array; i++)
        array = weir_openai_add(array, json_integer(ids[i]));
    return array;
}

typedef json_t *logprobs_fn(const struct weir_tokenizer *tokenizer,
                            const struct weir_scored *tokens);

/* Takes over `content`. */
static json_t *choice_json(const struct weir_choice *choice, const char *key,
                           json_t *content, logprobs_fn *logprobs)
{
    json_t *object =
        json_pack("{s:I, s:o, s:o, s:s?}", "index", (json_int_t)choice->index,
                  key, content, "logprobs",
                  choice->scored ? logprobs(choice->tokenizer, choice->scored)
                                 : json_null(),
                  "finish_reason", choice->finish_reason);

    if (!object || !choice->shows_ids ||
        !json_object_set_new(object, "token_ids",
                             weir_openai_ids(choice->ids, choice->n_ids)))
        return object;
    json_decref(object);
    return NULL;
}

json_t *weir_openai_text(const struct weir_choice *choice)
{
    return choice_json(choice, "text",
                       json_stringn(choice->text, choice->n_bytes),
                       weir_logprobs_text);
}

/* Takes over both. */
static json_t *add_calls(json_t *object, json_t *calls)
{
    if (!calls || !json_object_set_new(object, "tool_calls", calls))
        return object;
    json_decref(object);
    return NULL;
}

json_t *weir_openai_message(const struct weir_choice *choice)
{
    json_t *text = choice->text ? json_stringn(choice->text, choice->n_bytes)
                                : json_null();
    json_t *message =
        json_pack("{s:s, s:o}", "role", "assistant", "content", text);

    return choice_json(choice, "message",
                       add_calls(message, choice->tool_calls),
                       weir_logprobs_chat);
}

json_t *weir_openai_delta(const struct weir_choice *choice, const char *role)
{
    json_t *delta = json_object();
    int bad = 0;

    if (role)
        bad = json_object_set_new(delta, "role", json_string(role));
    if (choice->text && !bad)
        bad = json_object_set_new(delta, "content",
                                  json_stringn(choice->text, choice->n_bytes));
    if (!bad)
        return choice_json(choice, "delta",
                           add_calls(delta, choice->tool_calls),
                           weir_logprobs_chat);
    json_decref(delta);
    json_decref(choice->tool_calls);
    return NULL;
}

json_t *weir_openai_usage(size_t n_prompt, size_t n_cached, size_t n_tokens)
{
    json_int_t in = (json_int_t)n_prompt, out = (json_int_t)n_tokens;

    return json_pack("{s:I, s:I, s:I, s:{s:I}}", "prompt_tokens", in,
                     "completion_tokens", out, "total_tokens", in + out,
                     "prompt_tokens_details", "cached_tokens",
                     (json_int_t)n_cached);
}

json_t *weir_openai_part(const struct weir_openai_head *head, json_t *choices)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", head->id, "object",
                     head->object, "created", (json_int_t)head->created,
                     "model", head->model, "choices", choices);
}

json_t *weir_openai_answer(const struct weir_openai_head *head, json_t *choices,
                           json_t *usage)
{
    json_t *answer = weir_openai_part(head, choices);

    if (!json_object_set_new(answer, "usage", usage))
        return answer;
    json_decref(answer);
    return NULL;
}
