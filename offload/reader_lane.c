/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The lane's thread takes reads from its queues, keeps up to `depth` of them
 * under way with an engine, and ends them: whole, or with the reason why not.
 * What comes short is asked for again from the last whole page on, for direct
 * reads know no other places.  A read that misses its deadline is ended without
 * the drive, which may still write to its buffer; after that nothing is begun
 * any more.
 */
#include "offload/reader_lane.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/trace.h"
#include "offload/reader_engine.h"
#include "offload/reader_pace.h"
#include "offload/reader_queue.h"

/* How often in a row a read may come back without any bytes */
#define MAX_AGAIN 100

enum state { IDLE, QUEUED, BUSY, CANCELLED, DONE };

struct weir_lane {
    struct weir_io_calls calls;
    const struct weir_engine *engine;
    void *engine_state;
    enum weir_io io;
    const struct weir_region *region;
    const int *fds;
    unsigned n_files, depth;
    unsigned deadline_ms;
    char note[320];

    pthread_t thread;
    int has_thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a read is done, or the thread is ready */

    /* under the lock */
    struct weir_reads queues[WEIR_READ_RANKS];
    int stop, woken, ready;
    int deaf; /* the engine is broken: it does not wake the thread any more */
    struct weir_reader_stats stats;
    int64_t busy_since; /* 0: nothing is under way, or wanted */

    /* the thread's */
    struct weir_op ops[WEIR_READ_DEPTH_MAX];
    unsigned n_busy;    /* ops with a read */
    unsigned n_guesses; /* of these */
    atomic_int failure; /* an errno value that ends all reads from now on */
    struct weir_pace pace;
    int rc; /* of opening the engine */
    struct weir_err err;
};

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int has_queued(const struct weir_lane *lane)
{
    for (int i = 0; i < WEIR_READ_RANKS; i++)
        if (lane->queues[i].head)
            return 1;
    return 0;
}

/* Runs while something is under way or waits for its turn. */
static void set_clock(struct weir_lane *lane, int64_t now)
{
    int busy = lane->n_busy || has_queued(lane);

    if (busy && !lane->busy_since)
        lane->busy_since = now;
    if (busy || !lane->busy_since)
        return;
    lane->stats.busy_ns += (uint64_t)(now - lane->busy_since);
    lane->busy_since = 0;
}

/* ---- ends of reads ---- */

