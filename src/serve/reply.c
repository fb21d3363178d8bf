/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/reply.h"

#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 401:
        return "Unauthorized";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 429:
        return "Too Many Requests";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Internal Server Error";
    }
}

int weir_reply_status(const struct weir_fault *fault)
{
    return strcmp(weir_fault_type(fault), "server_error") ? 400 : 500;
}

void weir_reply_text(struct evhttp_request *req, int status, const char *type,
                     const char *text, size_t n_bytes)
{
    struct evbuffer *buffer = evbuffer_new();

    if (buffer && n_bytes) {
        evhttp_add_header(evhttp_request_get_output_headers(req),
                          "Content-Type", type);
        evbuffer_add(buffer, text, n_bytes);
    }
    evhttp_send_reply(req, status, reason_of(status), buffer);
    if (buffer)
        evbuffer_free(buffer);
}

void weir_reply_json(struct evhttp_request *req, int status, json_t *body)
{
    static const char no_memory[] =
        "{\"error\":{\"message\":\"out of memory\",\"type\":\"server_error\","
        "\"param\":null,\"code\":null}}";
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    if (text)
        weir_reply_text(req, status, "application/json", text, strlen(text));
    else
        weir_reply_text(req, 500, "application/json", no_memory,
                        sizeof(no_memory) - 1);
    free(text);
}

void weir_reply_fault(struct evhttp_request *req, int status,
                      const struct weir_fault *fault)
{
    weir_reply_json(req, status, weir_openai_error(fault));
}

/* ---- streams ---- */

void weir_reply_begin_stream(struct evhttp_request *req)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(req);

    evhttp_add_header(headers, "Content-Type", "text/event-stream");
    evhttp_add_header(headers, "Cache-Control", "no-cache");
    evhttp_add_header(headers, "X-Accel-Buffering", "no"); /* nginx */
    evhttp_send_reply_start(req, 200, reason_of(200));
}

static int send_chunk(struct evhttp_request *req, const char *before,
                      const char *text)
{
    struct evbuffer *buffer = evbuffer_new();
    int bad = !buffer || evbuffer_add(buffer, before, strlen(before)) ||
              evbuffer_add(buffer, text, strlen(text)) ||
              evbuffer_add(buffer, "\n\n", 2);

    if (!bad)
        evhttp_send_reply_chunk(req, buffer);
    if (buffer)
        evbuffer_free(buffer);
    return bad ? WEIR_ENOMEM : 0;
}

int weir_reply_send_event(struct evhttp_request *req, json_t *object)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    int rc = text ? send_chunk(req, "data: ", text) : WEIR_ENOMEM;

    json_decref(object);
    free(text);
    return rc;
}

int weir_reply_send_comment(struct evhttp_request *req)
{
    return send_chunk(req, ": ", "the model is at work");
}

int weir_reply_end_stream(struct evhttp_request *req)
{
    int rc = send_chunk(req, "data: ", "[DONE]");

    if (!rc)
        evhttp_send_reply_end(req);
    return rc;
}
