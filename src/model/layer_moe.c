/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixture of experts (Lieber and others 2024, section 2).  The tokens of a span
 * are grouped by expert, so that an expert's weights are used once for all of
 * them, whatever their number, and may be forgotten then.  As many rows as
 * there is room for go side by side, of one expert or of many.
 *
 * What the experts make of a token is added up in ascending order of expert,
 * apart from the residual stream, which receives the sum at the end: it is the
 * same whatever tokens are beside it.
 *
 * Of a span that is not in memory as a whole, a share of its tokens meets a
 * share of the experts at a time, those with lower numbers first.
 */
#include "model/layers.h"

#include <string.h>

#include "model/linear.h"
#include "model/rows.h"

int weir_layer_route(struct weir_jamba *jamba,
                     const struct weir_bind_layer *layer, const float *x,
                     size_t row, size_t n_tok, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    struct weir_work *work = &jamba->work;
    size_t at = row * config->n_top;
    int rc =
        weir_linear_apply_exact(jamba, &layer->router, x, config->n_hidden,
                                n_tok, work->router, config->n_experts, err);

    if (rc)
        return rc;
    jamba->kernels.route(work->router, config->n_experts, n_tok,
                         config->n_experts, config->n_top, work->expert + at,
                         work->prob + at);
    memset(work->prompts + row, work->prompt, n_tok);
    return 0;
}

/* work.order: the choices of the share's tokens by expert, counted from its
 * first; work.first: where each expert's begin (counting sort) */
static void sort_choices(struct weir_jamba *jamba,
                         const struct weir_expert_share *share)
{
    struct weir_work *work = &jamba->work;
    uint32_t n_experts = jamba->config.n_experts;
    const uint32_t *expert = work->expert + share->row * jamba->config.n_top;
    size_t n = share->n_tok * jamba->config.n_top, at = 0, count;

    memset(work->first, 0, (n_experts + 1u) * sizeof(*work->first));
    for (size_t i = 0; i < n; i++)
        work->first[expert[i]]++;
    for (uint32_t e = 0; e <= n_experts; e++, at += count) {
        count = work->first[e];
        work->first[e] = at;
    }
    for (size_t i = 0; i < n; i++)
        work->order[work->first[expert[i]]++] = (uint32_t)i;
    for (uint32_t e = n_experts; e > 0; e--)
        work->first[e] = work->first[e - 1];
    work->first[0] = 0;
}

/* The choices that are still to be computed, from expert `expert` on */
struct queue {
    struct weir_jamba *jamba;
    const struct weir_bind_layer *layer;
    const struct weir_expert_share *share;
    uint32_t expert, n_done;
    size_t at; /* in work.order */
    struct weir_err *err;
};

/* Moves on to the expert that has choices left; 0: there are none. */
static size_t choices_left(struct queue *queue)
{
    const struct weir_work *work = &queue->jamba->work;

    while (queue->expert < queue->share->to &&
           queue->at == work->first[queue->expert + 1])
        queue->expert++;
    return queue->expert < queue->share->to
               ? work->first[queue->expert + 1] - queue->at
               : 0;
}

/* Rows of one expert from row `row` of the round on, of prompts or of none */
static size_t take_job(struct queue *queue, size_t row, size_t most,
                       struct weir_mlp_job *job)
{
    const struct weir_config *config = &queue->jamba->config;
    struct weir_work *work = &queue->jamba->work;
    const uint8_t *prompts = work->prompts + queue->share->row;
    const float *prob = work->prob + queue->share->row * config->n_top;
    size_t left = choices_left(queue), n;
    uint32_t choice, token;

