/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running texts stand in the first places.  A text gets the bits that it would
 * get alone, because the pass promises that of each sequence and everything
 * else (sampler, stop strings, decoding) is its own.  So texts may be put in
 * any order, and one that ends changes places with the last.
 */
#include "engine/schedule.h"

#include <stdlib.h>
#include <string.h>

#include "engine/schedule_parts.h"
#include "engine/session_parts.h"
#include "model/work.h"

#define ANSWER_BYTES (1UL << 30) /* most in the text of an answer */

#define NOT_FINITE -1 /* in place of a token: the scores were bad */

static enum weir_dtype kv_dtype(enum weir_kv kv)
{
    return kv == WEIR_KV_F32 ? WEIR_F32 : WEIR_BF16;
}

static int init(struct weir_schedule *schedule, struct weir_err *err)
{
    size_t n = schedule->options.n_places;
    size_t n_vocab = weir_model_n_vocab(schedule->model);
    int rc;

    if (n < 1 || n > WEIR_MAX_EVALS || schedule->options.n_ctx < 2)
        return weir_err_set(err, WEIR_EARG,
                            "1 to %d texts at a time, and 2 tokens or more in "
                            "each",
                            WEIR_MAX_EVALS);
    rc = weir_schedule_reserve(schedule, err);
    if (!rc)
        rc = weir_tally_init(&schedule->tally, schedule->model->jamba,
                             kv_dtype(schedule->options.kv), err);
    if (rc)
        return rc;
    schedule->logits = calloc(n * n_vocab, sizeof(*schedule->logits));
    schedule->places = calloc(n, sizeof(*schedule->places));
    if (!schedule->logits || !schedule->places)
        return weir_err_nomem(err, n * n_vocab * sizeof(*schedule->logits),
                              "texts in step");
    for (size_t i = 0; i < n; i++)
        schedule->places[i].chooser.logits = schedule->logits + i * n_vocab;
    return 0;
}

int weir_schedule_new(weir_model *model,
                      const struct weir_schedule_options *options,
                      weir_answer_fn *finished, void *ctx,
                      struct weir_schedule **out, struct weir_err *err)
{
    struct weir_schedule *schedule = calloc(1, sizeof(*schedule));
    int rc;

    *out = NULL;
    if (!schedule)
        return weir_err_nomem(err, sizeof(*schedule), "texts in step");
    schedule->model = model;
    schedule->options = *options;
    schedule->finished = finished;
    schedule->ctx = ctx;
    rc = init(schedule, err);
    if (rc) {
        weir_schedule_free(schedule);
        return rc;
    }
    *out = schedule;
    return 0;
}

/* Makes the place free; its logits stay. */
static void clear(struct place *place)
{
    float *logits = place->chooser.logits;

    weir_session_free(place->session);
    weir_sampler_fini(&place->chooser.sampler);
    if (place->chooser.mask)
        weir_mask_fini(place->chooser.mask);
    free(place->chooser.mask);
    weir_buf_fini(&place->ids);
    weir_buf_fini(&place->text);
    weir_scored_fini(&place->scoring.tokens);
    free(place->prompt);
    memset(place, 0, sizeof(*place));
    place->chooser.logits = logits;
}

void weir_schedule_free(struct weir_schedule *schedule)
{
    if (!schedule)
        return;
    for (size_t i = 0; i < schedule->n_running; i++)
        clear(&schedule->places[i]);
    weir_texts_free(schedule->texts);
    weir_budget_give(schedule->model->jamba, schedule->other_bytes);
    weir_tally_fini(&schedule->tally);
    weir_token_tree_free(schedule->tree);
    free(schedule->logits);
    free(schedule->places);
    free(schedule);
}

size_t weir_schedule_n_running(const struct weir_schedule *schedule)
{
    return schedule->n_running;
}

size_t weir_schedule_n_free(const struct weir_schedule *schedule)
{
    return schedule->options.n_places - schedule->n_running;
}

void weir_schedule_get_texts(const struct weir_schedule *schedule,
                             struct weir_texts_stats *stats)
{
    *stats = schedule->texts ? *weir_texts_get_stats(schedule->texts)
                             : (struct weir_texts_stats){0};
}

const struct weir_tally *weir_schedule_tally(
    const struct weir_schedule *schedule)
{
    return &schedule->tally;
}

/* ---- a request ---- */

static int check_scores(const struct weir_schedule *schedule,
                        const struct weir_request *request,
                        struct weir_err *err)
{
    size_t n = request->n_scores;
    size_t most = weir_schedule_most_scores(schedule->options.n_ctx);

