/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions that go back: to regenerate, to edit, to go on.  What they keep and
 * what they compute has the bits of a session that never went back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/session_parts.h"
#include "tests/golden_model.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define N_CTX   9000
#define N_STEPS 6 /* tokens of an answer */

static char path[] = "prefix.XXXXXX";
static int32_t text[N_CTX], other[N_CTX];
static enum weir_kv kv;
static struct weir_err err;

static weir_session *start(weir_model *model, size_t n_slots)
{
    struct weir_session_options options = {.n_ctx = N_CTX, .kv = kv};
    weir_session *session = NULL;

    options.snapshot_bytes =
        n_slots * weir_snapshot_bytes(
                      weir_state_mamba_floats(&model->jamba->config), N_VOCAB);
    if (weir_session_new(model, &options, &session, &err))
        tap_diag("%s", err.message);
    return session;
}

/* prefix(), of whose text so many tokens should be held */
static int expect(weir_session *session, const int32_t *ids, size_t n_ids,
                  size_t wanted, float *logits)
{
    size_t n = 12345;
    int rc = weir_session_prefix(session, ids, n_ids, logits, &n, &err);

    if (rc)
        tap_diag("%s", err.message);
    else if (n != wanted || weir_session_n_tok(session) != n_ids)
        tap_diag("%zu tokens of %zu kept instead of %zu; then there are %zu", n,
                 n_ids, wanted, weir_session_n_tok(session));
    return !rc && n == wanted && weir_session_n_tok(session) == n_ids;
}

/* Scores behind a text that a new session computes as one turn */
static void fresh(weir_model *model, const int32_t *ids, size_t n,
                  float *logits)
{
    weir_session *session = start(model, 0);

    if (!expect(session, ids, n, 0, logits))
        memset(logits, 0, N_VOCAB * sizeof(*logits));
    weir_session_free(session);
}

/* The tokens n to n + N_STEPS - 1 of the text, one by one */
static void answer(weir_session *session, size_t n, float (*logits)[N_VOCAB])
{
    for (size_t i = 0; i < N_STEPS; i++)
        if (weir_session_eval(session, text + n + i, 1, logits[i], &err))
            tap_diag("%s", err.message);
}

static int same(const void *a, const void *b)
{
    return !memcmp(a, b, N_VOCAB * sizeof(float));
}

/* The text of n tokens, and after it another one */
static const int32_t *change(size_t n)
{
    memcpy(other, text, sizeof(text));
    for (size_t i = n; i < N_CTX; i++)
        other[i] = (text[i] + 1) % N_VOCAB;
    return other;
}

static void test_turns(weir_model *model, const char *name)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    static float once[N_STEPS][N_VOCAB], again[N_STEPS][N_VOCAB];
    weir_session *session = start(model, 8), *alone = start(model, 8);
    size_t end = 100 + N_STEPS;

    fresh(model, text, 100, wanted);
    tap_ok(expect(session, text, 100, 0, logits) && same(logits, wanted),
           "%s: a prompt", name);
    answer(session, 100, once);
    tap_ok(expect(session, text, 100, 100, logits) && same(logits, wanted),
           "%s: the answer again: nothing is computed", name);
    answer(session, 100, again);
    tap_ok(!memcmp(once, again, sizeof(once)), "%s: and it is the same", name);
    tap_ok(expect(session, text, end, end, logits) &&
               same(logits, once[N_STEPS - 1]),
           "%s: the text that is there", name);

    /* The next turn: a session that never went back does it for comparison. */
    expect(alone, text, 100, 0, NULL);
    answer(alone, 100, again);
    expect(alone, text, end + 10, end, wanted);
    tap_ok(expect(session, text, end + 10, end, logits) && same(logits, wanted),
           "%s: the next turn keeps all", name);
    answer(session, end + 10, once);
    tap_ok(expect(session, text, end + 10, end + 10, logits) &&
               same(logits, wanted),
           "%s: its answer again", name);
    change(end + 3);
    weir_session_rewind(alone, other, end, NULL);
    expect(alone, other, end + 10, end, wanted);
    tap_ok(expect(session, other, end + 10, end, logits) &&
               same(logits, wanted),
           "%s: its question, changed", name);
    tap_ok(expect(session, text, 100, 100, logits) &&
               (fresh(model, text, 100, wanted), same(logits, wanted)),
           "%s: back by two turns", name);
    change(90);
    fresh(model, other, 120, wanted);
    tap_ok(expect(session, other, 120, 64, logits) && same(logits, wanted),
           "%s: a prompt whose end has changed", name);
    change(10);
    fresh(model, other, 120, wanted);
    tap_ok(expect(session, other, 120, 0, logits) && same(logits, wanted),
           "%s: and one that is another", name);
    weir_session_free(session);
    weir_session_free(alone);
}

