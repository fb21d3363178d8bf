/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop.  It is woken through an eventfd, by the runner with news and
 * by whoever wants it to drain, so that evhttp needs no locks.
 *
 * evhttp does not say when a connection ends.  So those that begin are counted,
 * and when there may be too many, the descriptors say how many are left; until
 * one is free nothing is accepted, and the kernel keeps the others waiting.
 */
#include "serve/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "serve/call.h"
#include "serve/logprobs.h"
#include "serve/server_parts.h"

/* Of a body while it is parsed, for each of its bytes */
#define PARSE_BYTES 20
/* Bodies that are read at a time, as a rule */
#define N_BODIES 16
/* Of a body for each token of the context, beside what it has else */
#define TOKEN_BYTES      64
#define OTHER_BODY_BYTES ((size_t)64 << 10)

void weir_server_listen_to(const struct weir_server *server,
                           struct bufferevent *stream)
{
    bufferevent_setwatermark(stream, EV_READ, 0,
                             WEIR_SERVER_HEADER_BYTES + server->body_bytes);
}

void weir_server_count(struct weir_server *server, int status)
{
    server->n_status[status]++;
}

const char *weir_server_url(const struct weir_server *server)
{
    return server->url;
}

/* ---- news, and the end ---- */

static void wake(void *ctx)
{
    const struct weir_server *server = ctx;
    const uint64_t one = 1;

    /* It fails only when there is something in it already. */
    if (write(server->wake_fd, &one, sizeof(one)) < 0)
        return;
}

void weir_server_drain(struct weir_server *server)
{
    int saved = errno;

    atomic_store(&server->drains, 1);
    wake(server);
    errno = saved;
}

static void check_runner(struct weir_server *server)
{
    struct weir_runner_stats stats;

    weir_runner_get_stats(server->runner, &stats);
    if (!stats.has_failed || server->err.code)
        return;
    server->err = stats.err;
    server->is_draining = 1;
}

/* The last replies may still be on their way. */
static void end_if_drained(struct weir_server *server)
{
    static const struct timeval soon = {0, 100000};

    if (server->is_draining && server->n_calls == 0)
        event_base_loopexit(server->base, &soon);
}

static void on_woken(evutil_socket_t fd, short what, void *ctx)
{
    struct weir_server *server = ctx;
    struct weir_news news;
    uint64_t n;

    (void)what;
    if (read(fd, &n, sizeof(n)) < 0 && errno != EAGAIN)
        return;
    while (weir_runner_take_news(server->runner, &news))
        weir_call_take_news(&news);
    check_runner(server);
    if (atomic_load(&server->drains))
        server->is_draining = 1;
    end_if_drained(server);
}

static void on_second(evutil_socket_t fd, short what, void *ctx)
{
    struct weir_server *server = ctx;
    struct weir_call *call = LIST_FIRST(&server->calls), *next;
    uint64_t now = weir_clock_ns();

    (void)fd;
    (void)what;
    for (; call; call = next) {
        next = weir_call_next(call);
        weir_call_tick(call, now);
    }
    end_if_drained(server);
}

/* ---- connections ---- */

static size_t count_sockets(void)
{
    struct stat st;
    size_t n = 0;

    for (int fd = 0; fd < WEIR_SERVER_DESCRIPTORS; fd++)
        n += !fstat(fd, &st) && S_ISSOCK(st.st_mode);
    return n;
}

static void stop_accepting(struct weir_server *server)
{
    static const struct timeval pause = {0, 50000};

    evconnlistener_disable(server->listener);
    event_add(server->pause, &pause);
}

static void on_pause(evutil_socket_t fd, short what, void *ctx)
{
    struct weir_server *server = ctx;

    (void)fd;
    (void)what;
    server->n_connections = count_sockets();
    if (server->n_connections < WEIR_SERVER_CONNECTIONS)
        evconnlistener_enable(server->listener);
    else
        stop_accepting(server);
}

/* As when there are no descriptors left: else it would be tried in a loop. */
static void on_accept_error(struct evconnlistener *listener, void *ctx)
{
    (void)listener;
    stop_accepting(ctx);
}

static struct bufferevent *new_connection(struct event_base *base, void *ctx)
{
    struct weir_server *server = ctx;
    struct bufferevent *stream =
        bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);

    if (stream)
        weir_server_listen_to(server, stream);
    if (++server->n_connections >= WEIR_SERVER_CONNECTIONS)
        stop_accepting(server);
    return stream;
}

/* ---- opening ---- */

static int no_memory(struct weir_err *err)
{
    return weir_err_nomem(err, sizeof(struct weir_server), "a server");
}

/* The port may be one that the system has chosen. */
static void name_url(struct weir_server *server, int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t n_bytes = sizeof(address);
    const char *host = server->options.host;
    unsigned port;

    getsockname(fd, (struct sockaddr *)&address, &n_bytes);
    port = address.ss_family == AF_INET6
               ? ((struct sockaddr_in6 *)&address)->sin6_port
               : ((struct sockaddr_in *)&address)->sin_port;
    snprintf(server->url, sizeof(server->url),
             strchr(host, ':') ? "http://[%s]:%u" : "http://%s:%u", host,
             ntohs((uint16_t)port));
}