    if (n && !schedule->model->tokenizer)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "log-probabilities need a tokenizer, which the "
                            "model was packed without");
    if (n <= WEIR_MAX_SCORES && request->n_tokens * n <= most)
        return 0;
    return weir_err_set(err, WEIR_EARG,
                        "%zu log-probabilities of each of %zu tokens are more "
                        "than the %d of each, or the %zu in all, that may be",
                        n, request->n_tokens, WEIR_MAX_SCORES, most);
}

static int check_request(const struct weir_schedule *schedule,
                         const struct weir_request *request,
                         struct weir_err *err)
{
    size_t n_ctx = schedule->options.n_ctx;
    size_t n_vocab = weir_model_n_vocab(schedule->model);
    int rc;

    if (weir_schedule_n_free(schedule) == 0)
        return weir_err_set(err, WEIR_EARG, "all %zu places are taken",
                            schedule->options.n_places);
    if (request->n_ids == 0 || request->n_tokens == 0)
        return weir_err_set(err, WEIR_EARG,
                            "prompt and answer must have a token each");
    if (request->n_ids > n_ctx || request->n_tokens > n_ctx - request->n_ids)
        return weir_err_set(err, WEIR_EARG,
                            "a prompt of %zu tokens and an answer of up to %zu "
                            "are longer than the context of %zu",
                            request->n_ids, request->n_tokens, n_ctx);
    for (size_t i = 0; i < request->n_ids; i++)
        if ((uint32_t)request->ids[i] >= n_vocab)
            return weir_err_set(err, WEIR_EARG,
                                "token %zu of the prompt is id %ld; the model "
                                "has ids 0 to %zu",
                                i, (long)request->ids[i], n_vocab - 1);
    rc = check_scores(schedule, request, err);
    return rc ? rc : weir_sampling_check(&request->sampling, n_vocab, err);
}

/* The first that has a grammar pays for the tree of the vocabulary. */
static int make_mask(struct weir_schedule *schedule, struct place *place,
                     const struct weir_request *request, struct weir_err *err)
{
    const weir_model *model = schedule->model;
    int rc = 0;

    if (!model->tokenizer)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "the form of an answer needs a tokenizer, which "
                            "the model was packed without");
    if (!schedule->tree)
        rc = weir_token_tree_new(model->tokenizer, &schedule->tree, err);
    if (rc)
        return rc;
    place->chooser.mask = calloc(1, sizeof(*place->chooser.mask));
    if (!place->chooser.mask)
        return weir_err_nomem(err, sizeof(*place->chooser.mask), "a mask");
    return weir_mask_init(place->chooser.mask, schedule->tree, request->grammar,
                          request->eos, request->n_eos,
                          weir_model_n_vocab(model), err);
}

static int fill_place(struct weir_schedule *schedule, struct place *place,
                      const struct weir_request *request, struct weir_err *err)
{
    size_t n_bytes = request->n_ids * sizeof(*request->ids);
    size_t n_ctx = request->n_ids + request->n_tokens;
    struct weir_session_options options = {
        .n_ctx = n_ctx,
        .kv = schedule->options.kv,
        .snapshot_bytes = weir_schedule_snapshots(
            schedule->model, n_ctx, schedule->options.cache_bytes)};
    int rc = weir_session_new(schedule->model, &options, &place->session, err);

    if (!rc)
        rc = weir_sampler_init(&place->chooser.sampler, &request->sampling,
                               weir_model_n_vocab(schedule->model), err);
    if (!rc && request->grammar)
        rc = make_mask(schedule, place, request, err);
    if (rc)
        return rc;
    place->prompt = malloc(n_bytes);
    if (!place->prompt)
        return weir_err_nomem(err, n_bytes, "a prompt");
    memcpy(place->prompt, request->ids, n_bytes);
    place->n_prompt = request->n_ids;
    place->n_tokens = request->n_tokens;
    place->stop = request->stop;
    memcpy(place->eos, request->eos, sizeof(place->eos));
    place->n_eos = request->n_eos;
    place->tag = request->tag;
    place->is_new = schedule->texts != NULL;
    place->ids.ceiling = request->n_tokens * sizeof(int32_t);
    place->text.ceiling = ANSWER_BYTES;
    weir_scored_init(&place->scoring.tokens, request->n_scores,
                     request->n_tokens);
    weir_sampler_see_prompt(&place->chooser.sampler, place->prompt,
                            place->n_prompt);
    return 0;
}

