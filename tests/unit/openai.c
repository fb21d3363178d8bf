/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of OpenAI's completions and lines of batches: what they become. */
#include "serve/batch_line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/tap.h"

static struct weir_fault fault;
static struct weir_completion completion;
static int is_served; /* the body is not a batch's */
static int is_chat;

static json_t *body; /* the last one: a completion points into it */

/* Reads a body over the usual defaults. */
static int read_body(const char *json)
{
    static const struct weir_sampling neutral = WEIR_SAMPLING_NEUTRAL;
    int rc;

    json_decref(body);
    body = NULL;
    memset(&completion, 0, sizeof(completion));
    completion.is_served = is_served;
    completion.is_chat = is_chat;
    completion.n = 1;
    memset(&fault, 0, sizeof(fault));
    completion.sampling = neutral;
    weir_stop_init(&completion.stop);
    if (weir_json_parse(json, strlen(json), "test", &body, &fault.err))
        return 1;
    rc = weir_openai_read_completion(body, &completion, &fault);
    return rc;
}

static void refuses(const char *json, const char *param, const char *code)
{
    int rc = read_body(json);

    tap_ok(rc == WEIR_EARG && fault.err.code == rc && *fault.err.message &&
               !strcmp(fault.param, param) && fault.code &&
               !strcmp(fault.code, code),
           "%s: %s", json, fault.err.message);
    weir_completion_fini(&completion);
}

/* A key of two-byte letters, an odd byte before them or not */
static void answers_cut_key(const char *before)
{
    char json[512];
    json_t *error;
    size_t n =
        (size_t)snprintf(json, sizeof(json), "{\"prompt\":\"a\",\"%s", before);

    for (int i = 0; i < 60; i++, n += 2)
        memcpy(json + n, "\xc3\xa9", 2);
    snprintf(json + n, sizeof(json) - n, "\":1}");
    tap_ok(read_body(json) == WEIR_EARG, "a long key that is unknown");
    error = weir_openai_error(&fault);
    tap_ok(error != NULL, "an error where '%s' and letters are cut", before);
    json_decref(error);
    weir_completion_fini(&completion);
}

static void reads_logprobs(const char *keys, int logprobs, size_t n_best)
{
    static char json[256];

    snprintf(
        json, sizeof(json), "{\"%s\":%s%s}", is_chat ? "messages" : "prompt",
        is_chat ? "[{\"role\":\"user\",\"content\":\"a\"}]" : "\"a\"", keys);
    tap_ok(!read_body(json) && completion.logprobs == logprobs &&
               completion.n_best == n_best,
           "log-probabilities%s", keys);
    weir_completion_fini(&completion);
}

static void test_good(void)
{
    const struct weir_sampling *s = &completion.sampling;

    tap_ok(!read_body("{\"model\":\"m\",\"prompt\":\"ab\"}") &&
               completion.n_text == 2 && !completion.ids &&
               completion.max_tokens == 0 && s->top_p == 1 &&
               completion.stop.n_strings == 0 && !completion.return_token_ids,
           "a prompt alone leaves the defaults");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":\"a\",\"max_tokens\":9,\"temperature\":0.5,"
                      "\"top_p\":0.25,\"top_k\":7,\"min_p\":0.125,"
                      "\"repetition_penalty\":1.5,\"presence_penalty\":-1,"
                      "\"frequency_penalty\":2,\"seed\":-1,"
                      "\"logit_bias\":{\"5\":-2.5,\"6\":1},"
                      "\"stop\":[\"x\",\"yz\"],\"ignore_eos\":true,"
                      "\"return_token_ids\":true}") &&
               completion.max_tokens == 9 && s->temperature == 0.5 &&
               s->top_p == 0.25 && s->top_k == 7 && s->min_p == 0.125 &&
               s->repetition_penalty == 1.5 && s->presence_penalty == -1 &&
               s->frequency_penalty == 2 && s->seed == UINT64_MAX &&
               s->n_biases == 2 && s->biases[1].id == 6 &&
               s->biases[0].bias == -2.5 && completion.stop.n_strings == 2 &&
               completion.stop.strings[1].n_bytes == 2 &&
               completion.ignore_eos && completion.return_token_ids,
           "every key reaches its value");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":[1,0,2147483647]}") && !completion.text &&
               completion.n_ids == 3 && completion.ids[2] == 2147483647,
           "a prompt of ids");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":[[4,5]]}") && completion.n_ids == 2,
           "one prompt of ids in an array");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":[\"abc\"]}") && completion.n_text == 3,
           "one text in an array");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":\"\",\"stop\":\"x\",\"top_k\":-1}") &&
               completion.stop.n_strings == 1 && s->top_k == 0,
           "one stop string; a top_k of -1");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"prompt\":\"a\",\"n\":1,\"best_of\":1,\"echo\":false,"
                      "\"stream\":false,\"suffix\":\"\",\"logprobs\":null,"
                      "\"user\":\"u\",\"max_tokens\":null,\"stop\":null,"
                      "\"stream_options\":null}"),
           "keys that change nothing: %s", fault.err.message);
    weir_completion_fini(&completion);
    reads_logprobs("", 0, 0);
    reads_logprobs(",\"logprobs\":0", 1, 0);
    reads_logprobs(",\"logprobs\":20", 1, 20);
}

