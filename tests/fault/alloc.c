/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory that runs out.  Opening a model, encoding, starting a session,
 * planning and packing are done over and over, and each time another request
 * for memory is refused, once alone and once with all that follow it.  Every
 * time the call must fail with a reason, leave nothing behind, and succeed when
 * it is repeated.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/seen.h"
#include "engine/schedule.h"
#include "engine/session.h"
#include "model/plan_model.h"
#include "serve/batch_line.h"
#include "serve/logprobs.h"
#include "tests/fault/fault_malloc.h"
#include "tests/fault/fault_model.h"
#include "tests/tap.h"
#include "text/chat.h"
#include "text/sampler.h"
#include "weir.h"

#define N_VOCAB 512

/* What attempt_chat() renders */
#define CHAT_TEXT                                                              \
    "B-\xc3\x89"                                                               \
    "1[\n [\n  1\n ]\n]    3"

/*
 * Packing makes many requests: of so many one is refused, until the last few,
 * when the file gets its name.
 */
#define PACK_GAP 37
#define PACK_END 8

/* ---- one request after the other ---- */

/*
 * Does something under the armed fault, calls fault_disarm(), and releases
 * what it made.  Sets *wrong when it claims success with another result.
 */
typedef int attempt_fn(const void *what, int *wrong, struct weir_err *err);

struct tally {
    unsigned long n;              /* refused one by one */
    unsigned n_spared, n_threads; /* of them */
    unsigned n_bad, n_left;       /* wrong endings; something left behind */
};

/* The lowest free descriptor: a lost one raises it. */
static int next_fd(void)
{
    int fd = dup(0);

    close(fd);
    return fd;
}

/* What the call should have returned. */
static int is_due(int rc, const struct weir_err *err)
{
    switch (fault_refused()) {
    case FAULT_NOBODY:
        return rc == 0;
    case FAULT_MEMORY:
        return rc == WEIR_ENOMEM && err->code == rc && *err->message;
    case FAULT_LIBC:
        return rc == 0 || rc == WEIR_ENOMEM;
    case FAULT_THREAD:
        return rc == WEIR_EIO && err->code == rc && *err->message;
    }
    return 0;
}

/* One attempt; 0 when nothing was left to refuse. */
static int try_one(attempt_fn *attempt, const void *what, unsigned long nth,
                   int lasting, struct tally *tally)
{
    struct weir_err err = {0};
    long live = fault_n_live(), left;
    int fd = next_fd(), wrong = 0, rc;

    fault_arm(nth, lasting);
    rc = attempt(what, &wrong, &err);
    left = fault_n_live() - live;
    if (!is_due(rc, &err) || wrong) {
        tap_diag("request %lu (%s): %d, %s%s", nth, fault_symbol(), rc,
                 wrong ? "with another result" : "", err.message);
        tally->n_bad++;
    }
    if (left || next_fd() != fd) {
        tap_diag("request %lu (%s): %ld blocks, %d descriptors left", nth,
                 fault_symbol(), left, next_fd() - fd);
        tally->n_left++;
    }
    tally->n_spared += fault_refused() == FAULT_LIBC && rc == 0;
    tally->n_threads += fault_refused() == FAULT_THREAD;
    return fault_refused() != FAULT_NOBODY;
}

/* One of `gap` requests is refused, and each of the last PACK_END. */
static void try_each(const char *name, attempt_fn *attempt, const void *what,
                     unsigned long gap)
{
    struct tally tally = {0};
    unsigned long nth, total;
    int wrong;

    fault_arm(0, 0);
    attempt(what, &wrong, NULL); /* what is made once and kept is there then */
    total = fault_disarm();
    for (int lasting = 0; lasting < 2; lasting++) {
        nth = 1;
        while (try_one(attempt, what, nth, lasting, &tally)) {
            try_one(attempt, what, 0, 0, &tally);
            tally.n++;
            nth += nth + gap + PACK_END < total ? gap : 1;
        }
    }
    tap_ok(tally.n && !tally.n_bad,
           "%s: %lu refused requests (%u for threads) end it, but for %u of "
           "the C library",
           name, tally.n, tally.n_threads, tally.n_spared);
    tap_ok(!tally.n_left, "%s: nothing is left behind", name);
}

