/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mixture of experts (Lieber and others 2024, section 2).  Tokens are grouped
 * by expert, so that an expert's weights are used once for all tokens of the
 * chunk that want it.  Experts go in ascending order, and so does the sum of a
 * token's experts: it is the same whatever tokens are beside it.
 */
#include "model/layers.h"

#include <string.h>

#include "model/linear.h"

/* The place of expert `e` among the k of token t, or -1 */
static int place_of(const struct weir_jamba *jamba, size_t t, uint32_t e)
{
    uint32_t k = jamba->config.n_top;
    const uint32_t *chosen = jamba->work.expert + t * k;

    for (uint32_t i = 0; i < k; i++)
        if (chosen[i] == e)
            return (int)i;
    return -1;
}

static size_t count_tokens(const struct weir_jamba *jamba, uint32_t e,
                           size_t n_tok)
{
    size_t n = 0;

    for (size_t t = 0; t < n_tok; t++)
        n += place_of(jamba, t, e) >= 0;
    return n;
}

/* Copies the tokens that go to expert `e` side by side. */
static void gather(struct weir_jamba *jamba, uint32_t e, const float *x,
                   size_t n_tok)
{
    size_t hidden = jamba->config.n_hidden;
    float *to = jamba->work.expert_in;

    for (size_t t = 0; t < n_tok; t++) {
        if (place_of(jamba, t, e) < 0)
            continue;
        memcpy(to, x + t * hidden, hidden * sizeof(*to));
        to += hidden;
    }
}

/* Adds what expert `e` made of its tokens, by their weight for it. */
static void scatter(struct weir_jamba *jamba, uint32_t e, size_t n_tok,
                    float *y)
{
    size_t hidden = jamba->config.n_hidden, k = jamba->config.n_top;
    const float *from = jamba->work.expert_out;

    for (size_t t = 0; t < n_tok; t++) {
        int place = place_of(jamba, t, e);

        if (place < 0)
            continue;
        jamba->kernels.add_scaled(y + t * hidden, hidden, from, hidden,
                                  jamba->work.prob + t * k + place, 1, hidden);
        from += hidden;
    }
}

static void want_experts(struct weir_jamba *jamba,
                         const struct weir_bind_layer *layer, size_t n_tok)
{
    for (uint32_t e = 0; e < jamba->config.n_experts; e++)
        if (count_tokens(jamba, e, n_tok))
            weir_residency_want(jamba->residency, layer->mlps[e].unit);
}

static int run_experts(struct weir_jamba *jamba,
                       const struct weir_bind_layer *layer, const float *x,
                       size_t n_tok, float *y, struct weir_err *err)
{
    struct weir_work *work = &jamba->work;

    for (uint32_t e = 0; e < jamba->config.n_experts; e++) {
        size_t n = count_tokens(jamba, e, n_tok);
        int rc;

        if (!n)
            continue;
        gather(jamba, e, x, n_tok);
        rc = weir_layer_mlp(jamba, &layer->mlps[e], work->expert_in, n,
                            work->expert_out, err);
        if (rc)
            return rc;
        scatter(jamba, e, n_tok, y);
    }
    return 0;
}

int weir_layer_moe(struct weir_jamba *jamba,
                   const struct weir_bind_layer *layer, const float *x,
                   size_t n_tok, float *y, struct weir_err *err)
{
    const struct weir_config *config = &jamba->config;
    struct weir_work *work = &jamba->work;
    int rc;

    rc = weir_linear_apply(jamba, &layer->router, x, config->n_hidden, n_tok,
                           work->router, config->n_experts, err);
    if (rc)
        return rc;
    jamba->kernels.route(work->router, config->n_experts, n_tok,
                         config->n_experts, config->n_top, work->expert,
                         work->prob);
    want_experts(jamba, layer, n_tok);
    memset(y, 0, n_tok * config->n_hidden * sizeof(*y));
    return run_experts(jamba, layer, x, n_tok, y, err);
}
