/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixture of experts (Lieber and others 2024, section 2).  Tokens are grouped
 * by expert, so that an expert's weights are used once for all tokens of the
 * chunk that want it, and the experts run side by side.  What they make of a
 * token is added in ascending order of expert: the sum is the same whatever
 * tokens are beside it.
 */
#include "model/layers.h"

#include "model/linear.h"
#include "model/rows.h"

/*
 * Lists the tokens that go to expert `e`, from row `row` of work.expert_in on,
 * and notes their rows in work.slot; how many they are.  `chosen` are the
 * experts of n_tok tokens.
 */
static size_t list_tokens(struct weir_jamba *jamba, uint32_t e,
                          const uint32_t *chosen, size_t n_tok, size_t row)
{
    size_t k = jamba->config.n_top, n = 0;

    for (size_t i = 0; i < n_tok * k; i++) {
        if (chosen[i] != e)
            continue;
        jamba->work.token[row + n] = (uint32_t)(i / k);
        jamba->work.slot[i] = (uint32_t)(row + n);
        n++;
    }
    return n;
}

/* The jobs of the experts that have room side by side; they are done then. */
static int run_jobs(struct weir_jamba *jamba, size_t n_jobs,
                    struct weir_err *err)
{
    const struct weir_mlp_job *jobs = jamba->work.jobs;
    size_t most = weir_residency_at_once(jamba->residency), n;
    int rc = 0;

    for (size_t i = 0; i < n_jobs && !rc; i += n) {
        n = n_jobs - i < most ? n_jobs - i : most;
        rc = weir_layer_mlps(jamba, jobs + i, n, err);
        for (size_t k = i; k < i + n; k++)
            weir_residency_done(jamba->residency, jobs[k].mlp->unit);
    }
    return rc;
}

/* n_tok tokens at x, whose experts and probabilities begin at `first` */
static int run_experts(struct weir_jamba *jamba,
                       const struct weir_bind_layer *layer, const float *x,
                       size_t first, size_t n_tok, float *y,
                       struct weir_err *err)
{
    struct weir_work *work = &jamba->work;
    size_t hidden = jamba->config.n_hidden, k = jamba->config.n_top;
    size_t n_jobs = 0, row = 0;
    int rc;

    for (uint32_t e = 0; e < jamba->config.n_experts; e++) {
        size_t n = list_tokens(jamba, e, work->expert + first * k, n_tok, row);

        if (!n)
            continue;
        weir_residency_want(jamba->residency, layer->mlps[e].unit);
        work->jobs[n_jobs++] = (struct weir_mlp_job){
            &layer->mlps[e], work->expert_in + row * hidden, n,
            work->expert_out + row * hidden};
        row += n;
    }
    weir_rows_gather(jamba, x, work->token, row, hidden, work->expert_in);
    rc = run_jobs(jamba, n_jobs, err);
    if (!rc)
        weir_rows_combine(jamba, work->expert_out, work->slot,
                          work->prob + first * k, k, n_tok, hidden, y);
    return rc;
}

int weir_layer_moe(struct weir_jamba *jamba,
                   const struct weir_bind_layer *layer, const float *x,
                   size_t n_tok, float *y, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    struct weir_work *work = &jamba->work;
    size_t hidden = config->n_hidden, most = work->ff_tok / config->n_top, n;
    int rc;

    rc = weir_linear_apply_exact(jamba, &layer->router, x, hidden, n_tok,
                                 work->router, config->n_experts, err);
    if (rc)
        return rc;
    jamba->kernels.route(work->router, config->n_experts, n_tok,
                         config->n_experts, config->n_top, work->expert,
                         work->prob);
    for (size_t t = 0; t < n_tok && !rc; t += n) {
        n = n_tok - t < most ? n_tok - t : most;
        rc = run_experts(jamba, layer, x + t * hidden, t, n, y + t * hidden,
                         err);
    }
    return rc;
}