static void test_refusals(void)
{
    static const char *const keys[] = {"temperature",
                                       "top_p",
                                       "top_k",
                                       "min_p",
                                       "presence_penalty",
                                       "frequency_penalty",
                                       "repetition_penalty",
                                       "max_tokens",
                                       "seed",
                                       "stop",
                                       "logit_bias",
                                       "ignore_eos",
                                       "return_token_ids"};
    static char json[128];

    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        snprintf(json, sizeof(json), "{\"prompt\":\"a\",\"%s\":{\"x\":\"y\"}}",
                 keys[i]);
        refuses(json, keys[i], "invalid_value");
        snprintf(json, sizeof(json), "{\"prompt\":\"a\",\"%s\":-1e300}",
                 keys[i]);
        refuses(json, keys[i], "invalid_value");
    }
    refuses("[]", "", "invalid_value");
    refuses("{}", "prompt", "missing_parameter");
    refuses("{\"prompt\":null}", "prompt", "missing_parameter");
    refuses("{\"prompt\":7}", "prompt", "invalid_value");
    refuses("{\"prompt\":[1,-1]}", "prompt", "invalid_value");
    refuses("{\"prompt\":[1,2147483648]}", "prompt", "invalid_value");
    refuses("{\"prompt\":[1,1.5]}", "prompt", "invalid_value");
    refuses("{\"prompt\":[[1],[2]]}", "prompt", "unsupported_value");
    refuses("{\"prompt\":[\"a\",\"b\"]}", "prompt", "unsupported_value");
    refuses("{\"prompt\":[1,\"b\"]}", "prompt", "invalid_value");
    refuses("{\"prompt\":\"a\",\"max_tokens\":0}", "max_tokens",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"max_tokens\":2147483648}", "max_tokens",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"top_p\":0}", "top_p", "invalid_value");
    refuses("{\"prompt\":\"a\",\"stop\":\"\"}", "stop", "invalid_value");
    refuses("{\"prompt\":\"a\",\"stop\":[\"x\",1]}", "stop", "invalid_value");
    refuses("{\"prompt\":\"a\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\","
            "\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\","
            "\"h\"]}",
            "stop", "invalid_value");
    refuses("{\"prompt\":\"a\",\"logit_bias\":{\"5\":101}}", "logit_bias",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"logit_bias\":{\"-5\":1}}", "logit_bias",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"logit_bias\":{\"4294967297\":1}}",
            "logit_bias", "invalid_value");
    refuses("{\"prompt\":\"a\",\"n\":2}", "n", "unsupported_value");
    refuses("{\"prompt\":\"a\",\"best_of\":\"1\"}", "best_of",
            "unsupported_value");
    refuses("{\"prompt\":\"a\",\"echo\":true}", "echo", "unsupported_value");
    refuses("{\"prompt\":\"a\",\"stream\":true}", "stream",
            "unsupported_value");
    refuses("{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix",
            "unsupported_value");
    refuses("{\"prompt\":\"a\",\"logprobs\":21}", "logprobs", "invalid_value");
    refuses("{\"prompt\":\"a\",\"logprobs\":-1}", "logprobs", "invalid_value");
    refuses("{\"prompt\":\"a\",\"logprobs\":true}", "logprobs",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"logprobs\":1.0}", "logprobs", "invalid_value");
    refuses("{\"prompt\":\"a\",\"top_logprobs\":1}", "top_logprobs",
            "unknown_parameter");
    refuses("{\"messages\":[]}", "messages", "unsupported_value");
    refuses("{\"prompt\":\"a\",\"max_token\":1}", "max_token",
            "unknown_parameter");
}

