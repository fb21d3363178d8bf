/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The forward pass of jamba.c on a device.  Tokens go in steps of at most
 * step_tok through all layers (device_step.c).  The next token is chosen there,
 * too, if nobody wants to see the scores: then ids alone come back.
 *
 * Steps hold tokens of prompts or others, never both: products of a prompt
 * round activations as linear.h has it, those of other tokens do not.
 */
#include <string.h>

#include "base/trace.h"
#include "model/device_parts.h"

static const struct weir_config *config_of(const struct weir_device_step *step)
{
    return &step->on->jamba->config;
}

/* ---- what comes of a step ---- */

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
        rc = weir_device_score_ends(step, i, n);
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
        rc = weir_device_score_rows(step, on->hidden + t * (size_t)c->n_hidden,
                                    n);
        if (!rc)
            rc = weir_device_show(step, WEIR_VIEW_LOGITS, c->n_layers,
                                  on->logits, n, c->n_vocab);
    }
    if (rc || !(views >> WEIR_VIEW_HIDDEN & 1))
        return rc;
    on->room.table->rms_norm(
        on->room.device, on->hidden, c->n_hidden, step->n_tok, c->n_hidden,
        weir_device_vector(step, on->jamba->bind.final_norm), c->rms_eps,
        on->hidden, c->n_hidden);
    return weir_device_show(step, WEIR_VIEW_HIDDEN, c->n_layers, on->hidden,
                            step->n_tok, c->n_hidden);
}

static int run_step(const struct weir_device_step *step)
{
    int rc = weir_device_run_step(step);

    if (!rc)
        rc = deliver_all(step);
    if (!rc)
        rc = show_ends(step);
    weir_device_end_step(step);
    return rc;
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
