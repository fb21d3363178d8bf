/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Texts in step are the texts that each would be alone, whatever the number of
 * places, the order, the threads and the budget; each ends where it should,
 * and places are used again.
 */
#include "engine/schedule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/import.h"
#include "model/work.h"
#include "tests/tap.h"

#define N       11
#define N_VOCAB 512
#define N_CTX   160
#define N_MOST  24 /* tokens of an answer */

struct text {
    struct weir_request request;
    int32_t prompt[128];
    int32_t ids[N_MOST]; /* the answer, alone */
    size_t n_ids;
    enum weir_end end;
    int n_told, n_same;
};

static char path[] = "schedule.XXXXXX";
static struct text texts[N];
static struct weir_err err;
static size_t n_piece_tok; /* of schedules; 0: prompts go whole */

static int pack(void)
{
    struct weir_import import = {.quant = {1, 1}, .tile_ceiling = 65536};
    const char *srcdir = getenv("srcdir");
    char folder[4096];

    snprintf(folder, sizeof(folder), "%s/tests/golden/moe-8l",
             srcdir ? srcdir : ".");
    return weir_import_folder(&import, folder, path, &err);
}

/* Greedy ones and others, long prompts and short, answers of 1 token and more
 */
static void make_texts(void)
{
    static const struct weir_sampling neutral = WEIR_SAMPLING_NEUTRAL;

    for (size_t t = 0; t < N; t++) {
        struct weir_request *request = &texts[t].request;

        for (size_t i = 0; i < 128; i++)
            texts[t].prompt[i] = (int32_t)((i * 31 + t * 77 + 3) % N_VOCAB);
        request->ids = texts[t].prompt;
        request->n_ids = 1 + t * 37 % 100;
        request->n_tokens = t == 4 ? 1 : 5 + t * 11 % 20;
        request->sampling = neutral;
        request->sampling.temperature = t % 3 ? 1.5 : 0;
        request->sampling.seed = t;
        request->sampling.repetition_penalty = t % 2 ? 1.2 : 1;
        request->tag = &texts[t];
        weir_stop_init(&request->stop);
    }
}

static weir_model *open_model(unsigned n_threads)
{
    struct weir_model_options options = {.n_threads = n_threads};
    weir_model *model;

    if (weir_model_open(path, &options, &model, &err))
        tap_diag("%s", err.message);
    return model;
}

/* The answer by a session and a sampler of its own */
static int go_alone(weir_model *model, struct text *text)
{
    const struct weir_request *request = &text->request;
    struct weir_session_options options = {.n_ctx = N_CTX};
    static float logits[N_VOCAB];
    const int32_t *ids = request->ids;
    struct weir_sampler sampler;
    weir_session *session;
    size_t n = request->n_ids;
    int rc = weir_session_new(model, &options, &session, &err);

    if (weir_sampler_init(&sampler, &request->sampling, N_VOCAB, &err))
        return -1;
    weir_sampler_see_prompt(&sampler, ids, n);
    text->n_ids = 0;
    while (!rc && text->n_ids < request->n_tokens) {
        rc = weir_session_eval(session, ids, n, logits, &err);
        ids = &text->ids[text->n_ids++];
        n = 1;
        text->ids[text->n_ids - 1] = weir_sampler_next(&sampler, logits);
        weir_sampler_see_answer(&sampler, *ids);
    }
    text->end = WEIR_END_LENGTH;
    weir_sampler_fini(&sampler);
    weir_session_free(session);
    return rc;
}

static int check_answer(void *ctx, const struct weir_answer *answer,
                        struct weir_err *e)
{
    struct text *text = answer->tag;

    (void)e;
    ++*(size_t *)ctx;
    text->n_told++;
    text->n_same += answer->n_ids == text->n_ids &&
                    answer->n_prompt == text->request.n_ids &&
                    answer->end == text->end && answer->n_bytes == 0 &&
                    (!text->n_ids || !memcmp(answer->ids, text->ids,
                                             text->n_ids * sizeof(int32_t)));
    return 0;
}

/* All texts through the places, the last one first when `back`; how many were
 * as they are alone */
