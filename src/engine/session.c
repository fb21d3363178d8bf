/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/session_parts.h"

#include <stdlib.h>
#include <string.h>

#include "model/device.h"

static enum weir_dtype kv_dtype(const struct weir_session_options *options)
{
    return options->kv == WEIR_KV_F32 ? WEIR_F32 : WEIR_BF16;
}

static int keeps_snapshots(const weir_model *model,
                           const struct weir_session_options *options)
{
    return options->snapshot_bytes >=
           weir_snapshot_bytes(weir_state_mamba_floats(&model->jamba->config),
                               weir_model_n_vocab(model));
}

uint64_t weir_session_usual_snapshots(const weir_model *model, size_t n_ctx)
{
    uint64_t each =
        weir_snapshot_bytes(weir_state_mamba_floats(&model->jamba->config),
                            weir_model_n_vocab(model));
    uint64_t n = n_ctx / WEIR_SNAPSHOT_TOK + 16;
    uint64_t most = model->jamba->budget.ram_bytes / 16;

    n = n < WEIR_MAX_SNAPSHOTS ? n : WEIR_MAX_SNAPSHOTS;
    return most && most < n * each ? most : n * each;
}

uint64_t weir_session_bytes(const weir_model *model,
                            const struct weir_session_options *options)
{
    const struct weir_config *config = &model->jamba->config;
    uint64_t state =
        weir_state_bytes(config, options->n_ctx, kv_dtype(options));
    uint64_t rest =
        weir_snapshots_bytes(weir_state_mamba_floats(config), config->n_vocab,
                             options->n_ctx, options->snapshot_bytes);

    if (keeps_snapshots(model, options))
        rest += config->n_vocab * sizeof(float);
    rest += (uint64_t)options->n_ctx * sizeof(int32_t);
    return state > UINT64_MAX / 2 || rest > UINT64_MAX / 2 ? UINT64_MAX
                                                           : state + rest;
}

/*
 * The first sessions take all of a device that there is room for.  If it is not
 * enough, and the CPU will do, the model leaves the device.
 */
static int take_device(weir_model *model, size_t n_texts, size_t n_tok,
                       enum weir_dtype dtype, struct weir_err *err)
{
    struct weir_jamba *jamba = model->jamba;
    int rc;

    if (!jamba->on)
        return 0;
    pthread_mutex_lock(&jamba->lock);
    rc = weir_on_device_make_room(jamba->on, n_texts, n_tok, dtype, err);
    pthread_mutex_unlock(&jamba->lock);
    if (!model->may_leave_device || !weir_is_of_device(rc))
        return rc;
    weir_on_device_free(jamba->on);
    jamba->on = NULL;
    return 0;
}

int weir_session_reserve(weir_model *model,
                         const struct weir_session_options *options, size_t n,
                         uint64_t other_bytes, struct weir_err *err)
{
    uint64_t state = weir_session_bytes(model, options);
    size_t n_ctx = options->n_ctx;
    int rc;

    if (state > (UINT64_MAX >> 1) / n || n_ctx > SIZE_MAX / n)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%zu texts of %zu tokens are more than can be "
                            "counted; ask for fewer or shorter ones",
                            n, n_ctx);
    rc = take_device(model, n, n * n_ctx, kv_dtype(options), err);
    if (rc || model->jamba->on)
        return rc;
    rc = weir_budget_take(model->jamba, n * state + other_bytes, n * n_ctx,
                          (unsigned)n, err);
    if (!rc)
        weir_budget_give(model->jamba, n * state);
    return rc;
}

/* What remembers, beside the state */
static int init_memory(struct weir_session *session,
                       const struct weir_session_options *options,
                       struct weir_err *err)
{
    size_t n_vocab = weir_model_n_vocab(session->model);
    int on_device = session->state.on_device;
    int rc = weir_snapshots_init(&session->snapshots, session->state.n_mamba,
                                 n_vocab, options->n_ctx,
                                 on_device ? 0 : options->snapshot_bytes, err);

    if (rc)
        return rc;
    session->ids = calloc(options->n_ctx, sizeof(*session->ids));
    if (session->snapshots.n_slots)
        session->scores = calloc(n_vocab, sizeof(*session->scores));
    if (session->ids && (session->scores || !session->snapshots.n_slots))
        return 0;
    return weir_err_nomem(err, options->n_ctx * sizeof(*session->ids),
                          "the tokens of a session");
}

static int init_session(struct weir_session *session,
                        const struct weir_session_options *options,
                        struct weir_err *err)
{
    struct weir_model *model = session->model;
    uint64_t n_bytes = weir_session_bytes(model, options);
    int rc = take_device(model, 1, options->n_ctx, kv_dtype(options), err);

    if (!rc)
        rc = weir_budget_take(model->jamba, n_bytes, options->n_ctx, 1, err);
    if (rc)
        return rc;
    session->taken_bytes = n_bytes;
    rc = weir_jamba_begin(model->jamba, options->n_ctx, kv_dtype(options), 1,
                          &session->state, err);
    if (!rc)
        rc = init_memory(session, options, err);
    if (!rc && model->tokenizer)
        rc =
            weir_detokenizer_init(&session->detokenizer, model->tokenizer, err);
    return rc;
}