int weir_schedule_add(struct weir_schedule *schedule,
                      const struct weir_request *request, struct weir_err *err)
{
    struct place *place = &schedule->places[schedule->n_running];
    int rc = check_request(schedule, request, err);

    if (rc)
        return rc;
    rc = fill_place(schedule, place, request, err);
    if (rc)
        clear(place);
    else
        schedule->n_running++;
    return rc;
}

/* Frees place i, to which the last of those that run moves. */
static void leave(struct weir_schedule *schedule, size_t i)
{
    struct place *last = &schedule->places[--schedule->n_running];
    struct place *place = &schedule->places[i], empty;

    clear(place);
    empty = *place;
    *place = *last;
    *last = empty;
}

int weir_schedule_cancel(struct weir_schedule *schedule, const void *tag)
{
    for (size_t i = 0; i < schedule->n_running; i++)
        if (schedule->places[i].tag == tag) {
            leave(schedule, i);
            return 1;
        }
    return 0;
}

/* ---- a step ---- */

/* Whether the text gets its next token from this pass */
static int is_ready(const struct place *place)
{
    return !place->prompt || place->n_seen + place->n_piece == place->n_prompt;
}

static int evaluate(struct weir_schedule *schedule, struct weir_err *err)
{
    struct weir_observer observer = weir_tally_observer(&schedule->tally);
    size_t n = 0;
    int rc;

    weir_schedule_cut_prompts(schedule);
    for (size_t i = 0; i < schedule->n_running; i++) {
        struct place *place = &schedule->places[i];
        struct weir_eval eval = {
            .session = place->session, .ids = &place->id, .n_ids = 1};

        if (place->prompt) {
            eval.ids = place->prompt + place->n_seen;
            eval.n_ids = place->n_piece;
            eval.turn = weir_schedule_ends_turn(schedule, place);
        }
        if (eval.n_ids == 0)
            continue;
        schedule->next[n] = (struct weir_next){NULL, NULL};
        if (is_ready(place))
            weir_chooser_want(&place->chooser,
                              place->scoring.tokens.n_scores != 0, &eval,
                              &schedule->next[n]);
        schedule->evals[n++] = eval;
        weir_tally_add(&schedule->tally, weir_session_n_tok(place->session),
                       eval.n_ids);
    }
    rc = weir_session_observe_many(schedule->evals, schedule->next, n,
                                   &observer, err);
    weir_tally_end_pass(&schedule->tally);
    return rc;
}

static void choose(void *ctx, size_t item, unsigned worker)
{
    struct place *place = &((struct place *)ctx)[item];

    (void)worker;
    if (!is_ready(place))
        return;
    place->id = weir_chooser_next(&place->chooser);
    weir_scoring_choose(&place->scoring, place->chooser.logits,
                        place->chooser.sampler.n_vocab, place->id);
}

/* The threads of the pass are idle between two of them. */
static void choose_all(struct weir_schedule *schedule)
{
    struct weir_jamba *jamba = schedule->model->jamba;

    pthread_mutex_lock(&jamba->lock);
    weir_pool_run(jamba->pool, schedule->n_running, choose, schedule->places);
    pthread_mutex_unlock(&jamba->lock);
}

static int is_eos(const struct place *place)
{
    for (uint32_t i = 0; i < place->n_eos; i++)
        if (place->eos[i] == place->id)
            return 1;
    return 0;
}

static int add_text(struct place *place, const struct weir_stop_out *out,
                    struct weir_err *err)
{
    int rc = weir_buf_add(&place->text, out->text[0], out->n_bytes[0], err);

    return rc ? rc
              : weir_buf_add(&place->text, out->text[1], out->n_bytes[1], err);
}

static int decode_id(struct place *place, int32_t id, const char **text,
                     size_t *n_bytes, struct weir_err *err)
{
    if (id >= 0 && place->chooser.mask &&
        weir_mask_shows(place->chooser.mask, id))
        return weir_detokenizer_push(&place->session->detokenizer, id, 1, text,
                                     n_bytes, err);
    return weir_session_decode(place->session, id, text, n_bytes, err);
}

/* The same, while it is seen which bytes are of which token */
static int decode_scored(struct place *place, int32_t id, const char **text,
                         size_t *n_bytes, struct weir_err *err)
{
    const struct weir_detokenizer *detokenizer = &place->session->detokenizer;
    int rc = id >= 0 ? weir_scoring_add(&place->scoring, detokenizer, err) : 0;

    if (!rc)
        rc = decode_id(place, id, text, n_bytes, err);
    if (!rc)
        weir_scoring_settle(&place->scoring, detokenizer, *n_bytes);
    return rc;
}

