/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What lies between a request and its tokens: text to tokens and back, with the
 * keys that vLLM has for it, and messages to text.
 */
#ifndef WEIR_SERVE_TOKEN_ROUTE_H
#define WEIR_SERVE_TOKEN_ROUTE_H

#include "serve/server_parts.h"

/* {"prompt":"...","add_special_tokens":true} to {"count","max_model_len",
 * "tokens"}; pieces such as <|eom|> in the text become their ids. */
void weir_serve_tokenize(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body);

/* {"tokens":[...]} to {"prompt"}, where special tokens are shown. */
void weir_serve_detokenize(struct weir_server *server,
                           struct evhttp_request *req, const json_t *body);

/* The body of a chat to {"prompt"}, what the model would read */
void weir_serve_template(struct weir_server *server, struct evhttp_request *req,
                         const json_t *body);

#endif
