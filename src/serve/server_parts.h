/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the server share; all of it is the event loop's. */
#ifndef WEIR_SERVE_SERVER_PARTS_H
#define WEIR_SERVE_SERVER_PARTS_H

#include <event2/event.h>
#include <event2/http.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/buf.h"
#include "serve/server.h"
#include "serve/runner.h"

/* Ceilings, of which connections and bodies have one each */
#define WEIR_SERVER_CONNECTIONS  512
#define WEIR_SERVER_HEADER_BYTES ((size_t)32 << 10)
#define WEIR_SERVER_BODY_BYTES   ((size_t)8 << 20)
/* Descriptors that are looked at: all connections, and what was there before */
#define WEIR_SERVER_DESCRIPTORS (2 * WEIR_SERVER_CONNECTIONS + 512)
/* Read ahead of what is being answered */
#define WEIR_SERVER_AHEAD_BYTES ((size_t)128 << 10)
/* Of a stream that its client does not read; then it is cut */
#define WEIR_SERVER_OUTPUT_BYTES ((size_t)1 << 20)
/* Seconds that a client may be silent within a request or between two, and
 * that it may take none of an answer */
#define WEIR_SERVER_IDLE_S  60
#define WEIR_SERVER_STUCK_S 30
/* Between two signs of life in a stream */
#define WEIR_SERVER_PING_S 5

#define WEIR_MAX_STATUS 600

struct weir_call;
LIST_HEAD(weir_call_list, weir_call);

struct weir_server {
    struct weir_server_options options;
    weir_model *model;
    struct weir_runner *runner;
    char url[128];
    size_t body_bytes;
    int64_t created; /* when it began, seconds since 1970 */
    struct event_base *base;
    struct evhttp *http;
    struct evconnlistener *listener; /* of http */
    struct event *woken, *second, *pause;
    int wake_fd;       /* an eventfd: the runner has news, or drains is set */
    atomic_int drains; /* asked for */
    int is_draining;   /* and begun */
    int is_closing;    /* connections are freed whatever they wait for */
    size_t n_connections; /* at most; counted again when there may be too many
                           */
    struct weir_call_list calls;
    size_t n_calls;
    uint64_t n_made; /* calls so far */
    struct weir_err err;
    /* what happened so far */
    uint64_t n_status[WEIR_MAX_STATUS];
    uint64_t n_hangups, n_cut, n_timeouts;
};

/* A request may come, which evhttp wants to have as a whole. */
void weir_server_listen_to(const struct weir_server *server,
                           struct bufferevent *stream);

/* A reply with that status has begun. */
void weir_server_count(struct weir_server *server, int status);

/* evhttp's callback for every request */
void weir_route(struct evhttp_request *req, void *server);

/* The text of GET /metrics; WEIR_ENOMEM. */
int weir_metrics_print(struct weir_server *server, struct weir_buf *buf,
                       struct weir_err *err);

#endif
