/* SPDX-License-Identifier: Apache-2.0 */
/*
 * FILE.part is only ever appended to, a whole line with one write, so that a
 * process that is killed leaves whole lines and at most one that is cut.  A
 * machine that stops may leave any bytes behind the last sync: whatever does
 * not parse at the end is cut off and answered again.  The job is on disk
 * before the first answer is.
 */
#include "tools/batch_output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/lines.h"
#include "base/path.h"
#include "serve/batch_line.h"
#include "tools/progress.h"

#define SYNC_SECONDS 5
#define JOB_BYTES    (1UL << 20)  /* most in a job */
#define LINE_BYTES   (1UL << 30)  /* most in an answer */
#define MOST_LINES   (1ULL << 40) /* in the input, when a part goes on */

static int name_files(struct batch_output *output, struct weir_err *err)
{
    if (asprintf(&output->part, "%s.part", output->path) < 0)
        output->part = NULL;
    if (asprintf(&output->job, "%s.part.job", output->path) < 0)
        output->job = NULL;
    if (output->part && output->job)
        return 0;
    return weir_err_nomem(err, strlen(output->path), "a name");
}

/* ---- the job ---- */

static int write_job(const struct batch_output *output, const json_t *job,
                     struct weir_err *err)
{
    FILE *file = fopen(output->job, "we");
    int bad;

    if (!file)
        return weir_err_errno(err, errno, "create", output->job);
    bad = json_dumpf(job, file, JSON_INDENT(1)) || fputc('\n', file) == EOF ||
          fflush(file) || fsync(fileno(file));
    if (bad)
        weir_err_errno(err, errno, "write", output->job);
    fclose(file);
    return bad ? WEIR_EIO : 0;
}

static int compare_jobs(const struct batch_output *output, json_t *job,
                        const json_t *there, struct weir_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach(job, key, value)
    {
        if (!json_equal(value, json_object_get(there, key)))
            return weir_err_set(err, WEIR_EARG,
                                "%s: was begun with another %s; give the same "
                                "again, or remove it to start over",
                                output->part, key);
    }
    return 0;
}

static int check_job(const struct batch_output *output, const json_t *job,
                     struct weir_err *err)
{
    struct weir_buf buf = WEIR_BUF(JOB_BYTES);
    json_t *there = NULL;
    int rc = weir_buf_add_file(&buf, output->job, err);

    if (!rc)
        rc = weir_json_parse(buf.data ? buf.data : "", buf.n_bytes, output->job,
                             &there, err);
    if (!rc)
        rc = compare_jobs(output, (json_t *)job, there, err);
    json_decref(there);
    weir_buf_fini(&buf);
    return rc;
}

/* ---- the part ---- */

static int mark(struct batch_output *output, uint64_t number,
                struct weir_err *err)
{
    size_t at = (size_t)((number - 1) / 8), need = at + 1;
    uint8_t *done;

    if (need > output->done_bytes) {
        need += need / 2;
        done = realloc(output->done, need);
        if (!done)
            return weir_err_nomem(err, need, "what is done");
        memset(done + output->done_bytes, 0, need - output->done_bytes);
        output->done = done;
        output->done_bytes = need;
    }
    output->done[at] |= (uint8_t)(1u << (number - 1) % 8);
    output->n_before++;
    return 0;
}

int batch_output_has(const struct batch_output *output, uint64_t number)
{
    uint64_t at = (number - 1) / 8;

    return at < output->done_bytes && output->done[at] >> (number - 1) % 8 & 1;
}

static int scan_lines(struct batch_output *output, struct weir_lines *lines,
                      struct weir_err *err)
{
    uint64_t number, bad_line = 0;
    struct weir_line line;
    int rc;

    while ((rc = weir_lines_next(lines, &line, err)) > 0) {
        number = line.text && line.is_whole
                     ? weir_batch_line_number(line.text, line.n_bytes)
                     : 0;
        if (number == 0 || number > MOST_LINES) {
            bad_line = bad_line ? bad_line : lines->number;
            continue;
        }
        if (bad_line)
            return weir_err_set(err, WEIR_ECORRUPT,
                                "%s: line %" PRIu64
                                " is no answer, but others follow; take it "
                                "out to have it answered again",
                                output->part, bad_line);
        rc = mark(output, number, err);
        if (rc)
            return rc;
        output->n_bytes = lines->offset;
    }
    return rc;
}