/* What a server understands beyond a batch */
static void test_served(void)
{
    is_served = 1;
    tap_ok(!read_body("{\"prompt\":\"a\",\"stream\":true,\"n\":16,"
                      "\"stream_options\":{\"include_usage\":true,"
                      "\"include_obfuscation\":false},"
                      "\"max_completion_tokens\":5}") &&
               completion.stream && completion.include_usage &&
               completion.n == 16 && completion.max_tokens == 5,
           "streams, their options, and choices");
    weir_completion_fini(&completion);
    refuses("{\"prompt\":\"a\",\"stream\":1}", "stream", "invalid_value");
    refuses("{\"prompt\":\"a\",\"n\":17}", "n", "invalid_value");
    refuses("{\"prompt\":\"a\",\"n\":0}", "n", "invalid_value");
    refuses("{\"prompt\":\"a\",\"stream_options\":true}", "stream_options",
            "invalid_value");
    refuses("{\"prompt\":\"a\",\"stream_options\":{\"include_usage\":0}}",
            "stream_options", "invalid_value");
    refuses("{\"prompt\":\"a\",\"stream_options\":{\"x\":true}}",
            "stream_options", "unknown_parameter");
    is_served = 0;
}

/* What a chat says of the form of its answer */
static void test_forms(void)
{
    static const char *const tools[] = {
        "7",
        "[7]",
        "[{\"type\":\"function\"}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"\"}}]",
        "[{\"type\":\"x\",\"function\":{\"name\":\"a\"}}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"a\","
        "\"parameters\":7}}]",
        "[{\"type\":\"function\",\"function\":{\"name\":\"a\"}},"
        "{\"type\":\"function\",\"function\":{\"name\":\"a\"}}]",
    };
    char text[512];

    tap_ok(!read_body("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                      "\"tools\":[{\"type\":\"function\",\"function\":"
                      "{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],"
                      "\"tool_choice\":{\"type\":\"function\",\"function\":"
                      "{\"name\":\"f\"}},\"parallel_tool_calls\":false}") &&
               json_array_size(completion.tools) == 1 &&
               completion.tool_choice == WEIR_TOOLS_REQUIRED &&
               !strcmp(completion.tool_name, "f") && completion.one_call,
           "tools, and which is called");
    weir_completion_fini(&completion);
    tap_ok(!read_body("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                      "\"response_format\":{\"type\":\"json_schema\","
                      "\"json_schema\":{\"schema\":{\"type\":\"null\"}}}}") &&
               completion.schema && !completion.wants_object,
           "a schema");
    weir_completion_fini(&completion);
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
        snprintf(text, sizeof(text), "{\"tools\":%s}", tools[i]);
        refuses(text, "tools", "invalid_value");
    }
    refuses("{\"tool_choice\":\"any\"}", "tool_choice", "invalid_value");
    refuses("{\"parallel_tool_calls\":7}", "parallel_tool_calls",
            "invalid_value");
    refuses("{\"response_format\":{\"type\":\"xml\"}}", "response_format",
            "invalid_value");
    refuses("{\"response_format\":{\"type\":\"json_schema\"}}",
            "response_format", "invalid_value");
}

static void refuses_in_chat(const char *keys, const char *param)
{
    static char json[256];

    snprintf(json, sizeof(json),
             "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],%s}", keys);
    refuses(json, param, "invalid_value");
}

static void test_chat_logprobs(void)
{
    reads_logprobs("", 0, 0);
    reads_logprobs(",\"logprobs\":true", 1, 0);
    reads_logprobs(",\"logprobs\":true,\"top_logprobs\":20", 1, 20);
    reads_logprobs(",\"top_logprobs\":3,\"logprobs\":true", 1, 3);
    reads_logprobs(",\"top_logprobs\":0,\"logprobs\":false", 0, 0);
    refuses_in_chat("\"logprobs\":true,\"top_logprobs\":21", "top_logprobs");
    refuses_in_chat("\"logprobs\":true,\"top_logprobs\":-1", "top_logprobs");
    refuses_in_chat("\"logprobs\":true,\"top_logprobs\":\"x\"", "top_logprobs");
    refuses_in_chat("\"logprobs\":true,\"top_logprobs\":true", "top_logprobs");
    refuses_in_chat("\"logprobs\":1", "logprobs");
    refuses_in_chat("\"logprobs\":\"x\"", "logprobs");
    refuses_in_chat("\"top_logprobs\":1", "top_logprobs");
    refuses_in_chat("\"top_logprobs\":1,\"logprobs\":false", "top_logprobs");
}