/* Afterwards the read is the caller's again. */
static void finish(struct weir_lane *lane, struct weir_read *read, int errnum)
{
    void (*done)(struct weir_read *) = read->done;

    read->errnum = errnum;
    pthread_mutex_lock(&lane->lock);
    if (!errnum) {
        lane->stats.n_reads++;
        lane->stats.n_bytes += read->n_bytes;
    }
    weir_trace_end_read(read->traced, errnum ? "failed" : "read", read->offset,
                        read->n_bytes);
    set_clock(lane, now_ns());
    atomic_store_explicit(&read->state, DONE, memory_order_release);
    if (!done)
        pthread_cond_broadcast(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    if (done)
        done(read);
}

static void finish_op(struct weir_lane *lane, struct weir_op *op, int errnum)
{
    struct weir_read *read = op->read;

    op->read = NULL;
    lane->n_busy--;
    lane->n_guesses -= op->is_guess;
    finish(lane, read, errnum);
}

/* From now on every read ends with `errnum`; those under way do at once. */
static void fail(struct weir_lane *lane, int errnum)
{
    lane->failure = errnum;
    for (unsigned i = 0; i < lane->depth; i++)
        if (lane->ops[i].read)
            finish_op(lane, &lane->ops[i], errnum);
}

/* ---- reads under way ---- */

static struct weir_op *free_op(struct weir_lane *lane)
{
    for (unsigned i = 0; i < lane->depth; i++)
        if (!lane->ops[i].busy)
            return &lane->ops[i];
    return NULL;
}

static void begin(struct weir_lane *lane, struct weir_op *op,
                  struct weir_read *read)
{
    *op = (struct weir_op){
        .buffer = read->buffer,
        .offset = read->offset,
        .n_left = read->n_bytes,
        .file = read->file,
        .read = read,
        .busy = 1,
        .is_guess = read->rank == WEIR_READ_GUESS,
        .deadline_ns = now_ns() + lane->deadline_ms * INT64_C(1000000),
    };
    lane->n_guesses += op->is_guess;
    lane->engine->start(lane->engine_state, op);
}

/* The errno value of what must not be begun, else 0 */
static int obstacle(const struct weir_lane *lane, const struct weir_read *read,
                    int stop)
{
    if (stop || atomic_load(&read->state) == CANCELLED)
        return ECANCELED;
    if (lane->failure)
        return lane->failure;
    if (read->file >= lane->n_files || !read->n_bytes)
        return EINVAL;
    return 0;
}

static struct weir_reads *queue_of(struct weir_lane *lane,
                                   const struct weir_read *read)
{
    return &lane->queues[read->rank];
}

/* The read that comes next; a guess only while there is room for it */
static struct weir_read *look(const struct weir_lane *lane, int *errnum)
{
    struct weir_read *read = NULL;

    for (int i = 0; i < WEIR_READ_RANKS && !read; i++)
        read = lane->queues[i].head;
    *errnum = read ? obstacle(lane, read, lane->stop) : 0;
    if (read && !*errnum && read->rank == WEIR_READ_GUESS &&
        lane->n_guesses >= (lane->depth + 1) / 2)
        return NULL;
    return read;
}

/* The next read that `op` can do, NULL if there is none yet */
static struct weir_read *take(struct weir_lane *lane, const struct weir_op *op,
                              int *errnum)
{
    int64_t now = now_ns();
    struct weir_read *read;

    pthread_mutex_lock(&lane->lock);
    lane->woken = 0;
    read = look(lane, errnum);
    if (!read || !op)
        weir_pace_rest(&lane->pace);
    if (read && (*errnum || (op && !weir_pace_is_early(&lane->pace,
                                                       read->n_bytes, now)))) {
        weir_reads_take_out(queue_of(lane, read), read);
        if (!*errnum) {
            lane->n_busy++;
            atomic_store(&read->state, BUSY);
        }
    } else {
        read = NULL;
    }
    set_clock(lane, now);
    pthread_mutex_unlock(&lane->lock);
    return read;
}

static void begin_reads(struct weir_lane *lane)
{
    struct weir_op *op;
    struct weir_read *read;
    int errnum;

    for (;;) {
        op = free_op(lane);
        read = take(lane, op, &errnum);
        if (!read)
            return;
        if (errnum)
            finish(lane, read, errnum);
        else
            begin(lane, op, read);
    }
}

/* Asks for the rest; direct reads begin on whole pages. */
static void go_on(struct weir_lane *lane, struct weir_op *op, size_t n)
{
    n = n / WEIR_READ_ALIGN * WEIR_READ_ALIGN;
    op->buffer += n;
    op->offset += n;
    op->n_left -= n;
    op->n_again = n ? 0 : op->n_again + 1;
    pthread_mutex_lock(&lane->lock);
    lane->stats.n_again++;
    pthread_mutex_unlock(&lane->lock);
    lane->engine->start(lane->engine_state, op);
}

static void take_answer(struct weir_lane *lane, struct weir_op *op)
{
    ssize_t n = op->result;
    int passing = n == -EAGAIN || n == -EINTR || n > 0;

    if (!op->read) {
        op->busy = 0; /* it was given up */
        return;
    }
    if (n >= 0 && (size_t)n >= op->n_left) {
        op->busy = 0;
        finish_op(lane, op, 0);
    } else if (passing && op->n_again < MAX_AGAIN && !lane->failure) {
        go_on(lane, op, n > 0 ? (size_t)n : 0);
    } else {
        op->busy = 0;
        finish_op(lane, op, n == 0 ? ENODATA : n > 0 ? EIO : (int)-n);
    }
}

/* Milliseconds until something must be looked at, -1 without any */
static int time_left(const struct weir_lane *lane)
{
    int64_t first = lane->pace.begin_at ? lane->pace.begin_at : INT64_MAX;
    int64_t left;

    for (unsigned i = 0; i < lane->depth; i++)
        if (lane->ops[i].read && lane->ops[i].deadline_ns < first)
            first = lane->ops[i].deadline_ns;
    if (first == INT64_MAX)
        return -1;
    left = (first - now_ns()) / 1000000 + 1;
    return left < 0 ? 0 : left > 1000000 ? 1000000 : (int)left;
}

static void check_deadlines(struct weir_lane *lane)
{
    int64_t now = now_ns();

    for (unsigned i = 0; i < lane->depth; i++)
        if (lane->ops[i].read && lane->ops[i].deadline_ns <= now) {
            fail(lane, ETIMEDOUT);
            return;
        }
}

/* A broken engine answers nothing, but what is handed in must still end. */
static void wait_deaf(struct weir_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    while (!lane->woken)
        pthread_cond_wait(&lane->changed, &lane->lock);
    pthread_mutex_unlock(&lane->lock);
}

static void wait_for_answers(struct weir_lane *lane)
{
    const struct weir_engine *engine = lane->engine;
    struct weir_op *op;
    int rc = engine->wait(lane->engine_state, time_left(lane));

    while ((op = engine->next(lane->engine_state)))
        take_answer(lane, op);
    if (!rc) {
        check_deadlines(lane);
        return;
    }
    pthread_mutex_lock(&lane->lock);
    lane->deaf = 1;
    pthread_mutex_unlock(&lane->lock);
    fail(lane, -rc);
}

/* ---- the thread ---- */

static int open_with(struct weir_lane *lane, const struct weir_engine *engine,
                     struct weir_err *err)
{
    struct weir_engine_setup setup = {
        .calls = &lane->calls,
        .fds = lane->fds,
        .n_files = lane->n_files,
        .depth = lane->depth,
        .region = lane->region,
        .note = lane->note,
        .note_bytes = sizeof(lane->note),
    };

    lane->engine = engine;
    return engine->open(&setup, &lane->engine_state, err);
}

#ifdef HAVE_LIBURING
/* 0, or why threads must do it */
static int open_uring(struct weir_lane *lane, struct weir_err *err)
{
    return open_with(lane, &weir_engine_uring, err);
}
#else
static int open_uring(struct weir_lane *lane, struct weir_err *err)
{
    (void)lane;
    return weir_err_set(err, WEIR_ENOTSUP,
                        "this weir was built without liburing; build it with, "
                        "or read with threads (--io pread)");
}
#endif

static int open_engine(struct weir_lane *lane, struct weir_err *err)
{
    struct weir_err why;
    int rc;

    if (lane->io == WEIR_IO_PREAD)
        return open_with(lane, &weir_engine_pread, err);
    rc = open_uring(lane, &why);
    if (!rc)
        return 0;
    if (lane->io == WEIR_IO_URING) {
        *err = why;
        return rc;
    }
#ifdef HAVE_LIBURING
    snprintf(lane->note, sizeof(lane->note),
             "%.200s; threads read instead, which costs more time of the CPU",
             why.message);
#endif
    return open_with(lane, &weir_engine_pread, err);
}

static int opens(struct weir_lane *lane)
{
    lane->rc = open_engine(lane, &lane->err);
    pthread_mutex_lock(&lane->lock);
    lane->ready = 1;
    pthread_cond_broadcast(&lane->changed);
    pthread_mutex_unlock(&lane->lock);
    return lane->rc == 0;
}

static int is_over(struct weir_lane *lane)
{
    int over;

    if (lane->n_busy)
        return 0;
    pthread_mutex_lock(&lane->lock);
    over = lane->stop && !has_queued(lane);
    pthread_mutex_unlock(&lane->lock);
    return over;
}

static void *thread_main(void *arg)
{
    struct weir_lane *lane = arg;

    weir_trace_call_thread("drive", 0);
    if (!opens(lane))
        return NULL;
    for (;;) {
        begin_reads(lane);
        if (is_over(lane))
            break;
        if (lane->deaf)
            wait_deaf(lane);
        else
            wait_for_answers(lane);
    }
    lane->engine->close(lane->engine_state);
    weir_trace_leave_thread();
    return NULL;
}

/* ---- opening and closing ---- */

static int start_thread(struct weir_lane *lane, struct weir_err *err)
{
    int rc = pthread_create(&lane->thread, NULL, thread_main, lane);

    if (rc)
        return weir_err_errno(err, rc, "start", "a thread");
    lane->has_thread = 1;
    pthread_mutex_lock(&lane->lock);
    while (!lane->ready)
        pthread_cond_wait(&lane->changed, &lane->lock);
    pthread_mutex_unlock(&lane->lock);
    if (lane->rc && err)
        *err = lane->err;
    return lane->rc;
}

static void init_lane(struct weir_lane *lane,
                      const struct weir_lane_setup *setup)
{
    lane->calls = *setup->calls;
    lane->io = setup->io;
    lane->region = setup->region;
    lane->fds = setup->fds;
    lane->n_files = setup->n_files;
    lane->depth = setup->depth;
    lane->deadline_ms = setup->deadline_ms;
    if (setup->most_gbps > 0)
        lane->pace.ns_per_byte = 1 / setup->most_gbps;
    for (int i = 0; i < WEIR_READ_RANKS; i++)
        weir_reads_init(&lane->queues[i]);
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->changed, NULL);
}