static void test_long(weir_model *model, const char *name)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    weir_session *session = start(model, 8);

    expect(session, text, N_CTX, 0, logits);
    fresh(model, change(8500), 8600, wanted);
    tap_ok(expect(session, other, 8600, 8192, logits) && same(logits, wanted),
           "%s: a long prompt is kept to token 8192", name);
    fresh(model, text, 8192, wanted);
    tap_ok(expect(session, text, 8192, 4096, logits) && same(logits, wanted),
           "%s: and a part of it, whose scores nobody wanted, to 4096", name);
    fresh(model, text, 4100, wanted);
    tap_ok(expect(session, text, 4100, 4096, logits) && same(logits, wanted),
           "%s: few tokens behind it are a prompt too", name);
    weir_session_free(session);
}

/* Single tokens that pass a multiple of WEIR_SNAPSHOT_TOK */
static void test_decoded(weir_model *model)
{
    static float logits[N_VOCAB], wanted[N_VOCAB];
    weir_session *session = start(model, 8);

    expect(session, text, 4090, 0, NULL);
    for (size_t i = 4090; i < 4100; i++)
        weir_session_eval(session, text + i, 1, i == 4095 ? wanted : NULL,
                          &err);
    tap_ok(expect(session, text, 4096, 4096, logits) && same(logits, wanted),
           "an answer is kept at token 4096");
    weir_session_free(session);
}

/* At the reference's level a cut does not show. */
static void test_cuts(weir_model *model)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    static const size_t ends[] = {3, 31, 32, 40, 41, 90, 200};
    weir_session *session = start(model, 16);
    int good = 1;
    size_t n;

    for (size_t i = 0; i < 7; i++) {
        fresh(model, text, ends[i], wanted);
        good &= !weir_session_prefix(session, text, ends[i], logits, &n, &err);
        good &= same(logits, wanted) && n == (i ? ends[i - 1] : 0);
    }
    for (size_t i = 7; i-- > 0;) {
        fresh(model, text, ends[i], wanted);
        good &= !weir_session_prefix(session, text, ends[i], logits, &n, &err);
        good &= same(logits, wanted) && n == ends[i];
    }
    tap_ok(good, "ref: forth and back over texts: each has its bits");
    weir_session_free(session);
}

static void test_without(weir_model *model)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    weir_session *session = start(model, 0);
    int good;

    fresh(model, text, 50, wanted);
    good = expect(session, text, 40, 0, NULL) &&
           expect(session, text, 50, 40, logits) && same(logits, wanted);
    tap_ok(good, "without snapshots a text goes on");
    tap_ok(expect(session, text, 50, 0, logits) && same(logits, wanted),
           "and is computed again to be repeated");
    tap_ok(weir_session_rewind(session, NULL, 0, NULL) == 0 &&
               weir_session_n_tok(session) == 0,
           "nothing is the start");
    weir_session_free(session);
}

static int fail(void *ctx, enum weir_view view, uint32_t layer,
                const float *values, size_t n_tok, size_t width,
                struct weir_err *why)
{
    (void)ctx, (void)view, (void)values, (void)n_tok, (void)width;
    return layer < 4 ? 0 : weir_err_set(why, WEIR_EIO, "enough");
}

