/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A model on a device that has no room for all of it: whatever stays there,
 * whatever has been brought before and wherever the rest lies, tokens of
 * prompts have the bits that they have where all of it fits.  So have those
 * that are decoded if the device does all; else the CPU computes some experts,
 * always the same.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/schedule.h"
#include "model/device.h"
#include "offload/device.h"
#include "offload/placement.h"
#include "tests/golden_model.h"
#include "tests/tap.h"

#define N_VOCAB  512
#define N_PROMPT 70
#define N_DECODE 12
#define N_CTX    (N_PROMPT + N_DECODE)

static char path[] = "device.XXXXXX";
static int32_t ids[N_CTX];

/* The scores of a run, and how it went */
struct run {
    float prompt[N_VOCAB], decoding[N_DECODE][N_VOCAB];
    int rc, is_whole, has_all_experts;
    uint32_t n_passing, n_graphs; /* of a step */
    uint64_t n_brought, n_of_trunk, n_bytes_taken, n_bytes, n_hits, n_misses;
    struct weir_err err;
};

static void look(const struct weir_model *model, struct run *run)
{
    const struct weir_on_device *on = model->jamba->on;
    struct weir_residency_stats stats;

    weir_residency_get_stats(model->jamba->residency, &stats);
    run->is_whole = on->is_whole;
    run->has_all_experts = on->has_all_experts;
    run->n_passing = on->n_passing;
    for (uint32_t i = 0; on->n_kept && i <= model->jamba->config.n_layers; i++)
        run->n_graphs += on->kept->graphs[i] != NULL;
    run->n_brought = on->trunk.n_brought + on->experts.n_brought;
    run->n_of_trunk = on->trunk.n_brought;
    run->n_bytes_taken = on->room.n_taken;
    run->n_bytes = on->room.n_bytes;
    run->n_hits = stats.n_hits;
    run->n_misses = stats.n_misses;
}

static void run_model(struct weir_model *model, struct run *run)
{
    const struct weir_session_options options = {.n_ctx = N_CTX,
                                                 .kv = WEIR_KV_BF16};
    weir_session *session = NULL;
    int rc = weir_session_new(model, &options, &session, &run->err);

    if (!rc)
        rc = weir_session_eval(session, ids, N_PROMPT, run->prompt, &run->err);
    for (size_t i = 0; i < N_DECODE && !rc; i++)
        rc = weir_session_eval(session, ids + N_PROMPT + i, 1, run->decoding[i],
                               &run->err);
    if (!rc)
        look(model, run);
    run->rc = rc;
    weir_session_free(session);
}

static void run_with(uint64_t vram_bytes, int only_device, uint64_t ram_bytes,
                     struct run *run)
{
    const struct weir_jamba_options options = {.n_threads = 2,
                                               .device = &weir_device_host,
                                               .vram_bytes = vram_bytes,
                                               .only_device = only_device,
                                               .ram_bytes = ram_bytes};
    weir_model *model = NULL;

    memset(run, 0, sizeof(*run));
    run->rc = weir_model_open_with(path, &options, &model, &run->err);
    if (!run->rc)
        run_model(model, run);
    weir_model_close(model);
    if (run->rc)
        tap_diag("%s", run->err.message);
}

static double distance(const struct run *a, const struct run *b)
{
    double far = 0, all = 0;

    for (size_t i = 0; i < N_DECODE; i++)
        for (size_t k = 0; k < N_VOCAB; k++) {
            double x = a->decoding[i][k], y = b->decoding[i][k];

            far += (x - y) * (x - y);
            all += x * x;
        }
    return sqrt(far / all);
}

static int same_prompt(const struct run *a, const struct run *b)
{
    return !memcmp(a->prompt, b->prompt, sizeof(a->prompt));
}

static int same_decoding(const struct run *a, const struct run *b)
{
    return !memcmp(a->decoding, b->decoding, sizeof(a->decoding));
}

/* The least of the device that a run does with, in steps of an eighth */
static uint64_t least_bytes(uint64_t most)
{
    static struct run run;
    uint64_t n = most;

    do {
        n -= most / 32;
        run_with(n, 1, 0, &run);
    } while (!run.rc && n > most / 8);
    tap_ok(run.rc == WEIR_ELIMIT, "too little of a device is refused");
    tap_ok(strstr(run.err.message, "--vram") || strstr(run.err.message, "more"),
           "and the cure is said");
    return n + most / 32;
}

static void test_amount(const struct run *whole, uint64_t n_bytes, int is_least)
{
    static struct run card, again, shared, budget;

    run_with(n_bytes, 1, 0, &card);
    run_with(n_bytes, 1, 512 << 20, &again);
    run_with(n_bytes, 0, 0, &shared);
    run_with(n_bytes, 0, 512 << 20, &budget);
    tap_ok(!card.rc && !card.is_whole && card.n_brought > 0 &&
               (card.n_passing > 0) == is_least,
           "%.2f MB: %u units of the trunk pass, %u were brought",
           (double)n_bytes / 1e6, (unsigned)card.n_passing,
           (unsigned)card.n_brought);
    tap_ok(card.n_bytes_taken <= card.n_bytes, "within the budget");
    tap_ok(same_prompt(&card, whole) && same_decoding(&card, whole),
           "the device alone: the same bits");
    tap_ok(!again.rc && again.n_misses > 0 && same_prompt(&again, whole) &&
               same_decoding(&again, whole),
           "read under a budget of RAM: the same bits");
    tap_ok(!shared.rc && same_prompt(&shared, whole),
           "a prompt is computed by the device");
    tap_ok(whole->n_graphs == 1 && !card.n_graphs &&
               (is_least ? !shared.n_graphs : shared.n_graphs > 1),
           "a step is put there in %u graphs", (unsigned)shared.n_graphs);
    tap_ok(distance(&shared, whole) < 1e-5, "the CPU's share is %.1e away",
           distance(&shared, whole));
    tap_ok(!is_least || (shared.n_brought < card.n_brought &&
                         shared.n_of_trunk < card.n_of_trunk),
           "what is not copied for each token: %u units are brought, %u of the "
           "trunk, for %u",
           (unsigned)shared.n_brought, (unsigned)shared.n_of_trunk,
           (unsigned)card.n_of_trunk);
    tap_ok(!budget.rc && same_prompt(&budget, whole) &&
               same_decoding(&budget, &shared),
           "read under a budget of RAM: the same bits");
}

