/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evhttp frees a request once its reply was written, and the whole connection
 * when the client is gone; but a request that was not replied to by then is
 * left to us.  What ends a call is one of two callbacks: on_written() or
 * on_closed().
 *
 * While a request waits for its reply evhttp does not read, so that it would
 * not see a client go.  So reading goes on here, without a callback: what
 * comes is kept up to the ceiling of the connection, an end is an event.
 */
#include "serve/call.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <xxhash.h>

#include "serve/reply.h"
#include "serve/tool_calls.h"

struct choice {
    struct weir_job *job;           /* NULL: its last news were taken */
    struct weir_buf text, ids;      /* unless it is streamed */
    struct weir_scored_list scored; /* tokens that were not sent yet */
    size_t n_content;               /* bytes that were sent */
    size_t n_ids;
    const char *finish_reason;
    int has_role;                   /* the first part of its stream was sent */
    struct weir_tool_parser parser; /* of a stream */
};

struct weir_call {
    struct weir_server *server;
    struct evhttp_request *req; /* NULL: nobody waits any more */
    struct choice choices[WEIR_MAX_CHOICES];
    size_t n, n_alive; /* choices; those with a job */
    int is_chat, stream, include_usage, shows_ids;
    const struct weir_tool_style *style; /* of calls of tools, or NULL */
    int is_over; /* nothing will be added to the reply */
    int is_cut;  /* and its connection is as good as closed */
    char id[32];
    int64_t created;
    size_t n_prompt, n_cached; /* tokens; of the first choice, not computed */
    uint64_t began_ns, sent_ns;
    LIST_ENTRY(weir_call) entry;
};

struct weir_call *weir_call_next(struct weir_call *call)
{
    return LIST_NEXT(call, entry);
}

/* ---- its end ---- */

static void free_call(struct weir_call *call)
{
    for (size_t i = 0; i < call->n; i++) {
        weir_job_free(call->choices[i].job);
        weir_buf_fini(&call->choices[i].text);
        weir_buf_fini(&call->choices[i].ids);
        weir_scored_fini(&call->choices[i].scored);
    }
    free(call);
}

/* The connection and the runner let go of it one after the other. */
static void release(struct weir_call *call)
{
    if (call->req || call->n_alive)
        return;
    LIST_REMOVE(call, entry);
    call->server->n_calls--;
    free_call(call);
}

static void cancel_jobs(struct weir_call *call)
{
    for (size_t i = 0; i < call->n; i++)
        if (call->choices[i].job)
            weir_runner_cancel(call->server->runner, call->choices[i].job);
}

static void on_closed(struct evhttp_connection *connection, void *ctx)
{
    struct weir_call *call = ctx;
    struct weir_server *server = call->server;

    (void)connection;
    if (!server->is_closing) {
        if (!call->is_over)
            evhttp_request_free(call->req);
        server->n_hangups += !call->is_over && !call->is_cut;
        cancel_jobs(call);
    }
    call->req = NULL;
    release(call);
}

void weir_call_abandon(struct weir_call *call)
{
    call->n_alive = 0;
    release(call);
}

static struct bufferevent *stream_of(struct evhttp_request *req)
{
    return evhttp_connection_get_bufferevent(
        evhttp_request_get_connection(req));
}

/* The connection may have another request. */
static void on_written(struct evhttp_request *req, void *ctx)
{
    static const struct timeval idle = {WEIR_SERVER_IDLE_S, 0};
    static const struct timeval stuck = {WEIR_SERVER_STUCK_S, 0};
    struct weir_call *call = ctx;

    evhttp_connection_set_closecb(evhttp_request_get_connection(req), NULL,
                                  NULL);
    bufferevent_set_timeouts(stream_of(req), &idle, &stuck);
    weir_server_listen_to(call->server, stream_of(req));
    call->req = NULL;
    release(call);
}

