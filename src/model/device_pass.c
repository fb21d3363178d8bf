/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass of jamba.c on a device.  Tokens go in steps of at most
 * step_tok through all layers; what a step is about (ids, whose they are, which
 * scores are wanted) lies in device memory, so that a step of decoding is
 * captured once and launched for each token from then on.  The next token is
 * chosen there, too, if nobody wants to see the scores: then ids alone come
 * back.
 *
 * Steps hold tokens of prompts or others, never both: products of a prompt
 * round activations as linear.h has it, those of other tokens do not.
 */
#include <string.h>

#include "base/trace.h"
#include "model/device_parts.h"
#include "model/linear.h"
#include "offload/placement.h"

static const struct weir_config *config_of(const struct weir_device_step *step)
{
    return &step->on->jamba->config;
}

/* Shows values of the device to whom they may concern. */
static int show(const struct weir_device_step *step, enum weir_view view,
                uint32_t layer, const float *values, size_t n_tok, size_t width)
{
    const struct weir_on_device *on = step->on;
    const struct weir_observer *observer = step->observer;
    int rc;

    if (!observer || !(observer->views >> view & 1))
        return 0;
    on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->seen,
                            values, n_tok * width * sizeof(float));
    rc = on->room.table->synchronize(on->room.device, step->err);
    return rc ? rc
              : observer->see(observer->ctx, view, layer, on->seen, n_tok,
                              width, step->err);
}

/* ---- units of the trunk ---- */

static void want(const struct weir_device_step *step, uint32_t unit)
{
    if (weir_device_is_beside(step, unit) ||
        !weir_device_has(&step->on->trunk, unit))
        weir_residency_want(step->on->jamba->residency, unit);
}

/* It is the unit's turn, of those that pass. */
static void take_turn(const struct weir_device_step *step, uint32_t unit)
{
    struct weir_on_device *on = step->on;

    want(step, unit);
    while (on->passing[on->next_passing] != unit)
        on->next_passing = (on->next_passing + 1) % on->n_passing;
    on->next_passing = (on->next_passing + 1) % on->n_passing;
}

/* What comes after it is read meanwhile. */
static void want_next(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    want(step, on->passing[on->next_passing]);
    want(step, on->passing[(on->next_passing + 1) % on->n_passing]);
}

/* What comes finds the unit there.  *slot: NULL if it stays anyway. */
static int hold(const struct weir_device_step *step, uint32_t unit,
                struct weir_device_slot **slot)
{
    struct weir_on_device *on = step->on;

    *slot = NULL;
    if (on->places[unit] == WEIR_PINNED)
        return 0;
    take_turn(step, unit);
    return weir_device_bring(on, &on->trunk, unit, slot, step->err);
}

/*
 * Nothing else is computed with it; the next one that passes comes, unless it
 * is the CPU's.
 */
static int leave(const struct weir_device_step *step,
                 struct weir_device_slot *slot)
{
    struct weir_on_device *on = step->on;
    uint32_t next;

    if (!slot)
        return 0;
    weir_device_used(on, slot);
    if (on->trunk.n < 2)
        return 0;
    next = on->passing[on->next_passing];
    want_next(step);
    if (weir_device_is_beside(step, next))
        return 0;
    return weir_device_fetch(on, &on->trunk, next, &slot, step->err);
}

/* The same of one that the CPU computes with */
static void hold_beside(const struct weir_device_step *step, uint32_t unit)
{
    take_turn(step, unit);
    want_next(step);
}

static int leave_beside(const struct weir_device_step *step, uint32_t unit,
                        int rc)
{
    weir_residency_done(step->on->jamba->residency, unit);
    return rc;
}

/* ---- layers ---- */

static int run_mixer(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_bind_layer *bind = &step->on->jamba->bind.layers[layer];
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, bind->mixer_unit)) {
        hold_beside(step, bind->mixer_unit);
        return leave_beside(step, bind->mixer_unit,
                            weir_device_mixer_beside(step, layer));
    }
    rc = hold(step, bind->mixer_unit, &slot);
    if (rc)
        return rc;
    weir_device_mixer(step, layer);
    return leave(step, slot);
}