int weir_lane_new(const struct weir_lane_setup *setup, struct weir_lane **out,
                  struct weir_err *err)
{
    struct weir_lane *lane = calloc(1, sizeof(*lane));
    int rc;

    *out = NULL;
    if (!lane)
        return weir_err_nomem(err, sizeof(*lane), "reading");
    init_lane(lane, setup);
    rc = start_thread(lane, err);
    if (rc)
        weir_lane_free(lane);
    else
        *out = lane;
    return rc;
}

static void wake(struct weir_lane *lane)
{
    int was_woken = lane->woken;

    lane->woken = 1;
    if (lane->deaf)
        pthread_cond_broadcast(&lane->changed);
    else if (!was_woken)
        lane->engine->wake(lane->engine_state);
}

void weir_lane_free(struct weir_lane *lane)
{
    if (!lane)
        return;
    pthread_mutex_lock(&lane->lock);
    lane->stop = 1;
    if (lane->has_thread && !lane->rc)
        wake(lane);
    pthread_mutex_unlock(&lane->lock);
    if (lane->has_thread)
        pthread_join(lane->thread, NULL);
    pthread_cond_destroy(&lane->changed);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}

/* ---- what others ask ---- */

const char *weir_lane_name(const struct weir_lane *lane)
{
    return lane->engine->name;
}

