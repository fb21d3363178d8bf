/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading with threads that wait in pread().  A thread whose drive does not
 * answer cannot be ended: when there is one as the engine is closed, the
 * threads are left behind, and the last one to leave frees what they share.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "offload/reader_engine.h"

#define MAX_THREADS 16

/* A list of ops, first in first out */
struct fifo {
    struct weir_op *head, **tail;
};

struct crew {
    struct weir_io_calls calls;
    int fds[WEIR_READ_FILES_MAX];
    pthread_mutex_t lock;
    pthread_cond_t work;   /* for the threads */
    pthread_cond_t answer; /* for the reader's thread */
    struct fifo todo, ended;
    pthread_t threads[MAX_THREADS];
    unsigned n_threads, n_serving;
    unsigned n_users; /* threads, and the engine itself */
    int woken, closed;
};

static void push(struct fifo *fifo, struct weir_op *op)
{
    op->next = NULL;
    *fifo->tail = op;
    fifo->tail = &op->next;
}

static struct weir_op *pop(struct fifo *fifo)
{
    struct weir_op *op = fifo->head;

    if (!op)
        return NULL;
    fifo->head = op->next;
    if (!fifo->head)
        fifo->tail = &fifo->head;
    return op;
}

/* Leaves with the lock held, which is given back or gone. */
static void leave(struct crew *crew)
{
    unsigned n_left = --crew->n_users;

    pthread_mutex_unlock(&crew->lock);
    if (n_left)
        return;
    pthread_cond_destroy(&crew->answer);
    pthread_cond_destroy(&crew->work);
    pthread_mutex_destroy(&crew->lock);
    free(crew);
}

/* Reads without the lock, during which the op may go. */
static void serve(struct crew *crew, struct weir_op *op)
{
    uint8_t *buffer = op->buffer;
    off_t offset = (off_t)op->offset;
    size_t n_left = op->n_left;
    int fd = crew->fds[op->file];
    ssize_t n;

    crew->n_serving++;
    pthread_mutex_unlock(&crew->lock);
    n = crew->calls.pread(fd, buffer, n_left, offset);
    if (n < 0)
        n = -errno;
    pthread_mutex_lock(&crew->lock);
    crew->n_serving--;
    if (crew->closed)
        return;
    op->result = n;
    push(&crew->ended, op);
    pthread_cond_signal(&crew->answer);
}

static void *thread_main(void *arg)
{
    struct crew *crew = arg;
    struct weir_op *op;

    pthread_mutex_lock(&crew->lock);
    while (!crew->closed) {
        op = pop(&crew->todo);
        if (op)
            serve(crew, op);
        else
            pthread_cond_wait(&crew->work, &crew->lock);
    }
    leave(crew);
    return NULL;
}

static void crew_close(void *state)
{
    struct crew *crew = state;
    int stuck;

    pthread_mutex_lock(&crew->lock);
    crew->closed = 1;
    stuck = crew->n_serving > 0;
    pthread_cond_broadcast(&crew->work);
    pthread_mutex_unlock(&crew->lock);
    for (unsigned i = 0; i < crew->n_threads; i++)
        if (stuck)
            pthread_detach(crew->threads[i]);
        else
            pthread_join(crew->threads[i], NULL);
    pthread_mutex_lock(&crew->lock);
    leave(crew);
}

static int start_threads(struct crew *crew, unsigned n, struct weir_err *err)
{
    int rc = 0;

    pthread_mutex_lock(&crew->lock);
    for (unsigned i = 0; i < n && !rc; i++) {
        rc = pthread_create(&crew->threads[i], NULL, thread_main, crew);
        if (!rc) {
            crew->n_threads++;
            crew->n_users++;
        }
    }
    pthread_mutex_unlock(&crew->lock);
    return rc ? weir_err_errno(err, rc, "start", "a thread") : 0;
}

static void init_crew(struct crew *crew, const struct weir_engine_setup *setup)
{
    pthread_condattr_t clock;

    crew->calls = *setup->calls;
    for (unsigned i = 0; i < setup->n_files; i++)
        crew->fds[i] = setup->fds[i];
    crew->todo.tail = &crew->todo.head;
    crew->ended.tail = &crew->ended.head;
    crew->n_users = 1;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->work, NULL);
    pthread_cond_init(&crew->answer, &clock);
    pthread_condattr_destroy(&clock);
}

static int crew_open(const struct weir_engine_setup *setup, void **state,
                     struct weir_err *err)
{
    struct crew *crew = calloc(1, sizeof(*crew));
    unsigned n = setup->depth < MAX_THREADS ? setup->depth : MAX_THREADS;
    int rc;

    if (!crew)
        return weir_err_nomem(err, sizeof(*crew), "reading");
    init_crew(crew, setup);
    rc = start_threads(crew, n, err);
    if (rc)
        crew_close(crew);
    else
        *state = crew;
    return rc;
}

static void crew_start(void *state, struct weir_op *op)
{
    struct crew *crew = state;

    pthread_mutex_lock(&crew->lock);
    push(&crew->todo, op);
    pthread_cond_signal(&crew->work);
    pthread_mutex_unlock(&crew->lock);
}

static struct timespec in_ms(int ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000L;
    if (t.tv_nsec >= 1000000000L) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000L;
    }
    return t;
}

static int crew_wait(void *state, int timeout_ms)
{
    struct crew *crew = state;
    struct timespec end = in_ms(timeout_ms < 0 ? 0 : timeout_ms);
    int rc = 0;

    pthread_mutex_lock(&crew->lock);
    while (!crew->ended.head && !crew->woken && rc != ETIMEDOUT)
        if (timeout_ms < 0)
            pthread_cond_wait(&crew->answer, &crew->lock);
        else
            rc = pthread_cond_timedwait(&crew->answer, &crew->lock, &end);
    crew->woken = 0;
    pthread_mutex_unlock(&crew->lock);
    return 0;
}

static struct weir_op *crew_next(void *state)
{
    struct crew *crew = state;
    struct weir_op *op;

    pthread_mutex_lock(&crew->lock);
    op = pop(&crew->ended);
    pthread_mutex_unlock(&crew->lock);
    return op;
}

static void crew_wake(void *state)
{
    struct crew *crew = state;

    pthread_mutex_lock(&crew->lock);
    crew->woken = 1;
    pthread_cond_signal(&crew->answer);
    pthread_mutex_unlock(&crew->lock);
}

const struct weir_engine weir_engine_pread = {
    .name = "pread",
    .open = crew_open,
    .close = crew_close,
    .start = crew_start,
    .wait = crew_wait,
    .next = crew_next,
    .wake = crew_wake,
};