/* More tokens than there is room for, and then fewer, of a model that is open
 */
static void test_room(const struct run *whole)
{
    const struct weir_jamba_options options = {.n_threads = 2,
                                               .device = &weir_device_host,
                                               .vram_bytes = whole->n_bytes,
                                               .only_device = 1};
    struct weir_session_options many = {.n_ctx = 1 << 20};
    static struct run run;
    weir_session *session = NULL;
    struct weir_err err = {0};
    weir_model *model;
    int rc = weir_model_open_with(path, &options, &model, &err);

    if (rc) {
        tap_ok(0, "%s", err.message);
        return;
    }
    tap_ok(weir_session_new(model, &many, &session, &err) == WEIR_ELIMIT,
           "a context without room is refused: %s", err.message);
    run_model(model, &run);
    tap_ok(!run.rc && run.is_whole && same_prompt(&run, whole) &&
               same_decoding(&run, whole),
           "a shorter one has all that was there");
    weir_model_close(model);

    if (weir_model_open_with(path, &options, &model, &err))
        return;
    model->may_leave_device = 1;
    rc = weir_session_new(model, &many, &session, &err);
    tap_ok(!rc && !model->jamba->on, "unless the CPU will do: %s", err.message);
    weir_session_free(session);
    tap_ok(!weir_session_new(model, &(struct weir_session_options){.n_ctx = 9},
                             &session, &err) &&
               !weir_session_eval(session, ids, 9, NULL, &err),
           "which computes from then on");
    weir_session_free(session);
    weir_model_close(model);
}

/* Texts in step are put there as graphs, too: nobody looks into a pass. */
static void check_step(const weir_model *model, struct weir_schedule *schedule)
{
    struct weir_request request = {.ids = ids,
                                   .n_ids = 8,
                                   .n_tokens = 4,
                                   .sampling = WEIR_SAMPLING_NEUTRAL};
    struct weir_err err;
    int rc = weir_schedule_add(schedule, &request, &err);

    while (!rc && weir_schedule_n_running(schedule))
        rc = weir_schedule_step(schedule, &err);
    tap_ok(!rc && model->jamba->on->n_kept > 0, "texts in step are in graphs");
    tap_ok(weir_schedule_tally(schedule)->used_bytes[WEIR_IN_DEVICE] > 0,
           "and what they used is counted");
}

/* Whether a schedule for texts of n_ctx tokens keeps prompts, and the model its
 * device */
static void test_cache(const struct run *whole, size_t n_ctx, int stays)
{
    const struct weir_jamba_options on = {.n_threads = 2,
                                          .device = &weir_device_host,
                                          .vram_bytes = whole->n_bytes,
                                          .only_device = 1};
    const struct weir_schedule_options options = {
        .n_places = 1, .n_ctx = n_ctx, .cache_bytes = 1 << 20};
    struct weir_schedule *schedule = NULL;
    struct weir_texts_stats stats;
    weir_model *model = NULL;
    struct weir_err err;

    if (weir_model_open_with(path, &on, &model, &err)) {
        tap_ok(0, "%s", err.message);
        return;
    }
    model->may_leave_device = 1;
    if (weir_schedule_new(model, &options, NULL, NULL, &schedule, &err)) {
        tap_ok(0, "%s", err.message);
    } else {
        weir_schedule_get_texts(schedule, &stats);
        tap_ok(stays ? model->jamba->on && !stats.most_bytes
                     : !model->jamba->on && stats.most_bytes == 1 << 20,
               "texts of %zu tokens: %s", n_ctx,
               stays ? "the device keeps no prompts" : "the CPU keeps prompts");
        if (stays)
            check_step(model, schedule);
    }
    weir_schedule_free(schedule);
    weir_model_close(model);
}

int main(void)
{
    static struct run whole, all;
    struct weir_import import = {.tile_ceiling = 65536};
    uint64_t least, wanted;

    for (size_t i = 0; i < N_CTX; i++)
        ids[i] = (int32_t)(i * 149 % N_VOCAB);
    if (!golden_model(&import, path))
        return tap_done();
    run_with(8 << 20, 0, 0, &all);
    wanted = all.n_bytes_taken;
    run_with(wanted + wanted / 8, 1, 0, &whole);
    tap_ok(!whole.rc && whole.is_whole && !whole.n_brought, "%.2f MB hold all",
           (double)wanted / 1e6);
    test_room(&whole);
    test_cache(&whole, N_CTX, 1);
    test_cache(&whole, 1 << 20, 0);
    least = least_bytes(whole.n_bytes_taken);
    test_amount(&whole, least, 1);
    test_amount(&whole, whole.n_bytes_taken - (256 << 10), 0);
    unlink(path);
    return tap_done();
}