const char *weir_lane_note(const struct weir_lane *lane)
{
    return *lane->note ? lane->note : NULL;
}

void weir_lane_submit(struct weir_lane *lane, struct weir_read *read)
{
    read->traced = weir_trace_begin();
    pthread_mutex_lock(&lane->lock);
    atomic_store(&read->state, QUEUED);
    if (read->first)
        weir_reads_put_first(queue_of(lane, read), read);
    else
        weir_reads_put_last(queue_of(lane, read), read);
    wake(lane);
    pthread_mutex_unlock(&lane->lock);
}

int weir_read_is_done(const struct weir_read *read)
{
    return atomic_load_explicit(&read->state, memory_order_acquire) == DONE;
}

int weir_read_has_begun(const struct weir_read *read)
{
    int state = atomic_load(&read->state);

    return state == BUSY || (state == DONE && read->errnum != ECANCELED);
}

int weir_lane_wait(struct weir_lane *lane, struct weir_read *read)
{
    if (!weir_read_is_done(read)) {
        pthread_mutex_lock(&lane->lock);
        while (!weir_read_is_done(read))
            pthread_cond_wait(&lane->changed, &lane->lock);
        pthread_mutex_unlock(&lane->lock);
    }
    return read->errnum;
}

int weir_lane_has_failed(const struct weir_lane *lane)
{
    return lane->failure != 0;
}

/* What lies behind others must not wait for them before it ends. */
void weir_lane_cancel(struct weir_lane *lane, struct weir_read *read)
{
    int queued = QUEUED;

    pthread_mutex_lock(&lane->lock);
    if (atomic_compare_exchange_strong(&read->state, &queued, CANCELLED)) {
        weir_reads_take_out(queue_of(lane, read), read);
        weir_reads_put_first(&lane->queues[WEIR_READ_NOW], read);
        read->rank = WEIR_READ_NOW;
        wake(lane);
    }
    pthread_mutex_unlock(&lane->lock);
}

void weir_lane_raise(struct weir_lane *lane, struct weir_read *read)
{
    pthread_mutex_lock(&lane->lock);
    if (atomic_load(&read->state) == QUEUED && read->rank != WEIR_READ_NOW) {
        weir_reads_take_out(queue_of(lane, read), read);
        read->rank = WEIR_READ_NOW;
        weir_reads_put_last(queue_of(lane, read), read);
        wake(lane);
    }
    pthread_mutex_unlock(&lane->lock);
}

void weir_lane_get_stats(struct weir_lane *lane,
                         struct weir_reader_stats *stats)
{
    pthread_mutex_lock(&lane->lock);
    *stats = lane->stats;
    if (lane->busy_since)
        stats->busy_ns += (uint64_t)(now_ns() - lane->busy_since);
    pthread_mutex_unlock(&lane->lock);
}