static int run_mlp(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_bind_layer *bind = &step->on->jamba->bind.layers[layer];
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, bind->ff_unit)) {
        hold_beside(step, bind->ff_unit);
        return leave_beside(step, bind->ff_unit,
                            weir_device_mlp_beside(step, layer));
    }
    rc = hold(step, bind->ff_unit, &slot);
    if (rc)
        return rc;
    weir_device_mlp(step, layer);
    return leave(step, slot);
}

static int run_experts(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    struct weir_device_slot *slot;
    int rc = hold(step, on->jamba->bind.layers[layer].ff_unit, &slot);

    if (rc)
        return rc;
    weir_device_route(step, layer);
    rc = leave(step, slot);
    if (!rc)
        rc = show(step, WEIR_VIEW_ROUTER, layer, on->router, step->n_tok,
                  c->n_experts);
    if (rc || !on->has_all_experts)
        return rc ? rc : weir_device_some_experts(step, layer);
    weir_device_experts(
        step, layer,
        &(struct weir_device_some){.to = c->n_experts,
                                   .table = on->layers[layer].experts,
                                   .y = on->hidden});
    return 0;
}

static int run_layer(const struct weir_device_step *step, uint32_t layer)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    int rc = show(step, WEIR_VIEW_HIDDEN, layer, on->hidden, step->n_tok,
                  c->n_hidden);

    if (!rc)
        rc = run_mixer(step, layer);
    if (rc)
        return rc;
    return weir_config_is_moe(c, layer) ? run_experts(step, layer)
                                        : run_mlp(step, layer);
}

/* ---- a step ---- */

static void gather_ends(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    size_t hidden = config_of(step)->n_hidden;

    on->room.table->gather(on->room.device, on->hidden, hidden, on->told.ends,
                           step->n_ends, hidden, on->ends, hidden);
}

/* Rows of an embedding that does not lie on the device */
static int embed_from_host(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    struct weir_jamba *jamba = on->jamba;
    size_t hidden = jamba->config.n_hidden, n;
    int rc = 0;

    for (size_t t = 0; t < step->n_tok && !rc; t += n) {
        n = step->n_tok - t < WEIR_CHUNK_TOK ? step->n_tok - t : WEIR_CHUNK_TOK;
        rc = weir_linear_rows(jamba, jamba->bind.embed, on->telling.ids + t, n,
                              on->seen + t * hidden, step->err);
    }
    if (!rc)
        on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                                  on->hidden, on->seen,
                                  step->n_tok * hidden * sizeof(float));
    return rc;
}

static int embed(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    uint32_t unit = on->jamba->bind.embed_unit;
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, unit) ||
        (unit == on->rows_unit && on->places[unit] != WEIR_PINNED))
        return embed_from_host(step);
    rc = hold(step, unit, &slot);
    if (rc)
        return rc;
    weir_device_embed(step);
    return leave(step, slot);
}

/* The scores of n rows of hidden states at x, into on->logits */
static int score(const struct weir_device_step *step, const float *x,
                 uint32_t n)
{
    const struct weir_jamba *jamba = step->on->jamba;
    uint32_t unit =
        jamba->config.tied ? jamba->bind.embed_unit : jamba->bind.head_unit;
    struct weir_device_slot *slot;
    int rc;

    if (weir_device_is_beside(step, unit)) {
        hold_beside(step, unit);
        return leave_beside(step, unit, weir_device_score_beside(step, x, n));
    }
    rc = hold(step, unit, &slot);
    if (rc)
        return rc;
    weir_device_score(step, x, n);
    return leave(step, slot);
}