/* ---- the attempts ---- */

/* The scores after three ids; 0 when they could not be had. */
static int score(weir_model *model, float *logits)
{
    struct weir_session_options options = {.n_ctx = 4, .kv = WEIR_KV_F32};
    const int32_t ids[] = {1, 300, 20};
    weir_session *session;
    int rc;

    if (weir_session_new(model, &options, &session, NULL))
        return 0;
    rc = weir_session_eval(session, ids, 3, logits, NULL);
    weir_session_free(session);
    return rc == 0;
}

struct opening {
    char path[64];
    float logits[N_VOCAB]; /* that the model should give */
};

static int open_model(const char *path, unsigned n_threads, weir_model **model,
                      struct weir_err *err)
{
    struct weir_model_options options = {.n_threads = n_threads,
                                         .io = WEIR_IO_MMAP};

    return weir_model_open(path, &options, model, err);
}

static int attempt_open(const void *what, int *wrong, struct weir_err *err)
{
    static float logits[N_VOCAB];
    const struct opening *opening = what;
    weir_model *model = NULL;
    int rc = open_model(opening->path, 3, &model, err);

    fault_disarm();
    if (rc)
        *wrong = model != NULL;
    else
        *wrong = !score(model, logits) ||
                 memcmp(logits, opening->logits, sizeof(logits));
    weir_model_close(model);
    return rc;
}

/* Weights that are read, and a session, for which they are placed */
static int attempt_stream(const void *what, int *wrong, struct weir_err *err)
{
    static float logits[N_VOCAB];
    const struct opening *opening = what;
    struct weir_model_options options = {.n_threads = 2, .io = WEIR_IO_PREAD};
    struct weir_session_options room = {.n_ctx = 4, .kv = WEIR_KV_F32};
    weir_model *model = NULL;
    weir_session *session = NULL;
    int rc = weir_model_open(opening->path, &options, &model, err);

    if (!rc)
        model->jamba->budget.weight_bytes = 1 << 20;
    if (!rc)
        rc = weir_session_new(model, &room, &session, err);
    fault_disarm();
    *wrong = rc ? session != NULL
                : !score(model, logits) ||
                      memcmp(logits, opening->logits, sizeof(logits));
    weir_session_free(session);
    weir_model_close(model);
    return rc;
}

struct encoding {
    weir_model *model;
    const char *text;
    size_t n_bytes;
    int32_t *ids; /* that the text should become */
    size_t n_ids;
};

static int attempt_encode(const void *what, int *wrong, struct weir_err *err)
{
    const struct encoding *encoding = what;
    int32_t *made;
    size_t n = 0;
    int rc = weir_model_encode(encoding->model, encoding->text,
                               encoding->n_bytes, 1, 1, &made, &n, err);

    fault_disarm();
    if (rc)
        *wrong = made != NULL;
    else
        *wrong = n != encoding->n_ids ||
                 memcmp(made, encoding->ids, n * sizeof(*made)) != 0;
    free(made);
    return rc;
}

/* A tile that compresses, so that it is not raw but for want of memory. */
static int attempt_code(const void *what, int *wrong, struct weir_err *err)
{
    static const uint8_t tile[4096];
    static uint8_t out[sizeof(tile)];
    struct weir_encoder *encoder;
    struct weir_coded coded = {0};
    int rc = weir_encoder_new(&encoder, err);

    (void)what;
    if (!rc)
        rc = weir_encoder_run(encoder, WEIR_POLICY_ZSTD, WEIR_BF16, tile,
                              sizeof(tile), out, &coded, err);
    fault_disarm();
    *wrong = !rc && coded.codec != WEIR_CODEC_PLANES;
    weir_encoder_free(encoder);
    return rc;
}

static int attempt_session(const void *what, int *wrong, struct weir_err *err)
{
    struct weir_session_options options = {
        .n_ctx = 100, .kv = WEIR_KV_BF16, .snapshot_bytes = 1 << 20};
    weir_session *session;
    int rc = weir_session_new((weir_model *)what, &options, &session, err);

    fault_disarm();
    *wrong = rc ? session != NULL : weir_session_n_tok(session) != 0;
    weir_session_free(session);
    return rc;
}

