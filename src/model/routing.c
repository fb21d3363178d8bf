/* SPDX-License-Identifier: Apache-2.0 */
#include "model/routing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/path.h"

/* weir-routing(5): a header, the numbers of the layers, a record per token */
static const uint8_t magic[8] = {0x89, 'W', 'R', 'O', 'U', 'T', '\r', '\n'};

#define FORMAT_VERSION 1
#define HEADER_BYTES   40
#define BLOCK_BYTES    65536 /* a block holds a record at least */

static size_t record_bytes(const struct weir_routing_shape *shape)
{
    return 2 + 2 * shape->n_choices;
}

static uint64_t first_record(const struct weir_routing_shape *shape)
{
    return HEADER_BYTES + UINT64_C(4) * shape->n_moe;
}

int weir_routing_get_shape(const struct weir_config *config,
                           struct weir_routing_shape *shape,
                           struct weir_err *err)
{
    memset(shape, 0, sizeof(*shape));
    shape->n_layers = config->n_layers;
    shape->n_experts = config->n_experts;
    shape->n_top = config->n_top;
    for (uint32_t i = 0; i < config->n_layers; i++)
        if (weir_config_is_moe(config, i))
            shape->layers[shape->n_moe++] = (uint16_t)i;
    shape->n_choices = (size_t)shape->n_moe * shape->n_top;
    if (shape->n_moe)
        return 0;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "no layer of this model has experts to choose from; "
                        "record the routing of one that has");
}

static int take_path(struct weir_routing *routing, const char *path,
                     struct weir_err *err)
{
    memset(routing, 0, sizeof(*routing));
    routing->fd = -1;
    routing->path = strdup(path);
    return routing->path ? 0 : weir_err_nomem(err, strlen(path), "a file name");
}

static int take_block(struct weir_routing *routing, struct weir_err *err)
{
    size_t record = record_bytes(&routing->shape);

    routing->block_bytes = BLOCK_BYTES > record ? BLOCK_BYTES : record;
    routing->block_bytes -= routing->block_bytes % record;
    routing->block = malloc(routing->block_bytes);
    if (!routing->block)
        return weir_err_nomem(err, routing->block_bytes, "a routing trace");
    return 0;
}

/* ---- writing ---- */

static int write_block(struct weir_routing *routing, struct weir_err *err)
{
    int rc = weir_pwrite_all(routing->fd, routing->block, routing->at,
                             routing->offset, routing->part, err);

    routing->offset += routing->at;
    routing->at = 0;
    return rc;
}

static int write_header(struct weir_routing *routing, struct weir_err *err)
{
    const struct weir_routing_shape *shape = &routing->shape;
    uint8_t bytes[HEADER_BYTES + 4 * WEIR_MAX_LAYERS] = {0};

    memcpy(bytes, magic, sizeof(magic));
    weir_le32_put(bytes + 8, FORMAT_VERSION);
    weir_le32_put(bytes + 12, shape->n_layers);
    weir_le32_put(bytes + 16, shape->n_experts);
    weir_le32_put(bytes + 20, shape->n_top);
    weir_le32_put(bytes + 24, shape->n_moe);
    weir_le64_put(bytes + 32, routing->n_done);
    for (uint32_t i = 0; i < shape->n_moe; i++)
        weir_le32_put(bytes + HEADER_BYTES + 4 * i, shape->layers[i]);
    return weir_pwrite_all(routing->fd, bytes, first_record(shape), 0,
                           routing->part, err);
}

int weir_routing_create(struct weir_routing *routing, const char *path,
                        const struct weir_routing_shape *shape,
                        struct weir_err *err)
{
    size_t size = strlen(path) + sizeof(".part");
    int rc = take_path(routing, path, err);

