/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

#include "model/device.h"

struct weir_session {
    struct weir_model *model;
    struct weir_state state;
    uint64_t state_bytes;                /* taken from the model's budget */
    struct weir_detokenizer detokenizer; /* when the model has a tokenizer */
    struct weir_observer observer;       /* sees progress only */
};

static enum weir_dtype kv_dtype(const struct weir_session_options *options)
{
    return options->kv == WEIR_KV_F32 ? WEIR_F32 : WEIR_BF16;
}

static uint64_t state_bytes(const weir_model *model,
                            const struct weir_session_options *options)
{
    return weir_state_bytes(&model->jamba->config, options->n_ctx,
                            kv_dtype(options));
}

int weir_session_reserve(weir_model *model,
                         const struct weir_session_options *options, size_t n,
                         uint64_t other_bytes, struct weir_err *err)
{
    uint64_t state = state_bytes(model, options);
    size_t n_ctx = options->n_ctx;
    int rc;

    if (state > (UINT64_MAX >> 1) / n || n_ctx > SIZE_MAX / n)
        return weir_err_set(err, WEIR_ELIMIT,
                            "%zu texts of %zu tokens are more than can be "
                            "counted; ask for fewer or shorter ones",
                            n, n_ctx);
    if (model->jamba->on)
        return weir_on_device_make_room(model->jamba->on, n, n * n_ctx,
                                        kv_dtype(options), err);
    rc = weir_budget_take(model->jamba, n * state + other_bytes, n * n_ctx,
                          (unsigned)n, err);
    if (!rc)
        weir_budget_give(model->jamba, n * state);
    return rc;
}

static int init_session(struct weir_session *session,
                        const struct weir_session_options *options,
                        struct weir_err *err)
{
    struct weir_model *model = session->model;
    uint64_t n_bytes = state_bytes(model, options);
    int rc = weir_budget_take(model->jamba, n_bytes, options->n_ctx, 1, err);

    if (rc)
        return rc;
    session->state_bytes = n_bytes;
    rc = weir_jamba_begin(model->jamba, options->n_ctx, kv_dtype(options), 1,
                          &session->state, err);
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
    weir_budget_give(session->model->jamba, session->state_bytes);
    free(session);
}

size_t weir_session_n_tok(const weir_session *session)
{
    return session->state.n_tok;
}

int weir_session_eval(weir_session *session, const int32_t *ids, size_t n_ids,
                      float *logits, struct weir_err *err)
{
    struct weir_sequence sequence = {&session->state, ids, n_ids, logits};

    return weir_jamba_forward(session->model->jamba, &sequence, 1,
                              &session->observer, err);
}

int weir_session_eval_many(const struct weir_eval *evals, size_t n,
                           struct weir_err *err)
{
    return weir_session_observe_many(evals, n, NULL, err);
}

int weir_session_observe_many(const struct weir_eval *evals, size_t n,
                              const struct weir_observer *observer,
                              struct weir_err *err)
{
    struct weir_sequence sequences[WEIR_MAX_EVALS];

    if (n == 0)
        return 0;
    if (n > WEIR_MAX_EVALS)
        return weir_err_set(err, WEIR_EARG,
                            "%zu sessions are too many for one pass: %d is "
                            "the most",
                            n, WEIR_MAX_EVALS);
    for (size_t i = 0; i < n; i++) {
        if (evals[i].session->model != evals[0].session->model)
            return weir_err_set(err, WEIR_EARG,
                                "sessions of two models in one pass");
        sequences[i] =
            (struct weir_sequence){&evals[i].session->state, evals[i].ids,
                                   evals[i].n_ids, evals[i].logits};
    }
    return weir_jamba_forward(evals[0].session->model->jamba, sequences, n,
                              observer, err);
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
    struct weir_sequence sequence = {&session->state, ids, n_ids, NULL};

    if (logits)
        all.views |= 1u << WEIR_VIEW_LOGITS;
    return weir_jamba_forward(session->model->jamba, &sequence, 1, &all, err);
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