/* A session of three tokens that is saved, and loaded into another */
static int attempt_save(const void *what, int *wrong, struct weir_err *err)
{
    static const int32_t ids[] = {1, 300, 20};
    struct weir_session_options options = {.n_ctx = 4,
                                           .snapshot_bytes = 1 << 20};
    weir_session *session = NULL, *again = NULL;
    int rc = weir_session_new((weir_model *)what, &options, &session, err);

    if (!rc)
        rc = weir_session_prefix(session, ids, 3, NULL, NULL, err);
    if (!rc)
        rc = weir_session_save(session, fault_at("session"), err);
    if (!rc)
        rc = weir_session_new((weir_model *)what, &options, &again, err);
    if (!rc)
        rc = weir_session_load(again, fault_at("session"), err);
    fault_disarm();
    *wrong = !rc && weir_session_n_tok(again) != 3;
    weir_session_free(session);
    weir_session_free(again);
    return rc;
}

static int count_answer(void *ctx, const struct weir_answer *answer,
                        struct weir_err *err)
{
    (void)err;
    *(size_t *)ctx += answer->n_ids;
    return 0;
}

/* Two texts in step, to their ends */
static int attempt_schedule(const void *what, int *wrong, struct weir_err *err)
{
    static const int32_t ids[] = {1, 300, 20};
    static struct weir_request request = {.ids = ids,
                                          .n_ids = 3,
                                          .n_tokens = 2,
                                          .sampling = WEIR_SAMPLING_NEUTRAL};
    struct weir_schedule_options options = {
        .n_places = 2, .n_ctx = 8, .kv = WEIR_KV_BF16};
    struct weir_schedule *schedule;
    size_t n_tokens = 0;
    int rc;

    weir_stop_init(&request.stop);
    request.n_scores = ((const weir_model *)what)->tokenizer ? 3 : 0;
    rc = weir_schedule_new((weir_model *)what, &options, count_answer,
                           &n_tokens, &schedule, err);
    for (int i = 0; i < 2 && !rc; i++)
        rc = weir_schedule_add(schedule, &request, err);
    while (!rc && weir_schedule_n_running(schedule))
        rc = weir_schedule_step(schedule, err);
    fault_disarm();
    *wrong = !rc && n_tokens != 4;
    weir_schedule_free(schedule);
    return rc;
}

/* The scores of two tokens, one of which is not whole characters, as JSON */
static int attempt_logprobs(const void *what, int *wrong, struct weir_err *err)
{
    static const struct weir_score scores[] = {
        {20, -1}, {300, -2}, {0xc3 + 3, -3}, {1, -4}};
    static const struct weir_token_place places[] = {
        {.id = 20, .to = 1}, {.id = 0xc3 + 3, .from = 1, .to = 4}};
    const struct weir_scored scored = {scores, places, 2, 2};
    const struct weir_tokenizer *tokenizer =
        ((const weir_model *)what)->tokenizer;
    json_t *chat = weir_logprobs_chat(tokenizer, &scored);
    json_t *text = chat ? weir_logprobs_text(tokenizer, &scored) : NULL;

    fault_disarm();
    *wrong = text && (json_array_size(json_object_get(chat, "content")) != 2 ||
                      json_array_size(json_object_get(text, "tokens")) != 2);
    json_decref(chat);
    json_decref(text);
    return text ? 0 : weir_err_nomem(err, 1, "scores");
}

/* A line of a batch that becomes a request, and its answer */
static int attempt_line(const void *what, int *wrong, struct weir_err *err)
{
    struct weir_completion completion = {.sampling = WEIR_SAMPLING_NEUTRAL};
    struct weir_openai_head head = {"text_completion", "id", 0, "model"};
    struct weir_choice choice = {.text = "text",
                                 .n_bytes = 4,
                                 .n_ids = 3,
                                 .shows_ids = 1,
                                 .finish_reason = "stop"};
    struct weir_batch_line line;
    struct weir_seen seen = {0};
    struct weir_fault fault;
    char *text = NULL;
    size_t n = 0;
    int rc = weir_batch_line_parse(what, strlen(what), &line, &fault);

    weir_stop_init(&completion.stop);
    if (!rc)
        rc = weir_openai_read_completion(line.body, &completion, &fault);
    if (!rc)
        rc = weir_seen_add(&seen, line.custom_id, strlen(line.custom_id),
                           &fault.err);
    choice.ids = completion.ids;
    if (!rc)
        rc = weir_batch_line_print(
            1, line.custom_id, 200,
            weir_openai_answer(
                &head, weir_openai_add(json_array(), weir_openai_text(&choice)),
                weir_openai_usage(3, 1, 3)),
            &text, &n, &fault.err);
    fault_disarm();
    if (rc && err)
        *err = fault.err;
    *wrong = !rc && (completion.n_ids != 3 || !weir_batch_line_number(text, n));
    free(text);
    weir_seen_fini(&seen);
    weir_completion_fini(&completion);
    weir_batch_line_fini(&line);
    return rc;
}