    routing->shape = *shape;
    routing->offset = first_record(shape);
    if (!rc)
        rc = weir_path_check_output(path, NULL, err);
    if (!rc)
        rc = take_block(routing, err);
    if (rc)
        return rc;
    routing->part = malloc(size);
    if (!routing->part)
        return weir_err_nomem(err, size, "a file name");
    snprintf(routing->part, size, "%s.part", path);
    routing->fd =
        open(routing->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (routing->fd < 0)
        return weir_err_errno(err, errno, "create", routing->part);
    routing->created = 1;
    return 0;
}

int weir_routing_add(struct weir_routing *routing, unsigned flags,
                     const uint16_t *experts, struct weir_err *err)
{
    size_t n = routing->shape.n_choices;
    uint8_t *record;
    int rc = 0;

    if (routing->at == routing->block_bytes)
        rc = write_block(routing, err);
    if (rc)
        return rc;
    record = routing->block + routing->at;
    weir_le16_put(record, (uint16_t)flags);
    for (size_t i = 0; i < n; i++)
        weir_le16_put(record + 2 + 2 * i, experts[i]);
    routing->at += record_bytes(&routing->shape);
    routing->n_done++;
    return 0;
}

int weir_routing_commit(struct weir_routing *routing, struct weir_err *err)
{
    int fd = routing->fd;
    int rc = write_block(routing, err);

    if (!rc)
        rc = write_header(routing, err);
    if (rc)
        return rc;
    if (fsync(fd))
        return weir_err_errno(err, errno, "write", routing->part);
    routing->fd = -1;
    if (close(fd))
        return weir_err_errno(err, errno, "write", routing->part);
    if (rename(routing->part, routing->path))
        return weir_err_errno(err, errno, "rename", routing->part);
    routing->created = 0;
    return 0;
}

/* ---- reading ---- */

static int wrong(const struct weir_routing *routing, uint64_t offset,
                 const char *why, struct weir_err *err)
{
    return weir_err_at(err, WEIR_EFORMAT, offset,
                       "%s: offset %llu: %s; record it again with 'weir eval "
                       "--routing'",
                       routing->path, (unsigned long long)offset, why);
}

static int check_numbers(struct weir_routing *routing, const uint8_t *bytes,
                         struct weir_err *err)
{
    struct weir_routing_shape *shape = &routing->shape;

    if (memcmp(bytes, magic, sizeof(magic)))
        return wrong(routing, 0, "this is no routing trace", err);
    if (weir_le32(bytes + 8) != FORMAT_VERSION)
        return wrong(routing, 8, "a version that this weir does not know", err);
    shape->n_layers = weir_le32(bytes + 12);
    shape->n_experts = weir_le32(bytes + 16);
    shape->n_top = weir_le32(bytes + 20);
    shape->n_moe = weir_le32(bytes + 24);
    shape->n_tok = weir_le64(bytes + 32);
    if (shape->n_layers == 0 || shape->n_layers > WEIR_MAX_LAYERS)
        return wrong(routing, 12, "layers: not from 1 to 1024", err);
    if (shape->n_experts == 0 || shape->n_experts > WEIR_MAX_EXPERTS)
        return wrong(routing, 16, "experts: not from 1 to 1024", err);
    if (shape->n_top == 0 || shape->n_top > shape->n_experts)
        return wrong(routing, 20, "a token has none of them, or too many", err);
    if (shape->n_moe == 0 || shape->n_moe > shape->n_layers)
        return wrong(routing, 24, "no layers with experts, or too many", err);
    if (weir_le32(bytes + 28))
        return wrong(routing, 28, "a field is not zero", err);
    if (shape->n_tok == 0)
        return wrong(routing, 32, "it holds no tokens", err);
    shape->n_choices = (size_t)shape->n_moe * shape->n_top;
    return 0;
}

static int read_layers(struct weir_routing *routing, struct weir_err *err)
{
    struct weir_routing_shape *shape = &routing->shape;
    uint8_t bytes[4 * WEIR_MAX_LAYERS];
    uint32_t layer, least = 0;
    int rc = weir_pread_all(routing->fd, bytes, 4 * (size_t)shape->n_moe,
                            HEADER_BYTES, routing->path, err);

    for (uint32_t i = 0; i < shape->n_moe && !rc; i++) {
        layer = weir_le32(bytes + 4 * i);
        if (layer < least || layer >= shape->n_layers)
            rc = wrong(routing, HEADER_BYTES + UINT64_C(4) * i,
                       "the numbers of layers do not ascend, or a number is "
                       "too high",
                       err);
        shape->layers[i] = (uint16_t)layer;
        least = layer + 1;
    }
    return rc;
}

/* The length of the file says how many records there are, and no less. */
static int check_length(struct weir_routing *routing, struct weir_err *err)
{
    const struct weir_routing_shape *shape = &routing->shape;
    uint64_t first = first_record(shape), length, record = record_bytes(shape);
    struct stat st;

    if (fstat(routing->fd, &st))
        return weir_err_errno(err, errno, "read", routing->path);
    length = (uint64_t)st.st_size;
    routing->offset = first;
    if (length >= first && (length - first) % record == 0 &&
        (length - first) / record == shape->n_tok)
        return 0;
    return wrong(routing, length,
                 "the file does not end where its last token does", err);
}

int weir_routing_open(struct weir_routing *routing, const char *path,
                      struct weir_err *err)
{
    uint8_t bytes[HEADER_BYTES];
    int rc = take_path(routing, path, err);