/* Of ends `first` on: their scores, and what is chosen by them */
static int score_ends(const struct weir_device_step *step, uint32_t first,
                      uint32_t n)
{
    const struct weir_on_device *on = step->on;
    int rc =
        score(step, on->ends + first * (size_t)config_of(step)->n_hidden, n);

    if (rc || !step->draws)
        return rc;
    weir_device_choose(step, first, n);
    on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE,
                            on->seen_next + first, on->next + first,
                            n * sizeof(*on->next));
    return 0;
}

/* What the step is about, to the device, and all that follows from it */
static int run_layers(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    uint32_t n_layers = config_of(step)->n_layers;
    int rc;

    on->room.table->to_device(on->room.device, WEIR_STREAM_COMPUTE,
                              on->told.data, on->telling.data,
                              on->told.n_bytes);
    rc = embed(step);
    for (uint32_t i = 0; i < n_layers && !rc; i++)
        rc = run_layer(step, i);
    if (!rc && step->n_ends)
        gather_ends(step);
    if (!rc && step->n_ends && step->n_ends <= WEIR_HEAD_TOK)
        rc = score_ends(step, 0, step->n_ends);
    return rc;
}

static struct weir_device_kept *find_kept(const struct weir_device_step *step)
{
    struct weir_on_device *on = step->on;

    for (unsigned i = 0; i < on->n_kept; i++) {
        struct weir_device_kept *kept = &on->kept[i];

        if (kept->n_tok == step->n_tok && kept->n_runs == step->n_runs &&
            kept->n_ends == step->n_ends && kept->max_pos == step->max_pos &&
            kept->draws == step->draws)
            return kept;
    }
    return NULL;
}

/* The oldest makes room. */
static struct weir_device_kept *place_kept(struct weir_on_device *on)
{
    struct weir_device_kept *kept = on->kept;

    if (on->n_kept < WEIR_DEVICE_GRAPHS)
        return &on->kept[on->n_kept++];
    on->room.table->graph_free(on->room.device, kept->graph);
    memmove(kept, kept + 1, (WEIR_DEVICE_GRAPHS - 1) * sizeof(*kept));
    return &kept[WEIR_DEVICE_GRAPHS - 1];
}

static int capture(const struct weir_device_step *step,
                   struct weir_device_kept **out)
{
    struct weir_on_device *on = step->on;
    struct weir_device_graph *graph;
    int rc = on->room.table->capture_begin(on->room.device, step->err);

    if (rc)
        return rc;
    run_layers(step);
    rc = on->room.table->capture_end(on->room.device, &graph, step->err);
    if (rc)
        return rc;
    *out = place_kept(on);
    **out = (struct weir_device_kept){step->n_tok,   step->n_runs, step->n_ends,
                                      step->max_pos, step->draws,  graph};
    return 0;
}

static int is_kept(const struct weir_device_step *step)
{
    return step->on->is_whole && !step->prompt && step->n_tok == step->n_runs &&
           step->n_tok <= WEIR_DEVICE_GRAPH_TOK &&
           !(step->observer && step->observer->views);
}

static int run_kept(const struct weir_device_step *step)
{
    struct weir_device_kept *kept = find_kept(step);
    int rc = kept ? 0 : capture(step, &kept);

    if (!rc)
        step->on->room.table->graph_launch(step->on->room.device, kept->graph);
    return rc;
}

/*
 * Scores that are there, from the first wanted row on, to who wants them: each
 * row in pieces, for as many threads
 */
struct delivery {
    const struct weir_device_step *step;
    uint32_t first;
};

#define PIECE 8192 /* scores */

static size_t n_pieces(const struct weir_device_step *step)
{
    return (config_of(step)->n_vocab + PIECE - 1) / PIECE;
}

static void hand_over(void *ctx, size_t item, unsigned worker)
{
    const struct delivery *delivery = ctx;
    const struct weir_device_step *step = delivery->step;
    size_t n_vocab = config_of(step)->n_vocab, row = item / n_pieces(step);
    size_t at = item % n_pieces(step) * PIECE, left = n_vocab - at;

    (void)worker;
    if (!step->logits[delivery->first + row])
        return;
    memcpy(step->logits[delivery->first + row] + at,
           step->on->seen + row * n_vocab + at,
           (left < PIECE ? left : PIECE) * sizeof(float));
}

