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
    size_t width = (size_t)config->n_kv_heads * config->head_dim;
    size_t size = weir_dtype_bytes(state->kv_dtype);
    int rc = take_zeros(&layer->k, state->n_ctx, width, size, err);

    if (!rc)
        rc = take_zeros(&layer->v, state->n_ctx, width, size, err);
    return rc;
}

static int take_mamba(const struct weir_config *config,
                      struct weir_state_layer *layer, struct weir_err *err)
{
    void *conv = NULL, *scan = NULL;
    int rc;

    rc = take_zeros(&conv, config->n_inner, config->d_conv - 1, sizeof(float),
                    err);
    if (!rc)
        rc = take_zeros(&scan, config->n_inner, config->n_state, sizeof(float),
                        err);
    layer->conv = conv;
    layer->scan = scan;
    return rc;
}

int weir_state_init(struct weir_state *state, const struct weir_config *config,
                    size_t n_ctx, enum weir_dtype kv_dtype,
                    struct weir_err *err)
{
    int rc = 0;

    memset(state, 0, sizeof(*state));
    state->kv_dtype = kv_dtype;
    state->n_ctx = n_ctx;
    state->layers = calloc(config->n_layers, sizeof(*state->layers));
    if (!state->layers)
        return weir_err_nomem(err, config->n_layers * sizeof(*state->layers),
                              "the state of a session");
    state->n_layers = config->n_layers;
    for (uint32_t i = 0; i < config->n_layers && !rc; i++) {
        if (weir_config_is_attention(config, i))
            rc = take_kv(state, config, &state->layers[i], err);
        else
            rc = take_mamba(config, &state->layers[i], err);
    }
    return rc;
}

void weir_state_fini(struct weir_state *state)
{
    for (uint32_t i = 0; i < state->n_layers; i++) {
        free(state->layers[i].k);
        free(state->layers[i].v);
        free(state->layers[i].conv);
        free(state->layers[i].scan);
    }
    free(state->layers);
    memset(state, 0, sizeof(*state));
}

uint64_t weir_state_bytes(const struct weir_config *config, size_t n_ctx,
                          enum weir_dtype kv_dtype)
{
    uint64_t kv = 2ull * config->n_kv_heads * config->head_dim *
                  weir_dtype_bytes(kv_dtype);
    uint64_t mamba = (uint64_t)config->n_inner *
                     (config->d_conv - 1 + config->n_state) * sizeof(float);
    uint64_t each = 0, fixed = 0, n_bytes;

    for (uint32_t i = 0; i < config->n_layers; i++) {
        if (weir_config_is_attention(config, i))
            each += kv;
        else
            fixed += mamba;
    }
    if (__builtin_mul_overflow(each, (uint64_t)n_ctx, &n_bytes) ||
        __builtin_add_overflow(fixed, n_bytes, &n_bytes))
        return UINT64_MAX;
    return n_bytes;
}
