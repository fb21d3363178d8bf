/* SPDX-License-Identifier: Apache-2.0 */
/* What a model on a device is made of, for device_*.c. */
#ifndef WEIR_MODEL_DEVICE_PARTS_H
#define WEIR_MODEL_DEVICE_PARTS_H

#include "model/device.h"

/* A buffer of the device: where its address goes, n times `each` bytes */
struct weir_device_part {
    void *at;
    size_t each, n;
};

int weir_on_device_take_part(struct weir_on_device *on,
                             const struct weir_device_part *part,
                             struct weir_err *err);

/* Sizes on the device are multiples of this. */
#define WEIR_DEVICE_ALIGN 256

static inline uint64_t weir_device_pad(uint64_t n_bytes)
{
    return (n_bytes + WEIR_DEVICE_ALIGN - 1) / WEIR_DEVICE_ALIGN *
           WEIR_DEVICE_ALIGN;
}

/* ---- the way of weights ---- */

/* Opens and closes on->way; closing waits for what is on it. */
int weir_device_way_open(struct weir_on_device *on, struct weir_err *err);
void weir_device_way_close(struct weir_on_device *on);

/* Tells the device of the memory for weights, once, if there is some: what it
 * may copy from without a stop.  It can do without. */
void weir_device_way_pin(struct weir_on_device *on);

/* What a unit takes there */
uint64_t weir_device_unit_bytes(const struct weir_jamba *jamba,
                                uint32_t number);

/*
 * Puts unit `number`, which is wanted (residency.h), on its way to `place`
 * [weir_device_unit_bytes()], on the copy stream, and points at it.  The unit
 * is done when it has been copied: weir_device_let_go() waits for all.
 */
int weir_device_send(struct weir_on_device *on, uint32_t number, uint8_t *place,
                     struct weir_err *err);
void weir_device_let_go(struct weir_on_device *on);

/* Until the event is over */
void weir_device_wait_for(const struct weir_on_device *on,
                          struct weir_device_event *event);

/* ---- units that pass ---- */

int weir_device_slots_open(struct weir_on_device *on,
                           struct weir_device_slots *slots,
                           const struct weir_slots *ask, const char *what,
                           struct weir_err *err);
void weir_device_slots_close(struct weir_on_device *on,
                             struct weir_device_slots *slots);

/* 1 when the unit is there, or comes */
int weir_device_has(const struct weir_device_slots *slots, uint32_t unit);

/*
 * Finds a slot for the unit, which is wanted if it is not there, and puts it on
 * its way.  When it is brought, what is put on the compute stream from then on
 * finds it there, until weir_device_used() says that nothing else will.
 */
int weir_device_fetch(struct weir_on_device *on,
                      struct weir_device_slots *slots, uint32_t unit,
                      struct weir_device_slot **slot, struct weir_err *err);
int weir_device_bring(struct weir_on_device *on,
                      struct weir_device_slots *slots, uint32_t unit,
                      struct weir_device_slot **slot, struct weir_err *err);
void weir_device_used(struct weir_on_device *on, struct weir_device_slot *slot);

/* Nothing is there any more, and nothing held. */
void weir_device_forget_slots(struct weir_device_slots *slots);

/* ---- what stays ---- */

/*
 * Places the weights in what is left of the device's memory, and of RAM, and
 * brings those that stay.  Once, or again after weir_on_device_displace().
 */
int weir_on_device_place(struct weir_on_device *on, unsigned n_texts,
                         struct weir_err *err);

/* As before; what it took of the device's memory is its caller's. */
void weir_on_device_displace(struct weir_on_device *on);

/* The same of all that weir_on_device_make_room() does */
void weir_on_device_leave_room(struct weir_on_device *on);

/* Where an expert's matrices and scales lie now */
struct weir_device_expert weir_device_expert_at(const struct weir_on_device *on,
                                                uint32_t layer,
                                                uint32_t number);

/* ---- a step ---- */

