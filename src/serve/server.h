/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP server: one thread, the caller of weir_server_run(), serves all
 * connections, a runner of its own runs the model.  It listens on one address,
 * reads no file and keeps no request.
 */
#ifndef WEIR_SERVE_SERVER_H
#define WEIR_SERVE_SERVER_H

#include "serve/completion.h"
#include "serve/keys.h"

struct weir_server;

struct weir_server_options {
    const char *host; /* a name or an address */
    uint16_t port;    /* 0: any that is free */
    const char *cors; /* the origin whose pages may ask, "*": all; NULL: none */
    const struct weir_keys *keys;
    const char *model_name;
    const struct weir_completion_defaults *defaults;
    enum weir_kv kv;
    size_t n_places, n_queue;  /* texts under way, and waiting */
    size_t n_piece_tok;        /* of prompts in a step */
    uint64_t cache_bytes;      /* for prompts that are kept; 0: none are */
    const char *cache_folder;  /* for those without room there, or NULL */
    uint64_t cache_file_bytes; /* most in it */
    unsigned timeout_s;        /* for a request, all in all */
};

/*
 * Takes memory for all texts and listens.  What `options` points to, and the
 * model, must outlive the server.
 */
int weir_server_open(weir_model *model,
                     const struct weir_server_options *options,
                     struct weir_server **server, struct weir_err *err);
void weir_server_close(struct weir_server *server);

/* "http://127.0.0.1:8080" */
const char *weir_server_url(const struct weir_server *server);

/*
 * Serves until weir_server_drain() was called and what was under way has ended.
 * An error when the model cannot go on.
 */
int weir_server_run(struct weir_server *server, struct weir_err *err);

/* New texts are refused from now on.  For any thread, and signal handlers. */
void weir_server_drain(struct weir_server *server);

#endif