static int fail_eval(weir_session *session, const int32_t *ids, size_t n)
{
    const struct weir_observer observer = {.views = 1u << WEIR_VIEW_HIDDEN,
                                           .see = fail};
    const struct weir_eval eval = {
        .session = session, .ids = ids, .n_ids = n, .turn = 1};

    return weir_session_observe_many(&eval, NULL, 1, &observer, &err);
}

static void test_errors(weir_model *model)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    weir_session *session = start(model, 3);
    struct weir_kept kept[3];
    int32_t bad[200];
    int good;

    expect(session, text, 100, 0, NULL);
    expect(session, text, 150, 100, wanted);
    memcpy(kept, session->snapshots.kept, sizeof(kept));
    memcpy(bad, text, sizeof(bad));
    bad[190] = N_VOCAB;
    tap_ok(
        weir_session_eval_many(&(struct weir_eval){session, bad, 200, NULL, 1},
                               1, &err) == WEIR_EARG &&
            !memcmp(kept, session->snapshots.kept, sizeof(kept)),
        "no place is lost to a wrong token: %s", err.message);
    tap_ok(weir_session_prefix(session, bad, 200, NULL, NULL, &err) ==
                   WEIR_EARG &&
               expect(session, text, 150, 150, logits) && same(logits, wanted),
           "nor to a text that has one: %s", err.message);
    tap_ok(weir_session_prefix(session, text, 0, NULL, NULL, &err) == WEIR_EARG,
           "a text without tokens: %s", err.message);
    tap_ok(weir_session_prefix(session, text, N_CTX + 1, NULL, NULL, &err) ==
               WEIR_EARG,
           "one that is too long: %s", err.message);
    weir_session_rewind(session, text, 150, NULL);
    good = fail_eval(session, text + 150, 100) == WEIR_EIO;
    tap_ok(good && weir_session_n_tok(session) == 150 &&
               weir_session_eval(session, text, 1, NULL, &err) == WEIR_EARG,
           "a pass that fails: %s", err.message);
    tap_ok(expect(session, text, 150, 150, logits) && same(logits, wanted),
           "but it can go back to where it was");
    good = fail_eval(session, text + 150, 10) == WEIR_EIO;
    fresh(model, text, 20, wanted);
    tap_ok(good && expect(session, text, 20, 0, logits) && same(logits, wanted),
           "or to its start");
    weir_session_free(session);
}

/* Two sessions in one pass: each has its own places. */
static void test_many(weir_model *model)
{
    static float logits[2][N_VOCAB], wanted[N_VOCAB], got[N_VOCAB];
    weir_session *sessions[] = {start(model, 4), start(model, 4)};
    const struct weir_eval evals[] = {
        {sessions[0], text, 300, logits[0], 1},
        {sessions[1], text + 1, 77, logits[1], 1}};
    int good = !weir_session_eval_many(evals, 2, &err);

    fresh(model, text, 300, wanted);
    good &= same(wanted, logits[0]);
    good &= expect(sessions[0], text, 299, 256, got);
    fresh(model, text, 299, wanted);
    good &= same(got, wanted);
    good &= expect(sessions[1], text + 1, 76, 64, got);
    fresh(model, text + 1, 76, wanted);
    tap_ok(good && same(got, wanted), "two sessions in one pass");
    weir_session_free(sessions[0]);
    weir_session_free(sessions[1]);
}

static weir_model *open_model(const struct weir_jamba_options *options)
{
    weir_model *model = NULL;

    if (weir_model_open_with(path, options, &model, &err))
        tap_diag("%s", err.message);
    return model;
}

/* A model that is read, in spans that end anywhere */
static void test_streamed(void)
{
    static const size_t spans[] = {7, 520};
    const struct weir_jamba_options options = {.n_threads = 2};
    static float wanted[N_VOCAB], logits[N_VOCAB];
    weir_model *model = open_model(&options);

    fresh(model, change(1500), 1600, wanted);
    weir_model_close(model);
    for (int i = 0; i < 2; i++) {
        struct weir_jamba_options streamed = {
            .n_threads = 2, .weight_bytes = 1 << 16, .span_tok = spans[i]};
        weir_session *session;

        model = open_model(&streamed);
        session = start(model, 8);
        expect(session, text, 1520, 0, logits);
        tap_ok(expect(session, other, 1600, 1472, logits) &&
                   same(logits, wanted),
               "streamed in spans of %zu tokens", spans[i]);
        weir_session_free(session);
        weir_model_close(model);
    }
}