/* A message in a template of the caller's, as ids */
static int attempt_chat(const void *what, int *wrong, struct weir_err *err)
{
    static const char template[] =
        "{% macro m(a, b=[1, 2.5, {'k': none}]) %}{{ a|upper }}"
        "{{ b|tojson(indent=1) }}{{ caller() }}{% endmacro %}"
        "{% for x in messages if x.content %}{% set y %}{{ x.content.split()"
        "|map('trim')|sort|join('-') ~ loop.index }}{% endset %}"
        "{% call m(y, *[d.values()|list]) %}{{ '%5d' % 3 }}{% endcall %}"
        "{% endfor %}";
    static const char said[] =
        "[{\"role\":\"user\",\"content\":\"b \\u00e9\"}]";
    static const char more[] = "{\"d\":{\"k\":[1]}}";
    const weir_model *model = what;
    struct weir_buf text = WEIR_BUF(4096);
    json_t *messages = NULL, *extra = NULL;
    struct weir_chat_input input = {.add_generation_prompt = 1};
    struct weir_chat *chat = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;
    int rc = weir_chat_from_text(template, strlen(template), "t",
                                 model->jamba->file, &chat, err);

    if (!rc)
        rc = weir_json_parse(said, strlen(said), "json", &messages, err);
    if (!rc)
        rc = weir_json_parse(more, strlen(more), "json", &extra, err);
    input.messages = messages;
    input.extra = extra;
    if (!rc)
        rc = weir_chat_render_guarded(chat, model->tokenizer, &input, &text,
                                      err);
    if (!rc)
        rc = weir_model_encode(model, text.data, text.n_bytes,
                               WEIR_SPECIAL_GUARDED, 1, &ids, &n_ids, err);
    fault_disarm();
    *wrong = !rc && (!n_ids || !text.data || strcmp(text.data, CHAT_TEXT));
    if (*wrong)
        tap_diag("%s", text.data ? text.data : "no text");
    free(ids);
    json_decref(messages);
    json_decref(extra);
    weir_chat_free(chat);
    weir_buf_fini(&text);
    return rc;
}

/* A plan of a model; that its memory is released, try_each() sees. */
static int attempt_plan(const void *what, int *wrong, struct weir_err *err)
{
    const struct weir_plan_machine machine = {.disk_gbps = 1,
                                              .dram_gbps = 10,
                                              .gflops = 100,
                                              .decode_gbps = {1, 1, 1},
                                              .n_threads = 1,
                                              .ram_bytes = 64 << 20};
    const struct weir_plan_budget budget = {
        .ram_bytes = 64 << 20, .n_ctx = 16, .n_prompt = 16, .batch = 1};
    const struct weir_jamba *jamba = ((const weir_model *)what)->jamba;
    struct weir_plan_model model;
    struct weir_plan plan = {0};
    int rc = weir_plan_model_init(&model, jamba->file, &jamba->config,
                                  WEIR_BF16, 1, err);

    if (!rc)
        rc = weir_plan_make(&plan, &machine, &model, &budget, err);
    fault_disarm();
    *wrong = !rc && (!plan.places || plan.n_units != jamba->file->n_units);
    weir_plan_fini(&plan);
    weir_plan_model_fini(&model);
    return rc;
}

static int attempt_sampler(const void *what, int *wrong, struct weir_err *err)
{
    struct weir_sampler sampler;
    int rc = weir_sampler_init(&sampler, what, N_VOCAB, err);

    fault_disarm();
    *wrong = 0;
    weir_sampler_fini(&sampler);
    return rc;
}

