/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that runs the model.  Jobs wait in a queue with a ceiling, run in
 * step as places get free, and join and leave between two steps.  What they
 * bring is news, which another thread takes when it has time: news of one job
 * add up until then, so that a slow taker holds nobody up, and no more of it
 * lies here than its answer is long.
 *
 * All functions but weir_runner_start() and weir_runner_stop() may be called by
 * any thread; none waits for the model.
 */
#ifndef WEIR_SERVE_RUNNER_H
#define WEIR_SERVE_RUNNER_H

#include <sys/queue.h>

#include "engine/schedule.h"
#include "offload/residency.h"
#include "serve/histogram.h"

struct weir_runner;

enum weir_job_state {
    WEIR_JOB_WAITS,
    WEIR_JOB_RUNS,
    /* of these it is in one at last */
    WEIR_JOB_ENDED,
    WEIR_JOB_FAILED,
    WEIR_JOB_CANCELLED,
};

/* A text to be written */
struct weir_job {
    struct weir_request request; /* but for the tag; it owns the ids */
    void *owner;                 /* whose it is; the runner does not care */
    /* the rest is the runner's */
    enum weir_job_state state;
    int is_cancelled, has_news;
    struct weir_buf text, ids; /* since the last news */
    struct weir_scored_list scored;
    size_t n_bytes, n_ids, n_scored; /* with all before */
    size_t n_cached;                 /* of the prompt, not computed */
    enum weir_end end;
    struct weir_err err;
    uint64_t queued_ns, token_ns; /* when it came; its last token */
    TAILQ_ENTRY(weir_job) entry;  /* of those that wait, or run */
    TAILQ_ENTRY(weir_job) news;
};

/*
 * Zeros but for `request`, a copy with its own ids.  NULL: no memory.  Release
 * with weir_job_free(), once it was not taken or its last news were.
 */
struct weir_job *weir_job_new(const struct weir_request *request, void *owner);
void weir_job_free(struct weir_job *job);

struct weir_runner_options {
    struct weir_schedule_options schedule; /* without goes_on */
    size_t n_queue;                        /* jobs that may wait */
    /* There are news again, called by the runner's thread; must not wait. */
    void (*wake)(void *ctx);
    void *ctx;
};

/*
 * Takes memory as weir_schedule_new() does and starts the thread.  `model` must
 * outlive it.
 */
int weir_runner_start(weir_model *model,
                      const struct weir_runner_options *options,
                      struct weir_runner **runner, struct weir_err *err);

/* Ends after the step that is under way.  Jobs are the caller's again. */
void weir_runner_stop(struct weir_runner *runner);

/*
 * Takes all n jobs, or none: WEIR_ELIMIT when more wait than may.  After an
 * error that ended the runner: that one.
 */
int weir_runner_submit(struct weir_runner *runner, struct weir_job *const *jobs,
                       size_t n, struct weir_err *err);

/* Nobody waits for the job any more; it is told of once more, as cancelled, or
 * as ended if it was by then. */
void weir_runner_cancel(struct weir_runner *runner, struct weir_job *job);

struct weir_news {
    struct weir_job *job;
    enum weir_job_state state; /* from WEIR_JOB_ENDED on these are the last */
    struct weir_buf text, ids; /* since the last ones, without those that */
                               /* ended it; release all with _fini() */
    struct weir_scored_list scored; /* of the tokens that belong to the text */
    size_t n_ids;                   /* of the whole answer so far */
    size_t n_cached;                /* of the prompt, not computed */
    enum weir_end end;
    struct weir_err err; /* when it failed */
};

/* 1 with news of a job, 0 when there are none. */
int weir_runner_take_news(struct weir_runner *runner, struct weir_news *news);

struct weir_runner_stats {
    size_t n_places, n_running, n_waiting, n_queue;
    uint64_t n_steps, n_prompt_tok, n_tok;
    uint64_t n_ended, n_failed, n_cancelled;
    struct weir_histogram waiting;        /* until a place was free */
    struct weir_histogram first_token;    /* since the job came */
    struct weir_histogram between_tokens; /* of one text */
    struct weir_residency_stats residency;
    struct weir_texts_stats texts;
    double used_bytes[WEIR_TALLY_PLACES]; /* of weights, by all steps */
    int has_failed;                       /* it has ended with this error */
    struct weir_err err;
};

void weir_runner_get_stats(struct weir_runner *runner,
                           struct weir_runner_stats *stats);

#endif