/* What a chat has beside a prompt's keys, and in their place */
static void test_chats(void)
{
    const json_t *content;

    is_chat = 1;
    tap_ok(!read_body("{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                      "{\"role\":\"assistant\",\"content\":null},"
                      "{\"role\":\"user\",\"content\":[{\"type\":\"text\","
                      "\"text\":\"b\"},{\"type\":\"text\",\"text\":\"c\"}]}],"
                      "\"response_format\":{\"type\":\"text\"},"
                      "\"logprobs\":false,\"max_tokens\":3}") &&
               json_array_size(completion.messages) == 3 &&
               completion.max_tokens == 3,
           "a chat");
    content =
        json_object_get(json_array_get(completion.messages, 2), "content");
    tap_ok(content && json_is_string(content) &&
               !strcmp(json_string_value(content), "b\nc"),
           "parts of a message become one");
    weir_completion_fini(&completion);
    refuses("{}", "messages", "missing_parameter");
    refuses("{\"messages\":[]}", "messages", "invalid_value");
    refuses("{\"messages\":{}}", "messages", "invalid_value");
    refuses("{\"messages\":[7]}", "messages", "invalid_value");
    refuses("{\"messages\":[{\"role\":\"user\",\"content\":7}]}", "messages",
            "invalid_value");
    refuses("{\"messages\":[{\"role\":\"user\",\"content\":[7]}]}", "messages",
            "invalid_value");
    refuses("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":"
            "\"image_url\"}]}]}",
            "messages", "unsupported_value");
    refuses("{\"prompt\":\"a\"}", "prompt", "unknown_parameter");
    refuses("{\"echo\":false}", "echo", "unknown_parameter");
    test_chat_logprobs();
    refuses("{\"documents\":7}", "documents", "invalid_value");
    test_forms();
    is_chat = 0;
}

/* A line that becomes a body with that prompt under that id */
static void takes(const char *text, const char *id, const char *prompt)
{
    struct weir_batch_line line;
    int rc = weir_batch_line_parse(text, strlen(text), &line, &fault);
    const char *found = json_string_value(json_object_get(line.body, "prompt"));

    tap_ok(!rc && !strcmp(line.custom_id, id) && found &&
               !strcmp(found, prompt) && !json_object_get(line.body, "id") &&
               !json_object_get(line.body, "custom_id"),
           "the line %s", text);
    weir_batch_line_fini(&line);
}

static void refuses_line(const char *text, const char *id, const char *param,
                         const char *code)
{
    struct weir_batch_line line;
    int rc = weir_batch_line_parse(text, strlen(text), &line, &fault);

    tap_ok(rc < 0 && fault.err.code == rc && !strcmp(line.custom_id, id) &&
               !strcmp(fault.param, param) && fault.code &&
               !strcmp(fault.code, code),
           "%s: %s", text, fault.err.message);
    weir_batch_line_fini(&line);
}

#define HEAD "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":"

static void test_lines(void)
{
    char long_id[1024];

    takes(HEAD "\"/v1/completions\",\"body\":{\"prompt\":\"p\"}}", "a", "p");
    takes("{\"prompt\":\"p\"}", "", "p");
    takes("{\"id\":\"b\",\"prompt\":\"p\"}", "b", "p");
    takes("{\"id\":-7,\"prompt\":\"p\"}", "-7", "p");
    takes("{\"custom_id\":\"c\",\"id\":\"b\",\"prompt\":\"p\"}", "c", "p");
    takes("\"only \\u00e9\"", "", "only \xc3\xa9");
    refuses_line(HEAD "\"/v1/embeddings\",\"body\":{}}", "a", "url",
                 "unsupported_endpoint");
    refuses_line(HEAD "\"/v1/completions\"}", "a", "body", "missing_parameter");
    refuses_line(HEAD "\"/v1/completions\",\"body\":[]}", "a", "body",
                 "invalid_value");
    refuses_line("{\"custom_id\":\"a\",\"body\":{}}", "a", "url",
                 "missing_parameter");
    refuses_line("{\"custom_id\":\"a\",\"method\":\"GET\"}", "a", "method",
                 "invalid_value");
    refuses_line(HEAD "\"/v1/completions\",\"body\":{},\"x\":1}", "a", "x",
                 "unknown_parameter");
    refuses_line("{\"custom_id\":[],\"prompt\":\"p\"}", "", "custom_id",
                 "invalid_value");
    refuses_line("{\"id\":\"\",\"prompt\":\"p\"}", "", "id", "invalid_value");
    snprintf(long_id, sizeof(long_id), "{\"id\":\"%0513d\",\"prompt\":\"p\"}",
             0);
    refuses_line(long_id, "", "id", "invalid_value");
    refuses_line("{\"prompt\":\"p\"", "", "", "invalid_json");
    refuses_line("[\"a\"]", "", "", "invalid_value");
    refuses_line("7", "", "", "invalid_json");
    refuses_line("\"a\",\"b\"", "", "", "invalid_value");
}

static void test_answers(void)
{
    static const int32_t ids[] = {5, 6};
    const struct weir_openai_head head = {"text_completion", "cmpl-1", 7, "m"};
    const struct weir_choice choice = {.text = "t\xc3\xa9",
                                       .n_bytes = 3,
                                       .ids = ids,
                                       .n_ids = 2,
                                       .shows_ids = 1,
                                       .finish_reason = "length"};
    json_t *choices = weir_openai_add(json_array(), weir_openai_text(&choice));
    static const char nul[] = "{\"id\":\"batch_req_7\",\"a\":\"\\u0000b\"}";
    char *text = NULL;
    size_t n = 0;

    tap_ok(!weir_batch_line_print(
               12, "a\"b", 200,
               weir_openai_answer(&head, choices, weir_openai_usage(9, 4, 2)),
               &text, &n, &fault.err) &&
               n && text[n - 1] == '\n',
           "a line");
    text[n - 1] = '\0';
    tap_ok(!strcmp(text, "{\"id\":\"batch_req_12\",\"custom_id\":\"a\\\"b\","
                         "\"response\":{\"status_code\":200,\"request_id\":"
                         "\"req_12\",\"body\":{\"id\":\"cmpl-1\",\"object\":"
                         "\"text_completion\",\"created\":7,\"model\":\"m\","
                         "\"choices\":[{\"index\":0,\"text\":\"t\xc3\xa9\","
                         "\"logprobs\":null,\"finish_reason\":\"length\","
                         "\"token_ids\":[5,6]}],\"usage\":{\"prompt_tokens\":9,"
                         "\"completion_tokens\":2,\"total_tokens\":11,"
                         "\"prompt_tokens_details\":{\"cached_tokens\":4}}}},"
                         "\"error\":null}"),
           "%s", text);
    tap_ok(weir_batch_line_number(text, n - 1) == 12 &&
               weir_batch_line_number(text, n - 2) == 0 &&
               weir_batch_line_number("{\"id\":\"a\"}", 10) == 0,
           "its number is found in it, and in nothing less");
    tap_ok(weir_batch_line_number(nul, sizeof(nul) - 1) == 7,
           "nor does a NUL in an answer's text hide it");
    free(text);
    answers_cut_key("");
    answers_cut_key("x");
    refuses("{\"prompt\":\"a\",\"best\":1}", "best", "unknown_parameter");
    tap_ok(!weir_batch_line_print(3, "", 400, weir_openai_error(&fault), &text,
                                  &n, &fault.err),
           "an error");
    text[n - 1] = '\0';
    tap_ok(!strcmp(text, "{\"id\":\"batch_req_3\",\"custom_id\":null,"
                         "\"response\":{\"status_code\":400,\"request_id\":"
                         "\"req_3\",\"body\":{\"error\":{\"message\":"
                         "\"unknown key 'best'\",\"type\":"
                         "\"invalid_request_error\",\"param\":\"best\","
                         "\"code\":\"unknown_parameter\"}}},\"error\":null}"),
           "%s", text);
    free(text);
    tap_ok(weir_batch_line_print(3, "", 400, NULL, &text, &n, &fault.err) ==
                   WEIR_ENOMEM &&
               !text,
           "no body is no memory");
}

int main(void)
{
    test_good();
    test_refusals();
    test_served();
    test_chats();
    test_lines();
    test_answers();
    json_decref(body);
    return tap_done();
}
