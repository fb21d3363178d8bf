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
 * Weights may come from a drive, so that all tokens of a span pass a layer
 * before the next one is wanted: the residual stream of the others waits.  A
 * span is as many tokens as there is room for, of one sequence or of many.
 * With a scratch file (wait.h) it is more than that: then block after block of
 * it is in memory, and all of them pass a layer's mixer and MLP, or some of its
 * experts, before the next weights are wanted.  Within a block tokens go in
 * chunks of at most WEIR_CHUNK_TOK.  Every operation treats a token by itself
 * or after its predecessors in order, so that neither spans nor blocks nor
 * chunks nor other sequences show in the bits.  WEIR_PROMPT_TOK
 * tokens or more of a sequence in one call are a prompt, whose products may
 * round activations (linear.h); that does show.
 *
 * A snapshot of the Mamba layers behind a token is copied layer by layer, when
 * the token has passed: it costs no second pass.
 */
#include "model/jamba.h"

#include <string.h>

#include "base/trace.h"
#include "model/device.h"
#include "model/guess.h"
#include "model/layers.h"
#include "model/linear.h"
#include "model/rows.h"
#include "model/wait.h"

/* A place in the tokens of all sequences, one sequence behind the other */
struct place {
    size_t sequence, at;
};

/* Tokens of a span that are in memory: all of them, or those behind others */
struct block {
    struct place from;
    size_t row, n_tok; /* of the span */
};

/* Tokens on their way through the layers: a span, of all sequences */
struct pass {
    struct weir_jamba *jamba;
    const struct weir_sequence *sequences;
    size_t n_sequences;
    const struct weir_observer *observer;
    struct place from;      /* of the span's first token */
    size_t n_tok;           /* of the span */
    size_t n_before, n_all; /* tokens before it; of the call */
    struct block block;
    uint32_t layer;
    uint32_t from_expert, to_expert; /* those whose turn it is */
    struct weir_err *err;
};

/* Tokens that go through a layer at once; work.runs says whose they are */
struct chunk {
    struct place from;
    size_t row, n_tok; /* of the span */
    size_t n_runs;
};

/* ---- sequences, spans and chunks ---- */

/* Moves on to the sequence that has tokens left; 0: there are none. */
static size_t tokens_left(const struct pass *pass, struct place *place)
{
    while (place->sequence < pass->n_sequences &&
           place->at == pass->sequences[place->sequence].n_ids)
        *place = (struct place){place->sequence + 1, 0};
    return place->sequence < pass->n_sequences
               ? pass->sequences[place->sequence].n_ids - place->at
               : 0;
}

/* Tokens `at` to at + n - 1 of a sequence, or up to where a snapshot is */
static struct weir_run take_run(const struct weir_sequence *sequence, size_t at,
                                size_t n)
{
    struct weir_run run = {.state = sequence->state,
                           .n_past = sequence->state->n_tok + at,
                           .n_tok = n,
                           .ids = sequence->ids + at};
    const struct weir_snapshot *snapshot = sequence->snapshots;
    const struct weir_snapshot *end = snapshot + sequence->n_snapshots;

    while (snapshot < end && snapshot->n_tok <= run.n_past)
        snapshot++;
    if (snapshot < end && snapshot->n_tok - run.n_past <= n) {
        run.n_tok = snapshot->n_tok - run.n_past;
        run.mamba = snapshot->mamba;
    }
    if (at + run.n_tok == sequence->n_ids)
        run.logits = sequence->logits;
    return run;
}

/*
 * The chunk that begins at `row` and chunk->from, which is moved behind it:
 * neighbours in the block that are prompts all of them, or none.
 */
static void take_chunk(const struct pass *pass, size_t row, struct chunk *chunk)
{
    struct weir_work *work = &pass->jamba->work;
    size_t left = pass->block.row + pass->block.n_tok - row, n;

    if (left > WEIR_CHUNK_TOK)
        left = WEIR_CHUNK_TOK;
    chunk->row = row;
    chunk->n_tok = chunk->n_runs = 0;
    while (left > 0 && (n = tokens_left(pass, &chunk->from)) > 0) {
        const struct weir_sequence *sequence =
            &pass->sequences[chunk->from.sequence];
        struct weir_run run;

        if (chunk->n_runs && weir_sequence_is_prompt(sequence) != work->prompt)
            break;
        run = take_run(sequence, chunk->from.at, n < left ? n : left);
        run.row = chunk->n_tok;
        work->prompt = weir_sequence_is_prompt(sequence);
        work->runs[chunk->n_runs++] = run;
        chunk->from.at += run.n_tok;
        chunk->n_tok += run.n_tok;
        left -= run.n_tok;
    }
}