/* Finds what is done, and cuts off what was not written to its end. */
static int scan(struct batch_output *output, struct weir_err *err)
{
    struct weir_lines lines;
    int rc;

    weir_lines_init(&lines, output->fd, output->part, LINE_BYTES);
    rc = scan_lines(output, &lines, err);
    weir_lines_fini(&lines);
    if (rc)
        return rc;
    if (ftruncate(output->fd, (off_t)output->n_bytes) ||
        lseek(output->fd, (off_t)output->n_bytes, SEEK_SET) < 0)
        return weir_err_errno(err, errno, "cut", output->part);
    return 0;
}

static int begin_or_go_on(struct batch_output *output, const json_t *job,
                          struct weir_err *err)
{
    struct stat st;
    int rc;

    if (flock(output->fd, LOCK_EX | LOCK_NB))
        return errno == EWOULDBLOCK
                   ? weir_err_set(err, WEIR_EARG,
                                  "%s: another process is writing it; wait for "
                                  "that, or give another output",
                                  output->part)
                   : weir_err_errno(err, errno, "lock", output->part);
    if (fstat(output->fd, &st))
        return weir_err_errno(err, errno, "look at", output->part);
    if (st.st_size == 0)
        return write_job(output, job, err);
    rc = check_job(output, job, err);
    return rc ? rc : scan(output, err);
}

int batch_output_open(struct batch_output *output, const char *path,
                      const json_t *job, struct weir_err *err)
{
    int rc;

    memset(output, 0, sizeof(*output));
    output->fd = STDOUT_FILENO;
    output->synced = progress_seconds();
    if (!path || !strcmp(path, "-"))
        return 0;
    output->path = path;
    output->fd = -1;
    rc = weir_path_check_output(path, NULL, err);
    if (!rc && weir_path_exists(path))
        rc = weir_err_set(err, WEIR_EARG,
                          "%s: is there already; remove it, or give the output "
                          "another name",
                          path);
    if (!rc)
        rc = name_files(output, err);
    if (rc)
        return rc;
    output->fd = open(output->part, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (output->fd < 0)
        return weir_err_errno(err, errno, "create", output->part);
    return begin_or_go_on(output, job, err);
}

static int write_all(struct batch_output *output, const char *data,
                     size_t n_bytes)
{
    ssize_t n;

    for (; n_bytes; data += n, n_bytes -= (size_t)n) {
        do
            n = write(output->fd, data, n_bytes);
        while (n < 0 && errno == EINTR);
        if (n < 0)
            return errno;
    }
    return 0;
}

int batch_output_put(struct batch_output *output, const char *line,
                     size_t n_bytes, struct weir_err *err)
{
    int errnum = write_all(output, line, n_bytes);

    if (errnum)
        return weir_err_errno(err, errnum, "write",
                              output->path ? output->part : "standard output");
    output->n_bytes += n_bytes;
    if (!output->path || progress_seconds() - output->synced < SYNC_SECONDS)
        return 0;
    if (fdatasync(output->fd))
        return weir_err_errno(err, errno, "sync", output->part);
    output->synced = progress_seconds();
    return 0;
}

/* So that the name survives, too; a folder that cannot be synced is fine. */
static void sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, (size_t)(slash - path) + 1) : NULL;
    int fd = open(folder ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(folder);
}

int batch_output_finish(struct batch_output *output, struct weir_err *err)
{
    if (!output->path)
        return 0;
    if (fsync(output->fd))
        return weir_err_errno(err, errno, "sync", output->part);
    if (rename(output->part, output->path))
        return weir_err_errno(err, errno, "rename", output->part);
    sync_folder(output->path);
    unlink(output->job);
    return 0;
}

void batch_output_close(struct batch_output *output)
{
    if (output->path && output->fd >= 0)
        close(output->fd);
    free(output->part);
    free(output->job);
    free(output->done);
    memset(output, 0, sizeof(*output));
}
