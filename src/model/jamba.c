/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Jamba model (Lieber and others 2024, arXiv:2403.19887), top to bottom:
 *
 *   h = embedding[token]
 *   for each layer:
 *       h = h + mixer(norm(h))          Mamba, or attention now and then
 *       h = h + feed_forward(norm(h))   a dense MLP, or a mixture of experts
 *   logits = head(norm(h))
 *
 * Nothing says where a token stands: order comes from the Mamba layers alone.
 *
 * Tokens pass in chunks of at most WEIR_CHUNK_TOK.  Every operation treats a
 * token by itself or after its predecessors in order, so that the chunks do
 * not show in the bits.  A pass of WEIR_PROMPT_TOK tokens or more is a prompt,
 * whose products may round activations (linear.h); that does show.
 */
#include "model/jamba.h"

#include <stdlib.h>

#include "model/layers.h"
#include "model/linear.h"
#include "model/rows.h"

/* A chunk on its way through the layers */
struct pass {
    struct weir_jamba *jamba;
    struct weir_state *state;
    const struct weir_observer *observer;
    const int32_t *ids; /* of the chunk */
    size_t n_tok;
    struct weir_err *err;
};

/* Shows values to whom they may concern, after a look whether they are any. */
static int show(const struct pass *pass, enum weir_view view, uint32_t layer,
                const float *values, size_t n_tok, size_t width)
{
    const struct weir_observer *observer = pass->observer;
    int rc;

    if (!observer || !(observer->views >> view & 1))
        return 0;
    rc = weir_residency_check(pass->jamba->residency, pass->err);
    if (rc)
        return rc;
    return observer->see(observer->ctx, view, layer, values, n_tok, width,
                         pass->err);
}

static int embed(const struct pass *pass)
{
    return weir_linear_rows(pass->jamba, pass->jamba->bind.embed, pass->ids,
                            pass->n_tok, pass->jamba->work.hidden, pass->err);
}

/* normed = norm(hidden) */
static void normalise(const struct pass *pass, const float *weight)
{
    const struct weir_jamba *jamba = pass->jamba;
    size_t hidden = jamba->config.n_hidden;

    weir_rows_norm(jamba, jamba->work.hidden, hidden, pass->n_tok, hidden,
                   weight, jamba->work.normed);
}

/* hidden = hidden + out */
static void add_out(const struct pass *pass)
{
    const struct weir_jamba *jamba = pass->jamba;

    weir_rows_add(jamba, jamba->work.hidden, jamba->work.out, pass->n_tok,
                  jamba->config.n_hidden);
}

/* out = mixer(normed) */
static int mix(const struct pass *pass, uint32_t i)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[i];
    struct weir_state *state = pass->state;
    struct weir_work *work = &jamba->work;

    if (weir_config_is_attention(&jamba->config, i))
        return weir_layer_attention(
            jamba, &layer->attention, state->kv_dtype, &state->layers[i],
            state->n_tok, work->normed, pass->n_tok, work->out, pass->err);
    return weir_layer_mamba(jamba, &layer->mamba, &state->layers[i],
                            work->normed, pass->n_tok, work->out, pass->err);
}

/* out = feed_forward(normed) */
static int feed_forward(const struct pass *pass, uint32_t i)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[i];
    struct weir_work *work = &jamba->work;
    int rc;

    if (!weir_config_is_moe(&jamba->config, i)) {
        const struct weir_mlp_job job = {&layer->mlps[0], work->normed,
                                         pass->n_tok, work->out};

        return weir_layer_mlps(jamba, &job, 1, pass->err);
    }
    rc = weir_layer_moe(jamba, layer, work->normed, pass->n_tok, work->out,
                        pass->err);
    if (rc)
        return rc;
    return show(pass, WEIR_VIEW_ROUTER, i, work->router, pass->n_tok,
                jamba->config.n_experts);
}

/* The matrix of a tied head lies with the embedding. */
static uint32_t head_matrix_unit(const struct weir_jamba *jamba)
{
    return jamba->config.tied ? jamba->bind.embed_unit : jamba->bind.head_unit;
}

/* Says what comes after the mixer of layer i, so that it can be read ahead. */
static void want_next(const struct pass *pass, uint32_t i)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind *bind = &jamba->bind;

    weir_residency_want(jamba->residency, bind->layers[i].ff_unit);
    weir_residency_want(jamba->residency, i + 1 < jamba->config.n_layers
                                              ? bind->layers[i + 1].mixer_unit
                                              : head_matrix_unit(jamba));
}

