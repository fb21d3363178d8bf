/* SPDX-License-Identifier: Apache-2.0 */
#include "offload/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/path.h"
#include "base/json.h"
#include "base/le.h"

#define ELEMENT_BYTES 4
#define HEADER_BYTES  (1 << 20) /* most in a header */

static json_t *describe(struct weir_sink_tensor *tensor, uint64_t *offset)
{
    json_t *shape = json_array();

    tensor->n_bytes = ELEMENT_BYTES;
    for (unsigned i = 0; i < tensor->n_dims; i++) {
        tensor->n_bytes *= tensor->shape[i];
        json_array_append_new(shape,
                              json_integer((json_int_t)tensor->shape[i]));
    }
    tensor->offset = *offset;
    *offset += tensor->n_bytes;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", tensor->dtype, "shape",
                     shape, "data_offsets", (json_int_t)tensor->offset,
                     (json_int_t)*offset);
}

/* The header as text; NULL when there is no memory for it */
static char *header_text(struct weir_sink *sink)
{
    json_t *root = json_object();
    uint64_t offset = 0;
    char *text = NULL;
    int rc = 0;

    for (size_t i = 0; i < sink->n_tensors; i++)
        rc |= json_object_set_new(root, sink->tensors[i].name,
                                  describe(&sink->tensors[i], &offset));
    if (!rc)
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

/* Length, JSON, blanks up to the next eighth byte; then come the values. */
static int write_header(struct weir_sink *sink, struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(HEADER_BYTES);
    char *text = header_text(sink);
    uint8_t length[8];
    size_t n = text ? strlen(text) : 0, blanks = (8 - n % 8) % 8;
    int rc;

    if (!text)
        return weir_err_nomem(err, HEADER_BYTES, "a safetensors header");
    weir_le64_put(length, n + blanks);
    rc = weir_buf_add(&buf, length, sizeof(length), err);
    if (!rc)
        rc = weir_buf_add(&buf, text, n, err);
    if (!rc)
        rc = weir_buf_add(&buf, "        ", blanks, err);
    free(text);
    for (size_t i = 0; i < sink->n_tensors; i++)
        sink->tensors[i].offset += buf.n_bytes;
    if (!rc)
        rc = weir_pwrite_all(sink->fd, buf.data, buf.n_bytes, 0, sink->part,
                             err);
    weir_buf_fini(&buf);
    return rc;
}

static int take_names(struct weir_sink *sink, const char *path,
                      struct weir_err *err)
{
    size_t size = strlen(path) + sizeof(".part");

    sink->path = strdup(path);
    sink->part = malloc(size);
    if (!sink->path || !sink->part)
        return weir_err_nomem(err, size, "a file name");
    snprintf(sink->part, size, "%s.part", path);
    return 0;
}

static void release(struct weir_sink *sink)
{
    if (sink->fd >= 0)
        close(sink->fd);
    free(sink->path);
    free(sink->part);
    memset(sink, 0, sizeof(*sink));
    sink->fd = -1;
}

int weir_sink_open(struct weir_sink *sink, const char *path,
                   struct weir_sink_tensor *tensors, size_t n_tensors,
                   struct weir_err *err)
{
    int rc;

    memset(sink, 0, sizeof(*sink));
    sink->fd = -1;
    sink->tensors = tensors;
    sink->n_tensors = n_tensors;
    rc = weir_path_check_output(path, NULL, err);
    if (!rc)
        rc = take_names(sink, path, err);
    if (!rc) {
        sink->fd =
            open(sink->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        sink->created = sink->fd >= 0;
        rc = sink->created ? write_header(sink, err)
                           : weir_err_errno(err, errno, "create", sink->part);
    }
    if (rc)
        weir_sink_abandon(sink);
    return rc;
}

int weir_sink_add(struct weir_sink *sink, size_t number, const void *data,
                  size_t n_bytes, struct weir_err *err)
{
    struct weir_sink_tensor *tensor = &sink->tensors[number];
    int rc;

    if (n_bytes > tensor->n_bytes)
        return weir_err_set(err, WEIR_EARG,
                            "%s: more values than tensor %s has", sink->path,
                            tensor->name);
    rc = weir_pwrite_all(sink->fd, data, n_bytes, tensor->offset, sink->part,
                         err);
    tensor->offset += n_bytes;
    tensor->n_bytes -= n_bytes;
    return rc;
}

static int finish(struct weir_sink *sink, struct weir_err *err)
{
    int fd = sink->fd;

    for (size_t i = 0; i < sink->n_tensors; i++)
        if (sink->tensors[i].n_bytes)
            return weir_err_set(err, WEIR_EARG, "%s: tensor %s is incomplete",
                                sink->path, sink->tensors[i].name);
    if (fsync(fd))
        return weir_err_errno(err, errno, "write", sink->part);
    sink->fd = -1;
    if (close(fd))
        return weir_err_errno(err, errno, "write", sink->part);
    if (rename(sink->part, sink->path))
        return weir_err_errno(err, errno, "rename", sink->part);
    return 0;
}

int weir_sink_commit(struct weir_sink *sink, struct weir_err *err)
{
    int rc = finish(sink, err);

    if (rc)
        weir_sink_abandon(sink);
    else
        release(sink);
    return rc;
}

void weir_sink_abandon(struct weir_sink *sink)
{
    if (sink->created)
        unlink(sink->part);
    release(sink);
}
