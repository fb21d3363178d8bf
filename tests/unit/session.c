/* SPDX-License-Identifier: Apache-2.0 */
/* Sessions: their errors and their independence. */
#include "engine/session.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/golden_model.h"
#include "tests/tap.h"

#define N_VOCAB 512
#define N_TOK   40

static char path[] = "session.XXXXXX";
static int32_t ids[N_TOK];

static weir_model *open_model(unsigned n_threads)
{
    struct weir_model_options options = {.n_threads = n_threads};
    struct weir_err err;
    weir_model *model;

    if (weir_model_open(path, &options, &model, &err))
        tap_diag("%s", err.message);
    return model;
}

static weir_session *new_session(weir_model *model, size_t n_ctx)
{
    struct weir_session_options options = {.n_ctx = n_ctx, .kv = WEIR_KV_F32};
    struct weir_err err;
    weir_session *session;

    if (weir_session_new(model, &options, &session, &err))
        tap_diag("%s", err.message);
    return session;
}

/* Scores after the first n ids, in one call on a session of its own */
static void want(weir_model *model, size_t n, float *logits)
{
    weir_session *session = new_session(model, n);

    weir_session_eval(session, ids, n, logits, NULL);
    weir_session_free(session);
}

static void test_bad_calls(weir_model *model)
{
    static float logits[N_VOCAB], wanted[N_VOCAB];
    weir_session *session = new_session(model, N_TOK);
    int32_t bad[] = {1, 2, N_VOCAB};
    struct weir_err err;
    int good;

    tap_ok(weir_session_eval(session, bad, 0, NULL, &err) == WEIR_EARG,
           "no tokens: %s", err.message);
    weir_session_eval(session, ids, 3, NULL, &err);
    good = weir_session_eval(session, bad, 3, NULL, &err) == WEIR_EARG;
    tap_ok(good && strstr(err.message, "token 5 ") &&
               strstr(err.message, " 512;"),
           "an unknown id: %s", err.message);
    bad[0] = -1;
    tap_ok(weir_session_eval(session, bad, 1, NULL, &err) == WEIR_EARG,
           "a negative id: %s", err.message);
    tap_ok(weir_session_eval(session, ids, N_TOK - 2, NULL, &err) == WEIR_EARG,
           "a full context: %s", err.message);
    good = !weir_session_eval(session, ids + 3, N_TOK - 3, logits, &err);
    want(model, N_TOK, wanted);
    tap_ok(good && weir_session_n_tok(session) == N_TOK &&
               !memcmp(logits, wanted, sizeof(logits)),
           "none of these leaves a trace");
    weir_session_free(session);
}

static int stop(void *ctx, enum weir_view view, uint32_t layer,
                const float *values, size_t n_tok, size_t width,
                struct weir_err *err)
{
    (void)ctx, (void)view, (void)layer, (void)values, (void)n_tok, (void)width;
    return weir_err_set(err, WEIR_EIO, "enough");
}

static void test_spoiled(weir_model *model)
{
    struct weir_observer observer = {.views = 1u << WEIR_VIEW_ROUTER,
                                     .see = stop};
    weir_session *session = new_session(model, N_TOK);
    struct weir_err err;

    tap_ok(weir_session_eval_all(session, ids, 4, NULL, &observer, &err) ==
                   WEIR_EIO &&
               !strcmp(err.message, "enough"),
           "an observer's error ends the pass");
    tap_ok(weir_session_eval(session, ids, 1, NULL, &err) == WEIR_EARG,
           "after it the session is of no use: %s", err.message);
    weir_session_free(session);
}

static void test_all_rows(weir_model *model)
{
    static float rows[N_TOK][N_VOCAB], wanted[N_VOCAB];
    weir_session *session = new_session(model, N_TOK);
    int same = 1;

    weir_session_eval_all(session, ids, N_TOK, rows[0], NULL, NULL);
    for (size_t n = 1; n <= N_TOK; n += 13) {
        want(model, n, wanted);
        same &= !memcmp(rows[n - 1], wanted, sizeof(wanted));
    }
    tap_ok(same, "every row of logits is that of its prefix");
    weir_session_free(session);
}