    if (rc)
        return rc;
    routing->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (routing->fd < 0)
        return weir_err_errno(err, errno, "open", path);
    rc = weir_pread_all(routing->fd, bytes, sizeof(bytes), 0, path, err);
    if (!rc)
        rc = check_numbers(routing, bytes, err);
    if (!rc)
        rc = read_layers(routing, err);
    if (!rc)
        rc = check_length(routing, err);
    if (!rc)
        rc = take_block(routing, err);
    return rc;
}

static int read_block(struct weir_routing *routing, struct weir_err *err)
{
    uint64_t left = (routing->shape.n_tok - routing->n_done) *
                    record_bytes(&routing->shape);
    size_t n = left < routing->block_bytes ? left : routing->block_bytes;
    int rc = weir_pread_all(routing->fd, routing->block, n, routing->offset,
                            routing->path, err);

    routing->offset += n;
    routing->n_bytes = n;
    routing->at = 0;
    return rc;
}

int weir_routing_next(struct weir_routing *routing, unsigned *flags,
                      uint16_t *experts, struct weir_err *err)
{
    const struct weir_routing_shape *shape = &routing->shape;
    const uint8_t *record;
    uint64_t offset;
    int rc = 0;

    if (routing->n_done == shape->n_tok)
        return weir_err_set(err, WEIR_EARG, "%s: no tokens are left",
                            routing->path);
    if (routing->at == routing->n_bytes)
        rc = read_block(routing, err);
    if (rc)
        return rc;
    record = routing->block + routing->at;
    offset = routing->offset - routing->n_bytes + routing->at;
    *flags = weir_le16(record);
    if (*flags & ~(unsigned)WEIR_ROUTING_BEGINS ||
        (!routing->n_done && !*flags))
        return wrong(routing, offset, "flags of a token that mean nothing",
                     err);
    for (size_t i = 0; i < shape->n_choices; i++) {
        experts[i] = weir_le16(record + 2 + 2 * i);
        if (experts[i] >= shape->n_experts ||
            (i % shape->n_top && experts[i] <= experts[i - 1]))
            return wrong(routing, offset + 2 + 2 * i,
                         "experts of a token that do not ascend, or a number "
                         "that is too high",
                         err);
    }
    routing->at += record_bytes(shape);
    routing->n_done++;
    return 0;
}

void weir_routing_close(struct weir_routing *routing)
{
    if (routing->path && routing->fd >= 0)
        close(routing->fd);
    if (routing->created)
        unlink(routing->part);
    free(routing->path);
    free(routing->part);
    free(routing->block);
    memset(routing, 0, sizeof(*routing));
    routing->fd = -1;
}
