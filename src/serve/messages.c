/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/messages.h"

#include <stdio.h>
#include <string.h>

static int wrong(struct weir_fault *fault, size_t i, const char *what)
{
    return weir_fault_set(fault, WEIR_EARG, "messages", "invalid_value",
                          "message %zu: %s", i, what);
}

static int no_memory(struct weir_fault *fault)
{
    return weir_fault_set(fault, WEIR_ENOMEM, "messages", NULL,
                          "no memory for messages");
}

static int add_part(struct weir_buf *buf, const json_t *part, size_t i,
                    struct weir_fault *fault)
{
    const char *type = json_string_value(json_object_get(part, "type"));
    const json_t *text = json_object_get(part, "text");
    int rc = 0;

    if (type && strcmp(type, "text"))
        return weir_fault_set(fault, WEIR_EARG, "messages", "unsupported_value",
                              "message %zu: parts of type '%.64s' are not "
                              "supported; the model reads text",
                              i, type);
    if (!type || !json_is_string(text))
        return wrong(fault, i,
                     "a part must be {\"type\":\"text\",\"text\":"
                     "\"...\"}");
    if (buf->n_bytes)
        rc = weir_buf_add(buf, "\n", 1, &fault->err);
    return rc ? rc
              : weir_buf_add(buf, json_string_value(text),
                             json_string_length(text), &fault->err);
}

/* Content in parts becomes a string. */
static int join_parts(json_t *message, const json_t *parts, size_t i,
                      struct weir_fault *fault)
{
    struct weir_buf buf = WEIR_BUF(SIZE_MAX);
    int rc = 0;

    for (size_t k = 0; k < json_array_size(parts) && !rc; k++)
        rc = add_part(&buf, json_array_get(parts, k), i, fault);
    if (!rc && json_object_set_new(
                   message, "content",
                   json_stringn(buf.data ? buf.data : "", buf.n_bytes)))
        rc = no_memory(fault);
    weir_buf_fini(&buf);
    return rc;
}

/*
 * Arguments are JSON in a string.  Some templates write strings as they are,
 * some write JSON of whatever they get: what all of them can take is the value.
 */
static int parse_arguments(json_t *message, size_t i, struct weir_fault *fault)
{
    json_t *calls = json_deep_copy(json_object_get(message, "tool_calls"));
    int rc = calls ? 0 : no_memory(fault);

    for (size_t k = 0; k < json_array_size(calls) && !rc; k++) {
        json_t *call = json_array_get(calls, k), *value;
        json_t *function = json_object_get(call, "function");
        const json_t *text = json_object_get(function, "arguments");

        if (!json_is_string(text))
            continue;
        if (weir_json_parse(json_string_value(text), json_string_length(text),
                            "arguments", &value, &fault->err))
            rc = wrong(fault, i, "the arguments of a call must be JSON");
        else if (json_object_set_new(function, "arguments", value))
            rc = no_memory(fault);
    }
    if (!rc && json_object_set(message, "tool_calls", calls))
        rc = no_memory(fault);
    json_decref(calls);
    return rc;
}

/* The other keys of a message stay as they are: templates know more of them. */
static int add_message(json_t *messages, const json_t *value, size_t i,
                       struct weir_fault *fault)
{
    const json_t *content = json_object_get(value, "content");
    json_t *message;
    int rc = 0;

    if (!json_is_object(value) ||
        !json_is_string(json_object_get(value, "role")))
        return wrong(fault, i, "must be an object with a role");
    if (content && !json_is_null(content) && !json_is_string(content) &&
        !json_is_array(content))
        return wrong(fault, i, "content must be a string or an array of parts");
    message = json_copy((json_t *)value);
    if (json_array_append(messages, message) || !message) {
        json_decref(message);
        return no_memory(fault);
    }
    json_decref(message);
    if (json_is_array(json_object_get(message, "tool_calls")))
        rc = parse_arguments(message, i, fault);
    if (!rc && json_is_array(content))
        rc = join_parts(message, content, i, fault);
    return rc;
}

int weir_messages_read(const json_t *value, json_t **messages,
                       struct weir_fault *fault)
{
    size_t n = json_array_size(value);
    int rc = 0;

    *messages = NULL;
    if (n == 0 || n > WEIR_MAX_MESSAGES)
        return weir_fault_set(fault, WEIR_EARG, "messages", "invalid_value",
                              "messages must be an array of 1 to %d",
                              WEIR_MAX_MESSAGES);
    *messages = json_array();
    if (!*messages)
        return no_memory(fault);
    for (size_t i = 0; i < n && !rc; i++)
        rc = add_message(*messages, json_array_get(value, i), i, fault);
    return rc;
}

int weir_messages_render(const struct weir_completion *completion,
                         const struct weir_chat *chat,
                         const struct weir_tokenizer *tokenizer,
                         struct weir_buf *out, struct weir_fault *fault)
{
    const struct weir_chat_input input = {.messages = completion->messages,
                                          .tools = completion->tools,
                                          .documents = completion->documents,
                                          .add_generation_prompt = 1};
    int rc;

    if (!chat)
        return weir_fault_set(fault, WEIR_ENOTSUP, "messages",
                              "unsupported_endpoint",
                              "the model was packed without a chat template; "
                              "send a prompt to /v1/completions");
    if (tokenizer)
        rc =
            weir_chat_render_guarded(chat, tokenizer, &input, out, &fault->err);
    else
        rc = weir_chat_render(chat, &input, out, &fault->err);
    if (rc) {
        snprintf(fault->param, sizeof(fault->param), "messages");
        fault->code = rc == WEIR_ENOMEM ? NULL : "invalid_value";
    }
    return rc;
}