    if (most > WEIR_CHUNK_TOK)
        most = WEIR_CHUNK_TOK;
    if (most > left)
        most = left;
    *job = (struct weir_mlp_job){
        .mlp = &queue->layer->mlps[queue->expert],
        .x = work->expert_in + row * config->n_hidden,
        .y = work->expert_out + row * config->n_hidden,
    };
    for (n = 0; n < most; n++) {
        choice = work->order[queue->at + n];
        token = choice / config->n_top;
        if (n == 0)
            job->prompt = prompts[token];
        else if (prompts[token] != job->prompt)
            break;
        work->token[row + n] = token;
        work->weight[row + n] = prob[choice];
    }
    job->n_tok = n;
    queue->at += n;
    return n;
}

/* The jobs of a round: as many as have room.  Returns their rows. */
static size_t take_jobs(struct queue *queue, size_t *n_jobs)
{
    struct weir_jamba *jamba = queue->jamba;
    struct weir_work *work = &jamba->work;
    size_t at_once = weir_residency_at_once(jamba->residency);
    size_t row = 0, n_experts = 0;
    uint32_t last = 0;

    for (*n_jobs = 0; *n_jobs < work->n_jobs && row < work->ff_tok; ++*n_jobs) {
        if (!choices_left(queue))
            break;
        if (*n_jobs == 0 || queue->expert != last)
            n_experts++;
        if (n_experts > at_once)
            break;
        last = queue->expert;
        row += take_job(queue, row, work->ff_tok - row, &work->jobs[*n_jobs]);
    }
    return row;
}

/* Experts up to `to` have met all tokens of the share. */
static void done_up_to(struct queue *queue, uint32_t to)
{
    if (!queue->share->is_last)
        return;
    for (; queue->n_done < to; queue->n_done++)
        weir_residency_done(queue->jamba->residency,
                            queue->layer->mlps[queue->n_done].unit);
}

static int run_round(struct queue *queue)
{
    struct weir_jamba *jamba = queue->jamba;
    struct weir_work *work = &jamba->work;
    size_t hidden = jamba->config.n_hidden, n_jobs, n_rows;
    int rc;

    n_rows = take_jobs(queue, &n_jobs);
    weir_rows_gather_norm(jamba, work->hidden, work->token, n_rows, hidden,
                          queue->layer->pre_ff_norm, work->expert_in);
    rc = weir_layer_mlps(jamba, work->jobs, n_jobs, queue->err);
    if (rc)
        return rc;
    weir_rows_scatter_add(jamba, work->expert_out, work->token, work->weight,
                          n_rows, hidden, work->sum);
    choices_left(queue);
    done_up_to(queue, queue->expert);
    return 0;
}

void weir_layer_want_experts(struct weir_jamba *jamba,
                             const struct weir_bind_layer *layer, uint32_t from,
                             uint32_t to, size_t n_tok)
{
    struct weir_work *work = &jamba->work;
    size_t n = n_tok * jamba->config.n_top;

    memset(work->first, 0,
           (jamba->config.n_experts + 1u) * sizeof(*work->first));
    for (size_t i = 0; i < n; i++)
        work->first[work->expert[i]] = 1;
    for (uint32_t e = from; e < to; e++)
        if (work->first[e])
            weir_residency_want(jamba->residency, layer->mlps[e].unit);
}

int weir_layer_experts(struct weir_jamba *jamba,
                       const struct weir_bind_layer *layer,
                       const struct weir_expert_share *share,
                       struct weir_err *err)
{
    struct queue queue = {.jamba = jamba,
                          .layer = layer,
                          .share = share,
                          .expert = share->from,
                          .n_done = share->from,
                          .err = err};
    struct weir_work *work = &jamba->work;
    size_t hidden = jamba->config.n_hidden;
    int rc = 0;

    sort_choices(jamba, share);
    queue.at = work->first[share->from];
    if (share->from == 0)
        weir_rows_clear(jamba, work->sum, share->n_tok, hidden);
    while (choices_left(&queue) && !rc)
        rc = run_round(&queue);
    if (rc)
        return rc;
    done_up_to(&queue, share->to);
    if (share->to == jamba->config.n_experts)
        weir_rows_add(jamba, work->hidden, work->sum, share->n_tok, hidden);
    return 0;
}