/* Of the block */
static int each_chunk(const struct pass *pass,
                      int (*fn)(const struct pass *, const struct chunk *))
{
    const struct block *block = &pass->block;
    struct chunk chunk = {.from = block->from};
    size_t end = block->row + block->n_tok;
    int rc = 0;

    for (size_t row = block->row; row < end && !rc; row += chunk.n_tok) {
        take_chunk(pass, row, &chunk);
        rc = fn(pass, &chunk);
    }
    return rc;
}

/* Moves on by n tokens, which are there. */
static void skip(const struct pass *pass, struct place *place, size_t n)
{
    size_t left;

    for (; n > 0; n -= left) {
        left = tokens_left(pass, place);
        left = left < n ? left : n;
        place->at += left;
    }
}

static int is_last_block(const struct pass *pass)
{
    return pass->block.row + pass->block.n_tok == pass->n_tok;
}

/*
 * Block by block of the span; `load` is what fn finds in memory, and `store`
 * what it leaves there for later.  Both are there if there is one block.
 */
static int each_block(struct pass *pass, unsigned load, unsigned store,
                      int (*fn)(const struct pass *))
{
    struct weir_jamba *jamba = pass->jamba;
    size_t most = jamba->work.block_tok, left;
    struct block *block = &pass->block;
    int waits = pass->n_tok > most, rc = 0;

    *block = (struct block){.from = pass->from};
    for (; block->row < pass->n_tok && !rc; block->row += block->n_tok) {
        left = pass->n_tok - block->row;
        block->n_tok = left < most ? left : most;
        if (waits)
            rc = weir_wait_load(jamba, load, block->row, block->n_tok,
                                pass->err);
        if (!rc)
            rc = fn(pass);
        if (waits && !rc)
            rc = weir_wait_store(jamba, store, block->row, block->n_tok,
                                 pass->err);
        skip(pass, &block->from, block->n_tok);
    }
    return rc;
}

/* ---- what is done with a chunk ---- */

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

/* The residual stream of the chunk's tokens */
static float *hidden_of(const struct pass *pass, const struct chunk *chunk)
{
    const struct weir_jamba *jamba = pass->jamba;

    return jamba->work.hidden +
           (chunk->row - pass->block.row) * jamba->config.n_hidden;
}

/* Of a sequence all at once: a tile of the embedding has many tokens' rows. */
static int embed(const struct pass *pass)
{
    struct weir_jamba *jamba = pass->jamba;
    struct place place = pass->block.from;
    size_t n_tok = pass->block.n_tok, n;
    int rc = 0;

    for (size_t row = 0; row < n_tok && !rc; row += n) {
        n = tokens_left(pass, &place);
        if (n > n_tok - row)
            n = n_tok - row;
        rc = weir_linear_rows(jamba, jamba->bind.embed,
                              pass->sequences[place.sequence].ids + place.at, n,
                              jamba->work.hidden + row * jamba->config.n_hidden,
                              pass->err);
        place.at += n;
    }
    return rc;
}

/* normed = norm(hidden) */
static void normalise(const struct pass *pass, const struct chunk *chunk,
                      const float *weight)
{
    const struct weir_jamba *jamba = pass->jamba;
    size_t hidden = jamba->config.n_hidden;

    weir_rows_norm(jamba, hidden_of(pass, chunk), hidden, chunk->n_tok, hidden,
                   weight, jamba->work.normed);
}

/* hidden = hidden + out */
static void add_out(const struct pass *pass, const struct chunk *chunk)
{
    const struct weir_jamba *jamba = pass->jamba;

    weir_rows_add(jamba, hidden_of(pass, chunk), jamba->work.out, chunk->n_tok,
                  jamba->config.n_hidden);
}

int weir_observer_tell(const struct weir_observer *observer, size_t n_done,
                       size_t n_tok, struct weir_err *err)
{
    if (!observer || !observer->progress ||
        !observer->progress(observer->ctx, n_done, n_tok))
        return 0;
    return weir_err_set(err, WEIR_ESTOPPED,
                        "stopped when %zu of %zu tokens were done", n_done,
                        n_tok);
}

