/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/text_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpu.h"
#include "engine/session_file.h"
#include "offload/checksum.h"

#define NAME_BYTES 128
#define LOCK       "lock"

struct weir_text_file {
    char name[NAME_BYTES];
    uint64_t n_bytes;
    struct timespec used;
    struct weir_session_outline outline; /* empty: of another model */
    TAILQ_ENTRY(weir_text_file) entry;
};

TAILQ_HEAD(file_list, weir_text_file);

struct weir_text_files {
    weir_model *model;
    enum weir_kv kv;
    char *folder;
    char *path;             /* of a file in it, for the moment */
    size_t n_path;          /* its bytes */
    int lock;               /* or -1 */
    char prefix[64];        /* of the names that are ours */
    struct file_list files; /* the one that was asked for last stands first */
    const struct weir_text_file *busy; /* must not go */
    struct weir_text_files_stats stats;
};

const struct weir_text_files_stats *weir_text_files_get_stats(
    const struct weir_text_files *files)
{
    return &files->stats;
}

size_t weir_text_file_tokens(const struct weir_text_file *file)
{
    return file->outline.n_tok;
}

size_t weir_text_file_places(const struct weir_text_file *file)
{
    return file->outline.places.n_kept;
}

static const char *path_of(struct weir_text_files *files, const char *name)
{
    snprintf(files->path, files->n_path, "%s/%s", files->folder, name);
    return files->path;
}

static void forget(struct weir_text_files *files, struct weir_text_file *file)
{
    TAILQ_REMOVE(&files->files, file, entry);
    files->stats.n_bytes -= file->n_bytes;
    files->stats.n_files--;
    weir_session_outline_fini(&file->outline);
    free(file);
}

static void discard(struct weir_text_files *files, struct weir_text_file *file)
{
    unlink(path_of(files, file->name));
    forget(files, file);
}

/* ---- what a file has ---- */

/* As weir_session_held() */
static size_t held(const struct weir_text_file *file, const int32_t *ids,
                   size_t n_ids, size_t *n_common)
{
    const struct weir_session_outline *outline = &file->outline;
    const struct weir_kept *kept;

    *n_common = weir_common_ids(outline->ids, outline->n_tok, ids, n_ids);
    kept = weir_snapshots_find(&outline->places, *n_common, n_ids);
    return kept ? kept->n_tok : 0;
}

struct weir_text_file *weir_text_files_find(const struct weir_text_files *files,
                                            const int32_t *ids, size_t n_ids,
                                            size_t *n_tok, size_t *n_common)
{
    struct weir_text_file *file, *best = NULL;
    size_t n, n_alike;

    *n_tok = *n_common = 0;
    TAILQ_FOREACH(file, &files->files, entry)
    {
        n = held(file, ids, n_ids, &n_alike);
        *n_common = n_alike > *n_common ? n_alike : *n_common;
        if (n > *n_tok) {
            *n_tok = n;
            best = file;
        }
    }
    return best;
}

/* ---- the folder ---- */

static int is_before(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec
                                  : a->tv_nsec < b->tv_nsec;
}

static void insert(struct weir_text_files *files, struct weir_text_file *file)
{
    struct weir_text_file *other = TAILQ_FIRST(&files->files);

    while (other && is_before(&file->used, &other->used))
        other = TAILQ_NEXT(other, entry);
    if (other)
        TAILQ_INSERT_BEFORE(other, file, entry);
    else
        TAILQ_INSERT_TAIL(&files->files, file, entry);
    files->stats.n_bytes += file->n_bytes;
    files->stats.n_files++;
}

/* What follows a name that a text could have; NULL: it is none. */
static const char *behind_text(const char *name)
{
    static const char hex[] = "0123456789abcdef";
    size_t n_level;

    if (strspn(name, hex) != 16 || name[16] != '-')
        return NULL;
    name += 17;
    n_level = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    if (n_level == 0 || name[n_level] != '-')
        return NULL;
    name += n_level + 1;
    if (strncmp(name, "f32-", 4) && strncmp(name, "bf16-", 5))
        return NULL;
    name = strchr(name, '-') + 1;
    return strspn(name, hex) == 16 ? name + 16 : NULL;
}

static int is_damage(int rc)
{
    return rc == WEIR_EFORMAT || rc == WEIR_ECORRUPT;
}