static int deliver(const struct weir_device_step *step, uint32_t first,
                   uint32_t n)
{
    const struct weir_on_device *on = step->on;
    struct delivery delivery = {step, first};
    size_t n_vocab = config_of(step)->n_vocab;
    int rc;

    if (step->scores)
        on->room.table->to_host(on->room.device, WEIR_STREAM_COMPUTE, on->seen,
                                on->logits, n * n_vocab * sizeof(float));
    rc = on->room.table->synchronize(on->room.device, step->err);
    if (!rc && step->scores)
        weir_pool_run(on->jamba->pool, n * n_pieces(step), hand_over,
                      &delivery);
    for (uint32_t i = first; i < first + n && !rc; i++)
        if (step->next[i])
            *step->next[i] = on->seen_next[i];
    return rc;
}

static int deliver_all(const struct weir_device_step *step)
{
    uint32_t n;
    int rc = 0;

    if (step->n_ends <= WEIR_HEAD_TOK)
        return deliver(step, 0, step->n_ends);
    for (uint32_t i = 0; i < step->n_ends && !rc; i += n) {
        n = step->n_ends - i < WEIR_HEAD_TOK ? step->n_ends - i : WEIR_HEAD_TOK;
        rc = score_ends(step, i, n);
        if (!rc)
            rc = deliver(step, i, n);
    }
    return rc;
}

/* What comes behind the last layer, to who wants to see all of it */
static int show_ends(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;
    const struct weir_config *c = config_of(step);
    unsigned views = step->observer ? step->observer->views : 0;
    uint32_t n;
    int rc = 0;

    for (uint32_t t = 0;
         views >> WEIR_VIEW_LOGITS & 1 && t < step->n_tok && !rc; t += n) {
        n = step->n_tok - t < WEIR_HEAD_TOK ? step->n_tok - t : WEIR_HEAD_TOK;
        rc = score(step, on->hidden + t * (size_t)c->n_hidden, n);
        if (!rc)
            rc = show(step, WEIR_VIEW_LOGITS, c->n_layers, on->logits, n,
                      c->n_vocab);
    }
    if (rc || !(views >> WEIR_VIEW_HIDDEN & 1))
        return rc;
    on->room.table->rms_norm(
        on->room.device, on->hidden, c->n_hidden, step->n_tok, c->n_hidden,
        weir_device_vector(step, on->jamba->bind.final_norm), c->rms_eps,
        on->hidden, c->n_hidden);
    return show(step, WEIR_VIEW_HIDDEN, c->n_layers, on->hidden, step->n_tok,
                c->n_hidden);
}

static int run_step(const struct weir_device_step *step)
{
    int rc = is_kept(step) ? run_kept(step) : run_layers(step);

    if (!rc)
        rc = deliver_all(step);
    return rc ? rc : show_ends(step);
}

/* ---- a call ---- */

/* Attention of few tokens is cut by the most positions, in powers of two. */
static uint32_t room_for(uint32_t n_pos, uint32_t most)
{
    uint32_t n = WEIR_DEVICE_PAGE;

    while (n < n_pos && n < most)
        n *= 2;
    return n < most ? n : most;
}

static void begin_step(struct weir_device_step *step)
{
    step->n_tok = step->n_runs = step->n_ends = 0;
    step->max_tok = step->max_pos = 0;
    step->scores = step->draws = 0;
}

/* The run that was added last is wanted for what follows it. */
static void add_end(struct weir_device_step *step,
                    const struct weir_sequence *sequence)
{
    struct weir_device_told *telling = &step->on->telling;

    telling->ends[step->n_ends] = step->n_tok - 1;
    telling->draws[step->n_ends] = (struct weir_device_draw){0};
    if (sequence->draw)
        telling->draws[step->n_ends] = *sequence->draw;
    step->next[step->n_ends] = sequence->draw ? sequence->next : NULL;
    step->draws |= sequence->draw != NULL;
    step->logits[step->n_ends++] = sequence->logits;
    step->scores |= sequence->logits != NULL;
}