static size_t run(weir_model *model, size_t n_places, int back)
{
    struct weir_schedule_options options = {
        .n_places = n_places, .n_ctx = N_CTX, .n_piece_tok = n_piece_tok};
    struct weir_schedule *schedule;
    size_t next = 0, n_told = 0, n_same = 0;
    int rc;

    for (size_t t = 0; t < N; t++)
        texts[t].n_told = texts[t].n_same = 0;
    rc = weir_schedule_new(model, &options, check_answer, &n_told, &schedule,
                           &err);
    while (!rc && (next < N || weir_schedule_n_running(schedule))) {
        for (; !rc && next < N && weir_schedule_n_free(schedule); next++)
            rc = weir_schedule_add(
                schedule, &texts[back ? N - 1 - next : next].request, &err);
        if (!rc)
            rc = weir_schedule_step(schedule, &err);
    }
    if (rc)
        tap_diag("%s", err.message);
    weir_schedule_free(schedule);
    for (size_t t = 0; t < N; t++)
        n_same += texts[t].n_told == 1 && texts[t].n_same == 1;
    return rc || n_told != N ? 0 : n_same;
}

static void test_same(weir_model *model)
{
    static const size_t places[] = {1, 2, 7, N, 32};

    for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
        for (int back = 0; back < 2; back++)
            tap_ok(run(model, places[i], back) == N,
                   "%zu places%s: every text as it is alone", places[i],
                   back ? ", the last one first" : "");
}

/* No piece of a prompt is so small that it would be computed otherwise. */
static void test_cuts(void)
{
    size_t n_bad = 0;

    for (size_t n_ids = 1; n_ids < 300; n_ids++)
        for (size_t room = 0; room < 300; room++)
            for (size_t n_left = n_ids, n; n_left; n_left -= n) {
                n = weir_schedule_cut(n_left, room);
                n_bad += n == 0 || n > n_left ||
                         (n < WEIR_PROMPT_TOK && n < n_ids) ||
                         (n > room && n >= 2 * WEIR_PROMPT_TOK);
                if (n == 0 || n > n_left)
                    break;
            }
    tap_ok(n_bad == 0, "a piece of a prompt counts as one: %zu do not", n_bad);
}

/* 11 prompts of 1 to 100 tokens share what a step takes of them. */
static void test_pieces(weir_model *model)
{
    static const size_t pieces[] = {1, 33, 64, 90, 200};

    for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++) {
        n_piece_tok = pieces[i];
        tap_ok(run(model, 7, 0) == N && run(model, N, 1) == N,
               "prompts in pieces of %zu: every text as it is alone",
               n_piece_tok);
    }
    n_piece_tok = 0;
}

/* What a text was told of: steps, and the tokens of the last time */
struct told {
    size_t n_steps, n_ids, n_ended;
};

static int see_going_on(void *ctx, const struct weir_answer *answer,
                        struct weir_err *e)
{
    struct told *told = answer->tag;

    (void)ctx;
    (void)e;
    if (answer->n_ids == told->n_ids + 1)
        told->n_steps++;
    told->n_ids = answer->n_ids;
    return 0;
}

static int see_end(void *ctx, const struct weir_answer *answer,
                   struct weir_err *e)
{
    (void)ctx;
    (void)e;
    ((struct told *)answer->tag)->n_ended++;
    return 0;
}

static int step_times(struct weir_schedule *schedule, size_t n)
{
    int rc = 0;

    while (n-- && !rc)
        rc = weir_schedule_step(schedule, &err);
    return rc;
}

