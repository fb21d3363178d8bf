/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A cache in which what was used longest ago makes room holds all that a
 * smaller one does (Mattson and others 1970).  So one walk over the trace does
 * for all sizes: the place of an expert in the order of last use, before its
 * token came, is the size from which on it is hit.  The experts of one token
 * are used together; of these the one with the lower number counts as older.
 */
#include "model/routing_stats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int weir_routing_stats_init(struct weir_routing_stats *stats,
                            const struct weir_routing_shape *shape,
                            struct weir_err *err)
{
    size_t n = (size_t)shape->n_moe * shape->n_experts;

    memset(stats, 0, sizeof(*stats));
    stats->shape = *shape;
    stats->layers = calloc(shape->n_moe, sizeof(*stats->layers));
    stats->counters = calloc(3 * n, sizeof(*stats->counters));
    if (!stats->layers || !stats->counters)
        return weir_err_nomem(err, 3 * n * sizeof(*stats->counters),
                              "the figures of a routing trace");
    stats->last = stats->counters + 2 * n;
    for (uint32_t i = 0; i < shape->n_moe; i++) {
        stats->layers[i].chosen = stats->counters + i * shape->n_experts;
        stats->layers[i].hits = stats->layers[i].chosen + n;
    }
    return 0;
}

void weir_routing_stats_fini(struct weir_routing_stats *stats)
{
    free(stats->layers);
    free(stats->counters);
    memset(stats, 0, sizeof(*stats));
}

/* How many experts were used after `expert` was; `last` counts from 1. */
static uint32_t place_of(const uint64_t *last, uint32_t n, uint32_t expert)
{
    uint32_t place = 0;

    for (uint32_t e = 0; e < n; e++)
        place +=
            last[e] > last[expert] || (last[e] == last[expert] && e > expert);
    return place;
}

static void count_distance(struct weir_routing_layer *layer, uint64_t distance)
{
    layer->n_reused++;
    layer->distance += distance;
    for (unsigned i = 0; i < WEIR_ROUTING_DISTANCES; i++)
        layer->within[i] += distance <= UINT64_C(1) << i;
}

/* The experts of the token, numbered `now` from 1, in one layer */
static void add_choices(struct weir_routing_stats *stats, uint32_t moe,
                        const uint16_t *experts)
{
    uint32_t n = stats->shape.n_experts, k = stats->shape.n_top;
    struct weir_routing_layer *layer = &stats->layers[moe];
    uint64_t *last = stats->last + (size_t)moe * n, now = stats->n_tok;

    for (uint32_t i = 0; i < k; i++) {
        uint32_t e = experts[i];

        layer->chosen[e]++;
        if (last[e])
            layer->hits[place_of(last, n, e)]++;
        if (last[e] >= stats->run_start)
            count_distance(layer, now - last[e]);
    }
    for (uint32_t i = 0; i < k; i++)
        last[experts[i]] = now;
}

void weir_routing_stats_add(struct weir_routing_stats *stats, unsigned flags,
                            const uint16_t *experts)
{
    stats->n_tok++;
    if (flags & WEIR_ROUTING_BEGINS) {
        stats->n_runs++;
        stats->run_start = stats->n_tok;
    }
    for (uint32_t i = 0; i < stats->shape.n_moe; i++)
        add_choices(stats, i, experts + (size_t)i * stats->shape.n_top);
}

int weir_routing_stats_read(struct weir_routing_stats *stats,
                            struct weir_routing *routing, struct weir_err *err)
{
    size_t n_bytes = routing->shape.n_choices * sizeof(uint16_t);
    uint16_t *experts = malloc(n_bytes);
    unsigned flags;
    int rc = experts ? 0 : weir_err_nomem(err, n_bytes, "a token");

    for (uint64_t i = 0; i < routing->shape.n_tok && !rc; i++) {
        rc = weir_routing_next(routing, &flags, experts, err);
        if (!rc)
            weir_routing_stats_add(stats, flags, experts);
    }
    free(experts);
    return rc;
}

static double share_of(uint64_t n, uint64_t of)
{
    return of ? (double)n / (double)of : 0;
}

static uint64_t n_choices(const struct weir_routing_stats *stats)
{
    return stats->n_tok * stats->shape.n_top;
}

double weir_routing_entropy(const struct weir_routing_stats *stats,
                            const struct weir_routing_layer *layer)
{
    double bits = 0, p;

    for (uint32_t e = 0; e < stats->shape.n_experts; e++) {
        p = share_of(layer->chosen[e], n_choices(stats));
        if (p > 0)
            bits -= p * log2(p);
    }
    return bits;
}

double weir_routing_reuse(const struct weir_routing_stats *stats,
                          const struct weir_routing_layer *layer, unsigned i)
{
    uint64_t n = (stats->n_tok - stats->n_runs) * stats->shape.n_top;

    return share_of(layer->within[i], n);
}

double weir_routing_chance(const struct weir_routing_stats *stats,
                           const struct weir_routing_layer *layer)
{
    double sum = 0;

    for (uint32_t e = 0; e < stats->shape.n_experts; e++)
        sum += share_of(layer->chosen[e], n_choices(stats)) *
               share_of(layer->chosen[e], stats->n_tok);
    return sum;
}

double weir_routing_distance(const struct weir_routing_layer *layer)
{
    return share_of(layer->distance, layer->n_reused);
}

static int by_descent(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x < y) - (x > y);
}

void weir_routing_caches(const struct weir_routing_stats *stats,
                         const struct weir_routing_layer *layer, double *lru,
                         double *pinned)
{
    uint64_t most[WEIR_MAX_EXPERTS], n_lru = 0, n_pinned = 0;
    uint32_t n = stats->shape.n_experts;

    memcpy(most, layer->chosen, n * sizeof(*most));
    qsort(most, n, sizeof(*most), by_descent);
    for (uint32_t c = 0; c <= n; c++) {
        lru[c] = share_of(n_lru, n_choices(stats));
        pinned[c] = share_of(n_pinned, n_choices(stats));
        if (c < n) {
            n_lru += layer->hits[c];
            n_pinned += most[c];
        }
    }
}