/* The span's first `n` tokens are through that half of a layer, 0 or 1. */
static int report(const struct pass *pass, unsigned half, size_t n)
{
    size_t n_halves = 2 * (size_t)pass->jamba->config.n_layers;
    size_t done = (2 * pass->layer + half) * pass->n_tok + n;

    return weir_observer_tell(pass->observer, pass->n_before + done / n_halves,
                              pass->n_all, pass->err);
}

/* hidden = hidden + mixer(norm(hidden)) */
static int mix(const struct pass *pass, const struct chunk *chunk)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[pass->layer];
    const struct weir_tokens tokens = {jamba->work.runs, chunk->n_runs,
                                       chunk->n_tok, pass->layer};
    struct weir_work *work = &jamba->work;
    int rc = show(pass, WEIR_VIEW_HIDDEN, pass->layer, hidden_of(pass, chunk),
                  chunk->n_tok, jamba->config.n_hidden);

    if (rc)
        return rc;
    normalise(pass, chunk, layer->input_norm);
    if (weir_config_is_attention(&jamba->config, pass->layer))
        rc = weir_layer_attention(jamba, &layer->attention, &tokens,
                                  work->normed, work->out, pass->err);
    else
        rc = weir_layer_mamba(jamba, &layer->mamba, &tokens, work->normed,
                              work->out, pass->err);
    add_out(pass, chunk);
    return rc ? rc : report(pass, 0, chunk->row + chunk->n_tok);
}

/* hidden = hidden + mlp(norm(hidden)) */
static int feed_forward(const struct pass *pass, const struct chunk *chunk)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[pass->layer];
    struct weir_work *work = &jamba->work;
    const struct weir_mlp_job job = {&layer->mlps[0], work->normed,
                                     chunk->n_tok, work->out, work->prompt};
    int rc;

    normalise(pass, chunk, layer->pre_ff_norm);
    rc = weir_layer_mlps(jamba, &job, 1, pass->err);
    add_out(pass, chunk);
    return rc;
}

/* Which experts norm(hidden) goes to */
static int route(const struct pass *pass, const struct chunk *chunk)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[pass->layer];
    int rc;

    normalise(pass, chunk, layer->pre_ff_norm);
    rc = weir_layer_route(jamba, layer, jamba->work.normed, chunk->row,
                          chunk->n_tok, pass->err);
    if (rc)
        return rc;
    return show(pass, WEIR_VIEW_ROUTER, pass->layer, jamba->work.router,
                chunk->n_tok, jamba->config.n_experts);
}

/* ---- layers ---- */

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

/* What the halves of a layer are called in a timeline */
static const char *mixer_name(const struct pass *pass)
{
    return weir_config_is_attention(&pass->jamba->config, pass->layer)
               ? "attention"
               : "mamba";
}

static const char *feed_forward_name(const struct pass *pass)
{
    return weir_config_is_moe(&pass->jamba->config, pass->layer) ? "experts"
                                                                 : "mlp";
}

/* The mixer, and the MLP or to which experts */
static int run_first_half(const struct pass *pass)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[pass->layer];
    int is_moe = weir_config_is_moe(&jamba->config, pass->layer), rc = 0;

    if (pass->layer == 0) {
        weir_trace_part("embedding", -1);
        rc = embed(pass);
    }
    if (rc)
        return rc;
    weir_trace_part(mixer_name(pass), (int)pass->layer);
    if (pass->block.row == 0)
        weir_guess_experts(jamba, pass->layer, pass->n_tok);
    rc = each_chunk(pass, mix);
    if (rc)
        return rc;
    if (is_last_block(pass))
        weir_residency_done(jamba->residency, layer->mixer_unit);
    weir_trace_part(feed_forward_name(pass), (int)pass->layer);
    return each_chunk(pass, is_moe ? route : feed_forward);
}

static void want_experts(const struct pass *pass, uint32_t from, uint32_t n)
{
    struct weir_jamba *jamba = pass->jamba;
    uint32_t left = jamba->config.n_experts - from;

    weir_layer_want_experts(jamba, &jamba->bind.layers[pass->layer], from,
                            from + (left < n ? left : n), pass->n_tok);
}

/* A share of the experts; the next ones are read while the last block waits. */
static int run_experts(const struct pass *pass)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_expert_share share = {pass->from_expert, pass->to_expert,
                                            pass->block.row, pass->block.n_tok,
                                            is_last_block(pass)};
    uint32_t n = pass->to_expert - pass->from_expert;
    size_t behind = share.row + share.n_tok;
    int rc;

    if (share.is_last && share.to < jamba->config.n_experts)
        want_experts(pass, share.to, n);
    rc = weir_layer_experts(jamba, &jamba->bind.layers[pass->layer], &share,
                            pass->err);
    if (rc)
        return rc;
    return report(
        pass, 1,
        (share.from * pass->n_tok + (share.to - share.from) * behind) /
            jamba->config.n_experts);
}

