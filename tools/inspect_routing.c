/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/inspect_routing.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "model/routing_stats.h"

/* Means over all layers, and the caches of one */
struct figures {
    double within[WEIR_ROUTING_DISTANCES], chance, entropy;
    double lru[WEIR_MAX_EXPERTS + 1], pinned[WEIR_MAX_EXPERTS + 1];
    double layer_lru[WEIR_MAX_EXPERTS + 1], layer_pinned[WEIR_MAX_EXPERTS + 1];
    uint64_t n_reused, distance;
};

static void add_layer(const struct weir_routing_stats *stats,
                      const struct weir_routing_layer *layer,
                      struct figures *sum)
{
    double part = 1.0 / stats->shape.n_moe;

    for (unsigned i = 0; i < WEIR_ROUTING_DISTANCES; i++)
        sum->within[i] += part * weir_routing_reuse(stats, layer, i);
    sum->chance += part * weir_routing_chance(stats, layer);
    sum->entropy += part * weir_routing_entropy(stats, layer);
    sum->n_reused += layer->n_reused;
    sum->distance += layer->distance;
    weir_routing_caches(stats, layer, sum->layer_lru, sum->layer_pinned);
    for (uint32_t c = 0; c <= stats->shape.n_experts; c++) {
        sum->lru[c] += part * sum->layer_lru[c];
        sum->pinned[c] += part * sum->layer_pinned[c];
    }
}

static double mean_distance(const struct figures *sum)
{
    return sum->n_reused ? (double)sum->distance / (double)sum->n_reused : 0;
}

/* The expert of a layer that is chosen most, or least */
static uint32_t find_expert(const struct weir_routing_stats *stats,
                            const struct weir_routing_layer *layer, int most)
{
    uint32_t best = 0;

    for (uint32_t e = 1; e < stats->shape.n_experts; e++)
        if (most ? layer->chosen[e] > layer->chosen[best]
                 : layer->chosen[e] < layer->chosen[best])
            best = e;
    return best;
}

static double share(const struct weir_routing_stats *stats,
                    const struct weir_routing_layer *layer, uint32_t e)
{
    return (double)layer->chosen[e] /
           ((double)stats->n_tok * stats->shape.n_top);
}

/* ---- text ---- */

static void print_skew(const struct weir_routing_stats *stats,
                       const struct figures *sum)
{
    uint32_t n = stats->shape.n_experts, most, least;

    printf("\nskew: the entropy of a layer's choices, %.3f bits if experts "
           "were chosen alike,\nand the share of each expert in percent\n"
           "layer   bits  most       least      expert 0, 1, 2, ...\n",
           log2(n));
    for (uint32_t i = 0; i < stats->shape.n_moe; i++) {
        const struct weir_routing_layer *layer = &stats->layers[i];

        most = find_expert(stats, layer, 1);
        least = find_expert(stats, layer, 0);
        printf("%-6u %5.3f %4u: %4.1f %4u: %4.1f ", stats->shape.layers[i],
               weir_routing_entropy(stats, layer), most,
               100 * share(stats, layer, most), least,
               100 * share(stats, layer, least));
        for (uint32_t e = 0; e < n; e++)
            printf(" %4.1f", 100 * share(stats, layer, e));
        putchar('\n');
    }
    printf("all    %5.3f\n", sum->entropy);
}

static void print_reuse_of(const double *within, double chance, double distance)
{
    printf("%6.1f ", 100 * chance);
    for (unsigned i = 0; i < WEIR_ROUTING_DISTANCES; i++)
        printf(" %5.1f", 100 * within[i]);
    printf(" %9.1f\n", distance);
}

static void print_reuse(const struct weir_routing_stats *stats,
                        const struct figures *sum)
{
    double within[WEIR_ROUTING_DISTANCES];

    printf("\nreuse: choices in percent whose expert one of the last 1, 2, 4 "
           "... tokens took too,\nby chance one of the last 1, and tokens from "
           "one use to the next in the mean\nlayer  chance ");
    for (unsigned i = 0; i < WEIR_ROUTING_DISTANCES; i++)
        printf(" %5u", 1u << i);
    printf("  distance\n");
    for (uint32_t i = 0; i < stats->shape.n_moe; i++) {
        const struct weir_routing_layer *layer = &stats->layers[i];

        for (unsigned k = 0; k < WEIR_ROUTING_DISTANCES; k++)
            within[k] = weir_routing_reuse(stats, layer, k);
        printf("%-6u ", stats->shape.layers[i]);
        print_reuse_of(within, weir_routing_chance(stats, layer),
                       weir_routing_distance(layer));
    }
    printf("all    ");
    print_reuse_of(sum->within, sum->chance, mean_distance(sum));
}

static void print_caches(const struct weir_routing_stats *stats,
                         const struct figures *sum)
{
    uint32_t n = stats->shape.n_experts;

    printf("\ncaches: choices in percent that find their expert in memory, "
           "with so many of each\nlayer there: those used last, for good "
           "those chosen most, or any at all\n"
           "experts   last   most    any\n");
    for (uint32_t c = 0; c <= n; c++)
        printf("%-7u %6.1f %6.1f %6.1f\n", c, 100 * sum->lru[c],
               100 * sum->pinned[c], 100.0 * c / n);
}