/* The next token as text, or with id < 0 what is still held back of it */
static int decode(const struct weir_schedule *schedule, struct place *place,
                  int32_t id, struct weir_err *err)
{
    struct weir_stop_out out;
    const char *text;
    size_t n_bytes;
    int rc;

    if (!schedule->model->tokenizer)
        return 0;
    if (place->scoring.tokens.n_scores)
        rc = decode_scored(place, id, &text, &n_bytes, err);
    else
        rc = decode_id(place, id, &text, &n_bytes, err);
    if (rc)
        return rc;
    if (weir_stop_push(&place->stop, text, n_bytes, &out)) {
        place->ended = 1;
        place->end = WEIR_END_STOP;
    }
    return add_text(place, &out, err);
}

static int end_text(const struct weir_schedule *schedule, struct place *place,
                    enum weir_end end, struct weir_err *err)
{
    struct weir_stop_out out;
    int rc;

    place->ended = 1;
    place->end = end;
    rc = decode(schedule, place, -1, err);

    if (rc)
        return rc;
    weir_stop_finish(&place->stop, &out);
    return add_text(place, &out, err);
}

/* Takes the token that was chosen. */
static int go_on(const struct weir_schedule *schedule, struct place *place,
                 struct weir_err *err)
{
    int rc;

    if (place->id == NOT_FINITE)
        return weir_err_set(err, WEIR_ECORRUPT,
                            "%s: the scores after token %zu are not finite; "
                            "its weights are damaged or overflow",
                            schedule->model->jamba->file->path,
                            weir_session_n_tok(place->session));
    if (place->id == WEIR_MASK_NO_TOKEN)
        return end_text(schedule, place, WEIR_END_LENGTH, err);
    if (is_eos(place))
        return end_text(schedule, place, WEIR_END_EOS, err);
    rc = weir_buf_add(&place->ids, &place->id, sizeof(place->id), err);
    if (!rc)
        rc = decode(schedule, place, place->id, err);
    if (rc || place->ended)
        return rc;
    if (place->chooser.mask && weir_mask_take(place->chooser.mask, place->id) &&
        weir_mask_must_end(place->chooser.mask))
        return end_text(schedule, place, WEIR_END_EOS, err);
    if (place->ids.n_bytes < place->n_tokens * sizeof(place->id))
        return 0;
    return end_text(schedule, place, WEIR_END_LENGTH, err);
}

static int tell(const struct weir_schedule *schedule, struct place *place,
                weir_answer_fn *whom, struct weir_err *err)
{
    const char *text = place->text.data ? place->text.data : "";
    const struct weir_answer answer = {
        .tag = place->tag,
        .text = text,
        .n_bytes = place->text.n_bytes,
        .ids = (const int32_t *)(const void *)place->ids.data,
        .n_ids = place->ids.n_bytes / sizeof(int32_t),
        .n_prompt = place->n_prompt,
        .n_cached = place->n_cached,
        .scored = weir_scoring_tell(&place->scoring, text, place->text.n_bytes),
        .end = place->end,
    };

    return whom ? whom(schedule->ctx, &answer, err) : 0;
}

/* What the pass has brought to one text; it may have ended then. */
static int take_turn(const struct weir_schedule *schedule, struct place *place,
                     struct weir_err *err)
{
    int was_ready = is_ready(place), rc;

    if (place->prompt)
        weir_schedule_see_piece(schedule, place);
    if (!was_ready)
        return 0;
    rc = go_on(schedule, place, err);
    return rc || place->ended
               ? rc
               : tell(schedule, place, schedule->options.goes_on, err);
}

int weir_schedule_step(struct weir_schedule *schedule, struct weir_err *err)
{
    size_t i = 0;
    int rc;

    if (!schedule->n_running)
        return 0;
    rc = evaluate(schedule, err);
    if (rc)
        return rc;
    choose_all(schedule);
    for (size_t k = 0; k < schedule->n_running && !rc; k++)
        rc = take_turn(schedule, &schedule->places[k], err);
    while (i < schedule->n_running && !rc) {
        if (!schedule->places[i].ended) {
            i++;
            continue;
        }
        rc = tell(schedule, &schedule->places[i], schedule->finished, err);
        leave(schedule, i);
    }
    return rc;
}