static int listen_there(struct weir_server *server, struct weir_err *err)
{
    const struct weir_server_options *options = &server->options;
    struct evhttp_bound_socket *bound;

    errno = 0;
    bound = evhttp_bind_socket_with_handle(server->http, options->host,
                                           options->port);
    if (!bound)
        return weir_err_set(err, WEIR_EIO,
                            "cannot listen on %s, port %u: %s; choose another "
                            "--port or --host",
                            options->host, options->port,
                            errno ? strerror(errno) : "no such address");
    server->listener = evhttp_bound_socket_get_listener(bound);
    evconnlistener_set_error_cb(server->listener, on_accept_error);
    name_url(server, evhttp_bound_socket_get_fd(bound));
    server->n_connections = count_sockets();
    return 0;
}

/* Every method comes to weir_route(), which knows better what to say. */
#define ALL_METHODS                                                            \
    (EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |     \
     EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |               \
     EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH)

static int open_http(struct weir_server *server, struct weir_err *err)
{
    server->base = event_base_new();
    if (server->base)
        server->http = evhttp_new(server->base);
    if (!server->http)
        return no_memory(err);
    evhttp_set_bevcb(server->http, new_connection, server);
    evhttp_set_gencb(server->http, weir_route, server);
    evhttp_set_allowed_methods(server->http, (uint16_t)ALL_METHODS);
    evhttp_set_max_headers_size(server->http, WEIR_SERVER_HEADER_BYTES);
    evhttp_set_max_body_size(server->http, (ssize_t)server->body_bytes);
    evhttp_set_timeout(server->http, WEIR_SERVER_IDLE_S);
    evhttp_set_flags(server->http, EVHTTP_SERVER_LINGERING_CLOSE);
    return 0;
}

static int add_events(struct weir_server *server, struct weir_err *err)
{
    static const struct timeval second = {1, 0};

    server->woken = event_new(server->base, server->wake_fd,
                              EV_READ | EV_PERSIST, on_woken, server);
    server->second = event_new(server->base, -1, EV_PERSIST, on_second, server);
    server->pause = event_new(server->base, -1, 0, on_pause, server);
    if (!server->woken || !server->second || !server->pause ||
        event_add(server->woken, NULL) || event_add(server->second, &second))
        return no_memory(err);
    return 0;
}

static int start_runner(struct weir_server *server, struct weir_err *err)
{
    const struct weir_server_options *options = &server->options;
    size_t n_ctx = options->defaults->n_ctx;
    uint64_t queued = sizeof(struct weir_job) + n_ctx * sizeof(int32_t);
    const struct weir_runner_options with = {
        .schedule = {.n_places = options->n_places,
                     .n_ctx = n_ctx,
                     .kv = options->kv,
                     .n_piece_tok = options->n_piece_tok,
                     .cache_bytes = options->cache_bytes,
                     .cache_folder = options->cache_folder,
                     .cache_file_bytes = options->cache_file_bytes,
                     .other_bytes =
                         (PARSE_BYTES + N_BODIES) * server->body_bytes +
                         WEIR_LOGPROB_BYTES * weir_schedule_most_scores(n_ctx) +
                         (options->n_places + options->n_queue) * queued},
        .n_queue = options->n_queue,
        .wake = wake,
        .ctx = server,
    };

    return weir_runner_start(server->model, &with, &server->runner, err);
}

static int init(struct weir_server *server, struct weir_err *err)
{
    size_t n_ctx = server->options.defaults->n_ctx;
    int rc;

    server->body_bytes = WEIR_SERVER_BODY_BYTES;
    if (n_ctx < (WEIR_SERVER_BODY_BYTES - OTHER_BODY_BYTES) / TOKEN_BYTES)
        server->body_bytes = OTHER_BODY_BYTES + TOKEN_BYTES * n_ctx;
    server->created = time(NULL);
    server->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (server->wake_fd < 0)
        return weir_err_errno(err, errno, "make", "an eventfd");
    rc = open_http(server, err);
    if (!rc)
        rc = add_events(server, err);
    if (!rc)
        rc = listen_there(server, err);
    return rc ? rc : start_runner(server, err);
}

int weir_server_open(weir_model *model,
                     const struct weir_server_options *options,
                     struct weir_server **out, struct weir_err *err)
{
    struct weir_server *server = calloc(1, sizeof(*server));
    int rc;

    *out = NULL;
    if (!server)
        return no_memory(err);
    server->model = model;
    server->options = *options;
    server->wake_fd = -1;
    LIST_INIT(&server->calls);
    rc = init(server, err);
    if (rc) {
        weir_server_close(server);
        return rc;
    }
    *out = server;
    return 0;
}

static void free_event(struct event *event)
{
    if (event)
        event_free(event);
}

void weir_server_close(struct weir_server *server)
{
    struct weir_call *call, *next;

    if (!server)
        return;
    server->is_closing = 1;
    weir_runner_stop(server->runner);
    for (call = LIST_FIRST(&server->calls); call; call = next) {
        next = weir_call_next(call);
        weir_call_abandon(call);
    }
    free_event(server->woken);
    free_event(server->second);
    free_event(server->pause);
    if (server->http)
        evhttp_free(server->http);
    if (server->base)
        event_base_free(server->base);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    free(server);
}

int weir_server_run(struct weir_server *server, struct weir_err *err)
{
    if (event_base_dispatch(server->base) < 0)
        return weir_err_set(err, WEIR_EIO, "the event loop failed");
    if (server->err.code)
        *err = server->err;
    return server->err.code;
}
