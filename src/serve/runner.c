/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The schedule belongs to the thread alone; everything that others see is under
 * the lock, which is never held during a step.  A step that fails takes down
 * all texts that were in it, since nobody knows where they stand; those that
 * wait then run in a new schedule.
 */
#include "serve/runner.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

TAILQ_HEAD(job_list, weir_job);

struct weir_runner {
    weir_model *model;
    struct weir_runner_options options;
    struct weir_schedule *schedule; /* the thread's */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* jobs or stops */
    struct job_list waiting, running, news;
    int stops;
    struct weir_runner_stats stats;
};

/* ---- jobs ---- */

struct weir_job *weir_job_new(const struct weir_request *request, void *owner)
{
    size_t n_bytes = request->n_ids * sizeof(*request->ids);
    struct weir_job *job = calloc(1, sizeof(*job));
    int32_t *ids = malloc(n_bytes);

    if (!job || !ids) {
        free(job);
        free(ids);
        return NULL;
    }
    memcpy(ids, request->ids, n_bytes);
    job->request = *request;
    job->request.ids = ids;
    job->request.tag = job;
    job->request.grammar = weir_grammar_share(request->grammar);
    job->owner = owner;
    job->text.ceiling = job->ids.ceiling = SIZE_MAX; /* the schedule has one */
    weir_scored_init(&job->scored, request->n_scores, request->n_tokens);
    return job;
}

void weir_job_free(struct weir_job *job)
{
    if (!job)
        return;
    weir_buf_fini(&job->text);
    weir_buf_fini(&job->ids);
    weir_scored_fini(&job->scored);
    free((int32_t *)job->request.ids);
    weir_grammar_release(job->request.grammar);
    free(job);
}

/* ---- news, under the lock ---- */

static void add_news(struct weir_runner *runner, struct weir_job *job)
{
    int was_empty = TAILQ_EMPTY(&runner->news);

    if (job->has_news)
        return;
    job->has_news = 1;
    TAILQ_INSERT_TAIL(&runner->news, job, news);
    if (was_empty)
        runner->options.wake(runner->options.ctx);
}

static void end_job(struct weir_runner *runner, struct weir_job *job,
                    enum weir_job_state state)
{
    struct weir_runner_stats *stats = &runner->stats;

    if (job->state == WEIR_JOB_RUNS) {
        TAILQ_REMOVE(&runner->running, job, entry);
        stats->n_running--;
    } else {
        TAILQ_REMOVE(&runner->waiting, job, entry);
        stats->n_waiting--;
    }
    stats->n_ended += state == WEIR_JOB_ENDED;
    stats->n_failed += state == WEIR_JOB_FAILED;
    stats->n_cancelled += state == WEIR_JOB_CANCELLED;
    job->state = state;
    add_news(runner, job);
}

static void fail_job(struct weir_runner *runner, struct weir_job *job,
                     const struct weir_err *err)
{
    job->err = *err;
    end_job(runner, job, WEIR_JOB_FAILED);
}

int weir_runner_take_news(struct weir_runner *runner, struct weir_news *news)
{
    struct weir_job *job;

    pthread_mutex_lock(&runner->lock);
    job = TAILQ_FIRST(&runner->news);
    if (job) {
        TAILQ_REMOVE(&runner->news, job, news);
        job->has_news = 0;
        *news = (struct weir_news){job,           job->state,  job->text,
                                   job->ids,      job->scored, job->n_ids,
                                   job->n_cached, job->end,    job->err};
        job->text = (struct weir_buf)WEIR_BUF(SIZE_MAX);
        job->ids = (struct weir_buf)WEIR_BUF(SIZE_MAX);
        weir_scored_init(&job->scored, job->request.n_scores,
                         job->request.n_tokens);
    }
    pthread_mutex_unlock(&runner->lock);
    return job != NULL;
}

/* ---- what a step brings; called without the lock ---- */

static void time_token(struct weir_runner_stats *stats, struct weir_job *job)
{
    uint64_t now = weir_clock_ns();

    if (job->token_ns)
        weir_histogram_add(&stats->between_tokens, now - job->token_ns);
    else
        weir_histogram_add(&stats->first_token, now - job->queued_ns);
    job->token_ns = now;
}

/* What has been added since the last time */
static int add_new(struct weir_job *job, const struct weir_answer *answer,
                   struct weir_err *err)
{
    size_t n_bytes = answer->n_bytes - job->n_bytes;
    size_t n_ids = answer->n_ids - job->n_ids;
    int rc = 0;