static int run_layer(const struct pass *pass, uint32_t i)
{
    const struct weir_bind_layer *layer = &pass->jamba->bind.layers[i];
    struct weir_residency *residency = pass->jamba->residency;
    int rc;

    rc = show(pass, WEIR_VIEW_HIDDEN, i, pass->jamba->work.hidden, pass->n_tok,
              pass->jamba->config.n_hidden);
    if (rc)
        return rc;
    want_next(pass, i);
    normalise(pass, layer->input_norm);
    rc = mix(pass, i);
    if (rc)
        return rc;
    weir_residency_done(residency, layer->mixer_unit);
    add_out(pass);
    normalise(pass, layer->pre_ff_norm);
    rc = feed_forward(pass, i);
    if (rc)
        return rc;
    weir_residency_done(residency, layer->ff_unit);
    add_out(pass);
    return 0;
}

/* logits [n_tok][n_vocab] of tokens from `first` of the normalised chunk */
static int score(const struct pass *pass, size_t first, size_t n_tok,
                 float *logits)
{
    struct weir_jamba *jamba = pass->jamba;
    size_t hidden = jamba->config.n_hidden;

    return weir_linear_apply_exact(
        jamba, &jamba->bind.head, jamba->work.normed + first * hidden, hidden,
        n_tok, logits, jamba->config.n_vocab, pass->err);
}

static int show_logits(const struct pass *pass)
{
    const struct weir_config *config = &pass->jamba->config;
    float *logits = pass->jamba->work.logits;
    size_t n;
    int rc = 0;

    if (!pass->observer || !(pass->observer->views >> WEIR_VIEW_LOGITS & 1))
        return 0;
    for (size_t t = 0; t < pass->n_tok && !rc; t += n) {
        n = pass->n_tok - t < WEIR_HEAD_TOK ? pass->n_tok - t : WEIR_HEAD_TOK;
        rc = score(pass, t, n, logits);
        if (!rc)
            rc = show(pass, WEIR_VIEW_LOGITS, config->n_layers, logits, n,
                      config->n_vocab);
    }
    return rc;
}

/* One chunk; `logits` of its last token unless NULL */
static int run_chunk(const struct pass *pass, float *logits)
{
    struct weir_jamba *jamba = pass->jamba;
    struct weir_residency *residency = jamba->residency;
    uint32_t n_layers = jamba->config.n_layers;
    int rc;

    weir_residency_begin_pass(residency);
    weir_residency_want(residency, jamba->bind.layers[0].mixer_unit);
    rc = embed(pass);
    for (uint32_t i = 0; i < n_layers && !rc; i++)
        rc = run_layer(pass, i);
    if (rc)
        return rc;
    normalise(pass, jamba->bind.final_norm);
    rc = show(pass, WEIR_VIEW_HIDDEN, n_layers, jamba->work.normed, pass->n_tok,
              jamba->config.n_hidden);
    if (!rc)
        rc = show_logits(pass);
    if (!rc && logits)
        rc = score(pass, pass->n_tok - 1, 1, logits);
    weir_residency_done(residency, head_matrix_unit(jamba));
    if (rc)
        return rc;
    weir_residency_want(residency, jamba->bind.layers[0].mixer_unit);
    return weir_residency_check(residency, pass->err);
}

/* A pass that failed does not come to its end: its units are done too. */
static void let_go(struct weir_jamba *jamba)
{
    for (uint32_t u = 0; u < jamba->file->n_units; u++)
        weir_residency_done(jamba->residency, u);
}

static int check_call(const struct weir_jamba *jamba,
                      const struct weir_state *state, const int32_t *ids,
                      size_t n_ids, struct weir_err *err)
{
    if (state->spoiled)
        return weir_err_set(err, WEIR_EARG,
                            "this session failed before; start a new one");
    if (n_ids == 0)
        return weir_err_set(err, WEIR_EARG, "no tokens to evaluate");
    if (n_ids > state->n_ctx - state->n_tok)
        return weir_err_set(err, WEIR_EARG,
                            "%zu tokens do not fit behind the %zu that are "
                            "there: the context has room for %zu; start the "
                            "session with more",
                            n_ids, state->n_tok, state->n_ctx);
    for (size_t i = 0; i < n_ids; i++)
        if ((uint32_t)ids[i] >= jamba->config.n_vocab)
            return weir_err_set(err, WEIR_EARG,
                                "token %zu is id %ld; the model has ids 0 to "
                                "%lu",
                                state->n_tok + i, (long)ids[i],
                                (unsigned long)jamba->config.n_vocab - 1);
    return 0;
}

