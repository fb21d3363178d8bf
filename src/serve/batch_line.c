/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/batch_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

#define URL      "/v1/completions"
#define CHAT_URL "/v1/chat/completions"

static int take_id(struct weir_batch_line *line, const char *key,
                   const json_t *value, struct weir_fault *fault)
{
    size_t n = json_string_length(value);

    if (json_is_null(value))
        return 0;
    if (json_is_integer(value)) {
        snprintf(line->custom_id, sizeof(line->custom_id),
                 "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        return 0;
    }
    if (!json_is_string(value) || n == 0 || n > WEIR_CUSTOM_ID_BYTES)
        return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                              "%s must be a string of 1 to %d bytes", key,
                              WEIR_CUSTOM_ID_BYTES);
    memcpy(line->custom_id, json_string_value(value), n + 1);
    return 0;
}

static int is_text(const json_t *value, const char *wanted)
{
    return json_is_string(value) && !strcmp(json_string_value(value), wanted);
}

static int take_url(struct weir_batch_line *line, const json_t *url,
                    struct weir_fault *fault)
{
    line->is_chat = is_text(url, CHAT_URL);
    if (line->is_chat || is_text(url, URL))
        return 0;
    return weir_fault_set(fault, WEIR_EARG, "url", "unsupported_endpoint",
                          "url must be " URL " or " CHAT_URL);
}

/* One key of a line with a body, or with what goes with one */
static int take_member(struct weir_batch_line *line, const char *key,
                       json_t *value, struct weir_fault *fault)
{
    if (!strcmp(key, "custom_id"))
        return 0;
    if (!strcmp(key, "url"))
        return take_url(line, value, fault);
    if (!strcmp(key, "method")) {
        if (is_text(value, "POST"))
            return 0;
        return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                              "method must be POST");
    }
    if (strcmp(key, "body"))
        return weir_fault_set(fault, WEIR_EARG, key, "unknown_parameter",
                              "unknown key '%.64s' beside the body", key);
    if (!json_is_object(value))
        return weir_fault_set(fault, WEIR_EARG, key, "invalid_value",
                              "body must be an object");
    line->body = json_incref(value);
    return 0;
}

static int take_members(struct weir_batch_line *line, json_t *root,
                        struct weir_fault *fault)
{
    const char *key;
    json_t *value;
    int rc = 0;

    json_object_foreach(root, key, value)
    {
        rc = take_member(line, key, value, fault);
        if (rc)
            return rc;
    }
    if (!line->body)
        return weir_fault_set(fault, WEIR_EARG, "body", "missing_parameter",
                              "the body is missing");
    if (!json_object_get(root, "url"))
        return weir_fault_set(fault, WEIR_EARG, "url", "missing_parameter",
                              "the url is missing; it must be " URL
                              " or " CHAT_URL);
    return 0;
}

/* A line that is a body itself, but for the id */
static int take_plain(struct weir_batch_line *line, json_t *root)
{
    json_object_del(root, "custom_id");
    json_object_del(root, "id");
    line->is_chat = json_object_get(root, "messages") != NULL;
    line->body = json_incref(root);
    return 0;
}

static int take_object(struct weir_batch_line *line, json_t *root,
                       struct weir_fault *fault)
{
    int is_openai = json_object_get(root, "body") ||
                    json_object_get(root, "url") ||
                    json_object_get(root, "method");
    const char *key =
        is_openai || json_object_get(root, "custom_id") ? "custom_id" : "id";
    const json_t *id = json_object_get(root, key);
    int rc = id ? take_id(line, key, id, fault) : 0;

    if (rc)
        return rc;
    return is_openai ? take_members(line, root, fault) : take_plain(line, root);
}

/* A prompt alone; JSON of ours is an object or an array, so it becomes one. */
static int parse_text(const char *text, size_t n_bytes, json_t **root,
                      struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(SIZE_MAX);
    int rc = weir_buf_add(&buf, "[", 1, err);

    if (!rc)
        rc = weir_buf_add(&buf, text, n_bytes, err);
    if (!rc)
        rc = weir_buf_add(&buf, "]", 1, err);
    if (!rc)
        rc = weir_json_parse(buf.data, buf.n_bytes, "the request", root, err);
    weir_buf_fini(&buf);
    return rc;
}

static int take_text(struct weir_batch_line *line, int is_string, json_t *root,
                     struct weir_fault *fault)
{
    if (!is_string || json_array_size(root) != 1 ||
        !json_is_string(json_array_get(root, 0)))
        return weir_fault_set(fault, WEIR_EARG, NULL, "invalid_value",
                              "a line must be a JSON object or one string");
    line->body = json_pack("{s:O}", "prompt", json_array_get(root, 0));
    return line->body ? 0
                      : weir_fault_set(fault, WEIR_ENOMEM, NULL, NULL,
                                       "no memory for a prompt");
}

int weir_batch_line_parse(const char *text, size_t n_bytes,
                          struct weir_batch_line *line,
                          struct weir_fault *fault)
{
    int is_string = n_bytes && text[0] == '"', rc;
    json_t *root;

    line->body = NULL;
    line->is_chat = 0;
    line->custom_id[0] = '\0';
    memset(fault, 0, sizeof(*fault));
    if (is_string)
        rc = parse_text(text, n_bytes, &root, &fault->err);
    else
        rc = weir_json_parse(text, n_bytes, "the request", &root, &fault->err);
    if (rc) {
        fault->code = rc == WEIR_ENOMEM ? NULL : "invalid_json";
        return rc;
    }
    if (json_is_object(root))
        rc = take_object(line, root, fault);
    else
        rc = take_text(line, is_string, root, fault);
    json_decref(root);
    return rc;
}

void weir_batch_line_fini(struct weir_batch_line *line)
{
    json_decref(line->body);
    line->body = NULL;
}

int weir_batch_line_print(uint64_t number, const char *custom_id, int status,
                          json_t *body, char **text, size_t *n_bytes,
                          struct weir_err *err)
{
    char id[32], request[32];
    json_t *root;
    size_t n;

    *text = NULL;
    snprintf(id, sizeof(id), "batch_req_%" PRIu64, number);
    snprintf(request, sizeof(request), "req_%" PRIu64, number);
    root =
        json_pack("{s:s, s:s?, s:{s:i, s:s, s:o}, s:n}", "id", id, "custom_id",
                  *custom_id ? custom_id : NULL, "response", "status_code",
                  status, "request_id", request, "body", body, "error");
    if (root)
        *text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (!*text)
        return weir_err_nomem(err, 1024, "an answer");
    n = strlen(*text);
    (*text)[n] = '\n'; /* in the place of the NUL */
    *n_bytes = n + 1;
    return 0;
}

uint64_t weir_batch_line_number(const char *text, size_t n_bytes)
{
    static const char before[] = WEIR_BATCH_ID;
    size_t at = sizeof(before) - 1;
    uint64_t number = 0;

    if (n_bytes < at || memcmp(text, before, at))
        return 0;
    for (; at < n_bytes && text[at] >= '0' && text[at] <= '9'; at++) {
        if (number > UINT64_MAX / 16)
            return 0;
        number = number * 10 + (uint64_t)(text[at] - '0');
    }
    if (at == n_bytes || text[at] != '"' || !weir_json_is_whole(text, n_bytes))
        return 0;
    return number;
}
