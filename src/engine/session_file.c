/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/session_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "offload/checksum.h"

#define SUM_AT (WEIR_SESSION_HEADER_BYTES - 8)

static const uint8_t magic[8] = {0x89, 'W', 'S', 'E', 'S', 'S', '\r', '\n'};

void weir_section_put(const struct weir_section *section, uint8_t *record)
{
    weir_le32_put(record, section->kind);
    weir_le32_put(record + 4, section->flags);
    weir_le64_put(record + 8, section->n_tok);
    weir_le64_put(record + 16, section->n_bytes);
    weir_le64_put(record + 24, section->xxh3);
}

void weir_section_get(struct weir_section *section, const uint8_t *record)
{
    section->kind = weir_le32(record);
    section->flags = weir_le32(record + 4);
    section->n_tok = weir_le64(record + 8);
    section->n_bytes = weir_le64(record + 16);
    section->xxh3 = weir_le64(record + 24);
}

void weir_session_shape(const weir_model *model, enum weir_dtype kv_dtype,
                        size_t n_tok, struct weir_session_shape *shape)
{
    const struct weir_config *config = &model->jamba->config;

    *shape = (struct weir_session_shape){
        .model = model->jamba->file->index_xxh3,
        .kv = kv_dtype == WEIR_F32 ? WEIR_KV_F32 : WEIR_KV_BF16,
        .kv_bytes = weir_state_kv_bytes(config, kv_dtype),
        .n_mamba = weir_state_mamba_floats(config),
        .n_vocab = config->n_vocab,
        .n_tok = n_tok,
    };
    for (uint32_t i = 0; i < config->n_layers; i++)
        shape->n_attention += weir_config_is_attention(config, i) != 0;
}

static size_t head_bytes(uint32_t n)
{
    return WEIR_SESSION_HEADER_BYTES + (size_t)n * WEIR_SESSION_RECORD_BYTES;
}

/* Of header and table, the sum itself taken as zeros */
static uint64_t sum_head(uint8_t *head, uint32_t n)
{
    uint64_t was = weir_le64(head + SUM_AT), sum;

    weir_le64_put(head + SUM_AT, 0);
    sum = weir_checksum(head, head_bytes(n));
    weir_le64_put(head + SUM_AT, was);
    return sum;
}

void weir_session_put_header(const struct weir_session_shape *shape, uint32_t n,
                             uint64_t file_bytes, uint8_t *head)
{
    memcpy(head, magic, sizeof(magic));
    weir_le32_put(head + 8, WEIR_SESSION_VERSION);
    weir_le32_put(head + 12, n);
    weir_le64_put(head + 16, shape->model);
    weir_le32_put(head + 24, shape->kv);
    weir_le32_put(head + 28, shape->n_attention);
    weir_le64_put(head + 32, shape->kv_bytes);
    weir_le64_put(head + 40, shape->n_mamba);
    weir_le64_put(head + 48, shape->n_tok);
    weir_le64_put(head + 56, file_bytes);
    weir_le32_put(head + 64, (uint32_t)shape->n_vocab);
    weir_le32_put(head + 68, 0);
    weir_le64_put(head + SUM_AT, sum_head(head, n));
}

/* ---- reading ---- */

int weir_session_file_wrong(const struct weir_session_file *file,
                            uint64_t offset, const char *why,
                            struct weir_err *err)
{
    return weir_err_at(err, WEIR_EFORMAT, offset,
                       "%s: offset %llu: %s; remove the file, so that the "
                       "session begins anew",
                       file->path, (unsigned long long)offset, why);
}

/* What must be known before the checksum can be. */
static int check_kind(struct weir_session_file *file, const uint8_t *header,
                      struct weir_err *err)
{
    if (memcmp(header, magic, sizeof(magic)))
        return weir_err_at(err, WEIR_EFORMAT, 0,
                           "%s: is no session of weir; give another name",
                           file->path);
    if (weir_le32(header + 8) != WEIR_SESSION_VERSION)
        return weir_err_at(err, WEIR_ENOTSUP, 8,
                           "%s: a session of version %u, where this weir reads "
                           "%d; use a newer weir, or remove the file",
                           file->path, weir_le32(header + 8),
                           WEIR_SESSION_VERSION);
    file->n_sections = weir_le32(header + 12);
    if (file->n_sections > WEIR_SESSION_MAX_SECTIONS)
        return weir_session_file_wrong(file, 12, "too many sections", err);
    if (weir_le64(header + 56) != file->n_bytes)
        return weir_err_at(err, WEIR_EFORMAT, 56,
                           "%s: has %llu bytes where its header says %llu: it "
                           "was cut or added to; remove it",
                           file->path, (unsigned long long)file->n_bytes,
                           (unsigned long long)weir_le64(header + 56));
    if (head_bytes(file->n_sections) > file->n_bytes)
        return weir_session_file_wrong(file, 12, "more sections than bytes",
                                       err);
    return 0;
}