/* Beside a long prompt in pieces a short text goes on in each step. */
static void test_going_on(weir_model *model)
{
    struct weir_schedule_options options = {.n_places = 2,
                                            .n_ctx = N_CTX,
                                            .n_piece_tok = 32,
                                            .goes_on = see_going_on};
    struct weir_request small = texts[0].request, large = texts[0].request;
    struct told told[2] = {{0}, {0}};
    struct weir_schedule *schedule;

    if (weir_schedule_new(model, &options, see_end, NULL, &schedule, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    small.n_ids = 4;
    small.n_tokens = 6;
    small.tag = &told[0];
    large.ids = texts[1].prompt;
    large.n_ids = 128;
    large.n_tokens = 8;
    large.tag = &told[1];
    tap_ok(!weir_schedule_add(schedule, &small, &err) &&
               !weir_schedule_add(schedule, &large, &err) &&
               !step_times(schedule, 3) && told[0].n_steps == 3 &&
               told[1].n_steps == 0,
           "a text goes on in each of the steps that a long prompt takes");
    tap_ok(!step_times(schedule, 1) && told[0].n_steps == 4 &&
               told[1].n_steps == 1,
           "which has its first token then");
    tap_ok(!step_times(schedule, 2) && told[0].n_steps == 5 &&
               told[0].n_ended == 1 && told[1].n_steps == 3,
           "the last token is told of as the end");
    tap_ok(weir_schedule_cancel(schedule, &told[1]) &&
               !weir_schedule_cancel(schedule, &told[1]) &&
               weir_schedule_n_free(schedule) == 2 &&
               !step_times(schedule, 1) && told[1].n_ended == 0,
           "a text that is cancelled is gone, and nobody is told");
    weir_schedule_free(schedule);
}

/* Each of them gets its turn when a step has room for one piece alone. */
static void test_turns(weir_model *model)
{
    struct weir_schedule_options options = {.n_places = 3,
                                            .n_ctx = N_CTX,
                                            .n_piece_tok = 32,
                                            .goes_on = see_going_on};
    struct weir_request request = texts[0].request;
    struct told told[3] = {{0}, {0}, {0}};
    struct weir_schedule *schedule;
    int rc = weir_schedule_new(model, &options, see_end, NULL, &schedule, &err);

    request.n_tokens = 20;
    for (size_t i = 0; i < 3 && !rc; i++) {
        request.ids = texts[i].prompt;
        request.n_ids = i == 2 ? 32 : 128;
        request.tag = &told[i];
        rc = weir_schedule_add(schedule, &request, &err);
    }
    tap_ok(!rc && !step_times(schedule, 4) && told[2].n_steps >= 1 &&
               told[0].n_steps + told[1].n_steps == 0,
           "a short prompt does not wait for long ones");
    tap_ok(!step_times(schedule, 5) && told[0].n_steps && told[1].n_steps,
           "nor do they for it");
    weir_schedule_free(schedule);
}

static void test_threads(void)
{
    weir_model *model = open_model(3);

    tap_ok(model && run(model, 5, 0) == N, "on 3 threads too");
    tap_ok(weir_schedule_usual_places(model, 16, WEIR_KV_F32, 0) == 32,
           "32 places are usual where memory is no matter");
    weir_model_close(model);
}

/* Under a budget the weights get what all places leave. */
static void test_budget(void)
{
    struct weir_model_options options = {.n_threads = 2, .io = WEIR_IO_PREAD};
    weir_model *model;
    struct weir_schedule_options schedule = {
        .n_places = 4, .n_ctx = N_CTX, .other_bytes = 1 << 20};
    struct weir_schedule *made;
    size_t n_told;

    if (weir_model_open(path, &options, &model, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    tap_ok(run(model, 4, 0) == N, "under a budget: every text as it is alone");
    tap_ok(model->jamba->budget.session_bytes == 0,
           "and the budget has all of it back");
    weir_model_close(model);
    options.ram_bytes = 64 << 20;
    if (weir_model_open(path, &options, &model, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    schedule.other_bytes = 64 << 20;
    tap_ok(weir_schedule_new(model, &schedule, check_answer, &n_told, &made,
                             &err) == WEIR_ELIMIT &&
               !made,
           "what does not fit: %s", err.message);
    tap_ok(weir_schedule_usual_places(model, 1 << 20, WEIR_KV_F32, 0) == 1 &&
               weir_schedule_usual_places(model, 16, WEIR_KV_F32, 0) < 32,
           "as many places as fit into a quarter of the memory");
    weir_model_close(model);
}

/* The third token of each answer ends a text, if it is not there before. */
static void test_eos(weir_model *model)
{
    for (size_t t = 0; t < N; t++) {
        struct text *text = &texts[t];
        size_t n = 0;

        if (text->n_ids < 3)
            continue;
        text->request.eos[0] = -1;
        text->request.eos[1] = text->ids[2];
        text->request.n_eos = 2;
        while (text->ids[n] != text->ids[2])
            n++;
        text->n_ids = n;
        text->end = WEIR_END_EOS;
    }
    tap_ok(run(model, 3, 0) == N, "ids end a text and are no part of it");
}

static void test_refusals(weir_model *model)
{
    struct weir_schedule_options options = {.n_places = 1, .n_ctx = 8};
    struct weir_request request = texts[0].request;
    struct weir_schedule *schedule;
    int32_t bad[] = {1, N_VOCAB};
    size_t n_told = 0;

    if (weir_schedule_new(model, &options, check_answer, &n_told, &schedule,
                          &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    tap_ok(!weir_schedule_step(schedule, &err) && !n_told,
           "a step without texts");
    request.n_ids = 0;
    tap_ok(weir_schedule_add(schedule, &request, &err) == WEIR_EARG,
           "no prompt: %s", err.message);
    request.n_ids = 5;
    request.n_tokens = 4;
    tap_ok(weir_schedule_add(schedule, &request, &err) == WEIR_EARG,
           "too long: %s", err.message);
    request.ids = bad;
    request.n_ids = 2;
    tap_ok(weir_schedule_add(schedule, &request, &err) == WEIR_EARG,
           "an unknown id: %s", err.message);
    request = texts[0].request;
    request.n_ids = 4;
    request.n_tokens = 4;
    request.sampling.top_p = 0;
    tap_ok(weir_schedule_add(schedule, &request, &err) == WEIR_EARG,
           "no top_p: %s", err.message);
    request.sampling.top_p = 1;
    tap_ok(!weir_schedule_add(schedule, &request, &err) &&
               weir_schedule_n_running(schedule) == 1,
           "a good one after these");
    tap_ok(weir_schedule_add(schedule, &request, &err) == WEIR_EARG,
           "no place: %s", err.message);
    weir_schedule_free(schedule);
    options.n_places = WEIR_MAX_EVALS + 1;
    tap_ok(weir_schedule_new(model, &options, check_answer, &n_told, &schedule,
                             &err) == WEIR_EARG,
           "too many places: %s", err.message);
}

/* What passes need: of two texts in step the trunk once */
static void test_tally(weir_model *model)
{
    struct weir_tally tally;
    double one, two, flop;

    if (weir_tally_init(&tally, model->jamba, WEIR_BF16, &err)) {
        tap_ok(0, "%s", err.message);
        weir_tally_fini(&tally);
        return;
    }
    weir_tally_add(&tally, 10, 1);
    weir_tally_end_pass(&tally);
    one = tally.bytes;
    flop = tally.flop;
    weir_tally_add(&tally, 10, 1);
    weir_tally_add(&tally, 10, 1);
    weir_tally_end_pass(&tally);
    two = tally.bytes - one;
    tap_ok(two > one && two - one < tally.trunk_bytes,
           "a second text in a pass adds %.0f bytes to %.0f", two - one, one);
    tap_ok(tally.flop == 3 * flop && tally.n_passes == 2,
           "and as much arithmetic again");
    weir_tally_fini(&tally);
}

int main(void)
{
    int fd = mkstemp(path);
    weir_model *model = NULL;
    int rc;

    if (fd < 0 || pack() || !(model = open_model(1))) {
        tap_ok(0, "%s", err.message);
        return tap_done();
    }
    make_texts();
    rc = 0;
    for (size_t t = 0; t < N && !rc; t++)
        rc = go_alone(model, &texts[t]);
    tap_ok(!rc, "%d texts one by one", N);
    test_same(model);
    test_cuts();
    test_pieces(model);
    test_going_on(model);
    test_turns(model);
    test_threads();
    test_budget();
    test_eos(model);
    test_refusals(model);
    test_tally(model);
    weir_model_close(model);
    close(fd);
    unlink(path);
    return tap_done();
}
