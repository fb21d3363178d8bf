/* SPDX-License-Identifier: Apache-2.0 */
#include "model/layers.h"

#include "model/linear.h"
#include "model/rows.h"

static int run_gates(struct weir_jamba *jamba, const struct weir_mlp_job *jobs,
                     size_t n_jobs, struct weir_err *err)
{
    size_t hidden = jamba->config.n_hidden, inter = jamba->config.n_inter;
    struct weir_product *products = jamba->work.products;
    float *gate = jamba->work.gate, *up = jamba->work.up;

    for (size_t i = 0; i < n_jobs; i++) {
        const struct weir_mlp_job *job = &jobs[i];

        products[2 * i] = weir_product(&job->mlp->gate, job->x, hidden,
                                       job->n_tok, gate, inter);
        products[2 * i + 1] =
            weir_product(&job->mlp->up, job->x, hidden, job->n_tok, up, inter);
        products[2 * i].precision = products[2 * i + 1].precision =
            weir_precision_of(WEIR_COARSE, job->prompt);
        gate += job->n_tok * inter;
        up += job->n_tok * inter;
    }
    return weir_linear_run(jamba, products, 2 * n_jobs, err);
}

static int run_downs(struct weir_jamba *jamba, const struct weir_mlp_job *jobs,
                     size_t n_jobs, struct weir_err *err)
{
    size_t hidden = jamba->config.n_hidden, inter = jamba->config.n_inter;
    struct weir_product *products = jamba->work.products;
    const float *gate = jamba->work.gate;

    for (size_t i = 0; i < n_jobs; i++) {
        products[i] = weir_product(&jobs[i].mlp->down, gate, inter,
                                   jobs[i].n_tok, jobs[i].y, hidden);
        products[i].precision = weir_precision_of(WEIR_COARSE, jobs[i].prompt);
        gate += jobs[i].n_tok * inter;
    }
    return weir_linear_run(jamba, products, n_jobs, err);
}

int weir_layer_mlps(struct weir_jamba *jamba, const struct weir_mlp_job *jobs,
                    size_t n_jobs, struct weir_err *err)
{
    size_t inter = jamba->config.n_inter, n_tok = 0;
    int rc = run_gates(jamba, jobs, n_jobs, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n_jobs; i++)
        n_tok += jobs[i].n_tok;
    weir_rows_silu_mul(jamba, jamba->work.gate, jamba->work.up, n_tok, inter);
    return run_downs(jamba, jobs, n_jobs, err);
}
