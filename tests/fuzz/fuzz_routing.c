/* SPDX-License-Identifier: Apache-2.0 */
/* A routing trace: what is taken is read to its end and counted. */
#include <stdlib.h>

#include "model/routing_stats.h"
#include "tests/fuzz/fuzz.h"

static void check_shape(const struct weir_routing_shape *shape)
{
    FUZZ_CHECK(shape->n_layers && shape->n_layers <= WEIR_MAX_LAYERS);
    FUZZ_CHECK(shape->n_experts && shape->n_experts <= WEIR_MAX_EXPERTS);
    FUZZ_CHECK(shape->n_top && shape->n_top <= shape->n_experts);
    FUZZ_CHECK(shape->n_moe && shape->n_moe <= shape->n_layers);
    FUZZ_CHECK(shape->n_choices == (size_t)shape->n_moe * shape->n_top);
    for (uint32_t i = 0; i < shape->n_moe; i++)
        FUZZ_CHECK(shape->layers[i] < shape->n_layers &&
                   (!i || shape->layers[i] > shape->layers[i - 1]));
}

static void check_layer(const struct weir_routing_stats *stats, uint32_t i)
{
    static double lru[WEIR_MAX_EXPERTS + 1], pinned[WEIR_MAX_EXPERTS + 1];
    const struct weir_routing_layer *layer = &stats->layers[i];
    uint32_t n = stats->shape.n_experts;
    uint64_t sum = 0;

    for (uint32_t e = 0; e < n; e++) {
        FUZZ_CHECK(layer->chosen[e] <= stats->n_tok);
        sum += layer->chosen[e];
    }
    FUZZ_CHECK(sum == stats->n_tok * stats->shape.n_top);
    FUZZ_CHECK(layer->n_reused <= sum && layer->distance >= layer->n_reused);
    weir_routing_caches(stats, layer, lru, pinned);
    FUZZ_CHECK(lru[0] == 0 && pinned[0] == 0 && lru[n] < 1 && pinned[n] == 1);
    for (uint32_t c = 0; c < n; c++)
        FUZZ_CHECK(lru[c] <= lru[c + 1] && pinned[c] <= pinned[c + 1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *path = fuzz_path(data, n_bytes);
    struct weir_routing routing;
    struct weir_routing_stats stats = {0};
    struct weir_err err = {0};
    int rc = weir_routing_open(&routing, path, &err);

    if (!rc) {
        check_shape(&routing.shape);
        FUZZ_CHECK(routing.shape.n_tok <= n_bytes / 4);
        rc = weir_routing_stats_init(&stats, &routing.shape, &err);
    }
    if (!rc)
        rc = weir_routing_stats_read(&stats, &routing, &err);
    if (rc)
        fuzz_check_refused(rc, &err);
    for (uint32_t i = 0; i < stats.shape.n_moe && !rc; i++)
        check_layer(&stats, i);
    weir_routing_stats_fini(&stats);
    weir_routing_close(&routing);
    return 0;
}
