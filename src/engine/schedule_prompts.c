/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Prompts of texts in step: what is kept of them, and how they are cut.  Of
 * prompts that begin alike and come together one is read first, and the others
 * go on from what it leaves.
 */
#include <stdlib.h>

#include "engine/schedule_parts.h"
#include "engine/session_parts.h"
#include "model/work.h"

#define WORTH_TOK 256 /* fewer are read beside others in no more time */

/* Whether it is under way, and there is something left of its prompt */
static int is_read(const struct place *place)
{
    return place->prompt && !place->is_new && place->n_seen < place->n_prompt;
}

/* ---- what is kept ---- */

/*
 * Of the n tokens that two prompts have in common those that can be had of the
 * other one once it is read: up to its end, to where it is cut or still can be,
 * or to a place that it has or comes by anyway.
 */
static size_t find_place(const struct place *place, const struct place *other,
                         size_t n)
{
    size_t next = n / WEIR_SNAPSHOT_TOK * WEIR_SNAPSHOT_TOK;
    const struct weir_kept *kept;

    if (n == other->n_prompt || (n > other->n_seen && n >= other->n_branch))
        return n;
    if (next > other->n_seen)
        return next;
    kept = weir_snapshots_find(&other->session->snapshots, n, place->n_prompt);
    return kept ? kept->n_tok : 0;
}

/*
 * The tokens that a text can have of another one's prompt once that is read, or
 * 0 when it is not worth waiting for.  It is when the text is there no later
 * than with half of each pass: after what the other one has left and what is
 * then its own, instead of after twice its prompt.
 */
static size_t worth_waiting(const struct weir_schedule *schedule,
                            const struct place *place,
                            const struct place *other)
{
    size_t n_common = weir_common_ids(place->prompt, place->n_prompt,
                                      other->prompt, other->n_prompt);
    size_t n = find_place(place, other, n_common);
    size_t left = other->n_prompt - other->n_seen, held;

    if (n < WORTH_TOK || left > place->n_prompt + n ||
        !weir_texts_could_keep(schedule->texts, other->n_prompt))
        return 0;
    held = weir_texts_held(schedule->texts, place->prompt, place->n_prompt);
    return n >= held + WORTH_TOK && left <= place->n_prompt - held + n - held
               ? n
               : 0;
}

/*
 * Whether it waits for another text's prompt, in which there will be a place to
 * go on from.
 */
static int waits(struct weir_schedule *schedule, const struct place *place)
{
    for (size_t i = 0; i < schedule->n_running; i++) {
        struct place *other = &schedule->places[i];
        size_t n = is_read(other) ? worth_waiting(schedule, place, other) : 0;

        if (n && other->n_branch <= other->n_seen && n > other->n_seen &&
            n < other->n_prompt)
            other->n_branch = n;
        if (n)
            return 1;
    }
    return 0;
}

/* Takes what is kept of the prompt of a text that begins. */
static void recall(struct weir_schedule *schedule, struct place *place)
{
    size_t n_common;

    place->is_new = 0;
    place->n_seen =
        weir_texts_take(schedule->texts, place->session, place->prompt,
                        place->n_prompt, place->chooser.logits, &n_common);
    place->n_cached = place->n_seen;
    if (n_common >= WEIR_PROMPT_TOK && n_common > place->n_seen &&
        n_common < place->n_prompt)
        place->n_branch = n_common;
}

/* ---- pieces ---- */

static size_t n_prompts(const struct weir_schedule *schedule)
{
    size_t n = 0;

    for (size_t i = 0; i < schedule->n_running; i++)
        n += is_read(&schedule->places[i]);
    return n;
}

/*
 * The place's piece of this pass; what room that leaves for n - 1 others.  It
 * ends where another prompt goes on otherwise, so that a third one can go on
 * from there.
 */
static size_t take_piece(struct place *place, size_t room, size_t n)
{
    size_t end =
        place->n_branch > place->n_seen ? place->n_branch : place->n_prompt;

    place->n_piece = weir_schedule_cut(end - place->n_seen, room / n);
    return place->n_piece < room ? room - place->n_piece : 0;
}

/*
 * Each prompt gets an equal share of what those before it left, so that a short
 * one need not wait for a long one.  The first that got nothing stands before
 * the others in the next pass.
 */
static void cut_pieces(struct weir_schedule *schedule)
{
    size_t most = schedule->options.n_piece_tok, room = most ? most : SIZE_MAX;
    size_t n = n_prompts(schedule), from = schedule->next_prompt;

    for (size_t k = 0; k < schedule->n_running; k++) {
        size_t i = (from + k) % schedule->n_running;
        struct place *place = &schedule->places[i];

        if (!is_read(place))
            continue;
        if (room == 0) {
            schedule->next_prompt = i;
            break;
        }
        room = take_piece(place, room, n--);
    }
}

void weir_schedule_cut_prompts(struct weir_schedule *schedule)
{
    for (size_t i = 0; i < schedule->n_running; i++) {
        struct place *place = &schedule->places[i];

        if (place->is_new && !waits(schedule, place))
            recall(schedule, place);
    }
    cut_pieces(schedule);
}

int weir_schedule_ends_turn(const struct weir_schedule *schedule,
                            const struct place *place)
{
    size_t end = place->n_seen + place->n_piece;

    return schedule->texts && place->prompt &&
           (end == place->n_prompt || end == place->n_branch);
}

void weir_schedule_see_piece(const struct weir_schedule *schedule,
                             struct place *place)
{
    place->n_seen += place->n_piece;
    place->n_piece = 0;
    if (place->n_seen < place->n_prompt)
        return;
    if (schedule->texts)
        weir_texts_keep(schedule->texts, place->session);
    free(place->prompt);
    place->prompt = NULL;
}
