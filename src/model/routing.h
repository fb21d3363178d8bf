/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which experts tokens went to, as a file: a routing trace, weir-routing(5).
 * It is written and read a few tokens at a time, so that its length costs no
 * memory.
 */
#ifndef WEIR_MODEL_ROUTING_H
#define WEIR_MODEL_ROUTING_H

#include "model/config.h"

struct weir_routing_shape {
    uint32_t n_layers; /* of the model */
    uint32_t n_experts, n_top;
    uint32_t n_moe; /* layers that have experts */
    uint16_t layers[WEIR_MAX_LAYERS];
    size_t n_choices; /* n_moe * n_top: experts of a token */
    uint64_t n_tok;
};

/* Of a token: it does not follow the one before it in the file. */
#define WEIR_ROUTING_BEGINS 1

/* Tokens of a file, one behind the other */
struct weir_routing {
    struct weir_routing_shape shape;
    char *path, *part; /* part: the name until it is whole; NULL when reading */
    int fd;            /* -1: not open */
    int created;       /* `part` is there and ours */
    uint8_t *block;    /* records that were read, or are to be written */
    size_t block_bytes, at, n_bytes;
    uint64_t offset; /* of the byte behind the block */
    uint64_t n_done; /* tokens */
};

/* WEIR_ENOTSUP when no layer of the model has experts to choose from. */
int weir_routing_get_shape(const struct weir_config *config,
                           struct weir_routing_shape *shape,
                           struct weir_err *err);

/*
 * Creates PATH.part for tokens of `shape`, whose n_tok is not looked at.  What
 * is created or opened ends with weir_routing_close(), after an error too.
 */
int weir_routing_create(struct weir_routing *routing, const char *path,
                        const struct weir_routing_shape *shape,
                        struct weir_err *err);

/* Appends a token: `experts` [n_moe][n_top], ascending in each layer. */
int weir_routing_add(struct weir_routing *routing, unsigned flags,
                     const uint16_t *experts, struct weir_err *err);

/* Gives the file its name, once it is on the disk. */
int weir_routing_commit(struct weir_routing *routing, struct weir_err *err);

/*
 * Opens a trace and checks its header and its length.  WEIR_EFORMAT, naming
 * the offset, for anything that weir-routing(5) does not allow.
 */
int weir_routing_open(struct weir_routing *routing, const char *path,
                      struct weir_err *err);

/*
 * The next of shape.n_tok tokens, checked: experts [n_choices] ascend in each
 * layer and are below n_experts.
 */
int weir_routing_next(struct weir_routing *routing, unsigned *flags,
                      uint16_t *experts, struct weir_err *err);

/*
 * Releases what is held, and removes what was not committed; fine for zeros
 * that nothing was opened in.
 */
void weir_routing_close(struct weir_routing *routing);

#endif
