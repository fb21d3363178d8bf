/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "model/device.h"
#include "model/wait.h"

/* Under a budget the first session says how long a span may be. */
static int take_work(struct weir_jamba *jamba, size_t block_tok,
                     struct weir_err *err)
{
    size_t span_tok = jamba->budget.span_tok ? jamba->budget.span_tok
                      : jamba->budget.mapped ? WEIR_SPAN_TOK
                                             : WEIR_CHUNK_TOK;
    struct weir_work_sizes sizes = {
        .n_workers = weir_pool_n_threads(jamba->pool),
        .max_tile_rows = jamba->bind.max_tile_rows,
        .tile_bytes = weir_residency_scratch_bytes(jamba->residency),
    };
    int rc;

    for (uint32_t i = 0; i < jamba->file->n_tensors; i++)
        weir_work_count_tensor(&sizes, &jamba->kernels,
                               &jamba->file->tensors[i]);
    rc = weir_work_init(&jamba->work, &jamba->config, &sizes, err);
    if (!rc)
        rc = weir_wait_take(jamba, span_tok, block_tok ? block_tok : span_tok,
                            err);
    for (size_t i = 0; i < sizes.n_workers && !rc; i++)
        weir_residency_scratch_init(jamba->residency,
                                    jamba->work.workers[i].tile);
    return rc;
}

/* A map keeps to no budget, so that one or the other is asked for. */
static int open_residency(struct weir_jamba *jamba,
                          const struct weir_jamba_options *options,
                          struct weir_err *err)
{
    struct weir_residency_options residency = {
        .mapped = options->io == WEIR_IO_MMAP ||
                  (options->io == WEIR_IO_AUTO && !options->ram_bytes &&
                   !options->weight_bytes),
        .io = options->io,
        .calls = options->calls,
        .deadline_ms = options->deadline_ms,
        .most_gbps = options->most_gbps,
    };

    if (options->io == WEIR_IO_MMAP && options->ram_bytes)
        return weir_err_set(err, WEIR_EARG,
                            "a mapped model keeps to no budget of memory; "
                            "leave one of the two away");
    weir_budget_init(&jamba->budget, residency.mapped, options->ram_bytes,
                     options->weight_bytes);
    jamba->budget.span_tok = options->span_tok;
    jamba->budget.cache = options->cache;
    return weir_residency_new(jamba->file, &residency, &jamba->residency, err);
}

static int open_parts(struct weir_jamba *jamba, const char *path,
                      const struct weir_jamba_options *options,
                      struct weir_err *err)
{
    int rc = weir_file_open(path, &jamba->file, err);

    if (!rc)
        rc = open_residency(jamba, options, err);
    if (!rc)
        rc = weir_config_read(jamba->file, &jamba->config, err);
    if (!rc)
        rc = weir_bind_init(&jamba->bind, &jamba->config, jamba->file,
                            jamba->residency, err);
    if (!rc)
        rc = weir_residency_check(jamba->residency, err);
    if (!rc)
        rc = weir_pool_new(options->n_threads, &jamba->pool, err);
    if (!rc)
        rc = take_work(jamba, options->block_tok, err);
    return rc;
}

static int take_scratch_path(struct weir_jamba *jamba,
                             const struct weir_jamba_options *options,
                             struct weir_err *err)
{
    jamba->scratch_calls = options->scratch_calls;
    jamba->scratch_path = strdup(options->scratch);
    return jamba->scratch_path ? 0
                               : weir_err_nomem(err, strlen(options->scratch),
                                                "the name of a scratch file");
}

int weir_jamba_open(const char *path, const struct weir_jamba_options *options,
                    struct weir_jamba **out, struct weir_err *err)
{
    struct weir_jamba *jamba = calloc(1, sizeof(*jamba));
    int rc;

    *out = NULL;
    if (!jamba)
        return weir_err_nomem(err, sizeof(*jamba), "a model");
    pthread_mutex_init(&jamba->lock, NULL);
    rc = weir_kernels_select(&jamba->kernels, err);
    if (!rc && options->scratch)
        rc = take_scratch_path(jamba, options, err);
    if (!rc)
        rc = open_parts(jamba, path, options, err);
    if (!rc && options->device)
        rc = weir_on_device_new(jamba, options->device, options->vram_bytes,
                                options->only_device, &jamba->on, err);
    if (rc) {
        weir_jamba_close(jamba);
        return rc;
    }
    *out = jamba;
    return 0;
}

void weir_jamba_close(struct weir_jamba *jamba)
{
    if (!jamba)
        return;
    weir_on_device_free(jamba->on);
    weir_work_fini(&jamba->work);
    weir_scratch_close(jamba->scratch);
    free(jamba->scratch_path);
    weir_pool_free(jamba->pool);
    weir_bind_fini(&jamba->bind);
    weir_residency_free(jamba->residency);
    weir_file_close(jamba->file);
    pthread_mutex_destroy(&jamba->lock);
    free(jamba);
}

/* Its memory is the device's, which gives each sequence a slot. */
static int begin_on_device(struct weir_jamba *jamba, unsigned n_texts,
                           struct weir_state *state, struct weir_err *err)
{
    int rc;

    pthread_mutex_lock(&jamba->lock);
    rc = weir_on_device_make_room(jamba->on, n_texts,
                                  (size_t)n_texts * state->n_ctx,
                                  state->kv_dtype, err);
    if (!rc)
        rc = weir_on_device_take_slot(jamba->on, state->n_ctx, state->kv_dtype,
                                      &state->slot, err);
    state->on_device = !rc;
    pthread_mutex_unlock(&jamba->lock);
    return rc;
}

int weir_jamba_begin(struct weir_jamba *jamba, size_t n_ctx,
                     enum weir_dtype kv_dtype, unsigned n_texts,
                     struct weir_state *state, struct weir_err *err)
{
    if (!jamba->on)
        return weir_state_init(state, &jamba->config, n_ctx, kv_dtype, err);
    *state = (struct weir_state){.kv_dtype = kv_dtype, .n_ctx = n_ctx};
    return begin_on_device(jamba, n_texts, state, err);
}

void weir_jamba_end(struct weir_jamba *jamba, struct weir_state *state)
{
    if (state->on_device) {
        pthread_mutex_lock(&jamba->lock);
        weir_on_device_give_slot(jamba->on, state->slot);
        pthread_mutex_unlock(&jamba->lock);
    }
    weir_state_fini(state);
}

void weir_jamba_go_back(struct weir_jamba *jamba, struct weir_state *state,
                        const struct weir_snapshot *snapshot)
{
    if (!state->on_device) {
        weir_state_go_back(state, snapshot);
        return;
    }
    pthread_mutex_lock(&jamba->lock);
    weir_on_device_clear_slot(jamba->on, state->slot);
    pthread_mutex_unlock(&jamba->lock);
    state->n_tok = 0;
    state->spoiled = 0;
}