    if (n_bytes)
        rc =
            weir_buf_add(&job->text, answer->text + job->n_bytes, n_bytes, err);
    if (n_ids && !rc)
        rc = weir_buf_add(&job->ids, answer->ids + job->n_ids,
                          n_ids * sizeof(*answer->ids), err);
    if (!rc)
        rc = weir_scored_add(&job->scored, &answer->scored, job->n_scored, err);
    job->n_bytes = answer->n_bytes;
    job->n_ids = answer->n_ids;
    job->n_scored = answer->scored.n;
    return rc;
}

static int add_answer(struct weir_runner *runner, struct weir_job *job,
                      const struct weir_answer *answer, struct weir_err *err)
{
    if (!job->token_ns)
        runner->stats.n_prompt_tok += answer->n_prompt - answer->n_cached;
    job->n_cached = answer->n_cached;
    runner->stats.n_tok += answer->n_ids - job->n_ids;
    time_token(&runner->stats, job);
    return add_new(job, answer, err);
}

static int goes_on(void *ctx, const struct weir_answer *answer,
                   struct weir_err *err)
{
    struct weir_runner *runner = ctx;
    struct weir_job *job = answer->tag;
    int rc;

    pthread_mutex_lock(&runner->lock);
    rc = add_answer(runner, job, answer, err);
    add_news(runner, job);
    pthread_mutex_unlock(&runner->lock);
    return rc;
}

static int finished(void *ctx, const struct weir_answer *answer,
                    struct weir_err *err)
{
    struct weir_runner *runner = ctx;
    struct weir_job *job = answer->tag;
    int rc;

    pthread_mutex_lock(&runner->lock);
    rc = add_answer(runner, job, answer, err);
    job->end = answer->end;
    if (!rc)
        end_job(runner, job, WEIR_JOB_ENDED);
    pthread_mutex_unlock(&runner->lock);
    return rc;
}

/* ---- the thread ---- */

static int open_schedule(struct weir_runner *runner, struct weir_err *err)
{
    struct weir_schedule_options options = runner->options.schedule;

    options.goes_on = goes_on;
    return weir_schedule_new(runner->model, &options, finished, runner,
                             &runner->schedule, err);
}

/* Under the lock, between two steps. */
static void drop_cancelled(struct weir_runner *runner)
{
    struct weir_job *job = TAILQ_FIRST(&runner->running), *next;

    for (; job; job = next) {
        next = TAILQ_NEXT(job, entry);
        if (!job->is_cancelled)
            continue;
        weir_schedule_cancel(runner->schedule, job);
        end_job(runner, job, WEIR_JOB_CANCELLED);
    }
}

/* Under the lock; adding takes memory for a text, but does not compute. */
static void fill_places(struct weir_runner *runner)
{
    struct weir_runner_stats *stats = &runner->stats;
    struct weir_err err;
    struct weir_job *job;

    while (weir_schedule_n_free(runner->schedule) &&
           (job = TAILQ_FIRST(&runner->waiting))) {
        if (weir_schedule_add(runner->schedule, &job->request, &err)) {
            fail_job(runner, job, &err);
            continue;
        }
        TAILQ_REMOVE(&runner->waiting, job, entry);
        TAILQ_INSERT_TAIL(&runner->running, job, entry);
        job->state = WEIR_JOB_RUNS;
        stats->n_waiting--;
        stats->n_running++;
        weir_histogram_add(&stats->waiting, weir_clock_ns() - job->queued_ns);
    }
}

static void fail_all(struct weir_runner *runner, struct job_list *jobs,
                     const struct weir_err *err)
{
    while (!TAILQ_EMPTY(jobs))
        fail_job(runner, TAILQ_FIRST(jobs), err);
}

/* Under the lock. */
static void begin_again(struct weir_runner *runner, const struct weir_err *why)
{
    struct weir_err err;

    fail_all(runner, &runner->running, why);
    weir_schedule_free(runner->schedule);
    runner->schedule = NULL;
    if (!open_schedule(runner, &err))
        return;
    fail_all(runner, &runner->waiting, &err);
    runner->stats.err = err;
    runner->stats.has_failed = 1;
    runner->options.wake(runner->options.ctx);
}

