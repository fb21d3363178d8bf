/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device chooses tokens as the sampler does, and for those texts whose scores
 * nobody wants, whatever the others beside them want.
 */
#include "engine/chooser.h"

#include <stdio.h>
#include <unistd.h>

#include "model/device.h"
#include "tests/golden_model.h"
#include "tests/kernels/draws.h"
#include "tests/tap.h"

#define N_TEXTS 20 /* more than have their scores computed at once */
#define N_STEPS 6
#define N_VOCAB 512

static const struct weir_device_table *table = &weir_device_host;
static char path[] = "chooser.XXXXXX";

static void test_draws(size_t n)
{
    struct weir_device *device;
    struct weir_device_draw draw;
    struct weir_err err;
    float *x = calloc(n, sizeof(*x));
    int32_t want = 0, id;
    unsigned different = 0, told = 0;

    if (!x || table->open(0, &device, &err)) {
        tap_ok(0, "memory, and a device");
        free(x);
        return;
    }
    for (unsigned i = 0; i < N_DRAWS; i++) {
        told += draws_make(x, n, i, &draw, &want) != 0;
        table->choose(device, x, n, 1, n, &draw, &id);
        different += id != want;
    }
    table->close(device);
    free(x);
    tap_ok(told == N_DRAWS && different <= 2,
           "choosing among %zu: %u of %d are not the sampler's", n, different,
           N_DRAWS);
}

/* Texts that are drawn from, all of one model */
struct texts {
    weir_model *model;
    weir_session *sessions[N_TEXTS];
    struct weir_chooser choosers[N_TEXTS];
    float logits[N_TEXTS][N_VOCAB];
    int32_t ids[N_TEXTS];
};

static int open_texts(struct texts *texts, struct weir_err *err)
{
    const struct weir_jamba_options options = {
        .n_threads = 2, .device = table, .vram_bytes = 64 << 20};
    const struct weir_session_options session = {.n_ctx = N_STEPS + 1};
    int rc = weir_model_open_with(path, &options, &texts->model, err);

    if (!rc)
        rc = weir_session_reserve(texts->model, &session, N_TEXTS, 0, err);
    for (unsigned i = 0; i < N_TEXTS && !rc; i++) {
        struct weir_sampling sampling = draws_sampling(i + 9, N_VOCAB);

        if (i % 5 == 1)
            sampling.frequency_penalty = 1;
        texts->choosers[i].logits = texts->logits[i];
        rc = weir_session_new(texts->model, &session, &texts->sessions[i], err);
        if (!rc)
            rc = weir_sampler_init(&texts->choosers[i].sampler, &sampling,
                                   N_VOCAB, err);
    }
    return rc;
}

static void close_texts(struct texts *texts)
{
    for (unsigned i = 0; i < N_TEXTS; i++) {
        weir_sampler_fini(&texts->choosers[i].sampler);
        weir_session_free(texts->sessions[i]);
    }
    weir_model_close(texts->model);
}

static void forget(struct texts *texts)
{
    for (unsigned i = 0; i < N_TEXTS; i++)
        for (unsigned k = 0; k < N_VOCAB; k++)
            texts->logits[i][k] = NAN;
}

/* What is in their place stays when they are not wanted. */
static int has_scores(const struct texts *texts, unsigned i)
{
    return !isnan(texts->logits[i][0]);
}

/*
 * A token of each of the first n; `scores` says of which of them scores are
 * wanted.  *right: what is chosen is the sampler's choice, where it can be
 * told, and scores are there if they are wanted.
 */
static int step(struct texts *texts, unsigned n, unsigned scores, int *right,
                struct weir_err *err)
{
    struct weir_eval evals[N_TEXTS] = {0};
    struct weir_next next[N_TEXTS];
    int rc;

    forget(texts);
    for (unsigned i = 0; i < n; i++) {
        evals[i].session = texts->sessions[i];
        evals[i].ids = &texts->ids[i];
        evals[i].n_ids = 1;
        weir_chooser_want(&texts->choosers[i], scores >> i & 1, &evals[i],
                          &next[i]);
    }
    rc = weir_session_observe_many(evals, next, n, NULL, err);
    for (unsigned i = 0; i < n && !rc; i++) {
        struct weir_sampler *sampler = &texts->choosers[i].sampler;
        int by_device = texts->choosers[i].by_device, wanted;

        wanted = !by_device || (scores >> i & 1);
        *right &= by_device == (i % 5 != 1) && has_scores(texts, i) == wanted;
        if (by_device && wanted) {
            *right &= weir_sampler_next(sampler, texts->logits[i]) ==
                      texts->choosers[i].id;
            sampler->step--;
        }
        texts->ids[i] = weir_chooser_next(&texts->choosers[i]);
        *right &= texts->ids[i] >= 0 && texts->ids[i] < N_VOCAB;
    }
    return rc;
}

/* The ids that n texts come to; scores: of which texts they are wanted */
static int run_texts(unsigned n, unsigned scores, int32_t *ids, int *right)
{
    static struct texts texts;
    struct weir_err err;
    int rc;

    memset(&texts, 0, sizeof(texts));
    rc = open_texts(&texts, &err);
    for (unsigned i = 0; i < N_STEPS && !rc; i++)
        rc = step(&texts, n, scores, right, &err);
    memcpy(ids, texts.ids, sizeof(texts.ids));
    close_texts(&texts);
    if (rc)
        tap_diag("%s", err.message);
    return rc;
}

static void test_texts(void)
{
    int32_t all[N_TEXTS], none[N_TEXTS], some[N_TEXTS], few[N_TEXTS];
    int right = 1;
    int rc = run_texts(N_TEXTS, (1u << N_TEXTS) - 1, all, &right);

    rc |= run_texts(N_TEXTS, 0, none, &right);
    rc |= run_texts(N_TEXTS, 0x5a5a5, some, &right);
    rc |= run_texts(3, 2, few, &right);
    tap_ok(!rc && right, "the sampler's choice, and scores where wanted");
    tap_ok(!memcmp(all, none, sizeof(all)) && !memcmp(all, some, sizeof(all)) &&
               !memcmp(all, few, 3 * sizeof(*all)),
           "who else wants scores does not show");
}

static void test_cpu(void)
{
    const struct weir_jamba_options options = {.n_threads = 2};
    const struct weir_session_options session = {.n_ctx = 4};
    static const struct weir_device_draw best = {0};
    weir_model *model = NULL;
    weir_session *texts = NULL;
    struct weir_err err;
    int32_t id = 1;
    struct weir_next next = {&best, &id};
    struct weir_eval eval = {.ids = &id, .n_ids = 1};
    int rc = weir_model_open_with(path, &options, &model, &err);

    if (!rc)
        rc = weir_session_new(model, &session, &texts, &err);
    eval.session = texts;
    if (!rc)
        rc = weir_session_observe_many(&eval, &next, 1, NULL, &err);
    tap_ok(rc == WEIR_EARG, "the CPU leaves it to the sampler: %s",
           err.message);
    weir_session_free(texts);
    weir_model_close(model);
}

int main(void)
{
    static const size_t sizes[] = {1, 2, 100, 1024};
    struct weir_import import = {.tile_ceiling = 65536};

    for (unsigned i = 0; i < 4; i++)
        test_draws(sizes[i]);
    if (!golden_model(&import, path))
        return tap_done();
    test_texts();
    test_cpu();
    unlink(path);
    return tap_done();
}
