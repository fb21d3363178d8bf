/* SPDX-License-Identifier: Apache-2.0 */
/* A line of a batch: an id and a completion within its ranges, or a fault. */
#include <string.h>

#include "base/utf8.h"
#include "serve/batch_line.h"
#include "tests/fuzz/fuzz.h"

/* The fault of a request becomes an error object whatever it quotes. */
static void check_fault(int rc, const struct weir_fault *fault)
{
    json_t *error = weir_openai_error(fault);

    fuzz_check_refused(rc, &fault->err);
    FUZZ_CHECK(rc == WEIR_EARG || rc == WEIR_EFORMAT || rc == WEIR_ELIMIT);
    FUZZ_CHECK(fault->code && error);
    json_decref(error);
}

static void check_completion(const struct weir_completion *completion)
{
    struct weir_sampling sampling = completion->sampling;
    struct weir_err err;

    FUZZ_CHECK(
        !!completion->text + !!completion->ids + !!completion->messages == 1);
    FUZZ_CHECK(!completion->messages == !completion->is_chat);
    for (size_t i = 0; i < completion->n_ids; i++)
        FUZZ_CHECK(completion->ids[i] >= 0);
    FUZZ_CHECK(completion->max_tokens <= INT32_MAX);
    FUZZ_CHECK(!weir_sampling_check(&sampling, (size_t)INT32_MAX + 1, &err));
    FUZZ_CHECK(completion->stop.n_strings <= WEIR_MAX_STOPS);
    FUZZ_CHECK(completion->n_best <= WEIR_MAX_BEST);
    FUZZ_CHECK(completion->logprobs || completion->n_best == 0);
    FUZZ_CHECK(completion->n >= 1 && completion->n <= WEIR_MAX_CHOICES);
    FUZZ_CHECK(completion->is_served ||
               (completion->n == 1 && !completion->stream));
}

/* The contents of messages are strings by then. */
static void check_messages(const json_t *messages)
{
    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        const json_t *content = json_object_get(message, "content");

        FUZZ_CHECK(json_is_string(json_object_get(message, "role")));
        FUZZ_CHECK(!content || json_is_null(content) ||
                   json_is_string(content));
    }
}

static void read_body(const json_t *body, int is_chat, int is_served)
{
    struct weir_completion completion = {.sampling = WEIR_SAMPLING_NEUTRAL,
                                         .n = 1,
                                         .is_chat = is_chat,
                                         .is_served = is_served};
    struct weir_fault fault;
    int rc;

    weir_stop_init(&completion.stop);
    rc = weir_openai_read_completion(body, &completion, &fault);
    if (rc)
        check_fault(rc, &fault);
    else
        check_completion(&completion);
    check_messages(rc ? NULL : completion.messages);
    weir_completion_fini(&completion);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *text = (const char *)data;
    struct weir_batch_line line;
    struct weir_fault fault;
    int rc = weir_batch_line_parse(text, n_bytes, &line, &fault);
    size_t n = strlen(line.custom_id);

    FUZZ_CHECK(n <= WEIR_CUSTOM_ID_BYTES);
    FUZZ_CHECK(weir_utf8_valid(line.custom_id, n) == n);
    if (rc) {
        check_fault(rc, &fault);
    } else {
        FUZZ_CHECK(json_is_object(line.body));
        read_body(line.body, line.is_chat, 0);
        read_body(line.body, line.is_chat, 1);
    }
    weir_batch_line_fini(&line);
    FUZZ_CHECK(!weir_batch_line_number(text, n_bytes) || !rc ||
               rc == WEIR_EARG || memmem(text, n_bytes, "\\u0000", 6));
    return 0;
}