static void print_text(const char *path, const struct weir_routing_stats *stats,
                       const struct figures *sum)
{
    printf("file       %s\ntokens     %" PRIu64 " in %" PRIu64 " run%s\n", path,
           stats->n_tok, stats->n_runs, stats->n_runs == 1 ? "" : "s");
    printf("experts    %u, %u of them for a token, in %u of %u layers\n",
           stats->shape.n_experts, stats->shape.n_top, stats->shape.n_moe,
           stats->shape.n_layers);
    print_skew(stats, sum);
    print_reuse(stats, sum);
    print_caches(stats, sum);
}

/* ---- JSON, a layer at a time ---- */

static json_t *reals(const double *values, size_t n)
{
    json_t *list = json_array();

    for (size_t i = 0; i < n; i++)
        if (json_array_append_new(list, json_real(values[i]))) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static json_t *layer_json(const struct weir_routing_stats *stats, uint32_t i,
                          struct figures *figures)
{
    const struct weir_routing_layer *layer = &stats->layers[i];
    uint32_t n = stats->shape.n_experts;
    double within[WEIR_ROUTING_DISTANCES], shares[WEIR_MAX_EXPERTS];

    for (uint32_t e = 0; e < n; e++)
        shares[e] = share(stats, layer, e);
    for (unsigned k = 0; k < WEIR_ROUTING_DISTANCES; k++)
        within[k] = weir_routing_reuse(stats, layer, k);
    weir_routing_caches(stats, layer, figures->layer_lru,
                        figures->layer_pinned);
    return json_pack(
        "{s:i, s:f, s:i, s:i, s:o, s:f, s:o, s:f, s:o, s:o}", "layer",
        (int)stats->shape.layers[i], "entropy_bits",
        weir_routing_entropy(stats, layer), "most",
        (int)find_expert(stats, layer, 1), "least",
        (int)find_expert(stats, layer, 0), "shares", reals(shares, n), "chance",
        weir_routing_chance(stats, layer), "reuse",
        reals(within, WEIR_ROUTING_DISTANCES), "mean_distance",
        weir_routing_distance(layer), "lru", reals(figures->layer_lru, n + 1),
        "pinned", reals(figures->layer_pinned, n + 1));
}

static json_t *head_json(const struct weir_routing_stats *stats,
                         const struct figures *sum)
{
    double within[WEIR_ROUTING_DISTANCES];

    for (unsigned i = 0; i < WEIR_ROUTING_DISTANCES; i++)
        within[i] = ldexp(1, (int)i);
    return json_pack(
        "{s:I, s:I, s:i, s:i, s:i, s:i, s:f, s:f, s:o, s:o, s:f, s:o, s:o}",
        "tokens", (json_int_t)stats->n_tok, "runs", (json_int_t)stats->n_runs,
        "n_layers", (int)stats->shape.n_layers, "n_moe",
        (int)stats->shape.n_moe, "n_experts", (int)stats->shape.n_experts,
        "n_top", (int)stats->shape.n_top, "entropy_bits", sum->entropy,
        "chance", sum->chance, "reuse_tokens",
        reals(within, WEIR_ROUTING_DISTANCES), "reuse",
        reals(sum->within, WEIR_ROUTING_DISTANCES), "mean_distance",
        mean_distance(sum), "lru", reals(sum->lru, stats->shape.n_experts + 1),
        "pinned", reals(sum->pinned, stats->shape.n_experts + 1));
}

/* Prints `value` and lets go of it; NULL means that there was no memory. */
static int dump(json_t *value, const char *before, size_t flags,
                struct weir_err *err)
{
    int rc;

    if (!value)
        return weir_err_nomem(err, 4096, "JSON");
    fputs(before, stdout);
    rc = json_dumpf(value, stdout, JSON_COMPACT | flags);
    json_decref(value);
    return rc ? weir_err_errno(err, errno, "write", "standard output") : 0;
}

static int print_json(const struct weir_routing_stats *stats,
                      struct figures *sum, struct weir_err *err)
{
    int rc = dump(head_json(stats, sum), "{", JSON_EMBED, err);

    fputs(",\"layers\":[", stdout);
    for (uint32_t i = 0; i < stats->shape.n_moe && !rc; i++)
        rc = dump(layer_json(stats, i, sum), i ? ",\n" : "\n", 0, err);
    puts("]}");
    return rc;
}

int inspect_routing(const char *path, int json, struct weir_err *err)
{
    struct weir_routing routing;
    struct weir_routing_stats stats = {0};
    struct figures sum = {0};
    int rc = weir_routing_open(&routing, path, err);

    if (!rc)
        rc = weir_routing_stats_init(&stats, &routing.shape, err);
    if (!rc)
        rc = weir_routing_stats_read(&stats, &routing, err);
    if (!rc) {
        for (uint32_t i = 0; i < stats.shape.n_moe; i++)
            add_layer(&stats, &stats.layers[i], &sum);
        if (json)
            rc = print_json(&stats, &sum, err);
        else
            print_text(path, &stats, &sum);
    }
    weir_routing_stats_fini(&stats);
    weir_routing_close(&routing);
    return rc;
}