/* The client may think as long as it likes while it is not its turn. */
static void watch(struct weir_call *call)
{
    static const struct timeval stuck = {WEIR_SERVER_STUCK_S, 0};
    struct bufferevent *stream = stream_of(call->req);
    bufferevent_data_cb on_read, on_write;
    bufferevent_event_cb on_event;
    const int yes = 1;
    void *ctx;

    evhttp_connection_set_closecb(evhttp_request_get_connection(call->req),
                                  on_closed, call);
    evhttp_request_set_on_complete_cb(call->req, on_written, call);
    bufferevent_getcb(stream, &on_read, &on_write, &on_event, &ctx);
    bufferevent_setcb(stream, NULL, on_write, on_event, ctx);
    bufferevent_set_timeouts(stream, NULL, &stuck);
    bufferevent_setwatermark(stream, EV_READ, 0, WEIR_SERVER_AHEAD_BYTES);
    bufferevent_enable(stream, EV_READ);
    setsockopt(bufferevent_getfd(stream), IPPROTO_TCP, TCP_NODELAY, &yes,
               sizeof(yes));
}

/* As if the client had hung up, which it then will be told. */
static void cut(struct weir_call *call)
{
    shutdown(bufferevent_getfd(stream_of(call->req)), SHUT_RDWR);
    call->server->n_cut++;
    call->is_cut = 1;
}

/* ---- replies ---- */

static struct weir_openai_head head_of(const struct weir_call *call)
{
    const char *object = !call->is_chat ? "text_completion"
                         : call->stream ? "chat.completion.chunk"
                                        : "chat.completion";

    return (struct weir_openai_head){object, call->id, call->created,
                                     call->server->options.model_name};
}

static json_t *usage_of(const struct weir_call *call)
{
    size_t n = 0;

    for (size_t i = 0; i < call->n; i++)
        n += call->choices[i].n_ids;
    return weir_openai_usage(call->n_prompt, call->n_cached, n);
}

static void send_event(struct weir_call *call, json_t *object)
{
    struct evbuffer *output = bufferevent_get_output(stream_of(call->req));

    if (call->is_cut) {
        json_decref(object);
        return;
    }
    if (weir_reply_send_event(call->req, object) ||
        evbuffer_get_length(output) > WEIR_SERVER_OUTPUT_BYTES)
        cut(call);
    call->sent_ns = weir_clock_ns();
}

/* A part of a stream; takes over `choices`. */
static void send_part(struct weir_call *call, json_t *choices, json_t *usage)
{
    const struct weir_openai_head head = head_of(call);

    if (call->include_usage)
        send_event(call, weir_openai_answer(&head, choices, usage));
    else
        send_event(call, weir_openai_part(&head, choices));
}

static struct weir_choice choice_of(const struct weir_call *call, size_t i,
                                    const struct weir_buf *text,
                                    const struct weir_buf *ids)
{
    return (struct weir_choice){
        .index = i,
        .text = text->data ? text->data : "",
        .n_bytes = text->n_bytes,
        .ids = (const int32_t *)(const void *)ids->data,
        .n_ids = ids->n_bytes / sizeof(int32_t),
        .shows_ids = call->shows_ids,
        .finish_reason = call->choices[i].finish_reason,
        .tokenizer = call->server->model->tokenizer,
    };
}

static void send_choice(struct weir_call *call, json_t *choice)
{
    send_part(call, weir_openai_add(json_array(), choice),
              call->include_usage ? json_null() : NULL);
}

/* Goes with the tokens that have begun by its end and were not sent before. */
static void send_content(struct weir_call *call, const struct weir_choice *part)
{
    struct choice *choice = &call->choices[part->index];
    struct weir_scored scored = weir_scored_view(&choice->scored);
    struct weir_choice with = *part;

    choice->n_content += part->n_bytes;
    scored.n = weir_scored_within(&scored, choice->n_content);
    if (scored.n)
        with.scored = &scored;
    send_choice(call, call->is_chat ? weir_openai_delta(&with, NULL)
                                    : weir_openai_text(&with));
    weir_scored_drop(&choice->scored, scored.n);
}

/* Where parts of a choice go that may be calls */
struct parts {
    struct weir_call *call;
    size_t index;
};

/* "0123-0" of choice 0 in the call with the id "chatcmpl-0123" */
static void name_choice(const struct weir_call *call, size_t i, char id[48])
{
    snprintf(id, 48, "%s-%zu", strchr(call->id, '-') + 1, i);
}

