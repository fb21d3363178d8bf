/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading safetensors checkpoints: one model.safetensors, or the shards that
 * model.safetensors.index.json names.  Data is read with pread, never mapped.
 */
#ifndef WEIR_OFFLOAD_SAFETENSORS_H
#define WEIR_OFFLOAD_SAFETENSORS_H

#include "base/dtype.h"
#include "base/err.h"

#define WEIR_SAFETENSORS_MAX_DIMS 8

struct weir_source_file {
    char *name; /* in its folder */
    char *path;
    int fd;
    int direct_fd; /* past the page cache; -1 where that is not allowed */
    uint64_t n_bytes;
};

struct weir_source {
    char *name;
    const char *dtype_name; /* as in the header: "BF16" */
    int dtype;              /* enum weir_dtype, or -1: not one we read */
    unsigned n_dims;
    uint64_t shape[WEIR_SAFETENSORS_MAX_DIMS];
    uint32_t file;
    uint64_t offset; /* of the data in its file */
    uint64_t n_bytes;
};

struct weir_checkpoint {
    struct weir_source_file *files;
    uint32_t n_files;
    struct weir_source *tensors; /* sorted by name */
    uint32_t n_tensors;
};

/*
 * Opens the checkpoint in `folder` and checks every header: length, JSON,
 * dtypes, shape times dtype against bytes, gaps and overlaps, size of the
 * file, names against the index.  Release with weir_checkpoint_close().
 */
int weir_checkpoint_open(const char *folder, struct weir_checkpoint *checkpoint,
                         struct weir_err *err);

/* The same for the single file at `path`. */
int weir_checkpoint_open_file(const char *path,
                              struct weir_checkpoint *checkpoint,
                              struct weir_err *err);
void weir_checkpoint_close(struct weir_checkpoint *checkpoint);

/* Number of the tensor called `name`, or -1. */
int64_t weir_checkpoint_find(const struct weir_checkpoint *checkpoint,
                             const char *name);

/*
 * A buffer for reads of up to `n_bytes`: huge pages, because direct reads into
 * 4 KiB pages are at most half as fast.  NULL without memory; release it with
 * free().
 */
void *weir_source_buffer(size_t n_bytes);

/*
 * Reads `n_bytes` at byte `at` of `file` into a weir_source_buffer(); *data
 * points to the first of them in it.  Leaves nothing in the page cache, so that
 * a pass over a large checkpoint leaves memory alone.  Any thread.
 */
int weir_source_read(const struct weir_source_file *file, uint64_t at,
                     size_t n_bytes, void *buffer, const void **data,
                     struct weir_err *err);

/* The same from byte `first` of tensor `tensor`. */
int weir_checkpoint_read(const struct weir_checkpoint *checkpoint,
                         uint32_t tensor, uint64_t first, size_t n_bytes,
                         void *buffer, const void **data, struct weir_err *err);

#endif
