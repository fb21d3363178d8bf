/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies to requests of evhttp: one JSON object, or a stream of server-sent
 * events (WHATWG HTML, section 9.2) in the form that OpenAI's clients read:
 * objects behind "data: ", at last [DONE].
 */
#ifndef WEIR_SERVE_REPLY_H
#define WEIR_SERVE_REPLY_H

#include <event2/http.h>

#include "serve/openai.h"

/* 400 for what the client did wrong, else 500 */
int weir_reply_status(const struct weir_fault *fault);

/* Takes over `body`; NULL becomes 500, or no reply at all. */
void weir_reply_json(struct evhttp_request *req, int status, json_t *body);
void weir_reply_fault(struct evhttp_request *req, int status,
                      const struct weir_fault *fault);

/* Text of that type, or with n_bytes 0 none */
void weir_reply_text(struct evhttp_request *req, int status, const char *type,
                     const char *text, size_t n_bytes);

/*
 * A stream begins; goes on with an object, which is taken over, or a comment,
 * which clients pass over; ends.  WEIR_ENOMEM when a part could not be sent,
 * also when the object is NULL: then the stream has a gap, and must be cut.
 */
void weir_reply_begin_stream(struct evhttp_request *req);
int weir_reply_send_event(struct evhttp_request *req, json_t *object);
int weir_reply_send_comment(struct evhttp_request *req);
int weir_reply_end_stream(struct evhttp_request *req);

#endif