static int send_parsed(void *ctx, enum weir_call_part kind, const char *text,
                       size_t n_bytes)
{
    const struct parts *parts = ctx;
    struct weir_call *call = parts->call;
    struct weir_choice part = {.index = parts->index,
                               .tokenizer = call->server->model->tokenizer};
    size_t i = call->choices[parts->index].parser.n_calls - 1;
    char id[48];

    name_choice(call, parts->index, id);
    if (kind == WEIR_CALL_TEXT) {
        part.text = text;
        part.n_bytes = n_bytes;
    } else if (kind == WEIR_CALL_NAME) {
        part.tool_calls = weir_tool_begin(i, id, text, n_bytes);
    } else {
        part.tool_calls = weir_tool_more(i, text, n_bytes);
    }
    send_content(call, &part);
    return 0;
}

/* What was written becomes text and calls; ids come in parts of their own. */
static void send_parts(struct weir_call *call, const struct weir_choice *part)
{
    struct weir_tool_parser *parser = &call->choices[part->index].parser;
    struct weir_choice ids = *part;
    struct parts parts = {call, part->index};

    ids.text = ids.finish_reason = NULL;
    weir_tool_parser_push(parser, part->text, part->n_bytes, send_parsed,
                          &parts);
    if (part->finish_reason)
        weir_tool_parser_finish(parser, send_parsed, &parts);
    if (part->shows_ids && part->n_ids)
        send_choice(call, weir_openai_delta(&ids, NULL));
}

static const char *reason_with_calls(const struct weir_choice *part,
                                     const struct weir_tool_parser *parser)
{
    return parser->n_calls && !strcmp(part->finish_reason, "stop")
               ? "tool_calls"
               : part->finish_reason;
}

static int has_more(const struct choice *choice, const struct weir_choice *part)
{
    return part->n_bytes || (part->shows_ids && part->n_ids) ||
           weir_scored_view(&choice->scored).n;
}

/* First the role, then text, and the end in a part of its own */
static void send_delta(struct weir_call *call, const struct weir_choice *part)
{
    struct choice *choice = &call->choices[part->index];
    struct weir_choice other = *part;

    other.finish_reason = NULL;
    if (!choice->has_role) {
        const struct weir_choice first = {.index = part->index, .text = ""};

        choice->has_role = 1;
        send_choice(call, weir_openai_delta(&first, "assistant"));
    }
    if (call->style)
        send_parts(call, part);
    else if (has_more(choice, part))
        send_content(call, &other);
    if (!part->finish_reason)
        return;
    other = (struct weir_choice){.index = part->index,
                                 .finish_reason =
                                     reason_with_calls(part, &choice->parser),
                                 .tokenizer = part->tokenizer};
    send_content(call, &other);
}

static void end_stream(struct weir_call *call)
{
    if (call->is_cut)
        return;
    call->is_over = 1;
    if (weir_reply_end_stream(call->req))
        cut(call);
}

static json_t *whole_choice(const struct weir_call *call, size_t i)
{
    const struct weir_scored scored =
        weir_scored_view(&call->choices[i].scored);
    struct weir_choice choice =
        choice_of(call, i, &call->choices[i].text, &call->choices[i].ids);

    if (scored.n_scores)
        choice.scored = &scored;
    if (call->style) {
        char id[48];

        name_choice(call, i, id);
        return weir_tool_message(&choice, call->style, id);
    }
    return call->is_chat ? weir_openai_message(&choice)
                         : weir_openai_text(&choice);
}

static void finish(struct weir_call *call)
{
    const struct weir_openai_head head = head_of(call);
    json_t *choices = json_array();

    if (call->stream) {
        if (call->include_usage)
            send_part(call, choices, usage_of(call));
        else
            json_decref(choices);
        end_stream(call);
        return;
    }
    for (size_t i = 0; i < call->n; i++)
        choices = weir_openai_add(choices, whole_choice(call, i));
    call->is_over = 1;
    weir_server_count(call->server, 200);
    weir_reply_json(call->req, 200,
                    weir_openai_answer(&head, choices, usage_of(call)));
}

/* Nothing but this error comes any more. */
static void fail(struct weir_call *call, int status,
                 const struct weir_fault *fault)
{
    if (call->stream) {
        send_event(call, weir_openai_error(fault));
        end_stream(call);
    } else {
        call->is_over = 1;
        weir_server_count(call->server, status);
        weir_reply_fault(call->req, status, fault);
    }
    cancel_jobs(call);
}

/* ---- news ---- */

static const char *reason_of(const struct weir_news *news)
{
    if (news->state != WEIR_JOB_ENDED)
        return NULL;
    return news->end == WEIR_END_LENGTH ? "length" : "stop";
}