/* A file that is there; what cannot be read stays, and is of no use. */
static int add(struct weir_text_files *files, const char *name,
               const struct stat *st, struct weir_err *err)
{
    struct weir_text_file *file = calloc(1, sizeof(*file));
    int is_ours = !strncmp(name, files->prefix, strlen(files->prefix)), rc = 0;

    if (!file)
        return weir_err_nomem(err, sizeof(*file), "prompts that are kept");
    snprintf(file->name, sizeof(file->name), "%s", name);
    file->n_bytes = (uint64_t)st->st_size;
    file->used = st->st_mtim;
    if (is_ours)
        rc = weir_session_outline(files->model, path_of(files, name), files->kv,
                                  &file->outline, err);
    if (rc)
        weir_session_outline_fini(&file->outline);
    if (rc == WEIR_ENOMEM) {
        free(file);
        return rc;
    }
    insert(files, file);
    files->stats.n_failed += rc != 0;
    if (is_damage(rc))
        discard(files, file);
    return 0;
}

/* What was being written when a process died goes. */
static int see(struct weir_text_files *files, int folder, const char *name,
               struct weir_err *err)
{
    const char *rest = behind_text(name);
    struct stat st;

    if (strlen(name) >= NAME_BYTES || !rest ||
        fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode))
        return 0;
    if (!strcmp(rest, ".session.part"))
        unlinkat(folder, name, 0);
    return strcmp(rest, ".session") ? 0 : add(files, name, &st, err);
}

static int scan(struct weir_text_files *files, struct weir_err *err)
{
    DIR *folder = opendir(files->folder);
    const struct dirent *found;
    int rc = 0;

    if (!folder)
        return weir_err_errno(err, errno, "read", files->folder);
    while (!rc && (errno = 0, found = readdir(folder)))
        rc = see(files, dirfd(folder), found->d_name, err);
    if (!rc && errno)
        rc = weir_err_errno(err, errno, "read", files->folder);
    closedir(folder);
    return rc;
}

static int lock(struct weir_text_files *files, struct weir_err *err)
{
    const char *path = path_of(files, LOCK);

    files->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (files->lock < 0)
        return weir_err_errno(err, errno, "create", path);
    if (!flock(files->lock, LOCK_EX | LOCK_NB))
        return 0;
    return errno == EWOULDBLOCK
               ? weir_err_set(err, WEIR_EARG,
                              "%s: another process keeps its prompts there; "
                              "name another folder",
                              files->folder)
               : weir_err_errno(err, errno, "lock", path);
}

/* Nobody else is to read what was said. */
static int make_folder(const char *folder, struct weir_err *err)
{
    struct stat st;

    if (mkdir(folder, 0700) && errno != EEXIST)
        return weir_err_errno(err, errno, "make the folder", folder);
    if (stat(folder, &st))
        return weir_err_errno(err, errno, "open", folder);
    if (!S_ISDIR(st.st_mode))
        return weir_err_set(err, WEIR_EARG,
                            "%s: is no folder; name one to keep prompts in",
                            folder);
    return 0;
}

static int take_names(struct weir_text_files *files, const char *folder,
                      struct weir_err *err)
{
    enum weir_level level;
    int rc = weir_level_choose(&level, err);

    if (rc)
        return rc;
    snprintf(files->prefix, sizeof(files->prefix), "%016" PRIx64 "-%s-%s-",
             files->model->jamba->file->index_xxh3, weir_level_name(level),
             files->kv == WEIR_KV_F32 ? "f32" : "bf16");
    files->n_path = strlen(folder) + NAME_BYTES + 2;
    files->folder = strdup(folder);
    files->path = malloc(files->n_path);
    return files->folder && files->path
               ? 0
               : weir_err_nomem(err, files->n_path, "the name of a file");
}

/* Whether there is room for that much now */
static int make_room(struct weir_text_files *files, uint64_t n_bytes)
{
    struct weir_text_files_stats *stats = &files->stats;
    struct weir_text_file *last;

    if (n_bytes > stats->most_bytes)
        return 0;
    while (stats->n_bytes > stats->most_bytes - n_bytes) {
        last = TAILQ_LAST(&files->files, file_list);
        if (last == files->busy)
            last = TAILQ_PREV(last, file_list, entry);
        if (!last)
            return 0;
        discard(files, last);
        stats->n_evicted++;
    }
    return 1;
}