static void step(struct weir_runner *runner)
{
    const struct weir_tally *tally = weir_schedule_tally(runner->schedule);
    struct weir_residency_stats residency;
    struct weir_texts_stats texts;
    double used[WEIR_TALLY_PLACES];
    struct weir_err err;
    int rc;

    pthread_mutex_unlock(&runner->lock);
    memcpy(used, tally->used_bytes, sizeof(used));
    rc = weir_schedule_step(runner->schedule, &err);
    weir_residency_get_stats(runner->model->jamba->residency, &residency);
    weir_schedule_get_texts(runner->schedule, &texts);
    pthread_mutex_lock(&runner->lock);
    runner->stats.n_steps++;
    runner->stats.residency = residency;
    runner->stats.texts = texts;
    for (int i = 0; i < WEIR_TALLY_PLACES; i++)
        runner->stats.used_bytes[i] += tally->used_bytes[i] - used[i];
    if (rc)
        begin_again(runner, &err);
}

static void *run(void *ctx)
{
    struct weir_runner *runner = ctx;

    pthread_mutex_lock(&runner->lock);
    while (!runner->stops && runner->schedule) {
        drop_cancelled(runner);
        fill_places(runner);
        if (weir_schedule_n_running(runner->schedule))
            step(runner);
        else
            pthread_cond_wait(&runner->changed, &runner->lock);
    }
    pthread_mutex_unlock(&runner->lock);
    return NULL;
}

/* ---- for other threads ---- */

int weir_runner_start(weir_model *model,
                      const struct weir_runner_options *options,
                      struct weir_runner **out, struct weir_err *err)
{
    struct weir_runner *runner = calloc(1, sizeof(*runner));
    int rc;

    *out = NULL;
    if (!runner)
        return weir_err_nomem(err, sizeof(*runner), "a runner");
    runner->model = model;
    runner->options = *options;
    runner->stats.n_places = options->schedule.n_places;
    runner->stats.n_queue = options->n_queue;
    runner->stats.residency.io = "mmap";
    TAILQ_INIT(&runner->waiting);
    TAILQ_INIT(&runner->running);
    TAILQ_INIT(&runner->news);
    pthread_mutex_init(&runner->lock, NULL);
    pthread_cond_init(&runner->changed, NULL);
    rc = open_schedule(runner, err);
    if (!rc) {
        rc = pthread_create(&runner->thread, NULL, run, runner);
        if (!rc) {
            *out = runner;
            return 0;
        }
        rc = weir_err_errno(err, rc, "start", "the thread of the model");
    }
    weir_schedule_free(runner->schedule);
    free(runner);
    return rc;
}

void weir_runner_stop(struct weir_runner *runner)
{
    if (!runner)
        return;
    pthread_mutex_lock(&runner->lock);
    runner->stops = 1;
    pthread_cond_signal(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    pthread_join(runner->thread, NULL);
    weir_schedule_free(runner->schedule);
    pthread_cond_destroy(&runner->changed);
    pthread_mutex_destroy(&runner->lock);
    free(runner);
}

static int check_room(const struct weir_runner *runner, size_t n,
                      struct weir_err *err)
{
    const struct weir_runner_stats *stats = &runner->stats;
    size_t n_free = stats->n_places - stats->n_running;

    if (stats->has_failed) {
        *err = stats->err;
        return err->code;
    }
    if (stats->n_waiting + n <= n_free + stats->n_queue)
        return 0;
    return weir_err_set(err, WEIR_ELIMIT,
                        "%zu texts are under way and %zu wait, which is all "
                        "that may; try again later",
                        stats->n_running, stats->n_waiting);
}

int weir_runner_submit(struct weir_runner *runner, struct weir_job *const *jobs,
                       size_t n, struct weir_err *err)
{
    uint64_t now = weir_clock_ns();
    int rc;

    pthread_mutex_lock(&runner->lock);
    rc = check_room(runner, n, err);
    for (size_t i = 0; i < n && !rc; i++) {
        jobs[i]->queued_ns = now;
        TAILQ_INSERT_TAIL(&runner->waiting, jobs[i], entry);
        runner->stats.n_waiting++;
    }
    pthread_cond_signal(&runner->changed);
    pthread_mutex_unlock(&runner->lock);
    return rc;
}

void weir_runner_cancel(struct weir_runner *runner, struct weir_job *job)
{
    pthread_mutex_lock(&runner->lock);
    job->is_cancelled = 1;
    if (job->state == WEIR_JOB_WAITS)
        end_job(runner, job, WEIR_JOB_CANCELLED);
    pthread_mutex_unlock(&runner->lock);
}

void weir_runner_get_stats(struct weir_runner *runner,
                           struct weir_runner_stats *stats)
{
    pthread_mutex_lock(&runner->lock);
    *stats = runner->stats;
    pthread_mutex_unlock(&runner->lock);
}