/* Evaluates the ids one by one, `times` over, and compares. */
struct walker {
    weir_model *model;
    const float *wanted;
    pthread_t thread;
    int same;
};

static void *walk(void *arg)
{
    struct walker *walker = arg;
    float logits[N_VOCAB];

    walker->same = 1;
    for (int times = 0; times < 3; times++) {
        weir_session *session = new_session(walker->model, N_TOK);

        for (size_t i = 0; i < N_TOK; i++)
            weir_session_eval(session, ids + i, 1, logits, NULL);
        walker->same &= !memcmp(logits, walker->wanted, sizeof(logits));
        weir_session_free(session);
    }
    return NULL;
}

static void test_threads(weir_model *model)
{
    static float wanted[N_VOCAB];
    struct walker walkers[3];
    int same = 1;

    want(model, N_TOK, wanted);
    for (int i = 0; i < 3; i++) {
        walkers[i].model = model;
        walkers[i].wanted = wanted;
        pthread_create(&walkers[i].thread, NULL, walk, &walkers[i]);
    }
    for (int i = 0; i < 3; i++) {
        pthread_join(walkers[i].thread, NULL);
        same &= walkers[i].same;
    }
    tap_ok(same, "sessions of three threads do not disturb each other");
}

static void test_text(weir_model *model)
{
    weir_session *session = new_session(model, N_TOK);
    const char *text;
    struct weir_err err;
    int32_t *encoded;
    size_t n;

    tap_ok(weir_model_encode(model, "a", 1, 0, 0, &encoded, &n, &err) ==
               WEIR_ENOTSUP,
           "no tokenizer, no text: %s", err.message);
    tap_ok(weir_session_decode(session, 5, &text, &n, &err) == WEIR_ENOTSUP,
           "nor back: %s", err.message);
    tap_ok(weir_model_is_eos(model, 2) && !weir_model_is_eos(model, 3),
           "the model ends with id 2");
    weir_session_free(session);
}

static void flip(uint32_t tensor, uint64_t tile)
{
    struct weir_tile_record record;
    struct weir_file *file;
    uint8_t byte;
    int fd = open(path, O_RDWR);

    if (weir_file_open(path, &file, NULL))
        return;
    weir_file_tile(file, file->tensors[tensor].first_tile + tile, &record);
    if (pread(fd, &byte, 1, (off_t)record.offset) == 1) {
        byte ^= 0x10;
        if (pwrite(fd, &byte, 1, (off_t)record.offset) != 1)
            tap_diag("cannot write");
    }
    weir_file_close(file);
    close(fd);
}

/* The message that a damaged model gives to so many threads */
static int meet_damage(unsigned n_threads, struct weir_err *err)
{
    weir_model *model = open_model(n_threads);
    weir_session *session = new_session(model, N_TOK);
    int rc = weir_session_eval(session, ids, N_TOK, NULL, err);

    weir_session_free(session);
    weir_model_close(model);
    return rc;
}

/* Of many damaged tiles the first is reported, whoever meets it. */
static void test_damage(void)
{
    static const char name[] = "tile 8 of model.layers.2.mamba.in_proj.weight";
    weir_model *model = open_model(1);
    uint32_t in_proj = model->jamba->bind.layers[2].mamba.in_proj.tensor;
    struct weir_err err;
    int same = 1;

    weir_model_close(model);
    for (uint64_t tile = 8; tile < 16; tile++)
        flip(in_proj, tile);
    for (unsigned i = 0; i < 40; i++)
        same &= meet_damage(1 + i % 4, &err) == WEIR_ECORRUPT &&
                strstr(err.message, name);
    tap_ok(same, "damage is reported the same by 1 to 4 threads: %s",
           err.message);
}

int main(void)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 4096};
    weir_model *model;

    for (size_t i = 0; i < N_TOK; i++)
        ids[i] = (int32_t)(i * 149 % N_VOCAB);
    if (!golden_model(&import, path))
        return tap_done();
    /* The level at which a prompt has the bits of its tokens one by one */
    setenv("WEIR_CPU", "ref", 1);
    model = open_model(2);
    test_bad_calls(model);
    test_spoiled(model);
    test_all_rows(model);
    test_threads(model);
    test_text(model);
    weir_model_close(model);
    test_damage();
    unlink(path);
    return tap_done();
}
