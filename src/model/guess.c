/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A layer adds little to the residual stream, so that the router of the next
 * mixture of experts, with the norm that stands before it, says much of what it
 * will say even when it is asked a layer or a mixer early (Eliseev and Mazur
 * 2023, arXiv:2312.17238).  What it chooses then is read while the mixers and
 * the MLP between compute.
 */
#include "model/guess.h"

#include "model/linear.h"
#include "model/rows.h"

/* The next layer from `layer` on that has experts; n_layers without any */
static uint32_t next_moe(const struct weir_config *config, uint32_t layer)
{
    while (layer < config->n_layers && !weir_config_is_moe(config, layer))
        layer++;
    return layer;
}

void weir_guess_experts(struct weir_jamba *jamba, uint32_t layer, size_t n_tok)
{
    const struct weir_config *config = &jamba->config;
    uint32_t next = next_moe(config, layer);
    const struct weir_bind_layer *moe = &jamba->bind.layers[next];
    struct weir_work *work = &jamba->work;
    size_t hidden = config->n_hidden;
    struct weir_err err;

    if (n_tok > WEIR_GUESS_TOK || next == config->n_layers ||
        !weir_residency_may_guess(jamba->residency, moe->ff_unit))
        return;
    weir_rows_norm(jamba, work->hidden, hidden, n_tok, hidden, moe->pre_ff_norm,
                   work->normed);
    /* what fails here fails again where it counts */
    if (weir_linear_apply_exact(jamba, &moe->router, work->normed, hidden,
                                n_tok, work->router, config->n_experts, &err))
        return;
    jamba->kernels.route(work->router, config->n_experts, n_tok,
                         config->n_experts, config->n_top, work->expert,
                         work->prob);
    for (size_t i = 0; i < n_tok * config->n_top; i++)
        weir_residency_guess(jamba->residency, moe->mlps[work->expert[i]].unit);
}
