/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a model may use, all in all.  Sessions take their part of it
 * when they begin; the weights get, once, what the first one leaves.
 */
#ifndef WEIR_MODEL_BUDGET_H
#define WEIR_MODEL_BUDGET_H

#include "base/err.h"

struct weir_jamba;
struct weir_use;

struct weir_budget {
    int mapped;      /* there is no budget */
    size_t span_tok; /* of a span, by order; 0: what fits */
    enum weir_cache cache;
    uint64_t ram_bytes;
    uint64_t weight_bytes;                /* 0: not decided yet */
    int placed;                           /* the weights have theirs */
    uint64_t session_bytes, session_room; /* taken by sessions; most */
};

/* A budget of ram_bytes, or weight_bytes for weights alone; 0, 0: the usual. */
void weir_budget_init(struct weir_budget *budget, int mapped,
                      uint64_t ram_bytes, uint64_t weight_bytes);

/*
 * The budget when none is given: what the process has, and of what is
 * available as much as leaves the machine, or its cgroup, usable.  `root` as in
 * weir_machine_read_ram().
 */
uint64_t weir_budget_usual(const char *root);

/* What it is for the whole process; 0 without one, or for weights alone. */
uint64_t weir_budget_bytes(const struct weir_budget *budget);

/*
 * Takes n_bytes for sessions that decode n_texts > 0 tokens in step, and have
 * n_ctx in all.  For the first the weights are placed, which reads what stays
 * in memory, and room is made for its tokens to wait between layers, of a
 * quarter of what is free at most, or in a scratch file, which is opened then.
 * WEIR_ELIMIT when it is too much.
 */
int weir_budget_take(struct weir_jamba *jamba, uint64_t n_bytes, size_t n_ctx,
                     unsigned n_texts, struct weir_err *err);
void weir_budget_give(struct weir_jamba *jamba, uint64_t n_bytes);

/* How passes use each unit, [n_units] of zeros before */
void weir_budget_uses(const struct weir_jamba *jamba, struct weir_use *uses);

/*
 * Places what does not stay on a device, once: places [n_units] (enum
 * weir_place) are those of the device.  The caller holds the model's lock.
 */
int weir_budget_place_rest(struct weir_jamba *jamba, const uint8_t *places,
                           unsigned n_texts, struct weir_err *err);

#endif
