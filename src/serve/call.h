/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A request for texts while it is under way: its jobs with the runner, and the
 * connection that waits for them.  Either may end first.
 */
#ifndef WEIR_SERVE_CALL_H
#define WEIR_SERVE_CALL_H

#include "serve/server_parts.h"

/* Answers POST /v1/completions, now or later. */
void weir_call_begin(struct weir_server *server, struct evhttp_request *req,
                     const json_t *body);

/* The same for POST /v1/chat/completions */
void weir_call_begin_chat(struct weir_server *server,
                          struct evhttp_request *req, const json_t *body);

/* News of a job of a call, which are taken over */
void weir_call_take_news(struct weir_news *news);

/* Once a second: signs of life, and what took too long */
void weir_call_tick(struct weir_call *call, uint64_t now_ns);

/* The runner has gone: the jobs are the call's. */
void weir_call_abandon(struct weir_call *call);

/* The next one; for going through a list while they end */
struct weir_call *weir_call_next(struct weir_call *call);

#endif