static int read_head(struct weir_session_file *file, struct weir_err *err)
{
    uint8_t header[WEIR_SESSION_HEADER_BYTES];
    size_t n;
    int rc =
        weir_pread_all(file->fd, header, sizeof(header), 0, file->path, err);

    if (!rc)
        rc = check_kind(file, header, err);
    if (rc)
        return rc;
    n = head_bytes(file->n_sections);
    file->head = malloc(n);
    if (!file->head)
        return weir_err_nomem(err, n, "the table of a session");
    rc = weir_pread_all(file->fd, file->head, n, 0, file->path, err);
    if (rc)
        return rc;
    if (memcmp(file->head, header, sizeof(header)) ||
        sum_head(file->head, file->n_sections) != weir_le64(header + SUM_AT))
        return weir_err_at(err, WEIR_ECORRUPT, SUM_AT,
                           "%s: the checksum of its header and table does not "
                           "match; remove the file",
                           file->path);
    return 0;
}

static int check_shape(struct weir_session_file *file, const weir_model *model,
                       struct weir_err *err)
{
    struct weir_session_shape *shape = &file->shape, own;
    const uint8_t *head = file->head;

    *shape = (struct weir_session_shape){
        .model = weir_le64(head + 16),
        .kv = weir_le32(head + 24),
        .n_attention = weir_le32(head + 28),
        .kv_bytes = weir_le64(head + 32),
        .n_mamba = weir_le64(head + 40),
        .n_vocab = weir_le32(head + 64),
        .n_tok = weir_le64(head + 48),
    };
    weir_session_shape(model, shape->kv ? WEIR_F32 : WEIR_BF16, 0, &own);
    if (shape->model != own.model)
        return weir_err_at(err, WEIR_EARG, 16,
                           "%s: was saved with another model than %s, or with "
                           "it before it was packed again; name another file, "
                           "or remove it",
                           file->path, model->jamba->file->path);
    if (shape->kv > WEIR_KV_F32 || shape->n_attention != own.n_attention ||
        shape->kv_bytes != own.kv_bytes || shape->n_mamba != own.n_mamba ||
        shape->n_vocab != own.n_vocab || weir_le32(head + 68))
        return weir_session_file_wrong(
            file, 24, "sizes that this model does not have", err);
    if (shape->n_tok == 0 || shape->n_tok > file->n_bytes / sizeof(int32_t))
        return weir_session_file_wrong(
            file, 48, "a number of tokens that it cannot have", err);
    return 0;
}

int weir_session_file_open(struct weir_session_file *file, const char *path,
                           const weir_model *model, struct weir_err *err)
{
    struct stat st;
    int rc;

    *file = (struct weir_session_file){.path = path};
    file->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (file->fd < 0 || fstat(file->fd, &st))
        return weir_err_errno(err, errno, "open", path);
    if (!S_ISREG(st.st_mode))
        return weir_err_set(err, WEIR_EARG,
                            "%s: is no regular file; name one to keep the "
                            "session in",
                            path);
    file->n_bytes = (uint64_t)st.st_size;
    rc = read_head(file, err);
    return rc ? rc : check_shape(file, model, err);
}

void weir_session_file_close(struct weir_session_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->head);
    *file = (struct weir_session_file){.fd = -1};
}

int weir_session_file_tokens(const weir_model *model, const char *path,
                             size_t *n_tok, struct weir_err *err)
{
    struct weir_session_file file;
    int rc = weir_session_file_open(&file, path, model, err);

    *n_tok = rc ? 0 : file.shape.n_tok;
    weir_session_file_close(&file);
    return rc;
}
