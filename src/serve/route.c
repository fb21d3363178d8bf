/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may ask, and for what.  Paths are compared whole with those of a table,
 * so that none of them reaches a file.
 *
 * A page of another origin can send a request without asking anybody, if only
 * it does not want to read the reply; so a browser that names an origin that
 * is not allowed is refused before it costs anything.
 */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "serve/call.h"
#include "serve/page.h"
#include "serve/reply.h"
#include "serve/token_route.h"

typedef void serve_fn(struct weir_server *server, struct evhttp_request *req,
                      const json_t *body);

static const char *header(struct evhttp_request *req, const char *name)
{
    return evhttp_find_header(evhttp_request_get_input_headers(req), name);
}

static void add_header(struct evhttp_request *req, const char *name,
                       const char *value)
{
    evhttp_add_header(evhttp_request_get_output_headers(req), name, value);
}

static void reply(struct weir_server *server, struct evhttp_request *req,
                  int status, json_t *body)
{
    weir_server_count(server, status);
    weir_reply_json(req, status, body);
}

static void refuse(struct weir_server *server, struct evhttp_request *req,
                   int status, const char *code, const char *message)
{
    struct weir_fault fault;

    weir_fault_set(&fault, status < 500 ? WEIR_EARG : WEIR_EIO, NULL, code,
                   "%s", message);
    weir_server_count(server, status);
    weir_reply_fault(req, status, &fault);
}

/* ---- what is served ---- */

static void serve_health(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body)
{
    int drains = server->is_draining;

    (void)body;
    reply(server, req, drains ? 503 : 200,
          json_pack("{s:s}", "status", drains ? "draining" : "ok"));
}

static json_t *model_json(const struct weir_server *server)
{
    return json_pack(
        "{s:s, s:s, s:I, s:s, s:I}", "id", server->options.model_name, "object",
        "model", "created", (json_int_t)server->created, "owned_by", "weir",
        "max_model_len", (json_int_t)server->options.defaults->n_ctx);
}

static void serve_models(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body)
{
    (void)body;
    reply(server, req, 200,
          json_pack("{s:s, s:o}", "object", "list", "data",
                    weir_openai_add(json_array(), model_json(server))));
}

static void serve_metrics(struct weir_server *server,
                          struct evhttp_request *req, const json_t *body)
{
    struct weir_buf buf = WEIR_BUF((size_t)1 << 20);
    struct weir_fault fault = {.param = ""};

    (void)body;
    if (weir_metrics_print(server, &buf, &fault.err)) {
        weir_server_count(server, 500);
        weir_reply_fault(req, 500, &fault);
    } else {
        weir_server_count(server, 200);
        weir_reply_text(req, 200, "text/plain; version=0.0.4", buf.data,
                        buf.n_bytes);
    }
    weir_buf_fini(&buf);
}

static const struct {
    const char *path;
    enum evhttp_cmd_type method;
    int is_open; /* without a key */
    serve_fn *serve;
} routes[] = {
    {"/", EVHTTP_REQ_GET, 1, weir_serve_page},
    {"/health", EVHTTP_REQ_GET, 1, serve_health},
    {"/metrics", EVHTTP_REQ_GET, 0, serve_metrics},
    {"/v1/models", EVHTTP_REQ_GET, 0, serve_models},
    {"/v1/completions", EVHTTP_REQ_POST, 0, weir_call_begin},
    {"/v1/chat/completions", EVHTTP_REQ_POST, 0, weir_call_begin_chat},
    {"/apply-template", EVHTTP_REQ_POST, 0, weir_serve_template},
    {"/tokenize", EVHTTP_REQ_POST, 0, weir_serve_tokenize},
    {"/detokenize", EVHTTP_REQ_POST, 0, weir_serve_detokenize},
};

#define N_ROUTES (sizeof(routes) / sizeof(routes[0]))

/* ---- who may ask ---- */

/*
 * "name:8080" or "[::1]:8080": an address, or a name that nobody else can give
 * to this machine.  Any other a stranger may have pointed here, for his page to
 * seem to come from here (DNS rebinding).
 */
static int is_own_host(const struct weir_server *server, const char *host)
{
    int is_v6 = *host == '[';
    size_t n = strcspn(host + is_v6, is_v6 ? "]" : ":");
    struct in6_addr address;
    char name[256];

    if (n >= sizeof(name))
        return 0;
    memcpy(name, host + is_v6, n);
    name[n] = 0;
    return inet_pton(is_v6 ? AF_INET6 : AF_INET, name, &address) == 1 ||
           !strcasecmp(name, "localhost") ||
           !strcasecmp(name, server->options.host);
}

/* The page that asks is the one at /. */
static int is_own_origin(const struct weir_server *server,
                         struct evhttp_request *req, const char *origin)
{
    static const char http[] = "http://", https[] = "https://";
    const char *host = header(req, "Host");

