/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of weir serve. */
#ifndef WEIR_TOOLS_SERVE_ARGS_H
#define WEIR_TOOLS_SERVE_ARGS_H

#include "serve/keys.h"
#include "tools/memory.h"
#include "tools/sampling.h"

struct serve_args {
    struct cli cli;
    const char *model, *host, *cors, *name;
    uint16_t port;
    struct weir_keys keys;
    size_t n_places; /* 0: as many as fit */
    size_t n_queue, n_piece_tok, n_ctx;
    size_t n_tokens;      /* 0: not said */
    int has_cache;        /* --cache-ram was given */
    uint64_t cache_bytes; /* 0: none */
    const char *cache_folder;
    uint64_t cache_file_bytes; /* 0: not said */
    unsigned timeout_s;
    enum weir_kv kv;
    struct sampling sampling;
    int has_seed; /* the seed is the user's */
    struct weir_model_options model_options;
    int quiet;
};

/* Prints and exits when the command line is wrong. */
void serve_args_parse(struct serve_args *args, int argc, char **argv);

#endif
