/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a routing trace says about keeping experts in memory: how unevenly they
 * are chosen, how soon again, and how often a cache would have held them.
 */
#ifndef WEIR_MODEL_ROUTING_STATS_H
#define WEIR_MODEL_ROUTING_STATS_H

#include "model/routing.h"

/* Distances are counted up to 2^(this - 1) tokens. */
#define WEIR_ROUTING_DISTANCES 9

/* Of a layer; a choice is one expert of one token. */
struct weir_routing_layer {
    uint64_t *chosen; /* [n_experts]: how often each was */
    /*
     * [n_experts]: choices that a cache of c + 1 experts hits and one of c
     * does not, when the expert used longest ago makes room
     */
    uint64_t *hits;
    uint64_t n_reused; /* choices of an expert that was used before */
    uint64_t distance; /* sum, over these, of the tokens since then */
    uint64_t within[WEIR_ROUTING_DISTANCES]; /* those of at most 2^i tokens */
};

struct weir_routing_stats {
    struct weir_routing_shape shape;
    uint64_t n_tok, n_runs; /* runs of tokens that follow each other */
    struct weir_routing_layer *layers; /* [n_moe] */
    uint64_t *counters;                /* what they point into */
    uint64_t *last;                    /* [n_moe][n_experts] */
    uint64_t run_start;
};

/* Release with weir_routing_stats_fini(), also after an error. */
int weir_routing_stats_init(struct weir_routing_stats *stats,
                            const struct weir_routing_shape *shape,
                            struct weir_err *err);
void weir_routing_stats_fini(struct weir_routing_stats *stats);

/*
 * Takes the next token, as weir_routing_next() gives it.  Distances and reuse
 * are counted within a run; a cache keeps what it has from run to run.
 */
void weir_routing_stats_add(struct weir_routing_stats *stats, unsigned flags,
                            const uint16_t *experts);

/* Takes all tokens of an open trace. */
int weir_routing_stats_read(struct weir_routing_stats *stats,
                            struct weir_routing *routing, struct weir_err *err);

/* Entropy of the choices of a layer, in bits: at most log2(n_experts) */
double weir_routing_entropy(const struct weir_routing_stats *stats,
                            const struct weir_routing_layer *layer);

/*
 * Share of the choices of a layer whose expert one of the 2^i tokens before
 * took too, i < WEIR_ROUTING_DISTANCES; tokens that begin a run do not count.
 */
double weir_routing_reuse(const struct weir_routing_stats *stats,
                          const struct weir_routing_layer *layer, unsigned i);

/*
 * What weir_routing_reuse() would be for one token, if tokens chose without
 * regard to each other, each expert as often as it was chosen
 */
double weir_routing_chance(const struct weir_routing_stats *stats,
                           const struct weir_routing_layer *layer);

/* Tokens from one choice of an expert to the next, in the mean; 0: none */
double weir_routing_distance(const struct weir_routing_layer *layer);

/*
 * Shares of a layer's choices that find their expert in memory with n of them
 * there, [n_experts + 1] from n = 0: in `lru` those used last, in `pinned`
 * those chosen most in the whole trace, for good.  Every layer has as many
 * choices, so that a mean over layers is that of all.
 */
void weir_routing_caches(const struct weir_routing_stats *stats,
                         const struct weir_routing_layer *layer, double *lru,
                         double *pinned);

#endif
