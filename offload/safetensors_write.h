/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a safetensors file piece by piece: all shapes are known at first,
 * the values come as they are computed, and nothing but a row is held in
 * memory.  The file has its name only once it is whole.
 */
#ifndef WEIR_OFFLOAD_SAFETENSORS_WRITE_H
#define WEIR_OFFLOAD_SAFETENSORS_WRITE_H

#include "base/err.h"

struct weir_sink_tensor {
    char name[64];
    const char *dtype; /* "F32" or "I32": 4 bytes an element */
    unsigned n_dims;
    uint64_t shape[2];
    uint64_t offset;  /* set by weir_sink_open(): where the next bytes go */
    uint64_t n_bytes; /* likewise: how many are still to come */
};

struct weir_sink {
    char *path, *part; /* the final name, and the one until then */
    int fd;
    int created;                      /* `part` is there and ours */
    struct weir_sink_tensor *tensors; /* the caller's */
    size_t n_tensors;
};

/*
 * Creates PATH.part with a header for `tensors`, which must live as long as
 * the sink.  End with weir_sink_commit() or weir_sink_abandon().
 */
int weir_sink_open(struct weir_sink *sink, const char *path,
                   struct weir_sink_tensor *tensors, size_t n_tensors,
                   struct weir_err *err);

/* Appends to tensor `tensor`; WEIR_EARG when it gets more than it has. */
int weir_sink_add(struct weir_sink *sink, size_t tensor, const void *data,
                  size_t n_bytes, struct weir_err *err);

/*
 * Gives the file its name, once it is on the disk; WEIR_EARG when values are
 * missing.  The sink is released, after an error too.
 */
int weir_sink_commit(struct weir_sink *sink, struct weir_err *err);

/* Removes what was written and releases the sink; fine when it is not open. */
void weir_sink_abandon(struct weir_sink *sink);

#endif