    if (!host || !is_own_host(server, host))
        return 0;
    if (!strncmp(origin, http, strlen(http)))
        return !strcasecmp(origin + strlen(http), host);
    return !strncmp(origin, https, strlen(https)) &&
           !strcasecmp(origin + strlen(https), host);
}

/* The origin of a page that asks, and its browser wants to know if it may. */
static int allow_origin(struct weir_server *server, struct evhttp_request *req)
{
    const char *origin = header(req, "Origin"), *cors = server->options.cors;

    if (!origin || is_own_origin(server, req, origin))
        return 1;
    if (!cors || (strcmp(cors, "*") && strcmp(cors, origin))) {
        refuse(server, req, 403, "origin_not_allowed",
               "pages of this origin may not ask here; the server's --cors "
               "allows one");
        return 0;
    }
    add_header(req, "Access-Control-Allow-Origin", cors);
    add_header(req, "Vary", "Origin");
    return 1;
}

static void answer_preflight(struct weir_server *server,
                             struct evhttp_request *req)
{
    const char *headers = header(req, "Access-Control-Request-Headers");

    add_header(req, "Access-Control-Allow-Methods", "GET, POST");
    if (headers)
        add_header(req, "Access-Control-Allow-Headers", headers);
    add_header(req, "Access-Control-Max-Age", "600");
    weir_server_count(server, 204);
    weir_reply_text(req, 204, "", NULL, 0);
}

static int allow_key(struct weir_server *server, struct evhttp_request *req)
{
    if (weir_keys_allow(server->options.keys, header(req, "Authorization")))
        return 1;
    add_header(req, "WWW-Authenticate", "Bearer");
    refuse(server, req, 401, "invalid_api_key",
           "this server wants an API key, as \"Authorization: Bearer KEY\"");
    return 0;
}

/* ---- from a request to what is served ---- */

/* The body as JSON; 0, and the reply was sent, when it is none. */
static int parse_body(struct weir_server *server, struct evhttp_request *req,
                      json_t **body)
{
    struct evbuffer *input = evhttp_request_get_input_buffer(req);
    size_t n_bytes = evbuffer_get_length(input);
    const char *text = (const char *)evbuffer_pullup(input, -1);
    struct weir_fault fault = {.param = "", .code = "invalid_json"};

    if (!weir_json_parse(text ? text : "", n_bytes, "the request", body,
                         &fault.err))
        return 1;
    weir_server_count(server, weir_reply_status(&fault));
    weir_reply_fault(req, weir_reply_status(&fault), &fault);
    return 0;
}

static void serve(struct weir_server *server, struct evhttp_request *req,
                  size_t route)
{
    enum evhttp_cmd_type method = evhttp_request_get_command(req);
    json_t *body = NULL;

    if (method == EVHTTP_REQ_HEAD)
        method = EVHTTP_REQ_GET;
    if (!routes[route].is_open && !allow_key(server, req))
        return;
    if (method != routes[route].method) {
        int is_get = routes[route].method == EVHTTP_REQ_GET;

        add_header(req, "Allow", is_get ? "GET, HEAD" : "POST");
        refuse(server, req, 405, "method_not_allowed",
               is_get ? "this wants GET" : "this wants POST");
        return;
    }
    if (method == EVHTTP_REQ_POST && !parse_body(server, req, &body))
        return;
    routes[route].serve(server, req, body);
    json_decref(body);
}

/* GET /v1/models/NAME */
static int is_model(const struct weir_server *server, const char *path)
{
    static const char before[] = "/v1/models/";
    size_t n = sizeof(before) - 1;
    char *name;
    int is_it;

    if (strncmp(path, before, n))
        return 0;
    name = evhttp_uridecode(path + n, 0, NULL);
    is_it = name && !strcmp(name, server->options.model_name);
    free(name);
    return is_it;
}

static void serve_other(struct weir_server *server, struct evhttp_request *req,
                        const char *path)
{
    if (!allow_key(server, req))
        return;
    if (evhttp_request_get_command(req) == EVHTTP_REQ_GET &&
        is_model(server, path))
        reply(server, req, 200, model_json(server));
    else
        refuse(server, req, 404, "not_found", "there is no such path here");
}

void weir_route(struct evhttp_request *req, void *ctx)
{
    struct weir_server *server = ctx;
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(req);
    const char *path = uri ? evhttp_uri_get_path(uri) : NULL;

    if (server->is_draining)
        add_header(req, "Connection", "close");
    if (!allow_origin(server, req))
        return;
    if (evhttp_request_get_command(req) == EVHTTP_REQ_OPTIONS) {
        answer_preflight(server, req);
        return;
    }
    for (size_t i = 0; path && i < N_ROUTES; i++)
        if (!strcmp(routes[i].path, path)) {
            serve(server, req, i);
            return;
        }
    serve_other(server, req, path ? path : "");
}
