/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page at /, to talk to the model in a browser.  It is a part of the
 * program and names no other address; page/index.html is its source.
 */
#ifndef WEIR_SERVE_PAGE_H
#define WEIR_SERVE_PAGE_H

#include "serve/server_parts.h"

/* What stands between the places of the nonce; NULL behind the last */
extern const char *const weir_page_parts[];

/* Answers GET /; `body` is not used. */
void weir_serve_page(struct weir_server *server, struct evhttp_request *req,
                     const json_t *body);

#endif