int weir_session_new(weir_model *model,
                     const struct weir_session_options *options,
                     weir_session **out, struct weir_err *err)
{
    struct weir_session *session;
    int rc;

    *out = NULL;
    if (!options || options->n_ctx == 0)
        return weir_err_set(err, WEIR_EARG,
                            "a session needs room for at least one token");
    session = calloc(1, sizeof(*session));
    if (!session)
        return weir_err_nomem(err, sizeof(*session), "a session");
    session->model = model;
    session->observer.progress = options->progress;
    session->observer.ctx = options->progress_ctx;
    rc = init_session(session, options, err);
    if (rc) {
        weir_session_free(session);
        return rc;
    }
    *out = session;
    return 0;
}

void weir_session_free(weir_session *session)
{
    if (!session)
        return;
    if (session->model->tokenizer)
        weir_detokenizer_fini(&session->detokenizer);
    weir_jamba_end(session->model->jamba, &session->state);
    weir_snapshots_fini(&session->snapshots);
    free(session->ids);
    free(session->scores);
    weir_budget_give(session->model->jamba, session->taken_bytes);
    free(session);
}

size_t weir_session_n_tok(const weir_session *session)
{
    return session->state.n_tok;
}

/* ---- evaluating ---- */

static void make_sequence(const struct weir_eval *eval,
                          struct weir_sequence *sequence)
{
    weir_session *session = eval->session;
    size_t n_all = session->state.n_tok + eval->n_ids;

    *sequence = (struct weir_sequence){
        .state = &session->state,
        .ids = eval->ids,
        .n_ids = eval->n_ids,
        .logits = eval->logits ? eval->logits
                  : eval->turn ? session->scores
                               : NULL,
        .prompt = eval->turn && n_all >= WEIR_PROMPT_TOK,
    };
}

/* Makes places for what follows; where it begins there may be one. */
static void plan(weir_session *session, int turn,
                 struct weir_sequence *sequence)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    size_t from = session->state.n_tok;
    struct weir_kept *now =
        weir_snapshots_plan(snapshots, from, from + sequence->n_ids, turn != 0);
    struct weir_snapshot snapshot;

    if (now) {
        snapshot = weir_snapshots_get(snapshots, now);
        weir_state_keep(&session->state, &snapshot);
    }
    if (now && session->scored) {
        memcpy(weir_snapshots_scores(snapshots, now), session->scores,
               snapshots->n_vocab * sizeof(float));
        now->scored = 1;
    }
    sequence->snapshots = snapshots->wanted;
    sequence->n_snapshots = snapshots->n_wanted;
}

/* Keeps the scores of the last token, if it keeps any. */
static void keep_scores(weir_session *session, const float *logits)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    size_t n_bytes = snapshots->n_vocab * sizeof(float);
    struct weir_kept *last = snapshots->kept + snapshots->n_kept;

    session->scored = session->scores && logits;
    if (!session->scored)
        return;
    if (logits != session->scores)
        memcpy(session->scores, logits, n_bytes);
    if (snapshots->n_kept && last[-1].n_tok == session->state.n_tok) {
        memcpy(weir_snapshots_scores(snapshots, last - 1), logits, n_bytes);
        last[-1].scored = 1;
    }
}

/* The sequence was evaluated, or not; the state says which. */
static void settle(weir_session *session, const struct weir_sequence *sequence)
{
    size_t n_tok = session->state.n_tok;

    if (session->state.spoiled) {
        weir_snapshots_drop(&session->snapshots, n_tok);
        session->scored = 0;
        return;
    }
    memcpy(session->ids + n_tok - sequence->n_ids, sequence->ids,
           sequence->n_ids * sizeof(*session->ids));
    keep_scores(session, sequence->logits);
}

static int run(const struct weir_eval *evals, const struct weir_next *next,
               size_t n, const struct weir_observer *observer,
               struct weir_err *err)
{
    struct weir_sequence sequences[WEIR_MAX_EVALS];
    struct weir_jamba *jamba;
    size_t i = 0;
    int rc;

    if (n == 0)
        return 0;
    jamba = evals->session->model->jamba;
    do {
        make_sequence(&evals[i], &sequences[i]);
        if (next) {
            sequences[i].draw = next[i].draw;
            sequences[i].next = next[i].id;
        }
    } while (++i < n);
    rc = weir_jamba_check(jamba, sequences, n, err);
    if (rc)
        return rc;
    for (i = 0; i < n; i++)
        plan(evals[i].session, evals[i].turn, &sequences[i]);
    rc = weir_jamba_forward(jamba, sequences, n, observer, err);
    for (i = 0; i < n; i++)
        settle(evals[i].session, &sequences[i]);
    return rc;
}

int weir_session_eval(weir_session *session, const int32_t *ids, size_t n_ids,
                      float *logits, struct weir_err *err)
{
    const struct weir_eval eval = {session, ids, n_ids, logits, 0};

    return run(&eval, NULL, 1, &session->observer, err);
}

