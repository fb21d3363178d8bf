/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The token loop asks for no memory: a prompt and what follows from it are
 * computed while every request is refused.
 */
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "tests/fault/fault_malloc.h"
#include "tests/fault/fault_model.h"
#include "tests/tap.h"
#include "engine/session.h"
#include "text/sampler.h"
#include "text/stop.h"
#include "weir.h"

#define N_VOCAB  512
#define N_PROMPT 150 /* the third chunk of a prompt is begun */
#define N_DECODE 1000

/* Too few for all weights: some are read for each token */
#define WEIGHT_BYTES (2 << 20)

struct loop {
    int32_t prompt[N_PROMPT];
    weir_model *model;
    weir_session *session;
    struct weir_sampler sampler;
    struct weir_stop stop;
    float logits[N_VOCAB];
};

/* With everything that a sampler can do. */
static int begin(struct loop *loop, unsigned n_threads, enum weir_io io,
                 struct weir_err *err)
{
    struct weir_session_options session = {.n_ctx = N_PROMPT + N_DECODE,
                                           .kv = WEIR_KV_BF16,
                                           .snapshot_bytes = 1 << 20};
    struct weir_model_options model = {.n_threads = n_threads, .io = io};
    struct weir_sampling sampling = {.temperature = 0.9,
                                     .top_k = 300,
                                     .top_p = 0.95,
                                     .min_p = 0.001,
                                     .repetition_penalty = 1.1,
                                     .presence_penalty = 0.1,
                                     .frequency_penalty = 0.1,
                                     .seed = 5};
    int rc = weir_sampling_add_bias(&sampling, 7, 2, err);

    memset(loop, 0, sizeof(*loop));
    for (size_t i = 0; i < N_PROMPT; i++)
        loop->prompt[i] = (int32_t)(i * 149 % N_VOCAB);
    weir_stop_init(&loop->stop);
    if (!rc)
        rc = weir_stop_add(&loop->stop, "never to be seen", 16, err);
    if (!rc)
        rc = weir_sampler_init(&loop->sampler, &sampling, N_VOCAB, err);
    if (!rc)
        rc = weir_model_open(fault_at("model.weir"), &model, &loop->model, err);
    if (!rc)
        loop->model->jamba->budget.weight_bytes = WEIGHT_BYTES;
    if (!rc)
        rc = weir_session_new(loop->model, &session, &loop->session, err);
    return rc;
}

static void end(struct loop *loop)
{
    weir_session_free(loop->session);
    weir_model_close(loop->model);
    weir_sampler_fini(&loop->sampler);
}

/* One more token; its text goes through the search for a stop string. */
static int step(struct loop *loop, struct weir_err *err)
{
    int32_t id = weir_sampler_next(&loop->sampler, loop->logits);
    struct weir_stop_out out;
    const char *text;
    size_t n_bytes;
    int rc = weir_session_decode(loop->session, id, &text, &n_bytes, err);

    if (rc)
        return rc;
    weir_sampler_see_answer(&loop->sampler, id);
    weir_stop_push(&loop->stop, text, n_bytes, &out);
    weir_stop_push(&loop->stop, "nev", 3, &out); /* is held back */
    return weir_session_eval(loop->session, &id, 1, loop->logits, err);
}

static int run(struct loop *loop, struct weir_err *err)
{
    int rc = weir_session_eval(loop->session, loop->prompt, N_PROMPT,
                               loop->logits, err);

    weir_sampler_see_prompt(&loop->sampler, loop->prompt, N_PROMPT);
    for (int i = 0; i < N_DECODE && !rc; i++)
        rc = step(loop, err);
    return rc;
}

static void test_loop(unsigned n_threads, enum weir_io io, float *logits)
{
    static struct loop loop;
    struct weir_err err = {0};
    unsigned long n_requests;
    int rc = begin(&loop, n_threads, io, &err);

    fault_arm(1, 1);
    if (!rc)
        rc = run(&loop, &err);
    n_requests = fault_disarm();
    tap_ok(!rc && n_requests == 0,
           "%u threads, weights %s: a prompt of %d tokens and %d more ask for "
           "memory %lu times",
           n_threads, io == WEIR_IO_MMAP ? "mapped" : "read", N_PROMPT,
           N_DECODE, n_requests);
    if (rc)
        tap_diag("%s", err.message);
    memcpy(logits, loop.logits, sizeof(loop.logits));
    end(&loop);
}

/* A tokenizer that has bytes, so that text is held back. */
static int make_model(struct weir_err *err)
{
    struct weir_buf file = WEIR_BUF(1 << 20);
    struct fault_model kind = fault_models[1];
    int rc = weir_buf_add_file(
        &file, fault_golden("tokenizer/small.tokenizer.json"), err);

    kind.data = file.data;
    kind.n_bytes = file.n_bytes;
    if (!rc)
        rc = fault_lay(&kind, "moe-8l");
    if (!rc)
        rc = fault_pack(&kind, "model.weir", err);
    weir_buf_fini(&file);
    return rc;
}

/* The count is worth something: a request is seen, and refused. */
static void test_counting(void)
{
    struct weir_err err;
    weir_model *model;
    int rc;

    fault_arm(1, 0);
    rc = weir_model_open(fault_at("model.weir"), NULL, &model, &err);
    tap_ok(fault_disarm() == 1 && rc == WEIR_ENOMEM, "requests are counted");
}

int main(void)
{
    static float one[N_VOCAB], more[N_VOCAB];
    struct weir_err err = {0};

    if (!fault_stands())
        tap_skip_all("this C library's allocator cannot be stood in for");
    if (fault_room_make())
        return 1;
    if (make_model(&err))
        tap_ok(0, "a model: %s", err.message);
    test_counting();
    test_loop(1, WEIR_IO_MMAP, one);
    test_loop(3, WEIR_IO_MMAP, more);
    tap_ok(!memcmp(one, more, sizeof(one)), "and end in the same scores");
    test_loop(2, WEIR_IO_PREAD, more);
    tap_ok(!memcmp(one, more, sizeof(one)), "and end in the same scores");
    fault_room_remove();
    return tap_done();
}