int weir_text_files_new(weir_model *model, enum weir_kv kv, const char *folder,
                        uint64_t most_bytes, struct weir_text_files **out,
                        struct weir_err *err)
{
    struct weir_text_files *files = calloc(1, sizeof(*files));
    int rc;

    *out = NULL;
    if (!files)
        return weir_err_nomem(err, sizeof(*files), "prompts that are kept");
    files->model = model;
    files->kv = kv;
    files->lock = -1;
    files->stats.most_bytes = most_bytes;
    TAILQ_INIT(&files->files);
    rc = take_names(files, folder, err);
    if (!rc)
        rc = make_folder(folder, err);
    if (!rc)
        rc = lock(files, err);
    if (!rc)
        rc = scan(files, err);
    if (rc) {
        weir_text_files_free(files);
        return rc;
    }
    make_room(files, 0);
    *out = files;
    return 0;
}

void weir_text_files_free(struct weir_text_files *files)
{
    if (!files)
        return;
    while (!TAILQ_EMPTY(&files->files))
        forget(files, TAILQ_FIRST(&files->files));
    if (files->lock >= 0)
        close(files->lock);
    free(files->folder);
    free(files->path);
    free(files);
}

/* ---- loading and saving ---- */

void weir_text_files_hold(struct weir_text_files *files,
                          const struct weir_text_file *file)
{
    files->busy = file;
}

/* Somebody removed it. */
static int is_gone(const char *path)
{
    return access(path, F_OK) && errno == ENOENT;
}

int weir_text_files_load(struct weir_text_files *files,
                         struct weir_text_file *file, weir_session *session,
                         struct weir_err *err)
{
    const char *path = path_of(files, file->name);
    int rc = weir_session_load(session, path, err);

    if (rc) {
        files->stats.n_failed++;
        if (is_damage(rc) || is_gone(path))
            discard(files, file);
        return rc;
    }
    files->stats.n_loaded++;
    utimensat(AT_FDCWD, path, NULL, 0);
    TAILQ_REMOVE(&files->files, file, entry);
    TAILQ_INSERT_HEAD(&files->files, file, entry);
    return 0;
}

/* Whether all of the session's text can be had of a file */
static int is_saved(const struct weir_text_files *files,
                    const weir_session *session)
{
    size_t n, n_common;

    weir_text_files_find(files, session->ids, session->state.n_tok, &n,
                         &n_common);
    return n == session->state.n_tok;
}

/* The others of which the session has all */
static void discard_beginnings(struct weir_text_files *files,
                               const weir_session *session, const char *name)
{
    struct weir_text_file *file = TAILQ_FIRST(&files->files), *next;
    size_t n;

    for (; file; file = next) {
        next = TAILQ_NEXT(file, entry);
        n = file->outline.n_tok;
        if (n && file != files->busy && strcmp(file->name, name) &&
            weir_session_held(session, file->outline.ids, n, NULL) == n)
            discard(files, file);
    }
}

/* The file of that name is another one now. */
static void forget_name(struct weir_text_files *files, const char *name)
{
    struct weir_text_file *file;

    TAILQ_FOREACH(file, &files->files, entry)
    if (!strcmp(file->name, name)) {
        forget(files, file);
        return;
    }
}

static int save(struct weir_text_files *files, const weir_session *session,
                const char *name)
{
    const char *path = path_of(files, name);
    struct stat st;

    if (weir_session_save(session, path, NULL) || stat(path, &st))
        return -1;
    forget_name(files, name);
    return add(files, name, &st, NULL);
}

void weir_text_files_save(struct weir_text_files *files,
                          const weir_session *session, uint64_t n_bytes)
{
    char name[NAME_BYTES];
    size_t n = session->state.n_tok * sizeof(*session->ids);

    if (is_saved(files, session) || !make_room(files, n_bytes))
        return;
    snprintf(name, sizeof(name), "%s%016" PRIx64 ".session", files->prefix,
             weir_checksum(session->ids, n));
    if (save(files, session, name)) {
        files->stats.n_failed++;
        return;
    }
    files->stats.n_saved++;
    discard_beginnings(files, session, name);
}