/* The first session says how much memory sessions get. */
static void test_budget(void)
{
    const struct weir_jamba_options options = {
        .n_threads = 1, .io = WEIR_IO_PREAD, .ram_bytes = 1u << 30};
    struct weir_session_options plain = {.n_ctx = 100}, more = plain;
    weir_model *model = open_model(&options);
    weir_session *session;
    uint64_t each = weir_snapshot_bytes(
        weir_state_mamba_floats(&model->jamba->config), N_VOCAB);
    int good = 1;

    more.snapshot_bytes = 5 * each;
    tap_ok(weir_session_bytes(model, &more) >=
                   weir_session_bytes(model, &plain) + 5 * each &&
               weir_session_bytes(model, &more) <
                   weir_session_bytes(model, &plain) + 6 * each,
           "five snapshots count as five");
    for (int i = 0; i < 2; i++) {
        good &= !weir_session_new(model, &plain, &session, &err);
        weir_session_free(session);
    }
    tap_ok(good &&
               weir_session_new(model, &more, &session, &err) == WEIR_ELIMIT,
           "they want room in the budget: %s", err.message);
    weir_model_close(model);
    model = open_model(&options);
    for (int i = 0; i < 2; i++) {
        good &= !weir_session_new(model, &more, &session, &err);
        weir_session_free(session);
    }
    tap_ok(good, "and give it back");
    weir_model_close(model);
}

/* What a caller has enough of when so many tokens are done */
static int stop(void *ctx, size_t n_done, size_t n_tok)
{
    const size_t *most = ctx;

    (void)n_tok;
    return n_done >= *most;
}

static void test_stopped(weir_model *model)
{
    static float wanted[N_VOCAB], logits[N_VOCAB];
    size_t most = 120;
    struct weir_session_options options = {.n_ctx = N_CTX,
                                           .progress = stop,
                                           .progress_ctx = &most,
                                           .snapshot_bytes = 1 << 24};
    weir_session *session = NULL;
    int rc;

    fresh(model, text, 300, wanted);
    rc = weir_session_new(model, &options, &session, &err);
    tap_ok(!rc && expect(session, text, 100, 0, NULL), "a turn of 100 tokens");
    rc = weir_session_prefix(session, text, 300, logits, NULL, &err);
    tap_ok(rc == WEIR_ESTOPPED && weir_session_n_tok(session) == 100,
           "the next one, stopped: %s", err.message);
    most = SIZE_MAX;
    tap_ok(expect(session, text, 300, 100, logits) && same(logits, wanted),
           "it goes on from the end of the turn before");
    weir_session_free(session);
}

static void test_levels(void)
{
    const struct weir_jamba_options options = {.n_threads = 2};

    for (int level = 0; level < 2; level++) {
        weir_model *model;

        setenv("WEIR_CPU", level ? "ref" : "", 1);
        model = open_model(&options);
        for (kv = WEIR_KV_BF16; kv <= WEIR_KV_F32; kv++)
            test_turns(model, level ? "ref" : "best");
        kv = WEIR_KV_BF16;
        if (!level) {
            test_long(model, "best");
            test_decoded(model);
            test_without(model);
            test_many(model);
            test_errors(model);
            test_stopped(model);
        } else {
            test_cuts(model);
        }
        weir_model_close(model);
    }
    setenv("WEIR_CPU", "", 1);
}

int main(void)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 65536};

    for (size_t i = 0; i < N_CTX; i++)
        text[i] = (int32_t)(i * i * 149 % 509);
    if (!golden_model(&import, path))
        return tap_done();
    test_levels();
    test_streamed();
    test_budget();
    unlink(path);
    return tap_done();
}