/* Tokens on their way through all layers together */
struct weir_device_step {
    struct weir_on_device *on;
    const struct weir_observer *observer;
    uint32_t n_tok, n_runs, n_ends;
    uint32_t max_tok, max_pos; /* of a run */
    int prompt;
    float *logits[WEIR_DEVICE_RUNS]; /* where the scores go, or NULL, */
    int32_t *next[WEIR_DEVICE_RUNS]; /* and what is chosen, [n_ends] */
    int scores, draws;               /* any of them */
    struct weir_err *err;
};

/*
 * Puts all of a step on the device, with the scores of its ends and what is
 * chosen by them if they are WEIR_HEAD_TOK at most; else the caller does that,
 * n of them at a time from `first` on.
 */
int weir_device_run_step(const struct weir_device_step *step);
int weir_device_score_ends(const struct weir_device_step *step, uint32_t first,
                           uint32_t n);

/* The scores of n rows of hidden states at x, into on->logits */
int weir_device_score_rows(const struct weir_device_step *step, const float *x,
                           uint32_t n);

/* Nothing more of it will be scored. */
void weir_device_end_step(const struct weir_device_step *step);

/* Shows values of the device to whom they may concern. */
int weir_device_show(const struct weir_device_step *step, enum weir_view view,
                     uint32_t layer, const float *values, size_t n_tok,
                     size_t width);

void weir_device_drop_kept(struct weir_on_device *on,
                           struct weir_device_kept *kept);

/*
 * Each puts its part of the step on the device: on->hidden becomes the rows of
 * the embedding, and receives what the halves of a layer add.
 */
void weir_device_embed(const struct weir_device_step *step);
void weir_device_mixer(const struct weir_device_step *step, uint32_t layer);
void weir_device_mlp(const struct weir_device_step *step, uint32_t layer);

/*
 * Of a mixer what is no product, and where that finds and leaves things: from
 * on->xz into on->u; from on->u, on->p and on->dt, which is the product dt_of
 * unless that is NULL, into on->u; from on->q, on->k and on->v into on->heads.
 */
void weir_device_convolve(const struct weir_device_step *step, uint32_t layer);
void weir_device_scan(const struct weir_device_step *step, uint32_t layer,
                      const struct weir_device_matmul *dt_of);
void weir_device_attend(const struct weir_device_step *step, uint32_t layer);

/* hidden += sum */
void weir_device_add_sum(const struct weir_device_step *step);

/*
 * Whether the products of a unit of the trunk are the CPU's in this step; and
 * the same parts of a step, where they are.  The unit is wanted.
 */
int weir_device_is_beside(const struct weir_device_step *step, uint32_t unit);
int weir_device_mixer_beside(const struct weir_device_step *step,
                             uint32_t layer);
int weir_device_mlp_beside(const struct weir_device_step *step, uint32_t layer);
int weir_device_score_beside(const struct weir_device_step *step,
                             const float *x, uint32_t n);

/* Which experts the tokens go to, into on->routing */
void weir_device_route(const struct weir_device_step *step, uint32_t layer);

/* Experts `from` to to - 1 of those in `table`, as struct weir_device_experts
 * has it */
struct weir_device_some {
    uint32_t from, to;
    int in_order;
    const struct weir_device_expert *table;
    float *y; /* [n_tok][n_hidden] */
};

void weir_device_experts(const struct weir_device_step *step, uint32_t layer,
                         const struct weir_device_some *some);

/* on->hidden += what the experts of on->routing make, wherever they lie */
int weir_device_some_experts(const struct weir_device_step *step,
                             uint32_t layer);

/*
 * The same of tokens that are decoded, with the CPU, in three parts: what it
 * must know is on its way; the device computes its experts, and then the CPU's
 * are done; hidden += theirs.  The first and the last may be kept in a graph.
 */
void weir_device_ask(const struct weir_device_step *step);
int weir_device_share(const struct weir_device_step *step, uint32_t layer);
void weir_device_add_share(const struct weir_device_step *step);

/* on->logits [n][n_vocab] of n rows of hidden states at x */
void weir_device_score(const struct weir_device_step *step, const float *x,
                       uint32_t n);

/* on->next[first] on are chosen by those logits */
void weir_device_choose(const struct weir_device_step *step, uint32_t first,
                        uint32_t n);

/* Where a vector of jamba->bind lies; NULL of NULL */
const float *weir_device_vector(const struct weir_device_step *step,
                                const float *vector);

#endif
