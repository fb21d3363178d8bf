/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory texts in step need, and how many of them have room. */
#include "engine/schedule_parts.h"
#include "model/work.h"
#include "offload/machine.h"

#define USUAL_PLACES 32

/* Prompt and answer as ids, and the answer as text while its buffer grows */
#define TOKEN_BYTES 48

/* Most scores of an answer, and for each token of the context */
#define MOST_SCORES      ((size_t)1 << 15)
#define SCORES_PER_TOKEN 8

/* Copies of scores, here and with who is told, while their buffers grow */
#define SCORE_COPIES 4

size_t weir_schedule_most_scores(size_t n_ctx)
{
    return n_ctx < MOST_SCORES / SCORES_PER_TOKEN ? n_ctx * SCORES_PER_TOKEN
                                                  : MOST_SCORES;
}

static uint64_t score_bytes(size_t n_ctx)
{
    return SCORE_COPIES *
           (weir_schedule_most_scores(n_ctx) * sizeof(struct weir_score) +
            (uint64_t)n_ctx * sizeof(struct weir_token_place));
}

/* What a place takes beside the state of its session */
static uint64_t place_bytes(const weir_model *model, size_t n_ctx)
{
    uint64_t of_token = sizeof(struct weir_token_uses) + sizeof(int32_t) +
                        3 * sizeof(double) + sizeof(float) + WEIR_MASKS / 8;

    return sizeof(struct place) + WEIR_WALK_BYTES +
           of_token * weir_model_n_vocab(model) +
           (uint64_t)TOKEN_BYTES * n_ctx + WEIR_RUN_BYTES + score_bytes(n_ctx);
}

/* Memory that there is for all */
static uint64_t find_room(const weir_model *model)
{
    uint64_t room = model->jamba->budget.ram_bytes;
    struct weir_machine_ram ram;

    weir_machine_read_ram("", &ram);
    return room && room < ram.available ? room : ram.available;
}

uint64_t weir_schedule_snapshots(const weir_model *model, size_t n_ctx,
                                 uint64_t cache_bytes)
{
    return cache_bytes ? weir_texts_snapshots(model, n_ctx) : 0;
}

size_t weir_schedule_usual_places(const weir_model *model, size_t n_ctx,
                                  enum weir_kv kv, uint64_t cache_bytes)
{
    uint64_t each = place_bytes(model, n_ctx), n;
    const struct weir_session_options options = {
        .n_ctx = n_ctx,
        .kv = kv,
        .snapshot_bytes = weir_schedule_snapshots(model, n_ctx, cache_bytes)};
    uint64_t state = weir_session_bytes(model, &options);

    n = state > UINT64_MAX - each ? 0 : find_room(model) / 4 / (state + each);
    return n < 1 ? 1 : n < USUAL_PLACES ? (size_t)n : USUAL_PLACES;
}

uint64_t weir_schedule_usual_cache(const weir_model *model)
{
    return find_room(model) / 16;
}

int weir_schedule_reserve(struct weir_schedule *schedule, struct weir_err *err)
{
    struct weir_schedule_options *options = &schedule->options;
    const struct weir_session_options session = {
        .n_ctx = options->n_ctx,
        .kv = options->kv,
        .snapshot_bytes = weir_schedule_snapshots(
            schedule->model, options->n_ctx, options->cache_bytes)};
    size_t n = options->n_places;
    uint64_t other =
        n * place_bytes(schedule->model, options->n_ctx) +
        WEIR_TOKEN_TREE_BYTES * weir_model_n_vocab(schedule->model) +
        options->other_bytes;
    int rc = weir_session_reserve(schedule->model, &session, n,
                                  other + options->cache_bytes, err);

    if (rc)
        return rc;
    /* not before: a model may have left its device for want of room there */
    if (schedule->model->jamba->on)
        options->cache_bytes = 0;
    schedule->other_bytes = other;
    weir_budget_give(schedule->model->jamba, options->cache_bytes);
    return options->cache_bytes
               ? weir_texts_new(schedule->model,
                                &(struct weir_texts_options){
                                    options->kv, options->cache_bytes,
                                    options->cache_folder,
                                    options->cache_file_bytes},
                                &schedule->texts, err)
               : 0;
}
