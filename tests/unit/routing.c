/* SPDX-License-Identifier: Apache-2.0 */
/* A routing trace as a file, and its figures against ones counted naively. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/routing_stats.h"
#include "tests/tap.h"

#define N_TOK     700
#define N_EXPERTS 7
#define N_TOP     3
#define N_MOE     2

static uint16_t experts[N_TOK][N_MOE][N_TOP];
static unsigned flags[N_TOK];
static char path[64];

static unsigned next_random(unsigned n)
{
    static uint32_t seed = 1;

    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % n;
}

/* Distinct experts in ascending order; the low ones are chosen more often. */
static void choose(uint16_t *chosen)
{
    int taken[N_EXPERTS] = {0};
    unsigned e, n = 0;

    while (n < N_TOP) {
        e = next_random(1 + next_random(N_EXPERTS));
        n += !taken[e];
        taken[e] = 1;
    }
    for (e = 0, n = 0; e < N_EXPERTS; e++)
        if (taken[e])
            chosen[n++] = (uint16_t)e;
}

static void make_trace(void)
{
    for (size_t t = 0; t < N_TOK; t++) {
        flags[t] = t % 97 == 0 ? WEIR_ROUTING_BEGINS : 0;
        for (size_t i = 0; i < N_MOE; i++)
            choose(experts[t][i]);
    }
}

static int uses(size_t t, size_t i, unsigned e)
{
    for (size_t k = 0; k < N_TOP; k++)
        if (experts[t][i][k] == e)
            return 1;
    return 0;
}

/* ---- counted naively ---- */

/* Tokens since e was used in the same run; 0: not there */
static size_t distance_of(size_t t, size_t i, unsigned e)
{
    for (size_t d = 1; d <= t; d++) {
        if (flags[t - d + 1])
            return 0;
        if (uses(t - d, i, e))
            return d;
    }
    return 0;
}

static uint64_t count_within(size_t i, size_t most)
{
    uint64_t n = 0;

    for (size_t t = 0; t < N_TOK; t++)
        for (size_t k = 0; k < N_TOP; k++) {
            size_t d = distance_of(t, i, experts[t][i][k]);

            n += d && d <= most;
        }
    return n;
}

struct cache {
    unsigned in[N_EXPERTS];
    size_t used[N_EXPERTS], n;
};

/* Of those of an earlier token the one used longest ago makes room. */
static void make_room(struct cache *cache, size_t now)
{
    unsigned oldest = N_EXPERTS;

    for (unsigned e = 0; e < N_EXPERTS; e++)
        if (cache->in[e] && cache->used[e] < now &&
            (oldest == N_EXPERTS || cache->used[e] < cache->used[oldest]))
            oldest = e;
    if (oldest < N_EXPERTS) {
        cache->in[oldest] = 0;
        cache->n--;
    }
}

/* A cache of `size` experts, which is that of a token at least */
static uint64_t count_hits(size_t i, size_t size)
{
    struct cache cache = {0};
    uint64_t hits = 0;

    for (size_t t = 0; t < N_TOK; t++) {
        for (size_t k = 0; k < N_TOP; k++) {
            hits += cache.in[experts[t][i][k]];
            cache.used[experts[t][i][k]] = t + 1;
        }
        for (size_t k = 0; k < N_TOP; k++) {
            unsigned e = experts[t][i][k];

            if (cache.in[e])
                continue;
            if (cache.n == size)
                make_room(&cache, t + 1);
            cache.in[e] = 1;
            cache.n++;
        }
    }
    return hits;
}

static uint64_t count_chosen(size_t i, unsigned e)
{
    uint64_t n = 0;

    for (size_t t = 0; t < N_TOK; t++)
        n += (uint64_t)uses(t, i, e);
    return n;
}

/* The most that c experts can have, by trying every set of them */
static uint64_t count_best(size_t i, unsigned c)
{
    uint64_t best = 0, n;

    for (unsigned set = 0; set < 1u << N_EXPERTS; set++) {
        if ((unsigned)__builtin_popcount(set) != c)
            continue;
        n = 0;
        for (unsigned e = 0; e < N_EXPERTS; e++)
            n += set >> e & 1 ? count_chosen(i, e) : 0;
        best = n > best ? n : best;
    }
    return best;
}

/* ---- */

static int is_share(double share, uint64_t n, uint64_t of)
{
    return fabs(share * (double)of - (double)n) < 1e-6;
}