/* All tokens meet some of the experts before they meet the next ones. */
static int run_all_experts(struct pass *pass)
{
    uint32_t n_experts = pass->jamba->config.n_experts;
    uint32_t most = weir_wait_experts(pass->jamba, pass->n_tok), left;
    int rc = 0;

    want_experts(pass, 0, most);
    for (uint32_t from = 0; from < n_experts && !rc; from += most) {
        unsigned load = WEIR_WAIT_HIDDEN, store = WEIR_WAIT_SUM;

        left = n_experts - from;
        pass->from_expert = from;
        pass->to_expert = from + (left < most ? left : most);
        if (from > 0)
            load |= WEIR_WAIT_SUM;
        if (pass->to_expert == n_experts)
            store = WEIR_WAIT_HIDDEN;
        rc = each_block(pass, load, store, run_experts);
    }
    return rc;
}

/* All tokens of the span pass the layer before its weights are let go. */
static int run_layer(struct pass *pass)
{
    struct weir_jamba *jamba = pass->jamba;
    const struct weir_bind_layer *layer = &jamba->bind.layers[pass->layer];
    int rc;

    want_next(pass, pass->layer);
    rc = each_block(pass, pass->layer ? WEIR_WAIT_HIDDEN : 0, WEIR_WAIT_HIDDEN,
                    run_first_half);
    if (!rc && weir_config_is_moe(&jamba->config, pass->layer))
        rc = run_all_experts(pass);
    if (rc)
        return rc;
    weir_residency_done(jamba->residency, layer->ff_unit);
    return report(pass, 1, pass->n_tok);
}

/* logits [n_tok][n_vocab] of x [n_tok][n_hidden] */
static int score(const struct pass *pass, const float *x, size_t n_tok,
                 float *logits)
{
    struct weir_jamba *jamba = pass->jamba;

    return weir_linear_apply_exact(jamba, &jamba->bind.head, x,
                                   jamba->config.n_hidden, n_tok, logits,
                                   jamba->config.n_vocab, pass->err);
}

static int show_logits(const struct pass *pass, const struct chunk *chunk)
{
    const struct weir_config *config = &pass->jamba->config;
    struct weir_work *work = &pass->jamba->work;
    size_t n;
    int rc = 0;

    if (!pass->observer || !(pass->observer->views >> WEIR_VIEW_LOGITS & 1))
        return 0;
    for (size_t t = 0; t < chunk->n_tok && !rc; t += n) {
        n = chunk->n_tok - t;
        n = n < WEIR_HEAD_TOK ? n : WEIR_HEAD_TOK;
        rc = score(pass, work->normed + t * config->n_hidden, n, work->logits);
        if (!rc)
            rc = show(pass, WEIR_VIEW_LOGITS, config->n_layers, work->logits, n,
                      config->n_vocab);
    }
    return rc;
}

/* The scores behind some rows of `out`, each to who wants them */
static int score_rows(const struct pass *pass, float *const *wanted, size_t n)
{
    const struct weir_config *config = &pass->jamba->config;
    struct weir_work *work = &pass->jamba->work;
    int rc;

    if (!n)
        return 0;
    rc = score(pass, work->out, n, work->logits);
    for (size_t i = 0; i < n && !rc; i++)
        memcpy(wanted[i], work->logits + i * config->n_vocab,
               config->n_vocab * sizeof(float));
    return rc;
}

/* The scores of the tokens that end their sequences, if they are wanted */
static int score_ends(const struct pass *pass, const struct chunk *chunk)
{
    struct weir_work *work = &pass->jamba->work;
    size_t hidden = pass->jamba->config.n_hidden, n = 0;
    float *wanted[WEIR_HEAD_TOK];
    int rc;

    for (size_t i = 0; i < chunk->n_runs; i++) {
        const struct weir_run *run = &work->runs[i];

        if (!run->logits)
            continue;
        memcpy(work->out + n * hidden,
               work->normed + (run->row + run->n_tok - 1) * hidden,
               hidden * sizeof(float));
        wanted[n++] = run->logits;
        if (n < WEIR_HEAD_TOK)
            continue;
        rc = score_rows(pass, wanted, n);
        if (rc)
            return rc;
        n = 0;
    }
    return score_rows(pass, wanted, n);
}

