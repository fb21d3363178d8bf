/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reader's thread takes reads from a queue, keeps up to `depth` of them
 * under way with an engine, and ends them: whole, or with the reason why not.
 * What comes short is asked for again from the last whole page on, for direct
 * reads know no other places.  A read that misses its deadline is ended without
 * the drive, which may still write to its buffer; after that nothing is begun
 * any more.
 */
#include "offload/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/trace.h"
#include "offload/reader_engine.h"

#define DEADLINE_MS 30000

/* How often in a row a read may come back without any bytes */
#define MAX_AGAIN 100

enum state { IDLE, QUEUED, BUSY, CANCELLED, DONE };

struct weir_reader {
    struct weir_io_calls calls;
    const struct weir_engine *engine;
    void *engine_state;
    enum weir_io io;
    const struct weir_region *region;
    struct weir_read_file files[WEIR_READ_FILES_MAX];
    int direct_fds[WEIR_READ_FILES_MAX]; /* or -1 */
    int fds[WEIR_READ_FILES_MAX];        /* that are read from */
    unsigned n_files, depth;
    unsigned deadline_ms;
    int is_direct;
    char note[320];

    pthread_t thread;
    int has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a read is done, or the thread is ready */

    /* under the lock */
    struct weir_read *head, **tail;
    int stop, woken, ready;
    int deaf; /* the engine is broken: it does not wake the thread any more */
    struct weir_reader_stats stats;

    /* the thread's */
    struct weir_op ops[WEIR_READ_DEPTH_MAX];
    unsigned n_busy;    /* ops with a read */
    atomic_int failure; /* an errno value that ends all reads from now on */
    int64_t busy_since;
    int rc; /* of opening the engine */
    struct weir_err err;
};

static int system_open(const char *path, int flags)
{
    return open(path, flags);
}