static void check_layer(const struct weir_routing_stats *stats, size_t i)
{
    const struct weir_routing_layer *layer = &stats->layers[i];
    double lru[N_EXPERTS + 1], pinned[N_EXPERTS + 1], bits = 0, p;
    int reuse = 1, good = 1, chosen = 1;
    uint64_t all = (uint64_t)N_TOK * N_TOP;

    for (unsigned k = 0; k < WEIR_ROUTING_DISTANCES; k++)
        reuse &= is_share(weir_routing_reuse(stats, layer, k),
                          count_within(i, (size_t)1 << k),
                          (N_TOK - stats->n_runs) * N_TOP);
    tap_ok(reuse, "layer %zu: reuse within each distance", i);
    weir_routing_caches(stats, layer, lru, pinned);
    for (unsigned c = N_TOP; c <= N_EXPERTS; c++)
        good &= is_share(lru[c], count_hits(i, c), all);
    tap_ok(good && lru[0] == 0, "layer %zu: hits of what was used last", i);
    good = 1;
    for (unsigned c = 0; c <= N_EXPERTS; c++)
        good &= is_share(pinned[c], count_best(i, c), all);
    tap_ok(good, "layer %zu: hits of the best fixed sets", i);
    for (unsigned e = 0; e < N_EXPERTS; e++) {
        chosen &= layer->chosen[e] == count_chosen(i, e);
        p = (double)count_chosen(i, e) / (double)all;
        bits -= p * log2(p);
    }
    tap_ok(chosen, "layer %zu: how often each expert is chosen", i);
    tap_ok(fabs(weir_routing_entropy(stats, layer) - bits) < 1e-9,
           "layer %zu: entropy, %.3f bits", i, bits);
}

/* The mean of distances, and what chance is, on a trace that is easy to see */
static void check_simple(void)
{
    const struct weir_routing_shape shape = {
        .n_layers = 1, .n_experts = 4, .n_top = 1, .n_moe = 1, .n_choices = 1};
    static const uint16_t order[] = {0, 1, 0, 2, 0, 0};
    struct weir_routing_stats stats;
    struct weir_err err;

    if (!weir_routing_stats_init(&stats, &shape, &err)) {
        for (size_t t = 0; t < 6; t++)
            weir_routing_stats_add(&stats, t == 0, &order[t]);
        tap_ok(fabs(weir_routing_distance(stats.layers) - 5.0 / 3) < 1e-9,
               "distances 2, 2 and 1");
        tap_ok(fabs(weir_routing_chance(&stats, stats.layers) -
                    (16 + 1 + 1) / 36.0) < 1e-9,
               "what two tokens would share by chance");
        tap_ok(fabs(weir_routing_reuse(&stats, stats.layers, 0) - 1 / 5.0) <
                   1e-9,
               "one of five has the expert of the one before");
    }
    weir_routing_stats_fini(&stats);
}

static void describe(struct weir_routing_shape *shape)
{
    memset(shape, 0, sizeof(*shape));
    shape->n_layers = 5;
    shape->n_experts = N_EXPERTS;
    shape->n_top = N_TOP;
    shape->n_moe = N_MOE;
    shape->layers[0] = 1;
    shape->layers[1] = 3;
    shape->n_choices = (size_t)N_MOE * N_TOP;
}

static int write_trace(struct weir_err *err)
{
    struct weir_routing_shape shape;
    struct weir_routing routing;
    int rc;

    describe(&shape);
    rc = weir_routing_create(&routing, path, &shape, err);
    for (size_t t = 0; t < N_TOK && !rc; t++)
        rc = weir_routing_add(&routing, flags[t], &experts[t][0][0], err);
    tap_ok(access(path, F_OK) != 0, "no file before it is whole");
    if (!rc)
        rc = weir_routing_commit(&routing, err);
    weir_routing_close(&routing);
    return rc;
}

static void check_file(void)
{
    struct weir_routing routing;
    struct weir_routing_stats stats = {0};
    struct weir_err err = {0};
    int rc = weir_routing_open(&routing, path, &err);

    if (!rc)
        rc = weir_routing_stats_init(&stats, &routing.shape, &err);
    if (!rc)
        rc = weir_routing_stats_read(&stats, &routing, &err);
    tap_ok(!rc, "it is read again %s", err.message);
    if (!rc) {
        tap_ok(stats.n_tok == N_TOK && stats.n_runs == (N_TOK + 96) / 97 &&
                   routing.shape.layers[1] == 3 && routing.shape.n_layers == 5,
               "all of it");
        for (size_t i = 0; i < N_MOE; i++)
            check_layer(&stats, i);
    }
    weir_routing_stats_fini(&stats);
    weir_routing_close(&routing);
}

static void check_abandoned(void)
{
    struct weir_routing_shape shape;
    struct weir_routing routing;
    struct weir_err err;
    char part[80];

    describe(&shape);
    snprintf(part, sizeof(part), "%s.part", path);
    tap_ok(!weir_routing_create(&routing, path, &shape, &err) &&
               !access(part, F_OK),
           "a trace begins under another name");
    weir_routing_close(&routing);
    tap_ok(access(part, F_OK) != 0, "and is gone when it does not end");
}

int main(void)
{
    struct weir_err err = {0};

    snprintf(path, sizeof(path), "routing-%ld.bin", (long)getpid());
    make_trace();
    tap_ok(!write_trace(&err), "a trace is written %s", err.message);
    check_file();
    unlink(path);
    check_abandoned();
    check_simple();
    return tap_done();
}
