/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first page of a part follows from the index, so that it is compared as a
 * whole; what it says is looked at only to tell why it is not the one.
 */
#include "offload/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/le.h"
#include "base/path.h"
#include "offload/checksum.h"
#include "offload/index.h"

#define HEADER_SUM_AT (WEIR_FILE_PAGE - 8)

static const uint8_t magic[8] = {0x89, 'W', 'P', 'R', 'T', '\r', '\n', 0x1a};

void weir_part_encode(const struct weir_file *file, unsigned part,
                      uint8_t page[WEIR_FILE_PAGE])
{
    memset(page, 0, WEIR_FILE_PAGE);
    memcpy(page, magic, sizeof(magic));
    weir_le32_put(page + 8, WEIR_FILE_VERSION);
    weir_le32_put(page + 12, part);
    weir_le64_put(page + 16, file->parts[part].n_bytes);
    weir_le64_put(page + 24,
                  weir_checksum(file->tile_records,
                                file->n_tiles * WEIR_TILE_RECORD_BYTES));
    weir_le32_put(page + 32, file->n_parts);
    weir_le64_put(page + HEADER_SUM_AT, weir_checksum(page, HEADER_SUM_AT));
}

/* ---- where it is ---- */

/*
 * The folder of the first part, links followed, if it has a name: allocated, or
 * NULL
 */
static char *home_of(const struct weir_file *file)
{
    char *path = realpath(file->path, NULL), *slash;

    if (!path)
        path = strdup(file->path);
    slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        slash[slash == path] = '\0';
    else if (path)
        memcpy(path, ".", sizeof("."));
    return path;
}

/* 1 when FOLDER/NAME, whose folder is the first n bytes, is there */
static int try_path(struct weir_part *part, const char *folder, size_t n,
                    const char *name)
{
    free(part->path);
    if (asprintf(&part->path, "%.*s/%s", (int)n, folder, name) < 0) {
        part->path = NULL;
        return 0;
    }
    return weir_path_exists(part->path);
}

static int try_folders(struct weir_part *part, const char *folders,
                       const char *name)
{
    for (const char *at = folders; at; at = strchr(at, ':')) {
        at += *at == ':';
        if (*at && *at != ':' && try_path(part, at, strcspn(at, ":"), name))
            return 1;
    }
    return 0;
}

/* Leaves in part->path where it was found, or where it should be. */
static int find_part(struct weir_part *part, const char *home)
{
    const char *slash = strrchr(part->recorded, '/');
    const char *name = slash ? slash + 1 : part->recorded;
    const char *from = *part->recorded == '/' ? "" : home;

    if (try_folders(part, getenv("WEIR_PARTS"), name) ||
        try_path(part, home, strlen(home), name))
        return 1;
    return try_path(part, from, strlen(from),
                    part->recorded + (*part->recorded == '/'));
}

/* ---- whether it is the one ---- */

static int refuse(const struct weir_part *part, const char *what,
                  struct weir_err *err)
{
    return weir_err_set(err, WEIR_EFORMAT,
                        "%s: %s; fetch or pack the model again, or name the "
                        "folder of the right one with WEIR_PARTS",
                        part->path, what);
}

static int open_part(struct weir_part *part, struct weir_err *err)
{
    struct stat st;

    /* a device must not notice, nor a pipe keep us waiting */
    if (stat(part->path, &st))
        return weir_err_errno(err, errno, "find", part->path);
    if (!S_ISREG(st.st_mode))
        return refuse(part, "not a regular file", err);
    part->fd = open(part->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (part->fd < 0)
        return weir_err_errno(err, errno, "open", part->path);
    if (fstat(part->fd, &st))
        return weir_err_errno(err, errno, "stat", part->path);
    if ((uint64_t)st.st_size < WEIR_FILE_PAGE)
        return refuse(part, "not a part of a weir file", err);
    return 0;
}

static int check_page(const struct weir_file *file, unsigned number,
                      struct weir_err *err)
{
    const struct weir_part *part = &file->parts[number];
    uint8_t page[WEIR_FILE_PAGE], wanted[WEIR_FILE_PAGE];
    char text[64];
    int rc = weir_pread_all(part->fd, page, sizeof(page), 0, part->path, err);

    if (rc)
        return rc;
    weir_part_encode(file, number, wanted);
    if (!memcmp(page, wanted, sizeof(page)))
        return 0;
    if (memcmp(page, magic, sizeof(magic)))
        return refuse(part, "not a part of a weir file", err);
    if (weir_le64(page + HEADER_SUM_AT) != weir_checksum(page, HEADER_SUM_AT))
        return refuse(part, "the checksum of its first page is wrong", err);
    if (memcmp(page + 24, wanted + 24, 8))
        return refuse(part, "belongs to another model", err);
    if (memcmp(page + 12, wanted + 12, 4)) {
        snprintf(text, sizeof(text), "is part %u where part %u should be",
                 weir_le32(page + 12), number);
        return refuse(part, text, err);
    }
    return refuse(part, "its first page is not that of this model", err);
}

static int check_length(const struct weir_part *part, struct weir_err *err)
{
    struct stat st;

    if (fstat(part->fd, &st))
        return weir_err_errno(err, errno, "stat", part->path);
    if ((uint64_t)st.st_size == part->n_bytes)
        return 0;
    return weir_err_set(err, WEIR_EFORMAT,
                        "%s: has %llu bytes where the model says %llu; the "
                        "transfer was cut or added to: fetch it again",
                        part->path, (unsigned long long)st.st_size,
                        (unsigned long long)part->n_bytes);
}

static int find_and_open(struct weir_file *file, unsigned number,
                         const char *home, struct weir_err *err)
{
    struct weir_part *part = &file->parts[number];
    int rc;

    if (!find_part(part, home)) {
        if (!part->path)
            return weir_err_nomem(err, WEIR_PATH_BYTES, "a path");
        return weir_err_set(err, WEIR_EIO,
                            "%s: part %u of %s is not there; mount its drive, "
                            "or name the folder it is in with WEIR_PARTS",
                            part->path, number, file->path);
    }
    rc = open_part(part, err);
    if (!rc)
        rc = check_page(file, number, err);
    if (!rc)
        rc = check_length(part, err);
    return rc;
}

int weir_parts_open(struct weir_file *file, struct weir_err *err)
{
    char *home;
    int rc = 0;

    if (file->n_parts == 1)
        return 0;
    home = home_of(file);
    if (!home)
        return weir_err_nomem(err, strlen(file->path), "a path");
    for (unsigned i = 1; i < file->n_parts && !rc; i++)
        rc = find_and_open(file, i, home, err);
    free(home);
    return rc;
}