const struct weir_io_calls weir_io_system = {
    .open = system_open,
    .pread = pread,
#ifdef HAVE_LIBURING
    .ring_init = weir_uring_init,
    .ring_buffers = weir_uring_buffers,
    .ring_files = weir_uring_files,
    .ring_wait = weir_uring_wait,
    .ring_answer = weir_uring_answer,
#endif
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* ---- ends of reads ---- */

/* Afterwards the read is the caller's again. */
static void finish(struct weir_reader *reader, struct weir_read *read,
                   int errnum)
{
    void (*done)(struct weir_read *) = read->done;

    read->errnum = errnum;
    weir_trace_end_read(read->traced, errnum ? "failed" : "read", read->offset,
                        read->n_bytes);
    pthread_mutex_lock(&reader->lock);
    if (!errnum) {
        reader->stats.n_reads++;
        reader->stats.n_bytes += read->n_bytes;
    }
    atomic_store_explicit(&read->state, DONE, memory_order_release);
    if (!done)
        pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    if (done)
        done(read);
}

static void finish_op(struct weir_reader *reader, struct weir_op *op,
                      int errnum)
{
    struct weir_read *read = op->read;

    op->read = NULL;
    if (--reader->n_busy == 0) {
        pthread_mutex_lock(&reader->lock);
        reader->stats.busy_ns += (uint64_t)(now_ns() - reader->busy_since);
        pthread_mutex_unlock(&reader->lock);
    }
    finish(reader, read, errnum);
}

/* From now on every read ends with `errnum`; those under way do at once. */
static void fail(struct weir_reader *reader, int errnum)
{
    reader->failure = errnum;
    for (unsigned i = 0; i < reader->depth; i++)
        if (reader->ops[i].read)
            finish_op(reader, &reader->ops[i], errnum);
}

/* ---- reads under way ---- */

static struct weir_op *free_op(struct weir_reader *reader)
{
    for (unsigned i = 0; i < reader->depth; i++)
        if (!reader->ops[i].busy)
            return &reader->ops[i];
    return NULL;
}

static void begin(struct weir_reader *reader, struct weir_op *op,
                  struct weir_read *read)
{
    int64_t now = now_ns();

    *op = (struct weir_op){
        .buffer = read->buffer,
        .offset = read->offset,
        .n_left = read->n_bytes,
        .file = read->file,
        .read = read,
        .busy = 1,
        .deadline_ns = now + reader->deadline_ms * INT64_C(1000000),
    };
    if (reader->n_busy++ == 0)
        reader->busy_since = now;
    reader->engine->start(reader->engine_state, op);
}

/* The errno value of what must not be begun, else 0 */
static int obstacle(const struct weir_reader *reader,
                    const struct weir_read *read, int stop)
{
    if (stop || atomic_load(&read->state) == CANCELLED)
        return ECANCELED;
    if (reader->failure)
        return reader->failure;
    if (read->file >= reader->n_files || !read->n_bytes)
        return EINVAL;
    return 0;
}

/* The next read that `op` can do, NULL if there is none */
static struct weir_read *take(struct weir_reader *reader,
                              const struct weir_op *op, int *errnum)
{
    struct weir_read *read;

    pthread_mutex_lock(&reader->lock);
    reader->woken = 0;
    read = reader->head;
    *errnum = read ? obstacle(reader, read, reader->stop) : 0;
    if (read && (op || *errnum)) {
        reader->head = read->next;
        if (!reader->head)
            reader->tail = &reader->head;
        if (!*errnum)
            atomic_store(&read->state, BUSY);
    } else {
        read = NULL;
    }
    pthread_mutex_unlock(&reader->lock);
    return read;
}

static void begin_reads(struct weir_reader *reader)
{
    struct weir_op *op;
    struct weir_read *read;
    int errnum;

    for (;;) {
        op = free_op(reader);
        read = take(reader, op, &errnum);
        if (!read)
            return;
        if (errnum)
            finish(reader, read, errnum);
        else
            begin(reader, op, read);
    }
}

/* Asks for the rest; direct reads begin on whole pages. */
static void go_on(struct weir_reader *reader, struct weir_op *op, size_t n)
{
    n = n / WEIR_READ_ALIGN * WEIR_READ_ALIGN;
    op->buffer += n;
    op->offset += n;
    op->n_left -= n;
    op->n_again = n ? 0 : op->n_again + 1;
    pthread_mutex_lock(&reader->lock);
    reader->stats.n_again++;
    pthread_mutex_unlock(&reader->lock);
    reader->engine->start(reader->engine_state, op);
}

static void take_answer(struct weir_reader *reader, struct weir_op *op)
{
    ssize_t n = op->result;
    int passing = n == -EAGAIN || n == -EINTR || n > 0;

    if (!op->read) {
        op->busy = 0; /* it was given up */
        return;
    }
    if (n >= 0 && (size_t)n >= op->n_left) {
        op->busy = 0;
        finish_op(reader, op, 0);
    } else if (passing && op->n_again < MAX_AGAIN && !reader->failure) {
        go_on(reader, op, n > 0 ? (size_t)n : 0);
    } else {
        op->busy = 0;
        finish_op(reader, op, n == 0 ? ENODATA : n > 0 ? EIO : (int)-n);
    }
}

/* Milliseconds until the first deadline, -1 without any */
static int time_left(const struct weir_reader *reader)
{
    int64_t first = INT64_MAX, left;

    for (unsigned i = 0; i < reader->depth; i++)
        if (reader->ops[i].read && reader->ops[i].deadline_ns < first)
            first = reader->ops[i].deadline_ns;
    if (first == INT64_MAX)
        return -1;
    left = (first - now_ns()) / 1000000 + 1;
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static void check_deadlines(struct weir_reader *reader)
{
    int64_t now = now_ns();

    for (unsigned i = 0; i < reader->depth; i++)
        if (reader->ops[i].read && reader->ops[i].deadline_ns <= now) {
            fail(reader, ETIMEDOUT);
            return;
        }
}

/* A broken engine answers nothing, but what is handed in must still end. */
static void wait_deaf(struct weir_reader *reader)
{
    pthread_mutex_lock(&reader->lock);
    while (!reader->woken)
        pthread_cond_wait(&reader->changed, &reader->lock);
    pthread_mutex_unlock(&reader->lock);
}

static void wait_for_answers(struct weir_reader *reader)
{
    const struct weir_engine *engine = reader->engine;
    struct weir_op *op;
    int rc = engine->wait(reader->engine_state, time_left(reader));

    while ((op = engine->next(reader->engine_state)))
        take_answer(reader, op);
    if (!rc) {
        check_deadlines(reader);
        return;
    }
    pthread_mutex_lock(&reader->lock);
    reader->deaf = 1;
    pthread_mutex_unlock(&reader->lock);
    fail(reader, -rc);
}

/* ---- the thread ---- */

static int open_with(struct weir_reader *reader,
                     const struct weir_engine *engine, struct weir_err *err)
{
    struct weir_engine_setup setup = {
        .calls = &reader->calls,
        .fds = reader->fds,
        .n_files = reader->n_files,
        .depth = reader->depth,
        .region = reader->region,
        .note = reader->note,
        .note_bytes = sizeof(reader->note),
    };

    reader->engine = engine;
    return engine->open(&setup, &reader->engine_state, err);
}

#ifdef HAVE_LIBURING
/* 0, or why threads must do it */
static int open_uring(struct weir_reader *reader, struct weir_err *err)
{
    return open_with(reader, &weir_engine_uring, err);
}
#else
static int open_uring(struct weir_reader *reader, struct weir_err *err)
{
    (void)reader;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "this weir was built without liburing; build it with, "
                        "or read with threads (--io pread)");
}
#endif

static int open_engine(struct weir_reader *reader, struct weir_err *err)
{
    struct weir_err why;
    int rc;

    if (reader->io == WEIR_IO_PREAD)
        return open_with(reader, &weir_engine_pread, err);
    rc = open_uring(reader, &why);
    if (!rc)
        return 0;
    if (reader->io == WEIR_IO_URING) {
        *err = why;
        return rc;
    }
#ifdef HAVE_LIBURING
    snprintf(reader->note, sizeof(reader->note),
             "%.200s; threads read instead, which costs more time of the CPU",
             why.message);
#endif
    return open_with(reader, &weir_engine_pread, err);
}

static int opens(struct weir_reader *reader)
{
    reader->rc = open_engine(reader, &reader->err);
    pthread_mutex_lock(&reader->lock);
    reader->ready = 1;
    pthread_cond_broadcast(&reader->changed);
    pthread_mutex_unlock(&reader->lock);
    return reader->rc == 0;
}

static int is_over(struct weir_reader *reader)
{
    int over;

    if (reader->n_busy)
        return 0;
    pthread_mutex_lock(&reader->lock);
    over = reader->stop && !reader->head;
    pthread_mutex_unlock(&reader->lock);
    return over;
}

static void *thread_main(void *arg)
{
    struct weir_reader *reader = arg;

    weir_trace_call_thread("drive", 0);
    if (!opens(reader))
        return NULL;
    for (;;) {
        begin_reads(reader);
        if (is_over(reader))
            break;
        if (reader->deaf)
            wait_deaf(reader);
        else
            wait_for_answers(reader);
    }
    reader->engine->close(reader->engine_state);
    weir_trace_leave_thread();
    return NULL;
}

/* ---- opening and closing ---- */

/*
 * Through /proc the file is opened that is open, whatever its path names now.
 * Some file systems refuse direct reads only when one is tried.
 */
static int open_direct(const struct weir_reader *reader, int fd)
{
    uint8_t room[2 * WEIR_READ_ALIGN], *page = room;
    char path[32];
    int direct;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    direct = reader->calls.open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    if (direct < 0)
        return -1;
    page += -(uintptr_t)page % WEIR_READ_ALIGN;
    if (reader->calls.pread(direct, page, WEIR_READ_ALIGN, 0) < 0 &&
        errno == EINVAL) {
        close(direct);
        direct = -1;
    }
    return direct;
}

static void open_files(struct weir_reader *reader)
{
    reader->is_direct = 1;
    for (unsigned i = 0; i < reader->n_files; i++) {
        int direct = open_direct(reader, reader->files[i].fd);

        reader->direct_fds[i] = direct;
        reader->fds[i] = direct < 0 ? reader->files[i].fd : direct;
        if (direct < 0)
            reader->is_direct = 0;
    }
}

static int start_thread(struct weir_reader *reader, struct weir_err *err)
{
    int rc = pthread_create(&reader->thread, NULL, thread_main, reader);

    if (rc)
        return weir_err_errno(err, rc, "start", "a thread");
    reader->has_thread = 1;
    pthread_mutex_lock(&reader->lock);
    while (!reader->ready)
        pthread_cond_wait(&reader->changed, &reader->lock);
    pthread_mutex_unlock(&reader->lock);
    if (reader->rc && err)
        *err = reader->err;
    return reader->rc;
}

static void init_reader(struct weir_reader *reader,
                        const struct weir_reader_options *options)
{
    unsigned depth = options->depth ? options->depth : WEIR_READ_DEPTH;

    reader->calls = options->calls ? *options->calls : weir_io_system;
    reader->io = options->io;
    reader->region = options->region;
    reader->depth = depth < WEIR_READ_DEPTH_MAX ? depth : WEIR_READ_DEPTH_MAX;
    reader->deadline_ms =
        options->deadline_ms ? options->deadline_ms : DEADLINE_MS;
    reader->tail = &reader->head;
    pthread_mutex_init(&reader->lock, NULL);
    pthread_cond_init(&reader->changed, NULL);
}

int weir_reader_new(const struct weir_reader_options *options,
                    const struct weir_read_file *files, unsigned n_files,
                    struct weir_reader **out, struct weir_err *err)
{
    struct weir_reader *reader;
    int rc;

    *out = NULL;
    if (n_files > WEIR_READ_FILES_MAX)
        return weir_err_set(err, WEIR_ELIMIT, "%u files; weir reads %d at once",
                            n_files, WEIR_READ_FILES_MAX);
    reader = calloc(1, sizeof(*reader));
    if (!reader)
        return weir_err_nomem(err, sizeof(*reader), "reading");
    init_reader(reader, options);
    memcpy(reader->files, files, n_files * sizeof(*files));
    reader->n_files = n_files;
    open_files(reader);
    rc = start_thread(reader, err);
    if (rc)
        weir_reader_free(reader);
    else
        *out = reader;
    return rc;
}

static void wake(struct weir_reader *reader)
{
    int was_woken = reader->woken;

    reader->woken = 1;
    if (reader->deaf)
        pthread_cond_broadcast(&reader->changed);
    else if (!was_woken)
        reader->engine->wake(reader->engine_state);
}

void weir_reader_free(struct weir_reader *reader)
{
    if (!reader)
        return;
    pthread_mutex_lock(&reader->lock);
    reader->stop = 1;
    if (reader->has_thread && !reader->rc)
        wake(reader);
    pthread_mutex_unlock(&reader->lock);
    if (reader->has_thread)
        pthread_join(reader->thread, NULL);
    for (unsigned i = 0; i < reader->n_files; i++)
        if (reader->direct_fds[i] >= 0)
            close(reader->direct_fds[i]);
    pthread_cond_destroy(&reader->changed);
    pthread_mutex_destroy(&reader->lock);
    free(reader);
}

/* ---- what others ask ---- */

const char *weir_reader_name(const struct weir_reader *reader)
{
    return reader->engine->name;
}

int weir_reader_is_direct(const struct weir_reader *reader)
{
    return reader->is_direct;
}

const char *weir_reader_note(const struct weir_reader *reader)
{
    if (*reader->note)
        return reader->note;
    return reader->is_direct ? NULL
                             : "the file system refuses direct reads, so that "
                               "they go through the page cache, which is "
                               "slower; keep the model on a local drive";
}

void weir_reader_submit(struct weir_reader *reader, struct weir_read *read)
{
    read->traced = weir_trace_begin();
    pthread_mutex_lock(&reader->lock);
    atomic_store(&read->state, QUEUED);
    read->next = read->first ? reader->head : NULL;
    if (read->first) {
        reader->head = read;
        if (!read->next)
            reader->tail = &read->next;
    } else {
        *reader->tail = read;
        reader->tail = &read->next;
    }
    wake(reader);
    pthread_mutex_unlock(&reader->lock);
}

int weir_read_is_done(const struct weir_read *read)
{
    return atomic_load_explicit(&read->state, memory_order_acquire) == DONE;
}

int weir_reader_wait(struct weir_reader *reader, struct weir_read *read)
{
    if (!weir_read_is_done(read)) {
        pthread_mutex_lock(&reader->lock);
        while (!weir_read_is_done(read))
            pthread_cond_wait(&reader->changed, &reader->lock);
        pthread_mutex_unlock(&reader->lock);
    }
    return read->errnum;
}

int weir_reader_has_failed(const struct weir_reader *reader)
{
    return reader->failure != 0;
}

void weir_reader_cancel(struct weir_reader *reader, struct weir_read *read)
{
    int queued = QUEUED;

    pthread_mutex_lock(&reader->lock);
    if (atomic_compare_exchange_strong(&read->state, &queued, CANCELLED))
        wake(reader);
    pthread_mutex_unlock(&reader->lock);
}

int weir_reader_explain(const struct weir_reader *reader,
                        const struct weir_read *read, struct weir_err *err)
{
    unsigned long long at = read->offset;
    const char *path =
        read->file < reader->n_files ? reader->files[read->file].path : "?";
    char text[128];

    switch (read->errnum) {
    case ENODATA:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: the file ends before: it shrank "
                           "while it was in use; fetch or pack it again",
                           path, at);
    case ETIMEDOUT:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: the drive has not answered for "
                           "%u s; check the drive and the system's log",
                           path, at, (reader->deadline_ms + 999) / 1000);
    default:
        return weir_err_at(err, WEIR_EIO, at,
                           "%s: offset %llu: cannot read %zu bytes: %s; check "
                           "the drive and the system's log",
                           path, at, read->n_bytes,
                           strerror_r(read->errnum, text, sizeof(text)));
    }
}

void weir_reader_get_stats(struct weir_reader *reader,
                           struct weir_reader_stats *stats)
{
    pthread_mutex_lock(&reader->lock);
    *stats = reader->stats;
    pthread_mutex_unlock(&reader->lock);
}
