/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixture of experts (Lieber and others 2024, section 2).  Tokens are grouped
 * by expert, so that an expert's weights are used once for all tokens of the
 * chunk that want it, and the experts run side by side.  What they make of a
 * token is added in ascending order of expert: the sum is the same whatever
 * tokens are beside it.
 */
#include "model/layers.h"

#include <string.h>

#include "model/linear.h"

/*
 * Copies to work.expert_in the tokens that go to expert `e`, from row `row` on,
 * and notes their rows in work.slot; how many they are.  `first` is the number
 * in the chunk of the first of the n_tok tokens at x.
 */
static size_t gather(struct weir_jamba *jamba, uint32_t e, const float *x,
                     size_t first, size_t n_tok, size_t row)
{
    size_t hidden = jamba->config.n_hidden, k = jamba->config.n_top, n = 0;
    const uint32_t *chosen = jamba->work.expert + first * k;

    for (size_t i = 0; i < n_tok * k; i++) {
        if (chosen[i] != e)
            continue;
        memcpy(jamba->work.expert_in + (row + n) * hidden, x + i / k * hidden,
               hidden * sizeof(*x));
        jamba->work.slot[i] = (uint32_t)(row + n);
        n++;
    }
    return n;
}

/* Adds up what the experts made of each token, by the token's weight for it. */
static void scatter(struct weir_jamba *jamba, size_t first, size_t n_tok,
                    float *y)
{
    const struct weir_work *work = &jamba->work;
    size_t hidden = jamba->config.n_hidden, k = jamba->config.n_top;

    memset(y, 0, n_tok * hidden * sizeof(*y));
    for (size_t i = 0; i < n_tok * k; i++)
        jamba->kernels.add_scaled(y + i / k * hidden, hidden,
                                  work->expert_out + work->slot[i] * hidden,
                                  hidden, work->prob + first * k + i, 1,
                                  hidden);
}

/* Tokens first .. first + n_tok - 1 of the chunk, which are at x */
static int run_experts(struct weir_jamba *jamba,
                       const struct weir_bind_layer *layer, const float *x,
                       size_t first, size_t n_tok, float *y,
                       struct weir_err *err)
{
    struct weir_work *work = &jamba->work;
    size_t hidden = jamba->config.n_hidden, n_jobs = 0, row = 0;
    int rc;

    for (uint32_t e = 0; e < jamba->config.n_experts; e++) {
        size_t n = gather(jamba, e, x, first, n_tok, row);

        if (!n)
            continue;
        weir_residency_want(jamba->residency, layer->mlps[e].unit);
        work->jobs[n_jobs++] = (struct weir_mlp_job){
            &layer->mlps[e], work->expert_in + row * hidden, n,
            work->expert_out + row * hidden};
        row += n;
    }
    rc = weir_layer_mlps(jamba, work->jobs, n_jobs, err);
    if (!rc)
        scatter(jamba, first, n_tok, y);
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

    rc = weir_linear_apply(jamba, &layer->router, x, hidden, n_tok,
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
