/* SPDX-License-Identifier: Apache-2.0 */
#include "model/state.h"

#include <stdlib.h>
#include <string.h>

/* Zeros for n * width elements of `size` bytes each */
static int take_zeros(void **out, size_t n, size_t width, size_t size,
                      struct weir_err *err)
{
    size_t n_bytes;

    if (__builtin_mul_overflow(n, width * size, &n_bytes) ||
        n_bytes > PTRDIFF_MAX)
        return weir_err_set(err, WEIR_ELIMIT,
                            "a context of %zu tokens is more than this "
                            "machine can address; ask for less",
                            n);
    *out = calloc(n_bytes ? n_bytes : 1, 1);
    return *out ? 0 : weir_err_nomem(err, n_bytes, "the state of a session");
}

static int take_kv(struct weir_state *state, const struct weir_config *config,
                   struct weir_state_layer *layer, struct weir_err *err)
{
    size_t n_bytes = weir_state_kv_bytes(config, state->kv_dtype);
    int rc = take_zeros(&layer->k, state->n_ctx, n_bytes, 1, err);

    if (!rc)
        rc = take_zeros(&layer->v, state->n_ctx, n_bytes, 1, err);
    return rc;
}

static size_t conv_floats(const struct weir_config *config)
{
    return (size_t)config->n_inner * (config->d_conv - 1);
}

static size_t scan_floats(const struct weir_config *config)
{
    return (size_t)config->n_inner * config->n_state;
}

/* One block for all layers: a snapshot is a copy of it. */
static int take_mamba(struct weir_state *state,
                      const struct weir_config *config, struct weir_err *err)
{
    void *mamba = NULL;
    float *at;
    int rc;

    state->n_mamba = weir_state_mamba_floats(config);
    rc = take_zeros(&mamba, state->n_mamba, 1, sizeof(float), err);
    state->mamba = at = mamba;
    for (uint32_t i = 0; i < config->n_layers && !rc; i++) {
        if (weir_config_is_attention(config, i))
            continue;
        state->layers[i].conv = at;
        state->layers[i].scan = at + conv_floats(config);
        at = state->layers[i].scan + scan_floats(config);
    }
    return rc;
}

int weir_state_init(struct weir_state *state, const struct weir_config *config,
                    size_t n_ctx, enum weir_dtype kv_dtype,
                    struct weir_err *err)
{
    int rc;

    memset(state, 0, sizeof(*state));
    state->kv_dtype = kv_dtype;
    state->n_ctx = n_ctx;
    state->layers = calloc(config->n_layers, sizeof(*state->layers));
    if (!state->layers)
        return weir_err_nomem(err, config->n_layers * sizeof(*state->layers),
                              "the state of a session");
    state->n_layers = config->n_layers;
    rc = take_mamba(state, config, err);
    for (uint32_t i = 0; i < config->n_layers && !rc; i++)
        if (weir_config_is_attention(config, i))
            rc = take_kv(state, config, &state->layers[i], err);
    return rc;
}

void weir_state_fini(struct weir_state *state)
{
    for (uint32_t i = 0; i < state->n_layers; i++) {
        free(state->layers[i].k);
        free(state->layers[i].v);
    }
    free(state->layers);
    free(state->mamba);
    memset(state, 0, sizeof(*state));
}

size_t weir_state_kv_bytes(const struct weir_config *config,
                           enum weir_dtype kv_dtype)
{
    return (size_t)config->n_kv_heads * config->head_dim *
           weir_dtype_bytes(kv_dtype);
}

static uint32_t n_attention(const struct weir_config *config)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < config->n_layers; i++)
        n += weir_config_is_attention(config, i) != 0;
    return n;
}

size_t weir_state_mamba_floats(const struct weir_config *config)
{
    return (config->n_layers - n_attention(config)) *
           (conv_floats(config) + scan_floats(config));
}

void weir_state_keep(const struct weir_state *state,
                     struct weir_snapshot *snapshot)
{
    snapshot->n_tok = state->n_tok;
    memcpy(snapshot->mamba, state->mamba, state->n_mamba * sizeof(float));
}

void weir_state_go_back(struct weir_state *state,
                        const struct weir_snapshot *snapshot)
{
    size_t n_bytes = state->n_mamba * sizeof(float);

    if (snapshot)
        memcpy(state->mamba, snapshot->mamba, n_bytes);
    else
        memset(state->mamba, 0, n_bytes);
    state->n_tok = snapshot ? snapshot->n_tok : 0;
    state->spoiled = 0;
}

uint64_t weir_state_bytes(const struct weir_config *config, size_t n_ctx,
                          enum weir_dtype kv_dtype)
{
    uint64_t each =
        2ull * n_attention(config) * weir_state_kv_bytes(config, kv_dtype);
    uint64_t fixed = weir_state_mamba_floats(config) * sizeof(float), n_bytes;

    if (__builtin_mul_overflow(each, (uint64_t)n_ctx, &n_bytes) ||
        __builtin_add_overflow(fixed, n_bytes, &n_bytes))
        return UINT64_MAX;
    return n_bytes;
}