static void keep(struct weir_call *call, struct choice *choice,
                 const struct weir_news *news)
{
    struct weir_fault fault = {.param = ""};

    if (weir_buf_add(&choice->text, news->text.data, news->text.n_bytes,
                     &fault.err) ||
        weir_buf_add(&choice->ids, news->ids.data, news->ids.n_bytes,
                     &fault.err))
        fail(call, 500, &fault);
}

static void add_to_reply(struct weir_call *call, size_t i,
                         const struct weir_news *news)
{
    struct choice *choice = &call->choices[i];
    const struct weir_scored scored = weir_scored_view(&news->scored);
    struct weir_fault fault = {.param = "", .err = news->err};
    struct weir_choice part;

    choice->n_ids = news->n_ids;
    if (i == 0)
        call->n_cached = news->n_cached;
    choice->finish_reason = reason_of(news);
    part = choice_of(call, i, &news->text, &news->ids);
    if (news->state == WEIR_JOB_FAILED ||
        weir_scored_add(&choice->scored, &scored, 0, &fault.err))
        fail(call, weir_reply_status(&fault), &fault);
    else if (!call->stream)
        keep(call, choice, news);
    else if (call->is_chat)
        send_delta(call, &part);
    else if (has_more(choice, &part) || part.finish_reason)
        send_content(call, &part);
}

static int is_waited_for(const struct weir_call *call)
{
    return call->req && !call->is_over && !call->is_cut;
}

void weir_call_take_news(struct weir_news *news)
{
    struct weir_call *call = news->job->owner;
    size_t i = 0;

    while (call->choices[i].job != news->job)
        i++;
    if (is_waited_for(call))
        add_to_reply(call, i, news);
    weir_buf_fini(&news->text);
    weir_buf_fini(&news->ids);
    weir_scored_fini(&news->scored);
    if (news->state < WEIR_JOB_ENDED)
        return;
    weir_job_free(news->job);
    call->choices[i].job = NULL;
    if (--call->n_alive == 0 && is_waited_for(call))
        finish(call);
    release(call);
}

void weir_call_tick(struct weir_call *call, uint64_t now_ns)
{
    const uint64_t second = 1000000000;
    unsigned most = call->server->options.timeout_s;
    struct weir_fault fault = {.param = ""};

    if (!is_waited_for(call))
        return;
    if (now_ns - call->began_ns > most * second) {
        call->server->n_timeouts++;
        weir_fault_set(&fault, WEIR_EIO, NULL, "timeout",
                       "the answer took longer than %u s; ask for less, or "
                       "later, or serve with a longer --timeout",
                       most);
        fail(call, 504, &fault);
    } else if (call->stream &&
               now_ns - call->sent_ns > WEIR_SERVER_PING_S * second) {
        if (weir_reply_send_comment(call->req))
            cut(call);
        call->sent_ns = now_ns;
    }
}

/* ---- its beginning ---- */

/* Each choice draws by itself. */
static uint64_t seed_of(uint64_t seed, size_t i)
{
    uint64_t number = i;

    return i ? XXH3_64bits_withSeed(&number, sizeof(number), seed) : seed;
}

static int make_jobs(struct weir_call *call, struct weir_request *request)
{
    uint64_t seed = request->sampling.seed;

    for (size_t i = 0; i < call->n; i++) {
        struct choice *choice = &call->choices[i];

        request->sampling.seed = seed_of(seed, i);
        choice->text.ceiling = choice->ids.ceiling = SIZE_MAX; /* the job's */
        weir_scored_init(&choice->scored, request->n_scores, request->n_tokens);
        weir_tool_parser_init(&choice->parser, call->style);
        choice->job = weir_job_new(request, call);
        if (!choice->job)
            return WEIR_ENOMEM;
    }
    return 0;
}

static struct weir_call *new_call(struct weir_server *server,
                                  struct evhttp_request *req,
                                  const struct weir_completion *completion,
                                  struct weir_request *request)
{
    struct weir_call *call = calloc(1, sizeof(*call));