int weir_jamba_forward(struct weir_jamba *jamba, struct weir_state *state,
                       const int32_t *ids, size_t n_ids, float *logits,
                       const struct weir_observer *observer,
                       struct weir_err *err)
{
    struct pass pass = {
        .jamba = jamba, .state = state, .observer = observer, .err = err};
    int rc = check_call(jamba, state, ids, n_ids, err);

    if (rc)
        return rc;
    pthread_mutex_lock(&jamba->lock);
    jamba->work.prompt = n_ids >= WEIR_PROMPT_TOK;
    for (size_t at = 0; at < n_ids && !rc; at += pass.n_tok) {
        size_t left = n_ids - at;

        pass.ids = ids + at;
        pass.n_tok = left < WEIR_CHUNK_TOK ? left : WEIR_CHUNK_TOK;
        rc = run_chunk(&pass, pass.n_tok == left ? logits : NULL);
        state->n_tok += pass.n_tok;
    }
    if (rc)
        let_go(jamba);
    pthread_mutex_unlock(&jamba->lock);
    state->spoiled = rc != 0;
    return rc;
}

static int take_work(struct weir_jamba *jamba, struct weir_err *err)
{
    struct weir_work_sizes sizes = {
        .n_workers = weir_pool_n_threads(jamba->pool),
        .max_tile_rows = jamba->bind.max_tile_rows,
        .tile_bytes = weir_residency_scratch_bytes(jamba->residency),
    };
    int rc;

    for (uint32_t i = 0; i < jamba->file->n_tensors; i++)
        weir_work_count_tensor(&sizes, &jamba->kernels,
                               &jamba->file->tensors[i]);
    rc = weir_work_init(&jamba->work, &jamba->config, &sizes, err);
    for (size_t i = 0; i < sizes.n_workers && !rc; i++)
        weir_residency_scratch_init(jamba->residency,
                                    jamba->work.workers[i].tile);
    return rc;
}

/* A map keeps to no budget, so that one or the other is asked for. */
static int open_residency(struct weir_jamba *jamba,
                          const struct weir_jamba_options *options,
                          struct weir_err *err)
{
    struct weir_residency_options residency = {
        .mapped = options->io == WEIR_IO_MMAP ||
                  (options->io == WEIR_IO_AUTO && !options->ram_bytes &&
                   !options->weight_bytes),
        .io = options->io,
        .calls = options->calls,
        .deadline_ms = options->deadline_ms,
    };

    if (options->io == WEIR_IO_MMAP && options->ram_bytes)
        return weir_err_set(err, WEIR_EARG,
                            "a mapped model keeps to no budget of memory; "
                            "leave one of the two away");
    weir_budget_init(&jamba->budget, residency.mapped, options->ram_bytes,
                     options->weight_bytes);
    return weir_residency_new(jamba->file, &residency, &jamba->residency, err);
}

static int open_parts(struct weir_jamba *jamba, const char *path,
                      const struct weir_jamba_options *options,
                      struct weir_err *err)
{
    int rc = weir_file_open(path, &jamba->file, err);

    if (!rc)
        rc = open_residency(jamba, options, err);
    if (!rc)
        rc = weir_config_read(jamba->file, &jamba->config, err);
    if (!rc)
        rc = weir_bind_init(&jamba->bind, &jamba->config, jamba->file,
                            jamba->residency, err);
    if (!rc)
        rc = weir_residency_check(jamba->residency, err);
    if (!rc)
        rc = weir_pool_new(options->n_threads, &jamba->pool, err);
    if (!rc)
        rc = take_work(jamba, err);
    return rc;
}

int weir_jamba_open(const char *path, const struct weir_jamba_options *options,
                    struct weir_jamba **out, struct weir_err *err)
{
    struct weir_jamba *jamba = calloc(1, sizeof(*jamba));
    int rc;

    *out = NULL;
    if (!jamba)
        return weir_err_nomem(err, sizeof(*jamba), "a model");
    pthread_mutex_init(&jamba->lock, NULL);
    rc = weir_kernels_select(&jamba->kernels, err);
    if (!rc)
        rc = open_parts(jamba, path, options, err);
    if (rc) {
        weir_jamba_close(jamba);
        return rc;
    }
    *out = jamba;
    return 0;
}

void weir_jamba_close(struct weir_jamba *jamba)
{
    if (!jamba)
        return;
    weir_work_fini(&jamba->work);
    weir_pool_free(jamba->pool);
    weir_bind_fini(&jamba->bind);
    weir_residency_free(jamba->residency);
    weir_file_close(jamba->file);
    pthread_mutex_destroy(&jamba->lock);
    free(jamba);
}