int weir_session_eval_many(const struct weir_eval *evals, size_t n,
                           struct weir_err *err)
{
    return weir_session_observe_many(evals, NULL, n, NULL, err);
}

int weir_session_observe_many(const struct weir_eval *evals,
                              const struct weir_next *next, size_t n,
                              const struct weir_observer *observer,
                              struct weir_err *err)
{
    if (n > WEIR_MAX_EVALS)
        return weir_err_set(err, WEIR_EARG,
                            "%zu sessions are too many for one pass: %d is "
                            "the most",
                            n, WEIR_MAX_EVALS);
    for (size_t i = 0; i < n; i++)
        if (evals[i].session->model != evals[0].session->model)
            return weir_err_set(err, WEIR_EARG,
                                "sessions of two models in one pass");
    return run(evals, next, n, observer, err);
}

/* Puts the rows of logits behind each other; the rest goes to the caller. */
struct collector {
    float *logits;
    const struct weir_observer *observer;
};

static int collect(void *ctx, enum weir_view view, uint32_t layer,
                   const float *values, size_t n_tok, size_t width,
                   struct weir_err *err)
{
    struct collector *collector = ctx;
    const struct weir_observer *observer = collector->observer;

    if (view == WEIR_VIEW_LOGITS && collector->logits) {
        memcpy(collector->logits, values, n_tok * width * sizeof(*values));
        collector->logits += n_tok * width;
    }
    if (!observer || !(observer->views >> view & 1))
        return 0;
    return observer->see(observer->ctx, view, layer, values, n_tok, width, err);
}

int weir_session_eval_all(weir_session *session, const int32_t *ids,
                          size_t n_ids, float *logits,
                          const struct weir_observer *observer,
                          struct weir_err *err)
{
    struct collector collector = {logits, observer};
    struct weir_observer all = {.views = observer ? observer->views : 0,
                                .see = collect,
                                .ctx = &collector};
    const struct weir_eval eval = {session, ids, n_ids, NULL, 0};

    if (logits)
        all.views |= 1u << WEIR_VIEW_LOGITS;
    return run(&eval, NULL, 1, &all, err);
}

/* ---- going back ---- */

/* To a place, or with NULL to the start, and forgets what is behind it */
static void go_back(weir_session *session, const struct weir_kept *kept)
{
    struct weir_snapshots *snapshots = &session->snapshots;
    struct weir_snapshot snapshot;

    if (kept)
        snapshot = weir_snapshots_get(snapshots, kept);
    weir_jamba_go_back(session->model->jamba, &session->state,
                       kept ? &snapshot : NULL);
    session->scored = kept && kept->scored;
    if (session->scored)
        memcpy(session->scores, weir_snapshots_scores(snapshots, kept),
               snapshots->n_vocab * sizeof(float));
    weir_snapshots_drop(snapshots, session->state.n_tok);
}

size_t weir_session_rewind(weir_session *session, const int32_t *ids,
                           size_t n_ids, float *logits)
{
    size_t n, n_bytes;
    const char *text;

    weir_session_held(session, ids, n_ids, &n);
    if (session->state.spoiled || n < session->state.n_tok ||
        (n == n_ids && !session->scored))
        go_back(session, weir_snapshots_find(&session->snapshots, n, n_ids));
    if (session->model->tokenizer)
        weir_detokenizer_finish(&session->detokenizer, &text, &n_bytes);
    n = session->state.n_tok;
    if (logits && n_ids && n == n_ids)
        memcpy(logits, session->scores,
               session->snapshots.n_vocab * sizeof(*logits));
    return n;
}

int weir_session_prefix(weir_session *session, const int32_t *ids, size_t n_ids,
                        float *logits, size_t *n_kept, struct weir_err *err)
{
    struct weir_eval eval = {session, NULL, 0, logits, 1};
    size_t n;

    if (n_ids == 0)
        return weir_err_set(err, WEIR_EARG, "no tokens to evaluate");
    n = weir_session_rewind(session, ids, n_ids, logits);
    if (n_kept)
        *n_kept = n;
    if (n == n_ids)
        return 0;
    eval.ids = ids + n;
    eval.n_ids = n_ids - n;
    return run(&eval, NULL, 1, &session->observer, err);
}

int weir_session_decode(weir_session *session, int32_t id, const char **text,
                        size_t *n_bytes, struct weir_err *err)
{
    *text = "";
    *n_bytes = 0;
    if (!session->model->tokenizer)
        return weir_err_set(err, WEIR_ENOTSUP,
                            "%s: was packed without a tokenizer, so that ids "
                            "cannot become text",
                            session->model->jamba->file->path);
    if (id >= 0 && !weir_tokenizer_has(session->model->tokenizer, id))
        return 0; /* a vocabulary with padding or gaps: ids without text */
    if (id >= 0)
        return weir_detokenizer_push(&session->detokenizer, id, 0, text,
                                     n_bytes, err);
    weir_detokenizer_finish(&session->detokenizer, text, n_bytes);
    return 0;
}
