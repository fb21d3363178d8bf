/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of a Jamba model over tokens that continue a state. */
#ifndef WEIR_MODEL_JAMBA_H
#define WEIR_MODEL_JAMBA_H

#include "base/pool.h"
#include "kernels/kernels.h"
#include "model/bind.h"
#include "model/state.h"
#include "offload/residency.h"

/* Most tokens that go through a layer at once. */
#define WEIR_CHUNK_TOK 64

struct weir_jamba {
    struct weir_file *file;
    struct weir_residency *residency;
    struct weir_pool *pool;
    const struct weir_kernels *kernels;
    struct weir_config config;
    struct weir_bind bind;
};

/* What an observer is shown, [n_tok][width] f32. */
enum weir_view {
    WEIR_VIEW_HIDDEN, /* residual stream before layer `layer`; layer n_layers:
                         after the last layer and the final norm */
    WEIR_VIEW_ROUTER, /* router logits of MoE layer `layer` */
};

struct weir_observer {
    int (*see)(void *ctx, enum weir_view view, uint32_t layer,
               const float *values, size_t n_tok, size_t width,
               struct weir_err *err);
    void *ctx;
};

#endif
