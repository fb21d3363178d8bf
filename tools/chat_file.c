/* SPDX-License-Identifier: Apache-2.0 */
/* {"messages": [{"role": "user", "content": "..."}, ...]} */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/path.h"
#include "tools/chat_text.h"

static int write_json(const json_t *root, const char *path,
                      struct weir_err *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    int rc;

    if (fd < 0)
        return weir_err_errno(err, errno, "create", path);
    rc = json_dumpfd(root, fd, JSON_INDENT(1)) || write(fd, "\n", 1) != 1 ||
         fsync(fd);
    if (rc)
        rc = weir_err_errno(err, errno, "write", path);
    close(fd);
    return rc;
}

/* What was there stays until the new file is whole. */
static int replace(const json_t *root, const char *path, struct weir_err *err)
{
    char part[4096];
    int n = snprintf(part, sizeof(part), "%s.part", path), rc;

    if (n < 0 || (size_t)n >= sizeof(part))
        return weir_err_set(err, WEIR_EARG, "%s: the name is too long", path);
    rc = write_json(root, part, err);
    if (!rc && rename(part, path))
        rc = weir_err_errno(err, errno, "rename", part);
    if (rc)
        unlink(part);
    return rc;
}

int chat_text_save(const struct chat_text *text, const char *path,
                   struct weir_err *err)
{
    int rc = weir_path_check_output(path, text->model->jamba->file->path, err);
    json_t *root;

    if (rc)
        return rc;
    root = json_pack("{s:O}", "messages", text->messages);
    rc = root ? replace(root, path, err) : weir_err_nomem(err, 0, "messages");
    json_decref(root);
    return rc;
}

static int wrong(const char *path, size_t i, const char *what,
                 struct weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT,
                        "%s: message %zu %s; a message is {\"role\": \"user\", "
                        "\"content\": \"...\"}",
                        path, i, what);
}

static int check_messages(const json_t *messages, const char *path,
                          struct weir_err *err)
{
    const json_t *message;
    size_t i;

    if (!json_is_array(messages))
        return weir_err_set(err, WEIR_EFORMAT,
                            "%s: has no array \"messages\"; it is not what "
                            "/save writes",
                            path);
    json_array_foreach(messages, i, message)
    {
        if (!json_is_string(json_object_get(message, "role")))
            return wrong(path, i, "has no role that is a string", err);
        if (!json_is_string(json_object_get(message, "content")))
            return wrong(path, i, "has no content that is a string", err);
    }
    return 0;
}

int chat_text_load(struct chat_text *text, const char *path,
                   struct weir_err *err)
{
    struct weir_buf bytes = WEIR_BUF(CHAT_TEXT_BYTES);
    json_t *root = NULL, *messages;
    int rc = weir_buf_add_file(&bytes, path, err);

    if (!rc)
        rc = weir_json_parse(bytes.data ? bytes.data : "", bytes.n_bytes, path,
                             &root, err);
    messages = json_object_get(root, "messages");
    if (!rc)
        rc = check_messages(messages, path, err);
    if (!rc) {
        json_decref(text->messages);
        text->messages = json_incref(messages);
    }
    json_decref(root);
    weir_buf_fini(&bytes);
    return rc;
}
