/* SPDX-License-Identifier: Apache-2.0 */
/* What a model on a device is made of, for device_*.c. */
#ifndef WEIR_MODEL_DEVICE_PARTS_H
#define WEIR_MODEL_DEVICE_PARTS_H

#include "model/device.h"

/* Brings weights, vectors and the tables of experts to the device. */
int weir_on_device_load(struct weir_on_device *on, struct weir_err *err);

/* A buffer of the device: where its address goes, n times `each` bytes */
struct weir_device_part {
    void *at;
    size_t each, n;
};

int weir_on_device_take_part(struct weir_on_device *on,
                             const struct weir_device_part *part,
                             struct weir_err *err);

/* Tokens on their way through all layers together */
struct weir_device_step {
    struct weir_on_device *on;
    const struct weir_observer *observer;
    uint32_t n_tok, n_runs, n_ends;
    uint32_t max_tok, max_pos; /* of a run */
    int prompt;
    float *logits[WEIR_DEVICE_RUNS]; /* where the scores go, [n_ends] */
    struct weir_err *err;
};

/*
 * Each puts its part of the step on the device: on->hidden becomes the rows of
 * the embedding, and receives what the halves of a layer add.
 */
void weir_device_embed(const struct weir_device_step *step);
void weir_device_mixer(const struct weir_device_step *step, uint32_t layer);
void weir_device_feed_forward(const struct weir_device_step *step,
                              uint32_t layer);

/* on->logits [n][n_vocab] of n rows of hidden states at x */
void weir_device_score(const struct weir_device_step *step, const float *x,
                       uint32_t n);

/* Where a vector of jamba->bind lies; NULL of NULL */
const float *weir_device_vector(const struct weir_device_step *step,
                                const float *vector);

#endif