static int finish(const struct pass *pass, const struct chunk *chunk)
{
    const struct weir_jamba *jamba = pass->jamba;
    int rc;

    normalise(pass, chunk, jamba->bind.final_norm);
    rc = show(pass, WEIR_VIEW_HIDDEN, jamba->config.n_layers,
              jamba->work.normed, chunk->n_tok, jamba->config.n_hidden);
    if (!rc)
        rc = show_logits(pass, chunk);
    return rc ? rc : score_ends(pass, chunk);
}

static int run_head(const struct pass *pass)
{
    return each_chunk(pass, finish);
}

static int run_span(struct pass *pass)
{
    struct weir_jamba *jamba = pass->jamba;
    struct weir_residency *residency = jamba->residency;
    int rc = 0;

    weir_residency_begin_pass(residency);
    weir_residency_want(residency, jamba->bind.layers[0].mixer_unit);
    for (pass->layer = 0; pass->layer < jamba->config.n_layers && !rc;
         pass->layer++)
        rc = run_layer(pass);
    if (rc)
        return rc;
    weir_trace_part("head", -1);
    rc = each_block(pass, WEIR_WAIT_HIDDEN, 0, run_head);
    weir_residency_done(residency, head_matrix_unit(jamba));
    if (rc)
        return rc;
    weir_residency_want(residency, jamba->bind.layers[0].mixer_unit);
    return weir_residency_check(residency, pass->err);
}

/* ---- a call ---- */

/* A pass that failed does not come to its end: its units are done too. */
static void let_go(struct weir_jamba *jamba)
{
    for (uint32_t u = 0; u < jamba->file->n_units; u++)
        weir_residency_done(jamba->residency, u);
}

static int check_sequence(const struct weir_jamba *jamba,
                          const struct weir_sequence *sequence,
                          struct weir_err *err)
{
    const struct weir_state *state = sequence->state;
    const int32_t *ids = sequence->ids;
    size_t n_ids = sequence->n_ids;

    if (state->spoiled)
        return weir_err_set(err, WEIR_EARG,
                            "this session failed before; go back in it, or "
                            "start a new one");
    if (n_ids == 0)
        return weir_err_set(err, WEIR_EARG, "no tokens to evaluate");
    if (sequence->draw && !jamba->on)
        return weir_err_set(err, WEIR_EARG,
                            "the CPU does not choose tokens: take the "
                            "scores, and a sampler");
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

int weir_jamba_check(const struct weir_jamba *jamba,
                     const struct weir_sequence *sequences, size_t n,
                     struct weir_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < n && !rc; i++) {
        rc = check_sequence(jamba, &sequences[i], err);
        for (size_t k = 0; k < i && !rc; k++)
            if (sequences[k].state == sequences[i].state)
                rc = weir_err_set(err, WEIR_EARG,
                                  "a session can go on only once in a pass");
    }
    return rc;
}

/* Span by span; what is left of the n_tok tokens goes into the next one. */
static int run_spans(struct pass *pass, size_t n_tok)
{
    size_t most = pass->jamba->work.span_tok;
    int rc = 0;

    for (; n_tok > 0 && !rc; n_tok -= pass->n_tok) {
        pass->n_tok = n_tok < most ? n_tok : most;
        rc = run_span(pass);
        pass->n_before += pass->n_tok;
        skip(pass, &pass->from, pass->n_tok);
    }
    return rc;
}

int weir_jamba_forward(struct weir_jamba *jamba,
                       const struct weir_sequence *sequences, size_t n,
                       const struct weir_observer *observer,
                       struct weir_err *err)
{
    struct pass pass = {.jamba = jamba,
                        .sequences = sequences,
                        .n_sequences = n,
                        .observer = observer,
                        .err = err};
    int rc = weir_jamba_check(jamba, sequences, n, err);

    if (rc)
        return rc;
    for (size_t i = 0; i < n; i++)
        pass.n_all += sequences[i].n_ids;
    pthread_mutex_lock(&jamba->lock);
    rc = jamba->on
             ? weir_on_device_forward(jamba->on, sequences, n, observer, err)
             : run_spans(&pass, pass.n_all);
    weir_trace_part(NULL, -1);
    if (rc)
        let_go(jamba);
    pthread_mutex_unlock(&jamba->lock);
    for (size_t i = 0; i < n; i++) {
        if (!rc)
            sequences[i].state->n_tok += sequences[i].n_ids;
        sequences[i].state->spoiled = rc != 0;
    }
    return rc;
}