    if (!call)
        return NULL;
    call->server = server;
    call->req = req;
    call->n = call->n_alive = completion->n;
    call->is_chat = completion->is_chat;
    call->style = completion->style;
    call->stream = completion->stream;
    call->include_usage = completion->include_usage;
    call->shows_ids = completion->return_token_ids || !server->model->tokenizer;
    call->created = time(NULL);
    call->n_prompt = request->n_ids;
    call->began_ns = call->sent_ns = weir_clock_ns();
    snprintf(call->id, sizeof(call->id), "%s-%08" PRIx64 "%06" PRIx64,
             call->is_chat ? "chatcmpl" : "cmpl", (uint64_t)server->created,
             server->n_made++);
    if (!make_jobs(call, request))
        return call;
    free_call(call);
    return NULL;
}

static int submit(struct weir_call *call, struct weir_fault *fault)
{
    struct weir_job *jobs[WEIR_MAX_CHOICES];

    for (size_t i = 0; i < call->n; i++)
        jobs[i] = call->choices[i].job;
    return weir_runner_submit(call->server->runner, jobs, call->n, &fault->err);
}

static void refuse(struct weir_server *server, struct evhttp_request *req,
                   int status, const struct weir_fault *fault)
{
    if (status == 429 || status == 503)
        evhttp_add_header(evhttp_request_get_output_headers(req), "Retry-After",
                          "1");
    weir_server_count(server, status);
    weir_reply_fault(req, status, fault);
}

static void begin(struct weir_server *server, struct evhttp_request *req,
                  const struct weir_completion *completion,
                  struct weir_request *request)
{
    struct weir_fault fault = {.param = ""};
    struct weir_call *call = new_call(server, req, completion, request);
    int rc = call ? submit(call, &fault)
                  : weir_fault_set(&fault, WEIR_ENOMEM, NULL, NULL,
                                   "no memory for a request");

    if (rc) {
        fault.code = rc == WEIR_ELIMIT ? "queue_full" : NULL;
        refuse(server, req, rc == WEIR_ELIMIT ? 429 : 503, &fault);
        if (call)
            free_call(call);
        return;
    }
    LIST_INSERT_HEAD(&server->calls, call, entry);
    server->n_calls++;
    watch(call);
    if (call->stream) {
        weir_server_count(server, 200);
        weir_reply_begin_stream(req);
    }
}

/* A client that wants another model would not know that this one answered. */
static int is_for_us(const struct weir_server *server,
                     const struct weir_completion *completion,
                     struct weir_fault *fault)
{
    const char *name = server->options.model_name;

    if (!completion->model || !strcmp(completion->model, name))
        return 1;
    weir_fault_set(fault, WEIR_EARG, "model", "model_not_found",
                   "there is no model '%.64s' here; this server has '%.256s'",
                   completion->model, name);
    return 0;
}

/* The status of its refusal, or 200 */
static int read_request(const struct weir_server *server, const json_t *body,
                        struct weir_completion *completion,
                        struct weir_request *request, struct weir_fault *fault)
{
    int rc = weir_openai_read_completion(body, completion, fault);

    if (!rc && !is_for_us(server, completion, fault))
        return 404;
    if (!rc)
        rc = weir_completion_settle(completion, server->options.defaults,
                                    server->model, request, fault);
    return rc ? weir_reply_status(fault) : 200;
}

static void begin_kind(struct weir_server *server, struct evhttp_request *req,
                       const json_t *body, int is_chat)
{
    const struct weir_completion_defaults *defaults = server->options.defaults;
    struct weir_completion completion;
    struct weir_request request;
    struct weir_fault fault = {.param = ""};
    int status;

    if (server->is_draining) {
        weir_fault_set(&fault, WEIR_EIO, NULL, "draining",
                       "the server is about to end; ask another, or later");
        refuse(server, req, 503, &fault);
        return;
    }
    weir_completion_init(&completion, defaults);
    completion.is_chat = is_chat;
    completion.is_served = 1;
    completion.sampling.seed = XXH3_64bits_withSeed(
        &server->n_made, sizeof(server->n_made), defaults->sampling.seed);
    status = read_request(server, body, &completion, &request, &fault);
    if (status != 200)
        refuse(server, req, status, &fault);
    else
        begin(server, req, &completion, &request);
    weir_completion_fini(&completion);
}

void weir_call_begin(struct weir_server *server, struct evhttp_request *req,
                     const json_t *body)
{
    begin_kind(server, req, body, 0);
}

void weir_call_begin_chat(struct weir_server *server,
                          struct evhttp_request *req, const json_t *body)
{
    begin_kind(server, req, body, 1);
}