static int attempt_pack(const void *what, int *wrong, struct weir_err *err)
{
    struct weir_buf whole = WEIR_BUF(64 << 20), made = WEIR_BUF(64 << 20);
    int rc = fault_pack(what, "packed", err);

    fault_disarm();
    if (rc)
        *wrong = !access(fault_at("packed"), F_OK);
    else
        *wrong = weir_buf_add_file(&whole, fault_at("whole"), NULL) ||
                 weir_buf_add_file(&made, fault_at("packed"), NULL) ||
                 whole.n_bytes != made.n_bytes ||
                 memcmp(whole.data, made.data, made.n_bytes);
    weir_buf_fini(&whole);
    weir_buf_fini(&made);
    unlink(fault_at("packed"));
    return rc;
}

static void test_encode(weir_model *model)
{
    static char text[4096];
    struct encoding encoding = {.model = model, .text = text};

    while (encoding.n_bytes + 64 < sizeof(text))
        encoding.n_bytes += (size_t)snprintf(
            text + encoding.n_bytes, 64, "%s",
            "ab <|startoftext|>aba xyz a a,b  bab<s>\xc3\xa9 ");
    if (weir_model_encode(model, text, encoding.n_bytes, 1, 1, &encoding.ids,
                          &encoding.n_ids, NULL))
        tap_ok(0, "a text");
    try_each("encode", attempt_encode, &encoding, 1);
    free(encoding.ids);
}

/* ---- the tests ---- */

static void test_model(const struct fault_model *kind)
{
    static struct opening opening;
    struct weir_err err;
    weir_model *model;
    char name[64];

    snprintf(opening.path, sizeof(opening.path), "%s", fault_at("model.weir"));
    unlink(opening.path);
    if (fault_lay(kind, "moe-8l") || fault_pack(kind, "model.weir", &err) ||
        open_model(opening.path, 1, &model, &err)) {
        tap_ok(0, "%s: %s", kind->name, err.message);
        return;
    }
    if (!score(model, opening.logits))
        tap_ok(0, "%s: no scores", kind->name);
    snprintf(name, sizeof(name), "open, %s, %s", kind->name,
             kind->tokenizer ? kind->tokenizer : "no tokenizer");
    try_each(name, attempt_open, &opening, 1);
    snprintf(name, sizeof(name), "open to be read, %s", kind->name);
    try_each(name, attempt_stream, &opening, 1);
    if (kind->tokenizer) {
        test_encode(model);
        try_each("a chat", attempt_chat, model, 1);
        try_each("log-probabilities", attempt_logprobs, model, 1);
    }
    try_each("a session", attempt_session, model, 1);
    try_each("saving and loading it", attempt_save, model, 1);
    try_each("texts in step", attempt_schedule, model, 1);
    try_each("a plan", attempt_plan, model, 1);
    weir_model_close(model);
}

static void test_sampler(void)
{
    struct weir_sampling sampling = WEIR_SAMPLING_NEUTRAL;

    try_each("a sampler", attempt_sampler, &sampling, 1);
}

static void test_line(void)
{
    try_each("a line of a batch", attempt_line,
             "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":"
             "\"/v1/completions\",\"body\":{\"prompt\":[1,300,20],"
             "\"stop\":[\"x\"],\"logit_bias\":{\"5\":1}}}",
             1);
}

static void test_pack(void)
{
    struct fault_model kind = fault_models[1];
    struct weir_err err;

    try_each("compress", attempt_code, NULL, 1);
    kind.import.n_threads = 2;
    if (fault_lay(&kind, "dense-tied") || fault_pack(&kind, "whole", &err)) {
        tap_ok(0, "packing: %s", err.message);
        return;
    }
    try_each("pack", attempt_pack, &kind, PACK_GAP);
    unlink(fault_at("whole"));
}

int main(void)
{
    if (!fault_stands())
        tap_skip_all("this C library's allocator cannot be stood in for");
    if (fault_room_make())
        return 1;
    /* nothing is remembered of the drive: memory for that is not missed */
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    for (size_t i = 0; i < N_FAULT_MODELS; i++)
        test_model(&fault_models[i]);
    test_sampler();
    test_line();
    test_pack();
    fault_room_remove();
    return tap_done();
}