/* Adds n tokens of the sequence from `at` on. */
static void add_run(struct weir_device_step *step,
                    const struct weir_sequence *sequence, size_t at, uint32_t n)
{
    struct weir_device_told *telling = &step->on->telling;
    uint32_t n_past = (uint32_t)(sequence->state->n_tok + at);

    telling->runs[step->n_runs++] =
        (struct weir_device_run){step->n_tok, n, n_past, sequence->state->slot};
    memcpy(telling->ids + step->n_tok, sequence->ids + at,
           n * sizeof(*telling->ids));
    step->n_tok += n;
    if (n > step->max_tok)
        step->max_tok = n;
    if (n_past + n > step->max_pos)
        step->max_pos = n_past + n;
    if ((sequence->logits || sequence->draw) && at + n == sequence->n_ids)
        add_end(step, sequence);
}

/* Where a call has come to */
struct place {
    size_t sequence, at;
};

/* The CPU takes fewer at once. */
static size_t most_tok(const struct weir_device_step *step)
{
    const struct weir_on_device *on = step->on;

    return on->is_whole || step->prompt || on->step_tok < WEIR_CHUNK_TOK
               ? on->step_tok
               : WEIR_CHUNK_TOK;
}

/* Fills a step from `place` on; 0 when nothing is left. */
static int fill_step(struct weir_device_step *step,
                     const struct weir_sequence *sequences, size_t n,
                     struct place *place)
{
    struct weir_on_device *on = step->on;
    uint32_t most = (uint32_t)(on->states.ld_pages * WEIR_DEVICE_PAGE);

    begin_step(step);
    while (place->sequence < n && step->n_runs < WEIR_DEVICE_RUNS) {
        const struct weir_sequence *sequence = &sequences[place->sequence];
        size_t left = sequence->n_ids - place->at, room;

        if (step->n_runs && weir_sequence_is_prompt(sequence) != step->prompt)
            break;
        step->prompt = weir_sequence_is_prompt(sequence);
        room = most_tok(step) - step->n_tok;
        left = left < room ? left : room;
        if (!left)
            break;
        add_run(step, sequence, place->at, (uint32_t)left);
        place->at += left;
        if (place->at == sequence->n_ids)
            *place = (struct place){place->sequence + 1, 0};
    }
    step->max_pos = room_for(step->max_pos, most);
    return step->n_tok > 0;
}

/* What was read is given back, and what failed half way is not there. */
static int end_pass(struct weir_on_device *on, int rc, struct weir_err *err)
{
    weir_device_let_go(on);
    if (!rc)
        return weir_residency_check(on->jamba->residency, err);
    on->room.table->synchronize(on->room.device, NULL);
    weir_device_forget_slots(&on->trunk);
    weir_device_forget_slots(&on->experts);
    return rc;
}

int weir_on_device_forward(struct weir_on_device *on,
                           const struct weir_sequence *sequences, size_t n,
                           const struct weir_observer *observer,
                           struct weir_err *err)
{
    struct weir_device_step step = {.on = on, .observer = observer, .err = err};
    struct place place = {0, 0};
    size_t n_done = 0, n_all = 0;
    int rc = on->room.table->check(on->room.device, err);

    for (size_t i = 0; i < n; i++)
        n_all += sequences[i].n_ids;
    weir_trace_part("device", -1);
    while (!rc && fill_step(&step, sequences, n, &place)) {
        if (!on->is_whole)
            weir_residency_begin_pass(on->jamba->residency);
        rc = run_step(&step);
        n_done += step.n_tok;
        if (!rc)
            rc = weir_observer_tell(observer, n_done, n_all, err);
    }
    if (!on->is_whole)
        rc = end_pass(on, rc, err);
    return rc;
}
